//! A table as one thread reads it: where its blocks come from.

use std::cell::RefCell;
use std::ops::Deref;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use crate::cursor::Stop;
use crate::env::Environment;
use crate::error::Corruption;
use crate::limits::DIRECT_IO_ALIGNMENT;
use crate::row::{Keyspace, Row, RowKey};

use super::block::{Block, Malformed};
use super::block_codec::{StoredBlock, is_compressed, load_block, plain_bytes};
use super::filter::key_hash;
use super::index::BlockHandle;
use super::{Table, TableMeta};

/// A block that must be read before an operation can go on: `length` bytes at `offset`, by an ordinary read.
#[derive(Clone, Debug)]
pub struct BlockRead<F> {
    /// The table's file.
    pub file: F,
    /// Its path, for messages.
    pub path: PathBuf,
    /// The table's checksum seed: together with the offset it names the block.
    pub seed: u64,
    /// Where the block stands.
    pub handle: BlockHandle,
}

/// A block's bytes, kept alive.
pub(crate) enum BlockBytes<E: Environment> {
    /// In the cache, or read for one job.
    Owned(Rc<[u8]>),
    /// In the table's map, all of it resident when it was looked up.
    Mapped { table: Arc<Table<E>>, start: usize, end: usize },
}

impl<E: Environment> Clone for BlockBytes<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Owned(bytes) => Self::Owned(Rc::clone(bytes)),
            Self::Mapped { table, start, end } => Self::Mapped { table: Arc::clone(table), start: *start, end: *end },
        }
    }
}

impl<E: Environment> Deref for BlockBytes<E> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::Mapped { table, start, end } => &table.map[*start..*end],
        }
    }
}

/// Where blocks come from: a shard's cache and maps, or the files that a job reads.
pub(crate) trait BlockSource<E: Environment> {
    /// The block's bytes, checked and unpacked.
    fn block(&mut self, view: &TableView<E>, block: usize) -> Result<BlockBytes<E>, Stop<E::File>>;
}

/// A table with what one thread knows of it.
pub(crate) struct TableView<E: Environment> {
    table: Arc<Table<E>>,
    /// One bit a page, as maintenance saw it last; empty if nothing is known to be resident.
    resident_pages: RefCell<Vec<u64>>,
    /// One bit a block: its checksum was found to hold while its pages were resident.
    checked_blocks: RefCell<Vec<u64>>,
}

impl<E: Environment> TableView<E> {
    pub(crate) fn new(table: Arc<Table<E>>) -> Self {
        Self { table, resident_pages: RefCell::default(), checked_blocks: RefCell::default() }
    }

    pub(crate) fn table(&self) -> &Arc<Table<E>> {
        &self.table
    }

    pub(crate) fn meta(&self) -> &TableMeta {
        &self.table.meta
    }

    pub(crate) fn block_count(&self) -> usize {
        self.table.index.block_count()
    }

    pub(crate) fn handle(&self, block: usize) -> BlockHandle {
        self.table.index.handle(block)
    }

    pub(crate) fn find_block(&self, target: RowKey<'_>) -> usize {
        self.table.index.find(target)
    }

    /// Takes over what maintenance saw. A block whose pages went out is checked anew when they are back.
    pub(crate) fn set_residency(&self, pages: Vec<u64>) {
        *self.resident_pages.borrow_mut() = pages;
        let mut checked = self.checked_blocks.borrow_mut();
        for (index, word) in checked.iter_mut().enumerate() {
            let mut remaining = *word;
            while remaining != 0 {
                let lowest = remaining & remaining.wrapping_neg();
                remaining ^= lowest;
                if !self.is_resident(self.handle(index * 64 + lowest.trailing_zeros() as usize)) {
                    *word ^= lowest;
                }
            }
        }
    }

    /// Whether more than half of the pages are in memory, as far as is known.
    pub(crate) fn is_mostly_resident(&self) -> bool {
        let resident: u32 = self.resident_pages.borrow().iter().map(|word| word.count_ones()).sum();
        u64::from(resident) * 2 > self.meta().file_length.div_ceil(DIRECT_IO_ALIGNMENT as u64)
    }

    /// How to read a block that is not at hand.
    pub(crate) fn block_read(&self, block: usize) -> BlockRead<E::File> {
        BlockRead {
            file: self.table.file.clone(),
            path: self.table.path.clone(),
            seed: self.table.meta.checksum_seed,
            handle: self.handle(block),
        }
    }

    /// The block from the map, if all of its pages are resident: plain, or unpacked.
    pub(crate) fn mapped_block(&self, block: usize) -> Result<Option<MappedBlock<E>>, Corruption> {
        let handle = self.handle(block);
        if !self.is_resident(handle) {
            return Ok(None);
        }
        let start = usize::try_from(handle.offset).expect("tables fit the address space");
        let stored = &self.table.map[start..start + handle.length as usize];
        if !is_compressed(stored) && bit(&self.checked_blocks.borrow(), block) {
            let end = start + plain_bytes(stored).len();
            return Ok(Some(MappedBlock::Plain(BlockBytes::Mapped { table: Arc::clone(&self.table), start, end })));
        }
        let loaded = load_block(&self.table.path, stored, self.table.meta.checksum_seed, handle.offset)?;
        Ok(Some(match loaded {
            StoredBlock::Plain(bytes) => {
                set_bit(&mut self.checked_blocks.borrow_mut(), block);
                let end = start + bytes.len();
                MappedBlock::Plain(BlockBytes::Mapped { table: Arc::clone(&self.table), start, end })
            }
            StoredBlock::Unpacked(bytes) => MappedBlock::Unpacked(bytes),
        }))
    }

    fn is_resident(&self, handle: BlockHandle) -> bool {
        let pages = self.resident_pages.borrow();
        if pages.is_empty() {
            return false;
        }
        let page_of =
            |offset: u64| usize::try_from(offset).expect("tables fit the address space") / DIRECT_IO_ALIGNMENT;
        (page_of(handle.offset)..=page_of(handle.offset + u64::from(handle.length) - 1)).all(|page| bit(&pages, page))
    }

    /// The newest version of a key that is not newer than `target`'s revision, given to `visit`. Answers whether there was one.
    pub(crate) fn get(
        &self,
        target: RowKey<'_>,
        source: &mut impl BlockSource<E>,
        visit: impl FnOnce(Row<'_>),
    ) -> Result<bool, Stop<E::File>> {
        let hash = key_hash(target.keyspace, target.key);
        if !self.table.may_contain(hash) {
            return Ok(false);
        }
        let index = self.find_block(target);
        if index == self.block_count() {
            return Ok(false);
        }
        let bytes = source.block(self, index)?;
        let block = Block::new(&bytes).map_err(|Malformed| self.malformed(index))?;
        let found = block.find(target, hash).map_err(|Malformed| self.malformed(index))?;
        if let Some(found) = found {
            visit(found.row(target));
        }
        Ok(found.is_some())
    }

    pub(crate) fn malformed(&self, block: usize) -> Stop<E::File> {
        Stop::Corruption(Corruption {
            path: self.table.path.clone(),
            offset: self.handle(block).offset,
            message: "the block's checksum holds, but its rows cannot be read".to_owned(),
        })
    }

    pub(crate) fn covers(&self, keyspace: Keyspace, key: &[u8]) -> bool {
        let meta = self.meta();
        meta.smallest.as_bound() <= (keyspace, key) && (keyspace, key) <= meta.largest.as_bound()
    }
}

/// A block found in a map.
pub(crate) enum MappedBlock<E: Environment> {
    /// To be read in place.
    Plain(BlockBytes<E>),
    /// It was compressed.
    Unpacked(Vec<u8>),
}

fn bit(bits: &[u64], index: usize) -> bool {
    bits.get(index / 64).is_some_and(|word| word & (1 << (index % 64)) != 0)
}

fn set_bit(bits: &mut Vec<u64>, index: usize) {
    if bits.len() <= index / 64 {
        bits.resize(index / 64 + 1, 0);
    }
    bits[index / 64] |= 1 << (index % 64);
}
