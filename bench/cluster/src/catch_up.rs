//! A node that follows is killed, the others are written to without it, and it is started again: briefly away, so that the log has what it lacks, or so long that it is sent
//! tables. Measured is the latency of writes until it has caught up, beside the quiet stretch before the kill and the one while it was away.

use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use corelode_client::counters as names;
use corelode_tests::cluster::Cluster;
use serde::Serialize;
use tokio::runtime::Runtime;

use crate::counters::Moment;
use crate::load::{Load, Notes, Shape};
use crate::output::{Place, ms, write};
use crate::settle::{client, settle};
use crate::{Common, statistics};

const RATIO_TARGET: f64 = 2.0;
/// How long a quiet stretch is, and the least that is measured after a return: less would not have a p99.
const STRETCH: Duration = Duration::from_secs(8);
/// An election and what follows it are no part of the time away.
const AFTER_KILL: Duration = Duration::from_secs(3);
const CATCH_UP_PATIENCE: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Entries that a replica under load may lack and count as level.
const ENTRIES_BEHIND_MAX: u64 = 16;

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    common: Common,

    /// How many partitions there are
    #[arg(long, value_name = "N", default_value_t = 6)]
    partitions: u16,

    /// Milliseconds between two writes to one partition
    #[arg(long, value_name = "MS", default_value_t = 5)]
    every_ms: u64,

    /// The length of values, bytes
    #[arg(long, value_name = "N", default_value_t = 4096)]
    value_bytes: usize,

    /// How long the node is away, seconds, in turns: briefly, and until tables are needed
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [5, 40])]
    away_seconds: Vec<u64>,

    /// How often each of them is done
    #[arg(long, value_name = "N", default_value_t = 2)]
    rounds: usize,
}

#[derive(Serialize)]
struct Outcome {
    partitions: u16,
    writes_a_second: f64,
    value_bytes: usize,
    rounds: Vec<RoundOutcome>,
    ratio_target: f64,
}

#[derive(Serialize)]
struct RoundOutcome {
    away_seconds: u64,
    node: u64,
    /// Of the cluster that is whole.
    quiet: Latency,
    /// Of two nodes.
    away: Latency,
    /// From the start of the node until it had caught up, and at least for a few seconds.
    back: Latency,
    /// The same, to the quiet stretch.
    p99_ratio: Option<f64>,
    /// From the start of the process until it served: it reads its log, and on one machine takes processor and disk from the others.
    starting: Latency,
    serving_after_seconds: f64,
    /// From when it served until it had caught up, and at least for a few seconds; and its ratio.
    catching_up: Latency,
    catching_up_p99_ratio: Option<f64>,
    /// From the start of the process until no partition was behind.
    caught_up_seconds: f64,
    /// The longest write that fell due in each tenth of a second since the start of the process.
    longest_by_tenth_ms: Vec<Option<f64>>,
    transfers: u64,
    transferred_bytes: u64,
    errors: usize,
    /// When, in seconds since the start of the process, and what.
    errors_in_words: Vec<String>,
}

#[derive(Serialize)]
struct Latency {
    writes: usize,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    max_ms: Option<f64>,
}

impl Latency {
    fn of(notes: &Notes, from: f64, until: f64) -> Self {
        let latencies: Vec<f64> = notes.due_between(from, until).map(|sample| sample.latency() * 1e3).collect();
        Self {
            writes: latencies.len(),
            p50_ms: statistics::median(&latencies),
            p99_ms: statistics::quantile(&latencies, 0.99),
            max_ms: statistics::max(&latencies),
        }
    }
}

pub(crate) fn run(runtime: &Runtime, arguments: &Arguments) -> Result<(), String> {
    let (common, handle) = (&arguments.common, runtime.handle());
    let place = Place::find(common)?;
    let mut cluster = Cluster::start_with_stores(place.path(), common.cores, arguments.partitions, false);
    let client = client(&cluster, Duration::from_secs(30));
    let shape = Shape {
        partitions: arguments.partitions,
        every: Duration::from_millis(arguments.every_ms),
        value_bytes: arguments.value_bytes,
        keys_per_partition: 2_000,
    };
    let turns = (0..arguments.rounds).flat_map(|_| &arguments.away_seconds);
    let mut rounds = Vec::new();
    for (number, away_seconds) in turns.enumerate() {
        let load = Load::start(handle, &client, shape)?;
        // One that leads little: what an election costs is another question.
        let node = settle(handle, &client, arguments.partitions)?.idlest();
        let quiet_from = load.now();
        thread::sleep(STRETCH);
        let killed = load.now();
        cluster.kill(node);
        thread::sleep(Duration::from_secs(*away_seconds).max(AFTER_KILL + Duration::from_secs(1)));
        let started = load.now();
        cluster.restart(node);
        let serving = load.now();
        let caught_up = wait(|| {
            let moment = Moment::take(handle, &client)?;
            let is_level = moment.partitions_behind(node as u64 + 1, arguments.partitions, ENTRIES_BEHIND_MAX) == 0;
            Ok(is_level.then(|| (load.now(), moment)))
        })?;
        let (caught_up, moment) = caught_up;
        let until = caught_up.max(started + STRETCH.as_secs_f64());
        thread::sleep(Duration::from_secs_f64((until - load.now()).max(0.0)));
        let notes = load.end(handle);
        let counters = moment.counters();
        let (quiet, back) = (Latency::of(&notes, quiet_from, killed), Latency::of(&notes, started, until));
        let catching_up = Latency::of(&notes, serving, until);
        let ratio = |latency: &Latency| latency.p99_ms.zip(quiet.p99_ms).map(|(back, quiet)| back / quiet);
        let round = RoundOutcome {
            starting: Latency::of(&notes, started, serving),
            serving_after_seconds: serving - started,
            catching_up_p99_ratio: ratio(&catching_up),
            catching_up,
            away_seconds: *away_seconds,
            node: node as u64 + 1,
            away: Latency::of(&notes, killed + AFTER_KILL.as_secs_f64(), started),
            p99_ratio: ratio(&back),
            quiet,
            back,
            longest_by_tenth_ms: tenths(&notes, started, until),
            caught_up_seconds: caught_up - started,
            // It counts from its start.
            transfers: counters.of(node as u64 + 1, names::TRANSFERS_RECEIVED_DONE_TOTAL),
            transferred_bytes: counters.of(node as u64 + 1, names::TRANSFERS_RECEIVED_BYTES_TOTAL),
            errors_in_words: notes.errors.iter().map(|(at, words)| format!("{:.3} s: {words}", at - started)).collect(),
            errors: notes.samples.iter().filter(|sample| !sample.is_acknowledged).count(),
        };
        eprintln!(
            "round {}: caught up after {:.2} s, p99 {:?} times",
            number + 1,
            round.caught_up_seconds,
            round.p99_ratio
        );
        rounds.push(round);
    }
    cluster.terminate();
    let outcome = Outcome {
        partitions: arguments.partitions,
        writes_a_second: f64::from(arguments.partitions) / shape.every.as_secs_f64(),
        value_bytes: arguments.value_bytes,
        rounds,
        ratio_target: RATIO_TARGET,
    };
    write(common, "catch-up", &outcome, &text(&outcome))
}

fn tenths(notes: &Notes, from: f64, until: f64) -> Vec<Option<f64>> {
    let count = statistics::whole((until - from) * 10.0);
    let mut longest = vec![None; count];
    for sample in notes.due_between(from, from + count as f64 / 10.0) {
        let tenth: &mut Option<f64> = &mut longest[statistics::whole((sample.due - from) * 10.0).min(count - 1)];
        *tenth = Some(tenth.unwrap_or_default().max(sample.latency() * 1e3));
    }
    longest
}

/// Asks until there is an answer.
fn wait<T>(mut ask: impl FnMut() -> Result<Option<T>, String>) -> Result<T, String> {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if began.elapsed() > CATCH_UP_PATIENCE {
            return Err(format!("the node has not caught up after {CATCH_UP_PATIENCE:?}"));
        }
        thread::sleep(LOOK_EVERY);
    }
}

fn text(outcome: &Outcome) -> String {
    let mut text = format!(
        "catch-up: {} partitions, {:.0} writes of {} bytes a second; latencies from when a write was due: p50 / p99 / max, ms\n\
         {:>8}{:>6}{:>24}{:>24}{:>24}{:>12}{:>24}{:>24}{:>12}{:>12}{:>14}{:>11}{:>8}{:>8}\n",
        outcome.partitions,
        outcome.writes_a_second,
        outcome.value_bytes,
        "away s",
        "node",
        "quiet",
        "away",
        "back",
        "p99 ratio",
        "of it starting",
        "of it catching up",
        "p99 ratio",
        "served s",
        "caught up s",
        "transfers",
        "MiB",
        "errors"
    );
    let seconds = |ms: Option<f64>| ms.map(|ms| ms / 1e3);
    let latency = |latency: &Latency| {
        [latency.p50_ms, latency.p99_ms, latency.max_ms].map(|figure| ms(seconds(figure))).join(" / ")
    };
    for round in &outcome.rounds {
        text += &format!(
            "{:>8}{:>6}{:>24}{:>24}{:>24}{:>12.2}{:>24}{:>24}{:>12.2}{:>12.2}{:>14.2}{:>11}{:>8.1}{:>8}\n",
            round.away_seconds,
            round.node,
            latency(&round.quiet),
            latency(&round.away),
            latency(&round.back),
            round.p99_ratio.unwrap_or_default(),
            latency(&round.starting),
            latency(&round.catching_up),
            round.catching_up_p99_ratio.unwrap_or_default(),
            round.serving_after_seconds,
            round.caught_up_seconds,
            round.transfers,
            round.transferred_bytes as f64 / 1048576.0,
            round.errors
        );
    }
    text += &format!("target: a p99 of at most {} times that of the quiet stretch\n", outcome.ratio_target);
    text
}
