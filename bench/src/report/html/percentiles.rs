//! The percentile curve: latency over the share of operations that took no longer, with the share's distance to 1 on a logarithmic axis, so
//! that every nine has the same room.

use serde_json::json;

use super::super::histogram::Latencies;
use super::super::model::{Pace, Report};
use super::super::words::{OPERATION_KINDS, duration_text, nanoseconds_text, operation_name};
use super::axis::{Axis, spread_apart};
use super::picture::{COLOURS, Variant, WIDTH, begin, line, path, text, variants};
use super::{Subject, put};

/// Where the plot lies.
const LEFT: f64 = 66.0;
const RIGHT: f64 = WIDTH - 240.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 372.0;
const HEIGHT: f64 = 412.0;
/// The distance of the places at which a curve is drawn and read off, in the picture.
const STEP: f64 = 3.0;

/// A curve.
struct Curve<'a> {
    name: String,
    class: String,
    latency: &'a Latencies,
    /// The same measured otherwise, or a part: drawn thin, and not labelled.
    thin: Vec<&'a Latencies>,
}

/// The curves of one report: all kinds of operations together, and each with its repetitions.
pub(super) fn single(page: &mut String, subject: &Subject<'_>) {
    let kinds = &subject.summary.kinds;
    let mut pictures = Vec::new();
    if kinds.len() != 1 {
        let curves = kinds.iter().map(|(kind, totals)| Curve {
            name: operation_name(*kind).to_owned(),
            class: class_of(OPERATION_KINDS.iter().position(|other| other == kind).unwrap_or(0)),
            latency: &totals.measured.latency,
            thin: Vec::new(),
        });
        pictures.push(variant("all kinds".to_owned(), &curves.collect::<Vec<_>>(), true));
    }
    for (kind, totals) in kinds {
        let name = operation_name(*kind);
        let mut curves = vec![Curve {
            name: name.to_owned(),
            class: class_of(OPERATION_KINDS.iter().position(|other| other == kind).unwrap_or(0)),
            latency: &totals.measured.latency,
            thin: totals
                .repetitions
                .iter()
                .map(|share| &share.latency)
                .filter(|_| totals.repetitions.len() > 1)
                .collect(),
        }];
        if is_open(subject.report) {
            let service = &totals.measured.service;
            curves.push(Curve {
                name: "since sent".to_owned(),
                class: "service".to_owned(),
                latency: service,
                thin: vec![],
            });
        }
        pictures.push(variant(name.to_owned(), &curves, kinds.len() == 1));
    }
    page.push_str("<section>\n<h2>Latency by percentile</h2>\n");
    let repetitions =
        if subject.report.repetitions.len() > 1 { " Of one kind, thin lines are the repetitions." } else { "" };
    let basis = if is_open(subject.report) {
        "From the intended time of sending to the answer; <i>since sent</i> leaves out how long an operation waited to be sent."
    } else {
        "From sending to the answer."
    };
    put(page, format_args!("<p class=\"about\">{basis}{repetitions}</p>\n"));
    variants(page, "percentiles", "Operations", &pictures);
    page.push_str("</section>\n");
}

/// The curves of several reports over each other: of all requests, and of each kind of operation.
pub(super) fn several(page: &mut String, subjects: &[Subject<'_>]) {
    let mut pictures = Vec::new();
    let shown =
        OPERATION_KINDS.iter().filter(|kind| subjects.iter().any(|subject| subject.summary.kinds.contains_key(kind)));
    let shown: Vec<_> = shown.map(|kind| Some(*kind)).collect();
    // All requests are the only kind if there is only one.
    let all = if shown.len() == 1 { None } else { Some(None) };
    for kind in all.into_iter().chain(shown) {
        let curves = subjects.iter().enumerate().filter_map(|(index, subject)| {
            let totals = match kind {
                Some(kind) => subject.summary.kinds.get(&kind)?,
                None => &subject.summary.requests,
            };
            Some(Curve {
                name: subject.letter.to_string(),
                class: class_of(index),
                latency: &totals.measured.latency,
                thin: totals
                    .repetitions
                    .iter()
                    .map(|share| &share.latency)
                    .filter(|_| totals.repetitions.len() > 1)
                    .collect(),
            })
        });
        let name = kind.map_or("all requests", operation_name);
        pictures.push(variant(name.to_owned(), &curves.collect::<Vec<_>>(), true));
    }
    page.push_str(
        "<section>\n<h2>Latency by percentile</h2>\n\
         <p class=\"about\">From the intended time of sending to the answer. Thin lines are the repetitions.</p>\n",
    );
    variants(page, "percentiles", "Operations", &pictures);
    page.push_str("</section>\n");
}

fn is_open(report: &Report) -> bool {
    report.load.pace != Pace::Closed
}

fn class_of(index: usize) -> String {
    format!("c{}", index % COLOURS)
}

fn variant(name: String, curves: &[Curve<'_>], is_printed: bool) -> Variant {
    let svg = plot(&name, curves);
    Variant { name, svg, is_printed }
}

/// Draws curves.
fn plot(name: &str, curves: &[Curve<'_>]) -> String {
    // A histogram of n times has no say beyond the share 1 - 1/n: there its curve ends, at the longest.
    let end = |latency: &Latencies| (latency.count().max(1) as f64).log10();
    let nines = curves.iter().map(|curve| end(curve.latency)).fold(3.0, f64::max);
    let x = Axis::linear(0.0, nines, LEFT, RIGHT);
    let columns = steps(&x);
    let points: Vec<Vec<u64>> = curves.iter().map(|curve| values_at(curve.latency, &columns)).collect();
    let thin_points: Vec<Vec<Vec<u64>>> =
        curves.iter().map(|curve| curve.thin.iter().map(|latency| values_at(latency, &columns)).collect()).collect();
    let y = Axis::logarithmic(points.iter().chain(thin_points.iter().flatten()).flatten().copied(), BOTTOM, TOP);

    let mut svg = begin(HEIGHT, &description(name, curves), Some(&hover(&x, &y, &columns, curves, &points)));
    axes(&mut svg, &x, &y, nines);
    let place = |nines: f64, value: u64| (x.at(nines), y.at(value as f64));
    let draw = |svg: &mut String, class: &str, latency: &Latencies, values: &[u64]| {
        let last = end(latency);
        let places = columns.iter().zip(values).take_while(|(column, _)| **column < last);
        let places = places.map(|(column, value)| place(*column, *value)).chain([place(last, latency.max())]);
        if latency.count() > 0 {
            path(svg, class, places.map(Some));
        }
    };
    for (curve, parts) in curves.iter().zip(&thin_points) {
        for (latency, values) in curve.thin.iter().zip(parts) {
            draw(&mut svg, &format!("curve thin {}", curve.class), latency, values);
        }
    }
    for (curve, values) in curves.iter().zip(&points) {
        draw(&mut svg, &format!("curve {}", curve.class), curve.latency, values);
    }
    let mut labels: Vec<f64> = curves.iter().map(|curve| y.at(curve.latency.max() as f64)).collect();
    spread_apart(&mut labels, 16.0, TOP, BOTTOM);
    for (curve, label) in curves.iter().zip(labels).filter(|(curve, _)| curve.latency.count() > 0) {
        let (end_x, end_y) = place(end(curve.latency), curve.latency.max());
        put(
            &mut svg,
            format_args!("<circle class=\"dot {}\" cx=\"{end_x:.1}\" cy=\"{end_y:.1}\" r=\"3\"/>\n", curve.class),
        );
        line(&mut svg, "leader", (end_x + 5.0, end_y), (RIGHT + 12.0, label));
        let maximum = nanoseconds_text(curve.latency.max());
        text(
            &mut svg,
            &format!("label {}", curve.class),
            (RIGHT + 16.0, label + 4.0),
            &format!("{}, max {maximum}", curve.name),
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// Lines and names of both axes.
fn axes(svg: &mut String, x: &Axis, y: &Axis, nines: f64) {
    for tick in y.ticks(0.0) {
        line(svg, "grid", (LEFT, y.at(tick)), (RIGHT, y.at(tick)));
        text(svg, "tick end", (LEFT - 8.0, y.at(tick) + 4.0), &tick_text(tick));
    }
    let half = 2_f64.log10();
    for tick in [half].into_iter().chain((0..12).map(f64::from).take_while(|tick| *tick <= nines)) {
        line(svg, "grid", (x.at(tick), TOP), (x.at(tick), BOTTOM));
        text(svg, "tick middle", (x.at(tick), BOTTOM + 18.0), &percentile_text(tick));
    }
    line(svg, "axis", (LEFT, BOTTOM), (RIGHT, BOTTOM));
    text(svg, "name end", (LEFT - 8.0, TOP - 14.0), "latency");
    text(svg, "name middle", (f64::midpoint(LEFT, RIGHT), BOTTOM + 37.0), "share of operations that took no longer");
}

/// What is shown under the pointer.
fn hover(x: &Axis, y: &Axis, columns: &[f64], curves: &[Curve<'_>], points: &[Vec<u64>]) -> serde_json::Value {
    let series = curves.iter().zip(points).map(
        |(curve, values)| json!({"name": curve.name, "class": curve.class, "panel": 0, "unit": "ns", "values": values}),
    );
    json!({
        "x": columns.iter().map(|column| (x.at(*column) * 10.0).round() / 10.0).collect::<Vec<_>>(),
        "label": columns.iter().map(|column| percentile_text(*column)).collect::<Vec<_>>(),
        "top": TOP, "bottom": BOTTOM,
        "panels": [{"low": y.low, "high": y.high, "from": y.from, "to": y.to, "log": true}],
        "series": series.collect::<Vec<_>>(),
    })
}

/// The picture in words.
fn description(name: &str, curves: &[Curve<'_>]) -> String {
    let mut words = format!("Latency by percentile, {name}.");
    for curve in curves {
        let at = |quantile| nanoseconds_text(curve.latency.quantile(quantile));
        put(
            &mut words,
            format_args!(
                " {}: half within {}, 99 % within {}, 99.9 % within {}, all within {}.",
                curve.name,
                at(0.5),
                at(0.99),
                at(0.999),
                nanoseconds_text(curve.latency.max())
            ),
        );
    }
    words
}

/// The nines at which curves are read off, 0 first.
fn steps(x: &Axis) -> Vec<f64> {
    let step = STEP / (x.to - x.from) * x.high;
    std::iter::successors(Some(0.0), |nines| Some(nines + step)).take_while(|nines| *nines <= x.high).collect()
}

/// The times at ascending nines, read in one pass. The same as asking the histogram for each.
fn values_at(latency: &Latencies, nines: &[f64]) -> Vec<u64> {
    let total = latency.count() as f64;
    let mut recorded = latency.as_histogram().iter_recorded();
    let (mut value, mut seen) = (0, 0.0);
    let mut values = Vec::with_capacity(nines.len());
    for nines in nines {
        let wanted = (total * (1.0 - 10_f64.powf(-nines))).ceil().clamp(1.0, total.max(1.0));
        while seen < wanted {
            let Some(next) = recorded.next() else { break };
            seen += next.count_at_value() as f64;
            value = next.value_iterated_to();
        }
        values.push(value);
    }
    values
}

/// Nines as a percentile with a digit more than it has nines: 1.5 nines are `96.8 %`.
fn percentile_text(nines: f64) -> String {
    let percent = 100.0 * (1.0 - 10_f64.powf(-nines));
    let below = (1..12_u8).filter(|limit| nines > f64::from(*limit) + 1e-9).count();
    let is_whole = (nines - nines.round()).abs() < 1e-9;
    let decimals = below.saturating_sub(usize::from(is_whole));
    format!("{percent:.decimals$} %")
}

/// A time on an axis: whole where it is whole.
pub(super) fn tick_text(nanoseconds: f64) -> String {
    let (value, unit) = if nanoseconds < 1e3 {
        (nanoseconds, "ns")
    } else if nanoseconds < 1e6 {
        (nanoseconds / 1e3, "µs")
    } else if nanoseconds < 1e9 {
        (nanoseconds / 1e6, "ms")
    } else {
        (nanoseconds / 1e9, "s")
    };
    if (value - value.round()).abs() < 1e-6 { format!("{value:.0} {unit}") } else { duration_text(nanoseconds) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_is_what_the_histogram_says_at_each_place() {
        let mut latency = Latencies::default();
        for number in 1..=5_000_u64 {
            latency.record(number * number * 7);
        }
        let nines: Vec<f64> = (0..40).map(|step| f64::from(step) * 0.1).collect();
        for (nines, value) in nines.iter().zip(values_at(&latency, &nines)) {
            assert_eq!(value, latency.quantile(1.0 - 10_f64.powf(-nines)), "at {nines} nines");
        }
        assert_eq!(values_at(&Latencies::default(), &[0.0, 1.0]), [0, 0]);
    }

    #[test]
    fn percentiles_are_named_with_as_many_digits_as_they_need() {
        let named = [0.0, 2_f64.log10(), 1.0, 1.5, 2.0, 3.0, 4.0, 5.0].map(percentile_text);
        assert_eq!(named, ["0 %", "50 %", "90 %", "96.8 %", "99 %", "99.9 %", "99.99 %", "99.999 %"]);
    }
}
