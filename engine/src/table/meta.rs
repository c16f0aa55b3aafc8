//! What a manifest says of a table: enough to open it, to choose it for compaction, and to know what it may hold.

use crate::bytes_io::{ByteSink, FieldReader};
use crate::ids::{LogTime, Revision, SlotRange, TableId};
use crate::limits::KEY_LENGTH_MAX;
use crate::row::Keyspace;

/// A table as its manifest describes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TableMeta {
    /// Its number in the partition.
    pub id: TableId,
    /// Random; every checksum in the file starts from it, so that no block of another file passes.
    pub checksum_seed: u64,
    /// The file's length, bytes.
    pub file_length: u64,
    /// The slots that reads through this partition respect; a split links the file twice, with a narrower range each.
    pub slots: SlotRange,
    /// Rows, tombstones and old versions included.
    pub row_count: u64,
    /// Tombstones among them.
    pub tombstone_count: u64,
    /// The length of all values together, bytes.
    pub value_bytes: u64,
    /// Rows with a deadline. If all have one, the table may be dropped unread once the newest has passed.
    pub deadline_count: u64,
    /// The oldest deadline, the last possible time if no row has one.
    pub deadline_oldest: LogTime,
    /// The newest deadline, zero if no row has one.
    pub deadline_newest: LogTime,
    /// The oldest revision of a row.
    pub revision_oldest: Revision,
    /// The newest revision of a row.
    pub revision_newest: Revision,
    /// The first key.
    pub smallest: TableKey,
    /// The last key.
    pub largest: TableKey,
}

/// A key with its keyspace, owned.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TableKey {
    /// The keyspace.
    pub keyspace: Keyspace,
    /// The key.
    pub key: Vec<u8>,
}

impl TableKey {
    /// The key borrowed.
    #[must_use]
    pub fn as_bound(&self) -> (Keyspace, &[u8]) {
        (self.keyspace, &self.key)
    }
}

impl TableMeta {
    /// Appends the description's bytes.
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.put_u64(self.id.0);
        bytes.put_u64(self.checksum_seed);
        bytes.put_u64(self.file_length);
        bytes.put_u16(self.slots.first);
        bytes.put_u16(self.slots.last);
        bytes.put_u64(self.row_count);
        bytes.put_u64(self.tombstone_count);
        bytes.put_u64(self.value_bytes);
        bytes.put_u64(self.deadline_count);
        bytes.put_u64(self.deadline_oldest.0);
        bytes.put_u64(self.deadline_newest.0);
        bytes.put_u64(self.revision_oldest.0);
        bytes.put_u64(self.revision_newest.0);
        for bound in [&self.smallest, &self.largest] {
            bytes.put_u8(bound.keyspace as u8);
            bytes.put_with_length(&bound.key);
        }
    }

    /// Reads a description; `None` if it makes no sense.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = FieldReader::new(bytes);
        let meta = Self {
            id: TableId(fields.u64()?),
            checksum_seed: fields.u64()?,
            file_length: fields.u64()?,
            slots: SlotRange { first: fields.u16()?, last: fields.u16()? },
            row_count: fields.u64()?,
            tombstone_count: fields.u64()?,
            value_bytes: fields.u64()?,
            deadline_count: fields.u64()?,
            deadline_oldest: LogTime(fields.u64()?),
            deadline_newest: LogTime(fields.u64()?),
            revision_oldest: Revision(fields.u64()?),
            revision_newest: Revision(fields.u64()?),
            smallest: read_key(&mut fields)?,
            largest: read_key(&mut fields)?,
        };
        let is_sane = fields.is_empty()
            && meta.smallest <= meta.largest
            && meta.slots.first <= meta.slots.last
            && meta.slots.last < SlotRange::SLOT_COUNT;
        is_sane.then_some(meta)
    }
}

fn read_key(fields: &mut FieldReader<'_>) -> Option<TableKey> {
    let keyspace = Keyspace::from_byte(fields.u8()?)?;
    let key = fields.bytes_with_length()?;
    (key.len() <= KEY_LENGTH_MAX + 8).then(|| TableKey { keyspace, key: key.to_vec() })
}
