//! Reading a log back: every segment, in the order of its lives, into the state of every stream.
//!
//! Nothing is guessed. A batch that something later proves to have been durable and that cannot be read is
//! [corruption](crate::error::Corruption), named with file and offset; a torn tail is cut and reported; an entry that a
//! checkpoint speaks of and that no segment holds is corruption too.
//!
//! Runs on the thread that opens the store, before any shard starts. Memory: one segment file at a time, and the entries
//! that are not in tables yet, which the memtable budget bounded when they were written.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};

use crate::bugs::{self, Bug};
use crate::env::{Environment, LogMode, OpenMode};
use crate::error::{Error, Result};
use crate::ids::{BatchSequence, Generation, LogId, LogIndex, LogPosition, StreamEpoch, StreamId};
use crate::io_buffer::IoBuffer;

use super::batch::LOG_FORMAT_VERSION;
use super::options::SEGMENT_SIZE_BYTES_MIN;
use super::record::{EntryRecord, Record, Records, StreamState};
use super::segment_scan::{ScannedSegment, SegmentEnd, SegmentScan, scan_segment};
use super::{LiveSegment, LogStart, SegmentFile, SegmentTail, TEMPORARY_SUFFIX, segment_number};

/// An entry that is not in tables yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecoveredEntry {
    /// Its term and index.
    pub position: LogPosition,
    /// What was appended.
    pub payload: Vec<u8>,
}

/// A stream that lives in a log.
#[derive(Debug)]
pub struct RecoveredStream {
    /// Its state at the end of the log.
    pub state: StreamState,
    /// Its unflushed entries in order.
    pub entries: BTreeMap<LogIndex, RecoveredEntry>,
    /// The entry that the log holds where the manifest says that the tables end, if it holds one there.
    at_flushed: Option<LogPosition>,
    /// The tables came from another replica, and the log had not heard of it: the stream must be attached anew.
    pub(crate) is_replaced: bool,
}

/// Remains of a write that never completed; they were cut.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TornTail {
    /// The segment.
    pub path: PathBuf,
    /// Where the remains start, bytes.
    pub offset: u64,
}

/// A log as it was found.
#[derive(Debug)]
pub struct RecoveredLog<F> {
    /// Its identity.
    pub log: LogId,
    /// The streams that live in it, as far as this log knows: another log may have one at a higher epoch.
    pub streams: BTreeMap<StreamId, RecoveredStream>,
    /// The torn tail that was cut, if there was one.
    pub torn_tail: Option<TornTail>,
    /// Whether the log ended while its writer was reusing a segment: the checkpoint stood, and nothing behind it yet.
    pub was_recycling: bool,
    /// The incarnation of the data directory that it was written in; `None` without a segment.
    pub incarnation: Option<u64>,
    tail: Option<SegmentTail>,
    live: VecDeque<LiveSegment<F>>,
    free: VecDeque<SegmentFile<F>>,
    generation_next: Generation,
    sequence_next: BatchSequence,
    segment_number_next: u64,
}

impl<F> RecoveredLog<F> {
    /// A log that has no segments yet.
    #[must_use]
    pub fn empty(log: LogId) -> Self {
        Self {
            log,
            streams: BTreeMap::new(),
            torn_tail: None,
            was_recycling: false,
            incarnation: None,
            tail: None,
            live: VecDeque::new(),
            free: VecDeque::new(),
            generation_next: Generation(1),
            sequence_next: BatchSequence(1),
            segment_number_next: 1,
        }
    }

    /// What a writer needs to go on, and the entries that the streams' owners replay.
    pub(crate) fn into_start(
        self,
        incarnation: u64,
        mode: LogMode,
    ) -> (LogStart<F>, BTreeMap<StreamId, RecoveredStream>) {
        let start = LogStart {
            log: self.log,
            incarnation,
            mode,
            live: self.live,
            tail: self.tail,
            ready: self.free,
            streams: self.streams.values().map(|stream| stream.state.clone()).collect(),
            generation_next: self.generation_next,
            sequence_next: self.sequence_next,
            segment_number_next: self.segment_number_next,
        };
        (start, self.streams)
    }
}

struct OpenedFile<F> {
    file: SegmentFile<F>,
    length: usize,
    generation: Generation,
}

/// Reads the log in `directory`. `flushed` says up to which entry a stream is in tables, by its manifest.
///
/// # Errors
/// [`Error::Corruption`] with file and offset if something durable is damaged or missing; [`Error::UnknownVersion`];
/// [`Error::Io`] if the files cannot be read.
pub async fn recover_log<E: Environment>(
    environment: &E,
    directory: &Path,
    log: LogId,
    flushed: impl Fn(StreamId) -> LogPosition,
) -> Result<RecoveredLog<E::File>> {
    // A process that was killed may have left names that are in the kernel's memory only. Batches written to such a segment, however
    // durable, would be gone with its name.
    environment.sync_directory(directory).await.map_err(|error| Error::io("sync", directory, error))?;
    let mut recovered = RecoveredLog::empty(log);
    let mut opened = Vec::new();
    let mut suspects = Vec::new();
    for file in open_segment_files(environment, directory, &mut recovered.segment_number_next).await? {
        let bytes = read_segment(environment, &file).await?;
        match scan_segment(&bytes) {
            SegmentScan::Opened(scanned) => {
                opened.push(OpenedFile { file, length: bytes.len(), generation: scanned.identity.generation });
            }
            SegmentScan::Free => recovered.free.push_back(file),
            SegmentScan::CheckpointDamaged { generation, proof_offset } => {
                suspects.push((generation, proof_offset, file))
            }
            SegmentScan::CheckpointCut { length } => {
                return Err(cut_off(&file.path, file.size_bytes, &format!("its checkpoint alone has {length}")));
            }
            SegmentScan::UnknownVersion { version } => {
                return Err(Error::UnknownVersion {
                    path: file.path,
                    found: u32::from(version),
                    supported: u32::from(LOG_FORMAT_VERSION),
                });
            }
        }
    }
    opened.sort_by_key(|file| file.generation);
    let newest = opened.last().map(|file| file.generation).unwrap_or_default();
    for (generation, proof_offset, file) in suspects {
        // A segment that was being reopened when the power failed holds remains of an older life; those are never newest.
        if generation > newest {
            let message = format!(
                "the checkpoint of generation {generation} is unreadable, but the batch at offset {proof_offset} proves that it was durable"
            );
            return Err(Error::corruption(&file.path, 0, message));
        }
        recovered.free.push_back(file);
    }
    let first_live = first_of_the_last_run(&opened);
    recovered.free.extend(opened.drain(..first_live).map(|stale| stale.file));
    replay_segments(environment, &mut recovered, opened, &flushed).await?;
    if let Some(segment) = recovered.live.back() {
        // What was read may so far be in memory only; nothing may be answered from it before it is durable.
        let file = &segment.file;
        environment.sync_data(&file.file).await.map_err(|error| Error::io("sync", &file.path, error))?;
    }
    Ok(recovered)
}

/// Segments are begun one after the other and freed oldest first, so that those that count have consecutive generations. Before a gap stand some that were
/// freed and not begun again yet: what they hold may contradict what came after them. Were one missing that counts, entries would be missed.
fn first_of_the_last_run<F>(opened: &[OpenedFile<F>]) -> usize {
    let is_gap = |pair: &[OpenedFile<F>]| pair[1].generation != pair[0].generation.next();
    opened.windows(2).rposition(is_gap).map_or(0, |before| before + 1)
}

async fn open_segment_files<E: Environment>(
    environment: &E,
    directory: &Path,
    number_next: &mut u64,
) -> Result<Vec<SegmentFile<E::File>>> {
    let names = environment.list_directory(directory).await.map_err(|error| Error::io("list", directory, error))?;
    let mut files = Vec::new();
    for name in names {
        let path = directory.join(&name);
        if name.ends_with(TEMPORARY_SUFFIX) {
            environment.remove_file(&path).await.map_err(|error| Error::io("remove", &path, error))?;
            continue;
        }
        let Some(number) = segment_number(&name) else { continue };
        *number_next = (*number_next).max(number + 1);
        let file = environment.open(&path, OpenMode::Log).await.map_err(|error| Error::io("open", &path, error))?;
        let length = environment.file_length(&file).await.map_err(|error| Error::io("read", &path, error))?;
        if length < SEGMENT_SIZE_BYTES_MIN {
            return Err(cut_off(&path, length, &format!("none is made with fewer than {SEGMENT_SIZE_BYTES_MIN}")));
        }
        files.push(SegmentFile { number, path, size_bytes: length, file });
    }
    Ok(files)
}

async fn read_segment<E: Environment>(environment: &E, file: &SegmentFile<E::File>) -> Result<IoBuffer> {
    const SEGMENT_SIZE_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
    let fail = |error: io::Error| Error::io("read", &file.path, error);
    let length = file.size_bytes;
    if length > SEGMENT_SIZE_BYTES_MAX {
        return Err(Error::corruption(
            &file.path,
            0,
            format!("a segment of {length} bytes is longer than any we write"),
        ));
    }
    // A file that was shortened from outside is read as far as it goes; what is missing shows as damage or a gap.
    let aligned = usize::try_from(length).expect("bounded above").next_multiple_of(crate::limits::DIRECT_IO_ALIGNMENT);
    let (result, mut buffer) = environment.read_at(&file.file, IoBuffer::zeroed(aligned), 0).await;
    buffer.resize(result.map_err(fail)?);
    Ok(buffer)
}

async fn replay_segments<E: Environment>(
    environment: &E,
    recovered: &mut RecoveredLog<E::File>,
    opened: Vec<OpenedFile<E::File>>,
    flushed: &impl Fn(StreamId) -> LogPosition,
) -> Result<()> {
    let mut replay = Replay {
        log: recovered.log,
        incarnation: None,
        generation_named: Generation::default(),
        streams: BTreeMap::new(),
        staged: BTreeMap::new(),
    };
    let mut unfinished: Option<(PathBuf, ScannedSegment)> = None;
    for OpenedFile { file, length, generation } in opened {
        let bytes = read_segment(environment, &file).await?;
        let SegmentScan::Opened(scanned) = scan_segment(&bytes) else {
            return Err(Error::corruption(&file.path, 0, "the segment changed while it was being read"));
        };
        assert!(bytes.len() == length && scanned.identity.generation == generation, "nobody else writes here");
        check_end(&file.path, &scanned)?;
        if let Some((path, before)) = &unfinished {
            check_follows(path, before, &scanned)?;
        }
        let mut last_entries = BTreeMap::new();
        for batch in &scanned.batches {
            let payload = &bytes[batch.payload_start..][..batch.header.payload_length];
            for record in Records::new(payload) {
                let unreadable =
                    || Error::corruption(&file.path, batch.header.offset, "a record of this batch cannot be read");
                let record = record.ok_or_else(unreadable)?;
                if let Record::SegmentHeader { size_bytes, .. } = record
                    && size_bytes != file.size_bytes
                {
                    return Err(cut_off(&file.path, file.size_bytes, &format!("it was made with {size_bytes}")));
                }
                let effect = replay
                    .apply(&record, flushed)
                    .map_err(|message| Error::corruption(&file.path, batch.header.offset, message))?;
                match effect {
                    Effect::None => {}
                    Effect::Entry(stream, index) => {
                        last_entries.insert(stream, index);
                    }
                    Effect::Rewritten(stream, index) => {
                        let last: &mut LogIndex = last_entries.entry(stream).or_default();
                        *last = index.max(*last);
                    }
                    Effect::Begun(stream) => {
                        last_entries.remove(&stream);
                        for segment in &mut recovered.live {
                            segment.last_entries.remove(&stream);
                        }
                    }
                }
            }
        }
        recovered.generation_next = generation.next();
        recovered.sequence_next = scanned.sequence_next;
        recovered.torn_tail = match scanned.end {
            SegmentEnd::Torn { offset } => Some(TornTail { path: file.path.clone(), offset }),
            _ => None,
        };
        recovered.was_recycling = scanned.was_being_recycled(&bytes);
        recovered.tail = Some(SegmentTail { identity: scanned.identity, offset: scanned.end_offset });
        unfinished = Some((file.path.clone(), scanned));
        recovered.live.push_back(LiveSegment { file, generation, last_entries });
    }
    if let Some(newest) = recovered.live.back()
        && newest.generation < replay.generation_named
    {
        let message = format!(
            "no segment holds generation {}, which was begun behind this one: its file is missing, or the start of it is damaged",
            replay.generation_named
        );
        return Err(Error::corruption(&newest.file.path, 0, message));
    }
    recovered.incarnation = replay.incarnation;
    recovered.streams = replay.streams;
    Ok(())
}

/// A segment never changes its length. What was cut off might have been acknowledged.
fn cut_off(path: &Path, found_bytes: u64, expected: &str) -> Error {
    let message = format!("the segment ends after {found_bytes} bytes, and {expected}: its end is missing");
    Error::corruption(path, found_bytes, message)
}

fn check_end(path: &Path, scanned: &ScannedSegment) -> Result<()> {
    match scanned.end {
        SegmentEnd::Damaged { offset, proof_offset } if !bugs::is_planted(Bug::RecoveryCutsCorruption) => {
            let message = format!(
                "batch {} is unreadable, but the batch at offset {proof_offset} proves that it was durable",
                scanned.sequence_next
            );
            Err(Error::corruption(path, offset, message))
        }
        SegmentEnd::UnknownVersion { version, .. } => Err(Error::UnknownVersion {
            path: path.to_path_buf(),
            found: u32::from(version),
            supported: u32::from(LOG_FORMAT_VERSION),
        }),
        _ => Ok(()),
    }
}

/// The next segment's checkpoint must know nothing durable that this segment does not hold.
fn check_follows(path: &Path, before: &ScannedSegment, next: &ScannedSegment) -> Result<()> {
    let checkpoint = &next.batches[0].header;
    let consecutive = next.identity.generation == before.identity.generation.next();
    if consecutive
        && checkpoint.durable_through >= before.sequence_next
        && !bugs::is_planted(Bug::RecoveryCutsCorruption)
    {
        let message = format!(
            "batch {} is unreadable, but generation {} proves that it was durable",
            before.sequence_next, next.identity.generation
        );
        return Err(Error::corruption(path, before.end_offset, message));
    }
    Ok(())
}

impl RecoveredStream {
    fn new(state: StreamState) -> Self {
        Self { state, entries: BTreeMap::new(), at_flushed: None, is_replaced: false }
    }

    /// The stream with its entries; its state stays here as well.
    pub(crate) fn take(&mut self) -> Self {
        Self { entries: std::mem::take(&mut self.entries), state: self.state.clone(), ..*self }
    }

    /// Takes over that the tables came from another replica and hold all through `through`, if the log does not know it: then what the log holds is not
    /// what follows.
    ///
    /// # Errors
    /// [`Error::Corruption`] naming `directory` if neither can be.
    pub(crate) fn take_replacement(&mut self, directory: &Path, through: LogPosition) -> Result<()> {
        let StreamState { stream, last, flushed, .. } = self.state;
        let is_known = match self.at_flushed {
            Some(found) => found.term == through.term,
            None => last.index >= through.index && flushed == through,
        };
        if is_known {
            return Ok(());
        }
        if self.at_flushed.is_none() && last.index >= through.index {
            let message = format!(
                "the tables of stream {stream} came from another replica and end at entry {}, and the log goes on to entry {} without that entry: a segment is missing or damaged",
                through.index, last.index
            );
            return Err(Error::corruption(directory, 0, message));
        }
        self.entries.clear();
        self.is_replaced = true;
        self.state.last = through;
        Ok(())
    }

    /// Takes over what the stream's manifest says is in tables, and checks that every entry from there to the stream's
    /// last is here. Called once the log with the stream's highest epoch is known.
    ///
    /// # Errors
    /// [`Error::Corruption`] naming `directory` if entries or manifests are missing.
    pub(crate) fn check_continuity(&mut self, directory: &Path, in_tables: LogPosition) -> Result<()> {
        let StreamState { stream, flushed, last, .. } = self.state;
        let fail = |message| Err(Error::corruption(directory, 0, message));
        if flushed.index > in_tables.index {
            return fail(format!(
                "the log says that stream {stream} is in tables through entry {}, its manifest says {}: the manifest is older than the log",
                flushed.index, in_tables.index
            ));
        }
        if last.index < in_tables.index {
            return fail(format!(
                "the manifest of stream {stream} has entry {}, but the log ends at entry {}: acknowledged entries are missing",
                in_tables.index, last.index
            ));
        }
        self.state.flushed = in_tables;
        self.entries = self.entries.split_off(&in_tables.index.next());
        let expected = last.index.0 - in_tables.index.0;
        if self.entries.len() as u64 != expected {
            return fail(format!(
                "stream {stream} should have {expected} entries from {} to {}, and {} of them were found: a segment is missing or damaged",
                in_tables.index.next(),
                last.index,
                self.entries.len()
            ));
        }
        Ok(())
    }
}

/// What a record did to its stream.
enum Effect {
    /// Nothing that keeps a segment.
    None,
    /// It wrote this entry.
    Entry(StreamId, LogIndex),
    /// It wrote this entry once more.
    Rewritten(StreamId, LogIndex),
    /// It began the stream anew: none of its entries before are needed.
    Begun(StreamId),
}

struct Replay {
    log: LogId,
    incarnation: Option<u64>,
    /// The newest generation that a segment named as its successor.
    generation_named: Generation,
    streams: BTreeMap<StreamId, RecoveredStream>,
    /// Entries rewritten ahead of their stream's ATTACH.
    staged: BTreeMap<(StreamId, StreamEpoch), BTreeMap<LogIndex, RecoveredEntry>>,
}

impl Replay {
    /// Applies a record. The error is a clause for a corruption report.
    fn apply(
        &mut self,
        record: &Record<'_>,
        flushed: &impl Fn(StreamId) -> LogPosition,
    ) -> std::result::Result<Effect, String> {
        match record {
            Record::SegmentHeader { log, .. } if *log != self.log => {
                return Err(format!("the segment belongs to log {log}, not to log {}", self.log));
            }
            Record::SegmentHeader { incarnation, .. } => {
                if *self.incarnation.get_or_insert(*incarnation) != *incarnation {
                    return Err("the segment belongs to another data directory than the ones before it".to_owned());
                }
            }
            Record::Successor { generation } => self.generation_named = self.generation_named.max(*generation),
            Record::StreamCheckpoint(state) => self.checkpoint(state)?,
            Record::Append(entry) => {
                let stream = attached(&mut self.streams, entry.stream, entry.epoch)?;
                if entry.position.index > stream.state.last.index.next() {
                    return Err(format!("entry {} of stream {} leaves a gap", entry.position.index, entry.stream));
                }
                drop(stream.entries.split_off(&entry.position.index));
                stream.state.last = entry.position;
                let in_tables = flushed(entry.stream);
                if entry.position.index == in_tables.index {
                    stream.at_flushed = Some(entry.position);
                } else if entry.position.index < in_tables.index {
                    stream.at_flushed = None;
                } else {
                    stream.entries.insert(entry.position.index, owned(entry));
                }
                return Ok(Effect::Entry(entry.stream, entry.position.index));
            }
            Record::Rewrite(entry) => {
                let entries = match self.streams.get_mut(&entry.stream) {
                    Some(stream) if stream.state.epoch == entry.epoch => &mut stream.entries,
                    _ => self.staged.entry((entry.stream, entry.epoch)).or_default(),
                };
                entries.entry(entry.position.index).or_insert_with(|| owned(entry));
                if let Some(stream) = self.streams.get_mut(&entry.stream)
                    && stream.state.epoch == entry.epoch
                    && entry.position.index == flushed(entry.stream).index
                {
                    stream.at_flushed = Some(entry.position);
                }
                return Ok(Effect::Rewritten(entry.stream, entry.position.index));
            }
            Record::Truncate { stream, epoch, through } => {
                attached(&mut self.streams, *stream, *epoch)?.state.truncated = *through;
            }
            Record::HardState { stream, epoch, hard_state } => {
                attached(&mut self.streams, *stream, *epoch)?.state.hard_state = *hard_state;
            }
            Record::Attach(state) => {
                let entries = self.staged.remove(&(state.stream, state.epoch));
                let has_moved = entries.is_some();
                let entries = entries.unwrap_or_default();
                let at_flushed = entries.get(&flushed(state.stream).index).map(|entry| entry.position);
                let begun = RecoveredStream { entries, at_flushed, ..RecoveredStream::new(state.clone()) };
                self.streams.insert(state.stream, begun);
                if !has_moved {
                    return Ok(Effect::Begun(state.stream));
                }
            }
            Record::Detach { stream, epoch } => {
                if self.streams.get(stream).is_some_and(|found| found.state.epoch <= *epoch) {
                    self.streams.remove(stream);
                }
            }
        }
        Ok(Effect::None)
    }

    fn checkpoint(&mut self, state: &StreamState) -> std::result::Result<(), String> {
        if let Some(known) = self.streams.get_mut(&state.stream) {
            if known.state.last.index > state.last.index {
                return Err(format!(
                    "the checkpoint ends stream {} at entry {}, but entry {} stands before it",
                    state.stream, state.last.index, known.state.last.index
                ));
            }
            known.state = state.clone();
        } else {
            self.streams.insert(state.stream, RecoveredStream::new(state.clone()));
        }
        Ok(())
    }
}

fn attached(
    streams: &mut BTreeMap<StreamId, RecoveredStream>,
    stream: StreamId,
    epoch: StreamEpoch,
) -> std::result::Result<&mut RecoveredStream, String> {
    match streams.get_mut(&stream) {
        Some(found) if found.state.epoch == epoch => Ok(found),
        _ => Err(format!("a record of stream {stream} at epoch {epoch}, which is not attached")),
    }
}

fn owned(entry: &EntryRecord<'_>) -> RecoveredEntry {
    RecoveredEntry { position: entry.position, payload: entry.payload.to_vec() }
}
