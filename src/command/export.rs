//! `corelode export`: all records into a file.

use std::{ffi::OsString, path::PathBuf};

use clap::Args;

use super::connection::ConnectionArguments;
use crate::record::Format;

/// Write all records to a file, in key order over all partitions
///
/// The formats are those of `import`, which reads back whatever is written here. TSV leaves out the time a record has
/// still to live.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// The file; `-` means standard output
    pub(crate) file: PathBuf,

    /// How to write records [default: by the file's ending]
    #[arg(long, value_enum)]
    pub(crate) format: Option<Format>,

    /// Only keys that begin with this
    #[arg(long, value_name = "BYTES")]
    pub(crate) prefix: Option<OsString>,

    /// Read PREFIX with the escapes \t \n \r \\ \xNN
    #[arg(long)]
    pub(crate) escaped: bool,

    #[command(flatten)]
    pub(crate) connection: ConnectionArguments,
}
