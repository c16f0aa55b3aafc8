//! Whole clusters in one thread, seed after seed: for minutes in `ci`, for hours by hand.

use std::path::PathBuf;

use crate::{failure::Failure, process, workspace::Workspace};

/// What `ci` spends on seeds of its own.
const CI_SECONDS: u64 = 300;
/// And at most so many, on machines that are fast: whoever prepares a commit can run the same ones.
const CI_SEEDS: u64 = 100;
/// What was covered so far, committed by whoever ran it.
const RECORD: &str = "docs/simulation/record.txt";

/// Runs seeds from where the record ends. `words` are `--seconds N` or `--seeds N`, and whatever else `simulate` knows.
pub(crate) fn sim(workspace: &Workspace, words: &[&str]) -> Result<(), Failure> {
    if words.is_empty() {
        println!("runs until it is interrupted, and goes on from there next time; --seconds N or --seeds N end it");
    }
    simulate(workspace, workspace.root.join(RECORD), words)
}

/// Runs seeds that nobody has run before: the commit decides.
pub(crate) fn ci(workspace: &Workspace) -> Result<(), Failure> {
    let record = workspace.root.join("target").join("simulation-ci.txt");
    // What an earlier run covered is not this one's.
    let _ = std::fs::remove_file(&record);
    let first = first_seed(workspace).to_string();
    let (seconds, seeds) = (CI_SECONDS.to_string(), CI_SEEDS.to_string());
    simulate(workspace, record, &["--first", &first, "--seconds", &seconds, "--seeds", &seeds])
}

fn simulate(workspace: &Workspace, record: PathBuf, words: &[&str]) -> Result<(), Failure> {
    if let Some(directory) = record.parent() {
        std::fs::create_dir_all(directory).map_err(Failure::file(directory))?;
    }
    let jobs = std::thread::available_parallelism().map_or(1, usize::from).to_string();
    process::run(
        workspace
            .cargo()
            .args(["run", "--quiet", "--profile", "test", "--locked", "-p", "corelode-simulator", "--bin", "simulate"])
            .args(["--", "--jobs", &jobs, "--record"])
            .arg(record)
            .args(words)
            .env("CARGO_TERM_PROGRESS_WHEN", "never"),
    )
}

/// A number that differs from commit to commit, far from those that are run by hand.
fn first_seed(workspace: &Workspace) -> u64 {
    let output = std::process::Command::new("git").arg("-C").arg(&workspace.root).args(["rev-parse", "HEAD"]).output();
    let commit = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    let number = commit.get(..10).and_then(|digits| u64::from_str_radix(digits, 16).ok());
    1_000_000_000 + number.unwrap_or(0) * 1_000
}
