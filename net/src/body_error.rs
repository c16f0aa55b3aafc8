//! Why a body is not what its header says it is.

use std::fmt;

use flatbuffers::InvalidFlatbuffer;

use crate::error_code::ErrorCode;
use crate::limits::KEY_LENGTH_MAX;
use crate::opcode::Opcode;

/// A body that was received whole, but is refused. Nothing of it was executed.
#[derive(Clone, PartialEq, Debug)]
pub enum BodyError {
    /// The body ends before what its lengths say, bytes.
    Truncated {
        /// Bytes that had to be there.
        needed: usize,
        /// Bytes that were.
        found: usize,
    },
    /// Bytes follow the end of the body.
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// A key of no byte, or of too many.
    KeyLength {
        /// Its length, bytes.
        length: usize,
    },
    /// A bound of a scan that is longer than any key's successor.
    ScanKeyLength {
        /// Its length, bytes.
        length: usize,
    },
    /// A value, name or count above its limit.
    TooLarge {
        /// What is.
        what: &'static str,
        /// Its size.
        found: usize,
        /// The most there may be.
        limit: usize,
    },
    /// The slot named is not the key's.
    Slot {
        /// The key's.
        expected: u16,
        /// The one named.
        found: u16,
    },
    /// A number that stands for nothing, or a reserved field that is not zero.
    Field {
        /// The field.
        field: &'static str,
        /// Its number.
        found: u64,
    },
    /// A flag, condition or operation that this version does not have.
    Unsupported {
        /// What it is.
        what: &'static str,
    },
    /// An operation that this version does not know at all.
    Opcode {
        /// Its number.
        found: u8,
    },
    /// Another operation, or another direction, than the decoder's.
    Unexpected {
        /// What was to be decoded.
        expected: Opcode,
        /// The opcode found.
        found: u8,
    },
    /// The value does not match the checksum that its writer gave it.
    ValueChecksum {
        /// Computed over the bytes received.
        computed: u32,
        /// What the writer said.
        found: u32,
    },
    /// A table that does not verify.
    Table(Box<InvalidFlatbuffer>),
}

impl BodyError {
    /// The code to answer with.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::KeyLength { .. } | Self::ScanKeyLength { .. } => ErrorCode::BadKey,
            Self::TooLarge { .. } => ErrorCode::TooLarge,
            Self::Slot { .. } => ErrorCode::BadSlot,
            Self::Unsupported { .. } => ErrorCode::Unsupported,
            Self::Opcode { .. } => ErrorCode::UnknownOpcode,
            Self::ValueChecksum { .. } => ErrorCode::BadChecksum,
            Self::Truncated { .. }
            | Self::Trailing { .. }
            | Self::Field { .. }
            | Self::Unexpected { .. }
            | Self::Table(_) => ErrorCode::Malformed,
        }
    }

    /// Whether the connection is to be closed after the error was answered: its other end does not speak the format.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        self.code() == ErrorCode::Malformed
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { needed, found } => {
                write!(formatter, "body: {needed} bytes needed, {found} there")
            }
            Self::Trailing { bytes } => write!(formatter, "body: {bytes} bytes after its end"),
            Self::KeyLength { length } => {
                write!(formatter, "a key of {length} bytes; 1 to {KEY_LENGTH_MAX} are allowed")
            }
            Self::ScanKeyLength { length } => {
                write!(formatter, "a scan's bound of {length} bytes; at most {} are allowed", KEY_LENGTH_MAX + 1)
            }
            Self::TooLarge { what, found, limit } => write!(formatter, "{what} of {found}; the limit is {limit}"),
            Self::Slot { expected, found } => write!(formatter, "slot {found} named, but the key's is {expected}"),
            Self::Field { field, found } => write!(formatter, "{field} cannot be {found}"),
            Self::Unsupported { what } => write!(formatter, "{what}: not in this version, or not negotiated"),
            Self::Opcode { found } => write!(formatter, "operation {found} is not known"),
            Self::Unexpected { expected, found } => {
                write!(formatter, "{expected} expected, but the opcode is {found} or the direction another")
            }
            Self::ValueChecksum { computed, found } => {
                write!(formatter, "the value's checksum is {found:#010x}, but its bytes give {computed:#010x}")
            }
            Self::Table(error) => write!(formatter, "table: {}", error.to_string().trim_end()),
        }
    }
}

impl std::error::Error for BodyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Table(error) => Some(error.as_ref()),
            _ => None,
        }
    }
}

impl From<InvalidFlatbuffer> for BodyError {
    fn from(error: InvalidFlatbuffer) -> Self {
        Self::Table(Box::new(error))
    }
}
