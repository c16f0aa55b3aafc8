//! Entries of a partition whose replicas decide together: proposed here and given to consensus, or taken from the leader; kept for followers that lag.
//!
//! The engine does not decide what is committed, nor what is durable: it is told. Bounds: proposals by the memory for blocked writes of who proposes,
//! kept entries by [`truncate`](ReplicaLog::truncate).

use std::collections::VecDeque;

use super::assembly::{AssembledEntry, Assembly};
use super::proposals::{Durability, Proposal, ProposedEntry};
use crate::command::Command;
use crate::ids::{LogIndex, LogPosition, LogTime};

/// An entry that was closed and has no place in the log yet.
#[derive(Debug)]
pub(crate) struct SealedProposal {
    pub(crate) entry: ProposedEntry,
    pub(crate) payload: Vec<u8>,
    /// The least that one of its writes waits for.
    pub(crate) durability: Durability,
}

/// An entry with its place.
#[derive(Debug)]
pub(crate) struct ReplicaEntry {
    pub(crate) position: LogPosition,
    pub(crate) payload: Vec<u8>,
    /// If it was proposed here.
    pub(crate) proposed: Option<ProposedEntry>,
}

/// Invariant: `entries` follow each other without a gap, from the one behind `truncated` on.
#[derive(Debug)]
pub(crate) struct ReplicaLog {
    assembly: Assembly,
    /// The entry that is open, or the next one to be.
    next_entry: ProposedEntry,
    sealed: VecDeque<SealedProposal>,
    truncated: LogPosition,
    entries: VecDeque<ReplicaEntry>,
    bytes: usize,
}

impl ReplicaLog {
    /// A log behind `truncated`, at `log_time` or later.
    pub(crate) fn new(truncated: LogPosition, log_time: LogTime) -> Self {
        Self {
            assembly: Assembly::new(log_time),
            next_entry: ProposedEntry(1),
            sealed: VecDeque::new(),
            truncated,
            entries: VecDeque::new(),
            bytes: 0,
        }
    }

    pub(crate) fn log_time_at(&self, now: LogTime) -> LogTime {
        self.assembly.log_time_at(now)
    }

    /// The last entry that is not kept any more.
    pub(crate) fn truncated(&self) -> LogPosition {
        self.truncated
    }

    /// The last entry.
    pub(crate) fn last(&self) -> LogPosition {
        self.entries.back().map_or(self.truncated, |entry| entry.position)
    }

    /// The memory of the entries that are kept, bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a command to the entry of this turn; closes the entry first if the command does not fit.
    pub(crate) fn push(&mut self, now: LogTime, command: &Command<'_>, durability: Durability) -> Proposal {
        if !self.assembly.has_room_for(command) {
            self.seal();
        }
        Proposal { entry: self.next_entry, ordinal: self.assembly.push(now, command, durability) }
    }

    /// Makes sure that an entry with a log time of `now` or later is proposed, with or without commands.
    pub(crate) fn push_time(&mut self, now: LogTime) {
        self.assembly.open(now);
    }

    /// Closes the entry of this turn, if there is one.
    pub(crate) fn seal(&mut self) {
        if let Some(AssembledEntry { payload, durability }) = self.assembly.take() {
            self.sealed.push_back(SealedProposal { entry: self.next_entry, payload, durability });
            self.next_entry = ProposedEntry(self.next_entry.0 + 1);
        }
    }

    /// The first entry that was closed and has no place yet.
    pub(crate) fn first_sealed(&self) -> Option<&SealedProposal> {
        self.sealed.front()
    }

    /// Gives the first closed entry its place.
    pub(crate) fn place_sealed(&mut self, position: LogPosition) -> &ReplicaEntry {
        let SealedProposal { entry, payload, .. } = self.sealed.pop_front().expect("an entry was closed");
        self.push_entry(ReplicaEntry { position, payload, proposed: Some(entry) })
    }

    /// Forgets what was proposed and has no place: somebody else leads.
    pub(crate) fn abandon(&mut self) -> Vec<ProposedEntry> {
        self.seal();
        self.sealed.drain(..).map(|sealed| sealed.entry).collect()
    }

    /// Adds an entry; those that have its index and later ones go. Answers those among them that were proposed here.
    pub(crate) fn append(&mut self, position: LogPosition, payload: Vec<u8>, log_time: LogTime) -> Vec<ProposedEntry> {
        let mut cut = Vec::new();
        while self.last().index >= position.index {
            let entry = self.entries.pop_back().expect("an entry that is truncated is never replaced");
            self.bytes -= entry.payload.len();
            cut.extend(entry.proposed);
        }
        self.assembly.advance_log_time(log_time);
        self.push_entry(ReplicaEntry { position, payload, proposed: None });
        cut
    }

    fn push_entry(&mut self, entry: ReplicaEntry) -> &ReplicaEntry {
        assert!(entry.position.index == self.last().index.next(), "{:?} after {:?}", entry.position, self.last());
        self.bytes += entry.payload.len();
        self.entries.push_back(entry);
        self.entries.back().expect("just pushed")
    }

    /// An entry that is kept.
    pub(crate) fn entry(&self, index: LogIndex) -> Option<&ReplicaEntry> {
        let offset = index.0.checked_sub(self.truncated.index.0 + 1)?;
        self.entries.get(usize::try_from(offset).ok()?)
    }

    pub(crate) fn entry_mut(&mut self, index: LogIndex) -> &mut ReplicaEntry {
        let offset = usize::try_from(index.0 - self.truncated.index.0 - 1).expect("entries fit into memory");
        &mut self.entries[offset]
    }

    /// The entries that are kept, in order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &ReplicaEntry> {
        self.entries.iter()
    }

    /// All up to `through` came from elsewhere, and what is here does not follow it: it goes. Answers what of it was proposed here.
    pub(crate) fn reset(&mut self, through: LogPosition, log_time: LogTime) -> Vec<ProposedEntry> {
        self.assembly.advance_log_time(log_time);
        self.bytes = 0;
        self.truncated = through;
        self.entries.drain(..).filter_map(|entry| entry.proposed).collect()
    }

    /// Lets the entries up to `through` go.
    pub(crate) fn truncate(&mut self, through: LogIndex) {
        while let Some(entry) = self.entries.pop_front_if(|entry| entry.position.index <= through) {
            self.truncated = entry.position;
            self.bytes -= entry.payload.len();
            self.assembly.recycle(entry.payload);
        }
    }
}
