//! The names of the counters in a status. A server may report others, and leave some out.

/// Names of counters. Sizes are in bytes; a *total* only rises while the server runs, anything else is the present state.
pub mod counters {
    /// Connections open on the core.
    pub const CONNECTIONS: &str = "connections";
    /// Connections accepted.
    pub const CONNECTIONS_ACCEPTED_TOTAL: &str = "connections_accepted_total";
    /// Requests answered, batches counted once.
    pub const REQUESTS_TOTAL: &str = "requests_total";
    /// Requests refused with an error.
    pub const ERRORS_TOTAL: &str = "errors_total";
    /// Requests refused with OVERLOADED.
    pub const OVERLOADED_TOTAL: &str = "overloaded_total";
    /// Bytes received.
    pub const RECEIVED_BYTES_TOTAL: &str = "received_bytes_total";
    /// Bytes sent.
    pub const SENT_BYTES_TOTAL: &str = "sent_bytes_total";
    /// Keys read.
    pub const GETS_TOTAL: &str = "gets_total";
    /// Keys written.
    pub const PUTS_TOTAL: &str = "puts_total";
    /// Keys deleted.
    pub const DELETES_TOTAL: &str = "deletes_total";
    /// Pages of scans.
    pub const SCAN_PAGES_TOTAL: &str = "scan_pages_total";
    /// Partitions that the core owns.
    pub const PARTITIONS: &str = "partitions";
    /// Snapshots held for scans.
    pub const SNAPSHOTS: &str = "snapshots";
    /// Requests waiting for the log or a page.
    pub const QUEUE_DEPTH: &str = "queue_depth";
    /// Memory of the memtables.
    pub const MEMTABLE_BYTES: &str = "memtable_bytes";
    /// Tables on disk.
    pub const TABLES: &str = "tables";
    /// Size of the tables.
    pub const TABLE_BYTES: &str = "table_bytes";
    /// Memory of the block cache.
    pub const CACHE_BYTES: &str = "cache_bytes";
    /// Reads of blocks that the cache had.
    pub const CACHE_HITS_TOTAL: &str = "cache_hits_total";
    /// Reads of blocks that the cache had not.
    pub const CACHE_MISSES_TOTAL: &str = "cache_misses_total";
    /// Segments of the log.
    pub const LOG_SEGMENTS: &str = "log_segments";
    /// Bytes written to the log, padding included.
    pub const LOG_BYTES_TOTAL: &str = "log_bytes_total";
    /// Of those, padding.
    pub const LOG_PADDING_BYTES_TOTAL: &str = "log_padding_bytes_total";
    /// Batches written to the log, each one durable write.
    pub const LOG_BATCHES_TOTAL: &str = "log_batches_total";
    /// Entries in those batches.
    pub const LOG_ENTRIES_TOTAL: &str = "log_entries_total";
    /// Memtables flushed.
    pub const FLUSHES_TOTAL: &str = "flushes_total";
    /// Compactions done.
    pub const COMPACTIONS_TOTAL: &str = "compactions_total";
    /// Bytes that compactions wrote.
    pub const COMPACTION_BYTES_TOTAL: &str = "compaction_bytes_total";
    /// Bytes that compaction is behind.
    pub const COMPACTION_DEBT_BYTES: &str = "compaction_debt_bytes";
}
