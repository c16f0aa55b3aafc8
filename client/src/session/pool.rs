//! The sessions of one partition, as a plain state machine: which of them the next write goes with, and who opens another. No socket, no clock, no lock.

use std::time::Duration;

use corelode_net::body::SessionPrefix;
use tokio::time::Instant;

use super::window::Window;
use crate::error::Error;

/// How long a session lives at the server without being used.
pub(super) const TTL: Duration = Duration::from_secs(600);
/// A session that was not used for so long is not used again. The server's log may be some minutes ahead of this clock, and count from an earlier use.
const IDLE_MAX: Duration = Duration::from_secs(300);
const _: () = assert!(IDLE_MAX.as_secs() * 2 <= TTL.as_secs(), "what is used lives");
/// The most sessions of a partition: [`SESSION_WINDOW`](corelode_net::limits::SESSION_WINDOW) writes each may be under way.
const SESSIONS_MAX: usize = 8;
/// Where sessions are refused, none is asked for again for so long.
const PAUSE: Duration = Duration::from_secs(30);

/// What a write is to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    /// Go with this stamp, which is [settled](Pool::settle) later.
    Stamped(SessionPrefix),
    /// Open a session, and tell of it: [`opened`](Pool::opened), [`not_opened`](Pool::not_opened) or [`refused`](Pool::refused).
    Open,
    /// Wait until a window has room, or a session is opened.
    Wait,
    /// Go without a stamp: there are no sessions.
    Unstamped,
}

#[derive(Debug)]
struct Session {
    number: u64,
    window: Window,
    /// When the last write began with it.
    used_at: Instant,
}

/// The sessions of one partition.
#[derive(Default, Debug)]
pub(super) struct Pool {
    /// The first one that has room is used, so that those that a burst needed fall idle. At most [`SESSIONS_MAX`].
    sessions: Vec<Session>,
    /// Somebody opens another.
    is_opening: bool,
    /// None is opened until then.
    paused_until: Option<Instant>,
    /// What the last one who tried to open one met: what those are told whose time ends while they wait.
    failure: Option<Error>,
}

impl Pool {
    /// What the next write is to do.
    pub(super) fn next(&mut self, now: Instant) -> Turn {
        self.sessions.retain(|session| now.saturating_duration_since(session.used_at) < IDLE_MAX);
        for Session { number, window, used_at } in &mut self.sessions {
            if let Some((sequence, oldest)) = window.take() {
                *used_at = now;
                return Turn::Stamped(SessionPrefix { session: *number, sequence, oldest });
            }
        }
        let is_paused = self.paused_until.is_some_and(|until| now < until);
        if is_paused && self.sessions.is_empty() {
            return Turn::Unstamped;
        }
        if is_paused || self.is_opening || self.sessions.len() >= SESSIONS_MAX {
            return Turn::Wait;
        }
        self.is_opening = true;
        Turn::Open
    }

    /// Whoever was to open a session has one.
    pub(super) fn opened(&mut self, number: u64, now: Instant) {
        self.end_opening();
        self.paused_until = None;
        self.failure = None;
        self.sessions.push(Session { number, window: Window::new(), used_at: now });
    }

    /// Whoever was to open a session gave up, and says why unless it went away. The next one tries again.
    pub(super) fn not_opened(&mut self, failure: Option<Error>) {
        self.end_opening();
        self.failure = failure.or(self.failure.take());
    }

    /// Whoever was to open a session was refused for good: writes go without for some time.
    pub(super) fn refused(&mut self, now: Instant) {
        self.end_opening();
        self.pause(now);
    }

    /// Sessions are lost as soon as they are opened: none is opened for some time.
    pub(super) fn pause(&mut self, now: Instant) {
        self.paused_until = Some(now + PAUSE);
    }

    /// The write of a stamp is not sent any more: it was answered, or given up. Then the server may forget about it, and refuses it if it comes late.
    /// Answers whether there is room where there was none.
    pub(super) fn settle(&mut self, stamp: SessionPrefix) -> bool {
        // A session that was forgotten meanwhile owes nothing.
        let Some(session) = self.sessions.iter_mut().find(|session| session.number == stamp.session) else {
            return false;
        };
        let was_full = session.window.is_full();
        session.window.settle(stamp.sequence);
        was_full && !session.window.is_full()
    }

    /// The server does not know a session any more.
    pub(super) fn forget(&mut self, number: u64) {
        self.sessions.retain(|session| session.number != number);
    }

    /// Takes the sessions out that nobody uses now.
    pub(super) fn take_unused(&mut self) -> Vec<u64> {
        let (unused, used) = self.sessions.drain(..).partition(|session| session.window.is_settled());
        self.sessions = used;
        let unused: Vec<Session> = unused;
        unused.iter().map(|session| session.number).collect()
    }

    /// Why there is no session, if somebody tried in vain.
    pub(super) fn failure(&self) -> Option<Error> {
        self.failure.clone()
    }

    fn end_opening(&mut self) {
        assert!(std::mem::replace(&mut self.is_opening, false), "one at a time opens a session: {self:?}");
    }
}

#[cfg(test)]
mod tests {
    use corelode_net::limits::SESSION_WINDOW;

    use super::*;

    fn stamp(session: u64, sequence: u64, oldest: u64) -> SessionPrefix {
        SessionPrefix { session, sequence, oldest }
    }

    fn stamped(session: u64, sequence: u64, oldest: u64) -> Turn {
        Turn::Stamped(stamp(session, sequence, oldest))
    }

    /// A pool with session 7.
    fn opened(now: Instant) -> Pool {
        let mut pool = Pool::default();
        assert_eq!(pool.next(now), Turn::Open);
        pool.opened(7, now);
        pool
    }

    /// Takes stamps until there are none.
    fn fill(pool: &mut Pool, now: Instant) -> Vec<SessionPrefix> {
        let turns = std::iter::from_fn(|| match pool.next(now) {
            Turn::Stamped(stamp) => Some(stamp),
            Turn::Open => {
                pool.not_opened(None);
                None
            }
            _ => None,
        });
        turns.collect()
    }

    #[test]
    fn one_of_many_writers_opens_the_session_that_all_of_them_use() {
        let now = Instant::now();
        let mut pool = Pool::default();
        assert_eq!(pool.next(now), Turn::Open);
        assert_eq!(pool.next(now), Turn::Wait);
        assert_eq!(pool.next(now), Turn::Wait);
        pool.opened(7, now);
        assert_eq!(pool.next(now), stamped(7, 1, 1));
        assert_eq!(pool.next(now), stamped(7, 2, 1));
        assert!(!pool.settle(stamp(7, 1, 1)), "nobody waited for room");
        assert_eq!(pool.next(now), stamped(7, 3, 2));
    }

    #[test]
    fn who_fails_to_open_one_leaves_it_to_the_next() {
        let now = Instant::now();
        let mut pool = Pool::default();
        assert_eq!(pool.next(now), Turn::Open);
        pool.not_opened(Some(Error::DeadlineExceeded));
        assert_eq!(pool.next(now), Turn::Open);
        pool.not_opened(None);
        assert_eq!(pool.failure(), Some(Error::DeadlineExceeded), "one who went away says nothing");
        assert_eq!(pool.next(now), Turn::Open);
        pool.opened(7, now);
        assert_eq!((pool.failure(), pool.next(now)), (None, stamped(7, 1, 1)));
    }

    #[test]
    fn full_windows_open_more_sessions_up_to_a_bound() {
        let now = Instant::now();
        let mut pool = opened(now);
        for number in 8..8 + SESSIONS_MAX as u64 - 1 {
            assert_eq!(fill(&mut pool, now).len() as u64, SESSION_WINDOW);
            assert_eq!(pool.next(now), Turn::Open);
            assert_eq!(pool.next(now), Turn::Wait, "the others wait for it, or for room");
            pool.opened(number, now);
        }
        let last = fill(&mut pool, now);
        assert_eq!(pool.next(now), Turn::Wait);
        assert!(!pool.settle(last[1]), "the oldest holds the window");
        assert_eq!(pool.next(now), Turn::Wait);
        assert!(pool.settle(last[0]), "whoever waits has room");
        assert_eq!(pool.next(now), stamped(14, SESSION_WINDOW + 1, 3));
        assert_eq!(pool.next(now), stamped(14, SESSION_WINDOW + 2, 3));
        assert_eq!(pool.next(now), Turn::Wait);
    }

    #[test]
    fn a_write_that_is_given_up_does_not_hold_the_window_for_ever() {
        let now = Instant::now();
        let mut pool = opened(now);
        let given_up = pool.next(now);
        assert_eq!(given_up, stamped(7, 1, 1));
        for sequence in 2..=SESSION_WINDOW {
            assert_eq!(pool.next(now), stamped(7, sequence, 1));
            pool.settle(stamp(7, sequence, 1));
        }
        assert_eq!(pool.next(now), Turn::Open);
        pool.not_opened(None);
        // What it sent may still come to the server, which refuses it as older than the oldest.
        assert!(pool.settle(stamp(7, 1, 1)));
        assert_eq!(pool.next(now), stamped(7, SESSION_WINDOW + 1, SESSION_WINDOW + 1));
    }

    #[test]
    fn a_session_is_left_long_before_the_server_forgets_it() {
        let mut now = Instant::now();
        let mut pool = opened(now);
        for sequence in 1..10 {
            assert_eq!(pool.next(now), stamped(7, sequence, sequence), "use keeps it");
            pool.settle(stamp(7, sequence, sequence));
            now += IDLE_MAX - Duration::from_secs(1);
        }
        let under_way = pool.next(now);
        assert_eq!(under_way, stamped(7, 10, 10));
        now += IDLE_MAX;
        assert_eq!(pool.next(now), Turn::Open);
        pool.opened(8, now);
        assert_eq!(pool.next(now), stamped(8, 1, 1));
        assert!(!pool.settle(stamp(7, 10, 10)), "the end of a write whose session was left");
    }

    #[test]
    fn a_session_that_the_server_forgot_is_not_used_again() {
        let now = Instant::now();
        let mut pool = opened(now);
        assert_eq!(pool.next(now), stamped(7, 1, 1));
        assert_eq!(pool.next(now), stamped(7, 2, 1));
        pool.forget(7);
        assert_eq!(pool.next(now), Turn::Open);
        // The other write learns of it later.
        pool.settle(stamp(7, 1, 1));
        pool.forget(7);
        pool.settle(stamp(7, 2, 1));
        assert_eq!(pool.next(now), Turn::Wait);
        pool.opened(8, now);
        assert_eq!(pool.next(now), stamped(8, 1, 1));
    }

    #[test]
    fn without_sessions_writes_go_unstamped_and_sessions_are_asked_for_again_later() {
        let now = Instant::now();
        let mut pool = Pool::default();
        assert_eq!(pool.next(now), Turn::Open);
        pool.refused(now);
        assert_eq!(pool.next(now), Turn::Unstamped);
        assert_eq!(pool.next(now + PAUSE), Turn::Open);
        // Where there are sessions, room in them is worth waiting for.
        let mut pool = opened(now);
        fill(&mut pool, now);
        assert_eq!(pool.next(now), Turn::Open);
        pool.refused(now);
        assert_eq!(pool.next(now), Turn::Wait);
        pool.settle(stamp(7, 1, 1));
        assert!(matches!(pool.next(now), Turn::Stamped(_)));
        pool.forget(7);
        assert_eq!(pool.next(now), Turn::Unstamped);
    }

    #[test]
    fn a_client_that_closes_takes_out_what_nobody_uses() {
        let now = Instant::now();
        let mut pool = opened(now);
        fill(&mut pool, now);
        assert_eq!(pool.next(now), Turn::Open);
        pool.opened(8, now);
        assert_eq!(pool.take_unused(), [8]);
        assert_eq!(pool.take_unused(), [0; 0]);
        for sequence in 1..=SESSION_WINDOW {
            pool.settle(stamp(7, sequence, 1));
        }
        assert_eq!(pool.take_unused(), [7]);
        assert_eq!(pool.next(now), Turn::Open);
    }
}
