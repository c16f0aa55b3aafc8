//! The end of a run: the faults stop, and all must come right.

use corelode_raft::{Input, Membership, NodeId, ReadId};

use super::plan::{CALM, MILLISECOND, SECOND};
use super::{Machine, Simulation, Waiting};
use crate::cluster::history::Replicas;

impl Simulation {
    /// The faults end: a leader is found, all come to the same, and clients are served again. Then perhaps the leader dies, once all is silent.
    pub(super) fn finish(&mut self) {
        self.is_calm = true;
        self.cut.clear();
        self.weather = CALM;
        for id in self.ids() {
            self.start(id);
            let machine = self.machines.get_mut(&id).unwrap();
            machine.paused_until = 0;
            machine.disk_ms_max = 3;
            self.wake(id, self.now);
        }
        self.settle("after the faults ended");
        if self.random.percent(50) {
            self.run_until(self.now + 5 * SECOND);
            self.settle("after a while of silence");
            let leader = self.settled_leader().expect("it has settled");
            self.kill(leader);
            self.settle("after the leader died");
        }
        if self.random.percent(50) {
            // Whoever is to lead dies before it hears of it, or just then.
            let leader = self.settled_leader().expect("it has settled");
            let voters = self.node(leader).unwrap().raft.membership().voters().to_vec();
            let to = self.random.pick(&voters).unwrap();
            self.give(leader, Waiting::Core(Input::Transfer { to }));
            let end = self.now + self.random.below(5 * MILLISECOND);
            self.run_until(end);
            self.kill(to);
        }
        if self.random.percent(50) {
            self.remove_leader();
        }
        self.serve();
    }

    /// The leader is to leave the group, and one of those that stay dies meanwhile.
    fn remove_leader(&mut self) {
        self.settle("before the leader is removed");
        let leader = self.settled_leader().expect("it has settled");
        let voters = self.node(leader).unwrap().raft.membership().voters().to_vec();
        let others: Vec<_> = voters.into_iter().filter(|voter| *voter != leader).collect();
        let Ok(membership) = Membership::new(others.iter().copied(), []) else { return };
        let running = others.iter().filter(|voter| self.machines[*voter].node.is_some()).count();
        if running * 2 <= others.len() {
            return;
        }
        let can_lose_one = (running - 1) * 2 > others.len();
        let victim = self.random.pick(&others).unwrap();
        self.give(leader, Waiting::Core(Input::ChangeMembership(membership)));
        let end = self.now + self.random.below(30 * MILLISECOND);
        self.run_until(end);
        if can_lose_one {
            self.kill(victim);
        }
    }

    /// Crashes a node for good, if the others can do without it.
    fn kill(&mut self, id: NodeId) {
        let others = |voters: &[NodeId]| {
            let left = voters.iter().filter(|other| **other != id && self.machines[*other].node.is_some()).count();
            voters.is_empty() || left * 2 > voters.len()
        };
        let is_dispensable = self
            .running()
            .all(|(_, node)| others(node.raft.membership().voters()) && others(node.raft.membership().outgoing()));
        if is_dispensable {
            self.crash(id);
        }
    }

    fn settle(&mut self, when: &str) {
        let deadline = self.now + 10 * SECOND;
        while self.settled_leader().is_none() {
            assert!(
                self.now < deadline,
                "liveness: ten seconds {when} the group has not settled:\n{}",
                self.describe()
            );
            self.run_until(self.now + 50 * MILLISECOND);
        }
    }

    /// The leader, if there is one whose members that run have all that it has, committed.
    fn settled_leader(&self) -> Option<NodeId> {
        let leaders = self.leaders();
        let (id, leader) = leaders
            .iter()
            .map(|id| (*id, self.node(*id).unwrap()))
            .max_by_key(|(_, node)| node.raft.hard_state().term)?;
        let last = leader.raft.log().last();
        let membership = leader.raft.membership();
        let has_all = |member: NodeId| {
            self.node(member).is_none_or(|node| node.raft.log().last() == last && node.applied == last.index)
        };
        let is_settled = last.term == leader.raft.hard_state().term
            && membership.is_voter(id)
            && !membership.is_joint()
            && membership.nodes().all(has_all);
        is_settled.then_some(id)
    }

    /// A proposal is committed, a read answered.
    fn serve(&mut self) {
        let deadline = self.now + 5 * SECOND;
        let (committed, reads) = (self.history.committed(), self.counts.reads);
        while self.history.committed() <= committed || self.counts.reads == reads {
            assert!(self.now < deadline, "liveness: clients are not served:\n{}", self.describe());
            for leader in self.leaders() {
                self.reads += 1;
                self.give(leader, Waiting::Propose);
                self.give(leader, Waiting::Read(ReadId(self.reads)));
            }
            self.run_until(self.now + 100 * MILLISECOND);
        }
    }

    fn describe(&self) -> String {
        let describe = |machine: &Machine| match &machine.node {
            None => format!("node {} is down\n", machine.id),
            Some(node) => format!(
                "node {}: {:?}, last {}, committed {}, truncated {}, members {}, next tick {:?} at {:?}, {:?}\n",
                machine.id,
                node.raft.status(),
                node.raft.log().last(),
                node.raft.log().committed(),
                node.raft.log().truncated(),
                node.raft.membership(),
                node.raft.next_tick(),
                machine.clock.local(self.now),
                node.raft
                    .followers()
                    .map(|(id, progress)| (id.0, progress.state(), progress.next().0))
                    .collect::<Vec<_>>()
            ),
        };
        self.machines.values().map(describe).collect()
    }
}
