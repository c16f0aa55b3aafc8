//! TOPOLOGY, STATUS and HISTOGRAMS: what a node tells about itself.

use corelode_engine::env::Environment;
use corelode_net::limits::REPLICA_STATUS_COUNT_MAX;
use corelode_net::table::{
    CoreEntry, CoreStatus, Counter, FollowerState, FollowerStatus, Histograms, NodeEntry, PartitionEntry,
    ReplicaStatus, Status, Topology, counters as names,
};
use corelode_net::{CoreIndex, NodeId, PartitionId, Slot};
use corelode_raft::{Progress, ReplicationState};

use super::{ClientReply, Core, ForwardToken, Shard};
use crate::message::Message;
use crate::replication::group::Group;

/// A STATUS that gathers the counters of all cores.
pub(super) struct StatusGathering {
    client: ClientReply,
    cores: Vec<CoreStatus>,
    missing: usize,
}

impl<E: Environment> Shard<E> {
    pub(super) fn answer_topology(&mut self, client: ClientReply) {
        let map = &self.config.map;
        let slot = |number: u16| Slot::new(number).expect("a partition's slots are slots");
        let partitions = map.partitions().map(|(partition, slots)| {
            let owner = map.owner(partition);
            PartitionEntry {
                partition: PartitionId(partition.0),
                first_slot: slot(slots.first),
                last_slot: slot(slots.last),
                core: CoreIndex(owner.0),
                log: self.config.logs[usize::from(owner.0)],
                replicas: self.replicas_of(partition),
                leader: self.leader_of(partition),
            }
        });
        let cores = (0..map.cores())
            .map(|core| CoreEntry { core: CoreIndex(core), port: self.config.core_ports[usize::from(core)] });
        let topology = Topology {
            cluster_id: self.config.handshake.cluster_id,
            node_id: self.config.handshake.node_id,
            map_epoch: self.config.map_epoch,
            partitions: partitions.collect(),
            cores: cores.collect(),
            nodes: self.nodes(),
        };
        self.answer(client, |tables, output| topology.encode(client.head, tables, output));
    }

    fn nodes(&self) -> Vec<NodeEntry> {
        let Some(replication) = &self.replication else { return Vec::new() };
        let entry = |(node, address): (&corelode_raft::NodeId, &std::net::SocketAddr)| NodeEntry {
            node_id: NodeId(node.0),
            address: address.to_string(),
            is_this_node: *node == replication.cluster.node,
            // Nodes with another number of cores do not take part.
            core_count: self.config.map.cores(),
        };
        replication.cluster.nodes.iter().map(entry).collect()
    }

    fn replicas_of(&self, partition: corelode_engine::ids::PartitionId) -> Vec<NodeId> {
        let replicas = self.replication.iter().flat_map(|replication| replication.cluster.replicas(partition));
        replicas.map(|node| NodeId(node.0)).collect()
    }

    /// The leader of a partition, if this node has a replica of it and knows.
    fn leader_of(&self, partition: corelode_engine::ids::PartitionId) -> Option<NodeId> {
        self.replication.as_ref()?.leaders.of(partition).map(|node| NodeId(node.0))
    }

    pub(super) fn gather_status(&mut self, client: ClientReply) {
        let token = self.next_token();
        let client = self.with_answer_in_flight(client);
        let others = self.config.map.cores() - 1;
        let gathering = StatusGathering { client, cores: Vec::new(), missing: usize::from(others) + 1 };
        self.statuses.insert(token, gathering);
        let own = self.config.core;
        for core in self.other_cores() {
            self.send(core, Message::StatusRequest { from: own, token });
        }
        let status = self.core_status();
        self.status_arrived(token, status);
    }

    pub(super) fn status_arrived(&mut self, token: ForwardToken, status: CoreStatus) {
        let Some(gathering) = self.statuses.get_mut(&token) else { return };
        gathering.cores.push(status);
        gathering.missing -= 1;
        if gathering.missing > 0 {
            return;
        }
        let mut gathering = self.statuses.remove(&token).expect("looked up above");
        gathering.cores.sort_by_key(|core| core.core);
        leave_out_what_finds_no_room(&mut gathering.cores);
        let status = Status {
            server_version: self.config.handshake.server_version.clone(),
            uptime_ms: self.now.monotonic_ms - self.started_ms,
            cluster_id: self.config.handshake.cluster_id,
            node_id: self.config.handshake.node_id,
            incarnation: self.config.incarnation,
            cores: gathering.cores,
        };
        let client = gathering.client;
        self.answer(client, |tables, output| status.encode(client.head, tables, output));
    }

    /// Answers with the histograms of a core, or has that core find them.
    pub(super) fn gather_histograms(&mut self, client: ClientReply, core: Core, operation: &str) {
        if core == self.config.core {
            let histograms = self.histograms(operation);
            self.answer(client, |tables, output| histograms.encode(client.head, tables, output));
            return;
        }
        let token = self.next_token();
        let client = self.with_answer_in_flight(client);
        self.histogram_requests.insert(token, client);
        let request = Message::HistogramsRequest { from: self.config.core, token, operation: operation.to_owned() };
        self.send(core, request);
    }

    pub(super) fn histograms_arrived(&mut self, token: ForwardToken, histograms: &Histograms) {
        let Some(client) = self.histogram_requests.remove(&token) else { return };
        self.answer(client, |tables, output| histograms.encode(client.head, tables, output));
    }

    pub(super) fn histograms(&self, operation: &str) -> Histograms {
        Histograms {
            core: CoreIndex(self.config.core.0),
            operations: self.stages.operations().map(str::to_owned).collect(),
            stages: self.stages.export(operation),
        }
    }

    /// What this core says of itself.
    pub(super) fn core_status(&self) -> CoreStatus {
        let counters = self.status().into_iter();
        let groups = || self.replication.iter().flat_map(|replication| replication.groups.values());
        let followers_of = |group: &Group| {
            let partition = PartitionId(group.partition.0);
            let follower = move |(node, progress): (corelode_raft::NodeId, &Progress)| FollowerStatus {
                partition,
                node_id: NodeId(node.0),
                matched_index: progress.matched().0,
                state: match progress.state() {
                    ReplicationState::Probe => FollowerState::Probe,
                    ReplicationState::Replicate => FollowerState::Replicate,
                    ReplicationState::Snapshot => FollowerState::Snapshot,
                },
            };
            group.raft.followers().map(follower).collect::<Vec<_>>()
        };
        let replica = |group: &Group| ReplicaStatus {
            partition: PartitionId(group.partition.0),
            leader: group.leader().map(|node| NodeId(node.0)),
            last_index: group.raft.log().last().index.0,
            committed_index: group.raft.log().committed().0,
        };
        CoreStatus {
            core: CoreIndex(self.config.core.0),
            counters: counters.map(|(name, value)| Counter { name: name.to_owned(), value }).collect(),
            replicas: groups().map(replica).collect(),
            followers: groups().flat_map(followers_of).collect(),
        }
    }

    /// What this core counts, by name, as STATUS has it.
    #[must_use]
    pub fn status(&self) -> Vec<(&'static str, u64)> {
        let store = self.store.counters();
        let cache = self.store.cache_counters();
        let own = &self.counters;
        let mut counters = vec![
            (names::CONNECTIONS, self.connections.len() as u64),
            (names::CONNECTIONS_ACCEPTED_TOTAL, own.connections_accepted),
            (names::REQUESTS_TOTAL, own.requests),
            (names::ERRORS_TOTAL, own.errors),
            (names::OVERLOADED_TOTAL, own.overloaded),
            (names::RECEIVED_BYTES_TOTAL, own.received_bytes),
            (names::SENT_BYTES_TOTAL, own.sent_bytes),
            (names::GETS_TOTAL, own.gets),
            (names::PUTS_TOTAL, own.puts),
            (names::DELETES_TOTAL, own.deletes),
            (names::SCAN_PAGES_TOTAL, own.scan_pages),
            ("forwarded_total", own.forwarded),
            ("turns_total", own.turns),
            (names::PARTITIONS, self.store.partitions().count() as u64),
            (names::SNAPSHOTS, self.store.snapshot_count() as u64),
            (names::QUEUE_DEPTH, self.queue_depth() as u64),
            (names::MEMTABLE_BYTES, store.memtable_bytes),
            (names::TABLES, store.tables),
            (names::TABLE_BYTES, store.table_bytes),
            (names::CACHE_BYTES, cache.bytes),
            (names::CACHE_HITS_TOTAL, cache.hits),
            (names::CACHE_MISSES_TOTAL, cache.misses),
            (names::LOG_SEGMENTS, store.log_segments),
            ("log_segments_opened_total", store.log.segments_opened),
            ("log_segments_recycled_total", store.log.segments_recycled),
            (names::LOG_BYTES_TOTAL, store.log.bytes),
            (names::LOG_PADDING_BYTES_TOTAL, store.log.padding_bytes),
            (names::LOG_BATCHES_TOTAL, store.log.batches),
            (names::LOG_ENTRIES_TOTAL, store.log.entries),
            (names::FLUSHES_TOTAL, store.flushes),
            (names::COMPACTIONS_TOTAL, store.compactions),
            (names::COMPACTION_BYTES_TOTAL, store.compaction_bytes),
            ("manifests_total", store.manifests),
            ("job_failures_total", store.job_failures),
            ("tree_plans_total", store.tree_plans),
        ];
        counters.extend(self.replication_counters());
        counters
    }
}

/// Of nodes with thousands of partitions a status has as many replicas and followers as a frame holds.
fn leave_out_what_finds_no_room(cores: &mut [CoreStatus]) {
    let (mut replicas, mut followers) = (REPLICA_STATUS_COUNT_MAX, REPLICA_STATUS_COUNT_MAX);
    for core in cores {
        core.replicas.truncate(replicas);
        core.followers.truncate(followers);
        replicas -= core.replicas.len();
        followers -= core.followers.len();
    }
}
