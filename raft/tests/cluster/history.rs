//! What all replicas did together, and what must hold of it. Everything is checked as it happens.
//!
//! - **Election safety:** at most one leader a term, a voter, and one vote of each node a term.
//! - **Log matching:** an entry of an index and term has one content, and one entry before it, in all logs.
//! - **Durability:** votes, requests for votes and acknowledgements leave only after what they speak of is on the disk.
//! - **Rounds:** nobody answers a round that has not begun.
//! - **Receipts:** what a quorum has in memory is committed in the end, unless one of the replicas crashes.
//! - **Commit:** a leader commits an entry of its term that a quorum has on disk; nobody else commits anything new.
//! - **Changes:** a leader begins one once the one before is committed.
//! - **Leader completeness:** what is committed is in the log of every leader of a later term.
//! - **State machine safety:** all apply the same entries in the same order.
//! - **Linearizable reads:** a read sees at least all that was committed anywhere before it began.

use std::collections::{BTreeMap, HashMap};

use corelode_raft::{
    Append, AppendOutcome, AppendReply, LogIndex, LogPosition, Membership, Message, NodeId, ReadId, RoleKind, Round,
    Term, VoteKind, VoteReply, VoteRequest,
};

use super::node::{Disk, Entry, Envelope, Node, Turn};

/// A committed entry, and the term of the leader that committed it.
struct Committed {
    entry: Entry,
    by: Term,
}

/// How a node was before its turn.
#[derive(Clone, Debug)]
pub(crate) struct Before {
    pub(crate) is_leader: bool,
    pub(crate) term: Term,
    pub(crate) membership: (LogIndex, Membership),
    /// The entry that began it, unless that is committed.
    pub(crate) change: Option<LogPosition>,
}

impl Before {
    pub(crate) fn of(node: &Node) -> Self {
        let change = node.raft.log().membership_index();
        Self {
            is_leader: node.raft.is_leader(),
            term: node.raft.hard_state().term,
            membership: (change, node.raft.membership().clone()),
            change: node.raft.log().position_at(change).filter(|change| change.index > node.raft.log().committed()),
        }
    }
}

/// The replicas as the checks see them: running or not, each has a disk.
pub(crate) trait Replicas {
    fn disk(&self, node: NodeId) -> Option<&Disk>;
    fn running(&self) -> Box<dyn Iterator<Item = (NodeId, &Node)> + '_>;

    fn node(&self, node: NodeId) -> Option<&Node> {
        self.running().find(|(id, _)| *id == node).map(|(_, node)| node)
    }
}

/// What happened so far.
#[derive(Default)]
pub(crate) struct History {
    leaders: BTreeMap<Term, NodeId>,
    votes: HashMap<(NodeId, Term), NodeId>,
    /// What an entry is, and the term of the one before it.
    entries: HashMap<LogPosition, (Term, Entry)>,
    committed: Vec<Committed>,
    reads: HashMap<ReadId, LogIndex>,
    /// The newest round of each term.
    rounds: HashMap<Term, Round>,
    /// How often a replica has crashed,
    crashes: u64,
    /// and how often it had been when an entry was first in a log.
    crashes_before: HashMap<LogPosition, u64>,
    /// Entries that a quorum has in memory, none of which has crashed since.
    received: BTreeMap<LogIndex, Term>,
}

impl History {
    /// The last entry that is committed anywhere.
    pub(crate) fn committed(&self) -> LogIndex {
        LogIndex(self.committed.len() as u64)
    }

    /// A replica has lost what it had in memory alone.
    pub(crate) fn crashed(&mut self) {
        self.crashes += 1;
        self.received.clear();
    }

    pub(crate) fn read_begins(&mut self, id: ReadId) {
        self.reads.insert(id, self.committed());
    }

    /// Checks what `id` did in a turn.
    pub(crate) fn check(&mut self, replicas: &impl Replicas, id: NodeId, before: Before, turn: &Turn) {
        let node = replicas.node(id).expect("it has just had a turn");
        self.check_log(id, node, turn);
        if node.raft.is_leader() {
            self.check_leader(id, node);
            check_changes(id, node, turn);
        }
        self.check_commit(replicas, id, &before, turn);
        if let Some(index) = turn.received {
            self.note_received(id, node, index);
        }
        for envelope in &turn.envelopes {
            self.check_message(replicas, id, node, &before, envelope);
        }
        for read in &turn.reads {
            let floor = self.reads.remove(&read.id).expect("a read is answered once");
            assert!(read.index >= floor, "node {id} answers a read at {}, which began after {floor}", read.index);
        }
    }

    fn check_log(&mut self, id: NodeId, node: &Node, turn: &Turn) {
        for index in &turn.added {
            let Some(entry) = node.log.entry(*index) else { continue };
            let previous = node.log.term_at(index.previous()).expect("there is one before it");
            let position = LogPosition { term: entry.info.term, index: *index };
            self.crashes_before.entry(position).or_insert(self.crashes);
            let known = self.entries.entry(position).or_insert_with(|| (previous, entry.clone()));
            assert!(
                *known == (previous, entry.clone()),
                "log matching: at {position} node {id} has {entry:?} behind term {previous}, elsewhere it is {known:?}"
            );
        }
    }

    fn note_received(&mut self, id: NodeId, node: &Node, through: LogIndex) {
        let term = node.raft.hard_state().term;
        assert!(node.raft.is_leader(), "node {id} counts receipts and leads nobody");
        assert_eq!(node.log.term_at(through), Some(term), "node {id} counts receipts of an earlier term");
        for index in self.committed().0 + 1..=through.0 {
            let index = LogIndex(index);
            let term = node.log.term_at(index).expect("what is not committed is there");
            if self.crashes_before.get(&LogPosition { term, index }) == Some(&self.crashes) {
                self.received.insert(index, term);
            }
        }
    }

    fn check_leader(&mut self, id: NodeId, node: &Node) {
        let term = node.raft.hard_state().term;
        let leader = *self.leaders.entry(term).or_insert_with(|| {
            // One that is being removed may lead once more, even when it hears while it stands that it is.
            let log = node.raft.log();
            let mut indexes = (log.truncated().index.0..=log.last().index.0).map(LogIndex);
            let may_lead = indexes.any(|index| log.membership_at(index).is_voter(id));
            assert!(may_lead, "node {id} was elected and is no voter of {}", log.membership());
            for (index, committed) in (1..).map(LogIndex).zip(&self.committed) {
                assert!(
                    committed.by >= term || has(node, index, committed.entry.info.term),
                    "leader completeness: node {id} leads term {term} without {index}@{}",
                    committed.entry.info.term
                );
            }
            id
        });
        assert_eq!(leader, id, "two leaders in term {term}");
    }

    fn check_commit(&mut self, replicas: &impl Replicas, id: NodeId, before: &Before, turn: &Turn) {
        let node = replicas.node(id).expect("it has just had a turn");
        let known = self.committed();
        for (index, entry) in &turn.applied {
            if *index <= known {
                let committed = &self.committed[usize::try_from(index.0 - 1).unwrap()].entry;
                assert_eq!(entry, committed, "state machine safety: node {id} applies another entry at {index}");
                continue;
            }
            assert!(
                before.is_leader || node.raft.is_leader(),
                "node {id} commits {index} and leads nobody; {known} was the last"
            );
            if let Some(term) = self.received.remove(index) {
                assert_eq!(term, entry.info.term, "a quorum had received {index}@{term}, and none of it has crashed");
            }
            let by = if before.is_leader { before.term } else { node.raft.hard_state().term };
            self.committed.push(Committed { entry: entry.clone(), by });
        }
        let Some((index, entry)) = turn.applied.last().filter(|(index, _)| *index > known) else { return };
        let by = self.committed.last().expect("one was added").by;
        assert_eq!(entry.info.term, by, "node {id} commits {index}, an entry of an earlier term, by counting");
        let position = LogPosition { term: by, index: *index };
        let is_stored = |membership: &Membership, position: LogPosition| {
            is_quorum(membership, |member| replicas.disk(member).is_some_and(|disk| disk.holds(position)))
        };
        let membership = node.raft.membership();
        let is_change_new = node.raft.log().membership_index() != before.membership.0;
        // A change may have been ended, and its end been cut by another leader, within the turn.
        let settled = Membership::new(before.membership.1.voters().iter().copied(), []).expect("there are voters");
        let is_joint_stored = before.change.is_none_or(|joint| is_stored(&before.membership.1, joint));
        let is_deposed = before.term != node.raft.hard_state().term;
        assert!(
            is_deposed && is_joint_stored && is_stored(&settled, position)
                || is_stored(membership, position)
                || is_change_new && is_stored(&before.membership.1, position),
            "node {id} commits {position}, which no quorum of {membership} has on disk"
        );
        // The second step of a change counts once the first is committed by both sets.
        let is_ended = is_change_new && before.membership.1.is_joint() && !membership.is_joint();
        // Or it was cut from the log by another leader, in the same turn.
        let is_there = |joint: &LogPosition| has(node, joint.index, joint.term);
        if let Some(joint) = before.change.filter(|joint| is_ended && is_there(joint)) {
            assert!(
                is_stored(&before.membership.1, joint),
                "node {id} ends {} before {joint} is stored",
                before.membership.1
            );
        }
        for (later, leader) in replicas.running().filter(|(_, other)| other.raft.is_leader()) {
            let term = leader.raft.hard_state().term;
            assert!(
                term <= by || has(leader, *index, by),
                "leader completeness: node {id} commits {position}, and node {later} leads term {term} without it"
            );
        }
    }

    fn check_message(
        &mut self,
        replicas: &impl Replicas,
        id: NodeId,
        node: &Node,
        before: &Before,
        envelope: &Envelope,
    ) {
        let disk = &node.disk;
        if let Message::AppendReply(AppendReply { term, round, .. }) = &envelope.message {
            let newest = self.rounds.get(term).copied().unwrap_or_default();
            assert!(*round <= newest, "node {id} answers round {round} of term {term}, and {newest} is the newest");
        }
        match &envelope.message {
            Message::VoteReply(VoteReply { is_pre: false, term, is_granted: true }) => {
                let vote = *self.votes.entry((id, *term)).or_insert(envelope.to);
                assert_eq!(vote, envelope.to, "node {id} votes twice in term {term}");
                assert!(disk.hard_state.term >= *term, "node {id} votes in term {term}, which is not stored");
            }
            Message::VoteRequest(VoteRequest { kind: VoteKind::Real | VoteKind::Transfer, term, last }) => {
                assert!(disk.hard_state.term >= *term, "node {id} stands for term {term}, which is not stored");
                // Once somebody else has won, its entries may have taken their place.
                let is_there = disk.holds(*last) || node.raft.status().role != RoleKind::Candidate;
                assert!(is_there, "node {id} stands for term {term} with {last}, which is not stored");
            }
            Message::AppendReply(AppendReply { term, outcome: AppendOutcome::Stored(index), .. }) => {
                // Within the turn the term may have risen behind it.
                assert!(*term >= before.term, "node {id} acknowledges {index} for term {term}, which was over before");
                if *index > disk.snapshot.position.index {
                    assert!(disk.hard_state.term >= *term, "node {id} speaks for term {term}, which is not stored");
                    self.check_acknowledgement(replicas, id, envelope.to, *term, *index);
                }
            }
            Message::Append(Append { term, entries, round, .. }) => {
                let newest = self.rounds.entry(*term).or_default();
                *newest = (*newest).max(*round);
                assert!(self.leaders.get(term) == Some(&id), "node {id} sends entries in term {term} and leads nobody");
                assert_eq!(entries.infos.len(), envelope.payloads.len());
            }
            _ => {}
        }
    }

    /// What is acknowledged is on the disk, and is what the leader of the term has, if it still leads.
    fn check_acknowledgement(&self, replicas: &impl Replicas, id: NodeId, to: NodeId, term: Term, index: LogIndex) {
        let disk = replicas.disk(id).expect("it has just had a turn");
        let stored = disk.log.term_at(index);
        assert!(stored.is_some(), "node {id} acknowledges {index}, and has {} on disk", disk.log.last());
        let leader = replicas.node(to).filter(|node| node.raft.is_leader() && node.raft.hard_state().term == term);
        let expected = leader.and_then(|node| node.log.term_at(index));
        assert!(
            expected.is_none() || expected == stored,
            "node {id} acknowledges {index} with {stored:?} on disk, and its leader has {expected:?}"
        );
    }
}

/// A leader begins a change of the members, or its next step, once the one before is committed.
fn check_changes(id: NodeId, node: &Node, turn: &Turn) {
    let is_change = |index: LogIndex| node.log.entry(index).is_some_and(|entry| entry.info.membership.is_some());
    for index in turn.added.iter().copied().filter(|index| is_change(*index)) {
        let uncommitted = node.raft.log().committed().0 + 1..index.0;
        let earlier = uncommitted.map(LogIndex).find(|earlier| is_change(*earlier));
        assert_eq!(earlier, None, "node {id} begins a change at {index} before the one at {earlier:?} is committed");
    }
}

fn has(node: &Node, index: LogIndex, term: Term) -> bool {
    index <= node.log.base.index || node.log.term_at(index) == Some(term)
}

/// Counted by hand, not with the core's arithmetic.
fn is_quorum(membership: &Membership, holds: impl Fn(NodeId) -> bool) -> bool {
    let is_majority =
        |voters: &[NodeId]| voters.is_empty() || voters.iter().filter(|node| holds(**node)).count() * 2 > voters.len();
    is_majority(membership.voters()) && is_majority(membership.outgoing())
}
