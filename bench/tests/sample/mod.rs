//! Fabricated reports that look like real ones: a store with a fast and a slow path, a stall, and repetitions that differ a little.
//! The same seed gives the same report.

use std::collections::BTreeMap;

use corelode_bench::report::histogram::Latencies;
use corelode_bench::report::model::{
    Arrival, Build, CoreStages, End, GeneratorCheck, Interval, Load, Machine, Measured, OperationKind, Pace,
    REPORT_VERSION, Repetition, Report, ServerStages, Target, Workload,
};

/// Intervals in a second of a report.
const INTERVALS_PER_SECOND: f64 = 10.0;
/// Operations a second that the store can do.
const CAPACITY: f64 = 30_000.0;

/// What to fabricate.
pub(crate) struct Shape {
    /// What all random choices follow from.
    pub(crate) seed: u64,
    /// What the report is called.
    pub(crate) title: &'static str,
    /// The loop.
    pub(crate) pace: Pace,
    /// Measured seconds of each of the three repetitions.
    pub(crate) seconds: f64,
    /// How much slower than the usual the store is.
    pub(crate) slowness: f64,
    /// Seconds that the store stalls for, 14 seconds into the second repetition.
    pub(crate) stall_seconds: f64,
}

/// An open loop against a store that stalls once.
pub(crate) const OPEN: Shape = Shape {
    seed: 7,
    title: "YCSB A at 12,000/s, synced writes",
    pace: Pace::Open { rate: 12_000.0, arrival: Arrival::Poisson },
    seconds: 30.0,
    slowness: 1.0,
    stall_seconds: 0.35,
};

/// The same against a slower store that does not stall.
pub(crate) const SLOWER: Shape =
    Shape { seed: 8, title: "YCSB A at 12,000/s, another store", slowness: 1.6, stall_seconds: 0.0, ..OPEN };

/// A closed loop against the store that stalls.
pub(crate) const CLOSED: Shape = Shape { seed: 9, title: "YCSB A, closed loop", pace: Pace::Closed, ..OPEN };

/// An operation that was answered.
pub(crate) struct Operation {
    /// When it was to be sent, seconds from the measurement's start.
    pub(crate) intended: f64,
    /// How long it waited to be sent, nanoseconds.
    pub(crate) waited: u64,
    /// From sending to the answer, nanoseconds.
    pub(crate) service: u64,
    /// What it was.
    pub(crate) kind: OperationKind,
}

/// The operations of a repetition.
pub(crate) fn operations(shape: &Shape, repetition: u64) -> Vec<Operation> {
    let mut random = Random(shape.seed * 1_000 + repetition);
    let pace = 1.0 + 0.02 * random.normal();
    let stalled = if repetition == 1 { 14.0..14.0 + shape.stall_seconds } else { 0.0..0.0 };
    let mut operations = Vec::new();
    // A queue with one server, which stands still while it stalls. Four clients send in a closed loop.
    let mut clients = [0.0_f64; 4];
    let mut free_at = 0.0_f64;
    let mut now = 0.0_f64;
    loop {
        let client = (0..clients.len()).min_by(|one, other| clients[*one].total_cmp(&clients[*other])).unwrap_or(0);
        now = match shape.pace {
            Pace::Open { rate, .. } => now - random.unit().ln() / rate,
            Pace::Closed => clients[client],
        };
        if now >= shape.seconds {
            return operations;
        }
        let kind = if random.unit() < 0.5 { OperationKind::Read } else { OperationKind::Update };
        let mut begin = f64::max(now, free_at);
        if stalled.contains(&begin) {
            begin = stalled.end;
        }
        free_at = begin + 1.0 / CAPACITY;
        let typical: f64 = match (kind, random.unit()) {
            (OperationKind::Read, mode) if mode < 0.9 => 95e3,
            (OperationKind::Read, _) => 420e3,
            (_, mode) if mode < 0.97 => 310e3,
            _ => 1_900e3,
        };
        let drift = 1.0 + 0.08 * (now / 4.0).sin();
        let work = typical * shape.slowness * pace * drift * (0.22 * random.normal()).exp();
        let queued = (begin - now) * 1e9;
        // What does not fit into the connections waits to be sent.
        let waited = if matches!(shape.pace, Pace::Open { .. }) { f64::max(queued - 2e6, 600.0) } else { 0.0 };
        let service = f64::max(queued - waited, 0.0) + work;
        clients[client] = now + (waited + service) / 1e9;
        operations.push(Operation { intended: now, waited: nanoseconds(waited), service: nanoseconds(service), kind });
    }
}

/// A whole report.
pub(crate) fn report(shape: &Shape) -> Report {
    let repetitions = (0..3).map(|repetition| measure(shape, repetition)).collect();
    Report {
        version: REPORT_VERSION,
        title: shape.title.to_owned(),
        started_at: "2026-11-23T09:41:07Z".to_owned(),
        command: ["corelode-bench", "run", "--workload", "A", "--title", shape.title].map(str::to_owned).to_vec(),
        generator: Build { version: "0.1.0".into(), commit: "7a7a59f503ac".into(), is_optimized: true },
        machine: Machine {
            processor: "AMD EPYC 7B13".into(),
            processors: 8,
            memory_bytes: 33_554_432_000,
            kernel: "Linux 6.18.3".into(),
        },
        target: Target {
            driver: "native".into(),
            address: "127.0.0.1:7400".into(),
            server: if shape.slowness > 1.0 { "otherstore 8.2".into() } else { "corelode 0.1.0".into() },
            durability: "synced to disk before the answer".into(),
            pinned_to: "0-1".into(),
            settings: BTreeMap::from([("cores".into(), "2".into()), ("data".into(), "/var/lib/corelode".into())]),
        },
        workload: Workload {
            name: "A".into(),
            mix: BTreeMap::from([(OperationKind::Read, 0.5), (OperationKind::Update, 0.5)]),
            distribution: "zipfian, theta 0.99, scrambled".into(),
            keys: 1_000_000,
            key_bytes: 16,
            value_bytes: 100,
            scan_rows_max: 100,
            seed: shape.seed,
        },
        load: Load {
            pace: shape.pace,
            clients: 4,
            depth: if shape.pace == Pace::Closed { 1 } else { 16 },
            threads: 2,
            pinned_to: "2-3".into(),
            warm_up_seconds: 5.0,
            seconds: shape.seconds,
        },
        turns: String::new(),
        repetitions,
    }
}

/// A repetition as a report has it.
fn measure(shape: &Shape, number: u64) -> Repetition {
    let mut kinds: BTreeMap<OperationKind, Measured> = BTreeMap::new();
    let mut slices: BTreeMap<u64, (u64, Latencies)> = BTreeMap::new();
    let mut server = Server::new(shape);
    for operation in operations(shape, number) {
        let measured = kinds.entry(operation.kind).or_default();
        let latency = operation.waited + operation.service;
        let answered = operation.intended + latency as f64 / 1e9;
        if answered >= shape.seconds {
            measured.unanswered += 1;
            continue;
        }
        let (errors, slice) = slices.entry(nanoseconds(answered * INTERVALS_PER_SECOND)).or_default();
        // Some of those that a stall held up are refused.
        if latency > 300_000_000 && latency.is_multiple_of(5) {
            *measured.errors.entry("OVERLOADED".into()).or_default() += 1;
            *errors += 1;
            continue;
        }
        measured.latency.record(latency);
        measured.service.record(operation.service);
        measured.absent += u64::from(operation.kind == OperationKind::Read && latency % 997 == 0);
        slice.record(latency);
        server.record(&operation);
    }
    let intervals = (0..nanoseconds(shape.seconds * INTERVALS_PER_SECOND)).map(|index| {
        let (errors, slice) = slices.remove(&index).unwrap_or_default();
        Interval {
            start: index as f64 / INTERVALS_PER_SECOND,
            seconds: 1.0 / INTERVALS_PER_SECOND,
            count: slice.count(),
            second_parts: 0,
            errors,
            p50: slice.quantile(0.5),
            p99: slice.quantile(0.99),
            p999: slice.quantile(0.999),
            max: slice.max(),
        }
    });
    let warning =
        "the busiest thread worked 93 % of its time; throughput and tail may be the generator's and not the store's";
    Repetition {
        end: End::Complete,
        seconds: shape.seconds,
        unsent: 0,
        operations: kinds,
        intervals: intervals.collect(),
        generator: GeneratorCheck {
            busy_share: if number == 2 { 0.93 } else { 0.41 + 0.02 * number as f64 },
            late_p99: 11_000 + 700 * number,
            late_max: 412_000,
            warning: (number == 2).then(|| warning.to_owned()),
        },
        server: server.stages,
    }
}

/// What the store says it did, if it says anything.
struct Server {
    random: Random,
    stages: Option<ServerStages>,
}

impl Server {
    fn new(shape: &Shape) -> Self {
        let cores = (0..2).map(|core| CoreStages { core, operations: BTreeMap::new() }).collect();
        let stages = (shape.slowness == 1.0).then_some(ServerStages { cores });
        Self { random: Random(shape.seed), stages }
    }

    /// Splits an operation's time into stages on one of the cores.
    fn record(&mut self, operation: &Operation) {
        let Some(stages) = &mut self.stages else { return };
        let core = usize::from(self.random.unit() < 0.45);
        let (name, shares): (&str, &[(&str, f64)]) = match operation.kind {
            OperationKind::Read => ("get", &[("queue", 0.34), ("apply", 0.22), ("reply", 0.1)]),
            _ => ("put", &[("queue", 0.16), ("append", 0.06), ("sync", 0.52), ("apply", 0.03), ("reply", 0.04)]),
        };
        let stages = stages.cores[core].operations.entry(name.to_owned()).or_default();
        let mut residency = 0;
        for (stage, share) in shares {
            let uneven = if core == 1 && *stage == "queue" { 1.4 } else { 1.0 };
            let time = nanoseconds(operation.service as f64 * share * uneven * (0.8 + 0.4 * self.random.unit()));
            stages.entry((*stage).to_owned()).or_default().record(time);
            residency += time;
        }
        stages.entry("residency".to_owned()).or_default().record(residency);
    }
}

/// SplitMix64: the same numbers in every version of every dependency.
struct Random(u64);

impl Random {
    /// Above 0, up to 1.
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^= bits >> 31;
        ((bits >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// Normally distributed, by Box and Muller.
    fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }
}

/// The whole part of a number that is not negative.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "times of a run fit")]
fn nanoseconds(value: f64) -> u64 {
    value as u64
}
