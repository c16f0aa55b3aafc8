//! Reading one segment: which batches are valid, where the valid ones end, and whether what ends them is a torn tail or damage.
//!
//! The rule. Batch `s` is invalid. It was acknowledged, or may have been, if a later batch of the same life of the segment
//! claims durability through `s` or beyond: then it is damage. Otherwise its write never completed: a torn tail, which is
//! cut. One write is in flight at a time, so nothing valid stands behind a torn tail. Blocks of one write persist in any
//! order, so what stands inside the torn write proves nothing.

use crate::ids::{BatchSequence, Generation};
use crate::limits::LOG_BLOCK_SIZE_BYTES;

use super::batch::{BATCH_HEADER_LENGTH, BatchHeader, BatchInvalid, FLAG_CHECKPOINT, SegmentIdentity};

/// A valid batch and where its payload stands in the segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScannedBatch {
    pub(crate) header: BatchHeader,
    pub(crate) payload_start: usize,
}

/// What stands behind the last valid batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SegmentEnd {
    /// Nothing of this life of the segment: zeros, older remains, or the end of the file.
    Clean,
    /// Remains of a write that never completed.
    Torn { offset: u64 },
    /// A batch that a later one proves to have been durable.
    Damaged { offset: u64, proof_offset: u64 },
    /// A batch of another format version.
    UnknownVersion { offset: u64, version: u16 },
}

/// A segment's valid batches, from its checkpoint on.
#[derive(Debug)]
pub(crate) struct ScannedSegment {
    pub(crate) identity: SegmentIdentity,
    pub(crate) batches: Vec<ScannedBatch>,
    /// The sequence of the batch that would stand next.
    pub(crate) sequence_next: BatchSequence,
    /// The offset at which it would stand, bytes.
    pub(crate) end_offset: u64,
    pub(crate) end: SegmentEnd,
}

impl ScannedSegment {
    /// Whether the writer had just begun to reuse the file: the checkpoint is all there is of this life, and behind it stand batches of an
    /// older one. `bytes` are the segment's.
    pub(crate) fn was_being_recycled(&self, bytes: &[u8]) -> bool {
        let end = usize::try_from(self.end_offset).expect("an offset in memory");
        let is_older = |(_, header): (u64, BatchHeader)| header.segment.generation < self.identity.generation;
        self.batches.len() == 1 && later_headers(bytes, end).any(is_older)
    }
}

/// What the first bytes of a segment file say.
#[derive(Debug)]
pub(crate) enum SegmentScan {
    /// A segment that was opened, with its batches.
    Opened(ScannedSegment),
    /// No valid checkpoint at the start, and nothing that proves there was one: free, or torn while it was being opened.
    Free,
    /// No valid checkpoint at the start, but later batches of generation `generation` prove that there was one.
    CheckpointDamaged { generation: Generation, proof_offset: u64 },
    /// The checkpoint at the start is longer than the file, which no write makes.
    CheckpointCut { length: usize },
    /// The file was written by a program of another version.
    UnknownVersion { version: u16 },
}

/// Scans a whole segment file's bytes.
pub(crate) fn scan_segment(bytes: &[u8]) -> SegmentScan {
    let first = match BatchHeader::decode(bytes, 0) {
        Err(BatchInvalid::UnknownVersion(version)) => return SegmentScan::UnknownVersion { version },
        Ok(header) if header.stored_length() > bytes.len() => {
            return SegmentScan::CheckpointCut { length: header.stored_length() };
        }
        Ok(header) if header.flags & FLAG_CHECKPOINT != 0 && header.payload(bytes).is_ok() => header,
        _ => return scan_without_checkpoint(bytes),
    };
    let identity = first.segment;
    let mut segment = ScannedSegment {
        identity,
        batches: Vec::new(),
        sequence_next: first.sequence,
        end_offset: 0,
        end: SegmentEnd::Clean,
    };
    let mut offset = 0;
    segment.end = loop {
        if offset >= bytes.len() {
            break SegmentEnd::Clean;
        }
        match valid_batch(&bytes[offset..], offset, identity, segment.sequence_next) {
            Ok(header) => {
                segment.batches.push(ScannedBatch { header, payload_start: offset + BATCH_HEADER_LENGTH });
                segment.sequence_next = header.sequence.next();
                offset += header.stored_length();
            }
            // Remains of an older life may be of an older version; only a batch of this life counts.
            Err(BatchInvalid::UnknownVersion(version)) if is_of_life(&bytes[offset..], identity) => {
                break SegmentEnd::UnknownVersion { offset: offset as u64, version };
            }
            Err(_) => break classify_end(bytes, offset, identity, segment.sequence_next),
        }
    };
    segment.end_offset = offset as u64;
    SegmentScan::Opened(segment)
}

fn valid_batch(
    bytes: &[u8],
    offset: usize,
    identity: SegmentIdentity,
    sequence: BatchSequence,
) -> Result<BatchHeader, BatchInvalid> {
    let header = BatchHeader::decode(bytes, offset as u64)?;
    if header.segment != identity || header.sequence != sequence {
        return Err(BatchInvalid::Header);
    }
    header.payload(bytes)?;
    Ok(header)
}

fn classify_end(bytes: &[u8], offset: usize, identity: SegmentIdentity, sequence: BatchSequence) -> SegmentEnd {
    for (later, header) in later_headers(bytes, offset + LOG_BLOCK_SIZE_BYTES) {
        if header.segment == identity && header.durable_through >= sequence {
            return SegmentEnd::Damaged { offset: offset as u64, proof_offset: later };
        }
    }
    // The header names this life of the segment even where its checksum no longer holds.
    if is_of_life(&bytes[offset..], identity) { SegmentEnd::Torn { offset: offset as u64 } } else { SegmentEnd::Clean }
}

fn is_of_life(batch: &[u8], identity: SegmentIdentity) -> bool {
    batch.get(16..24) == Some(&identity.salt.to_le_bytes())
}

fn scan_without_checkpoint(bytes: &[u8]) -> SegmentScan {
    let newest = later_headers(bytes, LOG_BLOCK_SIZE_BYTES).max_by_key(|(_, header)| header.segment.generation);
    match newest {
        Some((proof_offset, header)) => {
            SegmentScan::CheckpointDamaged { generation: header.segment.generation, proof_offset }
        }
        None => SegmentScan::Free,
    }
}

/// The valid batch headers at block boundaries from `start` on, with their offsets.
fn later_headers(bytes: &[u8], start: usize) -> impl Iterator<Item = (u64, BatchHeader)> {
    (start..bytes.len()).step_by(LOG_BLOCK_SIZE_BYTES).filter_map(|offset| {
        let header = BatchHeader::decode(&bytes[offset..], offset as u64).ok()?;
        Some((offset as u64, header))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io_buffer::IoBuffer;

    /// A batch of one block.
    fn batch(generation: u64, sequence: u64, block: usize, flags: u16) -> IoBuffer {
        let header = BatchHeader {
            segment: SegmentIdentity { generation: Generation(generation), salt: generation * 1000 },
            sequence: BatchSequence(sequence),
            durable_through: BatchSequence(sequence - 1),
            offset: (block * LOG_BLOCK_SIZE_BYTES) as u64,
            payload_length: 0,
            payload_crc: 0,
            record_count: 0,
            flags,
        };
        let mut bytes = IoBuffer::zeroed(BATCH_HEADER_LENGTH);
        header.seal(&mut bytes);
        bytes.pad_to(LOG_BLOCK_SIZE_BYTES);
        bytes
    }

    /// A file in which generation 1 has written a checkpoint and two batches, and generation 2 then as many batches as `reused` says.
    fn segment(reused: usize) -> IoBuffer {
        let mut bytes = IoBuffer::zeroed(4 * LOG_BLOCK_SIZE_BYTES);
        for (generation, count) in [(1, 3), (2, reused)] {
            for block in 0..count {
                let flags = if block == 0 { FLAG_CHECKPOINT } else { 0 };
                let start = block * LOG_BLOCK_SIZE_BYTES;
                let stored = batch(generation, generation * 100 + block as u64, block, flags);
                bytes[start..start + LOG_BLOCK_SIZE_BYTES].copy_from_slice(&stored);
            }
        }
        bytes
    }

    fn was_being_recycled(bytes: &[u8]) -> bool {
        let SegmentScan::Opened(scanned) = scan_segment(bytes) else { panic!("the checkpoint is valid") };
        scanned.was_being_recycled(bytes)
    }

    #[test]
    fn a_segment_with_its_checkpoint_before_older_batches_was_being_recycled() {
        assert!(was_being_recycled(&segment(1)));
        assert!(!was_being_recycled(&segment(2)), "records were written to it");
        assert!(!was_being_recycled(&segment(0)), "all of it is of one life");
    }

    #[test]
    fn a_first_checkpoint_in_a_file_of_zeros_recycles_nothing() {
        let mut bytes = segment(0);
        bytes[LOG_BLOCK_SIZE_BYTES..].fill(0);
        assert!(!was_being_recycled(&bytes));
    }
}
