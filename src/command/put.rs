//! `corelode put`: one write.

use std::{
    ffi::OsString,
    fs,
    io::{self, Read},
    num::NonZeroU64,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use corelode_client::WriteOptions;

use super::{
    Output, WriteDurability,
    connection::{ConnectionArguments, Failure, durability},
    key::bytes_of,
    show,
};
use crate::{exit::Exit, server_url::ServerUrl};

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

    /// Say on standard error where the server spent the time of it
    #[arg(long)]
    pub(crate) receipt: bool,

    #[command(flatten)]
    pub(crate) connection: ConnectionArguments,
}

/// Stores the value.
pub(crate) fn run(arguments: &Arguments, url: &ServerUrl) -> Result<Exit, Failure> {
    let key = bytes_of(&arguments.key, arguments.escaped).map_err(Failure::usage)?;
    let value = match (&arguments.value, &arguments.value_file) {
        (Some(value), _) => bytes_of(value, arguments.escaped).map_err(Failure::usage)?,
        (None, Some(path)) => read_value(path).map_err(|error| Failure::file(path, &error))?,
        (None, None) => return Err(Failure::usage("a value is missing: give VALUE or --value-file FILE")),
    };
    let options = WriteOptions {
        ttl: arguments.ttl_ms.map(|ttl_ms| Duration::from_millis(ttl_ms.get())),
        durability: durability(arguments.durability),
    };
    let client = arguments.connection.client(url)?;
    let revision = match arguments.receipt {
        true => {
            let (revision, receipt) = client.put_with_receipt(&key, &value, options)?;
            show::receipt(receipt);
            revision
        }
        false => client.put_with(&key, &value, options)?,
    };
    show::revision(arguments.output, revision)
}

fn read_value(path: &Path) -> io::Result<Vec<u8>> {
    if path == Path::new("-") {
        let mut value = Vec::new();
        io::stdin().lock().read_to_end(&mut value)?;
        return Ok(value);
    }
    fs::read(path)
}
