//! A report's figures: the few that matter most, and the tables.

use super::super::histogram::Latencies;
use super::super::model::Pace;
use super::super::summary::{Share, Spread};
use super::super::words::{
    NO_FIGURE, count_text, duration_text, end_text, latency_text, nanoseconds_text, operation_name, plural, rate_text,
    rate_text_or_none, remarks_text, share_text,
};
use super::escape::Escaped;
use super::{Subject, put};

/// The figures that matter most, of all requests.
pub(super) fn tiles(page: &mut String, subject: &Subject<'_>) {
    let requests = &subject.summary.requests;
    let latency = &requests.measured.latency;
    page.push_str("<section class=\"tiles\" aria-label=\"Key figures, all requests\">\n");
    let mut tile = |name: &str, value: &str, note: &str| {
        put(
            page,
            format_args!(
                "<div><span class=\"name\">{name}</span><span class=\"value\">{value}</span><span class=\"note\">{note}</span></div>\n"
            ),
        );
    };
    let rate = requests.rate();
    let range = |spread: Option<Spread>, text: &dyn Fn(f64) -> String| match spread {
        None => String::new(),
        Some(spread) if spread.count > 1 => format!("{} to {}", text(spread.min), text(spread.max)),
        Some(_) => "one repetition".to_owned(),
    };
    let per_second = rate.map_or(NO_FIGURE.to_owned(), |rate| format!("{}<small>/s</small>", rate_text(rate.median)));
    tile("throughput", &per_second, &range(rate, &rate_text));
    for (name, quantile) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)] {
        let spread = requests.spread(|latency| latency.quantile(quantile) as f64);
        let value = latency_text(latency, |latency| latency.quantile(quantile) as f64);
        tile(name, &with_unit(&value), &range(spread, &duration_text));
    }
    let all = requests.errors() + latency.count();
    tile("errors", &count_text(requests.errors()), &format!("of {}", count_text(all)));
    page.push_str("</section>\n");
}

/// A number whose unit is set smaller.
fn with_unit(text: &str) -> String {
    text.split_once(' ').map_or_else(|| text.to_owned(), |(value, unit)| format!("{value} <small>{unit}</small>"))
}

/// The latencies of each kind of operation.
pub(super) fn kinds(page: &mut String, subject: &Subject<'_>) {
    page.push_str(
        "<section>\n<h2>By operation</h2>\n<table class=\"numbers\">\n<thead><tr><th scope=\"col\">operation</th>\
         <th scope=\"col\">count</th><th scope=\"col\">a second</th><th scope=\"col\">mean</th><th scope=\"col\">p50</th>\
         <th scope=\"col\">p90</th><th scope=\"col\">p99</th><th scope=\"col\">p99.9</th><th scope=\"col\">p99.99</th>\
         <th scope=\"col\">max</th><th scope=\"col\">errors</th></tr></thead>\n<tbody>\n",
    );
    for (kind, totals) in &subject.summary.kinds {
        let latency = &totals.measured.latency;
        put(
            page,
            format_args!(
                "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td>",
                operation_name(*kind),
                count_text(latency.count()),
                rate_text_or_none(totals.rate().map(|rate| rate.median)),
                latency_text(latency, Latencies::mean)
            ),
        );
        for quantile in [0.5, 0.9, 0.99, 0.999, 0.9999, 1.0] {
            put(page, format_args!("<td>{}</td>", latency_text(latency, |latency| latency.quantile(quantile) as f64)));
        }
        put(page, format_args!("<td>{}</td></tr>\n", count_text(totals.errors())));
    }
    page.push_str("</tbody>\n</table>\n");
    let remarks: Vec<String> = subject
        .summary
        .kinds
        .iter()
        .filter_map(|(kind, totals)| Some(format!("{}: {}", operation_name(*kind), remarks_text(&totals.measured)?)))
        .collect();
    if !remarks.is_empty() {
        put(page, format_args!("<p class=\"about\">{}.</p>\n", Escaped(&remarks.join("; "))));
    }
    page.push_str("</section>\n");
}

/// Each repetition by itself, and what the load generator was able to do.
pub(super) fn repetitions(page: &mut String, subject: &Subject<'_>) {
    page.push_str(
        "<section>\n<h2>Repetitions</h2>\n<table class=\"numbers\">\n<thead>\
         <tr><td></td><th scope=\"colgroup\" colspan=\"6\">all requests</th><th scope=\"colgroup\" colspan=\"3\">load generator</th></tr>\n\
         <tr><th scope=\"col\">repetition</th><th scope=\"col\">seconds</th><th scope=\"col\">a second</th><th scope=\"col\">p50</th>\
         <th scope=\"col\">p99</th><th scope=\"col\">p99.9</th><th scope=\"col\">max</th><th scope=\"col\">busy</th>\
         <th scope=\"col\">late p99</th><th scope=\"col\">late max</th></tr></thead>\n<tbody>\n",
    );
    for (number, repetition) in (1..).zip(&subject.report.repetitions) {
        let share = Share::of_requests(repetition);
        put(
            page,
            format_args!(
                "<tr><th scope=\"row\">{number}{}</th><td>{:.1}</td><td>{}</td>",
                if end_text(&repetition.end).is_some() { " (cut short)" } else { "" },
                repetition.seconds,
                rate_text_or_none(share.rate)
            ),
        );
        for quantile in [0.5, 0.99, 0.999, 1.0] {
            let value = latency_text(&share.latency, |latency| latency.quantile(quantile) as f64);
            put(page, format_args!("<td>{value}</td>"));
        }
        let check = &repetition.generator;
        // Only an open loop can be late, and only with something to send.
        let is_told = subject.report.load.pace != Pace::Closed && share.latency.count() > 0;
        let late = |time| if is_told { nanoseconds_text(time) } else { NO_FIGURE.to_owned() };
        put(
            page,
            format_args!(
                "<td>{}{}</td><td>{}</td><td>{}</td></tr>\n",
                if check.warning.is_some() { "<span class=\"mark\" title=\"see the cautions\">!</span> " } else { "" },
                share_text(check.busy_share),
                late(check.late_p99),
                late(check.late_max)
            ),
        );
    }
    page.push_str("</tbody>\n</table>\n");
    if let Some(spread) = subject.summary.requests.rate().filter(|spread| spread.count > 1) {
        put(
            page,
            format_args!(
                "<p class=\"about\">Throughput over {}: {} to {}/s, {} of the median apart. <i>Late</i> is how long after its time an \
                 operation was sent although its client had room.</p>\n",
                plural(spread.count as u64, "whole repetition"),
                rate_text(spread.min),
                rate_text(spread.max),
                share_text(spread.width())
            ),
        );
    }
    page.push_str("</section>\n");
}
