//! Corelode's native client.
//!
//! It fetches the server's map, keeps one pipelined connection for each core, and sends every request to the core that owns its key. It tries
//! again until its deadline where that is safe: reads always, and writes, too, since each is told apart and applied once.
//!
//! # Writes whose answer is lost
//!
//! A server remembers what became of the last writes of a *session*. The client opens one of each partition at the first write to it, for all its
//! clones, and a few more if many writes are under way at once. A write is sent with its number in the session until it is answered: over
//! connections that break, nodes that fall silent, and changes of leaders. It is applied once, and answered as the first time. So a
//! generous [timeout](Options::with_timeout) is all that a caller needs to write through the loss of a node.
//!
//! What remains is [`Error::OutcomeUnknown`], never called a failure: the deadline passed while the write may have been applied, or the server does not
//! remember its session any more. All other errors say that nothing was executed. A write whose future is dropped is given up, and may be
//! applied or not.
//!
//! There are writes without a session, which are sent again only if they were surely not executed: those of a [batch](Client::batch), all of a client that
//! [wants none](Options::without_sessions), and those to a server that has none, refuses to open one, or has so many clients that sessions do
//! not last; the client asks again after half a minute.
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
