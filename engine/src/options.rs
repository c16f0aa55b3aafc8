//! What an operator may choose about the engine, with defaults that suit a machine with some gigabytes of memory.

use crate::compaction::CompactionOptions;
use crate::log::LogOptions;

/// The choices for one core's store.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The log.
    pub log: LogOptions,
    /// When and how tables are merged.
    pub compaction: CompactionOptions,
    /// Memory for memtables, active and frozen together, over all partitions of the core, bytes. Half of it in active
    /// memtables makes the store flush; all of it makes writes wait.
    pub memtable_memory_bytes: usize,
    /// Memory for blocks read from tables, bytes.
    pub block_cache_bytes: u64,
    /// Whether table blocks are compressed with LZ4.
    pub compress_tables: bool,
    /// The size at which a table's block is closed, before compression, bytes.
    pub table_block_size_bytes: usize,
    /// Bytes of the log that may wait for the write in flight; beyond it proposals are refused as busy.
    pub log_pending_bytes_max: usize,
    /// How long a scan's snapshot is held without being read, milliseconds.
    pub snapshot_idle_ms_max: u64,
    /// Snapshots of one partition held at once.
    pub snapshots_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            log: LogOptions::default(),
            compaction: CompactionOptions::default(),
            memtable_memory_bytes: 128 * 1024 * 1024,
            block_cache_bytes: 128 * 1024 * 1024,
            compress_tables: true,
            table_block_size_bytes: 4096,
            log_pending_bytes_max: 16 * 1024 * 1024,
            snapshot_idle_ms_max: 60_000,
            snapshots_max: 256,
        }
    }
}

impl Options {
    /// Small enough that flushes, compactions and recycling run after some kilobytes: for tests.
    #[must_use]
    pub fn tiny() -> Self {
        Self {
            // A segment holds two or three writes, so that many a crash falls into the recycling of one.
            log: LogOptions { segment_size_bytes: 16 * 1024, segments_max: 16 },
            compaction: CompactionOptions {
                level0_table_count_trigger: 2,
                level1_size_bytes: 16 * 1024,
                level_size_multiplier: 4,
                table_size_bytes_target: 8 * 1024,
            },
            // With less, writes wait for flushes most of the time, and the log idles.
            memtable_memory_bytes: 256 * 1024,
            block_cache_bytes: 256 * 1024,
            compress_tables: true,
            table_block_size_bytes: 512,
            log_pending_bytes_max: 256 * 1024,
            snapshot_idle_ms_max: 60_000,
            snapshots_max: 16,
        }
    }
}
