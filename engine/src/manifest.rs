//! The manifest of a partition: which tables make up its tree, at which level, and up to which entry of its log.
//!
//! Each version is one whole file that replaces the one before atomically (see [`crate::atomic_file`]). A manifest under its
//! own name is therefore always complete, and one that cannot be read is damage, never the trace of a crash. The format is
//! specified in `docs/formats/manifest.md`.

use std::path::Path;

use crate::atomic_file::{self, Steps};
use crate::bugs::{self, Bug};
use crate::bytes_io::{ByteSink, FieldReader};
use crate::env::Environment;
use crate::error::{Error, Result};
use crate::ids::{LogIndex, LogPosition, PartitionId, SlotRange, StreamId, TableId, Term};
use crate::limits::LEVEL_COUNT;
use crate::table::TableMeta;

pub use crate::atomic_file::ReplaceFailure;

/// The file's name in the partition's directory.
pub const MANIFEST_FILE_NAME: &str = "MANIFEST";
/// The version of the manifest's format that this program writes, and the newest it reads.
pub const MANIFEST_FORMAT_VERSION: u32 = 1;

const MAGIC: u32 = u32::from_le_bytes(*b"CMAN");
const HEADER_LENGTH: usize = 24;
const FLAG_TRANSFERRED: u16 = 1;
/// Room for some hundred thousand tables; what is longer is damage.
const MANIFEST_LENGTH_MAX: u64 = 256 * 1024 * 1024;

/// A version of a partition's tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    /// The partition.
    pub partition: PartitionId,
    /// The slots it answers for.
    pub slots: SlotRange,
    /// The stream of its log entries.
    pub stream: StreamId,
    /// The incarnation of the data directory that it belongs to.
    pub incarnation: u64,
    /// Rises by one with each version.
    pub version: u64,
    /// The next table's number; every table that a version named has a smaller one.
    pub table_id_next: TableId,
    /// The last entry whose rows are in these tables.
    pub flushed: LogPosition,
    /// The tables came from another replica and hold all through `flushed`, which the log of this node may not have heard of.
    pub is_transferred: bool,
    /// The tables with their levels: level 0 newest first, then each level in key order.
    pub tables: Vec<(usize, TableMeta)>,
}

impl Manifest {
    /// The first version, of a tree without tables.
    #[must_use]
    pub fn new(partition: PartitionId, slots: SlotRange, stream: StreamId, incarnation: u64) -> Self {
        Self {
            partition,
            slots,
            stream,
            incarnation,
            version: 0,
            table_id_next: TableId(1),
            flushed: LogPosition::default(),
            is_transferred: false,
            tables: Vec::new(),
        }
    }

    /// The file's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        body.put_u16(self.partition.0);
        body.put_u16(self.slots.first);
        body.put_u16(self.slots.last);
        body.put_u16(if self.is_transferred { FLAG_TRANSFERRED } else { 0 });
        body.put_u64(self.stream.0);
        body.put_u64(self.incarnation);
        body.put_u64(self.version);
        body.put_u64(self.table_id_next.0);
        body.put_u64(self.flushed.term.0);
        body.put_u64(self.flushed.index.0);
        body.put_u32(u32::try_from(self.tables.len()).expect("far fewer tables"));
        for (level, table) in &self.tables {
            body.put_u8(u8::try_from(*level).expect("a handful of levels"));
            let mut bytes = Vec::new();
            table.encode(&mut bytes);
            body.put_with_length(&bytes);
        }
        let mut file = Vec::with_capacity(HEADER_LENGTH + body.len());
        file.put_u32(MAGIC);
        file.put_u32(MANIFEST_FORMAT_VERSION);
        file.put_u64(body.len() as u64);
        file.put_u32(crc32fast::hash(&body));
        let header_checksum = crc32fast::hash(&file);
        file.put_u32(header_checksum);
        file.put(&body);
        file
    }

    /// Reads a file's bytes. `path` is for messages.
    ///
    /// # Errors
    /// [`Error::Corruption`] or [`Error::UnknownVersion`].
    pub fn decode(path: &Path, bytes: &[u8]) -> Result<Self> {
        let damaged = |offset: usize, message: &str| Error::corruption(path, offset as u64, message);
        let Some((header, body)) = bytes.split_at_checked(HEADER_LENGTH) else {
            return Err(damaged(0, "the header is cut"));
        };
        let mut fields = FieldReader::new(header);
        let mut read = || Some((fields.u32()?, fields.u32()?, fields.u64()?, fields.u32()?, fields.u32()?));
        let (magic, version, length, checksum, header_checksum) = read().expect("24 bytes hold these fields");
        if magic != MAGIC || header_checksum != crc32fast::hash(&header[..HEADER_LENGTH - 4]) {
            return Err(damaged(0, "the header's checksum does not hold"));
        }
        if version != MANIFEST_FORMAT_VERSION {
            let path = path.to_path_buf();
            return Err(Error::UnknownVersion { path, found: version, supported: MANIFEST_FORMAT_VERSION });
        }
        if body.len() as u64 != length || crc32fast::hash(body) != checksum {
            return Err(damaged(HEADER_LENGTH, "the body's checksum does not hold"));
        }
        decode_body(body).ok_or_else(|| damaged(HEADER_LENGTH, "a field makes no sense"))
    }

    /// Reads the manifest in `directory`, or `None` where none was ever written.
    ///
    /// # Errors
    /// [`Error::Corruption`], [`Error::UnknownVersion`] or [`Error::Io`].
    pub async fn read<E: Environment>(environment: &E, directory: &Path) -> Result<Option<Self>> {
        let path = directory.join(MANIFEST_FILE_NAME);
        match atomic_file::read(environment, &path, MANIFEST_LENGTH_MAX).await? {
            Some(bytes) => Self::decode(&path, &bytes).map(Some),
            None => Ok(None),
        }
    }

    /// Makes this the manifest of `directory`, durably.
    ///
    /// # Errors
    /// Says whether the old one is still in place.
    pub async fn write<E: Environment>(
        &self,
        environment: &E,
        directory: &Path,
    ) -> std::result::Result<(), ReplaceFailure> {
        let steps = Steps {
            sync_data: !bugs::is_planted(Bug::ManifestSkipsSync),
            sync_directory: !bugs::is_planted(Bug::ManifestSkipsDirectorySync),
        };
        atomic_file::replace(environment, directory, MANIFEST_FILE_NAME, &self.encode(), &steps).await
    }
}

fn decode_body(body: &[u8]) -> Option<Manifest> {
    let mut fields = FieldReader::new(body);
    let partition = PartitionId(fields.u16()?);
    let slots = SlotRange { first: fields.u16()?, last: fields.u16()? };
    let is_transferred = match fields.u16()? {
        0 => false,
        FLAG_TRANSFERRED => true,
        _ => return None,
    };
    let stream = StreamId(fields.u64()?);
    let incarnation = fields.u64()?;
    let version = fields.u64()?;
    let table_id_next = TableId(fields.u64()?);
    let flushed = LogPosition { term: Term(fields.u64()?), index: LogIndex(fields.u64()?) };
    let table_count = fields.u32()?;
    let mut tables = Vec::new();
    for _ in 0..table_count {
        let level = usize::from(fields.u8()?);
        let table = TableMeta::decode(fields.bytes_with_length()?)?;
        if level >= LEVEL_COUNT || table.id >= table_id_next {
            return None;
        }
        tables.push((level, table));
    }
    let is_sane = fields.is_empty() && slots.first <= slots.last && slots.last < SlotRange::SLOT_COUNT;
    is_sane.then_some(Manifest {
        partition,
        slots,
        stream,
        incarnation,
        version,
        table_id_next,
        flushed,
        is_transferred,
        tables,
    })
}
