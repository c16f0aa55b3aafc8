//! `corelode scan`: keys in order.

use std::{ffi::OsString, num::NonZeroU64};

use clap::Args;

use super::{Output, connection::ConnectionArguments};

/// List keys and values in key order, over all partitions
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Only keys that begin with this
    #[arg(long, value_name = "BYTES")]
    pub(crate) prefix: Option<OsString>,

    /// Begin at this key, itself included
    #[arg(long, value_name = "KEY")]
    pub(crate) start: Option<OsString>,

    /// Stop before this key
    #[arg(long, value_name = "KEY")]
    pub(crate) end: Option<OsString>,

    /// Read PREFIX, START and END with the escapes \t \n \r \\ \xNN
    #[arg(long)]
    pub(crate) escaped: bool,

    /// Stop after so many keys
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<NonZeroU64>,

    /// Leave the values out
    #[arg(long)]
    pub(crate) keys_only: bool,

    /// How to show the result: table shortens long values, json gives records as `export` does, raw is TSV
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,

    #[command(flatten)]
    pub(crate) connection: ConnectionArguments,
}
