//! Reports as one page of HTML that needs nothing else: style, pictures and the little script that it has are all in it, and it asks no network
//! for anything. One report is shown by itself; several are laid over each other and set side by side, the first being what the others are
//! compared with.
//!
//! Pictures are drawn here, as SVG. The script only shows the values under the pointer; without it, and on paper, nothing is missing.

mod axis;
mod compare;
mod escape;
mod facts;
pub mod failover;
mod figures;
mod percentiles;
mod picture;
mod stages;
mod timeline;

use std::fmt::{self, Write};

use self::escape::Escaped;
use super::model::{Pace, Report};
use super::summary::Summary;
use super::words::{CLOSED_LOOP_NOTE, behind_text, end_text};

/// What browsers may load for the page: nothing that is not in it.
const CONTENT_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";

/// A report with what it comes to, and the letter that stands for it beside others.
struct Subject<'a> {
    letter: char,
    report: &'a Report,
    summary: Summary,
}

/// The page of one or more reports.
#[must_use]
pub fn render(reports: &[Report]) -> String {
    let subjects: Vec<Subject<'_>> = reports
        .iter()
        .zip(('A'..='Z').chain('a'..='z').cycle())
        .map(|(report, letter)| Subject { letter, report, summary: Summary::of(report) })
        .collect();
    let mut page = String::new();
    let title = subjects.iter().map(|subject| subject.report.title.as_str()).collect::<Vec<_>>().join(" | ");
    put(
        &mut page,
        format_args!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"{CONTENT_POLICY}\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<link rel=\"icon\" href=\"data:,\">\n\
             <title>{}</title>\n<style>\n{}{}</style>\n</head>\n<body>\n<main>\n",
            Escaped(&title),
            include_str!("style.css"),
            choice_rules(&subjects),
        ),
    );
    match subjects.as_slice() {
        [] => page.push_str("<h1>No reports</h1>\n"),
        [subject] => single(&mut page, subject),
        _ => several(&mut page, &subjects),
    }
    page.push_str(
        "<footer><p>Percentiles come from HdrHistogram with three digits, over all repetitions together unless a repetition is named.</p>\
         </footer>\n</main>\n<script>\n",
    );
    page.push_str(include_str!("script.js"));
    page.push_str("</script>\n</body>\n</html>\n");
    page
}

/// A report by itself.
fn single(page: &mut String, subject: &Subject<'_>) {
    let report = subject.report;
    put(
        page,
        format_args!(
            "<header>\n<h1>{}</h1>\n<p class=\"sub\">{}, {} driver, {}</p>\n</header>\n",
            Escaped(&report.title),
            Escaped(&report.target.server),
            Escaped(&report.target.driver),
            Escaped(&report.started_at),
        ),
    );
    facts::single(page, report);
    cautions(page, &cautions_of(report, ""));
    figures::tiles(page, subject);
    percentiles::single(page, subject);
    figures::kinds(page, subject);
    let scales = timeline::Scales::of(std::slice::from_ref(subject));
    timeline::section(page, subject, &scales);
    stages::section(page, subject);
    figures::repetitions(page, subject);
}

/// Several reports.
fn several(page: &mut String, subjects: &[Subject<'_>]) {
    put(page, format_args!("<header>\n<h1>{} reports compared</h1>\n<ul class=\"subjects\">\n", subjects.len()));
    for (index, subject) in subjects.iter().enumerate() {
        put(
            page,
            format_args!(
                "<li>{} {} <span class=\"sub\">{}, {}</span></li>\n",
                badge(index, subject),
                Escaped(&subject.report.title),
                Escaped(&subject.report.target.server),
                Escaped(&subject.report.started_at)
            ),
        );
    }
    page.push_str("</ul>\n</header>\n");
    let mut sentences: Vec<String> = compare::differences(subjects).into_iter().collect();
    for subject in subjects {
        sentences.extend(cautions_of(subject.report, &format!("{}: ", subject.letter)));
    }
    cautions(page, &sentences);
    percentiles::several(page, subjects);
    compare::table(page, subjects);
    facts::several(page, subjects);
    let scales = timeline::Scales::of(subjects);
    for (index, subject) in subjects.iter().enumerate() {
        put(
            page,
            format_args!(
                "<section class=\"subject\">\n<h2 class=\"subject\">{} {}</h2>\n",
                badge(index, subject),
                Escaped(&subject.report.title)
            ),
        );
        timeline::section(page, subject, &scales);
        stages::section(page, subject);
        figures::repetitions(page, subject);
        page.push_str("</section>\n");
    }
}

/// The letter of a report in its colour.
fn badge(index: usize, subject: &Subject<'_>) -> String {
    format!("<b class=\"badge c{}\">{}</b>", index % picture::COLOURS, subject.letter)
}

/// What a reader should know before believing a report's figures.
fn cautions_of(report: &Report, prefix: &str) -> Vec<String> {
    let mut sentences = Vec::new();
    if report.repetitions.is_empty() {
        sentences.push(format!("{prefix}Nothing was measured: the run was ended before its first repetition."));
    }
    for (number, repetition) in (1..).zip(&report.repetitions) {
        let (end, behind) = (end_text(&repetition.end), behind_text(repetition, &report.load));
        for sentence in end.iter().chain(&behind).chain(&repetition.generator.warning) {
            sentences.push(format!("{prefix}Repetition {number}: {sentence}."));
        }
    }
    if !report.generator.is_optimized {
        sentences.push(format!("{prefix}The load generator was built without optimisations."));
    }
    if report.load.pace == Pace::Closed {
        sentences.push(format!("{prefix}{CLOSED_LOOP_NOTE}"));
    }
    sentences
}

/// Sentences that stand out.
fn cautions(page: &mut String, sentences: &[String]) {
    if sentences.is_empty() {
        return;
    }
    page.push_str("<aside class=\"cautions\" aria-label=\"Cautions\">\n<ul>\n");
    for sentence in sentences {
        put(page, format_args!("<li>{}</li>\n", Escaped(sentence)));
    }
    page.push_str("</ul>\n</aside>\n");
}

/// The rules that show the picture whose button is pressed, for as many as any chooser of the page has.
fn choice_rules(subjects: &[Subject<'_>]) -> String {
    let count = subjects
        .iter()
        .map(|subject| subject.report.repetitions.len().max(subject.summary.kinds.len()))
        .max()
        .unwrap_or(0);
    let mut rules = String::new();
    // One more than there are: the first button is for all together.
    for index in 0..=count.max(super::words::OPERATION_KINDS.len()) {
        put(&mut rules, format_args!(".choice-{index}:checked ~ .variant-{index} {{ display: block; }}\n"));
    }
    rules
}

/// Appends to a page.
fn put(page: &mut String, text: fmt::Arguments<'_>) {
    page.write_fmt(text).expect("a string takes all text");
}
