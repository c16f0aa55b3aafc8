//! Memtables: the rows that are not in tables yet.
//!
//! A [`Memtable`] is owned by one core and grows; [`freeze`](Memtable::freeze) consumes it into a [`FrozenMemtable`], which never changes
//! and is shared with the maintenance thread by `Arc`. Records live in an arena, their order in a B+-tree of their keys.
//!
//! Bounded by the core's memory budget, which the store keeps by [`memory_bytes`](Memtable::memory_bytes); nothing here fails.
//! The same insertions make the same memtable: nothing is random.

mod arena;
mod row_tree;

use crate::ids::Revision;
use crate::row::{Keyspace, Row, RowKey};

pub(crate) use row_tree::Position;
use row_tree::RowTree;

/// A growing memtable.
#[derive(Debug)]
pub struct Memtable {
    rows: RowTree,
}

/// A memtable that no longer changes.
#[derive(Debug)]
pub struct FrozenMemtable {
    rows: RowTree,
}

impl Default for Memtable {
    fn default() -> Self {
        Self::new()
    }
}

impl Memtable {
    /// An empty memtable.
    #[must_use]
    pub fn new() -> Self {
        Self { rows: RowTree::new() }
    }

    /// Inserts a row. The version before it goes, and its memory is used again where the new one fits, unless a reader holds a
    /// snapshot that needs it: `newest_pin` is the newest revision that any reader holds. A row of the same key and revision is replaced.
    pub fn insert(&mut self, row: &Row<'_>, newest_pin: Option<Revision>) {
        self.rows.insert(row, |older| newest_pin.is_none_or(|pin| pin < older));
    }

    /// The newest version of a key that is not newer than `at`.
    #[must_use]
    pub fn get(&self, keyspace: Keyspace, key: &[u8], at: Revision) -> Option<Row<'_>> {
        self.rows().get(keyspace, key, at)
    }

    /// All rows in order.
    pub fn iter(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows().iter()
    }

    /// The number of rows, tombstones and older versions included.
    #[must_use]
    pub fn row_count(&self) -> usize {
        self.rows.row_count()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.row_count() == 0
    }

    /// Memory held, bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.rows.memory_bytes()
    }

    /// Ends the growth.
    #[must_use]
    pub fn freeze(self) -> FrozenMemtable {
        FrozenMemtable { rows: self.rows }
    }

    pub(crate) fn rows(&self) -> Rows<'_> {
        Rows { tree: &self.rows }
    }
}

impl FrozenMemtable {
    /// The newest version of a key that is not newer than `at`.
    #[must_use]
    pub fn get(&self, keyspace: Keyspace, key: &[u8], at: Revision) -> Option<Row<'_>> {
        self.rows().get(keyspace, key, at)
    }

    /// All rows in order.
    pub fn iter(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows().iter()
    }

    pub(crate) fn rows(&self) -> Rows<'_> {
        Rows { tree: &self.rows }
    }
}

/// The rows of a memtable, for reading.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows<'a> {
    tree: &'a RowTree,
}

impl<'a> Rows<'a> {
    /// The newest version of a key that is not newer than `at`.
    pub(crate) fn get(self, keyspace: Keyspace, key: &[u8], at: Revision) -> Option<Row<'a>> {
        let row = self.tree.row(self.tree.seek(RowKey { keyspace, key, revision: at })?);
        (row.row_key.keyspace == keyspace && row.row_key.key == key).then_some(row)
    }

    fn iter(self) -> impl Iterator<Item = Row<'a>> {
        std::iter::successors(self.first(), move |&at| self.next(at)).map(move |at| self.row(at))
    }

    pub(crate) fn row_count(self) -> usize {
        self.tree.row_count()
    }

    pub(crate) fn memory_bytes(self) -> usize {
        self.tree.memory_bytes()
    }

    pub(crate) fn seek(self, target: RowKey<'_>) -> Option<Position> {
        self.tree.seek(target)
    }

    pub(crate) fn first(self) -> Option<Position> {
        self.tree.first()
    }

    pub(crate) fn next(self, at: Position) -> Option<Position> {
        self.tree.next(at)
    }

    pub(crate) fn row(self, at: Position) -> Row<'a> {
        self.tree.row(at)
    }
}

#[cfg(test)]
mod tests;
