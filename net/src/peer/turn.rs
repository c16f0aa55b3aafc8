//! PEER_TURN as it arrives: 24 bytes, then messages.

use crate::body::{expect_end, expect_zero, split_struct};
use crate::body_error::BodyError;
use crate::bytes_at::{u32_at, u64_at};
use crate::frame::Frame;
use crate::ids::{BootId, PartitionId};
use crate::opcode::Opcode;
use crate::peer::message::PeerMessage;

pub(crate) const TURN_HEAD_SIZE_BYTES: usize = 24;

/// Everything that a core says to a core of another node in one turn, or as much of it as fits a frame. Checked whole.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 8 | `boot` |
/// | 8 | 8 | `turn`, from 1 |
/// | 16 | 4 | `message_count` |
/// | 20 | 4 | zero |
/// | 24 | | `message_count` times a [`PeerMessage`] |
#[derive(Clone, Copy, Debug)]
pub struct PeerTurn<'a> {
    /// The start of the sender's process: another one means that it forgot what it had not stored.
    pub boot: BootId,
    /// The frame's number among those that the sending core sent to the receiving one since that start, from 1. Frames of
    /// one connection arrive in order, so that a gap or a step back means that a connection was replaced.
    pub turn: u64,
    count: usize,
    /// Invariant: `count` messages that [`PeerMessage::split`] accepts, their entries checked, and nothing else.
    messages: &'a [u8],
}

impl<'a> PeerTurn<'a> {
    /// Reads a PEER_TURN and checks every message and every entry, payloads and their checksums included.
    ///
    /// # Errors
    /// The first thing that is wrong. No message is to be taken then.
    pub fn decode(frame: &Frame<'a>) -> Result<Self, BodyError> {
        frame.expect_request(Opcode::PeerTurn)?;
        let (head, messages) = split_struct::<TURN_HEAD_SIZE_BYTES>(frame.body)?;
        let (turn, count) = (u64_at(head, 8), u32_at(head, 16) as usize);
        if turn == 0 {
            return Err(BodyError::Field { field: "number of a turn", found: 0 });
        }
        expect_zero("reserved bytes of a turn", &head[20..])?;
        let mut rest = messages;
        for _ in 0..count {
            let (_, message, after) = PeerMessage::split(rest)?;
            if let PeerMessage::Append(append, entries) = message {
                entries.check(&append)?;
            }
            rest = after;
        }
        expect_end(rest)?;
        Ok(Self { boot: BootId(u64_at(head, 0)), turn, count, messages })
    }

    /// The messages, in the order in which they were said, each with the partition whose group it belongs to.
    #[must_use]
    pub fn messages(&self) -> PeerMessages<'a> {
        PeerMessages { remaining: self.count, rest: self.messages }
    }

    /// How many messages it has. One without any is a beat.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }
}

/// The messages of a checked turn.
#[derive(Clone, Debug)]
pub struct PeerMessages<'a> {
    remaining: usize,
    rest: &'a [u8],
}

impl<'a> Iterator for PeerMessages<'a> {
    type Item = (PartitionId, PeerMessage<'a>);

    #[inline]
    fn next(&mut self) -> Option<(PartitionId, PeerMessage<'a>)> {
        self.remaining = self.remaining.checked_sub(1)?;
        let (partition, message, rest) = PeerMessage::split(self.rest).expect("PeerTurn::decode checked every message");
        self.rest = rest;
        Some((partition, message))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.remaining, Some(self.remaining))
    }
}

impl ExactSizeIterator for PeerMessages<'_> {}
