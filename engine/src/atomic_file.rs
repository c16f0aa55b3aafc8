//! Small files that are replaced as a whole: after a crash the old or the new one is there, never neither and never a mixture.
//!
//! 1. Write the bytes under a temporary name and sync them.
//! 2. Rename over the name: atomic.
//! 3. Sync the directory: from here on the new one is durable.

use std::io::ErrorKind;
use std::path::Path;

use crate::env::{Environment, OpenMode, read_file};
use crate::error::{Error, Result};
use crate::io_buffer::IoBuffer;

/// The suffix of a file that is not finished. Remains of a crash are overwritten or removed.
pub(crate) const TEMPORARY_SUFFIX: &str = ".tmp";

/// Which of the syncs are carried out: all, but for a planted bug.
pub(crate) struct Steps {
    pub(crate) sync_data: bool,
    pub(crate) sync_directory: bool,
}

impl Steps {
    pub(crate) const ALL: Self = Self { sync_data: true, sync_directory: true };
}

/// Reads the file, or `None` if there is none.
pub(crate) async fn read<E: Environment>(environment: &E, path: &Path, length_max: u64) -> Result<Option<Vec<u8>>> {
    match read_file(environment, path, length_max).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == ErrorKind::InvalidData => Err(Error::corruption(path, 0, error.to_string())),
        Err(error) => Err(Error::io("read", path, error)),
    }
}

/// Why a file was not replaced durably.
#[derive(Debug)]
pub struct ReplaceFailure {
    /// What happened.
    pub error: Error,
    /// `true`: the old file is in place, and the replacement may be tried again. `false`: nobody can say which of the two a crash
    /// would leave.
    pub is_untouched: bool,
}

impl From<ReplaceFailure> for Error {
    fn from(failure: ReplaceFailure) -> Self {
        failure.error
    }
}

/// Replaces the file `name` in `directory` by `bytes`.
pub(crate) async fn replace<E: Environment>(
    environment: &E,
    directory: &Path,
    name: &str,
    bytes: &[u8],
    steps: &Steps,
) -> std::result::Result<(), ReplaceFailure> {
    let path = directory.join(name);
    let temporary = directory.join(format!("{name}{TEMPORARY_SUFFIX}"));
    write_temporary(environment, &temporary, bytes, steps)
        .await
        .map_err(|error| ReplaceFailure { error, is_untouched: true })?;
    let fail = |error| ReplaceFailure { error, is_untouched: false };
    environment.rename(&temporary, &path).await.map_err(|error| fail(Error::io("rename", &temporary, error)))?;
    if steps.sync_directory {
        environment.sync_directory(directory).await.map_err(|error| fail(Error::io("sync", directory, error)))?;
    }
    Ok(())
}

async fn write_temporary<E: Environment>(environment: &E, temporary: &Path, bytes: &[u8], steps: &Steps) -> Result<()> {
    match environment.remove_file(temporary).await {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(Error::io("remove", temporary, error)),
        _ => {}
    }
    let file =
        environment.open(temporary, OpenMode::Create).await.map_err(|error| Error::io("create", temporary, error))?;
    let (result, _) = environment.write_at(&file, IoBuffer::from(bytes), 0).await;
    result.map_err(|error| Error::io("write", temporary, error))?;
    if steps.sync_data {
        environment.sync_data(&file).await.map_err(|error| Error::io("sync", temporary, error))?;
    }
    Ok(())
}
