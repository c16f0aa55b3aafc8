//! Tables: sorted rows in files that never change. The format is specified in `docs/formats/table.md`.
//!
//! A [`Table`] is opened by maintenance or recovery, which reads its footer, index and filter to the heap and maps the file. It is immutable
//! and shared with the maintenance thread. A shard reads it through a [`TableView`] of its own, which knows which pages are
//! resident and which blocks were checked; a block that is not at hand is a [`BlockRead`] for the driver, never a page fault.

mod block;
mod block_codec;
mod builder;
mod checksum;
mod filter;
mod footer;
mod index;
mod meta;
mod table_cursor;
mod varint;
mod verify;
mod view;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::env::{Environment, FileMap, OpenMode};
use crate::error::{Error, Result};
use crate::ids::TableId;
use crate::io_buffer::IoBuffer;
use crate::limits::DIRECT_IO_ALIGNMENT;

pub(crate) use block_codec::{StoredBlock, load_block};
pub(crate) use builder::TableWriter;
pub use builder::{TableBuilder, TableOptions};
use checksum::checksum;
use filter::may_contain;
pub use footer::TABLE_FORMAT_VERSION;
use footer::{FOOTER_LENGTH, Footer, Part};
pub use index::BlockHandle;
use index::TableIndex;
pub use meta::{TableKey, TableMeta};
pub(crate) use table_cursor::TableCursor;
pub use view::BlockRead;
pub(crate) use view::{BlockBytes, BlockSource, MappedBlock, TableView};

/// What a table file's name ends with.
pub(crate) const TABLE_SUFFIX: &str = ".table";

/// The name of a table's file.
#[must_use]
pub fn table_file_name(id: TableId) -> String {
    format!("{:010}{TABLE_SUFFIX}", id.0)
}

/// An open table: everything but its blocks is on the heap.
pub struct Table<E: Environment> {
    meta: TableMeta,
    path: PathBuf,
    file: E::File,
    map: E::Map,
    index: TableIndex,
    filter: Vec<u8>,
}

impl<E: Environment> Table<E> {
    /// Opens a table and checks footer, index, filter and properties.
    ///
    /// # Errors
    /// [`Error::Corruption`] if a part is damaged or the file is not the one that `meta` describes; [`Error::UnknownVersion`]; [`Error::Io`].
    pub async fn open(environment: &E, path: &Path, meta: TableMeta) -> Result<Self> {
        let fail = |error| Error::io("open", path, error);
        let file = environment.open(path, OpenMode::Read).await.map_err(fail)?;
        let length = environment.file_length(&file).await.map_err(fail)?;
        if length != meta.file_length || length < FOOTER_LENGTH as u64 {
            let message = format!("the table has {length} bytes, and its manifest says {}", meta.file_length);
            return Err(Error::corruption(path, 0, message));
        }
        let footer_offset = length - FOOTER_LENGTH as u64;
        let bytes = read_range(environment, path, &file, footer_offset, FOOTER_LENGTH).await?;
        let footer = Footer::decode(path, &bytes, meta.checksum_seed, footer_offset)?;
        let filter = read_part(environment, path, &file, footer.filter, meta.checksum_seed).await?;
        let index = read_part(environment, path, &file, footer.index, meta.checksum_seed).await?;
        let index = TableIndex::decode(&index, footer.filter.offset)
            .ok_or_else(|| Error::corruption(path, footer.index.offset, "the index makes no sense"))?;
        let properties = read_part(environment, path, &file, footer.properties, meta.checksum_seed).await?;
        // The manifest may narrow the slots and give the table another number; the rest was written once.
        let as_written =
            TableMeta::decode(&properties).map(|written| TableMeta { id: meta.id, slots: meta.slots, ..written });
        if as_written.as_ref() != Some(&meta) {
            let message = "the table's properties are not those that its manifest names";
            return Err(Error::corruption(path, footer.properties.offset, message));
        }
        let map = environment.map(&file, length).await.map_err(|error| Error::io("map", path, error))?;
        Ok(Self { meta, path: path.to_path_buf(), file, map, index, filter: filter.to_vec() })
    }

    /// What the manifest says of the table.
    #[must_use]
    pub fn meta(&self) -> &TableMeta {
        &self.meta
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which pages are in memory, as [`FileMap::residency`] has it.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn residency(&self) -> std::io::Result<Vec<u64>> {
        self.map.residency()
    }

    /// Brings the whole table into memory.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn page_in(&self) -> std::io::Result<()> {
        self.map.page_in(0, self.map.len())
    }

    fn may_contain(&self, hash: u64) -> bool {
        may_contain(&self.filter, hash)
    }
}

impl<E: Environment> fmt::Debug for Table<E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Table({}, {} rows)", self.path.display(), self.meta.row_count)
    }
}

async fn read_range<E: Environment>(
    environment: &E,
    path: &Path,
    file: &E::File,
    offset: u64,
    length: usize,
) -> Result<IoBuffer> {
    let capacity = length.next_multiple_of(DIRECT_IO_ALIGNMENT);
    let (result, mut buffer) = environment.read_at(file, IoBuffer::zeroed(capacity), offset).await;
    let read = result.map_err(|error| Error::io("read", path, error))?;
    if read < length {
        return Err(Error::corruption(path, offset, format!("the file ends {} bytes early", length - read)));
    }
    buffer.resize(length);
    Ok(buffer)
}

async fn read_part<E: Environment>(
    environment: &E,
    path: &Path,
    file: &E::File,
    part: Part,
    seed: u64,
) -> Result<IoBuffer> {
    let bytes = read_range(environment, path, file, part.offset, part.length as usize).await?;
    if checksum(seed, part.offset, &bytes) != part.checksum {
        return Err(Error::corruption(path, part.offset, "the checksum of this part of the table does not hold"));
    }
    Ok(bytes)
}

#[cfg(test)]
pub(crate) mod tests;
