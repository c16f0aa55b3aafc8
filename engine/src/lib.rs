//! Corelode's storage engine: one log per core and one log-structured merge tree per partition.

#![deny(unsafe_code)]

pub mod env;
pub mod error;
pub mod ids;
#[allow(unsafe_code)]
pub mod io_buffer;
pub mod limits;
pub mod row;

pub use error::{Corruption, Error, Result};
