//! A row: what the tree holds. The internal key is (keyspace byte, user key, revision descending).
//!
//! Rows order by keyspace, then by key bytes, then newest revision first, so that the first row found at or after
//! `(keyspace, key, revision)` is what a read at that revision sees.

use std::cmp::Ordering;

use crate::ids::{LogTime, Revision};

/// What a row belongs to. All replicated state of a partition is rows in keyspaces of its own tree, so that flush,
/// snapshot and move are atomic by construction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Keyspace {
    /// The users' keys and values.
    Data = 1,
    /// Deadlines in order: the key is the deadline (8 bytes, big-endian milliseconds) and then the user key.
    Deadline = 2,
    /// Client sessions and their tables of results.
    Session = 3,
    /// The partition's own counters: revision, log time, membership.
    Meta = 4,
}

impl Keyspace {
    /// The keyspace of a byte from disk.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Data),
            2 => Some(Self::Deadline),
            3 => Some(Self::Session),
            4 => Some(Self::Meta),
            _ => None,
        }
    }
}

/// What a row says of its key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum RowKind {
    /// The key has this value.
    Value = 1,
    /// The key is absent.
    Tombstone = 2,
    /// The key has a value that is kept apart; the row's value bytes are the pointer to it.
    ValuePointer = 3,
}

impl RowKind {
    /// The kind of a byte from disk.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Value),
            2 => Some(Self::Tombstone),
            3 => Some(Self::ValuePointer),
            _ => None,
        }
    }
}

/// The internal key of a row.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RowKey<'a> {
    /// What the row belongs to.
    pub keyspace: Keyspace,
    /// The key within the keyspace: 1 to 4,096 bytes of a user's, up to 8 more in [`Keyspace::Deadline`].
    pub key: &'a [u8],
    /// The command that wrote the row.
    pub revision: Revision,
}

impl Ord for RowKey<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.keyspace as u8)
            .cmp(&(other.keyspace as u8))
            .then_with(|| self.key.cmp(other.key))
            .then_with(|| other.revision.cmp(&self.revision))
    }
}

impl PartialOrd for RowKey<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A row as it is read: everything borrowed from a memtable, a block or a log entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row<'a> {
    /// The internal key.
    pub row_key: RowKey<'a>,
    /// Value, tombstone or pointer.
    pub kind: RowKind,
    /// When the row stops being visible, in log time. `None` for ever.
    pub deadline: Option<LogTime>,
    /// The CRC-32 that the writing client computed over the value; zero for a tombstone.
    pub value_crc: u32,
    /// The value; empty for a tombstone.
    pub value: &'a [u8],
}

impl Row<'_> {
    /// Whether a reader at `log_time` sees a value here: not a tombstone and not past its deadline.
    #[must_use]
    pub fn is_visible_at(&self, log_time: LogTime) -> bool {
        self.kind != RowKind::Tombstone && !self.is_expired_at(log_time)
    }

    /// Whether the row's deadline has passed.
    #[must_use]
    pub fn is_expired_at(&self, log_time: LogTime) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= log_time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_revision_of_a_key_comes_first() {
        let at = |keyspace, key, revision| RowKey { keyspace, key, revision: Revision(revision) };
        let sorted = [
            at(Keyspace::Data, b"a".as_slice(), 9),
            at(Keyspace::Data, b"a", 3),
            at(Keyspace::Data, b"ab", 12),
            at(Keyspace::Data, b"b", 1),
            at(Keyspace::Deadline, b"a", 1),
        ];
        assert!(sorted.is_sorted());
    }

    #[test]
    fn keyspaces_and_kinds_round_trip() {
        for byte in 0..=255 {
            if let Some(keyspace) = Keyspace::from_byte(byte) {
                assert_eq!(keyspace as u8, byte);
            }
            if let Some(kind) = RowKind::from_byte(byte) {
                assert_eq!(kind as u8, byte);
            }
        }
    }
}
