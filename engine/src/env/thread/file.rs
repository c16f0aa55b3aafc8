//! Files by plain system calls: opening with or without the page cache, whole reads and whole writes.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::env::{LogMode, direct};
use crate::limits::DIRECT_IO_ALIGNMENT;

/// An open file. The shard's driver may do its own I/O on [`as_std`](Self::as_std) while maintenance uses this.
#[derive(Clone, Debug)]
pub struct ThreadFile {
    file: Arc<File>,
    /// Reads and writes bypass the page cache and must be aligned.
    direct: bool,
}

impl ThreadFile {
    pub(super) fn new(file: File, direct: bool) -> Self {
        Self { file: Arc::new(file), direct }
    }

    /// The file itself.
    #[must_use]
    pub fn as_std(&self) -> &Arc<File> {
        &self.file
    }

    /// Whether I/O on it bypasses the page cache, and so must be aligned to 4,096 bytes.
    #[must_use]
    pub fn is_direct(&self) -> bool {
        self.direct
    }

    /// Opens an existing log file in the given mode.
    pub(super) fn open_log(path: &Path, mode: LogMode) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let direct = mode == LogMode::DirectSynced;
        if direct {
            options.custom_flags((OFlags::DIRECT | OFlags::DSYNC).bits().cast_signed());
        }
        Ok(Self::new(options.open(path)?, direct))
    }

    /// Turns direct I/O on where the file system lets us; says whether it did.
    ///
    /// It is turned on after the opening, not by it: a file system that refuses the flag may refuse it after it has made the file.
    pub(super) fn bypass_page_cache(file: &File) -> io::Result<bool> {
        let flags = rustix::fs::fcntl_getfl(file)?;
        match rustix::fs::fcntl_setfl(file, flags | OFlags::DIRECT) {
            Ok(()) => Ok(true),
            Err(Errno::INVAL) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads until the buffer is full or the file ends.
    pub(super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if self.direct {
            direct::check_alignment("read", offset, buffer.len())?;
        }
        let mut done = 0;
        while done < buffer.len() {
            match self.file.read_at(&mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            // A direct read ends off a block only at the end of the file, and could not go on from there.
            if self.direct && !done.is_multiple_of(DIRECT_IO_ALIGNMENT) {
                break;
            }
        }
        Ok(done)
    }

    /// Writes all of the buffer.
    pub(super) fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<()> {
        if self.direct {
            direct::check_alignment("write", offset, buffer.len())?;
        }
        let mut done = 0;
        while done < buffer.len() {
            match self.file.write_at(&buffer[done..], offset + done as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
