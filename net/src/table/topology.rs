//! TOPOLOGY: which partition has which slots, which core of the answering node has it, and which nodes have replicas of it.

use std::collections::BTreeMap;

use flatbuffers::{FlatBufferBuilder, Vector, WIPOffset};

use crate::body_error::BodyError;
use crate::frame::Frame;
use crate::generated::wire;
use crate::header::{Flags, ReplyHead};
use crate::ids::{ClusterId, CoreIndex, MapEpoch, NodeId, PartitionId};
use crate::limits::{ADDRESS_LENGTH_MAX, CORE_COUNT_MAX, NODE_COUNT_MAX, PARTITION_COUNT_MAX, REPLICA_COUNT_MAX};
use crate::opcode::Opcode;
use crate::slot::{SLOT_COUNT, Slot};
use crate::table::TableBuilder;
use crate::table::builder::verified_root;

/// A partition and where it lives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionEntry {
    /// The partition.
    pub partition: PartitionId,
    /// Its first slot.
    pub first_slot: Slot,
    /// Its last slot, included.
    pub last_slot: Slot,
    /// The core that owns it, of the node that answers.
    pub core: CoreIndex,
    /// The log that holds it, for people who look at files.
    pub log: u64,
    /// The nodes that have a replica of it. Empty from a server that does not replicate.
    pub replicas: Vec<NodeId>,
    /// The node that leads it, as far as the one that answers knows.
    pub leader: Option<NodeId>,
}

/// A core and how to reach it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CoreEntry {
    /// The core.
    pub core: CoreIndex,
    /// Its own TCP port, if it has one; else BIND leads to it.
    pub port: Option<u16>,
}

/// A node of the cluster and how clients reach it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeEntry {
    /// The node.
    pub node_id: NodeId,
    /// Host and port for clients, for example `10.0.0.1:7600` or `[fd00::1]:7600`.
    pub address: String,
    /// Whether it is the node that answers. A cluster behind one address has no better way to say so.
    pub is_this_node: bool,
    /// How many cores it has; 0 if the node that answers does not know.
    pub core_count: u16,
}

/// The map of a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topology {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The node that answers.
    pub node_id: NodeId,
    /// The map's version.
    pub map_epoch: MapEpoch,
    /// The partitions, in order of their slots, which they cover without gap or overlap.
    pub partitions: Vec<PartitionEntry>,
    /// The cores, in order.
    pub cores: Vec<CoreEntry>,
    /// The nodes, in order of their ids. Empty from a server that does not replicate.
    pub nodes: Vec<NodeEntry>,
}

impl Topology {
    /// The partition that has `slot`.
    #[must_use]
    pub fn partition_of(&self, slot: Slot) -> Option<&PartitionEntry> {
        let index = self.partitions.partition_point(|entry| entry.last_slot < slot);
        self.partitions.get(index).filter(|entry| entry.first_slot <= slot)
    }

    /// Appends the reply.
    ///
    /// # Panics
    /// If there is more of anything than the limits allow, or if ten thousand partitions have as many different lists of
    /// replicas, which no frame can hold.
    pub fn encode(&self, head: ReplyHead, tables: &mut TableBuilder, out: &mut Vec<u8>) {
        assert!(self.partitions.len() <= PARTITION_COUNT_MAX, "{} partitions", self.partitions.len());
        assert!(self.cores.len() <= CORE_COUNT_MAX, "{} cores", self.cores.len());
        assert!(self.nodes.len() <= NODE_COUNT_MAX, "{} nodes", self.nodes.len());
        tables.frame(&head.fields(Flags::NONE), out, |builder| {
            // Of thousands of partitions many have the same replicas: each list is written once, or a map would not fit.
            let mut lists = BTreeMap::new();
            let partitions: Vec<_> =
                self.partitions.iter().map(|entry| build_partition(builder, entry, &mut lists)).collect();
            let partitions = Some(builder.create_vector(&partitions));
            let nodes: Vec<_> = self.nodes.iter().map(|entry| build_node(builder, entry)).collect();
            let nodes = (!nodes.is_empty()).then(|| builder.create_vector(&nodes));
            let cores: Vec<_> = self
                .cores
                .iter()
                .map(|entry| {
                    let port = entry.port.unwrap_or(0);
                    wire::CoreEntry::create(builder, &wire::CoreEntryArgs { core: entry.core.0, port })
                })
                .collect();
            let cores = Some(builder.create_vector(&cores));
            wire::Topology::create(
                builder,
                &wire::TopologyArgs {
                    cluster_id: Some(&wire::Bytes16(self.cluster_id.0)),
                    node_id: self.node_id.0,
                    map_epoch: self.map_epoch.0,
                    slot_count: SLOT_COUNT,
                    partitions,
                    cores,
                    nodes,
                },
            )
        });
    }

    /// Reads the reply and checks that its partitions cover every slot once, so that a lookup cannot fail later.
    ///
    /// # Errors
    /// A body that is no topology, or a map that does not cover the slots.
    pub fn decode(frame: &Frame<'_>) -> Result<Self, BodyError> {
        frame.expect_reply(Opcode::Topology)?;
        let table = verified_root::<wire::Topology<'_>>(frame.body)?;
        if table.slot_count() != SLOT_COUNT {
            return Err(BodyError::Field { field: "slot count", found: u64::from(table.slot_count()) });
        }
        bounded("partitions", table.partitions().len(), PARTITION_COUNT_MAX)?;
        bounded("cores", table.cores().len(), CORE_COUNT_MAX)?;
        let mut next = 0;
        let mut partitions = Vec::with_capacity(table.partitions().len());
        for entry in table.partitions() {
            let (first, last) = (entry.first_slot(), entry.last_slot());
            if first != next || last < first {
                return Err(BodyError::Field { field: "first slot of a partition", found: u64::from(first) });
            }
            let slot = |number| Slot::new(number).ok_or(BodyError::Field { field: "slot", found: u64::from(number) });
            partitions.push(PartitionEntry {
                partition: PartitionId(entry.partition()),
                first_slot: slot(first)?,
                last_slot: slot(last)?,
                core: CoreIndex(entry.core()),
                log: entry.log(),
                replicas: read_replicas(&entry)?,
                leader: Some(NodeId(entry.leader_node_id())).filter(|&node_id| node_id != NodeId(0)),
            });
            next = last + 1;
        }
        if next != SLOT_COUNT {
            return Err(BodyError::Field { field: "slots covered", found: u64::from(next) });
        }
        let cores = table
            .cores()
            .iter()
            .map(|entry| CoreEntry {
                core: CoreIndex(entry.core()),
                port: Some(entry.port()).filter(|&port| port != 0),
            })
            .collect();
        Ok(Self {
            cluster_id: ClusterId(table.cluster_id().0),
            node_id: NodeId(table.node_id()),
            map_epoch: MapEpoch(table.map_epoch()),
            partitions,
            cores,
            nodes: read_nodes(&table)?,
        })
    }
}

fn read_replicas(entry: &wire::PartitionEntry<'_>) -> Result<Vec<NodeId>, BodyError> {
    let Some(replicas) = entry.replicas() else { return Ok(Vec::new()) };
    bounded("replicas", replicas.len(), REPLICA_COUNT_MAX)?;
    Ok(replicas.iter().map(NodeId).collect())
}

fn read_nodes(table: &wire::Topology<'_>) -> Result<Vec<NodeEntry>, BodyError> {
    let Some(nodes) = table.nodes() else { return Ok(Vec::new()) };
    bounded("nodes", nodes.len(), NODE_COUNT_MAX)?;
    nodes
        .iter()
        .map(|entry| {
            bounded("address of a node", entry.address().len(), ADDRESS_LENGTH_MAX)?;
            Ok(NodeEntry {
                node_id: NodeId(entry.node_id()),
                address: entry.address().to_owned(),
                is_this_node: entry.is_this_node(),
                core_count: entry.core_count(),
            })
        })
        .collect()
}

fn build_node<'b>(builder: &mut FlatBufferBuilder<'b>, entry: &NodeEntry) -> WIPOffset<wire::NodeEntry<'b>> {
    assert!(entry.address.len() <= ADDRESS_LENGTH_MAX, "an address of {} bytes", entry.address.len());
    let address = Some(builder.create_string(&entry.address));
    let NodeEntry { node_id: NodeId(node_id), is_this_node, core_count, .. } = *entry;
    wire::NodeEntry::create(builder, &wire::NodeEntryArgs { node_id, address, is_this_node, core_count })
}

/// Lists of replicas that are written already.
type ReplicaLists<'t, 'b> = BTreeMap<&'t [NodeId], WIPOffset<Vector<'b, u64>>>;

fn build_partition<'t, 'b>(
    builder: &mut FlatBufferBuilder<'b>,
    entry: &'t PartitionEntry,
    lists: &mut ReplicaLists<'t, 'b>,
) -> WIPOffset<wire::PartitionEntry<'b>> {
    assert!(entry.replicas.len() <= REPLICA_COUNT_MAX, "{} replicas", entry.replicas.len());
    let replicas = (!entry.replicas.is_empty()).then(|| {
        *lists
            .entry(&entry.replicas)
            .or_insert_with(|| builder.create_vector_from_iter(entry.replicas.iter().map(|node_id| node_id.0)))
    });
    wire::PartitionEntry::create(
        builder,
        &wire::PartitionEntryArgs {
            partition: entry.partition.0,
            first_slot: entry.first_slot.get(),
            last_slot: entry.last_slot.get(),
            core: entry.core.0,
            log: entry.log,
            replicas,
            leader_node_id: entry.leader.map_or(0, |node_id| node_id.0),
        },
    )
}

/// Whether a vector is within its bound.
pub(crate) fn bounded(what: &'static str, found: usize, limit: usize) -> Result<(), BodyError> {
    if found > limit { Err(BodyError::TooLarge { what, found, limit }) } else { Ok(()) }
}
