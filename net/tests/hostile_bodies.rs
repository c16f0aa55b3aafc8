//! Bodies that nobody honest sends: no decoder panics, and each says what is wrong.

// A test fails by panicking, in its helpers too.
#![allow(clippy::unwrap_used)]

mod common;

use common::{HEAD, KEY, decode_everything, put, samples, slot, with_frame};
use corelode_net::body::{
    BatchReply, BatchRequest, DeleteRequest, GetReply, GetRequest, PutRequest, ScanPage, SessionPrefix, WriteReply,
};
use corelode_net::limits::SESSION_WINDOW;
use corelode_net::table::{ErrorReply, GoAway, ScanRequest, Status, Topology};
use corelode_net::{
    BodyError, ErrorCode, Flags, Frame, FrameHeader, HeaderFields, Inbound, MapEpoch, Opcode, RequestId,
};
use proptest::collection::vec;
use proptest::prelude::*;

fn frame<'a>(opcode: u8, flags: Flags, target: u16, body: &'a [u8]) -> Frame<'a> {
    let fields =
        HeaderFields { request_id: RequestId(1), opcode, flags, target, map_epoch: MapEpoch(0), deadline_ms: 0 };
    Frame { header: FrameHeader { length: u32::try_from(body.len()).unwrap(), fields, body_crc: 0 }, body }
}

fn request<'a>(opcode: Opcode, target: u16, body: &'a [u8]) -> Frame<'a> {
    frame(opcode.to_wire(), Flags::NONE, target, body)
}

fn reply<'a>(opcode: Opcode, body: &'a [u8]) -> Frame<'a> {
    frame(opcode.to_wire(), Flags::REPLY, 0, body)
}

proptest! {
    // PROPTEST_CASES may ask for more.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(2_000)))]

    #[test]
    fn random_bodies_are_refused_without_a_panic(
        body in vec(prop_oneof![3 => Just(0u8), 1 => 0u8..9, 2 => any::<u8>()], 0..200),
        opcode in prop_oneof![1u8..8, 32u8..41, 64u8..68, any::<u8>()],
        flags in prop_oneof![Just(0u8), Just(1), Just(3), any::<u8>()],
        target: u16,
    ) {
        decode_everything(&frame(opcode, Flags(flags), target, &body));
    }

    #[test]
    fn damaged_bodies_with_good_checksums_are_read_or_refused_without_a_panic(
        sample in any::<prop::sample::Index>(),
        changes in vec((any::<prop::sample::Index>(), prop_oneof![Just(0u8), Just(255), any::<u8>()]), 0..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
        tail in vec(any::<u8>(), 0..3),
    ) {
        let samples = samples_once();
        let (_, bytes) = sample.get(samples);
        with_frame(bytes, |original| {
            let mut body = original.body.to_vec();
            for (index, byte) in changes {
                if !body.is_empty() {
                    let at = index.index(body.len());
                    body[at] = byte;
                }
            }
            if let Some(cut) = cut {
                body.truncate(cut.index(body.len() + 1));
            }
            body.extend_from_slice(&tail);
            decode_everything(&Frame { header: original.header, body: &body });
        });
    }
}

fn samples_once() -> &'static [(&'static str, Vec<u8>)] {
    static SAMPLES: std::sync::OnceLock<Vec<(&'static str, Vec<u8>)>> = std::sync::OnceLock::new();
    SAMPLES.get_or_init(samples)
}

#[test]
fn a_fixed_body_is_accepted_at_its_own_length_only() {
    let fixed = ["GET", "PUT", "DELETE", "BATCH", "PEER_TURN"];
    for (name, bytes) in samples() {
        let is_fixed = fixed.iter().any(|start| name.starts_with(start));
        if !is_fixed {
            continue;
        }
        with_frame(&bytes, |original| {
            assert!(decode_everything(original) >= 1, "{name}");
            for length in 0..original.body.len() {
                let cut = Frame { header: original.header, body: &original.body[..length] };
                assert_eq!(decode_everything(&cut), 0, "{name} cut at {length}");
            }
            let longer = [original.body, b"\0"].concat();
            assert_eq!(decode_everything(&Frame { header: original.header, body: &longer }), 0, "{name} and a byte");
        });
    }
}

/// The PUT of the samples, its body open to changes.
fn put_body() -> Vec<u8> {
    let mut out = Vec::new();
    put().encode(HEAD, &mut out);
    out.split_off(32)
}

fn decode_put(body: &[u8]) -> BodyError {
    PutRequest::decode(&request(Opcode::Put, slot().get(), body)).unwrap_err()
}

#[test]
fn each_fault_of_a_put_is_named() {
    let changed = |offset: usize, bytes: &[u8]| {
        let mut body = put_body();
        body[offset..offset + bytes.len()].copy_from_slice(bytes);
        decode_put(&body)
    };
    assert_eq!(changed(8, &0u32.to_le_bytes()), BodyError::KeyLength { length: 0 });
    assert_eq!(changed(8, &4_097u32.to_le_bytes()), BodyError::KeyLength { length: 4_097 });
    assert_eq!(changed(8, &4_096u32.to_le_bytes()), BodyError::Truncated { needed: 4_096, found: 23 });
    assert_eq!(changed(8, &u32::MAX.to_le_bytes()).code(), ErrorCode::BadKey);
    assert_eq!(changed(12, &u32::MAX.to_le_bytes()).code(), ErrorCode::TooLarge);
    assert_eq!(changed(12, &0x10_0000u32.to_le_bytes()), BodyError::Truncated { needed: 0x10_0000, found: 7 });
    assert_eq!(changed(12, &6u32.to_le_bytes()), BodyError::Trailing { bytes: 1 });
    assert_eq!(changed(20, &[2]), BodyError::Field { field: "durability", found: 2 });
    assert_eq!(changed(21, &[1]), BodyError::Unsupported { what: "condition" });
    assert_eq!(changed(22, &[0, 1]).code(), ErrorCode::Malformed);
    assert_eq!(changed(24, b"K").code(), ErrorCode::BadSlot);
    assert_eq!(decode_put(&[]), BodyError::Truncated { needed: 24, found: 0 });
}

#[test]
fn a_key_under_another_slot_is_refused_in_every_request() {
    let wrong = slot().get() ^ 1;
    for (name, bytes) in samples() {
        with_frame(&bytes, |original| {
            let mut other = *original;
            other.header.fields.target = wrong;
            let error = match name {
                "GET" => GetRequest::decode(&other).map(|_| ()),
                "PUT" => PutRequest::decode(&other).map(|_| ()),
                "DELETE" => DeleteRequest::decode(&other).map(|_| ()),
                _ => return,
            };
            assert_eq!(error, Err(BodyError::Slot { expected: slot().get(), found: wrong }), "{name}");
        });
    }
}

/// PITFALL 43.
#[test]
fn a_batch_with_one_bad_item_is_refused_whole() {
    let (_, bytes) = samples().into_iter().find(|(name, _)| *name == "BATCH").unwrap();
    with_frame(&bytes, |original| {
        let mut body = original.body.to_vec();
        let second_item = 8 + 24 + 3;
        for (offset, byte, code) in [
            (20, 0xff, ErrorCode::BadSlot),
            (22, 5, ErrorCode::Unsupported),
            (23, 1, ErrorCode::Unsupported),
            (8, 0, ErrorCode::BadKey),
        ] {
            let at = second_item + offset;
            let before = std::mem::replace(&mut body[at], byte);
            let error = BatchRequest::decode(&Frame { header: original.header, body: &body }).unwrap_err();
            assert_eq!(error.code(), code, "{error}");
            body[at] = before;
        }
        assert!(BatchRequest::decode(&Frame { header: original.header, body: &body }).is_ok());
    });
}

#[test]
fn a_count_that_promises_too_much_is_refused() {
    let mut body = 5_000u32.to_le_bytes().to_vec();
    body.extend_from_slice(&[0; 4]);
    let error = BatchRequest::decode(&request(Opcode::Batch, 0, &body)).unwrap_err();
    assert_eq!(error.code(), ErrorCode::TooLarge);
    let error = BatchReply::decode(&reply(Opcode::Batch, &body)).unwrap_err();
    assert_eq!(error.code(), ErrorCode::TooLarge);
    let error = BatchRequest::decode(&request(Opcode::Batch, 0, &[0; 8])).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Malformed);
    let mut page = 0u32.to_le_bytes().to_vec();
    page.extend_from_slice(&u32::MAX.to_le_bytes());
    assert!(ScanPage::decode(&reply(Opcode::Scan, &page)).is_err());
}

#[test]
fn requests_and_replies_are_not_taken_for_each_other() {
    let body = put_body();
    assert!(PutRequest::decode(&reply(Opcode::Put, &body)).is_err());
    assert!(PutRequest::decode(&request(Opcode::Get, slot().get(), &body)).is_err());
    assert!(WriteReply::decode(&request(Opcode::Put, 0, &[0; 16]), Opcode::Put).is_err());
    assert!(GetReply::decode(&frame(1, Flags::REPLY.with(Flags::ERROR), 0, &[0; 32])).is_err());
    let error = reply(Opcode::Put, &body).request().unwrap_err();
    assert!(error.is_fatal(), "a client that sends replies is broken");
    let mut without_id = request(Opcode::Put, slot().get(), &body);
    without_id.header.fields.request_id = RequestId(0);
    assert!(without_id.request().unwrap_err().is_fatal(), "nobody could be answered");
}

#[test]
fn what_this_version_does_not_have_is_refused_and_the_connection_lives() {
    for opcode in Opcode::ALL.iter().filter(|opcode| !opcode.is_in_version_1()) {
        let error = request(*opcode, 0, &[]).request().unwrap_err();
        assert_eq!((error.code(), error.is_fatal()), (ErrorCode::Unsupported, false), "{opcode}");
    }
    for unknown in [0, 15, 31, 41, 63, 69, 127, 255] {
        let error = frame(unknown, Flags::NONE, 0, &[]).request().unwrap_err();
        assert_eq!((error.code(), error.is_fatal()), (ErrorCode::UnknownOpcode, false), "{unknown}");
    }
    let with_session = frame(Opcode::Put.to_wire(), Flags::SESSION, slot().get(), &[]);
    assert_eq!(with_session.request().unwrap_err().code(), ErrorCode::Unsupported);
    let with_unknown_flag = frame(Opcode::Put.to_wire(), Flags(0x80), slot().get(), &[]);
    assert_eq!(with_unknown_flag.request().unwrap_err().code(), ErrorCode::Unsupported);
    for notice in [Opcode::GoAway, Opcode::ConnectionError] {
        assert_eq!(request(notice, 0, &[]).request().unwrap_err().code(), ErrorCode::UnknownOpcode);
    }
}

#[test]
fn a_session_prefix_is_cut_off() {
    let prefix = SessionPrefix { session: 5, sequence: 6, oldest: 6 };
    let body = [&prefix.encode()[..], &put_body()].concat();
    let with_session = frame(Opcode::Put.to_wire(), Flags::SESSION, slot().get(), &body);
    let (found, rest) = SessionPrefix::take(&with_session).unwrap();
    assert_eq!(found, Some(prefix));
    assert_eq!(PutRequest::decode(&rest), Ok(put()));
    let (none, same) = SessionPrefix::take(&rest).unwrap();
    assert_eq!((none, same.body), (None, rest.body));
    assert!(SessionPrefix::take(&frame(2, Flags::SESSION, 0, &[0; 23])).is_err());
    for (sequence, oldest) in [(0, 0), (1, 0), (5, 6), (300, 300 - SESSION_WINDOW)] {
        let body = SessionPrefix { session: 5, sequence, oldest }.encode();
        assert!(SessionPrefix::take(&frame(2, Flags::SESSION, 0, &body)).is_err(), "{sequence} and {oldest}");
    }
}

#[test]
fn a_client_refuses_what_no_server_sends() {
    let mut notice = reply(Opcode::GoAway, &[]);
    notice.header.fields.request_id = RequestId(0);
    assert_eq!(notice.inbound(), Ok(Inbound::GoAway));
    notice.header.fields.opcode = Opcode::Get.to_wire();
    assert!(notice.inbound().is_err(), "a reply to nobody");
    assert!(request(Opcode::Get, 0, KEY).inbound().is_err(), "a request from a server");
    assert!(frame(200, Flags::REPLY, 0, &[]).inbound().is_err(), "a reply to an unknown operation");
    assert!(frame(1, Flags::REPLY.with(Flags::MORE), 0, &[]).inbound().is_err(), "a stream in version 1");
}

#[test]
fn tables_are_verified_before_they_are_read() {
    for body in [&[][..], &[255; 64], &[4, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f], &[8, 0, 0, 0, 0, 0, 0, 0], &[1, 0, 0, 0]] {
        assert!(Topology::decode(&reply(Opcode::Topology, body)).is_err());
        assert!(Status::decode(&reply(Opcode::Status, body)).is_err());
        assert!(ScanRequest::decode(&request(Opcode::Scan, 0, body)).is_err());
        assert!(GoAway::decode(&reply(Opcode::GoAway, body)).is_err());
        assert!(ErrorReply::decode(&frame(1, Flags::REPLY.with(Flags::ERROR), 0, body)).is_err());
    }
}

#[test]
fn a_map_that_does_not_cover_the_slots_is_refused() {
    let mut tables = corelode_net::table::TableBuilder::new();
    let slot = |number| corelode_net::Slot::new(number).unwrap();
    let (mut gap, mut overlap, mut short, mut empty) =
        (common::topology(), common::topology(), common::topology(), common::topology());
    gap.partitions[1].first_slot = slot(8_193);
    overlap.partitions[1].first_slot = slot(8_191);
    short.partitions[1].last_slot = slot(16_382);
    empty.partitions.clear();
    for broken in [gap, overlap, short, empty] {
        let mut out = Vec::new();
        broken.encode(common::reply_to(Opcode::Topology, 0), &mut tables, &mut out);
        with_frame(&out, |frame| {
            assert!(matches!(Topology::decode(frame), Err(BodyError::Field { .. })));
        });
    }
}
