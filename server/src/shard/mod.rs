//! A shard: one core's partitions and connections, as a machine that bytes and completions go into, and bytes and work come out of.
//!
//! It has no socket, no file, no clock and no thread. The runtime (or a simulator) is its driver:
//!
//! ```text
//! bytes of a connection ──► receive ─┐
//! messages of other cores ──► message├──► turn ──► output of connections, messages, a log write, block reads, jobs
//! completions of I/O ───────────────┘
//! ```
//!
//! Everything that has arrived is handled in one [turn](Shard::turn), shares one log write, and leaves in one send a connection. No borrow of
//! the shard outlives a call. Bounds: those of the store, of each connection, and of [`ShardLimits`]; what is beyond them waits
//! unread in the kernel, or is refused with a retryable error before any work is done.

mod batch;
mod compare;
mod complaints;
mod connection;
mod damage;
mod dial;
mod execute;
mod frames;
mod govern;
mod map;
mod members;
mod operation;
mod replicate;
mod reply;
mod scan;
mod slab;
mod stages;
mod status;
mod transfer;
mod waiting;

use std::collections::{BTreeMap, VecDeque};
use std::io;

use corelode_engine::Result;
use corelode_engine::env::Environment;
use corelode_engine::io_buffer::IoBuffer;
use corelode_engine::job::{Job, JobDone};
use corelode_engine::log::LogWrite;
use corelode_engine::partition::Outcome;
use corelode_engine::store::Store;
use corelode_engine::table::BlockRead;
use corelode_net::handshake::{Credentials, ServerConfig};
use corelode_net::table::TableBuilder;
use corelode_net::{ErrorCode, MapEpoch};

use corelode_raft::Time;

use crate::cluster::Cluster;
use crate::message::{AdoptedConnection, Message};
use crate::replication::Replication;

pub use connection::{ConnectionId, ConnectionLimits};
pub use map::PartitionMap;
pub use operation::{
    BatchId, ClientReply, Core, Failure, ForwardToken, Leader, Operation, OperationResult, ReadLevel, ReplyTo, Request,
    ScanPageRequest, ScanPageResult, ScannedRow,
};
pub use replicate::ReplicaStatus;
pub use slab::SlabKey;
pub use stages::{Arrival, TimedOperation};

use batch::Batch;
use complaints::Complaints;
use connection::Connection;
use slab::Slab;
use stages::{Cause, StageHistograms, StoreTimes};
use status::StatusGathering;
use waiting::{DurabilityWaiters, ParkedQueue, WriteWaiters};

pub(crate) use waiting::Parked;

/// Bounds of a shard over all its connections.
#[derive(Clone, Copy, Debug)]
pub struct ShardLimits {
    /// Each connection's.
    pub connection: ConnectionLimits,
    /// Bytes of requests in flight over all connections; beyond it no further frames are looked at.
    pub bytes_in_flight_max: usize,
    /// Bytes over all connections of frames that have not arrived whole; beyond it those that began first are given up with their connections.
    pub half_frame_bytes_max: usize,
    /// Bytes of output over all connections; beyond it no further frames are looked at of those who have not taken all of theirs.
    pub output_bytes_max: usize,
    /// Connections open at once.
    pub connections_max: usize,
    /// Bytes of writes that wait for room in the log or in memory.
    pub blocked_bytes_max: usize,
    /// Bytes of answers that wait for what they tell to become durable.
    pub ahead_bytes_max: usize,
    /// How long a request waits that brings no deadline of its own, milliseconds.
    pub deadline_default_ms: u64,
    /// Messages to one core that may wait because its ring is full; beyond it requests for it are refused.
    pub outbox_max: usize,
}

impl Default for ShardLimits {
    fn default() -> Self {
        Self {
            connection: ConnectionLimits::default(),
            bytes_in_flight_max: 128 * 1024 * 1024,
            half_frame_bytes_max: 128 * 1024 * 1024,
            output_bytes_max: 256 * 1024 * 1024,
            connections_max: 10_000,
            blocked_bytes_max: 32 * 1024 * 1024,
            ahead_bytes_max: 32 * 1024 * 1024,
            deadline_default_ms: 10_000,
            outbox_max: 16 * 1024,
        }
    }
}

/// What a shard is told at its start.
pub struct ShardConfig {
    /// Which core it is.
    pub core: Core,
    /// Slots to partitions to cores.
    pub map: PartitionMap,
    /// The version of that map.
    pub map_epoch: MapEpoch,
    /// Which log each core writes.
    pub logs: Vec<u64>,
    /// The ports of the cores' own listeners, where they have one.
    pub core_ports: Vec<Option<u16>>,
    /// What the handshake says and asks for.
    pub handshake: ServerConfig,
    /// Bounds.
    pub limits: ShardLimits,
    /// The incarnation of the data directory.
    pub incarnation: u64,
    /// The other nodes, if there are any.
    pub cluster: Option<Cluster>,
    /// What is said to other nodes to be let in.
    pub peer_credentials: Option<Credentials>,
}

/// The time as the driver reads it, once a turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Now {
    /// Since some fixed point, never going back, milliseconds.
    pub monotonic_ms: u64,
    /// The same, nanoseconds.
    pub monotonic_ns: u64,
    /// Since the Unix epoch, milliseconds.
    pub wall_ms: u64,
}

/// What a shard counts, for STATUS.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct ShardCounters {
    pub(crate) connections_accepted: u64,
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) overloaded: u64,
    pub(crate) received_bytes: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) gets: u64,
    pub(crate) puts: u64,
    pub(crate) deletes: u64,
    pub(crate) scan_pages: u64,
    pub(crate) forwarded: u64,
    pub(crate) turns: u64,
}

/// A connection that leaves this shard: to be closed, or to move to another core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Departure {
    /// Its socket is to be closed.
    Close,
    /// Its socket goes to this core; [`Shard::adopted`] has what goes with it.
    Move(Core),
}

/// One core of a node.
pub struct Shard<E: Environment> {
    config: ShardConfig,
    store: Store<E>,
    /// Where partitions have replicas on other nodes.
    replication: Option<Box<Replication>>,
    connections: Slab<Connection>,
    /// Connections that have not completed their handshake.
    handshaking: usize,
    bytes_in_flight: usize,
    /// Bytes received over all connections and not yet taken out as frames.
    input_bytes: usize,
    /// Bytes of output over all connections that their clients have not taken.
    output_bytes: usize,
    /// Connections that wait for bytes in flight, or of output, to become fewer.
    stalled: Vec<ConnectionId>,
    /// Connections whose frames are to be looked at.
    ready: Vec<ConnectionId>,
    /// Connections with output for the driver.
    writable: Vec<ConnectionId>,
    /// Connections that the driver may read again.
    readable: Vec<ConnectionId>,
    writes: WriteWaiters,
    durability: DurabilityWaiters,
    blocked: ParkedQueue,
    /// Reads that wait for a block, by table seed and offset.
    block_waiters: BTreeMap<(u64, u64), Vec<Parked>>,
    block_reads: Vec<BlockRead<E::File>>,
    batches: BTreeMap<BatchId, Batch>,
    batch_last: u64,
    forwarded: BTreeMap<ForwardToken, ReplyTo>,
    statuses: BTreeMap<ForwardToken, StatusGathering>,
    histogram_requests: BTreeMap<ForwardToken, ClientReply>,
    token_last: u64,
    outbox: Vec<VecDeque<Message<E>>>,
    /// Bytes of values in each outbox since it was last empty.
    outbox_value_bytes: Vec<usize>,
    tables: TableBuilder,
    scratch: Vec<u8>,
    outcomes: Vec<Outcome>,
    now: Now,
    started_ms: u64,
    last_log_write_ms: Option<u64>,
    last_sweep_ms: u64,
    /// When residency was last asked for, and how many requests there had been.
    last_residency: (u64, u64),
    is_draining: bool,
    complaints: Complaints,
    counters: ShardCounters,
    stages: StageHistograms,
    are_stages_counted: bool,
    /// What answers given now follow from.
    cause: Cause,
    log_write_started_ns: u64,
    /// Of partitions that have replicas elsewhere. Bounded by the partitions of the core, and each by itself.
    store_times: BTreeMap<corelode_engine::ids::PartitionId, StoreTimes>,
}

/// A log that had nothing to write for so long gets a marker.
const IDLE_BEFORE_MARKER_MS: u64 = 20;
/// While requests come, the pages of tables that are in memory are looked up so often.
const RESIDENCY_INTERVAL_MS: u64 = 1000;
/// Deadlines of waiting requests are looked at so often.
const SWEEP_INTERVAL_MS: u64 = 50;

impl<E: Environment> Shard<E> {
    /// A shard over `store`.
    #[must_use]
    pub fn new(config: ShardConfig, store: Store<E>, now: Now) -> Self {
        let cores = usize::from(config.map.cores());
        let started = Time(now.monotonic_ns);
        let replication = config
            .cluster
            .clone()
            .map(|cluster| Box::new(Replication::new(cluster, config.incarnation, &store, started)));
        Self {
            replication,
            blocked: ParkedQueue::new(config.limits.blocked_bytes_max),
            durability: DurabilityWaiters::new(config.limits.ahead_bytes_max),
            config,
            store,
            connections: Slab::default(),
            handshaking: 0,
            bytes_in_flight: 0,
            input_bytes: 0,
            output_bytes: 0,
            stalled: Vec::new(),
            ready: Vec::new(),
            writable: Vec::new(),
            readable: Vec::new(),
            writes: WriteWaiters::default(),
            block_waiters: BTreeMap::new(),
            block_reads: Vec::new(),
            batches: BTreeMap::new(),
            batch_last: 0,
            forwarded: BTreeMap::new(),
            statuses: BTreeMap::new(),
            histogram_requests: BTreeMap::new(),
            token_last: 0,
            outbox: std::iter::repeat_with(VecDeque::new).take(cores).collect(),
            outbox_value_bytes: vec![0; cores],
            tables: TableBuilder::new(),
            scratch: Vec::new(),
            outcomes: Vec::new(),
            now,
            started_ms: now.monotonic_ms,
            last_log_write_ms: None,
            last_sweep_ms: now.monotonic_ms,
            last_residency: (now.monotonic_ms, 0),
            is_draining: false,
            complaints: Complaints::default(),
            counters: ShardCounters::default(),
            stages: StageHistograms::default(),
            are_stages_counted: true,
            cause: Cause::Turn,
            log_write_started_ns: 0,
            store_times: BTreeMap::new(),
        }
    }

    /// Which core this is.
    #[must_use]
    pub fn core(&self) -> Core {
        self.config.core
    }

    /// How many requests have come so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.counters.requests
    }

    /// Whether the times of requests are counted from now on, as they are unless something else is said.
    pub fn count_stages(&mut self, are_counted: bool) {
        self.are_stages_counted = are_counted;
    }

    /// Handles everything that has arrived.
    pub fn turn(&mut self, now: Now) {
        self.now = now;
        self.counters.turns += 1;
        for connection in std::mem::take(&mut self.ready) {
            self.look_at_frames(connection);
        }
        self.give_up_half_frames();
        self.retry_blocked();
        self.tick();
        self.store.seal(&mut self.outcomes);
        self.replicate();
        self.settle_outcomes();
    }

    /// Does what time asks for: expiry, deadlines of requests, the marker of an idle log.
    fn tick(&mut self) {
        if self.store.next_tick_ms().is_some_and(|due| due <= self.now.wall_ms) {
            match self.store.tick(self.now.wall_ms) {
                Ok(()) => {}
                Err(corelode_engine::cursor::Stop::Miss(read)) => self.request_block(*read),
                Err(corelode_engine::cursor::Stop::Corruption(corruption)) => {
                    tracing::error!(%corruption, "the next deadline cannot be looked up");
                }
            }
        }
        if self.now.monotonic_ms >= self.last_sweep_ms + SWEEP_INTERVAL_MS {
            self.last_sweep_ms = self.now.monotonic_ms;
            self.expire_waiting();
            if self.handshaking > 0 {
                self.expire_handshakes();
            }
        }
        let (asked_ms, requests) = self.last_residency;
        if self.counters.requests != requests && self.now.monotonic_ms >= asked_ms + RESIDENCY_INTERVAL_MS {
            self.last_residency = (self.now.monotonic_ms, self.counters.requests);
            self.store.refresh_residency();
        }
        if self.last_log_write_ms.is_some_and(|last| self.now.monotonic_ms >= last + IDLE_BEFORE_MARKER_MS)
            && self.store.is_log_idle()
        {
            self.last_log_write_ms = None;
            self.store.mark_log();
        }
    }

    /// How long the driver may sleep if nothing arrives, milliseconds; `None` for ever.
    #[must_use]
    pub fn sleep_ms_max(&self, now: Now) -> Option<u64> {
        let expiry = self.store.next_tick_ms().map(|due| due.saturating_sub(now.wall_ms));
        let marker = self.last_log_write_ms.map(|last| (last + IDLE_BEFORE_MARKER_MS).saturating_sub(now.monotonic_ms));
        let sweeps = self.has_waiting() || self.handshaking > 0;
        let sweep = sweeps.then(|| (self.last_sweep_ms + SWEEP_INTERVAL_MS).saturating_sub(now.monotonic_ms));
        let groups = self.replication.as_ref().and_then(|replication| replication.next_time(Time(now.monotonic_ns)));
        let groups = groups.map(|at| (at.0 / 1_000_000 + 1).saturating_sub(now.monotonic_ms));
        [expiry, marker, sweep, groups].into_iter().flatten().min().map(|ms| ms.max(1))
    }

    fn has_waiting(&self) -> bool {
        self.writes.count() > 0
            || self.durability.count() > 0
            || !self.blocked.is_empty()
            || !self.block_waiters.is_empty()
            || self.replication.as_ref().is_some_and(|replication| replication.reads_waiting() > 0)
    }

    /// The log write that is due, if one is; it begins at `now_ns`.
    pub fn start_log_write(&mut self, now_ns: u64) -> Option<LogWrite<E::File>> {
        let write = self.store.start_log_write()?;
        self.log_write_started_ns = now_ns;
        Some(write)
    }

    /// Learns what became of a log write; the next [turn](Self::turn) sends what it lets be answered.
    ///
    /// # Errors
    /// The write's failure: the node must stop, and nothing more is acknowledged.
    pub fn finish_log_write(&mut self, write: LogWrite<E::File>, result: io::Result<()>, now: Now) -> Result<()> {
        self.now = now;
        self.last_log_write_ms = Some(now.monotonic_ms);
        self.store.finish_log_write(write, result, &mut self.outcomes)?;
        self.cause = Cause::Logged { started_ns: self.log_write_started_ns, ended_ns: now.monotonic_ns };
        self.note_durable();
        self.settle_outcomes();
        self.cause = Cause::Turn;
        Ok(())
    }

    /// Blocks that reads wait for.
    pub fn take_block_reads(&mut self) -> Vec<BlockRead<E::File>> {
        std::mem::take(&mut self.block_reads)
    }

    /// Learns what became of a block read; what waited for it goes on.
    pub fn finish_block_read(
        &mut self,
        read: &BlockRead<E::File>,
        buffer: &IoBuffer,
        result: io::Result<usize>,
        now: Now,
    ) {
        self.now = now;
        self.cause = Cause::Resumed { at_ns: now.monotonic_ns };
        let outcome = self.store.block_read(read, buffer, result);
        let waiting = self.block_waiters.remove(&(read.seed, read.handle.offset)).unwrap_or_default();
        if let Err(error) = &outcome {
            tracing::error!(%error, "a block cannot be read");
        }
        for parked in waiting {
            match &outcome {
                Ok(()) => self.execute(parked.request, parked.operation.borrowed()),
                Err(error) => {
                    let failure = match error {
                        corelode_engine::Error::Corruption(_) => {
                            self.damage_failure(parked.request.partition, error.to_string())
                        }
                        _ => Failure::with_message(ErrorCode::Internal, error.to_string()),
                    };
                    self.deliver(parked.request.reply_to, OperationResult::Failed(failure));
                }
            }
        }
        self.cause = Cause::Turn;
    }

    /// The next job for the maintenance thread.
    pub fn next_job(&mut self) -> Option<Job<E>> {
        self.store.next_job()
    }

    /// Learns that a job ended.
    ///
    /// # Errors
    /// A failure that must stop the node.
    pub fn job_done(&mut self, done: JobDone<E>) -> Result<()> {
        self.store.job_done(done)
    }

    /// Handles a message of another core.
    pub fn message(&mut self, message: Message<E>, now: Now) -> Result<Option<Box<AdoptedConnection>>> {
        self.now = now;
        match message {
            Message::Forward { from, token, partition, remaining_ms, operation } => {
                let deadline_ms = self.now.monotonic_ms.saturating_add(remaining_ms);
                let request = Request { reply_to: ReplyTo::Peer { core: from, token }, partition, deadline_ms };
                self.execute(request, operation.borrowed());
            }
            Message::Result { token, result } => {
                if let Some(reply_to) = self.forwarded.remove(&token) {
                    self.cause = Cause::Resumed { at_ns: now.monotonic_ns };
                    self.deliver(reply_to, result.borrowed());
                    self.cause = Cause::Turn;
                }
            }
            Message::Adopt(adopted) => return Ok(Some(adopted)),
            Message::StatusRequest { from, token } => {
                let status = Box::new(self.core_status());
                self.send(from, Message::StatusResult { token, status });
            }
            Message::StatusResult { token, status } => self.status_arrived(token, *status),
            Message::HistogramsRequest { from, token, operation } => {
                let histograms = Box::new(self.histograms(&operation));
                self.send(from, Message::HistogramsResult { token, histograms });
            }
            Message::HistogramsResult { token, histograms } => self.histograms_arrived(token, &histograms),
            Message::Leaders(told) => self.hear_leaders(told),
            Message::JobDone(done) => self.job_done(*done)?,
            Message::ShutDown => self.begin_shutdown(),
        }
        Ok(None)
    }

    /// Messages for a core, oldest first; the driver takes as many as its ring holds.
    pub fn outbox(&mut self, core: Core) -> &mut VecDeque<Message<E>> {
        &mut self.outbox[usize::from(core.0)]
    }

    /// The other cores of this node.
    fn other_cores(&self) -> impl Iterator<Item = Core> + use<E> {
        let own = self.config.core;
        (0..self.config.map.cores()).map(Core).filter(move |core| *core != own)
    }

    fn send(&mut self, core: Core, message: Message<E>) {
        self.outbox[usize::from(core.0)].push_back(message);
    }

    /// Stops taking requests: clients are told to go, what is under way is finished.
    pub fn begin_shutdown(&mut self) {
        self.is_draining = true;
        self.hand_over();
        self.say_goodbye();
    }

    /// Whether a shutdown was begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.is_draining
    }

    /// Whether nothing that a client waits for is under way.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        !self.has_waiting()
            && !self.is_handing_over()
            && self.forwarded.is_empty()
            && self.statuses.is_empty()
            && self.histogram_requests.is_empty()
            && self.batches.is_empty()
            && self.outbox.iter().all(VecDeque::is_empty)
            && self.connections.keys().all(|key| self.connections.get(key).is_none_or(Connection::is_drained))
    }

    /// The store, for closing it and for reports.
    pub fn store_mut(&mut self) -> &mut Store<E> {
        &mut self.store
    }
}
