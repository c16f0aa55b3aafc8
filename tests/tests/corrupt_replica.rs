//! One replica after the other has every kind of its files damaged, while the cluster serves: nobody is told anything wrong, the replica repairs itself from the others
//! or refuses to start by name, and what is damaged stays where it is.
//!
//! `CORELODE_TEST_CORRUPT_ROUNDS` is the number of rounds, `CORELODE_TEST_CORRUPT_SEED` where they begin; each dozen has every kind of damage.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use corelode_net::body::ReadLevel;
use corelode_net::table::counters;
use corelode_tests::cluster::Cluster;
use corelode_tests::load::Random;
use corelode_tests::wire_client::{Reply, WireClient};

const KEYS: u32 = 60;
const PARTITIONS: u16 = 2;
const PATIENCE: Duration = Duration::from_secs(60);

/// What happens to a file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    /// A bit turns over somewhere.
    Bit,
    /// A bit turns over in its first 4 KiB.
    BitAtStart,
    /// A bit turns over in its last 4 KiB.
    BitAtEnd,
    /// 4 KiB are zeroed.
    Zeroes,
    /// The second half is gone.
    Cut,
    /// It is gone.
    Removed,
}

/// Which file.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Identity,
    Manifest,
    Table,
    Segment,
}

/// Every kind of file with what may happen to it, and whether the node runs meanwhile.
const ROUNDS: [(Kind, Damage, bool); 12] = [
    (Kind::Table, Damage::Bit, true),
    (Kind::Segment, Damage::Bit, false),
    (Kind::Manifest, Damage::Bit, false),
    (Kind::Table, Damage::Zeroes, false),
    (Kind::Identity, Damage::Bit, false),
    (Kind::Segment, Damage::BitAtStart, false),
    (Kind::Table, Damage::BitAtEnd, false),
    (Kind::Segment, Damage::Cut, false),
    (Kind::Table, Damage::Removed, false),
    (Kind::Manifest, Damage::Removed, false),
    (Kind::Segment, Damage::Removed, false),
    (Kind::Table, Damage::Cut, false),
];

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |value| value.parse().unwrap_or_else(|_| panic!("{name} is not a number")))
}

fn key(number: u32) -> Vec<u8> {
    format!("key-{number:03}").into_bytes()
}

fn value(number: u32, round: u64) -> Vec<u8> {
    format!("{number} of round {round};").into_bytes().repeat(40)
}

/// The files of a kind that a node has, sorted.
fn files(directory: &Path, kind: Kind) -> Vec<PathBuf> {
    let mut pending = vec![directory.to_path_buf()];
    let mut found = Vec::new();
    while let Some(path) = pending.pop() {
        for entry in fs::read_dir(&path).expect("the data directory can be read") {
            let path = entry.expect("an entry has a name").path();
            if path.is_dir() {
                pending.push(path);
                continue;
            }
            let name = path.file_name().expect("files have names").to_string_lossy().into_owned();
            let of_logs = path.components().any(|part| part.as_os_str() == "logs");
            let is_meant = match kind {
                Kind::Identity => name == "IDENTITY",
                Kind::Manifest => name == "MANIFEST",
                Kind::Table => !of_logs && name != "IDENTITY" && name != "MANIFEST" && name != "LOCK",
                Kind::Segment => of_logs,
            };
            if is_meant && !name.ends_with(".tmp") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn damage(path: &Path, damage: Damage, random: &mut Random) {
    if let Damage::Removed = damage {
        return fs::remove_file(path).expect("the file is there");
    }
    let file = fs::File::options().read(true).write(true).open(path).expect("the file is there");
    let length = file.metadata().expect("it has a length").len();
    let flip = |offset: u64, bit: u64| {
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset).expect("within the file");
        byte[0] ^= 1 << bit;
        file.write_all_at(&byte, offset).expect("within the file");
    };
    let bit = random.below(8);
    match damage {
        Damage::Bit => flip(random.below(length), bit),
        Damage::BitAtStart => flip(random.below(length.min(4096)), bit),
        Damage::BitAtEnd => flip(length - 1 - random.below(length.min(4096)), bit),
        Damage::Zeroes => {
            let start = random.below(length.div_ceil(4096)) * 4096;
            let count = usize::try_from((length - start).min(4096)).expect("small");
            file.write_all_at(&vec![0; count], start).expect("within the file");
        }
        Damage::Cut => file.set_len(length / 2).expect("it can be cut"),
        Damage::Removed => unreachable!("done above"),
    }
}

/// Reads every key from what a node itself holds until all are those of `round`. What it tells meanwhile must have been written once: it may be behind, but never wrong.
fn await_values(cluster: &Cluster, node: usize, round: u64, what: &str) {
    let started = Instant::now();
    let address = cluster.server(node).address();
    let mut client = WireClient::connect(address, 0).expect("the node serves");
    let mut missing: Vec<u32> = (0..KEYS).collect();
    let mut last = None;
    while !missing.is_empty() {
        missing.retain(|number| {
            let reply = client.call(|client| client.get(&key(*number), ReadLevel::Local)).expect("the node answers");
            let is_there = reply == Reply::Found(value(*number, round));
            if let Reply::Found(found) = &reply {
                let was_written = (0..=round).any(|round| *found == value(*number, round));
                assert!(was_written, "{what}: node {} tells what was never written to key {number}", node + 1);
            }
            if !is_there {
                last = Some(reply);
            }
            !is_there
        });
        let text = || format!("{last:?}").chars().take(200).collect::<String>();
        assert!(
            started.elapsed() < PATIENCE,
            "{what}: node {} lacks {} keys: {}\n{}",
            node + 1,
            missing.len(),
            text(),
            cluster.server(node).log()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn total(cluster: &Cluster, node: usize, name: &str) -> u64 {
    let options = corelode_client::Options::from_addresses(vec![cluster.server(node).address().to_string()]);
    let client = corelode_client::blocking::Client::new(options).expect("a client starts");
    client.status().expect("the node answers").total(name)
}

/// Waits until nothing is damaged, nobody lacks voters, and no two replicas differ.
fn await_whole(cluster: &Cluster, what: &str) {
    let started = Instant::now();
    let names = [
        counters::REPLICAS_DAMAGED,
        counters::REPLICAS_WITHOUT_LEADER,
        counters::GROUPS_SHORT_OF_VOTERS,
        counters::REPLICAS_DIVERGED,
    ];
    loop {
        let found =
            (0..3).flat_map(|node| names.map(|name| (node, name))).find(|(node, name)| total(cluster, *node, name) > 0);
        let Some((node, name)) = found else { return };
        assert!(started.elapsed() < PATIENCE, "{what}: node {} has {name}\n{}", node + 1, cluster.server(node).log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
#[allow(clippy::print_stdout, reason = "what became of each file is worth reading")]
fn whatever_file_of_a_replica_is_damaged_the_others_serve_on_and_it_comes_back() {
    let rounds = number("CORELODE_TEST_CORRUPT_ROUNDS", ROUNDS.len() as u64);
    let seed = number("CORELODE_TEST_CORRUPT_SEED", u64::from(std::process::id()));
    println!("CORELODE-FIGURE corrupt_seed={seed}");
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let mut cluster = Cluster::start(scratch.path(), 1, PARTITIONS);
    let mut random = Random::new(seed);
    let (mut refused, mut repaired) = (0_u64, 0_u64);
    // Two values of each key, so that there are tables of several ages.
    (0..KEYS).for_each(|number| cluster.put(&key(number), &value(number, 0)));
    for round in 1..=rounds {
        let (kind, how, is_running) = ROUNDS[usize::try_from((round - 1) % ROUNDS.len() as u64).expect("few")];
        let victim = usize::try_from(round % 3).expect("one of three");
        (0..KEYS).for_each(|number| cluster.put(&key(number), &value(number, round)));
        let what = format!("round {round} of seed {seed}, {kind:?} {how:?} on node {}", victim + 1);
        await_values(&cluster, victim, round, &what);
        if !is_running {
            cluster.kill(victim);
        }
        let directory = cluster.data_directory(victim);
        let files = files(&directory, kind);
        assert!(!files.is_empty(), "{what}: there is no such file");
        let path = files[usize::try_from(random.below(files.len() as u64)).expect("few")].clone();
        damage(&path, how, &mut random);
        // The others serve on, whatever becomes of it.
        let probe = |number: u32| cluster.get(&key(number)) == Some(value(number, round));
        assert!((0..KEYS).step_by(7).all(probe), "{what}: the others tell something else");
        let outcome = if is_running { Ok(()) } else { cluster.try_restart(victim) };
        let became = match outcome {
            Ok(()) => {
                repaired += 1;
                "it serves"
            }
            Err(log) => {
                refused += 1;
                let name = path.file_name().expect("files have names").to_string_lossy();
                let directory_name = path.parent().expect("files are somewhere").display().to_string();
                let refusal = log.lines().rev().find(|line| line.starts_with("corelode serve:")).unwrap_or("");
                assert!(
                    refusal.contains(&*name) || refusal.contains(&directory_name),
                    "{what}: the refusal names neither {} nor its directory:\n{log}",
                    path.display()
                );
                println!("{what}: refused: {refusal}");
                fs::remove_dir_all(&directory).expect("its data is given up");
                cluster.restart(victim);
                "it refused to start, and began anew"
            }
        };
        await_values(&cluster, victim, round, &what);
        await_whole(&cluster, &what);
        println!("{what}: {became}");
    }
    for node in 0..3 {
        await_values(&cluster, node, rounds, "at the end");
    }
    for number in 0..KEYS {
        assert_eq!(cluster.get(&key(number)), Some(value(number, rounds)), "key {number} at the end");
    }
    println!("CORELODE-FIGURE corrupt_rounds={rounds}");
    println!("CORELODE-FIGURE corrupt_refused={refused}");
    println!("CORELODE-FIGURE corrupt_served={repaired}");
    cluster.terminate();
}
