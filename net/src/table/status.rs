//! STATUS: who the server is, what its cores have done, as named counters, so that new ones need no new schema, and how far their replicas are.

use crate::body_error::BodyError;
use crate::frame::Frame;
use crate::generated::wire;
use crate::header::{Flags, ReplyHead};
use crate::ids::{ClusterId, CoreIndex, NodeId, PartitionId};
use crate::limits::{CORE_COUNT_MAX, COUNTER_COUNT_MAX, NAME_LENGTH_MAX, REPLICA_STATUS_COUNT_MAX};
use crate::opcode::Opcode;
use crate::table::TableBuilder;
use crate::table::builder::{checked_text, cut_text, verified_root};
use crate::table::topology::bounded;

/// A number and its name, one of [`counters`](crate::table::counters) or a later one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counter {
    /// The name.
    pub name: String,
    /// The number.
    pub value: u64,
}

/// A replica of a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplicaStatus {
    /// The partition.
    pub partition: PartitionId,
    /// The leader that it knows of.
    pub leader: Option<NodeId>,
    /// Its last entry.
    pub last_index: u64,
    /// The last entry that it knows to be committed.
    pub committed_index: u64,
}

/// A follower of a partition that the core leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FollowerStatus {
    /// The partition.
    pub partition: PartitionId,
    /// The follower's node.
    pub node_id: NodeId,
    /// The last entry that it is known to have stored.
    pub matched_index: u64,
    /// How entries go to it.
    pub state: FollowerState,
}

/// How entries go to a follower.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FollowerState {
    /// Where its log parts from the leader's is being looked for.
    Probe,
    /// They follow each other.
    Replicate,
    /// It is, or is to be, sent the partition's tables.
    Snapshot,
    /// Some way of a later server.
    Other(u8),
}

impl FollowerState {
    fn from_wire(number: u8) -> Self {
        match number {
            1 => Self::Probe,
            2 => Self::Replicate,
            3 => Self::Snapshot,
            other => Self::Other(other),
        }
    }

    fn to_wire(self) -> u8 {
        match self {
            Self::Probe => 1,
            Self::Replicate => 2,
            Self::Snapshot => 3,
            Self::Other(number) => number,
        }
    }
}

/// The counters and replicas of a core.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CoreStatus {
    /// The core.
    pub core: CoreIndex,
    /// Its counters.
    pub counters: Vec<Counter>,
    /// Its replicas, if the server replicates.
    pub replicas: Vec<ReplicaStatus>,
    /// The followers of those that lead.
    pub followers: Vec<FollowerStatus>,
}

impl CoreStatus {
    /// The counter of that name, if the server reported it.
    #[must_use]
    pub fn counter(&self, name: &str) -> Option<u64> {
        self.counters.iter().find(|counter| counter.name == name).map(|counter| counter.value)
    }
}

/// What a server says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// The server's version, for people.
    pub server_version: String,
    /// Milliseconds since its start.
    pub uptime_ms: u64,
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The node.
    pub node_id: NodeId,
    /// The incarnation of its data directory; 0 if the server does not tell.
    pub incarnation: u64,
    /// Its cores.
    pub cores: Vec<CoreStatus>,
}

impl Status {
    /// The sum of a counter over all cores; zero if no core reported it.
    #[must_use]
    pub fn total(&self, name: &str) -> u64 {
        self.cores.iter().filter_map(|core| core.counter(name)).sum()
    }

    /// Appends the reply.
    ///
    /// # Panics
    /// If there are more cores, counters, replicas or followers than the limits allow, or a counter's name is too long.
    pub fn encode(&self, head: ReplyHead, tables: &mut TableBuilder, out: &mut Vec<u8>) {
        assert!(self.cores.len() <= CORE_COUNT_MAX, "{} cores", self.cores.len());
        let (replicas, followers) = self.replica_counts();
        assert!(replicas.max(followers) <= REPLICA_STATUS_COUNT_MAX, "{replicas} replicas, {followers} followers");
        tables.frame(&head.fields(Flags::NONE), out, |builder| {
            let cores: Vec<_> = self
                .cores
                .iter()
                .map(|core| {
                    assert!(core.counters.len() <= COUNTER_COUNT_MAX, "{} counters", core.counters.len());
                    let counters: Vec<_> = core
                        .counters
                        .iter()
                        .map(|counter| {
                            assert!(counter.name.len() <= NAME_LENGTH_MAX, "counter name {:?}", counter.name);
                            let name = Some(builder.create_shared_string(&counter.name));
                            wire::Counter::create(builder, &wire::CounterArgs { name, value: counter.value })
                        })
                        .collect();
                    let counters = Some(builder.create_vector(&counters));
                    let replicas: Vec<_> = core.replicas.iter().map(replica_on_wire).collect();
                    let replicas = (!replicas.is_empty()).then(|| builder.create_vector(&replicas));
                    let followers: Vec<_> = core.followers.iter().map(follower_on_wire).collect();
                    let followers = (!followers.is_empty()).then(|| builder.create_vector(&followers));
                    let core = core.core.0;
                    wire::CoreStatus::create(builder, &wire::CoreStatusArgs { core, counters, replicas, followers })
                })
                .collect();
            let cores = Some(builder.create_vector(&cores));
            let server_version = Some(builder.create_string(cut_text(&self.server_version, NAME_LENGTH_MAX)));
            wire::Status::create(
                builder,
                &wire::StatusArgs {
                    server_version,
                    uptime_ms: self.uptime_ms,
                    cluster_id: Some(&wire::Bytes16(self.cluster_id.0)),
                    node_id: self.node_id.0,
                    cores,
                    incarnation: self.incarnation,
                },
            )
        });
    }

    /// Reads the reply.
    ///
    /// # Errors
    /// A body that is no status, or one above the limits.
    pub fn decode(frame: &Frame<'_>) -> Result<Self, BodyError> {
        frame.expect_reply(Opcode::Status)?;
        let table = verified_root::<wire::Status<'_>>(frame.body)?;
        bounded("cores", table.cores().len(), CORE_COUNT_MAX)?;
        let mut cores = Vec::with_capacity(table.cores().len());
        for core in table.cores() {
            bounded("counters of a core", core.counters().len(), COUNTER_COUNT_MAX)?;
            let mut counters = Vec::with_capacity(core.counters().len());
            for counter in core.counters() {
                let name = checked_text("counter name", Some(counter.name()))?.to_owned();
                counters.push(Counter { name, value: counter.value() });
            }
            let replicas = core.replicas().iter().flatten().map(read_replica).collect();
            let followers = core.followers().iter().flatten().map(read_follower).collect();
            cores.push(CoreStatus { core: CoreIndex(core.core()), counters, replicas, followers });
        }
        let status = Self {
            server_version: checked_text("server version", table.server_version())?.to_owned(),
            uptime_ms: table.uptime_ms(),
            cluster_id: ClusterId(table.cluster_id().0),
            node_id: NodeId(table.node_id()),
            incarnation: table.incarnation(),
            cores,
        };
        let (replicas, followers) = status.replica_counts();
        bounded("replicas of a node", replicas, REPLICA_STATUS_COUNT_MAX)?;
        bounded("followers of a node", followers, REPLICA_STATUS_COUNT_MAX)?;
        Ok(status)
    }

    /// How many replicas all cores have, and how many followers.
    fn replica_counts(&self) -> (usize, usize) {
        let replicas = self.cores.iter().map(|core| core.replicas.len()).sum();
        (replicas, self.cores.iter().map(|core| core.followers.len()).sum())
    }
}

fn replica_on_wire(replica: &ReplicaStatus) -> wire::ReplicaStatus {
    let ReplicaStatus { partition, leader, last_index, committed_index } = *replica;
    let leader = leader.map_or(0, |node_id| node_id.0);
    wire::ReplicaStatus::new(leader, last_index, committed_index, partition.0, 0, 0)
}

fn read_replica(replica: &wire::ReplicaStatus) -> ReplicaStatus {
    ReplicaStatus {
        partition: PartitionId(replica.partition()),
        leader: Some(NodeId(replica.leader_node_id())).filter(|&node_id| node_id != NodeId(0)),
        last_index: replica.last_index(),
        committed_index: replica.committed_index(),
    }
}

fn follower_on_wire(follower: &FollowerStatus) -> wire::FollowerStatus {
    let FollowerStatus { partition, node_id, matched_index, state } = *follower;
    wire::FollowerStatus::new(node_id.0, matched_index, partition.0, state.to_wire(), 0, 0)
}

fn read_follower(follower: &wire::FollowerStatus) -> FollowerStatus {
    FollowerStatus {
        partition: PartitionId(follower.partition()),
        node_id: NodeId(follower.node_id()),
        matched_index: follower.matched_index(),
        state: FollowerState::from_wire(follower.state()),
    }
}
