//! A partition's tables, lent to another node or received from one.
//!
//! ```text
//! lend ──► read_piece ──► (maintenance) ──► take_piece … ──► end_lending
//! receive ──► receive_table ──► receive_piece … ──► (maintenance writes, checks, opens) ──► replace ──► (manifest) ──► finish_replacing
//! ```
//!
//! Bounds: whoever drives it lends and receives few at a time, asks for one piece at a time, and gives no more pieces than its window holds.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::rc::Rc;

use crate::env::Environment;
use crate::error::{Error, Result};
use crate::ids::{LogIndex, LogPosition, PartitionId, TableId};
use crate::io_buffer::IoBuffer;
use crate::job::Job;
use crate::job_target::JobTarget;
use crate::limits::LEVEL_COUNT;
use crate::manifest::ReplaceFailure;
use crate::options::Options;
use crate::partition::{Partition, ProposedEntry, StoredState};
use crate::table::{TableMeta, TableView, table_file_name};
use crate::transfer::{OpenTransferJob, OpenedTransfer, PIECE_SIZE_BYTES, ReadPieceJob, TransferId, WritePieceJob};

use super::{Store, account, stream_of};

/// Tables that are being lent.
pub(super) struct Lent<E: Environment> {
    id: TransferId,
    position: LogPosition,
    tables: Vec<(usize, Rc<TableView<E>>)>,
    piece: Option<Result<IoBuffer>>,
}

/// How far tables are that another node sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Receiving {
    /// Pieces arrive; so many bytes of them are not written yet.
    Pieces {
        /// Bytes.
        unwritten: usize,
    },
    /// All pieces are written, and are being checked; or other jobs that change the partition's tables come to their end.
    Checking,
    /// [`Store::replace`] may put the tables in place.
    Checked,
    /// The manifest that puts them in place is waited for.
    Replacing,
    /// It is durable: [`Store::finish_replacing`] does the rest.
    Replaced,
}

struct Piece {
    table: usize,
    offset: u64,
    bytes: Vec<u8>,
    is_last: bool,
}

enum Phase<E: Environment> {
    Pieces,
    Checking,
    /// The tree begins nothing new.
    Checked(OpenedTransfer<E>),
    Writing(StoredState),
    Written(StoredState),
    Failed(Error),
}

/// Tables that are being received.
pub(super) struct Received<E: Environment> {
    id: TransferId,
    partition: PartitionId,
    position: LogPosition,
    target: JobTarget,
    tables: Vec<(usize, TableMeta)>,
    /// Bytes given of the last table.
    given: u64,
    pieces: VecDeque<Piece>,
    unwritten: usize,
    /// The table being written.
    file: Option<E::File>,
    is_writing: bool,
    /// Tables whose files were begun.
    begun: usize,
    is_whole: bool,
    phase: Phase<E>,
    /// The log goes on behind them: they only take the place of damaged ones.
    is_repair: bool,
    /// Nobody wants it any more; it goes as soon as no job works on it.
    is_abandoned: bool,
}

impl<E: Environment> Received<E> {
    fn path(&self, table: usize) -> PathBuf {
        self.target.directory.join(table_file_name(self.tables[table].1.id))
    }

    fn is_working(&self) -> bool {
        self.is_writing || matches!(self.phase, Phase::Checking | Phase::Writing(_))
    }
}

impl<E: Environment> Store<E> {
    /// Lends the tables of a partition, if they hold all through `at_least`. If not, what is missing is flushed: ask again.
    ///
    /// # Panics
    /// If this core does not own the partition.
    pub fn lend(&mut self, partition: PartitionId, at_least: LogIndex) -> Option<TransferId> {
        let owned = self.partitions.get_mut(&partition).expect("this core owns the partition");
        if owned.tree.flushed().index < at_least {
            if owned.tree.frozen_through().index < at_least && owned.applied().index >= at_least {
                account(&mut self.memtable_bytes, owned, Partition::freeze);
                self.maintenance_due = true;
            }
            return None;
        }
        let (position, tables) = (owned.tree.flushed(), owned.tree.leveled_tables());
        let id = self.next_transfer();
        self.lent.push(Lent { id, position, tables, piece: None });
        Some(id)
    }

    fn next_transfer(&mut self) -> TransferId {
        self.transfer_last = TransferId(self.transfer_last.0 + 1);
        self.transfer_last
    }

    fn lent(&self, id: TransferId) -> &Lent<E> {
        self.lent.iter().find(|lent| lent.id == id).expect("the tables are lent")
    }

    /// Up to where in the log lent tables go, and the tables with their levels.
    ///
    /// # Panics
    /// If they are not lent.
    #[must_use]
    pub fn lent_tables(&self, id: TransferId) -> (LogPosition, Vec<(usize, TableMeta)>) {
        let lent = self.lent(id);
        (lent.position, lent.tables.iter().map(|(level, view)| (*level, view.meta().clone())).collect())
    }

    /// Has a piece of a lent table read; [`take_piece`](Self::take_piece) has it in the end.
    ///
    /// # Panics
    /// If they are not lent, or the piece is not of that table.
    pub fn read_piece(&mut self, id: TransferId, table: usize, offset: u64) {
        let view = &self.lent(id).tables[table].1;
        let length = usize::try_from(view.meta().file_length - offset).unwrap_or(usize::MAX).min(PIECE_SIZE_BYTES);
        let job = ReadPieceJob { transfer: id, table: view.table().clone(), offset, length };
        self.jobs.push_back(Job::ReadPiece(job));
    }

    /// The piece that was asked for last, once it is read.
    pub fn take_piece(&mut self, id: TransferId) -> Option<Result<IoBuffer>> {
        self.lent.iter_mut().find(|lent| lent.id == id)?.piece.take()
    }

    /// Tables are lent no longer.
    pub fn end_lending(&mut self, id: TransferId) {
        self.lent.retain(|lent| lent.id != id);
        self.maintenance_due = true;
    }

    pub(super) fn piece_read(&mut self, id: TransferId, result: Result<IoBuffer>) {
        if let Some(lent) = self.lent.iter_mut().find(|lent| lent.id == id) {
            lent.piece = Some(result);
        }
    }

    /// Begins to receive tables that hold all of a partition through `position`. What was being received of it before is given up.
    ///
    /// # Panics
    /// If this core does not own the partition.
    pub fn receive(&mut self, partition: PartitionId, position: LogPosition, table_count: u32) {
        self.stop_receiving(partition);
        let id = self.next_transfer();
        let owned = self.partitions.get_mut(&partition).expect("this core owns the partition");
        self.received.push(Received {
            id,
            partition,
            position,
            target: owned.tree.reserve(u64::from(table_count)),
            tables: Vec::new(),
            given: 0,
            pieces: VecDeque::new(),
            unwritten: 0,
            file: None,
            is_writing: false,
            begun: 0,
            is_whole: false,
            phase: Phase::Pieces,
            is_repair: false,
            is_abandoned: false,
        });
    }

    fn receiving(&mut self, partition: PartitionId) -> Option<&mut Received<E>> {
        self.received.iter_mut().find(|received| received.partition == partition && !received.is_abandoned)
    }

    /// Another table follows, with the level that it has. It gets a number of this node's.
    ///
    /// # Errors
    /// A clause that says why it cannot be: it makes no sense, or the one before is not whole.
    pub fn receive_table(
        &mut self,
        partition: PartitionId,
        level: usize,
        mut meta: TableMeta,
    ) -> std::result::Result<(), String> {
        let received = self.receiving(partition).ok_or("no tables of this partition are being received")?;
        check_whole(received)?;
        let number = received.tables.len() as u64;
        if number >= received.target.table_count_max || received.is_whole {
            return Err("it is one table more than was said".to_owned());
        }
        if level >= LEVEL_COUNT || meta.file_length == 0 {
            return Err(format!("a table of {} bytes at level {level}", meta.file_length));
        }
        if meta.slots != received.target.slots {
            return Err(format!("a table of slots {:?} for slots {:?}", meta.slots, received.target.slots));
        }
        meta.id = TableId(received.target.table_id_first.0 + number);
        received.tables.push((level, meta));
        received.given = 0;
        Ok(())
    }

    /// The next bytes of the last table.
    ///
    /// # Errors
    /// A clause that says why they cannot be: they leave a gap, or are more than the table has.
    pub fn receive_piece(
        &mut self,
        partition: PartitionId,
        offset: u64,
        bytes: Vec<u8>,
    ) -> std::result::Result<(), String> {
        let received = self.receiving(partition).ok_or("no tables of this partition are being received")?;
        let Some((_, meta)) = received.tables.last() else { return Err("a piece of no table".to_owned()) };
        let end = offset.checked_add(bytes.len() as u64);
        let is_last = end == Some(meta.file_length);
        if offset != received.given || end.is_none_or(|end| end > meta.file_length) {
            return Err(format!("bytes from {offset} on, and {} of {} are there", received.given, meta.file_length));
        }
        if bytes.len() > PIECE_SIZE_BYTES || bytes.len() < PIECE_SIZE_BYTES && !is_last {
            return Err(format!("a piece of {} bytes", bytes.len()));
        }
        received.given += bytes.len() as u64;
        received.unwritten += bytes.len();
        let table = received.tables.len() - 1;
        received.pieces.push_back(Piece { table, offset, bytes, is_last });
        self.maintenance_due = true;
        Ok(())
    }

    /// No more tables follow.
    ///
    /// # Errors
    /// A clause that says what is missing.
    pub fn receive_end(&mut self, partition: PartitionId) -> std::result::Result<(), String> {
        let received = self.receiving(partition).ok_or("no tables of this partition are being received")?;
        check_whole(received)?;
        if received.tables.len() as u64 != received.target.table_count_max {
            return Err(format!("{} of {} tables", received.tables.len(), received.target.table_count_max));
        }
        received.is_whole = true;
        self.maintenance_due = true;
        Ok(())
    }

    /// How far the tables of a partition are that another node sends; `None` if it sends none.
    ///
    /// # Errors
    /// What made it fail: it is to be [given up](Self::stop_receiving).
    pub fn receiving_state(&self, partition: PartitionId) -> std::result::Result<Option<Receiving>, &Error> {
        let found = self.received.iter().find(|received| received.partition == partition && !received.is_abandoned);
        let Some(received) = found else { return Ok(None) };
        Ok(Some(match &received.phase {
            Phase::Pieces => Receiving::Pieces { unwritten: received.unwritten },
            Phase::Checking => Receiving::Checking,
            Phase::Checked(_) if self.partitions[&partition].tree.is_quiet() => Receiving::Checked,
            Phase::Checked(_) => Receiving::Checking,
            Phase::Writing(_) => Receiving::Replacing,
            Phase::Written(_) => Receiving::Replaced,
            Phase::Failed(error) => return Err(error),
        }))
    }

    /// Gives up what was received of a partition.
    ///
    /// # Panics
    /// If it is [being put in place](Self::replace): that takes its course.
    pub fn stop_receiving(&mut self, partition: PartitionId) {
        let Some(received) = self.receiving(partition) else { return };
        assert!(!matches!(received.phase, Phase::Writing(_) | Phase::Written(_)), "tables are being put in place");
        received.is_abandoned = true;
        received.pieces.clear();
        self.maintenance_due = true;
    }

    /// Puts tables that were checked in place of the partition's own. Until it [is done](Self::finish_replacing) or has failed, nothing may be applied.
    ///
    /// # Panics
    /// If they were not checked.
    pub fn replace(&mut self, partition: PartitionId) {
        self.put_in_place(partition, false);
    }

    /// As [`replace`](Self::replace), where the tables end within what is applied or committed here: they take the place of the partition's own because those are
    /// damaged, and its log goes on as it is.
    ///
    /// # Panics
    /// If they were not checked, end before what is applied, or behind what is stored.
    pub fn repair(&mut self, partition: PartitionId) {
        self.put_in_place(partition, true);
    }

    fn put_in_place(&mut self, partition: PartitionId, is_repair: bool) {
        let received =
            self.received.iter_mut().find(|received| received.partition == partition && !received.is_abandoned);
        let received = received.expect("tables are being received");
        let Phase::Checked(opened) = std::mem::replace(&mut received.phase, Phase::Pieces) else {
            panic!("tables of partition {partition} are put in place before they are checked")
        };
        let tree = &mut self.partitions.get_mut(&partition).expect("owned").tree;
        received.is_repair = is_repair;
        let manifest = tree.start_replacement(received.position, opened.tables, !is_repair);
        received.phase = Phase::Writing(opened.state);
        self.jobs.push_back(Job::WriteManifest { directory: received.target.directory.clone(), manifest });
    }

    /// The tables are in place on disk: the partition becomes what they say. After [`replace`](Self::replace) its log begins anew behind them; after
    /// [`repair`](Self::repair) it is as it was, and is to be applied from there. Answers what was proposed here and has no outcome: it is in the tables, or gone; and up to
    /// where the tables go.
    ///
    /// # Panics
    /// If they are not.
    pub fn finish_replacing(&mut self, partition: PartitionId) -> (LogPosition, Vec<ProposedEntry>) {
        let place = self.received.iter().position(|received| received.partition == partition && !received.is_abandoned);
        let received = self.received.swap_remove(place.expect("tables are being received"));
        let Phase::Written(state) = received.phase else { panic!("the tables are not in place") };
        let position = received.position;
        let owned = self.partitions.get_mut(&partition).expect("owned");
        self.counters.replacements += 1;
        self.damaged.remove(&partition);
        let cut = if received.is_repair {
            let skipped = account(&mut self.memtable_bytes, owned, |owned| owned.install_repair(position, state));
            self.log.forget(stream_of(partition), position);
            skipped
        } else {
            let cut = account(&mut self.memtable_bytes, owned, |owned| owned.install_replacement(position, state));
            self.log.reset(stream_of(partition), position);
            cut
        };
        self.maintenance_due = true;
        (position, cut)
    }

    /// Has every block of a partition's tables read and checked. [`take_damaged`](Self::take_damaged) says what came of it.
    ///
    /// # Panics
    /// If this core does not own the partition.
    pub fn verify_tables(&mut self, partition: PartitionId) {
        let tables = self.partitions[&partition].tree.leveled_tables();
        let tables = tables.into_iter().map(|(_, view)| view.table().clone()).collect();
        self.jobs.push_back(Job::VerifyTables { partition, tables });
    }

    pub(super) fn plan_transfers(&mut self) {
        for place in (0..self.received.len()).rev() {
            if self.received[place].is_abandoned {
                self.discard(place);
                continue;
            }
            let received = &mut self.received[place];
            match &mut received.phase {
                Phase::Pieces if !received.is_writing => {
                    if let Some(piece) = received.pieces.pop_front() {
                        let job = write_job(received, piece);
                        self.jobs.push_back(Job::WritePiece(job));
                    } else if received.is_whole {
                        received.phase = Phase::Checking;
                        let job = open_job(received, self.options);
                        self.jobs.push_back(Job::OpenTransfer(job));
                    }
                }
                _ => {}
            }
        }
    }

    /// Removes the files of what nobody wants, once no job works on them.
    fn discard(&mut self, place: usize) {
        if self.received[place].is_working() {
            return;
        }
        let received = self.received.swap_remove(place);
        if matches!(received.phase, Phase::Checked(_)) {
            self.partitions.get_mut(&received.partition).expect("owned").tree.set_suspended(false);
        }
        let paths: Vec<_> = (0..received.begun).map(|table| received.path(table)).collect();
        if !paths.is_empty() {
            self.jobs.push_back(Job::RemoveFiles { paths });
        }
    }

    pub(super) fn piece_written(&mut self, id: TransferId, result: Result<E::File>) {
        let Some(received) = self.received.iter_mut().find(|received| received.id == id) else { return };
        received.is_writing = false;
        match result {
            Ok(file) => received.file = Some(file),
            Err(error) => received.phase = Phase::Failed(error),
        }
    }

    pub(super) fn transfer_opened(&mut self, id: TransferId, result: Result<OpenedTransfer<E>>) {
        let Some(received) = self.received.iter_mut().find(|received| received.id == id) else { return };
        received.phase = match result {
            Ok(_) if received.is_abandoned => Phase::Pieces,
            Ok(opened) => {
                self.partitions.get_mut(&received.partition).expect("owned").tree.set_suspended(true);
                Phase::Checked(opened)
            }
            Err(error) => Phase::Failed(error),
        };
    }

    pub(super) fn replacement_written(
        &mut self,
        partition: PartitionId,
        result: std::result::Result<(), ReplaceFailure>,
    ) -> Result<()> {
        let writing = |received: &&mut Received<E>| {
            received.partition == partition && matches!(received.phase, Phase::Writing(_))
        };
        let received = self.received.iter_mut().find(writing).expect("its manifest was being written");
        let Phase::Writing(state) = std::mem::replace(&mut received.phase, Phase::Pieces) else {
            unreachable!("found by it")
        };
        match result {
            Ok(()) => {
                self.counters.manifests += 1;
                received.phase = Phase::Written(state);
                Ok(())
            }
            Err(ReplaceFailure { error, is_untouched: true }) => {
                received.phase = Phase::Failed(error);
                self.partitions.get_mut(&partition).expect("owned").tree.replacement_failed();
                Ok(())
            }
            Err(ReplaceFailure { error, .. }) => Err(error),
        }
    }
}

fn check_whole<E: Environment>(received: &Received<E>) -> std::result::Result<(), String> {
    match received.tables.last() {
        Some((_, meta)) if received.given < meta.file_length => {
            Err(format!("of the table before {} of {} bytes came", received.given, meta.file_length))
        }
        _ => Ok(()),
    }
}

fn write_job<E: Environment>(received: &mut Received<E>, piece: Piece) -> WritePieceJob<E> {
    let Piece { table, offset, bytes, is_last } = piece;
    if offset == 0 {
        received.file = None;
        received.begun = table + 1;
    }
    received.unwritten -= bytes.len();
    received.is_writing = true;
    let path = received.path(table);
    WritePieceJob { transfer: received.id, path, file: received.file.take(), offset, bytes, is_last }
}

fn open_job<E: Environment>(received: &Received<E>, options: Options) -> OpenTransferJob {
    let tables = received.tables.iter().enumerate();
    OpenTransferJob {
        transfer: received.id,
        partition: received.partition,
        directory: received.target.directory.clone(),
        position: received.position,
        tables: tables.map(|(place, (level, meta))| (*level, received.path(place), meta.clone())).collect(),
        options,
    }
}
