//! A report as data: what a run was, what it measured, and what that is worth. Written as JSON, read back by `diff` and `show`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::histogram::Latencies;

/// The version of the format of reports.
pub const REPORT_VERSION: u32 = 1;

/// One or more repetitions of one load against one store.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Report {
    /// [`REPORT_VERSION`] of the program that wrote it.
    pub version: u32,
    /// What the run is called.
    pub title: String,
    /// When it began, RFC 3339.
    pub started_at: String,
    /// The whole command line.
    pub command: Vec<String>,
    /// The program that made the load.
    pub generator: Build,
    /// The machine that the load was made on.
    pub machine: Machine,
    /// The store.
    pub target: Target,
    /// The operations.
    pub workload: Workload,
    /// How they were sent.
    pub load: Load,
    /// What reports share whose repetitions were made in turns, round by round; empty where a load ran by itself.
    #[serde(default)]
    pub turns: String,
    /// The measurements, in the order in which they ran.
    pub repetitions: Vec<Repetition>,
}

/// A program that was run.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Build {
    /// Its version.
    pub version: String,
    /// The commit that it was built from; empty if that is not known.
    pub commit: String,
    /// Whether it was built with optimisations.
    pub is_optimized: bool,
}

/// A machine.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// Processors that the program could use.
    pub processors: usize,
    /// Memory, bytes.
    pub memory_bytes: u64,
    /// The kernel's name and version.
    pub kernel: String,
}

/// The store that was driven.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Target {
    /// Which driver spoke with it: `native` or `resp`.
    pub driver: String,
    /// Where it listened.
    pub address: String,
    /// What it calls itself, with its version.
    pub server: String,
    /// What an acknowledged write had survived, in words, as far as the store tells.
    pub durability: String,
    /// The processors that it was pinned to by the run; empty if it was not.
    pub pinned_to: String,
    /// Further settings of the store that it tells and that matter.
    pub settings: BTreeMap<String, String>,
}

/// What was asked of the store.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Workload {
    /// Its name: `A` to `F` of YCSB, or `custom`.
    pub name: String,
    /// Shares of the kinds of operations; they sum to 1.
    pub mix: BTreeMap<OperationKind, f64>,
    /// How keys are chosen, in words with parameters.
    pub distribution: String,
    /// Keys that there were before the first repetition.
    pub keys: u64,
    /// The length of keys, bytes.
    pub key_bytes: usize,
    /// The length of values, bytes.
    pub value_bytes: usize,
    /// The longest scan, rows.
    pub scan_rows_max: u32,
    /// What all random choices follow from.
    pub seed: u64,
}

/// How the operations were sent.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Load {
    /// When an operation was sent.
    pub pace: Pace,
    /// Clients, each with a connection (to each core, where the store has those).
    pub clients: usize,
    /// The most operations that a client had under way.
    pub depth: usize,
    /// Threads that made the load.
    pub threads: usize,
    /// The processors that they were pinned to; empty if they were not.
    pub pinned_to: String,
    /// Seconds before each measurement that do not count.
    pub warm_up_seconds: f64,
    /// Seconds of each measurement, as asked for.
    pub seconds: f64,
}

/// When an operation is sent.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// When the one before it was answered: what the store can do. A stall keeps the loop from sending, so that few operations see it.
    Closed,
    /// By a schedule that does not wait for answers; latency counts from the scheduled time.
    Open {
        /// Operations a second over all clients.
        rate: f64,
        /// How the times of the schedule lie.
        arrival: Arrival,
    },
}

/// How the times of a schedule lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrival {
    /// At equal distances.
    Constant,
    /// Independent of each other, as those of many users: exponential distances.
    Poisson,
}

/// What an operation does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationKind {
    /// Reads a key.
    Read,
    /// Gives a key that exists a new value.
    Update,
    /// Adds a key.
    Insert,
    /// Reads keys in order.
    Scan,
    /// Reads a key and then writes it; counted as a whole, and its halves as read and update too.
    ReadModifyWrite,
}

/// One measurement.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Repetition {
    /// How it ended.
    pub end: End,
    /// How long it measured, seconds: until its end or, where an open loop was behind then, until the last answer to what was due before.
    pub seconds: f64,
    /// Operations of an open loop that were due in the time and could never be sent, since their clients had no room; about so many. They are in no
    /// histogram, and would be at its upper end.
    #[serde(default)]
    pub unsent: u64,
    /// What was measured, by kind of operation.
    pub operations: BTreeMap<OperationKind, Measured>,
    /// How it went over time. There are at most some thousand; of a long run neighbours are put together.
    pub intervals: Vec<Interval>,
    /// What the load generator was able to do.
    pub generator: GeneratorCheck,
    /// What the server says of the same time, if it says anything.
    pub server: Option<ServerStages>,
}

/// How a measurement ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// After the time asked for.
    Complete,
    /// By the user.
    Interrupted,
    /// The store could no longer be reached; why.
    Lost(String),
}

/// What was measured of one kind of operation.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Measured {
    /// From the intended time of sending to the answer. In a closed loop that is the time of sending.
    pub latency: Latencies,
    /// From the time of sending to the answer. In an open loop it leaves out how long an operation waited to be sent.
    pub service: Latencies,
    /// Reads that found nothing.
    pub absent: u64,
    /// Refusals and failures, by what the store said. They are not in the histograms.
    pub errors: BTreeMap<String, u64>,
    /// Operations without an answer when the measurement ended.
    pub unanswered: u64,
    /// How often a node said that another one has to do an operation, which then went there.
    #[serde(default)]
    pub redirected: u64,
}

/// A stretch of a measurement.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Interval {
    /// When it began, seconds from the measurement's start.
    pub start: f64,
    /// How long it was, seconds.
    pub seconds: f64,
    /// Requests that were answered in it: an operation of two parts is two.
    pub count: u64,
    /// How many of them were the second part of an operation. Without them it is operations that are counted, as a schedule does.
    #[serde(default)]
    pub second_parts: u64,
    /// Errors in it.
    pub errors: u64,
    /// Latencies of all requests, nanoseconds: half of them were at most this.
    pub p50: u64,
    /// 99 of 100.
    pub p99: u64,
    /// 999 of 1,000.
    pub p999: u64,
    /// All.
    pub max: u64,
}

impl Interval {
    /// Operations that were answered in it, of which one of two parts is one. Zero where that was not measured.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.count.saturating_sub(self.second_parts)
    }

    /// Operations a second, if it took any time.
    #[must_use]
    pub fn operation_rate(&self) -> Option<f64> {
        (self.seconds > 0.0).then(|| self.operations() as f64 / self.seconds)
    }
}

/// Whether the load generator itself was the limit.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct GeneratorCheck {
    /// The share of its time that the busiest thread worked and did not wait, 0 to 1.
    pub busy_share: f64,
    /// How late operations were sent although their client had room, nanoseconds: 99 of 100 at most this.
    pub late_p99: u64,
    /// How late the latest was.
    pub late_max: u64,
    /// What follows from that, in a sentence, if the generator was the limit.
    pub warning: Option<String>,
}

/// The stages that a server tells, in the order in which a request passes them.
pub const STAGES: [&str; 7] = ["queue", "wait", "append", "sync", "quorum", "apply", "reply"];
/// What a server calls the sum of the stages: the time from the last byte in to the last byte out.
pub const RESIDENCY: &str = "residency";

/// What the server measured itself, core by core.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct ServerStages {
    /// In the order of their numbers.
    pub cores: Vec<CoreStages>,
}

/// What a core measured.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct CoreStages {
    /// The core.
    pub core: u16,
    /// Operations by the server's names, each with its stages by name, and with `residency`, the time from the last byte in to the last
    /// byte out, which is the sum of the stages.
    pub operations: BTreeMap<String, BTreeMap<String, Latencies>>,
}

impl ServerStages {
    /// All cores together.
    #[must_use]
    pub fn total(&self) -> CoreStages {
        let mut total = CoreStages::default();
        for (operation, stage, latencies) in self.cores.iter().flat_map(CoreStages::stages) {
            let stages = total.operations.entry(operation.to_owned()).or_default();
            stages.entry(stage.to_owned()).or_default().add(latencies);
        }
        total
    }

    /// What was counted after `earlier`, on the same server. A server that was started anew in between is taken from its start.
    #[must_use]
    pub fn since(mut self, earlier: &Self) -> Self {
        let was_restarted = earlier.cores.iter().any(|before| {
            let now = self.cores.iter().find(|core| core.core == before.core);
            before.stages().any(|(operation, stage, before)| {
                let now = now.and_then(|core| core.operations.get(operation)?.get(stage));
                now.is_none_or(|now| now.count() < before.count())
            })
        });
        if was_restarted {
            return self;
        }
        for core in &mut self.cores {
            let Some(before) = earlier.cores.iter().find(|before| before.core == core.core) else { continue };
            for (operation, stage, before) in before.stages() {
                if let Some(now) = core.operations.get_mut(operation).and_then(|stages| stages.get_mut(stage)) {
                    now.subtract(before);
                }
            }
            core.operations.retain(|_, stages| {
                stages.retain(|_, latencies| latencies.count() > 0);
                !stages.is_empty()
            });
        }
        self
    }
}

impl CoreStages {
    fn stages(&self) -> impl Iterator<Item = (&str, &str, &Latencies)> {
        self.operations.iter().flat_map(|(operation, stages)| {
            stages.iter().map(move |(stage, latencies)| (operation.as_str(), stage.as_str(), latencies))
        })
    }
}
