//! PEER_TRANSFER and PEER_TRANSFER_REPLY: the tables of a partition on their way to a replica that lags too far for the log.
//!
//! The lending core sends the parts over its connection; the receiving core answers over the one that it dialled itself. Neither frame has a reply of its own.
//! Frames of one connection arrive in order: a gap in the sequence says that a connection was replaced, and ends the transfer.

use crate::body::{expect_end, expect_zero, split_struct};
use crate::body_error::BodyError;
use crate::bytes_at::{put, u16_at, u32_at, u64_at};
use crate::frame::Frame;
use crate::frame_writer::FrameWriter;
use crate::header::RequestHead;
use crate::ids::{LogIndex, LogPosition, PartitionId, Term};
use crate::limits::PEER_NUMBER_MAX;
use crate::opcode::Opcode;

const HEAD_SIZE_BYTES: usize = 40;
const REPLY_HEAD_SIZE_BYTES: usize = 16;

const PART_BEGIN: u8 = 1;
const PART_TABLE: u8 = 2;
const PART_PIECE: u8 = 3;
const PART_END: u8 = 4;
const PART_CANCEL: u8 = 5;

const OUTCOME_TAKEN: u8 = 1;
const OUTCOME_DONE: u8 = 2;
const OUTCOME_REFUSED: u8 = 3;
const OUTCOME_NEEDED: u8 = 4;
const OUTCOME_DAMAGED: u8 = 5;

/// A part of a transfer, from the core that lends its tables.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 8 | `transfer` |
/// | 8 | 8 | BEGIN: the position's term; PIECE: the offset; else zero |
/// | 16 | 8 | BEGIN: the position's index; else zero |
/// | 24 | 4 | `sequence` |
/// | 28 | 4 | BEGIN: the number of tables; TABLE: the level; else zero |
/// | 32 | 2 | `partition` |
/// | 34 | 1 | the part's kind, from 1: BEGIN, TABLE, PIECE, END, CANCEL |
/// | 35 | 5 | zero |
/// | 40 | | TABLE: what describes it; PIECE: its bytes; else nothing |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerTransfer<'a> {
    /// The transfer's number, unique within the lending core since its start.
    pub transfer: u64,
    /// The partition.
    pub partition: PartitionId,
    /// The part's number in the transfer, from 0.
    pub sequence: u32,
    /// The part.
    pub part: PeerTransferPart<'a>,
}

/// What a part says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PeerTransferPart<'a> {
    /// Tables follow that hold all of the partition through this position.
    Begin {
        /// The last entry that they hold.
        position: LogPosition,
        /// How many there are.
        table_count: u32,
    },
    /// A table follows in pieces.
    Table {
        /// Its level in the tree.
        level: u32,
        /// What its manifest says of it; opaque to this crate.
        description: &'a [u8],
    },
    /// Bytes of the last table.
    Piece {
        /// Where they stand in it.
        offset: u64,
        /// They.
        bytes: &'a [u8],
    },
    /// All was sent.
    End,
    /// No more follows, and what was sent is worth nothing.
    Cancel,
}

/// An answer to parts of a transfer, from the core that receives the tables.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 8 | `transfer` |
/// | 8 | 4 | `sequence` |
/// | 12 | 2 | `partition` |
/// | 14 | 1 | the outcome, from 1: TAKEN, DONE, REFUSED, NEEDED, DAMAGED |
/// | 15 | 1 | zero |
/// | 16 | | REFUSED, DAMAGED: a sentence, UTF-8; else nothing |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerTransferReply<'a> {
    /// The transfer's number.
    pub transfer: u64,
    /// The partition.
    pub partition: PartitionId,
    /// The last part that this answers.
    pub sequence: u32,
    /// What became of the parts up to it.
    pub outcome: PeerTransferOutcome<'a>,
}

/// What became of parts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PeerTransferOutcome<'a> {
    /// They were taken: as many bytes may follow.
    Taken,
    /// The tables are in place, or are not needed any more.
    Done,
    /// The transfer has failed here.
    Refused {
        /// Why.
        message: &'a str,
    },
    /// Said unasked, to whoever leads: this replica's own tables are damaged, and it needs others. The transfer's number and sequence mean nothing.
    Needed,
    /// What was sent is damaged.
    Damaged {
        /// Where.
        message: &'a str,
    },
}

impl<'a> PeerTransfer<'a> {
    /// Appends the frame to `out`.
    ///
    /// # Panics
    /// If a description or piece is longer than a frame's body.
    pub fn encode(&self, head: RequestHead, out: &mut Vec<u8>) {
        let (kind, first, second, number, bytes): (_, u64, u64, u32, &[u8]) = match self.part {
            PeerTransferPart::Begin { position, table_count } => {
                (PART_BEGIN, position.term.0, position.index.0, table_count, &[])
            }
            PeerTransferPart::Table { level, description } => (PART_TABLE, 0, 0, level, description),
            PeerTransferPart::Piece { offset, bytes } => (PART_PIECE, offset, 0, 0, bytes),
            PeerTransferPart::End => (PART_END, 0, 0, 0, &[]),
            PeerTransferPart::Cancel => (PART_CANCEL, 0, 0, 0, &[]),
        };
        let mut fixed = [0; HEAD_SIZE_BYTES];
        put(&mut fixed, 0, self.transfer.to_le_bytes());
        put(&mut fixed, 8, first.to_le_bytes());
        put(&mut fixed, 16, second.to_le_bytes());
        put(&mut fixed, 24, self.sequence.to_le_bytes());
        put(&mut fixed, 28, number.to_le_bytes());
        put(&mut fixed, 32, self.partition.0.to_le_bytes());
        put(&mut fixed, 34, [kind]);
        let mut frame = FrameWriter::begin(out);
        frame.body().extend_from_slice(&fixed);
        frame.body().extend_from_slice(bytes);
        frame.finish(&head.fields(Opcode::PeerTransfer, 0));
    }

    /// Reads a PEER_TRANSFER.
    ///
    /// # Errors
    /// What is wrong with the body.
    pub fn decode(frame: &Frame<'a>) -> Result<Self, BodyError> {
        frame.expect_request(Opcode::PeerTransfer)?;
        let (fixed, bytes) = split_struct::<HEAD_SIZE_BYTES>(frame.body)?;
        let (first, second, number, kind) = (u64_at(fixed, 8), u64_at(fixed, 16), u32_at(fixed, 28), fixed[34]);
        expect_zero("reserved bytes of a transfer", &fixed[35..])?;
        let unused = |from: usize, to: usize| expect_zero("unused bytes of a transfer", &fixed[from..to]);
        let part = match kind {
            PART_BEGIN => {
                expect_end(bytes)?;
                for found in [first, second] {
                    if found > PEER_NUMBER_MAX {
                        return Err(BodyError::Field { field: "position of a transfer", found });
                    }
                }
                let position = LogPosition { term: Term(first), index: LogIndex(second) };
                PeerTransferPart::Begin { position, table_count: number }
            }
            PART_TABLE => {
                unused(8, 24)?;
                PeerTransferPart::Table { level: number, description: bytes }
            }
            PART_PIECE => {
                unused(16, 24)?;
                unused(28, 32)?;
                PeerTransferPart::Piece { offset: first, bytes }
            }
            PART_END | PART_CANCEL => {
                expect_end(bytes)?;
                unused(8, 24)?;
                unused(28, 32)?;
                if kind == PART_END { PeerTransferPart::End } else { PeerTransferPart::Cancel }
            }
            _ => return Err(BodyError::Unsupported { what: "this part of a transfer" }),
        };
        let partition = PartitionId(u16_at(fixed, 32));
        Ok(Self { transfer: u64_at(fixed, 0), partition, sequence: u32_at(fixed, 24), part })
    }
}

impl<'a> PeerTransferReply<'a> {
    /// Appends the frame to `out`.
    ///
    /// # Panics
    /// If the sentence is longer than a frame's body.
    pub fn encode(&self, head: RequestHead, out: &mut Vec<u8>) {
        let (outcome, message) = match self.outcome {
            PeerTransferOutcome::Taken => (OUTCOME_TAKEN, ""),
            PeerTransferOutcome::Done => (OUTCOME_DONE, ""),
            PeerTransferOutcome::Refused { message } => (OUTCOME_REFUSED, message),
            PeerTransferOutcome::Needed => (OUTCOME_NEEDED, ""),
            PeerTransferOutcome::Damaged { message } => (OUTCOME_DAMAGED, message),
        };
        let mut fixed = [0; REPLY_HEAD_SIZE_BYTES];
        put(&mut fixed, 0, self.transfer.to_le_bytes());
        put(&mut fixed, 8, self.sequence.to_le_bytes());
        put(&mut fixed, 12, self.partition.0.to_le_bytes());
        put(&mut fixed, 14, [outcome]);
        let mut frame = FrameWriter::begin(out);
        frame.body().extend_from_slice(&fixed);
        frame.body().extend_from_slice(message.as_bytes());
        frame.finish(&head.fields(Opcode::PeerTransferReply, 0));
    }

    /// Reads a PEER_TRANSFER_REPLY.
    ///
    /// # Errors
    /// What is wrong with the body.
    pub fn decode(frame: &Frame<'a>) -> Result<Self, BodyError> {
        frame.expect_request(Opcode::PeerTransferReply)?;
        let (fixed, bytes) = split_struct::<REPLY_HEAD_SIZE_BYTES>(frame.body)?;
        expect_zero("reserved byte of a transfer's answer", &fixed[15..])?;
        let outcome = match fixed[14] {
            OUTCOME_TAKEN => PeerTransferOutcome::Taken,
            OUTCOME_DONE => PeerTransferOutcome::Done,
            OUTCOME_NEEDED => PeerTransferOutcome::Needed,
            OUTCOME_REFUSED | OUTCOME_DAMAGED => {
                let message = std::str::from_utf8(bytes)
                    .map_err(|_| BodyError::Field { field: "sentence of a refusal", found: bytes.len() as u64 })?;
                if fixed[14] == OUTCOME_REFUSED {
                    PeerTransferOutcome::Refused { message }
                } else {
                    PeerTransferOutcome::Damaged { message }
                }
            }
            _ => return Err(BodyError::Unsupported { what: "this answer to a transfer" }),
        };
        if !matches!(outcome, PeerTransferOutcome::Refused { .. } | PeerTransferOutcome::Damaged { .. }) {
            expect_end(bytes)?;
        }
        Ok(Self {
            transfer: u64_at(fixed, 0),
            partition: PartitionId(u16_at(fixed, 12)),
            sequence: u32_at(fixed, 8),
            outcome,
        })
    }
}
