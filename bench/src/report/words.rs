//! The words and units in which reports speak to people: names of operations, times, counts and shares.

use super::histogram::Latencies;
use super::model::{Arrival, Build, End, Load, Machine, Measured, OperationKind, Pace, Repetition, Report, Workload};

/// All kinds of operations, in the order in which reports show them.
pub const OPERATION_KINDS: [OperationKind; 5] = [
    OperationKind::Read,
    OperationKind::Update,
    OperationKind::Insert,
    OperationKind::Scan,
    OperationKind::ReadModifyWrite,
];

/// What an operation is called in text.
#[must_use]
pub fn operation_name(kind: OperationKind) -> &'static str {
    match kind {
        OperationKind::Read => "read",
        OperationKind::Update => "update",
        OperationKind::Insert => "insert",
        OperationKind::Scan => "scan",
        OperationKind::ReadModifyWrite => "read-modify-write",
    }
}

/// What an operation is called where a name must be one word: the name that it has in the JSON of reports.
#[must_use]
pub fn operation_tag(kind: OperationKind) -> &'static str {
    match kind {
        OperationKind::ReadModifyWrite => "read_modify_write",
        other => operation_name(other),
    }
}

/// A time to three digits in the unit that suits it, as `1.23 ms`.
#[must_use]
pub fn duration_text(nanoseconds: f64) -> String {
    let (value, unit) = if nanoseconds < 999.5 {
        return format!("{nanoseconds:.0} ns");
    } else if nanoseconds < 999.5e3 {
        (nanoseconds / 1e3, "µs")
    } else if nanoseconds < 999.5e6 {
        (nanoseconds / 1e6, "ms")
    } else {
        (nanoseconds / 1e9, "s")
    };
    format!("{} {unit}", significant_text(value))
}

/// A time that histograms give, as [`duration_text`] writes it.
#[must_use]
pub fn nanoseconds_text(nanoseconds: u64) -> String {
    duration_text(nanoseconds as f64)
}

/// What stands where there is nothing to be told.
pub const NO_FIGURE: &str = "-";

/// A figure of latencies as [`duration_text`] writes it, or [`NO_FIGURE`] where there are none: nothing was not quick.
#[must_use]
pub fn latency_text(latencies: &Latencies, figure: impl Fn(&Latencies) -> f64) -> String {
    if latencies.count() > 0 { duration_text(figure(latencies)) } else { NO_FIGURE.to_owned() }
}

/// A positive number to three digits, as `1.23`, `12.3` or `1,234`.
#[must_use]
pub fn significant_text(value: f64) -> String {
    if value < 9.995 {
        format!("{value:.2}")
    } else if value < 99.95 {
        format!("{value:.1}")
    } else {
        grouped(&format!("{value:.0}"))
    }
}

/// A count with its thousands set apart, as `1,234,567`.
#[must_use]
pub fn count_text(count: u64) -> String {
    grouped(&count.to_string())
}

/// A number a second without its unit: as a count from 100 on, else to three digits.
#[must_use]
pub fn rate_text(rate: f64) -> String {
    if rate == 0.0 { "0".to_owned() } else { significant_text(rate) }
}

/// A rate that may not be known: with nothing measured there is none.
#[must_use]
pub fn rate_text_or_none(rate: Option<f64>) -> String {
    rate.map_or_else(|| NO_FIGURE.to_owned(), rate_text)
}

/// How often and how long was measured: `5 × 10 s after 2 s of warm-up`.
#[must_use]
pub fn time_text(report: &Report) -> String {
    let Load { seconds, warm_up_seconds, .. } = report.load;
    let whole = report.repetitions.iter().filter(|repetition| repetition.end == End::Complete).count();
    let cut_short = report.repetitions.len() - whole;
    let after = format!("{} after {} of warm-up", seconds_text(seconds), seconds_text(warm_up_seconds));
    match (whole, cut_short) {
        (_, 0) => format!("{whole} × {after}"),
        (0, _) => format!("{cut_short} × up to {after}, cut short"),
        _ => format!("{whole} × {after}, and {cut_short} cut short, which no figure has"),
    }
}

/// A share of 1 as a percentage, as `12.5 %`.
#[must_use]
pub fn share_text(share: f64) -> String {
    let percent = share * 100.0;
    if (percent - percent.round()).abs() < 0.05 { format!("{percent:.0} %") } else { format!("{percent:.1} %") }
}

/// An amount of memory in the largest binary unit that it fills, as `15.6 GiB`.
#[must_use]
pub fn bytes_text(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut units = ["KiB", "MiB", "GiB", "TiB"].into_iter();
    let mut unit = "B";
    while value >= 1024.0 {
        let Some(larger) = units.next() else { break };
        value /= 1024.0;
        unit = larger;
    }
    if value.fract() == 0.0 { format!("{value:.0} {unit}") } else { format!("{} {unit}", significant_text(value)) }
}

/// Seconds without needless digits, as `30 s` or `0.5 s`.
#[must_use]
pub fn seconds_text(seconds: f64) -> String {
    let rounded = (seconds * 10.0).round() / 10.0;
    format!("{rounded} s")
}

/// The machine that the load was made on, without its kernel: `AMD EPYC 7B13, 8 processors, 31.2 GiB`.
#[must_use]
pub fn machine_text(machine: &Machine) -> String {
    let (processors, memory) = (plural(machine.processors as u64, "processor"), bytes_text(machine.memory_bytes));
    format!("{}, {processors}, {memory}", machine.processor)
}

/// The program that made the load: `0.1.0, commit 7a7a59f503ac`.
#[must_use]
pub fn build_text(build: &Build) -> String {
    let commit = if build.commit.is_empty() { "unknown commit".to_owned() } else { format!("commit {}", build.commit) };
    let optimized = if build.is_optimized { "" } else { ", not optimised" };
    format!("{}, {commit}{optimized}", build.version)
}

/// What was asked of the store, in a line without the keys: `50 % read, 50 % update`.
#[must_use]
pub fn mix_text(workload: &Workload) -> String {
    let shares = workload.mix.iter().map(|(kind, share)| format!("{} {}", share_text(*share), operation_name(*kind)));
    shares.collect::<Vec<_>>().join(", ")
}

/// When operations were sent: `open loop, 20,000/s, Poisson`.
#[must_use]
pub fn pace_text(pace: Pace) -> String {
    match pace {
        Pace::Closed => "closed loop".to_owned(),
        Pace::Open { rate, arrival } => {
            let arrival = match arrival {
                Arrival::Constant => "constant distances",
                Arrival::Poisson => "Poisson arrivals",
            };
            format!("open loop, {}/s, {arrival}", rate_text(rate))
        }
    }
}

/// Who sent the operations: `16 clients with up to 8 under way each, 2 threads`.
#[must_use]
pub fn clients_text(load: &Load) -> String {
    let pinned = if load.pinned_to.is_empty() { String::new() } else { format!(" on processors {}", load.pinned_to) };
    format!(
        "{} with up to {} under way each, {}{pinned}",
        plural(load.clients as u64, "client"),
        load.depth,
        plural(load.threads as u64, "thread")
    )
}

/// How a measurement ended, if not as it was meant to.
#[must_use]
pub fn end_text(end: &End) -> Option<String> {
    match end {
        End::Complete => None,
        End::Interrupted => Some("interrupted by the user".to_owned()),
        End::Lost(reason) => Some(format!("the store could no longer be reached: {reason}")),
    }
}

/// An open loop that took so many times its time was behind.
const BEHIND_FACTOR: f64 = 1.02;

/// What an open loop that was behind at its end says of its figures.
#[must_use]
pub fn behind_text(repetition: &Repetition, load: &Load) -> Option<String> {
    if repetition.unsent > 0 {
        return Some(format!(
            "the store did not keep up: about {} that were due were never sent, and latencies leave them out, which would be the longest",
            plural(repetition.unsent, "operation")
        ));
    }
    let is_behind = load.pace != Pace::Closed
        && repetition.end == End::Complete
        && repetition.seconds > load.seconds * BEHIND_FACTOR;
    is_behind.then(|| {
        format!(
            "the store did not keep up: it took {} to answer what was due in {}",
            seconds_text(repetition.seconds),
            seconds_text(load.seconds)
        )
    })
}

/// What became of operations that were not simply answered: errors by reason, those without an answer, those that another node had to do, and reads that
/// found nothing.
#[must_use]
pub fn remarks_text(measured: &Measured) -> Option<String> {
    let mut parts: Vec<String> =
        measured.errors.iter().map(|(reason, count)| format!("{} × {reason}", count_text(*count))).collect();
    if measured.unanswered > 0 {
        parts.push(format!("{} unanswered at the end", count_text(measured.unanswered)));
    }
    if measured.redirected > 0 {
        parts.push(format!("{} redirected to another node", count_text(measured.redirected)));
    }
    if measured.absent > 0 {
        parts.push(format!("{} found nothing", count_text(measured.absent)));
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// Why the tail of a closed loop says little about stalls, for whoever reads one.
pub const CLOSED_LOOP_NOTE: &str = "Closed loop: a stall keeps the clients from sending, so each of them meets it \
     once however long it is, and the tail hides it; an open loop shows it.";

/// A count with its noun in the right number.
#[must_use]
pub fn plural(count: u64, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{} {noun}{ending}", count_text(count))
}

/// Sets thousands apart with commas; `digits` are decimal digits only.
fn grouped(digits: &str) -> String {
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_three_digits_and_never_show_a_thousand_of_a_unit() {
        let cases = [
            (0.0, "0 ns"),
            (850.4, "850 ns"),
            (999.6, "1.00 µs"),
            (12_345.0, "12.3 µs"),
            (999_400.0, "999 µs"),
            (999_600.0, "1.00 ms"),
            (99_960_000.0, "100 ms"),
            (1.5e9, "1.50 s"),
            (3_600e9, "3,600 s"),
        ];
        for (nanoseconds, text) in cases {
            assert_eq!(duration_text(nanoseconds), text);
        }
    }

    #[test]
    fn counts_shares_and_sizes_read_as_people_write_them() {
        assert_eq!(count_text(0), "0");
        assert_eq!(count_text(999), "999");
        assert_eq!(count_text(1_234_567), "1,234,567");
        assert_eq!(rate_text(0.5), "0.50");
        assert_eq!(rate_text(0.0), "0");
        assert_eq!(latency_text(&Latencies::default(), Latencies::mean), NO_FIGURE);
        assert_eq!(rate_text(19_999.6), "20,000");
        assert_eq!(share_text(0.125), "12.5 %");
        assert_eq!(share_text(0.95), "95 %");
        assert_eq!(bytes_text(100), "100 B");
        assert_eq!(bytes_text(1_048_576), "1 MiB");
        assert_eq!(bytes_text(16_777_216_000), "15.6 GiB");
        assert_eq!(seconds_text(30.0), "30 s");
        assert_eq!(seconds_text(29.97), "30 s");
        assert_eq!(plural(1, "client"), "1 client");
    }

    #[test]
    fn tags_are_the_names_of_the_json() {
        for kind in OPERATION_KINDS {
            assert_eq!(serde_json::to_value(kind).expect("encodes"), operation_tag(kind));
        }
    }
}
