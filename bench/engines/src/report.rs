//! What all rounds came to: tables in Markdown for people, JSON for programs.

use std::fmt::Write as _;

use serde::Serialize;

use crate::case::{Case, Figures};
use crate::engine::EngineName;
use crate::settings::Settings;

/// The figures of one engine in one round.
#[derive(Serialize)]
pub(crate) struct Turn {
    pub(crate) round: u32,
    pub(crate) engine: EngineName,
    #[serde(flatten)]
    pub(crate) figures: Figures,
}

/// One engine and how it was used.
#[derive(Serialize)]
pub(crate) struct EngineReport {
    pub(crate) engine: EngineName,
    pub(crate) version: String,
    pub(crate) synced: String,
    pub(crate) unsynced: &'static str,
}

/// A run.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) settings: Settings,
    pub(crate) machine: String,
    pub(crate) directory: String,
    pub(crate) rounds: u32,
    pub(crate) engines: Vec<EngineReport>,
    pub(crate) turns: Vec<Turn>,
}

/// The median of some figures and how far they lie apart.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Spread {
    median: f64,
    low: f64,
    high: f64,
}

impl Spread {
    fn of(mut figures: Vec<f64>) -> Option<Self> {
        figures.sort_by(f64::total_cmp);
        let (low, high) = (*figures.first()?, *figures.last()?);
        let middle = figures.len() / 2;
        let median =
            if figures.len() % 2 == 1 { figures[middle] } else { (figures[middle - 1] + figures[middle]) / 2.0 };
        Some(Self { median, low, high })
    }

    fn show(self, format: impl Fn(f64) -> String) -> String {
        let Self { median, low, high } = self;
        format!("{} ({}-{})", format(median), format(low), format(high))
    }
}

impl Report {
    /// The tables.
    pub(crate) fn tables(&self) -> String {
        let mut text = String::new();
        self.write_rates(&mut text);
        self.write_bytes(&mut text);
        self.write_engines(&mut text);
        text
    }

    fn cases(&self) -> impl Iterator<Item = Case> {
        Case::ALL.into_iter().filter(|case| self.turns.iter().any(|turn| turn.figures.case == *case))
    }

    fn figures(&self, case: Case, engine: EngineName, figure: impl Fn(&Figures) -> f64) -> Vec<f64> {
        let is_meant = |turn: &&Turn| turn.engine == engine && turn.figures.case == case;
        self.turns.iter().filter(is_meant).map(|turn| figure(&turn.figures)).collect()
    }

    fn median(&self, case: Case, engine: EngineName, figure: impl Fn(&Figures) -> f64) -> f64 {
        Spread::of(self.figures(case, engine, figure)).map_or(f64::NAN, |spread| spread.median)
    }

    /// An engine's rate as a multiple of Corelode's, round by round: what changed on the machine from round to round falls out.
    fn ratio(&self, case: Case, engine: EngineName, figure: impl Fn(&Figures) -> f64) -> Option<Spread> {
        let ours = self.figures(case, EngineName::Corelode, &figure);
        let theirs = self.figures(case, engine, &figure);
        Spread::of(theirs.iter().zip(&ours).map(|(theirs, ours)| theirs / ours).collect())
    }

    fn write_rates(&self, text: &mut String) {
        line(
            text,
            "| case | engine | a second: median (least-most) | of Corelode's rate | p50 us | p99 us | settling, or opening, s |",
        );
        line(text, "|---|---|---|---|---|---|---|");
        for case in self.cases() {
            for EngineReport { engine, .. } in &self.engines {
                let engine = *engine;
                let Some(rate) = Spread::of(self.figures(case, engine, Figures::rate)) else { continue };
                let ratio = match self.ratio(case, engine, Figures::rate) {
                    Some(ratio) if engine != EngineName::Corelode => ratio.show(ratio_text),
                    _ => "1".to_owned(),
                };
                let us = |figure: fn(&Figures) -> u64| {
                    significant(self.median(case, engine, |figures| figure(figures) as f64) / 1000.0)
                };
                line(
                    text,
                    &format!(
                        "| {} | {engine} | {} | {ratio} | {} | {} | {} |",
                        case.title(&self.settings),
                        rate.show(thousands),
                        us(|figures| figures.p50_ns),
                        us(|figures| figures.p99_ns),
                        significant(self.median(case, engine, |figures| figures.settle_seconds)),
                    ),
                );
            }
        }
        line(text, "");
    }

    fn write_bytes(&self, text: &mut String) {
        line(
            text,
            "| writing case | engine | a second with settling | of Corelode's | written MB | bytes written for one put \
             | processor us for an operation | on disk MB | memory max MB |",
        );
        line(text, "|---|---|---|---|---|---|---|---|---|");
        for case in self.cases().filter(|case| case.is_writing()) {
            for EngineReport { engine, .. } in &self.engines {
                let median = |figure: fn(&Figures) -> f64| self.median(case, *engine, figure);
                let ratio = self.ratio(case, *engine, Figures::rate_settled);
                line(
                    text,
                    &format!(
                        "| {} | {engine} | {} | {} | {} | {} | {} | {} | {} |",
                        case.title(&self.settings),
                        thousands(median(Figures::rate_settled)),
                        ratio.map_or_else(String::new, |ratio| ratio_text(ratio.median)),
                        significant(median(|figures| figures.written_bytes as f64 / 1e6)),
                        significant(median(|figures| figures.written_bytes as f64 / figures.put_bytes as f64)),
                        significant(median(|figures| figures.processor_seconds * 1e6 / figures.operations as f64)),
                        significant(median(|figures| figures.disk_bytes as f64 / 1e6)),
                        significant(median(|figures| figures.resident_kib_max as f64 / 1024.0)),
                    ),
                );
            }
        }
        line(text, "");
    }

    fn write_engines(&self, text: &mut String) {
        line(text, "| engine | version | durable | no sync |");
        line(text, "|---|---|---|---|");
        for EngineReport { engine, version, synced, unsynced } in &self.engines {
            line(text, &format!("| {engine} | {version} | {synced} | {unsynced} |"));
        }
    }
}

fn line(text: &mut String, words: &str) {
    writeln!(text, "{words}").expect("a string grows");
}

fn ratio_text(ratio: f64) -> String {
    format!("{ratio:.2}x")
}

fn thousands(rate: f64) -> String {
    if rate < 1000.0 { format!("{rate:.0}") } else { format!("{} k", significant(rate / 1000.0)) }
}

/// Three digits, or all before the point.
fn significant(figure: f64) -> String {
    let decimals = match figure.abs() {
        figure if figure >= 100.0 => 0,
        figure if figure >= 10.0 => 1,
        _ => 2,
    };
    format!("{figure:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_spreads() {
        assert_eq!(Spread::of(vec![3.0, 1.0, 2.0]), Some(Spread { median: 2.0, low: 1.0, high: 3.0 }));
        assert_eq!(Spread::of(vec![4.0, 1.0]).map(|spread| spread.median), Some(2.5));
        assert_eq!(Spread::of(vec![]), None);
    }

    #[test]
    fn figures_are_short() {
        assert_eq!(thousands(950.4), "950");
        assert_eq!(thousands(12_345.0), "12.3 k");
        assert_eq!(significant(1234.5), "1234");
        assert_eq!(significant(0.123), "0.12");
    }
}
