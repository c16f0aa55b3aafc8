//! The segment files of a log: those that hold records, those that are ready to be opened, those to be removed.
//!
//! Bounds: [`LogOptions::segments_max`] files that hold records or are ready, one more where the log could not go on otherwise
//! ([`SegmentBound::Exceed`]), and one in preparation.

use std::collections::{BTreeMap, VecDeque};

use crate::ids::{Generation, LogIndex, StreamId};

use super::options::LogOptions;
use super::segment::SegmentFile;

/// Free segment files that are kept for reuse; more are removed.
const READY_SEGMENTS_MAX: usize = 4;

/// Whether a log may take more segments than [`LogOptions::segments_max`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SegmentBound {
    /// It waits until flushes free one.
    Keep,
    /// It takes another, since what would free one waits for the log itself: a start that brings streams here, or a flush of
    /// entries that were applied before they were written. What waits is bounded, and so is the excess.
    Exceed,
}

/// A segment that holds records which may still be needed.
#[derive(Debug)]
pub(crate) struct LiveSegment<F> {
    pub(crate) file: SegmentFile<F>,
    pub(crate) generation: Generation,
    /// The last entry of each stream in this segment.
    pub(crate) last_entries: BTreeMap<StreamId, LogIndex>,
}

/// A segment file that can be opened for a new generation.
#[derive(Debug)]
pub(super) struct ReadySegment<F> {
    pub(super) file: SegmentFile<F>,
    pub(super) is_recycled: bool,
}

/// Owned by the log's writer, who knows which segments are needed.
#[derive(Debug)]
pub(super) struct SegmentPool<F> {
    options: LogOptions,
    /// Oldest first.
    live: VecDeque<LiveSegment<F>>,
    ready: VecDeque<ReadySegment<F>>,
    /// Files beyond need, to be removed by maintenance.
    surplus: Vec<SegmentFile<F>>,
    number_next: u64,
    in_preparation: usize,
}

impl<F> SegmentPool<F> {
    /// The files that recovery found: those with records, oldest first, and those without.
    pub(super) fn new(
        options: LogOptions,
        live: VecDeque<LiveSegment<F>>,
        free: VecDeque<SegmentFile<F>>,
        number_next: u64,
    ) -> Self {
        let ready = free.into_iter().map(|file| ReadySegment { file, is_recycled: true }).collect();
        Self { options, live, ready, surplus: Vec::new(), number_next, in_preparation: 0 }
    }

    pub(super) fn live(&self) -> &VecDeque<LiveSegment<F>> {
        &self.live
    }

    /// The segment that was opened last.
    pub(super) fn newest_mut(&mut self) -> Option<&mut LiveSegment<F>> {
        self.live.back_mut()
    }

    /// A stream was attached anew in the newest segment: no older one holds entries of it that are needed.
    pub(super) fn forget_older_entries(&mut self, stream: StreamId) {
        for segment in self.live.iter_mut().rev().skip(1) {
            segment.last_entries.remove(&stream);
        }
    }

    /// The entries of a stream behind `kept` in the segment of a generation were written again elsewhere.
    pub(super) fn forget_entries_behind(&mut self, stream: StreamId, generation: Generation, kept: LogIndex) {
        let segment = self.live.iter_mut().find(|segment| segment.generation == generation);
        if let Some(last) = segment.and_then(|segment| segment.last_entries.get_mut(&stream)) {
            *last = kept.min(*last);
        }
    }

    pub(super) fn push_live(&mut self, segment: LiveSegment<F>) {
        self.live.push_back(segment);
    }

    pub(super) fn has_ready(&self, size_bytes: u64) -> bool {
        self.ready.iter().any(|ready| ready.file.size_bytes >= size_bytes)
    }

    /// A file of at least `size_bytes`, to be opened.
    pub(super) fn take_ready(&mut self, size_bytes: u64) -> Option<ReadySegment<F>> {
        let position = self.ready.iter().position(|ready| ready.file.size_bytes >= size_bytes)?;
        self.ready.remove(position)
    }

    /// The number of a file of `size_bytes` that should be made ready now, if one should. `is_freed_by_another`: opening one more would make the
    /// oldest free.
    pub(super) fn next_to_prepare(
        &mut self,
        size_bytes: u64,
        bound: SegmentBound,
        is_freed_by_another: bool,
    ) -> Option<u64> {
        if self.has_ready(size_bytes) || self.in_preparation > 0 {
            return None;
        }
        let is_full = |pool: &Self| pool.live.len() + pool.ready.len() >= pool.options.segments_max;
        // What is ready and too short makes room for what is needed.
        while is_full(self)
            && let Some(short) = self.ready.pop_front()
        {
            self.surplus.push(short.file);
        }
        if is_full(self) && !is_freed_by_another && bound == SegmentBound::Keep {
            return None;
        }
        self.in_preparation += 1;
        let number = self.number_next;
        self.number_next += 1;
        Some(number)
    }

    pub(super) fn prepared(&mut self, file: SegmentFile<F>) {
        self.in_preparation = self.in_preparation.saturating_sub(1);
        self.ready.push_back(ReadySegment { file, is_recycled: false });
    }

    pub(super) fn preparation_failed(&mut self) {
        self.in_preparation = self.in_preparation.saturating_sub(1);
    }

    pub(super) fn take_surplus(&mut self) -> Vec<SegmentFile<F>> {
        std::mem::take(&mut self.surplus)
    }

    /// Frees the oldest segments up to the first that is needed, and never the newest.
    pub(super) fn release_oldest(&mut self, is_needed: impl Fn(&LiveSegment<F>) -> bool) {
        while self.live.len() > 1 {
            let Some(segment) = self.live.pop_front_if(|oldest| !is_needed(oldest)) else { return };
            let is_usual = segment.file.size_bytes == self.options.segment_size_bytes;
            if is_usual && self.ready.len() < READY_SEGMENTS_MAX {
                self.ready.push_back(ReadySegment { file: segment.file, is_recycled: true });
            } else {
                self.surplus.push(segment.file);
            }
        }
    }
}
