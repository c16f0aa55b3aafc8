//! Entries of a partition that decides alone: those in the log that are not applied yet.

use std::collections::VecDeque;

use super::assembly::{AssembledEntry, Assembly};
use crate::command::Command;
use crate::ids::{LogPosition, LogTime, StreamId, Term};
use crate::log::LogWriter;

/// When a write may be answered and seen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Durability {
    /// Once it is durable.
    #[default]
    Synced,
    /// Once it is in the memory of the core; a crash within the next moments may take it back.
    Memory,
}

/// An entry that was begun here, by the order of its beginning. It has no place in the log before it is closed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ProposedEntry(pub u64);

/// By this the outcome of a command is recognised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Proposal {
    /// The entry.
    pub entry: ProposedEntry,
    /// The command's place in the entry, from 0.
    pub ordinal: u32,
}

/// An entry that the log has, and the partition has yet to apply.
#[derive(Debug)]
pub(crate) struct SealedEntry {
    pub(crate) position: LogPosition,
    pub(crate) payload: Vec<u8>,
}

/// Owned by one partition. Bounded by the bytes that wait for the log ([`LogWriter::pending_bytes`]) and its write in flight.
#[derive(Debug)]
pub(crate) struct Proposals {
    assembly: Assembly,
    /// The last entry given an index; the open one has the next.
    last: LogPosition,
    unapplied: VecDeque<SealedEntry>,
    /// The last entry that may be applied before it is durable, with all before it.
    apply_early_through: LogPosition,
}

impl Proposals {
    /// Goes on behind `last`, at `log_time` or later.
    pub(crate) fn new(last: LogPosition, log_time: LogTime) -> Self {
        Self {
            assembly: Assembly::new(log_time),
            last,
            unapplied: VecDeque::new(),
            apply_early_through: LogPosition::default(),
        }
    }

    /// The log time that an entry opened now gets.
    pub(crate) fn log_time_at(&self, now: LogTime) -> LogTime {
        self.assembly.log_time_at(now)
    }

    /// The last entry that was sealed.
    pub(crate) fn last(&self) -> LogPosition {
        self.last
    }

    /// Adds a command to the entry of this turn; closes the entry first if the command does not fit.
    pub(crate) fn push<F: Clone>(
        &mut self,
        stream: StreamId,
        log: &mut LogWriter<F>,
        now: LogTime,
        command: &Command<'_>,
        durability: Durability,
    ) -> Proposal {
        if !self.assembly.has_room_for(command) {
            self.seal(stream, log);
        }
        let entry = ProposedEntry(self.position_next().index.0);
        Proposal { entry, ordinal: self.assembly.push(now, command, durability) }
    }

    /// Makes sure that an entry with a log time of `now` or later is proposed, with or without commands.
    pub(crate) fn push_time(&mut self, now: LogTime) {
        self.assembly.open(now);
    }

    /// Closes the entry of this turn, if there is one, and gives it to the log.
    pub(crate) fn seal<F: Clone>(&mut self, stream: StreamId, log: &mut LogWriter<F>) {
        let Some(AssembledEntry { payload, durability }) = self.assembly.take() else { return };
        let position = self.position_next();
        log.append(stream, position, &payload);
        self.last = position;
        if durability == Durability::Memory {
            self.apply_early_through = position;
        }
        self.unapplied.push_back(SealedEntry { position, payload });
    }

    /// The next entry to apply, if it is within what is durable or may be applied early.
    pub(crate) fn pop_applicable(&mut self, durable: LogPosition) -> Option<SealedEntry> {
        let through = durable.index.max(self.apply_early_through.index);
        self.unapplied.pop_front_if(|entry| entry.position.index <= through)
    }

    /// Takes an applied entry's memory back for use again.
    pub(crate) fn recycle(&mut self, entry: SealedEntry) {
        self.assembly.recycle(entry.payload);
    }

    fn position_next(&self) -> LogPosition {
        LogPosition { term: self.last.term.max(Term(1)), index: self.last.index.next() }
    }
}
