//! Entries on their way: the one being built this turn, and those in the log that are not applied yet.

use std::collections::VecDeque;

use crate::command::{Command, EntryBuilder};
use crate::ids::{LogPosition, LogTime, StreamId, Term};
use crate::limits::ENTRY_SIZE_BYTES_TARGET;
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

/// Where a command stands in its partition's log: by this its outcome is recognised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Proposal {
    /// The entry.
    pub position: LogPosition,
    /// The command's place in the entry, from 0.
    pub ordinal: u32,
}

/// An entry that the log has, and the partition has yet to apply.
#[derive(Debug)]
pub(crate) struct SealedEntry {
    pub(crate) position: LogPosition,
    pub(crate) payload: Vec<u8>,
}

#[derive(Debug)]
struct OpenEntry {
    builder: EntryBuilder,
    durability: Durability,
}

/// Owned by one partition. Bounded by the bytes that wait for the log ([`LogWriter::pending_bytes`]) and its write in flight.
#[derive(Debug)]
pub(crate) struct Proposals {
    open: Option<OpenEntry>,
    /// The last entry given an index; the open one has the next.
    last: LogPosition,
    log_time: LogTime,
    unapplied: VecDeque<SealedEntry>,
    /// The last entry that may be applied before it is durable, with all before it.
    apply_early_through: LogPosition,
    spare: Vec<Vec<u8>>,
}

impl Proposals {
    /// Goes on behind `last`, at `log_time` or later.
    pub(crate) fn new(last: LogPosition, log_time: LogTime) -> Self {
        Self {
            open: None,
            last,
            log_time,
            unapplied: VecDeque::new(),
            apply_early_through: LogPosition::default(),
            spare: Vec::new(),
        }
    }

    /// The log time that an entry opened now gets.
    pub(crate) fn log_time_at(&self, now: LogTime) -> LogTime {
        self.log_time.max(now)
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
        let too_long = |open: &OpenEntry| {
            open.builder.command_count() > 0
                && open.builder.length() + command.encoded_length() > ENTRY_SIZE_BYTES_TARGET
        };
        if self.open.as_ref().is_some_and(too_long) {
            self.seal(stream, log);
        }
        let position = self.position_next();
        let open = self.open(now);
        open.durability = open.durability.max(durability);
        Proposal { position, ordinal: open.builder.push(command) }
    }

    /// Makes sure that an entry with a log time of `now` or later is proposed, with or without commands.
    pub(crate) fn push_time(&mut self, now: LogTime) {
        self.open(now);
    }

    /// Closes the entry of this turn, if there is one, and gives it to the log.
    pub(crate) fn seal<F: Clone>(&mut self, stream: StreamId, log: &mut LogWriter<F>) {
        let Some(open) = self.open.take() else { return };
        let position = self.position_next();
        let payload = open.builder.finish();
        log.append(stream, position, &payload);
        self.last = position;
        if open.durability == Durability::Memory {
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
        const SPARE_COUNT_MAX: usize = 4;
        if self.spare.len() < SPARE_COUNT_MAX && entry.payload.capacity() <= ENTRY_SIZE_BYTES_TARGET {
            self.spare.push(entry.payload);
        }
    }

    fn position_next(&self) -> LogPosition {
        LogPosition { term: self.last.term.max(Term(1)), index: self.last.index.next() }
    }

    fn open(&mut self, now: LogTime) -> &mut OpenEntry {
        self.open.get_or_insert_with(|| {
            self.log_time = self.log_time.max(now);
            let builder = EntryBuilder::new(self.log_time, self.spare.pop().unwrap_or_default());
            OpenEntry { builder, durability: Durability::Synced }
        })
    }
}
