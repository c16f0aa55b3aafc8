//! The reply to SCAN: 8 bytes, the rows, and a table that says where to go on.
//!
//! Rows stand first and in fixed layout, so that a page is written straight into the outbound buffer while the engine
//! walks; the table stands last, since only then is known where the page ends.

use crate::body::get::FOUND_SIZE_BYTES;
use crate::body::parts::{
    Value, check_key_length, check_value_length, expect_end, expect_zero, split_bytes, split_struct,
};
use crate::body_error::BodyError;
use crate::bytes_at::{length_u32, put, u32_at, u64_at};
use crate::frame::Frame;
use crate::frame_writer::FrameWriter;
use crate::header::{Flags, ReplyHead};
use crate::ids::{Revision, SnapshotToken};
use crate::limits::{BODY_SIZE_BYTES_MAX, KEY_LENGTH_MAX, VALUE_LENGTH_MAX};
use crate::opcode::Opcode;
use crate::table::{ScanEndTable, TableBuilder};

const HEAD_SIZE_BYTES: usize = 8;
const ROW_SIZE_BYTES: usize = FOUND_SIZE_BYTES;
/// Room kept for the table: the longest resume key and the table around it.
const END_SIZE_BYTES_MAX: usize = KEY_LENGTH_MAX + 512;

const _: () = assert!(
    HEAD_SIZE_BYTES + ROW_SIZE_BYTES + KEY_LENGTH_MAX + VALUE_LENGTH_MAX + END_SIZE_BYTES_MAX <= BODY_SIZE_BYTES_MAX
);

/// One row of a page.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 8 | `revision` |
/// | 8 | 8 | `deadline_ms`, 0 for none |
/// | 16 | 4 | `key_length` |
/// | 20 | 4 | `value_length`, 0 if keys only |
/// | 24 | 4 | `value_crc`, 0 if keys only |
/// | 28 | 4 | zero |
/// | 32 | `key_length` | key |
/// | | `value_length` | value |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScanRow<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The revision that wrote it.
    pub revision: Revision,
    /// When it expires: milliseconds since the Unix epoch in the partition's log time; 0 for never.
    pub deadline_ms: u64,
    /// The value; the default one if the scan asked for keys only.
    pub value: Value<'a>,
}

impl<'a> ScanRow<'a> {
    /// Bytes that the row takes in a page; what a request's `byte_limit` counts.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        ROW_SIZE_BYTES + self.key.len() + self.value.bytes.len()
    }

    fn split(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), BodyError> {
        let (fixed, rest) = split_struct::<ROW_SIZE_BYTES>(bytes)?;
        let key_length = u32_at(fixed, 16) as usize;
        let value_length = u32_at(fixed, 20) as usize;
        check_key_length(key_length)?;
        check_value_length(value_length)?;
        expect_zero("reserved bytes of a row", &fixed[28..])?;
        let (key, rest) = split_bytes(rest, key_length)?;
        let (bytes, rest) = split_bytes(rest, value_length)?;
        let row = Self {
            key,
            revision: Revision(u64_at(fixed, 0)),
            deadline_ms: u64_at(fixed, 8),
            value: Value { bytes, crc: u32_at(fixed, 24) },
        };
        Ok((row, rest))
    }
}

/// A page of a scan, its structure checked.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 4 | `rows_length`, bytes |
/// | 4 | 4 | `row_count` |
/// | 8 | `rows_length` | `row_count` times a [`ScanRow`] |
/// | | | table `ScanReply` |
#[derive(Clone, Copy, Debug)]
pub struct ScanPage<'a> {
    /// The revision that all pages of the scan show.
    pub revision: Revision,
    /// The snapshot to go on with; zero if the server holds none, as when the scan is done.
    pub snapshot: SnapshotToken,
    /// The `start` of the next page, or `None` if the scan is done.
    pub resume_key: Option<&'a [u8]>,
    count: usize,
    /// Invariant: `count` rows that [`ScanRow::split`] accepts, and nothing else.
    rows: &'a [u8],
}

impl<'a> ScanPage<'a> {
    /// Reads a page and checks every row.
    ///
    /// # Errors
    /// A body that is no page. The values' own checksums are the caller's to [verify](Value::verify).
    pub fn decode(frame: &Frame<'a>) -> Result<Self, BodyError> {
        frame.expect_reply(Opcode::Scan)?;
        let (fixed, rest) = split_struct::<HEAD_SIZE_BYTES>(frame.body)?;
        let (rows, table) = split_bytes(rest, u32_at(fixed, 0) as usize)?;
        let count = u32_at(fixed, 4) as usize;
        let mut rest = rows;
        for _ in 0..count {
            (_, rest) = ScanRow::split(rest)?;
        }
        expect_end(rest)?;
        let (revision, snapshot, resume_key) = ScanEndTable::read(table)?;
        Ok(Self { revision, snapshot, resume_key, count, rows })
    }

    /// The rows, in ascending order of their keys.
    #[must_use]
    pub fn rows(&self) -> ScanRows<'a> {
        ScanRows { remaining: self.count, rest: self.rows }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }
}

/// The rows of a checked page.
#[derive(Clone, Debug)]
pub struct ScanRows<'a> {
    remaining: usize,
    rest: &'a [u8],
}

impl<'a> Iterator for ScanRows<'a> {
    type Item = ScanRow<'a>;

    fn next(&mut self) -> Option<ScanRow<'a>> {
        self.remaining = self.remaining.checked_sub(1)?;
        let (row, rest) = ScanRow::split(self.rest).expect("ScanPage::decode checked every row");
        self.rest = rest;
        Some(row)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.remaining, Some(self.remaining))
    }
}

impl ExactSizeIterator for ScanRows<'_> {}

/// Writes a page row by row. Dropping it unfinished takes the frame away again.
#[derive(Debug)]
pub struct ScanPageWriter<'a> {
    frame: FrameWriter<'a>,
    head: ReplyHead,
    count: usize,
    row_limit: usize,
    byte_limit: usize,
}

impl<'a> ScanPageWriter<'a> {
    /// Begins a page of at most `row_limit` rows and `byte_limit` bytes of rows; 0 for no limit but the frame's.
    #[must_use]
    pub fn begin(out: &'a mut Vec<u8>, head: ReplyHead, row_limit: u32, byte_limit: u32) -> Self {
        let or_all = |limit: u32| if limit == 0 { usize::MAX } else { limit as usize };
        let mut frame = FrameWriter::begin(out);
        frame.body().extend_from_slice(&[0; HEAD_SIZE_BYTES]);
        Self { frame, head, count: 0, row_limit: or_all(row_limit), byte_limit: or_all(byte_limit) }
    }

    /// Appends a row and says whether it did. `false` means that the page is full, and the row's key is the key to resume
    /// from. The first row always fits, whatever the byte limit.
    ///
    /// # Panics
    /// If a length is out of bounds, which no stored row's is.
    #[must_use]
    pub fn push(&mut self, row: &ScanRow<'_>) -> bool {
        let rows_length = self.rows_length() + row.size_bytes();
        let is_full = self.count == self.row_limit
            || HEAD_SIZE_BYTES + rows_length + END_SIZE_BYTES_MAX > BODY_SIZE_BYTES_MAX
            || (self.count > 0 && rows_length > self.byte_limit);
        if is_full {
            return false;
        }
        assert!(check_key_length(row.key.len()).is_ok(), "a key of {} bytes", row.key.len());
        assert!(check_value_length(row.value.bytes.len()).is_ok(), "a value above the limit");
        let mut fixed = [0; ROW_SIZE_BYTES];
        put(&mut fixed, 0, row.revision.0.to_le_bytes());
        put(&mut fixed, 8, row.deadline_ms.to_le_bytes());
        put(&mut fixed, 16, length_u32(row.key.len()).to_le_bytes());
        put(&mut fixed, 20, length_u32(row.value.bytes.len()).to_le_bytes());
        put(&mut fixed, 24, row.value.crc.to_le_bytes());
        let body = self.frame.body();
        body.extend_from_slice(&fixed);
        body.extend_from_slice(row.key);
        body.extend_from_slice(row.value.bytes);
        self.count += 1;
        true
    }

    /// How many rows the page has.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Bytes of the rows so far.
    #[must_use]
    pub fn rows_length(&self) -> usize {
        self.frame.body_length() - HEAD_SIZE_BYTES
    }

    /// Ends the page and returns the frame's size, bytes. Without a `resume_key` the scan is done.
    ///
    /// # Panics
    /// If the resume key is empty or longer than a scan's key can be.
    pub fn finish(
        mut self,
        revision: Revision,
        snapshot: SnapshotToken,
        resume_key: Option<&[u8]>,
        tables: &mut TableBuilder,
    ) -> usize {
        if let Some(key) = resume_key {
            assert!(!key.is_empty() && key.len() <= KEY_LENGTH_MAX + 1, "a resume key of {} bytes", key.len());
        }
        let rows_length = length_u32(self.rows_length()).to_le_bytes();
        let count = length_u32(self.count).to_le_bytes();
        self.frame.body_so_far()[..4].copy_from_slice(&rows_length);
        self.frame.body_so_far()[4..8].copy_from_slice(&count);
        self.frame.body().extend_from_slice(ScanEndTable::build(tables, revision, snapshot, resume_key));
        self.frame.finish(&self.head.fields(Flags::NONE))
    }
}
