//! Writes that wait for the memory of a majority and for no disk: what they survive, with real processes. What they may lose the simulator looks into.

use std::time::{Duration, Instant};

use corelode_net::table::counters;
use corelode_tests::cluster::Cluster;

fn key(number: u32) -> Vec<u8> {
    format!("key-{number}").into_bytes()
}

fn value(round: u32, number: u32) -> Vec<u8> {
    format!("{number} in round {round}").into_bytes()
}

fn total(cluster: &Cluster, node: usize, name: &str) -> u64 {
    let options = corelode_client::Options::from_addresses(vec![cluster.addresses()[node].clone()]);
    let client = corelode_client::blocking::Client::new(options).expect("a client starts");
    client.status().expect("the node answers").total(name)
}

#[test]
fn a_write_in_memory_survives_the_crash_of_any_one_node() {
    const KEYS: u32 = 20;
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let mut cluster = Cluster::start(scratch.path(), 1, 4);
    for round in 0..6 {
        let node = round as usize % 3;
        (0..KEYS).for_each(|number| cluster.put_in_memory(&key(number), &value(round, number)));
        cluster.kill(node);
        for number in 0..KEYS {
            assert_eq!(
                cluster.get(&key(number)),
                Some(value(round, number)),
                "node {node} was killed in round {round}"
            );
        }
        cluster.restart(node);
        // The next kill must find a majority that has what this one has missed.
        let started = Instant::now();
        let is_short = |other: &usize| total(&cluster, *other, counters::REPLICAS_ENTRIES_UNCOMMITTED) > 0;
        while (0..3).any(|other| is_short(&other) || total(&cluster, other, counters::REPLICAS_WITHOUT_LEADER) > 0) {
            assert!(started.elapsed() < Duration::from_secs(20), "the cluster is not whole after round {round}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    for node in 0..3 {
        assert_eq!(
            total(&cluster, node, counters::MEMORY_WRITES_LOST_TOTAL),
            0,
            "node {node} has lost what it had applied"
        );
    }
    cluster.terminate();
}

#[test]
fn without_a_majority_nothing_is_acknowledged_from_memory_either() {
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let mut cluster = Cluster::start(scratch.path(), 1, 1);
    cluster.put(&key(0), b"before");
    cluster.kill(1);
    cluster.kill(2);
    let options = corelode_client::Options::from_addresses(vec![cluster.addresses()[0].clone()])
        .with_timeout(Duration::from_millis(500));
    let client = corelode_client::blocking::Client::new(options).expect("a client starts");
    let write = corelode_client::WriteOptions {
        durability: corelode_net::body::Durability::Memory,
        ..corelode_client::WriteOptions::default()
    };
    for number in 0..5 {
        let outcome = client.put_with(&key(0), &value(1, number), write);
        assert!(outcome.is_err(), "one node of three acknowledged {outcome:?}");
    }
    cluster.restart(1);
    cluster.restart(2);
    assert!(cluster.get(&key(0)).is_some(), "the first one was acknowledged as synced");
    cluster.terminate();
}
