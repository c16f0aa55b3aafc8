//! TOPOLOGY: which partition has which slots, and which core has which partition.

use flatbuffers::FlatBufferBuilder;

use crate::body_error::BodyError;
use crate::frame::Frame;
use crate::generated::wire;
use crate::header::{Flags, ReplyHead};
use crate::ids::{ClusterId, CoreIndex, MapEpoch, NodeId, PartitionId};
use crate::limits::{CORE_COUNT_MAX, PARTITION_COUNT_MAX};
use crate::opcode::Opcode;
use crate::slot::{SLOT_COUNT, Slot};
use crate::table::TableBuilder;
use crate::table::builder::verified_root;

/// A partition and where it lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PartitionEntry {
    /// The partition.
    pub partition: PartitionId,
    /// Its first slot.
    pub first_slot: Slot,
    /// Its last slot, included.
    pub last_slot: Slot,
    /// The core that owns it.
    pub core: CoreIndex,
    /// The log that holds it, for people who look at files.
    pub log: u64,
}

/// A core and how to reach it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CoreEntry {
    /// The core.
    pub core: CoreIndex,
    /// Its own TCP port, if it has one; else BIND leads to it.
    pub port: Option<u16>,
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
    /// If there are more partitions or cores than the limits allow.
    pub fn encode(&self, head: ReplyHead, tables: &mut TableBuilder, out: &mut Vec<u8>) {
        assert!(self.partitions.len() <= PARTITION_COUNT_MAX, "{} partitions", self.partitions.len());
        assert!(self.cores.len() <= CORE_COUNT_MAX, "{} cores", self.cores.len());
        tables.frame(&head.fields(Flags::NONE), out, |builder| {
            let partitions: Vec<_> = self.partitions.iter().map(|entry| build_partition(builder, entry)).collect();
            let partitions = Some(builder.create_vector(&partitions));
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
        })
    }
}

fn build_partition<'b>(
    builder: &mut FlatBufferBuilder<'b>,
    entry: &PartitionEntry,
) -> flatbuffers::WIPOffset<wire::PartitionEntry<'b>> {
    wire::PartitionEntry::create(
        builder,
        &wire::PartitionEntryArgs {
            partition: entry.partition.0,
            first_slot: entry.first_slot.get(),
            last_slot: entry.last_slot.get(),
            core: entry.core.0,
            log: entry.log,
        },
    )
}

/// Whether a vector is within its bound.
pub(crate) fn bounded(what: &'static str, found: usize, limit: usize) -> Result<(), BodyError> {
    if found > limit { Err(BodyError::TooLarge { what, found, limit }) } else { Ok(()) }
}
