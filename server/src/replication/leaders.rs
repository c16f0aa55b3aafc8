//! Who leads the partitions of this node, as its replicas know: the core's own, and what the other cores have told.
//!
//! TOPOLOGY names the leaders of all partitions. Cores tell each other when a leader changes, rather than ask each other when a client wants the
//! map: leaders change rarely and all at once, when a node is lost, and that is when every client asks. So the map costs the core that
//! answers it no message, and a core that is busy delays nobody's answer.
//!
//! What is told may be late by a turn, and a client that follows it by that time is told by NOT_LEADER. Bounded by the number of partitions, since
//! only the newest leader of each is kept for a core that cannot be told now.

use std::collections::{BTreeMap, BTreeSet};

use corelode_engine::ids::PartitionId;
use corelode_raft::NodeId;

use crate::shard::Core;

/// What a core tells another: partitions with the nodes that lead them, `None` where nobody is known to.
pub(crate) type Told = Vec<(PartitionId, Option<NodeId>)>;

/// The leaders that a core knows of.
#[derive(Default)]
pub(crate) struct Leaders {
    /// By partition; shorter than there are partitions while nothing is known of the last ones.
    known: Vec<Option<NodeId>>,
    /// Of each other core, the partitions of this one that it has not been told of.
    untold: BTreeMap<Core, BTreeSet<PartitionId>>,
}

impl Leaders {
    /// The leader of a partition.
    pub(crate) fn of(&self, partition: PartitionId) -> Option<NodeId> {
        self.known.get(usize::from(partition.0)).copied().flatten()
    }

    /// The leader of a partition of this core changed, which `others` are to hear.
    pub(crate) fn changed(
        &mut self,
        partition: PartitionId,
        leader: Option<NodeId>,
        others: impl Iterator<Item = Core>,
    ) {
        if self.of(partition) == leader {
            return;
        }
        self.set(partition, leader);
        for core in others {
            self.untold.entry(core).or_default().insert(partition);
        }
    }

    /// Another core told of its partitions.
    pub(crate) fn hear(&mut self, told: Told) {
        for (partition, leader) in told {
            self.set(partition, leader);
        }
    }

    /// What a core is to be told now.
    pub(crate) fn take_untold(&mut self, core: Core) -> Told {
        let untold = self.untold.remove(&core).unwrap_or_default();
        untold.into_iter().map(|partition| (partition, self.of(partition))).collect()
    }

    fn set(&mut self, partition: PartitionId, leader: Option<NodeId>) {
        let place = usize::from(partition.0);
        if self.known.len() <= place {
            self.known.resize(place + 1, None);
        }
        self.known[place] = leader;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_that_could_not_be_told_is_told_the_newest_leader_alone() {
        let (mut here, mut there) = (Leaders::default(), Leaders::default());
        let other = Core(1);
        let others = || [other].into_iter();
        here.changed(PartitionId(5), Some(NodeId(1)), others());
        here.changed(PartitionId(3), Some(NodeId(2)), others());
        here.changed(PartitionId(5), Some(NodeId(3)), others());
        let told = here.take_untold(other);
        assert_eq!(told, [(PartitionId(3), Some(NodeId(2))), (PartitionId(5), Some(NodeId(3)))]);
        there.hear(told);
        let known = [3, 4, 5].map(|partition| there.of(PartitionId(partition)));
        assert_eq!(known, [Some(NodeId(2)), None, Some(NodeId(3))]);
        assert_eq!(here.take_untold(other), []);
        // That nobody is known to lead any more is news, too; that nothing changed is none.
        here.changed(PartitionId(5), None, others());
        here.changed(PartitionId(3), Some(NodeId(2)), others());
        assert_eq!(here.take_untold(other), [(PartitionId(5), None)]);
    }
}
