//! Runs seeds for as long as it is told, goes on where it was stopped, and writes down what it covered.
//!
//! ```text
//! simulate --record FILE [--seconds N] [--seeds N] [--first SEED] [--jobs N]
//! ```

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a developer's tool speaks on standard output")]

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use corelode_raft::marks::Mark;
use corelode_simulator::run::{Report, Scenario};

/// Every so many seeds are run twice, and must do the same.
const TWICE_EVERY: u64 = 20;
/// What is covered is written down so often.
const RECORD_INTERVAL: Duration = Duration::from_secs(10);

struct Arguments {
    record: PathBuf,
    seconds: u64,
    seeds: u64,
    first: Option<u64>,
    jobs: u64,
}

const USAGE: &str = "usage: simulate --record FILE [--seconds N] [--seeds N] [--first SEED] [--jobs N]";

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(message) => {
            eprintln!("simulate: {message}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let record = Record::read(&arguments.record);
    let first = arguments.first.unwrap_or_else(|| record.get("next_seed").max(1));
    let work = Work {
        next: AtomicU64::new(first),
        first,
        begun: Instant::now(),
        failed: AtomicBool::new(false),
        progress: Mutex::new(Progress { record, done: BTreeSet::new(), next: first, written: Instant::now() }),
    };
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs {
            scope.spawn(|| work.run(&arguments));
        }
    });
    let mut progress = work.progress.into_inner().expect("no thread panics while it holds it");
    progress.record.add("real_ms", millis(work.begun.elapsed()));
    progress.record.write(&arguments.record);
    print!("{}", progress.record.text());
    if work.failed.into_inner() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Seeds that threads take one after the other.
struct Work {
    next: AtomicU64,
    first: u64,
    begun: Instant,
    failed: AtomicBool,
    progress: Mutex<Progress>,
}

struct Progress {
    record: Record,
    /// Seeds beyond `next` that were run.
    done: BTreeSet<u64>,
    /// All before it were run.
    next: u64,
    written: Instant,
}

impl Work {
    fn run(&self, arguments: &Arguments) {
        while self.begun.elapsed().as_secs() < arguments.seconds && !self.failed.load(Ordering::Relaxed) {
            let seed = self.next.fetch_add(1, Ordering::Relaxed);
            if seed - self.first >= arguments.seeds {
                return;
            }
            let started = Instant::now();
            let outcome = run(seed);
            let mut progress = self.progress.lock().expect("no thread panics while it holds it");
            progress.record.add("thread_ms", millis(started.elapsed()));
            match outcome {
                Ok((report, is_twice)) => progress.done(seed, &report, is_twice),
                Err(message) => {
                    self.failed.store(true, Ordering::Relaxed);
                    eprintln!(
                        "seed {seed}: {message}\nreproduce: CORELODE_SIM_SEED={seed} cargo nextest run -p corelode-simulator --test seeds --no-capture"
                    );
                }
            }
            if progress.written.elapsed() > RECORD_INTERVAL {
                progress.written = Instant::now();
                progress.record.write(&arguments.record);
            }
        }
    }
}

impl Progress {
    fn done(&mut self, seed: u64, report: &Report, is_twice: bool) {
        self.record.note(report, is_twice);
        self.done.insert(seed);
        while self.done.remove(&self.next) {
            self.next += 1;
        }
        self.record.set("next_seed", self.next);
    }
}

fn run(seed: u64) -> Result<(Report, bool), String> {
    let once = || {
        let outcome = catch_unwind(AssertUnwindSafe(|| Scenario::of_seed(seed).run()));
        outcome.unwrap_or_else(|_| Err("a panic, above".to_owned()))
    };
    let report = once()?;
    let is_twice = seed.is_multiple_of(TWICE_EVERY);
    if is_twice && once()?.trace != report.trace {
        return Err("it does not do the same twice".to_owned());
    }
    Ok((report, is_twice))
}

fn arguments() -> Result<Arguments, String> {
    let mut arguments = Arguments { record: PathBuf::new(), seconds: u64::MAX, seeds: u64::MAX, first: None, jobs: 1 };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{word} has no value"))?;
        let number = || value.parse::<u64>().map_err(|_| format!("{word} {value}: not a number"));
        match word.as_str() {
            "--record" => arguments.record = PathBuf::from(&value),
            "--seconds" => arguments.seconds = number()?,
            "--seeds" => arguments.seeds = number()?,
            "--first" => arguments.first = Some(number()?),
            "--jobs" => arguments.jobs = number()?.max(1),
            _ => return Err(format!("{word} is not known")),
        }
    }
    if arguments.record.as_os_str().is_empty() { Err("--record is missing".to_owned()) } else { Ok(arguments) }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Sums by name, one `name value` a line.
#[derive(Default)]
struct Record {
    sums: BTreeMap<String, u64>,
}

impl Record {
    /// What was written before; nothing if there is no such file.
    fn read(path: &std::path::Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let sums = text.lines().filter_map(|line| {
            let (name, value) = line.split_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Self { sums: sums.collect() }
    }

    fn get(&self, name: &str) -> u64 {
        self.sums.get(name).copied().unwrap_or(0)
    }

    fn set(&mut self, name: &str, value: u64) {
        self.sums.insert(name.to_owned(), value);
    }

    fn add(&mut self, name: &str, value: u64) {
        self.set(name, self.get(name) + value);
    }

    fn note(&mut self, report: &Report, is_twice: bool) {
        let Report {
            answered,
            overlapping,
            leaders,
            turns,
            repeated,
            replacements,
            changes,
            rotten,
            wipes,
            self_stops,
            simulated,
            marks,
            ..
        } = report;
        self.add("seeds", 1);
        self.add("seeds_run_twice", u64::from(is_twice));
        self.add("simulated_ms", millis(*simulated));
        self.add("operations_answered", *answered);
        self.add("pairs_overlapping", *overlapping);
        self.add("leaders_elected", *leaders);
        self.add("turns", *turns);
        self.add("writes_repeated", *repeated);
        self.add("replicas_replaced", *replacements);
        self.add("nodes_stopped_by_disk_faults", *self_stops);
        self.add("membership_changes_begun", *changes);
        self.add("bits_rotten", *rotten);
        self.add("disks_lost", *wipes);
        for mark in Mark::ALL {
            self.add(&format!("mark_{mark:?}"), marks.get(mark).copied().unwrap_or(0));
        }
    }

    fn text(&self) -> String {
        self.sums.iter().map(|(name, value)| format!("{name} {value}\n")).collect()
    }

    fn write(&self, path: &std::path::Path) {
        if let Err(error) = std::fs::write(path, self.text()) {
            eprintln!("simulate: {}: {error}", path.display());
        }
    }
}
