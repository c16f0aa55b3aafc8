//! Why a line is no record.

use std::fmt;

use super::{LINE_SIZE_BYTES_MAX, escape::EscapeError};

/// Why a line is no record.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The line is longer than [`LINE_SIZE_BYTES_MAX`].
    TooLong,
    /// TSV: no TAB parts a key from a value.
    TabMissing,
    /// TSV: a TAB in the value.
    TabInValue,
    /// TSV: a carriage return, most likely of a file with line ends of Windows.
    CarriageReturn,
    /// TSV: an escape that cannot be read.
    Escape(EscapeError),
    /// NDJSON: the line is no JSON object.
    NotAnObject,
    /// NDJSON: the JSON does not parse, or holds something else than a record.
    Json(serde_json::Error),
    /// NDJSON: neither of a pair of fields.
    FieldMissing {
        /// `key` or `value`.
        field: &'static str,
    },
    /// NDJSON: both of a pair of fields.
    FieldTwice {
        /// `key` or `value`.
        field: &'static str,
    },
    /// NDJSON: a field that should be base64 and is not.
    Base64 {
        /// `key` or `value`.
        field: &'static str,
        /// What is wrong with it.
        source: base64::DecodeError,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(formatter, "the line is longer than {LINE_SIZE_BYTES_MAX} bytes"),
            Self::TabMissing => write!(formatter, "no TAB between key and value"),
            Self::TabInValue => write!(formatter, "a second TAB: write \\t for a TAB inside a key or value"),
            Self::CarriageReturn => write!(
                formatter,
                "a bare carriage return: write \\r if it is meant, or convert the file to plain line ends"
            ),
            Self::Escape(error) => write!(formatter, "{error}"),
            Self::NotAnObject => write!(formatter, "not a JSON object: write {{\"key\":\"…\",\"value\":\"…\"}}"),
            Self::Json(error) => {
                // serde_json counts lines inside the text it was given, which here is always the first.
                let text = error.to_string();
                let sentence = text.rsplit_once(" at line ").map_or(text.as_str(), |(sentence, _)| sentence);
                write!(formatter, "{sentence}, at column {}", error.column())
            }
            Self::FieldMissing { field } => write!(formatter, "neither `{field}` nor `{field}_base64`"),
            Self::FieldTwice { field } => write!(formatter, "both `{field}` and `{field}_base64`: give one of them"),
            Self::Base64 { field, source } => write!(formatter, "`{field}_base64` is not base64: {source}"),
        }
    }
}

impl std::error::Error for Refusal {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Escape(error) => Some(error),
            Self::Json(error) => Some(error),
            Self::Base64 { source, .. } => Some(source),
            _ => None,
        }
    }
}
