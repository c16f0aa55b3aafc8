//! One replica of one partition's group: consensus, and the reads that wait for it.
//!
//! Owned by the core that has the partition. Bounds: reads by what their connections may have in flight; entries by
//! [`Cluster::entry_bytes_kept_max`].

use std::collections::{BTreeMap, VecDeque};

use corelode_engine::env::Environment;
use corelode_engine::ids::{self, PartitionId};
use corelode_engine::log::HardState;
use corelode_engine::partition::Durability;
use corelode_engine::store::Store;
use corelode_raft::{
    Accepted, Config, EntryInfo, Input, LogIndex, LogPosition, NodeId, Output, OwnEntryKind, Raft, ReadId, Refused,
    Restart, Term, Time,
};

use super::comparison::Divergence;
use super::members::{self, Members};
use super::transfer::PINNED_TIMES_MAX;
use crate::cluster::Cluster;
use crate::shard::Parked;

/// Reads that arrived in one turn.
struct ReadBatch {
    id: ReadId,
    reads: Vec<Parked>,
    /// Once the leader is known to have led: they see all up to here.
    index: Option<LogIndex>,
}

/// A replica.
pub(crate) struct Group {
    pub(crate) partition: PartitionId,
    node: NodeId,
    pub(crate) raft: Raft,
    /// Reads of this turn.
    new_reads: Vec<Parked>,
    /// Reads of earlier turns, oldest first.
    waiting_reads: VecDeque<ReadBatch>,
    last_read: ReadId,
    /// It is among those that this turn has to look at.
    pub(crate) is_active: bool,
    /// When it asked to be looked at next.
    pub(crate) tick_at: Option<Time>,
    /// Another replica's tables are being put in place of its own: it hears and does nothing meanwhile.
    pub(crate) is_replacing: bool,
    /// The members as of what is applied.
    pub(crate) members: Members,
    members_encoded: Vec<u8>,
    /// The incarnations of nodes that were let in.
    pub(crate) met: BTreeMap<NodeId, u64>,
    /// Its tables are damaged: it applies nothing and answers nobody, unless there is nobody else to lead.
    pub(crate) is_damaged: bool,
    /// What it had applied from memory was cut: its rows never were. It is damaged as well, and applies nothing even if there is nobody else to lead.
    pub(crate) is_cut: bool,
    /// The last entry whose hash the leader was told.
    pub(crate) hash_reported: ids::LogIndex,
    pub(crate) divergence: Divergence,
    /// The bytes of entries that are kept for followers that lag. One that lags by more is sent tables.
    entry_bytes_kept_max: usize,
}

impl Group {
    /// The replica as the store has it.
    ///
    /// # Panics
    /// If the store holds members that cannot be read: they were checked when they were stored.
    pub(crate) fn new<E: Environment>(
        cluster: &Cluster,
        met: &BTreeMap<NodeId, u64>,
        store: &Store<E>,
        partition: PartitionId,
        now: Time,
    ) -> Self {
        let owned = store.partition(partition).expect("this core owns the partition");
        let members = stored_members(cluster, partition, owned.membership());
        let hard_state = store.hard_state(partition);
        let entries = owned.entries().map(|(position, payload)| entry_info(position, payload));
        let restart = Restart {
            hard_state: corelode_raft::HardState {
                term: Term(hard_state.term.0),
                vote: (hard_state.vote > 0).then_some(NodeId(hard_state.vote)),
            },
            truncated: raft_position(owned.truncated()),
            membership: members.membership.clone(),
            entries: entries.collect::<Result<_, _>>().expect("entries are checked when the directory is opened"),
            committed: LogIndex(owned.applied().index.0),
        };
        let seed = cluster.boot ^ u64::from(partition.0).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ cluster.node.0;
        let config = Config {
            election_timeout: cluster.election_timeout,
            election_spread: cluster.election_timeout / 2,
            heartbeat_interval: cluster.election_timeout / 10,
            is_unanimous_at_first: owned.membership().is_empty(),
            may_fall_silent: true,
            ..Config::new(cluster.node, seed)
        };
        Self {
            partition,
            node: cluster.node,
            raft: Raft::new(config, restart, now),
            new_reads: Vec::new(),
            waiting_reads: VecDeque::new(),
            last_read: ReadId(0),
            is_active: false,
            tick_at: None,
            is_replacing: false,
            members,
            members_encoded: owned.membership().to_vec(),
            met: met.clone(),
            is_damaged: false,
            is_cut: false,
            hash_reported: ids::LogIndex(0),
            divergence: Divergence::default(),
            entry_bytes_kept_max: cluster.entry_bytes_kept_max,
        }
    }

    /// Whether this replica leads.
    pub(crate) fn is_leading(&self) -> bool {
        self.raft.is_leader()
    }

    /// Entries were applied, or tables put in place: who the members are may have changed. Answers whether it did.
    pub(crate) fn note_members<E: Environment>(&mut self, cluster: &Cluster, store: &Store<E>) -> bool {
        let encoded = store.partition(self.partition).expect("owned").membership();
        let is_changed = encoded != self.members_encoded;
        if is_changed {
            self.members_encoded = encoded.to_vec();
            self.members = stored_members(cluster, self.partition, encoded);
        }
        is_changed
    }

    /// Whether a node must not take part because this group counts on its vote with another data directory. Of the entries that say who the members are only the last may
    /// come to nothing: a leader makes none before the one before is committed. So it is that one, and the one before it, that count.
    pub(crate) fn is_stranger<E: Environment>(&self, store: &Store<E>, node: NodeId, incarnation: u64) -> bool {
        let owned = store.partition(self.partition).expect("owned");
        let unapplied = owned.entries().filter(|(position, _)| position.index > owned.applied().index);
        let entries = unapplied.filter_map(|(_, payload)| corelode_engine::store::check_entry(payload).ok());
        let changes = entries.filter_map(|entry| members::decode(entry.membership?).ok());
        let mut chain = vec![self.members.clone()];
        chain.extend(changes);
        chain.iter().rev().take(2).any(|members| members.is_stranger(node, incarnation))
    }

    /// Whether what is committed may be applied. A leader whose tables are damaged goes on, until another leads: applying reads no tables.
    pub(crate) fn may_apply(&self) -> bool {
        !self.is_replacing && !self.is_cut && (!self.is_damaged || self.is_leading())
    }

    /// Whether it answers nobody: its rows are damaged, or never were.
    pub(crate) fn is_fenced(&self) -> bool {
        self.is_cut || self.is_damaged && !self.is_leading()
    }

    /// Whether it is known with which data directories its voters vote. Until then nothing is served: the loss of one node would leave the others without a leader.
    pub(crate) fn is_bound(&self) -> bool {
        let voters = self.members.membership.voters();
        voters.iter().all(|node| self.members.incarnations.contains_key(node))
    }

    /// Whether somebody else may lead.
    pub(crate) fn has_other_voters(&self) -> bool {
        !self.raft.membership().is_sole_voter(self.node)
    }

    /// Takes an input, and stores at once what follows from it for the log.
    pub(crate) fn step<E: Environment>(
        &mut self,
        store: &mut Store<E>,
        now: Time,
        wall_ms: u64,
        input: Input,
    ) -> Result<Accepted, Refused> {
        let accepted = self.raft.step(now, input)?;
        self.store_own_entries(store, wall_ms);
        Ok(accepted)
    }

    /// Entries that consensus itself has added take their place before any other is proposed.
    fn store_own_entries<E: Environment>(&mut self, store: &mut Store<E>, wall_ms: u64) {
        for own in self.raft.take_own_entries() {
            let position = engine_position(own.position);
            match own.kind {
                OwnEntryKind::FirstOfTerm => store.append_empty(self.partition, position, wall_ms),
                OwnEntryKind::Membership(membership) => {
                    let known = |node| self.met.get(&node).or_else(|| self.members.incarnations.get(&node)).copied();
                    store.append_membership(self.partition, position, wall_ms, &members::encode(&membership, known));
                }
            }
        }
    }

    /// A linearizable read waits for its turn's round.
    pub(crate) fn push_read(&mut self, read: Parked) {
        self.new_reads.push(read);
    }

    /// Gives what was proposed in this turn its place in the log. If that is refused, nothing of it will ever happen.
    pub(crate) fn propose<E: Environment>(&mut self, store: &mut Store<E>, now: Time) -> Result<(), Refused> {
        while let Some((length, durability)) = store.first_sealed(self.partition) {
            let bytes = u32::try_from(length).expect("entries are far shorter");
            let is_receipt_awaited = durability == Durability::Memory;
            match self.raft.step(now, Input::Propose { bytes, is_receipt_awaited })? {
                Accepted::Entry(position) => store.place_sealed(self.partition, engine_position(position)),
                other => unreachable!("a proposal is an entry: {other:?}"),
            }
        }
        Ok(())
    }

    /// Has consensus confirm this turn's reads, all in one.
    pub(crate) fn ask_for_reads(&mut self, now: Time) {
        if self.new_reads.is_empty() {
            return;
        }
        let id = self.last_read.next();
        if self.raft.step(now, Input::Read(id)).is_ok() {
            self.last_read = id;
            let reads = std::mem::take(&mut self.new_reads);
            self.waiting_reads.push_back(ReadBatch { id, reads, index: None });
        }
    }

    /// Ends the turn: stores the hard state, and asks to be told when all is durable.
    pub(crate) fn end_turn<E: Environment>(&mut self, store: &mut Store<E>, now: Time, output: &mut Output) {
        self.raft.end_turn(now, output);
        debug_assert!(output.own_entries.is_empty(), "they were stored with the input that they followed from");
        if let Some(hard_state) = output.hard_state {
            let vote = hard_state.vote.map_or(0, |node| node.0);
            store.set_hard_state(self.partition, HardState { term: ids::Term(hard_state.term.0), vote });
        }
        if let Some(persist) = output.persist {
            store.report_when_durable(self.partition, persist.0);
        }
        for ready in &output.reads {
            if let Some(batch) = self.waiting_reads.iter_mut().find(|batch| batch.id == ready.id) {
                batch.index = Some(ready.index);
            }
        }
    }

    /// The log is stored further: what was applied of it may be flushed.
    pub(crate) fn note_stored<E: Environment>(&self, store: &mut Store<E>) {
        let log = self.raft.log();
        let settled = store.partition(self.partition).expect("owned").settled();
        let stored = log.stored().min(LogIndex(settled.index.0));
        if let Some(position) = log.position_at(stored) {
            store.set_stored(self.partition, engine_position(position));
        }
    }

    /// The reads that may be carried out now that all up to `applied` is applied.
    pub(crate) fn ready_reads(&mut self, applied: LogIndex) -> Vec<Parked> {
        let mut ready = Vec::new();
        while let Some(batch) =
            self.waiting_reads.pop_front_if(|batch| batch.index.is_some_and(|index| index <= applied))
        {
            ready.extend(batch.reads);
        }
        ready
    }

    /// All reads that wait: this replica cannot answer them any more.
    pub(crate) fn abandon_reads(&mut self) -> Vec<Parked> {
        let waiting = self.waiting_reads.drain(..).flat_map(|batch| batch.reads);
        waiting.chain(self.new_reads.drain(..)).collect()
    }

    /// Takes out the reads whose deadline has passed.
    pub(crate) fn expire_reads(&mut self, now_ms: u64, mut expired: impl FnMut(Parked)) {
        let batches = self.waiting_reads.iter_mut().map(|batch| &mut batch.reads);
        for reads in batches.chain([&mut self.new_reads]) {
            for read in reads.extract_if(.., |read| read.request.deadline_ms <= now_ms) {
                expired(read);
            }
        }
    }

    /// How many reads wait.
    pub(crate) fn reads_waiting(&self) -> usize {
        self.new_reads.len() + self.waiting_reads.iter().map(|batch| batch.reads.len()).sum::<usize>()
    }

    /// Lets entries go that every follower has, or that are too many; but none behind `pinned`, unless they are far too many.
    pub(crate) fn truncate<E: Environment>(&mut self, store: &mut Store<E>, now: Time, pinned: Option<LogIndex>) {
        let owned = store.partition(self.partition).expect("owned");
        if owned.kept_bytes() <= self.entry_bytes_kept_max / 4 {
            return;
        }
        let (settled, secured) = (owned.settled().index, owned.secured());
        if secured < settled && owned.kept_bytes() > self.entry_bytes_kept_max {
            store.secure(self.partition);
        }
        let owned = store.partition(self.partition).expect("owned");
        let stored = LogIndex(owned.secured().0).min(self.raft.log().stored());
        let everywhere = self.raft.followers().map(|(_, progress)| progress.matched()).min().unwrap_or(stored);
        let through = if owned.kept_bytes() > self.entry_bytes_kept_max { stored } else { stored.min(everywhere) };
        let is_pinning = owned.kept_bytes() <= self.entry_bytes_kept_max * PINNED_TIMES_MAX;
        let through = pinned.filter(|_| is_pinning).map_or(through, |pinned| through.min(pinned));
        if through > self.raft.log().truncated().index {
            let _ = self.raft.step(now, Input::Truncate(through));
            store.truncate_entries(self.partition, ids::LogIndex(self.raft.log().truncated().index.0));
        }
    }

    /// Entries that are not known to be committed.
    pub(crate) fn entries_uncommitted(&self) -> u64 {
        let log = self.raft.log();
        log.last().index.0 - log.committed().0
    }

    /// Who leads, as far as this replica knows.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        self.raft.status().leader
    }
}

/// The members that a store has of a partition; those that it began with, if none were stored.
pub(crate) fn stored_members(cluster: &Cluster, partition: PartitionId, stored: &[u8]) -> Members {
    if stored.is_empty() {
        Members::unbound(cluster.membership(partition))
    } else {
        members::decode(stored).expect("members are checked before they are stored")
    }
}

/// What consensus knows of an entry.
///
/// # Errors
/// The bytes are no entry.
pub(crate) fn entry_info(position: ids::LogPosition, payload: &[u8]) -> Result<EntryInfo, String> {
    let entry = corelode_engine::store::check_entry(payload)?;
    let members = entry.membership.map(members::decode).transpose()?;
    let membership = members.map(|members| Box::new(members.membership));
    let bytes = u32::try_from(payload.len()).map_err(|_| "the entry is too long".to_owned())?;
    Ok(EntryInfo { term: Term(position.term.0), bytes, membership })
}

pub(crate) fn engine_position(position: LogPosition) -> ids::LogPosition {
    ids::LogPosition { term: ids::Term(position.term.0), index: ids::LogIndex(position.index.0) }
}

pub(crate) fn raft_position(position: ids::LogPosition) -> LogPosition {
    LogPosition { term: Term(position.term.0), index: LogIndex(position.index.0) }
}
