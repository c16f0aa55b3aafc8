//! The reply to a BATCH: 8 bytes, then 32 bytes and a value for each item, in the order of the items.

use crate::body::get::{FOUND_SIZE_BYTES, Found};
use crate::body::parts::{Durability, Value, check_value_length, expect_end, expect_zero, split_bytes, split_struct};
use crate::body_error::BodyError;
use crate::bytes_at::{length_u32, put, u16_at, u32_at, u64_at};
use crate::error_code::{ErrorCode, RetryClass};
use crate::frame::Frame;
use crate::frame_writer::FrameWriter;
use crate::header::{Flags, ReplyHead};
use crate::ids::Revision;
use crate::limits::{BATCH_ITEM_COUNT_MAX, BODY_SIZE_BYTES_MAX};
use crate::opcode::Opcode;

const HEAD_SIZE_BYTES: usize = 8;
const RESULT_SIZE_BYTES: usize = FOUND_SIZE_BYTES;

const STATUS_FOUND: u8 = 0;
const STATUS_ABSENT: u8 = 1;
const STATUS_WRITTEN: u8 = 2;
const STATUS_ERROR: u8 = 3;

/// What became of one item.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 8 | `revision` if found or written |
/// | 8 | 8 | `deadline_ms` if found |
/// | 16 | 4 | `value_length` if found |
/// | 20 | 4 | `value_crc` if found |
/// | 24 | 1 | `status`: 0 found, 1 absent, 2 written, 3 error |
/// | 25 | 1 | `retry` class if an error |
/// | 26 | 2 | `error_code` if an error |
/// | 28 | 4 | zero |
/// | 32 | `value_length` | value |
///
/// A field without an *if* that holds is zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BatchResult<'a> {
    /// A GET found this.
    Found(Found<'a>),
    /// A GET found nothing. Not an error.
    Absent,
    /// A PUT or DELETE was applied.
    Written {
        /// The revision that the write got.
        revision: Revision,
    },
    /// The item failed.
    Error {
        /// The code's number; a later server may send one that [`ErrorCode::from_wire`] does not know.
        code: u16,
        /// What the client may do.
        retry: RetryClass,
    },
}

impl<'a> BatchResult<'a> {
    /// An item that failed, with the code's own retry class.
    #[must_use]
    pub fn error(code: ErrorCode) -> Self {
        Self::Error { code: code.to_wire(), retry: code.retry_class() }
    }

    fn split(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), BodyError> {
        let (fixed, rest) = split_struct::<RESULT_SIZE_BYTES>(bytes)?;
        expect_zero("reserved bytes of a batch's result", &fixed[28..])?;
        let status = fixed[24];
        if status != STATUS_ERROR {
            expect_zero("error of a result that is none", &fixed[25..28])?;
        }
        let result = match status {
            STATUS_FOUND => {
                let value_length = u32_at(fixed, 16) as usize;
                check_value_length(value_length)?;
                let (bytes, rest) = split_bytes(rest, value_length)?;
                let found = Found {
                    revision: Revision(u64_at(fixed, 0)),
                    deadline_ms: u64_at(fixed, 8),
                    value: Value { bytes, crc: u32_at(fixed, 20) },
                };
                return Ok((Self::Found(found), rest));
            }
            STATUS_WRITTEN => {
                expect_zero("fields of a write's result", &fixed[8..24])?;
                Self::Written { revision: Revision(u64_at(fixed, 0)) }
            }
            STATUS_ABSENT => {
                expect_zero("fields of an absent key", &fixed[..24])?;
                Self::Absent
            }
            STATUS_ERROR => {
                expect_zero("fields of an error", &fixed[..24])?;
                Self::Error { code: u16_at(fixed, 26), retry: RetryClass::from_wire(fixed[25]) }
            }
            _ => return Err(BodyError::Field { field: "status of a batch's result", found: u64::from(status) }),
        };
        Ok((result, rest))
    }

    fn fixed(&self) -> [u8; RESULT_SIZE_BYTES] {
        let mut fixed = [0; RESULT_SIZE_BYTES];
        match self {
            Self::Found(found) => {
                put(&mut fixed, 0, found.revision.0.to_le_bytes());
                put(&mut fixed, 8, found.deadline_ms.to_le_bytes());
                put(&mut fixed, 16, length_u32(found.value.bytes.len()).to_le_bytes());
                put(&mut fixed, 20, found.value.crc.to_le_bytes());
                fixed[24] = STATUS_FOUND;
            }
            Self::Absent => fixed[24] = STATUS_ABSENT,
            Self::Written { revision } => {
                put(&mut fixed, 0, revision.0.to_le_bytes());
                fixed[24] = STATUS_WRITTEN;
            }
            Self::Error { code, retry } => {
                fixed[24] = STATUS_ERROR;
                fixed[25] = *retry as u8;
                put(&mut fixed, 26, code.to_le_bytes());
            }
        }
        fixed
    }
}

/// The reply to a batch, its structure checked.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 4 | `count` |
/// | 4 | 1 | `durability` of its writes |
/// | 5 | 3 | zero |
/// | 8 | | `count` times a [`BatchResult`] |
#[derive(Clone, Copy, Debug)]
pub struct BatchReply<'a> {
    /// What every write waited for.
    pub durability: Durability,
    count: usize,
    /// Invariant: `count` results that [`BatchResult::split`] accepts, and nothing else.
    results: &'a [u8],
}

impl<'a> BatchReply<'a> {
    /// Reads the reply to a BATCH and checks every result.
    ///
    /// # Errors
    /// A body that is no reply to a BATCH. Whether its count is that of the request is the caller's to check.
    pub fn decode(frame: &Frame<'a>) -> Result<Self, BodyError> {
        frame.expect_reply(Opcode::Batch)?;
        let (fixed, results) = split_struct::<HEAD_SIZE_BYTES>(frame.body)?;
        let count = u32_at(fixed, 0) as usize;
        if count > BATCH_ITEM_COUNT_MAX {
            return Err(BodyError::TooLarge { what: "batch count", found: count, limit: BATCH_ITEM_COUNT_MAX });
        }
        let durability = Durability::from_wire(fixed[4])?;
        expect_zero("reserved bytes of the reply to BATCH", &fixed[5..])?;
        let mut rest = results;
        for _ in 0..count {
            (_, rest) = BatchResult::split(rest)?;
        }
        expect_end(rest)?;
        Ok(Self { durability, count, results })
    }

    /// The results, in the order of the request's items.
    #[must_use]
    pub fn results(&self) -> BatchResults<'a> {
        BatchResults { remaining: self.count, rest: self.results }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }
}

/// The results of a checked reply.
#[derive(Clone, Debug)]
pub struct BatchResults<'a> {
    remaining: usize,
    rest: &'a [u8],
}

impl<'a> Iterator for BatchResults<'a> {
    type Item = BatchResult<'a>;

    fn next(&mut self) -> Option<BatchResult<'a>> {
        self.remaining = self.remaining.checked_sub(1)?;
        let (result, rest) = BatchResult::split(self.rest).expect("BatchReply::decode checked every result");
        self.rest = rest;
        Some(result)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.remaining, Some(self.remaining))
    }
}

impl ExactSizeIterator for BatchResults<'_> {}

/// Writes the reply to a BATCH result by result. It never runs out of room: a value that would leave none for the
/// results after it becomes [`ErrorCode::ReplyFull`].
#[derive(Debug)]
pub struct BatchReplyWriter<'a> {
    frame: FrameWriter<'a>,
    remaining: usize,
    head: ReplyHead,
}

impl<'a> BatchReplyWriter<'a> {
    /// Begins the reply to a batch of `count` items at the end of `out`.
    ///
    /// # Panics
    /// If `count` exceeds [`BATCH_ITEM_COUNT_MAX`], which a decoded batch does not.
    #[must_use]
    pub fn begin(out: &'a mut Vec<u8>, head: ReplyHead, durability: Durability, count: usize) -> Self {
        assert!(count <= BATCH_ITEM_COUNT_MAX, "a batch of {count} items");
        let mut fixed = [0; HEAD_SIZE_BYTES];
        put(&mut fixed, 0, length_u32(count).to_le_bytes());
        fixed[4] = durability as u8;
        let mut frame = FrameWriter::begin(out);
        frame.body().extend_from_slice(&fixed);
        Self { frame, remaining: count, head }
    }

    /// Appends the next item's result.
    ///
    /// # Panics
    /// If there are more results than items.
    pub fn push(&mut self, result: &BatchResult<'_>) {
        self.remaining = self.remaining.checked_sub(1).expect("as many results as items");
        if let BatchResult::Found(found) = result {
            let reserved = (self.remaining + 1) * RESULT_SIZE_BYTES;
            if self.frame.body_length() + found.value.bytes.len() + reserved > BODY_SIZE_BYTES_MAX {
                self.frame.body().extend_from_slice(&BatchResult::error(ErrorCode::ReplyFull).fixed());
                return;
            }
            self.frame.body().extend_from_slice(&result.fixed());
            self.frame.body().extend_from_slice(found.value.bytes);
        } else {
            self.frame.body().extend_from_slice(&result.fixed());
        }
    }

    /// Ends the frame and returns its size, bytes.
    ///
    /// # Panics
    /// If there are fewer results than items.
    pub fn finish(self) -> usize {
        assert!(self.remaining == 0, "{} items without a result", self.remaining);
        self.frame.finish(&self.head.fields(Flags::NONE))
    }
}
