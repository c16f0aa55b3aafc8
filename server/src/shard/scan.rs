//! Pages of scans: each at the revision of the snapshot that the first page took.
//!
//! A page is bounded in rows, in bytes, and in the rows walked over: one that met nothing but tombstones for long is sent without rows, and says where
//! the next goes on. One that needs a block which is not at hand is sent with the rows it has, or goes on when the block is there.

use corelode_engine::env::Environment;
use corelode_engine::ids::PartitionId;
use corelode_engine::partition::SnapshotId;
use corelode_engine::row::Keyspace;
use corelode_engine::tree::{ReadOptions, Walk};
use corelode_net::ErrorCode;

use super::waiting::OnceDurable;
use super::{
    Failure, Operation, OperationResult, ReadLevel, Request, ScanPageRequest, ScanPageResult, ScannedRow, Shard,
};

/// Some milliseconds of walking, the most that one page may keep a core from its other work.
const ROWS_WALKED_MAX: usize = 8_192;

impl<E: Environment> Shard<E> {
    pub(super) fn scan(&mut self, request: Request, page: ScanPageRequest) {
        let partition = self.store.partition(request.partition).expect("owned partitions are executed here");
        let (now, is_all_durable) = (partition.read_point(), partition.is_all_durable());
        // A new snapshot is held once something is to be read at it after this turn: most pages are read at once, and many are the last.
        let point = match page.snapshot {
            0 => now,
            token => {
                let point = self.store.use_snapshot(request.partition, SnapshotId(token), self.now.wall_ms);
                // A process that was started anew counts its snapshots anew, so that only the revision tells them apart.
                let Some(point) = point.filter(|point| point.revision == page.revision) else {
                    let failure = Failure { resume_key: page.start, ..ErrorCode::SnapshotExpired.into() };
                    return self.deliver(request.reply_to, OperationResult::Failed(failure));
                };
                point
            }
        };
        let is_ahead = page.level == ReadLevel::Linearizable && page.snapshot == 0 && !is_all_durable;
        // Of a single page the rows wait rather than a snapshot: there are few of either, but of snapshots a partition holds few in all.
        if is_ahead && !page.is_single {
            let page = self.hold_snapshot_for(request.partition, page);
            self.wait_for_durability(request, OnceDurable::Scan(Box::new(page)));
            return;
        }
        let start = page.start.as_slice().max(page.prefix.as_slice()).to_vec();
        let end = range_end(&page);
        let mut result = ScanPageResult { revision: point.revision, ..ScanPageResult::default() };
        let mut bytes = 0;
        let options = ReadOptions {
            keyspace: Keyspace::Data,
            start: &start,
            end: end.as_deref(),
            point,
            rows_walked_max: ROWS_WALKED_MAX,
        };
        let walk = self.store.scan(request.partition, &options, |row| {
            const ROW_FIXED_LENGTH: usize = 32;
            let value = if page.keys_only { &[][..] } else { row.value };
            let key = row.row_key.key;
            let added = ROW_FIXED_LENGTH + key.len() + value.len();
            let is_full = result.rows.len() >= page.row_limit || bytes + added > page.byte_limit;
            if is_full && !result.rows.is_empty() {
                result.resume_key = key.to_vec();
                return false;
            }
            bytes += added;
            result.bytes.extend_from_slice(key);
            result.bytes.extend_from_slice(value);
            result.rows.push(ScannedRow {
                key_length: key.len(),
                value_length: value.len(),
                value_crc: if page.keys_only { crc32fast::hash(&[]) } else { row.value_crc },
                revision: row.row_key.revision,
                deadline_ms: row.deadline.map_or(0, |deadline| deadline.0),
            });
            true
        });
        match walk {
            Ok(Walk::Done) => {
                result.is_done = result.resume_key.is_empty();
                let result = self.finish_page(request.partition, &page, result);
                self.deliver_page(request, result, is_ahead);
            }
            Ok(Walk::Paused { miss: Some(read), .. }) if result.rows.is_empty() && is_ahead => {
                self.request_block(*read);
                let page = self.hold_snapshot_for(request.partition, page);
                self.wait_for_durability(request, OnceDurable::Scan(Box::new(page)));
            }
            Ok(Walk::Paused { resume_key, miss: Some(read) }) if result.rows.is_empty() => {
                let held = self.hold_snapshot_for(request.partition, page);
                let page = ScanPageRequest { start: resume_key, ..held };
                self.wait_for_block(request, Operation::Scan(Box::new(page)), *read);
            }
            // What there is makes a page; the client comes back for the rest, which by then may be at hand.
            Ok(Walk::Paused { resume_key, miss }) => {
                result.resume_key = resume_key;
                if let Some(read) = miss {
                    self.request_block(*read);
                }
                let result = self.finish_page(request.partition, &page, result);
                self.deliver_page(request, result, is_ahead);
            }
            Err(corruption) => self.fail_damaged(request, &corruption),
        }
    }

    /// The request with a snapshot of its own: that of its page before, or else a new one. What it sees does not change within a turn, so that it does
    /// not matter whether the rows were read before or after.
    fn hold_snapshot_for(&mut self, partition: PartitionId, page: ScanPageRequest) -> ScanPageRequest {
        if page.snapshot != 0 {
            return page;
        }
        let (snapshot, point) = self.store.hold_snapshot(partition, self.now.wall_ms);
        ScanPageRequest { snapshot: snapshot.0, revision: point.revision, ..page }
    }

    fn finish_page(
        &mut self,
        partition: PartitionId,
        page: &ScanPageRequest,
        mut result: ScanPageResult,
    ) -> Box<ScanPageResult> {
        self.counters.scan_pages += 1;
        let is_last = result.is_done || page.is_single;
        result.snapshot = match page.snapshot {
            0 if is_last => 0,
            0 => {
                let (snapshot, point) = self.store.hold_snapshot(partition, self.now.wall_ms);
                debug_assert_eq!(point.revision, result.revision, "nothing was applied meanwhile");
                snapshot.0
            }
            held if is_last => {
                self.store.release_snapshot(partition, SnapshotId(held));
                0
            }
            held => held,
        };
        Box::new(result)
    }

    fn deliver_page(&mut self, request: Request, page: Box<ScanPageResult>, is_ahead: bool) {
        if is_ahead {
            self.wait_for_durability(request, OnceDurable::Answer(OperationResult::Page(page)));
        } else {
            self.deliver(request.reply_to, OperationResult::Page(page));
        }
    }

    pub(super) fn release_snapshot(&mut self, request: Request, snapshot: u64) {
        self.store.release_snapshot(request.partition, SnapshotId(snapshot));
        self.deliver(request.reply_to, OperationResult::Done);
    }
}

/// The key before which a page stops: its own end, or the first key behind all with the prefix.
fn range_end(page: &ScanPageRequest) -> Option<Vec<u8>> {
    let own = (!page.end.is_empty()).then(|| page.end.clone());
    let behind_prefix = behind_all_with_prefix(&page.prefix);
    match (own, behind_prefix) {
        (Some(own), Some(behind)) => Some(own.min(behind)),
        (own, behind) => own.or(behind),
    }
}

fn behind_all_with_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte < 0xff)?;
    let mut behind = prefix[..=last].to_vec();
    behind[last] += 1;
    Some(behind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_behind_a_prefix() {
        assert_eq!(behind_all_with_prefix(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(behind_all_with_prefix(&[b'a', 0xff]), Some(b"b".to_vec()));
        assert_eq!(behind_all_with_prefix(&[0xff, 0xff]), None);
        assert_eq!(behind_all_with_prefix(b""), None);
    }
}
