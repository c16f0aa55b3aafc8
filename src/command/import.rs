//! `corelode import`: many records from a file.

use std::{num::NonZeroU32, path::PathBuf};

use clap::Args;

use super::{Output, WriteDurability, connection::ConnectionArguments};
use crate::record::Format;

/// Store all records of a file
///
/// NDJSON holds one record a line, {"key":"…","value":"…"}, with key_base64 or value_base64 for bytes that are not
/// UTF-8, and ttl_ms for a record that shall vanish. TSV holds key TAB value with the escapes \t \n \r \\ \xNN.
/// A record that is refused is counted with its reason, and the import goes on; it then exits with 4.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// The file; `-` means standard input
    pub(crate) file: PathBuf,

    /// How records are written [default: by the file's ending]
    #[arg(long, value_enum)]
    pub(crate) format: Option<Format>,

    /// Write each acknowledged key to this file, one a line, escaped as in TSV, as soon as it is acknowledged
    #[arg(long, value_name = "FILE")]
    pub(crate) acked: Option<PathBuf>,

    /// How many writes to keep under way for each core of the server
    #[arg(long, value_name = "N", default_value = "64")]
    pub(crate) in_flight: NonZeroU32,

    /// How sure a write must be before it is acknowledged
    #[arg(long, value_enum, default_value_t = WriteDurability::Synced)]
    pub(crate) durability: WriteDurability,

    /// How to show the counts at the end; raw shows nothing
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,

    #[command(flatten)]
    pub(crate) connection: ConnectionArguments,
}
