//! Scans over all partitions in key order: each partition is read page by page at a revision of its own, and the pages are merged.
//!
//! Bounded: one page of each partition is held, and the next is fetched when it is used up.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use corelode_net::table::ScanRequest;
use corelode_net::{ErrorCode, PartitionId, Revision, SnapshotToken};

use crate::client::{Client, invalid, unexpected};
use crate::error::{Error, Result};
use crate::request::{Page, PageRequest, Reply, Row};

/// Rows asked for in one page.
const PAGE_ROWS: u32 = 512;

/// Which rows a scan walks over.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ScanOptions {
    /// The first key, included; empty for the first of all.
    pub start: Vec<u8>,
    /// The key to stop before; empty for none.
    pub end: Vec<u8>,
    /// Only keys that begin with it.
    pub prefix: Vec<u8>,
    /// The most rows; `None` for all.
    pub limit: Option<u64>,
    /// Whether to leave the values out.
    pub keys_only: bool,
    /// Whether to go on at a newer revision of a partition if the server no longer holds that of its first page, because the rows were taken
    /// too slowly or the server was restarted. Otherwise that is an error.
    pub at_newer_revisions: bool,
}

/// A partition on its way.
struct Cursor {
    partition: PartitionId,
    rows: VecDeque<Row>,
    next: Option<PageRequest>,
}

/// A scan under way. Each partition is seen at one revision, taken when its first page was read.
pub struct Scan {
    client: Client,
    options: ScanOptions,
    cursors: Option<Vec<Cursor>>,
    /// The next key of each cursor that has rows.
    heads: BinaryHeap<Reverse<(Vec<u8>, usize)>>,
    remaining: u64,
    newer_revisions: u64,
}

impl Scan {
    pub(crate) fn new(client: Client, options: ScanOptions) -> Self {
        let remaining = options.limit.unwrap_or(u64::MAX);
        Self { client, options, cursors: None, heads: BinaryHeap::new(), remaining, newer_revisions: 0 }
    }

    /// The next row in key order, `None` behind the last.
    ///
    /// # Errors
    /// See [`Error`]. A snapshot that the server no longer holds, because the scan was left alone for too long, is refused with
    /// `SNAPSHOT_EXPIRED`, unless the scan may go on [at a newer revision](ScanOptions::at_newer_revisions).
    pub async fn next(&mut self) -> Result<Option<Row>> {
        if self.remaining == 0 {
            self.release().await;
            return Ok(None);
        }
        if self.cursors.is_none() {
            self.open().await?;
        }
        let Some(Reverse((_, number))) = self.heads.pop() else { return Ok(None) };
        let cursors = self.cursors.as_mut().expect("opened above");
        let row = cursors[number].rows.pop_front().expect("a cursor with a head has a row");
        if cursors[number].rows.is_empty() {
            let cursor = &mut cursors[number];
            self.newer_revisions += fill(&self.client, cursor, self.options.at_newer_revisions).await?;
        }
        if let Some(first) = cursors[number].rows.front() {
            self.heads.push(Reverse((first.key.clone(), number)));
        }
        self.remaining -= 1;
        Ok(Some(row))
    }

    /// How often the scan had to go on at a newer revision of a partition.
    #[must_use]
    pub fn newer_revisions(&self) -> u64 {
        self.newer_revisions
    }

    /// Reads the first page of every partition.
    async fn open(&mut self) -> Result<()> {
        for bound in [&self.options.start, &self.options.end, &self.options.prefix] {
            ScanRequest::check_scan_key(bound).map_err(invalid)?;
        }
        let topology = self.client.fetch_topology().await?;
        let row_limit = u32::try_from(self.remaining).unwrap_or(u32::MAX).min(PAGE_ROWS);
        let mut tasks = tokio::task::JoinSet::new();
        for entry in &topology.partitions {
            let partition = entry.partition;
            let request = PageRequest {
                partition,
                start: self.options.start.clone(),
                end: self.options.end.clone(),
                prefix: self.options.prefix.clone(),
                row_limit,
                keys_only: self.options.keys_only,
                revision: Revision(0),
                snapshot: SnapshotToken(0),
            };
            let (client, at_newer_revisions) = (self.client.clone(), self.options.at_newer_revisions);
            tasks.spawn(async move {
                let mut cursor = Cursor { partition, rows: VecDeque::new(), next: Some(request) };
                fill(&client, &mut cursor, at_newer_revisions).await.map(|newer| (cursor, newer))
            });
        }
        let mut cursors = Vec::new();
        while let Some(joined) = tasks.join_next().await {
            let (cursor, newer) = joined.map_err(|error| Error::Protocol { message: error.to_string() })??;
            self.newer_revisions += newer;
            if let Some(first) = cursor.rows.front() {
                self.heads.push(Reverse((first.key.clone(), cursors.len())));
            }
            cursors.push(cursor);
        }
        self.cursors = Some(cursors);
        Ok(())
    }

    /// Lets the server's snapshots go that the scan no longer needs; they would expire by themselves.
    async fn release(&mut self) {
        for cursor in self.cursors.iter_mut().flatten() {
            if let Some(next) = cursor.next.take().filter(|next| next.snapshot != SnapshotToken(0)) {
                let _ = self.client.release(cursor.partition, next.snapshot).await;
            }
        }
        self.heads.clear();
    }
}

/// Fetches pages until the cursor has rows or is done. Answers how often it had to go on at a newer revision.
async fn fill(client: &Client, cursor: &mut Cursor, at_newer_revisions: bool) -> Result<u64> {
    let mut newer_revisions = 0;
    while cursor.rows.is_empty() {
        let Some(request) = cursor.next.take() else { break };
        let page = match client.page(&request).await {
            Ok(Reply::Page(page)) => page,
            Ok(other) => return Err(unexpected(&other)),
            Err(Error::Refused { code: Some(ErrorCode::SnapshotExpired), .. }) if at_newer_revisions => {
                newer_revisions += 1;
                cursor.next = Some(PageRequest { revision: Revision(0), snapshot: SnapshotToken(0), ..request });
                continue;
            }
            Err(error) => return Err(error),
        };
        let Page { rows, revision, snapshot, resume_key } = page;
        cursor.rows = rows.into();
        cursor.next =
            resume_key.map(|start| PageRequest { start, revision, snapshot, row_limit: PAGE_ROWS, ..request });
    }
    Ok(newer_revisions)
}
