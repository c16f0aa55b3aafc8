//! What a simulation is: a seed, the manners of its disk, and the faults it is to meet. All of it is data.

use std::io;

use super::disk;
use super::step::{PathClass, StepKind};
use crate::env::LogMode;

/// A simulated world.
#[derive(Clone, Debug)]
pub struct SimulationOptions {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// When operations complete.
    pub completion: Completion,
    /// What the log finds.
    pub log_mode: LogMode,
    /// Which pages of a new map are in memory.
    pub residency: Residency,
    /// How many times longer than usual operations take.
    pub slowness: u32,
    /// The length of all files together at which the disk is full.
    pub capacity_bytes: Option<u64>,
    /// The faults.
    pub faults: FaultPlan,
    /// How many of the latest steps the trace keeps. Its hash covers all.
    pub trace_length_max: usize,
    /// The wall clock at the start, milliseconds since the Unix epoch.
    pub wall_clock_ms: u64,
}

impl SimulationOptions {
    /// A disk without faults whose operations overlap as a seed has it.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            completion: Completion::Delayed,
            log_mode: LogMode::DirectSynced,
            residency: Residency::Random,
            slowness: 1,
            capacity_bytes: None,
            faults: FaultPlan::default(),
            trace_length_max: 16 * 1024,
            wall_clock_ms: 1_700_000_000_000,
        }
    }

    /// A disk without faults whose operations complete at once, for visiting every step of a run in a fixed order.
    #[must_use]
    pub fn in_order() -> Self {
        Self { completion: Completion::Immediate, residency: Residency::All, ..Self::new(0) }
    }

    /// The same with a crash.
    #[must_use]
    pub fn crash_at(mut self, point: CrashPoint) -> Self {
        self.faults.crash = Some(point);
        self
    }

    /// The same with one more error.
    #[must_use]
    pub fn fail(mut self, error: InjectedError) -> Self {
        self.faults.errors.push(error);
        self
    }
}

/// When operations complete.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Completion {
    /// At their first poll; tasks run in the order in which they become ready.
    Immediate,
    /// After a simulated time; tasks that are ready run in an order that the seed decides.
    Delayed,
}

/// Which pages of a new map are in memory.
#[allow(missing_docs)] // The names say it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Residency {
    All,
    None,
    Random,
}

/// The faults that a simulation is to meet.
#[derive(Clone, Default, Debug)]
pub struct FaultPlan {
    /// Where the world ends.
    pub crash: Option<CrashPoint>,
    /// Operations that fail.
    pub errors: Vec<InjectedError>,
}

/// Where the world ends: the step of this number does not happen, nor any after it. The first step is number 0, so a run of
/// `n` steps has the crash points `0..n`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CrashPoint {
    /// Counting every step.
    Step(u64),
    /// Counting only the steps that change what a crash may leave, see [`StepKind::is_change`].
    Change(u64),
}

/// An operation that fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InjectedError {
    /// The kind of operation. A [`LogWriteEnd`](StepKind::LogWriteEnd) that fails leaves any part of its write on the disk; a
    /// [`SyncData`](StepKind::SyncData) that fails leaves the pages marked clean, so that no later sync writes them.
    pub kind: StepKind,
    /// The part of the store; any if none is given.
    pub class: Option<PathClass>,
    /// How many such operations succeed before.
    pub after: u64,
    /// What it fails with.
    pub failure: Failure,
}

/// What an operation fails with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// `EIO`.
    InputOutput,
    /// `ENOSPC`.
    NoSpace,
}

impl Failure {
    pub(super) fn to_error(self) -> io::Error {
        disk::error(match self {
            Self::InputOutput => libc::EIO,
            Self::NoSpace => libc::ENOSPC,
        })
    }
}
