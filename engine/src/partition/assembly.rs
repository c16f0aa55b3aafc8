//! The entry that the commands of a turn are put into.

use crate::command::{Command, EntryBuilder};
use crate::ids::LogTime;
use crate::limits::ENTRY_SIZE_BYTES_TARGET;

use super::proposals::Durability;

/// An entry that takes no more commands.
#[derive(Debug)]
pub(crate) struct AssembledEntry {
    pub(crate) payload: Vec<u8>,
    /// The least that one of its commands asks for.
    pub(crate) durability: Durability,
}

#[derive(Debug)]
struct OpenEntry {
    builder: EntryBuilder,
    durability: Durability,
}

/// Puts commands into entries whose log times never go back.
#[derive(Debug)]
pub(crate) struct Assembly {
    open: Option<OpenEntry>,
    log_time: LogTime,
    spare: Vec<Vec<u8>>,
}

impl Assembly {
    pub(crate) fn new(log_time: LogTime) -> Self {
        Self { open: None, log_time, spare: Vec::new() }
    }

    /// The log time that an entry opened now gets.
    pub(crate) fn log_time_at(&self, now: LogTime) -> LogTime {
        self.log_time.max(now)
    }

    /// Entries opened from now on have no earlier log time.
    pub(crate) fn advance_log_time(&mut self, log_time: LogTime) {
        self.log_time = self.log_time.max(log_time);
    }

    /// Whether the command fits into the open entry, or there is none.
    pub(crate) fn has_room_for(&self, command: &Command<'_>) -> bool {
        self.open.as_ref().is_none_or(|open| {
            open.builder.command_count() == 0
                || open.builder.length() + command.encoded_length() <= ENTRY_SIZE_BYTES_TARGET
        })
    }

    /// Adds a command; answers its place in the entry.
    pub(crate) fn push(&mut self, now: LogTime, command: &Command<'_>, durability: Durability) -> u32 {
        self.open(now);
        let open = self.open.as_mut().expect("opened above");
        open.durability = open.durability.max(durability);
        open.builder.push(command)
    }

    /// Makes sure that an entry is open.
    pub(crate) fn open(&mut self, now: LogTime) {
        if self.open.is_none() {
            self.advance_log_time(now);
            let builder = EntryBuilder::new(self.log_time, self.spare.pop().unwrap_or_default());
            self.open = Some(OpenEntry { builder, durability: Durability::Synced });
        }
    }

    /// Closes the open entry.
    pub(crate) fn take(&mut self) -> Option<AssembledEntry> {
        let OpenEntry { builder, durability } = self.open.take()?;
        Some(AssembledEntry { payload: builder.finish(), durability })
    }

    /// Takes an entry's memory back for use again.
    pub(crate) fn recycle(&mut self, payload: Vec<u8>) {
        const SPARE_COUNT_MAX: usize = 4;
        if self.spare.len() < SPARE_COUNT_MAX && payload.capacity() <= ENTRY_SIZE_BYTES_TARGET {
            self.spare.push(payload);
        }
    }
}
