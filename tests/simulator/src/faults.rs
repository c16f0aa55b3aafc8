//! Faults as data: what happens to a cluster and when, made from a seed, readable, and carried out by [`apply`].

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use corelode_engine::env::simulated::{CrashPolicy, Failure, InjectedError, PathClass, Random, StepKind};

use crate::cluster::{Shape, SimulatedCluster};
use crate::network::{Latency, Place};

/// Something that happens to a cluster.
#[derive(Clone, PartialEq, Debug)]
pub enum Fault {
    /// A node ends at once, and its disk keeps what the policy says.
    Crash(u64, CrashPolicy),
    /// All nodes end at once, and are started again after so long.
    PowerCut(CrashPolicy, Duration),
    /// A node's disk takes so many times longer than usual.
    SlowDisk(u64, u32),
    /// A node that does not run is started.
    Start(u64),
    /// A node is asked to stop in order, as by SIGTERM.
    Stop(u64),
    /// Whoever leads a partition is to hand it to a node.
    Transfer(u16, u64),
    /// Whoever leads a partition is to give its group these voters and learners.
    ChangeMembership(u16, Vec<u64>, Vec<u64>),
    /// A node's disk is full as soon as its files hold so many bytes, or holds whatever comes.
    FullDisk(u64, Option<u64>),
    /// A node stands still, as by SIGSTOP.
    Pause(u64),
    /// It goes on.
    Resume(u64),
    /// What the first says the second does not hear.
    OneWay(u64, u64),
    /// Those on one side and all others do not hear each other.
    Partition(Vec<u64>),
    /// All partitions are over.
    Heal,
    /// Everything works again, for a while.
    Calm,
    /// The connections between two nodes break.
    Cut(u64, u64),
    /// Bytes take at least so long from now on.
    Slow(Duration),
    /// A node's wall clock jumps by so many milliseconds.
    ClockStep(u64, i64),
    /// An operation of a node's disk fails.
    DiskError(u64, StepKind, PathClass, u64),
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self:?}")
    }
}

/// What happens when.
pub type Plan = Vec<(Duration, Fault)>;

/// The plan of a seed: faults until `until`. At most a minority is down at once, but partitions may leave no majority for a while.
#[must_use]
pub fn plan(shape: &Shape, until: Duration, random: &mut Random) -> Plan {
    let mut planner = Planner { shape: *shape, random, down: BTreeSet::new(), paused: BTreeSet::new(), full: None };
    let mut plan = Plan::new();
    let mut at = Duration::from_millis(500);
    // Some seeds are wild, and some quiet.
    let pause_ms = 200 + planner.random.below(3_000);
    let mut calm_at = CALM_EVERY;
    while at < until {
        if at > calm_at {
            plan.push((at, planner.calm()));
            at += CALM;
            calm_at = at + CALM_EVERY;
            continue;
        }
        let fault = planner.next();
        if let Fault::PowerCut(_, off) = fault {
            let power_returns = at + off;
            plan.push((at, fault));
            plan.extend((1..=shape.nodes).map(|node| (power_returns, Fault::Start(node))));
            at = power_returns;
        } else {
            plan.push((at, fault));
        }
        at += Duration::from_millis(20 + planner.random.below(pause_ms));
    }
    plan
}

/// Faults do not go on for longer without a time in which everything works: what a cluster that never recovers does says little.
const CALM_EVERY: Duration = Duration::from_secs(7);
const CALM: Duration = Duration::from_millis(1_500);

struct Planner<'a> {
    shape: Shape,
    random: &'a mut Random,
    down: BTreeSet<u64>,
    paused: BTreeSet<u64>,
    full: Option<u64>,
}

impl Planner<'_> {
    fn node(&mut self) -> u64 {
        1 + self.random.below(self.shape.nodes)
    }

    fn calm(&mut self) -> Fault {
        self.down.clear();
        self.paused.clear();
        self.full = None;
        Fault::Calm
    }

    fn partition(&mut self) -> u16 {
        u16::try_from(self.random.below(u64::from(self.shape.partitions))).expect("few partitions")
    }

    /// Some of the nodes vote, and of the others some learn.
    fn change_membership(&mut self) -> Fault {
        let partition = self.partition();
        let mut nodes: Vec<_> = (1..=self.shape.nodes).collect();
        let mut voters = Vec::new();
        while !nodes.is_empty() && (voters.len() < 2 || self.random.below(4) > 0) {
            voters.push(nodes.swap_remove(self.random.position(nodes.len())));
        }
        nodes.retain(|_| self.random.below(2) == 0);
        voters.sort_unstable();
        Fault::ChangeMembership(partition, voters, nodes)
    }

    fn next(&mut self) -> Fault {
        let (node, other) = (self.node(), self.node());
        let minority = usize::try_from((self.shape.nodes - 1) / 2).expect("few nodes");
        match self.random.below(26) {
            0..=2 => {
                if let Some(down) = self.down.pop_first() {
                    return Fault::Start(down);
                }
                let policy = CrashPolicy::ALL[self.random.position(CrashPolicy::ALL.len())];
                if minority > 0 {
                    self.down.insert(node);
                }
                Fault::Crash(node, policy)
            }
            3 => match self.down.pop_first() {
                Some(down) => Fault::Start(down),
                None => Fault::Heal,
            },
            4 | 5 => match self.paused.pop_first() {
                Some(paused) => Fault::Resume(paused),
                None => {
                    self.paused.insert(node);
                    Fault::Pause(node)
                }
            },
            6 if node != other => Fault::OneWay(node, other),
            7 | 8 => {
                let side = (1..=self.shape.nodes).filter(|_| self.random.below(2) == 0).collect();
                Fault::Partition(side)
            }
            9 => Fault::Partition(vec![node]),
            10 if node != other => Fault::Cut(node, other),
            11 => Fault::Slow(Duration::from_micros(20 + self.random.below(20_000))),
            12 => Fault::ClockStep(node, i64::try_from(self.random.below(20_000)).expect("small") - 10_000),
            13 if self.down.is_empty() => {
                let (kind, class) = [
                    (StepKind::LogWriteEnd, PathClass::Log),
                    (StepKind::SyncData, PathClass::Table),
                    (StepKind::Create, PathClass::Table),
                    (StepKind::Rename, PathClass::Manifest),
                ][self.random.position(4)];
                Fault::DiskError(node, kind, class, self.random.below(20))
            }
            14 => {
                let policy = CrashPolicy::ALL[self.random.position(CrashPolicy::ALL.len())];
                self.down.clear();
                self.paused.clear();
                Fault::PowerCut(policy, Duration::from_millis(self.random.below(500)))
            }
            15 | 16 => Fault::SlowDisk(node, [1, 1, 10, 50, 200][self.random.position(5)]),
            17 | 18 => Fault::Transfer(self.partition(), node),
            19 | 20 => self.change_membership(),
            21 => {
                if minority > 0 && self.down.is_empty() {
                    self.down.insert(node);
                }
                Fault::Stop(node)
            }
            22 => match self.full.take() {
                Some(full) => Fault::FullDisk(full, None),
                None => {
                    self.full = Some(node);
                    Fault::FullDisk(node, Some(self.random.below(3 * 1024 * 1024)))
                }
            },
            _ => Fault::Heal,
        }
    }
}

/// Carries a fault out.
pub fn apply(cluster: &mut SimulatedCluster, fault: &Fault) {
    let place = Place::Node;
    match fault {
        Fault::Crash(node, policy) => cluster.crash(*node, *policy),
        Fault::PowerCut(policy, _) => cluster.nodes().for_each(|node| cluster.crash(node, *policy)),
        Fault::SlowDisk(node, times) => {
            if let Some(environment) = cluster.environment(*node) {
                environment.set_slowness(*times);
            }
        }
        Fault::Start(node) => cluster.start(*node),
        Fault::Stop(node) => cluster.stop(*node),
        Fault::Transfer(partition, to) => cluster.transfer_leadership(*partition, *to),
        Fault::ChangeMembership(partition, voters, learners) => {
            cluster.change_membership(*partition, voters, learners);
        }
        Fault::FullDisk(node, capacity_bytes) => {
            if let Some(environment) = cluster.environment(*node) {
                environment.set_capacity_bytes(*capacity_bytes);
            }
        }
        Fault::Pause(node) => cluster.set_paused(*node, true),
        Fault::Resume(node) => cluster.set_paused(*node, false),
        Fault::OneWay(from, to) => cluster.network.block(place(*from), place(*to)),
        Fault::Partition(side) => {
            for inside in side {
                for outside in cluster.nodes().filter(|node| !side.contains(node)) {
                    cluster.network.block(place(*inside), place(outside));
                    cluster.network.block(place(outside), place(*inside));
                }
            }
        }
        Fault::Heal => cluster.network.heal(),
        Fault::Calm => cluster.heal(),
        Fault::Cut(one, other) => cluster.network.cut(place(*one), place(*other)),
        Fault::Slow(least) => cluster.network.set_latency(Latency { least: *least, spread: *least * 4 }),
        Fault::ClockStep(node, by_ms) => cluster.step_wall_clock(*node, *by_ms),
        Fault::DiskError(node, kind, class, after) => {
            if let Some(environment) = cluster.environment(*node) {
                let failure = Failure::InputOutput;
                environment.inject(InjectedError { kind: *kind, class: Some(*class), after: *after, failure });
            }
        }
    }
}
