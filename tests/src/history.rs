//! What was sent and what was acknowledged, group of keys by group, and what a store may therefore show after a crash.
//!
//! Every write of a group has a version that rises. After a crash a group must show its newest acknowledged version, or a later one that
//! was sent and never answered; nothing else, never a part of a value, and never one version in some of its keys and another in others.

use std::collections::BTreeMap;

use crate::wire_client::Reply;

/// Keys of one partition that are always written together: by one batch, or a single key by itself.
pub type KeyGroup = Vec<Vec<u8>>;

/// Versions of one group.
#[derive(Clone, Default, Debug)]
struct GroupHistory {
    /// The versions that were sent since the newest acknowledged one, that one included; `true` for a deletion.
    possible: BTreeMap<u64, bool>,
    acknowledged: u64,
    sent: u64,
}

/// The writes of one writer, who alone writes its groups.
#[derive(Clone, Default, Debug)]
pub struct History {
    groups: BTreeMap<KeyGroup, GroupHistory>,
    writes_acknowledged: u64,
    batches_acknowledged: u64,
}

impl History {
    /// Notes that a write of `group` is sent; answers its version.
    pub fn sent(&mut self, group: &[Vec<u8>], is_deletion: bool) -> u64 {
        let history = self.groups.entry(group.to_vec()).or_insert_with(|| {
            // Before the first write the keys are absent, as after a deletion.
            GroupHistory { possible: BTreeMap::from([(0, true)]), ..GroupHistory::default() }
        });
        history.sent += 1;
        history.possible.insert(history.sent, is_deletion);
        history.sent
    }

    /// Notes that a version was acknowledged: older ones must not be seen any more.
    ///
    /// # Panics
    /// If it was never sent.
    pub fn acknowledged(&mut self, group: &[Vec<u8>], version: u64) {
        self.writes_acknowledged += 1;
        self.batches_acknowledged += u64::from(group.len() > 1);
        let history = self.groups.get_mut(group).expect("only what was sent is acknowledged");
        if version > history.acknowledged {
            history.acknowledged = version;
            history.possible = history.possible.split_off(&version);
        }
    }

    /// Checks what reads of a group's keys showed, and takes it as the new start: a crash has decided what was open.
    ///
    /// # Panics
    /// If it is nothing that the group may show.
    pub fn observed(&mut self, group: &[Vec<u8>], replies: &[Reply]) {
        assert_eq!(group.len(), replies.len(), "a reply for each key");
        let history = self.groups.get_mut(group).expect("only what was sent is read");
        let shown: Vec<u64> = group.iter().zip(replies).map(|(key, reply)| history.shown(key, reply)).collect();
        let version = shown[0];
        let names = || group.iter().map(|key| String::from_utf8_lossy(key)).collect::<Vec<_>>().join(", ");
        assert!(shown.iter().all(|&one| one == version), "{} show {shown:?}, a write in part: {history:?}", names());
        let is_deletion = history.possible[&version];
        history.possible = BTreeMap::from([(version, is_deletion)]);
        history.acknowledged = version;
    }

    /// The groups that were written.
    pub fn groups(&self) -> impl Iterator<Item = &KeyGroup> {
        self.groups.keys()
    }

    /// Writes that were acknowledged, a batch counting as one.
    #[must_use]
    pub fn writes_acknowledged(&self) -> u64 {
        self.writes_acknowledged
    }

    /// Writes of more than one key that were acknowledged.
    #[must_use]
    pub fn batches_acknowledged(&self) -> u64 {
        self.batches_acknowledged
    }
}

impl GroupHistory {
    /// The version that a key shows, which must be a possible one.
    fn shown(&self, key: &[u8], reply: &Reply) -> u64 {
        let name = String::from_utf8_lossy(key);
        match reply {
            Reply::Found(value) => {
                let version = version_of(key, value);
                assert_eq!(self.possible.get(&version), Some(&false), "{name} shows version {version}: {self:?}");
                version
            }
            Reply::Absent => {
                let deletion = self.possible.iter().rev().find(|(_, is_deletion)| **is_deletion);
                *deletion.unwrap_or_else(|| panic!("{name} is lost: {self:?}")).0
            }
            other => panic!("{name}: {other:?}"),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    const A: &[u8] = b"a";
    const B: &[u8] = b"b";

    fn pair() -> KeyGroup {
        vec![A.to_vec(), B.to_vec()]
    }

    /// Version 1 is acknowledged; 2 and the deletion 3 are open.
    fn open_history() -> History {
        let mut history = History::default();
        assert_eq!([false, false, true].map(|is_deletion| history.sent(&pair(), is_deletion)), [1, 2, 3]);
        history.acknowledged(&pair(), 1);
        history
    }

    fn found(key: &[u8], version: u64) -> Reply {
        Reply::Found(value_of(key, version))
    }

    #[test]
    fn what_is_acknowledged_or_open_may_be_seen_by_all_keys_together() {
        for version in [1, 2] {
            open_history().observed(&pair(), &[found(A, version), found(B, version)]);
        }
        open_history().observed(&pair(), &[Reply::Absent, Reply::Absent]);
    }

    #[test]
    #[should_panic(expected = "show [2, 1], a write in part")]
    fn an_open_batch_in_part_is_noticed() {
        open_history().observed(&pair(), &[found(A, 2), found(B, 1)]);
    }

    #[test]
    #[should_panic(expected = "show [2, 3], a write in part")]
    fn an_open_deletion_in_part_is_noticed() {
        open_history().observed(&pair(), &[found(A, 2), Reply::Absent]);
    }

    #[test]
    #[should_panic(expected = "a shows version 1")]
    fn what_was_acknowledged_and_lost_is_noticed() {
        let mut history = open_history();
        history.acknowledged(&pair(), 2);
        history.observed(&pair(), &[found(A, 1), found(B, 1)]);
    }

    #[test]
    #[should_panic(expected = "a shows version 1")]
    fn what_a_crash_has_decided_stays_so() {
        let mut history = open_history();
        history.observed(&pair(), &[found(A, 2), found(B, 2)]);
        history.observed(&pair(), &[found(A, 1), found(B, 1)]);
    }
}
