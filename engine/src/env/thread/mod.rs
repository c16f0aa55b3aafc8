//! Production: plain system calls that block the thread they run on.
//!
//! It belongs to a maintenance thread, or to the thread that recovers the store before the shards start; a shard never has
//! one. Every operation is complete at its first poll. A handle and its clones stay on one thread; the files, maps and locks
//! they give out may go anywhere. Errors are those of the operating system; only alignment is checked here, for a clearer word.

mod executor;
mod file;
mod lock;
#[allow(unsafe_code)]
mod map;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::fs::{self, File, OpenOptions};
use std::future::Future;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use rustix::fs::OFlags;
use rustix::time::{ClockId, clock_gettime};

pub use executor::Lane;
pub(crate) use executor::{Executor, YieldNow};
pub use file::ThreadFile;
pub use lock::{LOCK_FILE_NAME, ThreadDirectoryLock};
pub use map::ThreadMap;

use super::{Environment, LogMode, OpenMode};
use crate::io_buffer::IoBuffer;
use crate::limits::DIRECT_IO_ALIGNMENT;

/// The operating system, for one thread.
///
/// ```
/// use corelode_engine::env::Environment;
/// use corelode_engine::env::thread::ThreadEnvironment;
///
/// let environment = ThreadEnvironment::new();
/// let names = environment.block_on(environment.list_directory("/".as_ref()))?;
/// assert!(names.is_sorted());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct ThreadEnvironment {
    shared: Rc<Shared>,
}

struct Shared {
    executor: Executor,
    /// Found out by trying, at the first question.
    log_mode: Cell<Option<LogMode>>,
    /// It was said that a file system refuses direct I/O.
    direct_refusal_said: Cell<bool>,
}

impl ThreadEnvironment {
    /// The environment of the calling thread.
    #[must_use]
    pub fn new() -> Self {
        Self {
            shared: Rc::new(Shared {
                executor: Executor::new(),
                log_mode: Cell::new(None),
                direct_refusal_said: Cell::new(false),
            }),
        }
    }

    /// Runs a future, and what it spawns, until the future is done.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.shared.executor.block_on(future)
    }

    pub(crate) fn executor(&self) -> &Executor {
        &self.shared.executor
    }

    /// Turns direct I/O on, or says once that bulk I/O goes through the page cache.
    fn opened_direct(&self, file: File, path: &Path) -> io::Result<ThreadFile> {
        let direct = ThreadFile::bypass_page_cache(&file)?;
        if !direct && !self.shared.direct_refusal_said.replace(true) {
            tracing::warn!(
                path = %path.display(),
                "the file system refuses direct I/O: bulk reads and writes go through the page cache and may push hot pages out"
            );
        }
        Ok(ThreadFile::new(file, direct))
    }

    fn find_log_mode(&self, directory: &Path) -> io::Result<LogMode> {
        if let Some(mode) = self.shared.log_mode.get() {
            return Ok(mode);
        }
        let mode = probe_log_mode(directory)?;
        if mode == LogMode::BufferedThenSync {
            tracing::warn!(
                path = %directory.display(),
                "the file system refuses O_DIRECT: the log is written through the page cache, with a sync after every write"
            );
        }
        self.shared.log_mode.set(Some(mode));
        Ok(mode)
    }
}

impl Default for ThreadEnvironment {
    fn default() -> Self {
        Self::new()
    }
}

/// Writes one block the way the log would, to a file that loses its name before.
fn probe_log_mode(directory: &Path) -> io::Result<LogMode> {
    let path = directory.join(format!(".probe-{:016x}", random_u64()));
    OpenOptions::new().write(true).create_new(true).open(&path)?;
    let opened = ThreadFile::open_log(&path, LogMode::DirectSynced);
    fs::remove_file(&path)?;
    let written = opened.and_then(|file| file.write_at(&IoBuffer::zeroed(DIRECT_IO_ALIGNMENT), 0));
    match written {
        Ok(()) => Ok(LogMode::DirectSynced),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(LogMode::BufferedThenSync),
        Err(error) => Err(error),
    }
}

/// # Panics
/// If the kernel has no randomness to give, without which no identity is safe.
fn random_u64() -> u64 {
    getrandom::u64().expect("the kernel's random source works")
}

impl Environment for ThreadEnvironment {
    type File = ThreadFile;
    type Map = ThreadMap;
    type DirectoryLock = ThreadDirectoryLock;

    /// Time since the machine started, the same for all threads.
    fn monotonic(&self) -> Duration {
        Duration::try_from(clock_gettime(ClockId::Monotonic)).expect("the monotonic clock is never negative")
    }

    fn wall_clock_ms(&self) -> u64 {
        // A clock set before 1970 reads as 1970.
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
    }

    fn random_u64(&self) -> u64 {
        random_u64()
    }

    /// The task runs in the lane of the one that starts it.
    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let executor = &self.shared.executor;
        executor.spawn(executor.lane_current(), task);
    }

    fn yield_now(&self) -> impl Future<Output = ()> {
        YieldNow::default()
    }

    async fn log_mode(&self, directory: &Path) -> io::Result<LogMode> {
        self.find_log_mode(directory)
    }

    async fn open(&self, path: &Path, mode: OpenMode) -> io::Result<ThreadFile> {
        let mut options = OpenOptions::new();
        options.read(true);
        match mode {
            OpenMode::Read => Ok(ThreadFile::new(options.open(path)?, false)),
            OpenMode::ReadDirect => self.opened_direct(options.open(path)?, path),
            OpenMode::Create => Ok(ThreadFile::new(options.write(true).create_new(true).open(path)?, false)),
            OpenMode::CreateDirect => self.opened_direct(options.write(true).create_new(true).open(path)?, path),
            OpenMode::Log => ThreadFile::open_log(path, self.find_log_mode(path.parent().unwrap_or(path))?),
        }
    }

    async fn file_length(&self, file: &ThreadFile) -> io::Result<u64> {
        Ok(file.as_std().metadata()?.len())
    }

    async fn read_at(&self, file: &ThreadFile, mut buffer: IoBuffer, offset: u64) -> (io::Result<usize>, IoBuffer) {
        let result = file.read_at(&mut buffer, offset);
        (result, buffer)
    }

    async fn write_at(&self, file: &ThreadFile, buffer: IoBuffer, offset: u64) -> (io::Result<()>, IoBuffer) {
        let result = file.write_at(&buffer, offset);
        (result, buffer)
    }

    async fn sync_data(&self, file: &ThreadFile) -> io::Result<()> {
        file.as_std().sync_data()
    }

    async fn set_length(&self, file: &ThreadFile, length: u64) -> io::Result<()> {
        file.as_std().set_len(length)
    }

    async fn map(&self, file: &ThreadFile, length: u64) -> io::Result<ThreadMap> {
        ThreadMap::new(file, length)
    }

    async fn create_directory(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    async fn list_directory(&self, path: &Path) -> io::Result<Vec<String>> {
        // No name of ours is outside ASCII; a stranger's is shown as well as it can be.
        let mut names = fs::read_dir(path)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<Vec<_>>>()?;
        names.sort_unstable();
        Ok(names)
    }

    async fn sync_directory(&self, path: &Path) -> io::Result<()> {
        let directory =
            OpenOptions::new().read(true).custom_flags(OFlags::DIRECTORY.bits().cast_signed()).open(path)?;
        directory.sync_all()
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    async fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    async fn remove_directory(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    async fn lock_directory(&self, path: &Path, patience: Duration) -> io::Result<ThreadDirectoryLock> {
        ThreadDirectoryLock::acquire(path, patience)
    }
}
