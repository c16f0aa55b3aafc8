//! Linearizable reads: a round of messages that a quorum answers, shared by all reads of a turn, or a lease (thesis 6.4).

use crate::bugs::{self, Bug};
use crate::ids::{ReadId, Round, Time};
use crate::leader::WaitingRead;
use crate::marks::{self, Mark};
use crate::progress::Progress;
use crate::raft::{Raft, ReadReady, Refused, Role};

/// Rounds whose begin is remembered for the lease.
const ROUNDS_REMEMBERED: usize = 64;

impl Raft {
    pub(crate) fn read(&mut self, now: Time, id: ReadId) -> Result<(), Refused> {
        let committed = self.log.committed();
        let leader = self.leading(now)?;
        // What earlier leaders committed is known to be so once an entry of this term is (thesis 6.4, step 1).
        let index =
            if bugs::is_planted(Bug::ReadBeforeOwnTerm) { committed } else { committed.max(leader.first_of_term) };
        let round = if bugs::is_planted(Bug::ReadCountsEarlierRound) { leader.round } else { leader.round.next() };
        leader.is_round_due = true;
        leader.reads.push_back(WaitingRead { id, round, index });
        Ok(())
    }

    /// Begins the round that reads of this turn wait for, if there are any.
    pub(crate) fn begin_round(&mut self, now: Time) -> bool {
        let is_leased = self.config.lease.is_some();
        let heartbeat_interval = self.config.heartbeat_interval;
        let Role::Leader(leader) = &mut self.role else { return false };
        let newest = leader.rounds_begun.back().map(|(_, at)| *at).or(leader.lease_begun);
        let is_lease_due = is_leased && newest.is_none_or(|at| now.since(at) >= heartbeat_interval);
        let has_reads = std::mem::take(&mut leader.is_round_due) && !leader.reads.is_empty();
        if !has_reads && !is_lease_due {
            return false;
        }
        leader.round = leader.round.next();
        if leader.rounds_begun.len() == ROUNDS_REMEMBERED {
            // Not the oldest: were answers later than so many rounds, none would ever be remembered when its answer comes.
            leader.rounds_begun.pop_back();
        }
        leader.rounds_begun.push_back((leader.round, now));
        true
    }

    /// A follower has answered a round.
    pub(crate) fn count_round(&mut self) {
        let answered = self.round_answered();
        let Role::Leader(leader) = &mut self.role else { return };
        while let Some((_, begun)) = leader.rounds_begun.pop_front_if(|(round, _)| *round <= answered) {
            leader.lease_begun = Some(begun);
        }
    }

    /// The newest round that a quorum has answered.
    fn round_answered(&self) -> Round {
        let Role::Leader(leader) = &self.role else { return Round(0) };
        let answered = |node| {
            if node == self.config.node {
                leader.round
            } else {
                leader.followers.get(&node).map_or(Round(0), |progress: &Progress| progress.round)
            }
        };
        self.log.membership().reached_by_quorum(answered)
    }

    /// Hands out the reads that may be answered once their entry is applied.
    pub(crate) fn answer_reads(&mut self, now: Time) {
        let answered = self.round_answered();
        let lease = self.config.lease;
        let election_timeout = self.config.election_timeout;
        let Role::Leader(leader) = &mut self.role else { return };
        let holds_lease = !leader.is_lease_forfeit
            && lease.zip(leader.lease_begun).is_some_and(|(lease, begun)| {
                now.since(begun) + lease.drift_max < election_timeout || bugs::is_planted(Bug::LeaseNeverEnds)
            });
        let may_answer =
            |read: &mut WaitingRead| read.round <= answered || holds_lease || bugs::is_planted(Bug::ReadWithoutRound);
        while let Some(read) = leader.reads.pop_front_if(may_answer) {
            marks::hit(if read.round <= answered { Mark::RoundRead } else { Mark::LeaseRead });
            self.output.reads.push(ReadReady { id: read.id, index: read.index });
        }
    }
}
