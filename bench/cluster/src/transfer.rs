//! Nodes are asked to stop, and started again under load: they hand over what they lead, and follow afterwards. Measured is what clients see
//! of that, errors and how long a write took from when it was due, beside stretches of the same length in which nothing happened.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use clap::Args;
use corelode_tests::cluster::Cluster;
use serde::Serialize;
use tokio::runtime::Runtime;

use crate::load::{Load, Notes, Shape};
use crate::output::{Place, ms, write};
use crate::settle::{client, settle};
use crate::{Common, statistics};

/// How long an event is looked at, and a quiet stretch before it.
const WINDOW: Duration = Duration::from_secs(4);

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    common: Common,

    /// How many partitions there are
    #[arg(long, value_name = "N", default_value_t = 64)]
    partitions: u16,

    /// How often a node is stopped and started again, each time the one that leads most
    #[arg(long, value_name = "N", default_value_t = 6)]
    rounds: usize,

    /// Milliseconds between two writes to one partition
    #[arg(long, value_name = "MS", default_value_t = 50)]
    every_ms: u64,
}

#[derive(Serialize)]
struct Outcome {
    partitions: u16,
    write_every_ms: u64,
    quiet: Vec<Stretch>,
    stops: Vec<Stretch>,
    returns: Vec<Stretch>,
    errors: usize,
    errors_in_words: Vec<String>,
}

/// What clients saw for a while.
#[derive(Serialize)]
struct Stretch {
    node: u64,
    /// Partitions that the node led before its stop, or leads after its return.
    partitions_led: usize,
    writes: usize,
    errors: usize,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    /// The longest that a write took.
    longest_ms: Option<f64>,
    /// Each partition's longest: the median of them.
    longest_of_median_partition_ms: Option<f64>,
    /// How long the node took to end after it was asked to.
    stop_took_ms: Option<f64>,
}

fn stretch(notes: &Notes, from: f64, until: f64, node: usize, led: &[u16], stop_took: Option<f64>) -> Stretch {
    let mut by_partition = BTreeMap::<u16, f64>::new();
    let (mut latencies, mut errors) = (Vec::new(), 0);
    for sample in notes.due_between(from, until) {
        let latency = sample.latency() * 1e3;
        latencies.push(latency);
        errors += usize::from(!sample.is_acknowledged);
        // In a quiet stretch no partition is moved, and all of them count.
        if led.is_empty() || led.contains(&sample.partition) {
            let longest = by_partition.entry(sample.partition).or_default();
            *longest = longest.max(latency);
        }
    }
    let longest: Vec<f64> = by_partition.into_values().collect();
    Stretch {
        node: node as u64 + 1,
        partitions_led: led.len(),
        writes: latencies.len(),
        errors,
        p50_ms: statistics::median(&latencies),
        p99_ms: statistics::quantile(&latencies, 0.99),
        longest_ms: statistics::max(&latencies),
        longest_of_median_partition_ms: statistics::median(&longest),
        stop_took_ms: stop_took.map(|seconds| seconds * 1e3),
    }
}

/// When things happened in a round.
struct Times {
    node: usize,
    led_before: Vec<u16>,
    led_after: Vec<u16>,
    asked: f64,
    ended: f64,
    started: f64,
    whole: f64,
}

pub(crate) fn run(runtime: &Runtime, arguments: &Arguments) -> Result<(), String> {
    let (common, handle) = (&arguments.common, runtime.handle());
    let place = Place::find(common)?;
    let mut cluster = Cluster::start_with_stores(place.path(), common.cores, arguments.partitions, false);
    let client = client(&cluster, Duration::from_secs(30));
    let shape = Shape {
        partitions: arguments.partitions,
        every: Duration::from_millis(arguments.every_ms),
        value_bytes: 256,
        keys_per_partition: 16,
    };
    let load = Load::start(handle, &client, shape)?;
    let mut before = settle(handle, &client, arguments.partitions)?;
    let mut rounds = Vec::new();
    for number in 0..arguments.rounds {
        let (node, led_before) = before.busiest();
        thread::sleep(WINDOW);
        let asked = load.now();
        cluster.stop(node);
        let ended = load.now();
        thread::sleep(WINDOW);
        let started = load.now();
        cluster.restart(node);
        before = settle(handle, &client, arguments.partitions)?;
        let led_after = before.led_by(node as u64 + 1);
        rounds.push(Times { node, led_before, led_after, asked, ended, started, whole: load.now() });
        eprintln!("round {}: node {} was away and is back", number + 1, node + 1);
    }
    thread::sleep(WINDOW);
    let notes = load.end(handle);
    cluster.terminate();
    let window = WINDOW.as_secs_f64();
    let quiet = |times: &Times| stretch(&notes, times.asked - window, times.asked, times.node, &[], None);
    let stop = |times: &Times| {
        let until = times.ended.max(times.asked + window).min(times.started);
        stretch(&notes, times.asked, until, times.node, &times.led_before, Some(times.ended - times.asked))
    };
    let back = |times: &Times| stretch(&notes, times.started, times.whole, times.node, &times.led_after, None);
    let outcome = Outcome {
        partitions: arguments.partitions,
        write_every_ms: arguments.every_ms,
        quiet: rounds.iter().map(quiet).collect(),
        stops: rounds.iter().map(stop).collect(),
        returns: rounds.iter().map(back).collect(),
        errors: notes.samples.iter().filter(|sample| !sample.is_acknowledged).count(),
        errors_in_words: notes.errors.iter().map(|(at, words)| format!("{at:.3} s: {words}")).collect(),
    };
    write(common, "transfer", &outcome, &text(&outcome))
}

fn text(outcome: &Outcome) -> String {
    let mut text = format!(
        "transfer: {} partitions, a write to each every {} ms; latencies from when a write was due, ms\n\
         {:<8}{:>6}{:>12}{:>8}{:>8}{:>9}{:>9}{:>9}{:>18}{:>12}\n",
        outcome.partitions,
        outcome.write_every_ms,
        "",
        "node",
        "partitions",
        "writes",
        "errors",
        "p50",
        "p99",
        "longest",
        "median of longest",
        "stop took"
    );
    let seconds = |ms: Option<f64>| ms.map(|ms| ms / 1e3);
    for (name, stretches) in [("quiet", &outcome.quiet), ("stop", &outcome.stops), ("return", &outcome.returns)] {
        for stretch in stretches {
            text += &format!(
                "{name:<8}{:>6}{:>12}{:>8}{:>8}{:>9}{:>9}{:>9}{:>18}{:>12}\n",
                stretch.node,
                stretch.partitions_led,
                stretch.writes,
                stretch.errors,
                ms(seconds(stretch.p50_ms)),
                ms(seconds(stretch.p99_ms)),
                ms(seconds(stretch.longest_ms)),
                ms(seconds(stretch.longest_of_median_partition_ms)),
                ms(seconds(stretch.stop_took_ms))
            );
        }
    }
    text += &format!("errors that clients saw: {}\n", outcome.errors);
    text
}
