//! The batch: the unit of durability. One batch is one write.
//!
//! A batch starts on a fresh 4 KiB block and is padded to whole blocks; a block that holds acknowledged records is never
//! written again. Its header is 64 bytes, little-endian; see `docs/formats/log.md`.
//!
//! The checksum covers the segment's generation, its salt and the batch's own offset, so that neither a stale batch of
//! the file's earlier life, nor a misplaced one, nor bytes that a user stored to look like one, pass for live.

use crate::bytes_io::{ByteSink, FieldReader, length_u32};
use crate::ids::{BatchSequence, Generation};
use crate::io_buffer::IoBuffer;
use crate::limits::{LOG_BLOCK_SIZE_BYTES, LOG_WRITE_SIZE_BYTES_MAX};

/// The header's length, bytes.
pub(crate) const BATCH_HEADER_LENGTH: usize = 64;
/// The longest payload of a batch, bytes.
pub(crate) const BATCH_PAYLOAD_LENGTH_MAX: usize = LOG_WRITE_SIZE_BYTES_MAX - BATCH_HEADER_LENGTH;
/// The version of the log's format that this program writes, and the newest it reads.
pub const LOG_FORMAT_VERSION: u16 = 1;

const MAGIC: u32 = u32::from_le_bytes(*b"CLOG");
/// The header's checksum covers everything behind itself.
const CHECKED_FROM: usize = 8;

/// The first batch of a segment: a segment header and the state of every stream.
pub(crate) const FLAG_CHECKPOINT: u16 = 1;
/// A batch without records, written when the log falls idle, to say that the batch before it is durable.
pub(crate) const FLAG_MARKER: u16 = 2;

/// Which life of which segment a batch belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SegmentIdentity {
    pub(crate) generation: Generation,
    /// Random for each life, so that stored values cannot imitate a batch.
    pub(crate) salt: u64,
}

/// A batch's header without its checksums.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BatchHeader {
    pub(crate) segment: SegmentIdentity,
    pub(crate) sequence: BatchSequence,
    /// The last batch known durable when this one was written; every batch up to it was acknowledged or may have been.
    pub(crate) durable_through: BatchSequence,
    /// The offset in the segment at which this batch starts, bytes.
    pub(crate) offset: u64,
    pub(crate) payload_length: usize,
    pub(crate) payload_crc: u32,
    pub(crate) record_count: u32,
    pub(crate) flags: u16,
}

/// Why bytes are not a valid batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BatchInvalid {
    /// Not a header of ours: zeros, remains of something else, or damaged.
    Header,
    /// A valid header of another version of the format.
    UnknownVersion(u16),
    /// The header is valid, the payload is not, or not all of it is there.
    Payload,
}

impl BatchHeader {
    /// The blocks the batch takes up, bytes.
    pub(crate) fn stored_length(&self) -> usize {
        (BATCH_HEADER_LENGTH + self.payload_length).next_multiple_of(LOG_BLOCK_SIZE_BYTES)
    }

    /// Writes the header over the first 64 bytes of `batch`, computing both checksums; the payload stands behind them.
    pub(crate) fn seal(mut self, batch: &mut IoBuffer) {
        assert_eq!(
            batch.len(),
            BATCH_HEADER_LENGTH + self.payload_length,
            "the payload stands behind the header's place"
        );
        assert!(self.payload_length <= BATCH_PAYLOAD_LENGTH_MAX, "a payload of {} bytes", self.payload_length);
        assert!(self.durable_through < self.sequence, "a batch cannot know itself durable");
        self.payload_crc = crc32fast::hash(&batch[BATCH_HEADER_LENGTH..]);
        let mut fields = Vec::with_capacity(BATCH_HEADER_LENGTH);
        fields.put_u64(self.segment.generation.0);
        fields.put_u64(self.segment.salt);
        fields.put_u64(self.sequence.0);
        fields.put_u64(self.durable_through.0);
        fields.put_u64(self.offset);
        fields.put_u32(length_u32(self.payload_length));
        fields.put_u32(self.payload_crc);
        fields.put_u32(self.record_count);
        fields.put_u16(self.flags);
        fields.put_u16(LOG_FORMAT_VERSION);
        batch[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        batch[4..8].copy_from_slice(&crc32fast::hash(&fields).to_le_bytes());
        batch[CHECKED_FROM..BATCH_HEADER_LENGTH].copy_from_slice(&fields);
    }

    /// Reads and checks a header. `bytes` are those at `offset` of a segment, at least 64 of them.
    pub(crate) fn decode(bytes: &[u8], offset: u64) -> Result<Self, BatchInvalid> {
        let header = bytes.get(..BATCH_HEADER_LENGTH).ok_or(BatchInvalid::Header)?;
        let mut prefix = FieldReader::new(header);
        if prefix.u32() != Some(MAGIC) || prefix.u32() != Some(crc32fast::hash(&header[CHECKED_FROM..])) {
            return Err(BatchInvalid::Header);
        }
        let mut fields = FieldReader::new(&header[CHECKED_FROM..]);
        let mut decode = || {
            let segment = SegmentIdentity { generation: Generation(fields.u64()?), salt: fields.u64()? };
            let sequence = BatchSequence(fields.u64()?);
            let durable_through = BatchSequence(fields.u64()?);
            let offset = fields.u64()?;
            let payload_length = usize::try_from(fields.u32()?).ok()?;
            let payload_crc = fields.u32()?;
            let record_count = fields.u32()?;
            let flags = fields.u16()?;
            let version = fields.u16()?;
            let header =
                Self { segment, sequence, durable_through, offset, payload_length, payload_crc, record_count, flags };
            Some((header, version))
        };
        let (header, version) = decode().ok_or(BatchInvalid::Header)?;
        if version != LOG_FORMAT_VERSION {
            return Err(BatchInvalid::UnknownVersion(version));
        }
        if header.offset != offset || header.payload_length > BATCH_PAYLOAD_LENGTH_MAX {
            return Err(BatchInvalid::Header);
        }
        Ok(header)
    }

    /// The payload of this batch out of the bytes from its start on, if it is there and its checksum holds.
    pub(crate) fn payload<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], BatchInvalid> {
        let payload =
            bytes.get(BATCH_HEADER_LENGTH..BATCH_HEADER_LENGTH + self.payload_length).ok_or(BatchInvalid::Payload)?;
        if crc32fast::hash(payload) == self.payload_crc { Ok(payload) } else { Err(BatchInvalid::Payload) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(payload: &[u8]) -> (BatchHeader, IoBuffer) {
        let header = BatchHeader {
            segment: SegmentIdentity { generation: Generation(7), salt: 0x0123_4567_89ab_cdef },
            sequence: BatchSequence(42),
            durable_through: BatchSequence(41),
            offset: 8192,
            payload_length: payload.len(),
            payload_crc: crc32fast::hash(payload),
            record_count: 3,
            flags: FLAG_CHECKPOINT,
        };
        let mut batch = IoBuffer::zeroed(BATCH_HEADER_LENGTH);
        batch.extend_from_slice(payload);
        header.seal(&mut batch);
        batch.pad_to(LOG_BLOCK_SIZE_BYTES);
        (header, batch)
    }

    #[test]
    fn round_trips() {
        let (header, batch) = sealed(b"records");
        assert_eq!(BatchHeader::decode(&batch, 8192), Ok(header));
        assert_eq!(header.payload(&batch), Ok(&b"records"[..]));
        assert_eq!(header.stored_length(), batch.len());
    }

    #[test]
    fn header_bytes_are_as_documented() {
        let (_, batch) = sealed(b"records");
        let hex: String = batch[..BATCH_HEADER_LENGTH].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "434c4f47369732870700000000000000efcdab89674523012a00000000000000290000000000000000200000000000000700000046589d9c0300000001000100"
        );
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let (header, batch) = sealed(b"some records");
        for bit in 0..(BATCH_HEADER_LENGTH + header.payload_length) * 8 {
            let mut damaged = batch.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let outcome =
                BatchHeader::decode(&damaged, 8192).and_then(|header| header.payload(&damaged).map(<[u8]>::len));
            assert!(outcome.is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_misplaced_batch_does_not_pass() {
        let (_, batch) = sealed(b"records");
        assert_eq!(BatchHeader::decode(&batch, 12_288), Err(BatchInvalid::Header));
    }
}
