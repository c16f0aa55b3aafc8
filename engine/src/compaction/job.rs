//! The compaction job: reads its inputs in large pieces past the page cache, merges, writes tables of the next level.
//!
//! Runs on the maintenance thread; the one place of compaction that does I/O. Every block's checksum is checked as it is read, and damage
//! aborts the job: nothing damaged ever gets a fresh checksum.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::bugs::{self, Bug};
use crate::cursor::{Input, MergeCursor, Retention, Stop};
use crate::env::{Environment, OpenMode};
use crate::error::{Error, Result};
use crate::flush::TableOutput;
use crate::ids::{LogTime, Revision};
use crate::io_buffer::IoBuffer;
use crate::job_target::JobTarget;
use crate::limits::DIRECT_IO_ALIGNMENT;
use crate::row::Keyspace;
use crate::table::{BlockBytes, BlockRead, BlockSource, StoredBlock, Table, TableKey, TableView, load_block};

/// Inputs are read in pieces of so many bytes.
const WINDOW_SIZE_BYTES: usize = 512 * 1024;
/// Other tasks get a turn after so many rows.
const ROWS_BETWEEN_YIELDS: u32 = 512;

/// A compaction to carry out.
pub struct CompactionJob<E: Environment> {
    /// Where the tables go.
    pub target: JobTarget,
    /// The inputs of the upper level, newest first if it is level 0.
    pub upper: Vec<Arc<Table<E>>>,
    /// Whether those overlap each other, as in level 0.
    pub is_upper_overlapping: bool,
    /// The inputs of the lower level, in key order.
    pub lower: Vec<Arc<Table<E>>>,
    /// The key ranges of tables beneath the output level; a tombstone outside of them hides nothing.
    pub beneath: Vec<(TableKey, TableKey)>,
    /// The size at which an output table is closed, bytes.
    pub table_size_bytes_target: u64,
    /// Revisions held by readers, ascending.
    pub pins: Vec<Revision>,
    /// Deadlines up to here have passed for good.
    pub log_time_floor: LogTime,
}

/// Merges the inputs. Bytes and names of the outputs are durable when this returns.
///
/// # Errors
/// [`Error::Corruption`] if an input is damaged, [`Error::Io`]. Inputs are untouched; output is removed.
pub async fn run_compaction<E: Environment>(environment: &E, job: &CompactionJob<E>) -> Result<Vec<Table<E>>> {
    let mut output = TableOutput::new(environment, &job.target);
    let written = merge(environment, job, &mut output).await;
    output.end(written).await
}

async fn merge<E: Environment>(environment: &E, job: &CompactionJob<E>, output: &mut TableOutput<'_, E>) -> Result<()> {
    let views = |tables: &[Arc<Table<E>>]| -> Vec<_> {
        tables.iter().map(|table| Rc::new(TableView::new(Arc::clone(table)))).collect()
    };
    let (upper, lower) = (views(&job.upper), views(&job.lower));
    let mut windows = Windows { files: HashMap::new() };
    for view in upper.iter().chain(&lower) {
        windows.open(environment, view.table()).await?;
    }
    let mut inputs: Vec<Input<'_, E>> =
        if job.is_upper_overlapping { upper.iter().map(Input::table).collect() } else { vec![Input::level(&upper)] };
    inputs.push(Input::level(&lower));
    let mut rows = MergeCursor::new(inputs);
    let mut retention = Retention::new(job.pins.clone(), job.log_time_floor);
    let mut last_key: Option<(Keyspace, Vec<u8>)> = None;
    let mut rows_until_yield = ROWS_BETWEEN_YIELDS;
    while let Err(stop) = rows.seek_to_first(&mut windows) {
        windows.resolve(environment, stop).await?;
    }
    while let Some(row) = rows.row() {
        let (keyspace, key) = (row.row_key.keyspace, row.row_key.key);
        let is_new_key =
            last_key.as_ref().is_none_or(|(last_keyspace, last)| (*last_keyspace, last.as_slice()) != (keyspace, key));
        // All versions of a key stay in one table, so that the tables of a level never overlap.
        if is_new_key && output.length() >= job.table_size_bytes_target && output.may_close_table() {
            output.close_table().await?;
        }
        if is_new_key {
            last_key = Some((keyspace, key.to_vec()));
        }
        let retain = if bugs::is_planted(Bug::CompactionDropsTombstones) {
            retention.decide(&row, || true)
        } else {
            retention.decide(&row, || !job.may_lie_beneath(keyspace, key))
        };
        output.add_retained(&row, retain).await?;
        rows_until_yield -= 1;
        if rows_until_yield == 0 {
            rows_until_yield = ROWS_BETWEEN_YIELDS;
            environment.yield_now().await;
        }
        while let Err(stop) = rows.advance(&mut windows) {
            windows.resolve(environment, stop).await?;
        }
    }
    Ok(())
}

impl<E: Environment> CompactionJob<E> {
    fn may_lie_beneath(&self, keyspace: Keyspace, key: &[u8]) -> bool {
        self.beneath
            .iter()
            .any(|(smallest, largest)| smallest.as_bound() <= (keyspace, key) && (keyspace, key) <= largest.as_bound())
    }
}

/// What a job has read of its inputs: a piece of each file.
struct Windows<E: Environment> {
    files: HashMap<u64, Window<E>>,
}

struct Window<E: Environment> {
    table: Arc<Table<E>>,
    file: E::File,
    offset: u64,
    bytes: IoBuffer,
}

impl<E: Environment> Windows<E> {
    async fn open(&mut self, environment: &E, table: &Arc<Table<E>>) -> Result<()> {
        let path = table.path();
        let file =
            environment.open(path, OpenMode::ReadDirect).await.map_err(|error| Error::io("open", path, error))?;
        let window = Window { table: Arc::clone(table), file, offset: 0, bytes: IoBuffer::default() };
        self.files.insert(table.meta().checksum_seed, window);
        Ok(())
    }

    /// Reads what a walk missed, and more behind it.
    async fn resolve(&mut self, environment: &E, stop: Stop<E::File>) -> Result<()> {
        let read: BlockRead<E::File> = match stop {
            Stop::Miss(read) => *read,
            Stop::Corruption(corruption) => return Err(Error::Corruption(corruption)),
        };
        let window = self.files.get_mut(&read.seed).expect("all inputs were opened");
        let alignment = DIRECT_IO_ALIGNMENT as u64;
        let offset = read.handle.offset / alignment * alignment;
        let needed = usize::try_from(read.handle.offset - offset).expect("below 4,096") + read.handle.length as usize;
        let length = needed.max(WINDOW_SIZE_BYTES).next_multiple_of(DIRECT_IO_ALIGNMENT);
        let mut buffer = std::mem::take(&mut window.bytes);
        buffer.resize(length);
        let (result, mut buffer) = environment.read_at(&window.file, buffer, offset).await;
        let path = window.table.path();
        let length = result.map_err(|error| Error::io("read", path, error))?;
        if length < needed {
            return Err(Error::corruption(path, read.handle.offset, "the file ends within a block"));
        }
        buffer.resize(length);
        window.bytes = buffer;
        window.offset = offset;
        Ok(())
    }
}

impl<E: Environment> BlockSource<E> for Windows<E> {
    fn block(&mut self, view: &TableView<E>, block: usize) -> std::result::Result<BlockBytes<E>, Stop<E::File>> {
        let handle = view.handle(block);
        let window = &self.files[&view.meta().checksum_seed];
        let covered = handle.offset.checked_sub(window.offset).and_then(|start| {
            let start = usize::try_from(start).ok()?;
            window.bytes.get(start..start + handle.length as usize)
        });
        let Some(stored) = covered else { return Err(Stop::Miss(Box::new(view.block_read(block)))) };
        let loaded = load_block(view.table().path(), stored, view.meta().checksum_seed, handle.offset)?;
        Ok(BlockBytes::Owned(match loaded {
            StoredBlock::Plain(bytes) => Rc::from(bytes),
            StoredBlock::Unpacked(bytes) => Rc::from(bytes),
        }))
    }
}
