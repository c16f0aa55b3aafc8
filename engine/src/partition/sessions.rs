//! Sessions of clients: which of their requests were applied, and with what result, so that a request which is sent again is answered and not applied again
//! (Ongaro's thesis, 6.3).
//!
//! Replicated state: it changes only with entries, in memory, and becomes rows with each flush. A session that is not used for its time, in log time, is
//! gone, and so is the one that was not used for longest when there are too many: requests of theirs are refused rather than applied, since they
//! may have been applied before.
//!
//! Bounds: [`SESSIONS_MAX`] sessions of at most [`SESSION_WINDOW`] results.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::bugs::{self, Bug};
use crate::bytes_io::{ByteSink, FieldReader};
use crate::command::SessionStamp;
use crate::ids::{LogTime, Revision};
use crate::limits::{SESSION_WINDOW, SESSIONS_MAX};

/// What became of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Done {
    sequence: u64,
    revision: Revision,
    /// A checksum of what was asked for.
    body_hash: u32,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Session {
    ttl_ms: u64,
    deadline: LogTime,
    /// All requests before this one were answered.
    oldest: u64,
    /// By sequence.
    done: VecDeque<Done>,
    /// Whether it differs from its row.
    is_dirty: bool,
}

/// Whether a request is to be applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// It is new.
    Apply,
    /// It was applied, and got this revision.
    Repeated(Revision),
    /// Whether it was applied is not known any more.
    Expired,
    /// Another request had its number.
    Reused,
}

/// The sessions of a partition.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Sessions {
    table: BTreeMap<u64, Session>,
    by_deadline: BTreeSet<(LogTime, u64)>,
    /// Those whose rows are not as they are; some may be gone.
    dirty: Vec<u64>,
}

impl Sessions {
    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.table.len()
    }

    /// A session begins.
    pub(crate) fn open(&mut self, id: u64, ttl_ms: u64, now: LogTime) {
        while let Some(&(deadline, oldest)) = self.by_deadline.first()
            && (deadline < now || self.table.len() >= SESSIONS_MAX)
        {
            self.close(oldest);
        }
        let deadline = LogTime(now.0.saturating_add(ttl_ms));
        self.by_deadline.insert((deadline, id));
        self.table.insert(id, Session { ttl_ms, deadline, oldest: 1, done: VecDeque::new(), is_dirty: true });
        self.dirty.push(id);
    }

    /// A session ends.
    pub(crate) fn close(&mut self, id: u64) {
        let Some(session) = self.table.remove(&id) else { return };
        self.by_deadline.remove(&(session.deadline, id));
        if !session.is_dirty {
            self.dirty.push(id);
        }
    }

    /// Whether a request is to be applied; then [`done`](Self::done) must follow. Using a session keeps it.
    pub(crate) fn judge(&mut self, stamp: SessionStamp, body_hash: u32, now: LogTime) -> Verdict {
        let Some(session) = self.table.get_mut(&stamp.session) else { return Verdict::Expired };
        if session.deadline < now {
            self.close(stamp.session);
            return Verdict::Expired;
        }
        let deadline = LogTime(now.0.saturating_add(session.ttl_ms));
        if deadline != session.deadline {
            self.by_deadline.remove(&(session.deadline, stamp.session));
            self.by_deadline.insert((deadline, stamp.session));
            session.deadline = deadline;
        }
        if !std::mem::replace(&mut session.is_dirty, true) {
            self.dirty.push(stamp.session);
        }
        session.oldest = session.oldest.max(stamp.oldest);
        while session.done.pop_front_if(|done| done.sequence < session.oldest).is_some() {}
        if stamp.sequence < session.oldest || stamp.sequence >= session.oldest + SESSION_WINDOW {
            return Verdict::Expired;
        }
        match session.done.binary_search_by_key(&stamp.sequence, |done| done.sequence) {
            Err(_) => Verdict::Apply,
            Ok(_) if bugs::is_planted(Bug::SessionsApplyRepeated) => Verdict::Apply,
            Ok(place) if session.done[place].body_hash == body_hash => Verdict::Repeated(session.done[place].revision),
            Ok(_) => Verdict::Reused,
        }
    }

    /// A request was applied.
    pub(crate) fn done(&mut self, stamp: SessionStamp, body_hash: u32, revision: Revision) {
        let session = self.table.get_mut(&stamp.session).expect("it was judged");
        let done = Done { sequence: stamp.sequence, revision, body_hash };
        let place = session.done.partition_point(|other| other.sequence < done.sequence);
        session.done.insert(place, done);
    }

    /// The sessions that differ from their rows: number and the row's value, `None` if it is gone.
    pub(crate) fn take_dirty(&mut self) -> Vec<(u64, Option<Vec<u8>>)> {
        let dirty = std::mem::take(&mut self.dirty);
        let rows = dirty.into_iter().map(|id| {
            let session = self.table.get_mut(&id);
            (
                id,
                session.map(|session| {
                    session.is_dirty = false;
                    session.encode()
                }),
            )
        });
        rows.collect()
    }

    /// Takes a session out of its row; `None` if the row makes no sense.
    pub(crate) fn load(&mut self, id: u64, value: &[u8]) -> Option<()> {
        let session = Session::decode(value)?;
        self.by_deadline.insert((session.deadline, id));
        self.table.insert(id, session);
        Some(())
    }
}

impl Session {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(28 + self.done.len() * 20);
        bytes.put_u64(self.ttl_ms);
        bytes.put_u64(self.deadline.0);
        bytes.put_u64(self.oldest);
        bytes.put_u32(u32::try_from(self.done.len()).expect("the window is small"));
        for done in &self.done {
            bytes.put_u64(done.sequence);
            bytes.put_u64(done.revision.0);
            bytes.put_u32(done.body_hash);
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = FieldReader::new(bytes);
        let (ttl_ms, deadline, oldest) = (fields.u64()?, LogTime(fields.u64()?), fields.u64()?);
        let count = fields.u32()?;
        let mut done = VecDeque::new();
        for _ in 0..count {
            let (sequence, revision) = (fields.u64()?, Revision(fields.u64()?));
            done.push_back(Done { sequence, revision, body_hash: fields.u32()? });
        }
        let is_sorted = done.iter().is_sorted_by(|a, b| a.sequence < b.sequence);
        (fields.is_empty() && is_sorted).then_some(Self { ttl_ms, deadline, oldest, done, is_dirty: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: u64 = 60_000;

    fn stamp(session: u64, sequence: u64, oldest: u64) -> SessionStamp {
        SessionStamp { session, sequence, oldest }
    }

    fn apply(sessions: &mut Sessions, stamp: SessionStamp, revision: u64, now: u64) -> Verdict {
        let verdict = sessions.judge(stamp, 7, LogTime(now));
        if verdict == Verdict::Apply {
            sessions.done(stamp, 7, Revision(revision));
        }
        verdict
    }

    #[test]
    fn a_request_is_applied_once_and_answered_as_often_as_it_comes() {
        let mut sessions = Sessions::default();
        sessions.open(5, MINUTE_MS, LogTime(1));
        assert_eq!(apply(&mut sessions, stamp(5, 2, 1), 10, 2), Verdict::Apply);
        assert_eq!(apply(&mut sessions, stamp(5, 1, 1), 11, 2), Verdict::Apply, "requests may overtake each other");
        assert_eq!(apply(&mut sessions, stamp(5, 2, 1), 12, 2), Verdict::Repeated(Revision(10)));
        assert_eq!(apply(&mut sessions, stamp(5, 1, 1), 12, 2), Verdict::Repeated(Revision(11)));
        assert_eq!(sessions.judge(stamp(5, 2, 1), 8, LogTime(2)), Verdict::Reused);
        assert_eq!(apply(&mut sessions, stamp(5, 3, 3), 13, 2), Verdict::Apply);
        assert_eq!(apply(&mut sessions, stamp(5, 2, 1), 14, 2), Verdict::Expired, "its client had the answer");
        assert_eq!(apply(&mut sessions, stamp(5, 3 + SESSION_WINDOW, 3), 14, 2), Verdict::Expired, "beyond the window");
        assert_eq!(apply(&mut sessions, stamp(6, 1, 1), 14, 2), Verdict::Expired, "an unknown session");
    }

    #[test]
    fn a_session_lives_as_long_as_it_is_used() {
        let mut sessions = Sessions::default();
        sessions.open(1, 100, LogTime(0));
        sessions.open(2, 100, LogTime(0));
        assert_eq!(apply(&mut sessions, stamp(1, 1, 1), 3, 100), Verdict::Apply);
        assert_eq!(apply(&mut sessions, stamp(1, 2, 2), 4, 200), Verdict::Apply);
        assert_eq!(apply(&mut sessions, stamp(2, 1, 1), 5, 200), Verdict::Expired);
        assert_eq!(apply(&mut sessions, stamp(1, 3, 3), 6, 301), Verdict::Expired);
        assert_eq!(sessions.count(), 0);
    }

    #[test]
    fn of_too_many_sessions_the_one_that_was_not_used_for_longest_goes() {
        let mut sessions = Sessions::default();
        (0..SESSIONS_MAX as u64).for_each(|id| sessions.open(id, MINUTE_MS, LogTime(id)));
        assert_eq!(apply(&mut sessions, stamp(0, 1, 1), 1, 20_000), Verdict::Apply);
        sessions.open(1_000_000, MINUTE_MS, LogTime(20_001));
        assert_eq!(sessions.count(), SESSIONS_MAX);
        assert_eq!(apply(&mut sessions, stamp(1, 1, 1), 2, 20_002), Verdict::Expired);
        assert_eq!(apply(&mut sessions, stamp(0, 2, 2), 3, 20_002), Verdict::Apply);
    }

    #[test]
    fn rows_bring_sessions_back() {
        let mut sessions = Sessions::default();
        let mut loaded = Sessions::default();
        for id in 1..4 {
            sessions.open(id, MINUTE_MS, LogTime(id));
        }
        apply(&mut sessions, stamp(2, 1, 1), 5, 9);
        sessions.close(3);
        let mut rows = BTreeMap::new();
        for round in 0..2 {
            for (id, row) in sessions.take_dirty() {
                match row {
                    Some(value) => drop(rows.insert(id, value)),
                    None => drop(rows.remove(&id)),
                }
            }
            assert!(sessions.take_dirty().is_empty(), "all is written");
            if round == 0 {
                apply(&mut sessions, stamp(2, 2, 2), 6, 10);
                sessions.close(1);
            }
        }
        assert_eq!(rows.keys().copied().collect::<Vec<_>>(), [2]);
        rows.iter().for_each(|(id, value)| loaded.load(*id, value).expect("a row of ours"));
        assert_eq!(loaded, sessions);
        let value = rows.remove(&2).expect("there");
        for length in 0..value.len() {
            assert!(Sessions::default().load(2, &value[..length]).is_none(), "cut to {length}");
        }
    }
}
