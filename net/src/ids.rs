//! Numbers of the wire as types of their own, so that a slot never passes for a partition.

use std::fmt;

macro_rules! number_type {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }
    };
}

number_type! {
    /// What pairs a reply with its request. Zero is never a request's id: it marks frames nobody asked for.
    RequestId(u64)
}
number_type! {
    /// A partition of the key space: a contiguous range of slots.
    PartitionId(u16)
}
number_type! {
    /// A core of one node.
    CoreIndex(u16)
}
number_type! {
    /// A version of the map from slots to partitions to cores. Zero means "no map known".
    MapEpoch(u32)
}
number_type! {
    /// A partition's counter of commands. Zero means "none".
    Revision(u64)
}
number_type! {
    /// A snapshot that the server holds for a scan. Zero means "none". It is valid on its partition only.
    SnapshotToken(u64)
}
number_type! {
    /// A node of a cluster. Zero is no node.
    NodeId(u64)
}
number_type! {
    /// A start of a node's process, drawn at random.
    BootId(u64)
}
number_type! {
    /// A node's data directory, drawn at random when it is made.
    Incarnation(u64)
}
number_type! {
    /// A term of a partition's group: at most one leader each. Zero is before the first election.
    Term(u64)
}
number_type! {
    /// The place of an entry in a group's log, from 1. Zero means "before the first entry".
    LogIndex(u64)
}
number_type! {
    /// A round of messages of a leader, from 1 in each term.
    Round(u64)
}

/// An entry of a group's log: its term and its place.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct LogPosition {
    /// The term in which it was proposed.
    pub term: Term,
    /// Its place.
    pub index: LogIndex,
}

/// A cluster's identity, drawn at random when it is made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ClusterId(pub [u8; 16]);

impl fmt::Display for ClusterId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ClusterId({self})")
    }
}

/// Hands out request ids over a client's connections, one after the other, so that a late reply never answers another
/// request: ids only rise, across reconnections too, and a reply counts only if its id was given out since the last one.
///
/// One value serves one place that reconnects (say, a client's connection to one core); two such places have two pending
/// tables, and need two.
///
/// ```
/// use corelode_net::RequestIds;
/// let mut ids = RequestIds::new();
/// let first = ids.next();
/// assert!(ids.is_current(first));
/// ids.reconnect();
/// assert!(!ids.is_current(first));
/// ```
#[derive(Debug, Default)]
pub struct RequestIds {
    /// The last id given out before this connection. Invariant: `before <= last`.
    before: u64,
    /// The last id given out. Never goes back, so that no id is given out twice.
    last: u64,
}

impl RequestIds {
    /// The ids of a first connection: 1, 2, 3 and so on.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The next id, never given out before.
    ///
    /// # Panics
    /// After 2^64 requests, which no process reaches.
    #[expect(clippy::should_implement_trait, reason = "an endless counter reads better without Option")]
    pub fn next(&mut self) -> RequestId {
        self.last = self.last.checked_add(1).expect("fewer than 2^64 requests in a process");
        RequestId(self.last)
    }

    /// Starts a new connection: no id given out before is [current](Self::is_current) any more.
    pub fn reconnect(&mut self) {
        self.before = self.last;
    }

    /// Whether `id` was given out on this connection; a reply with any other id is to be dropped.
    #[must_use]
    pub fn is_current(&self, id: RequestId) -> bool {
        id.0 > self.before && id.0 <= self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PITFALL 42.
    #[test]
    fn an_id_of_an_earlier_connection_is_never_given_out_again() {
        let mut ids = RequestIds::new();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..100 {
            let mut last = RequestId(0);
            for _ in 0..10 {
                last = ids.next();
                assert!(seen.insert(last));
            }
            assert!(ids.is_current(last));
            ids.reconnect();
            assert!(!ids.is_current(last));
        }
    }

    #[test]
    fn neither_zero_nor_an_id_from_the_future_is_current() {
        let mut ids = RequestIds::new();
        let last = ids.next();
        assert!(!ids.is_current(RequestId(last.0 + 1)));
        assert!(!ids.is_current(RequestId(0)));
    }
}
