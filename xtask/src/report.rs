//! The report of a long run: what ran, where, and what came out.

use std::{fmt::Write, fs, thread};

use crate::{
    counts::{self, COUNTS, Extent},
    failure::Failure,
    figures::Figures,
    process,
    test_run::TestRun,
    workspace::Workspace,
};

/// The commit that was tested.
#[derive(Debug)]
pub(crate) struct Commit {
    id: String,
    /// Whether files differed from the commit: then the report says so.
    is_changed: bool,
}

/// The machine that the tests ran on.
#[derive(Debug)]
pub(crate) struct Machine {
    date: String,
    processor: String,
    core_count: usize,
    memory: String,
    kernel: String,
    system: String,
    file_system: String,
}

impl Commit {
    /// The commit that is checked out.
    pub(crate) fn read(workspace: &Workspace) -> Result<Self, Failure> {
        let id = process::capture(workspace.in_root("git").args(["rev-parse", "HEAD"]))?.trim().to_owned();
        let changes =
            process::capture(workspace.in_root("git").args(["status", "--porcelain", "--untracked-files=no"]))?;
        Ok(Self { id, is_changed: !changes.is_empty() })
    }
}

impl Machine {
    /// This machine, now.
    pub(crate) fn read(workspace: &Workspace) -> Result<Self, Failure> {
        let first_field = |path: &str, name: &str, separator: char| {
            let text = fs::read_to_string(path).unwrap_or_default();
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(separator));
            value.map_or_else(|| "unknown".to_owned(), |value| value.trim().trim_matches('"').to_owned())
        };
        let line =
            |path: &str| fs::read_to_string(path).map_or_else(|_| "unknown".into(), |text| text.trim().to_owned());
        let mut file_system = workspace.in_root("stat");
        file_system.args(["--file-system", "--format", "%T"]).arg(&workspace.target);
        Ok(Self {
            date: process::capture(workspace.in_root("date").args(["--utc", "+%Y-%m-%d %H:%M UTC"]))?.trim().to_owned(),
            processor: first_field("/proc/cpuinfo", "model name", ':'),
            core_count: thread::available_parallelism().map_or(1, usize::from),
            memory: first_field("/proc/meminfo", "MemTotal", ':'),
            kernel: line("/proc/sys/kernel/osrelease"),
            system: first_field("/etc/os-release", "PRETTY_NAME", '='),
            file_system: process::capture(&mut file_system)?.trim().to_owned(),
        })
    }
}

/// The report as Markdown.
pub(crate) fn text(commit: &Commit, machine: &Machine, tests: &TestRun, figures: &Figures) -> String {
    let counts: Vec<_> = COUNTS.iter().map(|count| (count.variable, counts::value(count, Extent::Full))).collect();
    let mut text = String::from(
        "# The last long run\n\nWritten by `cargo xtask long`, which runs every test with its full count. Every test passed.\n\n",
    );
    let changed = if commit.is_changed { ", with changes that were not committed" } else { "" };
    let mut table = |title: [&str; 2], rows: &[(&str, String)]| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| {} | {} |\n|---|---|", title[0], title[1]);
        for (name, value) in rows {
            let _ = writeln!(text, "| {name} | {value} |");
        }
        text.push('\n');
    };
    table(
        ["run", ""],
        &[
            ("commit", format!("{}{changed}", commit.id)),
            ("date", machine.date.clone()),
            ("processor", format!("{}, {} cores", machine.processor, machine.core_count)),
            ("memory", machine.memory.clone()),
            ("system", machine.system.clone()),
            ("kernel", machine.kernel.clone()),
            ("file system of the tests", machine.file_system.clone()),
            ("tests", tests.summary.clone()),
        ],
    );
    table(["count", "value"], &counts);
    table(["promised figure", "value"], &figures.promised_rows().collect::<Vec<_>>());
    table(["other figure", "value"], &figures.other_rows().collect::<Vec<_>>());
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_reads_as_tables() {
        let commit = Commit { id: "0123abcd".into(), is_changed: true };
        let machine = Machine {
            date: "2026-01-02 03:04 UTC".into(),
            processor: "A processor".into(),
            core_count: 2,
            memory: "1024 kB".into(),
            kernel: "6.1".into(),
            system: "Debian".into(),
            file_system: "ext2/ext3".into(),
        };
        let tests = TestRun { summary: "Summary [1s] 3 tests run: 3 passed, 0 skipped".into(), ..TestRun::default() };
        let mut figures = Figures::default();
        figures.read_line("CORELODE-FIGURE power_cuts=2000");
        let text = text(&commit, &machine, &tests, &figures);
        for line in [
            "| commit | 0123abcd, with changes that were not committed |",
            "| processor | A processor, 2 cores |",
            "| tests | Summary [1s] 3 tests run: 3 passed, 0 skipped |",
            "| power_cuts | 2000 |",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
