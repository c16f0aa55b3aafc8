//! One replica and the driver around it, as a server would be: the log's contents, a disk that is late, and what is applied.

use std::collections::{BTreeMap, VecDeque};

use corelode_raft::{
    Accepted, Config, EntryInfo, HardState, Input, LogIndex, LogPosition, Membership, Message, NodeId, Output,
    OwnEntryKind, PersistId, Raft, ReadReady, Refused, Restart, Term, Time,
};

/// An entry with its contents, a number that the test chose.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) info: EntryInfo,
    pub(crate) payload: u64,
}

/// A message with the contents of its entries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Envelope {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) message: Message,
    pub(crate) payloads: Vec<u64>,
}

/// A snapshot: where, and who the members are there. The contents follow from the position.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Snapshot {
    pub(crate) position: LogPosition,
    pub(crate) membership: Membership,
}

/// A log with contents, whose beginning may be gone.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    pub(crate) base: LogPosition,
    pub(crate) entries: VecDeque<Entry>,
}

impl Log {
    pub(crate) fn last(&self) -> LogPosition {
        let index = self.base.index.plus(self.entries.len() as u64);
        LogPosition { index, term: self.entries.back().map_or(self.base.term, |entry| entry.info.term) }
    }

    pub(crate) fn entry(&self, index: LogIndex) -> Option<&Entry> {
        let place = index.0.checked_sub(self.base.index.0 + 1)?;
        self.entries.get(usize::try_from(place).unwrap())
    }

    pub(crate) fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index == self.base.index { Some(self.base.term) } else { self.entry(index).map(|entry| entry.info.term) }
    }

    /// Puts an entry where it belongs, in place of all from there on.
    fn put(&mut self, index: LogIndex, entry: Entry) {
        assert!(index > self.base.index && index <= self.last().index.next(), "{index} leaves a gap in {self:?}");
        self.entries.truncate(usize::try_from(index.0 - self.base.index.0 - 1).unwrap());
        self.entries.push_back(entry);
    }

    /// Drops what `position` holds; everything, if the log does not go through it.
    fn begin_at(&mut self, position: LogPosition) {
        if position.index <= self.base.index {
            return;
        }
        if self.term_at(position.index) == Some(position.term) {
            self.entries.drain(..usize::try_from(position.index.0 - self.base.index.0).unwrap());
        } else {
            self.entries.clear();
        }
        self.base = position;
    }
}

/// What a turn gave to be stored.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) id: PersistId,
    hard_state: Option<HardState>,
    entries: BTreeMap<LogIndex, Entry>,
}

/// What survives a crash.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    pub(crate) hard_state: HardState,
    /// The newest snapshot, or the state of the application where the log begins.
    pub(crate) snapshot: Snapshot,
    pub(crate) log: Log,
    /// What the application has made durable.
    pub(crate) applied: LogIndex,
}

impl Disk {
    pub(crate) fn new(membership: Membership) -> Self {
        Self {
            hard_state: HardState::default(),
            snapshot: Snapshot { position: LogPosition::ZERO, membership },
            log: Log { base: LogPosition::ZERO, entries: VecDeque::new() },
            applied: LogIndex(0),
        }
    }

    pub(crate) fn holds(&self, position: LogPosition) -> bool {
        position.index <= self.snapshot.position.index || self.log.term_at(position.index) == Some(position.term)
    }

    /// A write arrives: its hard state, and as many of its entries.
    fn store(&mut self, write: Write, entries_max: usize) {
        self.hard_state = write.hard_state.unwrap_or(self.hard_state);
        for (index, entry) in write.entries.into_iter().take(entries_max) {
            // A snapshot may have overtaken it.
            if index > self.log.base.index {
                self.log.put(index, entry);
            }
        }
    }

    /// What a start does as well as an installation: the log gives way to a snapshot that is ahead of it.
    fn settle(&mut self) {
        self.log.begin_at(self.snapshot.position);
        self.applied = self.applied.max(self.snapshot.position.index);
    }
}

/// What came out of a turn for the world outside.
#[derive(Default, Debug)]
pub(crate) struct Turn {
    pub(crate) envelopes: Vec<Envelope>,
    pub(crate) reads: Vec<ReadReady>,
    pub(crate) snapshots: Vec<NodeId>,
    /// Entries that are applied now.
    pub(crate) applied: Vec<(LogIndex, Entry)>,
    /// Up to here a quorum has entries in memory, as it found just now.
    pub(crate) received: Option<LogIndex>,
    /// Entries that are in the log now and were not before.
    pub(crate) added: Vec<LogIndex>,
    pub(crate) is_status_changed: bool,
    pub(crate) is_written: bool,
}

/// A running replica.
pub(crate) struct Node {
    pub(crate) raft: Raft,
    pub(crate) log: Log,
    pub(crate) disk: Disk,
    /// On their way to the disk, oldest first.
    pub(crate) writes: VecDeque<Write>,
    pub(crate) applied: LogIndex,
    pending: BTreeMap<LogIndex, Entry>,
    output: Output,
}

impl Node {
    /// Starts from what is on the disk.
    pub(crate) fn start(config: Config, mut disk: Disk, now: Time) -> Self {
        disk.settle();
        let restart = Restart {
            hard_state: disk.hard_state,
            truncated: disk.snapshot.position,
            membership: disk.snapshot.membership.clone(),
            entries: disk.log.entries.iter().map(|entry| entry.info.clone()).collect(),
            committed: disk.applied,
        };
        Self {
            raft: Raft::new(config, restart, now),
            log: disk.log.clone(),
            applied: disk.applied,
            disk,
            writes: VecDeque::new(),
            pending: BTreeMap::new(),
            output: Output::default(),
        }
    }

    pub(crate) fn propose(
        &mut self,
        now: Time,
        payload: u64,
        bytes: u32,
        is_receipt_awaited: bool,
    ) -> Result<LogPosition, Refused> {
        let accepted = self.raft.step(now, Input::Propose { bytes, is_receipt_awaited })?;
        let Accepted::Entry(position) = accepted else { panic!("a proposal is an entry, not {accepted:?}") };
        let info = EntryInfo { term: position.term, bytes, membership: None };
        self.pending.insert(position.index, Entry { info, payload });
        Ok(position)
    }

    pub(crate) fn receive(&mut self, now: Time, envelope: Envelope) {
        let Envelope { from, message, payloads, .. } = envelope;
        let entries = if let Message::Append(append) = &message { append.entries.clone() } else { Default::default() };
        let accepted = self.raft.step(now, Input::Message { from, message }).expect("a message is never refused");
        if let Accepted::Store { first } = accepted {
            self.pending.retain(|index, _| *index < first);
            for (offset, (info, payload)) in (0..).zip(entries.infos.into_iter().zip(payloads)) {
                let index = entries.first.plus(offset);
                if index >= first {
                    self.pending.insert(index, Entry { info, payload });
                }
            }
        }
    }

    /// Takes an input that concerns the core alone.
    pub(crate) fn input(&mut self, now: Time, input: Input) -> Result<Accepted, Refused> {
        self.raft.step(now, input)
    }

    /// The oldest write has reached the disk; the core hears of it with this.
    pub(crate) fn finish_write(&mut self) -> Option<PersistId> {
        let write = self.writes.pop_front()?;
        let id = write.id;
        self.disk.store(write, usize::MAX);
        Some(id)
    }

    /// The application makes durable what it has applied, and lets go of entries. What it has not got on the disk it keeps.
    pub(crate) fn truncate(&mut self, now: Time, through: LogIndex) {
        let through = through.min(self.applied).min(self.disk.log.last().index);
        let Some(position) = self.raft.log().position_at(through) else { return };
        if through <= self.log.base.index || !self.disk.holds(position) {
            return;
        }
        self.disk.snapshot = self.snapshot_at(position);
        self.disk.settle();
        self.log.begin_at(position);
        self.raft.step(now, Input::Truncate(through)).expect("a truncation is never refused");
    }

    /// A snapshot of what is applied.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let position = self.raft.log().position_at(self.applied).expect("what is applied last is known");
        self.snapshot_at(position)
    }

    fn snapshot_at(&self, position: LogPosition) -> Snapshot {
        Snapshot { position, membership: self.raft.log().membership_at(position.index).clone() }
    }

    /// A snapshot has arrived. All writes before it are waited for, then it is put in its place, then the core is told.
    pub(crate) fn install(&mut self, now: Time, snapshot: Snapshot) -> Result<(), Refused> {
        let Snapshot { position, membership } = snapshot.clone();
        let is_suffix_kept = self.raft.log().term_at(position.index) == Some(position.term);
        self.raft.step(now, Input::SnapshotInstalled { position, membership })?;
        while let Some(id) = self.finish_write() {
            self.raft.step(now, Input::Stored(id)).expect("nothing stored is refused");
        }
        self.disk.snapshot = snapshot;
        self.disk.settle();
        self.pending.retain(|index, _| is_suffix_kept && *index > position.index);
        self.log.begin_at(position);
        self.applied = self.applied.max(position.index);
        Ok(())
    }

    /// Ends a turn.
    pub(crate) fn end_turn(&mut self, now: Time) -> Turn {
        let mut output = std::mem::take(&mut self.output);
        self.raft.end_turn(now, &mut output);
        for own in output.own_entries.drain(..) {
            let membership = match own.kind {
                OwnEntryKind::FirstOfTerm => None,
                OwnEntryKind::Membership(membership) => Some(Box::new(membership)),
            };
            let info = EntryInfo { term: own.position.term, bytes: 0, membership };
            let is_free = self.pending.insert(own.position.index, Entry { info, payload: 0 }).is_none();
            assert!(is_free, "{} is there twice", own.position);
        }
        let mut turn = Turn {
            added: self.pending.keys().copied().collect(),
            is_status_changed: output.is_status_changed,
            received: output.received,
            reads: std::mem::take(&mut output.reads),
            snapshots: std::mem::take(&mut output.snapshots),
            ..Turn::default()
        };
        for (index, entry) in &self.pending {
            self.log.put(*index, entry.clone());
        }
        self.compare_logs(&turn.added);
        if let Some(id) = output.persist {
            let entries = std::mem::take(&mut self.pending);
            self.writes.push_back(Write { id, hard_state: output.hard_state, entries });
            turn.is_written = true;
        }
        assert!(self.pending.is_empty() && (turn.is_written || output.hard_state.is_none()), "a write was forgotten");
        self.apply(&mut turn);
        turn.envelopes = output.messages.drain(..).map(|(to, message)| self.envelope(to, message)).collect();
        self.output = output;
        turn
    }

    fn compare_logs(&self, added: &[LogIndex]) {
        assert_eq!(self.raft.log().last(), self.log.last(), "the core's log and its contents differ");
        assert_eq!(self.raft.log().truncated(), self.log.base, "the core's log and its contents differ");
        for index in added {
            assert_eq!(self.raft.log().term_at(*index), self.log.term_at(*index), "at {index}");
        }
    }

    fn apply(&mut self, turn: &mut Turn) {
        let committed = self.raft.log().committed();
        assert!(committed >= self.applied, "{committed} is committed after {}", self.applied);
        while self.applied < committed {
            self.applied = self.applied.next();
            let entry = self.log.entry(self.applied).expect("a committed entry is there").clone();
            turn.applied.push((self.applied, entry));
        }
    }

    fn envelope(&self, to: NodeId, message: Message) -> Envelope {
        let mut payloads = Vec::new();
        if let Message::Append(append) = &message {
            for offset in 0..append.entries.infos.len() as u64 {
                let index = append.entries.first.plus(offset);
                payloads.push(self.log.entry(index).expect("what is sent is there").payload);
            }
        }
        Envelope { from: NodeId(0), to, message, payloads }
    }

    /// The power fails when a snapshot is in place and the log has not given way to it yet.
    pub(crate) fn crash_while_installing(mut self, snapshot: Snapshot) -> Disk {
        while self.finish_write().is_some() {}
        if snapshot.position.index > self.raft.log().committed() {
            self.disk.snapshot = snapshot;
        }
        self.disk
    }

    /// The power fails: of the writes under way `whole` have arrived, and so many entries of the next.
    pub(crate) fn crash(mut self, whole: usize, entries: Option<usize>) -> Disk {
        for _ in 0..whole {
            self.finish_write();
        }
        if let (Some(write), Some(entries)) = (self.writes.pop_front(), entries) {
            self.disk.store(write, entries);
        }
        self.disk
    }
}

impl std::fmt::Display for Write {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut parts = Vec::new();
        if let Some(HardState { term, vote }) = self.hard_state {
            parts.push(vote.map_or(format!("term {term}"), |vote| format!("term {term} and the vote for {vote}")));
        }
        parts.extend(self.entries.iter().map(|(index, entry)| describe_entry(*index, &entry.info)));
        formatter.write_str(&if parts.is_empty() { "nothing new".to_owned() } else { parts.join(", ") })
    }
}

/// An entry in words.
pub(crate) fn describe_entry(index: LogIndex, info: &EntryInfo) -> String {
    let membership = info.membership.as_ref().map_or(String::new(), |membership| format!(" {membership}"));
    format!("{index}@{}{membership}", info.term)
}
