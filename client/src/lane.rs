//! A lane leads to one core: its callers' requests, the connection they go over, and what became of each. No socket and no clock.
//!
//! A request is encoded when it is submitted: into the connection's outbound bytes if there is room, else into a frame of its own that waits
//! for room or for the next connection, and is told the time that is left when it is sent. Its answer is decoded when it arrives, and waits for its caller.
//!
//! Touched by callers and by the task that has the socket, under one lock ([`Transport`](crate::transport::Transport)), which is held for
//! the time of a few copies. Bounded by the permits that callers need, of calls and of bytes. When a connection ends, what was sent on it is unknown, and
//! what waits waits on.
//!
//! Where there are other nodes to ask, a lane that owes answers and brings nothing is asked for a sign of life by a PING, which a core that lives answers at
//! once, however long its disk or its followers take. One that gives none is [in trouble](Health): requests go elsewhere as long as there is
//! an elsewhere. When it has given none for longer, the connection is given up.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use corelode_net::body::Receipt;
use corelode_net::handshake::ClientConfig;
use corelode_net::table::{TableBuilder, encode_ping};
use corelode_net::{CoreIndex, Frame, FrameHeader, FrameReader, MapEpoch, RequestHead, RequestId, RequestIds};
use tokio::time::Instant;

use crate::connection::Connection;
use crate::error::AttemptError;
use crate::map::Map;
use crate::request::{Expected, Reply, Request, decode_error};
use crate::retry::Kind;

type Outcome = Result<Reply, AttemptError>;

/// A server that owes answers is asked for a sign of life once it has brought nothing for so long.
const PROBE_AFTER: Duration = Duration::from_millis(250);
/// A sign of life that takes longer is none.
const PROBE_PATIENCE: Duration = Duration::from_millis(250);
/// A stamped write that was sent waits so much longer for a server that gives signs of life. It is carried out once however often it is sent, but
/// each time costs as much as a write, and a server that is slow has enough of them.
const SENT_PATIENCE: Duration = Duration::from_millis(1_500);
/// A server whose connection was given up for its silence, or that said that it goes, is tried again after this.
const LEFT_RETRY_DELAY: Duration = Duration::from_secs(1);

struct Call {
    expected: Expected,
    deadline: Instant,
    /// When its caller would rather ask elsewhere, at the latest the deadline. A write that was sent waits on until then, and a stamped one for
    /// [`SENT_PATIENCE`] more if the server lives.
    patience: Instant,
    kind: Kind,
    progress: Progress,
    outcome: Awaited,
    waker: Option<Waker>,
}

/// How far a request got on its way to the server.
enum Progress {
    /// Its frame waits for room.
    Queued(Vec<u8>),
    /// It was sent on the present connection, and its answer is owed: it takes room until then, also if nobody waits any more.
    InFlight { size_bytes: usize },
    /// It was answered, or its connection ended, or it will not be sent.
    Over,
}

enum Awaited {
    /// The caller waits.
    Yet,
    /// The caller has not come for it yet.
    Known(Outcome),
    /// The caller was told, or went away.
    NoMore,
}

/// Whether something may come of a request to this core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Health {
    /// Nothing speaks against it.
    Well,
    /// A connection is there, or is being made, and brings nothing.
    Silent,
    /// No connection could be made, and none will be tried until then.
    Failed {
        /// When the next one is tried.
        until: Instant,
    },
}

/// The time that a request is given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// When it ends.
    pub(crate) deadline: Instant,
    /// When its caller would rather ask elsewhere.
    pub(crate) patience: Instant,
}

/// The requests to one core and their connection.
pub(crate) struct Lane {
    ids: RequestIds,
    tables: TableBuilder,
    calls: HashMap<RequestId, Call, BuildHasherDefault<IdHasher>>,
    /// Requests that wait to be sent, in order. Some may be gone: [`forget_gone`](Self::forget_gone) bounds those.
    queue: VecDeque<RequestId>,
    connection: Option<Connection>,
    /// When the connection was made, or brought something last.
    heard_at: Instant,
    /// How long a server that owes answers may be silent before it is taken for dead.
    silence_max: Duration,
    /// Whether that has happened.
    pub(crate) is_dead: bool,
    /// The sign of life that was asked for and has not come.
    probe_sent_at: Option<Instant>,
    health: Health,
    /// Why the last connection failed before it was ready, if it did.
    failure: Option<AttemptError>,
    /// Why nothing is sent any more.
    closed: Option<String>,
    /// Callers to wake once the lock is released.
    woken: Vec<Waker>,
}

impl Lane {
    pub(crate) fn new(now: Instant, silence_max: Duration) -> Self {
        Self {
            ids: RequestIds::new(),
            tables: TableBuilder::new(),
            calls: HashMap::default(),
            queue: VecDeque::new(),
            connection: None,
            heard_at: now,
            silence_max,
            is_dead: false,
            probe_sent_at: None,
            health: Health::Well,
            failure: None,
            closed: None,
            woken: Vec::new(),
        }
    }

    /// The connection, while there is one.
    pub(crate) fn connection(&mut self) -> Option<&mut Connection> {
        self.connection.as_mut()
    }

    /// Whether something may come of a request.
    pub(crate) fn health(&self) -> Health {
        self.health
    }

    /// What the last connection met before it was ready, if it failed: what a request that waits for one is told.
    fn failure(&self) -> Option<AttemptError> {
        self.failure.as_ref().map(AttemptError::for_unsent)
    }

    /// Whether anybody waits for anything.
    pub(crate) fn is_idle(&self) -> bool {
        self.calls.is_empty()
    }

    /// How many calls there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether more than one call is under way, or answered and not picked up yet.
    pub(crate) fn has_several(&self) -> bool {
        self.calls.len() > 1
    }

    /// Whether requests wait to be sent. One whose time is over waits for its caller alone.
    pub(crate) fn has_queued(&self) -> bool {
        let is_queued = |id| self.calls.get(id).is_some_and(|call| matches!(call.progress, Progress::Queued(_)));
        self.queue.iter().any(is_queued)
    }

    /// Callers to wake, once the lock is released.
    pub(crate) fn take_woken(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.woken)
    }

    /// Takes in a request. The flag tells whether whoever has the socket must look, which did not know yet that there is something to do.
    pub(crate) fn submit(
        &mut self,
        request: &Request<'_>,
        map_epoch: MapEpoch,
        limits: Limits,
        now: Instant,
    ) -> (RequestId, bool) {
        let Limits { deadline, patience } = limits;
        let request_id = self.ids.next();
        let head = RequestHead { request_id, map_epoch, deadline_ms: deadline_ms(deadline, now) };
        let (mut outcome, mut is_news) = (Awaited::Yet, false);
        let progress = if let Some(reason) = &self.closed {
            outcome = Awaited::Known(Err(AttemptError::NotSent { reason: reason.clone() }));
            Progress::Over
        } else if let Some(connection) = self.connection.as_mut().filter(|connection| connection.has_room())
            && self.queue.is_empty()
        {
            let before = connection.outbound.len();
            request.encode(head, &mut self.tables, &mut connection.outbound);
            let size_bytes = connection.outbound.len() - before;
            if !connection.is_owed() {
                // Nobody waited for it to speak until now.
                self.heard_at = now;
            }
            connection.count_sent(size_bytes);
            is_news = before == 0;
            Progress::InFlight { size_bytes }
        } else {
            let mut frame = Vec::new();
            request.encode(head, &mut self.tables, &mut frame);
            self.queue.push_back(request_id);
            is_news = self.connection.is_none();
            Progress::Queued(frame)
        };
        let (expected, kind) = (request.expected(), request.kind());
        let call = Call { expected, deadline, patience, kind, progress, outcome, waker: None };
        self.calls.insert(request_id, call);
        (request_id, is_news)
    }

    /// The outcome of a request, once; or wakes `waker` when it is there.
    pub(crate) fn poll_outcome(&mut self, id: RequestId, waker: &Waker) -> Poll<Outcome> {
        let call = self.calls.get_mut(&id).expect("a call stays until its caller has the outcome or leaves");
        match std::mem::replace(&mut call.outcome, Awaited::NoMore) {
            Awaited::Known(outcome) => {
                self.remove_if_over(id);
                Poll::Ready(outcome)
            }
            _ => {
                call.outcome = Awaited::Yet;
                match &mut call.waker {
                    Some(known) => known.clone_from(waker),
                    none => *none = Some(waker.clone()),
                }
                Poll::Pending
            }
        }
    }

    /// The caller of a request leaves without its outcome.
    pub(crate) fn leave(&mut self, id: RequestId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.outcome = Awaited::NoMore;
        if let Progress::Queued(_) = call.progress {
            call.progress = Progress::Over;
        }
        self.remove_if_over(id);
        self.forget_gone();
    }

    /// Begins a connection, with its handshake.
    pub(crate) fn connect(
        &mut self,
        config: ClientConfig,
        core: Option<CoreIndex>,
        map: Arc<Map>,
        nonce: [u8; 32],
        now: Instant,
    ) {
        self.connection = Some(Connection::new(config, core, map, nonce, &mut self.tables));
        self.heard_at = now;
        self.is_dead = false;
        self.probe_sent_at = None;
    }

    /// Takes in the frames that have arrived.
    ///
    /// # Errors
    /// The connection is of no further use. What was answered before is answered.
    pub(crate) fn receive(&mut self, reader: &mut FrameReader, now: Instant) -> Result<(), AttemptError> {
        self.heard_at = now;
        self.probe_sent_at = None;
        loop {
            let connection = self.connection.as_mut().expect("bytes arrive on a connection");
            reader.set_body_limit(connection.body_size_bytes_max());
            let frame = reader.next_frame().map_err(|error| AttemptError::Protocol { message: error.to_string() })?;
            let Some(frame) = frame else { break };
            let taken = Receipt::take_from_reply(&frame);
            let (receipt, frame) = taken.map_err(|error| AttemptError::Protocol { message: error.to_string() })?;
            if let Some(id) = connection.receive(&frame, &mut self.ids, &mut self.tables)? {
                self.answer(id, &frame, receipt);
            }
        }
        if self.connection.as_ref().is_some_and(|connection| connection.is_ready() && connection.grace.is_none()) {
            self.health = Health::Well;
        }
        self.send_queued(now);
        Ok(())
    }

    /// Asks the server for a sign of life, if it owes answers and has brought nothing for long; judges one that gives none. The flag tells whether whoever
    /// has the socket must look.
    pub(crate) fn probe(&mut self, now: Instant) -> bool {
        if let Some(sent_at) = self.probe_sent_at {
            let silence = now.saturating_duration_since(sent_at);
            if silence >= PROBE_PATIENCE {
                self.health = Health::Silent;
            }
            self.is_dead |= silence >= self.silence_max;
            return self.is_dead;
        }
        let is_silent = now.saturating_duration_since(self.heard_at) >= PROBE_AFTER;
        let Some(connection) = self.connection.as_mut().filter(|connection| is_silent && connection.is_owed()) else {
            return false;
        };
        if !connection.has_room() {
            return false;
        }
        let (request_id, before) = (self.ids.next(), connection.outbound.len());
        encode_ping(RequestHead { request_id, map_epoch: MapEpoch(0), deadline_ms: 0 }, &mut connection.outbound);
        let size_bytes = connection.outbound.len() - before;
        connection.count_sent(size_bytes);
        let call = Call {
            expected: Expected::Done,
            deadline: now,
            patience: now,
            kind: Kind::Read,
            progress: Progress::InFlight { size_bytes },
            outcome: Awaited::NoMore,
            waker: None,
        };
        self.calls.insert(request_id, call);
        self.probe_sent_at = Some(now);
        before == 0
    }

    /// Ends what was to be answered by now.
    pub(crate) fn expire(&mut self, now: Instant) {
        let is_ready = self.connection.as_ref().is_some_and(Connection::is_ready);
        let failure = self.failure();
        for call in self.calls.values_mut() {
            let is_sent = matches!(call.progress, Progress::InFlight { .. });
            let until = match call.kind {
                Kind::Write if is_sent => call.deadline,
                Kind::StampedWrite if is_sent && self.health == Health::Well => {
                    call.deadline.min(call.patience + SENT_PATIENCE)
                }
                _ => call.patience,
            };
            if until > now || !matches!(call.outcome, Awaited::Yet) {
                continue;
            }
            let error = if is_sent {
                // A peer that lost its power never closes its connections.
                self.is_dead |= now.saturating_duration_since(self.heard_at) >= self.silence_max;
                AttemptError::TimedOut { was_sent: true }
            } else if is_ready {
                AttemptError::TimedOut { was_sent: false }
            } else {
                if self.health == Health::Well {
                    self.health = Health::Silent;
                }
                let unknown = || AttemptError::NotSent { reason: "no connection in time".to_owned() };
                failure.clone().unwrap_or_else(unknown)
            };
            if let Progress::Queued(_) = call.progress {
                call.progress = Progress::Over;
            }
            settle(call, Err(error), &mut self.woken);
        }
        self.forget_gone();
    }

    /// The connection ended: the fate of what was sent on it is unknown.
    pub(crate) fn disconnect(&mut self, reason: &AttemptError, now: Instant) {
        self.probe_sent_at = None;
        if self.health == Health::Silent {
            self.health = Health::Failed { until: now + LEFT_RETRY_DELAY };
        }
        if self.connection.take().is_some_and(|connection| connection.is_ready()) {
            self.failure = None;
        }
        self.calls.retain(|_, call| {
            if let Progress::InFlight { .. } = call.progress {
                call.progress = Progress::Over;
                settle(call, Err(reason.for_sent()), &mut self.woken);
            }
            !matches!((&call.progress, &call.outcome), (Progress::Over, Awaited::NoMore))
        });
    }

    /// No connection could be made, and none is tried until then: what waits for one is told why.
    pub(crate) fn fail_queued(&mut self, reason: &AttemptError, until: Instant) {
        self.failure = Some(reason.clone());
        self.health = Health::Failed { until };
        for id in self.queue.drain(..) {
            if let Some(call) = self.calls.get_mut(&id) {
                call.progress = Progress::Over;
                settle(call, Err(reason.for_unsent()), &mut self.woken);
            }
        }
    }

    /// The server goes, and others take over what it led: nothing new waits for it.
    pub(crate) fn leave_for_others(&mut self, now: Instant) {
        let reason = AttemptError::NotSent { reason: "the server is shutting down".to_owned() };
        self.fail_queued(&reason, now + LEFT_RETRY_DELAY);
    }

    /// Nobody sends any more: everything ends, and what comes is refused.
    pub(crate) fn close(&mut self, reason: &str, now: Instant) {
        self.closed = Some(reason.to_owned());
        let reason = AttemptError::NotSent { reason: reason.to_owned() };
        self.disconnect(&reason, now);
        self.fail_queued(&reason, now);
    }

    fn answer(&mut self, id: RequestId, frame: &Frame<'_>, receipt: Option<Receipt>) {
        // An id that is not under way on this connection is answered late, twice, or never was: its answer belongs to nobody.
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Progress::InFlight { size_bytes } = call.progress else { return };
        call.progress = Progress::Over;
        self.connection.as_mut().expect("answers arrive on a connection").count_answered(size_bytes);
        if let Awaited::Yet = call.outcome {
            let is_error = matches!(frame.inbound(), Ok(corelode_net::Inbound::Error(_)));
            let outcome = if is_error { Err(decode_error(frame)) } else { call.expected.decode(frame) };
            let outcome = outcome.map(|reply| match receipt {
                Some(receipt) => Reply::WithReceipt(Box::new(reply), receipt),
                None => reply,
            });
            settle(call, outcome, &mut self.woken);
        }
        self.remove_if_over(id);
    }

    /// Sends what waits while there is room. A frame may have waited long, and the server counts its deadline from receipt.
    fn send_queued(&mut self, now: Instant) {
        let Some(connection) = &mut self.connection else { return };
        while connection.has_room()
            && let Some(id) = self.queue.pop_front()
        {
            let Some(call) = self.calls.get_mut(&id) else { continue };
            let size_bytes = match &mut call.progress {
                Progress::Queued(frame) => {
                    FrameHeader::set_deadline_ms(frame, deadline_ms(call.deadline, now));
                    connection.outbound.extend_from_slice(frame);
                    frame.len()
                }
                _ => continue,
            };
            connection.count_sent(size_bytes);
            call.progress = Progress::InFlight { size_bytes };
        }
    }

    fn remove_if_over(&mut self, id: RequestId) {
        if let Some(Call { progress: Progress::Over, outcome: Awaited::NoMore, .. }) = self.calls.get(&id) {
            self.calls.remove(&id);
        }
    }

    /// Forgets the places in the queue of requests that are gone, once they are most of it.
    fn forget_gone(&mut self) {
        if self.queue.len() > 2 * self.calls.len() {
            self.queue.retain(|id| self.calls.contains_key(id));
        }
    }
}

/// The time that is left, as a request says it: zero would be none.
fn deadline_ms(deadline: Instant, now: Instant) -> u32 {
    let remaining = deadline.saturating_duration_since(now);
    u32::try_from(remaining.as_millis()).unwrap_or(u32::MAX).max(1)
}

/// Keeps an outcome for the caller, if it waits for one.
fn settle(call: &mut Call, outcome: Outcome, woken: &mut Vec<Waker>) {
    if let Awaited::Yet = call.outcome {
        call.outcome = Awaited::Known(outcome);
        woken.extend(call.waker.take());
    }
}

/// Spreads request ids, which the lane itself counts up: nobody else chooses them, so that no better hash is needed.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("a request id is one u64");
    }

    fn write_u64(&mut self, id: u64) {
        // 2^64 divided by the golden ratio: neighbours land far apart (Knuth, The Art of Computer Programming 3, 6.4).
        self.0 = id.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Else the task connects for nobody.
    #[test]
    fn a_request_whose_time_is_over_does_not_wait_to_be_sent() {
        let now = Instant::now();
        let mut lane = Lane::new(now, Duration::from_secs(3));
        let until = now + Duration::from_millis(10);
        let limits = Limits { deadline: until, patience: until };
        let (id, is_news) = lane.submit(&Request::Status, MapEpoch(0), limits, now);
        assert!(is_news && lane.has_queued());
        lane.expire(until);
        assert!(!lane.has_queued(), "its caller has not come for the outcome yet");
        assert!(lane.poll_outcome(id, Waker::noop()).is_ready());
        assert!(lane.is_idle());
    }
}
