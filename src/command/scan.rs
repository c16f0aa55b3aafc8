//! `corelode scan`: keys in order.

use std::{
    ffi::OsString,
    io::{self, BufWriter, Write},
    num::NonZeroU64,
    time::{SystemTime, UNIX_EPOCH},
};

use clap::Args;
use corelode_client::{Row, ScanOptions};

use super::{
    Output,
    connection::{ConnectionArguments, Failure},
    key::bytes_of,
    show,
};
use crate::{
    exit::Exit,
    record::{Format, RecordWriter, escape::escape},
    server_url::ServerUrl,
};

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

/// Lists what is in the range.
pub(crate) fn run(arguments: &Arguments, url: &ServerUrl) -> Result<Exit, Failure> {
    let word = |word: &Option<OsString>| match word {
        Some(word) => bytes_of(word, arguments.escaped).map_err(Failure::usage),
        None => Ok(Vec::new()),
    };
    let options = ScanOptions {
        start: word(&arguments.start)?,
        end: word(&arguments.end)?,
        prefix: word(&arguments.prefix)?,
        limit: arguments.limit.map(NonZeroU64::get),
        keys_only: arguments.keys_only,
        at_newer_revisions: true,
    };
    let mut output = BufWriter::new(io::stdout().lock());
    let mut rows = arguments.connection.client(url)?.scan(options);
    for row in &mut rows {
        match write_row(&mut output, arguments, &row?) {
            // A reader that has seen enough, as `head` does, ends the listing.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(Exit::Done),
            written => written.map_err(|error| Failure::file("standard output".as_ref(), &error))?,
        }
    }
    warn_of_newer_revisions(rows.newer_revisions());
    match output.flush() {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::file("standard output".as_ref(), &error))
        }
        _ => Ok(Exit::Done),
    }
}

/// Says that what was listed was not all there at one time.
pub(super) fn warn_of_newer_revisions(count: u64) {
    if count > 0 {
        eprintln!(
            "warning: {count} times the server no longer held the revision that a partition was being read at, and the rest was read at a newer one: \
             the output was taken too slowly, or the server was restarted"
        );
    }
}

fn write_row(output: &mut impl Write, arguments: &Arguments, row: &Row) -> io::Result<()> {
    let Row { key, found } = row;
    match (arguments.output, arguments.keys_only) {
        (Output::Table, true) => writeln!(output, "{}", show::cell(key, 200)),
        (Output::Table, false) => writeln!(output, "{:<32}  {}", show::cell(key, 64), show::cell(&found.value, 80)),
        (Output::Json, true) => {
            let mut object = serde_json::Map::new();
            show::put_bytes(&mut object, "key", key);
            writeln!(output, "{}", serde_json::Value::Object(object))
        }
        (Output::Json, false) => {
            RecordWriter::new(&mut *output, Format::Ndjson).write(key, &found.value, ttl_ms(found.deadline_ms))
        }
        (Output::Raw, true) => {
            let mut line = Vec::new();
            escape(key, &mut line);
            line.push(b'\n');
            output.write_all(&line)
        }
        (Output::Raw, false) => RecordWriter::new(&mut *output, Format::Tsv).write(key, &found.value, None),
    }
}

/// How long a record has still to live: at least a millisecond, since it was there just now.
pub(super) fn ttl_ms(deadline_ms: Option<u64>) -> Option<NonZeroU64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    NonZeroU64::new(deadline_ms?.saturating_sub(now_ms).max(1))
}
