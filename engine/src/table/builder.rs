//! Writing a table: rows in order go in, aligned chunks of the file come out.
//!
//! Sans-I/O; `TableWriter` is the driver for a job. A table is written by direct I/O only: whole chunks, a padded tail, then the file
//! is cut to its length and synced. The caller makes the name durable and names the table in a manifest.

use std::path::Path;

use crate::bugs::{self, Bug};
use crate::env::{Environment, OpenMode};
use crate::error::{Error, Result};
use crate::ids::{LogTime, Revision, SlotRange, TableId};
use crate::io_buffer::IoBuffer;
use crate::limits::{DIRECT_IO_ALIGNMENT, KEY_LENGTH_MAX, VALUE_LENGTH_MAX};
use crate::row::{Keyspace, Row, RowKey, RowKind};

use super::block::BlockBuilder;
use super::block_codec::store_block;
use super::checksum::checksum;
use super::filter::{build_filter, key_hash};
use super::footer::{FOOTER_LENGTH, Footer, Part};
use super::index::{BlockHandle, TableIndex, separator};
use super::meta::{TableKey, TableMeta};

/// The file is written in pieces of so many bytes.
const CHUNK_SIZE_BYTES: usize = 256 * 1024;

/// How tables are written.
#[derive(Clone, Copy, Debug)]
pub struct TableOptions {
    /// The size at which a block is closed, before compression, bytes.
    pub block_size_bytes: usize,
    /// Whether blocks are compressed where it pays.
    pub compress: bool,
}

/// Builds one table's bytes.
#[derive(Debug)]
pub struct TableBuilder {
    options: TableOptions,
    meta: TableMeta,
    block: BlockBuilder,
    block_bytes: Vec<u8>,
    separator_key: Vec<u8>,
    index: TableIndex,
    hashes: Vec<u64>,
    last_row: Option<(TableKey, Revision)>,
    /// What has been laid out and not been taken; it stands at `taken`.
    out: Vec<u8>,
    taken: u64,
}

impl TableBuilder {
    /// An empty table. `checksum_seed` is random.
    ///
    /// # Panics
    /// If blocks shall be larger than 1 MiB.
    #[must_use]
    pub fn new(id: TableId, checksum_seed: u64, slots: SlotRange, options: TableOptions) -> Self {
        assert!(options.block_size_bytes <= VALUE_LENGTH_MAX, "blocks of {} bytes", options.block_size_bytes);
        let nothing = TableKey { keyspace: Keyspace::Data, key: Vec::new() };
        let meta = TableMeta {
            id,
            checksum_seed,
            file_length: 0,
            slots,
            row_count: 0,
            tombstone_count: 0,
            value_bytes: 0,
            deadline_count: 0,
            deadline_oldest: LogTime(u64::MAX),
            deadline_newest: LogTime(0),
            revision_oldest: Revision::MAX,
            revision_newest: Revision(0),
            smallest: nothing.clone(),
            largest: nothing,
        };
        Self {
            options,
            meta,
            block: BlockBuilder::default(),
            block_bytes: Vec::new(),
            separator_key: Vec::new(),
            index: TableIndex::default(),
            hashes: Vec::new(),
            last_row: None,
            out: Vec::new(),
            taken: 0,
        }
    }

    /// Adds a row.
    ///
    /// # Panics
    /// If it does not order behind the row before, or its key or value is longer than the limits.
    pub fn add(&mut self, row: &Row<'_>) {
        let RowKey { keyspace, key, .. } = row.row_key;
        assert!(key.len() <= KEY_LENGTH_MAX + 8, "a key of {} bytes", key.len());
        assert!(row.value.len() <= VALUE_LENGTH_MAX, "a value of {} bytes", row.value.len());
        let is_new_key = match &self.last_row {
            None => {
                self.meta.smallest = TableKey { keyspace, key: key.to_vec() };
                true
            }
            Some((last, last_revision)) => {
                let last_key = RowKey { keyspace: last.keyspace, key: &last.key, revision: *last_revision };
                assert!(last_key < row.row_key, "rows out of order: {last_key:?} before {:?}", row.row_key);
                last.keyspace != keyspace || last.key != key
            }
        };
        let added = 32 + key.len() + row.value.len();
        if !self.block.is_empty() && self.block.length() + added > self.options.block_size_bytes {
            let handle = self.finish_block();
            let (last, revision) = self.last_row.as_ref().expect("a block holds a row");
            let last = RowKey { keyspace: last.keyspace, key: &last.key, revision: *revision };
            let separator = separator(last, row.row_key, &mut self.separator_key);
            self.index.push(handle, separator);
        }
        let hash = key_hash(keyspace, key);
        if is_new_key {
            self.hashes.push(hash);
        }
        self.block.add(row, hash);
        self.note(row);
    }

    fn note(&mut self, row: &Row<'_>) {
        let RowKey { keyspace, key, revision } = row.row_key;
        self.meta.row_count += 1;
        self.meta.tombstone_count += u64::from(row.kind == RowKind::Tombstone);
        self.meta.value_bytes += row.value.len() as u64;
        if let Some(deadline) = row.deadline {
            self.meta.deadline_count += 1;
            self.meta.deadline_oldest = self.meta.deadline_oldest.min(deadline);
            self.meta.deadline_newest = self.meta.deadline_newest.max(deadline);
        }
        self.meta.revision_oldest = self.meta.revision_oldest.min(revision);
        self.meta.revision_newest = self.meta.revision_newest.max(revision);
        let (last, last_revision) =
            self.last_row.get_or_insert_with(|| (TableKey { keyspace, key: Vec::new() }, revision));
        last.keyspace = keyspace;
        last.key.clear();
        last.key.extend_from_slice(key);
        *last_revision = revision;
    }

    /// Whether nothing was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.last_row.is_none()
    }

    /// The file's length so far, bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.taken + self.out.len() as u64
    }

    fn finish_block(&mut self) -> BlockHandle {
        let offset = self.length();
        self.block_bytes.clear();
        self.block.finish(&mut self.block_bytes);
        let before = self.out.len();
        store_block(&self.block_bytes, self.options.compress, self.meta.checksum_seed, offset, &mut self.out);
        BlockHandle { offset, length: length_u32(self.out.len() - before) }
    }

    /// The next piece of the file with its offset, once enough has gathered. Its length is a multiple of 4,096.
    pub fn take_chunk(&mut self) -> Option<(IoBuffer, u64)> {
        if self.out.len() < CHUNK_SIZE_BYTES {
            return None;
        }
        let length = self.out.len() / DIRECT_IO_ALIGNMENT * DIRECT_IO_ALIGNMENT;
        let chunk = IoBuffer::from(&self.out[..length]);
        self.out.drain(..length);
        let offset = self.taken;
        self.taken += length as u64;
        Some((chunk, offset))
    }

    /// Ends the table: the last piece, padded to a multiple of 4,096, its offset, and what the manifest says of the table. The file
    /// must be cut to [`TableMeta::file_length`].
    ///
    /// # Panics
    /// If nothing was added.
    #[must_use]
    pub fn finish(mut self) -> (IoBuffer, u64, TableMeta) {
        assert!(!self.is_empty(), "a table has rows");
        let handle = self.finish_block();
        let (largest, revision) = self.last_row.take().expect("asserted above");
        let last = RowKey { keyspace: largest.keyspace, key: &largest.key, revision };
        self.index.push(handle, last);
        self.meta.largest = largest;
        let filter = self.put_part(&build_filter(&self.hashes));
        let index = self.put_part(&self.index.encode());
        let properties = self.put_properties();
        let offset = self.length();
        Footer { filter, index, properties }.encode(self.meta.checksum_seed, offset, &mut self.out);
        assert_eq!(self.length(), self.meta.file_length, "the properties name the file's length");
        let mut chunk = IoBuffer::from(&self.out[..]);
        chunk.pad_to(DIRECT_IO_ALIGNMENT);
        (chunk, self.taken, self.meta)
    }

    /// The properties are what the manifest says of the table, so that each can be checked by the other.
    fn put_properties(&mut self) -> Part {
        let mut bytes = Vec::new();
        self.meta.encode(&mut bytes);
        self.meta.file_length = self.length() + (bytes.len() + FOOTER_LENGTH) as u64;
        bytes.clear();
        self.meta.encode(&mut bytes);
        self.put_part(&bytes)
    }

    fn put_part(&mut self, bytes: &[u8]) -> Part {
        let offset = self.length();
        self.out.extend_from_slice(bytes);
        Part { offset, length: length_u32(bytes.len()), checksum: checksum(self.meta.checksum_seed, offset, bytes) }
    }
}

/// Writes a table's file while its rows come.
pub(crate) struct TableWriter<E: Environment> {
    environment: E,
    path: std::path::PathBuf,
    file: E::File,
    builder: TableBuilder,
}

impl<E: Environment> TableWriter<E> {
    /// Creates the file; one that a crash left behind under this name is replaced.
    pub(crate) async fn create(environment: &E, path: &Path, builder: TableBuilder) -> Result<Self> {
        match environment.remove_file(path).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Error::io("remove", path, error)),
            _ => {}
        }
        let file =
            environment.open(path, OpenMode::CreateDirect).await.map_err(|error| Error::io("create", path, error))?;
        Ok(Self { environment: environment.clone(), path: path.to_path_buf(), file, builder })
    }

    pub(crate) fn length(&self) -> u64 {
        self.builder.length()
    }

    pub(crate) async fn add(&mut self, row: &Row<'_>) -> Result<()> {
        self.builder.add(row);
        while let Some((chunk, offset)) = self.builder.take_chunk() {
            self.write(chunk, offset).await?;
            self.environment.yield_now().await;
        }
        Ok(())
    }

    /// Ends the file: its bytes are durable; its name is not yet.
    pub(crate) async fn finish(mut self) -> Result<TableMeta> {
        let options = self.builder.options;
        let placeholder = TableBuilder::new(self.builder.meta.id, 0, SlotRange::ALL, options);
        let (chunk, offset, meta) = std::mem::replace(&mut self.builder, placeholder).finish();
        self.write(chunk, offset).await?;
        let Self { environment, path, file, .. } = self;
        environment.set_length(&file, meta.file_length).await.map_err(|error| Error::io("cut", &path, error))?;
        if !bugs::is_planted(Bug::FlushSkipsTableSync) {
            environment.sync_data(&file).await.map_err(|error| Error::io("sync", &path, error))?;
        }
        Ok(meta)
    }

    async fn write(&self, chunk: IoBuffer, offset: u64) -> Result<()> {
        let (result, _) = self.environment.write_at(&self.file, chunk, offset).await;
        result.map_err(|error| Error::io("write", &self.path, error))
    }
}

fn length_u32(length: usize) -> u32 {
    u32::try_from(length).expect("parts of a table are far smaller than 4 GiB")
}
