//! What a store asks of the maintenance thread, and how it takes in what comes back.
//!
//! The order that keeps acknowledged data safe, with the step that a crash may follow:
//!
//! 1. A memtable is frozen and, once everything in it is durable in the log, flushed: the table is written, synced, and its name made durable.
//! 2. A manifest that names the table, and says up to which entry the tree is in tables, is made durable.
//! 3. Only then the version is installed, the memtable dropped, and the log told that these entries are flushed.
//! 4. Only then may the log reuse segments.
//!
//! Compaction goes the same way; its inputs are removed only after step 3 and once no reader holds them.

use std::sync::Arc;

use crate::compaction::pick;
use crate::env::Environment;
use crate::error::{Error, Result};
use crate::ids::{LogPosition, PartitionId};
use crate::job::{Job, ResidencyCheck};
use crate::log::{SegmentBound, SegmentFile};
use crate::manifest::ReplaceFailure;
use crate::partition::Partition;
use crate::table::Table;
use crate::tree::CompactionStart;

use super::retry::Retry;
use super::{Store, account, partition_of, stream_of};

/// What failed lately, by kind of work.
#[derive(Debug, Default)]
pub(super) struct Retries {
    segment: Retry,
    flush: Retry,
    compaction: Retry,
    manifest: Retry,
}

impl Retries {
    /// When some work that failed is tried again.
    pub(super) fn due_ms(&self) -> Option<u64> {
        [&self.segment, &self.flush, &self.compaction, &self.manifest].into_iter().filter_map(Retry::due_ms).min()
    }

    /// Lets work whose time has come be tried again; answers whether there is any.
    pub(super) fn wake(&mut self, now_ms: u64) -> bool {
        self.segment.wake(now_ms) | self.flush.wake(now_ms) | self.compaction.wake(now_ms) | self.manifest.wake(now_ms)
    }
}

/// Compactions of one core at a time: more would only take turns on its maintenance thread.
const COMPACTIONS_MAX: usize = 1;

impl<E: Environment> Store<E> {
    /// Plans what is to be done: all of it, or what a log and memtables that have grown may ask for, which a write pays for.
    pub(super) fn plan_maintenance(&mut self, is_all_due: bool) {
        self.freeze_by_memory();
        self.freeze_by_log();
        self.relocate_by_log();
        self.plan_segments();
        if !is_all_due && self.are_trees_at_rest {
            return;
        }
        self.counters.tree_plans += 1;
        self.plan_flushes();
        self.plan_compactions();
        self.plan_manifests();
        self.plan_transfers();
        self.plan_removals();
        self.plan_residency();
        // Tables that are lent or received change trees without more ado than the end of a job, but there are never many.
        self.are_trees_at_rest = self.lent.is_empty()
            && self.received.is_empty()
            && self.partitions.values().all(|partition| partition.tree.is_at_rest());
    }

    fn plan_segments(&mut self) {
        // Entries may be applied before they are written. A memtable with such entries cannot be flushed before the log goes on, and a
        // full log goes on only after flushes: then the log takes one more segment.
        let waits_for_log = |partition: &Partition<E>| partition.tree.is_flush_waiting_for(partition.durable());
        // Likewise what is to be written so that old segments need not be kept.
        let is_stuck = self.log.is_waiting_for_segment()
            && (self.log.is_release_pending() || self.partitions.values().any(waits_for_log));
        let bound = if is_stuck { SegmentBound::Exceed } else { SegmentBound::Keep };
        if self.retries.segment.is_waiting() {
            // Not now.
        } else if let Some((number, size_bytes)) = self.log.next_segment_to_prepare(bound) {
            self.jobs.push_back(Job::PrepareSegment { directory: self.log_directory.clone(), number, size_bytes });
        }
        let files = self.log.take_surplus_segments();
        if !files.is_empty() {
            self.jobs.push_back(Job::RemoveFiles { paths: files.into_iter().map(|file| file.path).collect() });
        }
    }

    /// Freezes the largest active memtables while the active ones together take more than half of the budget.
    fn freeze_by_memory(&mut self) {
        // The active ones are a part of all.
        while self.memtable_bytes > self.options.memtable_memory_bytes / 2 {
            let active: usize = self.partitions.values().map(|partition| partition.tree.active_bytes()).sum();
            if active <= self.options.memtable_memory_bytes / 2 {
                return;
            }
            let may_freeze = self.partitions.values_mut().filter(|partition| partition.may_freeze());
            let largest = may_freeze.max_by_key(|partition| partition.tree.active_bytes());
            let Some(largest) = largest.filter(|partition| partition.tree.active_row_count() > 0) else { return };
            account(&mut self.memtable_bytes, largest, Partition::freeze);
            self.are_trees_at_rest = false;
        }
    }

    /// Freezes the memtables whose entries keep the oldest segment, once half of the segments are in use.
    fn freeze_by_log(&mut self) {
        if self.log.live_segment_count() * 2 <= self.options.log.segments_max {
            return;
        }
        for (stream, pinned_through) in self.log.streams_pinning_oldest_segment() {
            let Some(partition) = self.partitions.get_mut(&partition_of(stream)) else { continue };
            if partition.tree.frozen_through().index < pinned_through && partition.applied().index >= pinned_through {
                account(&mut self.memtable_bytes, partition, Partition::freeze);
                self.are_trees_at_rest = false;
            }
        }
    }

    /// Where the log waits for a segment, writes entries of the oldest one again that are not known to be committed. Votes of elections that nobody wins would
    /// fill the log otherwise, and without votes nothing is ever committed. Not sooner: where all that is kept is needed, entries would only go round.
    fn relocate_by_log(&mut self) {
        if !self.log.is_waiting_for_segment() {
            return;
        }
        let pinning: Vec<_> = self.log.streams_pinning_oldest_segment().collect();
        for (stream, pinned_through) in pinning {
            let Some(partition) = self.partitions.get_mut(&partition_of(stream)) else { continue };
            let applied = partition.applied().index;
            if !partition.is_replicated() || applied >= pinned_through || self.log.is_relocating(stream) {
                continue;
            }
            if partition.tree.frozen_through().index < applied {
                account(&mut self.memtable_bytes, partition, Partition::freeze);
                self.are_trees_at_rest = false;
            }
            let is_meant = |position: LogPosition| position.index > applied && position.index <= pinned_through;
            self.log.relocate(stream, applied, partition.entries().filter(|(position, _)| is_meant(*position)));
        }
    }

    fn plan_flushes(&mut self) {
        if self.retries.flush.is_waiting() {
            return;
        }
        // After a failure one flush at a time finds out whether the disk takes them again.
        let is_probe = self.retries.flush.has_failed();
        if is_probe && self.partitions.values().any(|partition| partition.tree.is_flush_running()) {
            return;
        }
        for partition in self.partitions.values_mut() {
            let (pins, floor) = (partition.snapshots.revisions(), partition.log_time_floor());
            if let Some(job) = partition.tree.start_flush(partition.durable(), &pins, floor) {
                self.jobs.push_back(Job::Flush(job));
                if is_probe {
                    return;
                }
            }
        }
    }

    fn plan_compactions(&mut self) {
        for partition in self.partitions.values_mut() {
            if self.compactions_running >= COMPACTIONS_MAX || self.retries.compaction.is_waiting() {
                return;
            }
            if partition.tree.is_compaction_suspended() {
                continue;
            }
            let Some(plan) = pick(&partition.tree.summaries(), &self.options.compaction) else { continue };
            let (pins, floor) = (partition.snapshots.revisions(), partition.log_time_floor());
            match partition.tree.start_compaction(&plan, pins, floor) {
                CompactionStart::Moved => {}
                CompactionStart::Job(job) => {
                    self.compactions_running += 1;
                    self.jobs.push_back(Job::Compact(job));
                }
            }
        }
    }

    fn plan_manifests(&mut self) {
        if self.retries.manifest.is_waiting() {
            return;
        }
        for partition in self.partitions.values_mut() {
            if let Some(manifest) = partition.tree.start_manifest() {
                let directory = partition.tree.directory().clone();
                self.jobs.push_back(Job::WriteManifest { directory, manifest });
            }
        }
    }

    fn plan_removals(&mut self) {
        for partition in self.partitions.values_mut() {
            let tables = partition.tree.take_unused_tables();
            if !tables.is_empty() {
                self.jobs.push_back(Job::RemoveTables { partition: partition.id(), tables });
            }
        }
    }

    fn plan_residency(&mut self) {
        let mut tables = Vec::new();
        for partition in self.partitions.values_mut() {
            let id = partition.id();
            let check = |(table, is_hot)| ResidencyCheck { partition: id, table, is_hot };
            tables.extend(partition.tree.take_unseen_tables().into_iter().map(check));
            if self.is_residency_due {
                let check =
                    |table: &Arc<Table<E>>| ResidencyCheck { partition: id, table: Arc::clone(table), is_hot: false };
                tables.extend(partition.tree.tables().map(check));
            }
        }
        self.is_residency_due = false;
        if !tables.is_empty() {
            self.jobs.push_back(Job::RefreshResidency { tables });
        }
    }

    pub(super) fn flushed(&mut self, partition: PartitionId, result: Result<Option<Table<E>>>) {
        let owned = self.partitions.get_mut(&partition).expect("jobs are of owned partitions");
        match result {
            Ok(table) => {
                self.counters.flushes += 1;
                self.retries.flush.succeeded();
                owned.tree.flush_done(table);
            }
            Err(error) => {
                owned.tree.flush_failed();
                self.retries.flush.failed(self.now_ms);
                self.job_failed("flush a memtable", &error);
            }
        }
    }

    pub(super) fn compacted(&mut self, partition: PartitionId, result: Result<Vec<Table<E>>>) {
        self.compactions_running -= 1;
        let owned = self.partitions.get_mut(&partition).expect("jobs are of owned partitions");
        match result {
            Ok(tables) => {
                self.counters.compactions += 1;
                self.retries.compaction.succeeded();
                self.counters.compaction_bytes += tables.iter().map(|table| table.meta().file_length).sum::<u64>();
                owned.tree.compaction_done(tables);
            }
            Err(error) => {
                let is_damaged = matches!(error, Error::Corruption(_));
                owned.tree.compaction_failed(is_damaged);
                if is_damaged {
                    self.note_damage(partition);
                }
                self.retries.compaction.failed(self.now_ms);
                self.job_failed("compact tables", &error);
            }
        }
    }

    pub(super) fn manifest_written(
        &mut self,
        partition: PartitionId,
        version: u64,
        result: std::result::Result<(), ReplaceFailure>,
    ) -> Result<()> {
        let owned = self.partitions.get_mut(&partition).expect("jobs are of owned partitions");
        if owned.tree.is_replacement_under_way() {
            return self.replacement_written(partition, result);
        }
        match result {
            Ok(()) => {}
            Err(ReplaceFailure { error, is_untouched: true }) => {
                owned.tree.manifest_failed();
                self.retries.manifest.failed(self.now_ms);
                self.job_failed("write a manifest", &error);
                return Ok(());
            }
            Err(ReplaceFailure { error, .. }) => return Err(error),
        }
        self.retries.manifest.succeeded();
        self.counters.manifests += 1;
        let flushed = account(&mut self.memtable_bytes, owned, |owned| owned.tree.install(version));
        if let Some(through) = flushed {
            self.release_log(partition, through);
        }
        Ok(())
    }

    pub(super) fn segment_prepared(&mut self, result: Result<SegmentFile<E::File>>) {
        match result {
            Ok(file) => {
                self.retries.segment.succeeded();
                self.log.add_segment(file);
            }
            Err(error) => {
                self.log.segment_failed();
                self.retries.segment.failed(self.now_ms);
                self.job_failed("prepare a log segment", &error);
            }
        }
    }

    /// With one replica nobody else needs the entries: what is flushed is truncated.
    fn release_log(&mut self, partition: PartitionId, through: LogPosition) {
        let stream = stream_of(partition);
        self.log.forget(stream, through);
    }

    pub(super) fn job_failed(&mut self, what: &str, error: &Error) {
        self.counters.job_failures += 1;
        tracing::error!(%error, "could not {what}; it will be tried again later");
    }
}
