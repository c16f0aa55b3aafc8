//! Memtables: the rows that are not in tables yet.
//!
//! A [`Memtable`] is owned by one core and grows; [`freeze`](Memtable::freeze) consumes it into a [`FrozenMemtable`], which never changes
//! and is shared with the maintenance thread. Bounded by the core's memory budget, which the store keeps.

mod skip_list;

use crate::ids::Revision;
use crate::row::{Keyspace, Row, RowKey};

pub(crate) use skip_list::NodeId;
use skip_list::SkipList;

/// A growing memtable.
#[derive(Debug)]
pub struct Memtable {
    rows: SkipList,
}

/// A memtable that no longer changes.
#[derive(Debug)]
pub struct FrozenMemtable {
    rows: SkipList,
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
        Self { rows: SkipList::new() }
    }

    /// Inserts a row. The version before it goes, unless a reader holds a snapshot that needs it: `newest_pin` is the newest
    /// revision that any reader holds.
    pub fn insert(&mut self, row: &Row<'_>, newest_pin: Option<Revision>) {
        self.rows.insert(row, |older| newest_pin.is_none_or(|pin| pin < older));
    }

    /// Ends the growth.
    #[must_use]
    pub fn freeze(self) -> FrozenMemtable {
        FrozenMemtable { rows: self.rows }
    }

    pub(crate) fn rows(&self) -> Rows<'_> {
        Rows { list: &self.rows }
    }
}

impl FrozenMemtable {
    pub(crate) fn rows(&self) -> Rows<'_> {
        Rows { list: &self.rows }
    }
}

/// The rows of a memtable, for reading.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows<'a> {
    list: &'a SkipList,
}

impl<'a> Rows<'a> {
    /// The newest version of a key that is not newer than `at`.
    pub(crate) fn get(self, keyspace: Keyspace, key: &[u8], at: Revision) -> Option<Row<'a>> {
        let row = self.list.row(self.list.seek(RowKey { keyspace, key, revision: at })?);
        (row.row_key.keyspace == keyspace && row.row_key.key == key).then_some(row)
    }

    pub(crate) fn row_count(self) -> usize {
        self.list.row_count()
    }

    pub(crate) fn memory_bytes(self) -> usize {
        self.list.memory_bytes()
    }

    pub(crate) fn seek(self, target: RowKey<'_>) -> Option<NodeId> {
        self.list.seek(target)
    }

    pub(crate) fn first(self) -> Option<NodeId> {
        self.list.first()
    }

    pub(crate) fn next(self, id: NodeId) -> Option<NodeId> {
        self.list.next(id)
    }

    pub(crate) fn row(self, id: NodeId) -> Row<'a> {
        self.list.row(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::LogTime;
    use crate::row::RowKind;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn row<'a>(key: &'a [u8], revision: u64, value: &'a [u8]) -> Row<'a> {
        Row {
            row_key: RowKey { keyspace: Keyspace::Data, key, revision: Revision(revision) },
            kind: RowKind::Value,
            deadline: Some(LogTime(revision)),
            value_crc: crc32fast::hash(value),
            value,
        }
    }

    #[test]
    fn frozen_memtables_are_shared_between_threads() {
        fn shared<T: Send + Sync>(_: &T) {}
        shared(&Memtable::new().freeze());
    }

    #[test]
    fn an_overwrite_keeps_the_version_that_a_reader_holds() {
        let mut memtable = Memtable::new();
        memtable.insert(&row(b"k", 1, b"one"), None);
        memtable.insert(&row(b"k", 2, b"two"), Some(Revision(1)));
        memtable.insert(&row(b"k", 3, b"three"), Some(Revision(1)));
        assert_eq!(memtable.rows().row_count(), 2);
        let at = |revision| memtable.rows().get(Keyspace::Data, b"k", Revision(revision)).map(|row| row.value);
        assert_eq!((at(1), at(2), at(3)), (Some(&b"one"[..]), Some(&b"one"[..]), Some(&b"three"[..])));
    }

    proptest! {
        #[test]
        fn equals_a_btree_map(
            operations in prop::collection::vec(
                (prop::collection::vec(0_u8..4, 1..12), prop::collection::vec(any::<u8>(), 0..40), prop::bool::weighted(0.1)),
                1..200,
            )
        ) {
            let mut memtable = Memtable::new();
            let mut model: BTreeMap<Vec<u8>, BTreeMap<u64, Vec<u8>>> = BTreeMap::new();
            let mut pins = Vec::new();
            for (step, (key, value, pin)) in operations.iter().enumerate() {
                let revision = step as u64 + 1;
                memtable.insert(&row(key, revision, value), pins.last().copied().map(Revision));
                model.entry(key.clone()).or_default().insert(revision, value.clone());
                if *pin {
                    pins.push(revision);
                }
            }
            pins.push(u64::MAX);
            let frozen = memtable.freeze();
            for (key, versions) in &model {
                for &pin in &pins {
                    let expected = versions.range(..=pin).next_back();
                    let found = frozen.rows().get(Keyspace::Data, key, Revision(pin));
                    prop_assert_eq!(
                        found.map(|row| (row.row_key.revision.0, row.value.to_vec())),
                        expected.map(|(revision, value)| (*revision, value.clone()))
                    );
                }
            }
            let mut previous: Option<Row<'_>> = None;
            let mut id = frozen.rows().first();
            while let Some(node) = id {
                let row = frozen.rows().row(node);
                prop_assert!(previous.is_none_or(|previous| previous.row_key < row.row_key));
                previous = Some(row);
                id = frozen.rows().next(node);
            }
        }
    }
}
