//! Writers that load a server until the connection breaks, and readers that check what is left.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use corelode_net::body::{Durability, ReadLevel};
use corelode_net::{RequestId, slot_of};

use crate::history::{History, value_of};
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

/// What a writer does.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// The number of keys.
    pub keys: u64,
    /// Requests in flight.
    pub depth: usize,
    /// One write in so many is a deletion.
    pub deletion_every: u64,
}

/// The keys of the partitions that `core` owns, the same in every run.
#[must_use]
pub fn keys_of_core(core: u16, cores: u16, partitions: u16, count: u64) -> Vec<Vec<u8>> {
    (0..)
        .map(|number| format!("key-{number:08}").into_bytes())
        .filter(|key| {
            let partition = u32::from(slot_of(key).get()) * u32::from(partitions) / 16_384;
            partition % u32::from(cores) == u32::from(core)
        })
        .take(usize::try_from(count).expect("keys fit memory"))
        .collect()
}

/// Writes to the given keys, pipelined, until the connection breaks. Answers how many writes were acknowledged.
///
/// # Panics
/// If the server refuses a write for any reason but a bound or its end.
pub fn write_until_broken(
    address: SocketAddr,
    core: u16,
    keys: &[Vec<u8>],
    load: &Load,
    history: &mut History,
    random: &mut Random,
) -> u64 {
    let Ok(mut client) = WireClient::connect(address, core) else { return 0 };
    let mut in_flight: HashMap<RequestId, (usize, u64)> = HashMap::new();
    let mut acknowledged = 0;
    loop {
        // Several writes of one key may be under way: the log orders them as they were sent on this connection.
        while in_flight.len() < load.depth {
            let number = usize::try_from(random.below(keys.len() as u64)).expect("an index");
            let key = &keys[number];
            let is_deletion = random.below(load.deletion_every) == 0;
            let version = history.sent(key, is_deletion);
            let id = if is_deletion {
                client.delete(key)
            } else {
                client.put(key, &value_of(key, version), 0, Durability::Synced)
            };
            in_flight.insert(id, (number, version));
        }
        if client.send().is_err() {
            return acknowledged;
        }
        for _ in 0..in_flight.len().div_ceil(2) {
            let Ok((id, reply)) = client.next_reply() else { return acknowledged };
            let (number, version) = in_flight.remove(&id).expect("replies answer requests");
            match reply {
                Reply::Written(_) => {
                    history.acknowledged(&keys[number], version);
                    acknowledged += 1;
                }
                // Not executed, or nobody knows: both leave the history as it is.
                Reply::Refused(reason) if is_temporary(&reason) => {}
                other => panic!("a write was answered by {other:?}"),
            }
        }
    }
}

fn is_temporary(reason: &str) -> bool {
    ["OVERLOADED", "OUTCOME_UNKNOWN", "SHUTTING_DOWN", "NO_SPACE"].iter().any(|code| reason.starts_with(code))
}

/// Reads every key of the history and checks what it shows.
///
/// # Panics
/// If a key shows what it may not, or the connection breaks.
pub fn check_all(address: SocketAddr, core: u16, history: &mut History) {
    let mut client = WireClient::connect(address, core).expect("the server serves");
    let keys: Vec<Vec<u8>> = history.keys().map(<[u8]>::to_vec).collect();
    for chunk in keys.chunks(256) {
        let asked: BTreeMap<RequestId, &Vec<u8>> =
            chunk.iter().map(|key| (client.get(key, ReadLevel::Linearizable), key)).collect();
        client.send().expect("the server serves");
        for _ in 0..asked.len() {
            let (id, reply) = client.next_reply().expect("the server serves");
            history.observed(asked[&id], &reply);
        }
    }
}
