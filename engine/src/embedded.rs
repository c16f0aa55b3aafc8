//! The engine as a library in one process: one log, one tree, one thread that calls.
//!
//! The server does not use this; it drives a [`Store`] by its own event loop. This is the same store with the simplest driver there is:
//! every write waits for its log write, every missed block is read at once, and maintenance runs on a thread beside.
//!
//! ```no_run
//! use corelode_engine::embedded::Database;
//!
//! # fn main() -> corelode_engine::Result<()> {
//! let mut database = Database::open("./data".as_ref(), Default::default())?;
//! database.put(b"greeting", b"hello")?;
//! assert_eq!(database.get(b"greeting")?.as_deref(), Some(&b"hello"[..]));
//! database.scan(b"a", None, |key, value| {
//!     println!("{} bytes of key, {} of value", key.len(), value.len());
//!     true
//! })?;
//! database.close()
//! # }
//! ```

use std::path::Path;
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};

use crate::cursor::Stop;
use crate::data_directory::{DataDirectory, OpenOptions, open_data_directory};
use crate::env::thread::ThreadEnvironment;
use crate::env::{Environment, LogMode};
use crate::error::{Error, Result};
use crate::ids::{PartitionId, Revision};
use crate::io_buffer::IoBuffer;
use crate::job::{self, Job, JobDone};
use crate::maintenance::{JobsAtShutdown, Lane, MaintenanceOptions, MaintenanceThread, SubmitError};
use crate::options::Options;
use crate::partition::{Durability, Outcome, Write, WriteChange};
use crate::row::Keyspace;
use crate::store::{Store, StoreCounters};
use crate::table::BlockRead;
use crate::tree::{ReadOptions, Walk};

type E = ThreadEnvironment;

/// The one partition of an embedded database.
const PARTITION: PartitionId = PartitionId(0);
/// How long a full store is waited for before maintenance is looked at again.
const MAINTENANCE_WAIT: Duration = Duration::from_millis(10);

/// A durable, ordered map from bytes to bytes, owned by one thread.
pub struct Database {
    environment: E,
    store: Store<E>,
    maintenance: MaintenanceThread<Job<E>>,
    done: Receiver<JobDone<E>>,
    outcomes: Vec<Outcome>,
    _lock: <E as Environment>::DirectoryLock,
}

impl Database {
    /// Opens the database in `directory`, or makes one. What was acknowledged before is there.
    ///
    /// # Errors
    /// As [`open_data_directory`].
    pub fn open(directory: &Path, options: Options) -> Result<Self> {
        let environment = ThreadEnvironment::new();
        let open = OpenOptions { cores: 1, partition_count: Some(1), membership: None, store: options };
        let opened = environment.block_on(open_data_directory(&environment, directory, open))?;
        let DataDirectory { lock, mut cores, .. } = opened;
        let store = cores.pop().expect("one core was asked for").into_store();
        let (sender, done) = unbounded();
        let deliver = move |result: std::result::Result<JobDone<E>, _>| {
            let Ok(done) = result else {
                tracing::error!("a maintenance job panicked: the database cannot go on");
                std::process::abort();
            };
            // A database that was dropped no longer listens.
            let _ = sender.send(done);
        };
        let maintenance = MaintenanceThread::start(MaintenanceOptions::new("maintain"), job::run::<E>, deliver)
            .map_err(|error| Error::io("start the maintenance thread of", directory, error))?;
        Ok(Self { environment, store, maintenance, done, outcomes: Vec::new(), _lock: lock })
    }

    /// Gives a key a value, durably.
    ///
    /// # Errors
    /// A failed write of the log: nothing more is acknowledged by this database.
    ///
    /// # Panics
    /// If the key or value is longer than the [limits](crate::limits).
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<Revision> {
        self.write(&[put(key, value)])
    }

    /// Removes a key, durably.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    ///
    /// # Panics
    /// As [`put`](Self::put).
    pub fn delete(&mut self, key: &[u8]) -> Result<Revision> {
        self.write(&[Write { key, change: WriteChange::Delete, session: None }])
    }

    /// Carries out writes with one log write for all of them, as far as they fit one; answers the revision of the last. They are not a
    /// transaction: a crash may leave a prefix.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    ///
    /// # Panics
    /// As [`put`](Self::put), or if there are none.
    pub fn write(&mut self, writes: &[Write<'_>]) -> Result<Revision> {
        assert!(!writes.is_empty(), "a write changes something");
        let mut last = None;
        for write in writes {
            last = Some(loop {
                let now_ms = self.environment.wall_clock_ms();
                match self.store.propose(PARTITION, write, Durability::Synced, now_ms) {
                    Ok(proposal) => break proposal,
                    Err(_busy) => self.make_room()?,
                }
            });
        }
        let last = last.expect("there is a write");
        loop {
            self.write_log()?;
            let is_ours = |outcome: &&Outcome| outcome.entry == Some(last.entry) && outcome.is_durable;
            if let Some(outcome) = self.outcomes.iter().find(is_ours) {
                let revision = Revision(outcome.first_revision.0 + u64::from(last.ordinal));
                self.outcomes.clear();
                self.maintain()?;
                return Ok(revision);
            }
            self.make_room()?;
        }
    }

    /// The value of a key.
    ///
    /// # Errors
    /// [`Error::Corruption`] if a block is damaged; [`Error::Io`] if it cannot be read.
    pub fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut value = Vec::new();
        loop {
            match self.store.get(PARTITION, key, &mut value) {
                Ok(answer) => return Ok(answer.found.map(|_| value)),
                Err(stop) => self.resolve(stop)?,
            }
        }
    }

    /// Walks over the keys from `start` to before `end`, in order, until `visit` answers `false`.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn scan(
        &mut self,
        start: &[u8],
        end: Option<&[u8]>,
        mut visit: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<()> {
        let point = self.store.partition(PARTITION).expect("the one partition").read_point();
        let mut start = start.to_vec();
        loop {
            let options =
                ReadOptions { keyspace: Keyspace::Data, start: &start, end, point, rows_walked_max: usize::MAX };
            let walk = self.store.scan(PARTITION, &options, |row| visit(row.row_key.key, row.value));
            match walk.map_err(Error::Corruption)? {
                Walk::Done => return Ok(()),
                Walk::Paused { resume_key, miss } => {
                    start = resume_key;
                    if let Some(read) = miss {
                        self.read_block(&read)?;
                    }
                }
            }
        }
    }

    /// What was done so far.
    #[must_use]
    pub fn counters(&self) -> StoreCounters {
        self.store.counters()
    }

    /// Waits until no flush and no compaction is due.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn settle(&mut self) -> Result<()> {
        loop {
            self.maintain()?;
            if self.store.is_maintenance_idle() {
                return Ok(());
            }
            self.wait_for_job()?;
        }
    }

    /// Flushes what is in memory and closes, so that the next open has nothing to replay. Dropping a database instead loses nothing.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn close(mut self) -> Result<()> {
        self.store.flush_all();
        self.settle()?;
        self.store.mark_log();
        self.write_log()?;
        self.maintenance
            .shutdown(JobsAtShutdown::Finish)
            .map_err(|_| Error::io("close", "database".as_ref(), std::io::Error::other("a maintenance job panicked")))
    }

    fn write_log(&mut self) -> Result<()> {
        self.store.seal(&mut self.outcomes);
        while let Some(mut write) = self.store.start_log_write() {
            let buffer = std::mem::take(&mut write.buffer);
            let environment = &self.environment;
            let (result, buffer) = environment.block_on(async {
                let (mut result, buffer) = environment.write_at(&write.file, buffer, write.offset).await;
                if result.is_ok() && write.mode == LogMode::BufferedThenSync {
                    result = environment.sync_data(&write.file).await;
                }
                (result, buffer)
            });
            write.buffer = buffer;
            self.store.finish_log_write(write, result, &mut self.outcomes)?;
        }
        Ok(())
    }

    /// The store is at a bound, or its log waits for a segment: writes what waits and lets maintenance catch up.
    fn make_room(&mut self) -> Result<()> {
        self.write_log()?;
        self.maintain()?;
        self.wait_for_job()
    }

    fn wait_for_job(&mut self) -> Result<()> {
        match self.done.recv_timeout(MAINTENANCE_WAIT) {
            Ok(done) => self.store.job_done(done),
            Err(_) => Ok(()),
        }
    }

    /// Takes in finished jobs and hands over new ones.
    fn maintain(&mut self) -> Result<()> {
        while let Ok(done) = self.done.try_recv() {
            self.store.job_done(done)?;
        }
        while let Some(mut job) = self.store.next_job() {
            let lane = match job.lane() {
                job::Lane::Urgent => Lane::Urgent,
                job::Lane::Background => Lane::Bulk,
            };
            while let Err(SubmitError::Full(back) | SubmitError::Stopped(back)) = self.maintenance.submit(lane, job) {
                job = back;
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    }

    fn resolve(&mut self, stop: Stop<<E as Environment>::File>) -> Result<()> {
        match stop {
            Stop::Miss(read) => self.read_block(&read),
            Stop::Corruption(corruption) => Err(Error::Corruption(corruption)),
        }
    }

    fn read_block(&mut self, read: &BlockRead<<E as Environment>::File>) -> Result<()> {
        let environment = &self.environment;
        let buffer = IoBuffer::zeroed(read.handle.length as usize);
        let (result, buffer) = environment.block_on(environment.read_at(&read.file, buffer, read.handle.offset));
        self.store.block_read(read, &buffer, result)
    }
}

/// A write that gives a key a value for good.
#[must_use]
pub fn put<'a>(key: &'a [u8], value: &'a [u8]) -> Write<'a> {
    Write { key, change: WriteChange::Put { value, value_crc: crc32fast::hash(value), ttl_ms: None }, session: None }
}
