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
    /// Replicas of groups on the core.
    pub const REPLICAS: &str = "replicas";
    /// Those that lead.
    pub const REPLICAS_LEADING: &str = "replicas_leading";
    /// Groups led from here that have not all the voters that they should have.
    pub const GROUPS_SHORT_OF_VOTERS: &str = "groups_short_of_voters";
    /// Those that know of no leader.
    pub const REPLICAS_WITHOUT_LEADER: &str = "replicas_without_leader";
    /// Those that have fallen silent, because nothing happens.
    pub const REPLICAS_SILENT: &str = "replicas_silent";
    /// Entries of theirs that are not known to be committed.
    pub const REPLICAS_ENTRIES_UNCOMMITTED: &str = "replicas_entries_uncommitted";
    /// Those whose tables are damaged, and that wait for another node's.
    pub const REPLICAS_DAMAGED: &str = "replicas_damaged";
    /// Those of which another replica has applied something else.
    pub const REPLICAS_DIVERGED: &str = "replicas_diverged";
    /// Hashes of applied state compared with other replicas'.
    pub const STATE_HASHES_COMPARED_TOTAL: &str = "state_hashes_compared_total";
    /// Hashes of entries that this core does not know any more, or not yet.
    pub const STATE_HASHES_INCOMPARABLE_TOTAL: &str = "state_hashes_incomparable_total";
    /// Reads that wait until the leader is known to have led.
    pub const REPLICAS_READS_WAITING: &str = "replicas_reads_waiting";
    /// Cores of other nodes that are heard.
    pub const PEERS_ALIVE: &str = "peers_alive";
    /// Frames sent to other nodes.
    pub const PEER_FRAMES_SENT_TOTAL: &str = "peer_frames_sent_total";
    /// Frames received from other nodes.
    pub const PEER_FRAMES_RECEIVED_TOTAL: &str = "peer_frames_received_total";
    /// Messages of groups in the frames sent.
    pub const PEER_MESSAGES_SENT_TOTAL: &str = "peer_messages_sent_total";
    /// Messages of groups in the frames received.
    pub const PEER_MESSAGES_RECEIVED_TOTAL: &str = "peer_messages_received_total";
    /// Messages that found no room, no connection or no group.
    pub const PEER_MESSAGES_DROPPED_TOTAL: &str = "peer_messages_dropped_total";
    /// How often entries that were applied from memory were lost: each time a partition's writes at MEMORY that were acknowledged.
    pub const MEMORY_WRITES_LOST_TOTAL: &str = "memory_writes_lost_total";
    /// Connections that said to be of a node, and were refused.
    pub const PEERS_REFUSED_TOTAL: &str = "peers_refused_total";
    /// Frames to other nodes that they did not understand.
    pub const PEER_ERRORS_TOTAL: &str = "peer_errors_total";
    /// Transfers of tables to other nodes that were begun.
    pub const TRANSFERS_SENT_BEGUN_TOTAL: &str = "transfers_sent_begun_total";
    /// Those that came to their end.
    pub const TRANSFERS_SENT_DONE_TOTAL: &str = "transfers_sent_done_total";
    /// Bytes of tables sent.
    pub const TRANSFERS_SENT_BYTES_TOTAL: &str = "transfers_sent_bytes_total";
    /// Transfers of tables from other nodes that were begun.
    pub const TRANSFERS_RECEIVED_BEGUN_TOTAL: &str = "transfers_received_begun_total";
    /// Those that came to their end.
    pub const TRANSFERS_RECEIVED_DONE_TOTAL: &str = "transfers_received_done_total";
    /// Bytes of tables received.
    pub const TRANSFERS_RECEIVED_BYTES_TOTAL: &str = "transfers_received_bytes_total";
}
