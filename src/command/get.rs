//! `corelode get`: one value.

use std::ffi::OsString;

use clap::Args;

use super::{Output, connection::ConnectionArguments};

/// Write the value of a key to standard output
///
/// Writes exactly the value's bytes, and a newline after them only on a terminal. Exits with 1 if there is no such key.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// The key
    pub(crate) key: OsString,

    /// Read KEY with the escapes \t \n \r \\ \xNN
    #[arg(long)]
    pub(crate) escaped: bool,

    /// How to show the result; table and json add revision and deadline
    #[arg(long, value_enum, default_value_t = Output::Raw)]
    pub(crate) output: Output,

    #[command(flatten)]
    pub(crate) connection: ConnectionArguments,
}
