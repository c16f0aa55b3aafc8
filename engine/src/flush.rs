//! Flush: a frozen memtable becomes a table of level 0.

use std::sync::Arc;

use crate::bugs::{self, Bug};
use crate::cursor::{Retain, Retention};
use crate::env::Environment;
use crate::error::{Error, Result};
use crate::ids::{LogTime, Revision, TableId};
use crate::job_target::JobTarget;
use crate::memtable::FrozenMemtable;
use crate::row::{Row, RowKind};
use crate::table::{Table, TableBuilder, TableWriter, table_file_name};

/// A flush to carry out.
#[derive(Debug)]
pub struct FlushJob {
    /// Where the table goes.
    pub target: JobTarget,
    /// The rows.
    pub memtable: Arc<FrozenMemtable>,
    /// Revisions held by readers, ascending.
    pub pins: Vec<Revision>,
    /// Deadlines up to here have passed for good.
    pub log_time_floor: LogTime,
}

/// Writes the table: its bytes and its name are durable when this returns. `None` if no row was worth keeping.
///
/// # Errors
/// [`Error::Io`]; what was written is removed.
pub async fn run_flush<E: Environment>(environment: &E, job: &FlushJob) -> Result<Option<Table<E>>> {
    let mut output = TableOutput::new(environment, &job.target);
    let written = write_rows(job, &mut output).await;
    let mut tables = output.end(written).await?;
    assert!(tables.len() <= 1, "a flush writes one table");
    Ok(tables.pop())
}

async fn write_rows<E: Environment>(job: &FlushJob, output: &mut TableOutput<'_, E>) -> Result<()> {
    let mut retention = Retention::new(job.pins.clone(), job.log_time_floor);
    let rows = job.memtable.rows();
    let mut at = rows.first();
    while let Some(id) = at {
        let row = rows.row(id);
        output.add_retained(&row, retention.decide(&row, || false)).await?;
        at = rows.next(id);
    }
    Ok(())
}

/// The tables that a job writes, one after the other.
pub(crate) struct TableOutput<'a, E: Environment> {
    environment: &'a E,
    target: &'a JobTarget,
    /// Tables begun; each has the next number.
    started: u64,
    writer: Option<TableWriter<E>>,
    finished: Vec<Table<E>>,
}

impl<'a, E: Environment> TableOutput<'a, E> {
    pub(crate) fn new(environment: &'a E, target: &'a JobTarget) -> Self {
        Self { environment, target, started: 0, writer: None, finished: Vec::new() }
    }

    /// Whether the job has a number left for another table behind the one being written.
    pub(crate) fn may_close_table(&self) -> bool {
        self.started < self.target.table_count_max
    }

    /// The length of the table being written, bytes.
    pub(crate) fn length(&self) -> u64 {
        self.writer.as_ref().map_or(0, TableWriter::length)
    }

    pub(crate) async fn add_retained(&mut self, row: &Row<'_>, retain: Retain) -> Result<()> {
        match retain {
            Retain::Keep => self.add(row).await,
            Retain::KeepAsTombstone => {
                let tombstone = Row { kind: RowKind::Tombstone, deadline: None, value_crc: 0, value: &[], ..*row };
                self.add(&tombstone).await
            }
            Retain::Drop => Ok(()),
        }
    }

    async fn add(&mut self, row: &Row<'_>) -> Result<()> {
        if self.writer.is_none() {
            assert!(self.started < self.target.table_count_max, "the numbers behind are another job's");
            let id = TableId(self.target.table_id_first.0 + self.started);
            self.started += 1;
            let seed = self.environment.random_u64();
            let builder = TableBuilder::new(id, seed, self.target.slots, self.target.table_options);
            let path = self.target.directory.join(table_file_name(id));
            self.writer = Some(TableWriter::create(self.environment, &path, builder).await?);
        }
        self.writer.as_mut().expect("made above").add(row).await
    }

    /// Ends the table being written; the next row begins another.
    pub(crate) async fn close_table(&mut self) -> Result<()> {
        if let Some(writer) = self.writer.take() {
            let meta = writer.finish().await?;
            let path = self.target.directory.join(table_file_name(meta.id));
            self.finished.push(Table::open(self.environment, &path, meta).await?);
        }
        Ok(())
    }

    /// Ends the last table and makes the names of all durable. If that or the job before it failed, all that was written is removed: on a
    /// disk that is full, remains of attempts would keep it so.
    pub(crate) async fn end(mut self, written: Result<()>) -> Result<Vec<Table<E>>> {
        let result = match written {
            Ok(()) => self.make_durable().await,
            Err(error) => Err(error),
        };
        match result {
            Ok(()) => Ok(self.finished),
            Err(error) => {
                self.discard().await;
                Err(error)
            }
        }
    }

    async fn make_durable(&mut self) -> Result<()> {
        self.close_table().await?;
        if !self.finished.is_empty() && !bugs::is_planted(Bug::FlushSkipsDirectorySync) {
            let directory = &self.target.directory;
            self.environment.sync_directory(directory).await.map_err(|error| Error::io("sync", directory, error))?;
        }
        Ok(())
    }

    async fn discard(self) {
        let Self { environment, target, started, writer, finished } = self;
        drop((writer, finished));
        for number in 0..started {
            let name = table_file_name(TableId(target.table_id_first.0 + number));
            // What cannot be removed is removed at the next start.
            let _ = environment.remove_file(&target.directory.join(name)).await;
        }
    }
}
