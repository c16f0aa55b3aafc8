//! `corelode put`: one write.

use std::{ffi::OsString, num::NonZeroU64, path::PathBuf};

use clap::Args;

use super::{Output, WriteDurability, connection::ConnectionArguments};

/// Store a value under a key
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// The key
    pub(crate) key: OsString,

    /// The value
    #[arg(required_unless_present = "value_file", conflicts_with = "value_file")]
    pub(crate) value: Option<OsString>,

    /// Take the value from a file; `-` means standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) value_file: Option<PathBuf>,

    /// Read KEY and VALUE with the escapes \t \n \r \\ \xNN
    #[arg(long)]
    pub(crate) escaped: bool,

    /// Let the key vanish after so many milliseconds
    #[arg(long, value_name = "MS")]
    pub(crate) ttl_ms: Option<NonZeroU64>,

    /// How sure the write must be before it is acknowledged
    #[arg(long, value_enum, default_value_t = WriteDurability::Synced)]
    pub(crate) durability: WriteDurability,

    /// How to show the result; raw shows nothing
    #[arg(long, value_enum, default_value_t = Output::Raw)]
    pub(crate) output: Output,

    #[command(flatten)]
    pub(crate) connection: ConnectionArguments,
}
