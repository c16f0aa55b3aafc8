//! What an operator may choose about a log.

use crate::limits::LOG_BLOCK_SIZE_BYTES;

/// A segment holds a checkpoint, a batch, and the name of its successor.
pub(crate) const SEGMENT_SIZE_BYTES_MIN: u64 = 3 * LOG_BLOCK_SIZE_BYTES as u64;

/// What an operator may choose about a log.
#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// The length of a segment file, bytes; a multiple of 4,096. A write that is too long for it gets a longer file of its own.
    pub segment_size_bytes: u64,
    /// Segment files of a log, those in use and those ready together; at the bound writes wait for flushes.
    pub segments_max: usize,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { segment_size_bytes: 32 * 1024 * 1024, segments_max: 16 }
    }
}
