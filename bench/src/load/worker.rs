//! One thread of a load: a loop over its clients' sockets.
//!
//! ```text
//! schedule ──► operation ──► session (bytes) ──► socket
//!                                                  │
//! recorder ◄── times ◄───── session (answer) ◄─────┘
//! ```
//!
//! Everything that may be sent is encoded before one write a socket; everything that has arrived is decoded, and its times are taken, after
//! one read. Memory does not grow with the number of operations: each client has as many tickets as its depth, and an operation of an open
//! loop that is late is no more than a time that has passed.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::time::Timespec;

use super::gate::Arrival;
use super::recorder::{IntervalRecord, Recorder, Times};
use super::schedule::Schedule;
use super::socket::Socket;
use super::source::Source;
use crate::driver::{Answer, Broken, Outcome, Request, Session, Store, Ticket};
use crate::report::histogram::Latencies;
use crate::report::model::OperationKind;
use crate::report::words::seconds_text;
use crate::workload::{KeyFormat, Operation, ValueFormat};

/// An open loop that is later than this with what is due has clients without room, and is behind.
const BEHIND_NS: u64 = 10_000_000;
/// An open loop whose answers come this long after its end is over only then.
const LATE_NS: u64 = 100_000_000;
/// How long handshakes may take.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);
/// A thread that sleeps comes back late by about this; nearer times are waited for awake.
const AWAKE_BEFORE_NS: u64 = 150_000;
/// No wait is longer, so that an interruption is noticed.
const WAIT_MAX_NS: u64 = 50_000_000;
const READ_SIZE_BYTES: usize = 256 * 1024;
/// An operation that another node has to do is sent at once so often, where it is known; then a while later.
const HOPS_MAX: u8 = 3;
/// An operation for which no node is known is sent again after this: a cluster that lost a node has leaders again within a second or two.
const AGAIN_AFTER_NS: u64 = 5_000_000;
/// An operation that found no node for so long has failed.
const ELSEWHERE_PATIENCE_NS: u64 = 10_000_000_000;
/// A connection that was lost is tried again after this.
const RECONNECT_AFTER_NS: u64 = 250_000_000;

/// What a thread has to do.
pub(super) struct Task<'a> {
    pub(super) store: &'a dyn Store,
    pub(super) clients: usize,
    pub(super) depth: u32,
    pub(super) schedule: Schedule,
    pub(super) source: Source,
    pub(super) keys: KeyFormat,
    pub(super) values: &'a ValueFormat,
    /// From here on operations count, nanoseconds since the load began.
    pub(super) from_ns: u64,
    /// From here on none is begun; `None` ends with the source.
    pub(super) until_ns: Option<u64>,
    pub(super) interval_ns: u64,
    /// How long answers are waited for: after the end or, where the load ends with its source, at any time.
    pub(super) patience: Duration,
}

/// What threads share.
pub(super) struct Common<'a> {
    /// The user, or a thread whose store is lost, ends the load.
    pub(super) stop: &'a AtomicBool,
    pub(super) intervals: SyncSender<(usize, IntervalRecord)>,
}

/// What a thread says at its end.
#[derive(Default)]
pub(super) struct Ended {
    /// Until when it measured, nanoseconds since the load began.
    pub(super) at_ns: u64,
    /// Operations that were due in the time and never sent.
    pub(super) unsent: u64,
    /// Operations without an answer, by kind.
    pub(super) unanswered: Vec<(OperationKind, u64)>,
    /// How late operations were sent although a client had room.
    pub(super) lateness: Latencies,
    /// The share of its time that the thread did not wait.
    pub(super) busy_share: f64,
    /// Why the store was lost, if it was.
    pub(super) lost: Option<String>,
}

/// An operation under way.
#[derive(Clone, Copy)]
struct Slot {
    operation: Operation,
    intended_ns: u64,
    sent_ns: u64,
    /// When the whole of an operation with two parts was begun.
    begun_ns: u64,
    is_second_part: bool,
    is_taken: bool,
    /// How often it was sent to another node at once.
    hops: u8,
}

struct Client {
    session: Box<dyn Session>,
    /// `None` for those that are lost.
    sockets: Vec<Option<Socket>>,
    /// Sockets that the kernel took no more bytes for.
    is_blocked: Vec<bool>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    is_dirty: bool,
}

pub(super) struct Worker<'a> {
    task: Task<'a>,
    common: Common<'a>,
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    clients: Vec<Client>,
    endpoints: Vec<SocketAddr>,
    /// Operations that are to be sent again, with their clients and tickets, by when. No more than there are tickets.
    again: VecDeque<(u64, usize, u32)>,
    /// Connections that are lost, with their clients, by when they are tried again.
    lost: VecDeque<(u64, usize, usize)>,
    dirty: Vec<usize>,
    /// The client that is asked first whether it has room.
    turn: usize,
    recorder: Recorder,
    began: Instant,
    idle_ns: u64,
    lateness: Latencies,
    /// Until when an operation that is due was held back by clients without room.
    held_back_ns: u64,
    source_is_empty: bool,
    /// Operations that were due before the end are still to be sent, or long to be answered, after it: intervals go on.
    is_behind_at_end: bool,
    /// When the last operation that counts was answered.
    answered_ns: u64,
    /// When the store last said anything.
    heard_ns: u64,
    key: Vec<u8>,
    value: Vec<u8>,
    /// Makes each value another one.
    version: u64,
    answers: Vec<Answer>,
    buffer: Vec<u8>,
}

impl<'a> Worker<'a> {
    /// Connects all clients of the thread.
    pub(super) fn connect(task: Task<'a>, common: Common<'a>) -> Result<Self, Broken> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(Broken::new)?;
        let is_open_loop = matches!(task.schedule, Schedule::Open { .. });
        let endpoints = task.store.endpoints();
        let (mut clients, mut lost) = (Vec::new(), VecDeque::new());
        for number in 0..task.clients {
            let client = Client::connect(task.store.session(), &endpoints, task.depth)?;
            for (connection, socket) in client.sockets.iter().enumerate() {
                match socket {
                    Some(socket) => watch(&epoll, socket, number, connection)?,
                    None => lost.push_back((0, number, connection)),
                }
            }
            clients.push(client);
        }
        let mut worker = Self {
            dirty: (0..clients.len()).collect(),
            task,
            common,
            epoll,
            events: Vec::with_capacity(256),
            clients,
            endpoints,
            again: VecDeque::new(),
            lost,
            turn: 0,
            recorder: Recorder::new(is_open_loop),
            began: Instant::now(),
            idle_ns: 0,
            lateness: Latencies::default(),
            held_back_ns: 0,
            source_is_empty: false,
            is_behind_at_end: false,
            answered_ns: 0,
            heard_ns: 0,
            key: Vec::new(),
            value: Vec::new(),
            version: 0,
            answers: Vec::new(),
            buffer: vec![0; READ_SIZE_BYTES],
        };
        worker.shake_hands()?;
        Ok(worker)
    }

    fn shake_hands(&mut self) -> Result<(), Broken> {
        while !self.clients.iter().all(|client| client.session.is_ready()) {
            if self.began.elapsed() > HANDSHAKE_PATIENCE {
                return Err(Broken::new("the store does not answer the handshake"));
            }
            self.flush()?;
            self.wait(Some(WAIT_MAX_NS))?;
            self.receive()?;
        }
        Ok(())
    }

    /// Makes the load, to its end, once all threads are connected.
    pub(super) fn run(mut self, arrival: Arrival<'_>) -> Ended {
        arrival.wait();
        self.began = Instant::now();
        self.idle_ns = 0;
        let lost = self.drive().err().map(|broken| broken.reason);
        if lost.is_some() {
            self.common.stop.store(true, Ordering::Relaxed);
        }
        let at_ns = self.now_ns();
        self.hand_over_intervals(at_ns, true);
        let end_ns = self.task.until_ns.map_or(at_ns, |until| until.min(at_ns));
        let is_behind = lost.is_none() && self.is_behind(end_ns);
        let unanswered = self.unanswered(at_ns);
        self.give_up_unanswered();
        let mut ended = Ended {
            at_ns: if self.is_behind_at_end { self.answered_ns.max(end_ns) } else { end_ns },
            unsent: if is_behind { self.task.schedule.count_due(self.task.from_ns, end_ns) } else { 0 },
            unanswered,
            lateness: self.lateness,
            busy_share: share(at_ns.saturating_sub(self.idle_ns), at_ns),
            lost,
        };
        ended.unanswered.retain(|(_, count)| *count > 0);
        ended
    }

    fn drive(&mut self) -> Result<(), Broken> {
        let patience_ns = u64::try_from(self.task.patience.as_nanos()).unwrap_or(u64::MAX);
        loop {
            let now_ns = self.now_ns();
            if self.common.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            let is_over = self.source_is_empty || self.task.until_ns.is_some_and(|until| now_ns >= until);
            self.is_behind_at_end |= self.task.until_ns.is_some_and(|until| self.is_late(now_ns, until));
            self.hand_over_intervals(now_ns, false);
            if !self.again.is_empty() || !self.lost.is_empty() {
                self.recover(now_ns);
            }
            self.issue(now_ns);
            // At the end, too: answers may have left something to be said, such as that a snapshot is no longer needed.
            self.flush()?;
            if is_over && self.is_idle() {
                return Ok(());
            }
            match self.task.until_ns {
                Some(until_ns) if now_ns >= until_ns.saturating_add(patience_ns) => return Ok(()),
                // What ends with its source would otherwise wait for a silent store without end.
                None if now_ns >= self.heard_ns.saturating_add(patience_ns) => {
                    let patience = seconds_text(self.task.patience.as_secs_f64());
                    return Err(Broken::new(format!("it is connected, and has answered nothing for {patience}")));
                }
                _ => {}
            }
            self.wait(self.wait_ns(self.now_ns()))?;
            self.receive()?;
        }
    }

    /// Begins the operations that are due.
    fn issue(&mut self, now_ns: u64) {
        match self.task.schedule.next_ns() {
            None => {
                if self.task.until_ns.is_some_and(|until| now_ns >= until) {
                    return;
                }
                for number in 0..self.clients.len() {
                    self.refill(number, now_ns);
                }
            }
            Some(mut due_ns) => {
                let until_ns = self.task.until_ns.unwrap_or(u64::MAX);
                while due_ns <= now_ns && due_ns < until_ns && !self.source_is_empty {
                    let Some(number) = self.client_with_room() else {
                        self.held_back_ns = now_ns;
                        return;
                    };
                    if due_ns >= self.task.from_ns {
                        self.lateness.record(now_ns - due_ns.max(self.held_back_ns).min(now_ns));
                    }
                    self.begin(number, due_ns, now_ns);
                    self.task.schedule.advance();
                    due_ns = self.task.schedule.next_ns().expect("an open loop stays one");
                }
            }
        }
    }

    /// In a closed loop: gives a client all that it has room for.
    fn refill(&mut self, number: usize, now_ns: u64) {
        while !self.clients[number].free.is_empty() && !self.source_is_empty {
            self.begin(number, now_ns, now_ns);
        }
    }

    fn client_with_room(&mut self) -> Option<usize> {
        let count = self.clients.len();
        let found =
            (0..count).map(|step| (self.turn + step) % count).find(|&number| !self.clients[number].free.is_empty())?;
        self.turn = (found + 1) % count;
        Some(found)
    }

    fn begin(&mut self, number: usize, intended_ns: u64, now_ns: u64) {
        let Some(operation) = self.task.source.next() else {
            self.source_is_empty = true;
            return;
        };
        let ticket = self.clients[number].free.pop().expect("the client has room");
        let slot = Slot {
            operation,
            intended_ns,
            sent_ns: now_ns,
            begun_ns: intended_ns,
            is_second_part: false,
            is_taken: true,
            hops: 0,
        };
        self.submit(number, ticket, slot);
    }

    fn submit(&mut self, number: usize, ticket: u32, slot: Slot) {
        let Self { task, clients, dirty, key, value, version, .. } = self;
        let client = &mut clients[number];
        client.slots[ticket as usize] = slot;
        key.clear();
        task.keys.write_key(slot.operation.key, key);
        let is_read = slot.is_read();
        let request = match slot.operation.kind {
            OperationKind::Scan => Request::Scan { start: key, rows: slot.operation.scan_rows },
            _ if is_read => Request::Read { key },
            _ => {
                *version += 1;
                value.clear();
                task.values.write_value(slot.operation.key, *version, value);
                Request::Write { key, value }
            }
        };
        if !client.session.submit(Ticket(ticket), request) {
            let now_ns = self.now_ns();
            return self.send_later(number, ticket, now_ns);
        }
        if !std::mem::replace(&mut client.is_dirty, true) {
            dirty.push(number);
        }
    }

    fn flush(&mut self) -> Result<(), Broken> {
        while let Some(number) = self.dirty.pop() {
            let client = &mut self.clients[number];
            client.is_dirty = false;
            let mut broken = Vec::new();
            for (connection, socket) in client.sockets.iter_mut().enumerate() {
                let Some(socket) = socket else { continue };
                let is_sent = match socket.flush(client.session.outbound(connection)) {
                    Ok(is_sent) => is_sent,
                    Err(error) => {
                        broken.push((connection, Broken::new(error)));
                        continue;
                    }
                };
                if std::mem::replace(&mut client.is_blocked[connection], !is_sent) == is_sent {
                    let mut interest = epoll::EventFlags::IN;
                    interest.set(epoll::EventFlags::OUT, !is_sent);
                    epoll::modify(&self.epoll, &*socket, event_data(number, connection), interest)
                        .map_err(Broken::new)?;
                }
            }
            for (connection, broken) in broken {
                self.lose(number, connection, broken)?;
            }
        }
        Ok(())
    }

    /// How long nothing is to be done unless something arrives.
    fn wait_ns(&self, now_ns: u64) -> Option<u64> {
        let due_ns = self.task.schedule.next_ns().filter(|_| self.clients.iter().any(|client| !client.free.is_empty()));
        let again_ns = self.again.front().map(|(at_ns, ..)| *at_ns);
        let ends = [due_ns, self.task.until_ns.filter(|until| *until > now_ns), again_ns];
        let wait_ns = ends.into_iter().flatten().map(|end| end.saturating_sub(now_ns)).min().unwrap_or(WAIT_MAX_NS);
        Some(wait_ns.saturating_sub(AWAKE_BEFORE_NS).min(WAIT_MAX_NS))
    }

    fn wait(&mut self, wait_ns: Option<u64>) -> Result<(), Broken> {
        let before_ns = self.now_ns();
        self.events.clear();
        let timeout = wait_ns.map(|ns| Timespec {
            tv_sec: i64::try_from(ns / 1_000_000_000).expect("seconds fit"),
            tv_nsec: i64::try_from(ns % 1_000_000_000).expect("nanoseconds fit"),
        });
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Broken::new(io::Error::from(error))),
        }
        // A look that found something was work; one that found nothing, and every sleep, was waiting.
        if self.events.is_empty() || wait_ns != Some(0) {
            self.idle_ns += self.now_ns() - before_ns;
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<(), Broken> {
        for index in 0..self.events.len() {
            let (flags, data) = (self.events[index].flags, self.events[index].data.u64());
            let (number, connection) = numbers_of(data);
            if flags.contains(epoll::EventFlags::OUT) && !std::mem::replace(&mut self.clients[number].is_dirty, true) {
                self.dirty.push(number);
            }
            if flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
                self.receive_on(number, connection)?;
            }
        }
        Ok(())
    }

    fn receive_on(&mut self, number: usize, connection: usize) -> Result<(), Broken> {
        let client = &mut self.clients[number];
        // An event of a socket that was lost since it was told.
        let Some(socket) = &mut client.sockets[connection] else { return Ok(()) };
        let length = match socket.read(&mut self.buffer) {
            Ok(None) => return Ok(()),
            Ok(Some(0)) => return self.lose(number, connection, Broken::new("the store closed the connection")),
            Ok(Some(length)) => length,
            Err(error) => return self.lose(number, connection, Broken::new(error)),
        };
        let mut answers = std::mem::take(&mut self.answers);
        let received = client.session.receive(connection, &self.buffer[..length], &mut answers);
        // A handshake may have something to say.
        if !std::mem::replace(&mut client.is_dirty, true) {
            self.dirty.push(number);
        }
        let now_ns = self.now_ns();
        if !answers.is_empty() {
            self.heard_ns = now_ns;
        }
        for answer in answers.drain(..) {
            self.answered(number, &answer, now_ns);
        }
        self.answers = answers;
        received.or_else(|broken| self.lose(number, connection, broken))
    }

    /// A connection is of no further use, and with it the load, if the store has no other.
    fn lose(&mut self, number: usize, connection: usize, broken: Broken) -> Result<(), Broken> {
        let client = &mut self.clients[number];
        let mut answers = Vec::new();
        if broken.is_refusal || !client.session.lose(connection, &mut answers) {
            return Err(broken);
        }
        // The kernel forgets a socket that is closed.
        client.sockets[connection] = None;
        client.is_blocked[connection] = false;
        let now_ns = self.now_ns();
        self.lost.push_back((now_ns + RECONNECT_AFTER_NS, number, connection));
        for answer in answers {
            self.answered(number, &answer, now_ns);
        }
        Ok(())
    }

    /// Sends what was put off, and tries the connections that were lost, as it is time.
    #[cold]
    fn recover(&mut self, now_ns: u64) {
        while let Some((_, number, connection)) = self.lost.pop_front_if(|(at_ns, ..)| *at_ns <= now_ns) {
            let client = &mut self.clients[number];
            let made = Socket::reconnect(self.endpoints[connection]).ok();
            match made.filter(|socket| watch(&self.epoll, socket, number, connection).is_ok()) {
                Some(socket) => {
                    client.session.reconnect(connection);
                    client.sockets[connection] = Some(socket);
                    if !std::mem::replace(&mut client.is_dirty, true) {
                        self.dirty.push(number);
                    }
                }
                None => self.lost.push_back((now_ns + RECONNECT_AFTER_NS, number, connection)),
            }
        }
        while let Some((_, number, ticket)) = self.again.pop_front_if(|(at_ns, ..)| *at_ns <= now_ns) {
            let slot = self.clients[number].slots[ticket as usize];
            self.submit(number, ticket, slot);
        }
    }

    /// The operation goes to another node: at once, if it is known.
    #[cold]
    fn redirect(&mut self, number: usize, ticket: u32, is_known: bool, now_ns: u64) {
        let slot = &mut self.clients[number].slots[ticket as usize];
        self.recorder.redirected(slot.operation.kind);
        if is_known && slot.hops < HOPS_MAX {
            slot.hops += 1;
            let slot = *slot;
            self.submit(number, ticket, slot);
        } else {
            slot.hops = 0;
            self.send_later(number, ticket, now_ns);
        }
    }

    #[cold]
    fn send_later(&mut self, number: usize, ticket: u32, now_ns: u64) {
        if now_ns.saturating_sub(self.clients[number].slots[ticket as usize].sent_ns) > ELSEWHERE_PATIENCE_NS {
            let answer = Answer { ticket: Ticket(ticket), outcome: Outcome::Failed("NO_LEADER".to_owned()) };
            return self.answered(number, &answer, now_ns);
        }
        self.again.push_back((now_ns + AGAIN_AFTER_NS, number, ticket));
    }

    fn answered(&mut self, number: usize, answer: &Answer, now_ns: u64) {
        let slot = self.clients[number].slots[answer.ticket.0 as usize];
        if !slot.is_taken {
            return;
        }
        match answer.outcome {
            Outcome::Elsewhere { is_known } => return self.redirect(number, answer.ticket.0, is_known, now_ns),
            // A read may be done twice.
            Outcome::Lost if slot.is_read() => return self.send_later(number, answer.ticket.0, now_ns),
            Outcome::Lost => {
                let outcome = Outcome::Failed("CONNECTION_LOST".to_owned());
                return self.answered(number, &Answer { ticket: answer.ticket, outcome }, now_ns);
            }
            _ => {}
        }
        let kind = slot.operation.kind;
        let times = Times { intended_ns: slot.intended_ns, sent_ns: slot.sent_ns, answered_ns: now_ns };
        let is_failed = matches!(answer.outcome, Outcome::Failed(_));
        if kind == OperationKind::ReadModifyWrite {
            let part = if slot.is_second_part { OperationKind::Update } else { OperationKind::Read };
            self.record(part, times, slot.begun_ns, &answer.outcome);
            if !slot.is_second_part && !is_failed {
                let second = Slot { intended_ns: now_ns, sent_ns: now_ns, is_second_part: true, hops: 0, ..slot };
                return self.submit(number, answer.ticket.0, second);
            }
            let whole = Times { intended_ns: slot.begun_ns, ..times };
            self.record(kind, whole, slot.begun_ns, &answer.outcome);
        } else {
            self.record(kind, times, slot.begun_ns, &answer.outcome);
        }
        self.task.source.ended(slot.operation, !is_failed);
        let client = &mut self.clients[number];
        client.slots[answer.ticket.0 as usize].is_taken = false;
        client.free.push(answer.ticket.0);
    }

    fn record(&mut self, kind: OperationKind, times: Times, begun_ns: u64, outcome: &Outcome) {
        let is_measured = begun_ns >= self.task.from_ns && self.task.until_ns.is_none_or(|until| begun_ns < until);
        if is_measured {
            self.answered_ns = times.answered_ns;
            self.recorder.record(kind, times, outcome);
        }
    }

    /// Hands over the intervals that have ended; all of them at the end.
    fn hand_over_intervals(&mut self, now_ns: u64, is_last: bool) {
        loop {
            let number = self.recorder.interval_number();
            let start_ns = self.task.from_ns + number as u64 * self.task.interval_ns;
            let end_ns = start_ns + self.task.interval_ns;
            // What is answered behind the end belongs to the last interval, unless that is much.
            let until_ns = self.task.until_ns.filter(|_| !self.is_behind_at_end);
            let goes_on = until_ns.is_some_and(|until| end_ns >= until);
            if (now_ns < end_ns || goes_on) && !is_last {
                return;
            }
            let measured_until_ns = end_ns.min(now_ns).min(until_ns.unwrap_or(u64::MAX));
            let interval = self.recorder.rotate(measured_until_ns.saturating_sub(start_ns));
            // Whoever collects them is gone only when the load is given up.
            let _ = self.common.intervals.send((number, interval));
            if is_last {
                return;
            }
        }
    }

    fn unanswered(&self, at_ns: u64) -> Vec<(OperationKind, u64)> {
        let mut counts: Vec<(OperationKind, u64)> = Vec::new();
        let mut count = |kind| match counts.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += 1,
            None => counts.push((kind, 1)),
        };
        let until_ns = self.task.until_ns.unwrap_or(u64::MAX).min(at_ns);
        let slots = self.clients.iter().flat_map(|client| &client.slots);
        for slot in slots.filter(|slot| slot.is_taken && slot.begun_ns >= self.task.from_ns && slot.begun_ns < until_ns)
        {
            count(slot.operation.kind);
        }
        counts
    }

    /// Nobody knows how these ended.
    fn give_up_unanswered(&mut self) {
        for slot in self.clients.iter().flat_map(|client| &client.slots).filter(|slot| slot.is_taken) {
            self.task.source.ended(slot.operation, false);
        }
    }

    fn is_idle(&self) -> bool {
        let is_behind = self.task.schedule.next_ns().zip(self.task.until_ns).is_some_and(|(next, until)| next < until);
        let is_waiting = |client: &Client| client.slots.iter().any(|slot| slot.is_taken);
        (self.source_is_empty || !is_behind) && !self.clients.iter().any(is_waiting)
    }

    /// Whether an open loop has still much to do after its end: to send, or to be answered where its clients have much room.
    fn is_late(&self, now_ns: u64, until_ns: u64) -> bool {
        let is_waiting = || self.clients.iter().any(|client| client.slots.iter().any(|slot| slot.is_taken));
        let is_open_loop = self.task.schedule.next_ns().is_some();
        let is_answered_late = || now_ns >= until_ns.saturating_add(LATE_NS) && is_open_loop && is_waiting();
        now_ns >= until_ns && (self.is_behind(until_ns) || is_answered_late())
    }

    /// Whether the next operation was due well before this time.
    fn is_behind(&self, ns: u64) -> bool {
        self.task.schedule.next_ns().is_some_and(|due_ns| due_ns.saturating_add(BEHIND_NS) < ns)
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).expect("500 years fit")
    }
}

impl Client {
    fn connect(session: Box<dyn Session>, endpoints: &[SocketAddr], depth: u32) -> Result<Self, Broken> {
        let mut session = session;
        let mut sockets = Vec::new();
        for (connection, address) in endpoints.iter().enumerate() {
            match Socket::connect(*address) {
                Ok(socket) => sockets.push(Some(socket)),
                Err(_) if session.lose(connection, &mut Vec::new()) => sockets.push(None),
                Err(error) => return Err(Broken::new(format!("{address}: {error}"))),
            }
        }
        let operation = Operation { kind: OperationKind::Read, key: 0, scan_rows: 0 };
        let slot = Slot {
            operation,
            intended_ns: 0,
            sent_ns: 0,
            begun_ns: 0,
            is_second_part: false,
            is_taken: false,
            hops: 0,
        };
        Ok(Self {
            session,
            is_blocked: vec![false; sockets.len()],
            sockets,
            slots: vec![slot; depth as usize],
            free: (0..depth).rev().collect(),
            is_dirty: true,
        })
    }
}

impl Slot {
    /// Whether it reads, now.
    fn is_read(&self) -> bool {
        match self.operation.kind {
            OperationKind::Read | OperationKind::Scan => true,
            OperationKind::ReadModifyWrite => !self.is_second_part,
            _ => false,
        }
    }
}

fn watch(epoll: &OwnedFd, socket: &Socket, client: usize, connection: usize) -> Result<(), Broken> {
    epoll::add(epoll, socket, event_data(client, connection), epoll::EventFlags::IN).map_err(Broken::new)
}

fn event_data(client: usize, connection: usize) -> epoll::EventData {
    epoll::EventData::new_u64((client as u64) << 32 | connection as u64)
}

fn numbers_of(data: u64) -> (usize, usize) {
    let half = |bits: u64| usize::try_from(bits & u64::from(u32::MAX)).expect("32 bits");
    (half(data >> 32), half(data))
}

#[allow(clippy::cast_precision_loss, reason = "a share")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
