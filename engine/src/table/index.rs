//! The sparse index: for each block its place and a separator, on the heap while the table is open.
//!
//! A separator orders at or behind the last row of its block and before the first row of the next. The builder takes the
//! shortest key that does, so that long keys do not make a large index.

use std::cmp::Ordering;

use crate::bytes_io::{ByteSink, FieldReader};
use crate::ids::Revision;
use crate::limits::{KEY_LENGTH_MAX, TABLE_BLOCK_SIZE_BYTES_MAX};
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
    /// For each separator the eight bytes behind those that all of them share: most searches look at nothing else.
    heads: Vec<u64>,
    shared_length: usize,
}

impl TableIndex {
    /// Adds a block. Searching needs [`finish`](Self::finish) behind the last.
    pub(crate) fn push(&mut self, handle: BlockHandle, separator: RowKey<'_>) {
        self.keys.extend_from_slice(separator.key);
        let key_end = length_u32(self.keys.len());
        let RowKey { keyspace, revision, .. } = separator;
        self.entries.push(IndexEntry { handle, keyspace, revision, key_end });
    }

    /// Prepares searching.
    fn finish(mut self) -> Self {
        let (Some(first), Some(last)) = (self.entries.first(), self.entries.last()) else { return self };
        if first.keyspace == last.keyspace {
            let (first, last) = (self.separator(0).key, self.separator(self.entries.len() - 1).key);
            self.shared_length = 1 + shared_length(first, last);
        }
        self.heads = (0..self.entries.len()).map(|block| self.head(self.separator(block))).collect();
        self
    }

    pub(crate) fn block_count(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn handle(&self, block: usize) -> BlockHandle {
        self.entries[block].handle
    }

    /// The block in which the first row at or behind `target` stands, or the one before it; the number of blocks if there is no such row.
    pub(crate) fn find(&self, target: RowKey<'_>) -> usize {
        let last = self.entries.len() - 1;
        if target <= self.separator(0) {
            return 0;
        }
        if target > self.separator(last) {
            return last + 1;
        }
        // Between the two, the target begins with what all separators share.
        let head = self.head(target);
        let mut low = self.heads.partition_point(|&other| other < head);
        let mut high = low + self.heads[low..].partition_point(|&other| other == head);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.separator(middle) < target { low = middle + 1 } else { high = middle }
        }
        low
    }

    fn separator(&self, block: usize) -> RowKey<'_> {
        let entry = &self.entries[block];
        let start = if block == 0 { 0 } else { self.entries[block - 1].key_end as usize };
        RowKey { keyspace: entry.keyspace, key: &self.keys[start..entry.key_end as usize], revision: entry.revision }
    }

    fn head(&self, row_key: RowKey<'_>) -> u64 {
        let mut head = [0; 8];
        let (keyspace, rest) = match self.shared_length.checked_sub(1) {
            Some(shared) => (None, &row_key.key[shared..]),
            None => (Some(row_key.keyspace as u8), row_key.key),
        };
        for (to, from) in head.iter_mut().zip(keyspace.into_iter().chain(rest.iter().copied())) {
            *to = from;
        }
        u64::from_be_bytes(head)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.keys.len() + self.entries.len() * 17 + 4);
        bytes.put_u32(length_u32(self.entries.len()));
        for block in 0..self.entries.len() {
            let separator = self.separator(block);
            bytes.put_u32(self.handle(block).length);
            bytes.put_u64(separator.revision.0);
            bytes.put_u8(separator.keyspace as u8);
            bytes.put_with_length(separator.key);
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
            let handle = BlockHandle { offset, length: fields.u32()? };
            let revision = Revision(fields.u64()?);
            let keyspace = Keyspace::from_byte(fields.u8()?)?;
            let key = fields.bytes_with_length()?;
            let length = handle.length as usize;
            let is_length_sane =
                (BLOCK_TRAILER_LENGTH + 1..=TABLE_BLOCK_SIZE_BYTES_MAX + BLOCK_TRAILER_LENGTH).contains(&length);
            if !is_length_sane || key.len() > KEY_LENGTH_MAX + 8 {
                return None;
            }
            let separator = RowKey { keyspace, key, revision };
            if block > 0 && index.separator(block - 1) >= separator {
                return None;
            }
            offset += u64::from(handle.length);
            index.push(handle, separator);
        }
        (fields.is_empty() && count > 0 && offset == blocks_end).then(|| index.finish())
    }
}

/// The shortest key at or behind `last` and before `next`, the rows on both sides of a block's end; it is written to `key`.
pub(crate) fn separator<'a>(last: RowKey<'_>, next: RowKey<'_>, key: &'a mut Vec<u8>) -> RowKey<'a> {
    debug_assert!(last < next, "blocks are in order");
    key.clear();
    // Behind all versions of its key, unless the next block goes on with the same one.
    let mut revision = Revision(0);
    let shared = shared_length(last.key, next.key);
    match (last.key.get(shared), next.key.get(shared)) {
        _ if last.keyspace != next.keyspace => key.extend_from_slice(last.key),
        (None, None) => {
            key.extend_from_slice(last.key);
            revision = last.revision;
        }
        (Some(_), Some(_)) if next.key.len() > shared + 1 => key.extend_from_slice(&next.key[..=shared]),
        (Some(&a), Some(&b)) if b - a > 1 => {
            key.extend_from_slice(&last.key[..shared]);
            key.push(a + 1);
        }
        _ => key.extend_from_slice(last.key),
    }
    let separator = RowKey { keyspace: last.keyspace, key, revision };
    assert!(
        last.cmp(&separator) != Ordering::Greater && separator < next,
        "{separator:?} parts {last:?} from {next:?}"
    );
    separator
}

fn shared_length(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

fn length_u32(length: usize) -> u32 {
    u32::try_from(length).expect("an index is far smaller than 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row_key(key: &[u8], revision: u64) -> RowKey<'_> {
        RowKey { keyspace: Keyspace::Data, key, revision: Revision(revision) }
    }

    #[test]
    fn separators_are_short() {
        let mut key = Vec::new();
        for (last, next, expected) in [
            ("banana", "cherry", "c"),
            ("banana", "bandit", "band"),
            ("banana", "banana split", "banana"),
            ("a", "c", "b"),
            ("apple", "b", "apple"),
        ] {
            let found = separator(row_key(last.as_bytes(), 3), row_key(next.as_bytes(), 9), &mut key);
            assert_eq!(found, row_key(expected.as_bytes(), 0), "between {last} and {next}");
        }
        assert_eq!(separator(row_key(b"k", 9), row_key(b"k", 3), &mut key), row_key(b"k", 9));
    }

    proptest! {
        /// Every row of a block is found in it, and what stands between two blocks in the one before.
        #[test]
        fn finds_the_block(
            rows in prop::collection::btree_set((1_u8..=4, prop::collection::vec(0_u8..4, 1..10), 0_u64..4), 2..60),
            rows_per_block in 1_usize..5,
            prefix in prop::collection::vec(any::<u8>(), 0..12),
        ) {
            let mut rows: Vec<_> = rows
                .into_iter()
                .map(|(keyspace, key, revision)| (Keyspace::from_byte(keyspace).unwrap(), [&prefix[..], &key].concat(), revision))
                .collect();
            let as_key = |(keyspace, key, revision): &'_ (Keyspace, Vec<u8>, u64)| (*keyspace, key.clone(), std::cmp::Reverse(*revision));
            rows.sort_by_key(as_key);
            let borrowed: Vec<_> = rows.iter().map(|(keyspace, key, revision)| RowKey { keyspace: *keyspace, key, revision: Revision(*revision) }).collect();
            let blocks: Vec<_> = borrowed.chunks(rows_per_block).collect();
            let mut index = TableIndex::default();
            let mut key = Vec::new();
            for (number, block) in blocks.iter().enumerate() {
                let handle = BlockHandle { offset: number as u64 * 100, length: 100 };
                match blocks.get(number + 1) {
                    Some(next) => index.push(handle, separator(*block.last().unwrap(), next[0], &mut key)),
                    None => index.push(handle, *block.last().unwrap()),
                }
            }
            let index = TableIndex::decode(&index.encode(), blocks.len() as u64 * 100).expect("valid");
            for (number, block) in blocks.iter().enumerate() {
                for &row_key in *block {
                    prop_assert_eq!(index.find(row_key), number);
                    // A key that no row has: the first row behind it stands in the block that was found or opens the next one.
                    let longer = [row_key.key, &[0]].concat();
                    let target = RowKey { key: &longer, ..row_key };
                    let behind = borrowed.iter().position(|&row_key| row_key >= target);
                    let found = index.find(target);
                    match behind {
                        Some(behind) => prop_assert!(
                            found == behind / rows_per_block || (found + 1) * rows_per_block == behind
                        ),
                        None => prop_assert!(found + 1 >= blocks.len()),
                    }
                }
            }
        }
    }
}
