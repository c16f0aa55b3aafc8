//! A core's cache of table blocks, checked and unpacked.
//!
//! Owned by one shard. Bounded in bytes, with room for the [blocks that arrived last](ARRIVED_MAX) beside it; a block that is dropped lives on
//! while a reader holds it. A block whose checksum does not hold never comes in.

use std::collections::VecDeque;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;

use quick_cache::Weighter;
use quick_cache::unsync::Cache;

use crate::cursor::Stop;
use crate::env::Environment;
use crate::error::Result;
use crate::table::{BlockBytes, BlockRead, BlockSource, MappedBlock, StoredBlock, TableView, load_block};

/// A block's name: its table's seed and its offset.
type BlockKey = (u64, u64);

/// A read is repeated until it finds all of its blocks, one from each table or level at most: level 0 is bounded by 24 tables and there
/// are six more levels. Keeping that many blocks, whatever the cache thinks of them, makes each read end, even with
/// blocks that are larger than the cache.
const ARRIVED_MAX: usize = 64;

/// Blocks that were read lately.
pub struct BlockCache {
    blocks: Cache<BlockKey, Rc<[u8]>, ByLength, BuildHasherDefault<BlockKeyHasher>>,
    /// The blocks that were read last, for the reads that missed them.
    arrived: VecDeque<(BlockKey, Rc<[u8]>)>,
    hits: u64,
    misses: u64,
}

/// What a cache holds and how often it had what was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct CacheCounters {
    /// Bytes held.
    pub bytes: u64,
    /// Blocks found.
    pub hits: u64,
    /// Blocks not found.
    pub misses: u64,
}

impl BlockCache {
    /// A cache of at most `capacity_bytes`.
    #[must_use]
    pub fn new(capacity_bytes: u64) -> Self {
        const BLOCK_SIZE_BYTES_TYPICAL: u64 = 4096;
        let items = usize::try_from(capacity_bytes / BLOCK_SIZE_BYTES_TYPICAL).unwrap_or(usize::MAX).max(16);
        let blocks = Cache::with(items, capacity_bytes, ByLength, BuildHasherDefault::default(), Default::default());
        Self { blocks, arrived: VecDeque::with_capacity(ARRIVED_MAX), hits: 0, misses: 0 }
    }

    /// What the cache holds.
    #[must_use]
    pub fn counters(&self) -> CacheCounters {
        CacheCounters { bytes: self.blocks.weight(), hits: self.hits, misses: self.misses }
    }

    /// Takes in the stored bytes of a block that was missed, after checking them. The next 63 blocks do not displace it.
    ///
    /// # Errors
    /// [`Error::Corruption`](crate::Error::Corruption) if the checksum does not hold.
    pub(crate) fn complete<F>(&mut self, read: &BlockRead<F>, stored: &[u8]) -> Result<()> {
        let bytes: Rc<[u8]> = match load_block(&read.path, stored, read.seed, read.handle.offset)? {
            StoredBlock::Plain(bytes) => Rc::from(bytes),
            StoredBlock::Unpacked(bytes) => Rc::from(bytes),
        };
        let key = (read.seed, read.handle.offset);
        if self.arrived.len() == ARRIVED_MAX {
            self.arrived.pop_front();
        }
        self.arrived.push_back((key, Rc::clone(&bytes)));
        self.blocks.insert(key, bytes);
        Ok(())
    }

    fn find(&self, key: BlockKey) -> Option<Rc<[u8]>> {
        let arrived = || self.arrived.iter().rev().find(|(arrived, _)| *arrived == key).map(|(_, bytes)| bytes);
        self.blocks.get(&key).or_else(arrived).cloned()
    }
}

impl<E: Environment> BlockSource<E> for BlockCache {
    fn block(&mut self, view: &TableView<E>, block: usize) -> std::result::Result<BlockBytes<E>, Stop<E::File>> {
        let key = (view.meta().checksum_seed, view.handle(block).offset);
        if let Some(bytes) = self.find(key) {
            self.hits += 1;
            return Ok(BlockBytes::Owned(bytes));
        }
        match view.mapped_block(block)? {
            Some(MappedBlock::Plain(bytes)) => Ok(bytes),
            Some(MappedBlock::Unpacked(bytes)) => {
                let bytes: Rc<[u8]> = Rc::from(bytes);
                self.blocks.insert(key, Rc::clone(&bytes));
                Ok(BlockBytes::Owned(bytes))
            }
            None => {
                self.misses += 1;
                Err(Stop::Miss(Box::new(view.block_read(block))))
            }
        }
    }
}

#[derive(Clone)]
struct ByLength;

impl Weighter<BlockKey, Rc<[u8]>> for ByLength {
    fn weight(&self, _: &BlockKey, block: &Rc<[u8]>) -> u64 {
        block.len() as u64 + 64
    }
}

/// Seeds are random already: one multiplication mixes in the offset. Nobody outside chooses either.
#[derive(Default)]
struct BlockKeyHasher(u64);

impl Hasher for BlockKeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(29) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
