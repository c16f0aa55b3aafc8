//! What consensus asks of a store whose partitions have replicas elsewhere.
//!
//! Each turn: what was proposed is [closed](Store::seal) and given a place, or abandoned; what a leader sent is appended; new terms and votes are
//! recorded; then [`report_when_durable`](Store::report_when_durable) asks to be told when all of it is stored.

use crate::command::{Entry, EntryBuilder, encode_membership};
use crate::env::Environment;
use crate::ids::{LogIndex, LogPosition, LogTime, PartitionId};
use crate::log::HardState;
use crate::partition::{Durability, Outcome, Partition, ProposedEntry};

use super::{Store, account, stream_of};

/// Checks an entry that came from elsewhere, before it is appended: what is appended will be applied.
///
/// # Errors
/// A clause that says what is wrong.
pub fn check_entry(payload: &[u8]) -> Result<Entry<'_>, String> {
    Entry::decode(payload)
}

impl<E: Environment> Store<E> {
    fn replicated(&mut self, partition: PartitionId) -> &mut Partition<E> {
        self.partitions.get_mut(&partition).expect("this core owns the partition")
    }

    /// Partitions with entries that were [closed](Self::seal) since this was asked last, and that consensus is to give a place.
    pub fn take_sealed(&mut self) -> Vec<PartitionId> {
        std::mem::take(&mut self.sealed)
    }

    /// The first entry of a partition that was closed and has no place yet: its length in bytes, and the least that one of its writes waits for.
    #[must_use]
    pub fn first_sealed(&self, partition: PartitionId) -> Option<(usize, Durability)> {
        self.partitions[&partition].first_sealed().map(|sealed| (sealed.payload.len(), sealed.durability))
    }

    /// Gives the first closed entry its place in the log.
    ///
    /// # Panics
    /// If there is none.
    pub fn place_sealed(&mut self, partition: PartitionId, position: LogPosition) {
        let owned = self.partitions.get_mut(&partition).expect("this core owns the partition");
        let entry = owned.place_sealed(position);
        self.log.append(stream_of(partition), position, &entry.payload);
    }

    /// Forgets what was proposed and has no place in the log: this replica does not lead. Answers what it was.
    pub fn abandon_proposals(&mut self, partition: PartitionId) -> Vec<ProposedEntry> {
        self.dirty.retain(|dirty| *dirty != partition);
        self.replicated(partition).abandon_proposals()
    }

    /// Appends an entry that a leader sent, in place of those that had its index and later ones. Answers what was proposed here and is gone.
    ///
    /// # Errors
    /// It is no entry; nothing was done.
    ///
    /// # Panics
    /// If it leaves a gap, or replaces what is applied.
    pub fn append_entry(
        &mut self,
        partition: PartitionId,
        position: LogPosition,
        payload: Vec<u8>,
    ) -> Result<Vec<ProposedEntry>, String> {
        let log_time = check_entry(&payload)?.log_time;
        self.log.append(stream_of(partition), position, &payload);
        Ok(self.replicated(partition).append(position, payload, log_time))
    }

    /// Appends an entry without commands, which a leader's term begins with.
    pub fn append_empty(&mut self, partition: PartitionId, position: LogPosition, now_ms: u64) {
        let log_time = self.replicated(partition).log_time_at(LogTime(now_ms));
        self.append_own(partition, position, EntryBuilder::new(log_time, Vec::new()).finish());
    }

    /// Appends an entry that says who the group's members are.
    pub fn append_membership(&mut self, partition: PartitionId, position: LogPosition, now_ms: u64, members: &[u8]) {
        let log_time = self.replicated(partition).log_time_at(LogTime(now_ms));
        self.append_own(partition, position, encode_membership(log_time, members));
    }

    fn append_own(&mut self, partition: PartitionId, position: LogPosition, payload: Vec<u8>) {
        let cut = self.append_entry(partition, position, payload).expect("the entry was made here");
        assert!(cut.is_empty(), "a leader replaces nothing");
    }

    /// Records a group's new term and vote.
    pub fn set_hard_state(&mut self, partition: PartitionId, hard_state: HardState) {
        self.log.set_hard_state(stream_of(partition), hard_state);
    }

    /// A group's term and vote, as of what was handed out to be written.
    ///
    /// # Panics
    /// If this core does not own the partition.
    #[must_use]
    pub fn hard_state(&self, partition: PartitionId) -> HardState {
        self.log.stream(stream_of(partition)).expect("the streams of owned partitions are attached").hard_state
    }

    /// Asks that `token` come out of [`take_stored`](Self::take_stored) once all that was given to the log so far is durable.
    pub fn report_when_durable(&mut self, partition: PartitionId, token: u64) {
        if !self.log.report_when_durable(stream_of(partition), token) {
            self.stored_tokens.push((partition, token));
        }
    }

    /// What was asked for by [`report_when_durable`](Self::report_when_durable) and is durable now.
    pub fn take_stored(&mut self) -> Vec<(PartitionId, u64)> {
        std::mem::take(&mut self.stored_tokens)
    }

    /// Learns that the log on this disk is what it is in memory up to here: what is applied of it may be flushed.
    pub fn set_stored(&mut self, partition: PartitionId, through: LogPosition) {
        self.replicated(partition).stored(through);
        self.growth_due = true;
    }

    /// Learns that entries are committed, and applies them.
    pub fn commit(&mut self, partition: PartitionId, through: LogIndex, outcomes: &mut Vec<Outcome>) {
        let owned = self.partitions.get_mut(&partition).expect("this core owns the partition");
        account(&mut self.memtable_bytes, owned, |owned| owned.commit(through, outcomes));
        self.growth_due = true;
    }

    /// Applies entries that a quorum has in memory, and that are not committed: they may yet be [cut](Self::cut_applied).
    ///
    /// # Panics
    /// If what is applied was cut.
    pub fn apply_received(&mut self, partition: PartitionId, through: LogIndex, outcomes: &mut Vec<Outcome>) {
        let owned = self.partitions.get_mut(&partition).expect("this core owns the partition");
        let frozen = owned.tree.frozen_through();
        account(&mut self.memtable_bytes, owned, |owned| owned.apply_received(through, outcomes));
        self.maintenance_due |= owned.tree.frozen_through() != frozen;
        self.growth_due = true;
    }

    /// Learns that entries from `first` on will be replaced. Answers whether some of them were [applied](Self::apply_received): then nothing is to be applied or read
    /// until tables of another replica [are in place](Self::finish_replacing).
    ///
    /// # Panics
    /// If one of them is committed.
    pub fn cut_applied(&mut self, partition: PartitionId, first: LogIndex) -> bool {
        let owned = self.replicated(partition);
        let is_applied = owned.applied().index >= first;
        owned.cut_applied(first);
        is_applied
    }

    /// Lets entries go that no follower needs any more.
    ///
    /// # Panics
    /// If one of them is not [secured](Partition::secured).
    pub fn truncate_entries(&mut self, partition: PartitionId, through: LogIndex) {
        self.replicated(partition).truncate_entries(through);
    }

    /// Has more of what is applied go into tables, so that fewer entries need be kept.
    ///
    /// # Panics
    /// If this core does not own the partition.
    pub fn secure(&mut self, partition: PartitionId) {
        let owned = self.partitions.get_mut(&partition).expect("this core owns the partition");
        let frozen = owned.tree.frozen_through();
        account(&mut self.memtable_bytes, owned, Partition::secure);
        self.maintenance_due |= owned.tree.frozen_through() != frozen;
    }

    /// Whether this replica leads: only a leader proposes that time has passed.
    pub fn set_leading(&mut self, partition: PartitionId, is_leading: bool) {
        self.replicated(partition).is_leading = is_leading;
    }
}
