//! `kill -9` under load, again and again: nothing acknowledged is lost, nothing is there in part, every restart needs no help.
//!
//! Memtables, tables and segments are tiny, so that flushes, compactions, manifest switches and the recycling of segments run all the time.
//! What a kill landed in shows by what it left: half a manifest, a table that no manifest names, a segment being made or reopened.

#![allow(clippy::print_stdout, reason = "figures go to standard output")]

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use corelode_tests::fault_round::FaultRounds;
use corelode_tests::load::{Load, Random};
use corelode_tests::server::{Server, ServerOptions};

const CORES: u16 = 2;
const PARTITIONS: u16 = 8;
const LOAD: Load = Load { keys: 2_000, batches: 400, depth: 64, deletion_every: 12 };

/// What kills have interrupted.
#[derive(Default, Debug)]
struct Interrupted {
    manifests: u64,
    tables: u64,
    segments: u64,
    torn_tails: u64,
}

#[test]
fn nothing_acknowledged_is_lost_by_kills() {
    let cycles: u64 = std::env::var("CORELODE_TEST_KILL_CYCLES").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let options = ServerOptions {
        data_directory: scratch.path().join("data"),
        cores: CORES,
        partitions: PARTITIONS,
        is_tiny: true,
        is_without_ring: false,
    };
    let mut rounds = FaultRounds::new(&options, LOAD);
    let mut interrupted = Interrupted::default();
    let mut log = String::new();
    for cycle in 0..cycles {
        rounds.run(cycle, Server::start(&options), |server| {
            thread::sleep(Duration::from_millis(100 + Random::new(cycle).below(400)));
            log = server.log();
            server.kill();
        });
        note_what_was_interrupted(&options.data_directory, &mut interrupted);
    }
    let server = Server::start(&options);
    rounds.check(&server);
    log.push_str(&server.log());
    server.terminate();
    let acknowledged = rounds.writes_acknowledged();
    interrupted.torn_tails = log.matches("was cut").count() as u64;
    interrupted.tables += orphans(&log);
    println!("CORELODE-FIGURE kill_cycles={cycles}");
    println!("CORELODE-FIGURE kill_writes_acknowledged={acknowledged}");
    println!("CORELODE-FIGURE kill_batches_acknowledged={}", rounds.batches_acknowledged());
    println!("CORELODE-FIGURE kill_interrupted_manifests={}", interrupted.manifests);
    println!("CORELODE-FIGURE kill_interrupted_tables={}", interrupted.tables);
    println!("CORELODE-FIGURE kill_interrupted_segments={}", interrupted.segments);
    println!("CORELODE-FIGURE kill_torn_tails={}", interrupted.torn_tails);
    assert!(acknowledged > cycles * 100, "the load was no load: {acknowledged} writes");
    if cycles >= 100 {
        assert!(interrupted.manifests > 0 && interrupted.tables > 0, "kills landed everywhere: {interrupted:?}");
    }
}

/// Half-made files that the kill left.
fn note_what_was_interrupted(data: &Path, interrupted: &mut Interrupted) {
    let names = |directory: &Path| -> Vec<String> {
        let entries = fs::read_dir(directory).expect("the data directory is there");
        entries.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned()).collect()
    };
    for partition in names(&data.join("partitions")) {
        let is_half = |name: &String| name.ends_with(".tmp");
        interrupted.manifests +=
            names(&data.join("partitions").join(partition)).iter().filter(|name| is_half(name)).count() as u64;
    }
    for log in names(&data.join("logs")) {
        let is_half = |name: &String| name.ends_with(".tmp");
        interrupted.segments += names(&data.join("logs").join(log)).iter().filter(|name| is_half(name)).count() as u64;
    }
}

/// Tables that no manifest named, as the restarts counted them.
fn orphans(log: &str) -> u64 {
    let counts = log.split("orphans_removed").skip(1);
    let digits = |text: &str| {
        text.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect::<String>()
    };
    counts.filter_map(|text| digits(&strip_colours(text)).parse::<u64>().ok()).sum()
}

/// The text without terminal escapes, whose digits would pass for counts.
fn strip_colours(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(start) = rest.find('\u{1b}') {
        plain.push_str(&rest[..start]);
        rest = rest[start..].find('m').map_or("", |end| &rest[start + end + 1..]);
    }
    plain.push_str(rest);
    plain
}
