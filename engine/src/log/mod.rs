//! The core's log: one segmented, durable sequence of batches for all streams (Raft groups) of a core.
//!
//! The Raft log *is* the write-ahead log: applying an entry puts it into a memtable and writes nothing more. The format is
//! specified in `docs/formats/log.md`; [`LogWriter`] writes it, [`recovery`] reads it back.
//!
//! Owned by one shard. Bounds and failures are those of [`LogWriter`].

mod batch;
mod options;
mod record;
pub mod recovery;
mod segment;
mod segment_pool;
mod segment_scan;
mod writer;

pub use batch::LOG_FORMAT_VERSION;
pub use options::LogOptions;
pub use record::{HardState, StreamState};
pub use segment::{SegmentFile, prepare_segment, segment_file_name};
pub(crate) use segment::{TEMPORARY_SUFFIX, segment_number};
pub(crate) use segment_pool::LiveSegment;
pub use segment_pool::SegmentBound;
pub use writer::{Durable, LogCounters, LogWrite, LogWriter};
pub(crate) use writer::{LogStart, SegmentTail};
