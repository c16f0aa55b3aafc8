//! What a shard is asked to do, and what it answers: independent of the connection, core or batch that asked.

use corelode_engine::command::SessionStamp;
use corelode_engine::ids::{PartitionId, Revision};
use corelode_engine::partition::Durability;
use corelode_net::{ErrorCode, ReplyHead};

use super::connection::ConnectionId;
use super::stages::{Arrival, TimedOperation};

/// An index of a core of this node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Core(pub u16);

/// What a read may see.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadLevel {
    /// Only what a crash can no longer take back; the read waits for it.
    Linearizable,
    /// What this core holds now.
    Local,
}

/// An operation on one partition. `B` is borrowed bytes while a frame is looked at, owned ones once the operation waits or travels.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Operation<B> {
    /// Reads a key.
    Get {
        /// The key.
        key: B,
        /// What may be seen.
        level: ReadLevel,
    },
    /// Gives a key a value.
    Put {
        /// The key.
        key: B,
        /// The value.
        value: B,
        /// The client's CRC-32 of the value, verified on receipt.
        value_crc: u32,
        /// How long the value stays visible, milliseconds.
        ttl_ms: Option<u64>,
        /// What the answer waits for.
        durability: Durability,
        /// Its place in a session, if it may be sent again.
        session: Option<SessionStamp>,
    },
    /// Removes a key.
    Delete {
        /// The key.
        key: B,
        /// What the answer waits for.
        durability: Durability,
        /// Its place in a session, if it may be sent again.
        session: Option<SessionStamp>,
    },
    /// Begins a session; its number is the revision in the answer.
    OpenSession {
        /// How long it lives without being used, milliseconds.
        ttl_ms: u64,
    },
    /// Ends a session.
    CloseSession {
        /// Its number.
        session: u64,
    },
    /// Reads a page of a range.
    Scan(Box<ScanPageRequest>),
    /// Lets a scan's snapshot go.
    ReleaseSnapshot {
        /// The snapshot.
        snapshot: u64,
    },
}

/// A page of a scan, as asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScanPageRequest {
    /// The first key, included.
    pub start: Vec<u8>,
    /// The key to stop before; empty for none.
    pub end: Vec<u8>,
    /// Only keys that begin with it.
    pub prefix: Vec<u8>,
    /// The most rows.
    pub row_limit: usize,
    /// The most bytes of rows; one row is always sent.
    pub byte_limit: usize,
    /// Whether to leave values out.
    pub keys_only: bool,
    /// What may be seen.
    pub level: ReadLevel,
    /// The snapshot to go on with; zero for a new one.
    pub snapshot: u64,
    /// The revision that the snapshot is of, as its first page told; zero for a new one.
    pub revision: Revision,
    /// Whether no snapshot is to be held behind the page.
    pub is_single: bool,
}

impl<B: AsRef<[u8]>> Operation<B> {
    /// Whether it changes something.
    pub fn is_write(&self) -> bool {
        match self {
            Self::Put { .. } | Self::Delete { .. } | Self::OpenSession { .. } | Self::CloseSession { .. } => true,
            Self::Get { .. } | Self::Scan(_) | Self::ReleaseSnapshot { .. } => false,
        }
    }

    /// Whether its answer may hold values.
    pub fn is_read(&self) -> bool {
        matches!(self, Self::Get { .. } | Self::Scan(_))
    }

    /// The operation with its bytes borrowed.
    pub fn borrowed(&self) -> Operation<&[u8]> {
        match self {
            Self::Get { key, level } => Operation::Get { key: key.as_ref(), level: *level },
            Self::Put { key, value, value_crc, ttl_ms, durability, session } => Operation::Put {
                key: key.as_ref(),
                value: value.as_ref(),
                value_crc: *value_crc,
                ttl_ms: *ttl_ms,
                durability: *durability,
                session: *session,
            },
            Self::Delete { key, durability, session } => {
                Operation::Delete { key: key.as_ref(), durability: *durability, session: *session }
            }
            Self::OpenSession { ttl_ms } => Operation::OpenSession { ttl_ms: *ttl_ms },
            Self::CloseSession { session } => Operation::CloseSession { session: *session },
            Self::Scan(request) => Operation::Scan(request.clone()),
            Self::ReleaseSnapshot { snapshot } => Operation::ReleaseSnapshot { snapshot: *snapshot },
        }
    }

    /// The operation with bytes of its own.
    pub fn into_owned(self) -> Operation<Vec<u8>> {
        match self {
            Self::Get { key, level } => Operation::Get { key: key.as_ref().to_vec(), level },
            Self::Put { key, value, value_crc, ttl_ms, durability, session } => Operation::Put {
                key: key.as_ref().to_vec(),
                value: value.as_ref().to_vec(),
                value_crc,
                ttl_ms,
                durability,
                session,
            },
            Self::Delete { key, durability, session } => {
                Operation::Delete { key: key.as_ref().to_vec(), durability, session }
            }
            Self::OpenSession { ttl_ms } => Operation::OpenSession { ttl_ms },
            Self::CloseSession { session } => Operation::CloseSession { session },
            Self::Scan(request) => Operation::Scan(request),
            Self::ReleaseSnapshot { snapshot } => Operation::ReleaseSnapshot { snapshot },
        }
    }

    /// The bytes that the operation holds while it waits.
    pub fn size_bytes(&self) -> usize {
        const FIXED: usize = 64;
        FIXED
            + match self {
                Self::Get { key, .. } | Self::Delete { key, .. } => key.as_ref().len(),
                Self::Put { key, value, .. } => key.as_ref().len() + value.as_ref().len(),
                Self::Scan(request) => request.start.len() + request.end.len() + request.prefix.len(),
                Self::ReleaseSnapshot { .. } | Self::OpenSession { .. } | Self::CloseSession { .. } => 0,
            }
    }
}

/// Who asked, for which partition, and until when.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Where the result goes.
    pub reply_to: ReplyTo,
    /// The partition.
    pub partition: PartitionId,
    /// When waiting ends, on the shard's monotonic clock, milliseconds.
    pub deadline_ms: u64,
}

/// Where a result goes.
#[derive(Clone, Copy, Debug)]
pub enum ReplyTo {
    /// To a client of this core.
    Client(ClientReply),
    /// Into a batch that this core gathers.
    Batch {
        /// The batch.
        batch: BatchId,
        /// The item's place in it.
        ordinal: u32,
    },
    /// To the core that forwarded the request.
    Peer {
        /// The core.
        core: Core,
        /// What that core knows the request by.
        token: ForwardToken,
    },
}

/// A client's request that is to be answered.
#[derive(Clone, Copy, Debug)]
pub struct ClientReply {
    /// The connection; it may be gone by then.
    pub connection: ConnectionId,
    /// What the reply's header repeats.
    pub head: ReplyHead,
    /// The bytes that the request counts as while it is in flight.
    pub size_bytes: usize,
    /// Whether its answer is among them.
    pub is_answer_counted: bool,
    /// What it is timed as, if it is.
    pub timed: Option<TimedOperation>,
    /// When it came.
    pub arrival: Arrival,
    /// Whether its answer is to end with a receipt.
    pub wants_receipt: bool,
}

/// A batch being gathered on a core.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BatchId(pub u64);

/// A request that a core forwarded to another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ForwardToken(pub u64);

/// What became of an operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OperationResult<B> {
    /// A value was found.
    Found {
        /// The revision that wrote it.
        revision: Revision,
        /// When it stops being visible, log time in milliseconds; 0 for never.
        deadline_ms: u64,
        /// Its writer's checksum.
        value_crc: u32,
        /// The value.
        value: B,
    },
    /// The key is absent.
    Absent,
    /// A write was applied.
    Written {
        /// The revision it got.
        revision: Revision,
        /// What was waited for.
        durability: Durability,
    },
    /// A page of a scan.
    Page(Box<ScanPageResult>),
    /// Done, with nothing to say.
    Done,
    /// It failed.
    Failed(Failure),
}

/// Why an operation failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The code; it says whether to retry.
    pub code: ErrorCode,
    /// More than the code's own sentence, where there is more to say.
    pub message: Option<String>,
    /// Where a scan goes on whose snapshot is gone; empty for other failures.
    pub resume_key: Vec<u8>,
    /// Who leads the partition, where another node does.
    pub leader: Option<Leader>,
}

/// A node that leads a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leader {
    /// The node.
    pub node: corelode_raft::NodeId,
    /// Where it listens.
    pub address: std::net::SocketAddr,
}

impl Failure {
    /// A failure that says more than its code's sentence does.
    pub fn with_message(code: ErrorCode, message: String) -> Self {
        Self { code, message: Some(message), resume_key: Vec::new(), leader: None }
    }
}

impl From<ErrorCode> for Failure {
    fn from(code: ErrorCode) -> Self {
        Self { code, message: None, resume_key: Vec::new(), leader: None }
    }
}

/// A page of a scan, as found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ScanPageResult {
    /// The revision that the page was read at.
    pub revision: Revision,
    /// The snapshot that the next page goes on with; zero once the scan is done.
    pub snapshot: u64,
    /// The rows in key order; their keys and values stand in `bytes` in the same order.
    pub rows: Vec<ScannedRow>,
    /// Key and value of each row.
    pub bytes: Vec<u8>,
    /// Where the next page starts; empty once the scan is done.
    pub resume_key: Vec<u8>,
    /// Whether the range is exhausted.
    pub is_done: bool,
}

/// What is known of a row of a page beside its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScannedRow {
    /// Bytes of its key.
    pub key_length: usize,
    /// Bytes of its value; none if only keys were asked for.
    pub value_length: usize,
    /// The writer's checksum of the value.
    pub value_crc: u32,
    /// The revision that wrote it.
    pub revision: Revision,
    /// When it stops being visible, log time in milliseconds; 0 for never.
    pub deadline_ms: u64,
}

impl ScanPageResult {
    /// Each row with its key and its value.
    pub fn rows(&self) -> impl Iterator<Item = (&ScannedRow, &[u8], &[u8])> {
        let mut rest = self.bytes.as_slice();
        self.rows.iter().map(move |row| {
            let (key, behind) = rest.split_at(row.key_length);
            let (value, behind) = behind.split_at(row.value_length);
            rest = behind;
            (row, key, value)
        })
    }

    /// The memory that the page takes while it waits.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len() + self.rows.len() * size_of::<ScannedRow>() + self.resume_key.len()
    }
}

impl OperationResult<Vec<u8>> {
    /// The result with its bytes borrowed.
    pub fn borrowed(&self) -> OperationResult<&[u8]> {
        match self {
            Self::Found { revision, deadline_ms, value_crc, value } => OperationResult::Found {
                revision: *revision,
                deadline_ms: *deadline_ms,
                value_crc: *value_crc,
                value: value.as_slice(),
            },
            Self::Absent => OperationResult::Absent,
            Self::Written { revision, durability } => {
                OperationResult::Written { revision: *revision, durability: *durability }
            }
            Self::Page(page) => OperationResult::Page(page.clone()),
            Self::Done => OperationResult::Done,
            Self::Failed(failure) => OperationResult::Failed(failure.clone()),
        }
    }
}

impl<B: AsRef<[u8]>> OperationResult<B> {
    /// The result with bytes of its own.
    pub fn into_owned(self) -> OperationResult<Vec<u8>> {
        match self {
            Self::Found { revision, deadline_ms, value_crc, value } => {
                OperationResult::Found { revision, deadline_ms, value_crc, value: value.as_ref().to_vec() }
            }
            Self::Absent => OperationResult::Absent,
            Self::Written { revision, durability } => OperationResult::Written { revision, durability },
            Self::Page(page) => OperationResult::Page(page),
            Self::Done => OperationResult::Done,
            Self::Failed(failure) => OperationResult::Failed(failure),
        }
    }
}
