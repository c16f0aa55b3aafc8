//! A partition's tree: the active memtable, frozen ones on their way to level 0, and the levels of tables.
//!
//! Owned by one core. Tables and frozen memtables are immutable and shared with the maintenance thread; the tree itself changes only
//! between two turns, when a durable manifest is [installed](Tree::install). At most one flush, one compaction and one manifest
//! are under way for a tree at a time; edits that arrive while a manifest is being written wait for the next one.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use crate::block_cache::BlockCache;
use crate::bugs::{self, Bug};
use crate::compaction::{CompactionJob, Plan, TableSummary};
use crate::cursor::{Input, MergeCursor, Stop};
use crate::env::Environment;
use crate::error::Corruption;
use crate::flush::FlushJob;
use crate::ids::{LogIndex, LogPosition, LogTime, ReadPoint, Revision, SlotRange, TableId};
use crate::job_target::JobTarget;
use crate::limits::LEVEL_COUNT;
use crate::manifest::Manifest;
use crate::memtable::{FrozenMemtable, Memtable};
use crate::options::Options;
use crate::row::{Keyspace, Row, RowKey};
use crate::table::{BlockRead, Table, TableOptions, TableView};

/// Which rows a scan walks over.
#[derive(Clone, Copy, Debug)]
pub struct ReadOptions<'a> {
    /// The keyspace.
    pub keyspace: Keyspace,
    /// The first key, included.
    pub start: &'a [u8],
    /// The key to stop before; `None` for the end of the keyspace.
    pub end: Option<&'a [u8]>,
    /// What is seen.
    pub point: ReadPoint,
    /// The most rows to walk over in one call, visible or not: so many bound the time that a call takes, even over
    /// nothing but tombstones. At least one.
    pub rows_walked_max: usize,
}

/// How far a walk over a range came.
#[derive(Clone, Debug)]
pub enum Walk<F> {
    /// Through the range, or as far as its visitor wanted.
    Done,
    /// Up to `resume_key`, which is where the next call starts, once the block that is named is at hand. With none named it was long enough.
    Paused {
        /// No row before this key remains to be visited, and none from it on was.
        resume_key: Vec<u8>,
        /// The block that was missed.
        miss: Option<Box<BlockRead<F>>>,
    },
}

/// How a compaction starts.
pub enum CompactionStart<E: Environment> {
    /// A table only changes its level: the next manifest says so.
    Moved,
    /// Tables are merged.
    Job(Box<CompactionJob<E>>),
}

/// A memtable that no longer grows.
struct Frozen {
    memtable: Arc<FrozenMemtable>,
    /// The last entry in it.
    through: LogPosition,
}

/// A change of the tree that the next manifest makes durable.
struct Edit<E: Environment> {
    add: Vec<(usize, Rc<TableView<E>>)>,
    remove: Vec<TableId>,
    flushed: Option<LogPosition>,
}

/// The compaction under way.
struct Compaction {
    inputs: Vec<TableId>,
    output_level: usize,
}

/// A manifest being written, with the edits that it holds.
struct ManifestInFlight<E: Environment> {
    manifest: Manifest,
    edits: Vec<Edit<E>>,
}

/// Tables that another replica has sent, with the manifest that puts them into place.
struct Replacement<E: Environment> {
    manifest: Manifest,
    tables: Vec<Arc<Table<E>>>,
}

/// Where a walk stands.
struct Progress {
    key: Vec<u8>,
    /// Whether the version of `key` that is seen was found: what follows of it is older.
    is_decided: bool,
}

impl Progress {
    /// Notes a version of `key`, newest first; answers whether it is the one that is seen, given that it is old enough to be.
    fn arrive(&mut self, key: &[u8], is_old_enough: bool) -> bool {
        if self.key != key {
            self.key.clear();
            self.key.extend_from_slice(key);
            self.is_decided = false;
        }
        is_old_enough && !std::mem::replace(&mut self.is_decided, true)
    }

    /// The first key that may have something to show yet.
    fn resume_key(self) -> Vec<u8> {
        let Self { mut key, is_decided } = self;
        if is_decided {
            key.push(0);
        }
        key
    }

    fn paused_by<F>(self, stop: Stop<F>) -> Result<Walk<F>, Corruption> {
        match stop {
            Stop::Miss(read) => Ok(Walk::Paused { resume_key: self.resume_key(), miss: Some(read) }),
            Stop::Corruption(corruption) => Err(corruption),
        }
    }
}

/// A partition's tree.
pub struct Tree<E: Environment> {
    directory: PathBuf,
    table_options: TableOptions,
    table_size_bytes_target: u64,
    active: Memtable,
    /// Newest first.
    frozen: VecDeque<Frozen>,
    frozen_through: LogPosition,
    /// Level 0 newest first, the others in key order.
    levels: [Vec<Rc<TableView<E>>>; LEVEL_COUNT],
    /// As it is on disk, durably; its tables are those in `levels`.
    manifest: Manifest,
    table_id_next: TableId,
    is_flush_running: bool,
    compaction: Option<Compaction>,
    is_compaction_suspended: bool,
    edits: Vec<Edit<E>>,
    manifest_in_flight: Option<ManifestInFlight<E>>,
    /// No new work begins: another replica's tables are about to take the place of these.
    is_suspended: bool,
    /// The tree that takes the place of this one, once its manifest is durable.
    replacement: Option<Replacement<E>>,
    /// Tables that no manifest names any more, until no reader holds them.
    unused: Vec<Rc<TableView<E>>>,
    /// Tables whose pages nobody has looked at yet, and whether to bring them into memory.
    unseen: Vec<(Arc<Table<E>>, bool)>,
}

impl<E: Environment> Tree<E> {
    /// The tree that `manifest` describes; `tables` are its tables in the manifest's order.
    pub(crate) fn new(directory: PathBuf, manifest: Manifest, tables: Vec<Arc<Table<E>>>, options: &Options) -> Self {
        assert_eq!(manifest.tables.len(), tables.len(), "one open table for each that the manifest names");
        let mut levels: [Vec<_>; LEVEL_COUNT] = Default::default();
        for ((level, _), table) in manifest.tables.iter().zip(tables) {
            levels[*level].push(Rc::new(TableView::new(table)));
        }
        Self {
            directory,
            table_options: TableOptions {
                block_size_bytes: options.table_block_size_bytes,
                compress: options.compress_tables,
            },
            table_size_bytes_target: options.compaction.table_size_bytes_target,
            active: Memtable::new(),
            frozen: VecDeque::new(),
            frozen_through: manifest.flushed,
            levels,
            table_id_next: manifest.table_id_next,
            manifest,
            is_flush_running: false,
            compaction: None,
            is_compaction_suspended: false,
            edits: Vec::new(),
            manifest_in_flight: None,
            is_suspended: false,
            replacement: None,
            unused: Vec::new(),
            unseen: Vec::new(),
        }
    }

    pub(crate) fn slots(&self) -> SlotRange {
        self.manifest.slots
    }

    pub(crate) fn directory(&self) -> &PathBuf {
        &self.directory
    }

    pub(crate) fn table_count(&self) -> usize {
        self.levels.iter().map(Vec::len).sum()
    }

    pub(crate) fn table_bytes(&self) -> u64 {
        self.levels.iter().flatten().map(|view| view.meta().file_length).sum()
    }

    pub(crate) fn level0_count(&self) -> usize {
        self.levels[0].len()
    }

    pub(crate) fn active_bytes(&self) -> usize {
        self.active.rows().memory_bytes()
    }

    pub(crate) fn active_row_count(&self) -> usize {
        self.active.rows().row_count()
    }

    pub(crate) fn memtable_bytes(&self) -> usize {
        self.active_bytes() + self.frozen.iter().map(|frozen| frozen.memtable.rows().memory_bytes()).sum::<usize>()
    }

    /// The last entry that is in a frozen memtable or a table.
    pub(crate) fn frozen_through(&self) -> LogPosition {
        self.frozen_through
    }

    /// The last entry not beyond `through` that ends a table or a frozen memtable.
    pub(crate) fn frozen_within(&self, through: LogIndex) -> LogIndex {
        let frozen = self.frozen.iter().map(|frozen| frozen.through.index).filter(|index| *index <= through);
        frozen.max().unwrap_or_default().max(self.manifest.flushed.index)
    }

    /// Whether a flush was started whose table is not in a manifest yet.
    pub(crate) fn is_flush_running(&self) -> bool {
        self.is_flush_running
    }

    pub(crate) fn is_flushing(&self) -> bool {
        !self.frozen.is_empty()
    }

    /// Whether no job of the tree is waited for.
    pub(crate) fn is_idle(&self) -> bool {
        self.frozen.is_empty()
            && self.compaction.is_none()
            && self.edits.is_empty()
            && self.manifest_in_flight.is_none()
            && self.replacement.is_none()
    }

    /// Whether nothing is under way and nothing waits to be done: no job begins before something changes.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.is_idle() && !self.is_suspended && self.unused.is_empty() && self.unseen.is_empty()
    }

    pub(crate) fn is_compaction_suspended(&self) -> bool {
        self.is_compaction_suspended || self.is_suspended || self.compaction.is_some()
    }

    /// Lets no new work begin, or lets it begin again.
    pub(crate) fn set_suspended(&mut self, is_suspended: bool) {
        self.is_suspended = is_suspended;
    }

    /// Whether no job is under way that would change the tables.
    pub(crate) fn is_quiet(&self) -> bool {
        !self.is_flush_running
            && self.compaction.is_none()
            && self.edits.is_empty()
            && self.manifest_in_flight.is_none()
            && self.replacement.is_none()
    }

    /// Up to where the tables on disk go.
    pub(crate) fn flushed(&self) -> LogPosition {
        self.manifest.flushed
    }

    /// The tables as the manifest on disk names them, with their levels. Who holds them keeps their files.
    pub(crate) fn leveled_tables(&self) -> Vec<(usize, Rc<TableView<E>>)> {
        let levels = self.levels.iter().enumerate();
        levels.flat_map(|(level, views)| views.iter().map(move |view| (level, Rc::clone(view)))).collect()
    }

    /// Numbers for tables that come from elsewhere, and where they go.
    pub(crate) fn reserve(&mut self, table_count: u64) -> JobTarget {
        self.target(table_count)
    }

    /// The manifest that puts `tables`, which hold all through `through`, in place of all that is here.
    ///
    /// # Panics
    /// If work is under way that would change the tables.
    pub(crate) fn start_replacement(
        &mut self,
        through: LogPosition,
        tables: Vec<(usize, Arc<Table<E>>)>,
        is_transferred: bool,
    ) -> Manifest {
        assert!(self.is_quiet() && self.is_suspended, "nothing else changes the tables meanwhile");
        let manifest = Manifest {
            version: self.manifest.version + 1,
            table_id_next: self.table_id_next,
            flushed: through,
            is_transferred,
            tables: tables.iter().map(|(level, table)| (*level, table.meta().clone())).collect(),
            ..self.manifest
        };
        let tables = tables.into_iter().map(|(_, table)| table).collect();
        self.replacement = Some(Replacement { manifest: manifest.clone(), tables });
        manifest
    }

    /// Whether the manifest being written is that of a replacement.
    pub(crate) fn is_replacement_under_way(&self) -> bool {
        self.replacement.is_some()
    }

    /// The replacement's manifest could not be written, and the one before is in place.
    pub(crate) fn replacement_failed(&mut self) {
        self.replacement = None;
        self.is_suspended = false;
    }

    /// The replacement's manifest is durable: the tree becomes what it says.
    pub(crate) fn install_replacement(&mut self) {
        let Replacement { manifest, tables } = self.replacement.take().expect("a replacement was under way");
        let mut levels: [Vec<_>; LEVEL_COUNT] = Default::default();
        for ((level, _), table) in manifest.tables.iter().zip(tables) {
            self.unseen.push((Arc::clone(&table), false));
            levels[*level].push(Rc::new(TableView::new(table)));
        }
        let before = std::mem::replace(&mut self.levels, levels);
        self.unused.extend(before.into_iter().flatten());
        self.active = Memtable::new();
        self.frozen.clear();
        self.frozen_through = manifest.flushed;
        self.manifest = manifest;
        self.is_suspended = false;
        self.is_compaction_suspended = false;
    }

    pub(crate) fn insert(&mut self, row: &Row<'_>, newest_pin: Option<Revision>) {
        self.active.insert(row, newest_pin);
    }

    /// The newest version of a key up to `at`, given to `visit` if there is one.
    pub(crate) fn get(
        &self,
        keyspace: Keyspace,
        key: &[u8],
        at: Revision,
        cache: &mut BlockCache,
        visit: impl FnOnce(Row<'_>),
    ) -> Result<(), Stop<E::File>> {
        let frozen = self.frozen.iter().map(|frozen| frozen.memtable.rows());
        for rows in std::iter::once(self.active.rows()).chain(frozen) {
            if let Some(row) = rows.get(keyspace, key, at) {
                visit(row);
                return Ok(());
            }
        }
        let target = RowKey { keyspace, key, revision: at };
        let mut visit = Some(visit);
        let mut visit_once = |row: Row<'_>| visit.take().expect("one version is visited")(row);
        for view in self.levels[0].iter().filter(|view| view.covers(keyspace, key)) {
            if view.get(target, cache, &mut visit_once)? {
                return Ok(());
            }
        }
        for level in &self.levels[1..] {
            let index = level.partition_point(|view| view.meta().largest.as_bound() < (keyspace, key));
            if let Some(view) = level.get(index).filter(|view| view.covers(keyspace, key))
                && view.get(target, cache, &mut visit_once)?
            {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Gives the visible rows of a range to `visit`, in key order, until it answers `false`, a block is missed, or enough rows were walked over.
    pub(crate) fn scan(
        &self,
        options: &ReadOptions<'_>,
        cache: &mut BlockCache,
        mut visit: impl FnMut(Row<'_>) -> bool,
    ) -> Result<Walk<E::File>, Corruption> {
        let ReadOptions { keyspace, start, end, point, rows_walked_max } = *options;
        let mut rows = self.merged();
        let mut progress = Progress { key: start.to_vec(), is_decided: false };
        // Versions of the first key that are newer than what is seen need no look.
        let mut step = rows.seek(RowKey { keyspace, key: start, revision: point.revision }, cache);
        for _ in 0..rows_walked_max {
            if let Err(stop) = step {
                return progress.paused_by(stop);
            }
            let Some(row) = rows.row() else { return Ok(Walk::Done) };
            let key = row.row_key.key;
            if row.row_key.keyspace != keyspace || end.is_some_and(|end| key >= end) {
                return Ok(Walk::Done);
            }
            let is_decided = progress.arrive(key, row.row_key.revision <= point.revision);
            if is_decided && row.is_visible_at(point.log_time) && !visit(row) {
                return Ok(Walk::Done);
            }
            step = rows.advance(cache);
        }
        match step {
            Ok(()) => Ok(Walk::Paused { resume_key: progress.resume_key(), miss: None }),
            Err(stop) => progress.paused_by(stop),
        }
    }

    /// All rows of the tree, the newest memtable first.
    fn merged(&self) -> MergeCursor<'_, E> {
        let mut inputs = Vec::with_capacity(1 + self.frozen.len() + self.levels[0].len() + LEVEL_COUNT);
        inputs.push(Input::memtable(self.active.rows()));
        inputs.extend(self.frozen.iter().map(|frozen| Input::memtable(frozen.memtable.rows())));
        inputs.extend(self.levels[0].iter().map(Input::table));
        inputs.extend(self.levels[1..].iter().filter(|level| !level.is_empty()).map(|level| Input::level(level)));
        MergeCursor::new(inputs)
    }

    /// Ends the growth of the active memtable, which holds entries up to `through`.
    pub(crate) fn freeze(&mut self, through: LogPosition) {
        let memtable = Arc::new(std::mem::take(&mut self.active).freeze());
        self.frozen.push_front(Frozen { memtable, through });
        self.frozen_through = through;
    }

    /// The next flush, if the oldest frozen memtable is durable in the log and none is under way.
    pub(crate) fn start_flush(
        &mut self,
        durable: LogPosition,
        pins: &[Revision],
        log_time_floor: LogTime,
    ) -> Option<FlushJob> {
        let oldest = self.frozen.back()?;
        if self.is_flush_running || self.is_suspended || oldest.through.index > durable.index {
            return None;
        }
        let memtable = Arc::clone(&oldest.memtable);
        self.is_flush_running = true;
        let target = self.target(1);
        Some(FlushJob { target, memtable, pins: pins.to_vec(), log_time_floor })
    }

    /// A flush ended: its table goes to level 0 with the next manifest.
    pub(crate) fn flush_done(&mut self, table: Option<Table<E>>) {
        let mut flushed = self.frozen.back().expect("a flush was under way").through;
        if bugs::is_planted(Bug::FlushClaimsTooMuch) {
            flushed.index = flushed.index.next();
        }
        let add = table.map(|table| (0, Rc::new(TableView::new(Arc::new(table))))).into_iter().collect();
        self.edits.push(Edit { add, remove: Vec::new(), flushed: Some(flushed) });
    }

    pub(crate) fn flush_failed(&mut self) {
        self.is_flush_running = false;
    }

    /// Whether the next flush holds entries that are not durable yet.
    pub(crate) fn is_flush_waiting_for(&self, durable: LogPosition) -> bool {
        self.frozen.back().is_some_and(|oldest| oldest.through.index > durable.index)
    }

    /// The tree's shape, for the choice of a compaction.
    pub(crate) fn summaries(&self) -> [Vec<TableSummary<'_>>; LEVEL_COUNT] {
        let is_busy = |id| self.compaction.as_ref().is_some_and(|compaction| compaction.inputs.contains(&id));
        std::array::from_fn(|level| {
            self.levels[level].iter().map(|view| summary(view, is_busy(view.meta().id))).collect()
        })
    }

    /// Starts what `plan` says.
    pub(crate) fn start_compaction(
        &mut self,
        plan: &Plan,
        pins: Vec<Revision>,
        log_time_floor: LogTime,
    ) -> CompactionStart<E> {
        let output_level = plan.output_level();
        let find = |level: usize, ids: &[TableId]| -> Vec<Rc<TableView<E>>> {
            self.levels[level].iter().filter(|view| ids.contains(&view.meta().id)).cloned().collect()
        };
        let (upper, lower) = (find(plan.input_level, &plan.upper), find(output_level, &plan.lower));
        assert!(upper.len() == plan.upper.len() && lower.len() == plan.lower.len(), "the plan is of this tree");
        let inputs: Vec<_> = plan.upper.iter().chain(&plan.lower).copied().collect();
        self.compaction = Some(Compaction { inputs: inputs.clone(), output_level });
        if plan.input_level > 0 && upper.len() == 1 && lower.is_empty() {
            let add = vec![(output_level, Rc::clone(&upper[0]))];
            self.edits.push(Edit { add, remove: inputs, flushed: None });
            return CompactionStart::Moved;
        }
        let beneath = self.levels[output_level + 1..].iter().flatten();
        let beneath = beneath.map(|view| (view.meta().smallest.clone(), view.meta().largest.clone())).collect();
        let tables = |views: &[Rc<TableView<E>>]| views.iter().map(|view| Arc::clone(view.table())).collect::<Vec<_>>();
        let (upper, lower) = (tables(&upper), tables(&lower));
        let input_bytes: u64 = upper.iter().chain(&lower).map(|table| table.meta().file_length).sum();
        // Unpacked blocks may take more than their inputs did; numbers are plentiful. At the last one a table grows beyond its target.
        let tables_max = (input_bytes / self.table_size_bytes_target.max(1) + 1) * 4 + inputs.len() as u64;
        CompactionStart::Job(Box::new(CompactionJob {
            target: self.target(tables_max),
            upper,
            is_upper_overlapping: plan.input_level == 0,
            lower,
            beneath,
            table_size_bytes_target: self.table_size_bytes_target,
            pins,
            log_time_floor,
        }))
    }

    /// A compaction ended: its tables take the place of the inputs with the next manifest.
    pub(crate) fn compaction_done(&mut self, tables: Vec<Table<E>>) {
        let compaction = self.compaction.as_ref().expect("a compaction was under way");
        let level = compaction.output_level;
        let add = tables.into_iter().map(|table| (level, Rc::new(TableView::new(Arc::new(table))))).collect();
        let remove = compaction.inputs.clone();
        if bugs::is_planted(Bug::CompactionRemovesInputsEarly) {
            let is_input = |view: &&Rc<TableView<E>>| remove.contains(&view.meta().id);
            let inputs: Vec<_> = self.levels.iter().flatten().filter(is_input).cloned().collect();
            self.unused.extend(inputs);
        }
        self.edits.push(Edit { add, remove, flushed: None });
    }

    /// A compaction failed. With damaged inputs it would fail again: then this tree is compacted no more until the next start.
    pub(crate) fn compaction_failed(&mut self, is_damaged: bool) {
        self.compaction = None;
        self.is_compaction_suspended |= is_damaged;
    }

    /// The manifest that makes the waiting edits durable, if there are any and none is being written.
    pub(crate) fn start_manifest(&mut self) -> Option<Manifest> {
        if self.edits.is_empty() || self.manifest_in_flight.is_some() {
            return None;
        }
        let edits = std::mem::take(&mut self.edits);
        let mut manifest = Manifest {
            version: self.manifest.version + 1,
            table_id_next: self.table_id_next,
            tables: Vec::new(),
            ..self.manifest
        };
        let levels = apply_edits(&self.levels, &edits);
        for (level, views) in levels.iter().enumerate() {
            manifest.tables.extend(views.iter().map(|view| (level, view.meta().clone())));
        }
        for edit in &edits {
            manifest.flushed = edit.flushed.unwrap_or(manifest.flushed);
            manifest.is_transferred &= edit.flushed.is_none();
        }
        self.manifest_in_flight = Some(ManifestInFlight { manifest: manifest.clone(), edits });
        Some(manifest)
    }

    /// The manifest could not be written, and the one before is in place: the next one holds the edits again.
    pub(crate) fn manifest_failed(&mut self) {
        let ManifestInFlight { mut edits, .. } = self.manifest_in_flight.take().expect("a manifest was being written");
        edits.append(&mut self.edits);
        self.edits = edits;
    }

    /// The manifest `version` is durable: the tree becomes what it says. Answers up to where it is in tables, if that moved.
    pub(crate) fn install(&mut self, version: u64) -> Option<LogPosition> {
        let ManifestInFlight { manifest, edits } =
            self.manifest_in_flight.take().expect("a manifest was being written");
        assert_eq!(manifest.version, version, "manifests are written one after the other");
        let levels = apply_edits(&self.levels, &edits);
        let mut flushed = None;
        for edit in edits {
            // A flush is hot by nature; the output of a compaction is if most of its inputs were.
            let removed = || self.levels.iter().flatten().filter(|view| edit.remove.contains(&view.meta().id));
            let (hot, count) = (removed().filter(|view| view.is_mostly_resident()).count(), removed().count());
            let is_hot = edit.flushed.is_some() || hot * 2 > count;
            self.unseen.extend(edit.add.iter().map(|(_, view)| (Arc::clone(view.table()), is_hot)));
            if edit.flushed.is_some() {
                flushed = edit.flushed;
                self.frozen.pop_back().expect("the flushed memtable");
                self.is_flush_running = false;
            }
            if !edit.remove.is_empty() {
                self.compaction = None;
            }
            for id in edit.remove {
                let is_kept = levels.iter().flatten().any(|view| view.meta().id == id);
                let removed = self.levels.iter().flatten().find(|view| view.meta().id == id);
                self.unused.extend(removed.filter(|_| !is_kept).cloned());
            }
        }
        self.levels = levels;
        self.manifest = manifest;
        flushed
    }

    /// Tables that no manifest names and no reader holds, for maintenance to remove.
    pub(crate) fn take_unused_tables(&mut self) -> Vec<Arc<Table<E>>> {
        let is_held = |view: &mut Rc<TableView<E>>| {
            let held_here = if bugs::is_planted(Bug::CompactionRemovesInputsEarly) { 2 } else { 1 };
            Rc::strong_count(view) <= held_here
        };
        self.unused.extract_if(.., is_held).map(|view| Arc::clone(view.table())).collect()
    }

    pub(crate) fn tables(&self) -> impl Iterator<Item = &Arc<Table<E>>> {
        self.levels.iter().flatten().map(|view| view.table())
    }

    /// Tables that were installed since the last call, and whether to bring them into memory.
    pub(crate) fn take_unseen_tables(&mut self) -> Vec<(Arc<Table<E>>, bool)> {
        std::mem::take(&mut self.unseen)
    }

    /// Takes over which pages of a table are in memory.
    pub(crate) fn set_residency(&self, table: &Arc<Table<E>>, pages: Vec<u64>) {
        if let Some(view) = self.levels.iter().flatten().find(|view| Arc::ptr_eq(view.table(), table)) {
            view.set_residency(pages);
        }
    }

    fn target(&mut self, table_count_max: u64) -> JobTarget {
        let table_id_first = self.table_id_next;
        self.table_id_next = TableId(table_id_first.0 + table_count_max);
        JobTarget {
            partition: self.manifest.partition,
            directory: self.directory.clone(),
            slots: self.manifest.slots,
            table_id_first,
            table_count_max,
            table_options: self.table_options,
        }
    }
}

fn summary<E: Environment>(view: &TableView<E>, is_busy: bool) -> TableSummary<'_> {
    let meta = view.meta();
    TableSummary {
        id: meta.id,
        size_bytes: meta.file_length,
        smallest: meta.smallest.as_bound(),
        largest: meta.largest.as_bound(),
        is_busy,
    }
}

/// The levels after `edits`. Tables that are added to level 0 are the newest there.
fn apply_edits<E: Environment>(
    levels: &[Vec<Rc<TableView<E>>>; LEVEL_COUNT],
    edits: &[Edit<E>],
) -> [Vec<Rc<TableView<E>>>; LEVEL_COUNT] {
    let mut levels = levels.clone();
    for edit in edits {
        for level in &mut levels {
            level.retain(|view| !edit.remove.contains(&view.meta().id));
        }
        for (level, view) in &edit.add {
            levels[*level].insert(0, Rc::clone(view));
        }
        for level in &mut levels[1..] {
            level.sort_by(|a, b| a.meta().smallest.cmp(&b.meta().smallest));
            let is_sorted = level.is_sorted_by(|a, b| a.meta().largest < b.meta().smallest);
            assert!(is_sorted, "tables of a level overlap");
        }
    }
    levels
}
