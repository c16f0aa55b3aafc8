//! `run`: one load against one store.

use std::fs::File;
use std::io::BufWriter;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use clap::Args;

use super::arguments::{ArrivalArgument, LoadArguments, NativeArguments, WorkloadArguments, rate};
use super::outputs::{self, OutputArguments};
use super::progress::Progress;
use super::redaction::without_secrets;
use super::target::TargetUrl;
use super::{EXIT_CODES_HELP, Exit, Failure};
use crate::driver::Store;
use crate::load::{CollectedInterval, LoadOptions};
use crate::report::hlog::{HlogWriter, Stretch};
use crate::report::machine::{this_build, this_machine};
use crate::report::model::{End, Measured, OperationKind, Pace, REPORT_VERSION, Repetition, Report};
use crate::report::words::{end_text, remarks_text};
use crate::session::{Session, described_load};
use crate::workload::WorkloadConfig;

/// Make a load on a store, measure, and report
///
/// Without --rate each client sends as soon as it was answered: that shows what the store can do. With --rate operations
/// are sent by a schedule, and latency counts from the time that the schedule names: that shows what users would see.
#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES_HELP)]
pub struct Arguments {
    /// The store: corelode://HOST:PORT or redis://HOST:PORT, with :PASSWORD@ or USER:PASSWORD@ before the host if it has one; a local Corelode if none is named
    #[arg(long, env = "CORELODE_STORE", value_name = "URL")]
    store: Option<TargetUrl>,

    /// Send so many operations a second over all clients, whether or not they are answered; 20k is 20000
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,

    /// How the times of --rate lie
    #[arg(long, value_enum, default_value_t = ArrivalArgument::Poisson)]
    arrival: ArrivalArgument,

    #[command(flatten)]
    native: NativeArguments,

    #[command(flatten)]
    workload: WorkloadArguments,

    #[command(flatten)]
    load: LoadArguments,

    #[command(flatten)]
    output: OutputArguments,
}

pub(crate) fn run(arguments: &Arguments, default_store: &TargetUrl, stop: &AtomicBool) -> Result<Exit, Failure> {
    let pace = match arguments.rate {
        Some(rate) => Pace::Open { rate, arrival: arguments.arrival.into() },
        None => Pace::Closed,
    };
    let options = arguments.load.options(pace, &arguments.workload).map_err(Failure::usage)?;
    let store = arguments.store.as_ref().unwrap_or(default_store).find(&arguments.native.options()?)?;
    let session = session(&*store, &arguments.workload)?;
    check_connections(&*store, options.clients)?;
    let title = arguments.output.title.clone().unwrap_or_else(|| default_title(&*store, &session));
    let mut report = empty_report(title, &*store, &session, &options);
    if !arguments.workload.no_fill {
        fill(&session, arguments.workload.keys, stop)?;
    }
    let started_at = SystemTime::now();
    let mut hlog = match arguments.output.path(".hlog") {
        Some(path) => {
            // The folder may not be there yet.
            outputs::write_file(&path, "")?;
            let file = File::create(&path).map_err(|error| Failure::file(&path, &error))?;
            let writer = HlogWriter::new(BufWriter::new(file), &report.title, started_at);
            Some((writer.map_err(|error| Failure::file(&path, &error))?, path))
        }
        None => None,
    };
    let (mut log_failure, mut broken) = (None, None);
    for repetition in 0..arguments.load.repetitions.get() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let measures_from = started_at.elapsed().unwrap_or_default() + options.warm_up;
        let mut progress = Progress::begin(format!("repetition {}", repetition + 1));
        let measured = session.repeat(&options, repetition, stop, &mut |interval| {
            progress.show(interval);
            if let Some((writer, _)) = &mut hlog
                && let Err(error) = log_interval(writer, measures_from, interval)
            {
                log_failure.get_or_insert(error);
            }
        });
        drop(progress);
        match measured {
            Ok(measured) => report.repetitions.push(measured),
            Err(error) => broken = Some(Failure::from(error)),
        }
        if broken.is_some() || report.repetitions.last().is_some_and(|last| matches!(last.end, End::Lost(_))) {
            break;
        }
    }
    if let (Some(broken), []) = (&broken, report.repetitions.as_slice()) {
        return Err(broken.clone());
    }
    let log = hlog.map(|(writer, path)| {
        let finished = writer.finish().and_then(|mut file| std::io::Write::flush(&mut file));
        log_failure.or(finished.err()).map_or(Ok(path.clone()), |error| Err(Failure::file(&path, &error)))
    });
    // What was measured cannot be had again: an output that fails keeps it from no other one.
    let shown = outputs::show(&report);
    let files = log.into_iter().chain(outputs::write_all(&arguments.output, &report));
    let measured = broken.map_or_else(|| verdict(&report, arguments.load.repetitions), Err);
    outputs::end([measured, shown].into_iter().chain(files.map(outputs::tell_written)))
}

/// A session of the workload; its operations are such as the store has.
pub(crate) fn session<'a>(store: &'a dyn Store, arguments: &WorkloadArguments) -> Result<Session<'a>, Failure> {
    let config = arguments.config();
    for (kind, _) in config.mix.shares().into_iter().filter(|(_, share)| *share > 0.0) {
        if !store.supports(kind) {
            let name = crate::report::words::operation_name(kind);
            return Err(Failure::usage(format!("{} has no {name}: choose another workload", store.target().server)));
        }
    }
    check_lengths(store, &config).map_err(Failure::usage)?;
    arguments.check_fill().map_err(Failure::usage)?;
    Session::new(store, config, arguments.seed).map_err(Failure::usage)
}

/// Whether this process may open as many files as the load has connections: the system's own words would not say what to do.
pub(crate) fn check_connections(store: &dyn Store, clients: usize) -> Result<(), Failure> {
    /// Standard streams, epoll for each thread, outputs and questions to the store.
    const OTHER_FILES: u64 = 64;
    let connections = (clients as u64).saturating_mul(store.endpoints().len() as u64);
    let files_max = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    if connections.saturating_add(OTHER_FILES) <= files_max {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "{clients} clients have {connections} connections, and this process may open {files_max} files: raise that (ulimit -n), or give fewer --clients"
    )))
}

/// Whether the store takes keys and values of these lengths.
fn check_lengths(store: &dyn Store, config: &WorkloadConfig) -> Result<(), String> {
    let Some((key_bytes_max, value_bytes_max)) = store.lengths_max() else { return Ok(()) };
    let lengths = [("keys", config.key_bytes, key_bytes_max), ("values", config.value_bytes, value_bytes_max)];
    match lengths.into_iter().find(|(_, bytes, bytes_max)| bytes > bytes_max) {
        None => Ok(()),
        Some((what, bytes, bytes_max)) => {
            Err(format!("{} takes {what} of at most {bytes_max} bytes, not {bytes}", store.target().server))
        }
    }
}

/// Makes the keys.
pub(crate) fn fill(session: &Session<'_>, keys: u64, stop: &AtomicBool) -> Result<(), Failure> {
    let mut progress = Progress::begin(format!("writing {keys} keys"));
    let filled = session.fill(stop, &mut |interval| progress.show(interval))?;
    drop(progress);
    if let End::Lost(reason) = filled.end {
        return Err(Failure::unreachable(format!("the store was lost while its keys were written: {reason}")));
    }
    let mut errors = filled.operations.values().flat_map(|measured| &measured.errors);
    match errors.next() {
        Some((reason, count)) => Err(Failure::refused(format!("{count} keys could not be written: {reason}"))),
        None => Ok(()),
    }
}

pub(crate) fn default_title(store: &dyn Store, session: &Session<'_>) -> String {
    format!("{}, workload {}", store.target().server, session.described_workload().name)
}

/// The report of a load that is about to begin.
pub(crate) fn empty_report(title: String, store: &dyn Store, session: &Session<'_>, options: &LoadOptions) -> Report {
    Report {
        version: REPORT_VERSION,
        title,
        started_at: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        command: without_secrets(std::env::args_os().map(|word| word.to_string_lossy().into_owned())),
        generator: this_build(),
        machine: this_machine(),
        target: store.target(),
        turns: String::new(),
        workload: session.described_workload(),
        load: described_load(options),
        repetitions: Vec::new(),
    }
}

fn log_interval<W: std::io::Write>(
    writer: &mut HlogWriter<W>,
    measures_from: Duration,
    interval: &CollectedInterval<'_>,
) -> std::io::Result<()> {
    let start = measures_from + Duration::from_secs_f64(interval.summary.start);
    let stretch = Stretch { start, length: Duration::from_secs_f64(interval.summary.seconds) };
    interval.latencies.iter().try_for_each(|(kind, latencies)| writer.write(*kind, stretch, latencies))
}

/// Whether what was asked for was measured. A script that goes on with the figures of a store that did nothing would not look into the report.
pub(crate) fn verdict(report: &Report, repetitions_asked: NonZeroU32) -> Result<(), Failure> {
    let repetitions = &report.repetitions;
    let lost = repetitions.iter().find_map(|repetition| end_text(&repetition.end).filter(|_| is_lost(&repetition.end)));
    if let Some(reason) = lost {
        return Err(Failure::unreachable(reason));
    }
    (1..).zip(repetitions).try_for_each(|(number, repetition)| check_answers(number, repetition, report.load.pace))?;
    let is_short = repetitions.len() < repetitions_asked.get() as usize;
    if is_short || repetitions.iter().any(|repetition| repetition.end == End::Interrupted) {
        let whole = repetitions.iter().filter(|repetition| repetition.end == End::Complete).count();
        return Err(Failure::interrupted(format!("interrupted: {whole} of {repetitions_asked} repetitions are whole")));
    }
    Ok(())
}

fn is_lost(end: &End) -> bool {
    matches!(end, End::Lost(_))
}

/// Whether anything was done in a repetition that was not cut short.
fn check_answers(number: u32, repetition: &Repetition, pace: Pace) -> Result<(), Failure> {
    let answered: u64 = repetition.operations.values().map(|measured| measured.latency.count()).sum();
    if answered > 0 || repetition.end != End::Complete {
        return Ok(());
    }
    let mut failed = Measured::default();
    for (_, measured) in repetition.operations.iter().filter(|(kind, _)| **kind != OperationKind::ReadModifyWrite) {
        failed.unanswered += measured.unanswered;
        for (reason, count) in &measured.errors {
            *failed.errors.entry(reason.clone()).or_default() += count;
        }
    }
    let what = remarks_text(&failed).map_or(String::new(), |what| format!(": {what}"));
    // In a closed loop something is always under way: what was sent in the warm-up, if nothing after it.
    let was_asked = pace == Pace::Closed || failed.unanswered + repetition.unsent > 0;
    match (failed.errors.is_empty(), was_asked) {
        (false, _) => Err(Failure::refused(format!("repetition {number}: not one operation was done{what}"))),
        (true, false) => Err(Failure::usage(format!(
            "repetition {number}: nothing was measured, since no operation was due in the time: give more --seconds or a higher --rate"
        ))),
        (true, true) => Err(Failure::unreachable(format!("repetition {number}: not one operation was answered{what}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::driver;
    use crate::report::model::Target;

    /// A store that takes keys of 8 bytes and values of 100.
    struct Narrow;

    impl Store for Narrow {
        fn target(&self) -> Target {
            Target { server: "Narrow 1".to_owned(), ..Target::default() }
        }

        fn endpoints(&self) -> Vec<SocketAddr> {
            Vec::new()
        }

        fn supports(&self, _: OperationKind) -> bool {
            true
        }

        fn lengths_max(&self) -> Option<(usize, usize)> {
            Some((8, 100))
        }

        fn session(&self) -> Box<dyn driver::Session> {
            unreachable!("nothing is sent")
        }
    }

    #[test]
    fn lengths_that_the_store_does_not_take_are_refused_before_anything_is_sent() {
        let check = |key_bytes, value_bytes| {
            check_lengths(&Narrow, &WorkloadConfig { key_bytes, value_bytes, ..WorkloadConfig::default() })
        };
        assert_eq!(check(8, 100), Ok(()));
        assert_eq!(check(9, 100), Err("Narrow 1 takes keys of at most 8 bytes, not 9".to_owned()));
        assert_eq!(check(8, 101), Err("Narrow 1 takes values of at most 100 bytes, not 101".to_owned()));
    }
}
