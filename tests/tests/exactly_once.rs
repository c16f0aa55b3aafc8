//! Writes through the client while nodes of a cluster are lost: none fails, each is applied once, and all are there.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use corelode_client::blocking::Client;
use corelode_client::{Options, ScanOptions};
use corelode_tests::cluster::Cluster;

const CORES: u16 = 2;
const PARTITIONS: u16 = 8;
const WRITERS: usize = 24;
/// Every so many writes of a writer its key is deleted.
const DELETE_EVERY: u64 = 5;
/// Far longer than any election takes, also on a busy machine: no write may fail before.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A writer of one key, which counts up, and of a key for each write. Nobody else writes them, so that each read shows what was last acknowledged.
struct Writer {
    number: usize,
    client: Client,
    /// Writes that were acknowledged.
    acknowledged: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Writer {
    fn run(self) {
        let key = counter_key(self.number);
        let mut revision_last = 0;
        while !self.stop.load(Ordering::Relaxed) {
            let count = self.acknowledged.load(Ordering::Relaxed) + 1;
            let is_delete = count.is_multiple_of(DELETE_EVERY);
            let written = match is_delete {
                true => self.client.delete_with(&key, corelode_client::Durability::Synced),
                false => self.client.put(&key, &count.to_le_bytes()),
            };
            let revision = written.unwrap_or_else(|error| panic!("write {count} of {}: {error}", self.number));
            assert!(revision > revision_last, "write {count} got revision {revision}, the one before {revision_last}");
            revision_last = revision;
            let found = self.client.get(&key).expect("a read succeeds").map(|found| (found.value, found.revision));
            let expected = (!is_delete).then(|| (count.to_le_bytes().to_vec(), revision));
            assert_eq!(found, expected, "write {count} of {} was acknowledged", self.number);
            self.client.put(&unique_key(self.number, count), b"").expect("a write succeeds");
            self.acknowledged.store(count, Ordering::Relaxed);
        }
    }
}

/// A reader of a writer's key, while that writes. A write that is applied twice, since its first attempt came through after all, has two revisions, and its
/// writer is told of the second. Who reads between the two sees both.
struct Reader {
    number: usize,
    client: Client,
    stop: Arc<AtomicBool>,
}

impl Reader {
    fn run(self) {
        let key = counter_key(self.number);
        let (mut count_last, mut revision_last) = (0, 0);
        while !self.stop.load(Ordering::Relaxed) {
            let Some(found) = self.client.get(&key).expect("a read succeeds") else { continue };
            let count = u64::from_le_bytes(*found.value.first_chunk().expect("eight bytes"));
            let (revision, is_same) = (found.revision, count == count_last);
            assert!(
                if is_same { revision == revision_last } else { count > count_last && revision > revision_last },
                "write {count} of {} at revision {revision}, after write {count_last} at {revision_last}",
                self.number
            );
            (count_last, revision_last) = (count, revision);
        }
    }
}

fn counter_key(writer: usize) -> Vec<u8> {
    format!("counter-{writer}").into_bytes()
}

fn unique_key(writer: usize, count: u64) -> Vec<u8> {
    format!("unique-{writer:02}-{count:06}").into_bytes()
}

struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Vec<Arc<AtomicU64>>,
    /// Writers and readers.
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(client: &Client) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged: Vec<Arc<AtomicU64>> = (0..WRITERS).map(|_| Arc::default()).collect();
        let start = |(number, acknowledged): (usize, &Arc<AtomicU64>)| {
            let reader = Reader { number, client: client.clone(), stop: Arc::clone(&stop) };
            let (client, acknowledged, stop) = (client.clone(), Arc::clone(acknowledged), Arc::clone(&stop));
            let writer = Writer { number, client, acknowledged, stop };
            [std::thread::spawn(move || writer.run()), std::thread::spawn(move || reader.run())]
        };
        let threads = acknowledged.iter().enumerate().flat_map(start).collect();
        Self { stop, acknowledged, threads }
    }

    fn counts(&self) -> Vec<u64> {
        self.acknowledged.iter().map(|acknowledged| acknowledged.load(Ordering::Relaxed)).collect()
    }

    /// Waits until each writer has done so many more writes.
    fn go_on(&self, writes: u64) {
        let (before, started) = (self.counts(), Instant::now());
        while self.counts().iter().zip(&before).any(|(count, before)| *count < before + writes) {
            let ended = self.threads.iter().filter(|thread| thread.is_finished()).count();
            assert!(ended == 0, "{ended} writers or readers have failed");
            assert!(started.elapsed() < TIMEOUT, "the load goes on");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends the writers; answers how many writes each has done.
    fn end(mut self) -> Vec<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join().expect("nobody meets what may not be"));
        self.counts()
    }
}

/// PITFALL 38.
#[test]
fn writes_are_applied_once_whatever_becomes_of_their_leaders() {
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let mut cluster = Cluster::start_with_stores(scratch.path(), CORES, PARTITIONS, false);
    let options = Options::from_addresses(cluster.addresses()).with_timeout(TIMEOUT);
    let client = Client::new(options).expect("a client starts");
    let load = Load::start(&client);
    for victim in 0..3 {
        load.go_on(10);
        // Ends in the middle of writes, some of which its followers have and some not.
        cluster.kill(victim);
        load.go_on(10);
        cluster.restart(victim);
        load.go_on(10);
        // What is on its way to it comes late, after it was sent to the next leader and more was written there.
        cluster.pause(victim);
        load.go_on(10);
        cluster.resume(victim);
    }
    load.go_on(10);
    let counts = load.end();
    println!("CORELODE-FIGURE exactly_once_writes={}", 2 * counts.iter().sum::<u64>());

    let scan = ScanOptions { prefix: b"unique-".to_vec(), keys_only: true, ..ScanOptions::default() };
    let there: BTreeSet<Vec<u8>> = client.scan(scan).map(|row| row.expect("a scan succeeds").key).collect();
    let written = counts.iter().enumerate();
    let written = written.flat_map(|(writer, &count)| (1..=count).map(move |count| unique_key(writer, count)));
    assert_eq!(there, written.collect(), "what was acknowledged is there, and nothing else");
    client.close();
    cluster.terminate();
}
