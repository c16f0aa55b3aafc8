//! How a report's repetitions went: latency and throughput over time, one above the other on the same time axis.

use std::cmp::Reverse;

use serde_json::{Value, json};

use super::super::model::{Interval, OperationKind, Pace, Repetition};
use super::super::words::{nanoseconds_text, rate_text, significant_text};
use super::axis::{Axis, round_step, spread_apart};
use super::percentiles::tick_text;
use super::picture::{Variant, WIDTH, begin, line, path, rectangle, text, variants};
use super::{Subject, put};

/// Where the plots lie.
const LEFT: f64 = 66.0;
const RIGHT: f64 = WIDTH - 110.0;
const LATENCY_TOP: f64 = 58.0;
const LATENCY_BOTTOM: f64 = 286.0;
const RATE_TOP: f64 = 328.0;
const RATE_BOTTOM: f64 = 428.0;
const HEIGHT: f64 = 468.0;
/// Between repetitions that stand beside each other.
const GAP: f64 = 28.0;
/// The least distance of two points of a line.
const POINT_DISTANCE: f64 = 2.0;

/// The lines of latency: name, class, and the value of an interval.
type Line = (&'static str, &'static str, fn(&Interval) -> u64);
const LINES: [Line; 4] = [
    ("max", "t3", |interval| interval.max),
    ("p99.9", "t2", |interval| interval.p999),
    ("p99", "t1", |interval| interval.p99),
    ("p50", "t0", |interval| interval.p50),
];

/// The ends of the axes, the same for all reports of a page, so that the eye can compare them.
pub(super) struct Scales {
    latency: Axis,
    rate: Axis,
}

impl Scales {
    /// Scales that hold all intervals.
    pub(super) fn of(subjects: &[Subject<'_>]) -> Self {
        let intervals = || {
            let repetitions = subjects.iter().flat_map(|subject| &subject.report.repetitions);
            repetitions.flat_map(|repetition| &repetition.intervals)
        };
        let latencies = intervals().flat_map(|interval| LINES.map(|(_, _, value)| value(interval)));
        let offered = subjects.iter().filter_map(|subject| offered(subject.report.load.pace));
        let greatest = intervals().map(rate).chain(offered).fold(0.0, f64::max);
        Self {
            latency: Axis::logarithmic(latencies, LATENCY_BOTTOM, LATENCY_TOP),
            rate: Axis::linear(0.0, greatest * 1.08, RATE_BOTTOM, RATE_TOP),
        }
    }
}

/// The section of a report, if it has intervals.
pub(super) fn section(page: &mut String, subject: &Subject<'_>, scales: &Scales) {
    let repetitions = &subject.report.repetitions;
    if repetitions.iter().all(|repetition| repetition.intervals.is_empty()) {
        return;
    }
    let numbered: Vec<(usize, &Repetition)> = (1..).zip(repetitions).collect();
    let mut pictures = Vec::new();
    if numbered.len() > 1 {
        let svg = plot(&numbered, subject.report.load.pace, scales);
        pictures.push(Variant { name: "all repetitions".to_owned(), svg, is_printed: true });
    }
    for repetition in &numbered {
        let svg = plot(&[*repetition], subject.report.load.pace, scales);
        pictures.push(Variant { name: format!("repetition {}", repetition.0), svg, is_printed: numbered.len() == 1 });
    }
    let has_two_parts = subject.summary.kinds.contains_key(&OperationKind::ReadModifyWrite);
    let two_parts = if has_two_parts { ", of which a read-modify-write is one, and two requests" } else { "" };
    put(
        page,
        format_args!(
            "<section>\n<h2>Over time</h2>\n\
             <p class=\"about\">Latencies of all requests, by when they were answered; where several intervals share a place, the highest \
             of them is drawn. Below, operations a second{two_parts}.</p>\n"
        ),
    );
    variants(page, &format!("time-{}", subject.letter), "Repetition", &pictures);
    page.push_str("</section>\n");
}

/// A repetition in its place in a picture.
struct Block {
    number: usize,
    x: Axis,
    points: Vec<Interval>,
    /// When nothing was answered, from and to.
    silences: Vec<(f64, f64)>,
}

/// Draws repetitions beside each other.
fn plot(repetitions: &[(usize, &Repetition)], pace: Pace, scales: &Scales) -> String {
    let blocks = blocks(repetitions);
    let worst = blocks
        .iter()
        .flat_map(|block| block.points.iter().map(move |point| (block, point)))
        .min_by_key(|(_, point)| Reverse(point.max));
    let mut svg = begin(HEIGHT, &description(&blocks, worst), Some(&hover(&blocks, scales)));
    for block in &blocks {
        draw_axes(&mut svg, block, scales, blocks.len() > 1);
        draw_silence(&mut svg, block);
        let rates = block.points.iter().map(|point| Some((block.x.at(middle(point)), scales.rate.at(rate(point)))));
        path(&mut svg, "curve rate", rates);
        for (_, class, value) in LINES.iter().rev() {
            let places = block.points.iter().map(|point| {
                (point.count > 0).then(|| (block.x.at(middle(point)), scales.latency.at(value(point) as f64)))
            });
            path(&mut svg, &format!("curve {class}"), places);
        }
        for point in block.points.iter().filter(|point| point.errors > 0) {
            let (x, y) = (block.x.at(middle(point)), RATE_BOTTOM);
            put(
                &mut svg,
                format_args!(
                    "<path class=\"error\" d=\"M{x:.1} {:.1}l4 8h-8z\"><title>{} errors at {:.1} s</title></path>\n",
                    y - 9.0,
                    point.errors,
                    point.start
                ),
            );
        }
    }
    draw_names(&mut svg, &blocks, pace, scales);
    if let Some((block, point)) = worst.filter(|(_, point)| point.max > 0) {
        let (x, y) = (block.x.at(middle(point)), scales.latency.at(point.max as f64));
        put(&mut svg, format_args!("<circle class=\"ring\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\"/>\n"));
        let words = format!("{} at {:.1} s", nanoseconds_text(point.max), point.start);
        // Above the ring nothing is drawn.
        let (class, x) = if x > RIGHT - 110.0 { ("note end", RIGHT) } else { ("note", x - 4.0) };
        text(&mut svg, class, (x, y - 10.0), &words);
    }
    svg.push_str("</svg>\n");
    svg
}

/// Gives each repetition room by its length.
fn blocks(repetitions: &[(usize, &Repetition)]) -> Vec<Block> {
    let length = |repetition: &Repetition| repetition.intervals.last().map_or(0.0, |last| last.start + last.seconds);
    let total: f64 = repetitions.iter().map(|(_, repetition)| length(repetition)).sum();
    let room = RIGHT - LEFT - GAP * (repetitions.len() - 1) as f64;
    let mut from = LEFT;
    let mut blocks = Vec::new();
    for (number, repetition) in repetitions {
        let width = if total > 0.0 { room * length(repetition) / total } else { 0.0 };
        let x = Axis::linear(0.0, length(repetition), from, from + width);
        let (points, silences) = (points(&repetition.intervals, width), silences(&repetition.intervals));
        blocks.push(Block { number: *number, x, points, silences });
        from += width + GAP;
    }
    blocks
}

/// Intervals put together so that they are not closer than a line can show.
fn points(intervals: &[Interval], width: f64) -> Vec<Interval> {
    let together =
        (1..).find(|count| intervals.len() as f64 / *count as f64 * POINT_DISTANCE <= width.max(POINT_DISTANCE));
    let join = |chunk: &[Interval]| {
        let mut joined = chunk[0].clone();
        for other in &chunk[1..] {
            joined.seconds += other.seconds;
            joined.count += other.count;
            joined.second_parts += other.second_parts;
            joined.errors += other.errors;
            joined.p50 = joined.p50.max(other.p50);
            joined.p99 = joined.p99.max(other.p99);
            joined.p999 = joined.p999.max(other.p999);
            joined.max = joined.max.max(other.max);
        }
        joined
    };
    intervals.chunks(together.unwrap_or(1)).map(join).collect()
}

fn middle(interval: &Interval) -> f64 {
    interval.start + interval.seconds / 2.0
}

/// Operations a second: what a schedule offers is counted so.
fn rate(interval: &Interval) -> f64 {
    interval.operation_rate().unwrap_or_default()
}

fn offered(pace: Pace) -> Option<f64> {
    match pace {
        Pace::Closed => None,
        Pace::Open { rate, .. } => Some(rate),
    }
}

/// The lines behind a repetition, and its time axis.
fn draw_axes(svg: &mut String, block: &Block, scales: &Scales, is_named: bool) {
    let (from, to) = (block.x.from, block.x.to);
    for tick in scales.latency.ticks(0.0) {
        line(svg, "grid", (from, scales.latency.at(tick)), (to, scales.latency.at(tick)));
    }
    for tick in scales.rate.ticks(3.0) {
        line(svg, "grid", (from, scales.rate.at(tick)), (to, scales.rate.at(tick)));
    }
    for bottom in [LATENCY_BOTTOM, RATE_BOTTOM] {
        line(svg, "axis", (from, bottom), (to, bottom));
    }
    let count = ((to - from) / 90.0).max(1.0);
    for tick in block.x.ticks(count) {
        let x = block.x.at(tick);
        line(svg, "axis", (x, RATE_BOTTOM), (x, RATE_BOTTOM + 4.0));
        text(svg, "tick middle", (x, RATE_BOTTOM + 18.0), &seconds_tick(tick, block.x.high / count));
    }
    if is_named {
        text(svg, "name", (from, LATENCY_TOP - 32.0), &format!("repetition {}", block.number));
    }
}

/// Seconds with as many decimals as their distance needs.
fn seconds_tick(seconds: f64, distance: f64) -> String {
    let decimals = usize::from(round_step(distance.max(1e-3)) < 1.0);
    format!("{seconds:.decimals$}")
}

/// A rate on an axis.
fn rate_tick(rate: f64) -> String {
    if rate == 0.0 { "0".to_owned() } else { significant_text(rate) }
}

/// Shades the time in which nothing was answered.
fn draw_silence(svg: &mut String, block: &Block) {
    for (from, to) in &block.silences {
        let words = format!("no answers from {from:.1} s to {to:.1} s");
        let (left, right) = (block.x.at(*from), block.x.at(*to));
        rectangle(svg, "silence", (left, LATENCY_TOP), (right.max(left + 1.0), LATENCY_BOTTOM), &words);
    }
}

/// The stretches in which nothing was answered, from when to when.
fn silences(intervals: &[Interval]) -> Vec<(f64, f64)> {
    let silent =
        intervals.chunk_by(|one, other| (one.count == 0) == (other.count == 0)).filter(|chunk| chunk[0].count == 0);
    silent
        .map(|chunk| {
            let last = &chunk[chunk.len() - 1];
            (chunk[0].start, last.start + last.seconds)
        })
        .collect()
}

/// The names of axes and lines.
fn draw_names(svg: &mut String, blocks: &[Block], pace: Pace, scales: &Scales) {
    for tick in scales.latency.ticks(0.0) {
        text(svg, "tick end", (LEFT - 8.0, scales.latency.at(tick) + 4.0), &tick_text(tick));
    }
    for tick in scales.rate.ticks(3.0) {
        text(svg, "tick end", (LEFT - 8.0, scales.rate.at(tick) + 4.0), &rate_tick(tick));
    }
    text(svg, "name end", (LEFT - 8.0, LATENCY_TOP - 14.0), "latency");
    text(svg, "name", (LEFT - 54.0, RATE_TOP - 12.0), "operations a second");
    text(svg, "name middle", (f64::midpoint(LEFT, RIGHT), RATE_BOTTOM + 36.0), "seconds since the measurement began");
    let last = blocks.iter().rev().find_map(|block| block.points.iter().rev().find(|point| point.count > 0));
    if let Some(last) = last {
        let mut places = LINES.map(|(_, _, value)| scales.latency.at(value(last) as f64));
        spread_apart(&mut places, 15.0, LATENCY_TOP, LATENCY_BOTTOM);
        for ((name, class, _), place) in LINES.iter().zip(places) {
            text(svg, &format!("label {class}"), (RIGHT + 8.0, place + 4.0), name);
        }
    }
    if let Some(offered) = offered(pace) {
        let y = scales.rate.at(offered);
        for block in blocks {
            line(svg, "offered", (block.x.from, y), (block.x.to, y));
        }
        text(svg, "note", (RIGHT + 8.0, y + 4.0), &format!("offered {}", rate_text(offered)));
    }
    if blocks.iter().flat_map(|block| &block.points).any(|point| point.errors > 0) {
        put(svg, format_args!("<path class=\"error\" d=\"M{:.1} {:.1}l4 8h-8z\"/>\n", RIGHT + 13.0, RATE_BOTTOM - 9.0));
        text(svg, "note", (RIGHT + 22.0, RATE_BOTTOM), "errors");
    }
}

/// What is shown under the pointer.
fn hover(blocks: &[Block], scales: &Scales) -> Value {
    let points = || blocks.iter().flat_map(|block| block.points.iter().map(move |point| (block, point)));
    let mut series: Vec<Value> = LINES
        .iter()
        .map(|(name, class, value)| {
            let values = points().map(|(_, point)| (point.count > 0).then(|| value(point)));
            json!({"name": name, "class": class, "panel": 0, "unit": "ns", "values": values.collect::<Vec<_>>()})
        })
        .collect();
    let rates: Vec<f64> = points().map(|(_, point)| rate(point).round()).collect();
    series.push(json!({"name": "operations/s", "class": "rate", "panel": 1, "unit": "", "values": rates}));
    if points().any(|(_, point)| point.errors > 0) {
        let errors: Vec<u64> = points().map(|(_, point)| point.errors).collect();
        series.push(json!({"name": "errors", "class": "error", "panel": null, "unit": "", "values": errors}));
    }
    let label = |block: &Block, point: &Interval| {
        if blocks.len() > 1 {
            format!("repetition {}, {:.1} s", block.number, point.start)
        } else {
            format!("{:.1} s", point.start)
        }
    };
    let panel = |axis: &Axis| json!({"low": axis.low, "high": axis.high, "from": axis.from, "to": axis.to, "log": axis.is_logarithmic});
    json!({
        "x": points().map(|(block, point)| (block.x.at(middle(point)) * 10.0).round() / 10.0).collect::<Vec<_>>(),
        "label": points().map(|(block, point)| label(block, point)).collect::<Vec<_>>(),
        "top": LATENCY_TOP, "bottom": RATE_BOTTOM,
        "panels": [panel(&scales.latency), panel(&scales.rate)],
        "series": series,
    })
}

/// The picture in words.
fn description(blocks: &[Block], worst: Option<(&Block, &Interval)>) -> String {
    let count: u64 = blocks.iter().flat_map(|block| &block.points).map(|point| point.count).sum();
    let mut words = format!("Latency and throughput over time: {count} requests answered.");
    if let Some((block, point)) = worst {
        put(
            &mut words,
            format_args!(
                " The longest latency is {}, {:.1} seconds into repetition {}.",
                nanoseconds_text(point.max),
                point.start,
                block.number
            ),
        );
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_that_are_put_together_keep_the_highest_latency_and_all_counts() {
        let intervals: Vec<Interval> = (0..1_000_u64)
            .map(|number| Interval {
                start: number as f64,
                seconds: 1.0,
                count: 2,
                second_parts: 1,
                errors: 1,
                p50: number,
                p99: number,
                p999: number,
                max: 10_000 - number,
            })
            .collect();
        let points = points(&intervals, 500.0);
        assert_eq!(points.len(), 250);
        assert_eq!(points.iter().map(|point| point.count).sum::<u64>(), 2_000);
        assert_eq!((points[1].start, points[1].seconds, points[1].errors), (4.0, 4.0, 4));
        assert_eq!((points[1].operations(), rate(&points[1])), (4, 1.0));
        assert_eq!((points[1].p50, points[1].max), (7, 9_996));
    }

    #[test]
    fn silence_is_found_however_short_it_is() {
        let counts = [0, 5, 0, 0, 7];
        let intervals = counts.iter().zip([0.0, 1.0, 2.0, 3.0, 4.0]);
        let intervals: Vec<Interval> = intervals
            .map(|(count, start)| Interval { start, seconds: 1.0, count: *count, ..Interval::default() })
            .collect();
        assert_eq!(silences(&intervals), [(0.0, 1.0), (2.0, 4.0)]);
    }
}
