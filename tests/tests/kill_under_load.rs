//! `kill -9` under load, again and again: nothing acknowledged is lost, nothing is there in part, every restart needs no help.
//!
//! Memtables, tables and segments are tiny, so that flushes, compactions, manifest switches and the recycling of segments run all the time.
//! What each kill landed in is counted by the traces that it left.

#![allow(clippy::print_stdout, reason = "figures go to standard output")]

use std::thread;
use std::time::Duration;

use corelode_tests::fault_round::FaultRounds;
use corelode_tests::interrupted::{Interrupted, found_recycling};
use corelode_tests::load::{Load, Random};
use corelode_tests::server::{Server, ServerOptions};

const LOAD: Load = Load { keys: 2_000, batches: 400, depth: 64, deletion_every: 12 };

/// From so many kills on, each kind of work must have been hit.
const CERTAIN_CYCLES: u64 = 100;

/// How many kills landed in each kind of work.
#[derive(Default, Debug)]
struct Kills {
    in_flush: u64,
    in_compaction: u64,
    in_manifest: u64,
    in_recycling: u64,
}

impl Kills {
    fn add(&mut self, interrupted: Interrupted, was_recycling: bool) {
        self.in_flush += u64::from(interrupted.flush);
        self.in_compaction += u64::from(interrupted.compaction);
        self.in_manifest += u64::from(interrupted.manifest);
        self.in_recycling += u64::from(was_recycling);
    }

    fn landed_everywhere(&self) -> bool {
        [self.in_flush, self.in_compaction, self.in_manifest, self.in_recycling].iter().all(|&count| count > 0)
    }
}

#[test]
fn nothing_acknowledged_is_lost_by_kills() {
    let cycles: u64 = std::env::var("CORELODE_TEST_KILL_CYCLES").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let options = ServerOptions {
        data_directory: scratch.path().join("data"),
        cores: 2,
        partitions: 8,
        is_tiny: true,
        is_without_ring: false,
    };
    let mut rounds = FaultRounds::new(&options, LOAD);
    let mut kills = Kills::default();
    let mut server = Server::start(&options);
    for cycle in 0..cycles {
        let mut log = String::new();
        rounds.run(cycle, server, |server| {
            thread::sleep(Duration::from_millis(100 + Random::new(cycle).below(400)));
            log = server.kill();
        });
        let interrupted = Interrupted::find(&options.data_directory, &log);
        server = Server::start(&options);
        kills.add(interrupted, found_recycling(&server.log()));
    }
    rounds.check(&server);
    server.terminate();
    let acknowledged = rounds.writes_acknowledged();
    println!("CORELODE-FIGURE kill_cycles={cycles}");
    println!("CORELODE-FIGURE kill_writes_acknowledged={acknowledged}");
    println!("CORELODE-FIGURE kill_batches_acknowledged={}", rounds.batches_acknowledged());
    println!("CORELODE-FIGURE kill_in_flush={}", kills.in_flush);
    println!("CORELODE-FIGURE kill_in_compaction={}", kills.in_compaction);
    println!("CORELODE-FIGURE kill_in_manifest={}", kills.in_manifest);
    println!("CORELODE-FIGURE kill_in_recycling={}", kills.in_recycling);
    assert!(acknowledged > cycles * 100, "the load was no load: {acknowledged} writes");
    assert!(cycles < CERTAIN_CYCLES || kills.landed_everywhere(), "no kill landed in some of the work: {kills:?}");
}
