//! A follower: takes its leader's entries, and waits for it to fall silent.

use crate::bugs::{self, Bug};
use crate::ids::{LogIndex, LogPosition, NodeId, Round, Term, Time};
use crate::marks::{self, Mark};
use crate::membership::Membership;
use crate::message::{Append, AppendOutcome, AppendReply, Message};
use crate::raft::{Accepted, Raft, Refused, Role};

pub(crate) struct Follower {
    pub(crate) leader: Option<NodeId>,
    /// When the leader was last heard.
    heard_at: Time,
    /// When it stands up, unless the leader is heard.
    pub(crate) deadline: Time,
    /// How far the log is known to be the leader's. Invariant: committed entries are, whether counted here or not.
    matched: LogIndex,
    /// The leader's newest round that was heard of.
    round: Round,
    /// The leader has said that it will say no more.
    is_quiet: bool,
}

impl Follower {
    pub(crate) fn new(leader: Option<NodeId>, now: Time, deadline: Time) -> Self {
        Self { leader, heard_at: now, deadline, matched: LogIndex(0), round: Round(0), is_quiet: false }
    }

    pub(crate) fn next_tick(&self) -> Option<Time> {
        (!self.is_quiet).then_some(self.deadline)
    }
}

impl Raft {
    /// Whether there is, as far as this follower can tell, a leader at work, so that nobody else need stand for election (thesis 4.2.3).
    pub(crate) fn hears_its_leader(&self, now: Time) -> bool {
        let Role::Follower(follower) = &self.role else { return false };
        follower.leader.is_some() && (follower.is_quiet || now.since(follower.heard_at) < self.config.election_timeout)
    }

    /// A leader that stands for election leads no more. Whoever was told to be quiet by it must know: the new leader may not reach it.
    pub(crate) fn forget_leader_that_stands(&mut self, now: Time, candidate: NodeId, term: Term) {
        let Role::Follower(follower) = &self.role else { return };
        if follower.leader == Some(candidate) && term > self.hard_state.term {
            marks::hit(Mark::LeaderStoodDown);
            self.become_follower(now, self.hard_state.term, None);
        }
    }

    /// Takes a leader's entries, and answers once they are stored.
    pub(crate) fn append_entries(&mut self, now: Time, from: NodeId, append: &Append) -> Accepted {
        if append.term < self.hard_state.term {
            // A leader that was deposed without knowing steps down when it sees the term. It may lead again by now, in this term: the round that it named
            // is one of its earlier term, and answers nothing.
            let round = if bugs::is_planted(Bug::EarlierTermsRoundAnswered) { append.round } else { Round(0) };
            self.reply(from, round, AppendOutcome::Stored(LogIndex(0)), false);
            return Accepted::Noted;
        }
        if append.term > self.hard_state.term || !matches!(self.role, Role::Follower(_)) {
            assert!(
                append.term > self.hard_state.term || !self.is_leader(),
                "nodes {from} and {} both lead term {}",
                self.config.node,
                append.term
            );
            self.become_follower(now, append.term, Some(from));
        }
        let deadline = self.patience_ends(now);
        let Role::Follower(follower) = &mut self.role else { unreachable!("it follows now") };
        assert!(
            follower.leader.is_none_or(|leader| leader == from),
            "nodes {from} and {:?} both lead term {}",
            follower.leader,
            append.term
        );
        follower.leader = Some(from);
        follower.heard_at = now;
        follower.deadline = deadline;
        follower.round = follower.round.max(append.round);
        follower.is_quiet = false;
        self.support_lease(now);

        let previous = append.previous;
        let is_there = previous.index <= self.log.committed()
            || self.log.term_at(previous.index) == Some(previous.term)
            || bugs::is_planted(Bug::AppendSkipsPrevious) && previous.index <= self.log.last().index;
        if !is_there {
            marks::hit(Mark::AppendRejected);
            let hint = self.log.last_with_term_at_most(previous.index, previous.term);
            self.reply(from, append.round, AppendOutcome::Rejected { previous: previous.index, hint }, false);
            return Accepted::Noted;
        }
        let first_new = self.add_entries(append);
        self.follow(from, append);
        first_new.map_or(Accepted::Noted, |first| Accepted::Store { first })
    }

    /// Adds the entries that are not there yet; of those that conflict the log's own give way. The first that is new.
    fn add_entries(&mut self, append: &Append) -> Option<LogIndex> {
        let mut first_new = None;
        let mut index = append.previous.index;
        for entry in &append.entries.infos {
            index = index.next();
            // What is truncated was committed, and is the same.
            if index <= self.log.committed() || self.log.term_at(index) == Some(entry.term) {
                continue;
            }
            if bugs::is_planted(Bug::ConflictKept) && self.log.term_at(index).is_some() {
                continue;
            }
            if index <= self.log.last().index {
                marks::hit(Mark::ConflictCut);
                self.log.cut_from(index);
                self.output.own_entries.retain(|own| own.position.index < index);
            }
            self.append(entry);
            first_new = first_new.or(Some(index));
        }
        first_new
    }

    /// The log matches the leader's up to the message's end: commits, and answers.
    fn follow(&mut self, from: NodeId, append: &Append) {
        let end = append.previous.index.plus(append.entries.infos.len() as u64);
        let committed_before = self.log.committed();
        let Role::Follower(follower) = &mut self.role else { return };
        follower.matched = follower.matched.max(end).max(committed_before);
        let (matched, round) = (follower.matched, follower.round);
        // Beyond what matches the log may hold another leader's entries (scylladb #10578).
        let bound = if bugs::is_planted(Bug::CommitBeyondMatched) { self.log.last().index } else { matched };
        self.commit_to(append.committed.min(bound));
        // What a leader that is down said before is no reason to rely on it.
        let is_quiet = append.is_quiet
            && self.log.last().index == end
            && self.log.committed() == end
            && !self.down.contains(&from);
        if let Role::Follower(follower) = &mut self.role {
            follower.is_quiet = is_quiet;
        }
        // Were the term not stored, a crash would let an older leader's entries back in where these were acknowledged.
        let stored = if self.is_term_stored() {
            self.log.stored()
        } else {
            marks::hit(Mark::AcknowledgementWaitsForTerm);
            LogIndex(0)
        };
        if stored >= matched || bugs::is_planted(Bug::AppendAcknowledgedBeforeStored) {
            self.reply(from, round, AppendOutcome::Stored(matched), is_quiet);
            return;
        }
        if append.is_receipt_awaited {
            self.reply(from, round, AppendOutcome::Received(matched), is_quiet);
        } else if append.is_round_awaited {
            self.reply(from, round, AppendOutcome::Stored(stored.min(matched)), is_quiet);
        }
        let term = self.hard_state.term;
        let outcome = AppendOutcome::Stored(matched);
        self.send_when_stored(from, Message::AppendReply(AppendReply { term, round, outcome, is_quiet }));
    }

    fn reply(&mut self, to: NodeId, round: Round, outcome: AppendOutcome, is_quiet: bool) {
        let term = self.hard_state.term;
        self.send(to, Message::AppendReply(AppendReply { term, round, outcome, is_quiet }));
    }

    /// The leader, or another voter, cannot be reached. A follower that was told to be quiet has nobody to rely on any more.
    pub(crate) fn follower_peer_down(&mut self, now: Time, node: NodeId) {
        let spread = self.random_spread();
        let Role::Follower(follower) = &mut self.role else { return };
        if follower.leader == Some(node) && follower.is_quiet && !bugs::is_planted(Bug::SilentForGood) {
            marks::hit(Mark::Woke);
            follower.is_quiet = false;
            // The driver has waited for the node already.
            follower.deadline = now.after(spread);
        }
    }

    /// A snapshot has taken the place of the log.
    pub(crate) fn snapshot_installed(
        &mut self,
        now: Time,
        position: LogPosition,
        membership: Membership,
    ) -> Result<(), Refused> {
        if position.index <= self.log.committed() && !bugs::is_planted(Bug::StaleSnapshotInstalled) {
            marks::hit(Mark::SnapshotStale);
            return Err(Refused::Stale);
        }
        // Votes that a candidate has asked for were asked for with the log of before, and it may not be a member any more.
        if position.term > self.hard_state.term || matches!(self.role, Role::Candidate(_)) {
            self.become_follower(now, position.term.max(self.hard_state.term), None);
        }
        let is_suffix_kept = self.log.term_at(position.index) == Some(position.term);
        if is_suffix_kept && !bugs::is_planted(Bug::SnapshotDropsSuffix) {
            // The log goes on behind the snapshot.
            if self.log.last().index > position.index {
                marks::hit(Mark::SnapshotKeepsSuffix);
            }
            self.commit_to(position.index);
            self.log.truncate(position.index);
        } else {
            marks::hit(Mark::SnapshotReplacesLog);
            self.log.reset(position, membership);
            self.output.committed = Some(position.index);
        }
        // Of what a leader of this very turn has added only what is in the log still is to be stored.
        let kept = position.index.next()..=self.log.last().index;
        self.output.own_entries.retain(|own| kept.contains(&own.position.index));
        if let Role::Follower(follower) = &mut self.role {
            follower.matched = follower.matched.max(position.index);
            if let (Some(leader), round) = (follower.leader, follower.round) {
                self.reply(leader, round, AppendOutcome::Stored(position.index), false);
            }
        }
        Ok(())
    }
}
