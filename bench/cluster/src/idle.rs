//! A cluster whose partitions have all been written to is left alone. Measured is what its nodes use of a core, and what they say to each other.

use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use corelode_client::{Client, counters as names};
use corelode_tests::cluster::Cluster;
use serde::Serialize;
use tokio::runtime::{Handle, Runtime};

use crate::Common;
use crate::counters::Moment;
use crate::load::{Load, Shape};
use crate::output::{Place, write};
use crate::process::Usage;
use crate::settle::{client, settle};

/// What a node may use, of a core.
const PROCESSOR_SHARE_TARGET: f64 = 0.005;
/// What a core may say to a core of another node, frames a second.
const FRAMES_TARGET: f64 = 10.0;

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    common: Common,

    /// How many partitions there are
    #[arg(long, value_name = "N", default_value_t = 256)]
    partitions: u16,

    /// How long it is left alone before the measurement, seconds
    #[arg(long, value_name = "N", default_value_t = 15)]
    rest_seconds: u64,

    /// How long it is measured, seconds
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,
}

#[derive(Serialize)]
struct Outcome {
    partitions: u16,
    cores: u16,
    seconds: f64,
    nodes: Vec<NodeOutcome>,
    processor_share_target: f64,
    frames_target: f64,
}

#[derive(Serialize)]
struct NodeOutcome {
    node: u64,
    /// Of one core.
    processor_share: f64,
    wakeups_a_second: f64,
    turns_a_second: f64,
    /// From a core to a core of another node.
    frames_a_second_and_core_pair: f64,
    /// Of groups, to all nodes: within a frame there may be many, or none.
    group_messages: u64,
    log_writes: u64,
    /// Of the groups.
    silent: u64,
    replicas: u64,
}

pub(crate) fn run(runtime: &Runtime, arguments: &Arguments) -> Result<(), String> {
    let (common, handle) = (&arguments.common, runtime.handle());
    let place = Place::find(common)?;
    let cluster = Cluster::start_with_stores(place.path(), common.cores, arguments.partitions, false);
    let first = client(&cluster, Duration::from_secs(30));
    let shape = Shape {
        partitions: arguments.partitions,
        every: Duration::from_millis(100),
        value_bytes: 256,
        keys_per_partition: 16,
    };
    let load = Load::start(handle, &first, shape)?;
    settle(handle, &first, arguments.partitions)?;
    thread::sleep(Duration::from_secs(3));
    let notes = load.end(handle);
    eprintln!("{} writes; now it rests", notes.samples.len());
    handle.block_on(first.close());
    thread::sleep(Duration::from_secs(arguments.rest_seconds));

    let before = moment(handle, &cluster)?;
    let (began, usage_before) = (Instant::now(), usages(&cluster)?);
    thread::sleep(Duration::from_secs(arguments.seconds));
    let (seconds, usage_after) = (began.elapsed().as_secs_f64(), usages(&cluster)?);
    let after = moment(handle, &cluster)?;
    cluster.terminate();

    let counters = after.counters().since(&before.counters());
    let now = after.counters();
    let pairs = f64::from(common.cores) * 2.0;
    let node = |(node, (before, after)): (u64, (&Usage, &Usage))| {
        let usage = after.since(*before);
        NodeOutcome {
            node,
            processor_share: usage.processor_ns as f64 / 1e9 / seconds,
            wakeups_a_second: usage.waits as f64 / seconds,
            turns_a_second: counters.of(node, "turns_total") as f64 / seconds,
            frames_a_second_and_core_pair: counters.of(node, names::PEER_FRAMES_SENT_TOTAL) as f64 / seconds / pairs,
            group_messages: counters.of(node, names::PEER_MESSAGES_SENT_TOTAL),
            log_writes: counters.of(node, names::LOG_BATCHES_TOTAL),
            silent: now.of(node, names::REPLICAS_SILENT),
            replicas: now.of(node, names::REPLICAS),
        }
    };
    let outcome = Outcome {
        partitions: arguments.partitions,
        cores: common.cores,
        seconds,
        nodes: (1..).zip(usage_before.iter().zip(&usage_after)).map(node).collect(),
        processor_share_target: PROCESSOR_SHARE_TARGET,
        frames_target: FRAMES_TARGET,
    };
    write(common, "idle", &outcome, &text(&outcome))
}

/// Asks by a client that is gone afterwards.
fn moment(handle: &Handle, cluster: &Cluster) -> Result<Moment, String> {
    let asking: Client = client(cluster, Duration::from_secs(5));
    let moment = Moment::take(handle, &asking);
    handle.block_on(asking.close());
    moment
}

fn usages(cluster: &Cluster) -> Result<Vec<Usage>, String> {
    (0..3).map(|node| Usage::of(cluster.server(node).process_id())).collect()
}

fn text(outcome: &Outcome) -> String {
    let mut text = format!(
        "idle: {} partitions, {} cores a node, {:.0} s\n{:>6}{:>12}{:>12}{:>10}{:>22}{:>18}{:>13}{:>12}\n",
        outcome.partitions,
        outcome.cores,
        outcome.seconds,
        "node",
        "% of a core",
        "wake-ups/s",
        "turns/s",
        "frames/s a core pair",
        "group messages",
        "log writes",
        "silent"
    );
    for node in &outcome.nodes {
        text += &format!(
            "{:>6}{:>12.3}{:>12.1}{:>10.1}{:>22.2}{:>18}{:>13}{:>12}\n",
            node.node,
            node.processor_share * 100.0,
            node.wakeups_a_second,
            node.turns_a_second,
            node.frames_a_second_and_core_pair,
            node.group_messages,
            node.log_writes,
            format!("{}/{}", node.silent, node.replicas)
        );
    }
    text += &format!(
        "targets: at most {} % of a core, {} frames a second and core pair, no messages of groups\n",
        outcome.processor_share_target * 100.0,
        outcome.frames_target
    );
    text
}
