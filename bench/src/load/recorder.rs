//! What a thread of the load measured: written by that thread alone, handed over interval by interval.

use std::collections::BTreeMap;

use crate::driver::Outcome;
use crate::report::histogram::Latencies;
use crate::report::model::OperationKind;

/// Errors of different words that are told apart; the rest count together.
const REASONS_MAX: usize = 64;

/// What was measured of one kind of operation, in an interval or altogether.
#[derive(Clone, Default)]
pub(super) struct KindRecord {
    /// From the intended time on.
    pub(super) latency: Latencies,
    /// From the time of sending on; empty in a closed loop, where it is the same.
    pub(super) service: Latencies,
    pub(super) absent: u64,
    pub(super) errors: BTreeMap<String, u64>,
    pub(super) redirected: u64,
}

impl KindRecord {
    pub(super) fn add(&mut self, other: &Self) {
        self.latency.add(&other.latency);
        self.service.add(&other.service);
        self.absent += other.absent;
        self.redirected += other.redirected;
        for (reason, count) in &other.errors {
            *self.errors.entry(reason.clone()).or_default() += count;
        }
    }
}

/// One thread's interval.
#[derive(Clone, Default)]
pub(super) struct IntervalRecord {
    /// How much of the interval was measured: all of it, but for the last one. The longest of all threads.
    pub(super) length_ns: u64,
    pub(super) kinds: BTreeMap<OperationKind, KindRecord>,
}

impl IntervalRecord {
    pub(super) fn add(&mut self, other: &Self) {
        self.length_ns = self.length_ns.max(other.length_ns);
        for (&kind, record) in &other.kinds {
            self.kinds.entry(kind).or_default().add(record);
        }
    }
}

/// When an operation was to be sent, was sent, and was answered: nanoseconds since the load began.
#[derive(Clone, Copy)]
pub(super) struct Times {
    pub(super) intended_ns: u64,
    pub(super) sent_ns: u64,
    pub(super) answered_ns: u64,
}

/// Counts into the present interval.
pub(super) struct Recorder {
    is_open_loop: bool,
    interval: IntervalRecord,
    number: usize,
}

impl Recorder {
    pub(super) fn new(is_open_loop: bool) -> Self {
        Self { is_open_loop, interval: IntervalRecord::default(), number: 0 }
    }

    #[inline]
    pub(super) fn record(&mut self, kind: OperationKind, times: Times, outcome: &Outcome) {
        let record = self.interval.kinds.entry(kind).or_default();
        if let Outcome::Failed(reason) = outcome {
            let is_known = record.errors.len() < REASONS_MAX || record.errors.contains_key(reason);
            let reason = if is_known { reason.as_str() } else { "others" };
            *record.errors.entry(reason.to_owned()).or_default() += 1;
            return;
        }
        record.latency.record(times.answered_ns.saturating_sub(times.intended_ns));
        if self.is_open_loop {
            record.service.record(times.answered_ns.saturating_sub(times.sent_ns));
        }
        record.absent += u64::from(*outcome == Outcome::Absent);
    }

    /// Another node has to do it.
    pub(super) fn redirected(&mut self, kind: OperationKind) {
        self.interval.kinds.entry(kind).or_default().redirected += 1;
    }

    /// The number of the interval that is being recorded.
    pub(super) fn interval_number(&self) -> usize {
        self.number
    }

    /// Begins the next interval, and gives the one that ended, of which `length_ns` were measured.
    pub(super) fn rotate(&mut self, length_ns: u64) -> IntervalRecord {
        self.number += 1;
        IntervalRecord { length_ns, ..std::mem::take(&mut self.interval) }
    }
}
