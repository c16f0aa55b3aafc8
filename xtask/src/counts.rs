//! How often the tests repeat a hazard: the environment variables, with their reduced and their full counts.
//!
//! The module documentation of `main.rs` shows them as a table. Tests use the reduced count when a variable is unset.

use std::{env, process::Command};

/// One count that tests read from the environment.
pub(crate) struct Count {
    /// The environment variable.
    pub(crate) variable: &'static str,
    /// What `ci` sets it to.
    pub(crate) reduced: &'static str,
    /// What `long` sets it to.
    pub(crate) full: &'static str,
}

/// Every count that tests read.
pub(crate) const COUNTS: [Count; 6] = [
    Count { variable: "CORELODE_TEST_KILL_CYCLES", reduced: "10", full: "200" },
    Count { variable: "CORELODE_TEST_POWER_CUTS", reduced: "40", full: "2000" },
    Count { variable: "CORELODE_TEST_CHAOS_ROUNDS", reduced: "12", full: "100" },
    Count { variable: "CORELODE_TEST_CORRUPT_ROUNDS", reduced: "12", full: "120" },
    Count { variable: "CORELODE_TEST_CRASH_STEPS", reduced: "some", full: "all" },
    Count { variable: "PROPTEST_CASES", reduced: "64", full: "4096" },
];

/// Which of a count's two values is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Minutes: for every commit.
    Reduced,
    /// Hours: before a release, and when recovery changes.
    Full,
}

/// The value of a count: what the caller has set already, else ours.
pub(crate) fn value(count: &Count, extent: Extent) -> String {
    env::var(count.variable).unwrap_or_else(|_| {
        match extent {
            Extent::Reduced => count.reduced,
            Extent::Full => count.full,
        }
        .to_owned()
    })
}

/// Gives a command all counts.
pub(crate) fn set(command: &mut Command, extent: Extent) {
    for count in &COUNTS {
        command.env(count.variable, value(count, extent));
    }
}
