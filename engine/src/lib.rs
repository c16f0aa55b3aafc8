//! Corelode's storage engine: one log per core and one log-structured merge tree per partition.

#![deny(unsafe_code)]

mod atomic_file;
pub mod block_cache;
pub mod bugs;
mod bytes_io;
pub mod command;
pub mod compaction;
pub mod cursor;
pub mod data_directory;
pub mod embedded;
pub mod env;
pub mod error;
pub mod flush;
pub mod identity;
pub mod ids;
#[allow(unsafe_code)]
pub mod io_buffer;
pub mod job;
pub mod job_target;
pub mod limits;
pub mod log;
pub mod maintenance;
pub mod manifest;
pub mod memtable;
pub mod options;
pub mod partition;
pub mod row;
pub mod store;
pub mod table;
pub mod transfer;
pub mod tree;

pub use error::{Corruption, Error, Result};
