//! Why a command of ours stopped, in words that say what to do next.

use std::{fmt, io, path::PathBuf, process::ExitStatus};

/// Why a command of ours stopped.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A program could not be started at all.
    Start {
        /// The program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// A program ran and said no.
    Exit {
        /// The program with its arguments.
        command: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// A file could not be read or written.
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A program printed something that we cannot read.
    Unreadable {
        /// What was being read.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A check found something that must be put right; each finding is a sentence.
    Findings {
        /// What the check holds.
        rule: &'static str,
        /// What breaks it.
        findings: Vec<String>,
    },
    /// Something that we cannot install by ourselves is missing.
    Missing {
        /// What is missing.
        what: String,
        /// What to do about it.
        advice: String,
    },
    /// A step of a sequence failed.
    Step {
        /// The step.
        name: &'static str,
        /// What to do about it.
        advice: &'static str,
        /// Why it failed.
        source: Box<Failure>,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start { program, source } => write!(formatter, "cannot start `{program}`: {source}"),
            Self::Exit { command, status } => write!(formatter, "`{command}` failed: {status}"),
            Self::File { path, source } => write!(formatter, "{}: {source}", path.display()),
            Self::Unreadable { what, reason } => write!(formatter, "cannot read {what}: {reason}"),
            Self::Findings { rule, findings } => {
                write!(formatter, "{rule}")?;
                findings.iter().try_for_each(|finding| write!(formatter, "\n  - {finding}"))
            }
            Self::Missing { what, advice } => write!(formatter, "{what} is missing: {advice}"),
            Self::Step { name, advice, source } => {
                write!(formatter, "step `{name}` failed: {source}\n  what to do: {advice}")
            }
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Start { source, .. } | Self::File { source, .. } => Some(source),
            Self::Step { source, .. } => Some(source.as_ref()),
            Self::Exit { .. } | Self::Unreadable { .. } | Self::Findings { .. } | Self::Missing { .. } => None,
        }
    }
}

impl Failure {
    /// A failure over the file at `path`, for `map_err`.
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}
