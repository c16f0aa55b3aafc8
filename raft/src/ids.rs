//! Identifiers and positions as types of their own, so that a term never passes for an index.

use std::fmt;
use std::time::Duration;

macro_rules! number_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
        pub struct $name(pub u64);

        impl $name {
            /// The next value. Panics on overflow, which no counter reaches.
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
    /// A node that may be a member of groups. Zero is no node.
    NodeId
}
number_type! {
    /// A Raft term. Zero is before the first election.
    Term
}
number_type! {
    /// The place of an entry in the log, from 1. Zero means "before the first entry".
    LogIndex
}
number_type! {
    /// A round of messages of a leader, from 1 in each term: who answers it, followed the leader after it began.
    Round
}
number_type! {
    /// Something that a turn gave to the driver to store. Numbers rise; one that is stored says that all before it are.
    PersistId
}
number_type! {
    /// A read as its driver knows it.
    ReadId
}

impl LogIndex {
    /// The index before; zero stays zero.
    #[must_use]
    pub fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// The index so many further on.
    #[must_use]
    pub fn plus(self, count: u64) -> Self {
        Self(self.0.checked_add(count).expect("an index never overflows"))
    }
}

/// The term and index of an entry. Ordered as the vote compares logs: first by term, then by index (thesis 3.6.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct LogPosition {
    /// The term in which the entry was proposed.
    pub term: Term,
    /// The entry's index.
    pub index: LogIndex,
}

impl LogPosition {
    /// Before the first entry of any log.
    pub const ZERO: Self = Self { term: Term(0), index: LogIndex(0) };
}

impl fmt::Display for LogPosition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}@{}", self.index, self.term)
    }
}

/// A time of the driver's monotonic clock, in nanoseconds since a moment of its choice. Where leases are on it must go on while the machine sleeps
/// (`CLOCK_BOOTTIME`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Time(pub u64);

impl Time {
    /// The time so much later.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// How long ago `earlier` was; zero if it is in the future.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}
