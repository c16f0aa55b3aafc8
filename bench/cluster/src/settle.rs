//! Waiting until a cluster is whole.

use std::thread;
use std::time::{Duration, Instant};

use corelode_client::{Client, Options, counters as names};
use corelode_tests::cluster::Cluster;
use tokio::runtime::Handle;

use crate::counters::Moment;

/// How long a cluster may take until all replicas are level.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Entries that a replica under load may lack and count as level.
const ENTRIES_BEHIND_MAX: u64 = 64;

/// A client of a cluster.
pub(crate) fn client(cluster: &Cluster, timeout: Duration) -> Client {
    Client::new(Options::from_addresses(cluster.addresses()).with_timeout(timeout).with_name("corelode-bench-cluster"))
}

/// Waits until every partition is led and every node has what is committed. Answers the moment.
///
/// Leaders are where they are: nothing brings them back to the nodes that led first.
pub(crate) fn settle(runtime: &Handle, client: &Client, partitions: u16) -> Result<Moment, String> {
    let began = Instant::now();
    loop {
        let reason = match Moment::take(runtime, client) {
            Ok(moment) => match unsettled(&moment, partitions) {
                None => return Ok(moment),
                Some(reason) => reason,
            },
            Err(reason) => reason,
        };
        if began.elapsed() > PATIENCE {
            return Err(format!("the cluster does not come to rest: {reason}"));
        }
        thread::sleep(LOOK_EVERY);
    }
}

fn unsettled(moment: &Moment, partitions: u16) -> Option<String> {
    let counters = moment.counters();
    for node in 1..=3 {
        if !moment.statuses.contains_key(&node) {
            return Some(format!("node {node} does not answer"));
        }
        let behind = moment.partitions_behind(node, partitions, ENTRIES_BEHIND_MAX);
        if behind > 0 {
            return Some(format!("node {node} is behind in {behind} partitions"));
        }
    }
    let short = counters.total(names::GROUPS_SHORT_OF_VOTERS);
    (short > 0).then(|| format!("{short} groups lack voters"))
}
