//! Which connection of a session leads to the leader of a key: the map of the store, which all of its sessions share and correct.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicU16, Ordering};

use corelode_net::table::{PartitionEntry, Topology};
use corelode_net::{MapEpoch, NodeId, PartitionId, Slot};

use crate::driver::Broken;

/// A partition, and where it is.
pub(super) struct Partition {
    pub(super) partition: PartitionId,
    slots: std::ops::RangeInclusive<usize>,
    core: u16,
    /// The connection to its leader's core.
    connection: AtomicU16,
}

/// Who owns what. A session has a connection to each core of each node: those of the first node, then those of the second, and so on.
pub(super) struct Map {
    pub(super) epoch: MapEpoch,
    /// By slot: the connection to its leader's core. One load on the way of every request, as if leaders never changed.
    slots: Vec<AtomicU16>,
    pub(super) partitions: Vec<Partition>,
    pub(super) nodes: Vec<(NodeId, SocketAddr)>,
    pub(super) core_count: u16,
}

impl Map {
    /// The map of a store whose node at `address` sent it.
    pub(super) fn of(topology: &Topology, address: SocketAddr) -> Result<Self, Broken> {
        let core_count = u16::try_from(topology.cores.len()).map_err(|_| Broken::new("too many cores"))?;
        let mut nodes = Vec::new();
        for entry in &topology.nodes {
            let resolved = entry.address.to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
            let other = resolved.ok_or_else(|| Broken::new(format!("{}: no address of a node", entry.address)))?;
            nodes.push((entry.node_id, if entry.is_this_node { address } else { other }));
        }
        if nodes.is_empty() {
            nodes.push((topology.node_id, address));
        }
        let mut map = Self { epoch: topology.map_epoch, slots: Vec::new(), partitions: Vec::new(), nodes, core_count };
        for entry in &topology.partitions {
            let slots = usize::from(entry.first_slot.get())..=usize::from(entry.last_slot.get());
            let connection = map.connection(map.likely_leader(entry), entry.core.0);
            map.slots.extend(slots.clone().map(|_| AtomicU16::new(connection)));
            let (partition, core) = (entry.partition, entry.core.0);
            map.partitions.push(Partition { partition, slots, core, connection: AtomicU16::new(connection) });
        }
        Ok(map)
    }

    /// The leader, or a replica, which will say who it is.
    fn likely_leader(&self, entry: &PartitionEntry) -> usize {
        let known = entry.leader.iter().chain(&entry.replicas).find_map(|node_id| self.place_of(*node_id));
        known.unwrap_or(0)
    }

    fn place_of(&self, node_id: NodeId) -> Option<usize> {
        self.nodes.iter().position(|(known, _)| *known == node_id)
    }

    fn connection(&self, node: usize, core: u16) -> u16 {
        u16::try_from(node * usize::from(self.core_count)).expect("nodes and cores are few") + core
    }

    /// The connections of a session.
    pub(super) fn connection_count(&self) -> usize {
        self.nodes.len() * usize::from(self.core_count)
    }

    #[inline]
    pub(super) fn connection_of(&self, slot: Slot) -> usize {
        usize::from(self.slots[usize::from(slot.get())].load(Ordering::Relaxed))
    }

    /// The connection to the leader of the partition of that index.
    pub(super) fn connection_of_index(&self, index: usize) -> usize {
        usize::from(self.partitions[index].connection.load(Ordering::Relaxed))
    }

    /// The connection to the same core of the next node.
    pub(super) fn next_node(&self, connection: usize) -> usize {
        (connection + usize::from(self.core_count)) % self.connection_count()
    }

    pub(super) fn index_of_slot(&self, slot: usize) -> Option<usize> {
        self.partitions.iter().position(|partition| partition.slots.contains(&slot))
    }

    /// Somebody at `connection` named the leader of the partition of that index; answers whether it is another node that the map knows.
    pub(super) fn follow(&self, index: usize, connection: usize, leader: Option<NodeId>) -> bool {
        let Some(node) = leader.and_then(|node_id| self.place_of(node_id)) else { return false };
        let Some(Partition { slots, core, connection: known, .. }) = self.partitions.get(index) else { return false };
        let named = self.connection(node, *core);
        if usize::from(named) / usize::from(self.core_count) == connection / usize::from(self.core_count) {
            return false;
        }
        known.store(named, Ordering::Relaxed);
        self.slots[slots.clone()].iter().for_each(|slot| slot.store(named, Ordering::Relaxed));
        true
    }
}
