//! The one front door for developers: `cargo xtask COMMAND`.
//!
//! | command | what it does |
//! |---|---|
//! | `setup` | installs the pinned tools that the other commands need; does nothing twice |
//! | `ci` | `setup`, then every check and every test, with reduced counts |
//! | `fix` | formats the code and applies what clippy can repair by itself |
//! | `sim` | seeds of the simulator, for hours if need be; goes on where it was stopped, and writes `docs/simulation/record.txt` |
//! | `long` | the tests with full counts; writes `docs/long-run.md` |
//! | `codegen` | generates `net/src/generated` from `net/schema` |
//!
//! # Variables that tests read
//!
//! Tests that repeat a hazard many times read how often from the environment. [`counts`] is the one place that names
//! them; a test that finds its variable unset uses the reduced count. `ci` sets the reduced counts and `long` the
//! full ones, unless the caller has set a variable already.
//!
//! | variable | what it counts | `ci` | `long` |
//! |---|---|---|---|
//! | `CORELODE_TEST_KILL_CYCLES` | restarts after `kill -9` under load | 10 | 200 |
//! | `CORELODE_TEST_POWER_CUTS` | power cuts on loop-mounted file systems, half on ext4 and half on xfs | 40 | 2000 |
//! | `CORELODE_TEST_CHAOS_ROUNDS` | rounds of nodes killed, stopped and cut off under load; each dozen has every fault | 12 | 100 |
//! | `CORELODE_TEST_CORRUPT_ROUNDS` | files of replicas damaged under load; each dozen has every kind of file and damage | 12 | 120 |
//! | `CORELODE_TEST_CRASH_STEPS` | I/O steps to crash at in the simulated environment: `some` or `all` | some | all |
//! | `PROPTEST_CASES` | random cases of each property | 64 | 4096 |
//!
//! `CORELODE_TEST_CHAOS_SEED` and `CORELODE_TEST_CHAOS_FIRST` choose which rounds those are: a round that fails prints them, so that it can be run again.
//!
//! Five more come from outside or from `ci` itself. `CORELODE_CI=1`, or `CI=true`, forbids skipping: a test that
//! misses what it requires fails (see `tests/src/requirements.rs`). `CORELODE_SKIP_REPORT` names the file into which
//! skipped tests write their reason, so that the summary can repeat it. `CORELODE_BIN` is the path of the built
//! `corelode` for tests that start it, and `CORELODE_BENCH_BIN` that of `corelode-bench`; `long` sets
//! `CORELODE_RELEASE_BIN` too, the optimised `corelode`, for tests that measure.
//!
//! # Figures
//!
//! A test reports a figure by a line of its own on standard output, `CORELODE-FIGURE name=value`. `long` collects them
//! for its report and fails when one that the project promises is missing or too small (see [`figures`]).

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a developer's tool speaks on standard output")]

mod ci;
mod codegen;
mod counts;
mod direction;
mod failure;
mod figures;
mod licence_expression;
mod licences;
mod long;
mod metadata;
mod process;
mod report;
mod setup;
mod sim;
mod steps;
mod test_run;
mod workspace;

use std::process::ExitCode;

use failure::Failure;
use workspace::Workspace;

const USAGE: &str = "\
cargo xtask COMMAND

  setup     install the pinned tools that the other commands need; does nothing twice
  ci        setup, then every check and every test, with reduced counts
  fix       format the code and apply what clippy can repair by itself
  sim       seeds of the simulator, until stopped or for --seconds N, --seeds N;
            writes docs/simulation/record.txt
  long      the tests with full counts (hours); writes docs/long-run.md
  codegen   generate net/src/generated from net/schema
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let workspace = Workspace::locate();
    let outcome = match words.as_slice() {
        ["setup"] => setup::setup(&workspace),
        ["ci"] => ci::ci(&workspace),
        ["fix"] => fix(&workspace),
        ["sim", words @ ..] => sim::sim(&workspace, words),
        ["long"] => long::long(&workspace),
        ["codegen"] => codegen::generate(&workspace),
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\nxtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Clippy first: what it rewrites may need formatting.
fn fix(workspace: &Workspace) -> Result<(), Failure> {
    process::run(workspace.cargo().args([
        "clippy",
        "--fix",
        "--allow-dirty",
        "--allow-staged",
        "--workspace",
        "--all-targets",
        "--all-features",
    ]))?;
    process::run(workspace.cargo().args(["fmt", "--all"]))
}
