//! Corelode's native client.
//!
//! It fetches the server's map, keeps one pipelined connection for each core, and sends every request to the core that owns its key. It tries
//! again where that is safe: reads always, writes only if they were surely not executed. A write whose answer did not come is
//! [`Error::OutcomeUnknown`], never a failure.
//!
//! [`Client`] is for tokio, [`blocking::Client`] for everybody else. Beneath both lies a connection without a socket, a plain state machine.

#![forbid(unsafe_code)]

mod batch;
pub mod blocking;
mod call;
mod client;
mod connection;
mod directory;
mod error;
mod lane;
mod map;
mod node;
mod options;
mod random;
mod request;
mod retry;
mod routes;
mod scan;
mod session;
mod trail;
mod transport;

pub use batch::BatchOutcome;
pub use client::{Client, WriteOptions};
pub use corelode_net::body::{Durability, Receipt};
pub use corelode_net::handshake::Secret;
pub use corelode_net::table::{
    CoreStatus, Counter, FollowerState, FollowerStatus, Histograms, NodeEntry, PartitionEntry, ReplicaStatus,
    StageHistogram, Status, Topology, counters,
};
pub use corelode_net::{CoreIndex, ErrorCode, NodeId, PartitionId, RetryClass, Role, slot_of};
pub use error::{Error, Result};
pub use options::{Options, UrlError};
pub use request::{Found, Operation, Row};
pub use scan::{Scan, ScanOptions};
