//! `compare`: several stores, in turns.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;

use super::arguments::{ArrivalArgument, LoadArguments, NativeArguments, Processors, WorkloadArguments, rate};
use super::children::{Children, EndAtLast};
use super::figures::table;
use super::outputs::{self, OutputArguments};
use super::progress::Progress;
use super::run::{self, check_connections, empty_report, fill, session};
use super::target::TargetUrl;
use super::{EXIT_CODES_HELP, Exit, Failure};
use crate::driver::Store;
use crate::driver::native::NativeOptions;
use crate::report::html;
use crate::report::model::{End, Pace, Report};

/// How long a store that was started may take until it answers.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// Make the same load on several stores in turns, and compare
///
/// Each round measures every store once, in the order of the round before turned round, so that what changes on the
/// machine meanwhile changes for all of them. Ratios are to the first store.
#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES_HELP)]
pub struct Arguments {
    /// A store, at least twice: NAME=corelode://HOST:PORT or NAME=redis://HOST:PORT, with :PASSWORD@ or USER:PASSWORD@ before the host if it has one
    #[arg(long, value_name = "NAME=URL", required = true, value_parser = named_store)]
    store: Vec<(String, TargetUrl)>,

    /// Start a store for the time of the run: NAME=COMMAND with its arguments, divided by spaces
    #[arg(long, value_name = "NAME=COMMAND", value_parser = named)]
    start: Vec<(String, String)>,

    /// Processors for the stores that are started
    #[arg(long, value_name = "LIST")]
    pin_stores: Option<Processors>,

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

pub(crate) fn run(arguments: &Arguments, stop: &AtomicBool, children: &Children) -> Result<Exit, Failure> {
    if arguments.store.len() < 2 {
        return Err(Failure::usage("one store alone has nothing to compare with: give --store twice or more"));
    }
    let pace = match arguments.rate {
        Some(rate) => Pace::Open { rate, arrival: arguments.arrival.into() },
        None => Pace::Closed,
    };
    let options = arguments.load.options(pace, &arguments.workload).map_err(Failure::usage)?;
    let native = arguments.native.options()?;
    for (index, (name, _)) in arguments.store.iter().enumerate() {
        if arguments.store[..index].iter().any(|(other, _)| other == name) {
            return Err(Failure::usage(format!(
                "two stores are called {name}, and the report of one would replace the other's"
            )));
        }
    }
    let _end = EndAtLast(children);
    start_all(arguments, children)?;
    let stores: Vec<_> =
        arguments.store.iter().map(|store| find(store, &native, children, stop)).collect::<Result<_, _>>()?;
    // Whoever compares these reports later is to know that they belong together.
    let turns = format!("{:016x}", getrandom::u64().map_err(Failure::usage)?);
    let mut sessions = Vec::new();
    let mut reports = Vec::new();
    for ((name, _), store) in arguments.store.iter().zip(&stores) {
        let session = session(&**store, &arguments.workload)?;
        check_connections(&**store, options.clients)?;
        let mut report = empty_report(name.clone(), &**store, &session, &options);
        report.turns.clone_from(&turns);
        if arguments.start.iter().any(|(started, _)| started == name)
            && let Some(processors) = &arguments.pin_stores
        {
            let list: Vec<_> = processors.0.iter().map(ToString::to_string).collect();
            report.target.pinned_to = list.join(",");
        }
        if !arguments.workload.no_fill {
            fill(&session, arguments.workload.keys, stop)?;
        }
        sessions.push(session);
        reports.push(report);
    }
    let mut broken = None;
    'rounds: for round in 0..arguments.load.repetitions.get() {
        let mut order: Vec<usize> = (0..sessions.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for number in order {
            if stop.load(Ordering::Relaxed) {
                break 'rounds;
            }
            let mut progress = Progress::begin(format!("round {}, {}", round + 1, arguments.store[number].0));
            let measured = sessions[number].repeat(&options, round, stop, &mut |interval| progress.show(interval));
            drop(progress);
            match measured {
                Ok(measured) => reports[number].repetitions.push(measured),
                Err(error) => broken = Some(Failure::from(error).of(&arguments.store[number].0)),
            }
            let is_lost = reports[number].repetitions.last().is_some_and(|last| matches!(last.end, End::Lost(_)));
            if is_lost || broken.is_some() {
                break 'rounds;
            }
        }
    }
    match broken {
        Some(broken) if reports.iter().all(|report| report.repetitions.is_empty()) => Err(broken),
        broken => finish(arguments, &reports, broken),
    }
}

/// Shows and writes all that there is, whatever fails of it.
fn finish(arguments: &Arguments, reports: &[Report], broken: Option<Failure>) -> Result<Exit, Failure> {
    // What cannot be had any more is why the others are short, and none of them was interrupted.
    let verdict =
        |report| run::verdict(report, arguments.load.repetitions).map_err(|failure| failure.of(&report.title));
    let lost = reports.iter().map(verdict).filter(|verdict| verdict.is_err());
    let worst = lost.min_by_key(|verdict| verdict.as_ref().err().map(|failure| failure.exit == Exit::Interrupted));
    let mut outcomes = vec![broken.map_or(worst.unwrap_or(Ok(())), Err)];
    outcomes.extend(reports.iter().map(outputs::show));
    for other in &reports[1..] {
        let (first, second) = (&reports[0], other);
        let head = format!(
            "\nfirst   {}: {}, {}\nsecond  {}: {}, {}\n\n",
            first.title,
            first.target.server,
            first.target.durability,
            second.title,
            second.target.server,
            second.target.durability
        );
        outcomes.push(outputs::print(&(head + &table(first, second))));
    }
    for report in reports {
        outcomes.extend(arguments.output.write(&format!("-{}.json", report.title), || outputs::json(report)));
    }
    outcomes.extend(arguments.output.write(".html", || html::render(reports)));
    outputs::end(outcomes)
}

fn start_all(arguments: &Arguments, children: &Children) -> Result<(), Failure> {
    for (name, words) in &arguments.start {
        let Some((_, url)) = arguments.store.iter().find(|(store, _)| store == name) else {
            return Err(Failure::usage(format!("--start {name}=…: there is no --store {name}=URL")));
        };
        // What is started would end at the port that is taken, and the other one would be measured under its name.
        if url.is_taken() {
            return Err(Failure::usage(format!("--start {name}=…: something listens at {url} already")));
        }
        let mut words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        if let Some(processors) = &arguments.pin_stores {
            let list: Vec<_> = processors.0.iter().map(ToString::to_string).collect();
            words.splice(0..0, ["taskset".to_owned(), "-c".to_owned(), list.join(",")]);
        }
        let (program, words) =
            words.split_first().ok_or_else(|| Failure::usage(format!("--start {name}: no command")))?;
        let started = children.start(name, program, words);
        started.map_err(|error| Failure::usage(format!("{program} cannot be started: {error}")))?;
    }
    Ok(())
}

/// Finds a store; one that was started may take a while to listen, but must not have ended.
fn find(
    (name, url): &(String, TargetUrl),
    native: &NativeOptions,
    children: &Children,
    stop: &AtomicBool,
) -> Result<Box<dyn Store>, Failure> {
    let began = Instant::now();
    loop {
        let broken = match url.find(native) {
            Ok(store) => return Ok(store),
            Err(broken) => broken,
        };
        if broken.is_refusal || !children.has(name) {
            return Err(broken.into());
        }
        if let Some(status) = children.ended(name) {
            return Err(Failure::usage(format!("what --start {name}=… started has ended, {status}")));
        }
        if stop.load(Ordering::Relaxed) {
            return Err(Failure::interrupted("interrupted before anything was measured"));
        }
        if began.elapsed() >= START_PATIENCE {
            return Err(broken.into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn named(text: &str) -> Result<(String, String), String> {
    let (name, rest) = text.split_once('=').ok_or_else(|| format!("{text:?} has no name: give NAME=…"))?;
    let is_name = !name.is_empty() && name.chars().all(|letter| letter.is_alphanumeric() || "-_.".contains(letter));
    if is_name {
        Ok((name.to_owned(), rest.to_owned()))
    } else {
        Err(format!("{name:?} is no name of letters and digits"))
    }
}

fn named_store(text: &str) -> Result<(String, TargetUrl), String> {
    let (name, url) = named(text)?;
    Ok((name, url.parse()?))
}
