//! Results on standard output: JSON objects, and bytes for people.

use std::io::{self, IsTerminal, Write};

use base64::{Engine, prelude::BASE64_STANDARD};
use corelode_client::Receipt;
use serde_json::{Map, Value};

use super::{Output, connection::Failure};
use crate::{exit::Exit, record::escape::escape};

/// Puts bytes into a JSON object under `name`, or base64 under `name_base64` where they are not UTF-8.
pub(crate) fn put_bytes(object: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => object.insert(name.to_owned(), text.into()),
        Err(_) => object.insert(format!("{name}_base64"), BASE64_STANDARD.encode(bytes).into()),
    };
}

/// Bytes for a cell of a table: escaped, and shortened to `length_max` characters.
pub(crate) fn cell(bytes: &[u8], length_max: usize) -> String {
    let mut escaped = Vec::new();
    escape(bytes, &mut escaped);
    let text = String::from_utf8_lossy(&escaped);
    if text.chars().count() <= length_max {
        return text.into_owned();
    }
    text.chars().take(length_max - 1).chain(['…']).collect()
}

/// Writes a line to standard output. A reader that has gone away, as `head` does, is no failure.
pub(crate) fn line(text: &str) -> io::Result<()> {
    bytes(format!("{text}\n").as_bytes())
}

/// Writes bytes to standard output, as they are.
pub(crate) fn bytes(bytes: &[u8]) -> io::Result<()> {
    let mut output = io::stdout().lock();
    match output.write_all(bytes).and_then(|()| output.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// Whether standard output is looked at by a person.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Shows the revision of a write, unless nothing is to be shown.
pub(crate) fn revision(output: Output, revision: u64) -> Result<Exit, Failure> {
    let shown = match output {
        Output::Raw => Ok(()),
        Output::Table => line(&format!("revision  {revision}")),
        Output::Json => line(&serde_json::json!({ "revision": revision }).to_string()),
    };
    shown.map(|()| Exit::Done).map_err(|error| Failure::file("standard output".as_ref(), &error))
}

/// Says where the server spent the time of a request.
pub(super) fn receipt(receipt: Option<Receipt>) {
    let Some(receipt) = receipt else {
        eprintln!("the answer had no room for a receipt");
        return;
    };
    let Receipt { queue_ns, wait_ns, append_ns, sync_ns, quorum_ns, apply_ns } = receipt;
    let stages = [
        ("queue", queue_ns),
        ("wait", wait_ns),
        ("append", append_ns),
        ("sync", sync_ns),
        ("quorum", quorum_ns),
        ("apply", apply_ns),
    ];
    for (stage, time_ns) in stages.into_iter().chain([("in all", receipt.total_ns())]) {
        eprintln!("{stage:<8}{:>12.1} us", time_ns as f64 / 1e3);
    }
}
