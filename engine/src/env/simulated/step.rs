//! I/O steps: what the disk was asked to do, counted and recorded.
//!
//! A step is the instant at which an operation takes effect. A log write has two, its start and its end, with the write in
//! flight between them. The trace keeps the latest steps up to a bound and a hash over all of them.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::ops::AddAssign;
use std::path::{Path, PathBuf};
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// What kind of operation a step is.
#[allow(missing_docs)] // The names of the operations of `Environment`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum StepKind {
    Open,
    Create,
    FileLength,
    Read,
    Write,
    /// A write to a file opened for the log is submitted; from here on any part of it may reach the disk.
    LogWriteStart,
    /// It is complete, and durable if the log is written directly.
    LogWriteEnd,
    SyncData,
    SetLength,
    Map,
    CreateDirectory,
    ListDirectory,
    SyncDirectory,
    Rename,
    RemoveFile,
    RemoveDirectory,
    Lock,
}

impl StepKind {
    /// Whether the step changes what a crash may leave on the disk. Crashing at any other step adds nothing to what a crash
    /// at the next change shows.
    #[must_use]
    pub fn is_change(self) -> bool {
        !matches!(self, Self::Open | Self::FileLength | Self::Read | Self::Map | Self::ListDirectory | Self::Lock)
    }
}

/// What part of the store a path belongs to.
#[allow(missing_docs)] // The names say it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum PathClass {
    Log,
    Table,
    Manifest,
    Directory,
    Other,
}

impl PathClass {
    /// The class of a file by the layout of the data directory: `logs/<id>/...`, `partitions/<id>/...`, manifests by name.
    #[must_use]
    pub fn of_file(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        let within = |folder: &str| path.components().any(|component| component.as_os_str() == folder);
        if name.contains("manifest") || name.starts_with("current") {
            Self::Manifest
        } else if within("logs") {
            Self::Log
        } else if within("partitions") {
            Self::Table
        } else {
            Self::Other
        }
    }
}

/// How a step ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StepOutcome {
    /// It took effect, or failed by the rules of the file system (a name that is absent, say).
    Carried,
    /// It failed by an injected error.
    Failed,
    /// The crash came before it.
    Crashed,
}

/// One step of the trace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// Its number, from zero.
    pub index: u64,
    /// Simulated time.
    pub at: Duration,
    /// The operation.
    pub kind: StepKind,
    /// The part of the store.
    pub class: PathClass,
    /// The file or directory; for a file that is open, the name it was opened by.
    pub path: PathBuf,
    /// Where in the file; zero where that means nothing.
    pub offset: u64,
    /// How many bytes; zero where that means nothing.
    pub length: u64,
    /// How it ended.
    pub outcome: StepOutcome,
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { index, at, kind, path, offset, length, outcome, .. } = self;
        write!(formatter, "{index:>6} {:>10}us {kind:?} {} {offset}+{length}", at.as_micros(), path.display())?;
        match outcome {
            StepOutcome::Carried => Ok(()),
            outcome => write!(formatter, " {outcome:?}"),
        }
    }
}

/// The latest steps and a hash of all.
#[derive(Debug)]
pub(super) struct Trace {
    latest: VecDeque<Step>,
    length_max: usize,
    hash: u64,
}

impl Trace {
    pub(super) fn new(length_max: usize) -> Self {
        Self { latest: VecDeque::new(), length_max, hash: 0 }
    }

    pub(super) fn record(&mut self, step: Step) {
        self.hash = xxh3_64_with_seed(step.to_string().as_bytes(), self.hash);
        if self.latest.len() == self.length_max {
            self.latest.pop_front();
        }
        self.latest.push_back(step);
    }

    pub(super) fn latest(&self) -> impl Iterator<Item = &Step> {
        self.latest.iter()
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }
}

/// How many steps there were of each kind in each part of the store. Printed, it is a table for the output of a test.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct StepCounts {
    counts: BTreeMap<(PathClass, StepKind), u64>,
}

impl StepCounts {
    pub(super) fn add(&mut self, class: PathClass, kind: StepKind) {
        *self.counts.entry((class, kind)).or_default() += 1;
    }

    /// How many steps of a kind a part of the store saw.
    #[must_use]
    pub fn get(&self, class: PathClass, kind: StepKind) -> u64 {
        self.counts.get(&(class, kind)).copied().unwrap_or_default()
    }

    /// How many steps there were.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// How many of them were changes, see [`StepKind::is_change`].
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.counts.iter().filter(|((_, kind), _)| kind.is_change()).map(|(_, count)| count).sum()
    }
}

impl AddAssign<&Self> for StepCounts {
    fn add_assign(&mut self, other: &Self) {
        for (&key, count) in &other.counts {
            *self.counts.entry(key).or_default() += count;
        }
    }
}

impl fmt::Display for StepCounts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((class, kind), count) in &self.counts {
            writeln!(formatter, "{:<10} {:<16} {count:>8}", format!("{class:?}"), format!("{kind:?}"))?;
        }
        write!(formatter, "{:<27} {:>8}", "total", self.total())
    }
}
