//! Compaction: choosing, merging and installing. The choice of tables is a [pure function](picker), the merge a pure iterator
//! ([`crate::cursor`]), and only the job does I/O, on the maintenance thread.

mod job;
mod picker;

pub use job::{CompactionJob, run_compaction};

pub use picker::{CompactionOptions, KeyBound, Plan, TableSummary, debt_bytes, pick};
