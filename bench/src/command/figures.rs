//! The figures by which two reports are compared, and the table that shows it.

use std::fmt::Write;

use crate::report::histogram::Latencies;
use crate::report::model::Report;
use crate::report::summary::Summary;
use crate::report::words::{duration_text, rate_text};
use crate::statistics::{CONFIDENCE, Comparison, DIFFERENCE_SOUGHT, Verdict};

/// A figure of every repetition of a report.
pub(crate) struct Figure {
    name: &'static str,
    /// Whether more of it is better.
    is_rate: bool,
    pub(crate) values: Vec<f64>,
}

impl Figure {
    /// The value in the middle, as people read it.
    fn text(&self) -> String {
        let mut values = self.values.clone();
        values.sort_by(f64::total_cmp);
        match values.get(values.len() / 2) {
            None => "none".to_owned(),
            Some(value) if self.is_rate => rate_text(*value),
            Some(value) => duration_text(*value),
        }
    }
}

/// The figures of all requests of a report, in the order in which they are shown.
pub(crate) fn figures_of(report: &Report) -> Vec<Figure> {
    let requests = Summary::of(report).requests;
    let of_latency = |name, figure: &dyn Fn(&Latencies) -> f64| Figure {
        name,
        is_rate: false,
        values: requests.repetitions.iter().map(|share| figure(&share.latency)).collect(),
    };
    let quantile = |quantile: f64| move |latencies: &Latencies| latencies.quantile(quantile) as f64;
    vec![
        Figure {
            name: "requests a second",
            is_rate: true,
            values: requests.repetitions.iter().map(|share| share.rate).collect(),
        },
        of_latency("mean latency", &Latencies::mean),
        of_latency("p50", &quantile(0.5)),
        of_latency("p99", &quantile(0.99)),
        of_latency("p99.9", &quantile(0.999)),
    ]
}

/// Repetitions that vary much, or few of them, leave nearly everything possible.
fn interval_text(Comparison { low, high, .. }: Comparison) -> String {
    let low = format!("{low:.3}");
    if high < 1_000.0 { format!("{low} to {high:.3}") } else { format!("{low} or more") }
}

/// A table of the figures of `ours` as multiples of those of `theirs`, and what it comes to.
pub(crate) fn table(
    ours: &Report,
    theirs: &Report,
    compare: impl Fn(&[f64], &[f64], usize) -> Option<Comparison>,
) -> String {
    let (our_figures, their_figures) = (figures_of(ours), figures_of(theirs));
    let count = our_figures.len();
    let mut text = String::new();
    let mut line = |words: [&str; 7]| {
        let [name, theirs, ours, ratio, interval, needed, verdict] = words;
        writeln!(text, "  {name:<18}{theirs:>14}{ours:>14}{ratio:>9}   {interval:<18}{needed:>8}   {verdict}")
            .expect("a string takes all text");
    };
    let interval_name = format!("{:.0} % interval", CONFIDENCE * 100.0);
    let sought = format!("for {:.0} %", DIFFERENCE_SOUGHT * 100.0);
    line(["", "first", "second", "ratio", &interval_name, &sought, ""]);
    let (mut compared, mut differences) = (0, 0);
    for (ours, theirs) in our_figures.iter().zip(&their_figures) {
        let comparison = compare(&ours.values, &theirs.values, count);
        let (ratio, interval, needed, verdict) = match comparison {
            None => (String::new(), String::new(), String::new(), "cannot be compared"),
            Some(comparison) => {
                compared += 1;
                differences += usize::from(comparison.verdict() != Verdict::NoDifference);
                let verdict = match comparison.verdict() {
                    Verdict::NoDifference => "no difference",
                    Verdict::Less if ours.is_rate => "less",
                    Verdict::Less => "less: better",
                    Verdict::More if ours.is_rate => "more: better",
                    Verdict::More => "more",
                };
                let interval = interval_text(comparison);
                let needed = comparison.repetitions_needed.map_or("over 10k".to_owned(), |count| count.to_string());
                (format!("{:.3}", comparison.ratio), interval, needed, verdict)
            }
        };
        line([ours.name, &theirs.text(), &ours.text(), &ratio, &interval, &needed, verdict]);
    }
    if compared == 0 {
        text.push_str("\n  nothing can be told: that takes two repetitions of each, and requests in all of them\n");
        return text;
    }
    let repetitions = ours.repetitions.len().min(theirs.repetitions.len());
    match differences {
        0 => writeln!(text, "\n  no difference, as far as {repetitions} repetitions can tell"),
        _ => writeln!(text, "\n  {differences} of {count} figures differ"),
    }
    .expect("a string takes all text");
    writeln!(
        text,
        "  \"{sought}\" is how many repetitions would tell so small a difference, where these vary as they do by chance"
    )
    .expect("a string takes all text");
    text
}
