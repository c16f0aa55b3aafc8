//! Making the load: threads, each with its clients, and the gathering of what they measured.

mod collector;
mod gate;
mod recorder;
mod schedule;
mod socket;
mod source;
mod worker;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::driver::{Broken, Store};
use crate::report::histogram::Latencies;
use crate::report::model::{End, GeneratorCheck, Pace, Repetition};
use crate::workload::{KeyFormat, ValueFormat};
use collector::Collector;
use gate::{Arrival, Gate};
use schedule::Schedule;
use worker::{Common, Ended, Task, Worker};

pub use collector::CollectedInterval;
pub use source::Source;

/// Intervals that wait to be collected, over all threads.
const INTERVALS_WAITING_MAX: usize = 256;
/// A report holds about so many intervals at most.
const INTERVALS_MAX: u32 = 1_000;
/// In a closed loop, a thread that works so much of its time is what limits it.
const BUSY_SHARE_MAX: f64 = 0.95;

/// How a load is made.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// When operations are sent.
    pub pace: Pace,
    /// Clients over all threads.
    pub clients: usize,
    /// The most operations that a client has under way.
    pub depth: u32,
    /// Threads; no more than clients.
    pub threads: usize,
    /// The processors that the threads may use; empty leaves them where the system puts them.
    pub processors: Vec<usize>,
    /// Time before the measurement.
    pub warm_up: Duration,
    /// Time of the measurement; `None` ends with the sources.
    pub duration: Option<Duration>,
    /// What arrivals follow from.
    pub seed: u64,
    /// How long a store may be silent: after the end of a measurement or, where the load ends with its sources, at any time.
    pub patience: Duration,
}

/// The patience that loads have, unless they are asked for another.
pub const PATIENCE_DEFAULT: Duration = Duration::from_secs(10);

/// What a load is made of.
pub struct Work<'a> {
    /// The operations of each thread.
    pub sources: Vec<Source>,
    /// What keys look like.
    pub keys: KeyFormat,
    /// What values look like.
    pub values: &'a ValueFormat,
}

/// Makes a load, and answers what was measured. `stop` ends it early. `on_interval` sees each interval as it ends, with its number.
///
/// # Errors
/// The store cannot be reached at the start. One that is lost later is told in the repetition.
///
/// # Panics
/// If there is not one source a thread, or if a thread panics: then the others end, and it goes on here.
pub fn run(
    store: &dyn Store,
    options: &LoadOptions,
    work: Work<'_>,
    stop: &AtomicBool,
    on_interval: &mut dyn FnMut(&CollectedInterval<'_>),
) -> Result<Repetition, Broken> {
    assert_eq!(work.sources.len(), options.threads, "one source a thread");
    let gate = Gate::default();
    let mut arrivals: Vec<_> = (0..=options.threads).map(|_| gate.expect_one(stop)).collect();
    let own_arrival = arrivals.pop().expect("one more than threads");
    let (sender, receiver) = mpsc::sync_channel(INTERVALS_WAITING_MAX);
    let interval = interval_of(options.duration);
    let ns = |duration: Duration| u64::try_from(duration.as_nanos()).expect("500 years fit");
    let from_ns = ns(options.warm_up);
    let until_ns = options.duration.map(|duration| from_ns + ns(duration));
    let clients_of =
        |thread: usize| options.clients / options.threads + usize::from(thread < options.clients % options.threads);
    let mut collector = Collector::new(options.threads, interval.as_secs_f64());
    let (mut stages_before, mut stages_after) = (None, None);
    let ends = std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for (thread, (source, arrival)) in work.sources.into_iter().zip(arrivals).enumerate() {
            let task = Task {
                store,
                clients: clients_of(thread),
                depth: options.depth,
                schedule: Schedule::new(options.pace, thread, options.threads, options.seed ^ thread as u64),
                source,
                keys: work.keys,
                values: work.values,
                from_ns,
                until_ns,
                interval_ns: ns(interval),
                patience: options.patience,
            };
            let common = Common { stop, intervals: sender.clone() };
            let processors = &options.processors;
            threads.push(scope.spawn(move || run_thread(task, common, arrival, processors)));
        }
        drop(sender);
        own_arrival.wait();
        let measures_from = Instant::now() + options.warm_up;
        loop {
            match receiver.recv_timeout(measures_from.saturating_duration_since(Instant::now())) {
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
                Ok((number, record)) => collector.add(number, record, on_interval),
            }
        }
        // A store that cannot be asked is told by those who drive it.
        stages_before = store.stages().ok().flatten();
        while let Ok((number, record)) = receiver.recv() {
            collector.add(number, record, on_interval);
        }
        stages_after = store.stages().ok().flatten();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect::<Vec<_>>()
    });
    let ends: Vec<Ended> = ends.into_iter().collect::<Result<_, _>>()?;
    let was_stopped = stop.load(Ordering::Relaxed);
    let end = match ends.iter().find_map(|end| end.lost.clone()) {
        Some(reason) => End::Lost(reason),
        None if was_stopped => End::Interrupted,
        None => End::Complete,
    };
    let at_ns = ends.iter().map(|end| end.at_ns).max().unwrap_or_default();
    let measured = Duration::from_nanos(at_ns.saturating_sub(from_ns));
    let (mut operations, intervals) = collector.finish(on_interval);
    for (kind, count) in ends.iter().flat_map(|end| &end.unanswered) {
        operations.entry(*kind).or_default().unanswered += count;
    }
    Ok(Repetition {
        end,
        seconds: measured.as_secs_f64(),
        unsent: ends.iter().map(|end| end.unsent).sum(),
        operations,
        intervals,
        generator: check_generator(options.pace, &ends),
        server: stages_after.zip(stages_before).map(|(after, before)| after.since(&before)),
    })
}

/// A thread of the load. However it ends before its time, its arrival, or its end, stops the others.
fn run_thread(task: Task<'_>, common: Common<'_>, arrival: Arrival<'_>, processors: &[usize]) -> Result<Ended, Broken> {
    let _panic = StopOnPanic(common.stop);
    pin(processors)?;
    Ok(Worker::connect(task, common)?.run(arrival))
}

/// Ends the load of all threads if its own panics: nobody would look at the figures of the others.
struct StopOnPanic<'a>(&'a AtomicBool);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

/// Leaves this thread to these processors.
fn pin(processors: &[usize]) -> Result<(), Broken> {
    if processors.is_empty() {
        return Ok(());
    }
    let mut set = rustix::thread::CpuSet::new();
    for &processor in processors {
        if processor >= rustix::thread::CpuSet::MAX_CPU {
            return Err(Broken::new(format!("there is no processor {processor}")));
        }
        set.set(processor);
    }
    let pinned = rustix::thread::sched_setaffinity(None, &set);
    pinned.map_err(|error| Broken::new(format!("the load cannot be pinned to processors {processors:?}: {error}")))
}

/// A second, or more in a run so long that a report would hold too many.
fn interval_of(duration: Option<Duration>) -> Duration {
    let second = Duration::from_secs(1);
    duration.map_or(second, |duration| (duration / INTERVALS_MAX).max(second))
}

fn check_generator(pace: Pace, ends: &[Ended]) -> GeneratorCheck {
    let mut lateness = Latencies::default();
    ends.iter().for_each(|end| lateness.add(&end.lateness));
    let busy_share = ends.iter().map(|end| end.busy_share).fold(0.0, f64::max);
    let (late_p99, late_max) = (lateness.quantile(0.99), lateness.max());
    let warning = match pace {
        _ if busy_share > BUSY_SHARE_MAX => Some(format!(
            "the load generator was the limit: its busiest thread worked {:.0}% of its time. Give it more threads or processors, or take the store's figures as a lower bound",
            busy_share * 100.0
        )),
        Pace::Open { .. } if late_p99 > 1_000_000 => Some(format!(
            "the load generator was late: of 100 operations one was sent {:.1} ms or more after its time although its client had room. Latencies hold that delay",
            Duration::from_nanos(late_p99).as_secs_f64() * 1e3
        )),
        _ => None,
    };
    GeneratorCheck { busy_share, late_p99, late_max, warning }
}
