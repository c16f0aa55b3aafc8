//! The nodes of a cluster, and which of them have a partition. The list is fixed at the start and the same on every node.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use corelode_engine::identity;
use corelode_engine::ids::PartitionId;
use corelode_raft::Membership;
pub use corelode_raft::NodeId;

/// Replicas of each partition, if there are as many nodes.
const REPLICATION_FACTOR: usize = 3;
/// The usual [`Cluster::transfer_bytes_per_second`].
pub const TRANSFER_BYTES_PER_SECOND: u64 = 64 * 1024 * 1024;
/// The usual [`Cluster::entry_bytes_kept_max`].
pub const ENTRY_BYTES_KEPT_MAX: usize = 16 * 1024 * 1024;

/// A cluster as one of its nodes sees it.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Its name; nodes of clusters of other names are refused.
    pub name: String,
    /// This node.
    pub node: NodeId,
    /// All nodes with the addresses that they listen on.
    pub nodes: BTreeMap<NodeId, SocketAddr>,
    /// How long a replica waits for its leader.
    pub election_timeout: Duration,
    /// What a core may send of its tables to nodes that lag too far for the log, bytes a second.
    pub transfer_bytes_per_second: u64,
    /// The bytes of entries that are kept in memory for followers that lag, of one partition.
    pub entry_bytes_kept_max: usize,
    /// A random number of this start of the process.
    pub boot: u64,
}

impl Cluster {
    /// The nodes that have a replica of the partition; the first one is to lead while it can. A pure function of the sorted nodes and the number of
    /// the partition, so that every node comes to the same: partitions go round the nodes.
    #[must_use]
    pub fn replicas(&self, partition: PartitionId) -> Vec<NodeId> {
        let nodes: Vec<_> = self.nodes.keys().copied().collect();
        let first = usize::from(partition.0) % nodes.len();
        nodes.iter().cycle().skip(first).take(REPLICATION_FACTOR.min(nodes.len())).copied().collect()
    }

    /// The members that a partition's group begins with.
    ///
    /// # Panics
    /// If the cluster has no nodes, or one is zero: both are refused where it is made.
    #[must_use]
    pub fn membership(&self, partition: PartitionId) -> Membership {
        Membership::new(self.replicas(partition), []).expect("a cluster has nodes, and none is zero")
    }

    /// What the data directory of this node says of it.
    #[must_use]
    pub fn identity(&self) -> identity::Membership {
        let mut cluster = [0; 16];
        let hash = |seed: u8| {
            let mut hasher = crc32fast::Hasher::new();
            hasher.update(&[seed]);
            hasher.update(self.name.as_bytes());
            hasher.finalize().to_le_bytes()
        };
        for (seed, part) in (0..).zip(cluster.chunks_mut(4)) {
            part.copy_from_slice(&hash(seed));
        }
        identity::Membership { cluster, node: self.node.0 }
    }

    /// The other nodes.
    pub fn others(&self) -> impl Iterator<Item = (NodeId, SocketAddr)> {
        self.nodes.iter().filter(|(node, _)| **node != self.node).map(|(node, address)| (*node, *address))
    }

    /// The list of nodes as text, by which two nodes see whether they were told the same.
    #[must_use]
    pub fn members_text(&self) -> String {
        let each = self.nodes.iter().map(|(node, address)| format!("{node}={address}"));
        each.collect::<Vec<_>>().join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(nodes: u64) -> Cluster {
        let address = "127.0.0.1:7400".parse().expect("an address");
        Cluster {
            name: String::new(),
            node: NodeId(1),
            nodes: (1..=nodes).map(|node| (NodeId(node), address)).collect(),
            election_timeout: Duration::from_secs(1),
            transfer_bytes_per_second: TRANSFER_BYTES_PER_SECOND,
            entry_bytes_kept_max: ENTRY_BYTES_KEPT_MAX,
            boot: 1,
        }
    }

    #[test]
    fn replicas_and_leaders_are_spread_evenly() {
        for nodes in 1..=7 {
            let cluster = cluster(nodes);
            let mut replicas = BTreeMap::<_, usize>::new();
            let mut leaders = BTreeMap::<_, usize>::new();
            for partition in 0..u16::try_from(nodes).expect("few") * 10 {
                let of_partition = cluster.replicas(PartitionId(partition));
                assert_eq!(of_partition.len(), usize::try_from(nodes.min(3)).expect("few"));
                *leaders.entry(of_partition[0]).or_default() += 1;
                of_partition.iter().for_each(|node| *replicas.entry(*node).or_default() += 1);
            }
            assert!(leaders.values().all(|count| *count == 10), "{nodes} nodes: {leaders:?}");
            assert!(replicas.values().all(|count| *count == 10 * usize::try_from(nodes.min(3)).expect("few")));
        }
    }
}
