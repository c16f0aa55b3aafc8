//! Scans over all partitions in key order: each partition is read page by page at a revision of its own, and the pages are merged.
//!
//! A hash spreads keys over partitions, so that each is asked for its share of the rows and few more ([`first_page_rows`]). A scan of at most a page's
//! rows takes no snapshots: as a rule a partition is asked once, and one that may hold more of the smallest rows is read anew before the first row is
//! handed out. A longer scan holds a snapshot of each partition, and fetches its next page once what the partition has left may be next.
//!
//! Bounded: one page of each partition is held.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use corelode_net::table::ScanRequest;
use corelode_net::{ErrorCode, PartitionId, Revision, ScanMerge, SnapshotToken, first_page_rows};

use crate::client::{Client, invalid, unexpected};
use crate::error::{Error, Result};
use crate::request::{Page, PageRequest, Reply, Row};

/// The most rows asked for in one page.
const PAGE_ROWS: u32 = 512;
/// How many times the rows of the first page are asked for once they did not do.
const ANEW_ROWS_FACTOR: u32 = 4;

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
    rows: VecDeque<Row>,
    rest: Option<Rest>,
}

/// What is left of a partition.
struct Rest {
    /// Nothing of it stands before this key.
    from: Vec<u8>,
    /// How it is read. Without a snapshot that begins anew, and what came of the partition before is to be forgotten.
    request: PageRequest,
}

/// A scan under way. Each partition is seen at one revision, taken when its first page was read.
pub struct Scan {
    client: Client,
    options: ScanOptions,
    cursors: Option<Vec<Cursor>>,
    /// Of each cursor its first row's key, or where its rest begins.
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
        loop {
            let cursors = self.cursors.as_mut().expect("opened above");
            // Empty at first, and after each fetch.
            if self.heads.is_empty() {
                self.heads.extend(cursors.iter().enumerate().filter_map(|(number, cursor)| head_of(cursor, number)));
            }
            let Some(&Reverse((_, number))) = self.heads.peek() else { return Ok(None) };
            if let Some(row) = cursors[number].rows.pop_front() {
                self.heads.pop();
                self.heads.extend(head_of(&cursors[number], number));
                self.remaining -= 1;
                return Ok(Some(row));
            }
            // What the partition has left may be the next row of all.
            self.heads.clear();
            let mut wanted = wanted_rests(cursors, self.remaining);
            wanted.retain(|&number| cursors[number].rows.is_empty());
            self.newer_revisions += fetch(&self.client, &self.options, cursors, self.remaining, wanted).await?;
        }
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
        let is_short = self.remaining <= u64::from(PAGE_ROWS);
        let cursor = |partition: PartitionId| Cursor {
            rows: VecDeque::new(),
            rest: Some(Rest { from: Vec::new(), request: self.first_request(partition, is_short) }),
        };
        let mut cursors: Vec<_> = topology.partitions.iter().map(|entry| cursor(entry.partition)).collect();
        let mut wanted: Vec<_> = (0..cursors.len()).collect();
        while !wanted.is_empty() {
            for &number in &wanted {
                cursors[number].forget_unless_held();
            }
            self.newer_revisions += fetch(&self.client, &self.options, &mut cursors, self.remaining, wanted).await?;
            // A long scan fetches more on its way.
            wanted = if is_short { wanted_rests(&cursors, self.remaining) } else { Vec::new() };
        }
        self.cursors = Some(cursors);
        Ok(())
    }

    fn first_request(&self, partition: PartitionId, is_single_page: bool) -> PageRequest {
        PageRequest {
            partition,
            start: self.options.start.clone(),
            end: self.options.end.clone(),
            prefix: self.options.prefix.clone(),
            row_limit: 0,
            keys_only: self.options.keys_only,
            revision: Revision(0),
            snapshot: SnapshotToken(0),
            is_single_page,
        }
    }

    /// Lets the server's snapshots go that the scan no longer needs; they would expire by themselves.
    async fn release(&mut self) {
        let mut tasks = tokio::task::JoinSet::new();
        for rest in self.cursors.iter_mut().flatten().filter_map(|cursor| cursor.rest.take()) {
            let PageRequest { partition, snapshot, .. } = rest.request;
            if snapshot != SnapshotToken(0) {
                let client = self.client.clone();
                tasks.spawn(async move { client.release(partition, snapshot).await });
            }
        }
        while tasks.join_next().await.is_some() {}
        self.heads.clear();
    }
}

impl Cursor {
    /// What is read anew is forgotten.
    fn forget_unless_held(&mut self) {
        if self.rest.as_ref().is_some_and(|rest| rest.request.snapshot == SnapshotToken(0)) {
            self.rows.clear();
        }
    }
}

/// A cursor's first row's key, or where its rest begins.
fn head_of(cursor: &Cursor, number: usize) -> Option<Reverse<(Vec<u8>, usize)>> {
    let first = cursor.rows.front().map(|row| &row.key);
    let key = first.or(cursor.rest.as_ref().map(|rest| &rest.from))?;
    Some(Reverse((key.clone(), number)))
}

/// The cursors whose rests may hold one of the `remaining` smallest rows.
fn wanted_rests(cursors: &[Cursor], remaining: u64) -> Vec<usize> {
    let came: usize = cursors.iter().map(|cursor| cursor.rows.len()).sum();
    let limit = usize::try_from(remaining).unwrap_or(usize::MAX);
    let mut merge = ScanMerge::default();
    merge.begin(limit, cursors.len());
    for (number, Cursor { rows, rest }) in cursors.iter().enumerate() {
        // With fewer rows than are wanted every rest may hold some.
        let keys = rows.iter().filter(|_| came >= limit).map(|row| row.key.as_slice());
        merge.take_page(number, keys, rest.as_ref().map(|rest| rest.from.as_slice()));
    }
    let mut wanted = Vec::new();
    merge.find_unsettled(&mut wanted);
    wanted
}

/// Fetches the next pages of these cursors, all at once. Answers how often they had to go on at a newer revision. Whoever drops the future can call
/// again: what did not come is still to be read.
async fn fetch(
    client: &Client,
    options: &ScanOptions,
    cursors: &mut [Cursor],
    remaining: u64,
    numbers: Vec<usize>,
) -> Result<u64> {
    let share = u32::try_from(first_page_rows(remaining, cursors.len())).unwrap_or(u32::MAX);
    let at_newer_revisions = options.at_newer_revisions;
    let mut tasks = tokio::task::JoinSet::new();
    for number in numbers {
        let Some(Rest { request, .. }) = &cursors[number].rest else { continue };
        let row_limit = share.max(request.row_limit).min(PAGE_ROWS);
        let (request, client) = (PageRequest { row_limit, ..request.clone() }, client.clone());
        tasks.spawn(async move { (number, fetch_rows(&client, request, at_newer_revisions).await) });
    }
    let mut newer_revisions = 0;
    while let Some(joined) = tasks.join_next().await {
        let (number, outcome) = joined.map_err(|error| Error::Protocol { message: error.to_string() })?;
        let (fetched, newer) = outcome?;
        cursors[number].rows.extend(fetched.rows);
        cursors[number].rest = fetched.rest;
        newer_revisions += newer;
    }
    Ok(newer_revisions)
}

/// Fetches pages until there are rows, or the partition is exhausted. Answers how often it had to go on at a newer revision, too.
async fn fetch_rows(client: &Client, request: PageRequest, at_newer_revisions: bool) -> Result<(Cursor, u64)> {
    let mut request = request;
    let mut newer_revisions = 0;
    loop {
        let page = match client.page(&request).await {
            Ok(Reply::Page(page)) => page,
            Ok(other) => return Err(unexpected(&other)),
            Err(Error::Refused { code: Some(ErrorCode::SnapshotExpired), .. }) if at_newer_revisions => {
                newer_revisions += 1;
                request = PageRequest { revision: Revision(0), snapshot: SnapshotToken(0), ..request };
                continue;
            }
            Err(error) => return Err(error),
        };
        let Page { rows, revision, snapshot, resume_key } = page;
        let rest = resume_key.map(|from| Rest { request: request.behind(&from, revision, snapshot), from });
        match rest {
            Some(Rest { request: further, .. }) if rows.is_empty() => request = further,
            rest => return Ok((Cursor { rows: rows.into(), rest }, newer_revisions)),
        }
    }
}

impl PageRequest {
    /// What reads on from `from`, at the snapshot of the page before; or without one anew, and then more rows at once.
    fn behind(&self, from: &[u8], revision: Revision, snapshot: SnapshotToken) -> Self {
        let further = Self { is_single_page: false, ..self.clone() };
        if snapshot == SnapshotToken(0) {
            let row_limit = self.row_limit.saturating_mul(ANEW_ROWS_FACTOR);
            return Self { row_limit, revision: Revision(0), snapshot, ..further };
        }
        Self { start: from.to_vec(), revision, snapshot, row_limit: 0, ..further }
    }
}
