//! How far a leader knows a follower to be, and how much it may send to it.

use std::collections::VecDeque;

use crate::ids::{LogIndex, Round, Time};

/// How entries go to a follower.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReplicationState {
    /// Where the logs part is being looked for: one message at a time.
    Probe,
    /// Messages follow each other without waiting for answers, as far as the window allows.
    Replicate,
    /// What it needs is gone from the log: it is being sent a snapshot.
    Snapshot,
}

/// How much may be under way to one follower.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Window {
    pub(crate) messages_max: usize,
    pub(crate) bytes_max: u64,
}

/// A follower as its leader sees it.
///
/// Invariant: `matched < next`.
#[derive(Clone, Debug)]
pub struct Progress {
    pub(crate) state: ReplicationState,
    /// The last entry that it has stored, as it said.
    pub(crate) matched: LogIndex,
    /// The last entry that it has at least in memory. Invariant: no less than `matched`.
    pub(crate) received: LogIndex,
    /// The next entry to send. Runs ahead of `matched` while replicating, in the hope that nothing is lost.
    pub(crate) next: LogIndex,
    /// Messages with entries that were not answered: their last entries, and bytes.
    in_flight: VecDeque<(LogIndex, u64)>,
    in_flight_bytes: u64,
    /// A probe is under way; the next one leaves with its answer or the next heartbeat.
    pub(crate) is_probe_sent: bool,
    /// Its snapshot has reached it, or has come to nothing; its next answer tells.
    pub(crate) is_snapshot_ended: bool,
    /// When it was heard of last.
    pub(crate) heard_at: Time,
    /// When it was last sent something.
    pub(crate) sent_at: Time,
    /// The newest round that it has answered.
    pub(crate) round: Round,
    /// It said that it has fallen silent.
    pub(crate) is_quiet: bool,
}

impl Progress {
    pub(crate) fn new(next: LogIndex, now: Time) -> Self {
        Self {
            state: ReplicationState::Probe,
            matched: LogIndex(0),
            received: LogIndex(0),
            next,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            is_probe_sent: false,
            is_snapshot_ended: false,
            heard_at: now,
            sent_at: Time(0),
            round: Round(0),
            is_quiet: false,
        }
    }

    /// How entries go to it.
    #[must_use]
    pub fn state(&self) -> ReplicationState {
        self.state
    }

    /// The last entry that it is known to have stored.
    #[must_use]
    pub fn matched(&self) -> LogIndex {
        self.matched
    }

    /// The next entry that it will be sent.
    #[must_use]
    pub fn next(&self) -> LogIndex {
        self.next
    }

    /// Bytes of entries that it has not answered.
    #[must_use]
    pub fn in_flight_bytes(&self) -> u64 {
        self.in_flight_bytes
    }

    /// Whether entries may be sent to it now.
    pub(crate) fn may_send(&self, window: Window) -> bool {
        match self.state {
            ReplicationState::Probe => !self.is_probe_sent,
            ReplicationState::Replicate => {
                self.in_flight.len() < window.messages_max && self.in_flight_bytes < window.bytes_max
            }
            ReplicationState::Snapshot => false,
        }
    }

    /// Entries up to `last` leave.
    pub(crate) fn sent(&mut self, last: LogIndex, bytes: u64) {
        match self.state {
            ReplicationState::Probe => self.is_probe_sent = true,
            ReplicationState::Replicate if last >= self.next => {
                self.next = last.next();
                self.in_flight.push_back((last, bytes));
                self.in_flight_bytes += bytes;
            }
            ReplicationState::Replicate | ReplicationState::Snapshot => {}
        }
    }

    /// It has stored all up to `index`. Whether that is news.
    pub(crate) fn stored(&mut self, index: LogIndex) -> bool {
        let is_news = index > self.matched;
        self.matched = self.matched.max(index);
        self.received = self.received.max(index);
        self.next = self.next.max(self.matched.next());
        while let Some((_, bytes)) = self.in_flight.pop_front_if(|(last, _)| *last <= index) {
            self.in_flight_bytes -= bytes;
        }
        if self.state == ReplicationState::Probe && index.next() >= self.next {
            self.state = ReplicationState::Replicate;
            self.is_probe_sent = false;
        }
        is_news
    }

    /// It does not have the entry before `next`, or what was sent was lost: look for where the logs part, first at `next`.
    pub(crate) fn probe(&mut self, next: LogIndex) {
        self.state = ReplicationState::Probe;
        self.next = next.max(self.matched.next());
        self.is_probe_sent = false;
        self.in_flight.clear();
        self.in_flight_bytes = 0;
    }

    /// It is being sent a snapshot.
    pub(crate) fn snapshot(&mut self) {
        self.probe(self.next);
        self.state = ReplicationState::Snapshot;
        self.is_snapshot_ended = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window { messages_max: 2, bytes_max: 100 };

    fn replicating() -> Progress {
        let mut progress = Progress::new(LogIndex(5), Time(0));
        assert!(progress.stored(LogIndex(4)));
        assert_eq!(progress.state(), ReplicationState::Replicate);
        progress
    }

    #[test]
    fn one_probe_is_under_way_at_a_time() {
        let mut progress = Progress::new(LogIndex(5), Time(0));
        assert!(progress.may_send(WINDOW));
        progress.sent(LogIndex(6), 10);
        assert!(!progress.may_send(WINDOW));
        assert_eq!(progress.next(), LogIndex(5), "nothing is taken for sent that was not asked for");
    }

    #[test]
    fn a_window_is_full_by_messages_or_by_bytes_and_opens_with_answers() {
        let mut progress = replicating();
        progress.sent(LogIndex(5), 10);
        progress.sent(LogIndex(6), 10);
        assert!(!progress.may_send(WINDOW), "two messages");
        assert!(progress.stored(LogIndex(5)));
        assert!(progress.may_send(WINDOW));
        progress.sent(LogIndex(7), 90);
        assert!(progress.stored(LogIndex(6)));
        assert!(progress.may_send(WINDOW), "ninety bytes");
        progress.sent(LogIndex(8), 20);
        assert!(progress.stored(LogIndex(7)) && progress.may_send(WINDOW));
        assert_eq!(progress.in_flight_bytes(), 20);
    }

    #[test]
    fn a_probe_never_goes_back_before_what_is_known() {
        let mut progress = replicating();
        progress.sent(LogIndex(9), 10);
        progress.probe(LogIndex(1));
        assert_eq!((progress.next(), progress.in_flight_bytes()), (LogIndex(5), 0));
    }

    #[test]
    fn an_answer_to_an_old_message_changes_nothing() {
        let mut progress = replicating();
        progress.sent(LogIndex(9), 10);
        assert!(!progress.stored(LogIndex(2)));
        assert_eq!((progress.matched(), progress.next()), (LogIndex(4), LogIndex(10)));
    }
}
