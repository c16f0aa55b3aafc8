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
    OpenOptions { cores, partition_count: Some(PARTITION_COUNT), membership: None, store: minute_options() }
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
        let mut load = self.begin();
        while load.turn < self.turns {
            for asked in load.next_turn(node.partition_count) {
                node.propose(asked.partition, &asked.write(), asked.durability).await?;
            }
            node.write_logs().await?;
            node.tick().await?;
            node.run_jobs().await?;
            match load.random.below(16) {
                0 => node.mark_logs().await?,
                1 if self.memtable_memory_bytes < 128 * 1024 => node.flush().await?,
                _ => {}
            }
        }
        node.settle().await
    }

    /// The load, turn by turn.
    pub fn begin(self) -> Load {
        Load { workload: self, random: Random::new(self.seed), turn: 0 }
    }
}

/// A load under way.
pub struct Load {
    workload: Workload,
    random: Random,
    turn: u32,
}

/// A write that a load asks for.
pub struct Asked {
    pub partition: PartitionId,
    pub durability: Durability,
    key: Vec<u8>,
    /// The value and how long it lives; none for a deletion.
    value: Option<(Vec<u8>, Option<u64>)>,
}

impl Asked {
    pub fn write(&self) -> Write<'_> {
        match &self.value {
            None => Write { key: &self.key, change: WriteChange::Delete, session: None },
            Some((value, None)) => put(&self.key, value),
            Some((value, Some(ttl_ms))) => put_for(&self.key, value, *ttl_ms),
        }
    }
}

impl Load {
    /// The writes of the next turn.
    pub fn next_turn(&mut self, partition_count: u16) -> Vec<Asked> {
        self.turn += 1;
        (0..=self.random.below(5)).map(|_| self.next_write(partition_count)).collect()
    }

    /// Proposes the next turn's writes, but for those that are refused as busy; `false` at the end of the load.
    pub fn propose_turn<E: Environment>(&mut self, node: &mut Node<E>) -> bool {
        for asked in self.next_turn(node.partition_count) {
            node.try_propose(asked.partition, &asked.write(), asked.durability);
        }
        self.turn < self.workload.turns
    }

    fn next_write(&mut self, partition_count: u16) -> Asked {
        let Self { workload, random, turn } = self;
        let partition = PartitionId(u16::try_from(random.below(u64::from(partition_count))).expect("few"));
        let key = format!("key-{:02}", random.below(workload.key_count)).into_bytes();
        let value = value(random, *turn, workload.value_length_max);
        let value = match random.below(10) {
            0 | 1 => None,
            2 => Some((value, Some(random.below(20)))),
            _ => Some((value, None)),
        };
        let is_memory = random.chance(workload.memory_percent);
        let durability = if is_memory { Durability::Memory } else { Durability::Synced };
        Asked { partition, durability, key, value }
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
