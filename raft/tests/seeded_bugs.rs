//! The fuzz finds every bug that can be planted, within a few seeds, and nothing on the same seeds without one.

use std::panic::{AssertUnwindSafe, catch_unwind};

use corelode_raft::bugs::{Bug, plant};

mod cluster;

use cluster::simulation;

const SEEDS: u64 = 200;

/// The first seed that shows it, and what it shows.
fn find(bug: Option<Bug>) -> Option<(u64, String)> {
    plant(bug);
    let found = (0..SEEDS).find_map(|seed| {
        let panic = catch_unwind(AssertUnwindSafe(|| simulation::run(seed))).err()?;
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Some((seed, text.unwrap_or("a panic without words").lines().next().unwrap_or_default().to_owned()))
    });
    plant(None);
    found
}

#[test]
fn every_planted_bug_is_found_and_none_without() {
    // Hundreds of panics are what is wanted here.
    let loud = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let clean = find(None);
    let found: Vec<_> = Bug::ALL.iter().map(|bug| (*bug, find(Some(*bug)))).collect();
    std::panic::set_hook(loud);
    assert_eq!(clean, None, "no bug is planted");
    for (bug, found) in &found {
        println!(
            "{:<34} {}",
            bug.name(),
            found.as_ref().map_or("-".to_owned(), |(seed, text)| format!("{seed:>4} {text}"))
        );
    }
    let missed: Vec<_> = found.iter().filter(|(_, found)| found.is_none()).map(|(bug, _)| bug.name()).collect();
    assert!(missed.is_empty(), "not found within {SEEDS} seeds: {missed:?}");
}
