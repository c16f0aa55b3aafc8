//! TiKV's, with its storage in memory.

use std::collections::{BTreeSet, VecDeque};

use raft::prelude::{ConfState, Message};
use raft::storage::MemStorage;
use raft::{Config, RawNode, StateRole};
use slog::{Discard, Logger, o};

use crate::{Group, State};

pub(crate) struct Cluster {
    nodes: Vec<RawNode<MemStorage>>,
    sent: VecDeque<Message>,
}

impl Cluster {
    fn turn(&mut self, node: u64, cut: &BTreeSet<(u64, u64)>) {
        let raft = &mut self.nodes[node as usize - 1];
        while raft.has_ready() {
            let mut ready = raft.ready();
            let mut messages = ready.take_messages();
            let storage = raft.raft.raft_log.store.clone();
            storage.wl().append(ready.entries()).expect("entries follow each other");
            if let Some(hard_state) = ready.hs() {
                storage.wl().set_hardstate(hard_state.clone());
            }
            messages.extend(ready.take_persisted_messages());
            let mut light = raft.advance(ready);
            messages.extend(light.take_messages());
            raft.advance_apply();
            self.sent.extend(messages.into_iter().filter(|message| !cut.contains(&(node, message.to))));
        }
    }

    fn settle(&mut self, cut: &BTreeSet<(u64, u64)>) {
        while let Some(message) = self.sent.pop_front() {
            let to = message.to;
            let _ = self.nodes[to as usize - 1].step(message);
            self.turn(to, cut);
        }
    }
}

impl Group for Cluster {
    fn new(nodes: u64) -> Self {
        let logger = Logger::root(Discard, o!());
        let start = |node| {
            let config = Config {
                id: node,
                election_tick: 1_000_000,
                heartbeat_tick: 1,
                max_size_per_msg: 512 << 10,
                max_inflight_msgs: 256,
                pre_vote: true,
                ..Config::default()
            };
            let members = ConfState::from(((1..=nodes).collect::<Vec<_>>(), vec![]));
            RawNode::new(&config, MemStorage::new_with_conf_state(members), &logger).expect("it starts")
        };
        Self { nodes: (1..=nodes).map(start).collect(), sent: VecDeque::new() }
    }

    fn campaign(&mut self, node: u64, cut: &BTreeSet<(u64, u64)>) {
        let _ = self.nodes[node as usize - 1].campaign();
        self.turn(node, cut);
        self.settle(cut);
    }

    fn propose(&mut self, node: u64, cut: &BTreeSet<(u64, u64)>) {
        let _ = self.nodes[node as usize - 1].propose(vec![], vec![7; 10]);
        self.turn(node, cut);
        self.settle(cut);
    }

    fn beat(&mut self, cut: &BTreeSet<(u64, u64)>) {
        for _ in 0..3 {
            for node in 1..=self.nodes.len() as u64 {
                if self.leads(node) {
                    self.nodes[node as usize - 1].tick();
                    self.turn(node, cut);
                }
            }
            self.settle(cut);
        }
    }

    fn leads(&self, node: u64) -> bool {
        self.nodes[node as usize - 1].raft.state == StateRole::Leader
    }

    fn state(&self, node: u64) -> State {
        let raft = &self.nodes[node as usize - 1].raft;
        let log = (1..=raft.raft_log.last_index()).map(|index| raft.raft_log.term(index).expect("it is there"));
        State { term: raft.term, log: log.collect(), committed: raft.raft_log.committed }
    }
}
