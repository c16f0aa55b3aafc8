//! `sweep`: open loops at rising rates, until the store does not keep up.

use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;

use super::arguments::{ArrivalArgument, LoadArguments, NativeArguments, WorkloadArguments, rate};
use super::outputs::{self, OutputArguments};
use super::progress::Progress;
use super::run::{check_connections, default_title, empty_report, fill, session, verdict};
use super::target::TargetUrl;
use super::{EXIT_CODES_HELP, Exit, Failure};
use crate::report::html;
use crate::report::model::{End, Pace, Repetition, Report};
use crate::report::summary::Summary;
use crate::report::words::{behind_text, end_text, latency_text, plural, rate_text};

/// A store that answers less than this share of what was asked does not keep up.
const KEPT_UP_SHARE: f64 = 0.98;
/// The knee: from here on p99 is more than this many times that at the lowest rate.
const KNEE_FACTOR: f64 = 4.0;

/// Send at rising rates, and find the knee of the latency curve
///
/// First a closed loop shows about what the store can do; then open loops send at shares of that, from a tenth upwards,
/// until the store no longer keeps up. The knee is the highest rate at which p99 is still at most four times that of the
/// lowest.
#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES_HELP)]
pub struct Arguments {
    /// The store: corelode://HOST:PORT or redis://HOST:PORT, with :PASSWORD@ or USER:PASSWORD@ before the host if it has one; a local Corelode if none is named
    #[arg(long, env = "CORELODE_STORE", value_name = "URL")]
    store: Option<TargetUrl>,

    /// These rates, operations a second, divided by commas, in place of shares of what the store can do
    #[arg(long, value_name = "RATES", value_delimiter = ',', value_parser = rate)]
    rates: Vec<f64>,

    /// How many rates there are up to what the store can do
    #[arg(long, value_name = "N", default_value = "10", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    steps: u32,

    /// How the times of operations lie
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

/// What a rate came to.
struct Step {
    asked: f64,
    answered: f64,
    p50: String,
    /// Nanoseconds.
    p99: u64,
    p99_text: String,
    p999: String,
    /// The store did not keep up with it.
    is_late: bool,
}

pub(crate) fn run(arguments: &Arguments, default_store: &TargetUrl, stop: &AtomicBool) -> Result<Exit, Failure> {
    // What makes no sense at any pace is refused before the keys are written.
    let clients = arguments.load.options(Pace::Closed, &arguments.workload).map_err(Failure::usage)?.clients;
    let store = arguments.store.as_ref().unwrap_or(default_store).find(&arguments.native.options()?)?;
    let session = session(&*store, &arguments.workload)?;
    check_connections(&*store, clients)?;
    if !arguments.workload.no_fill {
        fill(&session, arguments.workload.keys, stop)?;
    }
    let base_title = arguments.output.title.clone().unwrap_or_else(|| default_title(&*store, &session));
    if stop.load(Ordering::Relaxed) {
        return Err(Failure::interrupted("interrupted before anything was measured"));
    }
    // What was measured, and why it is not what was to be.
    let measure = |pace: Pace, what: String| -> Result<(Report, Option<Failure>), Failure> {
        let options = arguments.load.options(pace, &arguments.workload).map_err(Failure::usage)?;
        let mut report = empty_report(format!("{base_title}, {what}"), &*store, &session, &options);
        for repetition in 0..arguments.load.repetitions.get() {
            let mut progress = Progress::begin(what.clone());
            let measured = session.repeat(&options, repetition, stop, &mut |interval| progress.show(interval));
            drop(progress);
            match measured {
                Ok(measured) => report.repetitions.push(measured),
                Err(broken) => return Ok((report, Some(broken.into()))),
            }
            if report.repetitions.last().is_some_and(|last| last.end != End::Complete) || stop.load(Ordering::Relaxed) {
                break;
            }
        }
        let failure = verdict(&report, arguments.load.repetitions).err().map(|failure| failure.of(&what));
        Ok((report, failure))
    };
    let rates = match arguments.rates.as_slice() {
        [] => {
            let (closed, failure) = measure(Pace::Closed, "closed loop".to_owned())?;
            if let Some(failure) = failure {
                let shown = if closed.repetitions.is_empty() { Ok(()) } else { outputs::show(&closed) };
                return outputs::end([Err(failure.and(Failure::usage("there is no rate to begin with"))), shown]);
            }
            let capacity = step_of(0.0, &closed).answered;
            outputs::print(&format!("a closed loop answers {} a second\n", rate_text(capacity)))?;
            let steps = arguments.steps;
            (1..=steps + 1).map(|step| capacity * f64::from(step) / f64::from(steps)).collect()
        }
        rates => {
            // Rates are tried as they rise, however they were given: the first one is what the others are compared with.
            let mut rates = rates.to_vec();
            rates.sort_by(f64::total_cmp);
            rates
        }
    };
    let mut reports = Vec::new();
    let mut steps: Vec<Step> = Vec::new();
    let mut outcomes = Vec::new();
    for rate in rates {
        let pace = Pace::Open { rate, arrival: arguments.arrival.into() };
        let (report, failure) = measure(pace, format!("at {}/s", rate_text(rate)))?;
        if !report.repetitions.is_empty() {
            steps.push(step_of(rate, &report));
            reports.push(report);
        }
        let is_over = failure.is_some() || steps.last().is_some_and(|step| step.is_late);
        outcomes.extend(failure.map(Err));
        if is_over {
            break;
        }
        if stop.load(Ordering::Relaxed) {
            outcomes.push(Err(Failure::interrupted("interrupted before the last rate")));
            break;
        }
    }
    // What was measured cannot be had again: an output that fails keeps it from no other one.
    if !reports.is_empty() {
        outcomes.push(outputs::print(&(table(&steps) + &cautions(&reports))));
        outcomes.extend(arguments.output.write(".html", || html::render(&reports)));
    }
    for report in &reports {
        let Pace::Open { rate, .. } = report.load.pace else { continue };
        outcomes.extend(arguments.output.write(&format!("-{rate:.0}.json"), || outputs::json(report)));
    }
    outputs::end(outcomes)
}

fn step_of(asked: f64, report: &Report) -> Step {
    let summary = Summary::of(report);
    let answered = summary.operation_rate().map_or(0.0, |rate| rate.median);
    let Summary { requests, .. } = summary;
    let latency = &requests.measured.latency;
    // By chance somewhat fewer may be due than asked for; then nothing is late, and nothing fails.
    let is_wanting = |repetition: &Repetition| {
        repetition.end != End::Complete || behind_text(repetition, &report.load).is_some() || requests.errors() > 0
    };
    Step {
        asked,
        answered,
        p50: latency_text(latency, |latency| latency.quantile(0.5) as f64),
        p99: latency.quantile(0.99),
        p99_text: latency_text(latency, |latency| latency.quantile(0.99) as f64),
        p999: latency_text(latency, |latency| latency.quantile(0.999) as f64),
        is_late: answered < KEPT_UP_SHARE * asked && report.repetitions.iter().any(is_wanting),
    }
}

/// What a reader should know of the rates before believing the table.
fn cautions(reports: &[Report]) -> String {
    let mut text = String::new();
    for report in reports {
        let Pace::Open { rate, .. } = report.load.pace else { continue };
        for repetition in &report.repetitions {
            let errors: u64 = repetition.operations.values().flat_map(|measured| measured.errors.values()).sum();
            let errors = (errors > 0).then(|| plural(errors, "error"));
            let behind = behind_text(repetition, &report.load);
            let warnings = [end_text(&repetition.end), behind, repetition.generator.warning.clone(), errors];
            for warning in warnings.into_iter().flatten() {
                text.push_str(&format!("warning: at {}: {warning}\n", rate_text(rate)));
            }
        }
    }
    text
}

fn table(steps: &[Step]) -> String {
    let mut text = format!("{:>14}{:>14}{:>12}{:>12}{:>12}\n", "asked", "answered", "p50", "p99", "p99.9");
    for step in steps {
        text.push_str(&format!(
            "{:>14}{:>14}{:>12}{:>12}{:>12}{}\n",
            rate_text(step.asked),
            rate_text(step.answered),
            step.p50,
            step.p99_text,
            step.p999,
            if step.is_late { "   does not keep up" } else { "" }
        ));
    }
    match knee(steps) {
        Some(step) => text.push_str(&format!(
            "\nthe knee: {} with a p99 of {}; beyond it p99 is more than {KNEE_FACTOR} times that of the lowest rate, or the store does not keep up\n",
            rate_text(step.asked),
            step.p99_text
        )),
        None => text.push_str("\nno rate was kept up with\n"),
    }
    text
}

fn knee(steps: &[Step]) -> Option<&Step> {
    let least = steps.first()?.p99;
    let is_before = |step: &&Step| !step.is_late && step.p99 as f64 <= KNEE_FACTOR * least as f64;
    steps.iter().take_while(is_before).last()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_knee_is_the_last_rate_before_latency_rises_or_answers_fall_behind() {
        let step = |asked: f64, answered: f64, p99| Step {
            asked,
            answered,
            p50: String::new(),
            p99,
            p99_text: String::new(),
            p999: String::new(),
            is_late: answered < asked,
        };
        let asked_at_knee = |steps: &[Step]| knee(steps).map(|step| step.asked);
        assert_eq!(asked_at_knee(&[step(1.0, 1.0, 10), step(2.0, 2.0, 39), step(3.0, 3.0, 41)]), Some(2.0));
        assert_eq!(asked_at_knee(&[step(1.0, 1.0, 10), step(2.0, 1.9, 12)]), Some(1.0));
        assert_eq!(asked_at_knee(&[step(1.0, 0.5, 10)]), None);
        assert_eq!(asked_at_knee(&[]), None);
    }
}
