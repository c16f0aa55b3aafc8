//! One core's thread: the turn loop around its shard.
//!
//! The loop is one task among those of the connections. A completion wakes the task that waits for it, that task hands what has come to
//! the shard and raises the turn, and the turn runs once after all of them: so one turn handles everything that has arrived, starts
//! one log write, and every connection sends once.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::net::TcpListener;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use corelode_engine::data_directory::CoreStart;
use corelode_engine::env::thread::ThreadEnvironment;
use corelode_engine::job::{self, Job};
use corelode_engine::maintenance::{JobsAtShutdown, Lane, MaintenanceThread, SubmitError};
use corelode_engine::{Error, Result};

use super::alternation::Alternation;
use super::connection::{self, ConnectionIo};
use super::files::{LogFile, read_block};
use super::mailbox::{Mailbox, Sender};
use super::notify::Notify;
use super::socket;
use crate::message::Message;
use crate::shard::{ConnectionId, Core, Now, Shard, ShardConfig};

/// What production shards store to.
pub(crate) type E = ThreadEnvironment;

/// A full ring to another core is tried again after so long.
const BACKLOG_RETRY: Duration = Duration::from_micros(200);
/// How long clients get to take their answers at a shutdown.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);
/// While draining the shard is looked at so often.
const DRAIN_INTERVAL: Duration = Duration::from_millis(5);
/// How long a node may take to accept a connection.
const DIAL_PATIENCE: Duration = Duration::from_secs(2);
/// How long no connection is accepted after the process ran out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Everything a core's thread is started with.
pub(crate) struct CoreParts {
    pub(crate) config: ShardConfig,
    pub(crate) start: CoreStart<E>,
    pub(crate) listeners: Vec<TcpListener>,
    pub(crate) mailbox: Mailbox<Message<E>>,
    /// To each core; none to itself.
    pub(crate) senders: Vec<Option<Sender<Message<E>>>>,
    pub(crate) maintenance: MaintenanceThread<Job<E>>,
    /// Rung once the shard serves.
    pub(crate) on_ready: Box<dyn FnOnce() + Send>,
}

/// A core's runtime: what its tasks share.
pub(super) struct CoreRuntime {
    pub(super) shard: RefCell<Shard<E>>,
    pub(super) turn: Notify,
    pub(super) connections: RefCell<HashMap<ConnectionId, Rc<ConnectionIo>>>,
    log_file: LogFile,
    /// A failure that stops the node.
    failure: RefCell<Option<Error>>,
    pub(super) clock: Clock,
    alternation: Alternation,
}

impl CoreRuntime {
    /// The time, nanoseconds, where it is read for the times of stages alone.
    pub(super) fn stage_ns(&self) -> u64 {
        if self.alternation.is_counting() { self.clock.monotonic_ns() } else { 0 }
    }

    /// Whether the shard is draining, whether it is drained, and how long it may sleep.
    fn rest(&self) -> (bool, bool, Option<Duration>) {
        let shard = self.shard.borrow();
        let sleep = shard.sleep_ms_max(self.clock.now()).map(Duration::from_millis);
        (shard.is_draining(), shard.is_draining() && shard.is_drained(), sleep)
    }

    /// Takes one step towards a store that can be closed; answers whether it can be now.
    fn step_to_close(&self, is_marked: &mut bool) -> bool {
        let mut shard = self.shard.borrow_mut();
        let store = shard.store_mut();
        if !store.is_log_idle() || store.is_flushing() {
            return false;
        }
        if !std::mem::replace(is_marked, true) {
            store.mark_log();
        }
        store.is_log_idle()
    }
}

/// The machine's clocks, read once a turn.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    started: Instant,
}

impl Clock {
    /// Since the core was started, nanoseconds.
    pub(super) fn monotonic_ns(self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn now(self) -> Now {
        let as_ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let monotonic_ns = self.monotonic_ns();
        Now {
            monotonic_ms: monotonic_ns / 1_000_000,
            monotonic_ns,
            wall_ms: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, as_ms),
        }
    }
}

/// Runs a core until the node shuts down.
pub(crate) async fn run(parts: CoreParts) -> Result<()> {
    let CoreParts { config, start, listeners, mut mailbox, mut senders, maintenance, on_ready } = parts;
    let clock = Clock { started: Instant::now() };
    let core = Rc::new(CoreRuntime {
        shard: RefCell::new(Shard::new(config, start.into_store(), clock.now())),
        turn: Notify::default(),
        connections: RefCell::default(),
        log_file: LogFile::default(),
        failure: RefCell::new(None),
        clock,
        alternation: Alternation::default(),
    });
    let mut jobs = JobQueue { maintenance, waiting: VecDeque::new() };
    settle_deadlines(&core, &mut mailbox, &mut jobs).await?;
    for listener in listeners {
        monoio::spawn(accept_loop(Rc::clone(&core), listener));
    }
    on_ready();
    let mut draining_since = None;
    loop {
        let has_backlog = turn(&core, &mut mailbox, &mut senders, &mut jobs)?;
        let (is_draining, is_drained, sleep) = core.rest();
        if is_draining {
            let since = *draining_since.get_or_insert_with(Instant::now);
            if is_drained || since.elapsed() > DRAIN_PATIENCE {
                break;
            }
        }
        let sleep = match (has_backlog, is_draining) {
            (true, _) => Some(BACKLOG_RETRY),
            (false, true) => Some(DRAIN_INTERVAL),
            (false, false) => sleep,
        };
        wait(&core, &mut mailbox, sleep).await;
    }
    core.alternation.report();
    close(&core, &mut mailbox, jobs).await
}

/// One turn; answers whether messages to another core wait for room in a ring.
fn turn(
    core: &Rc<CoreRuntime>,
    mailbox: &mut Mailbox<Message<E>>,
    senders: &mut [Option<Sender<Message<E>>>],
    jobs: &mut JobQueue,
) -> Result<bool> {
    let now = core.clock.now();
    take_failure(core)?;
    while let Some(message) = mailbox.pop() {
        let adopted = core.shard.borrow_mut().message(message, now)?;
        if let Some(adopted) = adopted {
            let stream = std::net::TcpStream::from(adopted.socket.try_clone().map_err(|error| socket_error(&error))?);
            let id = core.shard.borrow_mut().connection_adopted(&adopted);
            let unblocked = stream.set_nonblocking(socket::must_not_block());
            match unblocked.and_then(|()| monoio::net::TcpStream::from_std(stream)) {
                Ok(stream) => connection::start(core, id, stream),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be taken over");
                    core.shard.borrow_mut().connection_closed(id);
                }
            }
        }
    }
    let mut shard = core.shard.borrow_mut();
    core.alternation.turn(now.monotonic_ns, shard.requests());
    shard.count_stages(core.alternation.is_counting());
    shard.turn(now);
    let connections = core.connections.borrow();
    for id in shard.take_writable() {
        if let Some(io) = connections.get(&id) {
            io.may_write.raise();
        }
    }
    for id in shard.take_readable() {
        if let Some(io) = connections.get(&id) {
            io.may_read.raise();
        }
    }
    drop(connections);
    for (node, address) in shard.take_dials() {
        monoio::spawn(dial(Rc::clone(core), node, address));
    }
    // Answers are submitted before the log write: submitting that takes the kernel some tens of microseconds.
    start_io(core, &mut shard);
    jobs.submit(&mut shard)?;
    Ok(send_messages(&mut shard, senders))
}

/// Starts the log write and block reads that are due.
fn start_io(core: &Rc<CoreRuntime>, shard: &mut Shard<E>) {
    if let Some(mut write) = shard.start_log_write(core.stage_ns()) {
        let core = Rc::clone(core);
        monoio::spawn(async move {
            let result = core.log_file.write(&mut write).await;
            let outcome = core.shard.borrow_mut().finish_log_write(write, result, core.clock.now());
            if let Err(error) = outcome {
                *core.failure.borrow_mut() = Some(error);
            }
            core.turn.raise();
        });
    }
    for read in shard.take_block_reads() {
        let core = Rc::clone(core);
        monoio::spawn(async move {
            let (result, buffer) = read_block(&read).await;
            core.shard.borrow_mut().finish_block_read(&read, &buffer, result, core.clock.now());
            core.turn.raise();
        });
    }
}

fn send_messages(shard: &mut Shard<E>, senders: &mut [Option<Sender<Message<E>>>]) -> bool {
    let mut has_backlog = false;
    for (number, sender) in (0_u16..).zip(senders) {
        let Some(sender) = sender else { continue };
        let outbox = shard.outbox(Core(number));
        while let Some(message) = outbox.pop_front() {
            if let Err(message) = sender.push(message) {
                outbox.push_front(message);
                has_backlog = true;
                break;
            }
        }
        sender.flush();
    }
    has_backlog
}

/// Sleeps until the turn is raised, a message comes, or `sleep` has passed.
async fn wait(core: &CoreRuntime, mailbox: &mut Mailbox<Message<E>>, sleep: Option<Duration>) {
    let mut raised = pin!(core.turn.wait());
    let mut timer = pin!(async {
        match sleep {
            Some(duration) => monoio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    });
    poll_fn(|context| {
        let is_due = raised.as_mut().poll(context).is_ready()
            || mailbox.poll_mail(context).is_ready()
            || timer.as_mut().poll(context).is_ready();
        if is_due { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

fn take_failure(core: &CoreRuntime) -> Result<()> {
    match core.failure.borrow_mut().take() {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

async fn accept_loop(core: Rc<CoreRuntime>, listener: TcpListener) {
    let unblocked = listener.set_nonblocking(socket::must_not_block());
    let listener = match unblocked.and_then(|()| monoio::net::TcpListener::from_std(listener)) {
        Ok(listener) => listener,
        Err(error) => {
            *core.failure.borrow_mut() = Some(socket_error(&error));
            core.turn.raise();
            return;
        }
    };
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                let mut nonce = [0; 32];
                if let Err(error) = getrandom::fill(&mut nonce) {
                    tracing::error!(%error, "no randomness for a handshake; the connection is refused");
                    continue;
                }
                // The connection works without what cannot be set.
                let _ = socket::tune(&stream);
                let now = core.clock.now();
                let opened = core.shard.borrow_mut().connection_opened(address.to_string(), nonce, now);
                if let Some(id) = opened {
                    connection::start(&core, id, stream);
                    // The turn sets the timer by which a handshake must be complete.
                    core.turn.raise();
                }
            }
            Err(error) => {
                tracing::warn!(%error, "connections cannot be accepted; trying again shortly");
                monoio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Dials a core of another node.
async fn dial(core: Rc<CoreRuntime>, node: corelode_raft::NodeId, address: std::net::SocketAddr) {
    let mut nonce = [0; 32];
    let is_random = getrandom::fill(&mut nonce).is_ok();
    let connecting = monoio::time::timeout(DIAL_PATIENCE, monoio::net::TcpStream::connect_addr(address));
    match connecting.await {
        Ok(Ok(stream)) if is_random => {
            // The connection works without what cannot be set.
            let _ = socket::tune_link(&stream);
            let now = core.clock.now();
            let id = core.shard.borrow_mut().dialled(node, address.to_string(), nonce, now);
            connection::start(&core, id, stream);
        }
        _ => core.shard.borrow_mut().dial_failed(node, core.clock.now()),
    }
    core.turn.raise();
}

/// Before the first request: what expired while the node was down must not be seen.
async fn settle_deadlines(
    core: &Rc<CoreRuntime>,
    mailbox: &mut Mailbox<Message<E>>,
    jobs: &mut JobQueue,
) -> Result<()> {
    loop {
        turn(core, mailbox, &mut [], jobs)?;
        let is_settled = {
            let mut shard = core.shard.borrow_mut();
            let due = shard.store_mut().next_tick_ms().is_some_and(|due| due <= core.clock.now().wall_ms);
            !due && shard.store_mut().is_log_idle()
        };
        if is_settled {
            return Ok(());
        }
        wait(core, mailbox, Some(Duration::from_millis(1))).await;
    }
}

/// Leaves nothing to replay and a log whose last batch is known durable; if the disk refuses, what is durable by then.
async fn close(core: &Rc<CoreRuntime>, mailbox: &mut Mailbox<Message<E>>, mut jobs: JobQueue) -> Result<()> {
    let failures_before = {
        let mut shard = core.shard.borrow_mut();
        shard.store_mut().flush_all();
        shard.store_mut().counters().job_failures
    };
    let mut is_marked = false;
    loop {
        turn(core, mailbox, &mut [], &mut jobs)?;
        if core.shard.borrow_mut().store_mut().counters().job_failures > failures_before {
            tracing::warn!(
                "memory could not be flushed: the log keeps all that was acknowledged, and the next start replays it"
            );
            break;
        }
        if jobs.waiting.is_empty() && core.step_to_close(&mut is_marked) {
            break;
        }
        wait(core, mailbox, Some(Duration::from_millis(2))).await;
    }
    if jobs.maintenance.shutdown(JobsAtShutdown::Abandon).is_err() {
        tracing::error!("a maintenance job failed while the node closed");
    }
    Ok(())
}

/// Jobs on their way to the maintenance thread.
struct JobQueue {
    maintenance: MaintenanceThread<Job<E>>,
    waiting: VecDeque<Job<E>>,
}

impl JobQueue {
    fn submit(&mut self, shard: &mut Shard<E>) -> Result<()> {
        while let Some(job) = shard.next_job() {
            self.waiting.push_back(job);
        }
        while let Some(job) = self.waiting.pop_front() {
            let lane = match job.lane() {
                job::Lane::Urgent => Lane::Urgent,
                job::Lane::Background => Lane::Bulk,
            };
            match self.maintenance.submit(lane, job) {
                Ok(()) => {}
                Err(SubmitError::Full(job)) => {
                    self.waiting.push_front(job);
                    break;
                }
                Err(SubmitError::Stopped(_)) => {
                    return Err(Error::Mismatch {
                        path: "maintenance".into(),
                        message: "the maintenance thread has stopped".to_owned(),
                    });
                }
            }
        }
        Ok(())
    }
}

fn socket_error(error: &std::io::Error) -> Error {
    Error::Mismatch { path: "socket".into(), message: error.to_string() }
}
