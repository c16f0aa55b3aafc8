//! Batches: independent operations that came in one frame and are answered in one.

use corelode_engine::env::Environment;
use corelode_engine::partition::Durability;
use corelode_net::body::{BatchOperation, BatchReplyWriter, BatchRequest, BatchResult, Found, Value};
use corelode_net::{ErrorCode, ReplyHead, Revision};

use super::execute::durability_on_wire;
use super::frames::{durability, read_level};
use super::{BatchId, ConnectionId, Operation, OperationResult, ReplyTo, Request, Shard};

/// A batch whose results gather.
pub(super) struct Batch {
    connection: ConnectionId,
    head: ReplyHead,
    durability: Durability,
    results: Vec<Option<OperationResult<Vec<u8>>>>,
    missing: usize,
}

impl<E: Environment> Shard<E> {
    pub(super) fn execute_batch(
        &mut self,
        connection: ConnectionId,
        head: ReplyHead,
        deadline_ms: u64,
        request: &BatchRequest<'_>,
    ) {
        self.batch_last += 1;
        let batch = BatchId(self.batch_last);
        let (level, durability) = (read_level(request.level), durability(request.durability));
        let count = request.count();
        self.batches.insert(batch, Batch { connection, head, durability, results: vec![None; count], missing: count });
        for (ordinal, item) in (0_u32..).zip(request.items()) {
            let partition = self.config.map.partition_of(item.slot.get());
            let reply_to = ReplyTo::Batch { batch, ordinal };
            let operation = match item.operation {
                BatchOperation::Get { key } => Operation::Get { key, level },
                BatchOperation::Delete { key } => Operation::Delete { key, durability },
                BatchOperation::Put { key, value, ttl_ms } => {
                    if value.verify().is_err() {
                        self.deliver(reply_to, OperationResult::Failed(ErrorCode::BadChecksum.into()));
                        continue;
                    }
                    let ttl_ms = (ttl_ms > 0).then_some(ttl_ms);
                    Operation::Put { key, value: value.bytes, value_crc: value.crc, ttl_ms, durability }
                }
            };
            self.execute(Request { reply_to, partition, deadline_ms }, operation);
        }
    }

    /// An item of a batch is done; the last one sends the batch's answer.
    pub(super) fn batch_item_done(&mut self, id: BatchId, ordinal: u32, result: OperationResult<Vec<u8>>) {
        let batch = self.batches.get_mut(&id).expect("a batch lives until its last item is done");
        let place = &mut batch.results[ordinal as usize];
        assert!(place.is_none(), "item {ordinal} of {id:?} was answered twice");
        *place = Some(result);
        batch.missing -= 1;
        if batch.missing > 0 {
            return;
        }
        let batch = self.batches.remove(&id).expect("looked up above");
        let limits = self.config.limits.connection;
        let Some(connection) = self.connections.get_mut(batch.connection.0) else { return };
        connection.requests_in_flight -= 1;
        let durability = durability_on_wire(batch.durability);
        let mut writer = BatchReplyWriter::begin(&mut connection.output, batch.head, durability, batch.results.len());
        for result in &batch.results {
            writer.push(&item_result(result.as_ref().expect("none is missing")));
        }
        writer.finish();
        let goes_on = connection.is_paused && connection.has_room(&limits);
        self.list_writable(batch.connection);
        if goes_on {
            self.list_ready(batch.connection);
        }
    }
}

fn item_result(result: &OperationResult<Vec<u8>>) -> BatchResult<'_> {
    match result {
        OperationResult::Found { revision, deadline_ms, value_crc, value } => BatchResult::Found(Found {
            revision: Revision(revision.0),
            deadline_ms: *deadline_ms,
            value: Value { bytes: value, crc: *value_crc },
        }),
        OperationResult::Absent => BatchResult::Absent,
        OperationResult::Written { revision, .. } => BatchResult::Written { revision: Revision(revision.0) },
        OperationResult::Failed(failure) => BatchResult::error(failure.code),
        OperationResult::Page(_) | OperationResult::Done => unreachable!("a batch has neither scans nor releases"),
    }
}
