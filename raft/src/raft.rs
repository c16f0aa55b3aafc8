//! One replica of one group: what it knows, and the way of an input through it.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use crate::bugs::{self, Bug};
use crate::election::Candidate;
use crate::follower::Follower;
use crate::ids::{LogIndex, LogPosition, NodeId, PersistId, ReadId, Term, Time};
use crate::leader::Leader;
use crate::log::{EntryInfo, RaftLog};
use crate::membership::{Membership, MembershipError};
use crate::message::Message;
use crate::progress::{Progress, Window};
use crate::random::Random;
use crate::unsent::Unsent;

/// How a replica behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node it lives on.
    pub node: NodeId,
    /// What its election timeouts follow from. No two replicas of a group should have the same.
    pub seed: u64,
    /// How long a follower waits for its leader at least, and a leader for its followers.
    pub election_timeout: Duration,
    /// How much longer a follower waits at most, by chance, so that not all stand up together.
    pub election_spread: Duration,
    /// How often a leader that has nothing to say speaks.
    pub heartbeat_interval: Duration,
    /// The bytes of entries in one message, unless one entry is longer.
    pub append_bytes_max: u64,
    /// The messages with entries that may be under way to a follower.
    pub in_flight_messages_max: usize,
    /// The bytes of entries that may be under way to a follower.
    pub in_flight_bytes_max: u64,
    /// Leader leases, if they are used: reads need no round while the lease lasts.
    pub lease: Option<Lease>,
    /// Whether the group elects nobody but unanimously, until an entry of the log says who the members are: until then nobody can tell a voter from one that has lost
    /// its disk and forgotten its vote.
    pub is_unanimous_at_first: bool,
    /// Whether a group with nothing to do falls silent. Who drives it must then notice when a peer falls away, and say so.
    pub may_fall_silent: bool,
}

/// What a lease rests on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lease {
    /// How much two clocks may drift apart within an election timeout, at most.
    pub drift_max: Duration,
}

impl Config {
    /// The usual behaviour of a replica on `node`: an election timeout of a second.
    #[must_use]
    pub fn new(node: NodeId, seed: u64) -> Self {
        Self {
            node,
            seed,
            election_timeout: Duration::from_secs(1),
            election_spread: Duration::from_millis(500),
            heartbeat_interval: Duration::from_millis(100),
            append_bytes_max: 512 << 10,
            in_flight_messages_max: 256,
            in_flight_bytes_max: 4 << 20,
            lease: None,
            is_unanimous_at_first: false,
            may_fall_silent: false,
        }
    }

    pub(crate) fn window(&self) -> Window {
        Window { messages_max: self.in_flight_messages_max, bytes_max: self.in_flight_bytes_max }
    }
}

/// What must survive a crash besides the log (thesis 3.8).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct HardState {
    /// The newest term that was heard of.
    pub term: Term,
    /// Who got this replica's vote in it.
    pub vote: Option<NodeId>,
}

/// What a replica finds of itself when it starts.
#[derive(Clone, Debug)]
pub struct Restart {
    /// As it was stored.
    pub hard_state: HardState,
    /// The last entry that is gone from the log; zero for a new group.
    pub truncated: LogPosition,
    /// The membership as of there. For a new group, all its replicas are given the same one.
    pub membership: Membership,
    /// The entries that follow.
    pub entries: Vec<EntryInfo>,
    /// What is known to be committed: at least what is in the application's stored state. That must not be ahead of the entries: an application that stores
    /// its state before the log of the same entries is stored must wait, or truncate.
    pub committed: LogIndex,
}

/// What happens to a replica.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// Time has passed.
    Tick,
    /// An entry of so many bytes shall be added.
    Propose {
        /// Its length.
        bytes: u32,
        /// Whether somebody waits to hear that a quorum has it in memory: see [`Output::received`].
        is_receipt_awaited: bool,
    },
    /// A linearizable read has arrived.
    Read(ReadId),
    /// A message has arrived.
    Message {
        /// Who sent it.
        from: NodeId,
        /// What it says.
        message: Message,
    },
    /// What an [`Output`] gave to store is stored, and all before it.
    Stored(PersistId),
    /// The group shall have other members.
    ChangeMembership(Membership),
    /// Another replica shall lead.
    Transfer {
        /// Which.
        to: NodeId,
    },
    /// Stand for election now.
    Campaign,
    /// A node cannot be reached, or has been started anew.
    PeerDown(NodeId),
    /// A node can be reached.
    PeerUp(NodeId),
    /// A node has lost its log, and begins anew: what it acknowledged before says nothing.
    Forgetful(NodeId),
    /// Messages to a node may have been lost.
    Unreachable(NodeId),
    /// Entries up to here are not needed any more by the application.
    Truncate(LogIndex),
    /// Another replica has applied all through this entry. Says nothing of what is stored here.
    Committed(LogPosition),
    /// A snapshot that replaces the log up to its position is in place and stored.
    SnapshotInstalled {
        /// The last entry that it holds.
        position: LogPosition,
        /// The membership as of there.
        membership: Membership,
    },
    /// A snapshot for a follower has reached it, or has come to nothing.
    SnapshotEnded {
        /// The follower.
        to: NodeId,
    },
}

/// What became of an input at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accepted {
    /// It was taken note of.
    Noted,
    /// It is the entry at this position.
    Entry(LogPosition),
    /// Of the message's entries those from here on are to be stored, in place of whatever the log has there.
    Store {
        /// The first of them.
        first: LogIndex,
    },
}

/// Why an input was not taken. Nothing was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// Only a leader can do that.
    NotLeader {
        /// Who leads, as far as is known.
        leader: Option<NodeId>,
    },
    /// Leadership is being handed on; it is a matter of moments.
    Transferring,
    /// The membership is being changed.
    ChangeUnderWay,
    /// The leader has not committed an entry of its term yet.
    NotReady,
    /// That node cannot lead.
    NotVoter(NodeId),
    /// Those members make no group.
    Membership(MembershipError),
    /// Nothing follows from it that is not known here already.
    Stale,
    /// The log here has no such entry.
    NotHere,
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader { leader: Some(leader) } => write!(formatter, "node {leader} leads"),
            Self::NotLeader { leader: None } => write!(formatter, "no leader is known"),
            Self::Transferring => write!(formatter, "leadership is being handed on"),
            Self::ChangeUnderWay => write!(formatter, "the membership is being changed already"),
            Self::NotReady => write!(formatter, "the leader has not committed an entry of its term yet"),
            Self::NotVoter(node) => write!(formatter, "node {node} is no voter"),
            Self::Membership(error) => error.fmt(formatter),
            Self::Stale => write!(formatter, "it is no further than what is committed"),
            Self::NotHere => write!(formatter, "the log has no such entry"),
        }
    }
}

impl std::error::Error for Refused {}

/// A read may be answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadReady {
    /// The read.
    pub id: ReadId,
    /// Once this entry is applied.
    pub index: LogIndex,
}

/// An entry that the replica itself has added.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnEntry {
    /// Where.
    pub position: LogPosition,
    /// What it says.
    pub kind: OwnEntryKind,
}

/// What an [`OwnEntry`] says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OwnEntryKind {
    /// Nothing: it is the first of a leader's term (thesis 6.4).
    FirstOfTerm,
    /// Who the members are from here on.
    Membership(Membership),
}

/// What must be done after a turn.
///
/// The driver stores `hard_state`, `own_entries`, the entries it proposed and those that [`Accepted::Store`] named, in this order within one stream, and answers with
/// [`Input::Stored`] when they cannot be lost any more. `messages` leave at once.
#[derive(Clone, Default, Debug)]
pub struct Output {
    /// If there is something to store: by what name its end is reported.
    pub persist: Option<PersistId>,
    /// The new hard state.
    pub hard_state: Option<HardState>,
    /// Entries that the replica has added by itself, as far as they were not replaced within the turn.
    pub own_entries: Vec<OwnEntry>,
    /// Messages and whom they go to.
    pub messages: Vec<(NodeId, Message)>,
    /// Entries up to here are to be applied, if that is news.
    pub committed: Option<LogIndex>,
    /// A quorum has entries up to here, of which somebody wanted to know that, at least in memory, if that is news. They are not committed: a leader that loses its
    /// place may find them replaced.
    pub received: Option<LogIndex>,
    /// Reads that may be answered.
    pub reads: Vec<ReadReady>,
    /// Followers that need a snapshot.
    pub snapshots: Vec<NodeId>,
    /// The role, the term or the known leader changed: see [`Raft::status`]. Reads that were not answered by a leader that is none any more will not be.
    pub is_status_changed: bool,
}

impl Output {
    fn clear(&mut self) {
        self.persist = None;
        self.hard_state = None;
        self.own_entries.clear();
        self.messages.clear();
        self.committed = None;
        self.received = None;
        self.reads.clear();
        self.snapshots.clear();
        self.is_status_changed = false;
    }
}

/// What a replica is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RoleKind {
    /// It follows, or waits for somebody to follow.
    Follower,
    /// It asks whether it would be elected.
    PreCandidate,
    /// It stands for election.
    Candidate,
    /// It leads.
    Leader,
}

/// How a replica sees its group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status {
    /// What it is.
    pub role: RoleKind,
    /// Its term.
    pub term: Term,
    /// Who leads, as far as it knows.
    pub leader: Option<NodeId>,
}

pub(crate) enum Role {
    Follower(Follower),
    Candidate(Candidate),
    Leader(Box<Leader>),
}

/// One replica of one group.
pub struct Raft {
    pub(crate) config: Config,
    pub(crate) hard_state: HardState,
    pub(crate) role: Role,
    pub(crate) log: RaftLog,
    /// The membership that this replica was given at its start holds from here.
    pub(crate) first_membership_index: LogIndex,
    pub(crate) random: Random,
    pub(crate) unsent: Unsent,
    /// Where leases are on, who answers a leader takes no part in elections until a lease that rests on the answer has run out (thesis 6.4.1), whatever
    /// becomes of its term and role in between. After a start it may have answered just before.
    pub(crate) abstains_until: Time,
    /// Nodes that cannot be reached, as the driver last said. Not more than it knows.
    pub(crate) down: BTreeSet<NodeId>,
    /// The output of the turn, as it gathers.
    pub(crate) output: Output,
    /// As it was given out to be stored, or found.
    given_hard_state: HardState,
    /// What it was last given out with, until that is stored.
    storing_hard_state: Option<PersistId>,
    reported_status: Status,
    /// Entries were added that are not given out to be stored yet.
    has_new_entries: bool,
    last_persist: PersistId,
}

impl Raft {
    /// A replica as it starts.
    #[must_use]
    pub fn new(config: Config, restart: Restart, now: Time) -> Self {
        let Restart { mut hard_state, truncated, membership, entries, committed } = restart;
        let first_membership_index = truncated.index;
        let log = RaftLog::new(truncated, membership, &entries, committed);
        let given_hard_state = hard_state;
        // An entry proves its term, should the crash have taken the rest. It was somebody's vote that began the term; whose, is not known any more.
        if log.last().term > hard_state.term {
            hard_state = HardState { term: log.last().term, vote: Some(config.node) };
        }
        let is_bound = config.lease.is_some() && !bugs::is_planted(Bug::LeaseForgottenAtRestart);
        let abstains_until = if is_bound { now.after(config.election_timeout) } else { now };
        let mut random = Random::new(config.seed);
        let follower = Follower::new(None, now, Self::election_deadline(&config, &log, &mut random, now));
        Self {
            reported_status: Status { role: RoleKind::Follower, term: hard_state.term, leader: None },
            config,
            given_hard_state,
            storing_hard_state: None,
            hard_state,
            role: Role::Follower(follower),
            log,
            first_membership_index,
            random,
            unsent: Unsent::default(),
            abstains_until,
            down: BTreeSet::new(),
            output: Output::default(),
            has_new_entries: false,
            last_persist: PersistId(0),
        }
    }

    /// Takes an input. What follows from it comes out of [`end_turn`](Self::end_turn).
    ///
    /// # Errors
    /// It is refused; nothing was done.
    ///
    /// # Panics
    /// If an invariant of Raft is broken: a committed entry would be lost, or two leaders have one term.
    pub fn step(&mut self, now: Time, input: Input) -> Result<Accepted, Refused> {
        match input {
            Input::Tick => self.tick(now),
            Input::Propose { bytes, is_receipt_awaited } => {
                return self.propose(now, bytes, is_receipt_awaited).map(Accepted::Entry);
            }
            Input::Read(id) => self.read(now, id)?,
            Input::Message { from, message } => return Ok(self.receive(now, from, message)),
            Input::Stored(persist) => self.stored(now, persist),
            Input::ChangeMembership(target) => return self.change_membership(now, &target).map(Accepted::Entry),
            Input::Transfer { to } => self.transfer(now, to)?,
            Input::Campaign => self.campaign_at_once(now)?,
            Input::PeerDown(node) => self.peer_down(now, node),
            Input::Forgetful(node) => self.begin_anew(now, node),
            Input::PeerUp(node) => self.peer_up(now, node),
            Input::Unreachable(node) => self.unreachable(node),
            Input::Truncate(through) => self.log.truncate(through.min(self.log.committed())),
            Input::Committed(position) => self.committed_elsewhere(position)?,
            Input::SnapshotInstalled { position, membership } => self.snapshot_installed(now, position, membership)?,
            Input::SnapshotEnded { to } => self.snapshot_ended(to),
        }
        Ok(Accepted::Noted)
    }

    /// Ends a turn: what is to be done after its inputs is put into `output`, whose memory is used again.
    ///
    /// # Panics
    /// If an invariant is broken.
    pub fn end_turn(&mut self, now: Time, output: &mut Output) {
        self.leader_end_turn(now);
        if self.hard_state != self.given_hard_state {
            self.output.hard_state = Some(self.hard_state);
            self.given_hard_state = self.hard_state;
            self.storing_hard_state = Some(self.last_persist.next());
        }
        if self.has_new_entries || self.output.hard_state.is_some() || self.unsent.has_new() {
            self.last_persist = self.last_persist.next();
            self.output.persist = Some(self.last_persist);
            self.log.storing(self.last_persist);
            self.unsent.wait_for(self.last_persist);
            self.has_new_entries = false;
        }
        let status = self.status();
        self.output.is_status_changed = status != self.reported_status;
        self.reported_status = status;
        self.log.check();
        std::mem::swap(&mut self.output, output);
        self.output.clear();
    }

    /// The entries that the inputs of this turn have made the replica add by itself: they come before any that is proposed after this call, and are not
    /// in the turn's [`Output`] again.
    pub fn take_own_entries(&mut self) -> Vec<OwnEntry> {
        std::mem::take(&mut self.output.own_entries)
    }

    /// When a [`Input::Tick`] is due next, if ever: a silent group sleeps until something happens.
    #[must_use]
    pub fn next_tick(&self) -> Option<Time> {
        match &self.role {
            Role::Follower(follower) => self.may_stand().then(|| follower.next_tick()).flatten(),
            Role::Candidate(candidate) => Some(candidate.deadline),
            Role::Leader(leader) => leader.next_tick(&self.config, self.log.membership()),
        }
    }

    /// What it is, and who leads.
    #[must_use]
    pub fn status(&self) -> Status {
        let (role, leader) = match &self.role {
            Role::Follower(follower) => (RoleKind::Follower, follower.leader),
            Role::Candidate(candidate) if candidate.is_pre() => (RoleKind::PreCandidate, None),
            Role::Candidate(_) => (RoleKind::Candidate, None),
            Role::Leader(_) => (RoleKind::Leader, Some(self.config.node)),
        };
        Status { role, term: self.hard_state.term, leader }
    }

    /// Whether it leads.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    /// Whether it has fallen silent, and nothing waits for time to pass.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.unsent.is_empty() && self.next_tick().is_none()
    }

    /// The term and vote, as they are in memory.
    #[must_use]
    pub fn hard_state(&self) -> HardState {
        self.hard_state
    }

    /// The log.
    #[must_use]
    pub fn log(&self) -> &RaftLog {
        &self.log
    }

    /// Who is in the group.
    #[must_use]
    pub fn membership(&self) -> &Membership {
        self.log.membership()
    }

    /// The followers as a leader knows them; nothing elsewhere.
    pub fn followers(&self) -> impl Iterator<Item = (NodeId, &Progress)> {
        let leader = match &self.role {
            Role::Leader(leader) => Some(leader),
            _ => None,
        };
        leader.into_iter().flat_map(|leader| leader.followers.iter().map(|(node, progress)| (*node, progress)))
    }

    /// Whether it may stand for election. One that a change removes may as long as it does not know the change to be committed: the others may not have
    /// heard of it, and wait for its vote while its log is longer than theirs (thesis 4.2.2).
    pub(crate) fn may_stand(&self) -> bool {
        let node = self.config.node;
        let is_learner = || self.log.membership().learners().contains(&node);
        self.log.may_be_voter(node) || bugs::is_planted(Bug::LearnersVote) && is_learner()
    }

    /// Whether a crash would leave the term as it is.
    pub(crate) fn is_term_stored(&self) -> bool {
        self.hard_state == self.given_hard_state && self.storing_hard_state.is_none()
            || bugs::is_planted(Bug::TermAcknowledgedBeforeStored)
    }

    pub(crate) fn send(&mut self, to: NodeId, message: Message) {
        self.output.messages.push((to, message));
    }

    /// Sends a message once all of this turn is stored.
    pub(crate) fn send_when_stored(&mut self, to: NodeId, message: Message) {
        self.unsent.add(to, self.hard_state.term, message);
    }

    pub(crate) fn append(&mut self, entry: &EntryInfo) -> LogPosition {
        self.has_new_entries = true;
        self.log.append(entry)
    }

    pub(crate) fn commit_to(&mut self, index: LogIndex) {
        if self.log.commit_to(index) {
            self.output.committed = Some(self.log.committed());
        }
    }

    fn committed_elsewhere(&mut self, position: LogPosition) -> Result<(), Refused> {
        if position.index <= self.log.committed() {
            return Err(Refused::Stale);
        }
        if self.log.term_at(position.index) != Some(position.term) {
            return Err(Refused::NotHere);
        }
        // The log before it is the same as well, by the log matching property.
        self.commit_to(position.index);
        Ok(())
    }

    fn tick(&mut self, now: Time) {
        match &self.role {
            Role::Follower(_) | Role::Candidate(_) => self.campaign_if_due(now),
            Role::Leader(_) => self.leader_tick(now),
        }
    }

    fn receive(&mut self, now: Time, from: NodeId, message: Message) -> Accepted {
        match message {
            Message::VoteRequest(request) => self.vote_request(now, from, request),
            Message::VoteReply(reply) => self.vote_reply(now, from, reply),
            Message::Append(append) => return self.append_entries(now, from, &append),
            Message::AppendReply(reply) => self.append_reply(now, from, reply),
            Message::TimeoutNow { term } => self.timeout_now(now, from, term),
        }
        Accepted::Noted
    }

    fn stored(&mut self, now: Time, persist: PersistId) {
        self.log.stored_through(persist);
        self.storing_hard_state = self.storing_hard_state.filter(|storing| *storing > persist);
        let first = self.output.messages.len();
        self.unsent.release(persist, self.hard_state.term, &mut self.output.messages);
        // A candidate's vote for itself is a message like the others, but does not leave.
        let own = |(to, _): &(NodeId, Message)| *to == self.config.node;
        if let Some(place) = self.output.messages[first..].iter().position(own) {
            let (from, message) = self.output.messages.remove(first + place);
            self.receive(now, from, message);
        }
        self.leader_stored(now);
    }
}
