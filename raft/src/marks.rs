//! Coverage marks: rare paths say that they were taken, so that the tests can prove that they take them.
//!
//! Like the planted bugs they exist with the feature `seeded-bugs` only; without it a mark is nothing.

macro_rules! marks {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A path that is rarely taken.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Mark {
            $($(#[$doc])* $name,)*
        }

        impl Mark {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

marks! {
    /// A follower's entries gave way to its leader's.
    ConflictCut,
    /// A membership change was among them.
    ChangeCut,
    /// An acknowledgement or vote was stored too late for its term.
    StaleAcknowledgementDropped,
    /// Entries were there, but the term was not stored yet.
    AcknowledgementWaitsForTerm,
    /// A follower did not have the entry before those that it was sent.
    AppendRejected,
    /// A rejection that came late was not taken for news.
    StaleRejectionIgnored,
    /// A follower was sent nothing more until it answered.
    WindowFull,
    /// A quorum has entries in memory that are not committed yet.
    ReceivedAheadOfCommit,
    /// A quorum has an entry of an earlier term, which is not committed for that.
    EarlierTermNotCounted,
    /// A snapshot took the place of the log.
    SnapshotReplacesLog,
    /// The log went on behind a snapshot.
    SnapshotKeepsSuffix,
    /// A snapshot was older than what is committed.
    SnapshotStale,
    /// A leader settled the joint configuration that a leader before it had begun.
    JointLeftByNewLeader,
    /// A leader handed over because a change had removed it.
    RemovedLeaderLeaves,
    /// A leader took leadership back whose target did not take it.
    HandoverAborted,
    /// A replica was elected at its leader's wish.
    HandoverDone,
    /// A read was answered by a lease.
    LeaseRead,
    /// A read was answered by a round.
    RoundRead,
    /// A leader stepped down with reads that it had not answered.
    ReadsAbandoned,
    /// A leader stepped down because it heard of no quorum.
    QuorumLost,
    /// No vote was given because a lease may rest on this voter.
    Abstained,
    /// A pre-vote was refused because a leader is at work, or not answered.
    PreVoteUnderLeader,
    /// A candidate heard of a newer term in a refusal.
    RefusalRaisedTerm,
    /// A leader fell silent.
    FellSilent,
    /// A silent leader or follower woke.
    Woke,
    /// A follower forgot a leader that stood for election.
    LeaderStoodDown,
}

#[cfg(feature = "seeded-bugs")]
mod counted {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use super::Mark;

    thread_local! {
        static COUNTS: RefCell<BTreeMap<Mark, u64>> = const { RefCell::new(BTreeMap::new()) };
    }

    /// Counts `mark` for the calling thread.
    pub(crate) fn hit(mark: Mark) {
        COUNTS.with_borrow_mut(|counts| *counts.entry(mark).or_default() += 1);
    }

    /// How often each mark was counted on this thread, which begins anew.
    #[must_use]
    pub fn take() -> BTreeMap<Mark, u64> {
        COUNTS.take()
    }
}

#[cfg(feature = "seeded-bugs")]
pub(crate) use counted::hit;
#[cfg(feature = "seeded-bugs")]
pub use counted::take;

/// Nothing, in this build.
#[cfg(not(feature = "seeded-bugs"))]
pub(crate) const fn hit(_mark: Mark) {}
