//! What clients and operators ask, and what goes wrong.

use std::collections::BTreeSet;

use corelode_raft::{Input, Membership, NodeId, ReadId};

use super::plan::{Act, CALM, MILLISECOND, Weather};
use super::{Event, Simulation, Waiting};

impl Simulation {
    /// Somebody who believes to lead, mostly; else anybody.
    fn target(&mut self) -> NodeId {
        let leaders = self.leaders();
        let ids = self.ids();
        let is_any = self.random.percent(10);
        self.random.pick(&leaders).filter(|_| !is_any).or_else(|| self.random.pick(&ids)).unwrap()
    }

    /// One thing that a client, an operator or bad luck does. How often each happens is the seed's choice.
    pub(super) fn act(&mut self) {
        let total = self.plan.weights.iter().map(|(_, weight)| weight).sum();
        let mut place = self.random.below(total);
        let weights = &self.plan.weights;
        let (act, _) =
            weights.iter().find(|(_, weight)| place.checked_sub(*weight).map(|left| place = left).is_none()).unwrap();
        let act = *act;
        let ids = self.ids();
        let any = self.random.pick(&ids).unwrap();
        let other = self.random.pick(&ids).unwrap();
        let target = self.target();
        match act {
            Act::Propose => {
                for _ in 0..self.random.between(1, 6) {
                    self.give(target, Waiting::Propose);
                }
            }
            Act::Read => self.read_everywhere(),
            Act::Truncate => self.give(any, Waiting::Truncate),
            Act::Transfer => self.give(target, Waiting::Core(Input::Transfer { to: other })),
            Act::Campaign => self.give(any, Waiting::Core(Input::Campaign)),
            Act::Change => {
                for _ in 0..self.random.between(1, 4) {
                    self.change(target);
                }
                if self.random.percent(50) {
                    self.coup(target);
                }
            }
            Act::Crash => self.crash(any),
            Act::Start => self.start(any),
            Act::Cut => drop(self.cut.insert((any, other))),
            Act::Isolate => self.isolate(target),
            Act::Coup => self.coup(target),
            Act::Heal => self.cut.clear(),
            Act::Pause => {
                let until = self.now + self.random.below(2500) * MILLISECOND;
                self.machines.get_mut(&any).unwrap().paused_until = until;
            }
            Act::Weather => self.change_weather(),
            Act::Disk => {
                let disk_ms_max = self.random.pick(&[1, 3, 30, 300, 1500]).unwrap();
                self.machines.get_mut(&any).unwrap().disk_ms_max = disk_ms_max;
            }
            Act::Unreachable => self.give(target, Waiting::Core(Input::Unreachable(other))),
            Act::Snapshot => self.send_snapshot(target, other),
            Act::Suspect => {
                self.give(any, Waiting::Core(Input::PeerDown(other)));
                let incarnation = self.machines[&other].incarnation;
                self.machines.get_mut(&any).unwrap().peers.insert(other, (false, incarnation));
            }
        }
    }

    pub(super) fn read_everywhere(&mut self) {
        for leader in self.leaders() {
            self.reads += 1;
            self.give(leader, Waiting::Read(ReadId(self.reads)));
        }
    }

    /// Reads of all that believe to lead, while another may.
    pub(super) fn read_for_a_while(&mut self) {
        for _ in 0..5 {
            let after = self.random.below(1000) * MILLISECOND;
            self.schedule(after, Event::ReadEverywhere);
        }
    }

    /// The others are made to elect another leader at once, while this one does not hear of it.
    fn coup(&mut self, leader: NodeId) {
        self.isolate(leader);
        let is_with_restart = self.random.percent(30);
        for id in self.ids().into_iter().filter(|id| *id != leader) {
            if is_with_restart {
                self.crash(id);
                self.start(id);
            }
        }
        // Until all have left the one that they heard, they refuse each other.
        for wave in 0..3 {
            let after = wave * self.random.below(50) * MILLISECOND;
            self.schedule(after, Event::Uprising { against: leader });
        }
        self.read_for_a_while();
    }

    fn isolate(&mut self, node: NodeId) {
        // In one of the two directions, or in both.
        let (is_deaf, is_mute) =
            [(true, true), (true, false), (false, true)][usize::try_from(self.random.below(3)).unwrap()];
        // With somebody on its side, sometimes.
        let ids = self.ids();
        let friend = if self.random.percent(40) { self.random.pick(&ids) } else { None };
        let side = |id: NodeId| id == node || Some(id) == friend;
        for inside in ids.iter().copied().filter(|id| side(*id)) {
            for outside in ids.iter().copied().filter(|id| !side(*id)) {
                if is_mute {
                    self.cut.insert((inside, outside));
                }
                if is_deaf {
                    self.cut.insert((outside, inside));
                }
            }
        }
    }

    fn change_weather(&mut self) {
        self.weather = match self.random.below(4) {
            0 => CALM,
            1 => {
                Weather { lost_percent: 10, doubled_percent: 10, late_percent: 10, delay_ms_max: 10, late_ms_max: 500 }
            }
            2 => Weather { lost_percent: 2, doubled_percent: 30, late_percent: 30, delay_ms_max: 5, late_ms_max: 3000 },
            _ => Weather { lost_percent: 40, doubled_percent: 5, late_percent: 5, delay_ms_max: 50, late_ms_max: 1000 },
        };
    }

    fn change(&mut self, target: NodeId) {
        let mut voters = BTreeSet::new();
        let mut learners = BTreeSet::new();
        for id in self.ids() {
            match self.random.below(10) {
                0..6 => drop(voters.insert(id)),
                6..8 => drop(learners.insert(id)),
                _ => {}
            }
        }
        if let Ok(membership) = Membership::new(voters, learners) {
            self.give(target, Waiting::Core(Input::ChangeMembership(membership)));
        }
    }
}
