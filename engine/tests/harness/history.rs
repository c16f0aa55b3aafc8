//! What was asked of a node and what it answered, kept outside of the machine that may crash, and the checks of what is found later.
//!
//! A partition's entries are applied in order and whole. So whatever is found must be exactly the state after some entry `n`:
//! not before the last one acknowledged as durable, not after the last one proposed. That one rule holds all the promises: nothing
//! acknowledged is lost, nothing unwritten appears, no key goes back, no entry is there in part, revisions count without gaps.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use corelode_engine::env::Environment;
use corelode_engine::ids::{LogTime, PartitionId, Revision};
use corelode_engine::partition::{Proposal, Write, WriteChange};
use corelode_engine::row::Keyspace;

use super::{Node, Value};

/// A command as it was proposed.
#[derive(Clone, Debug)]
struct Asked {
    key: Vec<u8>,
    /// The value and its deadline, or none for a deletion.
    value: Option<(Vec<u8>, Option<LogTime>)>,
}

#[derive(Clone, Debug, Default)]
struct Entry {
    log_time: LogTime,
    commands: Vec<Asked>,
}

/// One partition's entries; those that only advance log time are not in it.
#[derive(Clone, Debug, Default)]
struct PartitionHistory {
    entries: BTreeMap<u64, Entry>,
    log_time: LogTime,
    durable_index: u64,
    /// What a reader has been told durably that has passed.
    durable_log_time: LogTime,
}

/// The entries of all partitions. Clones share them.
#[derive(Clone, Default)]
pub struct History(Rc<RefCell<BTreeMap<PartitionId, PartitionHistory>>>);

/// Visible values by key.
pub type State = BTreeMap<Vec<u8>, Value>;

impl History {
    /// A command was taken into an entry at the machine's time `now_ms`.
    pub fn proposed(&self, partition: PartitionId, proposal: Proposal, write: &Write<'_>, now_ms: u64) {
        let mut partitions = self.0.borrow_mut();
        let history = partitions.entry(partition).or_default();
        let log_time = history.log_time.max(LogTime(now_ms));
        let entry = history.entries.entry(proposal.entry.0).or_default();
        assert_eq!(entry.commands.len(), proposal.ordinal as usize, "commands stand in the order in which they came");
        if entry.commands.is_empty() {
            // A tick may have opened the entry earlier; it was not before the entry in front of it.
            entry.log_time = history.log_time;
            history.log_time = log_time;
        }
        let value = match write.change {
            WriteChange::Delete | WriteChange::OpenSession { .. } | WriteChange::CloseSession { .. } => None,
            WriteChange::Put { value, ttl_ms, .. } => {
                let deadline = ttl_ms.map(|ttl_ms| LogTime(log_time.0 + ttl_ms));
                Some((value.to_vec(), deadline))
            }
        };
        entry.commands.push(Asked { key: write.key.to_vec(), value });
    }

    /// The node has said that all up to an entry is durable, and deadlines up to `log_time` have passed.
    pub fn durable(&self, partition: PartitionId, index: u64, log_time: Option<LogTime>) {
        let mut partitions = self.0.borrow_mut();
        let history = partitions.entry(partition).or_default();
        assert!(index > history.durable_index, "each entry is acknowledged once, in order");
        history.durable_index = index;
        if let Some(log_time) = log_time {
            assert!(log_time >= history.durable_log_time, "log time never goes back");
            history.durable_log_time = log_time;
            // A command may have joined an entry that a tick had opened earlier; once nothing is under way, what the node says counts.
            let is_under_way = history.entries.keys().next_back().is_some_and(|&last| last > index);
            history.log_time = if is_under_way { history.log_time.max(log_time) } else { log_time };
        }
    }

    /// The last entry that was acknowledged as durable.
    pub fn durable_index(&self, partition: PartitionId) -> u64 {
        self.0.borrow().get(&partition).map_or(0, |history| history.durable_index)
    }

    /// A copy that goes its own way.
    pub fn fork(&self) -> Self {
        Self(Rc::new(RefCell::new(self.0.borrow().clone())))
    }

    /// What a partition shows after an entry, to a reader at `log_time`.
    pub fn state(&self, partition: PartitionId, index: u64, log_time: LogTime) -> State {
        let partitions = self.0.borrow();
        partitions.get(&partition).map(|history| history.state_at(index, log_time).2).unwrap_or_default()
    }

    /// Compares all that a node holds with what it may hold.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub async fn compare<E: Environment>(&self, node: &mut Node<E>) -> Result<(), String> {
        for number in 0..node.partition_count {
            self.compare_partition(node, PartitionId(number)).await?;
        }
        Ok(())
    }

    /// As [`compare`](Self::compare), for a node that has just started or has settled: the entries that a crash took are forgotten, so
    /// that the history can go on.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub async fn check<E: Environment>(&self, node: &mut Node<E>) -> Result<(), String> {
        for number in 0..node.partition_count {
            let partition = PartitionId(number);
            let found = self.compare_partition(node, partition).await?;
            self.0.borrow_mut().entry(partition).or_default().forget_behind(&found);
        }
        Ok(())
    }

    async fn compare_partition<E: Environment>(
        &self,
        node: &mut Node<E>,
        partition: PartitionId,
    ) -> Result<Found, String> {
        let found = Found::read(node, partition).await?;
        let mut partitions = self.0.borrow_mut();
        let history = partitions.entry(partition).or_default();
        history.check(&found).map_err(|message| format!("partition {partition}: {message}"))?;
        Ok(found)
    }
}

impl PartitionHistory {
    fn check(&self, found: &Found) -> Result<(), String> {
        let index = found.index;
        let proposed = self.entries.keys().next_back().copied().unwrap_or(0);
        if index < self.durable_index {
            return Err(format!("entry {} was acknowledged, and {index} is the last found", self.durable_index));
        }
        // Entries that only advance log time are not in the history; at most a few stand at its end.
        if index > proposed.max(self.durable_index) + 2 {
            return Err(format!("entry {index} was found, and {proposed} is the last proposed"));
        }
        if found.log_time < self.durable_log_time {
            let passed = self.durable_log_time;
            return Err(format!(
                "log time went back from {passed} to {}: what expired is visible again",
                found.log_time
            ));
        }
        let (revision, log_time, state) = self.state_at(index, found.log_time);
        if found.revision != revision {
            return Err(format!("at entry {index} the revision is {}, expected {revision}", found.revision));
        }
        if found.log_time < log_time {
            return Err(format!("at entry {index} the log time is {}, expected at least {log_time}", found.log_time));
        }
        same_state("point reads", &found.read, &state)?;
        same_state("a scan", &found.scanned, &state)?;
        let index_rows = state.iter().filter_map(|(key, value)| Some((value.deadline?, key.clone())));
        match index_rows.clone().find(|row| !found.deadlines.contains(row)) {
            Some((deadline, key)) => {
                Err(format!("key {} has deadline {deadline}, which is not indexed", key.escape_ascii()))
            }
            None => Ok(()),
        }
    }

    /// The state after an entry: its revision, the least log time it can have, and what is visible at `log_time`.
    fn state_at(&self, index: u64, log_time: LogTime) -> (Revision, LogTime, State) {
        let mut revision = Revision(0);
        let mut least_log_time = LogTime(0);
        let mut state = State::new();
        for entry in self.entries.range(..=index).map(|(_, entry)| entry) {
            least_log_time = entry.log_time;
            for Asked { key, value } in &entry.commands {
                revision = revision.next();
                match value {
                    Some((bytes, deadline)) => {
                        let value = Value { bytes: bytes.clone(), revision, deadline: *deadline };
                        state.insert(key.clone(), value);
                    }
                    None => drop(state.remove(key)),
                }
            }
        }
        state.retain(|_, value| value.deadline.is_none_or(|deadline| deadline > log_time));
        (revision, least_log_time, state)
    }

    fn forget_behind(&mut self, found: &Found) {
        drop(self.entries.split_off(&(found.index + 1)));
        self.durable_index = found.index;
        self.durable_log_time = found.log_time;
        self.log_time = found.log_time;
    }

    fn keys(&self) -> BTreeSet<&[u8]> {
        self.entries.values().flat_map(|entry| &entry.commands).map(|asked| asked.key.as_slice()).collect()
    }
}

/// What a partition holds, read in each way there is.
struct Found {
    index: u64,
    revision: Revision,
    log_time: LogTime,
    scanned: State,
    read: State,
    deadlines: BTreeSet<(LogTime, Vec<u8>)>,
}

impl Found {
    async fn read<E: Environment>(node: &mut Node<E>, partition: PartitionId) -> Result<Self, String> {
        let owned = node.store(partition).partition(partition).expect("this core owns it");
        let (index, point) = (owned.applied().index.0, owned.read_point());
        let fail = |error: corelode_engine::Error| error.to_string();
        let scanned = node.scan_at(partition, Keyspace::Data, point).await.map_err(fail)?;
        let keys = node
            .history
            .0
            .borrow()
            .get(&partition)
            .map(|history| history.keys().into_iter().map(<[u8]>::to_vec).collect::<Vec<_>>());
        let mut read = State::new();
        for key in keys.into_iter().flatten() {
            if let Some(value) = node.get(partition, &key).await.map_err(fail)? {
                read.insert(key, value);
            }
        }
        let deadline_rows = node.scan_at(partition, Keyspace::Deadline, point).await.map_err(fail)?;
        let split = |key: &Vec<u8>| {
            let (deadline, user_key) = key.split_first_chunk::<8>().expect("a deadline stands before the key");
            (LogTime(u64::from_be_bytes(*deadline)), user_key.to_vec())
        };
        let deadlines = deadline_rows.keys().map(split).collect();
        Ok(Self { index, revision: point.revision, log_time: point.log_time, scanned, read, deadlines })
    }
}

/// The first difference between two states, as a sentence.
pub fn same_state(how: &str, found: &State, expected: &State) -> Result<(), String> {
    for (key, value) in expected {
        match found.get(key) {
            None => return Err(format!("{how} does not find key {}, expected {value:?}", key.escape_ascii())),
            Some(other) if other != value => {
                return Err(format!("{how} finds {other:?} for key {}, expected {value:?}", key.escape_ascii()));
            }
            Some(_) => {}
        }
    }
    match found.iter().find(|(key, _)| !expected.contains_key(*key)) {
        Some((key, value)) => Err(format!("{how} finds key {} with {value:?}, expected none", key.escape_ascii())),
        None => Ok(()),
    }
}
