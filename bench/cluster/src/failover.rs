//! A node that leads is killed under load. Measured is, for each partition that it led, the time from the kill until a write that was sent after the kill was
//! acknowledged. The node is started again, and once the cluster is whole the next one is killed.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use clap::Args;
use corelode_bench::report::html::failover::{Failover, Round, page, picture};
use corelode_tests::cluster::Cluster;
use serde::Serialize;
use tokio::runtime::Runtime;

use crate::load::{Load, Notes, Shape};
use crate::output::{Place, ms, write, write_file};
use crate::settle::{client, settle};
use crate::{Common, statistics};

/// The election timeout that `corelode serve` has unless it is told another, seconds.
const ELECTION_TIMEOUT: f64 = 1.0;
/// What is shown before a kill, and measured after it.
const BEFORE: Duration = Duration::from_secs(2);
const AFTER: Duration = Duration::from_secs(6);
/// An interval of the picture, seconds.
const INTERVAL: f64 = 0.05;

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    common: Common,

    /// How many partitions there are
    #[arg(long, value_name = "N", default_value_t = 256)]
    partitions: u16,

    /// How often a node is killed, each time the one that leads most
    #[arg(long, value_name = "N", default_value_t = 6)]
    rounds: usize,

    /// Milliseconds between two writes to one partition
    #[arg(long, value_name = "MS", default_value_t = 100)]
    every_ms: u64,
}

#[derive(Serialize)]
struct Outcome {
    partitions: u16,
    election_timeout_ms: f64,
    write_every_ms: u64,
    rounds: Vec<RoundOutcome>,
    /// Over all rounds.
    median_ms: Option<f64>,
    p99_ms: Option<f64>,
    max_ms: Option<f64>,
    target_max_ms: f64,
    later_than_target: usize,
    never: usize,
    errors: usize,
}

#[derive(Serialize)]
struct RoundOutcome {
    killed_node: u64,
    partitions_led: usize,
    /// By partition.
    first_acknowledged_ms: BTreeMap<u16, Option<f64>>,
    median_ms: Option<f64>,
    max_ms: Option<f64>,
    /// The longest that a write to any partition took, those among them that were under way at the kill.
    slowest_write_ms: Option<f64>,
    errors: usize,
    errors_in_words: Vec<String>,
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
    let mut rounds = Vec::new();
    for number in 0..arguments.rounds {
        // Its first writes are what makes new groups settle.
        let load = Load::start(handle, &client, shape)?;
        let before = settle(handle, &client, arguments.partitions)?;
        let (node, led) = before.busiest();
        thread::sleep(BEFORE);
        let killed = load.now();
        cluster.kill(node);
        thread::sleep(AFTER);
        let notes = load.end(handle);
        cluster.restart(node);
        rounds.push(round_of(number, node, &led, killed, &notes));
        let (round, outcome) = &rounds[number];
        eprintln!("{}: last after {} ms", round.name, ms(outcome.max_ms.map(|ms| ms / 1e3)));
    }
    cluster.terminate();
    report(arguments, rounds)
}

fn round_of(number: usize, node: usize, led: &[u16], killed: f64, notes: &Notes) -> (Round, RoundOutcome) {
    let first_writes: Vec<(u16, Option<f64>)> =
        led.iter().map(|led| (*led, first_write(*led, killed, notes))).collect();
    let (from, until) = (killed - BEFORE.as_secs_f64(), killed + AFTER.as_secs_f64());
    let intervals = statistics::whole((until - from) / INTERVAL);
    let (mut acknowledged, mut errors) = (vec![0; intervals], vec![0; intervals]);
    for sample in &notes.samples {
        let interval = (sample.done - from) / INTERVAL;
        if interval >= 0.0 && statistics::whole(interval) < intervals {
            let counts = if sample.is_acknowledged { &mut acknowledged } else { &mut errors };
            counts[statistics::whole(interval)] += 1;
        }
    }
    let round = Round {
        name: format!("Round {}: node {} killed", number + 1, node + 1),
        from: -BEFORE.as_secs_f64(),
        interval: INTERVAL,
        acknowledged,
        errors,
        first_writes: first_writes.clone(),
    };
    let times: Vec<f64> = first_writes.iter().filter_map(|(_, seconds)| seconds.map(|seconds| seconds * 1e3)).collect();
    let latencies: Vec<f64> = notes.due_between(from, until).map(|sample| sample.latency() * 1e3).collect();
    let outcome = RoundOutcome {
        killed_node: node as u64 + 1,
        partitions_led: led.len(),
        median_ms: statistics::median(&times),
        max_ms: statistics::max(&times),
        slowest_write_ms: statistics::max(&latencies),
        first_acknowledged_ms: first_writes.into_iter().map(|(led, seconds)| (led, seconds.map(|s| s * 1e3))).collect(),
        errors: notes.samples.iter().filter(|sample| !sample.is_acknowledged).count(),
        errors_in_words: notes.errors.iter().map(|(at, words)| format!("{:.3} s: {words}", at - killed)).collect(),
    };
    (round, outcome)
}

/// The seconds from the kill until a write to a partition that was sent after it was acknowledged.
fn first_write(partition: u16, killed: f64, notes: &Notes) -> Option<f64> {
    let counts = notes
        .samples
        .iter()
        .filter(|sample| sample.partition == partition && sample.sent >= killed && sample.is_acknowledged);
    counts.map(|sample| sample.done - killed).min_by(f64::total_cmp)
}

fn report(arguments: &Arguments, rounds: Vec<(Round, RoundOutcome)>) -> Result<(), String> {
    let (pictures, rounds): (Vec<Round>, Vec<RoundOutcome>) = rounds.into_iter().unzip();
    let of_all = || rounds.iter().flat_map(|round| round.first_acknowledged_ms.values());
    let times: Vec<f64> = of_all().copied().flatten().collect();
    let target_max_ms = 2.0 * ELECTION_TIMEOUT * 1e3;
    let outcome = Outcome {
        partitions: arguments.partitions,
        election_timeout_ms: ELECTION_TIMEOUT * 1e3,
        write_every_ms: arguments.every_ms,
        median_ms: statistics::median(&times),
        p99_ms: statistics::quantile(&times, 0.99),
        max_ms: statistics::max(&times),
        target_max_ms,
        later_than_target: times.iter().filter(|time| **time > target_max_ms).count(),
        never: of_all().filter(|time| time.is_none()).count(),
        errors: rounds.iter().map(|round| round.errors).sum(),
        rounds,
    };
    let text = text(&outcome);
    let about = format!(
        "Three nodes, {} partitions, a write to each of them every {} ms, each synced on a majority; the election timeout is {} ms.",
        arguments.partitions, arguments.every_ms, outcome.election_timeout_ms
    );
    let title = "A node that leads is killed".to_owned();
    let failover = Failover { title, about, election_timeout: ELECTION_TIMEOUT, rounds: pictures };
    write_file(&arguments.common, "failover.html", &page(&failover))?;
    for (number, round) in (1..).zip(&failover.rounds) {
        write_file(&arguments.common, &format!("failover-{number}.svg"), &picture(round, ELECTION_TIMEOUT))?;
    }
    write(&arguments.common, "failover", &outcome, &text)
}

fn text(outcome: &Outcome) -> String {
    let seconds = |ms: Option<f64>| ms.map(|ms| ms / 1e3);
    let mut text = format!(
        "failover: {} partitions, a write to each every {} ms, election timeout {} ms\n\
         first acknowledged write of a partition after the kill of its leader, ms:\n\
         {:>6}{:>6}{:>12}{:>10}{:>10}{:>16}{:>8}\n",
        outcome.partitions,
        outcome.write_every_ms,
        outcome.election_timeout_ms,
        "round",
        "node",
        "partitions",
        "median",
        "last",
        "slowest write",
        "errors"
    );
    for (number, round) in (1..).zip(&outcome.rounds) {
        text += &format!(
            "{number:>6}{:>6}{:>12}{:>10}{:>10}{:>16}{:>8}\n",
            round.killed_node,
            round.partitions_led,
            ms(seconds(round.median_ms)),
            ms(seconds(round.max_ms)),
            ms(seconds(round.slowest_write_ms)),
            round.errors
        );
    }
    text += &format!(
        "all: median {}, p99 {}, last {}; target {}: {} later, {} never; errors {}\n",
        ms(seconds(outcome.median_ms)),
        ms(seconds(outcome.p99_ms)),
        ms(seconds(outcome.max_ms)),
        outcome.target_max_ms,
        outcome.later_than_target,
        outcome.never,
        outcome.errors
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Sample;

    #[test]
    fn a_write_that_was_under_way_at_the_kill_or_failed_does_not_count() {
        let sample =
            |partition, sent, done, is_acknowledged| Sample { partition, due: sent, sent, done, is_acknowledged };
        let samples = vec![
            sample(3, 9.9, 10.1, true),
            sample(3, 10.1, 10.4, false),
            sample(3, 10.2, 11.5, true),
            sample(3, 10.3, 11.25, true),
            sample(4, 10.0, 10.5, true),
        ];
        let notes = Notes { samples, errors: Vec::new() };
        let (round, outcome) = round_of(0, 0, &[3, 5], 10.0, &notes);
        assert_eq!(round.first_writes, [(3, Some(1.25)), (5, None)]);
        assert_eq!((outcome.errors, outcome.max_ms), (1, Some(1250.0)));
        assert_eq!(round.acknowledged.iter().sum::<u64>(), 4);
        assert_eq!(round.errors.iter().sum::<u64>(), 1);
    }
}
