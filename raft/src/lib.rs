//! Corelode's consensus: Raft as a pure state machine.
//!
//! A [`Raft`] is one replica of one group. It has no disk, network, clock, thread or randomness of its own: what happens is an
//! [`Input`], what must be done comes out in an [`Output`], time and a seed are given to it. It does not even see the contents of entries, only
//! their terms and lengths; who drives it keeps the bytes.
//!
//! ```text
//!                 ┌────────────── one turn of the driver ──────────────┐
//!  messages ─┐    │ step(input) … step(input) │      end_turn()        │
//!  proposals ┼───►│                           │          │             │
//!  reads     ┤    │  state changes, entries   │          ▼             │
//!  persisted ┘    │  are taken or refused     │  Output: what to store,│──► disk, network, application
//!                 │                           │  to send, to apply     │
//!                 └────────────────────────────────────────────────────┘
//! ```
//!
//! All that arrived in a turn is one message to each peer and one thing to store. What must not leave before it is stored (votes, requests for them,
//! acknowledgements of entries) is kept in a list apart, inside, and comes out when the driver says that the storing is done.
//!
//! The algorithm is Diego Ongaro's (*Consensus: Bridging Theory and Practice*, Stanford 2014, called "thesis" in the comments), with pre-vote (9.6),
//! check-quorum (6.2), read-index and leases (6.4), leadership transfer (3.10), learners (4.2.1), joint consensus (4.3), pipelining and parallel
//! writing of the leader's own log (10.2).
//!
//! # What always holds
//! [`Raft`] asserts after each turn what it can see alone: `truncated ≤ committed ≤ last`, `stored ≤ last`, terms and commit never go back. What
//! takes several replicas to see is checked by the tests: at most one leader a term, logs that match, nothing committed is ever lost.

#![forbid(unsafe_code)]

pub mod bugs;
mod election;
mod follower;
mod ids;
mod leader;
mod log;
pub mod marks;
mod membership;
mod message;
mod progress;
mod quorum;
mod raft;
mod random;
mod reads;
mod unsent;

pub use ids::{LogIndex, LogPosition, NodeId, PersistId, ReadId, Round, Term, Time};
pub use log::{Entries, EntryInfo, RaftLog, TermRun};
pub use membership::{MEMBERS_MAX, Membership, MembershipError};
pub use message::{Append, AppendOutcome, AppendReply, Message, VoteKind, VoteReply, VoteRequest};
pub use progress::{Progress, ReplicationState};
pub use quorum::{Tally, majority, reached_by_majority};
pub use raft::{
    Accepted, Config, HardState, Input, Lease, Output, OwnEntry, OwnEntryKind, Raft, ReadReady, Refused, Restart,
    RoleKind, Status,
};
