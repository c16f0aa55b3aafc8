//! Reports: the data, and the forms in which people and tools read them.

pub mod comparison;
pub mod hgrm;
pub mod histogram;
pub mod hlog;
pub mod html;
pub mod machine;
pub mod model;
pub mod summary;
pub mod terminal;
pub mod words;

use std::collections::BTreeMap;

use histogram::Latencies;
use model::{OperationKind, Report};

/// The latencies of all repetitions that [count](summary::counted) together, by kind of operation.
#[must_use]
pub fn latencies_by_kind(report: &Report) -> BTreeMap<OperationKind, Latencies> {
    let mut sums: BTreeMap<OperationKind, Latencies> = BTreeMap::new();
    for (kind, measured) in summary::counted(report).into_iter().flat_map(|repetition| &repetition.operations) {
        sums.entry(*kind).or_default().add(&measured.latency);
    }
    sums
}
