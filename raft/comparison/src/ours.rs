//! Ours, with disks that are done at once.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use corelode_raft::{
    Config, HardState, Input, LogIndex, LogPosition, Membership, Message, NodeId, Output, Raft, Restart, Time,
};

use crate::{Group, State};

const BEAT: Duration = Duration::from_secs(1);

pub(crate) struct Cluster {
    now: Time,
    nodes: Vec<Raft>,
    sent: VecDeque<(u64, u64, Message)>,
}

impl Cluster {
    fn turn(&mut self, node: u64, input: Input, cut: &BTreeSet<(u64, u64)>) {
        let raft = &mut self.nodes[node as usize - 1];
        let _ = raft.step(self.now, input);
        let mut output = Output::default();
        loop {
            raft.end_turn(self.now, &mut output);
            for (to, message) in output.messages.drain(..) {
                if !cut.contains(&(node, to.0)) {
                    self.sent.push_back((node, to.0, message));
                }
            }
            let Some(persist) = output.persist else { return };
            let _ = raft.step(self.now, Input::Stored(persist));
        }
    }

    fn settle(&mut self, cut: &BTreeSet<(u64, u64)>) {
        while let Some((from, to, message)) = self.sent.pop_front() {
            self.turn(to, Input::Message { from: NodeId(from), message }, cut);
        }
    }
}

impl Group for Cluster {
    fn new(nodes: u64) -> Self {
        let membership = Membership::new((1..=nodes).map(NodeId), []).expect("these are members");
        let start = |node| {
            let restart = Restart {
                hard_state: HardState::default(),
                truncated: LogPosition::ZERO,
                membership: membership.clone(),
                entries: Vec::new(),
                committed: LogIndex(0),
            };
            let mut config = Config::new(NodeId(node), node);
            // Nobody is kept from an election by a leader, and no leader speaks but when it is told to: it is never ticked either.
            config.election_timeout = Duration::from_millis(1);
            config.heartbeat_interval = BEAT;
            Raft::new(config, restart, Time(0))
        };
        Self { now: Time(0), nodes: (1..=nodes).map(start).collect(), sent: VecDeque::new() }
    }

    fn campaign(&mut self, node: u64, cut: &BTreeSet<(u64, u64)>) {
        self.now = self.now.after(Duration::from_millis(2));
        self.turn(node, Input::Campaign, cut);
        self.settle(cut);
    }

    fn propose(&mut self, node: u64, cut: &BTreeSet<(u64, u64)>) {
        self.turn(node, Input::Propose { bytes: 10, is_receipt_awaited: false }, cut);
        self.settle(cut);
    }

    fn beat(&mut self, cut: &BTreeSet<(u64, u64)>) {
        for _ in 0..3 {
            self.now = self.now.after(BEAT);
            for node in 1..=self.nodes.len() as u64 {
                if self.leads(node) {
                    // Anything that ends in a turn: at a tick it would find that it has not heard of a quorum.
                    self.turn(node, Input::Unreachable(NodeId(node)), cut);
                }
            }
            self.settle(cut);
        }
    }

    fn leads(&self, node: u64) -> bool {
        self.nodes[node as usize - 1].is_leader()
    }

    fn state(&self, node: u64) -> State {
        let raft = &self.nodes[node as usize - 1];
        let log =
            (1..=raft.log().last().index.0).map(|index| raft.log().term_at(LogIndex(index)).expect("it is there").0);
        State { term: raft.hard_state().term.0, log: log.collect(), committed: raft.log().committed().0 }
    }
}
