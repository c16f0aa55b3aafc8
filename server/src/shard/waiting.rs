//! Requests that wait: writes for the log, reads for a block or for durability, writes for room. Everything here is bounded in
//! requests and bytes, and nothing waits past its deadline.

use std::collections::{BTreeMap, VecDeque};

use corelode_engine::ids::{LogIndex, PartitionId};
use corelode_engine::partition::{Durability, Outcome, Proposal, ProposedEntry};

use super::operation::{Operation, OperationResult, ReplyTo, Request, ScanPageRequest};

/// A write in the log, waiting for its outcome.
#[derive(Debug)]
pub(crate) struct WriteWaiter {
    pub(crate) ordinal: u32,
    pub(crate) durability: Durability,
    pub(crate) deadline_ms: u64,
    pub(crate) reply_to: ReplyTo,
}

#[derive(Debug)]
struct EntryWaiters {
    entry: ProposedEntry,
    waiters: Vec<WriteWaiter>,
}

/// Writes by partition and entry, in log order.
#[derive(Debug, Default)]
pub(crate) struct WriteWaiters {
    partitions: BTreeMap<PartitionId, VecDeque<EntryWaiters>>,
    spare: Vec<Vec<WriteWaiter>>,
    count: usize,
}

impl WriteWaiters {
    pub(crate) fn push(&mut self, partition: PartitionId, proposal: Proposal, waiter: WriteWaiter) {
        let entries = self.partitions.entry(partition).or_default();
        self.count += 1;
        match entries.back_mut() {
            Some(last) if last.entry == proposal.entry => last.waiters.push(waiter),
            _ => {
                let mut waiters = self.spare.pop().unwrap_or_default();
                waiters.push(waiter);
                entries.push_back(EntryWaiters { entry: proposal.entry, waiters });
            }
        }
    }

    /// Takes out the writes that `outcome` lets be answered, and hands them to `answer`.
    pub(crate) fn resolve(&mut self, outcome: &Outcome, mut answer: impl FnMut(WriteWaiter)) {
        const SPARE_COUNT_MAX: usize = 64;
        let Some(proposed) = outcome.entry else { return };
        let Some(entries) = self.partitions.get_mut(&outcome.partition) else { return };
        let Some(first) = entries.front_mut().filter(|first| first.entry <= proposed) else { return };
        if outcome.is_durable {
            assert!(first.entry == proposed, "outcomes come in log order: {outcome:?} before {:?}", first.entry);
            let mut done = entries.pop_front().expect("looked at above");
            self.count -= done.waiters.len();
            done.waiters.drain(..).for_each(answer);
            if self.spare.len() < SPARE_COUNT_MAX {
                self.spare.push(done.waiters);
            }
            return;
        }
        // Applied ahead of durability: entries before this one may still wait for theirs.
        let Some(entry) = entries.iter_mut().find(|entry| entry.entry == proposed) else { return };
        for waiter in entry.waiters.extract_if(.., |waiter| waiter.durability == Durability::Memory) {
            self.count -= 1;
            answer(waiter);
        }
    }

    /// Takes out the writes of entries that will never be committed.
    pub(crate) fn remove(
        &mut self,
        partition: PartitionId,
        gone: &[ProposedEntry],
        mut removed: impl FnMut(WriteWaiter),
    ) {
        let Some(entries) = self.partitions.get_mut(&partition) else { return };
        let of_gone = |entry: &mut EntryWaiters| gone.contains(&entry.entry);
        let taken: Vec<_> = if gone.is_empty() { Vec::new() } else { extract(entries, of_gone) };
        for waiter in taken.into_iter().flat_map(|entry| entry.waiters) {
            self.count -= 1;
            removed(waiter);
        }
    }

    /// Takes out the writes whose deadline has passed: their outcome is unknown.
    pub(crate) fn expire(&mut self, now_ms: u64, mut expired: impl FnMut(WriteWaiter)) {
        for entry in self.partitions.values_mut().flatten() {
            for waiter in entry.waiters.extract_if(.., |waiter| waiter.deadline_ms <= now_ms) {
                self.count -= 1;
                expired(waiter);
            }
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }
}

fn extract(
    entries: &mut VecDeque<EntryWaiters>,
    mut is_taken: impl FnMut(&mut EntryWaiters) -> bool,
) -> Vec<EntryWaiters> {
    let mut taken = Vec::new();
    for mut entry in std::mem::take(entries) {
        if is_taken(&mut entry) { taken.push(entry) } else { entries.push_back(entry) }
    }
    taken
}

/// A request that waits with bytes of its own.
#[derive(Debug)]
pub(crate) struct Parked {
    pub(crate) request: Request,
    pub(crate) operation: Operation<Vec<u8>>,
}

/// A bounded queue of parked requests.
#[derive(Debug)]
pub(crate) struct ParkedQueue {
    queue: VecDeque<Parked>,
    size_bytes: usize,
    size_bytes_max: usize,
}

impl ParkedQueue {
    pub(crate) fn new(size_bytes_max: usize) -> Self {
        Self { queue: VecDeque::new(), size_bytes: 0, size_bytes_max }
    }

    /// Parks a request, or gives it back if the queue is full.
    pub(crate) fn push(&mut self, parked: Parked) -> Option<Parked> {
        let size_bytes = parked.operation.size_bytes();
        if self.size_bytes + size_bytes > self.size_bytes_max {
            return Some(parked);
        }
        self.size_bytes += size_bytes;
        self.queue.push_back(parked);
        None
    }

    pub(crate) fn pop(&mut self) -> Option<Parked> {
        let parked = self.queue.pop_front()?;
        self.size_bytes -= parked.operation.size_bytes();
        Some(parked)
    }

    pub(crate) fn push_front(&mut self, parked: Parked) {
        self.size_bytes += parked.operation.size_bytes();
        self.queue.push_front(parked);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Takes out the requests whose deadline has passed.
    pub(crate) fn expire(&mut self, now_ms: u64, mut expired: impl FnMut(Parked)) {
        if !self.queue.iter().any(|parked| parked.request.deadline_ms <= now_ms) {
            return;
        }
        let (late, rest) =
            std::mem::take(&mut self.queue).into_iter().partition(|parked| parked.request.deadline_ms <= now_ms);
        self.queue = rest;
        let late: VecDeque<Parked> = late;
        for parked in late {
            self.size_bytes -= parked.operation.size_bytes();
            expired(parked);
        }
    }
}

/// A read that saw what a crash could still take back.
#[derive(Debug)]
pub(crate) struct AheadRead {
    pub(crate) request: Request,
    pub(crate) then: OnceDurable,
}

/// What happens once all that a read saw is durable. It does not look again: new writes in memory would make it wait again, and so for ever.
#[derive(Debug)]
pub(crate) enum OnceDurable {
    /// What it found is its answer.
    Answer(OperationResult<Vec<u8>>),
    /// It reads a page at the snapshot that it holds.
    Scan(Box<ScanPageRequest>),
}

impl AheadRead {
    fn size_bytes(&self) -> usize {
        const FIXED: usize = 128;
        FIXED
            + match &self.then {
                OnceDurable::Answer(OperationResult::Found { value, .. }) => value.len(),
                OnceDurable::Answer(OperationResult::Page(page)) => page.size_bytes(),
                OnceDurable::Answer(_) => 0,
                OnceDurable::Scan(page) => page.start.len() + page.end.len() + page.prefix.len(),
            }
    }
}

/// Reads that saw something not yet durable, by partition.
#[derive(Debug)]
pub(crate) struct DurabilityWaiters {
    partitions: BTreeMap<PartitionId, VecDeque<(LogIndex, AheadRead)>>,
    size_bytes: usize,
    size_bytes_max: usize,
}

impl DurabilityWaiters {
    pub(crate) fn new(size_bytes_max: usize) -> Self {
        Self { partitions: BTreeMap::new(), size_bytes: 0, size_bytes_max }
    }

    /// Lets a read wait until `index` is durable, or gives it back if too much waits.
    pub(crate) fn push(&mut self, index: LogIndex, read: AheadRead) -> Option<AheadRead> {
        let size_bytes = read.size_bytes();
        if self.size_bytes + size_bytes > self.size_bytes_max {
            return Some(read);
        }
        self.size_bytes += size_bytes;
        self.partitions.entry(read.request.partition).or_default().push_back((index, read));
        None
    }

    /// Takes out what `partition` being durable through `index` lets go on.
    pub(crate) fn resolve(&mut self, partition: PartitionId, index: LogIndex, ready: &mut Vec<AheadRead>) {
        if let Some(waiters) = self.partitions.get_mut(&partition) {
            while let Some((_, read)) = waiters.pop_front_if(|(needed, _)| *needed <= index) {
                self.size_bytes -= read.size_bytes();
                ready.push(read);
            }
        }
    }

    /// Takes out all of a partition's: what they saw never was.
    pub(crate) fn remove(&mut self, partition: PartitionId) -> impl Iterator<Item = AheadRead> + use<> {
        let removed = self.partitions.remove(&partition).unwrap_or_default();
        self.size_bytes -= removed.iter().map(|(_, read)| read.size_bytes()).sum::<usize>();
        removed.into_iter().map(|(_, read)| read)
    }

    pub(crate) fn expire(&mut self, now_ms: u64, mut expired: impl FnMut(AheadRead)) {
        for waiters in self.partitions.values_mut() {
            let (late, rest): (VecDeque<_>, VecDeque<_>) =
                std::mem::take(waiters).into_iter().partition(|(_, read)| read.request.deadline_ms <= now_ms);
            *waiters = rest;
            for (_, read) in late {
                self.size_bytes -= read.size_bytes();
                expired(read);
            }
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.partitions.values().map(VecDeque::len).sum()
    }
}
