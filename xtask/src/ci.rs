//! Every check and every test, in the order in which a failure is cheapest to learn of.

use std::process::Command;

use crate::{
    codegen,
    counts::Extent,
    direction,
    failure::Failure,
    licences, process, setup, sim,
    steps::Steps,
    test_run::{self, TestRun},
    workspace::Workspace,
};

/// Runs `setup`, every check and every test; ends with the time of each step and the tests' closing line.
pub(crate) fn ci(workspace: &Workspace) -> Result<(), Failure> {
    let mut steps = Steps::begin();
    let outcome = run_steps(workspace, &mut steps);
    steps.print_times();
    // The tests' verdict comes last, so that a reader, or a service that reads closing lines, finds it there.
    outcome.map(|tests| tests.print_closing())
}

fn run_steps(workspace: &Workspace, steps: &mut Steps) -> Result<TestRun, Failure> {
    steps.step("setup", "do by hand what the message says, then run this again", || setup::setup(workspace))?;
    steps.step("formatting", "run `cargo xtask fix`", || {
        process::run(workspace.cargo().args(["fmt", "--all", "--check"]))
    })?;
    steps.step("dependency direction", "see ARCHITECTURE.md; the rule is in xtask/src/direction.rs", || {
        direction::check(workspace)
    })?;
    steps.step("licences and sources", "choose another crate; the rule is in xtask/src/licences.rs", || {
        licences::check(workspace)
    })?;
    steps.step("generated code", "run `cargo xtask codegen` and commit net/src/generated", || {
        codegen::check(workspace)
    })?;
    steps.step("clippy", "run `cargo xtask fix`, then mend by hand what is left", || {
        process::run(
            cargo_quietly(workspace)
                .args(["clippy", "--workspace", "--all-targets", "--all-features", "--locked"])
                .args(["--", "-D", "warnings"]),
        )
    })?;
    steps.step("documentation", "mend the link or the comment that rustdoc names", || {
        process::run(
            cargo_quietly(workspace)
                .args(["doc", "--workspace", "--no-deps", "--all-features", "--document-private-items", "--locked"])
                // A module's documentation may point to its private parts: it is for those who change the code.
                .env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private-intra-doc-links"),
        )
    })?;
    steps.step("build", "mend what the compiler names", || test_run::build(workspace))?;
    steps.step("documentation tests", "mend the example that is named above", || {
        process::run(cargo_quietly(workspace).args(["test", "--workspace", "--doc", "--locked"]))
    })?;
    steps.step("simulation", "run the line that says `reproduce`", || sim::ci(workspace))?;
    steps.step("tests", "run the failed test alone with `cargo nextest run NAME --no-capture`", || {
        test_run::run(workspace, Extent::Reduced, |_| {})
    })
}

/// Progress bars say nothing in a log.
fn cargo_quietly(workspace: &Workspace) -> Command {
    let mut command = workspace.cargo();
    command.env("CARGO_TERM_PROGRESS_WHEN", "never");
    command
}
