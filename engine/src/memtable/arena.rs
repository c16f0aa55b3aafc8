//! The memory of a memtable's rows: chunks that only grow, and a record for each row.
//!
//! A record never moves while its memtable lives, and places are numbers, not pointers: all of this is safe code, and a frozen
//! memtable is shared between threads as it is. Chunks start small, so that a partition with few rows costs little, and double up to 1 MiB.

use std::cmp::Ordering;

use crate::ids::{LogTime, Revision};
use crate::row::{Keyspace, Row, RowKey, RowKind};

const CHUNK_SIZE_BYTES_MIN: usize = 16 * 1024;
const CHUNK_SIZE_BYTES_MAX: usize = 1024 * 1024;
/// What is longer gets a chunk of its own, so that the rest of the current one is not lost.
const SHARED_LENGTH_MAX: usize = CHUNK_SIZE_BYTES_MAX / 8;

/// Where bytes stand: the chunk in the high half, the offset in the low half.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Location(u64);

impl Location {
    fn new(chunk: usize, offset: usize) -> Self {
        Self(u64::from(length_u32(chunk)) << 32 | u64::from(length_u32(offset)))
    }

    fn chunk(self) -> usize {
        (self.0 >> 32) as usize
    }

    #[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
    fn offset(self) -> usize {
        self.0 as u32 as usize
    }
}

/// A record's fixed part; the key follows it, and the first value of the row follows the key.
#[derive(Clone, Copy, Debug)]
struct Header {
    revision: Revision,
    deadline: Option<LogTime>,
    /// Where the value stands: behind the key, or elsewhere once a longer one replaced it.
    value: Location,
    value_length: u32,
    /// Bytes at `value` that may be used. Invariant: at least `value_length`.
    value_room: u32,
    value_crc: u32,
    key_length: u16,
    keyspace: Keyspace,
    kind: RowKind,
}

const HEADER_LENGTH: usize = 40;
const FLAG_DEADLINE: u8 = 1 << 7;

impl Header {
    fn encode(&self) -> [u8; HEADER_LENGTH] {
        let mut bytes = [0; HEADER_LENGTH];
        let flag = if self.deadline.is_some() { FLAG_DEADLINE } else { 0 };
        bytes[..8].copy_from_slice(&self.revision.0.to_ne_bytes());
        bytes[8..16].copy_from_slice(&self.deadline.map_or(0, |deadline| deadline.0).to_ne_bytes());
        bytes[16..24].copy_from_slice(&self.value.0.to_ne_bytes());
        bytes[24..28].copy_from_slice(&self.value_length.to_ne_bytes());
        bytes[28..32].copy_from_slice(&self.value_room.to_ne_bytes());
        bytes[32..36].copy_from_slice(&self.value_crc.to_ne_bytes());
        bytes[36..38].copy_from_slice(&self.key_length.to_ne_bytes());
        bytes[38] = self.keyspace as u8;
        bytes[39] = self.kind as u8 | flag;
        bytes
    }

    fn decode(bytes: &[u8; HEADER_LENGTH]) -> Self {
        let has_deadline = bytes[39] & FLAG_DEADLINE != 0;
        Self {
            revision: Revision(u64_at(bytes, 0)),
            deadline: has_deadline.then(|| LogTime(u64_at(bytes, 8))),
            value: Location(u64_at(bytes, 16)),
            value_length: u32_at(bytes, 24),
            value_room: u32_at(bytes, 28),
            value_crc: u32_at(bytes, 32),
            key_length: u16::from_ne_bytes([bytes[36], bytes[37]]),
            keyspace: Keyspace::from_byte(bytes[38]).expect("encoded from a keyspace"),
            kind: RowKind::from_byte(bytes[39] & !FLAG_DEADLINE).expect("encoded from a kind"),
        }
    }
}

fn u64_at(bytes: &[u8; HEADER_LENGTH], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn u32_at(bytes: &[u8; HEADER_LENGTH], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// The rows' memory. Bounded by the core's budget for memtables, which the store keeps.
#[derive(Debug, Default)]
pub(super) struct Arena {
    chunks: Vec<Vec<u8>>,
    /// The chunk that small records go to.
    current: Option<usize>,
    capacity_bytes: usize,
}

impl Arena {
    /// Memory held, bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.capacity_bytes + self.chunks.capacity() * size_of::<Vec<u8>>()
    }

    /// Copies a row in; answers where its record stands.
    pub(super) fn store(&mut self, row: &Row<'_>) -> Location {
        let RowKey { keyspace, key, revision } = row.row_key;
        let (chunk, offset) = self.room_for(HEADER_LENGTH + key.len() + row.value.len());
        let header = Header {
            revision,
            deadline: row.deadline,
            value: Location::new(chunk, offset + HEADER_LENGTH + key.len()),
            value_length: length_u32(row.value.len()),
            value_room: length_u32(row.value.len()),
            value_crc: row.value_crc,
            key_length: u16::try_from(key.len()).expect("keys are far shorter than 64 KiB"),
            keyspace,
            kind: row.kind,
        };
        let bytes = &mut self.chunks[chunk];
        bytes.extend_from_slice(&header.encode());
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(row.value);
        Location::new(chunk, offset)
    }

    /// Puts a newer version of the same key in a record's place; the old value's bytes are used again if the new one fits.
    pub(super) fn replace(&mut self, at: Location, row: &Row<'_>) {
        let mut header = self.header(at);
        if row.value.len() <= header.value_room as usize {
            let start = header.value.offset();
            self.chunks[header.value.chunk()][start..start + row.value.len()].copy_from_slice(row.value);
        } else {
            let (chunk, offset) = self.room_for(row.value.len());
            self.chunks[chunk].extend_from_slice(row.value);
            header.value = Location::new(chunk, offset);
            header.value_room = length_u32(row.value.len());
        }
        header.revision = row.row_key.revision;
        header.deadline = row.deadline;
        header.kind = row.kind;
        header.value_crc = row.value_crc;
        header.value_length = length_u32(row.value.len());
        let start = at.offset();
        self.chunks[at.chunk()][start..start + HEADER_LENGTH].copy_from_slice(&header.encode());
    }

    /// The row of a record.
    pub(super) fn row(&self, at: Location) -> Row<'_> {
        let header = self.header(at);
        Row {
            row_key: RowKey { keyspace: header.keyspace, key: self.key(at, &header), revision: header.revision },
            kind: header.kind,
            deadline: header.deadline,
            value_crc: header.value_crc,
            value: &self.chunks[header.value.chunk()][header.value.offset()..][..header.value_length as usize],
        }
    }

    /// How the row of a record orders to `target`, whose keyspace is the same.
    pub(super) fn compare(&self, at: Location, target: RowKey<'_>) -> Ordering {
        let header = self.header(at);
        self.key(at, &header).cmp(target.key).then_with(|| target.revision.cmp(&header.revision))
    }

    /// Keyspace and key of a record.
    pub(super) fn full_key(&self, at: Location) -> (Keyspace, &[u8]) {
        let header = self.header(at);
        (header.keyspace, self.key(at, &header))
    }

    fn header(&self, at: Location) -> Header {
        let bytes = self.chunks[at.chunk()][at.offset()..].first_chunk().expect("records are whole");
        Header::decode(bytes)
    }

    fn key(&self, at: Location, header: &Header) -> &[u8] {
        &self.chunks[at.chunk()][at.offset() + HEADER_LENGTH..][..usize::from(header.key_length)]
    }

    /// The chunk and the offset in it at which `length` bytes can be appended.
    fn room_for(&mut self, length: usize) -> (usize, usize) {
        if length > SHARED_LENGTH_MAX {
            return (self.add_chunk(length), 0);
        }
        if let Some(chunk) = self.current
            && self.chunks[chunk].capacity() - self.chunks[chunk].len() >= length
        {
            return (chunk, self.chunks[chunk].len());
        }
        let doubled = self.current.map_or(CHUNK_SIZE_BYTES_MIN, |chunk| self.chunks[chunk].capacity() * 2);
        let chunk = self.add_chunk(doubled.min(CHUNK_SIZE_BYTES_MAX).max(length));
        self.current = Some(chunk);
        (chunk, 0)
    }

    fn add_chunk(&mut self, capacity: usize) -> usize {
        let chunk = Vec::with_capacity(capacity);
        self.capacity_bytes += chunk.capacity();
        self.chunks.push(chunk);
        self.chunks.len() - 1
    }
}

fn length_u32(length: usize) -> u32 {
    u32::try_from(length).expect("a memtable's chunks are far smaller than 4 GiB")
}
