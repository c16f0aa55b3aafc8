//! Several reports side by side: figures with their ratios to the first, and what else than the store differs.

use super::super::histogram::Latencies;
use super::super::summary::{Spread, Totals};
use super::super::words::{OPERATION_KINDS, count_text, duration_text, operation_name, rate_text};
use super::facts::facts;
use super::{Subject, badge, put};

/// Facts that should be the same where stores are compared.
const SHOULD_AGREE: [&str; 8] = ["Durability", "Workload", "Keys", "Load", "Time", "Machine", "Kernel", "Generator"];
/// Ratios closer to 1 than this are neither better nor worse.
const NOTEWORTHY: f64 = 0.02;

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

/// A row: its name, the figure of a histogram or `None` for throughput.
type Row = (&'static str, Option<fn(&Latencies) -> f64>);

/// The rows of each kind of operation.
const ROWS: [Row; 8] = [
    ("throughput", None),
    ("mean", Some(Latencies::mean)),
    ("p50", Some(|latency| latency.quantile(0.5) as f64)),
    ("p90", Some(|latency| latency.quantile(0.9) as f64)),
    ("p99", Some(|latency| latency.quantile(0.99) as f64)),
    ("p99.9", Some(|latency| latency.quantile(0.999) as f64)),
    ("p99.99", Some(|latency| latency.quantile(0.9999) as f64)),
    ("max", Some(|latency| latency.max() as f64)),
];

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
    let all = if shown.len() == 1 { None } else { Some(None) };
    for kind in all.into_iter().chain(shown) {
        let totals: Vec<Option<&Totals>> = subjects
            .iter()
            .map(|subject| match kind {
                Some(kind) => subject.summary.kinds.get(&kind),
                None => Some(&subject.summary.requests),
            })
            .collect();
        group(page, kind.map_or("all requests", operation_name), &totals);
    }
    page.push_str(
        "</table>\n</div>\n<p class=\"about\">Latencies are of all repetitions together, throughput is their median; below stands how far the \
         repetitions lie apart. Ratios are to the first report. Where the ranges of the repetitions overlap, or there is only one, the ratio \
         is in parentheses: the difference may be chance.</p>\n</section>\n",
    );
}

/// The rows of one kind of operation.
fn group(page: &mut String, name: &str, totals: &[Option<&Totals>]) {
    let columns = totals.len() * 2;
    put(
        page,
        format_args!("<tbody>\n<tr class=\"group\"><th scope=\"rowgroup\" colspan=\"{columns}\">{name}</th></tr>\n"),
    );
    for (name, figure) in ROWS {
        put(page, format_args!("<tr><th scope=\"row\">{name}</th>"));
        for (index, of) in totals.iter().enumerate() {
            let Some(of) = of else {
                page.push_str(if index == 0 { "<td></td>" } else { "<td></td><td></td>" });
                continue;
            };
            let (value, spread) = measure(of, figure);
            let text =
                |value: f64| if figure.is_some() { duration_text(value) } else { format!("{}/s", rate_text(value)) };
            put(page, format_args!("<td>{}", text(value)));
            if of.repetitions.len() > 1 {
                put(page, format_args!("<small>{} to {}</small>", text(spread.min), text(spread.max)));
            }
            page.push_str("</td>");
            if index > 0 {
                let first = totals[0].map(|first| measure(first, figure));
                let is_repeated =
                    of.repetitions.len() > 1 && totals[0].is_some_and(|first| first.repetitions.len() > 1);
                ratio(page, first, (value, spread), is_repeated, figure.is_none());
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
fn measure(totals: &Totals, figure: Option<fn(&Latencies) -> f64>) -> (f64, Spread) {
    match figure {
        None => (totals.rate().median, totals.rate()),
        Some(figure) => (figure(&totals.measured.latency), totals.spread(figure)),
    }
}

/// The cell of a ratio. `more` says whether more is better. What was not answered took no time, and is not better for that; and one repetition does
/// not say how far others would lie apart.
fn ratio(page: &mut String, first: Option<(f64, Spread)>, other: (f64, Spread), is_repeated: bool, more: bool) {
    let Some((base, spread)) = first.filter(|(base, _)| *base > 0.0 && (more || other.0 > 0.0)) else {
        page.push_str("<td></td>");
        return;
    };
    let ratio = other.0 / base;
    let text = ratio_text(ratio);
    if !is_repeated || spread.overlaps(&other.1) {
        put(page, format_args!("<td class=\"ratio chance\">({text})</td>"));
    } else if (ratio - 1.0).abs() < NOTEWORTHY {
        put(page, format_args!("<td class=\"ratio\">{text}</td>"));
    } else {
        let word = if (ratio > 1.0) == more { "better" } else { "worse" };
        put(page, format_args!("<td class=\"ratio {word}\">{text} <small>{word}</small></td>"));
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

    #[test]
    fn a_ratio_says_better_or_worse_only_where_the_repetitions_are_apart() {
        let cell = |first: [f64; 2], other: [f64; 2], more| {
            let (first, other) = (Spread::of(first), Spread::of(other));
            let mut page = String::new();
            ratio(&mut page, Some((first.median, first)), (other.median, other), true, more);
            page
        };
        assert!(cell([90.0, 110.0], [180.0, 220.0], true).contains("2.00× <small>better"));
        assert!(cell([90.0, 110.0], [180.0, 220.0], false).contains("2.00× <small>worse"));
        assert!(cell([90.0, 110.0], [100.0, 140.0], false).contains("(1.20×)"));
        assert!(cell([100.0, 100.2], [101.0, 101.2], true).contains(">1.01×<"));
        assert_eq!([12.34, 1.234, 0.1234, 0.01234].map(ratio_text), ["12×", "1.23×", "0.12×", "0.012×"]);
        assert!(cell([0.0, 0.0], [1.0, 1.0], true).contains("<td></td>"));
        assert!(cell([1.0, 1.0], [0.0, 0.0], false).contains("<td></td>"), "no answers are not quick answers");
        assert!(cell([1.0, 1.0], [0.0, 0.0], true).contains("worse"), "but few");
        let (one, other, mut page) = (Spread::of([1.0]), Spread::of([2.0]), String::new());
        ratio(&mut page, Some((1.0, one)), (2.0, other), false, true);
        assert!(page.contains("(2.00×)"), "{page}");
    }
}
