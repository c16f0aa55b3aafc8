//! Where the time of requests goes: a histogram for each operation and stage, counted by the shard alone, one plain increment each.
//!
//! ```text
//! last byte in ─queue─► turn ─wait─► at hand ─append─► log write ─sync─► durable ─quorum─► committed ─apply─► to the socket ─reply─► last byte out
//! ```
//!
//! A request has the stages that it went through; their sum is its *residency* to the nanosecond, since each begins where the one before
//! ended. Times are read where many requests share them: once a read of a socket, a turn, a log write, a send. So requests that came and
//! left together are counted in one step, and a request that came alone costs some tens of nanoseconds.

use std::collections::VecDeque;

use corelode_engine::ids::LogIndex;
use corelode_net::body::Receipt;
use corelode_net::table::StageHistogram;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer, V2Serializer};

/// Decimal digits that a time keeps.
const DIGITS: u8 = 3;
/// The longest time that is told apart from longer ones, nanoseconds: a minute. No request waits longer.
const HIGHEST_NS: u64 = 60_000_000_000;
/// Groups of answers in one send that are looked through for one that came and went at the same times.
const GROUPS_SEARCHED: usize = 4;

/// An operation that is timed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimedOperation {
    /// GET.
    Get,
    /// PUT.
    Put,
    /// DELETE.
    Delete,
    /// BATCH.
    Batch,
    /// SCAN, a page.
    Scan,
}

impl TimedOperation {
    const ALL: [Self; 5] = [Self::Get, Self::Put, Self::Delete, Self::Batch, Self::Scan];

    fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Put => "put",
            Self::Delete => "delete",
            Self::Batch => "batch",
            Self::Scan => "scan",
        }
    }
}

/// The stages, and their sum.
const STAGES: [&str; 8] = ["queue", "wait", "append", "sync", "quorum", "apply", "reply", "residency"];

/// When a request came to the shard, nanoseconds on its monotonic clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Arrival {
    /// Its last byte was received.
    pub received_ns: u64,
    /// The turn that looked at it began.
    pub taken_ns: u64,
    /// There was room for it in memory and log, for which it had to wait; zero if it had not.
    pub had_room_ns: u64,
}

impl Arrival {
    /// The same request, for which there is room at `now_ns`. Who came in the turn that began then has not waited for it.
    pub(crate) fn with_room_at(self, now_ns: u64) -> Self {
        if now_ns > self.taken_ns { Self { had_room_ns: now_ns, ..self } } else { self }
    }
}

/// What happened just before a request was answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Cause {
    /// It was carried out at once.
    #[default]
    Turn,
    /// What it waited for was there: a block, or another core's answer.
    Resumed {
        /// When.
        at_ns: u64,
    },
    /// A log write ended.
    Logged {
        /// When it was handed to the disk.
        started_ns: u64,
        /// When it was durable.
        ended_ns: u64,
    },
    /// Enough other nodes had the entry, on their disks or in memory, whichever the request waited for.
    Committed {
        /// When this node's write of it was handed to the disk; zero if it was not waited for, or is not known.
        started_ns: u64,
        /// When that was durable here; no later than the commit.
        stored_ns: u64,
        /// When the commit became known.
        at_ns: u64,
    },
}

/// Log writes of one partition whose entries are not all committed, so that a commit can tell the wait for this disk from the wait for others.
#[derive(Debug, Default)]
pub(crate) struct StoreTimes {
    /// The last entry of each, and when the write began and ended.
    writes: VecDeque<(LogIndex, u64, u64)>,
}

impl StoreTimes {
    /// A follower far ahead of the commit forgets the oldest: nobody here waits for them.
    const WRITES_MAX: usize = 256;

    /// All up to `through` is stored by a write.
    pub(crate) fn stored(&mut self, through: LogIndex, started_ns: u64, ended_ns: u64) {
        if self.writes.back().is_some_and(|(last, ..)| *last >= through) {
            return;
        }
        if self.writes.len() == Self::WRITES_MAX {
            self.writes.pop_front();
        }
        self.writes.push_back((through, started_ns, ended_ns));
    }

    /// Why the writes of an entry are answered now. Entries come in order.
    pub(crate) fn cause(&mut self, index: LogIndex, is_durable: bool, at_ns: u64) -> Cause {
        if !is_durable {
            return Cause::Committed { started_ns: 0, stored_ns: 0, at_ns };
        }
        while self.writes.pop_front_if(|(through, ..)| *through < index).is_some() {}
        match self.writes.front() {
            Some((_, started_ns, ended_ns)) => {
                Cause::Committed { started_ns: *started_ns, stored_ns: *ended_ns, at_ns }
            }
            // Other disks were faster: what was waited for is a disk all the same.
            None => Cause::Committed { started_ns: 0, stored_ns: at_ns, at_ns },
        }
    }
}

/// Answers of one operation that came and were caused together.
#[derive(Clone, Copy, Debug)]
struct Group {
    operation: TimedOperation,
    arrival: Arrival,
    cause: Cause,
    count: u64,
}

/// The answers of one connection on their way out.
#[derive(Debug, Default)]
pub(crate) struct Departures {
    gathering: Vec<Group>,
    sending: Vec<Group>,
    taken_ns: u64,
    /// Where receipts stand in the output, to be written when it is given to the socket.
    receipts: Vec<(usize, Arrival, Cause)>,
}

impl Departures {
    /// An answer was put with the connection's output.
    #[inline]
    pub(crate) fn add(&mut self, operation: TimedOperation, arrival: Arrival, cause: Cause) {
        let is_same = |group: &Group| group.arrival == arrival && group.operation == operation && group.cause == cause;
        match self.gathering.last_mut() {
            // As a rule the answer before came and went with this one.
            Some(last) if is_same(last) => last.count += 1,
            _ => self.add_to_other(Group { operation, arrival, cause, count: 1 }),
        }
    }

    fn add_to_other(&mut self, new: Group) {
        let is_same = |group: &&mut Group| {
            group.arrival == new.arrival && group.operation == new.operation && group.cause == new.cause
        };
        match self.gathering.iter_mut().rev().take(GROUPS_SEARCHED).find(is_same) {
            Some(group) => group.count += 1,
            None => self.gathering.push(new),
        }
    }

    /// An answer that begins at `start` of the output has room for its receipt.
    pub(crate) fn add_receipt(&mut self, start: usize, arrival: Arrival, cause: Cause) {
        self.receipts.push((start, arrival, cause));
    }

    /// The output is given to the socket; receipts are written into it.
    pub(crate) fn taken(&mut self, now_ns: u64, output: &mut [u8]) {
        debug_assert!(self.sending.is_empty(), "one send at a time");
        std::mem::swap(&mut self.gathering, &mut self.sending);
        self.taken_ns = now_ns;
        for (start, arrival, cause) in self.receipts.drain(..) {
            receipt(arrival, cause, now_ns).fill(output, start);
        }
    }

    /// The socket took all of it.
    pub(crate) fn written(&mut self, now_ns: u64, stages: &mut StageHistograms) {
        for group in self.sending.drain(..) {
            stages.record(&group, self.taken_ns, now_ns);
        }
    }
}

type OfOneOperation = [Histogram<u64>; STAGES.len()];

/// A shard's histograms. An operation takes memory once it occurs.
#[derive(Default)]
pub(crate) struct StageHistograms {
    operations: [Option<Box<OfOneOperation>>; TimedOperation::ALL.len()],
}

impl StageHistograms {
    fn record(&mut self, group: &Group, sent_ns: u64, written_ns: u64) {
        let histograms =
            self.operations[group.operation as usize].get_or_insert_with(|| Box::new(std::array::from_fn(|_| empty())));
        let [queue, wait, append, sync, quorum, apply, reply, residency] = &mut **histograms;
        let Receipt { queue_ns, wait_ns, append_ns, sync_ns, quorum_ns, apply_ns } =
            receipt(group.arrival, group.cause, sent_ns);
        let reply_ns = written_ns.saturating_sub(sent_ns);
        let count = |stage: &mut Histogram<u64>, time_ns: u64| stage.saturating_record_n(time_ns, group.count);
        count(queue, queue_ns);
        if group.arrival.had_room_ns > 0 || matches!(group.cause, Cause::Resumed { .. }) {
            count(wait, wait_ns);
        }
        if let Cause::Logged { .. } | Cause::Committed { .. } = group.cause {
            count(append, append_ns);
            count(sync, sync_ns);
        }
        if let Cause::Committed { .. } = group.cause {
            count(quorum, quorum_ns);
        }
        count(apply, apply_ns);
        count(reply, reply_ns);
        count(residency, queue_ns + wait_ns + append_ns + sync_ns + quorum_ns + apply_ns + reply_ns);
    }

    /// The names of the operations that have been counted.
    pub(crate) fn operations(&self) -> impl Iterator<Item = &'static str> {
        let is_counted = |operation: &TimedOperation| self.operations[*operation as usize].is_some();
        TimedOperation::ALL.into_iter().filter(is_counted).map(TimedOperation::name)
    }

    /// The histograms of the operation of that name that have counted anything.
    pub(crate) fn export(&self, operation: &str) -> Vec<StageHistogram> {
        let named = TimedOperation::ALL.into_iter().find(|known| known.name() == operation);
        let histograms = named.and_then(|operation| self.operations[operation as usize].as_ref());
        let counted = STAGES.iter().zip(histograms.into_iter().flat_map(|histograms| histograms.iter()));
        let mut serializer = V2Serializer::new();
        let export = |(stage, histogram): (&&str, &Histogram<u64>)| {
            let mut v2 = Vec::new();
            serializer.serialize(histogram, &mut v2).expect("memory takes it");
            StageHistogram { stage: (*stage).to_owned(), v2 }
        };
        counted.filter(|(_, histogram)| !histogram.is_empty()).map(export).collect()
    }
}

/// The stages of a request up to when its answer is given to the socket. Where a wait was over before the request came, that stage is none: each
/// time is at least the one before.
fn receipt(arrival: Arrival, cause: Cause, sent_ns: u64) -> Receipt {
    let mut at = arrival.received_ns;
    let mut until = |end_ns: u64| {
        let end_ns = end_ns.max(at);
        let time_ns = end_ns - at;
        at = end_ns;
        time_ns
    };
    let queue_ns = until(arrival.taken_ns);
    let mut receipt = Receipt { queue_ns, wait_ns: until(arrival.had_room_ns), ..Receipt::default() };
    match cause {
        Cause::Turn => {}
        Cause::Resumed { at_ns } => receipt.wait_ns += until(at_ns),
        Cause::Logged { started_ns, ended_ns } => {
            receipt.append_ns = until(started_ns);
            receipt.sync_ns = until(ended_ns);
        }
        Cause::Committed { started_ns, stored_ns, at_ns } => {
            receipt.append_ns = until(started_ns);
            receipt.sync_ns = until(stored_ns.min(at_ns));
            receipt.quorum_ns = until(at_ns);
        }
    }
    receipt.apply_ns = until(sent_ns);
    receipt
}

fn empty() -> Histogram<u64> {
    Histogram::new_with_max(HIGHEST_NS, DIGITS).expect("the bounds are valid")
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::Deserializer;

    use super::*;

    fn recorded(had_room_ns: u64, causes: &[Cause]) -> Vec<(String, Histogram<u64>)> {
        let (mut departures, mut stages) = (Departures::default(), StageHistograms::default());
        let arrival = Arrival { received_ns: 1_000, taken_ns: 1_100, had_room_ns };
        causes.iter().for_each(|&cause| departures.add(TimedOperation::Put, arrival, cause));
        departures.taken(2_000, &mut []);
        departures.written(2_050, &mut stages);
        assert_eq!(stages.operations().collect::<Vec<_>>(), ["put"]);
        assert_eq!(stages.export("get"), []);
        let decode = |v2: Vec<u8>| Deserializer::new().deserialize(&mut v2.as_slice()).expect("valid");
        stages.export("put").into_iter().map(|exported| (exported.stage, decode(exported.v2))).collect()
    }

    #[test]
    fn stages_follow_each_other_and_sum_to_residency() {
        let logged = Cause::Logged { started_ns: 1_300, ended_ns: 1_900 };
        let found = recorded(0, &[logged, logged]);
        let times: Vec<_> =
            found.iter().map(|(stage, histogram)| (stage.as_str(), histogram.max(), histogram.len())).collect();
        let expected = [
            ("queue", 100, 2),
            ("append", 200, 2),
            ("sync", 600, 2),
            ("apply", 100, 2),
            ("reply", 50, 2),
            ("residency", 1_050, 2),
        ];
        assert_eq!(times, expected);
    }

    #[test]
    fn who_waited_for_room_has_that_between_queue_and_append() {
        let logged = Cause::Logged { started_ns: 1_500, ended_ns: 1_900 };
        let found = recorded(1_450, &[logged]);
        let times: Vec<_> = found.iter().map(|(stage, histogram)| (stage.as_str(), histogram.max())).collect();
        let expected = [
            ("queue", 100),
            ("wait", 350),
            ("append", 50),
            ("sync", 400),
            ("apply", 100),
            ("reply", 50),
            ("residency", 1_050),
        ];
        assert_eq!(times, expected);
        // And then for another core, or not at all.
        let arrival = Arrival { received_ns: 1_000, taken_ns: 1_100, had_room_ns: 1_450 };
        let stages = |cause| {
            let Receipt { queue_ns, wait_ns, append_ns, sync_ns, quorum_ns, apply_ns } = receipt(arrival, cause, 2_000);
            [queue_ns, wait_ns, append_ns, sync_ns, quorum_ns, apply_ns]
        };
        assert_eq!(stages(Cause::Resumed { at_ns: 1_700 }), [100, 600, 0, 0, 0, 300]);
        assert_eq!(stages(Cause::Turn), [100, 350, 0, 0, 0, 550]);
    }

    #[test]
    fn a_commit_tells_the_wait_for_this_disk_from_the_wait_for_others() {
        let arrival = Arrival { received_ns: 1_000, taken_ns: 1_100, had_room_ns: 0 };
        let stages = |cause| {
            let Receipt { append_ns, sync_ns, quorum_ns, apply_ns, .. } = receipt(arrival, cause, 2_000);
            [append_ns, sync_ns, quorum_ns, apply_ns]
        };
        let mut times = StoreTimes::default();
        times.stored(LogIndex(4), 1_150, 1_400);
        times.stored(LogIndex(6), 1_450, 1_700);
        assert_eq!(stages(times.cause(LogIndex(3), true, 1_600)), [50, 250, 200, 400]);
        assert_eq!(stages(times.cause(LogIndex(4), true, 1_600)), [50, 250, 200, 400]);
        assert_eq!(stages(times.cause(LogIndex(5), true, 1_800)), [350, 250, 100, 200]);
        // The others were faster than this disk, which has not told of its write yet.
        assert_eq!(stages(times.cause(LogIndex(7), true, 1_900)), [0, 800, 0, 100]);
        // For a write in memory no disk was waited for.
        times.stored(LogIndex(8), 1_150, 1_400);
        assert_eq!(stages(times.cause(LogIndex(8), false, 1_300)), [0, 0, 200, 700]);
        assert_eq!(recorded(0, &[times.cause(LogIndex(8), false, 1_300)]).len(), 7, "all but the wait for room");
    }

    #[test]
    fn a_stage_that_was_over_before_the_request_came_takes_no_time() {
        let logged = Cause::Logged { started_ns: 900, ended_ns: 1_500 };
        let found = recorded(0, &[logged, Cause::Turn, Cause::Resumed { at_ns: 1_700 }]);
        let sum = |wanted: &str| -> u64 {
            let of_stage = found.iter().find(|(stage, _)| stage == wanted);
            of_stage.map_or(0, |(_, histogram)| {
                histogram.iter_recorded().map(|value| value.value_iterated_to() * value.count_at_value()).sum()
            })
        };
        assert_eq!((sum("append"), sum("sync"), sum("wait")), (0, 400, 600));
        let stages: u64 = ["queue", "wait", "append", "sync", "apply", "reply"].into_iter().map(sum).sum();
        assert_eq!(stages, sum("residency"));
    }
}
