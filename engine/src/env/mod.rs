//! The one seam between the engine and the world: clock, randomness, disk, maps, and tasks of the maintenance side.
//!
//! [`ThreadEnvironment`](thread::ThreadEnvironment) is production: plain system calls that block the maintenance thread they
//! run on. `SimulatedEnvironment` (feature `simulation`) is a deterministic disk that injects faults.
//!
//! Who uses it: recovery at the start, and maintenance jobs (flush, compaction, manifest, segments). A shard never does;
//! the only I/O of a shard is the write of its log and the reading of a block that is not resident, and both are values
//! ([`LogWrite`](crate::log::LogWrite), [`BlockRead`](crate::table::BlockRead)) that the shard's driver carries out.
//!
//! Rules that every implementation keeps, and that recovery relies on:
//! - A file's bytes are durable once `sync_data` on it returned, or once a write to it returned if it was opened with
//!   [`OpenMode::Log`] and [`LogMode::DirectSynced`]. Unsynced bytes may be lost, or survive in part, in any order of 4 KiB blocks.
//! - A name (created, renamed, removed) is durable once `sync_directory` on its directory returned. Before, either state may survive,
//!   each name on its own.
//! - `rename` over an existing name is atomic: the old file or the new. Within one directory the two names of a rename survive together.
//! - A sync covers what was complete when it was asked for, and nothing later.
//! - A write that reports fewer bytes than given is an error to the caller: implementations finish short writes or fail.

use std::future::Future;
use std::io;
use std::ops::Deref;
use std::path::Path;
use std::time::Duration;

use crate::io_buffer::IoBuffer;

mod direct;
#[cfg(any(test, feature = "simulation"))]
pub mod simulated;
pub(crate) mod tasks;
pub mod thread;

/// How a file is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenMode {
    /// An existing file, for reading through the page cache.
    Read,
    /// An existing file, for bulk reads that bypass the page cache where the file system lets them. Offsets, lengths and buffers are multiples of 4,096.
    ReadDirect,
    /// A new file, written through the page cache; it is an error if it exists.
    Create,
    /// A new file for bulk writes that bypass the page cache where the file system lets them; it is an error if it exists.
    CreateDirect,
    /// An existing file for the log: reads and synced writes, in the [`LogMode`] that the environment found.
    Log,
}

/// How log writes become durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogMode {
    /// `O_DIRECT | O_DSYNC`: a write that returned is durable.
    DirectSynced,
    /// Buffered, because the file system refuses `O_DIRECT`: a write is durable after the `fdatasync` that follows it.
    BufferedThenSync,
}

/// A read-only map of a finished file. It never changes and is never shortened while it is mapped.
pub trait FileMap: Deref<Target = [u8]> + Send + Sync + 'static {
    /// Which pages of 4,096 bytes are in memory, as bits from the first page on, 64 a word.
    ///
    /// # Errors
    /// What the operating system says.
    fn residency(&self) -> io::Result<Vec<u64>>;

    /// Brings the pages that hold the bytes `offset..offset + length` into memory. May block.
    ///
    /// # Errors
    /// What the operating system says, a read error of the disk among it.
    fn page_in(&self, offset: usize, length: usize) -> io::Result<()>;
}

/// The world as the engine sees it. Cheap to clone; used by one thread at a time.
///
/// Futures are not cancel-safe: a buffer given to an operation belongs to it until it completes.
pub trait Environment: Clone + 'static {
    /// An open file. Clones share it; the last one closes it. A shard's driver may use the same file for its own reads and log writes.
    type File: Clone + Send + Sync + 'static;
    /// A read-only map of a file.
    type Map: FileMap;
    /// Held while this process owns a directory.
    type DirectoryLock: Send + 'static;

    /// Time since some fixed point, never going back.
    fn monotonic(&self) -> Duration;
    /// Milliseconds since the Unix epoch, as the machine's clock has it; may step either way.
    fn wall_clock_ms(&self) -> u64;
    /// A random number that nobody outside can guess.
    fn random_u64(&self) -> u64;

    /// Starts a task beside the caller, on the same thread.
    fn spawn(&self, task: impl Future<Output = ()> + 'static);
    /// Lets other tasks of this thread run; maintenance calls it between chunks of work.
    fn yield_now(&self) -> impl Future<Output = ()>;

    /// How the log is written below `directory`; found out by trying, once.
    fn log_mode(&self, directory: &Path) -> impl Future<Output = io::Result<LogMode>>;

    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> impl Future<Output = io::Result<Self::File>>;
    /// The file's length in bytes.
    fn file_length(&self, file: &Self::File) -> impl Future<Output = io::Result<u64>>;
    /// Reads up to `buffer.len()` bytes at `offset` into the start of the buffer; fewer only at the end of the file.
    fn read_at(
        &self,
        file: &Self::File,
        buffer: IoBuffer,
        offset: u64,
    ) -> impl Future<Output = (io::Result<usize>, IoBuffer)>;
    /// Writes all of the buffer at `offset`.
    fn write_at(
        &self,
        file: &Self::File,
        buffer: IoBuffer,
        offset: u64,
    ) -> impl Future<Output = (io::Result<()>, IoBuffer)>;
    /// Makes the file's bytes and length durable (`fdatasync`). A failure is final: it is never tried again.
    fn sync_data(&self, file: &Self::File) -> impl Future<Output = io::Result<()>>;
    /// Cuts the file to `length` bytes, or extends it by zeros.
    fn set_length(&self, file: &Self::File, length: u64) -> impl Future<Output = io::Result<()>>;
    /// Maps the whole file read-only. `length` is the file's length, above zero.
    fn map(&self, file: &Self::File, length: u64) -> impl Future<Output = io::Result<Self::Map>>;

    /// Makes a directory and its parents where they are absent. The caller syncs the parents.
    fn create_directory(&self, path: &Path) -> impl Future<Output = io::Result<()>>;
    /// The names in a directory, sorted; an error of kind `NotFound` where there is none.
    fn list_directory(&self, path: &Path) -> impl Future<Output = io::Result<Vec<String>>>;
    /// Makes the names in a directory durable.
    fn sync_directory(&self, path: &Path) -> impl Future<Output = io::Result<()>>;
    /// Gives a file or directory a new name in place of whatever file had it.
    fn rename(&self, from: &Path, to: &Path) -> impl Future<Output = io::Result<()>>;
    /// Removes a file's name.
    fn remove_file(&self, path: &Path) -> impl Future<Output = io::Result<()>>;
    /// Removes an empty directory's name.
    fn remove_directory(&self, path: &Path) -> impl Future<Output = io::Result<()>>;
    /// Takes the directory for this process; tries for `patience`, since the lock of a killed process outlives it for a moment
    /// while its writes complete. An error of kind `WouldBlock` says that another process holds it.
    fn lock_directory(&self, path: &Path, patience: Duration) -> impl Future<Output = io::Result<Self::DirectoryLock>>;
}

/// Reads a whole file of at most `length_max` bytes through the page cache.
///
/// # Errors
/// What the operating system says; kind `InvalidData` if the file is longer.
pub async fn read_file<E: Environment>(environment: &E, path: &Path, length_max: u64) -> io::Result<Vec<u8>> {
    let file = environment.open(path, OpenMode::Read).await?;
    let length = environment.file_length(&file).await?;
    if length > length_max {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the file has {length} bytes, at most {length_max} were expected"),
        ));
    }
    let length = usize::try_from(length).map_err(io::Error::other)?;
    let (result, mut buffer) = environment.read_at(&file, IoBuffer::zeroed(length), 0).await;
    buffer.resize(result?);
    Ok(buffer.to_vec())
}
