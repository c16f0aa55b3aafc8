//! Elections: standing for one, and voting in one.

use std::time::Duration;

use crate::bugs::{self, Bug};
use crate::follower::Follower;
use crate::ids::{NodeId, Term, Time};
use crate::log::RaftLog;
use crate::marks::{self, Mark};
use crate::message::{Message, VoteKind, VoteReply, VoteRequest};
use crate::quorum::Tally;
use crate::raft::{Config, HardState, Raft, Refused, Role};
use crate::random::Random;

/// Stands for election, or asks whether it would be elected.
pub(crate) struct Candidate {
    kind: VoteKind,
    votes: Vec<(NodeId, bool)>,
    /// When it asks again, from the beginning.
    pub(crate) deadline: Time,
}

impl Candidate {
    pub(crate) fn is_pre(&self) -> bool {
        self.kind == VoteKind::Pre
    }

    fn vote_of(&self, node: NodeId) -> Option<bool> {
        self.votes.iter().find(|(voter, _)| *voter == node).map(|(_, is_granted)| *is_granted)
    }
}

impl Raft {
    /// When a follower stands up that knows no leader from `now` on. Who decides alone need not wait for anybody.
    pub(crate) fn election_deadline(config: &Config, log: &RaftLog, random: &mut Random, now: Time) -> Time {
        if log.membership().is_sole_voter(config.node) {
            return now;
        }
        let spread = u64::try_from(config.election_spread.as_nanos()).unwrap_or(u64::MAX);
        now.after(config.election_timeout + Duration::from_nanos(random.below(spread)))
    }

    /// When a leader, a candidate or an election was waited for long enough from `now` on. Even who decides alone waits for a leader that is being removed.
    pub(crate) fn patience_ends(&mut self, now: Time) -> Time {
        now.after(self.config.election_timeout + self.random_spread())
    }

    pub(crate) fn random_spread(&mut self) -> Duration {
        let spread = u64::try_from(self.config.election_spread.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.random.below(spread))
    }

    /// Follows, in `term`, which is not older than the present one.
    pub(crate) fn become_follower(&mut self, now: Time, term: Term, leader: Option<NodeId>) {
        assert!(term >= self.hard_state.term, "term {term} after {}", self.hard_state.term);
        if term > self.hard_state.term {
            self.hard_state = HardState { term, vote: None };
        }
        if matches!(&self.role, Role::Leader(leader) if !leader.reads.is_empty()) {
            marks::hit(Mark::ReadsAbandoned);
        }
        let deadline = Self::election_deadline(&self.config, &self.log, &mut self.random, now);
        self.role = Role::Follower(Follower::new(leader, now, deadline));
    }

    /// Nobody has been heard for long enough.
    pub(crate) fn campaign_if_due(&mut self, now: Time) {
        let deadline = match &self.role {
            Role::Follower(follower) => follower.next_tick(),
            Role::Candidate(candidate) => Some(candidate.deadline),
            Role::Leader(_) => None,
        };
        if deadline.is_none_or(|deadline| now < deadline) || !self.may_stand() {
            return;
        }
        if self.abstains(now) {
            let later = self.abstains_until.after(self.random_spread());
            match &mut self.role {
                Role::Follower(follower) => follower.deadline = later,
                Role::Candidate(candidate) => candidate.deadline = later,
                Role::Leader(_) => {}
            }
            return;
        }
        self.campaign(now, VoteKind::Pre);
    }

    /// Stands for election at the wish of the driver.
    pub(crate) fn campaign_at_once(&mut self, now: Time) -> Result<(), Refused> {
        if !self.may_stand() {
            return Err(Refused::NotVoter(self.config.node));
        }
        if !self.is_leader() && !self.abstains(now) {
            self.campaign(now, VoteKind::Pre);
        }
        Ok(())
    }

    /// The leader wants this replica to take its place (thesis 3.10).
    pub(crate) fn timeout_now(&mut self, now: Time, from: NodeId, term: Term) {
        let is_from_leader = matches!(&self.role, Role::Follower(follower) if follower.leader == Some(from));
        // The leader has given up its lease with this.
        if term == self.hard_state.term && is_from_leader && self.may_stand() {
            self.campaign(now, VoteKind::Transfer);
        }
    }

    fn campaign(&mut self, now: Time, kind: VoteKind) {
        let node = self.config.node;
        // Even who decides alone waits: for its own vote to be stored. Asking again before that would never end.
        let deadline = self.patience_ends(now);
        let term = self.hard_state.term.next();
        let mut votes = Vec::new();
        if kind == VoteKind::Pre {
            votes.push((node, true));
        } else {
            self.hard_state = HardState { term, vote: Some(node) };
            // Its own vote counts once it is stored: after a crash it could vote for another.
            self.send_when_stored(node, Message::VoteReply(VoteReply { is_pre: false, term, is_granted: true }));
        }
        self.role = Role::Candidate(Candidate { kind, votes, deadline });
        let request = Message::VoteRequest(VoteRequest { kind, term, last: self.log.last() });
        let others: Vec<_> = self.voters().filter(|voter| *voter != node).collect();
        // A vote answers for the log that was shown. Were the request to leave before term and log are stored, a crash could take the end of the log and
        // the term; standing for the same term again, with less, the replica would count the votes that its longer log was given.
        let is_at_once = kind == VoteKind::Pre || bugs::is_planted(Bug::VoteRequestBeforeStored);
        for voter in others {
            if is_at_once {
                self.send(voter, request.clone());
            } else {
                self.send_when_stored(voter, request.clone());
            }
        }
        self.count_votes(now);
    }

    fn voters(&self) -> impl Iterator<Item = NodeId> + '_ {
        let membership = self.log.membership();
        membership.nodes().filter(|node| membership.is_voter(*node))
    }

    fn count_votes(&mut self, now: Time) {
        let Role::Candidate(candidate) = &self.role else { return };
        let kind = candidate.kind;
        let tally = if bugs::is_planted(Bug::JointCountsNewVotersOnly) {
            let votes = |node| candidate.vote_of(node);
            self.log.membership().without_outgoing().tally(votes)
        } else {
            let votes = |node| candidate.vote_of(node);
            let membership = self.log.membership();
            if self.config.is_unanimous_at_first && self.log.membership_index() <= self.first_membership_index {
                membership.tally_unanimous(votes)
            } else {
                membership.tally(votes)
            }
        };
        match (tally, kind) {
            (Tally::Won, VoteKind::Pre) => self.campaign(now, VoteKind::Real),
            (Tally::Won, VoteKind::Real) => self.become_leader(now),
            (Tally::Won, VoteKind::Transfer) => {
                marks::hit(Mark::HandoverDone);
                self.become_leader(now);
            }
            // It would not be elected: wait for somebody who is, and ask again when nobody was.
            (Tally::Lost, _) => self.become_follower(now, self.hard_state.term, None),
            (Tally::Open, _) => {}
        }
    }

    /// Somebody stands for election.
    pub(crate) fn vote_request(&mut self, now: Time, from: NodeId, request: VoteRequest) {
        let is_pre = request.kind == VoteKind::Pre;
        self.forget_leader_that_stands(now, from, request.term);
        // While a leader is at work an election would only disturb it, or break its lease. A leader gets the sender back by speaking to it.
        let is_under_a_leader = self.is_under_a_leader(now);
        if request.kind != VoteKind::Transfer && (is_under_a_leader || self.abstains(now)) {
            marks::hit(if is_under_a_leader { Mark::PreVoteUnderLeader } else { Mark::Abstained });
            self.wake_leader_for(now, from);
            return;
        }
        if request.term < self.hard_state.term {
            self.refuse_vote(from, is_pre);
            return;
        }
        let is_log_new_enough = request.last >= self.log.last() || bugs::is_planted(Bug::VoteIgnoresLog);
        if is_pre {
            if request.term > self.hard_state.term && is_log_new_enough {
                let reply = VoteReply { is_pre, term: request.term, is_granted: true };
                self.send(from, Message::VoteReply(reply));
            } else {
                self.refuse_vote(from, is_pre);
            }
            return;
        }
        if request.term > self.hard_state.term {
            self.become_follower(now, request.term, None);
        }
        let has_leader = match &self.role {
            Role::Follower(follower) => follower.leader.is_some(),
            Role::Candidate(_) => false,
            Role::Leader(_) => true,
        };
        let is_free = match self.hard_state.vote {
            None => !has_leader,
            Some(vote) => vote == from || bugs::is_planted(Bug::VoteForgotten) && !has_leader,
        };
        if !is_free || !is_log_new_enough {
            self.refuse_vote(from, is_pre);
            return;
        }
        self.hard_state.vote = Some(from);
        let deadline = self.patience_ends(now);
        if let Role::Follower(follower) = &mut self.role {
            follower.deadline = deadline;
        }
        let reply = Message::VoteReply(VoteReply { is_pre, term: request.term, is_granted: true });
        if bugs::is_planted(Bug::VoteBeforeStored) {
            self.send(from, reply);
        } else {
            self.send_when_stored(from, reply);
        }
    }

    /// The leader was heard: no other may be helped until a lease that rests on the answer has run out.
    pub(crate) fn support_lease(&mut self, now: Time) {
        if self.config.lease.is_some() && !bugs::is_planted(Bug::LeaseForgottenByVoter) {
            self.abstains_until = self.abstains_until.max(now.after(self.config.election_timeout));
        }
    }

    fn abstains(&self, now: Time) -> bool {
        now < self.abstains_until
    }

    fn is_under_a_leader(&self, now: Time) -> bool {
        match &self.role {
            Role::Follower(_) => self.hears_its_leader(now),
            Role::Candidate(_) => false,
            Role::Leader(leader) => leader.hears_a_quorum(now, &self.config, self.log.membership()),
        }
    }

    fn refuse_vote(&mut self, to: NodeId, is_pre: bool) {
        let reply = VoteReply { is_pre, term: self.hard_state.term, is_granted: false };
        self.send(to, Message::VoteReply(reply));
    }

    /// A voter has answered.
    pub(crate) fn vote_reply(&mut self, now: Time, from: NodeId, reply: VoteReply) {
        if !reply.is_granted && reply.term > self.hard_state.term {
            marks::hit(Mark::RefusalRaisedTerm);
            self.become_follower(now, reply.term, None);
            return;
        }
        let term = self.hard_state.term;
        let Role::Candidate(candidate) = &mut self.role else { return };
        if reply.is_pre != candidate.is_pre() {
            return;
        }
        // A grant names the term it is for. A refusal names the voter's own, which for a pre-vote may be any that is not newer.
        let asked = if reply.is_pre { term.next() } else { term };
        let is_answer = if reply.is_granted { reply.term == asked } else { reply.is_pre || reply.term == asked };
        if is_answer && candidate.vote_of(from).is_none() {
            candidate.votes.push((from, reply.is_granted));
            self.count_votes(now);
        }
    }
}
