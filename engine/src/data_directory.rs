//! Opening a data directory: identity, manifests, tables, logs, and the streams' way to the logs of the cores that own them now.
//!
//! ```text
//! DIR/LOCK                      held while a process has the directory
//! DIR/IDENTITY                  cluster, node, incarnation, number of partitions
//! DIR/partitions/<id>/MANIFEST  which tables a partition has
//! DIR/partitions/<id>/*.table   the tables
//! DIR/logs/<log-id>/segment-*   the logs
//! ```
//!
//! Which core owns a partition is not written anywhere: it follows from the number of cores, and at a start with another number the
//! streams move to other logs. A crash in the middle leaves some streams in two logs; the higher epoch counts.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::command::Entry;
use crate::env::thread::LOCK_FILE_NAME;
use crate::env::{Environment, LogMode};
use crate::error::{Error, Result};
use crate::identity::{IDENTITY_FILE_NAME, Identity, Membership, read_identity};
use crate::ids::{LogId, LogIndex, LogPosition, PartitionId, SlotRange, StreamId};
use crate::log::recovery::{RecoveredLog, RecoveredStream, TornTail, recover_log};
use crate::log::{LogWriter, SegmentBound, StreamState, prepare_segment};
use crate::manifest::Manifest;
use crate::options::Options;
use crate::partition::{Partition, PartitionStart, StoredState, read_stored_state};
use crate::store::{Store, stream_of};
use crate::table::{TABLE_SUFFIX, Table, table_file_name};
use crate::tree::Tree;

const PARTITIONS_DIRECTORY: &str = "partitions";
const LOGS_DIRECTORY: &str = "logs";
const RETIRED_SUFFIX: &str = ".retired";
/// A killed process's lock lives on while its writes complete; a real second process holds it longer than this.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// How a data directory is opened.
#[derive(Clone, Copy, Debug)]
pub struct OpenOptions {
    /// The number of cores that will share the partitions.
    pub cores: u16,
    /// The number of partitions; `None` takes what the directory has, or 64 for a new one.
    pub partition_count: Option<u16>,
    /// The node's place in its cluster, if it is in one: then nothing is applied before consensus says so.
    pub membership: Option<Membership>,
    /// The choices for each core's store.
    pub store: Options,
}

/// A data directory that is open.
pub struct DataDirectory<E: Environment> {
    /// Who it belongs to.
    pub identity: Identity,
    /// Held as long as the directory is in use.
    pub lock: E::DirectoryLock,
    /// What each core starts with.
    pub cores: Vec<CoreStart<E>>,
    /// How log writes become durable here.
    pub log_mode: LogMode,
    /// What was found and done.
    pub report: RecoveryReport,
}

/// What opening a data directory found and did.
#[derive(Clone, Default, Debug)]
pub struct RecoveryReport {
    /// Whether the directory was made just now.
    pub is_new: bool,
    /// Entries that were in the logs only and are replayed into memory.
    pub entries_replayed: u64,
    /// Remains of writes that never completed, cut.
    pub torn_tails: Vec<TornTail>,
    /// Logs that ended while a segment was being recycled.
    pub recyclings_interrupted: u64,
    /// Tables that no manifest named, removed.
    pub orphans_removed: u64,
    /// Streams that moved to another log.
    pub streams_moved: u64,
    /// Tables opened.
    pub tables: u64,
}

/// What a core starts with; it is sent to the core's thread, which makes it a [`Store`].
pub struct CoreStart<E: Environment> {
    options: Options,
    is_replicated: bool,
    log_directory: PathBuf,
    log: LogWriter<E::File>,
    partitions: Vec<PartitionParts<E>>,
}

struct PartitionParts<E: Environment> {
    manifest: Manifest,
    directory: PathBuf,
    tables: Vec<Arc<Table<E>>>,
    state: StoredState,
    stream: Option<RecoveredStream>,
}

/// The core that owns a partition when there are `cores` of them.
#[must_use]
pub fn core_of(partition: PartitionId, cores: u16) -> u16 {
    partition.0 % cores
}

impl<E: Environment> CoreStart<E> {
    /// The log's identity.
    #[must_use]
    pub fn log(&self) -> LogId {
        self.log.log()
    }

    /// The partitions of this core.
    pub fn partitions(&self) -> impl Iterator<Item = (PartitionId, SlotRange)> {
        self.partitions.iter().map(|parts| (parts.manifest.partition, parts.manifest.slots))
    }

    /// Replays what is not in tables, and starts. Called on the thread that will own the store.
    #[must_use]
    pub fn into_store(self) -> Store<E> {
        let Self { options, is_replicated, log_directory, log, partitions } = self;
        let partitions = partitions.into_iter().map(|parts| {
            let PartitionParts { manifest, directory, tables, state, stream } = parts;
            let start = PartitionStart {
                id: manifest.partition,
                stream: manifest.stream,
                flushed: manifest.flushed,
                tree: Tree::new(directory, manifest, tables, &options),
                state,
                is_replicated,
            };
            let mut partition = Partition::new(start);
            for entry in stream.into_iter().flat_map(|stream| stream.entries.into_values()) {
                let decoded = Entry::decode(&entry.payload).expect("checked when the directory was opened");
                if is_replicated {
                    // Whether it is committed is for consensus to say.
                    let log_time = decoded.log_time;
                    partition.append(entry.position, entry.payload, log_time);
                } else {
                    partition.replay(entry.position, &decoded);
                }
            }
            partition
        });
        let partitions: Vec<_> = partitions.collect();
        Store::new(options, log_directory, log, partitions)
    }
}

/// Opens the data directory `directory`, or makes one.
///
/// # Errors
/// [`Error::Locked`] if another process has it; [`Error::Mismatch`] if it was made with another number of partitions;
/// [`Error::Corruption`] with file and offset if something durable is damaged; [`Error::UnknownVersion`]; [`Error::Io`].
///
/// # Panics
/// If the options ask for no core.
pub async fn open_data_directory<E: Environment>(
    environment: &E,
    directory: &Path,
    options: OpenOptions,
) -> Result<DataDirectory<E>> {
    assert!(options.cores > 0, "a store needs a core");
    create_directory(environment, directory).await?;
    let lock = environment.lock_directory(directory, LOCK_PATIENCE).await.map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => Error::Locked { path: directory.to_path_buf() },
        _ => Error::io("lock", directory, error),
    })?;
    let stored = read_identity(environment, directory, options.partition_count, options.membership).await?;
    let report = RecoveryReport { is_new: stored.is_none(), ..RecoveryReport::default() };
    if stored.is_none() {
        check_is_ours(environment, directory).await?;
    }
    let mut identity =
        stored.unwrap_or_else(|| Identity::random(environment, options.partition_count, options.membership));
    let logs_directory = directory.join(LOGS_DIRECTORY);
    create_directory(environment, &logs_directory).await?;
    let mut opening = Opening {
        environment,
        options,
        logs_directory: logs_directory.clone(),
        log_mode: environment
            .log_mode(&logs_directory)
            .await
            .map_err(|error| Error::io("probe", &logs_directory, error))?,
        report,
    };
    let mut partitions = opening.open_partitions(&directory.join(PARTITIONS_DIRECTORY), &identity).await?;
    let mut logs = opening.recover_logs(&partitions).await?;
    if opening.report.is_new {
        check_is_empty(directory, &partitions, &logs)?;
        // A first start that did not end has named its logs already.
        identity.incarnation = logs.iter().find_map(|log| log.recovered.incarnation).unwrap_or(identity.incarnation);
    }
    check_belongs(&identity, &mut partitions, &logs)?;
    opening.take_streams(&mut partitions, &mut logs)?;
    // Only now is it known that manifests and logs agree. A manifest that was lost would make orphans of all its tables.
    for parts in &partitions {
        opening.remove_orphans(&parts.manifest, &parts.directory).await?;
    }
    let cores = opening.distribute(&identity, partitions, logs).await?;
    if opening.report.is_new {
        // Every stream is in a log by now: from here on one that is not was lost.
        identity.write(environment, directory).await?;
    }
    Ok(DataDirectory { identity, lock, cores, log_mode: opening.log_mode, report: opening.report })
}

struct Opening<'a, E: Environment> {
    environment: &'a E,
    options: OpenOptions,
    logs_directory: PathBuf,
    log_mode: LogMode,
    report: RecoveryReport,
}

/// A log as recovered, and which of its streams count.
struct FoundLog<F> {
    directory: PathBuf,
    recovered: RecoveredLog<F>,
}

impl<E: Environment> Opening<'_, E> {
    async fn open_partitions(&mut self, directory: &Path, identity: &Identity) -> Result<Vec<PartitionParts<E>>> {
        create_directory(self.environment, directory).await?;
        let count = identity.partition_count;
        let mut partitions = Vec::with_capacity(usize::from(count));
        for number in 0..count {
            let id = PartitionId(number);
            let path = directory.join(format!("{number:05}"));
            self.environment.create_directory(&path).await.map_err(|error| Error::io("create", &path, error))?;
            let slots = SlotRange::of_partition(number, count);
            let fresh = Manifest::new(id, slots, stream_of(id), identity.incarnation);
            partitions.push(self.open_partition(fresh, path).await?);
        }
        sync_directory(self.environment, directory).await?;
        Ok(partitions)
    }

    /// `fresh` is the manifest of a partition that has none yet.
    async fn open_partition(&mut self, fresh: Manifest, directory: PathBuf) -> Result<PartitionParts<E>> {
        let (id, stream) = (fresh.partition, fresh.stream);
        let stored = Manifest::read(self.environment, &directory).await?;
        if stored.is_some() {
            // A process that was killed may have renamed it into place in the kernel's memory only. Tables that it does not name are
            // removed next, and log segments reused by what it says is flushed: before, it must be the one that a power cut leaves.
            sync_directory(self.environment, &directory).await?;
        }
        let manifest = stored.unwrap_or(fresh);
        if manifest.partition != id || manifest.stream != stream {
            let message = format!("the manifest is that of partition {}", manifest.partition);
            return Err(Error::corruption(&directory.join(crate::manifest::MANIFEST_FILE_NAME), 0, message));
        }
        let mut tables = Vec::with_capacity(manifest.tables.len());
        for (_, meta) in &manifest.tables {
            let path = directory.join(table_file_name(meta.id));
            let table = Table::open(self.environment, &path, meta.clone()).await.map_err(|error| match error {
                Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                    Error::corruption(&path, 0, "the manifest names this table, and the file is missing")
                }
                other => other,
            })?;
            tables.push(Arc::new(table));
        }
        self.report.tables += tables.len() as u64;
        let tree = Tree::new(directory.clone(), manifest.clone(), tables.clone(), &self.options.store);
        let state = read_stored_state(self.environment, &tree).await?;
        Ok(PartitionParts { manifest, directory, tables, state, stream: None })
    }

    /// Removes tables that no manifest names: of a job that was cut short, or compacted away.
    async fn remove_orphans(&mut self, manifest: &Manifest, directory: &Path) -> Result<()> {
        let environment = self.environment;
        let names = environment.list_directory(directory).await.map_err(|error| Error::io("list", directory, error))?;
        let is_named = |name: &str| manifest.tables.iter().any(|(_, meta)| table_file_name(meta.id) == name);
        for name in names {
            let is_temporary = name.ends_with(crate::atomic_file::TEMPORARY_SUFFIX);
            if is_temporary || (name.ends_with(TABLE_SUFFIX) && !is_named(&name)) {
                let path = directory.join(&name);
                environment.remove_file(&path).await.map_err(|error| Error::io("remove", &path, error))?;
                self.report.orphans_removed += 1;
            }
        }
        Ok(())
    }

    async fn recover_logs(&mut self, partitions: &[PartitionParts<E>]) -> Result<Vec<FoundLog<E::File>>> {
        let directory = self.logs_directory.clone();
        let names =
            self.environment.list_directory(&directory).await.map_err(|error| Error::io("list", &directory, error))?;
        let flushed = |stream: StreamId| flushed_of(partitions, stream);
        let mut logs = Vec::new();
        for name in names {
            let path = directory.join(&name);
            if name.ends_with(RETIRED_SUFFIX) {
                remove_log(self.environment, &path).await?;
                continue;
            }
            let Ok(number) = name.parse() else { continue };
            let recovered = recover_log(self.environment, &path, LogId(number), flushed).await?;
            self.report.torn_tails.extend(recovered.torn_tail.clone());
            self.report.recyclings_interrupted += u64::from(recovered.was_recycling);
            logs.push(FoundLog { directory: path, recovered });
        }
        logs.sort_by_key(|log| log.recovered.log);
        Ok(logs)
    }

    /// Gives each partition its stream out of the log that has it at the highest epoch, and checks that nothing is missing.
    fn take_streams(&mut self, partitions: &mut [PartitionParts<E>], logs: &mut [FoundLog<E::File>]) -> Result<()> {
        for parts in partitions {
            let stream = parts.manifest.stream;
            let epoch = |log: &FoundLog<E::File>| log.recovered.streams.get(&stream).map(|found| found.state.epoch);
            let newest = logs.iter_mut().filter(|log| epoch(log).is_some()).max_by_key(|log| epoch(log));
            let Some(log) = newest else {
                // The first start may have ended before it brought the stream to a log. It ends with the identity.
                if self.report.is_new {
                    continue;
                }
                let message =
                    format!("no log has the stream of partition {}: a log was lost", parts.manifest.partition);
                return Err(Error::corruption(&self.logs_directory, 0, message));
            };
            // The log keeps the state that it has: what it writes next goes on from there.
            let mut found = log.recovered.streams.get_mut(&stream).expect("filtered above").take();
            if parts.manifest.is_transferred {
                found.take_replacement(&log.directory, parts.manifest.flushed)?;
            }
            if parts.manifest.version == 0 && found.state.flushed.index > LogIndex(0) {
                let path = parts.directory.join(crate::manifest::MANIFEST_FILE_NAME);
                let flushed = found.state.flushed.index;
                let message = format!("it is missing: the log says that tables hold all through entry {flushed}");
                return Err(Error::corruption(&path, 0, message));
            }
            found.check_continuity(&log.directory, parts.manifest.flushed)?;
            for entry in found.entries.values() {
                Entry::decode(&entry.payload).map_err(|message| {
                    let message = format!("entry {} of stream {stream}: {message}", entry.position.index);
                    Error::corruption(&log.directory, 0, message)
                })?;
            }
            self.report.entries_replayed += found.entries.len() as u64;
            parts.stream = Some(found);
        }
        Ok(())
    }

    /// Brings every stream into the log of the core that owns it now.
    async fn distribute(
        &mut self,
        identity: &Identity,
        partitions: Vec<PartitionParts<E>>,
        mut logs: Vec<FoundLog<E::File>>,
    ) -> Result<Vec<CoreStart<E>>> {
        let cores = usize::from(self.options.cores);
        let mut id_next = logs.last().map_or(LogId(1), |log| log.recovered.log.next());
        while logs.len() < cores {
            let directory = self.logs_directory.join(format!("{:03}", id_next.0));
            self.environment
                .create_directory(&directory)
                .await
                .map_err(|error| Error::io("create", &directory, error))?;
            logs.push(FoundLog { directory, recovered: RecoveredLog::empty(id_next) });
            id_next = id_next.next();
        }
        sync_directory(self.environment, &self.logs_directory).await?;
        let retired: Vec<_> = logs.split_off(cores).into_iter().map(|log| log.directory).collect();
        let mut starts: Vec<CoreStart<E>> =
            logs.into_iter().map(|log| self.core_start(log, identity.incarnation)).collect();
        for parts in partitions {
            let core = usize::from(core_of(parts.manifest.partition, self.options.cores));
            self.bring_stream(&mut starts[core].log, &parts);
            starts[core].partitions.push(parts);
        }
        // Everything is attached durably where it belongs before it is detached anywhere.
        for start in &mut starts {
            self.drive_log(start).await?;
        }
        for start in &mut starts {
            let owned: Vec<_> = start.partitions.iter().map(|parts| parts.manifest.stream).collect();
            start.log.detach_others(&owned);
            self.drive_log(start).await?;
        }
        for directory in retired {
            self.retire_log(&directory).await?;
        }
        Ok(starts)
    }

    fn core_start(&self, log: FoundLog<E::File>, incarnation: u64) -> CoreStart<E> {
        let (start, _) = log.recovered.into_start(incarnation, self.log_mode);
        let options = self.options.store;
        CoreStart {
            options,
            is_replicated: self.options.membership.is_some(),
            log_directory: log.directory,
            log: LogWriter::new(start, options.log, self.environment.random_u64()),
            partitions: Vec::new(),
        }
    }

    fn bring_stream(&mut self, log: &mut LogWriter<E::File>, parts: &PartitionParts<E>) {
        let id = parts.manifest.stream;
        let Some(found) = &parts.stream else {
            log.attach(StreamState::new(id, crate::ids::StreamEpoch(1)));
            return;
        };
        if log.stream(id).is_some_and(|here| here.epoch == found.state.epoch) {
            if found.is_replaced {
                log.reset(id, parts.manifest.flushed);
            } else {
                log.forget(id, parts.manifest.flushed);
            }
            return;
        }
        self.report.streams_moved += 1;
        let state = StreamState {
            epoch: found.state.epoch.next(),
            truncated: parts.manifest.flushed,
            flushed: parts.manifest.flushed,
            ..found.state.clone()
        };
        log.drop_stale(id);
        for entry in found.entries.values() {
            log.rewrite(id, state.epoch, entry.position, &entry.payload);
        }
        log.attach(state);
    }

    /// Writes what waits in a log, with the segments that it takes.
    async fn drive_log(&self, start: &mut CoreStart<E>) -> Result<()> {
        let environment = self.environment;
        while !start.log.is_idle() {
            if let Some((number, size_bytes)) = start.log.next_segment_to_prepare(SegmentBound::Exceed) {
                let file = prepare_segment(environment, &start.log_directory, number, size_bytes).await?;
                start.log.add_segment(file);
            }
            let mut write = start.log.start_write().expect("a log at its start always finds a segment");
            let buffer = std::mem::take(&mut write.buffer);
            let (mut result, buffer) = environment.write_at(&write.file, buffer, write.offset).await;
            write.buffer = buffer;
            if result.is_ok() && write.mode == LogMode::BufferedThenSync {
                result = environment.sync_data(&write.file).await;
            }
            start.log.finish_write(write, result)?;
        }
        Ok(())
    }

    /// A log that no core uses any more: its name goes first, durably, so that half of it is never read.
    async fn retire_log(&self, directory: &Path) -> Result<()> {
        let name =
            directory.file_name().and_then(|name| name.to_str()).expect("a log's directory is named by its number");
        let retired = self.logs_directory.join(format!("{name}{RETIRED_SUFFIX}"));
        self.environment.rename(directory, &retired).await.map_err(|error| Error::io("rename", directory, error))?;
        sync_directory(self.environment, &self.logs_directory).await?;
        remove_log(self.environment, &retired).await
    }
}

/// A directory without identity may hold what a first start left that did not come to its end, and nothing of anybody else.
async fn check_is_ours<E: Environment>(environment: &E, directory: &Path) -> Result<()> {
    // The last is there at the root of a file system.
    const EXPECTED: [&str; 4] = [LOCK_FILE_NAME, LOGS_DIRECTORY, PARTITIONS_DIRECTORY, "lost+found"];
    let names = environment.list_directory(directory).await.map_err(|error| Error::io("list", directory, error))?;
    let is_foreign = |name: &&String| !EXPECTED.contains(&name.as_str()) && !name.starts_with(IDENTITY_FILE_NAME);
    match names.iter().find(is_foreign) {
        None => Ok(()),
        Some(name) => {
            let message =
                format!("this directory holds {name:?} and no data of corelode: choose another, or an empty one");
            Err(Error::Mismatch { path: directory.to_path_buf(), message })
        }
    }
}

/// A directory without identity was never opened to its end: nothing was written to it, or its identity was lost.
fn check_is_empty<E: Environment>(
    directory: &Path,
    partitions: &[PartitionParts<E>],
    logs: &[FoundLog<E::File>],
) -> Result<()> {
    let has_tables = partitions.iter().any(|parts| parts.manifest.version > 0);
    let streams = || logs.iter().flat_map(|log| log.recovered.streams.values());
    if has_tables || streams().any(|stream| stream.state.last.index.0 > 0) {
        let path = directory.join(IDENTITY_FILE_NAME);
        return Err(Error::corruption(&path, 0, "the identity is missing, but the directory holds data"));
    }
    Ok(())
}

/// Logs and manifests name the incarnation of the directory that they were written in: one out of another directory is refused.
fn check_belongs<E: Environment>(
    identity: &Identity,
    partitions: &mut [PartitionParts<E>],
    logs: &[FoundLog<E::File>],
) -> Result<()> {
    let foreign = |path: &Path, found: u64| {
        let message = format!(
            "this was written in the data directory of incarnation {found:016x}, and this one's is {:016x}: it was put here from another directory",
            identity.incarnation
        );
        Err(Error::corruption(path, 0, message))
    };
    for log in logs {
        match log.recovered.incarnation {
            Some(found) if found != identity.incarnation => return foreign(&log.directory, found),
            _ => {}
        }
    }
    for PartitionParts { manifest, directory, .. } in partitions {
        if manifest.version == 0 {
            manifest.incarnation = identity.incarnation;
        } else if manifest.incarnation != identity.incarnation {
            return foreign(&directory.join(crate::manifest::MANIFEST_FILE_NAME), manifest.incarnation);
        }
    }
    Ok(())
}

fn flushed_of<E: Environment>(partitions: &[PartitionParts<E>], stream: StreamId) -> LogPosition {
    let index = usize::try_from(stream.0).unwrap_or(usize::MAX);
    partitions.get(index).map(|parts| parts.manifest.flushed).unwrap_or_default()
}

async fn remove_log<E: Environment>(environment: &E, directory: &Path) -> Result<()> {
    let names = environment.list_directory(directory).await.map_err(|error| Error::io("list", directory, error))?;
    for name in names {
        let path = directory.join(name);
        environment.remove_file(&path).await.map_err(|error| Error::io("remove", &path, error))?;
    }
    environment.remove_directory(directory).await.map_err(|error| Error::io("remove", directory, error))
}

/// Makes a directory, durable with its name.
async fn create_directory<E: Environment>(environment: &E, directory: &Path) -> Result<()> {
    environment.create_directory(directory).await.map_err(|error| Error::io("create", directory, error))?;
    match directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => sync_directory(environment, parent).await,
        None => sync_directory(environment, Path::new(".")).await,
    }
}

async fn sync_directory<E: Environment>(environment: &E, directory: &Path) -> Result<()> {
    environment.sync_directory(directory).await.map_err(|error| Error::io("sync", directory, error))
}
