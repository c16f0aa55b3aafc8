//! Records: what batches are made of. All kinds are in version 1, also those that replication and moves between logs bring into use.

use crate::bytes_io::{ByteSink, FieldReader, length_u32};
use crate::ids::{Generation, LogId, LogIndex, LogPosition, StreamEpoch, StreamId, Term};

/// The fixed part of a record: kind (1 byte), three zero bytes, length of the body (4 bytes).
pub(crate) const RECORD_HEADER_LENGTH: usize = 8;
/// What an entry takes in a batch beside its payload.
pub(crate) const ENTRY_RECORD_OVERHEAD: usize = RECORD_HEADER_LENGTH + ENTRY_HEAD_LENGTH;
const ENTRY_HEAD_LENGTH: usize = 32;

const KIND_APPEND: u8 = 1;
const KIND_REWRITE: u8 = 2;
const KIND_TRUNCATE: u8 = 3;
const KIND_HARD_STATE: u8 = 4;
const KIND_ATTACH: u8 = 5;
const KIND_DETACH: u8 = 6;
const KIND_STREAM_CHECKPOINT: u8 = 7;
const KIND_SEGMENT_HEADER: u8 = 8;
const KIND_SUCCESSOR: u8 = 9;

/// What must survive of a Raft group beside its entries.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct HardState {
    /// The newest term this replica has seen.
    pub term: Term,
    /// The node it voted for in this term; zero for nobody.
    pub vote: u64,
}

/// Everything a log knows of a stream beside its entries: written into each segment's checkpoint and into ATTACH.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamState {
    /// The stream.
    pub stream: StreamId,
    /// How often the stream has been attached to a log.
    pub epoch: StreamEpoch,
    /// Term and vote.
    pub hard_state: HardState,
    /// Entries up to this one are gone: the stream's first entry is the next.
    pub truncated: LogPosition,
    /// Entries up to this one are in tables.
    pub flushed: LogPosition,
    /// The stream's last entry.
    pub last: LogPosition,
    /// The group's committed membership, opaque to the log.
    pub membership: Vec<u8>,
}

impl StreamState {
    /// A stream that nothing has been written to.
    #[must_use]
    pub fn new(stream: StreamId, epoch: StreamEpoch) -> Self {
        Self {
            stream,
            epoch,
            hard_state: HardState::default(),
            truncated: LogPosition::default(),
            flushed: LogPosition::default(),
            last: LogPosition::default(),
            membership: Vec::new(),
        }
    }

    /// Entries up to here may be dropped from the log: flushed, and truncated by Raft.
    #[must_use]
    pub fn droppable_through(&self) -> LogIndex {
        self.flushed.index.min(self.truncated.index)
    }
}

/// A record as it is read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Record<'a> {
    /// An entry; cuts the stream's suffix from its index on.
    Append(EntryRecord<'a>),
    /// An old entry at a new place; never cuts anything.
    Rewrite(EntryRecord<'a>),
    /// Entries up to `through` are no longer needed by the group.
    Truncate { stream: StreamId, epoch: StreamEpoch, through: LogPosition },
    /// The group's new term and vote.
    HardState { stream: StreamId, epoch: StreamEpoch, hard_state: HardState },
    /// The stream lives in this log from here on, if no log has it at a higher epoch.
    Attach(StreamState),
    /// The stream no longer lives in this log.
    Detach { stream: StreamId, epoch: StreamEpoch },
    /// In a checkpoint: a stream as it stood when the segment was opened.
    StreamCheckpoint(StreamState),
    /// In a checkpoint, first: which segment this is.
    SegmentHeader { log: LogId, generation: Generation, size_bytes: u64, incarnation: u64 },
    /// Last in a segment: the checkpoint of `generation` is durable, so that its segment is missed if it is gone.
    Successor { generation: Generation },
}

/// An entry of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct EntryRecord<'a> {
    pub(crate) stream: StreamId,
    pub(crate) epoch: StreamEpoch,
    pub(crate) position: LogPosition,
    pub(crate) payload: &'a [u8],
}

impl Record<'_> {
    /// Appends the record's bytes to `sink`.
    pub(crate) fn encode(&self, sink: &mut impl ByteSink) {
        match self {
            Self::Append(entry) => entry.encode(KIND_APPEND, sink),
            Self::Rewrite(entry) => entry.encode(KIND_REWRITE, sink),
            Self::Truncate { stream, epoch, through } => {
                put_header(sink, KIND_TRUNCATE, ENTRY_HEAD_LENGTH);
                put_stream(sink, *stream, *epoch);
                put_position(sink, *through);
            }
            Self::HardState { stream, epoch, hard_state } => {
                put_header(sink, KIND_HARD_STATE, ENTRY_HEAD_LENGTH);
                put_stream(sink, *stream, *epoch);
                put_hard_state(sink, *hard_state);
            }
            Self::Attach(state) => put_state(sink, KIND_ATTACH, state),
            Self::StreamCheckpoint(state) => put_state(sink, KIND_STREAM_CHECKPOINT, state),
            Self::Detach { stream, epoch } => {
                put_header(sink, KIND_DETACH, 16);
                put_stream(sink, *stream, *epoch);
            }
            Self::SegmentHeader { log, generation, size_bytes, incarnation } => {
                put_header(sink, KIND_SEGMENT_HEADER, 32);
                sink.put_u64(log.0);
                sink.put_u64(generation.0);
                sink.put_u64(*size_bytes);
                sink.put_u64(*incarnation);
            }
            Self::Successor { generation } => {
                put_header(sink, KIND_SUCCESSOR, 8);
                sink.put_u64(generation.0);
            }
        }
    }
}

impl EntryRecord<'_> {
    fn encode(&self, kind: u8, sink: &mut impl ByteSink) {
        put_header(sink, kind, ENTRY_HEAD_LENGTH + self.payload.len());
        put_stream(sink, self.stream, self.epoch);
        put_position(sink, self.position);
        sink.put(self.payload);
    }
}

fn put_header(sink: &mut impl ByteSink, kind: u8, body_length: usize) {
    sink.put(&[kind, 0, 0, 0]);
    sink.put_u32(length_u32(body_length));
}

fn put_stream(sink: &mut impl ByteSink, stream: StreamId, epoch: StreamEpoch) {
    sink.put_u64(stream.0);
    sink.put_u32(epoch.0);
    sink.put_u32(0);
}

fn put_position(sink: &mut impl ByteSink, position: LogPosition) {
    sink.put_u64(position.term.0);
    sink.put_u64(position.index.0);
}

fn put_hard_state(sink: &mut impl ByteSink, hard_state: HardState) {
    sink.put_u64(hard_state.term.0);
    sink.put_u64(hard_state.vote);
}

fn put_state(sink: &mut impl ByteSink, kind: u8, state: &StreamState) {
    const FIXED_LENGTH: usize = 16 + 16 + 3 * 16;
    put_header(sink, kind, FIXED_LENGTH + state.membership.len());
    put_stream(sink, state.stream, state.epoch);
    put_hard_state(sink, state.hard_state);
    put_position(sink, state.truncated);
    put_position(sink, state.flushed);
    put_position(sink, state.last);
    sink.put(&state.membership);
}

/// Walks over the records of a payload whose checksum held. `None` in place of a record says that it cannot be read:
/// an unknown kind, a length beyond the payload, a field that makes no sense. Nothing follows such an item.
pub(crate) struct Records<'a> {
    rest: FieldReader<'a>,
    failed: bool,
}

impl<'a> Records<'a> {
    pub(crate) fn new(payload: &'a [u8]) -> Self {
        Self { rest: FieldReader::new(payload), failed: false }
    }

    fn decode_next(&mut self) -> Option<Record<'a>> {
        let kind = self.rest.u8()?;
        if self.rest.bytes(3)? != [0; 3] {
            return None;
        }
        let mut body = FieldReader::new(self.rest.bytes_with_length()?);
        let record = match kind {
            KIND_APPEND => Record::Append(read_entry(&mut body)?),
            KIND_REWRITE => Record::Rewrite(read_entry(&mut body)?),
            KIND_TRUNCATE => {
                let (stream, epoch) = read_stream(&mut body)?;
                Record::Truncate { stream, epoch, through: read_position(&mut body)? }
            }
            KIND_HARD_STATE => {
                let (stream, epoch) = read_stream(&mut body)?;
                Record::HardState { stream, epoch, hard_state: read_hard_state(&mut body)? }
            }
            KIND_ATTACH => Record::Attach(read_state(&mut body)?),
            KIND_STREAM_CHECKPOINT => Record::StreamCheckpoint(read_state(&mut body)?),
            KIND_DETACH => {
                let (stream, epoch) = read_stream(&mut body)?;
                Record::Detach { stream, epoch }
            }
            KIND_SEGMENT_HEADER => {
                let (log, generation) = (LogId(body.u64()?), Generation(body.u64()?));
                Record::SegmentHeader { log, generation, size_bytes: body.u64()?, incarnation: body.u64()? }
            }
            KIND_SUCCESSOR => Record::Successor { generation: Generation(body.u64()?) },
            _ => return None,
        };
        body.is_empty().then_some(record)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Option<Record<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.rest.is_empty() {
            return None;
        }
        let record = self.decode_next();
        self.failed = record.is_none();
        Some(record)
    }
}

fn read_stream(body: &mut FieldReader<'_>) -> Option<(StreamId, StreamEpoch)> {
    let stream = StreamId(body.u64()?);
    let epoch = StreamEpoch(body.u32()?);
    (body.u32()? == 0).then_some((stream, epoch))
}

fn read_position(body: &mut FieldReader<'_>) -> Option<LogPosition> {
    Some(LogPosition { term: Term(body.u64()?), index: LogIndex(body.u64()?) })
}

fn read_hard_state(body: &mut FieldReader<'_>) -> Option<HardState> {
    Some(HardState { term: Term(body.u64()?), vote: body.u64()? })
}

fn read_entry<'a>(body: &mut FieldReader<'a>) -> Option<EntryRecord<'a>> {
    let (stream, epoch) = read_stream(body)?;
    let position = read_position(body)?;
    Some(EntryRecord { stream, epoch, position, payload: body.rest() })
}

fn read_state(body: &mut FieldReader<'_>) -> Option<StreamState> {
    let (stream, epoch) = read_stream(body)?;
    Some(StreamState {
        stream,
        epoch,
        hard_state: read_hard_state(body)?,
        truncated: read_position(body)?,
        flushed: read_position(body)?,
        last: read_position(body)?,
        membership: body.rest().to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(term: u64, index: u64) -> LogPosition {
        LogPosition { term: Term(term), index: LogIndex(index) }
    }

    fn one_of_each() -> Vec<Record<'static>> {
        let state = StreamState {
            stream: StreamId(5),
            epoch: StreamEpoch(2),
            hard_state: HardState { term: Term(9), vote: 3 },
            truncated: position(1, 10),
            flushed: position(2, 20),
            last: position(3, 30),
            membership: b"members".to_vec(),
        };
        let entry =
            EntryRecord { stream: StreamId(5), epoch: StreamEpoch(2), position: position(3, 31), payload: b"payload" };
        vec![
            Record::SegmentHeader { log: LogId(1), generation: Generation(4), size_bytes: 1 << 20, incarnation: 77 },
            Record::Successor { generation: Generation(5) },
            Record::StreamCheckpoint(state.clone()),
            Record::Append(entry),
            Record::Rewrite(entry),
            Record::Truncate { stream: StreamId(5), epoch: StreamEpoch(2), through: position(2, 15) },
            Record::HardState {
                stream: StreamId(5),
                epoch: StreamEpoch(2),
                hard_state: HardState { term: Term(10), vote: 0 },
            },
            Record::Attach(state),
            Record::Detach { stream: StreamId(5), epoch: StreamEpoch(2) },
        ]
    }

    #[test]
    fn every_kind_round_trips() {
        let records = one_of_each();
        let mut bytes = Vec::new();
        for record in &records {
            record.encode(&mut bytes);
        }
        let read: Vec<_> = Records::new(&bytes).map(|record| record.expect("valid")).collect();
        assert_eq!(read, records);
    }

    #[test]
    fn a_cut_payload_ends_with_an_unreadable_record_and_never_panics() {
        let mut bytes = Vec::new();
        for record in &one_of_each() {
            record.encode(&mut bytes);
        }
        let whole = Records::new(&bytes).count();
        for length in 0..bytes.len() {
            let read: Vec<_> = Records::new(&bytes[..length]).collect();
            assert!(read.len() <= whole);
            assert!(read.iter().rev().skip(1).all(Option::is_some));
        }
    }
}
