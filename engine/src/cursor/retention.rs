//! Which rows a flush or a compaction keeps.
//!
//! For each key: the newest version; of the older ones those that a held snapshot reads; nothing else. A value whose deadline has passed
//! for everybody is as good as a tombstone, and a tombstone beneath which nothing lies is as good as nothing.

use crate::ids::{LogTime, Revision};
use crate::row::{Keyspace, Row, RowKind};

/// Decides row by row, in the order of a merge.
#[derive(Debug)]
pub(crate) struct Retention {
    /// Held revisions, ascending.
    pins: Vec<Revision>,
    /// Deadlines up to here have passed for every reader, for good.
    log_time_floor: LogTime,
    key: Vec<u8>,
    keyspace: Option<Keyspace>,
    /// The revision of the version before, of the same key.
    newer: Option<Revision>,
}

/// What becomes of a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Retain {
    /// It stays.
    Keep,
    /// It stays, as a tombstone.
    KeepAsTombstone,
    /// It goes.
    Drop,
}

impl Retention {
    pub(crate) fn new(pins: Vec<Revision>, log_time_floor: LogTime) -> Self {
        assert!(pins.is_sorted(), "pins are ascending");
        Self { pins, log_time_floor, key: Vec::new(), keyspace: None, newer: None }
    }

    /// Decides on the next row. `is_bottom` answers whether no older version of its key can lie beneath the output.
    pub(crate) fn decide(&mut self, row: &Row<'_>, is_bottom: impl FnOnce() -> bool) -> Retain {
        let is_same_key = self.keyspace == Some(row.row_key.keyspace) && self.key == row.row_key.key;
        if !is_same_key {
            self.keyspace = Some(row.row_key.keyspace);
            self.key.clear();
            self.key.extend_from_slice(row.row_key.key);
            self.newer = None;
        }
        let revision = row.row_key.revision;
        let is_needed = self.newer.is_none_or(|newer| self.is_pinned(revision, newer));
        if !is_needed {
            return Retain::Drop;
        }
        self.newer = Some(revision);
        let is_gone = row.kind == RowKind::Tombstone || row.is_expired_at(self.log_time_floor);
        match (is_gone, row.kind) {
            (false, _) => Retain::Keep,
            // An older version within this merge is dropped by its own decision: `newer` remembers this one.
            (true, _) if self.pins_older_than(revision) == 0 && is_bottom() => Retain::Drop,
            (true, RowKind::Tombstone) => Retain::Keep,
            (true, _) => Retain::KeepAsTombstone,
        }
    }

    /// Whether a held snapshot reads the version `revision`, given that the next newer one is `newer`.
    fn is_pinned(&self, revision: Revision, newer: Revision) -> bool {
        let first = self.pins.partition_point(|&pin| pin < revision);
        self.pins.get(first).is_some_and(|&pin| pin < newer)
    }

    fn pins_older_than(&self, revision: Revision) -> usize {
        self.pins.partition_point(|&pin| pin < revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::RowKey;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    struct Version {
        revision: u64,
        deadline: Option<u64>,
        is_tombstone: bool,
    }

    fn row(version: &Version) -> Row<'_> {
        Row {
            row_key: RowKey { keyspace: Keyspace::Data, key: b"k", revision: Revision(version.revision) },
            kind: if version.is_tombstone { RowKind::Tombstone } else { RowKind::Value },
            deadline: version.deadline.map(LogTime),
            value_crc: 0,
            value: b"",
        }
    }

    /// What a reader sees: the newest version up to its revision, if that is visible at its log time.
    fn visible(versions: &[Version], at: u64, log_time: u64) -> Option<u64> {
        let newest = versions.iter().find(|version| version.revision <= at)?;
        row(newest).is_visible_at(LogTime(log_time)).then_some(newest.revision)
    }

    proptest! {
        #[test]
        fn every_reader_sees_the_same_before_and_after(
            mut versions in prop::collection::vec((1_u64..30, prop::option::of(1_u64..10), any::<bool>()), 1..10),
            mut pins in prop::collection::vec(0_u64..30, 0..4),
            floor in 0_u64..10,
            is_bottom in any::<bool>(),
        ) {
            versions.sort_unstable_by_key(|version| std::cmp::Reverse(version.0));
            versions.dedup_by_key(|version| version.0);
            let versions: Vec<_> = versions
                .into_iter()
                .map(|(revision, deadline, is_tombstone)| Version { revision, deadline, is_tombstone })
                .collect();
            pins.sort_unstable();
            let mut retention = Retention::new(pins.iter().copied().map(Revision).collect(), LogTime(floor));
            let kept: Vec<_> = versions
                .iter()
                .filter_map(|version| match retention.decide(&row(version), || is_bottom) {
                    Retain::Keep => Some(version.clone()),
                    Retain::KeepAsTombstone => Some(Version { is_tombstone: true, deadline: None, ..version.clone() }),
                    Retain::Drop => None,
                })
                .collect();
            for &at in pins.iter().chain(&[u64::MAX]) {
                for log_time in floor..12 {
                    prop_assert_eq!(visible(&versions, at, log_time), visible(&kept, at, log_time), "{:?} at {}", &kept, at);
                }
            }
            if !is_bottom {
                // A version beneath stays hidden from everybody from whom it was hidden.
                let oldest_seen = |list: &[Version], at: u64| list.iter().any(|version| version.revision <= at);
                for &at in pins.iter().chain(&[u64::MAX]) {
                    prop_assert_eq!(oldest_seen(&versions, at), oldest_seen(&kept, at));
                }
            }
            prop_assert!(kept.len() <= pins.len() + 1);
        }
    }
}
