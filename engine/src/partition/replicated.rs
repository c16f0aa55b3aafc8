//! A partition whose replicas decide together: what consensus asks of it.
//!
//! ```text
//! propose ── seal ──► first_sealed ──► (consensus gives it a place) ──► place_sealed ──► the log
//! append (from a leader) ──► the log
//! stored, committed (as consensus learns) ──► apply
//! received by a quorum, not committed yet, and somebody waits for no more ──► apply ahead ──► settled by the commit, or cut
//! ```
//!
//! What is applied is flushed only once it is committed and this disk has it. If what was applied ahead is cut, which takes the crash of several nodes at once, the
//! memtables hold what never was: the partition rests until another replica's tables take their place, or the process starts anew from its own disk.

use super::replica::{ReplicaEntry, ReplicaLog, SealedProposal};
use super::state_hash::RecentHashes;
use super::{Feed, NextDeadline, Outcome, Partition, ProposedEntry, StoredState};
use crate::command::Entry;
use crate::env::Environment;
use crate::ids::{LogIndex, LogPosition, LogTime};
use crate::row::{Keyspace, Row, RowKey, RowKind};

/// The row of [`Keyspace::Meta`] that holds the group's members.
pub(super) const MEMBERSHIP_KEY: &[u8] = b"membership";

impl<E: Environment> Partition<E> {
    fn replica(&self) -> &ReplicaLog {
        match &self.feed {
            Feed::Replicated(replica) => replica,
            Feed::Alone(_) => panic!("partition {} has no other replicas", self.id),
        }
    }

    fn replica_mut(&mut self) -> &mut ReplicaLog {
        match &mut self.feed {
            Feed::Replicated(replica) => replica,
            Feed::Alone(_) => panic!("partition {} has no other replicas", self.id),
        }
    }

    /// Whether its replicas decide together.
    #[must_use]
    pub fn is_replicated(&self) -> bool {
        matches!(self.feed, Feed::Replicated(_))
    }

    /// The group's members as the last applied entry that changed them says; empty if none did. Opaque to the engine.
    #[must_use]
    pub fn membership(&self) -> &[u8] {
        &self.membership
    }

    /// The last entry that is not kept for followers any more.
    #[must_use]
    pub fn truncated(&self) -> LogPosition {
        self.replica().truncated()
    }

    /// The last entry, committed or not.
    #[must_use]
    pub fn last(&self) -> LogPosition {
        self.replica().last()
    }

    /// The rolling hash of what was applied as of `index`, if that is one of the last [`HASHES_KEPT`](super::HASHES_KEPT) entries.
    #[must_use]
    pub fn state_hash_at(&self, index: LogIndex) -> Option<u64> {
        self.recent_hashes.at(index)
    }

    /// The rolling hashes that are known, up to `through`, and the index of the first.
    pub fn state_hashes_through(&self, through: LogIndex) -> (LogIndex, impl Iterator<Item = u64> + '_) {
        self.recent_hashes.through(through)
    }

    /// The memory of the entries that are kept, bytes.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.replica().bytes()
    }

    /// The bytes of an entry, if it is kept.
    #[must_use]
    pub fn entry(&self, index: LogIndex) -> Option<&[u8]> {
        self.replica().entry(index).map(|entry| entry.payload.as_slice())
    }

    /// The entries that are kept, in order.
    pub fn entries(&self) -> impl Iterator<Item = (LogPosition, &[u8])> {
        self.replica().entries().map(|entry| (entry.position, entry.payload.as_slice()))
    }

    pub(crate) fn first_sealed(&self) -> Option<&SealedProposal> {
        match &self.feed {
            Feed::Replicated(replica) => replica.first_sealed(),
            Feed::Alone(_) => None,
        }
    }

    pub(crate) fn place_sealed(&mut self, position: LogPosition) -> &ReplicaEntry {
        self.replica_mut().place_sealed(position)
    }

    pub(crate) fn abandon_proposals(&mut self) -> Vec<ProposedEntry> {
        self.is_dirty = false;
        self.replica_mut().abandon()
    }

    /// Adds an entry that recovery found or a leader sent, in place of those that had its index and later ones; answers what was proposed here and is gone.
    pub(crate) fn append(&mut self, position: LogPosition, payload: Vec<u8>, log_time: LogTime) -> Vec<ProposedEntry> {
        assert!(position.index > self.applied.index, "entry {position:?} would replace what is applied");
        let before = position.index.0 - 1;
        if self.durable.index.0 > before {
            self.durable = self.applied;
        }
        self.replica_mut().append(position, payload, log_time)
    }

    pub(crate) fn log_time_at(&self, now: LogTime) -> LogTime {
        self.replica().log_time_at(now)
    }

    /// The log on this disk is what it is in memory up to here.
    pub(crate) fn stored(&mut self, through: LogPosition) {
        assert!(through.index <= self.settled().index, "{through:?} may yet be cut");
        self.durable = through;
    }

    /// Applies what is committed.
    pub(crate) fn commit(&mut self, through: LogIndex, outcomes: &mut Vec<Outcome>) {
        self.settle(through, outcomes);
        self.apply_entries(through, true, outcomes);
    }

    /// Up to where the tables go, or will without anything more being committed. Followers that lag need tables from there on, and the commit may need those followers:
    /// entries behind it must be kept.
    #[must_use]
    pub fn secured(&self) -> LogIndex {
        let settled = self.settled().index;
        if self.has_applied_received { self.tree.frozen_within(settled) } else { settled }
    }

    /// Freezes the active memtable, so that more is [secured](Self::secured), unless one waits for a commit already.
    pub(crate) fn secure(&mut self) {
        if self.tree.frozen_through().index <= self.settled().index
            && self.applied.index > self.tree.frozen_through().index
        {
            self.freeze();
        }
    }

    /// Applies what a quorum has in memory.
    pub(crate) fn apply_received(&mut self, through: LogIndex, outcomes: &mut Vec<Outcome>) {
        if !self.has_applied_received && through > self.applied.index {
            // Before any row that waits for a commit is among them, the rows of entries that are not kept any more go their own way.
            self.secure();
            self.has_applied_received = true;
        }
        self.apply_entries(through, false, outcomes);
    }

    /// Entries from `first` on are cut from the log, and some were applied ahead.
    pub(crate) fn cut_applied(&mut self, first: LogIndex) {
        assert!(first > self.settled().index, "{first} is committed");
        if self.applied.index >= first {
            // What was applied before it is not committed either, and may be cut as well.
            self.applied = self.settled();
            self.ahead.clear();
            self.is_cut = true;
        }
    }

    fn apply_entries(&mut self, through: LogIndex, is_committed: bool, outcomes: &mut Vec<Outcome>) {
        assert!(!self.is_cut || self.applied.index >= through, "nothing is applied to rows that never were");
        while self.applied.index < through {
            let index = self.applied.index.next();
            let entry = self.replica().entry(index).expect("entries are kept until they are applied");
            let (position, proposed) = (entry.position, entry.proposed);
            // The entry is lent out while it is applied: applying changes everything but the log.
            let payload = std::mem::take(&mut self.replica_mut().entry_mut(index).payload);
            let decoded = Entry::decode(&payload).expect("entries are checked before they are appended");
            let outcome = self.apply(position, &decoded, proposed, is_committed);
            self.replica_mut().entry_mut(index).payload = payload;
            outcomes.push(outcome);
        }
    }

    /// Tables that another replica sent are in place of the tree, and hold all through `through`. Answers what was proposed here and is gone, or in the tables.
    pub(crate) fn install_replacement(&mut self, through: LogPosition, state: StoredState) -> Vec<ProposedEntry> {
        assert!(
            through.index > self.settled().index,
            "{through:?} would take back what is applied: {:?}",
            self.settled()
        );
        let log_time = state.counters.log_time;
        self.install_tables(through, state);
        self.replica_mut().reset(through, log_time)
    }

    /// Tables of another replica are in place of the tree's own, and hold all through `through`. The log goes on as it is: what follows is to be applied. Answers
    /// what was proposed here and is in the tables: of it there will be no outcome.
    pub(crate) fn install_repair(&mut self, through: LogPosition, state: StoredState) -> Vec<ProposedEntry> {
        let settled = self.settled();
        assert!(through.index >= settled.index, "{through:?} would take back what is applied: {settled:?}");
        assert!(through.index <= self.last().index, "{through:?} is behind the log's end at {:?}", self.last());
        let skipped = settled.index.next()..=through.index;
        let entries = self.replica().entries().filter(|entry| skipped.contains(&entry.position.index));
        let proposed = entries.filter_map(|entry| entry.proposed).collect();
        self.install_tables(through, state);
        proposed
    }

    fn install_tables(&mut self, through: LogPosition, StoredState { counters, membership, sessions }: StoredState) {
        self.tree.install_replacement();
        // Readers held revisions of rows that are gone.
        self.snapshots.release_all();
        (self.counters, self.durable_counters) = (counters, counters);
        self.recent_hashes = RecentHashes::new(through.index, counters.state_hash);
        (self.applied, self.durable) = (through, through);
        self.ahead.clear();
        (self.is_cut, self.has_applied_received) = (false, false);
        self.next_deadline = NextDeadline::Unknown;
        self.membership = membership;
        self.sessions = sessions;
    }

    pub(crate) fn truncate_entries(&mut self, through: LogIndex) {
        assert!(
            through <= self.secured(),
            "{through} is truncated, and {} in tables or on its way there",
            self.secured()
        );
        self.replica_mut().truncate(through);
    }

    pub(super) fn apply_membership(&mut self, membership: &[u8]) {
        self.membership = membership.to_vec();
        let row_key = RowKey { keyspace: Keyspace::Meta, key: MEMBERSHIP_KEY, revision: self.counters.revision };
        let value_crc = crc32fast::hash(membership);
        self.put(&Row { row_key, kind: RowKind::Value, deadline: None, value_crc, value: membership }, None);
    }
}
