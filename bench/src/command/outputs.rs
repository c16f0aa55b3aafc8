//! The files that a report is written to.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use super::{Exit, Failure};
use crate::report::model::{REPORT_VERSION, Report};
use crate::report::{hgrm, html, terminal};

/// Where the report goes, besides the terminal
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Report")]
pub(crate) struct OutputArguments {
    /// All forms of the report: PATH.json, PATH.html, PATH.hlog and a PATH-KIND.hgrm for each kind of operation
    #[arg(long, value_name = "PATH")]
    pub(crate) out: Option<PathBuf>,

    /// What the run is called in the report
    #[arg(long, value_name = "TEXT")]
    pub(crate) title: Option<String>,
}

impl OutputArguments {
    /// The path of one form.
    pub(crate) fn path(&self, suffix: &str) -> Option<PathBuf> {
        let mut path = self.out.clone()?.into_os_string();
        path.push(suffix);
        Some(path.into())
    }

    /// Writes one form, if any are asked for, and says so.
    pub(crate) fn write(&self, suffix: &str, text: impl FnOnce() -> String) -> Option<Result<(), Failure>> {
        let path = self.path(suffix)?;
        Some(tell_written(write_file(&path, &text()).map(|()| path)))
    }
}

/// Writes all forms of a report but the interval log, which is written as the load goes. Answers what became of each.
pub(crate) fn write_all(arguments: &OutputArguments, report: &Report) -> Vec<Result<PathBuf, Failure>> {
    let mut written = Vec::new();
    let mut write = |suffix: &str, text: &str| {
        if let Some(path) = arguments.path(suffix) {
            written.push(write_file(&path, text).map(|()| path));
        }
    };
    write(".json", &json(report));
    write(".html", &html::render(std::slice::from_ref(report)));
    for (kind, latencies) in crate::report::latencies_by_kind(report) {
        let tag = crate::report::words::operation_tag(kind);
        write(&format!("-{tag}.hgrm"), &hgrm::percentile_distribution(&latencies, hgrm::Unit::Milliseconds));
    }
    written
}

/// Says which file was written.
pub(crate) fn tell_written(written: Result<PathBuf, Failure>) -> Result<(), Failure> {
    written.map(|path| eprintln!("written: {}", path.display()))
}

/// How a command ends of which several things may have failed: what was measured cannot be had again, so that none of them keeps it from the others.
/// The first one says how it ends.
pub(crate) fn end(outcomes: impl IntoIterator<Item = Result<(), Failure>>) -> Result<Exit, Failure> {
    outcomes.into_iter().filter_map(Result::err).reduce(Failure::and).map_or(Ok(Exit::Done), Err)
}

/// The report as its JSON.
pub(crate) fn json(report: &Report) -> String {
    let mut text = serde_json::to_string_pretty(report).expect("text and numbers");
    text.push('\n');
    text
}

pub(crate) fn write_file(path: &Path, text: &str) -> Result<(), Failure> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(|error| Failure::file(folder, &error))?;
    }
    let written = File::create(path).and_then(|file| {
        let mut file = BufWriter::new(file);
        file.write_all(text.as_bytes())?;
        file.flush()
    });
    written.map_err(|error| Failure::file(path, &error))
}

/// Reads a report that was saved.
pub(crate) fn read(path: &Path) -> Result<Report, Failure> {
    let text = fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?;
    parse(&text).map_err(|reason| Failure::usage(format!("{} is {reason}", path.display())))
}

/// The report that a text is. The error says what the text is instead.
fn parse(text: &str) -> Result<Report, String> {
    /// What reports of all versions have; another version may have another shape.
    #[derive(serde::Deserialize)]
    struct Versioned {
        version: u32,
    }
    let no_report = |error: serde_json::Error| format!("no report of corelode-bench: {error}");
    let Versioned { version } = serde_json::from_str(text).map_err(no_report)?;
    if version != REPORT_VERSION {
        return Err(format!("a report of version {version}, and this program reads version {REPORT_VERSION}"));
    }
    serde_json::from_str(text).map_err(no_report)
}

/// Shows a report in the terminal.
pub(crate) fn show(report: &Report) -> Result<(), Failure> {
    print(&terminal::summary(report))
}

/// Writes text to standard output. A reader that has seen enough ends it.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::file(Path::new("standard output"), &error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_another_version_is_named_whatever_its_shape() {
        for text in [r#"{"version": 2}"#, r#"{"runs": [{}], "version": 2, "title": 7}"#] {
            let reason = parse(text).expect_err("of another version");
            assert_eq!(reason, "a report of version 2, and this program reads version 1");
        }
        for text in ["", "[]", "{}", r#"{"version": 1}"#, r#"{"version": 2"#] {
            let reason = parse(text).expect_err("no report");
            assert!(reason.starts_with("no report of corelode-bench: "), "{reason}");
        }
    }
}
