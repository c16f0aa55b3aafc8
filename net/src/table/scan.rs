//! SCAN and SCAN_RELEASE. A scan is a series of pages: each request names where to start and which snapshot to read.
//!
//! The rows of the reply are a fixed layout, see [`ScanPage`](crate::body::ScanPage); this table ends it.

use crate::body::ReadLevel;
use crate::body_error::BodyError;
use crate::frame::Frame;
use crate::generated::wire;
use crate::header::RequestHead;
use crate::ids::{PartitionId, Revision, SnapshotToken};
use crate::limits::KEY_LENGTH_MAX;
use crate::opcode::Opcode;
use crate::table::TableBuilder;
use crate::table::builder::verified_root;

/// One page of a scan of one partition, in ascending key order.
///
/// A first page has `revision` and `snapshot` zero. Every further page repeats the request with `start`, `revision` and
/// `snapshot` from the page before, until a page is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScanRequest<'a> {
    /// The partition; travels as the header's target.
    pub partition: PartitionId,
    /// The first key, included. Empty for the partition's first.
    pub start: &'a [u8],
    /// The key to stop before. Empty for none.
    pub end: &'a [u8],
    /// Only keys that begin with it. Empty for all.
    pub prefix: &'a [u8],
    /// The most rows in the page; 0 leaves it to the server, which may always send fewer.
    pub row_limit: u32,
    /// The most bytes of rows in the page; 0 leaves it to the server. One row is always allowed.
    pub byte_limit: u32,
    /// Whether to leave the values out.
    pub keys_only: bool,
    /// What the read may see.
    pub level: ReadLevel,
    /// The revision to read at; zero takes a new snapshot of the present.
    pub revision: Revision,
    /// The snapshot that the page before named; zero for none.
    pub snapshot: SnapshotToken,
    /// Whether the page is likely to be the only one: the server then holds no snapshot behind it. Where a further page is needed all the same the
    /// scan begins anew, at a newer revision.
    pub is_single_page: bool,
}

impl<'a> ScanRequest<'a> {
    /// A scan of a whole partition as of now, from its first page.
    #[must_use]
    pub fn all(partition: PartitionId) -> Self {
        Self {
            partition,
            start: &[],
            end: &[],
            prefix: &[],
            row_limit: 0,
            byte_limit: 0,
            keys_only: false,
            level: ReadLevel::Linearizable,
            revision: Revision(0),
            snapshot: SnapshotToken(0),
            is_single_page: false,
        }
    }

    /// Appends the request.
    ///
    /// # Panics
    /// If a key is too long; [`check_scan_key`](Self::check_scan_key) first.
    pub fn encode(&self, head: RequestHead, tables: &mut TableBuilder, out: &mut Vec<u8>) {
        for key in [self.start, self.end, self.prefix] {
            assert!(Self::check_scan_key(key).is_ok(), "a scan's key of {} bytes", key.len());
        }
        tables.frame(&head.fields(Opcode::Scan, self.partition.0), out, |builder| {
            let start = Some(builder.create_vector(self.start));
            let end = Some(builder.create_vector(self.end));
            let prefix = Some(builder.create_vector(self.prefix));
            wire::ScanRequest::create(
                builder,
                &wire::ScanRequestArgs {
                    start,
                    end,
                    prefix,
                    row_limit: self.row_limit,
                    byte_limit: self.byte_limit,
                    keys_only: self.keys_only,
                    level: self.level as u8,
                    revision: self.revision.0,
                    snapshot: self.snapshot.0,
                    single_page: self.is_single_page,
                },
            )
        });
    }

    /// Reads the request.
    ///
    /// # Errors
    /// A body that is no SCAN, or a key out of bounds.
    pub fn decode(frame: &Frame<'a>) -> Result<Self, BodyError> {
        frame.expect_request(Opcode::Scan)?;
        let table = verified_root::<wire::ScanRequest<'a>>(frame.body)?;
        let key = |vector: Option<flatbuffers::Vector<'a, u8>>| {
            let bytes = vector.map(|bytes| bytes.bytes()).unwrap_or_default();
            Self::check_scan_key(bytes).map(|()| bytes)
        };
        Ok(Self {
            partition: frame.header.partition(),
            start: key(table.start())?,
            end: key(table.end())?,
            prefix: key(table.prefix())?,
            row_limit: table.row_limit(),
            byte_limit: table.byte_limit(),
            keys_only: table.keys_only(),
            level: ReadLevel::from_wire(table.level())?,
            revision: Revision(table.revision()),
            snapshot: SnapshotToken(table.snapshot()),
            is_single_page: table.single_page(),
        })
    }

    /// Whether `key` can bound a scan: at most one byte longer than a longest key, so that the key right after any key can
    /// be named (the key itself with a zero byte behind it). Empty means "no bound".
    ///
    /// # Errors
    /// [`BodyError::ScanKeyLength`] if it is longer.
    pub fn check_scan_key(key: &[u8]) -> Result<(), BodyError> {
        if key.len() > KEY_LENGTH_MAX + 1 { Err(BodyError::ScanKeyLength { length: key.len() }) } else { Ok(()) }
    }
}

/// The table at the end of a page.
pub(crate) struct ScanEndTable;

impl ScanEndTable {
    pub(crate) fn build<'b>(
        tables: &'b mut TableBuilder,
        revision: Revision,
        snapshot: SnapshotToken,
        resume_key: Option<&[u8]>,
    ) -> &'b [u8] {
        tables.build(|builder| {
            let key = resume_key.map(|key| builder.create_vector(key));
            wire::ScanReply::create(
                builder,
                &wire::ScanReplyArgs {
                    revision: revision.0,
                    snapshot: snapshot.0,
                    done: resume_key.is_none(),
                    resume_key: key,
                },
            )
        })
    }

    /// The revision, the snapshot, and the key to go on from unless the scan is done.
    pub(crate) fn read(bytes: &[u8]) -> Result<(Revision, SnapshotToken, Option<&[u8]>), BodyError> {
        let table = verified_root::<wire::ScanReply<'_>>(bytes)?;
        let resume_key = table.resume_key().map(|key| key.bytes()).unwrap_or_default();
        ScanRequest::check_scan_key(resume_key)?;
        if !table.done() && resume_key.is_empty() {
            return Err(BodyError::Field { field: "resume key of an unfinished scan", found: 0 });
        }
        let resume_key = (!table.done()).then_some(resume_key);
        Ok((Revision(table.revision()), SnapshotToken(table.snapshot()), resume_key))
    }
}

/// Gives a snapshot back before it expires. The reply is empty, also for a snapshot that is gone already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScanRelease {
    /// The partition; travels as the header's target.
    pub partition: PartitionId,
    /// The snapshot.
    pub snapshot: SnapshotToken,
}

impl ScanRelease {
    /// Appends the request.
    pub fn encode(&self, head: RequestHead, tables: &mut TableBuilder, out: &mut Vec<u8>) {
        tables.frame(&head.fields(Opcode::ScanRelease, self.partition.0), out, |builder| {
            wire::ScanRelease::create(builder, &wire::ScanReleaseArgs { snapshot: self.snapshot.0 })
        });
    }

    /// Reads the request.
    ///
    /// # Errors
    /// A body that is no SCAN_RELEASE.
    pub fn decode(frame: &Frame<'_>) -> Result<Self, BodyError> {
        frame.expect_request(Opcode::ScanRelease)?;
        let table = verified_root::<wire::ScanRelease<'_>>(frame.body)?;
        Ok(Self { partition: frame.header.partition(), snapshot: SnapshotToken(table.snapshot()) })
    }
}
