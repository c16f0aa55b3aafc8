//! The partitions of a core whose tables are damaged, and when something is to be done about each.

use std::collections::BTreeMap;
use std::time::Duration;

use corelode_engine::ids::PartitionId;
use corelode_raft::Time;

const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Bounded by the partitions of the core.
#[derive(Default, Debug)]
pub(crate) struct DamagedPartitions {
    due: BTreeMap<PartitionId, Time>,
}

impl DamagedPartitions {
    /// Something is to be done about a partition at once.
    pub(crate) fn note(&mut self, partition: PartitionId, now: Time) {
        self.due.insert(partition, now);
    }

    /// Those whose time has come; it comes again.
    pub(crate) fn take_due(&mut self, now: Time) -> Vec<PartitionId> {
        let due = self.due.iter_mut().filter(|(_, at)| **at <= now);
        due.map(|(partition, at)| {
            *at = now.after(RETRY_INTERVAL);
            *partition
        })
        .collect()
    }

    /// Forgets those that are whole again.
    pub(crate) fn retain(&mut self, is_damaged: impl Fn(PartitionId) -> bool) {
        self.due.retain(|partition, _| is_damaged(*partition));
    }

    pub(crate) fn next_time(&self) -> Option<Time> {
        self.due.values().min().copied()
    }
}
