//! The receipt of a request: where the server spent its time.
//!
//! A request with the flag [`Flags::RECEIPT`] is answered by a reply with that flag, whose body ends with 48 bytes more. A reply that has no
//! room for them has neither. Both ends must have negotiated [`Features::RECEIPTS`](crate::handshake::Features::RECEIPTS).

use crate::body_error::BodyError;
use crate::bytes_at::{put, u64_at};
use crate::frame::Frame;
use crate::header::{Flags, FrameHeader};
use crate::limits::{BODY_SIZE_BYTES_MAX, HEADER_SIZE_BYTES};

/// How long the stages of a request took, nanoseconds. They follow each other; a stage that a request did not go through took none.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Receipt {
    /// From its last byte in to the turn that looked at it.
    pub queue_ns: u64,
    /// Until what it waited for was there: a block, room, or another core's answer.
    pub wait_ns: u64,
    /// Until its log write began.
    pub append_ns: u64,
    /// Until that was durable.
    pub sync_ns: u64,
    /// Until other nodes had it too, or had it in memory if that was enough; zero without other nodes.
    pub quorum_ns: u64,
    /// Until the answer was given to the socket.
    pub apply_ns: u64,
}

impl Receipt {
    /// Bytes on the wire.
    pub const SIZE_BYTES: usize = 48;

    /// All stages together.
    #[must_use]
    pub fn total_ns(&self) -> u64 {
        self.queue_ns + self.wait_ns + self.append_ns + self.sync_ns + self.quorum_ns + self.apply_ns
    }

    /// Makes the request that stands at the end of `out`, from `start` on, ask for a receipt.
    ///
    /// # Panics
    /// If no whole frame stands there.
    pub fn ask(out: &mut [u8], start: usize) {
        let mut header = header_at(out, start);
        header.fields.flags = header.fields.flags.with(Flags::RECEIPT);
        out[start..start + HEADER_SIZE_BYTES].copy_from_slice(&header.encode());
    }

    /// Makes room for the receipt of the reply that stands at the end of `out`, from `start` on. Answers whether there is any: the reply has no
    /// receipt otherwise.
    ///
    /// # Panics
    /// If no whole frame stands there.
    pub fn reserve(out: &mut Vec<u8>, start: usize) -> bool {
        let mut header = header_at(out, start);
        let length = header.length as usize + Self::SIZE_BYTES;
        if length > BODY_SIZE_BYTES_MAX {
            return false;
        }
        out.resize(out.len() + Self::SIZE_BYTES, 0);
        header.length = u32::try_from(length).expect("below the limit");
        header.fields.flags = header.fields.flags.with(Flags::RECEIPT);
        seal(out, start, header);
        true
    }

    /// Writes the receipt into the room that [`reserve`](Self::reserve) made in the frame from `start` on.
    ///
    /// # Panics
    /// If no such frame stands there.
    pub fn fill(&self, out: &mut [u8], start: usize) {
        let header = header_at(out, start);
        assert!(header.fields.flags.contains(Flags::RECEIPT), "the frame has no room for a receipt");
        let end = start + HEADER_SIZE_BYTES + header.length as usize;
        out[end - Self::SIZE_BYTES..end].copy_from_slice(&self.encode());
        seal(out, start, header);
    }

    /// Takes the flag off a request. The frame returned has none.
    #[must_use]
    pub fn take_from_request<'a>(frame: &Frame<'a>) -> (bool, Frame<'a>) {
        let mut rest = *frame;
        let flags = frame.header.fields.flags;
        rest.header.fields.flags = flags.without(Flags::RECEIPT);
        (flags.contains(Flags::RECEIPT), rest)
    }

    /// Takes the receipt off a reply that has one. The frame returned has neither receipt nor flag.
    ///
    /// # Errors
    /// [`BodyError::Truncated`] if the flag is set and the body too short.
    pub fn take_from_reply<'a>(frame: &Frame<'a>) -> Result<(Option<Self>, Frame<'a>), BodyError> {
        let (has_one, mut rest) = Self::take_from_request(frame);
        if !has_one {
            return Ok((None, rest));
        }
        let Some((body, bytes)) = frame.body.split_last_chunk::<{ Self::SIZE_BYTES }>() else {
            return Err(BodyError::Truncated { needed: Self::SIZE_BYTES, found: frame.body.len() });
        };
        rest.body = body;
        let receipt = Self {
            queue_ns: u64_at(bytes, 0),
            wait_ns: u64_at(bytes, 8),
            append_ns: u64_at(bytes, 16),
            sync_ns: u64_at(bytes, 24),
            quorum_ns: u64_at(bytes, 32),
            apply_ns: u64_at(bytes, 40),
        };
        Ok((Some(receipt), rest))
    }

    fn encode(&self) -> [u8; Self::SIZE_BYTES] {
        let mut bytes = [0; Self::SIZE_BYTES];
        put(&mut bytes, 0, self.queue_ns.to_le_bytes());
        put(&mut bytes, 8, self.wait_ns.to_le_bytes());
        put(&mut bytes, 16, self.append_ns.to_le_bytes());
        put(&mut bytes, 24, self.sync_ns.to_le_bytes());
        put(&mut bytes, 32, self.quorum_ns.to_le_bytes());
        put(&mut bytes, 40, self.apply_ns.to_le_bytes());
        bytes
    }
}

fn header_at(out: &[u8], start: usize) -> FrameHeader {
    let bytes = out[start..].first_chunk().expect("a frame has a header");
    FrameHeader::decode(bytes, BODY_SIZE_BYTES_MAX).expect("the frame was written by us")
}

/// Writes the header of the frame from `start` on, with the checksum of the body that stands there.
fn seal(out: &mut [u8], start: usize, header: FrameHeader) {
    let body_start = start + HEADER_SIZE_BYTES;
    let body_crc = crc32fast::hash(&out[body_start..body_start + header.length as usize]);
    let header = FrameHeader { body_crc, ..header };
    out[start..body_start].copy_from_slice(&header.encode());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::{Durability, GetRequest, ReadLevel, WriteReply};
    use crate::frame_reader::FrameReader;
    use crate::header::{ReplyHead, RequestHead};
    use crate::ids::{MapEpoch, RequestId, Revision};
    use crate::opcode::Opcode;
    use crate::slot::slot_of;

    fn reply() -> Vec<u8> {
        let head =
            ReplyHead { request_id: RequestId(7), opcode: Opcode::Put.to_wire(), target: 0, map_epoch: MapEpoch(1) };
        let mut out = vec![0xaa; 5];
        WriteReply { revision: Revision(9), durability: Durability::Synced }.encode(head, &mut out);
        out
    }

    fn with_frame<T>(bytes: &[u8], look: impl FnOnce(&Frame<'_>) -> T) -> T {
        let mut reader = FrameReader::new(BODY_SIZE_BYTES_MAX);
        reader.push(bytes);
        let frame = reader.next_frame().expect("both checksums hold").expect("it is whole");
        look(&frame)
    }

    #[test]
    fn a_reply_keeps_its_meaning_and_gets_a_receipt() {
        let receipt =
            Receipt { queue_ns: 1, wait_ns: 2, append_ns: 3, sync_ns: 4, quorum_ns: 5, apply_ns: u64::MAX / 2 };
        let mut out = reply();
        let plain = out.clone();
        assert!(Receipt::reserve(&mut out, 5));
        assert_eq!(out.len(), plain.len() + Receipt::SIZE_BYTES);
        with_frame(&out[5..], |frame| {
            assert_eq!(Receipt::take_from_reply(frame).expect("it has one").0, Some(Receipt::default()));
        });
        receipt.fill(&mut out, 5);
        with_frame(&out[5..], |frame| {
            let (found, rest) = Receipt::take_from_reply(frame).expect("it has one");
            assert_eq!(found, Some(receipt));
            let written = WriteReply::decode(&rest, Opcode::Put).expect("as before");
            assert_eq!(written.revision, Revision(9));
        });
        with_frame(&plain[5..], |frame| {
            assert_eq!(Receipt::take_from_reply(frame).expect("it has none").0, None);
        });
    }

    #[test]
    fn a_request_asks_by_its_flag() {
        let head = RequestHead { request_id: RequestId(7), map_epoch: MapEpoch(1), deadline_ms: 0 };
        let mut out = Vec::new();
        GetRequest { slot: slot_of(b"key"), key: b"key", level: ReadLevel::Linearizable }.encode(head, &mut out);
        Receipt::ask(&mut out, 0);
        with_frame(&out, |frame| {
            assert!(frame.request().is_err(), "whoever does not know the flag refuses it");
            let (asks, rest) = Receipt::take_from_request(frame);
            assert!(asks);
            assert_eq!(GetRequest::decode(&rest).expect("as before").key, b"key");
        });
    }

    #[test]
    fn a_reply_without_room_has_no_receipt_and_a_cut_one_is_an_error() {
        let mut out = reply();
        let mut header = header_at(&out, 5);
        header.length = u32::try_from(BODY_SIZE_BYTES_MAX).expect("32 bits");
        out.resize(5 + HEADER_SIZE_BYTES + BODY_SIZE_BYTES_MAX, 0);
        seal(&mut out, 5, header);
        let length = out.len();
        assert!(!Receipt::reserve(&mut out, 5));
        assert_eq!(out.len(), length);
        let mut short = reply();
        let mut header = header_at(&short, 5);
        header.fields.flags = header.fields.flags.with(Flags::RECEIPT);
        seal(&mut short, 5, header);
        with_frame(&short[5..], |frame| assert!(Receipt::take_from_reply(frame).is_err()));
    }
}
