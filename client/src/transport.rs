//! One place to reach a core: a task that connects when there is something to send, pipelines, and connects anew when it breaks.
//!
//! Whatever is queued goes out in one write. A request whose connection broke before its bytes were handed to the socket was not sent;
//! from the first byte on its fate is unknown. Connecting anew is delayed by a growing, varying time, so that many clients of a server
//! that restarts do not come back together.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use corelode_net::{ClusterId, CoreIndex, MapEpoch, RetryClass};
use tokio::net::TcpStream;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::connection::{Connection, Event};
use crate::error::AttemptError;
use crate::options::Options;
use crate::random;
use crate::request::{Reply, Request};
use crate::retry::jittered;

/// Requests that wait for a connection, for one core.
const QUEUE_LENGTH_MAX: usize = 16 * 1024;
/// Deadlines of requests under way are looked at so often.
const EXPIRY_INTERVAL: Duration = Duration::from_millis(20);
const RECONNECT_DELAY_FIRST: Duration = Duration::from_millis(5);
const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(1);

/// A request on its way to a connection.
pub(crate) struct Command {
    pub(crate) request: Arc<Request>,
    pub(crate) map_epoch: MapEpoch,
    pub(crate) deadline: Instant,
    pub(crate) answer: oneshot::Sender<Result<Reply, AttemptError>>,
}

/// Sends requests to one core. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Transport {
    commands: mpsc::Sender<Command>,
}

struct Waiting {
    answer: oneshot::Sender<Result<Reply, AttemptError>>,
    deadline: Instant,
}

/// How a connection ended, and what of it matters to the next one.
struct Ended {
    reason: AttemptError,
    was_ready: bool,
}

impl Transport {
    /// A transport to `core`, or to whichever core the server chooses. It ends when its last clone is dropped.
    pub(crate) fn start(options: Options, cluster: Arc<OnceLock<ClusterId>>, core: Option<CoreIndex>) -> Self {
        let (commands, receiver) = mpsc::channel(QUEUE_LENGTH_MAX);
        tokio::spawn(run(options, cluster, core, receiver));
        Self { commands }
    }

    /// Sends a request and waits for its answer until its deadline.
    pub(crate) async fn call(
        &self,
        request: Arc<Request>,
        map_epoch: MapEpoch,
        deadline: Instant,
    ) -> Result<Reply, AttemptError> {
        let (answer, answered) = oneshot::channel();
        let command = Command { request, map_epoch, deadline, answer };
        let closed = || AttemptError::NotSent { reason: "the client is closed".to_owned() };
        match self.commands.try_send(command) {
            Ok(()) => {}
            Err(TrySendError::Closed(_)) => return Err(closed()),
            Err(TrySendError::Full(command)) => match timeout_at(deadline, self.commands.send(command)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(closed()),
                Err(_) => return Err(AttemptError::TimedOut { was_sent: false }),
            },
        }
        // The task answers by the deadline whatever happens; without an answer it has ended.
        answered.await.unwrap_or_else(|_| Err(closed()))
    }
}

async fn run(
    options: Options,
    cluster: Arc<OnceLock<ClusterId>>,
    core: Option<CoreIndex>,
    mut commands: mpsc::Receiver<Command>,
) {
    let mut failures = 0_u32;
    loop {
        let Some(mut first) = next_live(&mut commands).await else { return };
        if failures > 0 {
            let delay = RECONNECT_DELAY_FIRST.saturating_mul(1 << failures.min(16)).min(RECONNECT_DELAY_MAX);
            let until = (Instant::now() + jittered(delay, random::number())).min(first.deadline);
            tokio::time::sleep_until(until).await;
        }
        match connect(&options, first.deadline).await {
            Ok(stream) => {
                let ended = drive(&options, &cluster, core, stream, &mut first, &mut commands).await;
                failures = if ended.was_ready { 0 } else { failures + 1 };
                if let Some(command) = first.take() {
                    let reason = match ended.reason {
                        // What the connection met is not what the request met: that was not sent.
                        AttemptError::Server { retry: RetryClass::Safe, message, .. } => {
                            AttemptError::NotSent { reason: message }
                        }
                        reason => reason,
                    };
                    let _ = command.answer.send(Err(reason));
                }
            }
            Err(reason) => {
                failures += 1;
                if let Some(command) = first.take() {
                    let _ = command.answer.send(Err(reason));
                }
            }
        }
    }
}

/// A command that waits for a connection to be ready for it.
struct First {
    command: Option<Command>,
    deadline: Instant,
}

impl First {
    fn take(&mut self) -> Option<Command> {
        self.command.take()
    }
}

/// The next command whose deadline has not passed.
async fn next_live(commands: &mut mpsc::Receiver<Command>) -> Option<First> {
    loop {
        let command = commands.recv().await?;
        if command.deadline > Instant::now() {
            return Some(First { deadline: command.deadline, command: Some(command) });
        }
        let _ = command.answer.send(Err(AttemptError::TimedOut { was_sent: false }));
    }
}

async fn connect(options: &Options, deadline: Instant) -> Result<TcpStream, AttemptError> {
    let mut reason = "no address was given".to_owned();
    for address in &options.addresses {
        let until = deadline.min(Instant::now() + options.connect_timeout);
        match timeout_at(until, TcpStream::connect(address.as_str())).await {
            Ok(Ok(stream)) => {
                // Without it small requests wait for acknowledgements; the connection works either way.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => reason = format!("{address}: {error}"),
            Err(_) => reason = format!("{address}: no connection in time"),
        }
    }
    Err(AttemptError::NotSent { reason })
}

/// Drives one connection until it ends.
async fn drive(
    options: &Options,
    cluster: &Arc<OnceLock<ClusterId>>,
    core: Option<CoreIndex>,
    stream: TcpStream,
    first: &mut First,
    commands: &mut mpsc::Receiver<Command>,
) -> Ended {
    let mut connection = Connection::new(options.handshake.clone(), Arc::clone(cluster), core, random::bytes());
    let mut written = 0;
    let mut was_ready = false;
    // How many answers the last read brought.
    let mut answered = 0;
    let mut buffer = vec![0; 64 * 1024];
    let mut events = Vec::new();
    let handshake_until = Instant::now() + options.connect_timeout;
    let mut expire_at = Instant::now() + EXPIRY_INTERVAL;
    let reason = loop {
        if connection.has_room()
            && let Some(command) = first.take()
        {
            submit(&mut connection, command);
        }
        while connection.has_room()
            && let Ok(command) = commands.try_recv()
        {
            submit(&mut connection, command);
        }
        if connection.is_going_away() && connection.in_flight() == 0 {
            break AttemptError::NotSent { reason: "the server is shutting down".to_owned() };
        }
        match write_some(&stream, &mut connection.outbound, &mut written) {
            Ok(()) => {}
            Err(error) => break AttemptError::NotSent { reason: error.to_string() },
        }
        let wake_at = match was_ready {
            true => (connection.in_flight() > 0).then_some(expire_at),
            false => Some(handshake_until.min(first.deadline)),
        };
        let takes_commands = was_ready && connection.has_room();
        tokio::select! {
            readable = stream.readable() => {
                let outcome = readable.and_then(|()| stream.try_read(&mut buffer));
                match outcome {
                    Ok(0) => break AttemptError::NotSent { reason: "the server closed the connection".to_owned() },
                    Ok(length) => {
                        if let Err(error) = connection.receive(&buffer[..length], &mut events) {
                            break error;
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => break AttemptError::NotSent { reason: error.to_string() },
                }
            }
            _ = stream.writable(), if !connection.outbound.is_empty() => {}
            command = commands.recv(), if takes_commands => match command {
                Some(command) => {
                    submit(&mut connection, command);
                    if answered > 1 || connection.in_flight() > 1 {
                        // Whoever else was woken by the same answers submits first, so that one write carries all of it.
                        tokio::task::yield_now().await;
                    }
                }
                None => break AttemptError::NotSent { reason: "the client is closed".to_owned() },
            },
            () = sleep_until(wake_at) => {
                if !was_ready {
                    break AttemptError::NotSent { reason: "the handshake took too long".to_owned() };
                }
                expire(&mut connection);
                expire_at = Instant::now() + EXPIRY_INTERVAL;
            }
        }
        if !events.is_empty() {
            answered = events.len();
        }
        for event in events.drain(..) {
            match event {
                Event::Ready => was_ready = true,
                Event::Answered(waiting, outcome) => {
                    // A caller that has gone away wants no answer.
                    let _ = waiting.answer.send(outcome);
                }
                Event::GoAway => {}
            }
        }
    };
    // What was submitted may have reached the server.
    for waiting in connection.into_unanswered() {
        let reason = match &reason {
            AttemptError::NotSent { reason } => reason.clone(),
            other => format!("{other:?}"),
        };
        let _ = waiting.answer.send(Err(AttemptError::Broken { reason }));
    }
    Ended { reason, was_ready }
}

fn submit(connection: &mut Connection<Waiting>, command: Command) {
    let Command { request, map_epoch, deadline, answer } = command;
    let remaining = deadline.saturating_duration_since(Instant::now());
    if remaining.is_zero() {
        let _ = answer.send(Err(AttemptError::TimedOut { was_sent: false }));
        return;
    }
    let deadline_ms = u32::try_from(remaining.as_millis()).unwrap_or(u32::MAX).max(1);
    connection.submit(Waiting { answer, deadline }, &request, map_epoch, deadline_ms);
}

fn expire(connection: &mut Connection<Waiting>) {
    let now = Instant::now();
    for late in connection.take_late(|waiting| waiting.deadline <= now) {
        let _ = late.answer.send(Err(AttemptError::TimedOut { was_sent: true }));
    }
}

/// Writes as much as the socket takes now.
fn write_some(stream: &TcpStream, outbound: &mut Vec<u8>, written: &mut usize) -> io::Result<()> {
    while *written < outbound.len() {
        match stream.try_write(&outbound[*written..]) {
            Ok(length) => *written += length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    outbound.clear();
    *written = 0;
    Ok(())
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
