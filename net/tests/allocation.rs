//! The hot path allocates nothing once its buffers are warm, and a hostile length allocates nothing ever.

// A test fails by panicking, in its helpers too.
#![allow(clippy::unwrap_used)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use common::{HEAD, KEY, found, put, reply_to, samples, slot, with_frame};
use corelode_net::body::{
    BatchItem, BatchOperation, BatchReplyWriter, BatchRequest, BatchResult, BatchWriter, DeleteRequest, Durability,
    GetReply, GetRequest, PutRequest, ReadLevel, WriteReply,
};
use corelode_net::limits::BODY_SIZE_BYTES_MAX;
use corelode_net::peer::{PeerMessage, PeerTurn, PeerTurnWriter};
use corelode_net::table::{ErrorReply, ScanRequest, TableBuilder};
use corelode_net::{BootId, ErrorCode, Frame, FrameHeader, FrameReader, Opcode, PartitionId, Revision, Term};

struct Counting;

thread_local! {
    /// Bytes that this thread has asked for.
    static ALLOCATED_BYTES: Cell<usize> = const { Cell::new(0) };
}

fn count(bytes: usize) {
    // A thread that is being torn down no longer counts.
    let _ = ALLOCATED_BYTES.try_with(|sum| sum.set(sum.get() + bytes));
}

// SAFETY: every method hands its arguments to `System` unchanged, whose contract is the same; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps `alloc`'s contract, which is `System`'s.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `System` with this layout, since `alloc` and `realloc` hand out nothing else.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: as for `dealloc`, and the caller keeps `realloc`'s contract.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocated_bytes_by(work: impl FnOnce()) -> usize {
    let before = ALLOCATED_BYTES.with(Cell::get);
    work();
    ALLOCATED_BYTES.with(Cell::get) - before
}

/// A turn of a server and of its client: requests out and in, replies out and in.
fn turn(out: &mut Vec<u8>, reader: &mut FrameReader, tables: &mut TableBuilder) {
    out.clear();
    GetRequest { slot: slot(), key: KEY, level: ReadLevel::Local }.encode(HEAD, out);
    put().encode(HEAD, out);
    DeleteRequest { slot: slot(), key: KEY, durability: Durability::Synced }.encode(HEAD, out);
    let mut batch = BatchWriter::begin(out, Durability::Synced, ReadLevel::Linearizable);
    for _ in 0..32 {
        batch.push(&BatchItem { slot: slot(), operation: BatchOperation::Get { key: KEY } }).unwrap();
    }
    batch.finish(HEAD);
    ScanRequest::all(PartitionId(1)).encode(HEAD, tables, out);
    reader.buffer_for_read().extend_from_slice(out);
    out.clear();
    let mut served = 0;
    while let Some(frame) = reader.next_frame().unwrap() {
        serve(&frame, tables, out);
        served += 1;
    }
    assert_eq!(served, 5);
    reader.buffer_for_read().extend_from_slice(out);
    let mut answered = 0;
    while let Some(frame) = reader.next_frame().unwrap() {
        frame.inbound().unwrap();
        answered += 1;
    }
    assert_eq!(answered, 5);
}

fn serve(frame: &Frame<'_>, tables: &mut TableBuilder, out: &mut Vec<u8>) {
    let opcode = frame.request().unwrap();
    let head = reply_to(opcode, frame.header.fields.target);
    match opcode {
        Opcode::Get => {
            GetRequest::decode(frame).unwrap();
            GetReply::Found(found()).encode(head, out);
        }
        Opcode::Put => {
            PutRequest::decode(frame).unwrap().value.verify().unwrap();
            WriteReply { revision: Revision(1), durability: Durability::Memory }.encode(head, out);
        }
        Opcode::Delete => {
            DeleteRequest::decode(frame).unwrap();
            ErrorReply::new(ErrorCode::Overloaded).encode(head, tables, out);
        }
        Opcode::Batch => {
            let batch = BatchRequest::decode(frame).unwrap();
            let mut reply = BatchReplyWriter::begin(out, head, batch.durability, batch.count());
            for _ in batch.items() {
                reply.push(&BatchResult::Found(found()));
            }
            reply.finish();
        }
        _ => {
            ScanRequest::decode(frame).unwrap();
            ErrorReply::new(ErrorCode::SnapshotExpired).encode(head, tables, out);
        }
    }
}

#[test]
fn a_warm_turn_allocates_nothing() {
    let mut out = Vec::new();
    let mut reader = FrameReader::new(BODY_SIZE_BYTES_MAX);
    let mut tables = TableBuilder::new();
    for _ in 0..3 {
        turn(&mut out, &mut reader, &mut tables);
    }
    assert_eq!(allocated_bytes_by(|| turn(&mut out, &mut reader, &mut tables)), 0);
}

#[test]
fn a_warm_turn_between_nodes_allocates_nothing() {
    let payload = [7; 300];
    let mut out = Vec::new();
    let mut reader = FrameReader::new(BODY_SIZE_BYTES_MAX);
    let mut turn = || {
        out.clear();
        let mut writer = PeerTurnWriter::begin(&mut out, BootId(1), 1);
        for partition in (0..32).map(PartitionId) {
            let mut entries = writer.begin_append(partition, &common::append()).unwrap();
            assert!(entries.push_entry(Term(5), &payload));
            entries.finish();
            assert!(writer.push(partition, &PeerMessage::TimeoutNow { term: Term(5) }));
        }
        writer.finish(HEAD);
        reader.buffer_for_read().extend_from_slice(&out);
        let frame = reader.next_frame().unwrap().unwrap();
        assert_eq!(PeerTurn::decode(&frame).unwrap().messages().count(), 64);
    };
    for _ in 0..3 {
        turn();
    }
    assert_eq!(allocated_bytes_by(turn), 0);
}

#[test]
fn an_oversize_header_allocates_nothing() {
    let bytes = {
        let (_, get) = samples().into_iter().next().unwrap();
        let mut header: [u8; 32] = *get.first_chunk().unwrap();
        header[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        let crc = crc32fast::hash(&[&header[..4], &header[8..]].concat());
        header[4..8].copy_from_slice(&crc.to_le_bytes());
        header
    };
    let mut reader = FrameReader::new(BODY_SIZE_BYTES_MAX);
    reader.push(&bytes);
    let allocated = allocated_bytes_by(|| {
        assert!(FrameHeader::decode(&bytes, BODY_SIZE_BYTES_MAX).is_err());
        assert!(reader.next_frame().is_err());
    });
    assert_eq!(allocated, 0);
}

#[test]
fn hostile_lengths_in_a_body_allocate_nothing_to_speak_of() {
    for (name, bytes) in samples() {
        with_frame(&bytes, |original| {
            let mut body = original.body.to_vec();
            for at in 0..body.len().saturating_sub(3) {
                let before: [u8; 4] = *body[at..].first_chunk().unwrap();
                for hostile in [u32::MAX, 0x7fff_ffff, 0x0010_0000, 0x0000_1000] {
                    body[at..at + 4].copy_from_slice(&hostile.to_le_bytes());
                    let frame = Frame { header: original.header, body: &body };
                    let allocated = allocated_bytes_by(|| {
                        common::decode_everything(&frame);
                    });
                    // The handshakes and errors in `decode_everything` take a few kibibytes of their own.
                    assert!(allocated < 32 * 1024, "{name}, {hostile:#x} at {at}: {allocated} bytes");
                }
                body[at..at + 4].copy_from_slice(&before);
            }
        });
    }
}
