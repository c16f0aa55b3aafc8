//! A leader: sends entries, counts what is stored, and steps down when it has no followers left.

use std::collections::{BTreeMap, VecDeque};

use crate::bugs::{self, Bug};
use crate::ids::{LogIndex, LogPosition, NodeId, ReadId, Round, Time};
use crate::log::{Entries, EntryInfo};
use crate::marks::{self, Mark};
use crate::membership::Membership;
use crate::message::{Append, AppendOutcome, AppendReply, Message};
use crate::progress::{Progress, ReplicationState};
use crate::raft::{Config, OwnEntry, OwnEntryKind, Raft, Refused, Role};

/// The bytes of entries in a probe: it may well be sent in vain.
const PROBE_BYTES_MAX: u64 = 64 << 10;

/// A read that waits for its round.
pub(crate) struct WaitingRead {
    pub(crate) id: ReadId,
    pub(crate) round: Round,
    pub(crate) index: LogIndex,
}

/// Leadership on its way to another.
struct Handover {
    to: NodeId,
    /// When it is given up.
    deadline: Time,
    is_told: bool,
}

pub(crate) struct Leader {
    pub(crate) followers: BTreeMap<NodeId, Progress>,
    /// The first entry of its term.
    pub(crate) first_of_term: LogIndex,
    /// The round that messages carry now.
    pub(crate) round: Round,
    /// Reads that came since it began wait for the next one.
    pub(crate) is_round_due: bool,
    pub(crate) reads: VecDeque<WaitingRead>,
    /// When rounds began that a quorum has not answered.
    pub(crate) rounds_begun: VecDeque<(Round, Time)>,
    /// When the newest round began that a quorum has answered.
    pub(crate) lease_begun: Option<Time>,
    handover: Option<Handover>,
    /// The last entry of which somebody waits to hear that a quorum has it in memory.
    receipt_awaited: LogIndex,
    /// How far a quorum was found to have it in memory.
    received: LogIndex,
    /// Somebody was told to campaign. When that arrives, and whether at all, is not known: it ends leases for this term.
    pub(crate) is_lease_forfeit: bool,
    /// It has led since.
    since: Time,
    is_quiet: bool,
}

impl Leader {
    /// The last time by which a quorum, itself included, had been heard.
    fn quorum_heard_at(&self, membership: &Membership) -> Time {
        let heard_at = |node| self.followers.get(&node).map_or(Time(u64::MAX), |progress| progress.heard_at);
        membership.reached_by_quorum(heard_at).max(self.since)
    }

    pub(crate) fn hears_a_quorum(&self, now: Time, config: &Config, membership: &Membership) -> bool {
        self.is_quiet || now.since(self.quorum_heard_at(membership)) < config.election_timeout
    }

    pub(crate) fn next_tick(&self, config: &Config, membership: &Membership) -> Option<Time> {
        if self.is_quiet {
            return None;
        }
        let heartbeats = self.followers.values().map(|progress| progress.sent_at.after(config.heartbeat_interval));
        let alone = membership.is_sole_voter(config.node);
        let quorum = (!alone).then(|| self.quorum_heard_at(membership).after(config.election_timeout));
        heartbeats.chain(quorum).chain(self.handover.as_ref().map(|handover| handover.deadline)).min()
    }

    pub(crate) fn is_handing_over(&self) -> bool {
        self.handover.is_some()
    }

    fn wake(&mut self, now: Time) {
        if !std::mem::take(&mut self.is_quiet) {
            return;
        }
        marks::hit(Mark::Woke);
        self.since = now;
        for progress in self.followers.values_mut() {
            progress.is_quiet = false;
        }
    }
}

impl Raft {
    pub(crate) fn become_leader(&mut self, now: Time) {
        let first_of_term = self.log.last().index.next();
        let leader = Leader {
            followers: BTreeMap::new(),
            first_of_term,
            round: Round(1),
            is_round_due: false,
            reads: VecDeque::new(),
            rounds_begun: VecDeque::from([(Round(1), now)]),
            lease_begun: None,
            handover: None,
            receipt_awaited: LogIndex(0),
            received: LogIndex(0),
            is_lease_forfeit: false,
            since: now,
            is_quiet: false,
        };
        self.role = Role::Leader(Box::new(leader));
        self.update_followers(now);
        if !bugs::is_planted(Bug::NoEntryOfTheTerm) {
            self.append_own(OwnEntryKind::FirstOfTerm);
        }
    }

    /// Takes the members as they are now for followers.
    fn update_followers(&mut self, now: Time) {
        let (node, last) = (self.config.node, self.log.last().index);
        let membership = self.log.membership();
        let Role::Leader(leader) = &mut self.role else { return };
        leader.followers.retain(|follower, _| membership.contains(*follower));
        for member in membership.nodes().filter(|member| *member != node) {
            leader.followers.entry(member).or_insert_with(|| Progress::new(last.next(), now));
        }
    }

    fn append_own(&mut self, kind: OwnEntryKind) -> LogPosition {
        let membership = match &kind {
            OwnEntryKind::FirstOfTerm => None,
            OwnEntryKind::Membership(membership) => Some(Box::new(membership.clone())),
        };
        // Its bytes are few; the driver makes them.
        let position = self.append(&EntryInfo { term: self.hard_state.term, bytes: 0, membership });
        self.output.own_entries.push(OwnEntry { position, kind });
        position
    }

    pub(crate) fn propose(&mut self, now: Time, bytes: u32, is_receipt_awaited: bool) -> Result<LogPosition, Refused> {
        let term = self.hard_state.term;
        self.leading(now)?;
        let position = self.append(&EntryInfo { term, bytes, membership: None });
        if let (true, Role::Leader(leader)) = (is_receipt_awaited, &mut self.role) {
            leader.receipt_awaited = position.index;
        }
        Ok(position)
    }

    /// The leader, awake, if this replica leads and goes on doing so.
    pub(crate) fn leading(&mut self, now: Time) -> Result<&mut Leader, Refused> {
        let leader = self.status().leader;
        let Role::Leader(leading) = &mut self.role else { return Err(Refused::NotLeader { leader }) };
        if leading.is_handing_over() {
            return Err(Refused::Transferring);
        }
        leading.wake(now);
        Ok(leading)
    }

    pub(crate) fn change_membership(&mut self, now: Time, target: &Membership) -> Result<LogPosition, Refused> {
        let committed = self.log.committed();
        let first_of_term = self.leading(now)?.first_of_term;
        // Two changes under way could have quorums that do not meet (Ongaro, raft-dev, 2015).
        if committed < first_of_term {
            return Err(Refused::NotReady);
        }
        let is_under_way = self.log.membership_index() > committed || self.log.membership().is_joint();
        if is_under_way && !bugs::is_planted(Bug::ChangeDuringChange) {
            return Err(Refused::ChangeUnderWay);
        }
        let next = if bugs::is_planted(Bug::MembershipSkipsJoint) {
            target.clone()
        } else {
            self.log.membership().toward(target).map_err(Refused::Membership)?
        };
        let position = self.append_own(OwnEntryKind::Membership(next));
        self.update_followers(now);
        Ok(position)
    }

    pub(crate) fn transfer(&mut self, now: Time, to: NodeId) -> Result<(), Refused> {
        let deadline = now.after(self.config.election_timeout);
        if !self.log.membership().voters().contains(&to) {
            return Err(Refused::NotVoter(to));
        }
        let node = self.config.node;
        let leader = self.leading(now)?;
        if to != node {
            leader.handover = Some(Handover { to, deadline, is_told: false });
        }
        Ok(())
    }

    pub(crate) fn leader_tick(&mut self, now: Time) {
        let membership = self.log.membership();
        let Role::Leader(leader) = &mut self.role else { return };
        if !leader.hears_a_quorum(now, &self.config, membership) && !bugs::is_planted(Bug::LeaseNeverEnds) {
            marks::hit(Mark::QuorumLost);
            // Clients that reach it should look for another, and there may be one (thesis 6.2).
            self.become_follower(now, self.hard_state.term, None);
            return;
        }
        if leader.handover.as_ref().is_some_and(|handover| now >= handover.deadline)
            && !bugs::is_planted(Bug::HandoverNeverGivenUp)
        {
            marks::hit(Mark::HandoverAborted);
            leader.handover = None;
        }
    }

    /// A follower has answered.
    pub(crate) fn append_reply(&mut self, now: Time, from: NodeId, reply: AppendReply) {
        if reply.term > self.hard_state.term {
            self.become_follower(now, reply.term, None);
            return;
        }
        if reply.term < self.hard_state.term {
            return;
        }
        let last = self.log.last().index;
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(progress) = leader.followers.get_mut(&from) else { return };
        progress.heard_at = now;
        progress.round = progress.round.max(reply.round);
        progress.is_quiet = reply.is_quiet;
        match reply.outcome {
            AppendOutcome::Stored(index) => {
                assert!(index <= last, "node {from} has stored {index}, and {last} is the leader's last");
                if progress.stored(index) {
                    self.advance_commit(now);
                }
            }
            AppendOutcome::Received(index) => {
                assert!(index <= last, "node {from} has received {index}, and {last} is the leader's last");
                progress.received = progress.received.max(index);
            }
            AppendOutcome::Rejected { previous, hint } => self.append_rejected(from, previous, hint),
        }
        self.leave_snapshot(from);
        self.count_round();
    }

    /// A follower has what comes before this log, or its snapshot has ended one way or the other: look where it is.
    fn leave_snapshot(&mut self, node: NodeId) {
        let first_there = self.log.first_index();
        let Role::Leader(leader) = &mut self.role else { return };
        if let Some(progress) = leader.followers.get_mut(&node)
            && progress.state == ReplicationState::Snapshot
            && (progress.is_snapshot_ended || progress.matched.next() >= first_there)
        {
            progress.probe(progress.matched.next());
        }
    }

    fn append_rejected(&mut self, from: NodeId, previous: LogIndex, hint: LogPosition) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(progress) = leader.followers.get_mut(&from) else { return };
        let is_about_now = match progress.state {
            ReplicationState::Probe => previous == progress.next.previous(),
            ReplicationState::Replicate => previous > progress.matched,
            ReplicationState::Snapshot => false,
        };
        if !is_about_now {
            marks::hit(Mark::StaleRejectionIgnored);
        } else {
            // No later than at the follower's hint, and no later than where this log's terms reach its term.
            let parting = self.log.last_with_term_at_most(hint.index, hint.term).index;
            progress.probe(parting.min(previous.previous()).next());
        }
    }

    /// Its own entries are stored.
    pub(crate) fn leader_stored(&mut self, now: Time) {
        if self.is_leader() {
            self.advance_commit(now);
        }
    }

    /// Commits what a quorum has stored, itself counted like the others (thesis 10.2.1).
    fn advance_commit(&mut self, now: Time) {
        let node = self.config.node;
        let membership = self.log.membership();
        let Role::Leader(leader) = &self.role else { return };
        let own =
            if bugs::is_planted(Bug::LeaderCountsItselfEarly) { self.log.last().index } else { self.log.stored() };
        let matched = |member: NodeId| {
            if member == node { own } else { leader.followers.get(&member).map_or(LogIndex(0), Progress::matched) }
        };
        let reached = if bugs::is_planted(Bug::JointCountsNewVotersOnly) {
            membership.without_outgoing().reached_by_quorum(matched)
        } else {
            membership.reached_by_quorum(matched)
        };
        // An entry of an earlier term on a majority can still be replaced; one of this term cannot, and commits all before it (Raft paper, figure 8).
        let is_own_term = self.log.term_at(reached) == Some(self.hard_state.term);
        if reached > self.log.committed() && !is_own_term {
            marks::hit(Mark::EarlierTermNotCounted);
        }
        if reached > self.log.committed() && (is_own_term || bugs::is_planted(Bug::CommitsEarlierTerms)) {
            self.commit_to(reached);
            self.membership_committed(now);
        }
    }

    /// Finds how far a quorum, itself included, has at least in memory what somebody wants to know that of. Such entries are not committed: if enough of that quorum
    /// crash before their disks have them, they are gone. As long as nobody does, nobody is elected who lacks them.
    fn count_receipts(&mut self) {
        let (node, last, committed) = (self.config.node, self.log.last().index, self.log.committed());
        let membership = self.log.membership();
        let Role::Leader(leader) = &self.role else { return };
        if leader.receipt_awaited <= leader.received.max(committed) {
            return;
        }
        let received = |member: NodeId| match leader.followers.get(&member) {
            _ if member == node || bugs::is_planted(Bug::ReceiptsNotCounted) => last,
            progress => progress.map_or(LogIndex(0), |progress| progress.received),
        };
        let reached = membership.reached_by_quorum(received).min(leader.receipt_awaited);
        // What follows a change of members that may yet be undone waits for it.
        let bound = self.log.membership_index();
        let reached = if bound > committed { reached.min(bound.previous()) } else { reached };
        let is_own_term = self.log.term_at(reached) == Some(self.hard_state.term);
        if reached > leader.received.max(committed) && is_own_term {
            marks::hit(Mark::ReceivedAheadOfCommit);
            let Role::Leader(leader) = &mut self.role else { return };
            leader.received = reached;
            self.output.received = Some(reached);
        }
    }

    /// A change that is committed goes on to its second step, or is over.
    fn membership_committed(&mut self, now: Time) {
        if self.log.membership_index() > self.log.committed() {
            return;
        }
        let membership = self.log.membership();
        if membership.is_joint() {
            let settled = membership.without_outgoing();
            if matches!(&self.role, Role::Leader(leader) if self.log.membership_index() < leader.first_of_term) {
                marks::hit(Mark::JointLeftByNewLeader);
            }
            self.append_own(OwnEntryKind::Membership(settled));
            self.update_followers(now);
        }
    }

    pub(crate) fn peer_down(&mut self, now: Time, node: NodeId) {
        self.down.insert(node);
        self.follower_peer_down(now, node);
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(progress) = leader.followers.get_mut(&node) else { return };
        progress.is_quiet = false;
        // If it has crashed, only what it has stored is left.
        progress.received = progress.matched;
        leader.wake(now);
        self.unreachable(node);
    }

    pub(crate) fn peer_up(&mut self, now: Time, node: NodeId) {
        self.down.remove(&node);
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(progress) = leader.followers.get_mut(&node) else { return };
        progress.sent_at = Time(0);
        leader.wake(now);
    }

    /// A member has an empty log. Entries that it acknowledged before it lost them may be committed by now; those that are not are not for its sake.
    pub(crate) fn begin_anew(&mut self, now: Time, node: NodeId) {
        let next = self.log.last().index.next();
        let Role::Leader(leader) = &mut self.role else { return };
        if let Some(progress) = leader.followers.get_mut(&node) {
            *progress = Progress::new(next, now);
            leader.wake(now);
        }
    }

    /// A silent leader speaks to a member that does not hear it.
    pub(crate) fn wake_leader_for(&mut self, now: Time, node: NodeId) {
        let Role::Leader(leader) = &mut self.role else { return };
        if let Some(progress) = leader.followers.get_mut(&node) {
            progress.sent_at = Time(0);
            leader.wake(now);
        }
    }

    pub(crate) fn unreachable(&mut self, node: NodeId) {
        let Role::Leader(leader) = &mut self.role else { return };
        if let Some(progress) = leader.followers.get_mut(&node)
            && progress.state == ReplicationState::Replicate
        {
            progress.probe(progress.matched.next());
        }
    }

    pub(crate) fn snapshot_ended(&mut self, to: NodeId) {
        let Role::Leader(leader) = &mut self.role else { return };
        if let Some(progress) = leader.followers.get_mut(&to)
            && progress.state == ReplicationState::Snapshot
        {
            // Whether it is in place the follower says itself, perhaps later than the driver: before its next answer there is no cause for another.
            progress.is_snapshot_ended = true;
            progress.sent_at = Time(0);
        }
    }

    /// Sends what there is to send.
    pub(crate) fn leader_end_turn(&mut self, now: Time) {
        if !self.is_leader() {
            return;
        }
        self.answer_reads(now);
        self.count_receipts();
        self.leave_if_removed(now);
        let is_round_new = self.begin_round(now);
        let may_be_quiet = self.may_be_quiet();
        let Role::Leader(leader) = &self.role else { return };
        let nodes: Vec<NodeId> = leader.followers.keys().copied().collect();
        for node in nodes {
            self.send_to(now, node, is_round_new, may_be_quiet);
        }
        self.hand_over();
        self.answer_reads(now);
        let Role::Leader(leader) = &mut self.role else { return };
        let all_quiet = leader.followers.iter().all(|(node, progress)| progress.is_quiet || self.down.contains(node));
        leader.is_quiet = may_be_quiet && !leader.followers.is_empty() && all_quiet;
        if leader.is_quiet {
            marks::hit(Mark::FellSilent);
        }
    }

    fn send_to(&mut self, now: Time, node: NodeId, is_round_new: bool, may_be_quiet: bool) {
        let last = self.log.last().index;
        let first_there = self.log.first_index();
        let (window, heartbeat) = (self.config.window(), self.config.heartbeat_interval);
        let is_voter = self.log.membership().is_voter(node);
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(progress) = leader.followers.get_mut(&node) else { return };
        let is_heartbeat_due = now >= progress.sent_at.after(heartbeat);
        if is_heartbeat_due {
            progress.is_probe_sent = false;
        }
        if progress.state != ReplicationState::Snapshot && progress.next < first_there {
            progress.snapshot();
            self.output.snapshots.push(node);
        }
        if progress.state == ReplicationState::Replicate && progress.next <= last && !progress.may_send(window) {
            marks::hit(Mark::WindowFull);
        }
        let mut is_sent = false;
        loop {
            let Role::Leader(leader) = &mut self.role else { return };
            let Some(progress) = leader.followers.get_mut(&node) else { return };
            let is_new = progress.next <= last;
            let is_probing = progress.state == ReplicationState::Probe;
            let must_speak = !is_sent && (is_heartbeat_due || is_round_new && is_voter);
            if !(progress.may_send(window) && (is_new || is_probing && is_heartbeat_due) || must_speak) {
                break;
            }
            let is_allowed = progress.may_send(window);
            let bytes_max = if is_probing { PROBE_BYTES_MAX } else { self.config.append_bytes_max };
            // To one that is sent a snapshot there is nothing to say but that the leader is there.
            let is_snapshot = progress.state == ReplicationState::Snapshot;
            let previous_index = if is_snapshot { LogIndex(0) } else { progress.next.previous() };
            let entries = if is_allowed && is_new {
                self.log.entries(progress.next, bytes_max.min(self.config.append_bytes_max))
            } else {
                Entries { first: previous_index.next(), infos: Vec::new() }
            };
            let previous = if is_snapshot {
                LogPosition::ZERO
            } else {
                self.log.position_at(previous_index).expect("what is before the next entry to send is there")
            };
            if is_allowed {
                progress.sent(entries.last(), entries.bytes());
            }
            progress.sent_at = now;
            let is_quiet = may_be_quiet && is_heartbeat_due;
            let is_receipt_awaited = !entries.infos.is_empty() && entries.first <= leader.receipt_awaited;
            // Who is spoken to wakes, and must say again that it has fallen silent.
            progress.is_quiet &= is_quiet;
            let append = Append {
                term: self.hard_state.term,
                previous,
                entries,
                committed: self.log.committed(),
                round: leader.round,
                is_round_awaited: is_round_new && is_voter,
                is_receipt_awaited,
                is_quiet,
            };
            self.send(node, Message::Append(append));
            is_sent = true;
            if is_probing {
                break;
            }
        }
    }

    /// Whether all that can be reached have everything, and nothing is waited for.
    fn may_be_quiet(&self) -> bool {
        let Role::Leader(leader) = &self.role else { return false };
        let last = self.log.last().index;
        let membership = self.log.membership();
        let is_down = |node: NodeId| self.down.contains(&node);
        let is_there = |node: NodeId| {
            node == self.config.node
                || leader.followers.get(&node).is_some_and(|progress| progress.matched() == last) && !is_down(node)
        };
        self.config.may_fall_silent
            && self.log.committed() == last
            && self.log.stored() == last
            && leader.reads.is_empty()
            && leader.handover.is_none()
            && leader.followers.iter().all(|(node, progress)| is_down(*node) || progress.matched() == last)
            && membership.is_quorum(is_there)
    }

    fn hand_over(&mut self) {
        let last = self.log.last().index;
        let term = self.hard_state.term;
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(handover) = &mut leader.handover else { return };
        let to = handover.to;
        let has_all = leader.followers.get(&to).is_some_and(|progress| progress.matched() == last);
        if has_all && !std::mem::replace(&mut handover.is_told, true) {
            leader.is_lease_forfeit = !bugs::is_planted(Bug::LeaseOutlivesTransfer);
            self.send(to, Message::TimeoutNow { term });
        }
    }

    /// A leader that a change has removed hands leadership to the one that has most (thesis 4.2.2).
    fn leave_if_removed(&mut self, now: Time) {
        let membership = self.log.membership();
        let is_settled = self.log.membership_index() <= self.log.committed() && !membership.is_joint();
        if !is_settled || membership.is_voter(self.config.node) {
            return;
        }
        let deadline = now.after(self.config.election_timeout);
        let Role::Leader(leader) = &mut self.role else { return };
        let voters = leader.followers.iter().filter(|(node, _)| membership.is_voter(**node));
        // Of those that have the same, the one that was heard last: another may be dead, and would be chosen again and again.
        let best = voters.max_by_key(|(_, progress)| (progress.matched(), progress.heard_at)).map(|(node, _)| *node);
        if leader.handover.is_none() {
            marks::hit(Mark::RemovedLeaderLeaves);
            leader.handover = best.map(|to| Handover { to, deadline, is_told: false });
        }
    }
}
