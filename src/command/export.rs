//! `corelode export`: all records into a file.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use corelode_client::ScanOptions;

use super::{
    connection::{ConnectionArguments, Failure},
    key::bytes_of,
    scan::{ttl_ms, warn_of_newer_revisions},
};
use crate::{
    exit::Exit,
    record::{Format, RecordWriter},
    server_url::ServerUrl,
};

/// Write all records to a file, in key order over all partitions
///
/// The formats are those of `import`, which reads back whatever is written here. TSV leaves out the time a record has
/// still to live.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// The file; `-` means standard output
    pub(crate) file: PathBuf,

    /// How to write records [default: by the file's ending; NDJSON for `-`]
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

/// Writes all records. A file gets its name only once it is complete.
pub(crate) fn run(arguments: &Arguments, url: &ServerUrl) -> Result<Exit, Failure> {
    let prefix = match &arguments.prefix {
        Some(prefix) => bytes_of(prefix, arguments.escaped).map_err(Failure::usage)?,
        None => Vec::new(),
    };
    let format = arguments.format.or_else(|| Format::of_file(&arguments.file)).ok_or_else(|| {
        Failure::usage("the format is not clear: give --format, or a file that ends in .ndjson or .tsv")
    })?;
    let options = ScanOptions { prefix, at_newer_revisions: true, ..ScanOptions::default() };
    if arguments.file == Path::new("-") {
        let written = write_records(arguments, url, options, format, io::stdout().lock());
        return written.map(|_| Exit::Done);
    }
    if fs::metadata(&arguments.file).is_ok_and(|found| !found.is_file()) {
        // A device or a pipe is written to; a file must not take its name.
        let file = OpenOptions::new().write(true).open(&arguments.file);
        let file = file.map_err(|error| Failure::file(&arguments.file, &error))?;
        return write_records(arguments, url, options, format, file).map(|_| Exit::Done);
    }
    // A link goes on to lead to the file.
    let target = fs::canonicalize(&arguments.file).unwrap_or_else(|_| arguments.file.clone());
    let mut partial = target.clone().into_os_string();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let file = File::create(&partial).map_err(|error| Failure::file(&partial, &error))?;
    let count = write_records(arguments, url, options, format, &file).map_err(|failure| Failure {
        message: format!("{}; what was written so far is in {}", failure.message, partial.display()),
        ..failure
    })?;
    file.sync_all().map_err(|error| Failure::file(&partial, &error))?;
    fs::rename(&partial, &target).map_err(|error| Failure::file(&arguments.file, &error))?;
    eprintln!("{count} records written to {}", arguments.file.display());
    Ok(Exit::Done)
}

fn write_records(
    arguments: &Arguments,
    url: &ServerUrl,
    options: ScanOptions,
    format: Format,
    output: impl Write,
) -> Result<u64, Failure> {
    let fail = |error: io::Error| Failure::file(&arguments.file, &error);
    let mut writer = RecordWriter::new(BufWriter::new(output), format);
    let mut count = 0;
    let mut rows = arguments.connection.client(url)?.scan(options);
    for row in &mut rows {
        let row = row?;
        let ttl_ms = match format {
            Format::Ndjson => ttl_ms(row.found.deadline_ms),
            Format::Tsv => None,
        };
        match writer.write(&row.key, &row.found.value, ttl_ms) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(count),
            written => written.map_err(fail)?,
        }
        count += 1;
    }
    warn_of_newer_revisions(rows.newer_revisions());
    match writer.into_inner().flush() {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(fail(error)),
        _ => Ok(count),
    }
}
