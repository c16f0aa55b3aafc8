//! Crashing at every step: a run is observed, and before each of its steps every disk that a crash there may leave is checked.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use corelode_engine::data_directory::OpenOptions;
use corelode_engine::env::simulated::{
    CrashPolicy, DiskAtStep, DiskImage, PathClass, SimulatedEnvironment, SimulationOptions, Step, StepKind,
};
use corelode_engine::ids::PartitionId;

use super::workload::sentence;
use super::{History, Node};

pub const DIRECTORY: &str = "/data";

/// Keeps freed memory for use again. An enumeration makes and drops thousands of machines, and returning their memory to the kernel took
/// two thirds of its time.
pub fn keep_freed_memory() {
    const BYTES: libc::c_int = 256 * 1024 * 1024;
    // SAFETY: these calls only set parameters of the allocator.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, BYTES);
        libc::mallopt(libc::M_TRIM_THRESHOLD, BYTES);
        libc::mallopt(libc::M_TOP_PAD, BYTES / 4);
    }
}

/// How many of all crashes are tried.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Every how many changes of the disk.
    pub stride: u64,
    /// The first changes of each kind of work are tried in any case.
    pub first: u64,
    /// Seeds of each policy that leaves something to chance.
    pub seeds: u64,
}

impl Extent {
    /// All of them if `CORELODE_TEST_CRASH_STEPS=all`, else as given.
    pub fn or_all(self) -> Self {
        Self { seeds: self.seeds.max(4), ..self.or_every(1) }.if_all(self)
    }

    /// More of them if `CORELODE_TEST_CRASH_STEPS=all`, else as given.
    pub fn or_every(self, stride: u64) -> Self {
        Self { stride, ..self }.if_all(self)
    }

    fn if_all(self, otherwise: Self) -> Self {
        let is_all = std::env::var("CORELODE_TEST_CRASH_STEPS").is_ok_and(|value| value == "all");
        if is_all { self } else { otherwise }
    }

    fn policies(self) -> impl Iterator<Item = (CrashPolicy, u64)> {
        let seeds = move |policy: CrashPolicy| if policy.is_random() { self.seeds } else { 1 };
        CrashPolicy::ALL.into_iter().flat_map(move |policy| (0..seeds(policy)).map(move |seed| (policy, seed)))
    }
}

/// The parts of the engine's work that a crash can fall into.
#[allow(missing_docs, reason = "the names say it")]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Work {
    LogWrite,
    SegmentOpen,
    SegmentRecycle,
    SegmentPrepare,
    TableWrite,
    ManifestTemporary,
    ManifestRename,
    ManifestDirectorySync,
    TableRemoval,
    LogRetire,
    Other,
}

/// What was crashed.
#[derive(Clone, Default, Debug)]
pub struct Coverage {
    /// Steps at which the machine crashed, by the work they are part of.
    pub steps: BTreeMap<Work, u64>,
    /// Steps that change nothing on the disk: a crash there is one at the next change.
    pub steps_without_change: u64,
    /// Disks that were recovered and checked.
    pub images: u64,
    segments_opened: BTreeSet<PathBuf>,
    failure: Option<String>,
}

impl Coverage {
    fn classify(&mut self, step: &Step) -> Work {
        let path = step.path.to_string_lossy();
        match (step.class, step.kind) {
            (PathClass::Log, StepKind::LogWriteStart) if step.offset == 0 => {
                if self.segments_opened.insert(step.path.clone()) { Work::SegmentOpen } else { Work::SegmentRecycle }
            }
            (PathClass::Log, StepKind::LogWriteStart | StepKind::LogWriteEnd) => Work::LogWrite,
            (PathClass::Log, StepKind::RemoveFile) if path.contains(".retired") => Work::LogRetire,
            (PathClass::Log, StepKind::Rename) if path.contains(".retired") => Work::LogRetire,
            (PathClass::Directory, StepKind::RemoveDirectory) => Work::LogRetire,
            (PathClass::Log, _) => Work::SegmentPrepare,
            (PathClass::Table, StepKind::RemoveFile) => Work::TableRemoval,
            (PathClass::Table, _) => Work::TableWrite,
            (PathClass::Manifest, StepKind::Rename) => Work::ManifestRename,
            (PathClass::Manifest, _) => Work::ManifestTemporary,
            (PathClass::Directory, StepKind::SyncDirectory) if path.contains("/partitions/") => {
                Work::ManifestDirectorySync
            }
            _ => Work::Other,
        }
    }

    /// # Panics
    /// If a part of the work was not crashed.
    pub fn assert_covers(&self, parts: &[Work]) {
        for part in parts {
            assert!(self.steps.contains_key(part), "no crash fell into {part:?}: {self}");
        }
    }

    /// Adds what another run covered.
    pub fn add(&mut self, other: &Self) {
        self.images += other.images;
        self.steps_without_change += other.steps_without_change;
        for (&part, count) in &other.steps {
            *self.steps.entry(part).or_default() += count;
        }
    }

    pub fn steps_total(&self) -> u64 {
        self.steps.values().sum()
    }

    /// Prints a line for each figure that a report may want.
    #[allow(clippy::print_stdout, reason = "a report reads these lines")]
    pub fn print(&self, name: &str) {
        for (part, count) in &self.steps {
            println!("CORELODE-FIGURE {name}_{part:?}={count}");
        }
        println!("CORELODE-FIGURE {name}_steps={}", self.steps_total());
        println!("CORELODE-FIGURE {name}_steps_without_change={}", self.steps_without_change);
        println!("CORELODE-FIGURE {name}_images={}", self.images);
    }

    /// The first failure.
    ///
    /// # Errors
    /// If there was one.
    pub fn result(&self) -> Result<(), String> {
        self.failure.clone().map_or(Ok(()), Err)
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} disks at {:?}", self.images, self.steps)
    }
}

/// Checks every disk that a crash at any coming step of `environment` may leave; the first failure ends the checking.
pub fn crash_everywhere(
    environment: &SimulatedEnvironment,
    extent: Extent,
    mut check: impl FnMut(&DiskImage) -> Result<(), String> + 'static,
) -> Rc<RefCell<Coverage>> {
    visit_steps(environment, extent, move |step, disk, images| {
        extent.policies().try_for_each(|(policy, seed)| {
            *images += 1;
            // Each step has dice of its own.
            let image = disk.crash_image(policy, step.index.wrapping_mul(0x9e37_79b9) ^ seed);
            check(&image).map_err(|message| format!("crash at [{step}] as {policy:?} with seed {seed}: {message}"))
        })
    })
}

/// Checks the disk that the next process finds if this one is killed at any coming step and the machine goes on.
pub fn kill_everywhere(
    environment: &SimulatedEnvironment,
    extent: Extent,
    mut check: impl FnMut(&DiskImage) -> Result<(), String> + 'static,
) -> Rc<RefCell<Coverage>> {
    visit_steps(environment, extent, move |step, disk, images| {
        *images += 1;
        check(&disk.kill_image()).map_err(|message| format!("kill at [{step}]: {message}"))
    })
}

fn visit_steps(
    environment: &SimulatedEnvironment,
    extent: Extent,
    mut visit: impl FnMut(&Step, &DiskAtStep<'_>, &mut u64) -> Result<(), String> + 'static,
) -> Rc<RefCell<Coverage>> {
    keep_freed_memory();
    let coverage = Rc::new(RefCell::new(Coverage::default()));
    let shared = Rc::clone(&coverage);
    let mut changes = 0_u64;
    let mut seen = BTreeMap::new();
    environment.observe_steps(move |step, disk| {
        let coverage = &mut *shared.borrow_mut();
        let work = coverage.classify(step);
        if coverage.failure.is_some() {
            return;
        }
        if !step.kind.is_change() {
            coverage.steps_without_change += 1;
            return;
        }
        // Rare work is crashed at its first steps whatever the stride.
        let nth = *seen.entry(work).and_modify(|count| *count += 1).or_insert(1);
        changes += 1;
        if nth > extent.first && !changes.is_multiple_of(extent.stride) {
            return;
        }
        *coverage.steps.entry(work).or_default() += 1;
        coverage.failure = visit(step, disk, &mut coverage.images).err();
    });
    coverage
}

/// The machine after a crash. Its randomness is not that of the machine before: tables and segments tell their lives apart by it.
pub fn machine_after_crash(image: &DiskImage) -> SimulatedEnvironment {
    thread_local!(static LIVES: Cell<u64> = const { Cell::new(1_000) });
    let seed = LIVES.replace(LIVES.get() + 1);
    SimulatedEnvironment::with_disk(SimulationOptions { seed, ..SimulationOptions::in_order() }, image)
}

/// Opens what a crash left, checks it, writes more, closes, and finds the same again.
pub fn recover_and_check(image: &DiskImage, options: OpenOptions, history: &History) -> Result<(), String> {
    let history = history.fork();
    let environment = machine_after_crash(image);
    let result = environment.run_until(async {
        let mut node = open_and_check(&environment, options, &history).await?;
        write_a_little(&mut node).await?;
        history.check(&mut node).await.map_err(|message| format!("after more writes: {message}"))?;
        node.mark_logs().await.map_err(sentence)?;
        drop(node);
        let again = open_and_check(&environment, options, &history).await;
        again.map(drop).map_err(|message| format!("at the second start: {message}"))
    });
    result.expect("no crash was planned")
}

/// Opens, and checks what is found.
pub async fn open_and_check(
    environment: &SimulatedEnvironment,
    options: OpenOptions,
    history: &History,
) -> Result<Node<SimulatedEnvironment>, String> {
    let directory = Path::new(DIRECTORY);
    let mut node = Node::open_with(environment, directory, options, history).await.map_err(sentence)?;
    history.check(&mut node).await?;
    Ok(node)
}

/// Writes to each partition, until it is durable.
pub async fn write_a_little(node: &mut Node<SimulatedEnvironment>) -> Result<(), String> {
    for number in 0..node.partition_count {
        let (partition, key) = (PartitionId(number), format!("key-{number:02}").into_bytes());
        node.put(partition, &key, b"after the crash").await.map_err(sentence)?;
        node.delete(partition, b"key-05").await.map_err(sentence)?;
    }
    node.settle().await.map_err(sentence)
}
