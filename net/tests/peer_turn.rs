//! What nodes say to each other: read back as it was written, and refused whole if anything of it is wrong.

// A test fails by panicking, in its helpers too.
#![allow(clippy::unwrap_used)]

mod common;

use common::{HEAD, append, plain_messages, position, with_frame};
use corelode_net::limits::{BODY_SIZE_BYTES_MAX, ENTRY_LENGTH_MAX, HEADER_SIZE_BYTES, PEER_NUMBER_MAX};
use corelode_net::peer::{
    PeerAppend, PeerAppendOutcome, PeerAppendReply, PeerEntry, PeerMessage, PeerTurn, PeerTurnWriter, PeerVoteKind,
    PeerVoteReply, PeerVoteRequest,
};
use corelode_net::{
    BodyError, BootId, ErrorCode, Frame, LogIndex, LogPosition, Opcode, PartitionId, Role, Round, Term,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// A message with entries of its own, as `PeerMessage` only borrows them.
#[derive(Clone, Debug)]
enum Said {
    Plain(PeerMessage<'static>),
    Append(PeerAppend, Vec<(Term, Vec<u8>)>),
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..5, 0..=PEER_NUMBER_MAX]
}

fn any_position() -> impl Strategy<Value = LogPosition> {
    (number(), number()).prop_map(|(term, index)| position(term, index))
}

fn said() -> impl Strategy<Value = Said> {
    let kind = prop_oneof![Just(PeerVoteKind::Pre), Just(PeerVoteKind::Real), Just(PeerVoteKind::Transfer)];
    let vote_request = (kind, number(), any_position())
        .prop_map(|(kind, term, last)| PeerMessage::VoteRequest(PeerVoteRequest { kind, term: Term(term), last }));
    let vote_reply = (any::<bool>(), number(), any::<bool>()).prop_map(|(is_pre, term, is_granted)| {
        PeerMessage::VoteReply(PeerVoteReply { is_pre, term: Term(term), is_granted })
    });
    let outcome = prop_oneof![
        number().prop_map(|index| PeerAppendOutcome::Stored(LogIndex(index))),
        number().prop_map(|index| PeerAppendOutcome::Received(LogIndex(index))),
        (number(), any_position())
            .prop_map(|(index, hint)| PeerAppendOutcome::Rejected { previous: LogIndex(index), hint }),
    ];
    let append_reply = (number(), number(), any::<bool>(), outcome).prop_map(|(term, round, is_quiet, outcome)| {
        PeerMessage::AppendReply(PeerAppendReply { term: Term(term), round: Round(round), is_quiet, outcome })
    });
    let timeout_now = number().prop_map(|term| PeerMessage::TimeoutNow { term: Term(term) });
    let plain = prop_oneof![vote_request, vote_reply, append_reply, timeout_now].prop_map(Said::Plain);
    let payload = prop_oneof![4 => vec(any::<u8>(), 0..40), 1 => vec(any::<u8>(), 1_000..5_000)];
    let entries = vec((0u64..3, payload), 0..6);
    let numbers = (0u64..1_000, number(), number(), number().prop_map(|index| index / 2), 0u64..3);
    let append = (numbers, any::<(bool, bool, bool)>(), entries).prop_map(|(numbers, flags, entries)| {
        let (previous_term, committed, round, previous_index, ahead) = numbers;
        let mut term = previous_term;
        let entries: Vec<_> = entries
            .into_iter()
            .map(|(step, payload)| {
                term += step;
                (Term(term), payload)
            })
            .collect();
        let append = PeerAppend {
            term: Term(term + ahead),
            previous: position(previous_term, previous_index),
            committed: LogIndex(committed),
            round: Round(round),
            is_round_awaited: flags.0,
            is_receipt_awaited: flags.1,
            is_quiet: flags.2,
        };
        Said::Append(append, entries)
    });
    prop_oneof![plain, append]
}

fn write(turn: &mut PeerTurnWriter<'_>, partition: PartitionId, said: &Said) -> bool {
    match said {
        Said::Plain(message) => turn.push(partition, message),
        Said::Append(append, entries) => {
            let Some(mut writer) = turn.begin_append(partition, append) else { return false };
            if !entries.iter().all(|(term, payload)| writer.push_entry(*term, payload)) {
                return false;
            }
            writer.finish();
            true
        }
    }
}

fn assert_is(message: PeerMessage<'_>, said: &Said) {
    match (message, said) {
        (PeerMessage::Append(append, entries), Said::Append(expected, expected_entries)) => {
            assert_eq!(append, *expected);
            let expected = expected_entries.iter().map(|(term, payload)| PeerEntry { term: *term, payload });
            assert!(entries.eq(expected));
        }
        (message, Said::Plain(expected)) => assert_eq!(message, *expected),
        (message, expected) => panic!("{message:?} instead of {expected:?}"),
    }
}

proptest! {
    #[test]
    fn a_turn_reads_back(boot: u64, number in 1..=u64::MAX, messages in vec((any::<u16>(), said()), 0..20)) {
        let mut out = Vec::new();
        let mut turn = PeerTurnWriter::begin(&mut out, BootId(boot), number);
        for (partition, said) in &messages {
            assert!(write(&mut turn, PartitionId(*partition), said));
        }
        turn.finish(HEAD);
        with_frame(&out, |frame| {
            assert_eq!(frame.request(), Ok(Opcode::PeerTurn));
            let turn = PeerTurn::decode(frame).unwrap();
            assert_eq!((turn.boot, turn.turn, turn.count()), (BootId(boot), number, messages.len()));
            for ((partition, message), (expected_partition, said)) in turn.messages().zip(&messages) {
                assert_eq!(partition.0, *expected_partition);
                assert_is(message, said);
            }
            let mut copy = Vec::new();
            let mut writer = PeerTurnWriter::begin(&mut copy, turn.boot, turn.turn);
            for (partition, message) in turn.messages() {
                assert!(writer.push(partition, &message));
            }
            writer.finish(HEAD);
            assert_eq!(copy, out, "what was decoded is written as it was");
        });
    }
}

/// The sample's body: an Append of two entries to partition 4 at 24, its entries at 80 and 104, then the plain messages.
fn sample() -> Vec<u8> {
    let (_, mut bytes) = common::samples().into_iter().find(|(name, _)| *name == "PEER_TURN").unwrap();
    bytes.split_off(HEADER_SIZE_BYTES)
}

const APPEND: usize = 24;
const FIRST_ENTRY: usize = APPEND + 16 + 40;
const SECOND_ENTRY: usize = FIRST_ENTRY + 16 + 8;
const VOTE_REQUEST: usize = SECOND_ENTRY + 16;
const VOTE_REPLY: usize = VOTE_REQUEST + 32;
const STORED: usize = VOTE_REPLY + 16;

fn decode(body: &[u8]) -> Result<(), BodyError> {
    let (_, bytes) = common::samples().into_iter().find(|(name, _)| *name == "PEER_TURN").unwrap();
    with_frame(&bytes, |original| PeerTurn::decode(&Frame { header: original.header, body }).map(|_| ()))
}

#[test]
fn each_fault_of_a_turn_is_named() {
    let changed = |offset: usize, bytes: &[u8]| {
        let mut body = sample();
        body[offset..offset + bytes.len()].copy_from_slice(bytes);
        decode(&body).unwrap_err()
    };
    let field = |field, found| BodyError::Field { field, found };
    assert_eq!(decode(&sample()), Ok(()));
    assert_eq!(changed(8, &[0]), field("number of a turn", 0));
    assert_eq!(changed(16, &[6]), BodyError::Trailing { bytes: 16 });
    assert_eq!(changed(16, &[8]), BodyError::Truncated { needed: 16, found: 0 });
    assert_eq!(changed(16, &u32::MAX.to_le_bytes()), BodyError::Truncated { needed: 16, found: 0 });
    assert_eq!(changed(20, &[1]).code(), ErrorCode::Malformed);
    for kind in [0, 6, 255] {
        assert_eq!(changed(APPEND + 2, &[kind]).code(), ErrorCode::Unsupported);
    }
    for flags in [1, 2, 4, 32, 128] {
        assert_eq!(changed(APPEND + 3, &[flags]).code(), ErrorCode::Unsupported);
    }
    assert_eq!(changed(VOTE_REQUEST + 3, &[3]), field("kind of a vote", 3));
    assert_eq!(changed(APPEND + 4, &u32::MAX.to_le_bytes()).code(), ErrorCode::Malformed);
    assert_eq!(changed(APPEND + 8, &u64::MAX.to_le_bytes()), field("term", u64::MAX));
    assert_eq!(changed(APPEND + 8, &[4]), field("term of an entry", 5));
    assert_eq!(changed(APPEND + 16, &[9]), field("term of an entry", 4));
    assert_eq!(changed(APPEND + 24, &(PEER_NUMBER_MAX - 1).to_le_bytes()), field("index", PEER_NUMBER_MAX + 1));
    assert_eq!(changed(APPEND + 32, &u64::MAX.to_le_bytes()), field("index", u64::MAX));
    assert_eq!(changed(APPEND + 40, &u64::MAX.to_le_bytes()), field("round", u64::MAX));
    assert_eq!(changed(APPEND + 48, &[1]), BodyError::Trailing { bytes: 16 });
    assert_eq!(changed(APPEND + 48, &[3]), BodyError::Truncated { needed: 16, found: 0 });
    assert_eq!(changed(APPEND + 48, &u32::MAX.to_le_bytes()), BodyError::Truncated { needed: 16, found: 0 });
    assert_eq!(changed(APPEND + 52, &[1]).code(), ErrorCode::Malformed);
    assert_eq!(changed(FIRST_ENTRY + 8, &u32::MAX.to_le_bytes()).code(), ErrorCode::Malformed);
    assert_eq!(changed(FIRST_ENTRY + 12, &[0; 4]).code(), ErrorCode::BadChecksum);
    assert_eq!(changed(FIRST_ENTRY + 16, b"A").code(), ErrorCode::BadChecksum);
    assert_eq!(changed(SECOND_ENTRY, &[3]), field("term of an entry", 3));
    assert_eq!(changed(VOTE_REQUEST + 4, &[8]), BodyError::Truncated { needed: 16, found: 8 });
    assert_eq!(changed(VOTE_REPLY + 4, &[16]), BodyError::Trailing { bytes: 16 });
    assert_eq!(changed(STORED + 16 + 16, &[1]).code(), ErrorCode::Malformed);
}

#[test]
fn every_flip_of_a_bit_is_refused_or_another_turn() {
    let original = sample();
    let (_, bytes) = common::samples().into_iter().find(|(name, _)| *name == "PEER_TURN").unwrap();
    with_frame(&bytes, |frame| {
        for bit in 0..original.len() * 8 {
            let mut body = original.clone();
            body[bit / 8] ^= 1 << (bit % 8);
            let Ok(turn) = PeerTurn::decode(&Frame { header: frame.header, body: &body }) else { continue };
            // What is accepted is exactly what a sender would have written.
            let mut copy = Vec::new();
            let mut writer = PeerTurnWriter::begin(&mut copy, turn.boot, turn.turn);
            for (partition, message) in turn.messages() {
                assert!(writer.push(partition, &message));
            }
            writer.finish(HEAD);
            assert_eq!(copy[HEADER_SIZE_BYTES..], body, "bit {bit}");
        }
    });
}

#[test]
fn a_full_frame_takes_no_more_and_stays_whole() {
    let payload = vec![7; 100_000];
    let mut out = Vec::new();
    let mut turn = PeerTurnWriter::begin(&mut out, BootId(1), 1);
    let mut entries = turn.begin_append(PartitionId(1), &append()).unwrap();
    let mut entry_count = 0;
    while entries.push_entry(Term(5), &payload) {
        entry_count += 1;
    }
    assert_eq!((entry_count, entries.count()), (11, 11));
    entries.finish();
    let beat = plain_messages().remove(0);
    let mut plain_count = 0;
    while turn.push(PartitionId(2), &beat) {
        plain_count += 1;
    }
    assert!(BODY_SIZE_BYTES_MAX - turn.body_length() < 32);
    assert!(turn.begin_append(PartitionId(3), &append()).is_none());
    turn.finish(HEAD);
    with_frame(&out, |frame| {
        let turn = PeerTurn::decode(frame).unwrap();
        assert_eq!(turn.count(), 1 + plain_count);
        let Some((_, PeerMessage::Append(_, entries))) = turn.messages().next() else { panic!("the Append is gone") };
        assert!(entries.clone().all(|entry| entry.payload == payload));
        assert_eq!(entries.count(), entry_count);
    });
}

#[test]
fn the_longest_entry_fits_a_frame_of_its_own() {
    let payload = vec![7; ENTRY_LENGTH_MAX];
    let mut out = Vec::new();
    let mut turn = PeerTurnWriter::begin(&mut out, BootId(1), 1);
    let mut entries = turn.begin_append(PartitionId(1), &append()).unwrap();
    assert!(entries.push_entry(Term(5), &payload));
    assert!(!entries.push_entry(Term(5), &payload));
    entries.finish();
    turn.finish(HEAD);
    with_frame(&out, |frame| assert_eq!(PeerTurn::decode(frame).unwrap().count(), 1));
}

#[test]
fn an_append_given_up_leaves_the_turn_as_it_was() {
    let write = |with_abandoned: bool| {
        let mut out = b"an earlier frame".to_vec();
        let mut turn = PeerTurnWriter::begin(&mut out, BootId(1), 1);
        assert!(turn.push(PartitionId(1), &plain_messages()[1]));
        if with_abandoned {
            let mut entries = turn.begin_append(PartitionId(1), &append()).unwrap();
            assert!(entries.push_entry(Term(5), b"never mind"));
            drop(entries);
        }
        assert!(turn.push(PartitionId(2), &plain_messages()[2]));
        turn.finish(HEAD);
        out
    };
    assert_eq!(write(true), write(false));
}

#[test]
#[should_panic(expected = "an entry of term 2 between those of 3 and 5")]
fn entries_whose_terms_fall_are_a_bug_of_the_sender() {
    let mut out = Vec::new();
    let mut turn = PeerTurnWriter::begin(&mut out, BootId(1), 1);
    let _ = turn.begin_append(PartitionId(1), &append()).unwrap().push_entry(Term(2), b"");
}

#[test]
fn only_a_peer_may_send_it() {
    assert_eq!(Opcode::PeerTurn.role_required(), Some(Role::Peer));
    for (role, may) in [(Role::Read, false), (Role::Write, false), (Role::Peer, true), (Role::Admin, true)] {
        assert_eq!(role.may(Opcode::PeerTurn), may, "{role:?}");
    }
}
