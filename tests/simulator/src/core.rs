//! One core of a simulated node: the turn loop around its shard, as `server/src/runtime/core.rs` has it around threads, rings and sockets.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use corelode_engine::env::simulated::SimulatedEnvironment;
use corelode_engine::env::{Environment, LogMode};
use corelode_engine::io_buffer::IoBuffer;
use corelode_engine::{Error, job};
use corelode_server::message::Message;
use corelode_server::shard::{ConnectionId, Core, Departure, Now, Shard};

use crate::machine::MachineShared;
use crate::network::{Endpoint, Place};
use crate::signal::Signal;

/// How long a node may take to accept a connection.
const DIAL_PATIENCE: Duration = Duration::from_secs(2);
/// How long clients get to take their answers when the node is to stop.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);
const STOP_INTERVAL: Duration = Duration::from_millis(5);

/// A core: what its tasks share.
pub(crate) struct SimulatedCore {
    pub(crate) shard: RefCell<Shard<SimulatedEnvironment>>,
    pub(crate) environment: SimulatedEnvironment,
    machine: Rc<MachineShared>,
    number: u16,
    turn: Signal,
    mailbox: RefCell<VecDeque<Message<SimulatedEnvironment>>>,
    connections: RefCell<BTreeMap<ConnectionId, Rc<ConnectionIo>>>,
    failure: RefCell<Option<Error>>,
}

struct ConnectionIo {
    may_read: Signal,
    may_write: Signal,
    reader_ended: Signal,
    is_leaving: Cell<bool>,
}

impl SimulatedCore {
    pub(crate) fn new(
        shard: Shard<SimulatedEnvironment>,
        environment: SimulatedEnvironment,
        machine: Rc<MachineShared>,
        number: u16,
    ) -> Self {
        Self {
            shard: RefCell::new(shard),
            environment,
            machine,
            number,
            turn: Signal::default(),
            mailbox: RefCell::default(),
            connections: RefCell::default(),
            failure: RefCell::default(),
        }
    }

    fn now(&self) -> Now {
        self.machine.now(&self.environment)
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.environment.spawn(task);
    }

    /// Has the core look around.
    pub(crate) fn raise(&self) {
        self.turn.raise();
    }

    pub(crate) fn post(&self, message: Message<SimulatedEnvironment>) {
        self.mailbox.borrow_mut().push_back(message);
        self.turn.raise();
    }
}

/// Runs a core until it fails.
pub(crate) async fn run(core: Rc<SimulatedCore>) {
    let simulation = core.environment.simulation().clone();
    let mut draining_since = None;
    loop {
        while core.machine.is_paused.get() {
            simulation.sleep(Duration::from_millis(5)).await;
        }
        if let Err(error) = turn(&core) {
            core.machine.fail(&error);
            return;
        }
        let (is_draining, is_drained, sleep) = {
            let shard = core.shard.borrow();
            (shard.is_draining(), shard.is_drained(), shard.sleep_ms_max(core.now()).map(Duration::from_millis))
        };
        if is_draining {
            let since = *draining_since.get_or_insert(simulation.now());
            if is_drained || simulation.now() - since > DRAIN_PATIENCE {
                break;
            }
        }
        let sleep = if is_draining { Some(STOP_INTERVAL) } else { sleep };
        core.turn.wait_for(&simulation, sleep).await;
    }
    match close(&core).await {
        Ok(()) => core.machine.core_ended(),
        Err(error) => core.machine.fail(&error),
    }
}

/// Leaves nothing to replay, as `server/src/runtime/core.rs` does.
async fn close(core: &Rc<SimulatedCore>) -> Result<(), Error> {
    let simulation = core.environment.simulation().clone();
    let failures_before = {
        let mut shard = core.shard.borrow_mut();
        shard.store_mut().flush_all();
        shard.store_mut().counters().job_failures
    };
    let mut is_marked = false;
    loop {
        while core.machine.is_paused.get() {
            simulation.sleep(Duration::from_millis(5)).await;
        }
        turn(core)?;
        {
            let mut shard = core.shard.borrow_mut();
            let store = shard.store_mut();
            if store.counters().job_failures > failures_before {
                return Ok(());
            }
            if store.is_log_idle() && !store.is_flushing() {
                if !std::mem::replace(&mut is_marked, true) {
                    store.mark_log();
                }
                if store.is_log_idle() {
                    return Ok(());
                }
            }
        }
        core.turn.wait_for(&simulation, Some(STOP_INTERVAL)).await;
    }
}

fn turn(core: &Rc<SimulatedCore>) -> Result<(), Error> {
    let now = core.now();
    let _span = core.machine.span(core.number).entered();
    core.machine.note(&[u64::from(core.number), now.monotonic_ns]);
    if let Some(error) = core.failure.borrow_mut().take() {
        return Err(error);
    }
    loop {
        let Some(message) = core.mailbox.borrow_mut().pop_front() else { break };
        let adopted = core.shard.borrow_mut().message(message, now)?;
        if let Some(adopted) = adopted {
            let endpoint = core.machine.travelling.borrow_mut().remove(&adopted.socket.as_raw_fd());
            let id = core.shard.borrow_mut().connection_adopted(&adopted);
            start_connection(core, id, endpoint.expect("it left another core"));
        }
    }
    let mut shard = core.shard.borrow_mut();
    shard.turn(now);
    core.machine.observe(core.number, &shard);
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
    for (node, _) in shard.take_dials() {
        core.spawn(dial(Rc::clone(core), node));
    }
    start_io(core, &mut shard, now.monotonic_ns);
    while let Some(job) = shard.next_job() {
        let core = Rc::clone(core);
        core.clone().spawn(async move {
            let done = job::run(core.environment.clone(), job).await;
            core.post(Message::JobDone(Box::new(done)));
        });
    }
    let cores = core.machine.cores.borrow();
    for (number, other) in (0_u16..).zip(cores.iter()) {
        if number != core.number {
            let outbox = shard.outbox(Core(number));
            while let Some(message) = outbox.pop_front() {
                other.post(message);
            }
        }
    }
    Ok(())
}

fn start_io(core: &Rc<SimulatedCore>, shard: &mut Shard<SimulatedEnvironment>, now_ns: u64) {
    if let Some(mut write) = shard.start_log_write(now_ns) {
        let core = Rc::clone(core);
        core.clone().spawn(async move {
            let buffer = std::mem::take(&mut write.buffer);
            let (mut result, buffer) = core.environment.write_at(&write.file, buffer, write.offset).await;
            if result.is_ok() && write.mode == LogMode::BufferedThenSync {
                result = core.environment.sync_data(&write.file).await;
            }
            write.buffer = buffer;
            let outcome = core.shard.borrow_mut().finish_log_write(write, result, core.now());
            if let Err(error) = outcome {
                *core.failure.borrow_mut() = Some(error);
            }
            core.turn.raise();
        });
    }
    for read in shard.take_block_reads() {
        let core = Rc::clone(core);
        core.clone().spawn(async move {
            let buffer = IoBuffer::zeroed(read.handle.length as usize);
            let (result, buffer) = core.environment.read_at(&read.file, buffer, read.handle.offset).await;
            core.shard.borrow_mut().finish_block_read(&read, &buffer, result, core.now());
            core.turn.raise();
        });
    }
}

async fn dial(core: Rc<SimulatedCore>, node: corelode_raft::NodeId) {
    let connecting = core.machine.network.connect(core.machine.place(), Place::Node(node.0));
    let patience = core.environment.simulation().sleep(DIAL_PATIENCE);
    match crate::signal::first(connecting, patience).await.flatten() {
        Some(endpoint) => {
            let (nonce, now) = (core.machine.nonce(), core.now());
            let id = core.shard.borrow_mut().dialled(node, format!("{node}"), nonce, now);
            start_connection(&core, id, endpoint);
        }
        None => core.shard.borrow_mut().dial_failed(node, core.now()),
    }
    core.turn.raise();
}

/// A connection has arrived at the node, and this core takes it.
pub(crate) fn accept(core: &Rc<SimulatedCore>, endpoint: Endpoint) {
    let (nonce, now) = (core.machine.nonce(), core.now());
    let opened = core.shard.borrow_mut().connection_opened(format!("{:?}", endpoint.there), nonce, now);
    if let Some(id) = opened {
        start_connection(core, id, endpoint);
    }
    core.turn.raise();
}

fn start_connection(core: &Rc<SimulatedCore>, id: ConnectionId, endpoint: Endpoint) {
    let io = Rc::new(ConnectionIo {
        may_read: Signal::default(),
        may_write: Signal::default(),
        reader_ended: Signal::default(),
        is_leaving: Cell::new(false),
    });
    core.connections.borrow_mut().insert(id, Rc::clone(&io));
    let endpoint = Rc::new(endpoint);
    core.spawn(read_loop(Rc::clone(core), id, Rc::clone(&io), Rc::clone(&endpoint)));
    core.spawn(write_loop(Rc::clone(core), id, io, endpoint));
}

async fn read_loop(core: Rc<SimulatedCore>, id: ConnectionId, io: Rc<ConnectionIo>, endpoint: Rc<Endpoint>) {
    while !io.is_leaving.get() {
        let Some(mut buffer) = core.shard.borrow_mut().take_receive_buffer(id) else { break };
        let room = buffer.capacity() - buffer.len();
        let bytes = endpoint.receive(room).await.unwrap_or_default();
        buffer.extend_from_slice(&bytes);
        core.shard.borrow_mut().received(id, buffer, bytes.len(), core.now().monotonic_ns);
        core.turn.raise();
        if bytes.is_empty() {
            break;
        }
        io.may_read.wait().await;
    }
    io.reader_ended.raise();
}

async fn write_loop(core: Rc<SimulatedCore>, id: ConnectionId, io: Rc<ConnectionIo>, endpoint: Rc<Endpoint>) {
    let departure = loop {
        io.may_write.wait().await;
        let is_broken = loop {
            let output = core.shard.borrow_mut().take_output(id, Vec::new(), core.now().monotonic_ns);
            if output.is_empty() {
                break false;
            }
            if !endpoint.send(output) {
                break true;
            }
            if core.shard.borrow_mut().output_written(id, core.now().monotonic_ns) {
                core.turn.raise();
            }
        };
        if is_broken {
            break Departure::Close;
        }
        if let Some(departure) = core.shard.borrow().departure(id) {
            break departure;
        }
    };
    io.is_leaving.set(true);
    core.connections.borrow_mut().remove(&id);
    io.may_read.raise();
    match departure {
        Departure::Close => {
            endpoint.close();
            core.shard.borrow_mut().connection_closed(id);
            core.turn.raise();
        }
        Departure::Move(to) => {
            io.reader_ended.wait().await;
            // The socket is a token here: it stands for the endpoint that travels with it.
            let socket = OwnedFd::from(std::fs::File::open("/dev/null").expect("there is always /dev/null"));
            let token = socket.as_raw_fd();
            let Some(adopted) = core.shard.borrow_mut().adopted(id, socket) else { return };
            let Ok(endpoint) = Rc::try_unwrap(endpoint) else { unreachable!("the reader has ended") };
            core.machine.travelling.borrow_mut().insert(token, endpoint);
            core.shard.borrow_mut().outbox(to).push_back(Message::Adopt(Box::new(adopted)));
            core.turn.raise();
        }
    }
}
