//! Drives stores over any environment, one step at a time: what a server's driver does, without threads.

#![allow(dead_code, unreachable_pub, unused_imports, reason = "each test file uses a part of it")]

pub mod ahead;
pub mod crashes;
pub mod damage;
pub mod history;
pub mod load;
pub mod repeated;
pub mod replica;
pub mod workload;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::rc::Rc;

use corelode_engine::cursor::Stop;
use corelode_engine::data_directory::{DataDirectory, OpenOptions, RecoveryReport, core_of, open_data_directory};
use corelode_engine::env::{Environment, LogMode};
use corelode_engine::ids::{LogTime, PartitionId, ReadPoint, Revision};
use corelode_engine::io_buffer::IoBuffer;
use corelode_engine::job::JobDone;
use corelode_engine::partition::{Durability, Outcome, Proposal, Write, WriteChange};
use corelode_engine::row::Keyspace;
use corelode_engine::store::{Store, StoreCounters};
use corelode_engine::table::BlockRead;
use corelode_engine::tree::{ReadOptions, Walk};
use corelode_engine::{Error, Result, job};

pub use history::{History, State};

/// A value as a reader finds it.
#[derive(Clone, PartialEq, Eq)]
pub struct Value {
    pub bytes: Vec<u8>,
    pub revision: Revision,
    pub deadline: Option<LogTime>,
}

impl fmt::Debug for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = &self.bytes[..self.bytes.len().min(24)];
        write!(formatter, "{}... of {} bytes", head.escape_ascii(), self.bytes.len())?;
        write!(formatter, " at revision {} until {:?}", self.revision, self.deadline)
    }
}

/// How maintenance runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Jobs {
    /// Each to its end, between two turns.
    #[default]
    Inline,
    /// As tasks beside the log's writes.
    Beside,
}

/// The end of a job and the core it belongs to.
type Ended<E> = (usize, JobDone<E>);

/// Stores of all cores of a data directory, with their I/O done inline.
pub struct Node<E: Environment> {
    pub environment: E,
    pub stores: Vec<Store<E>>,
    pub outcomes: Vec<Outcome>,
    pub partition_count: u16,
    pub report: RecoveryReport,
    /// What was proposed and acknowledged.
    pub history: History,
    pub jobs: Jobs,
    /// Lets time pass while a write waits for work that failed and is tried again later.
    pub pass_time: fn(&E),
    jobs_running: Rc<Cell<usize>>,
    jobs_ended: Rc<RefCell<Vec<Ended<E>>>>,
    _lock: E::DirectoryLock,
}

impl<E: Environment> Node<E> {
    pub async fn open(environment: &E, directory: &Path, options: OpenOptions) -> Result<Self> {
        Self::open_with(environment, directory, options, &History::default()).await
    }

    /// Opens, and writes down in `history` what happens from here on.
    pub async fn open_with(environment: &E, directory: &Path, options: OpenOptions, history: &History) -> Result<Self> {
        let opened = open_data_directory(environment, directory, options).await?;
        let DataDirectory { cores, identity, lock, report, .. } = opened;
        Ok(Self {
            environment: environment.clone(),
            stores: cores.into_iter().map(|core| core.into_store()).collect(),
            outcomes: Vec::new(),
            partition_count: identity.partition_count,
            report,
            history: history.clone(),
            jobs: Jobs::Inline,
            pass_time: |_| panic!("a write waits, and nothing is under way"),
            jobs_running: Rc::default(),
            jobs_ended: Rc::default(),
            _lock: lock,
        })
    }

    fn core_of(&self, partition: PartitionId) -> usize {
        usize::from(core_of(partition, u16::try_from(self.stores.len()).expect("few cores")))
    }

    pub fn store(&mut self, partition: PartitionId) -> &mut Store<E> {
        let core = self.core_of(partition);
        &mut self.stores[core]
    }

    pub fn counters(&self) -> Vec<StoreCounters> {
        self.stores.iter().map(Store::counters).collect()
    }

    /// Proposes without waiting; flushes in the way are carried out first.
    pub async fn propose(
        &mut self,
        partition: PartitionId,
        write: &Write<'_>,
        durability: Durability,
    ) -> Result<Proposal> {
        loop {
            if let Some(proposal) = self.try_propose(partition, write, durability) {
                return Ok(proposal);
            }
            self.settle().await?;
            if self.is_busy(partition) {
                (self.pass_time)(&self.environment);
            }
        }
    }

    pub fn is_busy(&mut self, partition: PartitionId) -> bool {
        self.store(partition).check_capacity(partition).is_err()
    }

    /// Proposes, unless the node is busy.
    pub fn try_propose(
        &mut self,
        partition: PartitionId,
        write: &Write<'_>,
        durability: Durability,
    ) -> Option<Proposal> {
        let now_ms = self.environment.wall_clock_ms();
        let proposal = self.store(partition).propose(partition, write, durability, now_ms).ok()?;
        self.history.proposed(partition, proposal, write, now_ms);
        Some(proposal)
    }

    /// One turn's log write of every core, if one is due.
    pub async fn write_logs(&mut self) -> Result<bool> {
        let mut wrote = false;
        for core in 0..self.stores.len() {
            self.stores[core].seal(&mut self.outcomes);
            self.note_outcomes();
            if let Some(mut write) = self.stores[core].start_log_write() {
                let buffer = std::mem::take(&mut write.buffer);
                let (mut result, buffer) = self.environment.write_at(&write.file, buffer, write.offset).await;
                write.buffer = buffer;
                if result.is_ok() && write.mode == LogMode::BufferedThenSync {
                    result = self.environment.sync_data(&write.file).await;
                }
                self.stores[core].finish_log_write(write, result, &mut self.outcomes)?;
                self.note_outcomes();
                wrote = true;
            }
        }
        Ok(wrote)
    }

    /// Writes down at once what is acknowledged: the machine may crash at the next step.
    fn note_outcomes(&mut self) {
        for outcome in std::mem::take(&mut self.outcomes) {
            if outcome.is_durable {
                let history = self.history.clone();
                let partition = self.store(outcome.partition).partition(outcome.partition).expect("its core owns it");
                let log_time = partition.is_all_durable().then(|| partition.read_point().log_time);
                history.durable(outcome.partition, outcome.index.0, log_time);
            }
        }
    }

    /// Runs one maintenance job of every core, if there is one, or starts all of them.
    pub async fn run_jobs(&mut self) -> Result<bool> {
        match self.jobs {
            Jobs::Inline => self.run_jobs_inline().await,
            Jobs::Beside => self.run_jobs_beside().await,
        }
    }

    async fn run_jobs_inline(&mut self) -> Result<bool> {
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

    async fn run_jobs_beside(&mut self) -> Result<bool> {
        for (core, store) in self.stores.iter_mut().enumerate() {
            while let Some(job) = store.next_job() {
                let (running, ended) = (Rc::clone(&self.jobs_running), Rc::clone(&self.jobs_ended));
                let environment = self.environment.clone();
                running.update(|count| count + 1);
                self.environment.spawn(async move {
                    let done = job::run(environment, job).await;
                    running.update(|count| count - 1);
                    ended.borrow_mut().push((core, done));
                });
            }
        }
        self.environment.yield_now().await;
        let ended = self.jobs_ended.take();
        let is_busy = !ended.is_empty() || self.jobs_running.get() > 0;
        for (core, done) in ended {
            self.stores[core].job_done(done)?;
        }
        Ok(is_busy)
    }

    /// Everything that is under way comes to an end, or waits for time to pass.
    pub async fn settle(&mut self) -> Result<()> {
        loop {
            while self.write_logs().await? | self.run_jobs().await? {}
            self.tick().await?;
            if !self.write_logs().await? {
                return Ok(());
            }
        }
    }

    /// Does what time asks for.
    pub async fn tick(&mut self) -> Result<()> {
        for core in 0..self.stores.len() {
            let now_ms = self.environment.wall_clock_ms();
            while let Err(stop) = self.stores[core].tick(now_ms) {
                self.resolve(core, stop).await?;
            }
        }
        Ok(())
    }

    /// Leaves the log as a shutdown does: everything written and marked.
    pub async fn mark_logs(&mut self) -> Result<()> {
        self.settle().await?;
        for store in &mut self.stores {
            store.mark_log();
        }
        self.settle().await
    }

    /// Freezes and flushes all memtables.
    pub async fn flush(&mut self) -> Result<()> {
        self.settle().await?;
        for store in &mut self.stores {
            store.flush_all();
        }
        self.settle().await
    }

    /// Writes and waits until it is durable.
    pub async fn write(&mut self, partition: PartitionId, write: &Write<'_>) -> Result<()> {
        let proposal = self.propose(partition, write, Durability::Synced).await?;
        loop {
            self.write_logs().await?;
            if self.history.durable_index(partition) >= proposal.entry.0 {
                return Ok(());
            }
            self.run_jobs().await?;
        }
    }

    pub async fn put(&mut self, partition: PartitionId, key: &[u8], value: &[u8]) -> Result<()> {
        self.write(partition, &put(key, value)).await
    }

    pub async fn delete(&mut self, partition: PartitionId, key: &[u8]) -> Result<()> {
        self.write(partition, &Write { key, change: WriteChange::Delete, session: None }).await
    }

    pub async fn get(&mut self, partition: PartitionId, key: &[u8]) -> Result<Option<Value>> {
        loop {
            let mut bytes = Vec::new();
            match self.store(partition).get(partition, key, &mut bytes) {
                Ok(answer) => {
                    return Ok(answer.found.map(|found| {
                        assert_eq!(crc32fast::hash(&bytes), found.value_crc, "the value is the writer's");
                        Value { bytes, revision: found.revision, deadline: found.deadline }
                    }));
                }
                Err(stop) => self.resolve(self.core_of(partition), stop).await?,
            }
        }
    }

    /// All visible rows of a partition.
    pub async fn scan(&mut self, partition: PartitionId) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        let point = self.store(partition).partition(partition).expect("owned").read_point();
        let rows = self.scan_at(partition, Keyspace::Data, point).await?;
        Ok(rows.into_iter().map(|(key, value)| (key, value.bytes)).collect())
    }

    /// The rows of a keyspace that are visible at `point`.
    pub async fn scan_at(&mut self, partition: PartitionId, keyspace: Keyspace, point: ReadPoint) -> Result<State> {
        /// Few, so that walks pause in all kinds of places.
        const ROWS_WALKED_MAX: usize = 5;
        let mut rows = State::new();
        let mut start = Vec::new();
        loop {
            let options = ReadOptions { keyspace, start: &start, end: None, point, rows_walked_max: ROWS_WALKED_MAX };
            let walk = self.store(partition).scan(partition, &options, |row| {
                assert_eq!(crc32fast::hash(row.value), row.value_crc, "the value is the writer's");
                let value = Value { bytes: row.value.to_vec(), revision: row.row_key.revision, deadline: row.deadline };
                assert!(rows.insert(row.row_key.key.to_vec(), value).is_none(), "each key once");
                true
            });
            match walk.map_err(Error::Corruption)? {
                Walk::Done => return Ok(rows),
                Walk::Paused { resume_key, miss } => {
                    assert!(miss.is_some() || resume_key > start, "a walk comes forward");
                    start = resume_key;
                    if let Some(read) = miss {
                        self.read_block(self.core_of(partition), &read).await?;
                    }
                }
            }
        }
    }

    async fn resolve(&mut self, core: usize, stop: Stop<E::File>) -> Result<()> {
        match stop {
            Stop::Corruption(corruption) => Err(Error::Corruption(corruption)),
            Stop::Miss(read) => self.read_block(core, &read).await,
        }
    }

    async fn read_block(&mut self, core: usize, read: &BlockRead<E::File>) -> Result<()> {
        let buffer = IoBuffer::zeroed(read.handle.length as usize);
        let (result, buffer) = self.environment.read_at(&read.file, buffer, read.handle.offset).await;
        self.stores[core].block_read(read, &buffer, result)
    }
}

pub fn put<'a>(key: &'a [u8], value: &'a [u8]) -> Write<'a> {
    Write { key, change: WriteChange::Put { value, value_crc: crc32fast::hash(value), ttl_ms: None }, session: None }
}

pub fn put_for<'a>(key: &'a [u8], value: &'a [u8], ttl_ms: u64) -> Write<'a> {
    Write {
        key,
        change: WriteChange::Put { value, value_crc: crc32fast::hash(value), ttl_ms: Some(ttl_ms) },
        session: None,
    }
}
