//! Puts together what the threads measured, interval by interval, so that only intervals under way take memory.

use std::collections::BTreeMap;

use super::recorder::{IntervalRecord, KindRecord};
use crate::report::histogram::Latencies;
use crate::report::model::{Interval, Measured, OperationKind};

/// An interval of all threads, as it ends.
pub struct CollectedInterval<'a> {
    /// When it began, how long it was, and what it amounts to.
    pub summary: &'a Interval,
    /// Its latencies by kind of operation.
    pub latencies: &'a BTreeMap<OperationKind, &'a Latencies>,
}

pub(super) struct Collector {
    threads: usize,
    /// How long intervals are; the last one may be shorter.
    interval_seconds: f64,
    /// Intervals that some thread has not handed over yet, with the number of those that have.
    open: BTreeMap<usize, (usize, IntervalRecord)>,
    total: IntervalRecord,
    summaries: Vec<Interval>,
}

impl Collector {
    pub(super) fn new(threads: usize, interval_seconds: f64) -> Self {
        Self {
            threads,
            interval_seconds,
            open: BTreeMap::new(),
            total: IntervalRecord::default(),
            summaries: Vec::new(),
        }
    }

    pub(super) fn add(
        &mut self,
        number: usize,
        record: IntervalRecord,
        on_interval: &mut dyn FnMut(&CollectedInterval<'_>),
    ) {
        let (count, sum) = self.open.entry(number).or_default();
        *count += 1;
        sum.add(&record);
        while let Some(entry) = self.open.first_entry()
            && entry.get().0 == self.threads
        {
            let number = *entry.key();
            let (_, record) = entry.remove();
            self.close(number, &record, on_interval);
        }
    }

    fn close(&mut self, number: usize, record: &IntervalRecord, on_interval: &mut dyn FnMut(&CollectedInterval<'_>)) {
        if record.length_ns == 0 && record.kinds.is_empty() {
            // The load was ended before the interval began.
            return;
        }
        let mut requests = Latencies::default();
        let mut errors = 0;
        for (_, record) in record.kinds.iter().filter(|(kind, _)| **kind != OperationKind::ReadModifyWrite) {
            requests.add(&record.latency);
            errors += record.errors.values().sum::<u64>();
        }
        let whole = record.kinds.get(&OperationKind::ReadModifyWrite);
        #[allow(clippy::cast_precision_loss, reason = "thousands of intervals at most, and of nanoseconds some days")]
        let summary = Interval {
            start: number as f64 * self.interval_seconds,
            seconds: record.length_ns as f64 / 1e9,
            count: requests.count(),
            second_parts: whole.map_or(0, |whole| whole.latency.count()),
            errors,
            p50: requests.quantile(0.5),
            p99: requests.quantile(0.99),
            p999: requests.quantile(0.999),
            max: requests.max(),
        };
        let latencies = record.kinds.iter().map(|(&kind, record)| (kind, &record.latency)).collect();
        on_interval(&CollectedInterval { summary: &summary, latencies: &latencies });
        self.summaries.push(summary);
        self.total.add(record);
    }

    /// What was measured altogether.
    pub(super) fn finish(
        mut self,
        on_interval: &mut dyn FnMut(&CollectedInterval<'_>),
    ) -> (BTreeMap<OperationKind, Measured>, Vec<Interval>) {
        // A thread that was lost hands over no more intervals.
        for (number, (_, record)) in std::mem::take(&mut self.open) {
            self.close(number, &record, on_interval);
        }
        let measured = |record: KindRecord| Measured {
            service: if record.service.count() > 0 { record.service } else { record.latency.clone() },
            latency: record.latency,
            absent: record.absent,
            errors: record.errors,
            unanswered: 0,
            redirected: record.redirected,
        };
        (self.total.kinds.into_iter().map(|(kind, record)| (kind, measured(record))).collect(), self.summaries)
    }
}
