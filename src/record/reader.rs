//! Records out of a stream of lines.

use std::{
    fmt,
    io::{self, BufRead},
};

use super::{
    Format, LINE_SIZE_BYTES_MAX, Record, Refusal,
    line_reader::{Line, LineReader},
    ndjson, tsv,
};

/// Reads records, one a line, holding one line in memory.
#[derive(Debug)]
pub(crate) struct RecordReader<R> {
    lines: LineReader<R>,
    format: Format,
    is_broken: bool,
}

/// Why there is no record.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// This line is no record; the next may be.
    Line {
        /// The line, counted from 1.
        line_number: u64,
        /// What is wrong with it.
        refusal: Refusal,
    },
    /// The stream itself failed; nothing comes after this.
    Input(io::Error),
}

impl fmt::Display for ReadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { line_number, refusal } => write!(formatter, "line {line_number}: {refusal}"),
            Self::Input(error) => write!(formatter, "the input cannot be read: {error}"),
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Line { refusal, .. } => Some(refusal),
            Self::Input(error) => Some(error),
        }
    }
}

impl<R: BufRead> RecordReader<R> {
    /// Reads `input` as lines of `format`.
    pub(crate) fn new(input: R, format: Format) -> Self {
        Self { lines: LineReader::new(input, LINE_SIZE_BYTES_MAX), format, is_broken: false }
    }
}

impl<R: BufRead> Iterator for RecordReader<R> {
    type Item = Result<Record, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_broken {
            return None;
        }
        let outcome = loop {
            match self.lines.next_line() {
                Ok(None) => return None,
                Ok(Some(Line::Whole([]))) => {}
                Ok(Some(Line::Whole(line))) => {
                    break match self.format {
                        Format::Tsv => tsv::read(line),
                        Format::Ndjson => ndjson::read(line),
                    };
                }
                Ok(Some(Line::TooLong)) => break Err(Refusal::TooLong),
                Err(error) => {
                    self.is_broken = true;
                    return Some(Err(ReadError::Input(error)));
                }
            }
        };
        Some(outcome.map_err(|refusal| ReadError::Line { line_number: self.lines.line_number(), refusal }))
    }
}
