//! Random schedules over all faults, from seeds, with everything checked after every turn.
//!
//! `CORELODE_RAFT_SEEDS` says how many seeds, from `CORELODE_RAFT_FIRST_SEED` on, `CORELODE_RAFT_SEED` which one alone, and `CORELODE_RAFT_TRACE` that
//! every turn be told.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use corelode_raft::marks::{self, Mark};

mod cluster;

use cluster::simulation;

const SEEDS_BY_DEFAULT: u64 = 300;

fn number_from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text}")))
}

#[test]
fn what_must_hold_holds_over_all_faults_and_rare_paths_are_taken() {
    let only = number_from_environment("CORELODE_RAFT_SEED");
    let first = number_from_environment("CORELODE_RAFT_FIRST_SEED").unwrap_or(0);
    let count = number_from_environment("CORELODE_RAFT_SEEDS").unwrap_or(SEEDS_BY_DEFAULT);
    let mut marks: BTreeMap<Mark, u64> = BTreeMap::new();
    let (mut committed, mut reads, mut turns) = (0, 0, 0);
    for seed in only.map_or(first..first + count, |seed| seed..seed + 1) {
        let run = catch_unwind(AssertUnwindSafe(|| simulation::run(seed)));
        let counts = run.unwrap_or_else(|panic| {
            eprintln!("reproduce with: CORELODE_RAFT_SEED={seed} cargo nextest run -p corelode-raft --test fuzz");
            resume_unwind(panic)
        });
        committed += counts.committed;
        reads += counts.reads;
        turns += counts.turns;
        for (mark, hits) in marks::take() {
            *marks.entry(mark).or_default() += hits;
        }
    }
    println!("{turns} turns, {committed} entries committed, {reads} reads answered");
    for mark in Mark::ALL {
        println!("{:>10} {mark:?}", marks.get(mark).copied().unwrap_or(0));
    }
    if only.is_none() && count >= SEEDS_BY_DEFAULT {
        let missed: Vec<_> = Mark::ALL.iter().filter(|mark| !marks.contains_key(mark)).collect();
        assert!(missed.is_empty(), "no seed took these paths: {missed:?}");
        assert!(committed > 10 * count && reads > 10 * count, "the seeds did next to nothing");
    }
}
