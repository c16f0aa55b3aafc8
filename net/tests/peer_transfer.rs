//! Tables on their way to another node: parts and answers are read back as they were written, and nothing else passes.

// A test fails by panicking, in its helpers too.
#![allow(clippy::unwrap_used)]

mod common;

use common::{HEAD, position, with_frame};
use corelode_net::limits::{HEADER_SIZE_BYTES, PEER_NUMBER_MAX};
use corelode_net::peer::{PeerStateHashes, PeerTransfer, PeerTransferOutcome, PeerTransferPart, PeerTransferReply};
use corelode_net::{BodyError, LogIndex, Opcode, PartitionId};
use proptest::collection::vec;
use proptest::prelude::*;

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..5, 0..=PEER_NUMBER_MAX]
}

proptest! {
    #[test]
    fn a_part_is_read_as_it_was_written(
        (transfer, partition, sequence) in any::<(u64, u16, u32)>(),
        (term, index, count) in (number(), number(), any::<u32>()),
        bytes in vec(any::<u8>(), 0..200),
    ) {
        for part in [
            PeerTransferPart::Begin { position: position(term, index), table_count: count },
            PeerTransferPart::Table { level: count, description: &bytes },
            PeerTransferPart::Piece { offset: index, bytes: &bytes },
            PeerTransferPart::End,
            PeerTransferPart::Cancel,
        ] {
            let written = PeerTransfer { transfer, partition: PartitionId(partition), sequence, part };
            let mut out = Vec::new();
            written.encode(HEAD, &mut out);
            with_frame(&out, |frame| {
                prop_assert_eq!(PeerTransfer::decode(frame), Ok(written));
                Ok(())
            })?;
        }
    }

    #[test]
    fn an_answer_is_read_as_it_was_written(
        (transfer, partition, sequence) in any::<(u64, u16, u32)>(),
        message in ".{0,40}",
    ) {
        for outcome in [
            PeerTransferOutcome::Taken,
            PeerTransferOutcome::Done,
            PeerTransferOutcome::Refused { message: &message },
            PeerTransferOutcome::Needed,
            PeerTransferOutcome::Damaged { message: &message },
        ] {
            let written = PeerTransferReply { transfer, partition: PartitionId(partition), sequence, outcome };
            let mut out = Vec::new();
            written.encode(HEAD, &mut out);
            with_frame(&out, |frame| {
                prop_assert_eq!(PeerTransferReply::decode(frame), Ok(written));
                Ok(())
            })?;
        }
    }

    #[test]
    fn state_hashes_are_read_as_they_were_written(
        (partition, first) in (any::<u16>(), number()),
        hashes in vec(any::<u64>(), 1..600),
    ) {
        let mut out = Vec::new();
        PeerStateHashes::encode(PartitionId(partition), LogIndex(first), hashes.iter().copied(), HEAD, &mut out);
        with_frame(&out, |frame| {
            let read = PeerStateHashes::decode(frame).expect("it was written so");
            prop_assert_eq!((read.partition, read.first), (PartitionId(partition), LogIndex(first)));
            prop_assert_eq!(read.hashes().map(|(_, hash)| hash).collect::<Vec<_>>(), hashes.clone());
            prop_assert!(read.hashes().map(|(index, _)| index.0).eq((first..).take(hashes.len())));
            Ok(())
        })?;
    }

    #[test]
    fn any_bytes_are_read_or_refused(body in vec(any::<u8>(), 0..80)) {
        for opcode in [Opcode::PeerTransfer, Opcode::PeerTransferReply, Opcode::PeerStateHashes] {
            let mut out = Vec::new();
            let mut frame = corelode_net::FrameWriter::begin(&mut out);
            frame.body().extend_from_slice(&body);
            frame.finish(&HEAD.fields(opcode, 0));
            with_frame(&out, |frame| {
                if let Ok(part) = PeerTransfer::decode(frame) {
                    let mut again = Vec::new();
                    part.encode(HEAD, &mut again);
                    prop_assert_eq!(&again[HEADER_SIZE_BYTES..], &body[..], "what is read is what was written");
                }
                if let Ok(reply) = PeerTransferReply::decode(frame) {
                    let mut again = Vec::new();
                    reply.encode(HEAD, &mut again);
                    prop_assert_eq!(&again[HEADER_SIZE_BYTES..], &body[..], "what is read is what was written");
                }
                if let Ok(read) = PeerStateHashes::decode(frame) {
                    let mut again = Vec::new();
                    let hashes = read.hashes().map(|(_, hash)| hash);
                    PeerStateHashes::encode(read.partition, read.first, hashes, HEAD, &mut again);
                    prop_assert_eq!(&again[HEADER_SIZE_BYTES..], &body[..], "what is read is what was written");
                }
                Ok(())
            })?;
        }
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    let mut out = Vec::new();
    let part = PeerTransferPart::Begin { position: position(PEER_NUMBER_MAX + 1, 1), table_count: 1 };
    PeerTransfer { transfer: 1, partition: PartitionId(2), sequence: 0, part }.encode(HEAD, &mut out);
    let refused = with_frame(&out, |frame| PeerTransfer::decode(frame).map(drop));
    assert!(matches!(refused, Err(BodyError::Field { .. })), "{refused:?}");
}
