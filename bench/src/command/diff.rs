//! `diff`: two reports that were saved.

use std::path::PathBuf;

use clap::Args;

use super::figures::table;
use super::outputs;
use super::{Exit, Failure};
use crate::report::model::Report;
use crate::report::summary::Summary;
use crate::report::terminal;
use crate::report::words::{operation_name, plural};

/// Compare two saved reports: ratios of the second to the first, with confidence intervals
///
/// Two runs at different times differ by what else the machine did, too. Where that matters, run both in turns with
/// `compare`; its reports are compared round by round.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The report to compare with
    #[arg(value_name = "FIRST.json")]
    first: PathBuf,

    /// The report that is compared
    #[arg(value_name = "SECOND.json")]
    second: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let (first, second) = (outputs::read(&arguments.first)?, outputs::read(&arguments.second)?);
    let mut text = format!("first   {}\nsecond  {}\n", headline(&first), headline(&second));
    for what in differences(&first, &second) {
        text.push_str(&format!("note    the two were not run alike: {what}\n"));
    }
    for (name, report) in [("first", &first), ("second", &second)] {
        for what in doubts(report) {
            text.push_str(&format!("warning {name}: {what}\n"));
        }
    }
    text.push('\n');
    text.push_str(&table(&first, &second));
    outputs::print(&text)?;
    Ok(Exit::Done)
}

fn headline(report: &Report) -> String {
    let commit = if report.generator.commit.is_empty() { "unknown" } else { &report.generator.commit };
    format!(
        "{}, {} repetitions on {}, commit {commit}, {}",
        report.title,
        report.repetitions.len(),
        report.started_at,
        report.target.durability
    )
}

/// What is in none of the figures, and speaks against them.
fn doubts(report: &Report) -> Vec<String> {
    let mut doubts = terminal::warnings(report);
    for (kind, totals) in Summary::of(report).kinds {
        let (errors, unanswered) = (totals.errors(), totals.measured.unanswered);
        if errors + unanswered > 0 {
            let name = operation_name(kind);
            doubts.push(format!("{name}: {}, {unanswered} unanswered, in no figure", plural(errors, "error")));
        }
    }
    doubts
}

/// What else than the store differs.
fn differences(first: &Report, second: &Report) -> Vec<String> {
    let mut found = Vec::new();
    let mut look = |what: &str, first: &dyn std::fmt::Debug, second: &dyn std::fmt::Debug| {
        let (first, second) = (format!("{first:?}"), format!("{second:?}"));
        if first != second {
            found.push(format!("{what}: {first} and {second}"));
        }
    };
    look("workload", &first.workload, &second.workload);
    look("load", &first.load, &second.load);
    look("machine", &first.machine, &second.machine);
    look("durability", &first.target.durability, &second.target.durability);
    found
}
