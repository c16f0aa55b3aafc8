//! PEER_TURN as it is written: message by message, straight into the outbound buffer.

use crate::bytes_at::{length_u32, put};
use crate::frame_writer::FrameWriter;
use crate::header::RequestHead;
use crate::ids::{BootId, PartitionId, Term};
use crate::limits::{BODY_SIZE_BYTES_MAX, ENTRY_LENGTH_MAX};
use crate::opcode::Opcode;
use crate::peer::message::{
    APPEND_SIZE_BYTES, ENTRY_HEAD_SIZE_BYTES, MESSAGE_HEAD_SIZE_BYTES, PeerAppend, PeerEntry, PeerMessage,
};
use crate::peer::turn::TURN_HEAD_SIZE_BYTES;

/// Where `message_count` stands in the body.
const MESSAGE_COUNT_OFFSET: usize = 16;
/// Where `length` stands in a message.
const LENGTH_OFFSET: usize = 4;
/// Where `entry_count` stands in an Append, its head included.
const ENTRY_COUNT_OFFSET: usize = MESSAGE_HEAD_SIZE_BYTES + 32;

// An Append of one longest entry fits a frame of its own, so that every log can be replicated.
const _: () = assert!(
    TURN_HEAD_SIZE_BYTES + MESSAGE_HEAD_SIZE_BYTES + APPEND_SIZE_BYTES + ENTRY_HEAD_SIZE_BYTES + ENTRY_LENGTH_MAX
        <= BODY_SIZE_BYTES_MAX
);

/// Writes a PEER_TURN message by message. Dropping it unfinished takes the frame away again.
///
/// ```
/// use corelode_net::peer::{PeerAppend, PeerMessage, PeerTurn, PeerTurnWriter};
/// use corelode_net::{BootId, FrameReader, LogIndex, LogPosition, MapEpoch, PartitionId, RequestHead, RequestId, Round, Term};
///
/// let append = PeerAppend {
///     term: Term(3),
///     previous: LogPosition { term: Term(2), index: LogIndex(7) },
///     committed: LogIndex(6),
///     round: Round(1),
///     is_round_awaited: false,
///     is_receipt_awaited: false,
///     is_quiet: false,
/// };
/// let mut out = Vec::new();
/// let mut turn = PeerTurnWriter::begin(&mut out, BootId(9), 1);
/// let mut entries = turn.begin_append(PartitionId(5), &append).expect("a frame begins with room");
/// assert!(entries.push_entry(Term(3), b"the eighth entry"));
/// entries.finish();
/// assert!(turn.push(PartitionId(6), &PeerMessage::TimeoutNow { term: Term(4) }));
/// turn.finish(RequestHead { request_id: RequestId(5), map_epoch: MapEpoch(0), deadline_ms: 0 });
///
/// let mut reader = FrameReader::new(corelode_net::limits::BODY_SIZE_BYTES_MAX);
/// reader.push(&out);
/// let frame = reader.next_frame().unwrap().expect("a whole frame arrived");
/// let turn = PeerTurn::decode(&frame).unwrap();
/// let partitions: Vec<_> = turn.messages().map(|(partition, _)| partition.0).collect();
/// assert_eq!(partitions, [5, 6]);
/// ```
#[derive(Debug)]
pub struct PeerTurnWriter<'a> {
    frame: FrameWriter<'a>,
    count: usize,
}

impl<'a> PeerTurnWriter<'a> {
    /// Begins a turn at the end of `out`, the `turn`-th frame from this core to that one since the process started.
    ///
    /// # Panics
    /// If `turn` is zero: they are counted from 1.
    #[must_use]
    pub fn begin(out: &'a mut Vec<u8>, boot: BootId, turn: u64) -> Self {
        assert!(turn > 0, "turns are counted from 1");
        let mut head = [0; TURN_HEAD_SIZE_BYTES];
        put(&mut head, 0, boot.0.to_le_bytes());
        put(&mut head, 8, turn.to_le_bytes());
        let mut frame = FrameWriter::begin(out);
        frame.body().extend_from_slice(&head);
        Self { frame, count: 0 }
    }

    /// Appends a message and says whether it did. `false` means that the frame has no room for it: finish this one, and
    /// begin another with it. Every message but an Append with many entries fits an empty frame.
    ///
    /// An Append that was decoded is copied whole or not at all; one that is made is
    /// [written entry by entry](Self::begin_append).
    #[must_use]
    pub fn push(&mut self, partition: PartitionId, message: &PeerMessage<'_>) -> bool {
        if let PeerMessage::Append(append, entries) = message {
            let Some(mut writer) = self.begin_append(partition, append) else { return false };
            if !entries.clone().all(|entry| writer.push_entry(entry.term, entry.payload)) {
                return false;
            }
            writer.finish();
            return true;
        }
        let plain = message.encode_plain(partition).expect("every message but an Append is plain");
        if !self.has_room(plain.bytes().len()) {
            return false;
        }
        self.frame.body().extend_from_slice(plain.bytes());
        self.count += 1;
        true
    }

    /// Begins an Append, to which entries are added one at a time; `None` if the frame has no room for one without any.
    #[must_use]
    pub fn begin_append(&mut self, partition: PartitionId, append: &PeerAppend) -> Option<PeerAppendWriter<'_, 'a>> {
        if !self.has_room(MESSAGE_HEAD_SIZE_BYTES + APPEND_SIZE_BYTES) {
            return None;
        }
        let start = self.frame.body_length();
        self.frame.body().extend_from_slice(&append.encode(partition));
        let (term_min, term_max) = (append.previous.term, append.term);
        Some(PeerAppendWriter { turn: self, start, count: 0, term_min, term_max, is_finished: false })
    }

    /// How many messages it holds.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Bytes of the body so far.
    #[must_use]
    pub fn body_length(&self) -> usize {
        self.frame.body_length()
    }

    /// Ends the frame and returns its size, bytes. Without messages it is a beat. Nobody answers it, but an error may, which
    /// is why it has a request id like any other.
    pub fn finish(mut self, head: RequestHead) -> usize {
        let count = length_u32(self.count);
        self.write_u32(MESSAGE_COUNT_OFFSET, count);
        self.frame.finish(&head.fields(Opcode::PeerTurn, 0))
    }

    fn has_room(&self, size_bytes: usize) -> bool {
        self.frame.body_length() + size_bytes <= BODY_SIZE_BYTES_MAX
    }

    /// Writes over what was left open.
    fn write_u32(&mut self, offset: usize, number: u32) {
        self.frame.body_so_far()[offset..offset + 4].copy_from_slice(&number.to_le_bytes());
    }
}

/// Writes the entries of an Append. Dropping it unfinished takes the message away again, and leaves the turn as it was.
#[derive(Debug)]
pub struct PeerAppendWriter<'w, 'a> {
    turn: &'w mut PeerTurnWriter<'a>,
    /// Where the message begins in the body.
    start: usize,
    count: usize,
    /// The term of the entry before the next. Invariant: never falls, and is at most `term_max`.
    term_min: Term,
    /// The leader's.
    term_max: Term,
    is_finished: bool,
}

impl PeerAppendWriter<'_, '_> {
    /// Adds the next entry and says whether it did. `false` means that the frame has no room for it: finish the Append with
    /// the entries that it has, or drop it if that are none, finish the frame, and go on in another. One entry always fits
    /// an Append that stands alone in its frame.
    ///
    /// # Panics
    /// If the payload is longer than [`ENTRY_LENGTH_MAX`], or the term less than that of the entry before or more than the
    /// leader's: no log has such an entry, and its receiver would refuse the whole turn.
    #[must_use]
    pub fn push_entry(&mut self, term: Term, payload: &[u8]) -> bool {
        if !self.turn.has_room(ENTRY_HEAD_SIZE_BYTES + payload.len()) {
            return false;
        }
        assert!(payload.len() <= ENTRY_LENGTH_MAX, "an entry of {} bytes", payload.len());
        let (low, high) = (self.term_min, self.term_max);
        assert!(low <= term && term <= high, "an entry of term {term} between those of {low} and {high}");
        let head = PeerEntry { term, payload }.encode_head();
        let body = self.turn.frame.body();
        body.extend_from_slice(&head);
        body.extend_from_slice(payload);
        self.term_min = term;
        self.count += 1;
        true
    }

    /// How many entries it has.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Ends the message. Without entries it is a heartbeat.
    pub fn finish(mut self) {
        let length = self.turn.frame.body_length() - self.start - MESSAGE_HEAD_SIZE_BYTES;
        self.turn.write_u32(self.start + LENGTH_OFFSET, length_u32(length));
        self.turn.write_u32(self.start + ENTRY_COUNT_OFFSET, length_u32(self.count));
        self.turn.count += 1;
        self.is_finished = true;
    }
}

impl Drop for PeerAppendWriter<'_, '_> {
    fn drop(&mut self) {
        if !self.is_finished {
            self.turn.frame.truncate_body(self.start);
        }
    }
}
