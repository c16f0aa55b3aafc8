//! A deterministic machine: its disk, its clock and its tasks, on one thread and from one seed.
//!
//! The disk keeps the promises written in [`env`](super) and no others. It counts every operation as a *step*, can fail any of
//! them, and can end the world at any; [`crash_image`](SimulatedEnvironment::crash_image) then tells which disk the next start
//! finds, under a [`CrashPolicy`]. It also catches the engine breaking its own promises: a change to a file that is mapped,
//! and the use of a file from before a crash, panic.
//!
//! Two ways to use it. Exhaustively: [`SimulationOptions::in_order`] completes every operation at once in a fixed order;
//! run a scenario with a crash at each of its steps, or once with [`observe_steps`](SimulatedEnvironment::observe_steps).
//! At random: [`SimulationOptions::new`] lets operations overlap as a seed has it.
//!
//! ```
//! use corelode_engine::env::simulated::{CrashPolicy, SimulatedEnvironment, SimulationOptions};
//! use corelode_engine::env::{Environment, OpenMode};
//! use corelode_engine::io_buffer::IoBuffer;
//!
//! let environment = SimulatedEnvironment::new(SimulationOptions::new(42));
//! environment.run_until(async {
//!     let file = environment.open("/file".as_ref(), OpenMode::Create).await.unwrap();
//!     environment.write_at(&file, IoBuffer::from(&b"bytes"[..]), 0).await.0.unwrap();
//!     environment.sync_data(&file).await.unwrap();
//! })?;
//! let image = environment.crash_image(CrashPolicy::DropUnsynced, 0);
//! assert!(image.read("/file").is_err(), "the name was never synced");
//! # Ok::<(), corelode_engine::env::simulated::SimulatedCrash>(())
//! ```

mod content;
mod directory;
mod disk;
mod executor;
mod file;
mod image;
mod options;
mod random;
mod step;
#[cfg(test)]
mod tests;
mod world;

use std::cell::{RefCell, RefMut};
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

pub use executor::Simulation;
pub use file::{SimulatedDirectoryLock, SimulatedFile, SimulatedMap};
pub use image::{CrashPolicy, Damage, DiskImage};
pub use options::{Completion, CrashPoint, Failure, FaultPlan, InjectedError, Residency, SimulationOptions};
pub use random::Random;
pub use step::{PathClass, Step, StepCounts, StepKind, StepOutcome};
pub use world::{DiskAtStep, SimulatedCrash, is_simulated_crash};

use super::thread::YieldNow;
use super::{Environment, LogMode, OpenMode};
use crate::io_buffer::IoBuffer;
use executor::Owner;
use world::World;

const LOCK_RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// A simulated machine. Clones are the same one.
#[derive(Clone)]
pub struct SimulatedEnvironment {
    simulation: Simulation,
    owner: Owner,
    completion: Completion,
    world: Rc<RefCell<World>>,
}

impl SimulatedEnvironment {
    /// A machine with an empty disk, a simulation of its own.
    #[must_use]
    pub fn new(options: SimulationOptions) -> Self {
        Self::with_disk(options, &DiskImage::empty())
    }

    /// A machine that starts with what a crash left.
    #[must_use]
    pub fn with_disk(options: SimulationOptions, image: &DiskImage) -> Self {
        let simulation = match options.completion {
            Completion::Immediate => Simulation::in_order(),
            Completion::Delayed => Simulation::new(options.seed),
        };
        Self::in_simulation(&simulation, options, image)
    }

    /// One of several machines that share a clock.
    #[must_use]
    pub fn in_simulation(simulation: &Simulation, options: SimulationOptions, image: &DiskImage) -> Self {
        let owner = simulation.new_owner();
        Self {
            simulation: simulation.clone(),
            owner,
            completion: options.completion,
            world: Rc::new(RefCell::new(World::new(owner.0, options, image.disk.clone()))),
        }
    }

    /// Runs a future, and all tasks beside it, until it is done or the machine crashes. The crash ends all its tasks.
    ///
    /// # Errors
    /// If the machine crashed, even if the future ended at the same time.
    ///
    /// # Panics
    /// As [`Simulation::run_until`].
    pub fn run_until<T>(&self, future: impl Future<Output = T>) -> Result<T, SimulatedCrash> {
        let result = self.simulation.run_unless(future, || self.is_crashed());
        if result.is_none() {
            self.simulation.kill(self.owner);
        }
        result.ok_or(SimulatedCrash)
    }

    /// The clock and the tasks.
    #[must_use]
    pub fn simulation(&self) -> &Simulation {
        &self.simulation
    }

    /// Moves the clocks on.
    pub fn advance(&self, duration: Duration) {
        self.simulation.advance(duration);
    }

    /// Sets the wall clock, which may step either way.
    pub fn set_wall_clock_ms(&self, wall_clock_ms: u64) {
        let elapsed_ms = self.elapsed_ms();
        self.world_mut().options.wall_clock_ms = wall_clock_ms.saturating_sub(elapsed_ms);
    }

    /// Ends the world now.
    pub fn crash(&self) {
        self.world_mut().crash();
        self.simulation.kill(self.owner);
    }

    /// Whether the world has ended.
    #[must_use]
    pub fn is_crashed(&self) -> bool {
        self.world.borrow().is_crashed()
    }

    /// The disk that a crash leaves: the one that happened, or one that would happen now.
    #[must_use]
    pub fn crash_image(&self, policy: CrashPolicy, seed: u64) -> DiskImage {
        DiskImage { disk: self.world.borrow().disk.after_crash(policy, seed) }
    }

    /// Lets `observer` see every step before it takes effect, with the disk as a crash at it would find it. A test can
    /// so visit all crash points of one run. It must not use this environment.
    pub fn observe_steps(&self, observer: impl FnMut(&Step, &DiskAtStep<'_>) + 'static) {
        self.world_mut().observer = Some(Box::new(observer));
    }

    /// How many steps there were, by kind and part of the store.
    #[must_use]
    pub fn step_counts(&self) -> StepCounts {
        self.world.borrow().counts.clone()
    }

    /// The latest steps, oldest first, up to the bound in the options.
    #[must_use]
    pub fn trace(&self) -> Vec<Step> {
        self.world.borrow().trace.latest().cloned().collect()
    }

    /// A hash over all steps, equal for two runs that did the same in the same order at the same time.
    #[must_use]
    pub fn trace_hash(&self) -> u64 {
        self.world.borrow().trace.hash()
    }

    /// Adds an error; operations count from now on.
    pub fn inject(&self, error: InjectedError) {
        self.world_mut().options.faults.errors.push(error);
    }

    /// How many times longer than usual operations take from now on.
    pub fn set_slowness(&self, slowness: u32) {
        self.world_mut().options.slowness = slowness;
    }

    /// Sets where the disk is full.
    pub fn set_capacity_bytes(&self, capacity_bytes: Option<u64>) {
        self.world_mut().options.capacity_bytes = capacity_bytes;
    }

    /// Damages a file as a failing disk does; maps made before keep the old bytes.
    ///
    /// # Errors
    /// If there is no such file, or the bit that is to be flipped lies behind its end.
    ///
    /// # Panics
    /// If bytes that are to be zeroed lie behind its end.
    pub fn damage(&self, path: impl AsRef<Path>, damage: Damage) -> io::Result<()> {
        let disk = &mut self.world_mut().disk;
        let inode = disk.find_file(path.as_ref())?;
        let content = disk.content_mut(inode);
        if matches!(damage, Damage::FlipBit { offset, .. } if offset >= content.length()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        content.damage(damage);
        Ok(())
    }

    /// The paths of all files, sorted.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.world.borrow().disk.files()
    }

    /// Takes the pages of all maps out of memory, as the kernel may at any time.
    pub fn evict_maps(&self) {
        self.world.borrow().evict_maps();
    }

    /// Whether paging in shall fail from now on.
    pub fn set_page_in_fails(&self, fails: bool) {
        self.world.borrow().page_in_fails.store(fails, Ordering::Relaxed);
    }

    fn world_mut(&self) -> RefMut<'_, World> {
        self.world.borrow_mut()
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.simulation.now().as_millis()).unwrap_or(u64::MAX)
    }

    /// Waits as long as an operation takes, or only moves the clock on where operations complete at once.
    async fn take_time(&self, usual: Duration) {
        let duration = {
            let mut world = self.world_mut();
            let slowness = world.options.slowness;
            let random = &mut world.random;
            let percent = 50 + u32::try_from(random.below(200)).unwrap_or(0);
            // Now and then a disk takes very long.
            let stall = if random.below(64) == 0 { 16 } else { 1 };
            usual * percent * stall / 100 * slowness
        };
        match self.completion {
            Completion::Immediate => self.simulation.advance(duration),
            Completion::Delayed => self.simulation.sleep(duration).await,
        }
    }

    /// An operation that takes effect in one step, when its time is over.
    async fn perform<T>(
        &self,
        usual: Duration,
        effect: impl FnOnce(&mut World, Duration) -> io::Result<T>,
    ) -> io::Result<T> {
        self.take_time(usual).await;
        effect(&mut self.world_mut(), self.simulation.now())
    }

    async fn write_log(&self, file: &SimulatedFile, bytes: &[u8], offset: u64) -> io::Result<()> {
        let write = self.world_mut().start_log_write(self.simulation.now(), file, bytes, offset)?;
        self.perform(LOG_WRITE, |world, now| world.end_log_write(now, file, write, bytes, offset)).await
    }
}

/// How long operations usually take: names, page cache, disk, log, sync.
const NAME: Duration = Duration::from_micros(20);
const READ: Duration = Duration::from_micros(95);
const WRITE: Duration = Duration::from_micros(60);
const LOG_WRITE: Duration = Duration::from_micros(175);
const SYNC: Duration = Duration::from_micros(500);

impl Environment for SimulatedEnvironment {
    type File = SimulatedFile;
    type Map = SimulatedMap;
    type DirectoryLock = SimulatedDirectoryLock;

    fn monotonic(&self) -> Duration {
        self.simulation.now()
    }

    fn wall_clock_ms(&self) -> u64 {
        self.world.borrow().options.wall_clock_ms + self.elapsed_ms()
    }

    fn random_u64(&self) -> u64 {
        self.world_mut().random.next_u64()
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.simulation.spawn(self.owner, task);
    }

    fn yield_now(&self) -> impl Future<Output = ()> {
        YieldNow::default()
    }

    async fn log_mode(&self, _directory: &Path) -> io::Result<LogMode> {
        Ok(self.world.borrow().options.log_mode)
    }

    async fn open(&self, path: &Path, mode: OpenMode) -> io::Result<SimulatedFile> {
        self.perform(NAME, |world, now| world.open(now, path, mode)).await
    }

    async fn file_length(&self, file: &SimulatedFile) -> io::Result<u64> {
        self.perform(NAME, |world, now| world.file_length(now, file)).await
    }

    async fn read_at(&self, file: &SimulatedFile, mut buffer: IoBuffer, offset: u64) -> (io::Result<usize>, IoBuffer) {
        let result = self.perform(READ, |world, now| world.read(now, file, &mut buffer, offset)).await;
        (result, buffer)
    }

    async fn write_at(&self, file: &SimulatedFile, buffer: IoBuffer, offset: u64) -> (io::Result<()>, IoBuffer) {
        let result = if file.is_log() {
            self.write_log(file, &buffer, offset).await
        } else {
            self.perform(WRITE, |world, now| world.write(now, file, &buffer, offset)).await
        };
        (result, buffer)
    }

    async fn sync_data(&self, file: &SimulatedFile) -> io::Result<()> {
        let sync = self.world.borrow().start_sync_data(file);
        self.perform(SYNC, |world, now| world.end_sync_data(now, file, &sync)).await
    }

    async fn set_length(&self, file: &SimulatedFile, length: u64) -> io::Result<()> {
        self.perform(NAME, |world, now| world.set_length(now, file, length)).await
    }

    async fn map(&self, file: &SimulatedFile, length: u64) -> io::Result<SimulatedMap> {
        self.perform(NAME, |world, now| world.map(now, file, length)).await
    }

    async fn create_directory(&self, path: &Path) -> io::Result<()> {
        let mut ancestors: Vec<_> = path.ancestors().filter(|ancestor| !ancestor.as_os_str().is_empty()).collect();
        while let Some(ancestor) = ancestors.pop() {
            let is_parent = !ancestors.is_empty();
            self.perform(NAME, |world, now| world.create_directory(now, ancestor, is_parent)).await?;
        }
        Ok(())
    }

    async fn list_directory(&self, path: &Path) -> io::Result<Vec<String>> {
        self.perform(NAME, |world, now| world.list_directory(now, path)).await
    }

    async fn sync_directory(&self, path: &Path) -> io::Result<()> {
        let sync = self.world.borrow().start_sync_directory(path);
        self.perform(SYNC, |world, now| world.end_sync_directory(now, path, sync)).await
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.perform(NAME, |world, now| world.rename(now, from, to)).await
    }

    async fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.perform(NAME, |world, now| world.remove_file(now, path)).await
    }

    async fn remove_directory(&self, path: &Path) -> io::Result<()> {
        self.perform(NAME, |world, now| world.remove_directory(now, path)).await
    }

    async fn lock_directory(&self, path: &Path, patience: Duration) -> io::Result<SimulatedDirectoryLock> {
        let deadline = self.simulation.now() + patience;
        loop {
            match self.perform(NAME, |world, now| world.try_lock(now, path)).await {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && self.simulation.now() < deadline => {
                    self.simulation.sleep(LOCK_RETRY_INTERVAL).await;
                }
                result => return result,
            }
        }
    }
}
