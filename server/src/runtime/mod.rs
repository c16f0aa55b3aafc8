//! The runtime: pinned threads, io_uring, sockets, and the rings between cores.
//!
//! The only part of the server that touches the operating system; everything it learns it hands to the [shard](crate::shard) of its core.

mod connection;
pub(crate) mod core;
mod files;
pub(crate) mod mailbox;
mod notify;
mod ring_buffer;
pub(crate) mod socket;
