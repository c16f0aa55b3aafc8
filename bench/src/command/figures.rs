//! Two reports beside each other, figure by figure, as a table for the terminal.

use std::fmt::Write;

use crate::report::comparison::{Between, Compared, between, interval_text, verdict_text};
use crate::report::model::Report;
use crate::report::words::{NO_FIGURE, duration_text, rate_text};
use crate::statistics::{CONFIDENCE, DIFFERENCE_SOUGHT, Verdict};

/// A table of the figures of `second` as multiples of those of `first`, and what it comes to.
pub(crate) fn table(first: &Report, second: &Report) -> String {
    let Between { figures, is_in_turns, repetitions } = between(first, second);
    let mut text = String::new();
    let mut line = |words: [&str; 7]| {
        let [name, first, second, ratio, interval, needed, verdict] = words;
        writeln!(text, "  {name:<18}{first:>14}{second:>14}{ratio:>9}   {interval:<18}{needed:>8}   {verdict}")
            .expect("a string takes all text");
    };
    let interval_name = format!("{:.0} % interval", CONFIDENCE * 100.0);
    let sought = format!("for {:.0} %", DIFFERENCE_SOUGHT * 100.0);
    line(["", "first", "second", "ratio", &interval_name, &sought, ""]);
    let (mut compared, mut differences) = (0, 0);
    for Compared { name, is_rate, first, second, comparison } in figures {
        let (ratio, interval, needed, verdict) = match comparison {
            None => (String::new(), String::new(), String::new(), "cannot be compared"),
            Some(comparison) => {
                compared += 1;
                differences += usize::from(comparison.verdict() != Verdict::NoDifference);
                let needed = comparison.repetitions_needed.map_or("over 10k".to_owned(), |count| count.to_string());
                let verdict = verdict_text(comparison.verdict(), is_rate);
                (format!("{:.3}", comparison.ratio), interval_text(comparison), needed, verdict)
            }
        };
        let text_of = |value: Option<f64>| match value {
            None => NO_FIGURE.to_owned(),
            Some(value) if is_rate => rate_text(value),
            Some(value) => duration_text(value),
        };
        line([name, &text_of(first), &text_of(second), &ratio, &interval, &needed, verdict]);
    }
    if compared == 0 {
        text.push_str(
            "\n  nothing can be told: that takes two whole repetitions of each, and requests in all of them\n",
        );
        return text;
    }
    let pairs = if is_in_turns { "pairs of " } else { "" };
    match differences {
        0 => writeln!(text, "\n  no difference, as far as {repetitions} {pairs}repetitions can tell"),
        _ => writeln!(text, "\n  {differences} of {} figures differ", figures.len()),
    }
    .expect("a string takes all text");
    writeln!(
        text,
        "  \"{sought}\" is how many repetitions would tell so small a difference, where these vary as they do by chance"
    )
    .expect("a string takes all text");
    text
}
