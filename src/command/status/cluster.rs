//! What a cluster says about itself: its nodes, who leads each partition, and how far the followers are behind.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use corelode_client::{
    CoreStatus, Error, FollowerState, FollowerStatus, NodeEntry, NodeId, PartitionEntry, PartitionId, ReplicaStatus,
    Status, Topology, counters,
};
use serde_json::json;

use super::{names, uptime};

/// A cluster as its reachable nodes see it.
pub(super) struct Cluster<'a> {
    topology: &'a Topology,
    nodes: &'a [(NodeEntry, Result<Status, Error>)],
    /// Of each partition the replicas that told of themselves.
    replicas: BTreeMap<PartitionId, Vec<Replica<'a>>>,
}

/// A replica, as its node tells.
struct Replica<'a> {
    node_id: NodeId,
    status: &'a ReplicaStatus,
    /// If it leads.
    followers: Vec<&'a FollowerStatus>,
}

impl<'a> Cluster<'a> {
    pub(super) fn new(topology: &'a Topology, nodes: &'a [(NodeEntry, Result<Status, Error>)]) -> Self {
        let mut replicas = BTreeMap::<_, Vec<_>>::new();
        let cores = |status: &'a Status| status.cores.iter().map(|core| (status.node_id, core));
        for (node_id, core) in nodes.iter().filter_map(|(_, status)| status.as_ref().ok()).flat_map(cores) {
            for status in &core.replicas {
                let followers = core.followers.iter().filter(|follower| follower.partition == status.partition);
                let replica = Replica { node_id, status, followers: followers.collect() };
                replicas.entry(status.partition).or_default().push(replica);
            }
        }
        Self { topology, nodes, replicas }
    }

    /// The replica that leads a partition, if its node told of it. Of two that believe to, the one with the longer log: the other is about to hear of it.
    fn leading(&self, partition: PartitionId) -> Option<&Replica<'a>> {
        let replicas = self.replicas.get(&partition).into_iter().flatten();
        let leading = replicas.filter(|replica| replica.status.leader == Some(replica.node_id));
        leading.max_by_key(|replica| replica.status.last_index)
    }

    /// Who leads a partition, by its own word or by that of others.
    fn leader(&self, entry: &PartitionEntry) -> Option<NodeId> {
        let told =
            || self.replicas.get(&entry.partition).into_iter().flatten().find_map(|replica| replica.status.leader);
        self.leading(entry.partition).map(|replica| replica.node_id).or_else(told)
    }

    pub(super) fn table(&self) -> String {
        let mut text = format!("cluster  {}\n\n", self.topology.cluster_id);
        self.alarms(&mut text);
        self.node_rows(&mut text);
        text.push('\n');
        self.partition_rows(&mut text);
        text.push('\n');
        self.counter_rows(&mut text);
        text
    }

    /// What must not be, before anything else.
    fn alarms(&self, text: &mut String) {
        let alarms = [
            (counters::REPLICAS_DAMAGED, "with damaged tables, waiting for another node's"),
            (
                counters::GROUPS_SHORT_OF_VOTERS,
                "led there lack voters: they survive the loss of fewer nodes than they should",
            ),
            (counters::REPLICAS_DIVERGED, "of which another replica has applied something else: see its log"),
        ];
        let before = text.len();
        for (entry, status) in self.nodes {
            let cores = status.iter().flat_map(|status| &status.cores).flat_map(|core| &core.counters);
            for (name, what) in alarms {
                let count: u64 =
                    cores.clone().filter(|counter| counter.name == name).map(|counter| counter.value).sum();
                if count > 0 {
                    line(text, format_args!("ALARM    node {}: {count} replicas {what}", entry.node_id.0));
                }
            }
        }
        if text.len() > before {
            text.push('\n');
        }
    }

    fn node_rows(&self, text: &mut String) {
        let heads = ["node", "address", "version", "up", "incarnation", "cores", "leads"];
        let [node, address, version, up, incarnation, cores, leads] = heads;
        line(text, format_args!("{node:>4}  {address:<24}{version:<12}{up:<14}{incarnation:<18}{cores:>5}{leads:>7}"));
        for (entry, status) in self.nodes {
            let (node, address) = (entry.node_id.0, &entry.address);
            match status {
                Ok(status) => {
                    let leads = |partition: &&PartitionEntry| self.leader(partition) == Some(entry.node_id);
                    let leads = self.topology.partitions.iter().filter(leads).count();
                    let (version, up, cores) = (&status.server_version, uptime(status), status.cores.len());
                    let incarnation = format!("{:016x}", status.incarnation);
                    line(
                        text,
                        format_args!(
                            "{node:>4}  {address:<24}{version:<12}{up:<14}{incarnation:<18}{cores:>5}{leads:>7}"
                        ),
                    );
                }
                Err(error) => line(text, format_args!("{node:>4}  {address:<24}unreachable: {error}")),
            }
        }
    }

    fn partition_rows(&self, text: &mut String) {
        line(
            text,
            format_args!("{:>9}  {:<13}{:>8}{:>14}  behind by entries", "partition", "slots", "leader", "entries"),
        );
        for entry in &self.topology.partitions {
            let slots = format!("{}-{}", entry.first_slot.get(), entry.last_slot.get());
            let leader = self.leader(entry).map_or("none".to_owned(), |node_id| node_id.to_string());
            let leading = self.leading(entry.partition);
            let entries = leading.map_or("?".to_owned(), |replica| replica.status.last_index.to_string());
            let lag = leading.map_or_else(String::new, |replica| {
                let lags = replica.followers.iter().map(|follower| {
                    let state = match follower.state {
                        FollowerState::Replicate => String::new(),
                        other => format!(" ({})", state_name(other)),
                    };
                    format!("node {}: {}{state}", follower.node_id, lag(replica, follower))
                });
                lags.collect::<Vec<_>>().join(", ")
            });
            line(text, format_args!("{:>9}  {slots:<13}{leader:>8}{entries:>14}  {lag}", entry.partition.0));
        }
    }

    /// The counters of each node, all cores together.
    fn counter_rows(&self, text: &mut String) {
        let reached: Vec<&Status> = self.nodes.iter().filter_map(|(_, status)| status.as_ref().ok()).collect();
        write!(text, "{:<32}", "counter").expect("memory takes it");
        for status in &reached {
            write!(text, "{:>16}", format!("node {}", status.node_id)).expect("memory takes it");
        }
        text.push('\n');
        for name in reached.first().and_then(|status| status.cores.first()).map_or(Vec::new(), names) {
            write!(text, "{name:<32}").expect("memory takes it");
            for status in &reached {
                write!(text, "{:>16}", status.total(name)).expect("memory takes it");
            }
            text.push('\n');
        }
    }

    pub(super) fn json(&self) -> String {
        let nodes = self.nodes.iter().map(|(entry, status)| {
            let (node_id, address) = (entry.node_id.0, &entry.address);
            match status {
                Ok(status) => json!({
                    "node_id": node_id, "address": address, "reachable": true, "status": super::json_of(status),
                }),
                Err(error) => {
                    json!({ "node_id": node_id, "address": address, "reachable": false, "error": error.to_string() })
                }
            }
        });
        let partitions = self.topology.partitions.iter().map(|entry| self.json_of_partition(entry));
        let object = json!({
            "cluster_id": self.topology.cluster_id.to_string(),
            "nodes": nodes.collect::<Vec<_>>(),
            "partitions": partitions.collect::<Vec<_>>(),
        });
        format!("{object}\n")
    }

    fn json_of_partition(&self, entry: &PartitionEntry) -> serde_json::Value {
        let leading = self.leading(entry.partition);
        let followers = leading.map(|replica| {
            let follower = |follower: &&FollowerStatus| {
                json!({
                    "node_id": follower.node_id.0,
                    "matched_index": follower.matched_index,
                    "lag": lag(replica, follower),
                    "state": state_name(follower.state),
                })
            };
            replica.followers.iter().map(follower).collect::<Vec<_>>()
        });
        json!({
            "partition": entry.partition.0,
            "first_slot": entry.first_slot.get(),
            "last_slot": entry.last_slot.get(),
            "replicas": entry.replicas.iter().map(|node_id| node_id.0).collect::<Vec<_>>(),
            "leader": self.leader(entry).map(|node_id| node_id.0),
            "last_index": leading.map(|replica| replica.status.last_index),
            "committed_index": leading.map(|replica| replica.status.committed_index),
            "followers": followers,
        })
    }

    /// The counters of all cores of all nodes together.
    pub(super) fn raw(&self) -> String {
        let reached: Vec<&Status> = self.nodes.iter().filter_map(|(_, status)| status.as_ref().ok()).collect();
        let cores = || reached.iter().flat_map(|status| &status.cores);
        let total = |name: &str| cores().filter_map(|core: &CoreStatus| core.counter(name)).sum::<u64>();
        let counters = cores().next().map_or(Vec::new(), names);
        counters.into_iter().map(|name| format!("{name}\t{}\n", total(name))).collect()
    }
}

/// How many entries of the leader's a follower is not known to have stored.
fn lag(leading: &Replica<'_>, follower: &FollowerStatus) -> u64 {
    leading.status.last_index.saturating_sub(follower.matched_index)
}

fn state_name(state: FollowerState) -> &'static str {
    match state {
        FollowerState::Probe => "probe",
        FollowerState::Replicate => "replicate",
        FollowerState::Snapshot => "snapshot",
        FollowerState::Other(_) => "other",
    }
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    let start = text.len();
    text.write_fmt(arguments).expect("memory takes it");
    let kept = start + text[start..].trim_end().len();
    text.truncate(kept);
    text.push('\n');
}
