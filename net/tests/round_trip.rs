//! Whatever is encoded is decoded to the same, for any keys, values and numbers.

// A test fails by panicking, in its helpers too.
#![allow(clippy::unwrap_used)]

mod common;

use common::{HEAD, reply_to, with_frame};
use corelode_net::body::{
    BatchFull, BatchItem, BatchOperation, BatchReply, BatchReplyWriter, BatchRequest, BatchResult, BatchWriter,
    DeleteRequest, Durability, Found, GetReply, GetRequest, PutRequest, ReadLevel, ScanPage, ScanPageWriter, ScanRow,
    Value, WriteReply,
};
use corelode_net::limits::{
    ADDRESS_LENGTH_MAX, BATCH_ITEM_COUNT_MAX, CORE_COUNT_MAX, KEY_LENGTH_MAX, NODE_COUNT_MAX, PARTITION_COUNT_MAX,
    REPLICA_COUNT_MAX, VALUE_LENGTH_MAX,
};
use corelode_net::table::{
    Bind, BindReply, CoreEntry, ErrorReply, GoAway, Histograms, HistogramsRequest, LeaderHint, NodeEntry,
    PartitionEntry, ScanRelease, ScanRequest, Status, TableBuilder, Topology,
};
use corelode_net::{
    BodyError, CoreIndex, ErrorCode, Inbound, MapEpoch, NodeId, Opcode, PartitionId, RetryClass, Revision, Role,
    SnapshotToken, slot_of,
};
use proptest::collection::vec;
use proptest::prelude::*;

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 1..40), vec(any::<u8>(), 4_000..=KEY_LENGTH_MAX)]
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 0..40), vec(any::<u8>(), 1_000..5_000)]
}

fn durability() -> impl Strategy<Value = Durability> {
    prop_oneof![Just(Durability::Synced), Just(Durability::Memory)]
}

fn level() -> impl Strategy<Value = ReadLevel> {
    prop_oneof![Just(ReadLevel::Linearizable), Just(ReadLevel::Local)]
}

#[derive(Clone, Debug)]
struct Operation {
    kind: u8,
    key: Vec<u8>,
    value: Vec<u8>,
    number: u64,
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let operation = (0u8..3, key(), bytes(), any::<u64>()).prop_map(|(kind, key, value, number)| Operation {
        kind,
        key,
        value,
        number,
    });
    vec(operation, 1..40)
}

impl Operation {
    fn item(&self) -> BatchItem<'_> {
        let key = &self.key[..];
        let operation = match self.kind {
            0 => BatchOperation::Get { key },
            1 => BatchOperation::Put { key, value: Value::new(&self.value), ttl_ms: self.number },
            _ => BatchOperation::Delete { key },
        };
        BatchItem { slot: slot_of(key), operation }
    }

    fn found(&self) -> Found<'_> {
        Found { revision: Revision(self.number), deadline_ms: !self.number, value: Value::new(&self.value) }
    }

    fn row(&self) -> ScanRow<'_> {
        let value = Value::new(&self.value);
        ScanRow { key: &self.key, revision: Revision(self.number), deadline_ms: 1, value }
    }

    fn result(&self) -> BatchResult<'_> {
        match (self.kind, self.number % 3) {
            (0, 0) => BatchResult::Absent,
            (0, _) => BatchResult::Found(self.found()),
            (_, 0) => BatchResult::Error { code: 9_999, retry: RetryClass::Unknown },
            _ => BatchResult::Written { revision: Revision(self.number) },
        }
    }
}

proptest! {
    #[test]
    fn get(key in key(), level in level(), value in bytes(), numbers in any::<(u64, u64)>()) {
        let get = GetRequest { slot: slot_of(&key), key: &key, level };
        let mut out = Vec::new();
        get.encode(HEAD, &mut out);
        with_frame(&out, |frame| {
            assert_eq!(frame.request(), Ok(Opcode::Get));
            assert_eq!(frame.header.slot(), Some(get.slot));
            assert_eq!(GetRequest::decode(frame), Ok(get));
        });
        let reply = GetReply::Found(Found {
            revision: Revision(numbers.0),
            deadline_ms: numbers.1,
            value: Value::new(&value),
        });
        for reply in [reply, GetReply::Absent] {
            let mut out = Vec::new();
            reply.encode(reply_to(Opcode::Get, 1), &mut out);
            with_frame(&out, |frame| {
                assert_eq!(frame.inbound(), Ok(Inbound::Reply(HEAD.request_id, Opcode::Get)));
                assert_eq!(GetReply::decode(frame), Ok(reply));
            });
        }
    }

    #[test]
    fn put_and_delete(key in key(), value in bytes(), ttl_ms: u64, durability in durability(), revision: u64) {
        let slot = slot_of(&key);
        let put = PutRequest { slot, key: &key, value: Value::new(&value), ttl_ms, durability };
        let delete = DeleteRequest { slot, key: &key, durability };
        let reply = WriteReply { revision: Revision(revision), durability };
        let mut out = Vec::new();
        put.encode(HEAD, &mut out);
        with_frame(&out, |frame| {
            assert_eq!(PutRequest::decode(frame), Ok(put));
            assert_eq!(put.value.verify(), Ok(()));
        });
        out.clear();
        delete.encode(HEAD, &mut out);
        with_frame(&out, |frame| assert_eq!(DeleteRequest::decode(frame), Ok(delete)));
        out.clear();
        reply.encode(reply_to(Opcode::Delete, slot.get()), &mut out);
        with_frame(&out, |frame| {
            assert_eq!(WriteReply::decode(frame, Opcode::Delete), Ok(reply));
            assert!(WriteReply::decode(frame, Opcode::Put).is_err());
        });
    }

    #[test]
    fn batch(operations in operations(), durability in durability(), level in level()) {
        let mut out = Vec::new();
        let mut batch = BatchWriter::begin(&mut out, durability, level);
        for operation in &operations {
            batch.push(&operation.item()).unwrap();
        }
        batch.finish(HEAD);
        with_frame(&out, |frame| {
            let batch = BatchRequest::decode(frame).unwrap();
            assert_eq!((batch.durability, batch.level), (durability, level));
            let items: Vec<_> = batch.items().collect();
            let expected: Vec<_> = operations.iter().map(Operation::item).collect();
            assert_eq!(items, expected);
            let writes = operations.iter().filter(|operation| operation.kind != 0).count();
            assert_eq!(batch.write_count(), writes);
            assert_eq!(batch.role_required(), if writes > 0 { Role::Write } else { Role::Read });
        });
        let mut out = Vec::new();
        let head = reply_to(Opcode::Batch, 0);
        let mut reply = BatchReplyWriter::begin(&mut out, head, durability, operations.len());
        for operation in &operations {
            reply.push(&operation.result());
        }
        reply.finish();
        with_frame(&out, |frame| {
            let reply = BatchReply::decode(frame).unwrap();
            let expected: Vec<_> = operations.iter().map(Operation::result).collect();
            assert_eq!(reply.results().collect::<Vec<_>>(), expected);
        });
    }

    #[test]
    fn scan(
        keys in (vec(any::<u8>(), 0..20), vec(any::<u8>(), 0..20), vec(any::<u8>(), 0..20)),
        numbers in any::<(u16, u32, u32, bool, u64, u64, bool)>(),
        level in level(),
        operations in operations(),
        is_done: bool,
    ) {
        let scan = ScanRequest {
            partition: PartitionId(numbers.0),
            start: &keys.0,
            end: &keys.1,
            prefix: &keys.2,
            row_limit: numbers.1,
            byte_limit: numbers.2,
            keys_only: numbers.3,
            level,
            revision: Revision(numbers.4),
            snapshot: SnapshotToken(numbers.5),
            is_single_page: numbers.6,
        };
        let mut tables = TableBuilder::new();
        let mut out = Vec::new();
        scan.encode(HEAD, &mut tables, &mut out);
        with_frame(&out, |frame| assert_eq!(ScanRequest::decode(frame), Ok(scan)));
        out.clear();
        let resume_key = (!is_done).then_some(&operations[0].key[..]);
        let mut page = ScanPageWriter::begin(&mut out, reply_to(Opcode::Scan, numbers.0), 0, 0);
        for operation in &operations {
            assert!(page.push(&operation.row()));
        }
        page.finish(scan.revision, scan.snapshot, resume_key, &mut tables);
        with_frame(&out, |frame| {
            let page = ScanPage::decode(frame).unwrap();
            assert_eq!((page.revision, page.snapshot, page.resume_key), (scan.revision, scan.snapshot, resume_key));
            assert!(page.rows().eq(operations.iter().map(Operation::row)));
        });
    }
}

#[test]
fn tables_read_back() {
    let mut tables = TableBuilder::new();
    let tables = &mut tables;
    let mut out = Vec::new();
    for _ in 0..3 {
        out.clear();
        common::topology().encode(reply_to(Opcode::Topology, 0), tables, &mut out);
        with_frame(&out, |frame| assert_eq!(Topology::decode(frame), Ok(common::topology())));
        out.clear();
        common::replicated_topology().encode(reply_to(Opcode::Topology, 0), tables, &mut out);
        with_frame(&out, |frame| assert_eq!(Topology::decode(frame), Ok(common::replicated_topology())));
        out.clear();
        common::status().encode(reply_to(Opcode::Status, 0), tables, &mut out);
        with_frame(&out, |frame| assert_eq!(Status::decode(frame), Ok(common::status())));
        out.clear();
        common::replicated_status().encode(reply_to(Opcode::Status, 0), tables, &mut out);
        with_frame(&out, |frame| assert_eq!(Status::decode(frame), Ok(common::replicated_status())));
        out.clear();
        let request = HistogramsRequest { core: CoreIndex(9), operation: "scan" };
        request.encode(HEAD, tables, &mut out);
        with_frame(&out, |frame| assert_eq!(HistogramsRequest::decode(frame), Ok(request)));
        out.clear();
        common::histograms().encode(reply_to(Opcode::Histograms, 0), tables, &mut out);
        with_frame(&out, |frame| assert_eq!(Histograms::decode(frame), Ok(common::histograms())));
        out.clear();
        common::error_reply().encode(reply_to(Opcode::Scan, 0), tables, &mut out);
        with_frame(&out, |frame| {
            assert_eq!(frame.inbound(), Ok(Inbound::Error(HEAD.request_id)));
            assert_eq!(ErrorReply::decode(frame), Ok(common::error_reply()));
        });
        for address in ["10.0.0.2:7600", ""] {
            out.clear();
            let leader = Some(LeaderHint { node_id: NodeId(2), address });
            let error = ErrorReply { leader, ..common::not_leader() };
            error.encode(reply_to(Opcode::Put, 0), tables, &mut out);
            with_frame(&out, |frame| assert_eq!(ErrorReply::decode(frame), Ok(error)));
        }
        out.clear();
        ErrorReply::new(ErrorCode::Malformed).encode_for_connection(MapEpoch(1), tables, &mut out);
        with_frame(&out, |frame| {
            assert_eq!(frame.inbound(), Ok(Inbound::ConnectionError));
            assert_eq!(ErrorReply::decode(frame), Ok(ErrorReply::new(ErrorCode::Malformed)));
        });
        out.clear();
        GoAway::shutting_down(5).encode(MapEpoch(1), tables, &mut out);
        with_frame(&out, |frame| {
            assert_eq!(frame.inbound(), Ok(Inbound::GoAway));
            assert_eq!(GoAway::decode(frame), Ok(GoAway::shutting_down(5)));
        });
        out.clear();
        Bind { core: CoreIndex(4) }.encode(HEAD, tables, &mut out);
        with_frame(&out, |frame| assert_eq!(Bind::decode(frame), Ok(Bind { core: CoreIndex(4) })));
        out.clear();
        BindReply { core: CoreIndex(4) }.encode(reply_to(Opcode::Bind, 0), tables, &mut out);
        with_frame(&out, |frame| assert_eq!(BindReply::decode(frame), Ok(BindReply { core: CoreIndex(4) })));
        out.clear();
        let release = ScanRelease { partition: PartitionId(3), snapshot: SnapshotToken(4) };
        release.encode(HEAD, tables, &mut out);
        with_frame(&out, |frame| assert_eq!(ScanRelease::decode(frame), Ok(release)));
    }
}

#[test]
fn a_slot_finds_its_partition() {
    let topology = common::topology();
    for (slot, partition) in [(0, 0), (8_191, 0), (8_192, 1), (16_383, 1)] {
        let slot = corelode_net::Slot::new(slot).unwrap();
        assert_eq!(topology.partition_of(slot).map(|entry| entry.partition), Some(PartitionId(partition)));
    }
}

#[test]
fn the_largest_map_fits() {
    let address = format!("{}:65535", "a".repeat(ADDRESS_LENGTH_MAX - 6));
    let node_ids: Vec<_> = (1..).map(|index| NodeId(u64::MAX - index)).take(NODE_COUNT_MAX).collect();
    let node = |&node_id| NodeEntry { node_id, address: address.clone(), is_this_node: false, core_count: u16::MAX };
    let slot = |number| corelode_net::Slot::new(number).unwrap();
    let topology = Topology {
        partitions: (0..u16::try_from(PARTITION_COUNT_MAX).unwrap())
            .map(|number| {
                let first = usize::from(number) % (NODE_COUNT_MAX - REPLICA_COUNT_MAX);
                PartitionEntry {
                    partition: PartitionId(number),
                    first_slot: slot(number),
                    last_slot: slot(number),
                    core: CoreIndex(number),
                    log: u64::MAX,
                    replicas: node_ids[first..first + REPLICA_COUNT_MAX].to_vec(),
                    leader: Some(node_ids[first]),
                }
            })
            .collect(),
        cores: (0..u16::try_from(CORE_COUNT_MAX).unwrap())
            .map(|core| CoreEntry { core: CoreIndex(core), port: Some(u16::MAX) })
            .collect(),
        nodes: node_ids.iter().map(node).collect(),
        ..common::topology()
    };
    let mut out = Vec::new();
    topology.encode(reply_to(Opcode::Topology, 0), &mut TableBuilder::new(), &mut out);
    with_frame(&out, |frame| assert_eq!(Topology::decode(frame), Ok(topology)));
}

#[test]
fn the_largest_of_everything_fits() {
    let (key, value) = (vec![b'k'; KEY_LENGTH_MAX], vec![7; VALUE_LENGTH_MAX]);
    let value = Value::new(&value);
    let slot = slot_of(&key);
    let mut out = Vec::new();
    let put = PutRequest { slot, key: &key, value, ttl_ms: 0, durability: Durability::Synced };
    put.encode(HEAD, &mut out);
    with_frame(&out, |frame| assert_eq!(PutRequest::decode(frame), Ok(put)));

    out.clear();
    let mut batch = BatchWriter::begin(&mut out, Durability::Synced, ReadLevel::Linearizable);
    let item = BatchItem { slot, operation: BatchOperation::Put { key: &key, value, ttl_ms: 0 } };
    assert_eq!(batch.push(&item), Ok(()));
    assert_eq!(batch.push(&item), Err(BatchFull));
    batch.finish(HEAD);
    with_frame(&out, |frame| assert_eq!(BatchRequest::decode(frame).unwrap().count(), 1));

    out.clear();
    let row = ScanRow { key: &key, revision: Revision(1), deadline_ms: 0, value };
    let mut page = ScanPageWriter::begin(&mut out, reply_to(Opcode::Scan, 0), 0, 1);
    assert!(page.push(&row), "one row fits whatever the byte limit");
    assert!(!page.push(&row));
    let resume_key = [&key[..], b"\0"].concat();
    page.finish(Revision(1), SnapshotToken(1), Some(&resume_key), &mut TableBuilder::new());
    with_frame(&out, |frame| assert_eq!(ScanPage::decode(frame).unwrap().resume_key, Some(&resume_key[..])));
}

#[test]
fn a_page_keeps_its_limits() {
    let row = ScanRow { key: b"k", revision: Revision(1), deadline_ms: 0, value: Value::default() };
    let count = |row_limit, byte_limit| {
        let mut out = Vec::new();
        let mut page = ScanPageWriter::begin(&mut out, reply_to(Opcode::Scan, 0), row_limit, byte_limit);
        while page.count() < 50 && page.push(&row) {}
        page.count()
    };
    assert_eq!(count(3, 0), 3);
    assert_eq!(count(0, 100), 100 / row.size_bytes());
    assert_eq!(count(0, 1), 1);
    assert_eq!(count(0, 0), 50);
}

#[test]
fn a_batch_takes_no_more_than_its_count() {
    let mut out = Vec::new();
    let mut batch = BatchWriter::begin(&mut out, Durability::Synced, ReadLevel::Linearizable);
    let item = BatchItem { slot: slot_of(b"k"), operation: BatchOperation::Get { key: b"k" } };
    for _ in 0..BATCH_ITEM_COUNT_MAX {
        batch.push(&item).unwrap();
    }
    assert_eq!(batch.push(&item), Err(BatchFull));
    batch.finish(HEAD);
    with_frame(&out, |frame| {
        assert_eq!(BatchRequest::decode(frame).unwrap().items().len(), BATCH_ITEM_COUNT_MAX);
    });
}

#[test]
fn values_that_a_batch_reply_cannot_hold_are_named_and_the_rest_is_answered() {
    let value = vec![1; 400_000];
    let found = BatchResult::Found(Found { revision: Revision(1), deadline_ms: 0, value: Value::new(&value) });
    let mut out = Vec::new();
    let head = reply_to(Opcode::Batch, 0);
    let mut reply = BatchReplyWriter::begin(&mut out, head, Durability::Synced, BATCH_ITEM_COUNT_MAX);
    for _ in 0..BATCH_ITEM_COUNT_MAX - 1 {
        reply.push(&found);
    }
    reply.push(&BatchResult::Written { revision: Revision(2) });
    reply.finish();
    with_frame(&out, |frame| {
        let results: Vec<_> = BatchReply::decode(frame).unwrap().results().collect();
        assert_eq!(results[..2], [found, found]);
        assert!(results[2..BATCH_ITEM_COUNT_MAX - 1].iter().all(|&r| r == BatchResult::error(ErrorCode::ReplyFull)));
        assert_eq!(results[BATCH_ITEM_COUNT_MAX - 1], BatchResult::Written { revision: Revision(2) });
    });
}

#[test]
fn an_unfinished_frame_leaves_nothing_behind() {
    let mut out = b"an earlier frame".to_vec();
    let mut page = ScanPageWriter::begin(&mut out, reply_to(Opcode::Scan, 0), 0, 0);
    let row = ScanRow { key: b"k", revision: Revision(1), deadline_ms: 0, value: Value::default() };
    assert!(page.push(&row));
    drop(page);
    assert_eq!(out, b"an earlier frame");
}

#[test]
fn a_long_message_is_cut_between_characters() {
    let message = "ä".repeat(2_000);
    let mut out = Vec::new();
    let error = ErrorReply::with_message(ErrorCode::Internal, &message);
    error.encode(reply_to(Opcode::Get, 0), &mut TableBuilder::new(), &mut out);
    with_frame(&out, |frame| assert_eq!(ErrorReply::decode(frame).unwrap().message, "ä".repeat(512)));
}

#[test]
fn a_damaged_value_is_told_from_a_sound_one() {
    let mut value = Value::new(b"sound");
    assert_eq!(value.verify(), Ok(()));
    value.bytes = b"Sound";
    assert!(matches!(value.verify(), Err(BodyError::ValueChecksum { .. })));
    assert_eq!(value.verify().unwrap_err().code(), ErrorCode::BadChecksum);
}
