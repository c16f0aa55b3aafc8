//! Which partition a slot belongs to, and which core owns a partition. The same on every core of a node while it runs.

use corelode_engine::data_directory::core_of;
use corelode_engine::ids::{PartitionId, SlotRange};

use super::operation::Core;

/// The map of a node's partitions.
#[derive(Clone, Debug)]
pub struct PartitionMap {
    partition_count: u16,
    cores: u16,
    /// The partition of each slot.
    slots: Box<[u16]>,
}

impl PartitionMap {
    /// The map of `partition_count` partitions over `cores` cores.
    ///
    /// # Panics
    /// If either is zero.
    #[must_use]
    pub fn new(partition_count: u16, cores: u16) -> Self {
        assert!(partition_count > 0 && cores > 0, "{partition_count} partitions over {cores} cores");
        let mut slots = vec![0; usize::from(SlotRange::SLOT_COUNT)].into_boxed_slice();
        for partition in 0..partition_count {
            for slot in SlotRange::of_partition(partition, partition_count).slots() {
                slots[usize::from(slot)] = partition;
            }
        }
        Self { partition_count, cores, slots }
    }

    /// The partition of a slot.
    ///
    /// # Panics
    /// If the slot is none of the 16,384.
    #[must_use]
    pub fn partition_of(&self, slot: u16) -> PartitionId {
        PartitionId(self.slots[usize::from(slot)])
    }

    /// The core that owns a partition.
    #[must_use]
    pub fn owner(&self, partition: PartitionId) -> Core {
        Core(core_of(partition, self.cores))
    }

    /// The number of partitions.
    #[must_use]
    pub fn partition_count(&self) -> u16 {
        self.partition_count
    }

    /// The number of cores.
    #[must_use]
    pub fn cores(&self) -> u16 {
        self.cores
    }

    /// All partitions with their slots.
    pub fn partitions(&self) -> impl Iterator<Item = (PartitionId, SlotRange)> {
        let count = self.partition_count;
        (0..count).map(move |number| (PartitionId(number), SlotRange::of_partition(number, count)))
    }
}
