//! By which figures two reports are compared, and the one rule for whether they differ. The terminal and the page show what is found here, so that they
//! cannot say different things.

use super::histogram::Latencies;
use super::model::{End, Repetition, Report};
use super::summary::{Share, Spread};
use crate::statistics::{Comparison, Verdict, compare_pairs, compare_runs};

/// How each figure is called, in the order in which they are shown; all are of all requests together.
pub const FIGURES: [&str; 5] = ["requests a second", "mean latency", "p50", "p99", "p99.9"];

/// Two reports, compared.
#[derive(Clone, PartialEq, Debug)]
pub struct Between {
    /// Each of [`FIGURES`].
    pub figures: [Compared; FIGURES.len()],
    /// Whether the repetitions were made in turns, and are compared pair by pair.
    pub is_in_turns: bool,
    /// How many repetitions of each there are to compare.
    pub repetitions: usize,
}

/// A figure of two reports.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Compared {
    /// Its name, one of [`FIGURES`].
    pub name: &'static str,
    /// Whether more of it is better.
    pub is_rate: bool,
    /// The median of the first report's repetitions.
    pub first: Option<f64>,
    /// The median of the second's.
    pub second: Option<f64>,
    /// The second as a multiple of the first, if there are repetitions enough.
    pub comparison: Option<Comparison>,
}

/// Compares what was measured to its end. Repetitions that were made in turns are compared pair by pair, and others as those of two runs. All figures
/// are looked at together, so that all intervals hold with one confidence.
#[must_use]
pub fn between(first: &Report, second: &Report) -> Between {
    let is_in_turns = !first.turns.is_empty() && first.turns == second.turns;
    let is_whole = |repetition: &&Repetition| repetition.end == End::Complete;
    let (first, second): (Vec<_>, Vec<_>) = if is_in_turns {
        // A round of which one is missing has nothing to be compared with.
        let rounds = first.repetitions.iter().zip(&second.repetitions);
        rounds.filter(|(first, second)| is_whole(first) && is_whole(second)).unzip()
    } else {
        (first.repetitions.iter().filter(is_whole).collect(), second.repetitions.iter().filter(is_whole).collect())
    };
    let repetitions = first.len().min(second.len());
    let shares = |repetitions: Vec<&Repetition>| repetitions.into_iter().map(Share::of_requests).collect::<Vec<_>>();
    let (first, second) = (shares(first), shares(second));
    let figures = FIGURES.map(|name| compared(name, &first, &second, is_in_turns));
    Between { figures, is_in_turns, repetitions }
}

fn compared(name: &'static str, first: &[Share], second: &[Share], is_in_turns: bool) -> Compared {
    let values = |shares: &[Share]| shares.iter().map(|share| value(name, share)).collect::<Vec<_>>();
    let (first_values, second_values) = (values(first), values(second));
    let resolution = first.iter().chain(second).map(|share| resolution(name, share)).fold(0.0, f64::max);
    let compare = if is_in_turns { compare_pairs } else { compare_runs };
    let median = |values: &[f64]| Spread::of(values.iter().copied().filter(|value| *value > 0.0)).map(|of| of.median);
    Compared {
        name,
        is_rate: is_rate(name),
        first: median(&first_values),
        second: median(&second_values),
        comparison: compare(&second_values, &first_values, FIGURES.len(), resolution),
    }
}

fn is_rate(name: &str) -> bool {
    name == FIGURES[0]
}

/// A figure of a repetition; zero if nothing was answered in it.
fn value(name: &str, share: &Share) -> f64 {
    let Share { latency, rate } = share;
    match name {
        _ if latency.count() == 0 => 0.0,
        _ if is_rate(name) => rate.unwrap_or_default(),
        "mean latency" => latency.mean(),
        "p50" => latency.quantile(0.5) as f64,
        "p99" => latency.quantile(0.99) as f64,
        _ => latency.quantile(0.999) as f64,
    }
}

/// The least difference that the figure of a repetition can show, as a share of it.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "times of a histogram, in whole nanoseconds"
)]
fn resolution(name: &str, share: &Share) -> f64 {
    let latency: &Latencies = &share.latency;
    // A request more or less is what a count can show.
    if is_rate(name) { 1.0 / latency.count().max(1) as f64 } else { latency.resolution_at(value(name, share) as u64) }
}

/// What a comparison comes to, in words.
#[must_use]
pub fn verdict_text(verdict: Verdict, is_rate: bool) -> &'static str {
    match verdict {
        Verdict::NoDifference => "no difference",
        Verdict::Less if is_rate => "less",
        Verdict::Less => "less: better",
        Verdict::More if is_rate => "more: better",
        Verdict::More => "more",
    }
}

/// The interval of a comparison. Repetitions that vary much, or few of them, leave nearly everything possible.
#[must_use]
pub fn interval_text(Comparison { low, high, .. }: Comparison) -> String {
    let low = format!("{low:.3}");
    if high < 1_000.0 { format!("{low} to {high:.3}") } else { format!("{low} or more") }
}
