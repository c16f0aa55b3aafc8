//! GET: 8 bytes and the key. Its reply: 32 bytes and the value.

use crate::body::parts::{
    ReadLevel, Value, check_key_length, check_slot, check_value_length, expect_end, expect_zero, split_bytes,
    split_struct,
};
use crate::body_error::BodyError;
use crate::bytes_at::{length_u32, put, u32_at, u64_at};
use crate::frame::Frame;
use crate::frame_writer::FrameWriter;
use crate::header::{Flags, ReplyHead, RequestHead};
use crate::ids::Revision;
use crate::opcode::Opcode;
use crate::slot::Slot;

/// Reads one key.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 4 | `key_length` |
/// | 4 | 1 | `level` |
/// | 5 | 3 | zero |
/// | 8 | `key_length` | key |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GetRequest<'a> {
    /// The key's slot; travels as the header's target.
    pub slot: Slot,
    /// The key.
    pub key: &'a [u8],
    /// What the read may see.
    pub level: ReadLevel,
}

const REQUEST_SIZE_BYTES: usize = 8;
/// Bytes before the value of a reply, of a batch's result and of a scan's row.
pub(crate) const FOUND_SIZE_BYTES: usize = 32;

impl<'a> GetRequest<'a> {
    /// Appends the frame to `out`.
    ///
    /// # Panics
    /// If the key's length is out of bounds; [`check_key`](crate::body::check_key) first.
    #[inline]
    pub fn encode(&self, head: RequestHead, out: &mut Vec<u8>) {
        assert!(check_key_length(self.key.len()).is_ok(), "a key of {} bytes", self.key.len());
        let mut fixed = [0; REQUEST_SIZE_BYTES];
        put(&mut fixed, 0, length_u32(self.key.len()).to_le_bytes());
        fixed[4] = self.level as u8;
        let mut frame = FrameWriter::begin(out);
        frame.body().extend_from_slice(&fixed);
        frame.body().extend_from_slice(self.key);
        frame.finish(&head.fields(Opcode::Get, self.slot.get()));
    }

    /// Reads a GET.
    ///
    /// # Errors
    /// A body that is no GET, or a slot that is not the key's.
    #[inline]
    pub fn decode(frame: &Frame<'a>) -> Result<Self, BodyError> {
        frame.expect_request(Opcode::Get)?;
        let (fixed, rest) = split_struct::<REQUEST_SIZE_BYTES>(frame.body)?;
        let key_length = u32_at(fixed, 0) as usize;
        check_key_length(key_length)?;
        let level = ReadLevel::from_wire(fixed[4])?;
        expect_zero("reserved bytes of GET", &fixed[5..])?;
        let (key, rest) = split_bytes(rest, key_length)?;
        expect_end(rest)?;
        let slot = check_slot(key, frame.header.fields.target)?;
        Ok(Self { slot, key, level })
    }
}

/// A value that was found, and what is known about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found<'a> {
    /// The revision that wrote it.
    pub revision: Revision,
    /// When it expires: milliseconds since the Unix epoch in the partition's log time; 0 for never.
    pub deadline_ms: u64,
    /// The value.
    pub value: Value<'a>,
}

/// The answer to a GET.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 8 | `revision`, 0 if absent |
/// | 8 | 8 | `deadline_ms`, 0 for none |
/// | 16 | 4 | `value_length` |
/// | 20 | 4 | `value_crc` |
/// | 24 | 1 | `status`: 0 found, 1 absent |
/// | 25 | 7 | zero |
/// | 32 | `value_length` | value |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GetReply<'a> {
    /// The key has no value. Not an error.
    Absent,
    /// The key's value.
    Found(Found<'a>),
}

const STATUS_FOUND: u8 = 0;
const STATUS_ABSENT: u8 = 1;

impl<'a> GetReply<'a> {
    /// Appends the frame to `out`.
    ///
    /// # Panics
    /// If the value exceeds the limit, which no stored value does.
    #[inline]
    pub fn encode(&self, head: ReplyHead, out: &mut Vec<u8>) {
        let mut fixed = [0; FOUND_SIZE_BYTES];
        let mut bytes: &[u8] = &[];
        match self {
            Self::Absent => fixed[24] = STATUS_ABSENT,
            Self::Found(found) => {
                assert!(check_value_length(found.value.bytes.len()).is_ok(), "a value above the limit");
                put(&mut fixed, 0, found.revision.0.to_le_bytes());
                put(&mut fixed, 8, found.deadline_ms.to_le_bytes());
                put(&mut fixed, 16, length_u32(found.value.bytes.len()).to_le_bytes());
                put(&mut fixed, 20, found.value.crc.to_le_bytes());
                fixed[24] = STATUS_FOUND;
                bytes = found.value.bytes;
            }
        }
        let mut frame = FrameWriter::begin(out);
        frame.body().extend_from_slice(&fixed);
        frame.body().extend_from_slice(bytes);
        frame.finish(&head.fields(Flags::NONE));
    }

    /// Reads the answer to a GET. The value's own checksum is the caller's to [verify](Value::verify).
    ///
    /// # Errors
    /// A body that is no answer to a GET.
    #[inline]
    pub fn decode(frame: &Frame<'a>) -> Result<Self, BodyError> {
        frame.expect_reply(Opcode::Get)?;
        let (fixed, rest) = split_struct::<FOUND_SIZE_BYTES>(frame.body)?;
        let value_length = u32_at(fixed, 16) as usize;
        check_value_length(value_length)?;
        expect_zero("reserved bytes of the reply to GET", &fixed[25..])?;
        let (bytes, rest) = split_bytes(rest, value_length)?;
        expect_end(rest)?;
        match fixed[24] {
            STATUS_FOUND => Ok(Self::Found(Found {
                revision: Revision(u64_at(fixed, 0)),
                deadline_ms: u64_at(fixed, 8),
                value: Value { bytes, crc: u32_at(fixed, 20) },
            })),
            STATUS_ABSENT => {
                expect_zero("fields of an absent key", &fixed[..24])?;
                Ok(Self::Absent)
            }
            status => Err(BodyError::Field { field: "status of GET", found: u64::from(status) }),
        }
    }
}
