//! Bugs that can be planted, one at a time, to show that the tests would catch them.
//!
//! Without the feature `seeded-bugs` every question here is a constant `false` and costs nothing. With it, a test chooses a bug for its own
//! thread with `plant`, or for a whole process with the environment variable `CORELODE_BUG`.

macro_rules! bugs {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// The bugs that can be planted.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Bug {
            $($(#[$doc])* $name,)*
        }

        impl Bug {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The name by which a process is told.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

bugs! {
    /// Votes leave before they are stored.
    VoteBeforeStored = "vote-before-stored",
    /// Requests for votes leave before the candidate's term and log are stored.
    VoteRequestBeforeStored = "vote-request-before-stored",
    /// A voter does not remember whom it voted for.
    VoteForgotten = "vote-forgotten",
    /// A vote is given whatever the candidate's log is.
    VoteIgnoresLog = "vote-ignores-log",
    /// Entries are acknowledged before they are stored.
    AppendAcknowledgedBeforeStored = "append-acknowledged-before-stored",
    /// Entries that were stored before are acknowledged in a term that is not stored.
    TermAcknowledgedBeforeStored = "term-acknowledged-before-stored",
    /// An acknowledgement that waited is sent though the term has changed.
    StaleAcknowledgementSent = "stale-acknowledgement-sent",
    /// The leader counts itself before its own entry is stored.
    LeaderCountsItselfEarly = "leader-counts-itself-early",
    /// Entries of earlier terms are committed by counting.
    CommitsEarlierTerms = "commits-earlier-terms",
    /// A new leader makes no entry of its term.
    NoEntryOfTheTerm = "no-entry-of-the-term",
    /// A follower moves its commit index beyond what matches its leader's log.
    CommitBeyondMatched = "commit-beyond-matched",
    /// A follower does not look at the entry before those that it is sent.
    AppendSkipsPrevious = "append-skips-previous",
    /// Entries that conflict are left in place.
    ConflictKept = "conflict-kept",
    /// Reads are answered without asking a quorum.
    ReadWithoutRound = "read-without-round",
    /// Reads of a new leader do not wait for an entry of its term.
    ReadBeforeOwnTerm = "read-before-own-term",
    /// A round that began before the read counts for it.
    ReadCountsEarlierRound = "read-counts-earlier-round",
    /// The answer to a message of an earlier term names that message's round.
    EarlierTermsRoundAnswered = "earlier-terms-round-answered",
    /// A leader that lost its followers does not step down, and its lease does not end.
    LeaseNeverEnds = "lease-never-ends",
    /// The lease of a leader lasts though it has told another to campaign.
    LeaseOutlivesTransfer = "lease-outlives-transfer",
    /// A voter that supports a lease helps another leader up once its term or role has changed.
    LeaseForgottenByVoter = "lease-forgotten-by-voter",
    /// A voter that may have supported a lease votes as soon as it is started again.
    LeaseForgottenAtRestart = "lease-forgotten-at-restart",
    /// While the configuration is joint the new voters alone decide.
    JointCountsNewVotersOnly = "joint-counts-new-voters-only",
    /// A membership change takes effect without the joint step.
    MembershipSkipsJoint = "membership-skips-joint",
    /// A membership change does not wait for the one before.
    ChangeDuringChange = "change-during-change",
    /// A membership change that was cut from the log stays in force.
    CutKeepsMembership = "cut-keeps-membership",
    /// A snapshot takes the entries behind it along.
    SnapshotDropsSuffix = "snapshot-drops-suffix",
    /// A snapshot that is older than what is committed is installed.
    StaleSnapshotInstalled = "stale-snapshot-installed",
    /// A leader waits for ever for the one that it has told to take its place.
    HandoverNeverGivenUp = "handover-never-given-up",
    /// A follower that fell silent stays so when its leader is down.
    SilentForGood = "silent-for-good",
    /// A leader takes for received what it has sent to nobody.
    ReceiptsNotCounted = "receipts-not-counted",
    /// Learners count as voters.
    LearnersVote = "learners-vote",
}

#[cfg(feature = "seeded-bugs")]
mod planted {
    use std::cell::Cell;
    use std::sync::OnceLock;

    use super::Bug;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Plants `bug` for the calling thread, or removes what was planted.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }

    /// Whether `bug` is planted for this thread or this process.
    #[must_use]
    pub fn is_planted(bug: Bug) -> bool {
        static PROCESS: OnceLock<Option<String>> = OnceLock::new();
        let process = PROCESS.get_or_init(|| std::env::var("CORELODE_BUG").ok());
        PLANTED.get() == Some(bug) || process.as_deref() == Some(bug.name())
    }
}

#[cfg(feature = "seeded-bugs")]
pub use planted::{is_planted, plant};

/// Whether `bug` is planted: never, in this build.
#[cfg(not(feature = "seeded-bugs"))]
#[must_use]
pub(crate) const fn is_planted(_bug: Bug) -> bool {
    false
}
