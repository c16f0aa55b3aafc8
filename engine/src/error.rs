//! Errors of the environment: what a disk or damaged bytes can do to the engine.
//!
//! A bug of ours is not here: it asserts. A mistake of a caller is not here either: it is refused where it is made.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why an operation on the store's files did not succeed.
#[derive(Debug)]
pub enum Error {
    /// The operating system refused an operation on a file.
    Io {
        /// What was tried, as a verb: "open", "write", "sync".
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Bytes that were durable are not what was written.
    Corruption(Corruption),
    /// A file is of a format version that this program does not know.
    UnknownVersion {
        /// The file.
        path: PathBuf,
        /// The version the file names.
        found: u32,
        /// The newest version this program reads.
        supported: u32,
    },
    /// The directory is in use by another process.
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The directory was made with other settings than those asked for.
    Mismatch {
        /// The directory or file that says otherwise.
        path: PathBuf,
        /// What differs and what to do, one sentence.
        message: String,
    },
}

/// Damage found in a file: where it is, what was expected and what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corruption {
    /// The damaged file.
    pub path: PathBuf,
    /// The byte offset at which the damaged unit starts.
    pub offset: u64,
    /// What is wrong, one clause: "block checksum is 0x12345678, expected 0x9abcdef0".
    pub message: String,
}

/// The result of an operation on the store's files.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of the operating system while doing `operation` to `path`.
    #[must_use]
    pub fn io(operation: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { operation, path: path.to_path_buf(), source }
    }

    /// Damage in `path` at `offset`.
    #[must_use]
    pub fn corruption(path: &Path, offset: u64, message: impl Into<String>) -> Self {
        Self::Corruption(Corruption { path: path.to_path_buf(), offset, message: message.into() })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { operation, path, source } => {
                write!(formatter, "cannot {operation} {}: {source}", path.display())
            }
            Self::Corruption(corruption) => corruption.fmt(formatter),
            Self::UnknownVersion { path, found, supported } => write!(
                formatter,
                "{} has format version {found}, and this program reads versions up to {supported}: use the program that wrote it, or a newer one",
                path.display()
            ),
            Self::Locked { path } => write!(
                formatter,
                "{} is in use by another corelode process: stop it first, or choose another data directory",
                path.display()
            ),
            Self::Mismatch { path, message } => write!(formatter, "{}: {message}", path.display()),
        }
    }
}

impl fmt::Display for Corruption {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} is damaged at offset {}: {}", self.path.display(), self.offset, self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl std::error::Error for Corruption {}

impl From<Corruption> for Error {
    fn from(corruption: Corruption) -> Self {
        Self::Corruption(corruption)
    }
}
