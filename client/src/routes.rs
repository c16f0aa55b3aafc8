//! Which node and core a request goes to: the map of the cluster, and who is believed to lead each partition.
//!
//! A belief comes from the map or from a node that is not the leader and names it, and goes when the node says otherwise or cannot be reached. A
//! wrong one costs a hop and nothing else, since only a leader serves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use corelode_net::table::{PartitionEntry, Topology};
use corelode_net::{CoreIndex, NodeId, PartitionId, Slot};

use crate::node::Node;

/// Who is to be asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    /// Any core of any node.
    Any,
    /// Any core of this node.
    Node(NodeId),
    /// The leader of the partition that has the slot.
    Slot(Slot),
    /// The leader of the partition.
    Partition(PartitionId),
    /// Any replica of the partition that has the slot.
    ReplicaOf(Slot),
}

/// Where a request goes.
#[derive(Clone)]
pub(crate) struct Destination {
    pub(crate) node: Arc<Node>,
    pub(crate) core: Option<CoreIndex>,
    /// The node's place among those of the map.
    pub(crate) member: u16,
    /// The partition's place in the map, if a leader was meant.
    pub(crate) led: Option<usize>,
}

/// A node of the map.
struct Member {
    node_id: NodeId,
    node: Arc<Node>,
    /// Whether it spreads partitions over its cores as the node does whose map this is. Any core serves where that is not known, and forwards.
    has_same_cores: bool,
}

/// The map with the lanes of its nodes. Replaced as a whole when another map is fetched; beliefs change in place.
pub(crate) struct Routes {
    pub(crate) topology: Arc<Topology>,
    /// The nodes of the map in its order; of a server that does not replicate, that server alone.
    members: Vec<Member>,
    /// The place of the node whose map this is.
    home: u16,
    /// Of each partition its replicas, as places among the members.
    replicas: Vec<Vec<u16>>,
    /// Of each partition the place of its leader, or [`NOBODY`].
    leaders: Vec<AtomicU16>,
    /// A node said that it has another map.
    are_old: AtomicBool,
}

const NOBODY: u16 = u16::MAX;

impl Routes {
    /// The routes by a map that `answered` sent. `node_at` has the node of an address; beliefs that the map does not replace stay as `before` had them.
    pub(crate) fn new(
        topology: Arc<Topology>,
        answered: &Arc<Node>,
        before: Option<&Self>,
        mut node_at: impl FnMut(&str) -> Arc<Node>,
    ) -> Self {
        let core_count = topology.cores.len();
        let mut members: Vec<Member> = topology
            .nodes
            .iter()
            .map(|entry| Member {
                node_id: entry.node_id,
                // It was reached by the address that the client was given, which may be another than nodes use among themselves.
                node: if entry.is_this_node { Arc::clone(answered) } else { node_at(&entry.address) },
                has_same_cores: entry.is_this_node || usize::from(entry.core_count) == core_count,
            })
            .collect();
        if members.is_empty() {
            members.push(Member { node_id: topology.node_id, node: Arc::clone(answered), has_same_cores: true });
        }
        let place_of = |node_id: NodeId| place(members.iter().position(|member| member.node_id == node_id));
        let replicas_of = |entry: &PartitionEntry| {
            let named: Vec<u16> = entry.replicas.iter().filter_map(|node_id| place_of(*node_id)).collect();
            if named.is_empty() { (0..).take(members.len()).collect() } else { named }
        };
        let replicas: Vec<Vec<u16>> = topology.partitions.iter().map(replicas_of).collect();
        let leader_of = |(number, entry): (usize, &PartitionEntry)| {
            let known = match entry.leader {
                Some(node_id) => place_of(node_id),
                None if members.len() == 1 => Some(0),
                None => before.and_then(|before| before.leader_id(number)).and_then(place_of),
            };
            AtomicU16::new(known.unwrap_or(NOBODY))
        };
        let leaders = topology.partitions.iter().enumerate().map(leader_of).collect();
        let home = place_of(topology.node_id).unwrap_or(0);
        Self { topology, members, home, replicas, leaders, are_old: AtomicBool::new(false) }
    }

    /// The nodes, that whose map this is first.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        let (before, from_home) = self.members.split_at(usize::from(self.home));
        from_home.iter().chain(before).map(|member| &member.node)
    }

    /// Sees to it that the map is fetched before it is used again.
    pub(crate) fn outdate(&self) {
        self.are_old.store(true, Ordering::Relaxed);
    }

    /// Whether no node has said that it has another map.
    pub(crate) fn are_of_now(&self) -> bool {
        !self.are_old.load(Ordering::Relaxed)
    }

    pub(crate) fn has_several_nodes(&self) -> bool {
        self.members.len() > 1
    }

    /// The node of an id.
    pub(crate) fn member_of(&self, node_id: NodeId) -> Option<u16> {
        place(self.members.iter().position(|member| member.node_id == node_id))
    }

    /// Where a request goes. `turn` counts the attempts of the request, so that one that fails at a node is not sent to it for ever. `None` if the map
    /// does not know the node or partition.
    pub(crate) fn choose(&self, target: Target, turn: usize) -> Option<Destination> {
        match target {
            Target::Any => {
                let places = (self.home..).take(self.members.len() - usize::from(self.home)).chain(0..self.home);
                let places: Vec<u16> = places.collect();
                Some(self.first_well(&places, turn, None))
            }
            Target::Node(node_id) => Some(self.at(self.member_of(node_id)?, None)),
            Target::Slot(slot) => Some(self.leader_or_replica(self.partition_at(slot)?, turn)),
            Target::Partition(partition) => {
                let number = self.topology.partitions.iter().position(|entry| entry.partition == partition)?;
                Some(self.leader_or_replica(number, turn))
            }
            Target::ReplicaOf(slot) => {
                let number = self.partition_at(slot)?;
                Some(self.first_well(&self.replicas[number], turn, Some(number)))
            }
        }
    }

    /// The partition that has a slot.
    pub(crate) fn partition_of(&self, slot: Slot) -> Option<PartitionId> {
        self.partition_at(slot).map(|number| self.topology.partitions[number].partition)
    }

    fn partition_at(&self, slot: Slot) -> Option<usize> {
        let entries = &self.topology.partitions;
        let number = entries.partition_point(|entry| entry.last_slot < slot);
        entries.get(number).filter(|entry| entry.first_slot <= slot).map(|_| number)
    }

    /// The node that is believed to lead, unless nothing comes of it; else a replica, which names the leader if it is another one.
    fn leader_or_replica(&self, number: usize, turn: usize) -> Destination {
        let leader = self.leaders[number].load(Ordering::Relaxed);
        let chosen = match leader {
            NOBODY => self.first_well(&self.replicas[number], turn, Some(number)),
            _ => {
                let destination = self.at(leader, Some(number));
                match destination.is_in_trouble() {
                    false => destination,
                    true => self.first_well(&self.replicas[number], turn, Some(number)),
                }
            }
        };
        Destination { led: Some(number), ..chosen }
    }

    /// The first of some members, from the `turn`th on, that is in no trouble; the `turn`th if all are.
    fn first_well(&self, places: &[u16], turn: usize, number: Option<usize>) -> Destination {
        let from = turn % places.len();
        let mut in_turn = places[from..].iter().chain(&places[..from]).map(|&place| self.at(place, number));
        let first = in_turn.next().expect("a partition has replicas, and a map nodes");
        match first.is_in_trouble() {
            false => first,
            true => in_turn.find(|destination| !destination.is_in_trouble()).unwrap_or(first),
        }
    }

    fn at(&self, member: u16, number: Option<usize>) -> Destination {
        let Member { node, has_same_cores, .. } = &self.members[usize::from(member)];
        let core = number.filter(|_| *has_same_cores).map(|number| self.topology.partitions[number].core);
        Destination { node: Arc::clone(node), core, member, led: None }
    }

    /// Another node named the leader of a partition.
    pub(crate) fn believe(&self, number: usize, member: u16) {
        self.leaders[number].store(member, Ordering::Relaxed);
    }

    /// A node does not lead a partition, or cannot be reached. Somebody else may have learnt of another one meanwhile.
    pub(crate) fn disbelieve(&self, number: usize, member: u16) {
        // With one node there is nobody else to believe in.
        if self.has_several_nodes() {
            let _ = self.leaders[number].compare_exchange(member, NOBODY, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Whether nothing comes of a node's lane for a partition now.
    pub(crate) fn is_in_trouble(&self, number: usize, member: u16) -> bool {
        self.at(member, Some(number)).is_in_trouble()
    }

    fn leader_id(&self, number: usize) -> Option<NodeId> {
        let leader = self.leaders.get(number)?.load(Ordering::Relaxed);
        self.members.get(usize::from(leader)).map(|member| member.node_id)
    }
}

impl Destination {
    fn is_in_trouble(&self) -> bool {
        self.node.is_in_trouble(self.core)
    }
}

/// A place among the members, of which a map has at most 256.
fn place(position: Option<usize>) -> Option<u16> {
    position.map(|position| u16::try_from(position).expect("nodes are few"))
}
