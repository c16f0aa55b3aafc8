//! Corelode's server: the only crate that knows storage and wire together.
//!
//! [`shard`] is one core's state machine, without I/O; the runtime drives it on pinned threads; [`node`] starts and stops all of it.

#![deny(unsafe_code)]

pub mod cluster;
pub mod message;
pub mod node;
mod replication;
mod runtime;
pub mod shard;

pub use corelode_engine::Error;
pub use corelode_engine::options;
pub use corelode_net::Role;
pub use corelode_net::handshake::{Credentials, Secret, Secrets};
