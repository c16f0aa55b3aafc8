//! Corelode's storage engine: one log per core and one log-structured merge tree per partition.

#![deny(unsafe_code)]

pub mod bugs;
mod bytes_io;
pub mod command;
pub mod log;
mod atomic_file;
pub mod compaction;
pub mod identity;
pub mod options;
pub mod block_cache;
pub mod cursor;
pub mod flush;
pub mod job;
pub mod manifest;
pub mod memtable;
pub mod partition;
pub mod store;
pub mod table;
pub mod tree;
pub mod env;
pub mod error;
pub mod ids;
#[allow(unsafe_code)]
pub mod io_buffer;
pub mod limits;
pub mod maintenance;
pub mod row;

pub use error::{Corruption, Error, Result};
