//! What replicas say to each other.

use crate::ids::{LogIndex, LogPosition, Round, Term};
use crate::log::Entries;

/// A message from one replica of a group to another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// Asks for a vote, or whether one would be given.
    VoteRequest(VoteRequest),
    /// Answers that.
    VoteReply(VoteReply),
    /// From a leader: entries, or none, and how far is committed.
    Append(Append),
    /// Answers that.
    AppendReply(AppendReply),
    /// From a leader to the one that is to take its place: campaign now (thesis 3.10).
    TimeoutNow {
        /// The leader's term.
        term: Term,
    },
}

impl Message {
    /// The sender's term. In a pre-vote it is the term that the sender would have, and in the answer that grants it.
    #[must_use]
    pub fn term(&self) -> Term {
        match self {
            Self::VoteRequest(VoteRequest { term, .. })
            | Self::VoteReply(VoteReply { term, .. })
            | Self::Append(Append { term, .. })
            | Self::AppendReply(AppendReply { term, .. })
            | Self::TimeoutNow { term } => *term,
        }
    }
}

/// What kind of vote is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VoteKind {
    /// Whether the vote would be given; nobody's term changes (thesis 9.6).
    Pre,
    /// The vote.
    Real,
    /// The vote, at the wish of the leader, whose lease it may therefore break.
    Transfer,
}

/// Asks for a vote.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VoteRequest {
    /// The kind.
    pub kind: VoteKind,
    /// The term of the election.
    pub term: Term,
    /// The last entry of the candidate's log.
    pub last: LogPosition,
}

/// Answers a [`VoteRequest`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VoteReply {
    /// Whether a pre-vote was asked for.
    pub is_pre: bool,
    /// The election's term if the vote is given, and the voter's own if not.
    pub term: Term,
    /// Whether it is given.
    pub is_granted: bool,
}

/// Entries from a leader. Without entries it is a heartbeat, and just as good a probe.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Append {
    /// The leader's term.
    pub term: Term,
    /// The entry before the first.
    pub previous: LogPosition,
    /// The entries; the driver sends their bytes with them.
    pub entries: Entries,
    /// The last entry that the leader knows to be committed.
    pub committed: LogIndex,
    /// The leader's round when it was sent.
    pub round: Round,
    /// Whether reads wait for the round: then the answer must not wait for the disk.
    pub is_round_awaited: bool,
    /// Whether somebody waits to hear that the entries are in memory: then an answer leaves before the disk has them.
    pub is_receipt_awaited: bool,
    /// The leader has nothing more to say: fall silent, and do not miss its heartbeats.
    pub is_quiet: bool,
}

/// Answers an [`Append`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AppendReply {
    /// The follower's term.
    pub term: Term,
    /// The newest round that it has heard of.
    pub round: Round,
    /// What it has.
    pub outcome: AppendOutcome,
    /// It fell silent.
    pub is_quiet: bool,
}

/// What a follower says to entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AppendOutcome {
    /// It has stored the leader's log up to here.
    Stored(LogIndex),
    /// It has the leader's log up to here in memory, and will say when it is stored.
    Received(LogIndex),
    /// It has no such entry as the one before the first.
    Rejected {
        /// That entry's index.
        previous: LogIndex,
        /// Its own last entry before that of a term not newer: the two logs part no later.
        hint: LogPosition,
    },
}
