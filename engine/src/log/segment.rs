//! Segment files: their names, and making one ready.
//!
//! A segment is written through with zeros once, under a temporary name, and only then gets its own. Whatever bears a
//! segment's name is therefore of full length with all blocks allocated, and overwriting it costs no metadata.

use std::path::{Path, PathBuf};

use crate::env::{Environment, OpenMode};
use crate::error::{Error, Result};
use crate::io_buffer::IoBuffer;

const PREFIX: &str = "segment-";
const SUFFIX: &str = ".log";
/// What a file is called while it is being made; recovery removes such files.
pub(crate) const TEMPORARY_SUFFIX: &str = ".tmp";
const ZERO_CHUNK_SIZE_BYTES: u64 = 1024 * 1024;

/// A segment file that is ready to be opened for a new generation.
#[derive(Clone, Debug)]
pub struct SegmentFile<F> {
    /// The number in the file's name; says nothing about order.
    pub number: u64,
    /// Where it is.
    pub path: PathBuf,
    /// Its length, bytes.
    pub size_bytes: u64,
    /// The open file, in mode [`OpenMode::Log`].
    pub file: F,
}

/// The name of segment file `number`.
#[must_use]
pub fn segment_file_name(number: u64) -> String {
    format!("{PREFIX}{number:06}{SUFFIX}")
}

/// The number in a segment file's name, if it is one.
#[must_use]
pub(crate) fn segment_number(name: &str) -> Option<u64> {
    name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok()
}

/// Makes a segment file of `size_bytes` zeros in `directory`, durable with its name, and opens it.
///
/// # Errors
/// If a step fails; what was half made is removed, or at the next start.
pub async fn prepare_segment<E: Environment>(
    environment: &E,
    directory: &Path,
    number: u64,
    size_bytes: u64,
) -> Result<SegmentFile<E::File>> {
    let path = directory.join(segment_file_name(number));
    let temporary = directory.join(format!("{}{TEMPORARY_SUFFIX}", segment_file_name(number)));
    match environment.remove_file(&temporary).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::io("remove", &temporary, error));
        }
        _ => {}
    }
    if let Err(error) = write_zeros(environment, &temporary, size_bytes).await {
        // The next attempt has another number: on a full disk, remains of this one would keep it so.
        let _ = environment.remove_file(&temporary).await;
        return Err(error);
    }
    environment.rename(&temporary, &path).await.map_err(|error| Error::io("rename", &temporary, error))?;
    environment.sync_directory(directory).await.map_err(|error| Error::io("sync", directory, error))?;
    let file = environment.open(&path, OpenMode::Log).await.map_err(|error| Error::io("open", &path, error))?;
    Ok(SegmentFile { number, path, size_bytes, file })
}

async fn write_zeros<E: Environment>(environment: &E, path: &Path, size_bytes: u64) -> Result<()> {
    let file =
        environment.open(path, OpenMode::CreateDirect).await.map_err(|error| Error::io("create", path, error))?;
    let mut offset = 0;
    while offset < size_bytes {
        let length = ZERO_CHUNK_SIZE_BYTES.min(size_bytes - offset);
        let chunk = IoBuffer::zeroed(usize::try_from(length).expect("a chunk is 1 MiB"));
        let (result, _) = environment.write_at(&file, chunk, offset).await;
        result.map_err(|error| Error::io("write", path, error))?;
        offset += length;
        environment.yield_now().await;
    }
    environment.sync_data(&file).await.map_err(|error| Error::io("sync", path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        assert_eq!(segment_number(&segment_file_name(17)), Some(17));
        assert_eq!(segment_number("segment-000017.log.tmp"), None);
        assert_eq!(segment_number("other"), None);
    }
}
