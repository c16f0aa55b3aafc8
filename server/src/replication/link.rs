//! This core's connection to a core of another node, which it dials; and what is known of that core's life.

use std::net::SocketAddr;
use std::time::Duration;

use corelode_raft::Time;

use crate::shard::ConnectionId;

/// A core that has nothing to say shows so often that it lives.
const BEAT_INTERVAL: Duration = Duration::from_millis(200);
/// How long after a failure a node is dialled again, at first and at most.
const REDIAL_FIRST: Duration = Duration::from_millis(50);
const REDIAL_MAX: Duration = Duration::from_secs(1);

/// How far the connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LinkState {
    /// It is to be dialled at this time.
    Down { at: Time },
    /// The driver dials, or the two ends find out about each other.
    Dialling,
    /// Frames may be sent.
    Up(ConnectionId),
}

/// What is known of a core of another node.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) address: SocketAddr,
    pub(crate) state: LinkState,
    redial_after: Duration,
    /// The number of the last frame sent on the present connection.
    pub(crate) turn: u64,
    sent_at: Time,
    /// When it was last heard, on its own connection to here.
    heard_at: Option<Time>,
    /// The start of its process that was heard last.
    boot: u64,
    /// Whether groups believe that it can be reached.
    pub(crate) is_alive: bool,
}

/// What a sign of life says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Heard {
    /// It goes on living.
    Alive,
    /// It can be reached again.
    Back,
    /// It has been started anew, and remembers nothing that it had not stored.
    Restarted,
}

impl Link {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            state: LinkState::Down { at: Time(0) },
            redial_after: REDIAL_FIRST,
            turn: 0,
            sent_at: Time(0),
            heard_at: None,
            boot: 0,
            is_alive: true,
        }
    }

    /// Whether it is to be dialled now; then it is being dialled.
    pub(crate) fn begin_dial(&mut self, now: Time) -> bool {
        let is_due = matches!(self.state, LinkState::Down { at } if at <= now);
        if is_due {
            self.state = LinkState::Dialling;
        }
        is_due
    }

    /// The connection, or the attempt at one, is over.
    pub(crate) fn went_down(&mut self, now: Time) {
        self.state = LinkState::Down { at: now.after(self.redial_after) };
        self.redial_after = (self.redial_after * 2).min(REDIAL_MAX);
    }

    /// Frames may be sent.
    pub(crate) fn went_up(&mut self, connection: ConnectionId) {
        self.state = LinkState::Up(connection);
        self.redial_after = REDIAL_FIRST;
        self.turn = 0;
    }

    /// A frame leaves.
    pub(crate) fn sent(&mut self, now: Time) -> u64 {
        self.sent_at = now;
        self.turn += 1;
        self.turn
    }

    /// Whether it is time for a sign of life.
    pub(crate) fn is_beat_due(&self, now: Time) -> bool {
        matches!(self.state, LinkState::Up(_)) && now >= self.sent_at.after(BEAT_INTERVAL)
    }

    /// It was heard.
    pub(crate) fn heard(&mut self, now: Time, boot: u64) -> Heard {
        self.heard_at = Some(now);
        let is_first = self.boot == 0;
        let is_new = std::mem::replace(&mut self.boot, boot) != boot;
        let was_alive = std::mem::replace(&mut self.is_alive, true);
        match (is_new && !is_first, was_alive) {
            (true, _) => Heard::Restarted,
            (false, false) => Heard::Back,
            (false, true) => Heard::Alive,
        }
    }

    /// Whether it has been silent for so long that it must be taken for dead; said once.
    pub(crate) fn has_fallen_silent(&mut self, now: Time, patience: Duration) -> bool {
        // One that was never heard has the same patience from the start on.
        let since = *self.heard_at.get_or_insert(now);
        let is_silent = self.is_alive && now.since(since) >= patience;
        if is_silent {
            self.is_alive = false;
        }
        is_silent
    }

    /// When it is to be looked at next.
    pub(crate) fn next_time(&self) -> Option<Time> {
        match self.state {
            LinkState::Down { at } => Some(at),
            LinkState::Dialling => None,
            LinkState::Up(_) => Some(self.sent_at.after(BEAT_INTERVAL)),
        }
    }

    /// How long a beat takes to be missed at the earliest.
    pub(crate) fn beat_interval() -> Duration {
        BEAT_INTERVAL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(milliseconds: u64) -> Time {
        Time(milliseconds * 1_000_000)
    }

    #[test]
    fn silence_is_noticed_once_and_a_new_start_is_told_from_a_return() {
        let mut link = Link::new("127.0.0.1:1".parse().expect("an address"));
        assert!(!link.has_fallen_silent(at(0), SECOND));
        assert_eq!(link.heard(at(10), 7), Heard::Alive);
        assert!(!link.has_fallen_silent(at(1_000), SECOND));
        assert!(link.has_fallen_silent(at(1_010), SECOND));
        assert!(!link.has_fallen_silent(at(2_000), SECOND), "it was said");
        assert_eq!(link.heard(at(2_100), 7), Heard::Back);
        assert_eq!(link.heard(at(2_200), 8), Heard::Restarted);
        assert_eq!(link.heard(at(2_300), 8), Heard::Alive);
    }

    #[test]
    fn a_node_that_cannot_be_reached_is_dialled_less_and_less_often() {
        let mut link = Link::new("127.0.0.1:1".parse().expect("an address"));
        let mut now = at(0);
        let mut waits = Vec::new();
        for _ in 0..8 {
            assert!(link.begin_dial(now) && !link.begin_dial(now));
            link.went_down(now);
            let next = link.next_time().expect("it is dialled again");
            waits.push(next.since(now).as_millis());
            now = next;
        }
        assert_eq!(waits, [50, 100, 200, 400, 800, 1_000, 1_000, 1_000]);
    }
}
