//! Question: what does the wire cost a core per request? Encode and decode, checksums included, of 16-byte keys and 100-byte
//! values; a BATCH of 32 items; and the parts that make it up. A turn's further message is to cost tens of nanoseconds.

// A benchmark may panic, and its entry points need no documentation.
#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;

use corelode_net::body::{
    BatchItem, BatchOperation, BatchReply, BatchReplyWriter, BatchRequest, BatchResult, BatchWriter, Durability, Found,
    GetReply, GetRequest, PutRequest, ReadLevel, ScanPage, ScanPageWriter, ScanRow, Value, WriteReply,
};
use corelode_net::limits::BODY_SIZE_BYTES_MAX;
use corelode_net::peer::{PeerAppend, PeerAppendOutcome, PeerAppendReply, PeerMessage, PeerTurn, PeerTurnWriter};
use corelode_net::table::{ErrorReply, TableBuilder};
use corelode_net::{
    BootId, ErrorCode, Frame, FrameReader, LogIndex, LogPosition, MapEpoch, Opcode, PartitionId, ReplyHead,
    RequestHead, RequestId, Revision, Round, SnapshotToken, Term, slot_of,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const KEY: &[u8; 16] = b"key-of-16-bytes!";
const VALUE: &[u8; 100] = &[0x5a; 100];
const HEAD: RequestHead = RequestHead { request_id: RequestId(1), map_epoch: MapEpoch(1), deadline_ms: 1_000 };
const BATCH_COUNT: usize = 32;

fn reply_to(opcode: Opcode) -> ReplyHead {
    ReplyHead { request_id: RequestId(1), opcode: opcode.to_wire(), target: 1, map_epoch: MapEpoch(1) }
}

fn found() -> Found<'static> {
    Found { revision: Revision(7), deadline_ms: 0, value: Value::new(VALUE) }
}

fn put() -> PutRequest<'static> {
    PutRequest { slot: slot_of(KEY), key: KEY, value: Value::new(VALUE), ttl_ms: 0, durability: Durability::Synced }
}

fn encode_batch(out: &mut Vec<u8>) {
    let operation = BatchOperation::Put { key: KEY, value: put().value, ttl_ms: 0 };
    let item = BatchItem { slot: put().slot, operation };
    let mut batch = BatchWriter::begin(out, Durability::Synced, ReadLevel::Linearizable);
    for _ in 0..BATCH_COUNT {
        batch.push(black_box(&item)).unwrap();
    }
    batch.finish(HEAD);
}

fn encode_batch_reply(out: &mut Vec<u8>) {
    let result = BatchResult::Found(found());
    let mut reply = BatchReplyWriter::begin(out, reply_to(Opcode::Batch), Durability::Synced, BATCH_COUNT);
    for _ in 0..BATCH_COUNT {
        reply.push(black_box(&result));
    }
    reply.finish();
}

/// Measures `encode` into a warm buffer, then `decode` of what it wrote by way of a reader, body checksum included.
fn both_ways(
    criterion: &mut Criterion,
    name: &str,
    operations: usize,
    mut encode: impl FnMut(&mut Vec<u8>),
    mut decode: impl FnMut(&Frame<'_>),
) {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(operations as u64));
    let mut out = Vec::with_capacity(1 << 20);
    group.bench_function("encode", |bencher| {
        bencher.iter(|| {
            out.clear();
            encode(&mut out);
            out.len()
        });
    });
    out.clear();
    encode(&mut out);
    let frame_size_bytes = out.len();
    // Many frames in one read, as in a turn; the copy into the buffer is amortised and measured with them.
    let frames = (64 * 1024 / frame_size_bytes).max(1);
    let stream = out.repeat(frames);
    let mut reader = FrameReader::with_read_size(BODY_SIZE_BYTES_MAX, stream.len());
    group.throughput(Throughput::Elements((operations * frames) as u64));
    group.bench_function(format!("read and decode, {frames} frames"), |bencher| {
        bencher.iter(|| {
            reader.buffer_for_read().extend_from_slice(&stream);
            while let Some(frame) = reader.next_frame().unwrap() {
                decode(&frame);
            }
        });
    });
    group.finish();
}

fn requests(criterion: &mut Criterion) {
    let get = GetRequest { slot: slot_of(KEY), key: KEY, level: ReadLevel::Linearizable };
    both_ways(
        criterion,
        "GET",
        1,
        |out| black_box(&get).encode(HEAD, out),
        |frame| {
            black_box(GetRequest::decode(frame).unwrap());
        },
    );
    let put = put();
    both_ways(
        criterion,
        "PUT",
        1,
        |out| black_box(&put).encode(HEAD, out),
        |frame| {
            black_box(PutRequest::decode(frame).unwrap());
        },
    );
    both_ways(criterion, "BATCH of 32 PUT, per item", BATCH_COUNT, encode_batch, |frame| {
        for item in BatchRequest::decode(frame).unwrap().items() {
            black_box(item);
        }
    });
}

fn replies(criterion: &mut Criterion) {
    let reply = GetReply::Found(found());
    both_ways(
        criterion,
        "reply to GET",
        1,
        |out| black_box(&reply).encode(reply_to(Opcode::Get), out),
        |frame| {
            black_box(GetReply::decode(frame).unwrap());
        },
    );
    let reply = WriteReply { revision: Revision(7), durability: Durability::Synced };
    both_ways(
        criterion,
        "reply to PUT",
        1,
        |out| black_box(&reply).encode(reply_to(Opcode::Put), out),
        |frame| {
            black_box(WriteReply::decode(frame, Opcode::Put).unwrap());
        },
    );
    both_ways(criterion, "reply to BATCH of 32 GET, per item", BATCH_COUNT, encode_batch_reply, |frame| {
        for result in BatchReply::decode(frame).unwrap().results() {
            black_box(result);
        }
    });
    let mut tables = TableBuilder::new();
    both_ways(
        criterion,
        "page of 100 rows, per row",
        100,
        |out| {
            let row = ScanRow { key: KEY, revision: Revision(7), deadline_ms: 0, value: found().value };
            let mut page = ScanPageWriter::begin(out, reply_to(Opcode::Scan), 0, 0);
            for _ in 0..100 {
                let _ = page.push(black_box(&row));
            }
            page.finish(Revision(9), SnapshotToken(1), Some(KEY), &mut tables);
        },
        |frame| {
            for row in ScanPage::decode(frame).unwrap().rows() {
                black_box(row);
            }
        },
    );
    let mut tables = TableBuilder::new();
    let error = ErrorReply::new(ErrorCode::Overloaded);
    both_ways(
        criterion,
        "error reply (table)",
        1,
        |out| black_box(&error).encode(reply_to(Opcode::Get), &mut tables, out),
        |frame| {
            black_box(ErrorReply::decode(frame).unwrap());
        },
    );
}

/// What a leader says to a follower in a turn, and what that answers: each group has one entry, of a PUT's size.
fn peers(criterion: &mut Criterion) {
    let position = LogPosition { term: Term(3), index: LogIndex(70_000) };
    let append = PeerAppend {
        term: Term(3),
        previous: position,
        committed: LogIndex(69_990),
        round: Round(12),
        is_round_awaited: false,
        is_receipt_awaited: false,
        is_quiet: false,
    };
    let payload = [0x5a; 160];
    let walk = |frame: &Frame<'_>| {
        for (partition, message) in PeerTurn::decode(frame).unwrap().messages() {
            if let PeerMessage::Append(append, entries) = message {
                black_box(append);
                for entry in entries {
                    black_box(entry);
                }
            } else {
                black_box((partition, message));
            }
        }
    };
    let write = |out: &mut Vec<u8>, has_entry: bool| {
        let mut turn = PeerTurnWriter::begin(out, BootId(1), 1);
        for partition in 0..32 {
            let mut entries = turn.begin_append(PartitionId(partition), black_box(&append)).unwrap();
            assert!(!has_entry || entries.push_entry(Term(3), black_box(&payload)));
            entries.finish();
        }
        turn.finish(HEAD);
    };
    both_ways(criterion, "PEER_TURN of 32 appends of 160 bytes, per append", 32, |out| write(out, true), walk);
    both_ways(criterion, "PEER_TURN of 32 heartbeats, per heartbeat", 32, |out| write(out, false), walk);
    let outcome = PeerAppendOutcome::Stored(LogIndex(70_001));
    let reply = PeerMessage::AppendReply(PeerAppendReply { term: Term(3), round: Round(12), is_quiet: false, outcome });
    both_ways(
        criterion,
        "PEER_TURN of 32 append replies, per reply",
        32,
        |out| {
            let mut turn = PeerTurnWriter::begin(out, BootId(1), 1);
            for partition in 0..32 {
                assert!(turn.push(PartitionId(partition), black_box(&reply)));
            }
            turn.finish(HEAD);
        },
        walk,
    );
    both_ways(
        criterion,
        "PEER_TURN, a beat",
        1,
        |out| {
            PeerTurnWriter::begin(out, BootId(1), black_box(1)).finish(HEAD);
        },
        walk,
    );
    criterion.bench_function("checksum of a 160-byte payload", |bencher| {
        bencher.iter(|| Value::new(black_box(&payload)));
    });
}

fn parts(criterion: &mut Criterion) {
    criterion.bench_function("slot of a 16-byte key", |bencher| bencher.iter(|| slot_of(black_box(KEY))));
    criterion.bench_function("checksum of a 100-byte value", |bencher| bencher.iter(|| Value::new(black_box(VALUE))));
}

criterion_group! {
    name = codec;
    config = Criterion::default()
        .warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_secs(1))
        .sample_size(50)
        .without_plots();
    targets = requests, replies, peers, parts
}
criterion_main!(codec);
