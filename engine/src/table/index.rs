//! The sparse index: for each block its place and the last row's key, on the heap while the table is open.

use crate::bytes_io::{ByteSink, FieldReader};
use crate::ids::Revision;
use crate::limits::TABLE_BLOCK_SIZE_BYTES_MAX;
use crate::row::{Keyspace, RowKey};

use super::block_codec::BLOCK_TRAILER_LENGTH;

/// A block's place in the file, trailer included.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BlockHandle {
    /// Where it starts, bytes.
    pub offset: u64,
    /// Its stored length, bytes.
    pub length: u32,
}

#[derive(Clone, Copy, Debug)]
struct IndexEntry {
    handle: BlockHandle,
    keyspace: Keyspace,
    revision: Revision,
    /// Where the key ends in `keys`; it starts where the one before ends.
    key_end: u32,
}

/// The blocks of a table in order.
#[derive(Debug, Default)]
pub(crate) struct TableIndex {
    entries: Vec<IndexEntry>,
    keys: Vec<u8>,
}

impl TableIndex {
    pub(crate) fn push(&mut self, handle: BlockHandle, last: RowKey<'_>) {
        self.keys.extend_from_slice(last.key);
        let key_end = u32::try_from(self.keys.len()).expect("an index is far smaller than 4 GiB");
        self.entries.push(IndexEntry { handle, keyspace: last.keyspace, revision: last.revision, key_end });
    }

    pub(crate) fn block_count(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn handle(&self, block: usize) -> BlockHandle {
        self.entries[block].handle
    }

    /// The first block whose last row is at or behind `target`; the number of blocks if there is none.
    pub(crate) fn find(&self, target: RowKey<'_>) -> usize {
        let (mut low, mut high) = (0, self.entries.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.last_key(middle) < target { low = middle + 1 } else { high = middle }
        }
        low
    }

    fn last_key(&self, block: usize) -> RowKey<'_> {
        let entry = &self.entries[block];
        let start = if block == 0 { 0 } else { self.entries[block - 1].key_end as usize };
        RowKey { keyspace: entry.keyspace, key: &self.keys[start..entry.key_end as usize], revision: entry.revision }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.keys.len() + self.entries.len() * 27 + 4);
        bytes.put_u32(u32::try_from(self.entries.len()).expect("far fewer blocks"));
        for block in 0..self.entries.len() {
            let last = self.last_key(block);
            let handle = self.handle(block);
            bytes.put_u64(handle.offset);
            bytes.put_u32(handle.length);
            bytes.put_u8(last.keyspace as u8);
            bytes.put_u64(last.revision.0);
            bytes.put_with_length(last.key);
        }
        bytes
    }

    /// Reads an index; `None` if it makes no sense. Blocks follow each other from offset 0 and end at `blocks_end`.
    pub(crate) fn decode(bytes: &[u8], blocks_end: u64) -> Option<Self> {
        let mut fields = FieldReader::new(bytes);
        let count = fields.u32()?;
        let mut index = Self::default();
        let mut offset = 0;
        for block in 0..count as usize {
            let handle = BlockHandle { offset: fields.u64()?, length: fields.u32()? };
            let keyspace = Keyspace::from_byte(fields.u8()?)?;
            let revision = Revision(fields.u64()?);
            let key = fields.bytes_with_length()?;
            let is_length_sane = handle.length as usize > BLOCK_TRAILER_LENGTH
                && handle.length as usize <= TABLE_BLOCK_SIZE_BYTES_MAX * 2 + BLOCK_TRAILER_LENGTH;
            if handle.offset != offset || !is_length_sane {
                return None;
            }
            offset += u64::from(handle.length);
            let last = RowKey { keyspace, key, revision };
            if block > 0 && index.last_key(block - 1) >= last {
                return None;
            }
            index.push(handle, last);
        }
        (fields.is_empty() && count > 0 && offset == blocks_end).then_some(index)
    }
}
