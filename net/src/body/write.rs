//! PUT: 24 bytes, key, value. DELETE: 8 bytes and the key. The reply to either: 16 bytes.

use crate::body::parts::{
    Durability, SessionPrefix, Value, check_key_length, check_slot, check_value_length, expect_end,
    expect_no_condition, expect_zero, split_bytes, split_struct,
};
use crate::body_error::BodyError;
use crate::bytes_at::{length_u32, put, u32_at, u64_at};
use crate::frame::Frame;
use crate::frame_writer::FrameWriter;
use crate::header::{Flags, HeaderFields, ReplyHead, RequestHead};
use crate::ids::Revision;
use crate::opcode::Opcode;
use crate::slot::Slot;

/// Writes one key.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 8 | `ttl_ms`, 0 for none |
/// | 8 | 4 | `key_length` |
/// | 12 | 4 | `value_length` |
/// | 16 | 4 | `value_crc` |
/// | 20 | 1 | `durability` |
/// | 21 | 1 | `condition`: 0 none; others are reserved |
/// | 22 | 2 | zero |
/// | 24 | `key_length` | key |
/// | | `value_length` | value |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PutRequest<'a> {
    /// The key's slot; travels as the header's target.
    pub slot: Slot,
    /// The key.
    pub key: &'a [u8],
    /// The value with its writer's checksum, which the server [verifies](Value::verify) before it executes.
    pub value: Value<'a>,
    /// Milliseconds from execution to expiry; 0 for never. The server makes it absolute in log time.
    pub ttl_ms: u64,
    /// What the write waits for.
    pub durability: Durability,
}

/// Deletes one key, whether or not it exists.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 4 | `key_length` |
/// | 4 | 1 | `durability` |
/// | 5 | 1 | `condition`: 0 none; others are reserved |
/// | 6 | 2 | zero |
/// | 8 | `key_length` | key |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeleteRequest<'a> {
    /// The key's slot; travels as the header's target.
    pub slot: Slot,
    /// The key.
    pub key: &'a [u8],
    /// What the write waits for.
    pub durability: Durability,
}

/// The answer to a PUT or DELETE that was applied, or to SESSION_OPEN or SESSION_CLOSE.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 8 | `revision` |
/// | 8 | 1 | `durability` |
/// | 9 | 1 | `status`: 0 applied; others are reserved |
/// | 10 | 6 | zero |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WriteReply {
    /// The revision that the write got. That of a SESSION_OPEN is the session's number.
    pub revision: Revision,
    /// What it waited for.
    pub durability: Durability,
}

const PUT_SIZE_BYTES: usize = 24;
const DELETE_SIZE_BYTES: usize = 8;
const REPLY_SIZE_BYTES: usize = 16;

fn in_session(fields: HeaderFields) -> HeaderFields {
    HeaderFields { flags: fields.flags.with(Flags::SESSION), ..fields }
}

impl<'a> PutRequest<'a> {
    /// Appends the frame to `out`.
    ///
    /// # Panics
    /// If a length is out of bounds; [`check_key`](crate::body::check_key) and
    /// [`check_value`](crate::body::check_value) first.
    #[inline]
    pub fn encode(&self, head: RequestHead, out: &mut Vec<u8>) {
        assert!(check_key_length(self.key.len()).is_ok(), "a key of {} bytes", self.key.len());
        assert!(check_value_length(self.value.bytes.len()).is_ok(), "a value above the limit");
        let mut frame = FrameWriter::begin(out);
        self.write_body(frame.body());
        frame.finish(&head.fields(Opcode::Put, self.slot.get()));
    }

    /// As [`encode`](Self::encode), with the write's place in its session.
    ///
    /// # Panics
    /// As [`encode`](Self::encode).
    pub fn encode_in_session(&self, session: SessionPrefix, head: RequestHead, out: &mut Vec<u8>) {
        assert!(check_key_length(self.key.len()).is_ok(), "a key of {} bytes", self.key.len());
        assert!(check_value_length(self.value.bytes.len()).is_ok(), "a value above the limit");
        let mut frame = FrameWriter::begin(out);
        frame.body().extend_from_slice(&session.encode());
        self.write_body(frame.body());
        frame.finish(&in_session(head.fields(Opcode::Put, self.slot.get())));
    }

    #[inline]
    fn write_body(&self, out: &mut Vec<u8>) {
        let mut fixed = [0; PUT_SIZE_BYTES];
        put(&mut fixed, 0, self.ttl_ms.to_le_bytes());
        put(&mut fixed, 8, length_u32(self.key.len()).to_le_bytes());
        put(&mut fixed, 12, length_u32(self.value.bytes.len()).to_le_bytes());
        put(&mut fixed, 16, self.value.crc.to_le_bytes());
        fixed[20] = self.durability as u8;
        out.extend_from_slice(&fixed);
        out.extend_from_slice(self.key);
        out.extend_from_slice(self.value.bytes);
    }

    /// Reads a PUT. The value's own checksum is the caller's to [verify](Value::verify).
    ///
    /// # Errors
    /// A body that is no PUT, a length out of bounds, or a slot that is not the key's.
    #[inline]
    pub fn decode(frame: &Frame<'a>) -> Result<Self, BodyError> {
        frame.expect_request(Opcode::Put)?;
        let (fixed, rest) = split_struct::<PUT_SIZE_BYTES>(frame.body)?;
        let key_length = u32_at(fixed, 8) as usize;
        let value_length = u32_at(fixed, 12) as usize;
        check_key_length(key_length)?;
        check_value_length(value_length)?;
        let durability = Durability::from_wire(fixed[20])?;
        expect_no_condition(fixed[21])?;
        expect_zero("reserved bytes of PUT", &fixed[22..])?;
        let (key, rest) = split_bytes(rest, key_length)?;
        let (bytes, rest) = split_bytes(rest, value_length)?;
        expect_end(rest)?;
        let slot = check_slot(key, frame.header.fields.target)?;
        let value = Value { bytes, crc: u32_at(fixed, 16) };
        Ok(Self { slot, key, value, ttl_ms: u64_at(fixed, 0), durability })
    }
}

impl<'a> DeleteRequest<'a> {
    /// Appends the frame to `out`.
    ///
    /// # Panics
    /// If the key's length is out of bounds; [`check_key`](crate::body::check_key) first.
    #[inline]
    pub fn encode(&self, head: RequestHead, out: &mut Vec<u8>) {
        assert!(check_key_length(self.key.len()).is_ok(), "a key of {} bytes", self.key.len());
        let mut frame = FrameWriter::begin(out);
        self.write_body(frame.body());
        frame.finish(&head.fields(Opcode::Delete, self.slot.get()));
    }

    /// As [`encode`](Self::encode), with the write's place in its session.
    ///
    /// # Panics
    /// As [`encode`](Self::encode).
    pub fn encode_in_session(&self, session: SessionPrefix, head: RequestHead, out: &mut Vec<u8>) {
        assert!(check_key_length(self.key.len()).is_ok(), "a key of {} bytes", self.key.len());
        let mut frame = FrameWriter::begin(out);
        frame.body().extend_from_slice(&session.encode());
        self.write_body(frame.body());
        frame.finish(&in_session(head.fields(Opcode::Delete, self.slot.get())));
    }

    #[inline]
    fn write_body(&self, out: &mut Vec<u8>) {
        let mut fixed = [0; DELETE_SIZE_BYTES];
        put(&mut fixed, 0, length_u32(self.key.len()).to_le_bytes());
        fixed[4] = self.durability as u8;
        out.extend_from_slice(&fixed);
        out.extend_from_slice(self.key);
    }

    /// Reads a DELETE.
    ///
    /// # Errors
    /// A body that is no DELETE, or a slot that is not the key's.
    #[inline]
    pub fn decode(frame: &Frame<'a>) -> Result<Self, BodyError> {
        frame.expect_request(Opcode::Delete)?;
        let (fixed, rest) = split_struct::<DELETE_SIZE_BYTES>(frame.body)?;
        let key_length = u32_at(fixed, 0) as usize;
        check_key_length(key_length)?;
        let durability = Durability::from_wire(fixed[4])?;
        expect_no_condition(fixed[5])?;
        expect_zero("reserved bytes of DELETE", &fixed[6..])?;
        let (key, rest) = split_bytes(rest, key_length)?;
        expect_end(rest)?;
        let slot = check_slot(key, frame.header.fields.target)?;
        Ok(Self { slot, key, durability })
    }
}

impl WriteReply {
    /// Appends the frame to `out`; `head` says whether it answers a PUT or a DELETE.
    #[inline]
    pub fn encode(&self, head: ReplyHead, out: &mut Vec<u8>) {
        let mut fixed = [0; REPLY_SIZE_BYTES];
        put(&mut fixed, 0, self.revision.0.to_le_bytes());
        fixed[8] = self.durability as u8;
        let mut frame = FrameWriter::begin(out);
        frame.body().extend_from_slice(&fixed);
        frame.finish(&head.fields(Flags::NONE));
    }

    /// Reads the answer to `opcode`, a PUT, DELETE, SESSION_OPEN or SESSION_CLOSE.
    ///
    /// # Errors
    /// A body that is no such answer.
    #[inline]
    pub fn decode(frame: &Frame<'_>, opcode: Opcode) -> Result<Self, BodyError> {
        frame.expect_reply(opcode)?;
        let (fixed, rest) = split_struct::<REPLY_SIZE_BYTES>(frame.body)?;
        expect_end(rest)?;
        let durability = Durability::from_wire(fixed[8])?;
        expect_zero("status and reserved bytes of a write's reply", &fixed[9..])?;
        Ok(Self { revision: Revision(u64_at(fixed, 0)), durability })
    }
}
