//! SESSION_OPEN and SESSION_CLOSE: 8 bytes. The reply to either is that of a write.

use crate::body::parts::{expect_end, split_struct};
use crate::body_error::BodyError;
use crate::bytes_at::u64_at;
use crate::frame::Frame;
use crate::frame_writer::FrameWriter;
use crate::header::RequestHead;
use crate::ids::PartitionId;
use crate::limits::SESSION_TTL_MS_MAX;
use crate::opcode::Opcode;

const SIZE_BYTES: usize = 8;

/// Opens a session of a partition, in which writes may be repeated: each is applied once.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 8 | `ttl_ms` |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionOpen {
    /// The partition; travels as the header's target.
    pub partition: PartitionId,
    /// How long the session lives without being used, milliseconds; at most [`SESSION_TTL_MS_MAX`].
    pub ttl_ms: u64,
}

/// Closes a session, which need not be there any more.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 8 | `session` |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionClose {
    /// The partition; travels as the header's target.
    pub partition: PartitionId,
    /// The session's number, as the reply to SESSION_OPEN has it.
    pub session: u64,
}

impl SessionOpen {
    /// Appends the frame to `out`.
    pub fn encode(&self, head: RequestHead, out: &mut Vec<u8>) {
        encode(Opcode::SessionOpen, self.partition, self.ttl_ms, head, out);
    }

    /// Reads a SESSION_OPEN.
    ///
    /// # Errors
    /// A body that is none, or a time that no session may have.
    pub fn decode(frame: &Frame<'_>) -> Result<Self, BodyError> {
        let (partition, ttl_ms) = decode(Opcode::SessionOpen, frame)?;
        if ttl_ms == 0 || ttl_ms > SESSION_TTL_MS_MAX {
            return Err(BodyError::Field { field: "time of a session", found: ttl_ms });
        }
        Ok(Self { partition, ttl_ms })
    }
}

impl SessionClose {
    /// Appends the frame to `out`.
    pub fn encode(&self, head: RequestHead, out: &mut Vec<u8>) {
        encode(Opcode::SessionClose, self.partition, self.session, head, out);
    }

    /// Reads a SESSION_CLOSE.
    ///
    /// # Errors
    /// A body that is none.
    pub fn decode(frame: &Frame<'_>) -> Result<Self, BodyError> {
        let (partition, session) = decode(Opcode::SessionClose, frame)?;
        Ok(Self { partition, session })
    }
}

fn encode(opcode: Opcode, partition: PartitionId, number: u64, head: RequestHead, out: &mut Vec<u8>) {
    let mut frame = FrameWriter::begin(out);
    frame.body().extend_from_slice(&number.to_le_bytes());
    frame.finish(&head.fields(opcode, partition.0));
}

fn decode(opcode: Opcode, frame: &Frame<'_>) -> Result<(PartitionId, u64), BodyError> {
    frame.expect_request(opcode)?;
    let (fixed, rest) = split_struct::<SIZE_BYTES>(frame.body)?;
    expect_end(rest)?;
    Ok((PartitionId(frame.header.fields.target), u64_at(fixed, 0)))
}
