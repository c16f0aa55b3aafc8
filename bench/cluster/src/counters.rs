//! What the nodes count.

use std::collections::BTreeMap;

use corelode_client::{Client, FollowerState, Status};
use serde::Serialize;
use tokio::runtime::Handle;

/// The counters of each node, its cores together.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub(crate) struct Counters(BTreeMap<u64, BTreeMap<String, u64>>);

impl Counters {
    /// Those of a node by their name; 0 for what it does not have.
    pub(crate) fn of(&self, node: u64, name: &str) -> u64 {
        self.0.get(&node).and_then(|counters| counters.get(name)).copied().unwrap_or_default()
    }

    /// Those of all nodes by their name.
    pub(crate) fn total(&self, name: &str) -> u64 {
        self.0.keys().map(|node| self.of(*node, name)).sum()
    }

    /// What was counted since an earlier time. Nodes that were started anew in between count from then.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let of_node = |(node, counters): (&u64, &BTreeMap<String, u64>)| {
            let was_restarted = self.of(*node, "turns_total") < earlier.of(*node, "turns_total");
            let less = |(name, value): (&String, &u64)| {
                let before = if was_restarted { 0 } else { earlier.of(*node, name) };
                (name.clone(), value.saturating_sub(before))
            };
            (*node, counters.iter().map(less).collect())
        };
        Self(self.0.iter().map(of_node).collect())
    }
}

/// A moment of the cluster.
pub(crate) struct Moment {
    pub(crate) statuses: BTreeMap<u64, Status>,
}

impl Moment {
    /// Asks all nodes; those that do not answer are missing.
    pub(crate) fn take(runtime: &Handle, client: &Client) -> Result<Self, String> {
        let statuses =
            runtime.block_on(client.statuses()).map_err(|error| format!("no node tells its status: {error}"))?;
        let answered = statuses.into_iter().filter_map(|(node, status)| Some((node.node_id.0, status.ok()?)));
        Ok(Self { statuses: answered.collect() })
    }

    pub(crate) fn counters(&self) -> Counters {
        let of_node = |(node, status): (&u64, &Status)| {
            let mut sums = BTreeMap::<String, u64>::new();
            for counter in status.cores.iter().flat_map(|core| &core.counters) {
                *sums.entry(counter.name.clone()).or_default() += counter.value;
            }
            (*node, sums)
        };
        Counters(self.statuses.iter().map(of_node).collect())
    }

    /// The partitions that a node says it leads.
    pub(crate) fn led_by(&self, node: u64) -> Vec<u16> {
        let cores = self.statuses.get(&node).into_iter().flat_map(|status| &status.cores);
        let led =
            cores.flat_map(|core| &core.replicas).filter(|replica| replica.leader.is_some_and(|led| led.0 == node));
        led.map(|replica| replica.partition.0).collect()
    }

    /// The node, counted from 0, that leads most partitions, and which.
    pub(crate) fn busiest(&self) -> (usize, Vec<u16>) {
        self.by_leading().pop().expect("three nodes")
    }

    /// The node, counted from 0, that leads fewest.
    pub(crate) fn idlest(&self) -> usize {
        self.by_leading()[0].0
    }

    fn by_leading(&self) -> Vec<(usize, Vec<u16>)> {
        let mut nodes: Vec<_> = (0..3).map(|node| (node, self.led_by(node as u64 + 1))).collect();
        nodes.sort_by_key(|(_, led)| led.len());
        nodes
    }

    /// The partitions whose leaders find that a node lacks more than `entries` of what is committed, or is not sent the log as it grows; and those that nobody leads.
    pub(crate) fn partitions_behind(&self, node: u64, partitions: u16, entries: u64) -> usize {
        let mut is_level = vec![false; usize::from(partitions)];
        for (leader, status) in &self.statuses {
            for core in &status.cores {
                for replica in core.replicas.iter().filter(|replica| replica.leader.is_some_and(|led| led.0 == *leader))
                {
                    let follows = |follower: &&corelode_client::FollowerStatus| {
                        follower.partition == replica.partition && follower.node_id.0 == node
                    };
                    let has_all = core.followers.iter().find(follows).is_some_and(|follower| {
                        follower.state == FollowerState::Replicate
                            && follower.matched_index + entries >= replica.committed_index
                    });
                    if *leader == node || has_all {
                        is_level[usize::from(replica.partition.0)] = true;
                    }
                }
            }
        }
        is_level.iter().filter(|level| !**level).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(turns: u64, batches: u64) -> Counters {
        let of_node = [("turns_total".to_owned(), turns), ("log_batches_total".to_owned(), batches)];
        Counters(BTreeMap::from([(1, of_node.into())]))
    }

    #[test]
    fn a_node_that_was_started_anew_counts_from_then() {
        assert_eq!(counters(50, 20).since(&counters(40, 15)), counters(10, 5));
        assert_eq!(counters(30, 20).since(&counters(40, 15)), counters(30, 20));
    }
}
