//! Several reports side by side: figures with their ratios to the first, and what else than the store differs.

use super::super::comparison::{Between, Compared, FIGURES, between, interval_text, verdict_text};
use super::super::histogram::Latencies;
use super::super::summary::{Spread, Totals};
use super::super::words::{NO_FIGURE, OPERATION_KINDS, count_text, duration_text, operation_name, rate_text};
use super::facts::facts;
use super::{Subject, badge, put};
use crate::statistics::{CONFIDENCE, Verdict};

/// Facts that should be the same where stores are compared.
const SHOULD_AGREE: [&str; 8] = ["Durability", "Workload", "Keys", "Load", "Time", "Machine", "Kernel", "Generator"];

/// What else than the store differs, in a sentence.
pub(super) fn differences(subjects: &[Subject<'_>]) -> Option<String> {
    let all: Vec<_> = subjects.iter().map(|subject| facts(subject.report)).collect();
    let value = |index: usize, name: &str| all[index].iter().find(|fact| fact.name == name).map(|fact| &fact.value);
    let differing: Vec<String> = SHOULD_AGREE
        .into_iter()
        .filter(|name| (1..all.len()).any(|index| value(index, name) != value(0, name)))
        .map(str::to_lowercase)
        .collect();
    (!differing.is_empty()).then(|| {
        format!(
            "The reports differ in more than the store ({}), and the ratios show all of it together.",
            differing.join(", ")
        )
    })
}

/// A row: its name, the figure of a histogram or `None` for throughput, and as which of [`FIGURES`] it is compared, if it is.
type Row = (&'static str, Option<fn(&Latencies) -> f64>, Option<usize>);

/// The rows of each kind of operation.
const ROWS: [Row; 8] = [
    ("throughput", None, Some(0)),
    ("mean", Some(Latencies::mean), Some(1)),
    ("p50", Some(|latency| latency.quantile(0.5) as f64), Some(2)),
    ("p90", Some(|latency| latency.quantile(0.9) as f64), None),
    ("p99", Some(|latency| latency.quantile(0.99) as f64), Some(3)),
    ("p99.9", Some(|latency| latency.quantile(0.999) as f64), Some(4)),
    ("p99.99", Some(|latency| latency.quantile(0.9999) as f64), None),
    ("max", Some(|latency| latency.max() as f64), None),
];
const _: () = assert!(FIGURES.len() == 5, "each is a row");

/// The figures of all reports, all requests first and then each kind of operation.
pub(super) fn table(page: &mut String, subjects: &[Subject<'_>]) {
    page.push_str("<section>\n<h2>Side by side</h2>\n<div class=\"scroll\">\n<table class=\"numbers compare\">\n<thead><tr><td></td>");
    for (index, subject) in subjects.iter().enumerate() {
        let ratio = if index == 0 { "" } else { "<td></td>" };
        put(page, format_args!("<th scope=\"col\">{}</th>{ratio}", badge(index, subject)));
    }
    page.push_str("</tr></thead>\n");
    let shown =
        OPERATION_KINDS.iter().filter(|kind| subjects.iter().any(|subject| subject.summary.kinds.contains_key(kind)));
    let shown: Vec<_> = shown.map(|kind| Some(*kind)).collect();
    // All requests are the only kind if there is only one.
    let all = if shown.len() == 1 { None } else { Some(None) };
    let first = subjects.first().map(|subject| subject.report);
    let comparisons: Vec<Option<Between>> =
        subjects.iter().map(|subject| first.map(|first| between(first, subject.report))).collect();
    let mut is_compared = true;
    for kind in all.into_iter().chain(shown) {
        let totals: Vec<Option<&Totals>> = subjects
            .iter()
            .map(|subject| match kind {
                Some(kind) => subject.summary.kinds.get(&kind),
                None => Some(&subject.summary.requests),
            })
            .collect();
        let comparisons = if std::mem::take(&mut is_compared) { comparisons.as_slice() } else { &[] };
        group(page, kind.map_or("all requests", operation_name), &totals, comparisons);
    }
    put(
        page,
        format_args!(
            "</table>\n</div>\n<p class=\"about\">Latencies are of all repetitions together, throughput is their median; below stands how far \
             the repetitions lie apart. Ratios are to the first report. Whether a report differs from it is told of {} figures of all requests, \
             by intervals that hold with {:.0} % for all of them together, as in the terminal; those ratios are of the repetitions' means, and \
             have their intervals below. The other ratios, in parentheses, may be chance.</p>\n</section>\n",
            FIGURES.len(),
            CONFIDENCE * 100.0
        ),
    );
}

/// The rows of one kind of operation. Where these are the figures by which reports are compared, `comparisons` has how each compares to the first.
fn group(page: &mut String, name: &str, totals: &[Option<&Totals>], comparisons: &[Option<Between>]) {
    let columns = totals.len() * 2;
    put(
        page,
        format_args!("<tbody>\n<tr class=\"group\"><th scope=\"rowgroup\" colspan=\"{columns}\">{name}</th></tr>\n"),
    );
    for (name, figure, compared) in ROWS {
        put(page, format_args!("<tr><th scope=\"row\">{name}</th>"));
        for (index, of) in totals.iter().enumerate() {
            let Some(of) = of else {
                page.push_str(if index == 0 { "<td></td>" } else { "<td></td><td></td>" });
                continue;
            };
            let (value, spread) = measure(of, figure);
            let text =
                |value: f64| if figure.is_some() { duration_text(value) } else { format!("{}/s", rate_text(value)) };
            put(page, format_args!("<td>{}", value.map_or(NO_FIGURE.to_owned(), text)));
            if let Some(spread) = spread.filter(|spread| spread.count > 1) {
                put(page, format_args!("<small>{} to {}</small>", text(spread.min), text(spread.max)));
            }
            page.push_str("</td>");
            if index > 0 {
                let between = comparisons.get(index).and_then(Option::as_ref);
                let compared = between.zip(compared).map(|(between, compared)| &between.figures[compared]);
                let first = totals[0].and_then(|first| measure(first, figure).0);
                ratio(page, first.zip(value), compared);
            }
        }
        page.push_str("</tr>\n");
    }
    page.push_str("<tr><th scope=\"row\">errors</th>");
    for (index, of) in totals.iter().enumerate() {
        let errors = of.map_or(String::new(), |of| count_text(of.errors()));
        put(page, format_args!("<td>{errors}</td>{}", if index == 0 { "" } else { "<td></td>" }));
    }
    page.push_str("</tr>\n</tbody>\n");
}

/// A figure over all repetitions, and how they lie apart.
fn measure(totals: &Totals, figure: Option<fn(&Latencies) -> f64>) -> (Option<f64>, Option<Spread>) {
    let latency = &totals.measured.latency;
    match figure {
        None => (totals.rate().map(|rate| rate.median), totals.rate()),
        Some(figure) => ((latency.count() > 0).then(|| figure(latency)), totals.spread(figure)),
    }
}

/// The cell of a ratio: with what it comes to where that was looked at, else the bare ratio of two values.
fn ratio(page: &mut String, values: Option<(f64, f64)>, compared: Option<&Compared>) {
    if let Some(Compared { is_rate, comparison: Some(comparison), .. }) = compared {
        let verdict = comparison.verdict();
        let class = match verdict {
            Verdict::NoDifference => "chance",
            Verdict::More if *is_rate => "better",
            Verdict::Less if !is_rate => "better",
            _ => "worse",
        };
        let (text, interval) = (ratio_text(comparison.ratio), interval_text(*comparison));
        let words = verdict_text(verdict, *is_rate);
        put(
            page,
            format_args!("<td class=\"ratio {class}\">{text} <small>{words}</small><small>{interval}</small></td>"),
        );
        return;
    }
    match values.filter(|(first, _)| *first > 0.0) {
        None => page.push_str("<td></td>"),
        Some((first, other)) => {
            put(page, format_args!("<td class=\"ratio chance\">({})</td>", ratio_text(other / first)))
        }
    }
}

/// A ratio to two digits or more.
fn ratio_text(ratio: f64) -> String {
    let decimals = match ratio {
        ratio if ratio >= 9.95 => 0,
        ratio if ratio >= 0.0995 => 2,
        ratio if ratio >= 0.00995 => 3,
        _ => 4,
    };
    format!("{ratio:.decimals$}×")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::Comparison;

    #[test]
    fn a_ratio_has_the_verdict_of_the_comparison_and_none_without() {
        let cell = |is_rate, low, high| {
            let comparison = Some(Comparison { ratio: f64::midpoint(low, high), low, high, repetitions_needed: None });
            let compared = Compared { name: FIGURES[0], is_rate, first: None, second: None, comparison };
            let mut page = String::new();
            ratio(&mut page, Some((1.0, 5.0)), Some(&compared));
            page
        };
        let expected = "<td class=\"ratio better\">2.00× <small>more: better</small><small>1.900 to 2.100</small></td>";
        assert_eq!(cell(true, 1.9, 2.1), expected);
        assert!(cell(false, 1.9, 2.1).contains("worse") && cell(true, 0.5, 0.7).contains("worse"));
        assert!(cell(false, 0.5, 0.7).contains("less: better"));
        assert!(cell(true, 0.9, 1.3).contains("chance") && cell(true, 0.9, 1.3).contains("no difference"));
        assert_eq!([12.34, 1.234, 0.1234, 0.01234].map(ratio_text), ["12×", "1.23×", "0.12×", "0.012×"]);
        let bare = |values| {
            let mut page = String::new();
            ratio(&mut page, values, None);
            page
        };
        assert!(bare(Some((1.0, 2.0))).contains("(2.00×)"));
        assert_eq!((bare(None), bare(Some((0.0, 1.0)))), ("<td></td>".to_owned(), "<td></td>".to_owned()));
    }
}
