//! `corelode del`: one deletion.

use std::ffi::OsString;

use clap::Args;

use super::{
    Output, WriteDurability,
    connection::{ConnectionArguments, Failure, durability},
    key::bytes_of,
    show,
};
use crate::{exit::Exit, server_url::ServerUrl};

/// Delete a key
///
/// A key that was not there is no failure.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// The key
    pub(crate) key: OsString,

    /// Read KEY with the escapes \t \n \r \\ \xNN
    #[arg(long)]
    pub(crate) escaped: bool,

    /// How sure the deletion must be before it is acknowledged
    #[arg(long, value_enum, default_value_t = WriteDurability::Synced)]
    pub(crate) durability: WriteDurability,

    /// How to show the result; raw shows nothing
    #[arg(long, value_enum, default_value_t = Output::Raw)]
    pub(crate) output: Output,

    #[command(flatten)]
    pub(crate) connection: ConnectionArguments,
}

/// Deletes the key.
pub(crate) fn run(arguments: &Arguments, url: &ServerUrl) -> Result<Exit, Failure> {
    let key = bytes_of(&arguments.key, arguments.escaped).map_err(Failure::usage)?;
    let revision = arguments.connection.client(url)?.delete_with(&key, durability(arguments.durability))?;
    show::revision(arguments.output, revision)
}
