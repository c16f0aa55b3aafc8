//! The hand-written layouts against those that `flatc` makes of the same declarations in `schema/wire.fbs`.

use crate::body::{
    BatchItem, BatchOperation, BatchReplyWriter, BatchResult, BatchWriter, DeleteRequest, Durability, Found, GetReply,
    GetRequest, PutRequest, ReadLevel, ScanPageWriter, ScanRow, SessionClose, SessionOpen, SessionPrefix, Value,
    WriteReply,
};
use crate::generated::wire;
use crate::handshake::Features;
use crate::header::{Flags, FrameHeader, HeaderFields, ReplyHead, RequestHead};
use crate::ids::{
    BootId, LogIndex, LogPosition, MapEpoch, PartitionId, RequestId, Revision, Round, SnapshotToken, Term,
};
use crate::limits::HEADER_SIZE_BYTES;
use crate::peer::{
    PeerAppend, PeerAppendOutcome, PeerAppendReply, PeerMessage, PeerStateHashes, PeerTransfer, PeerTransferOutcome,
    PeerTransferPart, PeerTransferReply, PeerTurnWriter, PeerVoteKind, PeerVoteReply, PeerVoteRequest,
};
use crate::table::TableBuilder;
use crate::{ErrorCode, Opcode, RetryClass, Role, slot_of};
use proptest::prelude::*;

const KEY: &[u8] = b"{tag}key";
const HEAD: RequestHead = RequestHead { request_id: RequestId(7), map_epoch: MapEpoch(3), deadline_ms: 250 };
const REPLY: ReplyHead = ReplyHead { request_id: RequestId(7), opcode: 1, target: 9, map_epoch: MapEpoch(3) };

fn value() -> Value<'static> {
    Value::new(b"the value")
}

/// The body of the one frame that `encode` appends.
fn body(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out);
    out.split_off(HEADER_SIZE_BYTES)
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap()
}

proptest! {
    #[test]
    fn the_header_is_the_schemas(
        (request_id, opcode, flags, target) in any::<(u64, u8, u8, u16)>(),
        (map_epoch, deadline_ms, body_crc) in any::<(u32, u32, u32)>(),
        length in 0u32..1_000_000,
    ) {
        let fields = HeaderFields {
            request_id: RequestId(request_id),
            opcode,
            flags: Flags(flags),
            target,
            map_epoch: MapEpoch(map_epoch),
            deadline_ms,
        };
        let bytes = FrameHeader { length, fields, body_crc }.encode();
        let mut covered = bytes.to_vec();
        covered.drain(4..8);
        let crc = crc32fast::hash(&covered);
        let theirs =
            wire::FrameHeader::new(length, crc, request_id, opcode, flags, target, map_epoch, deadline_ms, body_crc);
        prop_assert_eq!(theirs.0, bytes);
        prop_assert_eq!(FrameHeader::decode(&bytes, 1_000_000), Ok(FrameHeader { length, fields, body_crc }));
    }
}

#[test]
fn get_and_its_reply_are_the_schemas() {
    let get = GetRequest { slot: slot_of(KEY), key: KEY, level: ReadLevel::Local };
    let theirs = wire::GetRequest::new(length(KEY), 1, &[0; 3]);
    assert_eq!(body(|out| get.encode(HEAD, out)), [&theirs.0, KEY].concat());

    let found = Found { revision: Revision(5), deadline_ms: 6, value: value() };
    let theirs = wire::GetReply::new(5, 6, length(value().bytes), value().crc, 0, &[0; 7]);
    assert_eq!(body(|out| GetReply::Found(found).encode(REPLY, out)), [&theirs.0, value().bytes].concat());
    let theirs = wire::GetReply::new(0, 0, 0, 0, 1, &[0; 7]);
    assert_eq!(body(|out| GetReply::Absent.encode(REPLY, out)), theirs.0);
}

#[test]
fn put_delete_and_their_reply_are_the_schemas() {
    let durability = Durability::Memory;
    let put = PutRequest { slot: slot_of(KEY), key: KEY, value: value(), ttl_ms: 77, durability };
    let theirs = wire::PutRequest::new(77, length(KEY), length(value().bytes), value().crc, 1, 0, 0);
    assert_eq!(body(|out| put.encode(HEAD, out)), [&theirs.0, KEY, value().bytes].concat());

    let delete = DeleteRequest { slot: slot_of(KEY), key: KEY, durability };
    let theirs = wire::DeleteRequest::new(length(KEY), 1, 0, 0);
    assert_eq!(body(|out| delete.encode(HEAD, out)), [&theirs.0, KEY].concat());

    let reply = WriteReply { revision: Revision(8), durability };
    let theirs = wire::WriteReply::new(8, 1, 0, &[0; 6]);
    assert_eq!(body(|out| reply.encode(REPLY, out)), theirs.0);
}

#[test]
fn batch_and_its_reply_are_the_schemas() {
    let slot = slot_of(KEY);
    let ours = body(|out| {
        let mut batch = BatchWriter::begin(out, Durability::Memory, ReadLevel::Local);
        let put = BatchOperation::Put { key: KEY, value: value(), ttl_ms: 5 };
        for operation in [BatchOperation::Get { key: KEY }, put, BatchOperation::Delete { key: KEY }] {
            batch.push(&BatchItem { slot, operation }).unwrap();
        }
        batch.finish(HEAD);
    });
    let theirs = [
        &wire::BatchHead::new(3, 1, 1, 0).0[..],
        &wire::BatchItem::new(0, length(KEY), 0, 0, slot.get(), 1, 0).0,
        KEY,
        &wire::BatchItem::new(5, length(KEY), length(value().bytes), value().crc, slot.get(), 2, 0).0,
        KEY,
        value().bytes,
        &wire::BatchItem::new(0, length(KEY), 0, 0, slot.get(), 3, 0).0,
        KEY,
    ];
    assert_eq!(ours, theirs.concat());

    let found = Found { revision: Revision(5), deadline_ms: 6, value: value() };
    let ours = body(|out| {
        let mut reply = BatchReplyWriter::begin(out, REPLY, Durability::Memory, 4);
        reply.push(&BatchResult::Found(found));
        reply.push(&BatchResult::Absent);
        reply.push(&BatchResult::Written { revision: Revision(9) });
        reply.push(&BatchResult::error(ErrorCode::NoSpace));
        reply.finish();
    });
    let theirs = [
        &wire::BatchReplyHead::new(4, 1, &[0; 3]).0[..],
        &wire::BatchResult::new(5, 6, length(value().bytes), value().crc, 0, 0, 0, 0).0,
        value().bytes,
        &wire::BatchResult::new(0, 0, 0, 0, 1, 0, 0, 0).0,
        &wire::BatchResult::new(9, 0, 0, 0, 2, 0, 0, 0).0,
        &wire::BatchResult::new(0, 0, 0, 0, 3, 1, 36, 0).0,
    ];
    assert_eq!(ours, theirs.concat());
}

#[test]
fn rows_of_a_page_and_the_session_prefix_are_the_schemas() {
    let row = ScanRow { key: KEY, revision: Revision(5), deadline_ms: 6, value: value() };
    let ours = body(|out| {
        let mut page = ScanPageWriter::begin(out, REPLY, 0, 0);
        assert!(page.push(&row));
        page.finish(Revision(9), SnapshotToken(2), None, &mut TableBuilder::new());
    });
    let row = wire::ScanRow::new(5, 6, length(KEY), length(value().bytes), value().crc, 0);
    let rows = [&row.0, KEY, value().bytes].concat();
    let theirs = [&wire::ScanPageHead::new(length(&rows), 1).0[..], &rows].concat();
    assert!(ours.starts_with(&theirs));

    let prefix = SessionPrefix { session: 3, sequence: 5, oldest: 4 };
    assert_eq!(prefix.encode(), wire::SessionPrefix::new(3, 5, 4).0);
    let open = SessionOpen { partition: PartitionId(9), ttl_ms: 60_000 };
    assert_eq!(body(|out| open.encode(HEAD, out)), wire::SessionOpen::new(60_000).0);
    let close = SessionClose { partition: PartitionId(9), session: 3 };
    assert_eq!(body(|out| close.encode(HEAD, out)), wire::SessionClose::new(3).0);
}

fn position(term: u64, index: u64) -> LogPosition {
    LogPosition { term: Term(term), index: LogIndex(index) }
}

#[test]
fn messages_between_nodes_are_the_schemas() {
    use wire::{PeerMessageFlags as Flag, PeerMessageKind as Kind};
    let append = PeerAppend {
        term: Term(9),
        previous: position(3, 4),
        committed: LogIndex(5),
        round: Round(6),
        is_round_awaited: true,
        is_receipt_awaited: true,
        is_quiet: true,
    };
    let vote = |kind| PeerVoteRequest { kind, term: Term(9), last: position(7, 8) };
    let reply = |is_pre, is_granted| PeerVoteReply { is_pre, term: Term(9), is_granted };
    let stored = PeerAppendOutcome::Stored(LogIndex(20));
    let received = PeerAppendOutcome::Received(LogIndex(20));
    let rejected = PeerAppendOutcome::Rejected { previous: LogIndex(20), hint: position(21, 22) };
    let append_reply = |is_quiet, outcome| PeerAppendReply { term: Term(9), round: Round(23), is_quiet, outcome };
    let ours = body(|out| {
        let mut turn = PeerTurnWriter::begin(out, BootId(1), 2);
        let mut entries = turn.begin_append(PartitionId(10), &append).unwrap();
        assert!(entries.push_entry(Term(8), KEY) && entries.push_entry(Term(9), b""));
        entries.finish();
        for message in [
            PeerMessage::VoteRequest(vote(PeerVoteKind::Pre)),
            PeerMessage::VoteRequest(vote(PeerVoteKind::Real)),
            PeerMessage::VoteRequest(vote(PeerVoteKind::Transfer)),
            PeerMessage::VoteReply(reply(true, false)),
            PeerMessage::VoteReply(reply(false, true)),
            PeerMessage::AppendReply(append_reply(false, stored)),
            PeerMessage::AppendReply(append_reply(false, received)),
            PeerMessage::AppendReply(append_reply(true, rejected)),
            PeerMessage::TimeoutNow { term: Term(9) },
        ] {
            assert!(turn.push(PartitionId(11), &message));
        }
        turn.finish(HEAD);
    });
    let head = |kind: Kind, flags: Flag, length| wire::PeerMessageHead::new(11, kind.0, flags.bits(), length, 9).0;
    let append_length = 40 + 2 * 16 + length(KEY);
    let append_flags = Flag::ROUND_AWAITED | Flag::QUIET | Flag::RECEIPT_AWAITED;
    let theirs = [
        &wire::PeerTurnHead::new(1, 2, 10, 0).0[..],
        &wire::PeerMessageHead::new(10, Kind::APPEND.0, append_flags.bits(), append_length, 9).0,
        &wire::PeerAppend::new(3, 4, 5, 6, 2, 0).0,
        &wire::PeerEntry::new(8, length(KEY), crc32fast::hash(KEY)).0,
        KEY,
        &wire::PeerEntry::new(9, 0, 0).0,
        &head(Kind::VOTE_REQUEST, Flag::PRE, 16),
        &wire::PeerVoteRequest::new(7, 8).0,
        &head(Kind::VOTE_REQUEST, Flag::empty(), 16),
        &wire::PeerVoteRequest::new(7, 8).0,
        &head(Kind::VOTE_REQUEST, Flag::TRANSFER, 16),
        &wire::PeerVoteRequest::new(7, 8).0,
        &head(Kind::VOTE_REPLY, Flag::PRE, 0),
        &head(Kind::VOTE_REPLY, Flag::GRANTED, 0),
        &head(Kind::APPEND_REPLY, Flag::empty(), 32),
        &wire::PeerAppendReply::new(23, 20, 0, 0).0,
        &head(Kind::APPEND_REPLY, Flag::RECEIVED, 32),
        &wire::PeerAppendReply::new(23, 20, 0, 0).0,
        &head(Kind::APPEND_REPLY, Flag::QUIET | Flag::REJECTED, 32),
        &wire::PeerAppendReply::new(23, 20, 21, 22).0,
        &head(Kind::TIMEOUT_NOW, Flag::empty(), 0),
    ];
    assert_eq!(ours, theirs.concat());
}

#[test]
fn parts_of_a_transfer_are_the_schemas() {
    let transfer =
        |part| body(|out| PeerTransfer { transfer: 1, partition: PartitionId(2), sequence: 3, part }.encode(HEAD, out));
    let head = |first, second, number, kind| wire::PeerTransferHead::new(1, first, second, 3, number, 2, kind, 0, 0).0;
    let begin = PeerTransferPart::Begin { position: position(4, 5), table_count: 6 };
    assert_eq!(transfer(begin), head(4, 5, 6, 1));
    let table = PeerTransferPart::Table { level: 6, description: KEY };
    assert_eq!(transfer(table), [&head(0, 0, 6, 2)[..], KEY].concat());
    let piece = PeerTransferPart::Piece { offset: 7, bytes: KEY };
    assert_eq!(transfer(piece), [&head(7, 0, 0, 3)[..], KEY].concat());
    assert_eq!(transfer(PeerTransferPart::End), head(0, 0, 0, 4));
    assert_eq!(transfer(PeerTransferPart::Cancel), head(0, 0, 0, 5));

    let reply = |outcome| {
        body(|out| PeerTransferReply { transfer: 1, partition: PartitionId(2), sequence: 3, outcome }.encode(HEAD, out))
    };
    let head = |outcome| wire::PeerTransferReplyHead::new(1, 3, 2, outcome, 0).0;
    assert_eq!(reply(PeerTransferOutcome::Taken), head(1));
    assert_eq!(reply(PeerTransferOutcome::Done), head(2));
    let refused = reply(PeerTransferOutcome::Refused { message: "why" });
    assert_eq!(refused, [&head(3)[..], b"why"].concat());
    assert_eq!(reply(PeerTransferOutcome::Needed), head(4));
    let damaged = reply(PeerTransferOutcome::Damaged { message: "where" });
    assert_eq!(damaged, [&head(5)[..], b"where"].concat());
}

#[test]
fn state_hashes_are_the_schemas() {
    let written = body(|out| PeerStateHashes::encode(PartitionId(2), LogIndex(5), [6, 7], HEAD, out));
    let head = wire::PeerStateHashesHead::new(5, 2, 0, 0).0;
    assert_eq!(written, [&head[..], &6u64.to_le_bytes(), &7u64.to_le_bytes()].concat());
}

#[test]
fn numbers_are_the_schemas() {
    let names = |all: &[wire::Opcode]| -> Vec<_> { all.iter().map(|o| (o.0, o.variant_name().unwrap())).collect() };
    let ours: Vec<_> = Opcode::ALL.iter().map(|o| (o.to_wire(), o.name())).collect();
    assert_eq!(names(&wire::Opcode::ENUM_VALUES[1..]), ours);

    let theirs: Vec<_> =
        wire::ErrorCode::ENUM_VALUES[1..].iter().map(|code| (code.0, code.variant_name().unwrap())).collect();
    let ours: Vec<_> = ErrorCode::ALL.iter().map(|code| (code.to_wire(), code.name())).collect();
    assert_eq!(theirs, ours);

    assert_eq!(wire::Role::READ.0, Role::Read as u8);
    assert_eq!(wire::Role::WRITE.0, Role::Write as u8);
    assert_eq!(wire::Role::ADMIN.0, Role::Admin as u8);
    assert_eq!(wire::Role::PEER.0, Role::Peer as u8);
    assert_eq!(wire::Durability::MEMORY.0, Durability::Memory as u8);
    assert_eq!(wire::ReadLevel::LOCAL.0, ReadLevel::Local as u8);
    assert_eq!(wire::RetryClass::NEVER.0, RetryClass::Never as u8);
    assert_eq!(wire::RetryClass::SAFE.0, RetryClass::Safe as u8);
    assert_eq!(wire::RetryClass::UNKNOWN.0, RetryClass::Unknown as u8);
    assert_eq!(wire::Flags::REPLY.bits(), Flags::REPLY.0);
    assert_eq!(wire::Flags::ERROR.bits(), Flags::ERROR.0);
    assert_eq!(wire::Flags::SESSION.bits(), Flags::SESSION.0);
    assert_eq!(wire::Flags::MORE.bits(), Flags::MORE.0);
    assert_eq!(wire::Flags::RECEIPT.bits(), Flags::RECEIPT.0);
    assert_eq!(wire::Flags::all().bits(), Flags::KNOWN.0);
    assert_eq!(wire::Feature::TLS.bits(), Features::TLS.0);
    assert_eq!(wire::Feature::COMPRESSION.bits(), Features::COMPRESSION.0);
    assert_eq!(wire::Feature::SESSIONS.bits(), Features::SESSIONS.0);
    assert_eq!(wire::Feature::RECEIPTS.bits(), Features::RECEIPTS.0);
    assert_eq!(wire::Feature::CONDITIONS.bits(), Features::CONDITIONS.0);
}
