//! Records as text, for `import` and `export`: one a line, NDJSON or TSV, any bytes in and the same bytes out.
//!
//! - NDJSON: `{"key":"…","value":"…"}`. Where bytes are not UTF-8, `key_base64` or `value_base64` stands instead;
//!   exactly one of each pair. `ttl_ms` may say for how many milliseconds the record lives.
//! - TSV: key, TAB, value. Both with the escapes `\t \n \r \\ \xNN`; see [`escape`].
//!
//! Reading is streaming: memory holds one line, of [`LINE_SIZE_BYTES_MAX`] at most, and a line that is refused takes
//! nothing else with it. Line numbers count from 1. Empty lines are passed over.

pub(crate) mod escape;
mod line_reader;
mod ndjson;
mod reader;
mod refusal;
mod tsv;
mod writer;

use std::{num::NonZeroU64, path::Path};

pub(crate) use reader::{ReadError, RecordReader};
pub(crate) use refusal::Refusal;
pub(crate) use writer::RecordWriter;

/// The longest line that is read, in bytes.
pub(crate) const LINE_SIZE_BYTES_MAX: usize = 8 << 20;

/// The largest key and the largest value that a server takes.
const KEY_SIZE_BYTES_MAX: usize = 4 << 10;
const VALUE_SIZE_BYTES_MAX: usize = 1 << 20;

// A byte takes six characters at the most: `\u0000` in JSON, where TSV needs four. Whatever `export` writes fits.
const _: () = assert!(6 * (KEY_SIZE_BYTES_MAX + VALUE_SIZE_BYTES_MAX) + 1024 <= LINE_SIZE_BYTES_MAX);

/// A key, its value, and how long it shall live.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// The key's bytes.
    pub(crate) key: Vec<u8>,
    /// The value's bytes.
    pub(crate) value: Vec<u8>,
    /// Milliseconds to live; none means for ever. TSV cannot say it.
    pub(crate) ttl_ms: Option<NonZeroU64>,
}

/// How a record is written as a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// key TAB value, with the escapes \t \n \r \\ \xNN
    Tsv,
    /// {"key":"…","value":"…"}, or key_base64 and value_base64 for bytes that are not UTF-8
    Ndjson,
}

impl Format {
    /// The format that a file's ending names: `.tsv`, or `.ndjson`, `.jsonl` and `.json`; NDJSON for the standard streams.
    pub(crate) fn of_file(path: &Path) -> Option<Self> {
        if path == Path::new("-") {
            return Some(Self::Ndjson);
        }
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        match ending.as_str() {
            "tsv" => Some(Self::Tsv),
            "ndjson" | "jsonl" | "json" => Some(Self::Ndjson),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
