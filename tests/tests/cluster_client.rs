//! The client, and the command line, against three nodes as processes: it finds leaders, and finds them again when nodes are killed, stopped and restarted under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use corelode_client::blocking::Client;
use corelode_client::{BatchOutcome, Durability, Error, Operation, Options, ScanOptions};
use corelode_tests::cluster::Cluster;

const CORES: u16 = 2;
const PARTITIONS: u16 = 8;
const WRITERS: usize = 32;
/// What a cluster of this election timeout may take to serve all keys again, twice the timeout by its promise, and some for a busy machine.
const FAILOVER_MAX: Duration = Duration::from_secs(5);

fn start(directory: &std::path::Path) -> Cluster {
    Cluster::start_with_stores(directory, CORES, PARTITIONS, false)
}

fn client_of(cluster: &Cluster) -> Client {
    let options = Options::from_addresses(cluster.addresses()).with_timeout(Duration::from_secs(20));
    Client::new(options).expect("a client starts")
}

/// A writer of one key: each value is the number of the write.
struct Writer {
    key: Vec<u8>,
    /// The last number that was acknowledged.
    acknowledged: u64,
    /// The last number that was sent.
    sent: u64,
    unknown: u64,
    /// The longest time from one acknowledgement to the next.
    pause_max: Duration,
}

impl Writer {
    fn run(mut self, client: &Client, stop: &AtomicBool, acknowledged: &AtomicU64) -> Self {
        // The first election is no failover.
        let mut last: Option<Instant> = None;
        while !stop.load(Ordering::Relaxed) {
            self.sent += 1;
            match client.put(&self.key, &self.sent.to_le_bytes()) {
                Ok(_) => {
                    self.acknowledged = self.sent;
                    self.pause_max = self.pause_max.max(last.map_or(Duration::ZERO, |last| last.elapsed()));
                    last = Some(Instant::now());
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                // It may be there or not, and the next write comes behind it.
                Err(Error::OutcomeUnknown { .. }) => self.unknown += 1,
                Err(other) => panic!("a write fails: {other}"),
            }
            let found = client.get(&self.key).expect("a read succeeds");
            let found = found.map_or(0, |found| u64::from_le_bytes(*found.value.first_chunk().expect("eight bytes")));
            assert!(
                (self.acknowledged..=self.sent).contains(&found),
                "a read shows write {found}, {} was acknowledged and {} sent",
                self.acknowledged,
                self.sent
            );
            // A write of unknown outcome that a read showed is there for good.
            self.acknowledged = found;
        }
        self
    }
}

/// Writers of some keys in every partition, while `disturb` does its work.
struct Load {
    stop: Arc<AtomicBool>,
    /// Of each writer, how many of its writes were acknowledged.
    acknowledged: Arc<[AtomicU64]>,
    writers: Vec<JoinHandle<Writer>>,
}

impl Load {
    fn start(client: &Client) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged: Arc<[AtomicU64]> = (0..WRITERS).map(|_| AtomicU64::new(0)).collect();
        let start = |number: usize| {
            let key = format!("key-{number}").into_bytes();
            let writer = Writer { key, acknowledged: 0, sent: 0, unknown: 0, pause_max: Duration::ZERO };
            let (client, stop, acknowledged) = (client.clone(), Arc::clone(&stop), Arc::clone(&acknowledged));
            std::thread::spawn(move || writer.run(&client, &stop, &acknowledged[number]))
        };
        let writers = (0..WRITERS).map(start).collect();
        Self { stop, acknowledged, writers }
    }

    /// Waits until each writer has so many more writes acknowledged.
    fn go_on(&self, writes: u64) {
        let count = |acknowledged: &AtomicU64| acknowledged.load(Ordering::Relaxed);
        let until: Vec<u64> = self.acknowledged.iter().map(|acknowledged| count(acknowledged) + writes).collect();
        let started = Instant::now();
        while self.acknowledged.iter().zip(&until).any(|(acknowledged, until)| count(acknowledged) < *until) {
            assert!(started.elapsed() < Duration::from_secs(30), "the load goes on");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn end(self) -> Vec<Writer> {
        self.stop.store(true, Ordering::Relaxed);
        self.writers.into_iter().map(|writer| writer.join().expect("a writer meets nothing that it may not")).collect()
    }
}

/// The longest that any key was not written for, and how many writes have an unknown outcome.
fn worst(writers: &[Writer]) -> (Duration, u64) {
    let pause = writers.iter().map(|writer| writer.pause_max).max().expect("there are writers");
    (pause, writers.iter().map(|writer| writer.unknown).sum())
}

#[test]
fn reads_and_writes_go_on_when_a_leader_is_killed_under_load() {
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let mut cluster = start(scratch.path());
    let client = client_of(&cluster);
    for victim in 0..3 {
        let load = Load::start(&client);
        load.go_on(10);
        cluster.kill(victim);
        load.go_on(10);
        let (pause, unknown) = worst(&load.end());
        println!("CORELODE-FIGURE failover_ms_of_{victim}={}", pause.as_millis());
        println!("CORELODE-FIGURE failover_unknown_of_{victim}={unknown}");
        assert!(pause < FAILOVER_MAX, "node {} was killed, and a key was not written for {pause:?}", victim + 1);
        cluster.restart(victim);
    }
    cluster.terminate();
}

#[test]
fn a_node_that_is_stopped_and_keeps_its_connections_is_left_for_the_others() {
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let cluster = start(scratch.path());
    let client = client_of(&cluster);
    let load = Load::start(&client);
    load.go_on(10);
    cluster.pause(0);
    load.go_on(10);
    // Another client begins while the node is silent.
    let newcomer = client_of(&cluster);
    for number in 0..16 {
        newcomer.put(format!("new-{number}").as_bytes(), b"value").expect("the others serve");
    }
    cluster.resume(0);
    load.go_on(10);
    let (pause, unknown) = worst(&load.end());
    println!("CORELODE-FIGURE silent_node_pause_ms={} unknown={unknown}", pause.as_millis());
    // Writes that the silent node had are unknown once it is given up for dead.
    assert!(pause < 2 * FAILOVER_MAX, "a key was not written for {pause:?}");
    cluster.terminate();
}

#[test]
fn a_rolling_restart_costs_no_acknowledged_write() {
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let mut cluster = start(scratch.path());
    let client = client_of(&cluster);
    let load = Load::start(&client);
    for node in 0..3 {
        load.go_on(10);
        cluster.stop_and_restart(node);
    }
    load.go_on(10);
    let (pause, unknown) = worst(&load.end());
    println!("CORELODE-FIGURE rolling_restart_pause_ms={} unknown={unknown}", pause.as_millis());
    assert!(pause < FAILOVER_MAX, "a key was not written for {pause:?}");
    cluster.terminate();
}

#[test]
fn batches_scans_and_local_reads_reach_all_partitions_with_a_node_down() {
    const KEYS: usize = 100;
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let mut cluster = start(scratch.path());
    let client = client_of(&cluster);
    let key = |number: usize| format!("key-{number:03}").into_bytes();
    let put = |number| Operation::Put { key: key(number), value: key(number), ttl_ms: None };
    let results = client.batch((0..KEYS).map(put).collect(), Durability::Synced).expect("a map is there");
    assert!(results.iter().all(|result| matches!(result, Ok(BatchOutcome::Written { .. }))), "{results:?}");
    for victim in 0..3 {
        cluster.kill(victim);
        // Reads may be sent again whatever became of the connection.
        let get = |number| Operation::Get { key: key(number) };
        let results = client.batch((0..KEYS).map(get).collect(), Durability::Synced).expect("a map is there");
        for (number, result) in results.into_iter().enumerate() {
            let Ok(BatchOutcome::Value(Some(found))) = result else { panic!("key {number}: {result:?}") };
            assert_eq!(found.value, key(number));
        }
        let mut scan = client.scan(ScanOptions { at_newer_revisions: true, ..ScanOptions::default() });
        for number in 0..KEYS {
            let row = scan.next().expect("a row for each key").expect("the others serve");
            assert_eq!(row.key, key(number));
            // A follower may be behind, but not by what was acknowledged so long ago.
            let found = client.get_local(&key(number)).expect("a replica answers");
            assert_eq!(found.map(|found| found.value), Some(key(number)));
        }
        assert!(scan.next().is_none());
        cluster.restart(victim);
    }
    cluster.terminate();
}

/// What the command line says, as standard output and standard error.
fn corelode(servers: &[String], arguments: &[&str]) -> (String, String) {
    let mut command = std::process::Command::new(corelode_tests::server::program());
    let output = command.args(["--server", &servers.join(",")]).args(arguments).output().expect("the program starts");
    let text = |bytes| String::from_utf8(bytes).expect("it speaks UTF-8");
    (text(output.stdout), text(output.stderr))
}

#[test]
fn the_command_line_shows_a_cluster_with_a_node_down() {
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let mut cluster = start(scratch.path());
    let servers = cluster.addresses();
    cluster.put(b"key", b"value");
    cluster.kill(1);
    assert_eq!(cluster.get(b"key"), Some(b"value".to_vec()));
    let (status, _) = corelode(&servers, &["status"]);
    for (node, address) in servers.iter().enumerate() {
        let line = status.lines().find(|line| line.contains(address)).expect("each node has a line");
        assert_eq!(line.contains("unreachable"), node == 1, "{line}");
    }
    let (json, _) = corelode(&servers, &["status", "--output", "json"]);
    assert_eq!(json.matches("\"reachable\":true").count(), 2, "{json}");
    assert_eq!(json.matches("\"first_slot\"").count(), usize::from(PARTITIONS), "{json}");
    assert_eq!(corelode(&servers, &["get", "key"]).0, "value");
    // Who was asked in vain is named.
    let nobody = ["127.0.0.1:1".to_owned(), "127.0.0.1:2".to_owned()];
    let (_, error) = corelode(&nobody, &["get", "key", "--timeout-ms", "300"]);
    assert!(nobody.iter().all(|address| error.contains(address)), "{error}");
    cluster.terminate();
}
