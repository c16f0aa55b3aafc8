//! Where the tables go that a flush or a compaction writes.

use std::path::PathBuf;

use crate::ids::{PartitionId, SlotRange, TableId};
use crate::table::TableOptions;

/// Where a job's output goes.
#[derive(Clone, Debug)]
pub struct JobTarget {
    /// The partition.
    pub partition: PartitionId,
    /// Its directory.
    pub directory: PathBuf,
    /// Its slots.
    pub slots: SlotRange,
    /// The first number for an output table; further tables count up from it.
    pub table_id_first: TableId,
    /// How many numbers are the job's; behind them are another's.
    pub table_count_max: u64,
    /// How tables are written.
    pub table_options: TableOptions,
}
