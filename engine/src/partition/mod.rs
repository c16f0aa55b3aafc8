//! A partition: a replicated state machine whose whole state is rows of one tree.
//!
//! Commands are proposed to the partition's stream of the log, and applied in order once they are durable (or at once, where a
//! write asked for no more than memory). Applying is synchronous and depends on nothing but the entry and the state: it puts rows into
//! the active memtable and writes nothing.
//!
//! Owned by one core. Bounds: proposals by the log's pending bytes, rows by the core's memory budget, snapshots by number and time.

mod assembly;
mod proposals;
mod replica;
mod replicated;
mod sessions;
mod snapshots;
mod state_hash;
mod stored;

use std::collections::VecDeque;
use std::path::PathBuf;

use crate::block_cache::BlockCache;
use crate::bugs::{self, Bug};
use crate::command::{Change, Command, Entry, SessionStamp};
use crate::cursor::Stop;
use crate::env::Environment;
use crate::ids::{LogIndex, LogPosition, LogTime, PartitionId, ReadPoint, Revision, SlotRange, StreamId};
use crate::log::LogWriter;
use crate::row::{Keyspace, Row, RowKey, RowKind};
use crate::tree::{ReadOptions, Tree, Walk};

pub(crate) use proposals::Proposals;
use sessions::{Sessions, Verdict};
use state_hash::RecentHashes;

pub use proposals::{Durability, Proposal, ProposedEntry};
pub(crate) use replica::ReplicaLog;
pub use snapshots::SnapshotId;
pub(crate) use snapshots::Snapshots;
pub use state_hash::HASHES_KEPT;
pub(crate) use stored::{StoredState, read_stored_state};

/// The row of [`Keyspace::Meta`] that holds the counters, written with each flush.
const COUNTERS_KEY: &[u8] = b"counters";
/// At most one entry that only advances log time in so many milliseconds.
const TIME_ENTRY_INTERVAL_MS: u64 = 10;

/// What changes with every command: in memory between flushes, a row of [`Keyspace::Meta`] in each, rebuilt by replay.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counters {
    /// The last command's revision.
    pub revision: Revision,
    /// The newest entry's log time.
    pub log_time: LogTime,
    /// The rolling hash of what was applied, where replicas compare it; otherwise zero.
    pub state_hash: u64,
}

impl Counters {
    fn encode(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.revision.0.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.log_time.0.to_le_bytes());
        bytes[16..].copy_from_slice(&self.state_hash.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (&[revision, log_time, state_hash], []) = bytes.as_chunks::<8>() else { return None };
        Some(Self {
            revision: Revision(u64::from_le_bytes(revision)),
            log_time: LogTime(u64::from_le_bytes(log_time)),
            state_hash: u64::from_le_bytes(state_hash),
        })
    }
}

/// An entry that was applied: its commands' revisions, and whether they may be answered as durable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// The partition.
    pub partition: PartitionId,
    /// The entry.
    pub index: LogIndex,
    /// The same, if it was proposed here since the start.
    pub entry: Option<ProposedEntry>,
    /// The revision of its first command; command *n* has `n` more.
    pub first_revision: Revision,
    /// The number of commands.
    pub command_count: u32,
    /// Commands that were not applied, in order.
    pub exceptions: Vec<Exception>,
    /// `false`: applied and in memory; an outcome with `true` follows. `true`: durable.
    pub is_durable: bool,
}

/// A command that was not applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exception {
    /// Its place in the entry.
    pub ordinal: u32,
    /// Why.
    pub kind: ExceptionKind,
}

/// Why a command was not applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExceptionKind {
    /// It was applied before.
    Repeated {
        /// What it got then.
        revision: Revision,
    },
    /// Its session is gone, or does not remember: it may have been applied.
    SessionExpired,
    /// Another command of the session had its number.
    SequenceReused,
}

/// The state as of an entry that was applied before it was durable or committed.
#[derive(Clone, Debug)]
struct AppliedAhead {
    /// The entry before it.
    before: LogPosition,
    outcome: Outcome,
    counters: Counters,
}

/// The next deadline of a partition, as far as it is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NextDeadline {
    /// It must be looked up in [`Keyspace::Deadline`].
    Unknown,
    /// No row has a deadline in the future.
    Never,
    /// At this log time.
    At(LogTime),
}

/// Where a partition's entries come from.
enum Feed {
    /// It has no other replicas: what is durable is committed.
    Alone(Proposals),
    /// Its replicas decide together; the driver says what is stored and committed.
    Replicated(Box<ReplicaLog>),
}

/// A partition of a core.
pub struct Partition<E: Environment> {
    id: PartitionId,
    stream: StreamId,
    feed: Feed,
    pub(crate) tree: Tree<E>,
    pub(crate) snapshots: Snapshots,
    counters: Counters,
    /// What is known durable: what readers may see.
    durable: LogPosition,
    durable_counters: Counters,
    applied: LogPosition,
    ahead: VecDeque<AppliedAhead>,
    /// Entries were applied before they were committed, since the tables were put in place: memtables may hold what waits for a commit.
    has_applied_received: bool,
    /// Some of what was applied ahead was taken back by another leader: the rows are not to be used until another replica's take their place.
    is_cut: bool,
    next_deadline: NextDeadline,
    time_proposed_at_ms: u64,
    pub(crate) is_dirty: bool,
    /// Whether it may propose by itself that time has passed.
    pub(crate) is_leading: bool,
    membership: Vec<u8>,
    sessions: Sessions,
    /// Of a partition whose replicas decide together.
    recent_hashes: RecentHashes,
}

/// What a partition is opened with.
pub(crate) struct PartitionStart<E: Environment> {
    pub(crate) id: PartitionId,
    pub(crate) stream: StreamId,
    pub(crate) tree: Tree<E>,
    pub(crate) flushed: LogPosition,
    /// The state beside the rows as of `flushed`.
    pub(crate) state: StoredState,
    pub(crate) is_replicated: bool,
}

/// A row's answer to a point read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    /// The revision that wrote the value.
    pub revision: Revision,
    /// When it stops being visible.
    pub deadline: Option<LogTime>,
    /// The writer's CRC-32 of the value.
    pub value_crc: u32,
}

/// What a point read found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The value's facts; `None` if the key is absent. The value itself went to the caller's buffer.
    pub found: Option<Found>,
    /// Whether a crash could still take back what was seen; a linearizable read waits until it cannot.
    pub is_durable: bool,
}

impl<E: Environment> Partition<E> {
    pub(crate) fn new(start: PartitionStart<E>) -> Self {
        let StoredState { counters, membership, sessions } = start.state;
        Self {
            id: start.id,
            stream: start.stream,
            feed: if start.is_replicated {
                Feed::Replicated(Box::new(ReplicaLog::new(start.flushed, counters.log_time)))
            } else {
                Feed::Alone(Proposals::new(start.flushed, counters.log_time))
            },
            membership,
            sessions,
            recent_hashes: RecentHashes::new(start.flushed.index, counters.state_hash),
            is_leading: !start.is_replicated,
            tree: start.tree,
            snapshots: Snapshots::default(),
            counters,
            durable: start.flushed,
            durable_counters: counters,
            applied: start.flushed,
            ahead: VecDeque::new(),
            has_applied_received: false,
            is_cut: false,
            next_deadline: NextDeadline::Unknown,
            time_proposed_at_ms: 0,
            is_dirty: false,
        }
    }

    /// The partition's number.
    #[must_use]
    pub fn id(&self) -> PartitionId {
        self.id
    }

    /// The slots it answers for.
    #[must_use]
    pub fn slots(&self) -> SlotRange {
        self.tree.slots()
    }

    /// The last entry that is durable.
    #[must_use]
    pub fn durable(&self) -> LogPosition {
        self.durable
    }

    /// The last entry that was applied.
    #[must_use]
    pub fn applied(&self) -> LogPosition {
        self.applied
    }

    /// The last entry that was applied and cannot be taken back: where replicas decide together, the last of those that are committed.
    #[must_use]
    pub fn settled(&self) -> LogPosition {
        self.ahead.front().map_or(self.applied, |ahead| ahead.before)
    }

    /// What a read sees that starts now.
    #[must_use]
    pub fn read_point(&self) -> ReadPoint {
        ReadPoint { revision: self.counters.revision, log_time: self.counters.log_time }
    }

    /// Whether everything applied is durable.
    #[must_use]
    pub fn is_all_durable(&self) -> bool {
        self.ahead.is_empty()
    }

    /// Sessions of clients.
    pub(crate) fn session_count(&self) -> usize {
        self.sessions.count()
    }

    /// Where the partition's files are.
    #[must_use]
    pub fn directory(&self) -> &PathBuf {
        self.tree.directory()
    }

    /// Proposes a change of a key; it takes effect when an [`Outcome`] says so. `now_ms` is the machine's clock, `ttl_ms` counts
    /// from the entry's log time.
    ///
    /// # Panics
    /// If the key or value is longer than the limits.
    pub(crate) fn propose(
        &mut self,
        log: &mut LogWriter<E::File>,
        now_ms: u64,
        request: &Write<'_>,
        durability: Durability,
    ) -> Proposal {
        let now = LogTime(now_ms);
        let log_time = match &self.feed {
            Feed::Alone(proposals) => proposals.log_time_at(now),
            Feed::Replicated(replica) => replica.log_time_at(now),
        };
        let deadline = |ttl_ms: u64| LogTime(log_time.0.saturating_add(ttl_ms));
        let change = match request.change {
            WriteChange::Put { value, value_crc, ttl_ms } => {
                Change::Put { value, value_crc, deadline: ttl_ms.map(deadline) }
            }
            WriteChange::Delete => Change::Delete,
            WriteChange::OpenSession { ttl_ms } => Change::OpenSession { ttl_ms },
            WriteChange::CloseSession { session } => Change::CloseSession { session },
        };
        let command = Command { key: request.key, change, session: request.session };
        self.is_dirty = true;
        match &mut self.feed {
            Feed::Alone(proposals) => proposals.push(self.stream, log, now, &command, durability),
            Feed::Replicated(replica) => replica.push(now, &command, durability),
        }
    }

    /// Closes this turn's entry and applies what may be applied before it is durable.
    pub(crate) fn seal(&mut self, log: &mut LogWriter<E::File>, outcomes: &mut Vec<Outcome>) {
        self.is_dirty = false;
        match &mut self.feed {
            Feed::Replicated(replica) => replica.seal(),
            Feed::Alone(proposals) => {
                proposals.seal(self.stream, log);
                if bugs::is_planted(Bug::LogAcknowledgesBeforeSync) {
                    self.durable = proposals.last();
                }
                self.apply_applicable(outcomes);
            }
        }
    }

    /// Learns that the stream is durable through `through`, and applies what that allows.
    pub(crate) fn advance_durable(&mut self, through: LogPosition, outcomes: &mut Vec<Outcome>) {
        // Where replicas decide together it takes more than this disk, and what this disk has is told by whoever knows of terms.
        if matches!(self.feed, Feed::Replicated(_)) || bugs::is_planted(Bug::LogAcknowledgesBeforeSync) {
            return;
        }
        assert!(
            through.index >= self.durable.index,
            "durability never goes back: {through:?} after {:?}",
            self.durable
        );
        self.durable = through;
        self.settle(through.index, outcomes);
        self.apply_applicable(outcomes);
    }

    /// Entries that were applied ahead cannot be taken back any more.
    fn settle(&mut self, through: LogIndex, outcomes: &mut Vec<Outcome>) {
        while let Some(ahead) = self.ahead.pop_front_if(|ahead| ahead.outcome.index <= through) {
            self.durable_counters = ahead.counters;
            outcomes.push(Outcome { is_durable: true, ..ahead.outcome });
        }
    }

    fn apply_applicable(&mut self, outcomes: &mut Vec<Outcome>) {
        while let Feed::Alone(proposals) = &mut self.feed
            && let Some(entry) = proposals.pop_applicable(self.durable)
        {
            let is_durable = entry.position.index <= self.durable.index;
            let decoded = Entry::decode(&entry.payload).expect("the entry was encoded by this process");
            let proposed = Some(ProposedEntry(entry.position.index.0));
            let outcome = self.apply(entry.position, &decoded, proposed, is_durable);
            outcomes.push(outcome);
            if let Feed::Alone(proposals) = &mut self.feed {
                proposals.recycle(entry);
            }
        }
    }

    /// Applies an entry that recovery found in the log.
    pub(crate) fn replay(&mut self, position: LogPosition, entry: &Entry<'_>) {
        self.durable = position;
        self.apply(position, entry, None, true);
        self.feed = Feed::Alone(Proposals::new(position, self.counters.log_time));
    }

    fn apply(
        &mut self,
        position: LogPosition,
        entry: &Entry<'_>,
        proposed: Option<ProposedEntry>,
        is_durable: bool,
    ) -> Outcome {
        assert!(position.index == self.applied.index.next(), "entry {position:?} after {:?}", self.applied);
        let newest_pin = self.snapshots.newest_revision();
        let first_revision = self.counters.revision.next();
        // Log time comes first: a deadline within this entry counts from it.
        self.counters.log_time = self.counters.log_time.max(entry.log_time);
        if let Some(membership) = entry.membership {
            self.apply_membership(membership);
        }
        let mut exceptions = Vec::new();
        for (ordinal, command) in (0..).zip(entry.commands()) {
            self.counters.revision = self.counters.revision.next();
            if let Some(kind) = self.apply_once(&command, newest_pin) {
                exceptions.push(Exception { ordinal, kind });
            }
        }
        let before = std::mem::replace(&mut self.applied, position);
        if self.is_replicated() {
            let hash = state_hash::with_entry(self.counters.state_hash, position, self.counters.log_time, &exceptions);
            self.counters.state_hash = hash;
            self.recent_hashes.push(position.index, hash);
        }
        if self.next_deadline.is_due(self.counters.log_time) {
            self.next_deadline = NextDeadline::Unknown;
        }
        let outcome = Outcome {
            partition: self.id,
            index: position.index,
            entry: proposed,
            first_revision,
            command_count: entry.command_count,
            exceptions,
            is_durable,
        };
        if is_durable {
            self.durable_counters = self.counters;
        } else {
            self.ahead.push_back(AppliedAhead { before, outcome: outcome.clone(), counters: self.counters });
        }
        outcome
    }

    /// Applies a command, unless its session says that it was applied before or may have been. Every command takes a revision.
    fn apply_once(&mut self, command: &Command<'_>, newest_pin: Option<Revision>) -> Option<ExceptionKind> {
        let Some(stamp) = command.session else {
            self.apply_command(command, newest_pin);
            return None;
        };
        let body_hash = command.body_hash();
        match self.sessions.judge(stamp, body_hash, self.counters.log_time) {
            Verdict::Apply => {
                self.apply_command(command, newest_pin);
                self.sessions.done(stamp, body_hash, self.counters.revision);
                None
            }
            Verdict::Repeated(revision) => Some(ExceptionKind::Repeated { revision }),
            Verdict::Expired => Some(ExceptionKind::SessionExpired),
            Verdict::Reused => Some(ExceptionKind::SequenceReused),
        }
    }

    fn apply_command(&mut self, command: &Command<'_>, newest_pin: Option<Revision>) {
        let revision = self.counters.revision;
        let row_key = RowKey { keyspace: Keyspace::Data, key: command.key, revision };
        match command.change {
            Change::Put { value, value_crc, deadline } => {
                if let Some(deadline) = deadline {
                    self.insert_deadline(deadline, command.key, revision, newest_pin);
                }
                self.put(&Row { row_key, kind: RowKind::Value, deadline, value_crc, value }, newest_pin);
            }
            Change::Delete => {
                let row = Row { row_key, kind: RowKind::Tombstone, deadline: None, value_crc: 0, value: &[] };
                self.put(&row, newest_pin);
            }
            Change::OpenSession { ttl_ms } => self.sessions.open(revision.0, ttl_ms, self.counters.log_time),
            Change::CloseSession { session } => self.sessions.close(session),
        }
    }

    /// Puts a row that follows from an entry alone, as every replica does.
    fn put(&mut self, row: &Row<'_>, newest_pin: Option<Revision>) {
        if self.is_replicated() {
            self.counters.state_hash = state_hash::with_row(self.counters.state_hash, row);
        }
        self.tree.insert(row, newest_pin);
    }

    /// The index row goes by the same deadline as the value, so that compaction drops both.
    fn insert_deadline(&mut self, deadline: LogTime, key: &[u8], revision: Revision, newest_pin: Option<Revision>) {
        let mut index_key = Vec::with_capacity(8 + key.len());
        index_key.extend_from_slice(&deadline.0.to_be_bytes());
        index_key.extend_from_slice(key);
        let row_key = RowKey { keyspace: Keyspace::Deadline, key: &index_key, revision };
        let row = Row { row_key, kind: RowKind::Value, deadline: Some(deadline), value_crc: 0, value: &[] };
        self.put(&row, newest_pin);
        self.next_deadline = match self.next_deadline {
            NextDeadline::Never => NextDeadline::At(deadline),
            NextDeadline::At(known) => NextDeadline::At(known.min(deadline)),
            NextDeadline::Unknown => NextDeadline::Unknown,
        };
    }

    /// Reads a key at `point`; the value is appended to `value`.
    ///
    /// # Errors
    /// [`Stop::Miss`] if a block must be read first: the same read is then repeated. [`Stop::Corruption`] if one is damaged.
    pub(crate) fn get(
        &self,
        key: &[u8],
        point: ReadPoint,
        cache: &mut BlockCache,
        value: &mut Vec<u8>,
    ) -> Result<Answer, Stop<E::File>> {
        let mut answer = Answer { found: None, is_durable: true };
        self.tree.get(Keyspace::Data, key, point.revision, cache, |row| {
            answer.is_durable = self.is_row_durable(&row, point.log_time);
            if row.is_visible_at(point.log_time) {
                value.extend_from_slice(row.value);
                let Row { deadline, value_crc, .. } = row;
                answer.found = Some(Found { revision: row.row_key.revision, deadline, value_crc });
            }
        })?;
        Ok(answer)
    }

    /// Whether what a reader at `log_time` sees of the row outlives a crash: the row itself, and the passing of its deadline.
    fn is_row_durable(&self, row: &Row<'_>, log_time: LogTime) -> bool {
        let expired_ahead = row.is_expired_at(log_time) && !row.is_expired_at(self.durable_counters.log_time);
        row.row_key.revision <= self.durable_counters.revision && !expired_ahead
            || bugs::is_planted(Bug::ReadsTellWhatIsAhead)
    }

    /// Proposes an entry that advances log time, if a deadline is due and none was proposed just now.
    ///
    /// # Errors
    /// As [`get`](Self::get): the next deadline may have to be looked up.
    pub(crate) fn propose_time_if_due(&mut self, now_ms: u64, cache: &mut BlockCache) -> Result<(), Stop<E::File>> {
        if !self.is_leading || self.is_cut {
            return Ok(());
        }
        self.find_next_deadline(cache)?;
        let is_due = self.next_deadline.is_due(LogTime(now_ms));
        let waited = now_ms.saturating_sub(self.time_proposed_at_ms) >= TIME_ENTRY_INTERVAL_MS;
        if is_due && (waited || now_ms < self.time_proposed_at_ms) {
            self.time_proposed_at_ms = now_ms;
            match &mut self.feed {
                Feed::Alone(proposals) => proposals.push_time(LogTime(now_ms)),
                Feed::Replicated(replica) => replica.push_time(LogTime(now_ms)),
            }
            self.is_dirty = true;
        }
        Ok(())
    }

    /// When [`propose_time_if_due`](Self::propose_time_if_due) should be called next, milliseconds since the Unix epoch.
    pub(crate) fn next_deadline_ms(&self) -> Option<u64> {
        match self.next_deadline {
            _ if !self.is_leading || self.is_cut => None,
            NextDeadline::Unknown => Some(0),
            NextDeadline::Never => None,
            NextDeadline::At(LogTime(at)) => Some(at.max(self.time_proposed_at_ms + TIME_ENTRY_INTERVAL_MS)),
        }
    }

    fn find_next_deadline(&mut self, cache: &mut BlockCache) -> Result<(), Stop<E::File>> {
        if self.next_deadline != NextDeadline::Unknown {
            return Ok(());
        }
        let start = self.counters.log_time.next().0.to_be_bytes();
        let mut first = None;
        let options = ReadOptions {
            keyspace: Keyspace::Deadline,
            start: &start,
            end: None,
            point: self.read_point(),
            rows_walked_max: usize::MAX,
        };
        let walk = self.tree.scan(&options, cache, |row| {
            first = row.row_key.key.first_chunk::<8>().map(|bytes| LogTime(u64::from_be_bytes(*bytes)));
            false
        })?;
        if let Walk::Paused { miss: Some(read), .. } = walk {
            return Err(Stop::Miss(read));
        }
        self.next_deadline = first.map_or(NextDeadline::Never, NextDeadline::At);
        Ok(())
    }

    /// Whether the active memtable may become a table. Not if it holds what was taken back: then it goes when another replica's tables come.
    pub(crate) fn may_freeze(&self) -> bool {
        !self.is_cut
    }

    /// Freezes the active memtable with the counters and sessions as of the last entry applied, if it [may be](Self::may_freeze).
    pub(crate) fn freeze(&mut self) {
        if !self.may_freeze() {
            return;
        }
        for (session, value) in self.sessions.take_dirty() {
            if bugs::is_planted(Bug::SessionsLeftOut) {
                continue;
            }
            let (key, revision) = (session.to_be_bytes(), self.counters.revision);
            let row_key = RowKey { keyspace: Keyspace::Session, key: &key, revision };
            let kind = if value.is_some() { RowKind::Value } else { RowKind::Tombstone };
            let value = value.unwrap_or_default();
            let row = Row { row_key, kind, deadline: None, value_crc: crc32fast::hash(&value), value: &value };
            self.tree.insert(&row, None);
        }
        let value = self.counters.encode();
        let row_key = RowKey { keyspace: Keyspace::Meta, key: COUNTERS_KEY, revision: self.counters.revision };
        let value_crc = crc32fast::hash(&value);
        let row = Row { row_key, kind: RowKind::Value, deadline: None, value_crc, value: &value };
        self.tree.insert(&row, None);
        self.tree.freeze(self.applied);
    }

    /// The log time by which rows may be dropped for good: durable, and past for every held snapshot.
    pub(crate) fn log_time_floor(&self) -> LogTime {
        let held = self.snapshots.oldest_log_time().unwrap_or(self.durable_counters.log_time);
        held.min(self.durable_counters.log_time)
    }
}

impl NextDeadline {
    fn is_due(self, log_time: LogTime) -> bool {
        matches!(self, Self::At(at) if at <= log_time)
    }
}

/// A change of a key as a client asks for it.
#[derive(Clone, Copy, Debug)]
pub struct Write<'a> {
    /// The key, 1 to 4,096 bytes.
    pub key: &'a [u8],
    /// What happens to it.
    pub change: WriteChange<'a>,
    /// Who asks, where it may be asked again.
    pub session: Option<SessionStamp>,
}

/// What a client wants done to a key.
#[derive(Clone, Copy, Debug)]
pub enum WriteChange<'a> {
    /// Give it a value.
    Put {
        /// The value, up to 1 MiB.
        value: &'a [u8],
        /// The client's CRC-32 of the value.
        value_crc: u32,
        /// How long it stays visible, milliseconds.
        ttl_ms: Option<u64>,
    },
    /// Remove it.
    Delete,
    /// Begin a session; the write's revision is its number. The key is empty.
    OpenSession {
        /// How long it lives without being used, milliseconds.
        ttl_ms: u64,
    },
    /// End a session. The key is empty.
    CloseSession {
        /// Which.
        session: u64,
    },
}
