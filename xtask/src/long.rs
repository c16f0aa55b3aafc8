//! The tests with full counts, and the report of them that is committed as `docs/long-run.md`.

use std::fs;

use crate::{
    counts::Extent, failure::Failure, figures::Figures, report, setup, steps::Steps, test_run, workspace::Workspace,
};

/// Where the report of a run that passed goes. A run that failed leaves the last good one in place.
const REPORT: &str = "docs/long-run.md";

/// Runs everything with full counts and writes the report.
pub(crate) fn long(workspace: &Workspace) -> Result<(), Failure> {
    // Read before the tests, so that the report names what was built and not what was committed hours later.
    let commit = report::Commit::read(workspace)?;
    let mut steps = Steps::begin();
    let outcome = run_steps(workspace, &mut steps, &commit);
    steps.print_times();
    outcome
}

fn run_steps(workspace: &Workspace, steps: &mut Steps, commit: &report::Commit) -> Result<(), Failure> {
    steps.step("setup", "do by hand what the message says, then run this again", || setup::setup(workspace))?;
    steps.step("build", "mend what the compiler names", || test_run::build(workspace))?;
    steps.step("release build", "mend what the compiler names", || test_run::build_release(workspace))?;
    let mut figures = Figures::default();
    let tests = steps.step("tests", "the figures and the failed test's output are above", || {
        test_run::run(workspace, Extent::Full, |line| figures.read_line(line))
    })?;
    steps.step("figures", "see that each test ran with its full count and reported it", || {
        let missing = figures.missing();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(Failure::Findings { rule: "a long run keeps its promise", findings: missing })
        }
    })?;
    steps.step("report", "see that docs/ can be written", || {
        let text = report::text(commit, &report::Machine::read(workspace)?, &tests, &figures);
        let path = workspace.root.join(REPORT);
        fs::write(&path, text).map_err(Failure::file(&path))?;
        println!("wrote {REPORT}: commit it");
        Ok(())
    })?;
    tests.print_closing();
    Ok(())
}
