//! `show`: a report that was saved.

use std::path::PathBuf;

use clap::Args;

use super::outputs;
use super::{Exit, Failure};
use crate::report::html;

/// Show reports that were saved, in the terminal or as one page of HTML
#[derive(Args, Debug)]
pub struct Arguments {
    /// The reports, as JSON
    #[arg(required = true, value_name = "REPORT.json")]
    reports: Vec<PathBuf>,

    /// Write a page with all of them, beside each other
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let reports = arguments.reports.iter().map(|path| outputs::read(path)).collect::<Result<Vec<_>, _>>()?;
    match &arguments.html {
        Some(path) => outputs::write_file(path, &html::render(&reports))?,
        None => reports.iter().try_for_each(outputs::show)?,
    }
    Ok(Exit::Done)
}
