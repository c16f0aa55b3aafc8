//! A core's store: one log, the partitions the core owns, one memory budget, one block cache.
//!
//! Synchronous and without I/O of its own. Inputs are method calls; what must happen in the world comes out as values:
//!
//! ```text
//! propose ── seal ──► start_log_write ──► (driver writes) ──► finish_log_write ──► outcomes
//! get / scan ──► answer, or a block that the driver reads ──► block_read ──► the same call again
//! next_job ──► (maintenance thread runs it) ──► job_done
//! ```
//!
//! Owned by one shard thread; nothing here is shared. Bounds: [`Options`]. A failed log write, or a manifest that could not be made
//! durable, is fatal: the store answers an error once and the node must stop.

mod maintenance;
mod replication;
mod retry;
mod transfer;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::PathBuf;

use crate::block_cache::{BlockCache, CacheCounters};
use crate::cursor::Stop;
use crate::env::Environment;
use crate::error::{Corruption, Error, Result};
use crate::ids::{PartitionId, ReadPoint, StreamId};
use crate::io_buffer::IoBuffer;
use crate::job::{Job, JobDone};
use crate::log::{Durable, LogCounters, LogWrite, LogWriter};
use crate::options::Options;
use crate::partition::{Answer, Durability, Outcome, Partition, Proposal, SnapshotId, Write};
use crate::table::BlockRead;
use crate::transfer::TransferId;
use crate::tree::{ReadOptions, Walk};
use maintenance::Retries;

pub use replication::check_entry;
pub use transfer::Receiving;
use transfer::{Lent, Received};

/// Why a write is not taken now. Nothing was done; it can be tried again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Busy {
    /// The log has as many bytes waiting as it may.
    Log,
    /// Memtables fill the memory budget; flushes have to catch up.
    Memory,
    /// Level 0 of the partition has too many tables; compaction has to catch up.
    Compaction,
}

/// What a store has done and holds, for reports.
#[derive(Clone, Copy, Default, Debug)]
pub struct StoreCounters {
    /// The log's.
    pub log: LogCounters,
    /// Log segments with records that may be needed.
    pub log_segments: u64,
    /// Memory of memtables, bytes.
    pub memtable_bytes: u64,
    /// Tables.
    pub tables: u64,
    /// Their length together, bytes.
    pub table_bytes: u64,
    /// Flushes installed.
    pub flushes: u64,
    /// Compactions installed.
    pub compactions: u64,
    /// Manifest versions made durable.
    pub manifests: u64,
    /// Bytes that compaction wrote.
    pub compaction_bytes: u64,
    /// Times that all trees were gone through for work to be done.
    pub tree_plans: u64,
    /// Times that another replica's tables took the place of a partition's own.
    pub replacements: u64,
    /// Sessions of clients.
    pub sessions: u64,
    /// Jobs that failed and are tried again.
    pub job_failures: u64,
    /// Point reads and scans that had to wait for a block.
    pub block_misses: u64,
}

/// A core's store.
pub struct Store<E: Environment> {
    options: Options,
    log_directory: PathBuf,
    log: LogWriter<E::File>,
    partitions: BTreeMap<PartitionId, Partition<E>>,
    cache: BlockCache,
    jobs: VecDeque<Job<E>>,
    /// Partitions with an entry being built.
    dirty: Vec<PartitionId>,
    /// Partitions with entries that were closed and have no place in the log yet.
    sealed: Vec<PartitionId>,
    /// What is durable of what somebody asked to be told of.
    stored_tokens: Vec<(PartitionId, u64)>,
    /// Partitions whose tables are known to be damaged.
    damaged: BTreeSet<PartitionId>,
    /// Those of them that nobody was told of.
    damaged_untold: Vec<PartitionId>,
    /// Tables that other nodes read.
    lent: Vec<Lent<E>>,
    /// Tables that other nodes send.
    received: Vec<Received<E>>,
    transfer_last: TransferId,
    /// Memory of all memtables, active and frozen, bytes.
    memtable_bytes: usize,
    compactions_running: usize,
    /// Whether all of maintenance is to be planned anew.
    maintenance_due: bool,
    /// Whether the log or memtables have grown since: most often that asks for nothing.
    growth_due: bool,
    /// Whether no tree has anything to be done, and none will have before a memtable is frozen, a job ends, or somebody sets `maintenance_due`. Trees are not
    /// gone through meanwhile, so that a write costs the same whatever the number of partitions.
    are_trees_at_rest: bool,
    /// The machine's clock as it was last told.
    now_ms: u64,
    retries: Retries,
    is_residency_due: bool,
    counters: StoreCounters,
}

/// The stream of a partition's entries.
#[must_use]
pub fn stream_of(partition: PartitionId) -> StreamId {
    StreamId(u64::from(partition.0))
}

fn partition_of(stream: StreamId) -> PartitionId {
    PartitionId(u16::try_from(stream.0).expect("only partitions have streams"))
}

impl<E: Environment> Store<E> {
    pub(crate) fn new(
        options: Options,
        log_directory: PathBuf,
        log: LogWriter<E::File>,
        partitions: impl IntoIterator<Item = Partition<E>>,
    ) -> Self {
        let partitions: BTreeMap<_, _> = partitions.into_iter().map(|partition| (partition.id(), partition)).collect();
        let memtable_bytes = partitions.values().map(|partition| partition.tree.memtable_bytes()).sum();
        Self {
            cache: BlockCache::new(options.block_cache_bytes),
            options,
            log_directory,
            log,
            partitions,
            jobs: VecDeque::new(),
            dirty: Vec::new(),
            sealed: Vec::new(),
            stored_tokens: Vec::new(),
            damaged: BTreeSet::new(),
            damaged_untold: Vec::new(),
            lent: Vec::new(),
            received: Vec::new(),
            transfer_last: TransferId(0),
            memtable_bytes,
            compactions_running: 0,
            maintenance_due: true,
            growth_due: false,
            are_trees_at_rest: false,
            now_ms: 0,
            retries: Retries::default(),
            is_residency_due: true,
            counters: StoreCounters::default(),
        }
    }

    /// The partitions of this core.
    pub fn partitions(&self) -> impl Iterator<Item = &Partition<E>> {
        self.partitions.values()
    }

    /// A partition of this core, if it owns it.
    #[must_use]
    pub fn partition(&self, id: PartitionId) -> Option<&Partition<E>> {
        self.partitions.get(&id)
    }

    /// What was done so far.
    #[must_use]
    pub fn counters(&self) -> StoreCounters {
        let trees = || self.partitions.values().map(|partition| &partition.tree);
        StoreCounters {
            log: self.log.counters(),
            log_segments: self.log.live_segment_count() as u64,
            memtable_bytes: self.memtable_bytes as u64,
            tables: trees().map(|tree| tree.table_count() as u64).sum(),
            table_bytes: trees().map(|tree| tree.table_bytes()).sum(),
            sessions: self.partitions.values().map(|partition| partition.session_count() as u64).sum(),
            ..self.counters
        }
    }

    /// What the block cache holds and how often it had what was asked for.
    #[must_use]
    pub fn cache_counters(&self) -> CacheCounters {
        self.cache.counters()
    }

    /// Snapshots held over all partitions.
    #[must_use]
    pub fn snapshot_count(&self) -> usize {
        self.partitions.values().map(|partition| partition.snapshots.count()).sum()
    }

    /// Whether a write to `partition` would be taken now.
    ///
    /// # Errors
    /// [`Busy`] says what it waits for.
    pub fn check_capacity(&self, partition: PartitionId) -> std::result::Result<(), Busy> {
        if self.log.pending_bytes() >= self.options.log_pending_bytes_max {
            return Err(Busy::Log);
        }
        if self.memtable_bytes >= self.options.memtable_memory_bytes {
            return Err(Busy::Memory);
        }
        if self.partitions[&partition].tree.level0_count() >= self.options.compaction.level0_table_count_trigger * 6 {
            return Err(Busy::Compaction);
        }
        Ok(())
    }

    /// Proposes a write. It takes effect when an [`Outcome`] of its entry says so; [`seal`](Self::seal) ends the turn.
    ///
    /// # Errors
    /// [`Busy`]: nothing was done.
    ///
    /// # Panics
    /// If this core does not own the partition, or the key or value is longer than the limits.
    pub fn propose(
        &mut self,
        partition: PartitionId,
        write: &Write<'_>,
        durability: Durability,
        now_ms: u64,
    ) -> std::result::Result<Proposal, Busy> {
        self.now_ms = now_ms;
        self.check_capacity(partition)?;
        let owned = self.partitions.get_mut(&partition).expect("this core owns the partition");
        if !owned.is_dirty {
            self.dirty.push(partition);
        }
        Ok(owned.propose(&mut self.log, now_ms, write, durability))
    }

    /// Ends a turn: closes the entries that gathered and gives them to the log. Outcomes of writes that asked for memory only are added.
    pub fn seal(&mut self, outcomes: &mut Vec<Outcome>) {
        for id in std::mem::take(&mut self.dirty) {
            let partition = self.partitions.get_mut(&id).expect("dirty partitions are owned");
            account(&mut self.memtable_bytes, partition, |partition| partition.seal(&mut self.log, outcomes));
            if partition.first_sealed().is_some() {
                self.sealed.push(id);
            }
        }
    }

    /// The log write that is due, if one is: the driver carries it out and calls [`finish_log_write`](Self::finish_log_write).
    pub fn start_log_write(&mut self) -> Option<LogWrite<E::File>> {
        let write = self.log.start_write();
        if write.is_none() && self.log.is_waiting_for_segment() {
            self.maintenance_due = true;
        }
        write
    }

    /// Learns what became of a log write; entries that are durable by it are applied and their outcomes added.
    ///
    /// # Errors
    /// The write's failure. The log is poisoned and the node must stop: nothing more is acknowledged.
    pub fn finish_log_write(
        &mut self,
        write: LogWrite<E::File>,
        result: io::Result<()>,
        outcomes: &mut Vec<Outcome>,
    ) -> Result<()> {
        let durable = self.log.finish_write(write, result)?;
        self.advance_durable(&durable, outcomes);
        self.growth_due = true;
        Ok(())
    }

    fn advance_durable(&mut self, durable: &[Durable], outcomes: &mut Vec<Outcome>) {
        for durable in durable {
            match *durable {
                Durable::Entries { stream, through } => {
                    let Some(partition) = self.partitions.get_mut(&partition_of(stream)) else { continue };
                    account(&mut self.memtable_bytes, partition, |partition| {
                        partition.advance_durable(through, outcomes);
                    });
                }
                Durable::Token { stream, token } => self.stored_tokens.push((partition_of(stream), token)),
            }
        }
    }

    /// Asks for a marker behind the last batch; called when the store falls idle and before it closes.
    pub fn mark_log(&mut self) {
        self.log.mark();
    }

    /// Whether nothing is being proposed, written or waited for in the log.
    #[must_use]
    pub fn is_log_idle(&self) -> bool {
        self.dirty.is_empty() && self.log.is_idle()
    }

    /// Reads a key, at a held snapshot or as of now. The value is appended to `value`.
    ///
    /// # Errors
    /// [`Stop::Miss`]: the driver reads the block, calls [`block_read`](Self::block_read), and repeats the call.
    /// [`Stop::Corruption`]: a block is damaged.
    ///
    /// # Panics
    /// If this core does not own the partition.
    pub fn get(
        &mut self,
        partition: PartitionId,
        key: &[u8],
        value: &mut Vec<u8>,
    ) -> std::result::Result<Answer, Stop<E::File>> {
        let owned = &self.partitions[&partition];
        let answer = owned.get(key, owned.read_point(), &mut self.cache, value);
        if let Err(Stop::Corruption(_)) = &answer {
            self.note_damage(partition);
        }
        answer
    }

    /// Partitions whose tables were found to be damaged since this was asked last.
    pub fn take_damaged(&mut self) -> Vec<PartitionId> {
        std::mem::take(&mut self.damaged_untold)
    }

    fn note_damage(&mut self, partition: PartitionId) {
        if self.damaged.insert(partition) {
            self.damaged_untold.push(partition);
        }
    }

    /// Takes in a block that a read missed.
    ///
    /// # Errors
    /// [`Error::Corruption`] if its checksum does not hold; [`Error::Io`] if it could not be read.
    pub fn block_read(
        &mut self,
        read: &BlockRead<E::File>,
        buffer: &IoBuffer,
        result: io::Result<usize>,
    ) -> Result<()> {
        self.counters.block_misses += 1;
        let length = result.map_err(|error| Error::io("read", &read.path, error))?;
        let outcome = self.cache.complete(read, &buffer[..length]);
        if let Err(Error::Corruption(_)) = &outcome {
            let directory = read.path.parent();
            let owner = self.partitions.values().find(|owned| Some(owned.directory().as_path()) == directory);
            if let Some(partition) = owner.map(Partition::id) {
                self.note_damage(partition);
            }
        }
        outcome
    }

    /// Holds a snapshot of a partition as of now. At the bound the one that was not used for longest is let go: readers that went away must not keep
    /// others from reading.
    ///
    /// # Panics
    /// If this core does not own the partition.
    pub fn hold_snapshot(&mut self, partition: PartitionId, now_ms: u64) -> (SnapshotId, ReadPoint) {
        let owned = self.partitions.get_mut(&partition).expect("this core owns the partition");
        let point = owned.read_point();
        (owned.snapshots.hold(point, now_ms, self.options.snapshots_max), point)
    }

    /// What a held snapshot sees, `None` if it is not held any more.
    pub fn use_snapshot(&mut self, partition: PartitionId, id: SnapshotId, now_ms: u64) -> Option<ReadPoint> {
        self.partitions.get_mut(&partition)?.snapshots.touch(id, now_ms)
    }

    /// Lets a snapshot go.
    pub fn release_snapshot(&mut self, partition: PartitionId, id: SnapshotId) {
        if let Some(owned) = self.partitions.get_mut(&partition) {
            owned.snapshots.release(id);
        }
    }

    /// Walks over the visible rows of a range in key order until `visit` answers `false`. A [pause](Walk::Paused) says where the next
    /// call goes on; no row is visited twice.
    ///
    /// # Errors
    /// A damaged block.
    ///
    /// # Panics
    /// If this core does not own the partition.
    pub fn scan(
        &mut self,
        partition: PartitionId,
        options: &ReadOptions<'_>,
        visit: impl FnMut(crate::row::Row<'_>) -> bool,
    ) -> std::result::Result<Walk<E::File>, Corruption> {
        let walk = self.partitions[&partition].tree.scan(options, &mut self.cache, visit);
        if walk.is_err() {
            self.note_damage(partition);
        }
        walk
    }

    /// Does what time asks for: proposes entries for deadlines that are due, lets idle snapshots go, tries again what failed.
    ///
    /// # Errors
    /// As [`get`](Self::get): a deadline may have to be looked up in a block that is not in memory.
    pub fn tick(&mut self, now_ms: u64) -> std::result::Result<(), Stop<E::File>> {
        self.now_ms = now_ms;
        self.maintenance_due |= self.retries.wake(now_ms);
        for (id, partition) in &mut self.partitions {
            partition.snapshots.expire(now_ms, self.options.snapshot_idle_ms_max);
            let was_dirty = partition.is_dirty;
            let proposed = partition.propose_time_if_due(now_ms, &mut self.cache);
            if let Err(Stop::Corruption(_)) = &proposed
                && self.damaged.insert(*id)
            {
                self.damaged_untold.push(*id);
            }
            proposed?;
            if partition.is_dirty && !was_dirty {
                self.dirty.push(*id);
            }
        }
        Ok(())
    }

    /// When [`tick`](Self::tick) should be called next, milliseconds since the Unix epoch; `None` while nothing waits for time to pass.
    #[must_use]
    pub fn next_tick_ms(&self) -> Option<u64> {
        let deadlines = self.partitions.values().filter_map(Partition::next_deadline_ms);
        let idle_ms_max = self.options.snapshot_idle_ms_max;
        let snapshots =
            self.partitions.values().filter_map(|partition| partition.snapshots.next_expiry_ms(idle_ms_max));
        deadlines.chain(snapshots).chain(self.retries.due_ms()).min()
    }

    /// Freezes every memtable that has rows, so that a close leaves nothing to replay.
    pub fn flush_all(&mut self) {
        for partition in self.partitions.values_mut() {
            if partition.applied().index > partition.tree.frozen_through().index {
                account(&mut self.memtable_bytes, partition, Partition::freeze);
            }
        }
        self.maintenance_due = true;
    }

    /// Whether a flush is running or may run. One that waits until what it holds is stored or committed may wait for ever, for other nodes.
    #[must_use]
    pub fn is_flushing(&self) -> bool {
        let may_flush = |partition: &Partition<E>| !partition.tree.is_flush_waiting_for(partition.durable());
        self.partitions.values().any(|partition| partition.tree.is_flushing() && may_flush(partition))
    }

    /// Whether any job of the store is queued or running.
    #[must_use]
    pub fn is_maintenance_idle(&self) -> bool {
        self.jobs.is_empty() && self.partitions.values().all(|partition| partition.tree.is_idle())
    }

    /// Asks maintenance to look which pages of the tables are in memory: the kernel may have dropped some, and reads have brought others in.
    pub fn refresh_residency(&mut self) {
        self.is_residency_due = true;
        self.maintenance_due = true;
    }

    /// The next job for the maintenance thread.
    pub fn next_job(&mut self) -> Option<Job<E>> {
        if self.maintenance_due || self.growth_due {
            let is_all_due = std::mem::take(&mut self.maintenance_due);
            self.growth_due = false;
            self.plan_maintenance(is_all_due);
        }
        self.jobs.pop_front()
    }

    /// Learns that a job ended.
    ///
    /// # Errors
    /// A failure that must stop the node: a manifest that may or may not be durable.
    pub fn job_done(&mut self, done: JobDone<E>) -> Result<()> {
        self.maintenance_due = true;
        match done {
            JobDone::SegmentPrepared(result) => self.segment_prepared(result),
            JobDone::Flushed { partition, result } => self.flushed(partition, result),
            JobDone::Compacted { partition, result } => self.compacted(partition, result),
            JobDone::ManifestWritten { partition, version, result } => {
                self.manifest_written(partition, version, result)?;
            }
            JobDone::Removed { result } => {
                if let Err(error) = result {
                    self.job_failed("remove files", &error);
                }
            }
            JobDone::PieceRead { transfer, result } => self.piece_read(transfer, result),
            JobDone::PieceWritten { transfer, result } => self.piece_written(transfer, result),
            JobDone::TransferOpened { transfer, result } => self.transfer_opened(transfer, result),
            JobDone::TablesVerified { partition, result } => {
                if let Err(error) = result {
                    tracing::error!(%partition, %error, "a table does not hold what was written");
                    if matches!(error, Error::Corruption(_)) {
                        self.note_damage(partition);
                    }
                }
            }
            JobDone::Residency(reports) => {
                for report in reports {
                    if let Some(owned) = self.partitions.get_mut(&report.partition) {
                        owned.tree.set_residency(&report.table, report.pages);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Carries out a change of a partition and keeps the sum of all memtables' memory.
fn account<E: Environment, R>(
    memtable_bytes: &mut usize,
    partition: &mut Partition<E>,
    change: impl FnOnce(&mut Partition<E>) -> R,
) -> R {
    let before = partition.tree.memtable_bytes();
    let result = change(partition);
    *memtable_bytes = *memtable_bytes + partition.tree.memtable_bytes() - before;
    result
}
