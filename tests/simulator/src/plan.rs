//! The plan of a seed: which faults happen when.
//!
//! Each seed knows only some kinds of faults, others are wild ("swarm testing", Groce and others, 2012): where everything happens at once, nothing has the time to go far wrong.

use std::collections::BTreeSet;
use std::time::Duration;

use corelode_engine::env::simulated::{CrashPolicy, PathClass, Random, StepKind};

use crate::cluster::Shape;
use crate::faults::Fault;

/// What happens when.
pub type Plan = Vec<(Duration, Fault)>;

/// Faults do not go on for longer without a time in which everything works: what a cluster that never recovers does says little.
const CALM_EVERY: Duration = Duration::from_secs(7);
/// That lasts until there can be leaders, and so much longer.
const CALM: Duration = Duration::from_millis(800);

/// What faults may take away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent {
    /// Whatever a majority does not need.
    Anything,
    /// Not what a node has in memory.
    NoMemory,
}

/// The plan of a seed: faults until `until`. At most a minority is down at once, but partitions may leave no majority for a while.
#[must_use]
pub fn plan(shape: &Shape, until: Duration, extent: Extent, random: &mut Random) -> Plan {
    let mut planner = Planner::new(*shape, extent, random);
    let mut plan = Plan::new();
    let mut at = Duration::from_millis(500);
    // Some seeds are wild, and some quiet.
    let pause_ms_max = [300, 1_000, 3_000][planner.random.position(3)];
    let pause_ms = 50 + planner.random.below(pause_ms_max);
    let mut calm_at = CALM_EVERY;
    while at < until {
        if at > calm_at {
            plan.push((at, planner.calm()));
            at += shape.election_timeout * 2 + CALM;
            calm_at = at + CALM_EVERY;
            continue;
        }
        let (fault, then) = planner.next();
        plan.push((at, fault));
        for (after, fault) in then {
            at += after;
            plan.push((at, fault));
        }
        at += Duration::from_millis(20 + planner.random.below(pause_ms));
    }
    plan
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Crash,
    Bounce,
    PowerCut,
    Pause,
    Stop,
    OneWay,
    Halves,
    Alone,
    Cut,
    SlowNetwork,
    ClockStep,
    SlowDisk,
    FullDisk,
    DiskError,
    BitRot,
    Wipe,
    Transfer,
    Membership,
}

impl Kind {
    const ALL: [Self; 18] = [
        Self::Crash,
        Self::Bounce,
        Self::PowerCut,
        Self::Pause,
        Self::Stop,
        Self::OneWay,
        Self::Halves,
        Self::Alone,
        Self::Cut,
        Self::SlowNetwork,
        Self::ClockStep,
        Self::SlowDisk,
        Self::FullDisk,
        Self::DiskError,
        Self::BitRot,
        Self::Wipe,
        Self::Transfer,
        Self::Membership,
    ];

    /// The kinds that a seed knows. Of what may take the last good copy away where it meets another of its kind there is one: of two voters one may be the only one with all
    /// entries, and its tables damaged or its disk lost.
    fn of_seed(extent: Extent, random: &mut Random) -> Vec<Self> {
        let mut kinds = Self::ALL.to_vec();
        kinds.retain(|kind| extent == Extent::Anything || !kind.takes_memory());
        kinds.retain(|_| random.below(2) == 0);
        let losses = [Self::Membership, Self::BitRot, Self::Wipe];
        let kept = [Self::Membership, Self::Membership, Self::BitRot, Self::Wipe][random.position(4)];
        kinds.retain(|kind| *kind == kept || !losses.contains(kind));
        if kinds.is_empty() { vec![Self::Cut, Self::Alone] } else { kinds }
    }

    /// Whether a node may lose what it has in memory alone.
    fn takes_memory(self) -> bool {
        let takers =
            [Self::Crash, Self::Bounce, Self::PowerCut, Self::FullDisk, Self::DiskError, Self::BitRot, Self::Wipe];
        takers.contains(&self)
    }
}

struct Planner<'a> {
    shape: Shape,
    extent: Extent,
    random: &'a mut Random,
    kinds: Vec<Kind>,
    down: BTreeSet<u64>,
    paused: BTreeSet<u64>,
    full: Option<u64>,
    /// All bits that turn over do so on one node's disk: a partition that is damaged everywhere is lost.
    rotten: Option<u64>,
    /// One disk is lost.
    has_wiped: bool,
}

impl<'a> Planner<'a> {
    fn new(shape: Shape, extent: Extent, random: &'a mut Random) -> Self {
        let kinds = Kind::of_seed(extent, random);
        Self {
            shape,
            extent,
            random,
            kinds,
            down: BTreeSet::new(),
            paused: BTreeSet::new(),
            full: None,
            rotten: None,
            has_wiped: false,
        }
    }

    fn node(&mut self) -> u64 {
        1 + self.random.below(self.shape.nodes)
    }

    fn partition(&mut self) -> u16 {
        u16::try_from(self.random.below(u64::from(self.shape.partitions))).expect("few partitions")
    }

    fn crash_policy(&mut self) -> CrashPolicy {
        CrashPolicy::ALL[self.random.position(CrashPolicy::ALL.len())]
    }

    fn calm(&mut self) -> Fault {
        self.down.clear();
        self.paused.clear();
        self.full = None;
        Fault::Calm
    }

    /// A fault, and what follows it after how long.
    fn next(&mut self) -> (Fault, Vec<(Duration, Fault)>) {
        let number = self.random.position(self.kinds.len() * 5 / 4 + 1);
        let Some(kind) = self.kinds.get(number).copied() else { return (Fault::Heal, Vec::new()) };
        let node = self.node();
        let other = 1 + node % self.shape.nodes;
        let fault = match kind {
            Kind::Crash => match self.down.pop_first() {
                Some(down) => Fault::Start(down),
                None => {
                    self.take_down(node);
                    Fault::Crash(node, self.crash_policy())
                }
            },
            Kind::Bounce => {
                let soon = Duration::from_millis(self.random.below(30));
                return (Fault::Crash(node, self.crash_policy()), vec![(soon, Fault::Start(node))]);
            }
            Kind::PowerCut => {
                let power_returns = Duration::from_millis(self.random.below(500));
                self.down.clear();
                self.paused.clear();
                let starts = (1..=self.shape.nodes).map(|node| {
                    let after = if node == 1 { power_returns } else { Duration::ZERO };
                    (after, Fault::Start(node))
                });
                let cut = Fault::PowerCut(self.crash_policy());
                if self.random.below(2) == 0 {
                    return (cut, starts.collect());
                }
                // Much is in memory alone when it happens.
                let mut faults: Vec<_> =
                    (2..=self.shape.nodes).map(|node| (Duration::ZERO, Fault::SlowDisk(node, 400))).collect();
                faults.push((Duration::from_millis(self.random.below(200)), cut));
                faults.extend(starts);
                return (Fault::SlowDisk(1, 400), faults);
            }
            Kind::Pause => match self.paused.pop_first() {
                Some(paused) => Fault::Resume(paused),
                None => {
                    self.paused.insert(node);
                    Fault::Pause(node)
                }
            },
            Kind::Stop => {
                if self.down.is_empty() {
                    self.take_down(node);
                }
                Fault::Stop(node)
            }
            Kind::OneWay => Fault::OneWay(node, other),
            Kind::Halves => Fault::Partition(self.some_nodes()),
            Kind::Alone => Fault::Partition(vec![node]),
            Kind::Cut => Fault::Cut(node, other),
            Kind::SlowNetwork => Fault::Slow(Duration::from_micros(20 + self.random.below(20_000))),
            Kind::ClockStep => {
                Fault::ClockStep(node, i64::try_from(self.random.below(20_000)).expect("small") - 10_000)
            }
            Kind::SlowDisk => Fault::SlowDisk(node, [1, 1, 10, 50, 200][self.random.position(5)]),
            Kind::FullDisk => match self.full.take() {
                Some(full) => Fault::FullDisk(full, None),
                None => {
                    self.full = Some(node);
                    Fault::FullDisk(node, Some(self.random.below(3 * 1024 * 1024)))
                }
            },
            Kind::DiskError => {
                let (kind, class) = [
                    (StepKind::LogWriteEnd, PathClass::Log),
                    (StepKind::SyncData, PathClass::Table),
                    (StepKind::Create, PathClass::Table),
                    (StepKind::Rename, PathClass::Manifest),
                ][self.random.position(4)];
                Fault::DiskError(node, kind, class, self.random.below(20))
            }
            Kind::BitRot => Fault::BitRot(*self.rotten.get_or_insert(node), self.random.next_u64()),
            Kind::Wipe if self.has_wiped => Fault::Heal,
            Kind::Wipe => {
                self.has_wiped = true;
                return (
                    Fault::Wipe(node),
                    vec![(Duration::from_millis(self.random.below(3_000)), Fault::Start(node))],
                );
            }
            Kind::Transfer => {
                let fault = Fault::Transfer(self.partition(), node);
                if self.random.below(2) > 0 || self.extent == Extent::NoMemory {
                    return (fault, Vec::new());
                }
                // The one that is to lead ends before it does, often before it is told.
                let ends = Fault::Crash(node, self.crash_policy());
                let soon = Duration::from_micros(self.random.below(800));
                return (fault, vec![(soon, ends), (self.while_others_wait(), Fault::Start(node))]);
            }
            Kind::Membership => {
                let fault = self.change_membership();
                if self.random.below(2) > 0 {
                    return (fault, Vec::new());
                }
                // Those on the two sides may count on different members.
                let parted = Fault::Partition(self.some_nodes());
                return (fault, vec![(self.moment(), parted), (self.while_others_wait(), Fault::Heal)]);
            }
        };
        (fault, Vec::new())
    }

    fn some_nodes(&mut self) -> Vec<u64> {
        (1..=self.shape.nodes).filter(|_| self.random.below(2) == 0).collect()
    }

    /// As long as a message or a write is on its way.
    fn moment(&mut self) -> Duration {
        Duration::from_micros(self.random.below(4_000))
    }

    /// Long enough that others lose patience.
    fn while_others_wait(&mut self) -> Duration {
        self.shape.election_timeout * 2 + Duration::from_millis(self.random.below(500))
    }

    fn take_down(&mut self, node: u64) {
        if self.shape.nodes > 2 {
            self.down.insert(node);
        }
    }

    /// Some of the nodes vote, and of the others some learn.
    fn change_membership(&mut self) -> Fault {
        let partition = self.partition();
        let mut nodes: Vec<_> = (1..=self.shape.nodes).collect();
        let mut voters = Vec::new();
        let voters_min = 1 + self.random.position(2);
        while !nodes.is_empty() && (voters.len() < voters_min || self.random.below(4) > 0) {
            voters.push(nodes.swap_remove(self.random.position(nodes.len())));
        }
        nodes.retain(|_| self.random.below(2) == 0);
        voters.sort_unstable();
        Fault::ChangeMembership(partition, voters, nodes)
    }
}
