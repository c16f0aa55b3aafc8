//! Pages of scans: each at the revision of the snapshot that the first page took.
//!
//! A page that needs a block which is not at hand keeps the rows it has and goes on from behind them when the block is there.

use corelode_engine::cursor::Stop;
use corelode_engine::env::Environment;
use corelode_engine::partition::SnapshotId;
use corelode_engine::row::Keyspace;
use corelode_engine::tree::ReadOptions;
use corelode_net::ErrorCode;

use super::{Operation, OperationResult, ReadLevel, Request, ScanPageRequest, ScanPageResult, ScannedRow, Shard};

impl<E: Environment> Shard<E> {
    pub(super) fn scan(&mut self, request: Request, page: ScanPageRequest) {
        let fail = |shard: &mut Self, code: ErrorCode| {
            shard.deliver(request.reply_to, OperationResult::Failed(code.into()));
        };
        let partition = self.store.partition(request.partition).expect("owned partitions are executed here");
        if page.level == ReadLevel::Linearizable && page.snapshot == 0 && !partition.is_all_durable() {
            self.wait_for_durability(request, Operation::Scan(Box::new(page)));
            return;
        }
        let held = match page.snapshot {
            0 => self.store.hold_snapshot(request.partition, self.now.wall_ms),
            token => {
                let id = SnapshotId(token);
                let point = self.store.use_snapshot(request.partition, id, self.now.wall_ms);
                match point {
                    Some(point) => Some((id, point)),
                    None => return fail(self, ErrorCode::SnapshotExpired),
                }
            }
        };
        let Some((snapshot, point)) = held else { return fail(self, ErrorCode::Overloaded) };
        let start = page.start.as_slice().max(page.prefix.as_slice()).to_vec();
        let end = range_end(&page);
        let mut result = ScanPageResult { revision: point.revision, snapshot: snapshot.0, ..ScanPageResult::default() };
        let mut bytes = 0;
        let options = ReadOptions { keyspace: Keyspace::Data, start: &start, end: end.as_deref(), point };
        let outcome = self.store.scan(request.partition, &options, |row| {
            const ROW_FIXED_LENGTH: usize = 32;
            let value = if page.keys_only { &[][..] } else { row.value };
            let added = ROW_FIXED_LENGTH + row.row_key.key.len() + value.len();
            let is_full = result.rows.len() >= page.row_limit || bytes + added > page.byte_limit;
            if is_full && !result.rows.is_empty() {
                result.resume_key = row.row_key.key.to_vec();
                return false;
            }
            bytes += added;
            result.rows.push(ScannedRow {
                key: row.row_key.key.to_vec(),
                value: value.to_vec(),
                value_crc: if page.keys_only { crc32fast::hash(&[]) } else { row.value_crc },
                revision: row.row_key.revision,
                deadline_ms: row.deadline.map_or(0, |deadline| deadline.0),
            });
            true
        });
        match outcome {
            Ok(()) => {
                result.is_done = result.resume_key.is_empty();
                self.finish_page(request, result);
            }
            // What there is makes a page; the client comes back for the rest, which by then may be at hand.
            Err(Stop::Miss(read)) if !result.rows.is_empty() => {
                result.resume_key = successor(&result.rows.last().expect("not empty").key);
                self.request_block(*read);
                self.finish_page(request, result);
            }
            Err(stop) => {
                let page = ScanPageRequest { snapshot: snapshot.0, ..page };
                self.park(request, Operation::Scan(Box::new(page)), stop);
            }
        }
    }

    fn finish_page(&mut self, request: Request, mut result: ScanPageResult) {
        self.counters.scan_pages += 1;
        if result.is_done {
            self.store.release_snapshot(request.partition, SnapshotId(result.snapshot));
            result.snapshot = 0;
        }
        self.deliver(request.reply_to, OperationResult::Page(Box::new(result)));
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

/// The first key behind `key`.
fn successor(key: &[u8]) -> Vec<u8> {
    let mut successor = key.to_vec();
    successor.push(0);
    successor
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
