//! Drives stores over any environment, one step at a time: what a server's driver does, without threads.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::path::Path;

use corelode_engine::cursor::Stop;
use corelode_engine::data_directory::{DataDirectory, OpenOptions, core_of, open_data_directory};
use corelode_engine::env::{Environment, LogMode};
use corelode_engine::ids::{PartitionId, Revision};
use corelode_engine::io_buffer::IoBuffer;
use corelode_engine::partition::{Durability, Outcome, Proposal, Write, WriteChange};
use corelode_engine::row::Keyspace;
use corelode_engine::store::Store;
use corelode_engine::tree::ReadOptions;
use corelode_engine::{Error, Result, job};

/// Stores of all cores of a data directory, with their I/O done inline.
pub struct Node<E: Environment> {
    pub environment: E,
    pub stores: Vec<Store<E>>,
    pub outcomes: Vec<Outcome>,
    pub partition_count: u16,
    _lock: E::DirectoryLock,
}

impl<E: Environment> Node<E> {
    pub async fn open(environment: &E, directory: &Path, options: OpenOptions) -> Result<Self> {
        let DataDirectory { cores, identity, lock, .. } = open_data_directory(environment, directory, options).await?;
        let stores = cores.into_iter().map(|core| core.into_store()).collect();
        let partition_count = identity.partition_count;
        Ok(Self { environment: environment.clone(), stores, outcomes: Vec::new(), partition_count, _lock: lock })
    }

    fn core_of(&self, partition: PartitionId) -> usize {
        usize::from(core_of(partition, u16::try_from(self.stores.len()).expect("few cores")))
    }

    pub fn store(&mut self, partition: PartitionId) -> &mut Store<E> {
        let core = self.core_of(partition);
        &mut self.stores[core]
    }

    /// Proposes without waiting; flushes in the way are carried out first.
    pub async fn propose(
        &mut self,
        partition: PartitionId,
        write: &Write<'_>,
        durability: Durability,
    ) -> Result<Proposal> {
        loop {
            let now_ms = self.environment.wall_clock_ms();
            match self.store(partition).propose(partition, write, durability, now_ms) {
                Ok(proposal) => return Ok(proposal),
                Err(_busy) => self.settle().await?,
            }
        }
    }

    /// One turn's log write of every core, if one is due.
    pub async fn write_logs(&mut self) -> Result<bool> {
        let mut wrote = false;
        for store in &mut self.stores {
            store.seal(&mut self.outcomes);
            if let Some(mut write) = store.start_log_write() {
                let buffer = std::mem::take(&mut write.buffer);
                let (mut result, buffer) = self.environment.write_at(&write.file, buffer, write.offset).await;
                write.buffer = buffer;
                if result.is_ok() && write.mode == LogMode::BufferedThenSync {
                    result = self.environment.sync_data(&write.file).await;
                }
                store.finish_log_write(write, result, &mut self.outcomes)?;
                wrote = true;
            }
        }
        Ok(wrote)
    }

    /// Runs one maintenance job of every core, if there is one.
    pub async fn run_jobs(&mut self) -> Result<bool> {
        let mut ran = false;
        for store in &mut self.stores {
            if let Some(job) = store.next_job() {
                let done = job::run(self.environment.clone(), job).await;
                store.job_done(done)?;
                ran = true;
            }
        }
        Ok(ran)
    }

    /// Everything that is under way comes to an end.
    pub async fn settle(&mut self) -> Result<()> {
        while self.write_logs().await? | self.run_jobs().await? {}
        Ok(())
    }

    /// Writes and waits for the outcome.
    pub async fn write(&mut self, partition: PartitionId, write: &Write<'_>) -> Result<Revision> {
        let proposal = self.propose(partition, write, Durability::Synced).await?;
        loop {
            self.write_logs().await?;
            let is_ours = |outcome: &Outcome| {
                outcome.partition == partition && outcome.index == proposal.position.index && outcome.is_durable
            };
            if let Some(outcome) = self.outcomes.iter().find(|outcome| is_ours(outcome)) {
                let revision = Revision(outcome.first_revision.0 + u64::from(proposal.ordinal));
                self.outcomes.clear();
                return Ok(revision);
            }
            self.run_jobs().await?;
        }
    }

    pub async fn put(&mut self, partition: PartitionId, key: &[u8], value: &[u8]) -> Result<Revision> {
        self.write(partition, &put(key, value)).await
    }

    pub async fn delete(&mut self, partition: PartitionId, key: &[u8]) -> Result<Revision> {
        self.write(partition, &Write { key, change: WriteChange::Delete }).await
    }

    pub async fn get(&mut self, partition: PartitionId, key: &[u8]) -> Result<Option<Vec<u8>>> {
        loop {
            let mut value = Vec::new();
            match self.store(partition).get(partition, key, &mut value) {
                Ok(answer) => {
                    if let Some(found) = answer.found {
                        assert_eq!(crc32fast::hash(&value), found.value_crc, "the value is the writer's");
                    }
                    return Ok(answer.found.map(|_| value));
                }
                Err(stop) => self.resolve(partition, stop).await?,
            }
        }
    }

    /// All visible rows of a partition.
    pub async fn scan(&mut self, partition: PartitionId) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        loop {
            let store = self.store(partition);
            let point = store.partition(partition).expect("owned").read_point();
            let options = ReadOptions { keyspace: Keyspace::Data, start: b"", end: None, point };
            let mut rows = BTreeMap::new();
            let outcome = store.scan(partition, &options, |row| {
                assert!(rows.insert(row.row_key.key.to_vec(), row.value.to_vec()).is_none(), "each key once");
                true
            });
            match outcome {
                Ok(()) => return Ok(rows),
                Err(stop) => self.resolve(partition, stop).await?,
            }
        }
    }

    async fn resolve(&mut self, partition: PartitionId, stop: Stop<E::File>) -> Result<()> {
        match stop {
            Stop::Corruption(corruption) => Err(Error::Corruption(corruption)),
            Stop::Miss(read) => {
                let buffer = IoBuffer::zeroed(read.handle.length as usize);
                let (result, buffer) = self.environment.read_at(&read.file, buffer, read.handle.offset).await;
                self.store(partition).block_read(&read, &buffer, result)
            }
        }
    }
}

pub fn put<'a>(key: &'a [u8], value: &'a [u8]) -> Write<'a> {
    Write { key, change: WriteChange::Put { value, value_crc: crc32fast::hash(value), ttl_ms: None } }
}
