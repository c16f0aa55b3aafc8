//! The command line: one subcommand a file.

mod arguments;
mod children;
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
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Subcommand;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::driver::Broken;
use children::{Children, END_PATIENCE_SHORT};

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
    /// The store refuses, or does nothing of what it is asked.
    Refused = 4,
    /// The user ended it early; the report has what was measured until then. As shells say it of SIGINT.
    Interrupted = 130,
}

/// The end of the help of commands that make a load.
pub const EXIT_CODES_HELP: &str = "\
Exit codes: 0 measured as asked, 2 the command line makes no sense or a file
cannot be read or written, 3 the store cannot be reached, was lost, or answered
nothing, 4 the store refuses, or failed all operations, 130 interrupted. What was
measured until then is reported all the same.";

/// Why a command did not do what was asked.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    /// This and another one; the first says how the command ends.
    pub(crate) fn and(self, other: Self) -> Self {
        Self { message: format!("{}; {}", self.message, other.message), ..self }
    }

    /// This failure, of something that has a name among others.
    pub(crate) fn of(self, name: &str) -> Self {
        Self { message: format!("{name}: {}", self.message), ..self }
    }

    pub(crate) fn usage(message: impl ToString) -> Self {
        Self { exit: Exit::Usage, message: message.to_string() }
    }

    pub(crate) fn unreachable(message: impl ToString) -> Self {
        Self { exit: Exit::Unreachable, message: message.to_string() }
    }

    pub(crate) fn refused(message: impl ToString) -> Self {
        Self { exit: Exit::Refused, message: message.to_string() }
    }

    pub(crate) fn interrupted(message: impl ToString) -> Self {
        Self { exit: Exit::Interrupted, message: message.to_string() }
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
        let (stop, children) = (Arc::new(AtomicBool::new(false)), Arc::new(Children::default()));
        if let Err(error) = look_after_signals(&stop, &children) {
            eprintln!("{program}: an interruption will end the load without a report: {error}");
        }
        let outcome = match self {
            Self::Run(arguments) => store_of(default_store).and_then(|store| run::run(arguments, &store, &stop)),
            Self::Sweep(arguments) => store_of(default_store).and_then(|store| sweep::run(arguments, &store, &stop)),
            Self::Compare(arguments) => compare::run(arguments, &stop, &children),
            Self::Diff(arguments) => diff::run(arguments),
            Self::Show(arguments) => show::run(arguments),
        };
        outcome.unwrap_or_else(|failure| {
            eprintln!("{program}: {}", failure.message);
            failure.exit
        })
    }
}

/// Lets the first signal end the load, and the second the program: who asks twice does not want to wait for the report.
fn look_after_signals(stop: &Arc<AtomicBool>, children: &Arc<Children>) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let (stop, children) = (Arc::clone(stop), Arc::clone(children));
    let look = move || {
        let mut signals = signals.forever();
        signals.next();
        stop.store(true, Ordering::Relaxed);
        signals.next();
        children.end(END_PATIENCE_SHORT);
        std::process::exit(i32::from(Exit::Interrupted as u8));
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(look).map(|_| ())
}

fn store_of(url: &str) -> Result<target::TargetUrl, Failure> {
    url.parse().map_err(Failure::usage)
}
