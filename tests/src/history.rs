//! What was sent and what was acknowledged, key by key, and what a store may therefore show after a crash.
//!
//! Every write of a key has a version that rises. After a crash a key must show its newest acknowledged version, or a later one that was
//! sent and never answered; nothing else, and never a part of one.

use std::collections::BTreeMap;

use crate::wire_client::Reply;

/// Versions of one key.
#[derive(Clone, Default, Debug)]
struct KeyHistory {
    /// The versions that were sent since the newest acknowledged one, that one included; `true` for a deletion.
    possible: BTreeMap<u64, bool>,
    acknowledged: u64,
    sent: u64,
}

/// The writes of one writer, who alone writes its keys.
#[derive(Clone, Default, Debug)]
pub struct History {
    keys: BTreeMap<Vec<u8>, KeyHistory>,
}

impl History {
    /// Notes that a write of `key` is sent; answers its version.
    pub fn sent(&mut self, key: &[u8], is_deletion: bool) -> u64 {
        let history = self.keys.entry(key.to_vec()).or_insert_with(|| {
            // Before the first write the key is absent, as after a deletion.
            KeyHistory { possible: BTreeMap::from([(0, true)]), ..KeyHistory::default() }
        });
        history.sent += 1;
        history.possible.insert(history.sent, is_deletion);
        history.sent
    }

    /// Notes that a version was acknowledged: older ones must not be seen any more.
    pub fn acknowledged(&mut self, key: &[u8], version: u64) {
        let history = self.keys.get_mut(key).expect("only what was sent is acknowledged");
        if version > history.acknowledged {
            history.acknowledged = version;
            history.possible = history.possible.split_off(&version);
        }
    }

    /// Checks what a read of `key` showed, and takes it as the new start: a crash has decided what was open.
    ///
    /// # Panics
    /// If it is nothing that the key may show.
    pub fn observed(&mut self, key: &[u8], reply: &Reply) {
        let Some(history) = self.keys.get_mut(key) else {
            assert_eq!(*reply, Reply::Absent, "a key that nobody wrote");
            return;
        };
        let name = String::from_utf8_lossy(key);
        let seen = match reply {
            Reply::Found(value) => {
                let version = version_of(key, value);
                assert_eq!(history.possible.get(&version), Some(&false), "{name} shows version {version}: {history:?}");
                version
            }
            Reply::Absent => {
                let deletion = history.possible.iter().rev().find(|(_, is_deletion)| **is_deletion);
                *deletion.unwrap_or_else(|| panic!("{name} is lost: {history:?}")).0
            }
            other => panic!("{name}: {other:?}"),
        };
        let is_deletion = history.possible[&seen];
        history.possible = BTreeMap::from([(seen, is_deletion)]);
        history.acknowledged = seen;
    }

    /// The keys that were written.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.keys.keys().map(Vec::as_slice)
    }
}

/// A value that tells its key and version, of a length that depends on both.
#[must_use]
pub fn value_of(key: &[u8], version: u64) -> Vec<u8> {
    let mut value = version.to_le_bytes().to_vec();
    value.extend_from_slice(key);
    let length = 16 + key.len() + usize::try_from(version * 37 % 400).expect("small");
    let filler = u8::try_from(version % 251).expect("below 251");
    value.resize(length, filler);
    value
}

/// The version of a value, which must be whole.
///
/// # Panics
/// If any byte of it is not as [`value_of`] made it.
#[must_use]
pub fn version_of(key: &[u8], value: &[u8]) -> u64 {
    let version = value.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes));
    let version = version.unwrap_or_else(|| panic!("a value of {} bytes", value.len()));
    assert_eq!(value, value_of(key, version), "the value of {} is not whole", String::from_utf8_lossy(key));
    version
}
