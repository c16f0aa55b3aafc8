//! One place to reach a core: a task that connects when there is something to send, pipelines, and connects anew when it breaks.
//!
//! Callers leave their requests in a [`Lane`]; the task moves its bytes to the socket and back. Whatever callers left since the last write
//! goes out in one. Connecting anew is delayed by a growing, varying time, so that many clients of a server that restarts do not come
//! back together.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use corelode_net::limits::{BODY_SIZE_BYTES_MAX, HANDSHAKE_BODY_SIZE_BYTES_MAX};
use corelode_net::{CoreIndex, FrameReader, MapEpoch, RequestId};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::tcp::WriteHalf;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, timeout_at};

use crate::error::AttemptError;
use crate::lane::{Health, Lane, Limits};
use crate::map::Map;
use crate::options::Options;
use crate::random;
use crate::request::{Reply, Request};
use crate::retry::jittered;

/// The most calls of one core that are queued or under way; the next ones wait before they are encoded.
const CALLS_MAX: usize = 16 * 1024;
/// The most bytes of their requests. Invariant: no less than the longest request.
const CALLS_SIZE_BYTES_MAX: usize = 64 * 1024 * 1024;
const _: () = assert!(CALLS_SIZE_BYTES_MAX >= BODY_SIZE_BYTES_MAX);
/// Deadlines are looked at so often.
const EXPIRY_INTERVAL: Duration = Duration::from_millis(20);
const RECONNECT_DELAY_FIRST: Duration = Duration::from_millis(5);
const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(1);
const READ_SIZE_BYTES: usize = 64 * 1024;
/// What an outbound buffer keeps of its memory.
const KEPT_SIZE_BYTES: usize = 256 * 1024;

/// Sends requests to one core. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Transport {
    handle: Arc<Handle>,
}

/// Closes the lane when the last transport is gone.
struct Handle {
    shared: Arc<Shared>,
}

struct Shared {
    started: Instant,
    /// The lane's [`Health`], to be looked at without its lock: until when nothing comes of a request, in milliseconds since the start.
    in_trouble_until_ms: AtomicU64,
    lane: Mutex<Lane>,
    /// For calls,
    permits: Semaphore,
    /// and for the bytes of their requests.
    size_permits: Semaphore,
    /// There is something to send, or to connect for.
    has_news: Notify,
    /// There are calls again, whose deadlines count.
    has_calls: Notify,
    is_closed: Notify,
}

impl Transport {
    /// A transport to `core` of the node at `address`, or to whichever core the server chooses. It ends when its last clone is dropped.
    pub(crate) fn start(options: Options, address: Arc<str>, core: Option<CoreIndex>, map: Arc<Map>) -> Self {
        let shared = Arc::new(Shared {
            started: Instant::now(),
            in_trouble_until_ms: AtomicU64::new(0),
            lane: Mutex::new(Lane::new(Instant::now(), options.connect_timeout)),
            permits: Semaphore::new(CALLS_MAX),
            size_permits: Semaphore::new(CALLS_SIZE_BYTES_MAX),
            has_news: Notify::new(),
            has_calls: Notify::new(),
            is_closed: Notify::new(),
        });
        tokio::spawn(run(Task { shared: Arc::clone(&shared), options, address, core, map }));
        Self { handle: Arc::new(Handle { shared }) }
    }

    /// Sends a request and waits for its answer: until its deadline if it is a write that was sent, else as long as there is patience.
    pub(crate) async fn call(
        &self,
        request: Request<'_>,
        map_epoch: MapEpoch,
        limits: Limits,
    ) -> Result<Reply, AttemptError> {
        let shared = &*self.handle.shared;
        // In this order for all: who has bytes lacks nothing more, and gives them back.
        let _permit = permits(&shared.permits, 1, limits.patience).await?;
        let size_bytes = request.size_bytes().min(CALLS_SIZE_BYTES_MAX);
        let _size_permits = permits(&shared.size_permits, size_bytes, limits.patience).await?;
        let now = Instant::now();
        if now >= limits.patience {
            return Err(AttemptError::TimedOut { was_sent: false });
        }
        let id = shared.submit(&request, map_epoch, limits, now);
        // The lane has an outcome in time, whatever happens.
        Answer { shared, id: Some(id) }.await
    }

    /// Whether nothing comes of a request now: the last try to connect failed a moment ago, or the server is silent.
    pub(crate) fn is_in_trouble(&self) -> bool {
        let Shared { started, in_trouble_until_ms, .. } = &*self.handle.shared;
        let until_ms = in_trouble_until_ms.load(Ordering::Relaxed);
        until_ms != 0 && until_ms > milliseconds(started.elapsed())
    }
}

/// So many permits, as long as there is patience.
async fn permits(semaphore: &Semaphore, count: usize, patience: Instant) -> Result<SemaphorePermit<'_>, AttemptError> {
    let count = u32::try_from(count).expect("the bounds fit 32 bits");
    if let Ok(permits) = semaphore.try_acquire_many(count) {
        return Ok(permits);
    }
    match timeout_at(patience, semaphore.acquire_many(count)).await {
        Ok(permits) => Ok(permits.expect("the semaphore is never closed")),
        Err(_) => Err(AttemptError::TimedOut { was_sent: false }),
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.is_closed.notify_one();
    }
}

/// The outcome of a submitted request. Dropped before, it leaves the request to its fate.
struct Answer<'a> {
    shared: &'a Shared,
    /// `None` once the outcome was given.
    id: Option<RequestId>,
}

impl Future for Answer<'_> {
    type Output = Result<Reply, AttemptError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let id = self.id.expect("an answer is not polled again");
        let outcome = self.shared.with(|lane| lane.poll_outcome(id, context.waker()));
        if outcome.is_ready() {
            self.id = None;
        }
        outcome
    }
}

impl Drop for Answer<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.shared.with(|lane| lane.leave(id));
        }
    }
}

impl Shared {
    /// Works on the lane, and wakes callers after that.
    fn with<R>(&self, work: impl FnOnce(&mut Lane) -> R) -> R {
        let mut lane = self.lane.lock().expect("nobody panics while holding it");
        let result = work(&mut lane);
        let (woken, health) = (lane.take_woken(), lane.health());
        let in_trouble_until_ms = match health {
            Health::Well => 0,
            Health::Silent => u64::MAX,
            Health::Failed { until } => milliseconds(until.saturating_duration_since(self.started)),
        };
        self.in_trouble_until_ms.store(in_trouble_until_ms, Ordering::Relaxed);
        drop(lane);
        for waker in woken {
            waker.wake();
        }
        result
    }

    fn submit(&self, request: &Request<'_>, map_epoch: MapEpoch, limits: Limits, now: Instant) -> RequestId {
        let (was_idle, (id, is_news)) =
            self.with(|lane| (lane.is_idle(), lane.submit(request, map_epoch, limits, now)));
        if was_idle {
            self.has_calls.notify_one();
        }
        if is_news {
            self.has_news.notify_one();
        }
        id
    }
}

/// The task that has the socket.
struct Task {
    shared: Arc<Shared>,
    options: Options,
    address: Arc<str>,
    core: Option<CoreIndex>,
    map: Arc<Map>,
}

impl Drop for Task {
    /// However the task ends, also with its runtime: nobody waits for it in vain.
    fn drop(&mut self) {
        self.shared.with(|lane| lane.close("the client is closed", Instant::now()));
    }
}

async fn run(task: Task) {
    tokio::select! {
        () = task.serve() => {}
        () = task.expire() => {}
        () = task.shared.is_closed.notified() => {}
    }
}

impl Task {
    /// Keeps a connection while there is anything to send.
    async fn serve(&self) {
        let mut failures = 0_u32;
        let mut retry_at = None;
        loop {
            while !self.shared.with(|lane| lane.has_queued()) {
                self.shared.has_news.notified().await;
            }
            if let Some(retry_at) = retry_at.take() {
                sleep_until(Some(retry_at)).await;
            }
            let failed = match self.connect().await {
                Ok(stream) => self.serve_connection(stream).await,
                Err(reason) => Err(reason),
            };
            match failed {
                Ok(()) => failures = 0,
                Err(reason) => {
                    failures += 1;
                    let delay = RECONNECT_DELAY_FIRST.saturating_mul(1 << failures.min(16)).min(RECONNECT_DELAY_MAX);
                    let until = Instant::now() + jittered(delay, random::number());
                    retry_at = Some(until);
                    self.shared.with(|lane| lane.fail_queued(&reason, until));
                }
            }
        }
    }

    /// Ends calls at their deadlines, whatever happens to the connection meanwhile.
    async fn expire(&self) {
        loop {
            while self.shared.with(|lane| lane.is_idle()) {
                self.shared.has_calls.notified().await;
            }
            sleep(EXPIRY_INTERVAL).await;
            let probes = self.map.has_several_nodes();
            let is_news = self.shared.with(|lane| {
                let now = Instant::now();
                lane.expire(now);
                probes && lane.probe(now) || lane.is_dead
            });
            if is_news {
                self.shared.has_news.notify_one();
            }
        }
    }

    async fn connect(&self) -> Result<TcpStream, AttemptError> {
        let until = Instant::now() + self.options.connect_timeout;
        let not_sent = |reason: String| AttemptError::NotSent { reason };
        match timeout_at(until, TcpStream::connect(&*self.address)).await {
            Ok(Ok(stream)) => {
                // Without it small requests wait for acknowledgements; the connection works either way.
                let _ = stream.set_nodelay(true);
                Ok(stream)
            }
            Ok(Err(error)) => Err(not_sent(error.to_string())),
            Err(_) => Err(not_sent("no connection in time".to_owned())),
        }
    }

    /// Has a connection from its handshake to its end; an error if it was never ready.
    async fn serve_connection(&self, stream: TcpStream) -> Result<(), AttemptError> {
        let config = self.options.handshake.clone();
        let map = Arc::clone(&self.map);
        self.shared.with(|lane| lane.connect(config, self.core, map, random::bytes(), Instant::now()));
        let mut was_ready = false;
        let reason = self.drive(stream, &mut was_ready).await;
        self.shared.with(|lane| lane.disconnect(&reason, Instant::now()));
        if !was_ready {
            return Err(reason);
        }
        // A server that was away may come back with another number of cores, which its map's epoch does not tell.
        self.map.doubt();
        Ok(())
    }

    /// Moves bytes between lane and socket until the connection ends; tells why it did.
    async fn drive(&self, mut stream: TcpStream, was_ready: &mut bool) -> AttemptError {
        let (mut incoming, outgoing) = stream.split();
        let mut reader = FrameReader::with_read_size(HANDSHAKE_BODY_SIZE_BYTES_MAX, READ_SIZE_BYTES);
        let mut unsent = Unsent::default();
        let not_sent = |reason: &str| AttemptError::NotSent { reason: reason.to_owned() };
        // The end of the handshake's time, and then of the grace of a server that goes away.
        let mut until = Some(Instant::now() + self.options.connect_timeout);
        loop {
            let state = self.shared.with(|lane| {
                let is_dead = lane.is_dead;
                let connection = lane.connection().expect("it is driven");
                State {
                    is_refilled: unsent.refill(&mut connection.outbound),
                    is_ready: connection.is_ready(),
                    grace: connection.grace,
                    is_owed: connection.is_owed(),
                    is_dead,
                }
            });
            if state.is_dead {
                return not_sent("the server is silent");
            }
            if state.is_ready && !*was_ready {
                *was_ready = true;
                until = None;
            }
            if let Some(grace) = state.grace {
                if !state.is_owed {
                    return not_sent("the server is shutting down");
                }
                until = until.or_else(|| Some(Instant::now() + grace));
                if self.map.has_several_nodes() {
                    self.shared.with(|lane| lane.leave_for_others(Instant::now()));
                }
            }
            if let Err(error) = unsent.write(&outgoing) {
                return not_sent(&error.to_string());
            }
            if unsent.is_empty() && !state.is_refilled {
                // Callers left more behind the bytes that are gone now, and told of it before.
                continue;
            }
            tokio::select! {
                biased;
                received = incoming.read_buf(reader.buffer_for_read()) => {
                    match received {
                        Ok(0) => return not_sent("the server closed the connection"),
                        Ok(_) => {}
                        Err(error) => return not_sent(&error.to_string()),
                    }
                    if let Err(error) = self.shared.with(|lane| lane.receive(&mut reader, Instant::now())) {
                        return error;
                    }
                }
                _ = outgoing.writable(), if !unsent.is_empty() => {}
                () = self.shared.has_news.notified() => {
                    // The caller that woke this task is one of many as a rule, since answers arrive together. The others go first, so
                    // that one write carries what all of them ask for: a write costs more than everything else about a request.
                    if self.shared.with(|lane| lane.has_several()) {
                        tokio::task::yield_now().await;
                    }
                }
                () = sleep_until(until) => match *was_ready {
                    true => return not_sent("the server went away without its answers"),
                    false => return not_sent("the handshake took too long"),
                }
            }
        }
    }
}

/// What whoever drives a connection looks at between two steps.
struct State {
    is_refilled: bool,
    is_ready: bool,
    grace: Option<Duration>,
    is_owed: bool,
    is_dead: bool,
}

/// Bytes on their way to the socket.
#[derive(Default)]
struct Unsent {
    bytes: Vec<u8>,
    /// Invariant: `written <= bytes.len()`.
    written: usize,
}

impl Unsent {
    fn is_empty(&self) -> bool {
        self.written == self.bytes.len()
    }

    /// Takes over `outbound` if all of the last is written, and tells whether. The two buffers take turns, unless large values made one
    /// large.
    fn refill(&mut self, outbound: &mut Vec<u8>) -> bool {
        if !self.is_empty() {
            return false;
        }
        self.written = 0;
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_SIZE_BYTES);
        std::mem::swap(&mut self.bytes, outbound);
        true
    }

    /// Writes as much as the socket takes now.
    fn write(&mut self, socket: &WriteHalf<'_>) -> std::io::Result<()> {
        while !self.is_empty() {
            match socket.try_write(&self.bytes[self.written..]) {
                Ok(length) => self.written += length,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use corelode_net::body::Durability;
    use corelode_net::limits::VALUE_LENGTH_MAX;

    use super::*;

    /// A server that takes connections and says nothing, and callers that all want to write a MiB.
    #[tokio::test]
    async fn requests_that_wait_are_bounded_by_their_bytes() {
        const COUNT: usize = 100;
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let address = listener.local_addr().expect("a port").to_string();
        let options = Options::from_addresses(vec![address.clone()]);
        let transport = Transport::start(options, address.into(), None, Arc::default());
        let deadline = Instant::now() + Duration::from_secs(60);
        let limits = Limits { deadline, patience: deadline };
        let value: Arc<[u8]> = vec![0; VALUE_LENGTH_MAX].into();
        let calls: Vec<_> = (0..COUNT)
            .map(|_| {
                let (transport, value) = (transport.clone(), Arc::clone(&value));
                tokio::spawn(async move {
                    let put = Request::Put { key: b"key", value: &value, ttl_ms: 0, durability: Durability::Synced };
                    transport.call(put, MapEpoch(0), limits).await
                })
            })
            .collect();
        let permits = || transport.handle.shared.size_permits.available_permits();
        while permits() > VALUE_LENGTH_MAX {
            tokio::task::yield_now().await;
        }
        // Every caller has had its turn by then; those who found no room wait before they are encoded.
        for _ in 0..2 * COUNT {
            tokio::task::yield_now().await;
        }
        let shared = &transport.handle.shared;
        let submitted = shared.with(|lane| lane.len());
        assert_eq!(submitted, CALLS_SIZE_BYTES_MAX / VALUE_LENGTH_MAX - 1, "and with its header none more fits");
        // Who goes away makes room.
        calls.iter().for_each(tokio::task::JoinHandle::abort);
        while permits() < CALLS_SIZE_BYTES_MAX {
            tokio::task::yield_now().await;
        }
    }
}
