//! What a report comes to: the repetitions put together, and how far they lie apart.

use std::collections::BTreeMap;

use super::histogram::Latencies;
use super::model::{End, Measured, OperationKind, Repetition, Report};

/// A report's repetitions put together.
#[derive(Clone, PartialEq, Debug)]
pub struct Summary {
    /// Each kind of operation.
    pub kinds: BTreeMap<OperationKind, Totals>,
    /// All requests: every kind but read-modify-write, whose halves are counted as reads and updates.
    pub requests: Totals,
}

/// What was measured of one kind of operation, or of all requests, over all repetitions.
#[derive(Clone, PartialEq, Debug)]
pub struct Totals {
    /// The sum.
    pub measured: Measured,
    /// Each repetition by itself, in order.
    pub repetitions: Vec<Share>,
}

/// What one repetition is to [`Totals`].
#[derive(Clone, PartialEq, Debug)]
pub struct Share {
    /// Its latencies.
    pub latency: Latencies,
    /// Operations a second, if it took any time.
    pub rate: Option<f64>,
}

/// How the repetitions of a figure lie apart.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Spread {
    /// How many have it.
    pub count: usize,
    /// The least.
    pub min: f64,
    /// The one in the middle, or the mean of the two there.
    pub median: f64,
    /// The greatest.
    pub max: f64,
}

impl Summary {
    /// Puts the repetitions together that [count](counted).
    #[must_use]
    pub fn of(report: &Report) -> Self {
        let counted = counted(report);
        let mut kinds = BTreeMap::new();
        for repetition in &counted {
            for kind in repetition.operations.keys() {
                kinds.entry(*kind).or_insert_with(|| totals(&counted, |other| other == *kind));
            }
        }
        let requests = totals(&counted, is_request);
        Self { kinds, requests }
    }
}

/// The repetitions whose figures count: those that were measured to their end. One that was cut short is no measurement like the others; but where
/// there is nothing else, it is better than nothing.
#[must_use]
pub fn counted(report: &Report) -> Vec<&Repetition> {
    let whole: Vec<_> = report.repetitions.iter().filter(|repetition| repetition.end == End::Complete).collect();
    if whole.is_empty() { report.repetitions.iter().collect() } else { whole }
}

/// What is counted as a request: a read-modify-write is two of other kinds.
fn is_request(kind: OperationKind) -> bool {
    kind != OperationKind::ReadModifyWrite
}

impl Summary {
    /// How operations a second lie apart, as a schedule counts them: of a read-modify-write, which is two requests, one.
    #[must_use]
    pub fn operation_rate(&self) -> Option<Spread> {
        let whole = self.kinds.get(&OperationKind::ReadModifyWrite);
        Spread::of(self.requests.repetitions.iter().enumerate().filter_map(|(number, share)| {
            let whole = whole.and_then(|whole| whole.repetitions[number].rate);
            Some(share.rate? - whole.unwrap_or_default())
        }))
    }
}

impl Share {
    /// All requests of one repetition.
    #[must_use]
    pub fn of_requests(repetition: &Repetition) -> Self {
        share(repetition, measured(repetition, is_request).latency)
    }
}

impl Totals {
    /// How operations a second lie apart, of the repetitions that took any time.
    #[must_use]
    pub fn rate(&self) -> Option<Spread> {
        Spread::of(self.repetitions.iter().filter_map(|share| share.rate))
    }

    /// How a figure of the latencies lies apart, of the repetitions that have any.
    #[must_use]
    pub fn spread(&self, figure: impl Fn(&Latencies) -> f64) -> Option<Spread> {
        let answered = self.repetitions.iter().filter(|share| share.latency.count() > 0);
        Spread::of(answered.map(|share| figure(&share.latency)))
    }

    /// Refusals and failures.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.measured.errors.values().sum()
    }
}

impl Spread {
    /// The spread of some values, if there are any.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (values.first()?, values.last()?);
        let median = f64::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2]);
        Some(Self { count: values.len(), min: *min, median, max: *max })
    }

    /// How far the extremes lie apart, as a share of the median.
    #[must_use]
    pub fn width(&self) -> f64 {
        if self.median > 0.0 { (self.max - self.min) / self.median } else { 0.0 }
    }
}

/// What is measured in a repetition of the kinds that are chosen.
fn measured(repetition: &Repetition, is_chosen: impl Fn(OperationKind) -> bool) -> Measured {
    let mut sum = Measured::default();
    for (_, part) in repetition.operations.iter().filter(|(kind, _)| is_chosen(**kind)) {
        add(&mut sum, part);
    }
    sum
}

/// The repetitions of the kinds that are chosen.
fn totals(repetitions: &[&Repetition], is_chosen: impl Fn(OperationKind) -> bool) -> Totals {
    let mut totals = Totals { measured: Measured::default(), repetitions: Vec::new() };
    for repetition in repetitions {
        let part = measured(repetition, &is_chosen);
        add(&mut totals.measured, &part);
        totals.repetitions.push(share(repetition, part.latency));
    }
    totals
}

fn share(repetition: &Repetition, latency: Latencies) -> Share {
    let rate = (repetition.seconds > 0.0).then(|| latency.count() as f64 / repetition.seconds);
    Share { latency, rate }
}

/// Adds what was measured to a sum.
fn add(sum: &mut Measured, part: &Measured) {
    sum.latency.add(&part.latency);
    sum.service.add(&part.service);
    sum.absent += part.absent;
    sum.unanswered += part.unanswered;
    sum.redirected += part.redirected;
    for (reason, count) in &part.errors {
        *sum.errors.entry(reason.clone()).or_default() += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 10.0]), Some(Spread { count: 4, min: 1.0, median: 3.0, max: 10.0 }));
        assert_eq!(Spread::of([7.0]), Some(Spread { count: 1, min: 7.0, median: 7.0, max: 7.0 }));
        assert_eq!(Spread::of([]), None);
        assert!((Spread::of([9.0, 10.0, 11.0]).expect("three").width() - 0.2).abs() < 1e-9);
    }
}
