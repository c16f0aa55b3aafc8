//! A whole cluster from one seed: clocks that drift, a network and disks that are late and fail, and everything that a server asks of the core.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use corelode_raft::{Config, Input, Lease, LogIndex, Membership, Message, NodeId, PersistId, ReadId};

use super::history::{Before, History, Replicas};
use super::node::{Disk, Envelope, Node, Snapshot, Turn};

mod acts;
mod ending;
mod plan;

use plan::{ACTS, CALM, Clock, MILLISECOND, Plan, Random, SECOND, Weather};

/// How much the elections of two clocks may differ, and how far the simulation lets them.
const DRIFT_MAX: Duration = Duration::from_millis(100);

/// What waits for a node's next turn.
enum Waiting {
    Core(Input),
    Propose,
    Read(ReadId),
    Envelope(Envelope),
    Write,
    Truncate,
    Install(Snapshot),
}

struct Machine {
    id: NodeId,
    /// `None` while it is down.
    node: Option<Node>,
    /// `None` while it runs: the node has it.
    disk: Option<Disk>,
    incarnation: u64,
    clock: Clock,
    inbox: Vec<Waiting>,
    turn_at: Option<u64>,
    paused_until: u64,
    /// Its disk is done with all that was given to it.
    disk_free_at: u64,
    disk_ms_max: u64,
    /// Which peers it takes to be there, and in which incarnation.
    peers: BTreeMap<NodeId, (bool, u64)>,
}

enum Event {
    Turn { id: NodeId, incarnation: u64 },
    Deliver(Envelope),
    Written { id: NodeId, incarnation: u64 },
    SnapshotArrives { from: NodeId, incarnation: u64, to: NodeId, snapshot: Snapshot },
    LookAround,
    Act,
    ReadEverywhere,
    Uprising { against: NodeId },
}

/// How much a run did, so that nobody believes in tests that do nothing.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Counts {
    pub(crate) committed: u64,
    pub(crate) reads: u64,
    pub(crate) turns: u64,
}

pub(crate) struct Simulation {
    now: u64,
    random: Random,
    plan: Plan,
    machines: BTreeMap<NodeId, Machine>,
    /// By time, and in the order in which they were scheduled.
    events: BTreeMap<(u64, u64), Event>,
    scheduled: u64,
    cut: BTreeSet<(NodeId, NodeId)>,
    weather: Weather,
    history: History,
    initial: Membership,
    payloads: u64,
    reads: u64,
    is_calm: bool,
    /// Says what every turn gives out, for those who look for the cause of a failure.
    is_traced: bool,
    counts: Counts,
}

impl Replicas for Simulation {
    fn disk(&self, node: NodeId) -> Option<&Disk> {
        let machine = self.machines.get(&node)?;
        machine.node.as_ref().map(|node| &node.disk).or(machine.disk.as_ref())
    }

    fn running(&self) -> Box<dyn Iterator<Item = (NodeId, &Node)> + '_> {
        Box::new(self.machines.iter().filter_map(|(id, machine)| machine.node.as_ref().map(|node| (*id, node))))
    }
}

/// Runs one seed from beginning to end.
///
/// # Panics
/// If anything that must hold does not.
pub(crate) fn run(seed: u64) -> Counts {
    let mut simulation = Simulation::new(seed);
    simulation.run_until(simulation.plan.duration);
    simulation.finish();
    simulation.counts.committed = simulation.history.committed().0;
    simulation.counts
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed.wrapping_mul(0x5851_F42D_4C95_7F2D));
        let nodes = random.between(3, 8);
        let voters = [1, 3, 3, 3, 4, 5, 5][usize::try_from(random.below(7)).unwrap()].min(nodes);
        let learner = (voters < nodes && random.percent(50)).then_some(NodeId(voters + 1));
        let initial = Membership::new((1..=voters).map(NodeId), learner).unwrap();
        let plan = Plan {
            lease: random.percent(50),
            silence: random.percent(40),
            act_ms_max: random.pick(&[20, 60, 200, 600]).unwrap(),
            weights: ACTS
                .iter()
                .map(|(act, weight)| (*act, weight * random.pick(&[0, 1, 1, 4]).unwrap() + 1))
                .collect(),
            duration: random.between(4, 24) * SECOND,
        };
        let mut simulation = Self {
            now: 0,
            random,
            plan,
            machines: BTreeMap::new(),
            events: BTreeMap::new(),
            scheduled: 0,
            cut: BTreeSet::new(),
            weather: CALM,
            history: History::default(),
            initial,
            payloads: 0,
            reads: 0,
            is_calm: false,
            is_traced: std::env::var_os("CORELODE_RAFT_TRACE").is_some(),
            counts: Counts::default(),
        };
        for id in (1..=nodes).map(NodeId) {
            let clock = Clock { started: 0, base: 0, rate: 1_000_000 };
            let machine = Machine {
                id,
                node: None,
                disk: Some(Disk::new(simulation.initial.clone())),
                incarnation: 0,
                clock,
                inbox: Vec::new(),
                turn_at: None,
                paused_until: 0,
                disk_free_at: 0,
                disk_ms_max: 3,
                peers: BTreeMap::new(),
            };
            simulation.machines.insert(id, machine);
            simulation.start(id);
        }
        simulation.schedule(0, Event::Act);
        simulation.schedule(500 * MILLISECOND, Event::LookAround);
        simulation
    }

    fn config(&mut self, id: NodeId) -> Config {
        let mut config = Config::new(id, self.random.next());
        config.append_bytes_max = 40;
        config.in_flight_messages_max = 4;
        config.in_flight_bytes_max = 120;
        config.lease = self.plan.lease.then_some(Lease { drift_max: DRIFT_MAX });
        config.may_fall_silent = self.plan.silence;
        config
    }

    fn start(&mut self, id: NodeId) {
        // Over an election timeout two clocks part by less than the bound.
        let clock = Clock {
            started: self.now,
            base: self.random.below(1000) * SECOND,
            rate: self.random.between(960_000, 1_040_000),
        };
        let config = self.config(id);
        let disk_ms_max = if self.is_calm { 3 } else { self.random.pick(&[1, 3, 3, 30, 300]).unwrap() };
        let machine = self.machines.get_mut(&id).unwrap();
        let Some(disk) = machine.disk.take() else { return };
        machine.node = Some(Node::start(config, disk, clock.local(self.now)));
        machine.incarnation += 1;
        machine.clock = clock;
        machine.turn_at = None;
        machine.paused_until = 0;
        machine.disk_free_at = self.now;
        machine.disk_ms_max = disk_ms_max;
        machine.peers.clear();
        self.wake(id, self.now);
    }

    fn crash(&mut self, id: NodeId) {
        let (whole, entries) = (self.random.below(4), self.random.below(5));
        let is_torn = self.random.percent(50);
        let machine = self.machines.get_mut(&id).unwrap();
        machine.inbox.clear();
        let Some(node) = machine.node.take() else { return };
        self.history.crashed();
        let whole = usize::try_from(whole).unwrap();
        machine.disk = Some(node.crash(whole, is_torn.then(|| usize::try_from(entries).unwrap())));
    }

    fn crash_while_installing(&mut self, id: NodeId, snapshot: Snapshot) {
        let machine = self.machines.get_mut(&id).unwrap();
        machine.inbox.clear();
        let Some(node) = machine.node.take() else { return };
        self.history.crashed();
        machine.disk = Some(node.crash_while_installing(snapshot));
    }

    fn schedule(&mut self, after: u64, event: Event) {
        self.scheduled += 1;
        self.events.insert((self.now + after, self.scheduled), event);
    }

    /// Makes sure that the node has a turn at `at`, or before.
    fn wake(&mut self, id: NodeId, at: u64) {
        let machine = self.machines.get_mut(&id).unwrap();
        let at = at.max(self.now).max(machine.paused_until);
        if machine.node.is_some() && machine.turn_at.is_none_or(|turn_at| at < turn_at) {
            machine.turn_at = Some(at);
            let incarnation = machine.incarnation;
            self.schedule(at - self.now, Event::Turn { id, incarnation });
        }
    }

    /// Something waits for the node's next turn, which may be a while.
    fn give(&mut self, id: NodeId, waiting: Waiting) {
        let machine = self.machines.get_mut(&id).unwrap();
        if machine.node.is_some() {
            machine.inbox.push(waiting);
            let at = self.now + self.random.below(2 * MILLISECOND);
            self.wake(id, at);
        }
    }

    fn run_until(&mut self, end: u64) {
        while let Some(next) = self.events.first_entry().filter(|next| next.key().0 <= end) {
            let ((at, _), event) = next.remove_entry();
            self.now = at;
            self.happen(event);
        }
        self.now = end;
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Turn { id, incarnation } => {
                let machine = self.machines.get_mut(&id).unwrap();
                if machine.incarnation == incarnation && machine.turn_at == Some(self.now) && machine.node.is_some() {
                    machine.turn_at = None;
                    if machine.paused_until > self.now {
                        self.wake(id, self.now);
                    } else {
                        self.turn(id);
                    }
                }
            }
            Event::Deliver(envelope) => {
                if matches!(envelope.message, Message::TimeoutNow { .. }) && !self.is_calm && self.random.percent(50) {
                    // A leader goes deaf at the moment at which its successor is told.
                    let others = self.ids().into_iter().filter(|id| *id != envelope.from);
                    self.cut.extend(others.map(|id| (id, envelope.from)));
                    self.read_for_a_while();
                }
                if !self.cut.contains(&(envelope.from, envelope.to)) && self.machines.contains_key(&envelope.to) {
                    self.give(envelope.to, Waiting::Envelope(envelope));
                }
            }
            Event::Written { id, incarnation } => {
                if self.machines[&id].incarnation == incarnation {
                    self.give(id, Waiting::Write);
                }
            }
            Event::SnapshotArrives { from, incarnation, to, snapshot } => {
                let is_there = self.machines[&from].incarnation == incarnation && self.machines[&from].node.is_some();
                let is_lost = self.cut.contains(&(from, to)) || !self.is_calm && self.random.percent(20);
                if is_there && !is_lost && !self.is_calm && self.random.percent(10) {
                    self.crash_while_installing(to, snapshot);
                } else if is_there && !is_lost {
                    self.give(to, Waiting::Install(snapshot));
                }
                if is_there {
                    self.give(from, Waiting::Core(Input::SnapshotEnded { to }));
                }
            }
            Event::LookAround => {
                self.look_around();
                self.schedule(500 * MILLISECOND, Event::LookAround);
            }
            Event::Uprising { against } => {
                for id in self.ids().into_iter().filter(|id| *id != against) {
                    self.give(id, Waiting::Core(Input::Campaign));
                }
            }
            Event::ReadEverywhere => self.read_everywhere(),
            Event::Act => {
                if !self.is_calm {
                    self.act();
                    let after = self.random.below(self.plan.act_ms_max * MILLISECOND);
                    self.schedule(after, Event::Act);
                }
            }
        }
    }

    /// Nodes notice who is there, as the beats between their cores would tell them.
    fn look_around(&mut self) {
        let ids: Vec<_> = self.machines.keys().copied().collect();
        for id in &ids {
            for peer in ids.iter().filter(|peer| *peer != id) {
                let there = &self.machines[peer];
                let is_cut = self.cut.contains(&(*id, *peer)) || self.cut.contains(&(*peer, *id));
                let seen = (there.node.is_some() && !is_cut, there.incarnation);
                let machine = self.machines.get_mut(id).unwrap();
                let known = machine.peers.insert(*peer, seen).unwrap_or((true, seen.1));
                if known.0 && (!seen.0 || known.1 != seen.1) {
                    self.give(*id, Waiting::Core(Input::PeerDown(*peer)));
                }
                if seen.0 && known != seen {
                    self.give(*id, Waiting::Core(Input::PeerUp(*peer)));
                }
            }
        }
    }

    fn turn(&mut self, id: NodeId) {
        let machine = self.machines.get_mut(&id).unwrap();
        let now = machine.clock.local(self.now);
        let node = machine.node.as_mut().unwrap();
        let before = Before::of(node);
        // A server that was stopped may see what waits for it before it sees the time.
        let is_tick_first = self.random.percent(50);
        if is_tick_first && node.raft.next_tick().is_some_and(|tick| tick <= now) {
            let _ = node.input(now, Input::Tick);
        }
        for waiting in std::mem::take(&mut machine.inbox) {
            match waiting {
                Waiting::Core(input) => drop(node.input(now, input)),
                Waiting::Propose => {
                    self.payloads += 1;
                    let bytes = u32::try_from(self.random.between(1, 30)).unwrap();
                    let is_receipt_awaited = self.random.percent(30);
                    let _ = node.propose(now, self.payloads, bytes, is_receipt_awaited);
                }
                Waiting::Read(read) => {
                    if node.input(now, Input::Read(read)).is_ok() {
                        self.history.read_begins(read);
                    }
                }
                Waiting::Envelope(envelope) => node.receive(now, envelope),
                Waiting::Write => {
                    let mut id: PersistId = node.finish_write().unwrap_or_default();
                    while self.random.percent(20) {
                        id = node.finish_write().unwrap_or(id);
                    }
                    let _ = node.input(now, Input::Stored(id));
                }
                Waiting::Truncate => {
                    let through = self.random.below(node.applied.0 + 1);
                    node.truncate(now, LogIndex(through));
                }
                Waiting::Install(snapshot) => drop(node.install(now, snapshot)),
            }
        }
        if !is_tick_first && node.raft.next_tick().is_some_and(|tick| tick <= now) {
            let _ = node.input(now, Input::Tick);
        }
        let turn = node.end_turn(now);
        if self.is_traced {
            let (status, log) = (node.raft.status(), node.raft.log());
            let (last, stored, committed) = (log.last(), log.stored(), log.committed());
            eprintln!("{} node {id} {status:?} last {last} stored {stored} committed {committed} {turn:?}", self.now);
        }
        let tick = node.raft.next_tick();
        let mut history = std::mem::take(&mut self.history);
        history.check(self, id, before, &turn);
        self.history = history;
        self.counts.turns += 1;
        self.counts.reads += turn.reads.len() as u64;
        self.carry_out(id, turn);
        if let Some(tick) = tick {
            let at = self.machines[&id].clock.global(tick).max(self.now + MILLISECOND / 10);
            self.wake(id, at);
        }
    }

    fn carry_out(&mut self, id: NodeId, turn: Turn) {
        let machine = self.machines.get_mut(&id).unwrap();
        let incarnation = machine.incarnation;
        if turn.is_written {
            let took = self.random.below(machine.disk_ms_max * MILLISECOND);
            machine.disk_free_at = machine.disk_free_at.max(self.now + took);
            let after = machine.disk_free_at - self.now;
            self.schedule(after, Event::Written { id, incarnation });
        }
        for to in turn.snapshots {
            self.send_snapshot(id, to);
        }
        for envelope in turn.envelopes {
            self.send(Envelope { from: id, ..envelope });
        }
    }

    /// Some are on their way from an earlier leader when a later one sends entries: they come when nobody asked any more.
    fn send_snapshot(&mut self, from: NodeId, to: NodeId) {
        let Machine { node: Some(node), incarnation, .. } = &self.machines[&from] else { return };
        let (snapshot, incarnation) = (node.snapshot(), *incarnation);
        let after = self.random.between(1, 400) * MILLISECOND;
        self.schedule(after, Event::SnapshotArrives { from, incarnation, to, snapshot });
    }

    fn send(&mut self, envelope: Envelope) {
        if self.cut.contains(&(envelope.from, envelope.to)) || self.random.percent(self.weather.lost_percent) {
            return;
        }
        let copies = if self.random.percent(self.weather.doubled_percent) { 2 } else { 1 };
        for _ in 0..copies {
            let is_handover = matches!(envelope.message, Message::TimeoutNow { .. });
            let is_late = self.random.percent(self.weather.late_percent);
            let max = match is_late {
                // It may come when it was given up.
                _ if is_handover && !self.is_calm && self.random.percent(40) => 3000,
                true => self.weather.late_ms_max,
                false => self.weather.delay_ms_max,
            };
            let after = self.random.below(max * MILLISECOND);
            self.schedule(after, Event::Deliver(envelope.clone()));
        }
    }

    fn ids(&self) -> Vec<NodeId> {
        self.machines.keys().copied().collect()
    }

    fn leaders(&self) -> Vec<NodeId> {
        self.running().filter(|(_, node)| node.raft.is_leader()).map(|(id, _)| id).collect()
    }
}
