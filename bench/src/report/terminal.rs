//! A report as some lines of text, for the terminal.

use std::fmt::Write;

use super::histogram::Latencies;
use super::model::{OperationKind, Pace, Report};
use super::summary::{Spread, Summary};
use super::words::{
    CLOSED_LOOP_NOTE, NO_FIGURE, behind_text, build_text, bytes_text, clients_text, count_text, duration_text,
    end_text, latency_text, machine_text, mix_text, operation_name, pace_text, plural, rate_text, rate_text_or_none,
    remarks_text, share_text, significant_text, time_text,
};

/// The columns of latencies: how they are called, and the share of operations that took no longer.
const QUANTILES: [(&str, f64); 5] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)];

/// A report in some lines: what was run, the latencies of each kind of operation, what went wrong, and how far the repetitions lie apart.
#[must_use]
pub fn summary(report: &Report) -> String {
    let totals = Summary::of(report);
    let mut lines = head(report);
    lines.push(String::new());
    lines.extend(table(&totals));
    lines.push(String::new());
    lines.extend(spreads(&totals));
    lines.extend(failures(&totals));
    lines.extend(cautions(report));
    lines.iter().fold(String::new(), |mut text, line| {
        writeln!(text, "{}", line.trim_end()).expect("a string takes all text");
        text
    })
}

/// What was run.
fn head(report: &Report) -> Vec<String> {
    let Report { target, workload, load, machine, generator, .. } = report;
    vec![
        report.title.clone(),
        entry("target", &format!("{}, {} driver, {}", target.server, target.driver, target.address)),
        entry("durability", &target.durability),
        entry(
            "workload",
            &format!(
                "{}: {}; {}; {} of {}, values of {}",
                workload.name,
                mix_text(workload),
                workload.distribution,
                plural(workload.keys, "key"),
                bytes_text(workload.key_bytes as u64),
                bytes_text(workload.value_bytes as u64)
            ),
        ),
        entry("load", &format!("{}; {}", pace_text(load.pace), clients_text(load))),
        entry("time", &time_text(report)),
        entry("machine", &format!("{}, {}", machine_text(machine), machine.kernel)),
        entry("generator", &build_text(generator)),
    ]
}

/// The latencies of each kind of operation. Numbers are flush right.
fn table(summary: &Summary) -> Vec<String> {
    let mut rows = vec![["operation", "count", "ops/s", "mean"].map(str::to_owned).to_vec()];
    rows[0].extend(QUANTILES.iter().map(|(name, _)| (*name).to_owned()));
    rows[0].push("max".to_owned());
    for (kind, totals) in &summary.kinds {
        let latency = &totals.measured.latency;
        let mut row = vec![
            operation_name(*kind).to_owned(),
            count_text(latency.count()),
            rate_text_or_none(totals.rate().map(|rate| rate.median)),
            latency_text(latency, Latencies::mean),
        ];
        let quantile = |quantile: f64| latency_text(latency, |latency| latency.quantile(quantile) as f64);
        row.extend(QUANTILES.iter().map(|(_, share)| quantile(*share)));
        row.push(latency_text(latency, |latency| latency.max() as f64));
        rows.push(row);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let mut line = format!("  {:<width$}", row[0], width = widths[0]);
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            write!(line, "  {cell:>width$}").expect("a string takes all text");
        }
        line
    };
    rows.iter().map(line).collect()
}

/// How far the repetitions lie apart.
fn spreads(summary: &Summary) -> Vec<String> {
    let requests = &summary.requests;
    let line = |name: &str, spread: Option<Spread>, text: &dyn Fn(f64) -> String| {
        let Some(spread) = spread else { return entry(name, NO_FIGURE) };
        let mut value = text(spread.median);
        if spread.count > 1 {
            let (min, max, apart) = (text(spread.min), text(spread.max), apart_text(spread));
            write!(value, ", median of {} ({min} to {max}{apart})", spread.count).expect("a string takes all text");
        }
        entry(name, &value)
    };
    let p99 = requests.spread(|latency| latency.quantile(0.99) as f64);
    let per_second = |rate| format!("{}/s", rate_text(rate));
    let mut lines = vec![line("throughput", requests.rate(), &per_second)];
    // A rate that is asked for is of operations, and the two would seem to contradict each other.
    if summary.kinds.contains_key(&OperationKind::ReadModifyWrite) {
        lines[0].push_str("; of requests, of which a read-modify-write is two");
        lines.push(line("operations", summary.operation_rate(), &per_second));
    }
    lines.push(line("p99", p99, &duration_text));
    lines
}

/// How far the extremes lie apart: as a share of the median or, if that is more than all of it, as a factor. Nothing is a multiple of nothing.
fn apart_text(spread: Spread) -> String {
    if spread.width() < 1.0 {
        format!(", {} apart", share_text(spread.width()))
    } else if spread.min > 0.0 {
        format!(", {} times the least", significant_text(spread.max / spread.min))
    } else {
        String::new()
    }
}

/// Errors by reason, reads that found nothing, and operations without an answer, kind by kind.
fn failures(summary: &Summary) -> Vec<String> {
    let mut lines: Vec<String> = summary
        .kinds
        .iter()
        .filter_map(|(kind, totals)| Some(format!("{}: {}", operation_name(*kind), remarks_text(&totals.measured)?)))
        .collect();
    match lines.first_mut() {
        None => lines.push(entry("errors", "none")),
        Some(first) => *first = entry("errors", first),
    }
    for line in lines.iter_mut().skip(1) {
        *line = entry("", line);
    }
    lines
}

/// What went wrong in a run, in sentences.
#[must_use]
pub fn warnings(report: &Report) -> Vec<String> {
    let mut warnings = Vec::new();
    if report.repetitions.is_empty() {
        warnings.push("nothing was measured: the run was ended before its first repetition".to_owned());
    }
    for (number, repetition) in (1..).zip(&report.repetitions) {
        let (end, behind) = (end_text(&repetition.end), behind_text(repetition, &report.load));
        for warning in end.iter().chain(&behind).chain(&repetition.generator.warning) {
            warnings.push(format!("repetition {number}: {warning}"));
        }
    }
    if !report.generator.is_optimized {
        warnings.push("the load generator was built without optimisations".to_owned());
    }
    warnings
}

/// What a reader should know before believing the figures.
fn cautions(report: &Report) -> Vec<String> {
    let mut lines: Vec<String> = warnings(report).iter().map(|warning| entry("warning", warning)).collect();
    if report.load.pace == Pace::Closed {
        lines.push(entry("note", CLOSED_LOOP_NOTE));
    }
    lines
}

/// A named line.
fn entry(name: &str, text: &str) -> String {
    format!("  {name:<11} {text}")
}
