//! A load in which everything happens within some hundred steps of I/O: puts, overwrites, deletions and deadlines in several
//! partitions, synced and in memory; flushes, compactions into two levels, manifests, segments that are recycled.

use corelode_engine::compaction::CompactionOptions;
use corelode_engine::data_directory::OpenOptions;
use corelode_engine::env::Environment;
use corelode_engine::env::simulated::Random;
use corelode_engine::ids::PartitionId;
use corelode_engine::log::LogOptions;
use corelode_engine::options::Options;
use corelode_engine::partition::{Durability, Write, WriteChange};
use corelode_engine::{Error, Result};

use super::{Node, put, put_for};

pub const PARTITION_COUNT: u16 = 3;

/// Smaller than [`Options::tiny`]: each crash of an enumeration recovers all of it.
pub fn minute_options() -> Options {
    Options {
        log: LogOptions { segment_size_bytes: 32 * 1024, segments_max: 6 },
        compaction: CompactionOptions {
            level0_table_count_trigger: 2,
            level1_size_bytes: 3 * 1024,
            level_size_multiplier: 2,
            table_size_bytes_target: 2 * 1024,
        },
        memtable_memory_bytes: 24 * 1024,
        table_block_size_bytes: 256,
        ..Options::tiny()
    }
}

pub fn open_options(cores: u16) -> OpenOptions {
    OpenOptions { cores, partition_count: Some(PARTITION_COUNT), store: minute_options() }
}

/// What a load is made of.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    pub seed: u64,
    pub turns: u32,
    pub key_count: u64,
    pub value_length_max: u64,
    pub memory_percent: u64,
    /// With little of it tables dominate, with much the log.
    pub memtable_memory_bytes: usize,
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            seed: 1,
            turns: 60,
            key_count: 12,
            value_length_max: 500,
            memory_percent: 25,
            memtable_memory_bytes: minute_options().memtable_memory_bytes,
        }
    }
}

impl Workload {
    /// A load whose batches take several blocks, and whose memtables are flushed because the log is full.
    pub fn of_the_log() -> Self {
        Self { turns: 50, key_count: 40, value_length_max: 3000, memtable_memory_bytes: 1024 * 1024, ..Self::default() }
    }

    /// How a node is opened for it.
    pub fn open_options(&self, cores: u16) -> OpenOptions {
        let store = Options { memtable_memory_bytes: self.memtable_memory_bytes, ..minute_options() };
        OpenOptions { store, ..open_options(cores) }
    }

    /// Runs to its end, unless the machine crashes before.
    pub async fn run<E: Environment>(self, node: &mut Node<E>) -> Result<()> {
        let mut random = Random::new(self.seed);
        for turn in 0..self.turns {
            for _ in 0..=random.below(5) {
                self.propose_one(node, &mut random, turn).await?;
            }
            node.write_logs().await?;
            node.tick().await?;
            node.run_jobs().await?;
            match random.below(16) {
                0 => node.mark_logs().await?,
                1 if self.memtable_memory_bytes < 128 * 1024 => node.flush().await?,
                _ => {}
            }
        }
        node.settle().await
    }

    async fn propose_one<E: Environment>(&self, node: &mut Node<E>, random: &mut Random, turn: u32) -> Result<()> {
        let partition = PartitionId(u16::try_from(random.below(u64::from(node.partition_count))).expect("few"));
        let key = format!("key-{:02}", random.below(self.key_count)).into_bytes();
        let value = value(random, turn, self.value_length_max);
        let write = match random.below(10) {
            0 | 1 => Write { key: &key, change: WriteChange::Delete },
            2 => put_for(&key, &value, random.below(20)),
            _ => put(&key, &value),
        };
        let durability = if random.chance(self.memory_percent) { Durability::Memory } else { Durability::Synced };
        node.propose(partition, &write, durability).await.map(drop)
    }
}

/// A value that no other write has; half of it can be compressed.
fn value(random: &mut Random, turn: u32, length_max: u64) -> Vec<u8> {
    let length = usize::try_from(random.below(length_max)).expect("short");
    let mut value = format!("turn-{turn}-{:016x}-", random.next_u64()).into_bytes();
    while value.len() < length / 2 {
        value.extend_from_slice(&random.next_u64().to_le_bytes());
    }
    value.resize(value.len().max(length), b'.');
    value
}

/// A failure as a sentence.
pub fn sentence(error: Error) -> String {
    error.to_string()
}
