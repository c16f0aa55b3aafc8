//! Requests, which borrow from their caller; what each expects for an answer; and replies with bytes of their own.

use corelode_net::body::{
    BatchItem, BatchOperation, BatchReply, BatchResult, BatchWriter, DeleteRequest, Durability, GetReply, GetRequest,
    PutRequest, ReadLevel, Receipt, ScanPage, SessionClose, SessionOpen, SessionPrefix, Value, WriteReply,
};
use corelode_net::table::{
    ErrorReply, Histograms, HistogramsRequest, ScanRelease, ScanRequest, Status, TableBuilder, Topology,
    encode_status_request, encode_topology_request,
};
use corelode_net::{CoreIndex, Frame, Opcode, PartitionId, RequestHead, RetryClass, Revision, SnapshotToken, slot_of};

use crate::error::AttemptError;
use crate::retry::Kind;

/// A value and what is known about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// The value.
    pub value: Vec<u8>,
    /// The partition's revision that wrote it.
    pub revision: u64,
    /// When it stops being visible, milliseconds since the Unix epoch by the server's log; `None` for never.
    pub deadline_ms: Option<u64>,
}

/// A row of a scan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// The key.
    pub key: Vec<u8>,
    /// The value and what is known about it; the value is empty if only keys were asked for.
    pub found: Found,
}

/// One operation of a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Reads a key.
    Get {
        /// The key.
        key: Vec<u8>,
    },
    /// Writes a key.
    Put {
        /// The key.
        key: Vec<u8>,
        /// The value.
        value: Vec<u8>,
        /// How long it stays visible, milliseconds; `None` for ever.
        ttl_ms: Option<u64>,
    },
    /// Deletes a key.
    Delete {
        /// The key.
        key: Vec<u8>,
    },
}

impl Operation {
    /// The key it works on.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        match self {
            Self::Get { key } | Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }

    /// What it means to carry it out twice.
    pub(crate) fn kind(&self) -> Kind {
        if let Self::Get { .. } = self { Kind::Read } else { Kind::Write }
    }

    /// The bytes of its key and value.
    pub(crate) fn size_bytes(&self) -> usize {
        self.key().len() + if let Self::Put { value, .. } = self { value.len() } else { 0 }
    }

    fn borrowed(&self) -> BatchOperation<'_> {
        match self {
            Self::Get { key } => BatchOperation::Get { key },
            Self::Put { key, value, ttl_ms } => {
                BatchOperation::Put { key, value: Value::new(value), ttl_ms: ttl_ms.unwrap_or(0) }
            }
            Self::Delete { key } => BatchOperation::Delete { key },
        }
    }
}

/// A page of a scan, as asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PageRequest {
    pub(crate) partition: PartitionId,
    pub(crate) start: Vec<u8>,
    pub(crate) end: Vec<u8>,
    pub(crate) prefix: Vec<u8>,
    pub(crate) row_limit: u32,
    pub(crate) keys_only: bool,
    pub(crate) revision: Revision,
    pub(crate) snapshot: SnapshotToken,
    /// Whether no snapshot is to be held behind the page.
    pub(crate) is_single_page: bool,
}

/// A page of a scan, as it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Page {
    pub(crate) rows: Vec<Row>,
    pub(crate) revision: Revision,
    pub(crate) snapshot: SnapshotToken,
    pub(crate) resume_key: Option<Vec<u8>>,
}

/// Something asked of a server. Encoded as soon as it is submitted, so that it owns nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Request<'a> {
    Get {
        key: &'a [u8],
        level: ReadLevel,
    },
    Put {
        key: &'a [u8],
        value: &'a [u8],
        ttl_ms: u64,
        durability: Durability,
    },
    Delete {
        key: &'a [u8],
        durability: Durability,
    },
    Batch {
        operations: &'a [Operation],
        durability: Durability,
    },
    Scan(&'a PageRequest),
    ScanRelease {
        partition: PartitionId,
        snapshot: SnapshotToken,
    },
    Topology,
    Status,
    Histograms {
        core: CoreIndex,
        operation: &'a str,
    },
    OpenSession {
        partition: PartitionId,
        ttl_ms: u64,
    },
    CloseSession {
        partition: PartitionId,
        session: u64,
    },
    /// Another request, which asks for its receipt.
    WithReceipt(&'a Request<'a>),
    /// A PUT or DELETE, perhaps with its receipt, in its place in a session.
    Stamped {
        prefix: SessionPrefix,
        request: &'a Request<'a>,
    },
}

/// What of a request is needed to read its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expected {
    Value,
    Written(Opcode),
    Batch { count: usize },
    Page { keys_only: bool },
    Done,
    Topology,
    Status,
    Histograms,
}

/// A server's answer.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Value(Option<Found>),
    Written { revision: u64 },
    Batch(Vec<Outcome>),
    Page(Page),
    Topology(Topology),
    Status(Status),
    Histograms(Histograms),
    WithReceipt(Box<Reply>, Receipt),
    Done,
}

/// What became of one operation of a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    Value(Option<Found>),
    Written { revision: u64 },
    Failed { code: u16, retry: RetryClass },
}

impl Request<'_> {
    /// What it means to carry it out twice.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Put { .. } | Self::Delete { .. } => Kind::Write,
            Self::Batch { operations, .. } if operations.iter().any(|operation| operation.kind().is_write()) => {
                Kind::Write
            }
            Self::WithReceipt(request) => request.kind(),
            Self::Stamped { .. } => Kind::StampedWrite,
            // A session that is opened twice is one too many, which the server forgets in time.
            _ => Kind::Read,
        }
    }

    /// What its answer looks like.
    pub(crate) fn expected(&self) -> Expected {
        match self {
            Self::Get { .. } => Expected::Value,
            Self::Put { .. } => Expected::Written(Opcode::Put),
            Self::Delete { .. } => Expected::Written(Opcode::Delete),
            Self::Batch { operations, .. } => Expected::Batch { count: operations.len() },
            Self::Scan(page) => Expected::Page { keys_only: page.keys_only },
            Self::ScanRelease { .. } => Expected::Done,
            Self::Topology => Expected::Topology,
            Self::Status => Expected::Status,
            Self::Histograms { .. } => Expected::Histograms,
            Self::OpenSession { .. } => Expected::Written(Opcode::SessionOpen),
            Self::CloseSession { .. } => Expected::Written(Opcode::SessionClose),
            Self::WithReceipt(request) | Self::Stamped { request, .. } => request.expected(),
        }
    }

    /// About what its frame takes, bytes: exact enough to bound the memory of many, whose keys and values are what matters.
    pub(crate) fn size_bytes(&self) -> usize {
        /// Header, fixed fields, and what stands before a key and a value.
        const OVERHEAD_SIZE_BYTES: usize = 128;
        OVERHEAD_SIZE_BYTES
            + match self {
                Self::Get { key, .. } | Self::Delete { key, .. } => key.len(),
                Self::Put { key, value, .. } => key.len() + value.len(),
                Self::Batch { operations, .. } => {
                    operations.iter().map(|operation| OVERHEAD_SIZE_BYTES + operation.size_bytes()).sum()
                }
                Self::Scan(page) => page.start.len() + page.end.len() + page.prefix.len(),
                Self::WithReceipt(request) | Self::Stamped { request, .. } => request.size_bytes(),
                _ => 0,
            }
    }

    pub(crate) fn encode(&self, head: RequestHead, tables: &mut TableBuilder, out: &mut Vec<u8>) {
        match self {
            Self::Get { key, level } => GetRequest { slot: slot_of(key), key, level: *level }.encode(head, out),
            Self::Put { .. } | Self::Delete { .. } => self.encode_write(None, head, out),
            Self::Stamped { prefix, request } => request.encode_write(Some(*prefix), head, out),
            Self::OpenSession { partition, ttl_ms } => {
                SessionOpen { partition: *partition, ttl_ms: *ttl_ms }.encode(head, out);
            }
            Self::CloseSession { partition, session } => {
                SessionClose { partition: *partition, session: *session }.encode(head, out);
            }
            Self::Batch { operations, durability } => {
                let mut batch = BatchWriter::begin(out, *durability, ReadLevel::Linearizable);
                for operation in *operations {
                    let item = BatchItem { slot: slot_of(operation.key()), operation: operation.borrowed() };
                    batch.push(&item).expect("batches are cut to what a frame holds");
                }
                batch.finish(head);
            }
            Self::Scan(page) => {
                let PageRequest { partition, row_limit, keys_only, revision, snapshot, is_single_page, .. } = **page;
                let mut request = ScanRequest::all(partition);
                request.start = &page.start;
                request.end = &page.end;
                request.prefix = &page.prefix;
                request.row_limit = row_limit;
                request.keys_only = keys_only;
                request.revision = revision;
                request.snapshot = snapshot;
                request.is_single_page = is_single_page;
                request.encode(head, tables, out);
            }
            Self::ScanRelease { partition, snapshot } => {
                ScanRelease { partition: *partition, snapshot: *snapshot }.encode(head, tables, out);
            }
            Self::Topology => encode_topology_request(head, out),
            Self::Status => encode_status_request(head, out),
            Self::WithReceipt(request) => {
                let start = out.len();
                request.encode(head, tables, out);
                Receipt::ask(out, start);
            }
            Self::Histograms { core, operation } => {
                HistogramsRequest { core: *core, operation }.encode(head, tables, out)
            }
        }
    }

    /// A PUT or DELETE, perhaps with its receipt, in its place in a session if it has one.
    fn encode_write(&self, prefix: Option<SessionPrefix>, head: RequestHead, out: &mut Vec<u8>) {
        match self {
            Self::Put { key, value, ttl_ms, durability } => {
                let (slot, value) = (slot_of(key), Value::new(value));
                let request = PutRequest { slot, key, value, ttl_ms: *ttl_ms, durability: *durability };
                match prefix {
                    Some(prefix) => request.encode_in_session(prefix, head, out),
                    None => request.encode(head, out),
                }
            }
            Self::Delete { key, durability } => {
                let request = DeleteRequest { slot: slot_of(key), key, durability: *durability };
                match prefix {
                    Some(prefix) => request.encode_in_session(prefix, head, out),
                    None => request.encode(head, out),
                }
            }
            Self::WithReceipt(request) => {
                let start = out.len();
                request.encode_write(prefix, head, out);
                Receipt::ask(out, start);
            }
            other => unreachable!("only a PUT or DELETE is written so: {other:?}"),
        }
    }
}

impl Expected {
    /// Reads the answer out of `frame`.
    pub(crate) fn decode(&self, frame: &Frame<'_>) -> Result<Reply, AttemptError> {
        let fail = |error: corelode_net::BodyError| AttemptError::Protocol { message: error.to_string() };
        match self {
            Self::Value => match GetReply::decode(frame).map_err(fail)? {
                GetReply::Absent => Ok(Reply::Value(None)),
                GetReply::Found(found) => Ok(Reply::Value(Some(owned(&found)?))),
            },
            Self::Written(opcode) => written(frame, *opcode),
            Self::Batch { count } => {
                let reply = BatchReply::decode(frame).map_err(fail)?;
                if reply.count() != *count {
                    let message = format!("{} results for {count} operations", reply.count());
                    return Err(AttemptError::Protocol { message });
                }
                let outcome = |result| {
                    Ok(match result {
                        BatchResult::Found(found) => Outcome::Value(Some(owned(&found)?)),
                        BatchResult::Absent => Outcome::Value(None),
                        BatchResult::Written { revision } => Outcome::Written { revision: revision.0 },
                        BatchResult::Error { code, retry } => Outcome::Failed { code, retry },
                    })
                };
                reply.results().map(outcome).collect::<Result<_, _>>().map(Reply::Batch)
            }
            Self::Page { keys_only } => page(frame, *keys_only).map(Reply::Page),
            Self::Done => Ok(Reply::Done),
            Self::Topology => Topology::decode(frame).map(Reply::Topology).map_err(fail),
            Self::Status => Status::decode(frame).map(Reply::Status).map_err(fail),
            Self::Histograms => Histograms::decode(frame).map(Reply::Histograms).map_err(fail),
        }
    }
}

fn written(frame: &Frame<'_>, opcode: Opcode) -> Result<Reply, AttemptError> {
    let reply =
        WriteReply::decode(frame, opcode).map_err(|error| AttemptError::Protocol { message: error.to_string() })?;
    Ok(Reply::Written { revision: reply.revision.0 })
}

fn owned(found: &corelode_net::body::Found<'_>) -> Result<Found, AttemptError> {
    found.value.verify().map_err(|error| AttemptError::Protocol { message: format!("a value is damaged: {error}") })?;
    Ok(Found {
        value: found.value.bytes.to_vec(),
        revision: found.revision.0,
        deadline_ms: (found.deadline_ms > 0).then_some(found.deadline_ms),
    })
}

fn page(frame: &Frame<'_>, keys_only: bool) -> Result<Page, AttemptError> {
    let page = ScanPage::decode(frame).map_err(|error| AttemptError::Protocol { message: error.to_string() })?;
    let row = |row: corelode_net::body::ScanRow<'_>| {
        let found =
            corelode_net::body::Found { revision: row.revision, deadline_ms: row.deadline_ms, value: row.value };
        let found = if keys_only {
            Found { value: Vec::new(), revision: row.revision.0, deadline_ms: None }
        } else {
            owned(&found)?
        };
        Ok(Row { key: row.key.to_vec(), found })
    };
    Ok(Page {
        rows: page.rows().map(row).collect::<Result<_, _>>()?,
        revision: page.revision,
        snapshot: page.snapshot,
        resume_key: page.resume_key.map(<[u8]>::to_vec),
    })
}

/// Reads an error out of `frame`.
pub(crate) fn decode_error(frame: &Frame<'_>) -> AttemptError {
    match ErrorReply::decode(frame) {
        Ok(error) => AttemptError::Server {
            code: error.error_code(),
            retry: error.retry,
            message: error.message.to_owned(),
            leader: error.leader.map(|leader| leader.node_id),
        },
        Err(error) => AttemptError::Protocol { message: error.to_string() },
    }
}
