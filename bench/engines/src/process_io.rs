//! What the kernel counted for this process, and what lies on the disk.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::engine::Result;

/// Bytes that this process, all its threads together, caused to be written to storage: `write_bytes` of `/proc/self/io`. A page of the page
/// cache counts when it becomes dirty, direct I/O when it is submitted; the file system's own journal does not count.
pub(crate) fn written_bytes() -> Result<u64> {
    field(&fs::read_to_string("/proc/self/io")?, "write_bytes:")
}

/// The most memory that this process has had resident, KiB.
pub(crate) fn resident_kib_max() -> Result<u64> {
    field(&fs::read_to_string("/proc/self/status")?, "VmHWM:")
}

/// User and system time of this process, all its threads together, in seconds.
pub(crate) fn processor_seconds() -> Result<f64> {
    /// `USER_HZ`, which is 100 on every architecture that Linux tells it to programs on.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The name of the program comes in parentheses and may hold anything.
    let (_, fields) = stat.rsplit_once(')').ok_or("/proc/self/stat holds no name")?;
    let ticks =
        |place: usize| -> Result<u64> { Ok(fields.split_whitespace().nth(place).ok_or("it is short")?.parse()?) };
    Ok((ticks(11)? + ticks(12)?) as f64 / TICKS_PER_SECOND)
}

fn field(text: &str, name: &str) -> Result<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)).ok_or_else(|| format!("there is no {name}"))?;
    Ok(value.split_whitespace().next().ok_or_else(|| format!("{name} is empty"))?.parse()?)
}

/// Bytes that the files under `directory` take up on the disk.
pub(crate) fn disk_bytes(directory: &Path) -> Result<u64> {
    /// The unit of `st_blocks`.
    const BLOCK_BYTES: u64 = 512;
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { disk_bytes(&entry.path())? } else { metadata.blocks() * BLOCK_BYTES };
    }
    Ok(bytes)
}

/// Writes back the whole file system that `directory` is on, so that the dirty pages of one engine are not written in another's turn.
pub(crate) fn write_back(directory: &Path) -> Result<()> {
    Ok(rustix::fs::syncfs(fs::File::open(directory)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_counted() {
        let directory = tempfile::tempdir_in(".").unwrap();
        let before = written_bytes().unwrap();
        fs::write(directory.path().join("file"), vec![1; 1 << 20]).unwrap();
        write_back(directory.path()).unwrap();
        assert!(written_bytes().unwrap() - before >= 1 << 20);
        assert!(disk_bytes(directory.path()).unwrap() >= 1 << 20);
    }

    #[test]
    fn fields_are_found() {
        assert_eq!(field("a: 1\nb:\t23 kB\n", "b:").unwrap(), 23);
        assert!(field("a: 1\n", "b:").is_err());
        assert!(processor_seconds().unwrap() < 1e9);
    }
}
