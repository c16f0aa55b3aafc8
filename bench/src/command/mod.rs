//! The command line: one subcommand a file.

mod arguments;
mod compare;
mod diff;
mod figures;
mod outputs;
mod progress;
mod redaction;
mod run;
mod show;
mod sweep;
mod target;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Subcommand;

use crate::driver::Broken;

/// What can be asked for.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a load on a store, measure, and report
    Run(Box<run::Arguments>),
    /// Send at rising rates, and find the knee of the latency curve
    Sweep(Box<sweep::Arguments>),
    /// Make the same load on several stores in turns, and compare
    Compare(Box<compare::Arguments>),
    /// Compare two saved reports: ratios of the second to the first, with confidence intervals
    Diff(diff::Arguments),
    /// Show reports that were saved, in the terminal or as one page of HTML
    Show(show::Arguments),
}

/// How a command ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// It did what was asked.
    Done = 0,
    /// The command line makes no sense, or a file cannot be read or written.
    Usage = 2,
    /// The store cannot be reached, or was lost; the report says so.
    Unreachable = 3,
    /// The store refuses.
    Refused = 4,
}

/// Why a command did not do what was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    pub(crate) fn usage(message: impl ToString) -> Self {
        Self { exit: Exit::Usage, message: message.to_string() }
    }

    pub(crate) fn unreachable(message: impl ToString) -> Self {
        Self { exit: Exit::Unreachable, message: message.to_string() }
    }

    pub(crate) fn refused(message: impl ToString) -> Self {
        Self { exit: Exit::Refused, message: message.to_string() }
    }

    pub(crate) fn file(path: &Path, error: &std::io::Error) -> Self {
        Self::usage(format!("{}: {error}", path.display()))
    }
}

impl From<Broken> for Failure {
    fn from(broken: Broken) -> Self {
        if broken.is_refusal { Self::refused(broken.reason) } else { Self::unreachable(broken.reason) }
    }
}

impl Command {
    /// Does what was asked for. `program` begins the complaints; `default_store` is a URL for commands that name no store. SIGINT and SIGTERM end a load early, and it reports what it has.
    #[must_use]
    pub fn run(&self, program: &str, default_store: &str) -> Exit {
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            // Who asks twice does not want to wait for the report.
            let registered = signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop))
                .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)));
            if let Err(error) = registered {
                eprintln!("{program}: an interruption will end the load without a report: {error}");
            }
        }
        let outcome = match self {
            Self::Run(arguments) => store_of(default_store).and_then(|store| run::run(arguments, &store, &stop)),
            Self::Sweep(arguments) => store_of(default_store).and_then(|store| sweep::run(arguments, &store, &stop)),
            Self::Compare(arguments) => compare::run(arguments, &stop),
            Self::Diff(arguments) => diff::run(arguments),
            Self::Show(arguments) => show::run(arguments),
        };
        outcome.unwrap_or_else(|failure| {
            eprintln!("{program}: {}", failure.message);
            failure.exit
        })
    }
}

fn store_of(url: &str) -> Result<target::TargetUrl, Failure> {
    url.parse().map_err(Failure::usage)
}
