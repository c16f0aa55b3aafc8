//! Two clusters, one with a single partition and one with many, are written to in turns. Measured is how many log writes a replica makes for each of its
//! turns and for each acknowledged write, and what the many cost in writes a second.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Args;
use corelode_bench::driver::native::{NativeOptions, NativeStore};
use corelode_bench::load::{LoadOptions, PATIENCE_DEFAULT};
use corelode_bench::report::model::{End, OperationKind, Pace, Repetition};
use corelode_bench::session::Session;
use corelode_bench::workload::{KeyChoice, Mix, Preset, WorkloadConfig};
use corelode_client::{Client, Durability, counters as names};
use corelode_tests::cluster::Cluster;
use serde::Serialize;
use tokio::runtime::{Handle, Runtime};

use crate::counters::Moment;
use crate::output::{Place, write};
use crate::process::Usage;
use crate::settle::{client, settle};
use crate::{Common, statistics};

const WRITES_A_TURN_TARGET: f64 = 2.0;
const RATIO_TARGET: f64 = 0.7;

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    common: Common,

    /// How many partitions the second cluster has; the first has one
    #[arg(long, value_name = "N", default_value_t = 256)]
    partitions: u16,

    /// Writes under way at once; one row of the table for each
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [1, 16, 64, 256])]
    under_way: Vec<u32>,

    /// Over how many clients they are spread; each has a connection to every core of every node
    #[arg(long, value_name = "N", default_value_t = 4)]
    clients: u32,

    /// How often each cluster has its turn
    #[arg(long, value_name = "N", default_value_t = 4)]
    turns: u32,

    /// The length of a turn, seconds
    #[arg(long, value_name = "N", default_value_t = 4)]
    seconds: u64,
}

#[derive(Serialize)]
struct Outcome {
    partitions: [u16; 2],
    rows: Vec<Row>,
    writes_a_turn_target: f64,
    ratio_target: f64,
}

/// Both clusters under one load.
#[derive(Serialize)]
struct Row {
    under_way: u32,
    clusters: [Figures; 2],
    /// The many to the one, of each pair of turns.
    ratios: Vec<f64>,
    ratio_median: Option<f64>,
}

#[derive(Serialize, Default)]
struct Figures {
    partitions: u16,
    writes_a_second: Vec<f64>,
    /// Over all turns.
    acknowledged: u64,
    errors: u64,
    /// Of each node: log writes for each turn of its cores,
    log_writes_a_turn: [f64; 3],
    /// the same with all else that is synced (manifests, and the log's new segments, two operations each),
    durable_operations_a_turn: [f64; 3],
    /// and log writes for each acknowledged write of the cluster.
    log_writes_a_write: [f64; 3],
    /// Turns, frames to other nodes and the groups' messages in them, of all nodes together, for each acknowledged write.
    turns_a_write: f64,
    frames_a_write: f64,
    messages_a_write: f64,
    /// Time on a processor of all nodes together, for each acknowledged write.
    processor_us_a_write: f64,
    p50_ms: Vec<f64>,
    p99_ms: Vec<f64>,
    max_ms: Vec<f64>,
    /// Writes that went to a node that did not lead, and on to the one that it named.
    redirected: u64,
}

struct Subject {
    cluster: Cluster,
    client: Client,
    store: NativeStore,
    partitions: u16,
}

/// What one turn came to.
struct Turn {
    repetition: Repetition,
    log_writes: [u64; 3],
    durable_operations: [u64; 3],
    turns: [u64; 3],
    frames: [u64; 3],
    messages: [u64; 3],
    processor_ns: u64,
}

pub(crate) fn run(runtime: &Runtime, arguments: &Arguments) -> Result<(), String> {
    let (common, handle) = (&arguments.common, runtime.handle());
    let place = Place::find(common)?;
    let partitions = [1, arguments.partitions];
    let mut subjects = Vec::new();
    for (number, partitions) in (0..).zip(partitions) {
        let directory = place.path().join(partitions.to_string());
        std::fs::create_dir(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        let cluster = Cluster::start_beside(number, &directory, common.cores, partitions, false);
        let client = client(&cluster, Duration::from_secs(30));
        settle(handle, &client, partitions)?;
        let addresses: Vec<_> =
            cluster.addresses().iter().map(|text| text.parse().expect("it was an address")).collect();
        let options = NativeOptions { durability: Durability::Synced, secret: None };
        let store = NativeStore::find(&addresses, &options).map_err(|broken| broken.reason)?;
        subjects.push(Subject { cluster, client, store, partitions });
    }
    let workload = WorkloadConfig {
        mix: Mix::new([(OperationKind::Update, 1.0)]).map_err(|error| error.to_string())?,
        key_choice: KeyChoice::Uniform,
        keys: 20_000,
        value_bytes: 256,
        ..Preset::A.into()
    };
    let mut rows = Vec::new();
    for under_way in &arguments.under_way {
        let mut turns = [Vec::new(), Vec::new()];
        // The first of each is not counted: connections, leaders and memory come to rest.
        for number in 0..=arguments.turns {
            for (subject, turns) in subjects.iter().zip(&mut turns) {
                let turn = turn(handle, subject, &workload, *under_way, arguments, number)?;
                if number > 0 {
                    turns.push(turn);
                }
            }
        }
        let row = row(*under_way, partitions, &turns);
        eprintln!("{under_way} under way: {:?} of the rate of one partition", row.ratio_median);
        rows.push(row);
    }
    for subject in subjects {
        subject.cluster.terminate();
    }
    let outcome = Outcome { partitions, rows, writes_a_turn_target: WRITES_A_TURN_TARGET, ratio_target: RATIO_TARGET };
    write(common, "group-commit", &outcome, &text(&outcome))
}

fn turn(
    handle: &Handle,
    subject: &Subject,
    workload: &WorkloadConfig,
    under_way: u32,
    arguments: &Arguments,
    number: u32,
) -> Result<Turn, String> {
    let clients = under_way.min(arguments.clients);
    let options = LoadOptions {
        pace: Pace::Closed,
        clients: clients as usize,
        depth: under_way / clients,
        threads: 1,
        processors: Vec::new(),
        warm_up: Duration::ZERO,
        duration: Some(Duration::from_secs(arguments.seconds)),
        seed: u64::from(number),
        patience: PATIENCE_DEFAULT,
    };
    let session = Session::new(&subject.store, workload.clone(), 7).map_err(|error| error.to_string())?;
    let processor_ns = || {
        let nodes = (0..3).map(|node| Ok(Usage::of(subject.cluster.server(node).process_id())?.processor_ns));
        nodes.sum::<Result<u64, String>>()
    };
    let before = Moment::take(handle, &subject.client)?.counters();
    let processor_ns_before = processor_ns()?;
    let measured = session.repeat(&options, number, &AtomicBool::new(false), &mut |_| ());
    let repetition = measured.map_err(|broken| broken.reason)?;
    if let End::Lost(reason) = &repetition.end {
        return Err(format!("the cluster of {} partitions was lost: {reason}", subject.partitions));
    }
    let processor_ns = processor_ns()?.saturating_sub(processor_ns_before);
    let counted = Moment::take(handle, &subject.client)?.counters().since(&before);
    let of_nodes = |name: &str| [1, 2, 3].map(|node| counted.of(node, name));
    let log_writes = of_nodes(names::LOG_BATCHES_TOTAL);
    let others = [of_nodes("log_segments_opened_total"), of_nodes("manifests_total")];
    let durable_operations =
        [0, 1, 2].map(|node: usize| log_writes[node] + others.iter().map(|counts| 2 * counts[node]).sum::<u64>());
    Ok(Turn {
        repetition,
        log_writes,
        durable_operations,
        turns: of_nodes("turns_total"),
        frames: of_nodes(names::PEER_FRAMES_SENT_TOTAL),
        messages: of_nodes(names::PEER_MESSAGES_SENT_TOTAL),
        processor_ns,
    })
}

fn acknowledged(repetition: &Repetition) -> u64 {
    repetition.operations.values().map(|measured| measured.latency.count()).sum()
}

fn row(under_way: u32, partitions: [u16; 2], turns: &[Vec<Turn>; 2]) -> Row {
    let rate = |turn: &Turn| acknowledged(&turn.repetition) as f64 / turn.repetition.seconds;
    let figures = |of: usize| {
        let turns = &turns[of];
        let sum = |count: &dyn Fn(&Turn) -> u64| turns.iter().map(count).sum::<u64>() as f64;
        let acknowledged: u64 = turns.iter().map(|turn| acknowledged(&turn.repetition)).sum();
        let errors = |turn: &Turn| -> u64 {
            turn.repetition.operations.values().flat_map(|measured| measured.errors.values()).sum()
        };
        let redirected =
            |turn: &Turn| -> u64 { turn.repetition.operations.values().map(|measured| measured.redirected).sum() };
        let quantile = |turn: &Turn, quantile: f64| {
            turn.repetition.operations[&OperationKind::Update].latency.quantile(quantile) as f64 / 1e6
        };
        let a_write =
            |counts: &dyn Fn(&Turn) -> [u64; 3]| sum(&|turn| counts(turn).iter().sum()) / acknowledged.max(1) as f64;
        let nodes = [0, 1, 2];
        Figures {
            partitions: partitions[of],
            writes_a_second: turns.iter().map(rate).collect(),
            acknowledged,
            errors: turns.iter().map(errors).sum(),
            log_writes_a_turn: nodes.map(|node| sum(&|turn| turn.log_writes[node]) / sum(&|turn| turn.turns[node])),
            durable_operations_a_turn: nodes
                .map(|node| sum(&|turn| turn.durable_operations[node]) / sum(&|turn| turn.turns[node])),
            log_writes_a_write: nodes.map(|node| sum(&|turn| turn.log_writes[node]) / acknowledged.max(1) as f64),
            turns_a_write: a_write(&|turn| turn.turns),
            frames_a_write: a_write(&|turn| turn.frames),
            messages_a_write: a_write(&|turn| turn.messages),
            processor_us_a_write: sum(&|turn| turn.processor_ns) / 1e3 / acknowledged.max(1) as f64,
            p50_ms: turns.iter().map(|turn| quantile(turn, 0.5)).collect(),
            max_ms: turns.iter().map(|turn| quantile(turn, 1.0)).collect(),
            redirected: turns.iter().map(redirected).sum(),
            p99_ms: turns.iter().map(|turn| quantile(turn, 0.99)).collect(),
        }
    };
    let ratios: Vec<f64> = turns[0].iter().zip(&turns[1]).map(|(one, many)| rate(many) / rate(one)).collect();
    Row { under_way, clusters: [figures(0), figures(1)], ratio_median: statistics::median(&ratios), ratios }
}

fn text(outcome: &Outcome) -> String {
    let mut text = format!(
        "group commit: partitions {} and {} in turns; each node by itself\n\
         {:>10}{:>12}{:>12}{:>9}{:>9}{:>9}{:>24}{:>24}{:>24}{:>34}{:>8}{:>8}\n",
        outcome.partitions[0],
        outcome.partitions[1],
        "under way",
        "partitions",
        "writes/s",
        "p50 ms",
        "p99 ms",
        "max ms",
        "log writes a turn",
        "durable ops a turn",
        "log writes a write",
        "turns, frames, messages a write",
        "CPU us",
        "errors"
    );
    let three = |values: &[f64; 3]| values.map(|value| format!("{value:.3}")).join(" / ");
    for row in &outcome.rows {
        for figures in &row.clusters {
            text += &format!(
                "{:>10}{:>12}{:>12.0}{:>9.2}{:>9.2}{:>9.1}{:>24}{:>24}{:>24}{:>34}{:>8.1}{:>8}\n",
                row.under_way,
                figures.partitions,
                statistics::median(&figures.writes_a_second).unwrap_or_default(),
                statistics::median(&figures.p50_ms).unwrap_or_default(),
                statistics::median(&figures.p99_ms).unwrap_or_default(),
                statistics::max(&figures.max_ms).unwrap_or_default(),
                three(&figures.log_writes_a_turn),
                three(&figures.durable_operations_a_turn),
                three(&figures.log_writes_a_write),
                format!(
                    "{:.2} / {:.2} / {:.2}",
                    figures.turns_a_write, figures.frames_a_write, figures.messages_a_write
                ),
                figures.processor_us_a_write,
                figures.errors
            );
        }
        let each = row.ratios.iter().map(|ratio| format!("{ratio:.2}")).collect::<Vec<_>>().join(", ");
        text += &format!("{:>10} many to one: median {:.2} of {each}\n", "", row.ratio_median.unwrap_or_default());
    }
    text += &format!(
        "targets: at most {} durable operations a turn and replica; at least {} of the rate of one partition\n",
        outcome.writes_a_turn_target, outcome.ratio_target
    );
    text
}
