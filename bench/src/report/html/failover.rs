//! How a cluster came through the loss of nodes: acknowledged writes over time, and for each partition that lost its leader a mark where the first write
//! after the loss was acknowledged. One picture a round; seconds count from the loss.

use super::super::words::{duration_text, rate_text, significant_text};
use super::axis::Axis;
use super::escape::Escaped;
use super::picture::{WIDTH, begin, line, path, text};
use super::{CONTENT_POLICY, put};

const LEFT: f64 = 66.0;
const RIGHT: f64 = WIDTH - 150.0;
const RATE_TOP: f64 = 48.0;
const RATE_BOTTOM: f64 = 198.0;
const MARKS_TOP: f64 = 240.0;
const MARKS_BOTTOM: f64 = 460.0;
const HEIGHT: f64 = 506.0;

/// Losses of nodes, one after the other.
#[derive(Clone, PartialEq, Debug)]
pub struct Failover {
    /// What it is called.
    pub title: String,
    /// What a reader should know beside it, in a sentence or two.
    pub about: String,
    /// The election timeout, seconds.
    pub election_timeout: f64,
    /// Each loss.
    pub rounds: Vec<Round>,
}

/// The loss of a node.
#[derive(Clone, PartialEq, Debug)]
pub struct Round {
    /// What it is called.
    pub name: String,
    /// When the first interval began, seconds from the loss: less than nothing.
    pub from: f64,
    /// The length of an interval, seconds.
    pub interval: f64,
    /// Writes that were acknowledged, by interval.
    pub acknowledged: Vec<u64>,
    /// Errors that the callers saw, by interval.
    pub errors: Vec<u64>,
    /// For each partition that lost its leader, the seconds until its first write was acknowledged; `None` if none was.
    pub first_writes: Vec<(u16, Option<f64>)>,
}

/// The page of all rounds.
#[must_use]
pub fn page(failover: &Failover) -> String {
    let mut page = String::new();
    put(
        &mut page,
        format_args!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"{CONTENT_POLICY}\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<link rel=\"icon\" href=\"data:,\">\n\
             <title>{0}</title>\n<style>\n{1}</style>\n</head>\n<body>\n<main>\n<header>\n<h1>{0}</h1>\n<p class=\"sub\">{2}</p>\n</header>\n",
            Escaped(&failover.title),
            include_str!("style.css"),
            Escaped(&failover.about),
        ),
    );
    for round in &failover.rounds {
        put(&mut page, format_args!("<section>\n<h2>{}</h2>\n", Escaped(&round.name)));
        put(&mut page, format_args!("<p class=\"about\">{}</p>\n", Escaped(&description(round))));
        page.push_str(&plot(round, failover.election_timeout));
        page.push_str("</section>\n");
    }
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

/// The picture of one round as a file of its own.
#[must_use]
pub fn picture(round: &Round, election_timeout: f64) -> String {
    let svg = plot(round, election_timeout);
    let (head, rest) = svg.split_once('>').expect("a picture begins with its element");
    let head = head.replacen("<svg", "<svg xmlns=\"http://www.w3.org/2000/svg\"", 1);
    format!(
        "{head}>\n<style>\n{}</style>\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" style=\"fill: var(--paper)\"/>{rest}",
        include_str!("style.css")
    )
}

/// The round in words.
fn description(round: &Round) -> String {
    let mut times: Vec<f64> = round.first_writes.iter().filter_map(|(_, seconds)| *seconds).collect();
    times.sort_by(f64::total_cmp);
    let lost = round.first_writes.len();
    let Some(last) = times.last() else {
        return format!("{lost} partitions lost their leader, and none was written again.");
    };
    let silent = match lost - times.len() {
        0 => String::new(),
        count => format!(" {count} were not written again."),
    };
    let errors = match round.errors.iter().sum() {
        0_u64 => "Callers saw no errors.".to_owned(),
        count => format!("Callers saw {count} errors."),
    };
    format!(
        "{lost} partitions lost their leader. The first write was acknowledged after {} in half of them, and after {} in the last.{silent} {errors}",
        duration_text(times[times.len() / 2] * 1e9),
        duration_text(last * 1e9),
    )
}

fn plot(round: &Round, election_timeout: f64) -> String {
    let end = round.from + round.acknowledged.len() as f64 * round.interval;
    let x = Axis::linear(round.from, end, LEFT, RIGHT);
    let rates: Vec<f64> = round.acknowledged.iter().map(|count| *count as f64 / round.interval).collect();
    let greatest = rates.iter().copied().fold(0.0, f64::max);
    let y = Axis::linear(0.0, greatest * 1.08, RATE_BOTTOM, RATE_TOP);
    let mut svg = begin(HEIGHT, &description(round), None);
    for tick in y.ticks(3.0) {
        line(&mut svg, "grid", (LEFT, y.at(tick)), (RIGHT, y.at(tick)));
        let words = if tick == 0.0 { "0".to_owned() } else { significant_text(tick) };
        text(&mut svg, "tick end", (LEFT - 8.0, y.at(tick) + 4.0), &words);
    }
    for bottom in [RATE_BOTTOM, MARKS_BOTTOM] {
        line(&mut svg, "axis", (LEFT, bottom), (RIGHT, bottom));
    }
    for tick in x.ticks(10.0) {
        line(&mut svg, "axis", (x.at(tick), MARKS_BOTTOM), (x.at(tick), MARKS_BOTTOM + 4.0));
        text(&mut svg, "tick middle", (x.at(tick), MARKS_BOTTOM + 18.0), &seconds_tick(tick));
    }
    for (seconds, class, words) in [
        (0.0, "axis", "killed"),
        (election_timeout, "offered", "election timeout"),
        (2.0 * election_timeout, "offered", "twice that"),
    ] {
        if seconds <= end {
            line(&mut svg, class, (x.at(seconds), RATE_TOP - 8.0), (x.at(seconds), MARKS_BOTTOM));
            text(&mut svg, "note middle", (x.at(seconds), RATE_TOP - 16.0), words);
        }
    }
    let middle = |index: usize| x.at(round.from + (index as f64 + 0.5) * round.interval);
    path(&mut svg, "curve rate", rates.iter().enumerate().map(|(index, rate)| Some((middle(index), y.at(*rate)))));
    for (index, errors) in round.errors.iter().enumerate().filter(|(_, errors)| **errors > 0) {
        let x = middle(index);
        put(
            &mut svg,
            format_args!(
                "<path class=\"error\" d=\"M{x:.1} {:.1}l4 8h-8z\"><title>{errors} errors</title></path>\n",
                RATE_BOTTOM - 9.0
            ),
        );
    }
    draw_marks(&mut svg, round, &x);
    text(&mut svg, "name", (LEFT - 54.0, RATE_TOP - 30.0), "acknowledged writes a second");
    text(&mut svg, "name", (LEFT - 54.0, MARKS_TOP - 14.0), "each partition's first acknowledged write");
    text(
        &mut svg,
        "name middle",
        (f64::midpoint(LEFT, RIGHT), MARKS_BOTTOM + 38.0),
        "seconds since the node was killed",
    );
    if let Some(last) = rates.last() {
        text(&mut svg, "note", (RIGHT + 8.0, y.at(*last) + 4.0), &rate_text(*last));
    }
    svg.push_str("</svg>\n");
    svg
}

/// A row for each partition, the quickest at the top: a line for as long as it was not written.
fn draw_marks(svg: &mut String, round: &Round, x: &Axis) {
    let mut rows = round.first_writes.clone();
    rows.sort_by(|one, other| {
        one.1.unwrap_or(f64::MAX).total_cmp(&other.1.unwrap_or(f64::MAX)).then(one.0.cmp(&other.0))
    });
    let height = (MARKS_BOTTOM - MARKS_TOP - 8.0) / rows.len().max(1) as f64;
    for (row, (partition, seconds)) in (0..).map(f64::from).zip(&rows) {
        let y = MARKS_TOP + (row + 0.5) * height;
        line(svg, "grid", (x.at(0.0), y), (x.at(seconds.unwrap_or(x.high)), y));
        let radius = (height * 0.42).clamp(1.2, 3.2);
        let (class, words) = match seconds {
            Some(seconds) => ("dot c0", format!("partition {partition}: {}", duration_text(seconds * 1e9))),
            None => ("error", format!("partition {partition}: never")),
        };
        put(
            svg,
            format_args!(
                "<circle class=\"{class}\" cx=\"{:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\"><title>{}</title></circle>\n",
                x.at(seconds.unwrap_or(x.high)),
                Escaped(&words)
            ),
        );
    }
    let last = rows.iter().rev().find_map(|(_, seconds)| *seconds);
    if let Some(last) = last {
        let words = format!("last: {}", duration_text(last * 1e9));
        text(svg, "note", (x.at(last) + 8.0, MARKS_BOTTOM - 8.0), &words);
    }
}

/// Seconds on the axis, which are at round distances.
fn seconds_tick(seconds: f64) -> String {
    let tenths = (seconds * 10.0).round();
    if tenths % 10.0 == 0.0 { format!("{:.0}", tenths / 10.0 + 0.0) } else { format!("{:.1}", tenths / 10.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(first_writes: Vec<(u16, Option<f64>)>) -> Round {
        Round {
            name: "node 1 <killed>".to_owned(),
            from: -1.0,
            interval: 0.5,
            acknowledged: vec![100, 100, 40, 0, 60, 100],
            errors: vec![0, 0, 0, 2, 0, 0],
            first_writes,
        }
    }

    #[test]
    fn each_partition_has_a_mark_and_words_say_which_was_last() {
        let round = round(vec![(3, Some(1.5)), (6, Some(0.25)), (9, Some(0.5))]);
        let svg = picture(&round, 1.0);
        assert!(svg.starts_with("<svg xmlns="), "{svg}");
        assert_eq!(svg.matches("class=\"dot c0\"").count(), 3);
        assert!(svg.contains("after 500 ms in half of them, and after 1.50 s in the last."), "{svg}");
        assert!(svg.contains("Callers saw 2 errors."), "{svg}");
        assert!(svg.contains(">twice that<"), "two seconds are in the picture");
    }

    #[test]
    fn a_partition_that_stays_away_is_told_apart() {
        let failover = Failover {
            title: "Failover".to_owned(),
            about: String::new(),
            election_timeout: 1.0,
            rounds: vec![round(vec![(3, Some(1.5)), (6, None)]), round(vec![(3, None)])],
        };
        let page = page(&failover);
        assert!(page.contains("1 were not written again."), "{page}");
        assert!(page.contains("1 partitions lost their leader, and none was written again."), "{page}");
        assert!(page.contains("node 1 &lt;killed&gt;"), "names are no markup");
        assert_eq!(page.matches(": never</title>").count(), 2);
    }
}
