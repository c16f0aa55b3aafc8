//! A rolling hash of what a replica has applied: replicas that differ at an index once differ at every later one.
//!
//! It covers each entry's position and log time, the rows that it put into the tree (their values by their checksums), and the commands that it refused. It is
//! stored with the counters at each flush, travels with the tables to replicas that lag, and goes on from there.
//!
//! Bound: the hashes of the last [`HASHES_KEPT`] entries are kept, for comparison with replicas that are not quite as far.

use std::collections::VecDeque;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Exception, ExceptionKind};
use crate::ids::{LogIndex, LogPosition, LogTime};
use crate::row::Row;

/// Entries whose hashes are kept, of each partition.
pub const HASHES_KEPT: usize = 512;

/// The hash after `row` was put.
pub(super) fn with_row(hash: u64, row: &Row<'_>) -> u64 {
    let mut fields = [0; 29];
    fields[..8].copy_from_slice(&row.row_key.revision.0.to_le_bytes());
    fields[8..16].copy_from_slice(&row.deadline.map_or(0, |deadline| deadline.0).to_le_bytes());
    fields[16..20].copy_from_slice(&row.value_crc.to_le_bytes());
    fields[20..28].copy_from_slice(&(row.row_key.key.len() as u64).to_le_bytes());
    fields[28] = row.row_key.keyspace as u8 | (row.kind as u8) << 4;
    xxh3_64_with_seed(row.row_key.key, xxh3_64_with_seed(&fields, hash))
}

/// The hash after the entry at `position` was applied, but for `exceptions`.
pub(super) fn with_entry(hash: u64, position: LogPosition, log_time: LogTime, exceptions: &[Exception]) -> u64 {
    let mut fields = [0; 24];
    fields[..8].copy_from_slice(&position.term.0.to_le_bytes());
    fields[8..16].copy_from_slice(&position.index.0.to_le_bytes());
    fields[16..].copy_from_slice(&log_time.0.to_le_bytes());
    exceptions.iter().fold(xxh3_64_with_seed(&fields, hash), |hash, exception| {
        let (kind, revision) = match exception.kind {
            ExceptionKind::Repeated { revision } => (1, revision.0),
            ExceptionKind::SessionExpired => (2, 0),
            ExceptionKind::SequenceReused => (3, 0),
        };
        let mut fields = [0; 13];
        fields[..4].copy_from_slice(&exception.ordinal.to_le_bytes());
        fields[4..12].copy_from_slice(&u64::to_le_bytes(revision));
        fields[12] = kind;
        xxh3_64_with_seed(&fields, hash)
    })
}

/// The hashes of the entries that were applied last, without a gap.
#[derive(Debug, Default)]
pub(super) struct RecentHashes {
    last: LogIndex,
    hashes: VecDeque<u64>,
}

impl RecentHashes {
    /// The state as of `last` has `hash`; what was before is not known.
    pub(super) fn new(last: LogIndex, hash: u64) -> Self {
        Self { last, hashes: VecDeque::from([hash]) }
    }

    pub(super) fn push(&mut self, index: LogIndex, hash: u64) {
        assert!(index == self.last.next(), "the hash of {index} after that of {}", self.last);
        if self.hashes.len() == HASHES_KEPT {
            self.hashes.pop_front();
        }
        self.last = index;
        self.hashes.push_back(hash);
    }

    pub(super) fn at(&self, index: LogIndex) -> Option<u64> {
        let from_end = usize::try_from(self.last.0.checked_sub(index.0)?).ok()?;
        self.hashes.get(self.hashes.len().checked_sub(from_end + 1)?).copied()
    }

    /// The hashes kept up to `through`, and the first one's index.
    pub(super) fn through(&self, through: LogIndex) -> (LogIndex, impl Iterator<Item = u64> + '_) {
        let first = self.last.0 + 1 - self.hashes.len() as u64;
        let count = usize::try_from((through.0 + 1).saturating_sub(first)).unwrap_or(usize::MAX);
        (LogIndex(first), self.hashes.iter().copied().take(count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_found_by_index_as_long_as_they_are_kept() {
        let mut recent = RecentHashes::new(LogIndex(7), 70);
        assert_eq!((recent.at(LogIndex(6)), recent.at(LogIndex(7)), recent.at(LogIndex(8))), (None, Some(70), None));
        let count = HASHES_KEPT as u64;
        for index in 8..8 + count {
            recent.push(LogIndex(index), index * 10);
        }
        assert_eq!((recent.at(LogIndex(7)), recent.at(LogIndex(8))), (None, Some(80)));
        assert_eq!(recent.at(LogIndex(7 + count)), Some((7 + count) * 10));
        let (first, hashes) = recent.through(LogIndex(10));
        assert_eq!((first, hashes.collect::<Vec<_>>()), (LogIndex(8), vec![80, 90, 100]));
        assert_eq!(recent.through(LogIndex(3)).1.count(), 0);
    }

    #[test]
    fn whatever_differs_is_seen() {
        let position = |term, index| LogPosition { term: crate::ids::Term(term), index: LogIndex(index) };
        let repeated = [Exception { ordinal: 0, kind: ExceptionKind::Repeated { revision: crate::ids::Revision(9) } }];
        let expired = [Exception { ordinal: 0, kind: ExceptionKind::SessionExpired }];
        let mut seen = std::collections::BTreeSet::new();
        for hash in [0, 1] {
            for at in [position(1, 1), position(2, 1), position(1, 2)] {
                for time in [LogTime(0), LogTime(5)] {
                    for exceptions in [&[][..], &repeated, &expired] {
                        assert!(seen.insert(with_entry(hash, at, time, exceptions)), "{at:?} {time:?} {exceptions:?}");
                    }
                }
            }
        }
    }
}
