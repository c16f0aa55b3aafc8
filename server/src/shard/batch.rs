//! Batches: independent operations that came in one frame and are answered in one.

use corelode_engine::env::Environment;
use corelode_engine::partition::Durability;
use corelode_net::body::{BatchOperation, BatchReplyWriter, BatchRequest, BatchResult, Found, Value};
use corelode_net::limits::BODY_SIZE_BYTES_MAX;
use corelode_net::{ErrorCode, Revision};

use super::execute::durability_on_wire;
use super::frames::{durability, read_level};
use super::{BatchId, ClientReply, Operation, OperationResult, ReplyTo, Request, Shard};

/// A batch whose results gather.
pub(super) struct Batch {
    pub(super) client: ClientReply,
    durability: Durability,
    results: Vec<Option<OperationResult<Vec<u8>>>>,
    missing: usize,
    /// Bytes of values that gathered; what would not fit the reply is let go at once.
    value_bytes: usize,
}

impl<E: Environment> Shard<E> {
    pub(super) fn execute_batch(&mut self, client: ClientReply, deadline_ms: u64, request: &BatchRequest<'_>) {
        self.batch_last += 1;
        let batch = BatchId(self.batch_last);
        let (level, durability) = (read_level(request.level), durability(request.durability));
        let count = request.count();
        let gathering = Batch { client, durability, results: vec![None; count], missing: count, value_bytes: 0 };
        self.batches.insert(batch, gathering);
        for (ordinal, item) in (0_u32..).zip(request.items()) {
            let partition = self.config.map.partition_of(item.slot.get());
            let reply_to = ReplyTo::Batch { batch, ordinal };
            let operation = match item.operation {
                BatchOperation::Get { key } => Operation::Get { key, level },
                BatchOperation::Delete { key } => Operation::Delete { key, durability, session: None },
                BatchOperation::Put { key, value, ttl_ms } => {
                    if value.verify().is_err() {
                        self.deliver(reply_to, OperationResult::Failed(ErrorCode::BadChecksum.into()));
                        continue;
                    }
                    let ttl_ms = (ttl_ms > 0).then_some(ttl_ms);
                    Operation::Put { key, value: value.bytes, value_crc: value.crc, ttl_ms, durability, session: None }
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
        let length = if let OperationResult::Found { value, .. } = &result { value.len() } else { 0 };
        *place = Some(if batch.value_bytes + length > BODY_SIZE_BYTES_MAX {
            OperationResult::Failed(ErrorCode::ReplyFull.into())
        } else {
            batch.value_bytes += length;
            result
        });
        batch.missing -= 1;
        if batch.missing > 0 {
            return;
        }
        let Batch { client, durability, results, .. } = self.batches.remove(&id).expect("looked up above");
        self.answer(client, |_, output| {
            let durability = durability_on_wire(durability);
            let mut writer = BatchReplyWriter::begin(output, client.head, durability, results.len());
            for result in &results {
                writer.push(&item_result(result.as_ref().expect("none is missing")));
            }
            writer.finish();
        });
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
