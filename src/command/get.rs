//! `corelode get`: one value.

use std::ffi::OsString;

use clap::Args;

use super::{
    Output,
    connection::{ConnectionArguments, Failure},
    key::bytes_of,
    show,
};
use crate::{exit::Exit, server_url::ServerUrl};

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

    /// Say on standard error where the server spent the time of it
    #[arg(long)]
    pub(crate) receipt: bool,

    #[command(flatten)]
    pub(crate) connection: ConnectionArguments,
}

/// Looks the key up and shows its value.
pub(crate) fn run(arguments: &Arguments, url: &ServerUrl) -> Result<Exit, Failure> {
    let key = bytes_of(&arguments.key, arguments.escaped).map_err(Failure::usage)?;
    let client = arguments.connection.client(url)?;
    let found = match arguments.receipt {
        true => {
            let (found, receipt) = client.get_with_receipt(&key)?;
            show::receipt(receipt);
            found
        }
        false => client.get(&key)?,
    };
    let Some(found) = found else { return Ok(Exit::Absent) };
    let shown = match arguments.output {
        Output::Raw => {
            show::bytes(&found.value).and_then(|()| if show::is_terminal() { show::bytes(b"\n") } else { Ok(()) })
        }
        Output::Json => {
            let mut object = serde_json::Map::new();
            show::put_bytes(&mut object, "key", &key);
            show::put_bytes(&mut object, "value", &found.value);
            object.insert("revision".to_owned(), found.revision.into());
            object.insert("deadline_ms".to_owned(), found.deadline_ms.into());
            show::line(&serde_json::Value::Object(object).to_string())
        }
        Output::Table => {
            let deadline = found.deadline_ms.map_or("never".to_owned(), |at| format!("{at} ms after 1970"));
            show::line(&format!(
                "key       {}\nvalue     {}\nbytes     {}\nrevision  {}\nexpires   {deadline}",
                show::cell(&key, 200),
                show::cell(&found.value, 200),
                found.value.len(),
                found.revision
            ))
        }
    };
    shown.map(|()| Exit::Done).map_err(|error| Failure::file("standard output".as_ref(), &error))
}
