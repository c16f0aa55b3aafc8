//! One simulated machine's disk with its faults: every operation is a step that is counted, recorded, and may fail or be the last.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::content::{ChangeSequence, InFlightWrite};
use super::directory::Inode;
use super::disk::{self, Disk};
use super::file::{MapShared, SimulatedDirectoryLock, SimulatedFile, SimulatedMap};
use super::image::{CrashPolicy, DiskImage};
use super::options::{CrashPoint, InjectedError, Residency, SimulationOptions};
use super::random::Random;
use super::step::{PathClass, Step, StepCounts, StepKind, StepOutcome, Trace};
use crate::env::thread::LOCK_FILE_NAME;
use crate::env::{OpenMode, direct};

/// The world ended: what every operation says at the crash and after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SimulatedCrash;

impl fmt::Display for SimulatedCrash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the simulated machine has crashed")
    }
}

impl std::error::Error for SimulatedCrash {}

/// Whether an error is that of a world which ended.
#[must_use]
pub fn is_simulated_crash(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|source| source.is::<SimulatedCrash>())
}

/// Sees every step before it takes effect, with the disk as a crash at this step would find it.
pub(super) type StepObserver = Box<dyn FnMut(&Step, &DiskAtStep<'_>)>;

/// The disk at a step that has not taken effect.
pub struct DiskAtStep<'world> {
    disk: &'world Disk,
}

impl DiskAtStep<'_> {
    /// The disk that a crash at this step leaves.
    #[must_use]
    pub fn crash_image(&self, policy: CrashPolicy, seed: u64) -> DiskImage {
        DiskImage { disk: self.disk.after_crash(policy, seed) }
    }

    /// The disk as the next process finds it if this one is killed now and the machine goes on: complete, but no more durable than it was,
    /// so that a later crash of the machine may still lose what was never synced.
    #[must_use]
    pub fn kill_image(&self) -> DiskImage {
        DiskImage { disk: self.disk.after_kill() }
    }
}

/// What a sync that was asked for covers: later writes it does not.
pub(super) struct StartedSync<T> {
    target: T,
    covered: ChangeSequence,
}

/// What an operation is done to, for counting and recording it.
struct Subject<'path> {
    path: &'path Path,
    class: PathClass,
    offset: u64,
    length: u64,
}

impl<'path> Subject<'path> {
    fn file(path: &'path Path) -> Self {
        Self::bytes(path, 0, 0)
    }

    fn bytes(path: &'path Path, offset: u64, length: usize) -> Self {
        Self { path, class: PathClass::of_file(path), offset, length: length as u64 }
    }

    fn directory(path: &'path Path) -> Self {
        Self { path, class: PathClass::Directory, offset: 0, length: 0 }
    }
}

pub(super) struct World {
    id: u64,
    pub(super) disk: Disk,
    pub(super) options: SimulationOptions,
    pub(super) random: Random,
    pub(super) observer: Option<StepObserver>,
    pub(super) counts: StepCounts,
    pub(super) trace: Trace,
    pub(super) page_in_fails: Arc<AtomicBool>,
    crashed: bool,
    steps: u64,
    changes: u64,
    handles: BTreeMap<Inode, Arc<()>>,
    maps: BTreeMap<Inode, Vec<Weak<MapShared>>>,
    locks: BTreeMap<PathBuf, Weak<()>>,
}

impl World {
    pub(super) fn new(id: u64, options: SimulationOptions, disk: Disk) -> Self {
        Self {
            id,
            disk,
            // Another stream of numbers than that of the executor.
            random: Random::new(options.seed ^ id.rotate_left(32)),
            trace: Trace::new(options.trace_length_max),
            options,
            observer: None,
            counts: StepCounts::default(),
            page_in_fails: Arc::default(),
            crashed: false,
            steps: 0,
            changes: 0,
            handles: BTreeMap::new(),
            maps: BTreeMap::new(),
            locks: BTreeMap::new(),
        }
    }

    pub(super) fn is_crashed(&self) -> bool {
        self.crashed
    }

    pub(super) fn crash(&mut self) {
        self.crashed = true;
    }

    /// Counts and records a step, and says why it must not take effect, if so.
    fn step(&mut self, now: Duration, kind: StepKind, subject: &Subject<'_>) -> io::Result<()> {
        if self.crashed {
            return Err(io::Error::other(SimulatedCrash));
        }
        let &Subject { path, class, offset, length } = subject;
        let mut step = Step {
            index: self.steps,
            at: now,
            kind,
            class,
            path: path.to_path_buf(),
            offset,
            length,
            outcome: StepOutcome::Carried,
        };
        if let Some(observer) = &mut self.observer {
            observer(&step, &DiskAtStep { disk: &self.disk });
        }
        self.crashed = match self.options.faults.crash {
            Some(CrashPoint::Step(index)) => index == self.steps,
            Some(CrashPoint::Change(index)) => kind.is_change() && index == self.changes,
            None => false,
        };
        self.steps += 1;
        self.changes += u64::from(kind.is_change());
        self.counts.add(class, kind);
        let result = if self.crashed {
            step.outcome = StepOutcome::Crashed;
            Err(io::Error::other(SimulatedCrash))
        } else if let Some(error) = self.injected_error(kind, class) {
            step.outcome = StepOutcome::Failed;
            Err(error)
        } else {
            Ok(())
        };
        self.trace.record(step);
        result
    }

    fn injected_error(&mut self, kind: StepKind, class: PathClass) -> Option<io::Error> {
        let matches = |error: &InjectedError| error.kind == kind && error.class.is_none_or(|wanted| wanted == class);
        let mut due = None;
        for (position, error) in self.options.faults.errors.iter_mut().enumerate().filter(|(_, error)| matches(error)) {
            match error.after.checked_sub(1) {
                Some(after) => error.after = after,
                None => due = due.or(Some(position)),
            }
        }
        due.map(|position| self.options.faults.errors.remove(position).failure.to_error())
    }

    fn check_own(&self, file: &SimulatedFile) {
        assert_eq!(file.world, self.id, "{} was opened in another world, before a crash say", file.path.display());
    }

    /// Catches what the engine promises never to do to a file that is mapped.
    fn check_unmapped(&mut self, file: &SimulatedFile, operation: &str) {
        if let Some(maps) = self.maps.get_mut(&file.inode) {
            maps.retain(|map| map.strong_count() > 0);
            assert!(maps.is_empty(), "{operation} of {} while it is mapped", file.path.display());
        }
    }

    fn check_space(&self, file: &SimulatedFile, end: u64) -> io::Result<()> {
        let Some(capacity) = self.options.capacity_bytes else { return Ok(()) };
        let growth = end.saturating_sub(self.disk.content(file.inode).length());
        if growth > 0 && self.disk.size_bytes() + growth > capacity {
            return Err(disk::error(libc::ENOSPC));
        }
        Ok(())
    }

    fn collect_garbage(&mut self) {
        self.handles.retain(|_, handle| Arc::strong_count(handle) > 1);
        self.disk.collect_garbage(|inode| self.handles.contains_key(&inode));
    }

    pub(super) fn open(&mut self, now: Duration, path: &Path, mode: OpenMode) -> io::Result<SimulatedFile> {
        let creates = matches!(mode, OpenMode::Create | OpenMode::CreateDirect);
        let kind = if creates { StepKind::Create } else { StepKind::Open };
        self.step(now, kind, &Subject::file(path))?;
        let inode = if creates { self.disk.create_file(path)? } else { self.disk.find_file(path)? };
        Ok(SimulatedFile {
            world: self.id,
            inode,
            mode,
            log_mode: self.options.log_mode,
            path: Arc::from(path),
            _handle: Arc::clone(self.handles.entry(inode).or_default()),
        })
    }

    pub(super) fn file_length(&mut self, now: Duration, file: &SimulatedFile) -> io::Result<u64> {
        self.check_own(file);
        self.step(now, StepKind::FileLength, &Subject::file(&file.path))?;
        Ok(self.disk.content(file.inode).length())
    }

    pub(super) fn read(
        &mut self,
        now: Duration,
        file: &SimulatedFile,
        buffer: &mut [u8],
        offset: u64,
    ) -> io::Result<usize> {
        self.check_own(file);
        self.step(now, StepKind::Read, &Subject::bytes(&file.path, offset, buffer.len()))?;
        if file.is_direct() {
            direct::check_alignment("read", offset, buffer.len())?;
        }
        Ok(self.disk.content(file.inode).read(buffer, offset))
    }

    /// A write to a file that is not the log's: it takes effect in one step.
    pub(super) fn write(&mut self, now: Duration, file: &SimulatedFile, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.check_write(file, bytes, offset)?;
        self.step(now, StepKind::Write, &Subject::bytes(&file.path, offset, bytes.len()))?;
        self.check_space(file, offset + bytes.len() as u64)?;
        self.disk.content_mut(file.inode).write(bytes, offset);
        Ok(())
    }

    fn check_write(&mut self, file: &SimulatedFile, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.check_own(file);
        self.check_unmapped(file, "a write");
        if file.is_direct() {
            direct::check_alignment("write", offset, bytes.len())?;
        }
        if file.is_writable() { Ok(()) } else { Err(disk::error(libc::EBADF)) }
    }

    /// The first step of a write of the log.
    pub(super) fn start_log_write(
        &mut self,
        now: Duration,
        file: &SimulatedFile,
        bytes: &[u8],
        offset: u64,
    ) -> io::Result<InFlightWrite> {
        self.check_write(file, bytes, offset)?;
        self.step(now, StepKind::LogWriteStart, &Subject::bytes(&file.path, offset, bytes.len()))?;
        self.check_space(file, offset + bytes.len() as u64)?;
        Ok(self.disk.content_mut(file.inode).start_write(bytes, offset))
    }

    /// The second. If it fails, what the write left on the disk stays open for ever.
    pub(super) fn end_log_write(
        &mut self,
        now: Duration,
        file: &SimulatedFile,
        write: InFlightWrite,
        bytes: &[u8],
        offset: u64,
    ) -> io::Result<()> {
        self.step(now, StepKind::LogWriteEnd, &Subject::bytes(&file.path, offset, bytes.len()))?;
        self.disk.content_mut(file.inode).end_write(write, file.is_direct());
        Ok(())
    }

    /// A sync is asked for. Not a step: it changes nothing yet.
    pub(super) fn start_sync_data(&self, file: &SimulatedFile) -> StartedSync<Inode> {
        self.check_own(file);
        StartedSync { target: file.inode, covered: self.disk.content(file.inode).sequence() }
    }

    pub(super) fn end_sync_data(
        &mut self,
        now: Duration,
        file: &SimulatedFile,
        sync: &StartedSync<Inode>,
    ) -> io::Result<()> {
        let result = self.step(now, StepKind::SyncData, &Subject::file(&file.path));
        match &result {
            Ok(()) => self.disk.content_mut(sync.target).sync(sync.covered),
            Err(_) if self.crashed => {}
            Err(_) => self.disk.content_mut(sync.target).sync_failed(sync.covered),
        }
        result
    }

    pub(super) fn set_length(&mut self, now: Duration, file: &SimulatedFile, length: u64) -> io::Result<()> {
        self.check_own(file);
        self.check_unmapped(file, "a change of length");
        if !file.is_writable() {
            return Err(disk::error(libc::EINVAL));
        }
        self.step(now, StepKind::SetLength, &Subject { length, ..Subject::file(&file.path) })?;
        self.check_space(file, length)?;
        self.disk.content_mut(file.inode).set_length(length);
        Ok(())
    }

    pub(super) fn map(&mut self, now: Duration, file: &SimulatedFile, length: u64) -> io::Result<SimulatedMap> {
        self.check_own(file);
        self.step(now, StepKind::Map, &Subject { length, ..Subject::file(&file.path) })?;
        let bytes = self.disk.content(file.inode).bytes();
        if bytes.len() as u64 != length || length == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("the file to map has {} bytes, {length} were expected", bytes.len()),
            ));
        }
        let random = &mut self.random;
        let resident = || match self.options.residency {
            Residency::All => true,
            Residency::None => false,
            Residency::Random => random.chance(50),
        };
        let shared = Arc::new(MapShared::new(bytes, resident, Arc::clone(&self.page_in_fails)));
        self.maps.entry(file.inode).or_default().push(Arc::downgrade(&shared));
        Ok(SimulatedMap { shared })
    }

    /// Takes the pages of all maps out of memory.
    pub(super) fn evict_maps(&self) {
        for map in self.maps.values().flatten().filter_map(Weak::upgrade) {
            map.evict();
        }
    }

    /// Makes the one directory, unless it is there. A file that stands where a parent should is left to trouble the child.
    pub(super) fn create_directory(&mut self, now: Duration, path: &Path, is_parent: bool) -> io::Result<()> {
        if !self.crashed && self.disk.find(path).is_ok() && (is_parent || self.disk.list(path).is_ok()) {
            return Ok(());
        }
        self.step(now, StepKind::CreateDirectory, &Subject::directory(path))?;
        self.disk.create_directory(path).map(drop)
    }

    pub(super) fn list_directory(&mut self, now: Duration, path: &Path) -> io::Result<Vec<String>> {
        self.step(now, StepKind::ListDirectory, &Subject::directory(path))?;
        self.disk.list(path)
    }

    /// As [`start_sync_data`](Self::start_sync_data).
    pub(super) fn start_sync_directory(&self, path: &Path) -> io::Result<StartedSync<Inode>> {
        let (target, covered) = self.disk.start_sync_directory(path)?;
        Ok(StartedSync { target, covered })
    }

    pub(super) fn end_sync_directory(
        &mut self,
        now: Duration,
        path: &Path,
        sync: io::Result<StartedSync<Inode>>,
    ) -> io::Result<()> {
        self.step(now, StepKind::SyncDirectory, &Subject::directory(path))?;
        let StartedSync { target, covered } = sync?;
        self.disk.end_sync_directory(target, covered);
        self.collect_garbage();
        Ok(())
    }

    pub(super) fn rename(&mut self, now: Duration, from: &Path, to: &Path) -> io::Result<()> {
        self.step(now, StepKind::Rename, &Subject::file(to))?;
        self.disk.rename(from, to)
    }

    pub(super) fn remove_file(&mut self, now: Duration, path: &Path) -> io::Result<()> {
        self.step(now, StepKind::RemoveFile, &Subject::file(path))?;
        self.disk.remove_file(path)
    }

    pub(super) fn remove_directory(&mut self, now: Duration, path: &Path) -> io::Result<()> {
        self.step(now, StepKind::RemoveDirectory, &Subject::directory(path))?;
        self.disk.remove_directory(path)
    }

    pub(super) fn try_lock(&mut self, now: Duration, path: &Path) -> io::Result<SimulatedDirectoryLock> {
        self.step(now, StepKind::Lock, &Subject::directory(path))?;
        let held = self.locks.entry(path.to_path_buf()).or_default();
        if held.strong_count() > 0 {
            return Err(io::Error::new(io::ErrorKind::WouldBlock, format!("{} is held", path.display())));
        }
        match self.disk.create_file(&path.join(LOCK_FILE_NAME)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let lock = Arc::new(());
        *held = Arc::downgrade(&lock);
        Ok(SimulatedDirectoryLock { _held: lock })
    }
}
