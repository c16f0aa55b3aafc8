//! Writers that load a server until the connection breaks, and readers that check what is left.

use std::collections::HashMap;
use std::net::SocketAddr;

use corelode_net::body::{Durability, ReadLevel};
use corelode_net::{RequestId, slot_of};

use crate::history::{History, KeyGroup, value_of};
use crate::wire_client::{Reply, WireClient};

/// A small generator of numbers, so that a run can be repeated (xorshift, Marsaglia 2003).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Starts from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

/// Keys that a batch writes.
const BATCH_KEY_COUNT: usize = 4;

/// What a writer does.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// The number of keys that are written singly.
    pub keys: u64,
    /// The number of groups of keys that are written by batches.
    pub batches: u64,
    /// Requests in flight.
    pub depth: usize,
    /// One write in so many is a deletion.
    pub deletion_every: u64,
}

impl Load {
    /// The groups of the partitions that `core` owns, its share of all, the same in every run.
    ///
    /// The keys of a batch are of one partition. BATCH promises nothing for its operations together, but what arrives for one partition in
    /// one turn is one entry of its log unless it is long, and an entry is applied whole: that is what batches are here to show.
    #[must_use]
    pub fn groups_of_core(&self, core: u16, cores: u16, partitions: u16) -> Vec<KeyGroup> {
        let count = |total: u64| usize::try_from(total / u64::from(cores)).expect("keys fit memory");
        let keys = |kind: &'static str| (0..).map(move |number| format!("{kind}-{number:08}").into_bytes());
        let is_owned = |key: &Vec<u8>| partition_of(key, partitions) % cores == core;
        let mut groups: Vec<KeyGroup> =
            keys("key").filter(is_owned).take(count(self.keys)).map(|key| vec![key]).collect();
        let mut gathering = vec![KeyGroup::new(); usize::from(partitions)];
        let batches = keys("batch").filter(is_owned).filter_map(|key| {
            let group = &mut gathering[usize::from(partition_of(&key, partitions))];
            group.push(key);
            (group.len() == BATCH_KEY_COUNT).then(|| std::mem::take(group))
        });
        groups.extend(batches.take(count(self.batches)));
        groups
    }
}

/// The partition of a key, among so many.
///
/// # Panics
/// Never: a slot is below the number of slots.
#[must_use]
pub fn partition_of(key: &[u8], partitions: u16) -> u16 {
    let partition = u32::from(slot_of(key).get()) * u32::from(partitions) / 16_384;
    u16::try_from(partition).expect("below the number of partitions")
}

/// Writes to the given groups, pipelined, until the connection breaks.
///
/// # Panics
/// If the server refuses a write for any reason but a bound or its end.
pub fn write_until_broken(
    address: SocketAddr,
    core: u16,
    groups: &[KeyGroup],
    load: &Load,
    history: &mut History,
    random: &mut Random,
) {
    let Ok(mut client) = WireClient::connect(address, core) else { return };
    let mut in_flight: HashMap<RequestId, (&KeyGroup, u64)> = HashMap::new();
    loop {
        // Several writes of one group may be under way: the log orders them as they were sent on this connection.
        while in_flight.len() < load.depth {
            let group = &groups[usize::try_from(random.below(groups.len() as u64)).expect("an index")];
            let is_deletion = random.below(load.deletion_every) == 0;
            let version = history.sent(group, is_deletion);
            let id = send_write(&mut client, group, (!is_deletion).then_some(version));
            in_flight.insert(id, (group, version));
        }
        if client.send().is_err() {
            return;
        }
        for _ in 0..in_flight.len().div_ceil(2) {
            let Ok((id, reply)) = client.next_reply() else { return };
            let (group, version) = in_flight.remove(&id).expect("replies answer requests");
            match reply {
                Reply::Written(_) => history.acknowledged(group, version),
                // Not executed, or nobody knows: both leave the history as it is.
                Reply::Refused(reason) if is_temporary(&reason) => {}
                other => panic!("a write was answered by {other:?}"),
            }
        }
    }
}

/// Queues a write of a version, or a deletion, of all keys of a group.
fn send_write(client: &mut WireClient, group: &KeyGroup, version: Option<u64>) -> RequestId {
    let values: Vec<_> = group.iter().map(|key| version.map(|version| value_of(key, version))).collect();
    match (&group[..], &values[..]) {
        ([key], [Some(value)]) => client.put(key, value, 0, Durability::Synced),
        ([key], [None]) => client.delete(key),
        _ => client.write_batch(group.iter().map(Vec::as_slice).zip(values.iter().map(Option::as_deref))),
    }
}

fn is_temporary(reason: &str) -> bool {
    ["OVERLOADED", "OUTCOME_UNKNOWN", "SHUTTING_DOWN", "NO_SPACE"].iter().any(|code| reason.starts_with(code))
}

/// Reads every key of the history and checks what the groups show.
///
/// # Panics
/// If a group shows what it may not, or the connection breaks.
pub fn check_all(address: SocketAddr, core: u16, history: &mut History) {
    let mut client = WireClient::connect(address, core).expect("the server serves");
    let groups: Vec<KeyGroup> = history.groups().cloned().collect();
    for chunk in groups.chunks(128) {
        let asked: Vec<RequestId> =
            chunk.iter().flatten().map(|key| client.get(key, ReadLevel::Linearizable)).collect();
        client.send().expect("the server serves");
        let mut replies: HashMap<RequestId, Reply> =
            asked.iter().map(|_| client.next_reply().expect("the server serves")).collect();
        let mut shown = asked.iter().map(|id| replies.remove(id).expect("each request has its reply"));
        for group in chunk {
            history.observed(group, &shown.by_ref().take(group.len()).collect::<Vec<_>>());
        }
    }
}
