//! PEER_STATE_HASHES: what a replica has applied, as a rolling hash, for comparison with another replica's.
//!
//! A follower sends its leader the hash of its last entry now and then. A leader that finds it to differ answers with all that it still has up to there, and the
//! follower with its own, so that both find the first entry from which they differ. The frame has no reply of its own.

use crate::body::{expect_zero, split_struct};
use crate::body_error::BodyError;
use crate::bytes_at::{put, u16_at, u64_at};
use crate::frame::Frame;
use crate::frame_writer::FrameWriter;
use crate::header::RequestHead;
use crate::ids::{LogIndex, PartitionId};
use crate::limits::PEER_NUMBER_MAX;
use crate::opcode::Opcode;

const HEAD_SIZE_BYTES: usize = 16;
const HASH_SIZE_BYTES: usize = 8;

/// Hashes of a partition's state after entries that follow each other.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 8 | `first` |
/// | 8 | 2 | `partition` |
/// | 10 | 6 | zero |
/// | 16 | | `hashes`, 8 bytes each, at least one |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerStateHashes<'a> {
    /// The partition.
    pub partition: PartitionId,
    /// The entry that the first hash belongs to.
    pub first: LogIndex,
    /// The hashes, little-endian.
    hashes: &'a [[u8; HASH_SIZE_BYTES]],
}

impl<'a> PeerStateHashes<'a> {
    /// The hashes with the entries that they belong to.
    pub fn hashes(&self) -> impl Iterator<Item = (LogIndex, u64)> + use<'a> {
        (self.first.0..).map(LogIndex).zip(self.hashes.iter().map(|hash| u64::from_le_bytes(*hash)))
    }

    /// Appends a frame to `out`.
    ///
    /// # Panics
    /// If there is no hash, or they are longer than a frame's body.
    pub fn encode(
        partition: PartitionId,
        first: LogIndex,
        hashes: impl IntoIterator<Item = u64>,
        head: RequestHead,
        out: &mut Vec<u8>,
    ) {
        let mut fixed = [0; HEAD_SIZE_BYTES];
        put(&mut fixed, 0, first.0.to_le_bytes());
        put(&mut fixed, 8, partition.0.to_le_bytes());
        let mut frame = FrameWriter::begin(out);
        frame.body().extend_from_slice(&fixed);
        let mut count = 0;
        for hash in hashes {
            frame.body().extend_from_slice(&hash.to_le_bytes());
            count += 1;
        }
        assert!(count > 0, "a frame without hashes says nothing");
        frame.finish(&head.fields(Opcode::PeerStateHashes, 0));
    }

    /// Reads a PEER_STATE_HASHES.
    ///
    /// # Errors
    /// What is wrong with the body.
    pub fn decode(frame: &Frame<'a>) -> Result<Self, BodyError> {
        frame.expect_request(Opcode::PeerStateHashes)?;
        let (fixed, bytes) = split_struct::<HEAD_SIZE_BYTES>(frame.body)?;
        expect_zero("reserved bytes of state hashes", &fixed[10..])?;
        let (hashes, rest) = bytes.as_chunks::<HASH_SIZE_BYTES>();
        if hashes.is_empty() || !rest.is_empty() {
            return Err(BodyError::Field { field: "length of state hashes", found: bytes.len() as u64 });
        }
        let first = u64_at(fixed, 0);
        if first > PEER_NUMBER_MAX {
            return Err(BodyError::Field { field: "index of state hashes", found: first });
        }
        Ok(Self { partition: PartitionId(u16_at(fixed, 8)), first: LogIndex(first), hashes })
    }
}
