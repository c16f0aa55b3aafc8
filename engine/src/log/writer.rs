//! The writing end of a core's log: gathers records into batches, and hands out one write at a time.
//!
//! Owned by the shard, synchronous, without I/O of its own: [`start_write`](LogWriter::start_write) gives the write that is
//! due as a value, the driver carries it out, and [`finish_write`](LogWriter::finish_write) learns what became of it. While
//! a write is in flight the next batch gathers by itself; no timer builds a batch.
//!
//! Bounds: one write in flight; a batch of at most 2 MiB; the bytes waiting are bounded by the caller, who asks
//! [`pending_bytes`](LogWriter::pending_bytes) before it proposes; segments by [`LogOptions::segments_max`].
//!
//! Failure: a failed write poisons the log. Nothing more is written or acknowledged; the node must exit.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};

use crate::bugs::{self, Bug};
use crate::env::LogMode;
use crate::error::{Error, Result};
use crate::ids::{BatchSequence, Generation, LogId, LogIndex, LogPosition, StreamEpoch, StreamId};
use crate::io_buffer::IoBuffer;
use crate::limits::{LOG_BLOCK_SIZE_BYTES, LOG_WRITE_SIZE_BYTES_MAX};

use super::batch::{
    BATCH_HEADER_LENGTH, BATCH_PAYLOAD_LENGTH_MAX, BatchHeader, FLAG_CHECKPOINT, FLAG_MARKER, SegmentIdentity,
};
use super::options::{LogOptions, SEGMENT_SIZE_BYTES_MIN};
use super::record::{ENTRY_RECORD_OVERHEAD, EntryRecord, HardState, Record, StreamState};
use super::segment::SegmentFile;
use super::segment_pool::{LiveSegment, SegmentBound, SegmentPool};

/// What a segment keeps free for the batch that names its successor, bytes.
const SUCCESSOR_SIZE_BYTES: u64 = LOG_BLOCK_SIZE_BYTES as u64;

/// A write that the driver must carry out now: all of `buffer` at `offset`, then a sync of the file's data if `mode` says so.
#[derive(Debug)]
pub struct LogWrite<F> {
    /// The segment.
    pub file: F,
    /// The segment's path, for messages.
    pub path: PathBuf,
    /// Where in the segment, bytes; a multiple of 4,096.
    pub offset: u64,
    /// What to write; whole blocks of 4,096 bytes.
    pub buffer: IoBuffer,
    /// Whether a sync must follow the write.
    pub mode: LogMode,
}

/// What has become durable of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durable {
    /// Its entries.
    Entries {
        /// The stream.
        stream: StreamId,
        /// Its last durable entry.
        through: LogPosition,
    },
    /// All that had been given to the log when [`LogWriter::report_when_durable`] was asked for this.
    Token {
        /// The stream.
        stream: StreamId,
        /// What was asked with.
        token: u64,
    },
}

/// What a log has done since it was opened, for reports.
#[derive(Clone, Copy, Default, Debug)]
pub struct LogCounters {
    /// Batches written.
    pub batches: u64,
    /// Entries written.
    pub entries: u64,
    /// Bytes written, headers and padding included.
    pub bytes: u64,
    /// Bytes of padding in those.
    pub padding_bytes: u64,
    /// Segments opened.
    pub segments_opened: u64,
    /// Times that entries were written again so that the oldest segment need not be kept for them.
    pub relocations: u64,
    /// Segments opened in a file that had been one before.
    pub segments_recycled: u64,
    /// Markers written.
    pub markers: u64,
}

/// Where a log stands when its writer takes over from recovery.
#[derive(Debug)]
pub(crate) struct LogStart<F> {
    pub(crate) log: LogId,
    /// The data directory's, which every segment names.
    pub(crate) incarnation: u64,
    pub(crate) mode: LogMode,
    pub(crate) live: VecDeque<LiveSegment<F>>,
    /// Where the newest live segment ends.
    pub(crate) tail: Option<SegmentTail>,
    pub(crate) ready: VecDeque<SegmentFile<F>>,
    pub(crate) streams: Vec<StreamState>,
    pub(crate) generation_next: Generation,
    pub(crate) sequence_next: BatchSequence,
    pub(crate) segment_number_next: u64,
}

/// Where the batches of a segment end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SegmentTail {
    pub(crate) identity: SegmentIdentity,
    pub(crate) offset: u64,
}

#[derive(Debug)]
struct Stream {
    /// As of the last batch handed out: what a checkpoint says.
    state: StreamState,
    /// The epoch of records given from now on, perhaps of an ATTACH that is not in a batch handed out yet.
    epoch: StreamEpoch,
    /// Term and vote as they were given last, perhaps not yet in a batch handed out.
    hard_state: HardState,
    /// The last entry given to [`LogWriter::append`], perhaps not yet in a batch handed out.
    appended: LogPosition,
    /// Whether the batch with its ATTACH has been handed out: from then on checkpoints speak of it.
    attached: bool,
}

impl Stream {
    fn attached(state: StreamState) -> Self {
        Self { epoch: state.epoch, hard_state: state.hard_state, appended: state.last, state, attached: true }
    }
}

#[derive(Debug)]
enum Change {
    Last(LogPosition),
    Rewritten(LogPosition),
    /// Of the stream's entries in the segment of this generation those behind `kept` were rewritten.
    Relocated {
        generation: Generation,
        kept: LogIndex,
    },
    HardState(HardState),
    Truncated(LogPosition),
    Attached(StreamState),
    Detached,
    Token(u64),
}

#[derive(Debug, Default)]
struct Batch {
    /// The header's place and the records behind it.
    buffer: IoBuffer,
    record_count: u32,
    entry_count: u64,
    flags: u16,
    changes: Vec<(StreamId, Change)>,
}

#[derive(Debug)]
enum InFlight<F> {
    Records {
        sequence: BatchSequence,
        length: u64,
        durable: Vec<Durable>,
        /// What older segments need not be kept for once this is durable.
        released: Vec<Released>,
    },
    Checkpoint {
        sequence: BatchSequence,
        length: u64,
        segment: OpenSegment<F>,
    },
    Successor,
}

/// What older segments need not be kept for.
#[derive(Debug)]
enum Released {
    /// The stream: it was attached anew.
    All(StreamId),
    /// The stream's entries behind `kept` in the segment of this generation.
    Behind { stream: StreamId, generation: Generation, kept: LogIndex },
}

#[derive(Debug)]
struct OpenSegment<F> {
    file: SegmentFile<F>,
    identity: SegmentIdentity,
    /// Where the next batch goes, bytes.
    offset: u64,
}

/// The writing end of a log.
#[derive(Debug)]
pub struct LogWriter<F> {
    log: LogId,
    incarnation: u64,
    mode: LogMode,
    options: LogOptions,
    streams: BTreeMap<StreamId, Stream>,
    /// Streams whose entries are being written here, before their ATTACH.
    staged: BTreeSet<StreamId>,
    /// Streams with entries on their way from the segment of this generation to the newest.
    relocating: BTreeSet<(StreamId, Generation)>,
    current: Option<OpenSegment<F>>,
    /// Until the first segment is opened: the newest one of the process before.
    predecessor: Option<OpenSegment<F>>,
    /// A segment that has yet to name its successor, which is the current one, and the sequence number that would stand next in it.
    unlinked: Option<(OpenSegment<F>, BatchSequence)>,
    /// Invariant: the current segment, if any, is the newest live one.
    segments: SegmentPool<F>,
    /// Batches that gather; the last one is being filled.
    pending: VecDeque<Batch>,
    pending_bytes: usize,
    in_flight: Option<InFlight<F>>,
    spare_buffer: Option<IoBuffer>,
    generation_next: Generation,
    sequence_next: BatchSequence,
    durable_through: BatchSequence,
    last_was_marker: bool,
    poisoned: bool,
    salt_seed: u64,
    counters: LogCounters,
}

impl<F: Clone> LogWriter<F> {
    /// Takes over from recovery. `salt_seed` is random and unknown to users.
    ///
    /// # Panics
    /// If the options' sizes do not fit the format.
    pub(crate) fn new(start: LogStart<F>, options: LogOptions, salt_seed: u64) -> Self {
        assert!(options.segment_size_bytes.is_multiple_of(LOG_BLOCK_SIZE_BYTES as u64), "segments are whole blocks");
        assert!(options.segment_size_bytes >= SEGMENT_SIZE_BYTES_MIN, "a segment holds a checkpoint and a batch");
        let newest = start.live.back().map(|segment| segment.file.clone());
        let predecessor = newest.zip(start.tail).map(|(file, tail)| OpenSegment {
            file,
            identity: tail.identity,
            offset: tail.offset,
        });
        let streams = start.streams.into_iter().map(|state| (state.stream, Stream::attached(state))).collect();
        Self {
            log: start.log,
            incarnation: start.incarnation,
            mode: start.mode,
            options,
            streams,
            current: None,
            predecessor,
            unlinked: None,
            segments: SegmentPool::new(options, start.live, start.ready, start.segment_number_next),
            staged: BTreeSet::new(),
            relocating: BTreeSet::new(),
            pending: VecDeque::new(),
            pending_bytes: 0,
            in_flight: None,
            spare_buffer: None,
            generation_next: start.generation_next,
            sequence_next: start.sequence_next,
            durable_through: BatchSequence(start.sequence_next.0 - 1),
            last_was_marker: false,
            poisoned: false,
            salt_seed,
            counters: LogCounters::default(),
        }
    }

    /// The log's identity.
    #[must_use]
    pub fn log(&self) -> LogId {
        self.log
    }

    /// What was done so far.
    #[must_use]
    pub fn counters(&self) -> LogCounters {
        self.counters
    }

    /// Bytes that wait for a write, the one in flight not included.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Segments that hold records which may be needed.
    #[must_use]
    pub fn live_segment_count(&self) -> usize {
        self.segments.live().len()
    }

    /// Whether a write failed. The log acknowledges nothing more.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    /// Whether records or a write wait.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.in_flight.is_none() && self.unlinked.is_none()
    }

    /// Whether records wait for a segment that maintenance has yet to make ready, or for a flush to free one.
    #[must_use]
    pub fn is_waiting_for_segment(&self) -> bool {
        let is_due = self.in_flight.is_none()
            && self.unlinked.is_none()
            && self.pending.front().is_some_and(|batch| !self.fits(batch));
        is_due && !self.segments.has_ready(self.segment_size_needed())
    }

    /// The state of an attached stream, as of the batches handed out.
    #[must_use]
    pub fn stream(&self, stream: StreamId) -> Option<&StreamState> {
        self.streams.get(&stream).map(|stream| &stream.state)
    }

    /// The streams whose unflushed entries keep the oldest segment from being recycled, with the last entry that each has there. None if it is
    /// the current one.
    pub fn streams_pinning_oldest_segment(&self) -> impl Iterator<Item = (StreamId, LogIndex)> {
        let live = self.segments.live();
        let oldest = live.front().filter(|_| live.len() > 1);
        let entries = oldest.into_iter().flat_map(|segment| &segment.last_entries);
        entries
            .map(|(&stream, &last)| (stream, last))
            .filter(|&(stream, last)| pins(&self.streams, &self.staged, stream, last))
    }

    /// Attaches a stream: its entries and state live in this log from now on.
    ///
    /// # Panics
    /// If it is attached already.
    pub fn attach(&mut self, state: StreamState) {
        let stream = state.stream;
        let tracked =
            Stream { state: StreamState::new(stream, state.epoch), attached: false, ..Stream::attached(state.clone()) };
        assert!(self.streams.insert(stream, tracked).is_none(), "stream {stream} is attached already");
        self.push(&Record::Attach(state.clone()), stream, Change::Attached(state));
    }

    /// Begins a stream anew behind `through`: what another replica sent, durably, takes the place of all its entries.
    ///
    /// # Panics
    /// If the stream is not attached.
    pub fn reset(&mut self, stream: StreamId, through: LogPosition) {
        let tracked = self.streams.get_mut(&stream).unwrap_or_else(|| panic!("stream {stream} is not attached"));
        tracked.epoch = tracked.epoch.next();
        tracked.appended = through;
        let state = StreamState {
            epoch: tracked.epoch,
            hard_state: tracked.hard_state,
            truncated: through,
            flushed: through,
            last: through,
            ..tracked.state.clone()
        };
        self.push(&Record::Attach(state.clone()), stream, Change::Attached(state));
    }

    /// Detaches a stream: another log has it at a higher epoch, durably.
    pub fn detach(&mut self, stream: StreamId, epoch: StreamEpoch) {
        self.push(&Record::Detach { stream, epoch }, stream, Change::Detached);
    }

    /// Detaches every stream but `owned`: others have them at higher epochs, durably.
    pub(crate) fn detach_others(&mut self, owned: &[StreamId]) {
        let foreign = self.streams.values().filter(|tracked| !owned.contains(&tracked.state.stream));
        let foreign: Vec<_> = foreign.map(|tracked| (tracked.state.stream, tracked.state.epoch)).collect();
        for (stream, epoch) in foreign {
            self.detach(stream, epoch);
        }
    }

    /// Forgets a stream that recovery found here at an epoch that does not count, because it is about to be attached anew.
    pub(crate) fn drop_stale(&mut self, stream: StreamId) {
        self.streams.remove(&stream);
    }

    /// Appends an entry. Its index follows the stream's last one, or cuts a suffix that a newer term replaces.
    ///
    /// # Panics
    /// If the stream is not attached, the entry leaves a gap, or the payload is longer than
    /// [`ENTRY_SIZE_BYTES_MAX`](crate::limits::ENTRY_SIZE_BYTES_MAX): callers bound what they propose.
    pub fn append(&mut self, stream: StreamId, position: LogPosition, payload: &[u8]) {
        let tracked = self.streams.get_mut(&stream).unwrap_or_else(|| panic!("stream {stream} is not attached"));
        assert!(position.index.0 >= 1 && position.index.0 <= tracked.appended.index.0 + 1, "a gap before {position:?}");
        assert!(payload.len() <= crate::limits::ENTRY_SIZE_BYTES_MAX, "an entry of {} bytes", payload.len());
        tracked.appended = position;
        let epoch = tracked.epoch;
        let record = Record::Append(EntryRecord { stream, epoch, position, payload });
        self.push_sized(&record, ENTRY_RECORD_OVERHEAD + payload.len(), stream, Change::Last(position));
        self.pending.back_mut().expect("just pushed").entry_count += 1;
    }

    /// Writes an entry of a stream that is about to be attached here at `epoch`, or relocates an old one; cuts nothing.
    pub fn rewrite(&mut self, stream: StreamId, epoch: StreamEpoch, position: LogPosition, payload: &[u8]) {
        if !self.streams.contains_key(&stream) {
            self.staged.insert(stream);
        }
        let record = Record::Rewrite(EntryRecord { stream, epoch, position, payload });
        self.push_sized(&record, ENTRY_RECORD_OVERHEAD + payload.len(), stream, Change::Rewritten(position));
    }

    /// Whether entries of a stream are on their way out of the oldest segment already.
    pub(crate) fn is_relocating(&self, stream: StreamId) -> bool {
        let oldest = self.segments.live().front();
        oldest.is_some_and(|segment| self.relocating.contains(&(stream, segment.generation)))
    }

    /// Whether something waits to be written that lets old segments go: entries on their way to the newest, or a stream that begins anew.
    pub(crate) fn is_release_pending(&self) -> bool {
        let begins_anew = |tracked: &Stream| tracked.attached && tracked.epoch != tracked.state.epoch;
        !self.relocating.is_empty() || self.streams.values().any(begins_anew)
    }

    /// Writes entries again that stand in the oldest segment and cannot be flushed yet, so that it need not be kept for them: those of `stream` behind `kept`.
    pub(crate) fn relocate<'a>(
        &mut self,
        stream: StreamId,
        kept: LogIndex,
        entries: impl Iterator<Item = (LogPosition, &'a [u8])>,
    ) {
        let Some(generation) = self.segments.live().front().map(|segment| segment.generation) else { return };
        let epoch = self.epoch(stream);
        for (position, payload) in entries {
            let record = Record::Rewrite(EntryRecord { stream, epoch, position, payload });
            self.push_sized(&record, ENTRY_RECORD_OVERHEAD + payload.len(), stream, Change::Rewritten(position));
        }
        if let Some(batch) = self.pending.back_mut() {
            batch.changes.push((stream, Change::Relocated { generation, kept }));
            self.relocating.insert((stream, generation));
            self.counters.relocations += 1;
        }
    }

    /// Records a group's new term and vote.
    ///
    /// # Panics
    /// If the stream is not attached.
    pub fn set_hard_state(&mut self, stream: StreamId, hard_state: HardState) {
        let epoch = self.epoch(stream);
        self.streams.get_mut(&stream).expect("asked for its epoch").hard_state = hard_state;
        self.push(&Record::HardState { stream, epoch, hard_state }, stream, Change::HardState(hard_state));
    }

    /// Records that the group needs no entries up to `through` any more.
    ///
    /// # Panics
    /// If the stream is not attached.
    pub fn truncate(&mut self, stream: StreamId, through: LogPosition) {
        let epoch = self.epoch(stream);
        self.push(&Record::Truncate { stream, epoch, through }, stream, Change::Truncated(through));
    }

    /// Asks that `token` be [reported](Durable::Token) once all that was given to the log so far is durable. Answers `false` if it is already.
    #[must_use]
    pub fn report_when_durable(&mut self, stream: StreamId, token: u64) -> bool {
        if let Some(batch) = self.pending.back_mut() {
            batch.changes.push((stream, Change::Token(token)));
            return true;
        }
        match &mut self.in_flight {
            Some(InFlight::Records { durable, .. }) => {
                durable.push(Durable::Token { stream, token });
                true
            }
            _ => false,
        }
    }

    /// Learns that entries up to `through` are in tables, durably, with the manifest that says so. Frees segments.
    pub fn flushed(&mut self, stream: StreamId, through: LogPosition) {
        if let Some(tracked) = self.streams.get_mut(&stream) {
            assert!(through.index >= tracked.state.flushed.index, "a flush never goes back");
            tracked.state.flushed = through;
        }
        self.release_segments();
    }

    /// As [`flushed`](Self::flushed), for a group whose only replica is this one: nobody needs the entries any more, so that they are
    /// truncated too, which the next checkpoint says.
    pub fn forget(&mut self, stream: StreamId, through: LogPosition) {
        if let Some(tracked) = self.streams.get_mut(&stream) {
            tracked.state.truncated = through;
        }
        self.flushed(stream, through);
    }

    /// Asks for a marker, so that the last batch is known durable. Does nothing while records wait or right after a marker.
    pub fn mark(&mut self) {
        if self.is_idle() && !self.last_was_marker && self.durable_through.0 > 0 && self.current.is_some() {
            self.pending.push_back(Batch { buffer: empty_batch_buffer(None), flags: FLAG_MARKER, ..Batch::default() });
            self.pending_bytes += BATCH_HEADER_LENGTH;
        }
    }

    /// The number and the length in bytes of a segment file that should be made ready now, if one should. The caller makes it and calls
    /// [`add_segment`](Self::add_segment), or [`segment_failed`](Self::segment_failed).
    pub fn next_segment_to_prepare(&mut self, bound: SegmentBound) -> Option<(u64, u64)> {
        // A log that was full when its process ended takes one more, whose checkpoint frees the oldest; but not before flushes made that
        // possible, or a process that is killed at each start would leave a segment each time.
        let is_freed_by_another = self.current.is_none() && self.streams_pinning_oldest_segment().next().is_none();
        let size_bytes = self.segment_size_needed();
        let number = self.segments.next_to_prepare(size_bytes, bound, is_freed_by_another)?;
        Some((number, size_bytes))
    }

    /// The length of a segment that holds a checkpoint, the batch that is next, and the name of its successor.
    fn segment_size_needed(&self) -> u64 {
        const STREAM_CHECKPOINT_LENGTH: usize = 128;
        let streams = self.streams.values().map(|tracked| STREAM_CHECKPOINT_LENGTH + tracked.state.membership.len());
        let checkpoint = (2 * BATCH_HEADER_LENGTH + streams.sum::<usize>()).next_multiple_of(LOG_BLOCK_SIZE_BYTES);
        let batch = self.pending.front().map_or(0, |batch| batch.buffer.len().next_multiple_of(LOG_BLOCK_SIZE_BYTES));
        self.options.segment_size_bytes.max((checkpoint + batch) as u64 + SUCCESSOR_SIZE_BYTES)
    }

    /// Takes a segment file that is ready.
    pub fn add_segment(&mut self, file: SegmentFile<F>) {
        self.segments.prepared(file);
    }

    /// Learns that a segment could not be made ready; it will be asked for again.
    pub fn segment_failed(&mut self) {
        self.segments.preparation_failed();
    }

    /// Files that are no longer needed, for maintenance to remove.
    pub fn take_surplus_segments(&mut self) -> Vec<SegmentFile<F>> {
        self.segments.take_surplus()
    }

    /// The write that is due: `None` while one is in flight, when nothing waits, or when a segment is waited for.
    pub fn start_write(&mut self) -> Option<LogWrite<F>> {
        if self.poisoned || self.in_flight.is_some() {
            return None;
        }
        if let Some((segment, sequence)) = self.unlinked.take() {
            return Some(self.write_successor(&segment, sequence));
        }
        if !self.fits(self.pending.front()?) {
            let ready = self.segments.take_ready(self.segment_size_needed())?;
            self.counters.segments_recycled += u64::from(ready.is_recycled);
            return Some(self.open_segment(ready.file));
        }
        let batch = self.pending.pop_front().expect("looked at above");
        self.pending_bytes -= batch.buffer.len();
        Some(self.write_batch(batch))
    }

    /// Learns what became of the write handed out last. On success answers what has become durable by it.
    ///
    /// # Errors
    /// The failure, as an error that names the file. The log is poisoned from then on.
    ///
    /// # Panics
    /// If no write is in flight.
    pub fn finish_write(&mut self, write: LogWrite<F>, result: io::Result<()>) -> Result<Vec<Durable>> {
        let in_flight = self.in_flight.take().expect("a write is in flight");
        if let Err(error) = result {
            self.poisoned = true;
            return Err(Error::io("write", &write.path, error));
        }
        self.spare_buffer = Some(write.buffer);
        match in_flight {
            InFlight::Records { sequence, length, durable, released } => {
                self.durable_through = sequence;
                for released in released {
                    self.release(&released);
                }
                self.current.as_mut().expect("records went to a segment").offset += length;
                Ok(durable)
            }
            InFlight::Checkpoint { sequence, length, mut segment } => {
                self.durable_through = sequence;
                segment.offset = length;
                self.segments.push_live(LiveSegment {
                    file: segment.file.clone(),
                    generation: segment.identity.generation,
                    last_entries: BTreeMap::new(),
                });
                let before = self.current.replace(segment).or_else(|| self.predecessor.take());
                // One that a process of an earlier version filled has no room for it.
                let has_room = |before: &OpenSegment<F>| before.offset + SUCCESSOR_SIZE_BYTES <= before.file.size_bytes;
                self.unlinked = before.filter(has_room).map(|before| (before, sequence));
                if self.unlinked.is_none() {
                    self.release_segments();
                }
                Ok(Vec::new())
            }
            InFlight::Successor => {
                self.release_segments();
                Ok(Vec::new())
            }
        }
    }

    fn epoch(&self, stream: StreamId) -> StreamEpoch {
        self.streams.get(&stream).unwrap_or_else(|| panic!("stream {stream} is not attached")).epoch
    }

    fn push(&mut self, record: &Record<'_>, stream: StreamId, change: Change) {
        const SMALL_RECORD_LENGTH_MAX: usize = 16 * 1024;
        self.push_sized(record, SMALL_RECORD_LENGTH_MAX, stream, change);
    }

    fn push_sized(&mut self, record: &Record<'_>, length_max: usize, stream: StreamId, change: Change) {
        let payload_max = self.payload_length_max();
        let fits =
            |batch: &Batch| batch.flags == 0 && batch.buffer.len() - BATCH_HEADER_LENGTH + length_max <= payload_max;
        if !self.pending.back().is_some_and(fits) {
            let buffer = empty_batch_buffer(self.spare_buffer.take());
            self.pending_bytes += buffer.len();
            self.pending.push_back(Batch { buffer, ..Batch::default() });
        }
        let batch = self.pending.back_mut().expect("one was pushed if there was none");
        let before = batch.buffer.len();
        record.encode(&mut batch.buffer);
        self.pending_bytes += batch.buffer.len() - before;
        batch.record_count += 1;
        match (batch.changes.last_mut(), change) {
            (Some((last_stream, Change::Last(last))), Change::Last(new)) if *last_stream == stream => *last = new,
            (_, change) => batch.changes.push((stream, change)),
        }
    }

    /// The payload at which a batch is closed: so that it fits a write, and a fresh segment of the usual length behind its checkpoint. One
    /// longer record makes a batch of its own.
    fn payload_length_max(&self) -> usize {
        let room = usize::try_from(self.options.segment_size_bytes).unwrap_or(usize::MAX) / 2;
        BATCH_PAYLOAD_LENGTH_MAX.min(room.max(LOG_BLOCK_SIZE_BYTES) - BATCH_HEADER_LENGTH)
    }

    fn fits(&self, batch: &Batch) -> bool {
        let length = batch.buffer.len().next_multiple_of(LOG_BLOCK_SIZE_BYTES) as u64;
        let has_room =
            |segment: &OpenSegment<F>| segment.offset + length + SUCCESSOR_SIZE_BYTES <= segment.file.size_bytes;
        self.current.as_ref().is_some_and(has_room)
    }

    fn write_batch(&mut self, mut batch: Batch) -> LogWrite<F> {
        let (durable, released) = self.apply_changes(std::mem::take(&mut batch.changes));
        let segment = self.current.as_ref().expect("the batch fits the current segment");
        let (identity, offset) = (segment.identity, segment.offset);
        let (path, file) = (segment.file.path.clone(), segment.file.file.clone());
        let sequence = self.take_sequence();
        self.seal(&mut batch, identity, offset, sequence);
        self.counters.entries += batch.entry_count;
        self.counters.markers += u64::from(batch.flags == FLAG_MARKER);
        self.last_was_marker = batch.flags == FLAG_MARKER;
        let length = if bugs::is_planted(Bug::LogRewritesTailBlock) && batch.buffer.len() > LOG_BLOCK_SIZE_BYTES {
            (batch.buffer.len() - LOG_BLOCK_SIZE_BYTES) as u64
        } else {
            batch.buffer.len() as u64
        };
        self.in_flight = Some(InFlight::Records { sequence, length, durable, released });
        LogWrite { file, path, offset, buffer: batch.buffer, mode: self.mode }
    }

    fn open_segment(&mut self, file: SegmentFile<F>) -> LogWrite<F> {
        let generation = self.generation_next;
        self.generation_next = generation.next();
        let salt = xxhash_rust::xxh3::xxh3_64_with_seed(&generation.0.to_le_bytes(), self.salt_seed);
        let identity = SegmentIdentity { generation, salt };
        let mut batch = Batch { buffer: empty_batch_buffer(None), flags: FLAG_CHECKPOINT, ..Batch::default() };
        let (log, incarnation) = (self.log, self.incarnation);
        Record::SegmentHeader { log, generation, size_bytes: file.size_bytes, incarnation }.encode(&mut batch.buffer);
        batch.record_count += 1;
        for stream in self.streams.values() {
            if stream.attached {
                Record::StreamCheckpoint(stream.state.clone()).encode(&mut batch.buffer);
                batch.record_count += 1;
            }
        }
        assert!(batch.buffer.len() <= LOG_WRITE_SIZE_BYTES_MAX, "a checkpoint of {} bytes", batch.buffer.len());
        let sequence = self.take_sequence();
        self.seal(&mut batch, identity, 0, sequence);
        let length = batch.buffer.len() as u64;
        self.counters.segments_opened += 1;
        self.last_was_marker = false;
        let (path, handle) = (file.path.clone(), file.file.clone());
        self.in_flight =
            Some(InFlight::Checkpoint { sequence, length, segment: OpenSegment { file, identity, offset: 0 } });
        LogWrite { file: handle, path, offset: 0, buffer: batch.buffer, mode: self.mode }
    }

    /// The last write to a segment, once its successor's checkpoint is durable and before anything else is written there.
    fn write_successor(&mut self, segment: &OpenSegment<F>, sequence: BatchSequence) -> LogWrite<F> {
        let generation = self.current.as_ref().expect("the successor is open").identity.generation;
        let mut batch = Batch { buffer: empty_batch_buffer(None), record_count: 1, ..Batch::default() };
        Record::Successor { generation }.encode(&mut batch.buffer);
        self.seal(&mut batch, segment.identity, segment.offset, sequence);
        debug_assert_eq!(batch.buffer.len() as u64, SUCCESSOR_SIZE_BYTES, "room was kept for it");
        self.in_flight = Some(InFlight::Successor);
        let (path, file) = (segment.file.path.clone(), segment.file.file.clone());
        LogWrite { file, path, offset: segment.offset, buffer: batch.buffer, mode: self.mode }
    }

    fn take_sequence(&mut self) -> BatchSequence {
        let sequence = self.sequence_next;
        self.sequence_next = sequence.next();
        sequence
    }

    fn seal(&mut self, batch: &mut Batch, segment: SegmentIdentity, offset: u64, sequence: BatchSequence) {
        let header = BatchHeader {
            segment,
            sequence,
            // The number of the batch that names a successor is that of the successor's checkpoint, which is durable.
            durable_through: self.durable_through.min(BatchSequence(sequence.0 - 1)),
            offset,
            payload_length: batch.buffer.len() - BATCH_HEADER_LENGTH,
            payload_crc: 0,
            record_count: batch.record_count,
            flags: batch.flags,
        };
        header.seal(&mut batch.buffer);
        self.counters.padding_bytes += batch.buffer.pad_to(LOG_BLOCK_SIZE_BYTES) as u64;
        self.counters.bytes += batch.buffer.len() as u64;
        self.counters.batches += 1;
    }

    /// Brings the streams' states up to the batch that is about to be written; answers what its write makes durable.
    fn apply_changes(&mut self, changes: Vec<(StreamId, Change)>) -> (Vec<Durable>, Vec<Released>) {
        let segment = self.segments.newest_mut().expect("records go to a live segment");
        let mut durable = Vec::with_capacity(changes.len());
        let mut released = Vec::new();
        for (stream, change) in changes {
            match change {
                Change::Rewritten(position) => {
                    let last = segment.last_entries.entry(stream).or_default();
                    *last = position.index.max(*last);
                    continue;
                }
                Change::Relocated { generation, kept } => {
                    released.push(Released::Behind { stream, generation, kept });
                    continue;
                }
                _ => {}
            }
            let Some(tracked) = self.streams.get_mut(&stream) else { continue };
            match change {
                Change::Last(position) => {
                    tracked.state.last = position;
                    segment.last_entries.insert(stream, position.index);
                    durable.push(Durable::Entries { stream, through: position });
                }
                Change::HardState(hard_state) => tracked.state.hard_state = hard_state,
                Change::Truncated(through) => tracked.state.truncated = through,
                Change::Attached(state) => {
                    // Entries that were rewritten here for it are needed.
                    if !self.staged.remove(&stream) {
                        segment.last_entries.remove(&stream);
                        released.push(Released::All(stream));
                    }
                    tracked.state = state;
                    tracked.attached = true;
                }
                Change::Detached => {
                    self.streams.remove(&stream);
                }
                Change::Token(token) => durable.push(Durable::Token { stream, token }),
                Change::Rewritten(_) | Change::Relocated { .. } => unreachable!("handled above"),
            }
        }
        (durable, released)
    }

    fn release(&mut self, released: &Released) {
        match *released {
            Released::All(stream) => self.segments.forget_older_entries(stream),
            Released::Behind { stream, generation, kept } => {
                self.relocating.remove(&(stream, generation));
                self.segments.forget_entries_behind(stream, generation, kept);
            }
        }
        self.release_segments();
    }

    /// Frees the oldest segments whose entries are all flushed and truncated.
    ///
    /// Invariant: the current segment opened with a durable checkpoint of every stream, so that no vote or position is lost
    /// with the older segments. Without a current segment nothing is freed.
    fn release_segments(&mut self) {
        if self.current.is_none() {
            return;
        }
        let (streams, staged) = (&self.streams, &self.staged);
        self.segments.release_oldest(|segment| {
            let mut entries = segment.last_entries.iter();
            entries.any(|(&stream, &last)| pins(streams, staged, stream, last))
                && !bugs::is_planted(Bug::LogRecyclesUnflushed)
        });
    }

    /// Where the segments are, for tests and reports: generation and path, oldest first.
    pub fn live_segments(&self) -> impl Iterator<Item = (Generation, &Path)> {
        self.segments.live().iter().map(|segment| (segment.generation, segment.file.path.as_path()))
    }
}

/// Whether the entry `last` of a stream keeps the segment that holds it.
fn pins(streams: &BTreeMap<StreamId, Stream>, staged: &BTreeSet<StreamId>, stream: StreamId, last: LogIndex) -> bool {
    let is_needed = |tracked: &Stream| tracked.state.droppable_through() < last;
    staged.contains(&stream) || streams.get(&stream).is_some_and(is_needed)
}

fn empty_batch_buffer(spare: Option<IoBuffer>) -> IoBuffer {
    let mut buffer = spare.unwrap_or_else(|| IoBuffer::with_capacity(64 * 1024));
    buffer.clear();
    buffer.resize(BATCH_HEADER_LENGTH);
    buffer
}
