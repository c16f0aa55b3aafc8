//! Transfer: a partition's tables on their way from one node to another, in pieces, and what maintenance does for it.
//!
//! Tables never change, so that they can be read while the partition goes on; whoever holds their views keeps the files. The node that receives them writes
//! them under numbers of its own, checks every block, and puts them in place of its own tree with one manifest: a crash before leaves the old tree and files
//! that no manifest names, a crash behind it the new one. Damage never travels: a block whose checksum does not hold ends the transfer.

use std::path::PathBuf;
use std::sync::Arc;

use crate::env::{Environment, OpenMode};
use crate::error::{Error, Result};
use crate::ids::{LogPosition, PartitionId};
use crate::io_buffer::IoBuffer;
use crate::limits::DIRECT_IO_ALIGNMENT;
use crate::manifest::Manifest;
use crate::options::Options;
use crate::partition::{StoredState, read_stored_state};
use crate::table::{Table, TableMeta};
use crate::tree::Tree;

/// The bytes of a table travel in pieces of so many; the last one is shorter.
pub const PIECE_SIZE_BYTES: usize = 256 * 1024;

/// A transfer's name, unique within its store while the process lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TransferId(pub u64);

/// A piece of a table to be read.
pub struct ReadPieceJob<E: Environment> {
    pub(crate) transfer: TransferId,
    pub(crate) table: Arc<Table<E>>,
    pub(crate) offset: u64,
    pub(crate) length: usize,
}

/// A piece of a table to be written.
pub struct WritePieceJob<E: Environment> {
    pub(crate) transfer: TransferId,
    pub(crate) path: PathBuf,
    /// The file, from the second piece on.
    pub(crate) file: Option<E::File>,
    pub(crate) offset: u64,
    pub(crate) bytes: Vec<u8>,
    /// Behind the last piece the file is made durable.
    pub(crate) is_last: bool,
}

/// Tables that are there whole, to be checked and opened.
pub struct OpenTransferJob {
    pub(crate) transfer: TransferId,
    pub(crate) partition: PartitionId,
    pub(crate) directory: PathBuf,
    /// Where in the log the tables end.
    pub(crate) position: LogPosition,
    /// The tables with their levels and paths.
    pub(crate) tables: Vec<(usize, PathBuf, TableMeta)>,
    pub(crate) options: Options,
}

/// Tables that were received, checked and opened.
pub struct OpenedTransfer<E: Environment> {
    pub(crate) tables: Vec<(usize, Arc<Table<E>>)>,
    pub(crate) state: StoredState,
}

pub(crate) async fn read_piece<E: Environment>(environment: &E, job: &ReadPieceJob<E>) -> Result<IoBuffer> {
    let path = job.table.path();
    let fail = |error| Error::io("read", path, error);
    let file = environment.open(path, OpenMode::ReadDirect).await.map_err(fail)?;
    let buffer = IoBuffer::zeroed(job.length.next_multiple_of(DIRECT_IO_ALIGNMENT));
    let (result, mut buffer) = environment.read_at(&file, buffer, job.offset).await;
    let read = result.map_err(fail)?;
    if read < job.length {
        return Err(Error::corruption(path, job.offset, format!("the file ends {} bytes early", job.length - read)));
    }
    buffer.resize(job.length);
    Ok(buffer)
}

/// Answers the file, for the next piece.
pub(crate) async fn write_piece<E: Environment>(environment: &E, job: WritePieceJob<E>) -> Result<E::File> {
    let WritePieceJob { path, file, offset, bytes, is_last, .. } = job;
    let fail = |error| Error::io("write", &path, error);
    let file = match file {
        Some(file) => file,
        None => environment.open(&path, OpenMode::CreateDirect).await.map_err(fail)?,
    };
    let end = offset + bytes.len() as u64;
    let mut buffer = IoBuffer::from(&bytes[..]);
    buffer.pad_to(DIRECT_IO_ALIGNMENT);
    let (result, _) = environment.write_at(&file, buffer, offset).await;
    result.map_err(fail)?;
    if is_last {
        environment.set_length(&file, end).await.map_err(fail)?;
        environment.sync_data(&file).await.map_err(fail)?;
    }
    Ok(file)
}

/// Checks all blocks and makes the names durable.
pub(crate) async fn open_transfer<E: Environment>(environment: &E, job: &OpenTransferJob) -> Result<OpenedTransfer<E>> {
    let mut tables = Vec::with_capacity(job.tables.len());
    for (level, path, meta) in &job.tables {
        let table = Table::open(environment, path, meta.clone()).await?;
        table.verify(environment).await?;
        tables.push((*level, Arc::new(table)));
    }
    let directory = &job.directory;
    environment.sync_directory(directory).await.map_err(|error| Error::io("sync", directory, error))?;
    let manifest = Manifest {
        flushed: job.position,
        tables: tables.iter().map(|(level, table)| (*level, table.meta().clone())).collect(),
        ..Manifest::new(job.partition, crate::ids::SlotRange::ALL, crate::store::stream_of(job.partition), 0)
    };
    let opened = tables.iter().map(|(_, table)| Arc::clone(table)).collect();
    let tree = Tree::new(directory.clone(), manifest, opened, &job.options);
    let state = read_stored_state(environment, &tree).await?;
    Ok(OpenedTransfer { tables, state })
}
