//! Faults as data: what happens to a cluster, readable, and carried out by [`apply`]. A [plan](crate::plan) says what happens when.

use std::fmt;
use std::time::Duration;

use corelode_engine::env::simulated::{CrashPolicy, Failure, InjectedError, PathClass, StepKind};

use crate::cluster::SimulatedCluster;
use crate::network::{Latency, Place};

/// Something that happens to a cluster.
#[derive(Clone, PartialEq, Debug)]
pub enum Fault {
    /// A node ends at once, and its disk keeps what the policy says.
    Crash(u64, CrashPolicy),
    /// All nodes end at once.
    PowerCut(CrashPolicy),
    /// A node's disk takes so many times longer than usual.
    SlowDisk(u64, u32),
    /// A node ends at once, and its disk is replaced by an empty one.
    Wipe(u64),
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
    /// A bit turns over in one of the tables on a node's disk, which of them a number says.
    BitRot(u64, u64),
    /// An operation of a node's disk fails.
    DiskError(u64, StepKind, PathClass, u64),
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self:?}")
    }
}

/// Carries a fault out.
pub fn apply(cluster: &mut SimulatedCluster, fault: &Fault) {
    let place = Place::Node;
    match fault {
        Fault::Crash(node, policy) => cluster.crash(*node, *policy),
        Fault::PowerCut(policy) => cluster.nodes().for_each(|node| cluster.crash(node, *policy)),
        Fault::SlowDisk(node, times) => {
            if let Some(environment) = cluster.environment(*node) {
                environment.set_slowness(*times);
            }
        }
        Fault::Start(node) => cluster.start(*node),
        Fault::Wipe(node) => cluster.wipe(*node),
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
        Fault::BitRot(node, random) => cluster.rot(*node, *random),
        Fault::DiskError(node, kind, class, after) => {
            if let Some(environment) = cluster.environment(*node) {
                let failure = Failure::InputOutput;
                environment.inject(InjectedError { kind: *kind, class: Some(*class), after: *after, failure });
            }
        }
    }
}
