//! Two nodes that are not meant for each other find out before anything else is said.

// A test fails by panicking, in its helpers too.
#![allow(clippy::unwrap_used)]

mod common;

use common::{HEAD, peer_hello, reply_to, with_frame};
use corelode_net::limits::{CORE_COUNT_MAX, MEMBERS_LENGTH_MAX, PARTITION_COUNT_MAX};
use corelode_net::peer::PeerHello;
use corelode_net::table::{ErrorReply, TableBuilder};
use corelode_net::{BootId, ClusterId, CoreIndex, ErrorCode, Inbound, Incarnation, NodeId, Opcode, RetryClass, Role};
use proptest::prelude::*;

/// What the node that `peer_hello` speaks to says.
fn answer() -> PeerHello<'static> {
    let PeerHello { node_id, to_node_id, .. } = peer_hello();
    PeerHello { node_id: to_node_id, to_node_id: node_id, core: CoreIndex(0), boot: BootId(7), ..peer_hello() }
}

proptest! {
    #[test]
    fn request_and_answer_read_back(
        cluster_id: [u8; 16],
        (node_id, to_node_id, incarnation, boot) in (1..=u64::MAX, any::<u64>(), any::<u64>(), any::<u64>()),
        core_count in 1..=u16::try_from(CORE_COUNT_MAX).unwrap(),
        partition_count in 0..=u16::try_from(PARTITION_COUNT_MAX).unwrap(),
        members in ".{0,200}",
    ) {
        let hello = PeerHello {
            cluster_id: ClusterId(cluster_id),
            node_id: NodeId(node_id),
            to_node_id: NodeId(to_node_id),
            incarnation: Incarnation(incarnation),
            boot: BootId(boot),
            core: CoreIndex(core_count - 1),
            core_count,
            partition_count,
            members: &members,
        };
        let mut tables = TableBuilder::new();
        let (mut request, mut reply) = (Vec::new(), Vec::new());
        hello.encode_request(HEAD, &mut tables, &mut request);
        hello.encode_reply(reply_to(Opcode::PeerHello, 0), &mut tables, &mut reply);
        with_frame(&request, |frame| {
            assert_eq!(frame.request(), Ok(Opcode::PeerHello));
            assert_eq!(PeerHello::decode_request(frame), Ok(hello));
            assert!(PeerHello::decode_reply(frame).is_err());
        });
        with_frame(&reply, |frame| {
            assert_eq!(frame.inbound(), Ok(Inbound::Reply(HEAD.request_id, Opcode::PeerHello)));
            assert_eq!(PeerHello::decode_reply(frame), Ok(hello));
            assert!(PeerHello::decode_request(frame).is_err());
        });
    }
}

#[test]
fn either_end_refuses_what_is_not_meant_for_it() {
    assert_eq!((peer_hello().check(&answer()), answer().check(&peer_hello())), (Ok(()), Ok(())));
    let other = ClusterId(*b"another cluster!");
    for (theirs, code) in [
        (PeerHello { cluster_id: other, node_id: NodeId(9), ..peer_hello() }, ErrorCode::WrongCluster),
        (PeerHello { to_node_id: NodeId(2), ..peer_hello() }, ErrorCode::WrongNode),
        (PeerHello { node_id: NodeId(2), ..peer_hello() }, ErrorCode::WrongNode),
        (PeerHello { partition_count: 17, ..peer_hello() }, ErrorCode::PeerMismatch),
        (PeerHello { members: "1=10.0.0.1:7600", ..peer_hello() }, ErrorCode::PeerMismatch),
    ] {
        assert_eq!(theirs.check(&answer()), Err(code), "{theirs:?}");
        assert_eq!(answer().check(&theirs), Err(code), "{theirs:?}, seen from the other end");
        assert_eq!(code.retry_class(), RetryClass::Never);
    }
    let itself = PeerHello { to_node_id: NodeId(1), ..peer_hello() };
    assert_eq!(itself.check(&itself), Err(ErrorCode::WrongNode), "a node that dialled itself");
}

#[test]
fn a_refusal_answers_the_hello() {
    let (mut tables, mut out) = (TableBuilder::new(), Vec::new());
    ErrorReply::new(ErrorCode::UnknownIncarnation).encode(reply_to(Opcode::PeerHello, 0), &mut tables, &mut out);
    with_frame(&out, |frame| {
        assert_eq!(frame.inbound(), Ok(Inbound::Error(HEAD.request_id)));
        assert_eq!(ErrorReply::decode(frame).unwrap().error_code(), Some(ErrorCode::UnknownIncarnation));
    });
}

#[test]
fn numbers_that_no_node_has_are_refused() {
    // The sample has each of these once; a table stores them as they are.
    let (mut tables, mut out) = (TableBuilder::new(), Vec::new());
    let members = "m".repeat(MEMBERS_LENGTH_MAX);
    let hello = PeerHello {
        core: CoreIndex(0x0123),
        core_count: 0x0145,
        partition_count: 0x0167,
        members: &members,
        ..peer_hello()
    };
    hello.encode_request(HEAD, &mut tables, &mut out);
    let changed = |old: u16, new: u16| {
        with_frame(&out, |original| {
            let mut body = original.body.to_vec();
            let places: Vec<_> = (0..body.len() - 1).filter(|&at| body[at..at + 2] == old.to_le_bytes()).collect();
            assert_eq!(places.len(), 1, "{old:#06x} stands there once");
            body[places[0]..places[0] + 2].copy_from_slice(&new.to_le_bytes());
            let frame = corelode_net::Frame { header: original.header, body: &body };
            PeerHello::decode_request(&frame).map(|_| ()).map_err(|error| error.code())
        })
    };
    assert_eq!(changed(0x0123, 0x0144), Ok(()));
    assert_eq!(changed(0x0123, 0x0145), Err(ErrorCode::Malformed));
    assert_eq!(changed(0x0145, 0xffff), Err(ErrorCode::TooLarge));
    assert_eq!(changed(0x0167, 0xffff), Err(ErrorCode::TooLarge));
}

#[test]
fn only_a_peer_may_say_it() {
    assert_eq!(Opcode::PeerHello.role_required(), Some(Role::Peer));
}
