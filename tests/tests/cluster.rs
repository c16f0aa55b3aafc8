//! Three nodes as processes: what was acknowledged survives the loss of any of them, without anybody's help.

use corelode_client::counters;
use corelode_tests::cluster::Cluster;

fn key(number: u32) -> Vec<u8> {
    format!("key-{number}").into_bytes()
}

fn value(number: u32, round: usize) -> Vec<u8> {
    format!("value-{number}-of-round-{round}").into_bytes()
}

#[test]
fn what_was_acknowledged_survives_the_loss_of_each_node_in_turn() {
    const KEYS: u32 = 12;
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let mut cluster = Cluster::start(scratch.path(), 2, 8);
    for round in 0..3 {
        for number in 0..KEYS {
            cluster.put(&key(number), &value(number, round));
        }
        let victim = round % 3;
        cluster.kill(victim);
        for number in 0..KEYS {
            let found = cluster.get(&key(number));
            assert_eq!(found, Some(value(number, round)), "key {number} after node {} was killed", victim + 1);
        }
        cluster.restart(victim);
    }
    cluster.terminate();
}

#[test]
fn nothing_is_acknowledged_without_a_majority_and_service_returns_with_it() {
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let mut cluster = Cluster::start(scratch.path(), 1, 4);
    cluster.put(b"before", b"1");
    cluster.kill(0);
    cluster.kill(1);
    let alone = cluster.server(2).address();
    let options = corelode_client::Options::from_addresses(vec![alone.to_string()]);
    let client = corelode_client::blocking::Client::new(options.with_timeout(std::time::Duration::from_millis(500)));
    let client = client.expect("a client starts");
    for number in 0..4 {
        assert!(client.put(&key(number), b"never").is_err(), "a write without a majority");
        assert!(client.get(&key(number)).is_err(), "a linearizable read without a majority");
    }
    cluster.restart(1);
    assert_eq!(cluster.get(b"before"), Some(b"1".to_vec()));
    cluster.put(b"after", b"2");
    cluster.terminate();
}

#[test]
fn a_node_that_lost_its_disk_learns_all_and_votes_again() {
    const PARTITIONS: u64 = 4;
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let mut cluster = Cluster::start(scratch.path(), 2, 4);
    for number in 0..12 {
        cluster.put(&key(number), &value(number, 0));
    }
    wait_until_all_vote(&cluster, PARTITIONS);
    cluster.kill(2);
    std::fs::remove_dir_all(cluster.data_directory(2)).expect("the data of the node is lost");
    cluster.restart(2);
    cluster.put(&key(12), &value(12, 0));
    wait_until_all_vote(&cluster, PARTITIONS);
    let told = |node: usize| cluster.server(node).log().contains("comes back with another data directory");
    assert!(told(0) || told(1), "somebody says so");
    // It counts now: without one of the others, and then without the other one.
    for victim in [0, 1] {
        cluster.kill(victim);
        for number in 0..13 {
            assert_eq!(cluster.get(&key(number)), Some(value(number, 0)), "key {number} without node {}", victim + 1);
        }
        cluster.restart(victim);
    }
    cluster.terminate();
}

/// Waits until the groups of all partitions have all the voters that they should have.
fn wait_until_all_vote(cluster: &Cluster, partitions: u64) {
    let clients: Vec<_> = (0..3)
        .map(|node| {
            let options = corelode_client::Options::from_addresses(vec![cluster.server(node).address().to_string()]);
            corelode_client::blocking::Client::new(options).expect("a client starts")
        })
        .collect();
    let started = std::time::Instant::now();
    loop {
        let statuses: Vec<_> = clients.iter().map(|client| client.status().expect("the node answers")).collect();
        let sum = |name: &str| -> u64 {
            let cores = statuses.iter().flat_map(|status| &status.cores).flat_map(|core| &core.counters);
            cores.filter(|counter| counter.name == name).map(|counter| counter.value).sum()
        };
        let (leading, short) = (sum(counters::REPLICAS_LEADING), sum(counters::GROUPS_SHORT_OF_VOTERS));
        if leading == partitions && short == 0 {
            return;
        }
        let logs = || (0..3).map(|node| cluster.server(node).log()).collect::<String>();
        assert!(
            started.elapsed() < std::time::Duration::from_secs(30),
            "{short} of {leading} groups lack voters: {}",
            logs()
        );
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn a_node_that_belongs_elsewhere_is_refused_and_the_others_serve_on() {
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let mut cluster = Cluster::start(scratch.path(), 1, 4);
    cluster.put(b"key", b"1");
    cluster.kill(2);
    let misled = format!(
        "1={},2={},3={},4=127.0.0.1:1",
        cluster.server(0).address(),
        cluster.server(1).address(),
        "127.0.0.1:2"
    );
    let stranger = cluster.start_node(2, &misled);
    cluster.put(b"key", b"2");
    let started = std::time::Instant::now();
    while !stranger.log().contains("--peers") {
        assert!(started.elapsed() < std::time::Duration::from_secs(20), "it says why: {}", stranger.log());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    stranger.end();
    cluster.restart(2);
    assert_eq!(cluster.get(b"key"), Some(b"2".to_vec()));
    cluster.terminate();
}

#[test]
fn any_core_of_any_node_names_the_leaders_of_all_partitions() {
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let cluster = Cluster::start(scratch.path(), 2, 8);
    for node in 0..3 {
        let address = cluster.server(node).address().to_string();
        // The kernel chooses the core that a connection comes to.
        for _ in 0..4 {
            let started = std::time::Instant::now();
            while !knows_all_leaders(&address) {
                assert!(started.elapsed() < std::time::Duration::from_secs(20), "node {} knows all leaders", node + 1);
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
    }
    cluster.terminate();
}

/// PITFALL 24.
#[test]
fn replicas_compare_what_they_have_applied_and_keep_their_connections() {
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let cluster = Cluster::start(scratch.path(), 1, 4);
    let options = corelode_client::Options::from_addresses(cluster.addresses());
    let client = corelode_client::blocking::Client::new(options).expect("a client starts");
    let compared = || {
        let statuses = client.statuses().expect("a node knows the others");
        let of_each = statuses.into_iter().filter_map(|(_, status)| status.ok());
        of_each.map(|status| status.total(counters::STATE_HASHES_COMPARED_TOTAL)).sum::<u64>()
    };
    let started = std::time::Instant::now();
    let mut number = 0;
    // Each round of comparisons goes over the connections that the one before has used.
    while compared() < 20 {
        cluster.put(&key(number), &value(number, 0));
        number += 1;
        assert!(started.elapsed() < std::time::Duration::from_secs(30), "{} hashes were compared", compared());
    }
    for node in 0..3 {
        let log = cluster.server(node).log();
        assert!(!log.contains("does not take part"), "{log}");
    }
    cluster.terminate();
}

fn knows_all_leaders(address: &str) -> bool {
    let options = corelode_client::Options::from_addresses(vec![address.to_owned()]);
    let client = corelode_client::blocking::Client::new(options).expect("a client starts");
    let topology = client.fetch_topology().expect("the node answers");
    topology.partitions.iter().all(|entry| entry.leader.is_some())
}

#[test]
fn a_value_expires_once_and_for_all_nodes() {
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let mut cluster = Cluster::start(scratch.path(), 1, 4);
    for number in 0..4 {
        cluster.put_for(&key(number), b"for a while", std::time::Duration::from_millis(300));
        let started = std::time::Instant::now();
        // Nobody writes any more: the leader has to notice by itself.
        while cluster.get(&key(number)).is_some() {
            assert!(started.elapsed() < std::time::Duration::from_secs(20), "key {number} is still there");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
    for node in 0..3 {
        cluster.kill(node);
        for number in 0..4 {
            assert_eq!(cluster.get(&key(number)), None, "after node {} was killed", node + 1);
        }
        cluster.restart(node);
    }
    cluster.terminate();
}

/// The value of a key, long enough that a few hundred are more than the log keeps for a node that is away.
fn long_value(number: u32, round: usize) -> Vec<u8> {
    format!("value-{number}-of-round-{round};").into_bytes().repeat(150)
}

#[test]
fn a_node_that_was_away_too_long_for_the_log_is_sent_tables() {
    const KEYS: u32 = 200;
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let mut cluster = Cluster::start(scratch.path(), 2, 4);
    for round in 0..3 {
        let away = 2 - round;
        cluster.kill(away);
        (0..KEYS).for_each(|number| cluster.put(&key(number), &long_value(number, round)));
        cluster.restart(away);
        let started = std::time::Instant::now();
        while cluster.server(away).log().matches("took the place").count() < 4 {
            assert!(started.elapsed() < std::time::Duration::from_secs(60), "{}", cluster.server(away).log());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        // What follows is written behind the tables, and a majority needs the node that was away.
        let other = (away + 1) % 3;
        cluster.kill(other);
        cluster.put(&key(0), &long_value(0, round));
        for number in 0..KEYS {
            assert_eq!(cluster.get(&key(number)), Some(long_value(number, round)), "key {number} in round {round}");
        }
        cluster.restart(other);
    }
    cluster.terminate();
}

#[test]
fn a_node_that_is_killed_again_and_again_while_it_catches_up_catches_up_in_the_end() {
    const KEYS: u32 = 400;
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let mut cluster = Cluster::start(scratch.path(), 1, 2);
    cluster.kill(2);
    (0..KEYS).for_each(|number| cluster.put(&key(number), &long_value(number, 0)));
    for pause_ms in [50, 120, 200, 300, 420, 600] {
        cluster.restart(2);
        std::thread::sleep(std::time::Duration::from_millis(pause_ms));
        cluster.kill(2);
        cluster.put(&key(0), &long_value(0, 0));
    }
    cluster.restart(2);
    cluster.kill(0);
    for number in 0..KEYS {
        assert_eq!(cluster.get(&key(number)), Some(long_value(number, 0)), "key {number}");
    }
    cluster.terminate();
}
