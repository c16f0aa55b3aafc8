//! One run of all tests through nextest, and what it says: counts, skips, and lines that the caller wants to see.

use std::{fs, path::PathBuf, process::Command};

use crate::{
    counts::{self, Extent},
    failure::Failure,
    process, setup,
    workspace::{Workspace, is_ci},
};

/// How a run of all tests ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct TestRun {
    /// nextest's own summary line.
    pub(crate) summary: String,
    /// Tests that passed.
    pub(crate) passed: u64,
    /// Tests that did not: failed, timed out, or could not be started.
    pub(crate) failed: u64,
    /// Tests that nextest did not run, such as ignored ones.
    pub(crate) skipped: u64,
    /// Tests that ran and found that they lack what they require: a sentence each.
    pub(crate) unmet: Vec<String>,
}

/// Builds all binaries and all tests, as the run will use them.
pub(crate) fn build(workspace: &Workspace) -> Result<(), Failure> {
    let mut binaries = workspace.cargo();
    // With the tests' targets and profile, so that features are unified, and crates built, once.
    binaries.args(["build", "--workspace", "--bins", "--tests", "--profile", "test", "--locked"]);
    process::run(quiet(&mut binaries))?;
    let mut tests = setup::nextest::command(workspace);
    process::run(quiet(tests.args(["run", "--workspace", "--locked", "--no-run"])))
}

/// Builds `corelode` as users run it, for tests that measure.
pub(crate) fn build_release(workspace: &Workspace) -> Result<(), Failure> {
    let mut program = workspace.cargo();
    program.args(["build", "--release", "--package", "corelode", "--bin", "corelode", "--locked"]);
    process::run(quiet(&mut program))
}

/// Runs all tests with the counts of `extent`; shows each line of the output to `watch` too. In CI nothing may be
/// skipped.
pub(crate) fn run(workspace: &Workspace, extent: Extent, mut watch: impl FnMut(&str)) -> Result<TestRun, Failure> {
    let skip_report = workspace.target.join("skipped-tests.txt");
    fs::create_dir_all(&workspace.target).map_err(Failure::file(&workspace.target))?;
    fs::write(&skip_report, "").map_err(Failure::file(&skip_report))?;

    let profile = match extent {
        Extent::Reduced => "ci",
        Extent::Full => "long",
    };
    let mut command = setup::nextest::command(workspace);
    command
        .args(["run", "--workspace", "--locked", "--profile", profile])
        .env("CORELODE_SKIP_REPORT", &skip_report)
        .env("CORELODE_BIN", binary(workspace, "debug", "corelode"))
        .env("CORELODE_BENCH_BIN", binary(workspace, "debug", "corelode-bench"));
    if extent == Extent::Full {
        command.env("CORELODE_CI", "1").env("CORELODE_RELEASE_BIN", binary(workspace, "release", "corelode"));
    }
    counts::set(quiet(&mut command), extent);

    let mut run = TestRun::default();
    let outcome = process::run_watched(&mut command, |line| {
        if let Some(read) = read_summary(line) {
            run = read;
        }
        watch(line);
    });
    let report = fs::read_to_string(&skip_report).map_err(Failure::file(&skip_report))?;
    run.unmet = report.lines().map(str::to_owned).collect();
    run.unmet.sort();
    outcome?;
    run.nothing_skipped(extent)?;
    Ok(run)
}

impl TestRun {
    /// Prints what was skipped and why, nextest's summary, and a plain closing line.
    pub(crate) fn print_closing(&self) {
        println!();
        for reason in &self.unmet {
            println!("skipped: {reason}");
        }
        println!("{}", self.summary);
        // A test that skipped itself counts as passed for nextest; here it counts as what it is.
        let unmet = self.unmet.len() as u64;
        println!(
            "{} passed, {} failed, {} skipped",
            self.passed.saturating_sub(unmet),
            self.failed,
            self.skipped + unmet
        );
    }

    fn nothing_skipped(&self, extent: Extent) -> Result<(), Failure> {
        if !(is_ci() || extent == Extent::Full) || self.skipped == 0 && self.unmet.is_empty() {
            return Ok(());
        }
        let mut findings = self.unmet.clone();
        if self.skipped > 0 {
            findings.push(format!("nextest skipped {} tests: a test must not be ignored", self.skipped));
        }
        Err(Failure::Findings { rule: "no test may be skipped here", findings })
    }
}

/// Where a build step leaves a program; `folder` is cargo's for the profile.
fn binary(workspace: &Workspace, folder: &str, name: &str) -> PathBuf {
    workspace.target.join(folder).join(name)
}

fn quiet(command: &mut Command) -> &mut Command {
    command.env("CARGO_TERM_PROGRESS_WHEN", "never").env("NEXTEST_HIDE_PROGRESS_BAR", "1")
}

/// Reads `Summary [   1.2s] 12 tests run: 11 passed (1 slow), 1 failed, 2 skipped`.
fn read_summary(line: &str) -> Option<TestRun> {
    let line = line.trim();
    let (_, counts) = line.strip_prefix("Summary [")?.split_once(" run: ")?;
    let mut run = TestRun { summary: line.to_owned(), ..TestRun::default() };
    // Remarks in parentheses, such as `(1 slow, 1 leaky)`, are about tests that are counted already.
    let mut is_remark = false;
    let counts: String = counts
        .chars()
        .filter(|&letter| {
            is_remark |= letter == '(';
            let is_kept = !is_remark;
            is_remark &= letter != ')';
            is_kept
        })
        .collect();
    for part in counts.split(", ") {
        let mut words = part.split(' ');
        let (Some(count), Some(what)) = (words.next().and_then(|word| word.parse::<u64>().ok()), words.next()) else {
            continue;
        };
        match what {
            "passed" => run.passed += count,
            "skipped" => run.skipped += count,
            _ => run.failed += count,
        }
    }
    Some(run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_of_nextest_is_read() {
        for (line, passed, failed, skipped) in [
            ("     Summary [   0.123s] 12 tests run: 12 passed, 0 skipped", 12, 0, 0),
            ("Summary [1.0s] 1 test run: 1 passed (1 slow), 3 skipped", 1, 0, 3),
            (
                "Summary [1.0s] 4 tests run: 3 passed (1 slow, 1 leaky), 1 failed (1 due to being leaky), 0 skipped",
                3,
                1,
                0,
            ),
            ("Summary [1.0s] 9/12 tests run: 5 passed, 2 failed, 2 timed out, 1 skipped", 5, 4, 1),
        ] {
            let run = read_summary(line).unwrap();
            assert_eq!((run.passed, run.failed, run.skipped), (passed, failed, skipped), "{line}");
        }
        assert_eq!(read_summary("        PASS [   0.006s] xtask counts::summary"), None);
    }
}
