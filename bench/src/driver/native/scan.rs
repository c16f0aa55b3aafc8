//! A scan of a session: the smallest rows over all partitions, page by page.
//!
//! Each partition is asked for few rows, and for no snapshot, since as a rule nothing more is asked of it. One that may hold more of the smallest
//! rows is read again from its first key on, now with a snapshot: so each partition is seen at one revision. Snapshots are released at the end.

use corelode_net::body::ScanPage;
use corelode_net::table::ScanRequest;
use corelode_net::{ErrorCode, PartitionId, Revision, ScanMerge, SnapshotToken, first_page_rows};

use crate::driver::Outcome;

/// A partition whose snapshot is gone is read anew, so often in a scan; then the scan has failed.
const EXPIRED_MAX: u32 = 3;
/// How many times the rows of the first page are asked for once they did not do.
const FURTHER_ROWS_FACTOR: u32 = 4;

/// A scan under way, or the memory of one that ended.
#[derive(Default)]
pub(super) struct Scan {
    start: Vec<u8>,
    rows: u32,
    merge: ScanMerge,
    parts: Vec<Part>,
    /// Pages that were asked for and have not come.
    missing: usize,
    failure: Option<String>,
}

/// What a scan knows of a partition.
#[derive(Clone, Default)]
struct Part {
    stage: Stage,
    /// Whether a page was asked for and has not come.
    is_asked: bool,
    /// The connection that it was asked for on.
    connection: usize,
    revision: Revision,
    /// Zero while the server holds none for this scan.
    snapshot: SnapshotToken,
    resume_key: Vec<u8>,
    expired: u32,
}

/// How a partition is asked next.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    /// For a few rows, and nothing more.
    #[default]
    Few,
    /// From the first key on, at a snapshot that lasts.
    Anew,
    /// For what follows the page before.
    Further,
}

/// What is to be done once a page came.
#[derive(Debug)]
pub(super) enum Next {
    /// Other pages are on their way.
    Wait,
    /// These partitions are to be asked for a page each.
    Ask(Vec<usize>),
    /// The scan has ended. Snapshots [are to be released](Scan::take_snapshots).
    End(Outcome),
}

impl Scan {
    /// Begins anew: `rows` rows from `start` on. Every one of `partitions` is to be asked.
    pub(super) fn begin(&mut self, start: &[u8], rows: u32, partitions: usize) {
        self.start.clear();
        self.start.extend_from_slice(start);
        self.rows = rows;
        self.merge.begin(rows as usize, partitions);
        self.parts.clear();
        self.parts.resize(partitions, Part { is_asked: true, ..Part::default() });
        self.missing = partitions;
        self.failure = None;
    }

    /// Whether a page of this partition is on its way.
    pub(super) fn is_asking(&self, index: usize) -> bool {
        self.parts.get(index).is_some_and(|part| part.is_asked)
    }

    /// What to ask a partition for now.
    pub(super) fn request(&self, index: usize, partition: PartitionId) -> ScanRequest<'_> {
        let part = &self.parts[index];
        let few = u32::try_from(first_page_rows(u64::from(self.rows), self.parts.len())).expect("no more than wanted");
        let further = few.saturating_mul(FURTHER_ROWS_FACTOR).min(self.rows);
        let all = ScanRequest::all(partition);
        match part.stage {
            Stage::Few => ScanRequest { start: &self.start, row_limit: few, is_single_page: true, ..all },
            Stage::Anew => ScanRequest { start: &self.start, row_limit: further, ..all },
            Stage::Further => ScanRequest {
                start: &part.resume_key,
                row_limit: further,
                revision: part.revision,
                snapshot: part.snapshot,
                ..all
            },
        }
    }

    /// A partition was asked for a page.
    pub(super) fn asked_at(&mut self, index: usize, connection: usize) {
        self.parts[index].connection = connection;
    }

    /// A connection is lost; what follows for one of the pages that were to come on it, until there is none left.
    pub(super) fn lose_page_of(&mut self, connection: usize) -> Option<Next> {
        let index = self.parts.iter().position(|part| part.is_asked && part.connection == connection)?;
        self.parts[index].snapshot = SnapshotToken(0);
        self.failure = Some("CONNECTION_LOST".to_owned());
        Some(self.settle(index))
    }

    /// A page of a partition came.
    pub(super) fn take_page(&mut self, index: usize, page: &ScanPage<'_>) -> Next {
        self.merge.take_page(index, page.rows().map(|row| row.key), page.resume_key);
        let part = &mut self.parts[index];
        part.revision = page.revision;
        part.snapshot = page.snapshot;
        part.resume_key.clear();
        part.resume_key.extend_from_slice(page.resume_key.unwrap_or_default());
        // A server that knows no single pages has given a snapshot for the first one, too.
        part.stage = if page.snapshot == SnapshotToken(0) { Stage::Anew } else { Stage::Further };
        self.settle(index)
    }

    /// A page of a partition was refused.
    pub(super) fn take_refusal(&mut self, index: usize, code: Option<ErrorCode>) -> Next {
        let part = &mut self.parts[index];
        let is_expired = code == Some(ErrorCode::SnapshotExpired);
        if is_expired {
            // Of any other refusal the snapshot is left, and must be released.
            part.snapshot = SnapshotToken(0);
        }
        if is_expired && part.expired < EXPIRED_MAX {
            part.expired += 1;
            part.stage = Stage::Anew;
            self.merge.forget(index);
        } else {
            self.failure = Some(code.map_or("unknown", ErrorCode::name).to_owned());
        }
        self.settle(index)
    }

    fn settle(&mut self, came: usize) -> Next {
        self.parts[came].is_asked = false;
        self.missing -= 1;
        if self.missing > 0 {
            return Next::Wait;
        }
        if let Some(failure) = self.failure.take() {
            return Next::End(Outcome::Failed(failure));
        }
        let mut unsettled = Vec::new();
        self.merge.find_unsettled(&mut unsettled);
        if unsettled.is_empty() {
            return Next::End(Outcome::Done);
        }
        for &index in &unsettled {
            self.parts[index].is_asked = true;
            if self.parts[index].stage == Stage::Anew {
                self.merge.forget(index);
            }
        }
        self.missing = unsettled.len();
        Next::Ask(unsettled)
    }

    /// The snapshots that the server still holds for the scan, by partition.
    pub(super) fn take_snapshots(&mut self) -> impl Iterator<Item = (usize, SnapshotToken)> {
        let held = |(index, part): (usize, &mut Part)| (index, std::mem::take(&mut part.snapshot));
        self.parts.iter_mut().enumerate().map(held).filter(|(_, snapshot)| *snapshot != SnapshotToken(0))
    }

    /// The rows that came and are wanted.
    #[cfg(test)]
    pub(super) fn keys(&self) -> Vec<&[u8]> {
        self.merge.smallest().into_iter().map(|(key, _)| key).collect()
    }
}
