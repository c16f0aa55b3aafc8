//! Corelode's engine: a store with one partition, driven by one thread as a shard of the server drives it.
//!
//! Durable writes are carried out on the calling thread, as in [`corelode_engine::embedded`]. For writes that wait for no sync the log
//! is written by a thread beside, as the kernel does it for the server; at most one write is under way, and what is put meanwhile
//! gathers for the next.

use std::path::Path;
use std::time::{Duration, Instant};

use corelode_engine::cursor::Stop;
use corelode_engine::data_directory::{DataDirectory, OpenOptions, open_data_directory};
use corelode_engine::embedded;
use corelode_engine::env::thread::ThreadEnvironment;
use corelode_engine::env::{Environment, LogMode};
use corelode_engine::ids::PartitionId;
use corelode_engine::io_buffer::IoBuffer;
use corelode_engine::job::{self, Job, JobDone};
use corelode_engine::log::LogWrite;
use corelode_engine::maintenance::{JobsAtShutdown, Lane, MaintenanceOptions, MaintenanceThread, SubmitError};
use corelode_engine::options::Options;
use corelode_engine::partition::{self, Outcome, Proposal, Write};
use corelode_engine::row::Keyspace;
use corelode_engine::store::{Busy, Store};
use corelode_engine::table::BlockRead;
use corelode_engine::tree::{ReadOptions, Walk};
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::engine::{Durability, Engine, Pair, Result};
use crate::load::Rows;
use crate::settings::Settings;

type E = ThreadEnvironment;
type File = <E as Environment>::File;

const PARTITION: PartitionId = PartitionId(0);
const MAINTENANCE_WAIT: Duration = Duration::from_millis(10);

pub(crate) struct Corelode {
    environment: E,
    store: Store<E>,
    maintenance: MaintenanceThread<Job<E>>,
    done: Receiver<JobDone<E>>,
    outcomes: Vec<Outcome>,
    log: LogThread,
    _lock: <E as Environment>::DirectoryLock,
}

/// Writes the log beside. At most one write is under way.
struct LogThread {
    writes: Sender<LogWrite<File>>,
    written: Receiver<(LogWrite<File>, std::io::Result<()>)>,
    is_writing: bool,
}

impl LogThread {
    fn start() -> Result<Self> {
        let (writes, receive) = bounded::<LogWrite<File>>(1);
        let (send, written) = bounded(1);
        let run = move || {
            let environment = ThreadEnvironment::new();
            for mut write in receive {
                let result = carry_out(&environment, &mut write);
                if send.send((write, result)).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("log".to_owned()).spawn(run)?;
        Ok(Self { writes, written, is_writing: false })
    }
}

fn carry_out(environment: &E, write: &mut LogWrite<File>) -> std::io::Result<()> {
    let buffer = std::mem::take(&mut write.buffer);
    let (result, buffer) = environment.block_on(async {
        let (mut result, buffer) = environment.write_at(&write.file, buffer, write.offset).await;
        if result.is_ok() && write.mode == LogMode::BufferedThenSync {
            result = environment.sync_data(&write.file).await;
        }
        (result, buffer)
    });
    write.buffer = buffer;
    result
}

impl Corelode {
    pub(crate) fn open(directory: &Path, settings: &Settings) -> Result<Self> {
        let environment = ThreadEnvironment::new();
        let options = Options {
            // Half of it in the active memtable makes the store flush.
            memtable_memory_bytes: usize::try_from(settings.memtable_bytes())? * 2,
            block_cache_bytes: settings.cache_bytes(),
            ..Options::default()
        };
        let open = OpenOptions { cores: 1, partition_count: Some(1), store: options };
        let opened = environment.block_on(open_data_directory(&environment, directory, open))?;
        let DataDirectory { lock, mut cores, .. } = opened;
        let store = cores.pop().expect("one core was asked for").into_store();
        let (sender, done) = unbounded();
        let deliver = move |result: std::result::Result<JobDone<E>, _>| {
            let Ok(done) = result else { std::process::abort() };
            let _ = sender.send(done);
        };
        let maintenance = MaintenanceThread::start(MaintenanceOptions::new("maintain"), job::run::<E>, deliver)?;
        let log = LogThread::start()?;
        Ok(Self { environment, store, maintenance, done, outcomes: Vec::new(), log, _lock: lock })
    }

    fn propose(&mut self, key: &[u8], value: &[u8], durability: partition::Durability) -> Result<Proposal> {
        let write: Write<'_> = embedded::put(key, value);
        loop {
            let now_ms = self.environment.wall_clock_ms();
            match self.store.propose(PARTITION, &write, durability, now_ms) {
                Ok(proposal) => return Ok(proposal),
                Err(busy) => self.make_room(busy)?,
            }
        }
    }

    /// Waits until the entry of `last` is durable.
    fn sync_through(&mut self, last: Proposal) -> Result<()> {
        loop {
            self.finish_write_beside()?;
            self.write_log()?;
            let is_ours = |outcome: &Outcome| outcome.index >= last.position.index && outcome.is_durable;
            let is_durable = self.outcomes.iter().any(is_ours);
            self.outcomes.clear();
            if is_durable {
                return self.maintain();
            }
            // The log waits for a segment.
            self.maintain()?;
            self.wait_for_job()?;
        }
    }

    /// Carries out log writes here until none is due.
    fn write_log(&mut self) -> Result<()> {
        self.store.seal(&mut self.outcomes);
        while let Some(mut write) = self.store.start_log_write() {
            let result = carry_out(&self.environment, &mut write);
            self.store.finish_log_write(write, result, &mut self.outcomes)?;
        }
        Ok(())
    }

    /// Takes in the write beside if it is done, and starts the next one.
    fn write_log_beside(&mut self) -> Result<()> {
        if let Ok((write, result)) = self.log.written.try_recv() {
            self.log.is_writing = false;
            self.store.finish_log_write(write, result, &mut self.outcomes)?;
        }
        if !self.log.is_writing
            && let Some(write) = self.store.start_log_write()
        {
            self.log.is_writing = true;
            self.log.writes.send(write)?;
        }
        Ok(())
    }

    /// Waits for the write beside, if one is under way.
    fn finish_write_beside(&mut self) -> Result<()> {
        if std::mem::take(&mut self.log.is_writing) {
            let (write, result) = self.log.written.recv()?;
            self.store.finish_log_write(write, result, &mut self.outcomes)?;
        }
        Ok(())
    }

    fn make_room(&mut self, busy: Busy) -> Result<()> {
        self.store.seal(&mut self.outcomes);
        self.finish_write_beside()?;
        self.write_log_beside()?;
        self.maintain()?;
        if busy != Busy::Log || !self.log.is_writing {
            self.wait_for_job()?;
        }
        Ok(())
    }

    fn wait_for_job(&mut self) -> Result<()> {
        if let Ok(done) = self.done.recv_timeout(MAINTENANCE_WAIT) {
            self.store.job_done(done)?;
        }
        Ok(())
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

    fn drain(&mut self) -> Result<()> {
        self.finish_write_beside()?;
        self.write_log()?;
        while !self.store.is_log_idle() {
            self.maintain()?;
            self.wait_for_job()?;
            self.write_log()?;
        }
        self.outcomes.clear();
        self.maintain()?;
        while !self.store.is_maintenance_idle() {
            self.wait_for_job()?;
            self.maintain()?;
        }
        Ok(())
    }

    fn read_block(&mut self, read: &BlockRead<File>) -> Result<()> {
        let buffer = IoBuffer::zeroed(read.handle.length as usize);
        let environment = &self.environment;
        let (result, buffer) = environment.block_on(environment.read_at(&read.file, buffer, read.handle.offset));
        Ok(self.store.block_read(read, &buffer, result)?)
    }
}

impl Engine for Corelode {
    fn put(&mut self, key: &[u8], value: &[u8], durability: Durability) -> Result<()> {
        match durability {
            Durability::Synced => {
                let proposal = self.propose(key, value, partition::Durability::Synced)?;
                self.sync_through(proposal)
            }
            Durability::Unsynced => {
                let proposal = self.propose(key, value, partition::Durability::Memory)?;
                self.store.seal(&mut self.outcomes);
                assert!(
                    self.outcomes.iter().any(|outcome| outcome.index == proposal.position.index),
                    "a write in memory is applied when its turn ends"
                );
                self.write_log_beside()?;
                self.outcomes.clear();
                self.maintain()
            }
        }
    }

    fn put_batch(&mut self, pairs: &[Pair]) -> Result<()> {
        let mut last = None;
        for (key, value) in pairs {
            last = Some(self.propose(key, value, partition::Durability::Synced)?);
        }
        self.sync_through(last.ok_or("an empty batch")?)
    }

    fn get(&mut self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        value.clear();
        loop {
            match self.store.get(PARTITION, key, value) {
                Ok(answer) => return Ok(answer.found.is_some()),
                Err(Stop::Miss(read)) => self.read_block(&read)?,
                Err(Stop::Corruption(corruption)) => return Err(corruption.into()),
            }
        }
    }

    fn scan(&mut self, start: &[u8], row_count: usize, rows: &mut Rows) -> Result<()> {
        let point = self.store.partition(PARTITION).expect("the one partition").read_point();
        let row_count = rows.len() + row_count;
        let mut resume = None;
        loop {
            let options = ReadOptions {
                keyspace: Keyspace::Data,
                start: resume.as_deref().unwrap_or(start),
                end: None,
                point,
                rows_walked_max: usize::MAX,
            };
            let walk = self.store.scan(PARTITION, &options, |row| {
                rows.push(row.row_key.key, row.value);
                rows.len() < row_count
            })?;
            match walk {
                Walk::Done => return Ok(()),
                Walk::Paused { resume_key, miss } => {
                    resume = Some(resume_key);
                    if let Some(read) = miss {
                        self.read_block(&read)?;
                    }
                }
            }
        }
    }

    fn settle(&mut self) -> Result<Duration> {
        let started = Instant::now();
        self.drain()?;
        self.store.flush_all();
        self.drain()?;
        Ok(started.elapsed())
    }

    fn reads_follow(&mut self) -> Result<()> {
        self.store.refresh_residency();
        self.drain()
    }

    fn shape(&self) -> Result<String> {
        let counters = self.store.counters();
        Ok(format!(
            "{} tables of {} MB, {} flushes and {} compactions that wrote {} MB, {} blocks found in the cache and {} missed",
            counters.tables,
            counters.table_bytes / 1_000_000,
            counters.flushes,
            counters.compactions,
            counters.compaction_bytes / 1_000_000,
            self.store.cache_counters().hits,
            counters.block_misses
        ))
    }

    fn close(mut self: Box<Self>) -> Result<()> {
        self.settle()?;
        self.store.mark_log();
        self.write_log()?;
        self.maintenance.shutdown(JobsAtShutdown::Finish).map_err(|_| "a maintenance job panicked")?;
        Ok(())
    }
}
