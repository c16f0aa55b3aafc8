//! How a command ends: the exit codes that scripts may rely on.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// It did what was asked.
    Done = 0,
    /// There is no such key.
    Absent = 1,
    /// It was asked for something that makes no sense, or names a file that cannot be opened. The same code as clap's.
    Usage = 2,
    /// No server was reached, or none answered in time; nothing was written.
    Unreachable = 3,
    /// The server, or a check before it, said no; for `import`: at least one record was refused.
    Refused = 4,
    /// A write was sent and no answer came: it may have happened or not.
    OutcomeUnknown = 5,
    /// The user ended a load early. As shells say it of SIGINT.
    Interrupted = 130,
}

/// The end of the top-level help.
pub(crate) const EXIT_CODES_HELP: &str = "\
Exit codes: 0 done, 1 no such key, 2 usage, 3 no server reached or no answer in
time (nothing was written), 4 refused, 5 outcome unknown (a write was sent and
no answer came), 130 a load was interrupted.";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<corelode_bench::command::Exit> for Exit {
    fn from(exit: corelode_bench::command::Exit) -> Self {
        match exit {
            corelode_bench::command::Exit::Done => Self::Done,
            corelode_bench::command::Exit::Usage => Self::Usage,
            corelode_bench::command::Exit::Unreachable => Self::Unreachable,
            corelode_bench::command::Exit::Refused => Self::Refused,
            corelode_bench::command::Exit::Interrupted => Self::Interrupted,
        }
    }
}
