//! Snapshots held by readers: while one is held, the versions it needs are kept.

use std::collections::BTreeMap;

use crate::ids::{LogTime, ReadPoint, Revision};

/// A held snapshot's name, unique within its partition while the process lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SnapshotId(pub u64);

#[derive(Debug)]
struct Snapshot {
    point: ReadPoint,
    used_at_ms: u64,
}

/// The snapshots of a partition. Bounded in number, and in time by [`expire`](Self::expire).
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    held: BTreeMap<SnapshotId, Snapshot>,
    id_last: u64,
}

impl Snapshots {
    /// Holds `point`; of `count_max` that are held already the one that was not used for longest is let go.
    pub(crate) fn hold(&mut self, point: ReadPoint, now_ms: u64, count_max: usize) -> SnapshotId {
        while self.held.len() >= count_max.max(1) {
            let oldest = self.held.iter().min_by_key(|(_, snapshot)| snapshot.used_at_ms).map(|(&id, _)| id);
            self.held.remove(&oldest.expect("some are held"));
        }
        self.id_last += 1;
        let id = SnapshotId(self.id_last);
        self.held.insert(id, Snapshot { point, used_at_ms: now_ms });
        id
    }

    /// What a held snapshot sees; using it keeps it from expiring.
    pub(crate) fn touch(&mut self, id: SnapshotId, now_ms: u64) -> Option<ReadPoint> {
        let snapshot = self.held.get_mut(&id)?;
        snapshot.used_at_ms = now_ms;
        Some(snapshot.point)
    }

    pub(crate) fn release(&mut self, id: SnapshotId) {
        self.held.remove(&id);
    }

    /// Drops all of them. Their names are not given again.
    pub(crate) fn release_all(&mut self) {
        self.held.clear();
    }

    /// Drops those that were not used for `idle_ms_max`.
    pub(crate) fn expire(&mut self, now_ms: u64, idle_ms_max: u64) {
        self.held.retain(|_, snapshot| now_ms.saturating_sub(snapshot.used_at_ms) <= idle_ms_max);
    }

    /// When the next of them is dropped if it is not used before.
    pub(crate) fn next_expiry_ms(&self, idle_ms_max: u64) -> Option<u64> {
        let oldest = self.held.values().map(|snapshot| snapshot.used_at_ms).min()?;
        Some(oldest.saturating_add(idle_ms_max).saturating_add(1))
    }

    /// The revisions that are held, in ascending order without repetition.
    pub(crate) fn revisions(&self) -> Vec<Revision> {
        let mut revisions: Vec<_> = self.held.values().map(|snapshot| snapshot.point.revision).collect();
        revisions.sort_unstable();
        revisions.dedup();
        revisions
    }

    /// The newest revision that is held.
    pub(crate) fn newest_revision(&self) -> Option<Revision> {
        self.held.values().map(|snapshot| snapshot.point.revision).max()
    }

    /// The oldest log time by which a held snapshot counts deadlines.
    pub(crate) fn oldest_log_time(&self) -> Option<LogTime> {
        self.held.values().map(|snapshot| snapshot.point.log_time).min()
    }

    pub(crate) fn count(&self) -> usize {
        self.held.len()
    }
}
