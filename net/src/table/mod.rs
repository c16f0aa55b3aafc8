//! Bodies that evolve: FlatBuffers tables, verified on every decode, built with a builder that is used again.
//!
//! Each type here is the Rust side of one table of `schema/wire.fbs`. What it holds is checked against the bounds of
//! [`limits`](crate::limits) on the way in, so that a small body cannot make a large allocation.

mod bind;
mod builder;
mod counter;
mod error_reply;
mod go_away;
mod histograms;
mod scan;
mod status;
mod topology;
mod welcome;

pub use bind::{Bind, BindReply, encode_empty_reply, encode_ping, encode_status_request, encode_topology_request};
pub use builder::TableBuilder;
pub(crate) use builder::{checked_text, cut_text, verified_root};
pub use counter::counters;
pub use error_reply::{ErrorReply, LeaderHint};
pub use go_away::GoAway;
pub use histograms::{Histograms, HistogramsRequest, StageHistogram};
pub(crate) use scan::ScanEndTable;
pub use scan::{ScanRelease, ScanRequest};
pub use status::{CoreStatus, Counter, FollowerState, FollowerStatus, ReplicaStatus, Status};
pub use topology::{CoreEntry, NodeEntry, PartitionEntry, Topology};
pub use welcome::{Limits, Welcome};
