//! Records into a stream of lines.

use std::{
    io::{self, Write},
    num::NonZeroU64,
};

use super::{Format, ndjson, tsv};

/// Writes records, one a line; whatever bytes they hold, [`RecordReader`](super::RecordReader) reads them back.
#[derive(Debug)]
pub(crate) struct RecordWriter<W> {
    output: W,
    format: Format,
    line: Vec<u8>,
}

impl<W: Write> RecordWriter<W> {
    /// Writes lines of `format` to `output`, one call of `write` each: give it something buffered.
    pub(crate) fn new(output: W, format: Format) -> Self {
        Self { output, format, line: Vec::new() }
    }

    /// Writes one record. TSV has no place for `ttl_ms` and leaves it out.
    ///
    /// # Errors
    ///
    /// Passes on what the output says.
    pub(crate) fn write(&mut self, key: &[u8], value: &[u8], ttl_ms: Option<NonZeroU64>) -> io::Result<()> {
        self.line.clear();
        match self.format {
            Format::Tsv => tsv::write(key, value, &mut self.line),
            Format::Ndjson => ndjson::write(key, value, ttl_ms, &mut self.line)?,
        }
        self.output.write_all(&self.line)
    }

    /// The output, with everything handed to it and nothing flushed.
    pub(crate) fn into_inner(self) -> W {
        self.output
    }
}
