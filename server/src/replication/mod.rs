//! The groups of a core's partitions, and the connections over which they talk with their other replicas.
//!
//! ```text
//! frames of peers ─► step ─┐                                   ┌─► frames to peers, one a node and turn
//! requests ─► proposals ───┼─► end of the turn, for each group ─┼─► hard states and entries: the core's one log write
//! log write done ─► step ──┘    that something happened to      └─► what is committed: applied, answered
//! ```
//!
//! Owned by one core. A group that nothing happens to costs nothing.

pub(crate) mod comparison;
pub(crate) mod damaged;
pub(crate) mod group;
pub(crate) mod leaders;
pub(crate) mod link;
pub(crate) mod members;
pub(crate) mod reconcile;
pub(crate) mod transfer;
pub(crate) mod translation;

use std::collections::{BTreeMap, BTreeSet};

use corelode_engine::env::Environment;
use corelode_engine::ids::PartitionId;
use corelode_engine::store::Store;
use corelode_raft::{NodeId, Time};

use crate::cluster::Cluster;
use comparison::ComparisonSchedule;
use damaged::DamagedPartitions;
use group::Group;
use leaders::Leaders;
use link::Link;
use transfer::{Lending, Receiving};

/// A core's part in its partitions' groups.
pub(crate) struct Replication {
    pub(crate) cluster: Cluster,
    pub(crate) groups: BTreeMap<PartitionId, Group>,
    /// Groups that something has happened to in this turn.
    active: Vec<PartitionId>,
    /// When groups asked to be looked at next.
    ticks: BTreeSet<(Time, PartitionId)>,
    pub(crate) links: BTreeMap<NodeId, Link>,
    pub(crate) leaders: Leaders,
    /// Until when partitions that are handed over at the end are waited for.
    pub(crate) hand_over_until: Option<Time>,
    pub(crate) lending: Lending,
    pub(crate) receiving: Receiving,
    pub(crate) comparison: ComparisonSchedule,
    pub(crate) damaged: DamagedPartitions,
    /// The incarnations of nodes that were let in, and this one's.
    pub(crate) met: BTreeMap<NodeId, u64>,
    /// Those of nodes that were refused because a group of this core counts on their votes with another one.
    pub(crate) strangers: BTreeMap<NodeId, u64>,
    /// When leaders look at their members next.
    pub(crate) reconcile_at: Option<Time>,
    pub(crate) counters: ReplicationCounters,
}

/// What is counted, for STATUS.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct ReplicationCounters {
    pub(crate) frames_sent: u64,
    pub(crate) frames_received: u64,
    pub(crate) messages_sent: u64,
    pub(crate) messages_received: u64,
    pub(crate) messages_dropped: u64,
    /// How often entries that were applied from memory were cut.
    pub(crate) memory_writes_lost: u64,
    pub(crate) peers_refused: u64,
    pub(crate) peer_errors: u64,
}

impl Replication {
    pub(crate) fn new<E: Environment>(cluster: Cluster, incarnation: u64, store: &Store<E>, now: Time) -> Self {
        let met = BTreeMap::from([(cluster.node, incarnation)]);
        // A partition may have come here, or gone from here, since the cluster began.
        let was_here = |partition: PartitionId| {
            store.hard_state(partition).term.0 > 0
                || store.partition(partition).is_some_and(|owned| owned.last().index.0 > 0)
        };
        let partitions = store.partitions().map(|partition| partition.id());
        let here =
            partitions.filter(|partition| cluster.replicas(*partition).contains(&cluster.node) || was_here(*partition));
        let groups: BTreeMap<_, _> =
            here.map(|partition| (partition, Group::new(&cluster, &met, store, partition, now))).collect();
        let links = cluster.others().map(|(node, address)| (node, Link::new(address))).collect();
        let mut replication = Self {
            active: Vec::new(),
            ticks: BTreeSet::new(),
            links,
            leaders: Leaders::default(),
            hand_over_until: None,
            lending: Lending::new(cluster.transfer_bytes_per_second),
            receiving: Receiving::default(),
            comparison: ComparisonSchedule::default(),
            damaged: DamagedPartitions::default(),
            met,
            strangers: BTreeMap::new(),
            reconcile_at: None,
            groups,
            cluster,
            counters: ReplicationCounters::default(),
        };
        let all: Vec<_> = replication.groups.keys().copied().collect();
        all.into_iter().for_each(|partition| replication.activate(partition));
        replication
    }

    /// A replica believes that this node has one, too: it has from now on, with nothing in it yet.
    pub(crate) fn welcome<E: Environment>(&mut self, store: &Store<E>, partition: PartitionId, now: Time) {
        if !self.groups.contains_key(&partition) && store.partition(partition).is_some() {
            self.groups.insert(partition, Group::new(&self.cluster, &self.met, store, partition, now));
        }
    }

    /// Something has happened to a group: this turn looks at it.
    pub(crate) fn activate(&mut self, partition: PartitionId) {
        if let Some(group) = self.groups.get_mut(&partition)
            && !std::mem::replace(&mut group.is_active, true)
        {
            self.active.push(partition);
        }
    }

    /// The groups that something has happened to.
    pub(crate) fn take_active(&mut self) -> Vec<PartitionId> {
        std::mem::take(&mut self.active)
    }

    /// The groups whose time has come.
    pub(crate) fn due(&mut self, now: Time) -> Vec<PartitionId> {
        let later = self.ticks.split_off(&(Time(now.0 + 1), PartitionId(0)));
        let due = std::mem::replace(&mut self.ticks, later);
        let due: Vec<_> = due.into_iter().map(|(_, partition)| partition).collect();
        for partition in &due {
            if let Some(group) = self.groups.get_mut(partition) {
                group.tick_at = None;
            }
        }
        due
    }

    /// Asks for a group to be looked at when it wishes.
    pub(crate) fn schedule(&mut self, partition: PartitionId) {
        let Some(group) = self.groups.get_mut(&partition) else { return };
        let wanted = group.raft.next_tick();
        if wanted == group.tick_at {
            return;
        }
        if let Some(before) = std::mem::replace(&mut group.tick_at, wanted) {
            self.ticks.remove(&(before, partition));
        }
        if let Some(at) = wanted {
            self.ticks.insert((at, partition));
        }
    }

    /// When something is to be done although nothing arrives.
    pub(crate) fn next_time(&self, now: Time) -> Option<Time> {
        let first = self.ticks.first().map(|(at, _)| *at);
        let transfers = [
            self.lending.next_time(now),
            self.receiving.next_time(),
            self.comparison.next_time(),
            self.damaged.next_time(),
            self.reconcile_at,
        ];
        let links = self.links.values().filter_map(Link::next_time);
        first.into_iter().chain(transfers.into_iter().flatten()).chain(links).min()
    }

    /// Reads that wait for their rounds.
    pub(crate) fn reads_waiting(&self) -> usize {
        self.groups.values().map(Group::reads_waiting).sum()
    }
}
