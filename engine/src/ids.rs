//! Identifiers and positions as types of their own, so that a term never passes for an index.

use std::fmt;
use std::ops::RangeInclusive;

macro_rules! number_type {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
        pub struct $name(pub $inner);

        impl $name {
            /// The next value. Panics on overflow, which no counter of this store reaches.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.checked_add(1).expect(concat!(stringify!($name), " never overflows")))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }
    };
}

number_type! {
    /// A partition of the key space: a contiguous range of slots with one tree of its own.
    PartitionId(u16)
}
number_type! {
    /// A stream of entries in a log; one per replica of a partition (or of the system group).
    StreamId(u64)
}
number_type! {
    /// How often a stream has been attached to a log. The highest epoch wins at recovery.
    StreamEpoch(u32)
}
number_type! {
    /// A Raft term. A store without replicas stays in term 1.
    Term(u64)
}
number_type! {
    /// The position of an entry in its stream, from 1. Zero means "before the first entry".
    LogIndex(u64)
}
number_type! {
    /// A partition's replicated counter: one step per command applied. Zero means "before the first".
    Revision(u64)
}
number_type! {
    /// A table's number within its partition, never used twice while a manifest knows of it.
    TableId(u64)
}
number_type! {
    /// A log's identity. It is data, not a core's number: cores come and go, logs are adopted.
    LogId(u64)
}
number_type! {
    /// Which life of a segment file: rises by one each time a segment is opened for writing.
    Generation(u64)
}
number_type! {
    /// The number of a batch in its log, from 1, without gaps.
    BatchSequence(u64)
}
number_type! {
    /// Log time in milliseconds since the Unix epoch. Only entries advance it; it never goes back.
    LogTime(u64)
}

impl Revision {
    /// Later than every revision that can be written: a read "as of now".
    pub const MAX: Self = Self(u64::MAX);
}

/// A position in a stream: the entry's term and index.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct LogPosition {
    /// The term in which the entry was proposed.
    pub term: Term,
    /// The entry's index.
    pub index: LogIndex,
}

/// The slots a partition or a table answers for, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SlotRange {
    /// The first slot.
    pub first: u16,
    /// The last slot, included.
    pub last: u16,
}

impl SlotRange {
    /// The number of slots of the whole key space, as in Redis Cluster.
    pub const SLOT_COUNT: u16 = 16_384;

    /// The whole key space.
    pub const ALL: Self = Self { first: 0, last: Self::SLOT_COUNT - 1 };

    /// Whether `slot` lies in the range.
    #[must_use]
    pub fn contains(self, slot: u16) -> bool {
        (self.first..=self.last).contains(&slot)
    }

    /// The slots as a range to walk over.
    #[must_use]
    pub fn slots(self) -> RangeInclusive<u16> {
        self.first..=self.last
    }

    /// Splits the whole key space evenly: the range of partition `index` out of `count`.
    ///
    /// # Panics
    /// If `count` is zero or above the number of slots, or `index` is not below `count`.
    #[must_use]
    pub fn of_partition(index: u16, count: u16) -> Self {
        assert!(count > 0 && count <= Self::SLOT_COUNT, "{count} partitions over 16,384 slots");
        assert!(index < count, "partition {index} of {count}");
        let bound = |i: u16| u32::from(i) * u32::from(Self::SLOT_COUNT) / u32::from(count);
        let first = u16::try_from(bound(index)).expect("below 16,384");
        let last = u16::try_from(bound(index + 1) - 1).expect("below 16,384");
        Self { first, last }
    }
}

/// What a reader of a snapshot sees: everything up to a revision, and nothing whose deadline had passed by a log time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadPoint {
    /// The newest revision that is seen.
    pub revision: Revision,
    /// The log time by which deadlines count.
    pub log_time: LogTime,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_cover_all_slots_once() {
        for count in [1, 2, 3, 7, 64, 100, 16_384] {
            let mut next = 0;
            for index in 0..count {
                let range = SlotRange::of_partition(index, count);
                assert_eq!(range.first, next);
                assert!(range.last >= range.first);
                next = range.last + 1;
            }
            assert_eq!(next, SlotRange::SLOT_COUNT);
        }
    }
}
