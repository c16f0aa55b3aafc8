//! A node: opens the data directory, starts a thread for each core, waits for the word to stop, and stops in order.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use corelode_engine::data_directory::{DataDirectory, OpenOptions, open_data_directory};
use corelode_engine::env::LogMode;
use corelode_engine::env::thread::ThreadEnvironment;
use corelode_engine::job;
use corelode_engine::maintenance::{MaintenanceOptions, MaintenanceThread};
use corelode_engine::options::Options;
use corelode_engine::{Error, Result};
use corelode_net::handshake::{Credentials, Features, Secrets, ServerConfig, VersionRange};
use corelode_net::table::Limits;
use corelode_net::{ClusterId, CoreIndex, MapEpoch, NodeId};
use rustix::process::{Resource, Rlimit};

use crate::cluster::Cluster;
use crate::message::Message;
use crate::runtime::core::{CoreParts, E};
use crate::runtime::mailbox::{Mailbox, Sender};
use crate::runtime::{core, socket};
use crate::shard::{Core, PartitionMap, ShardConfig, ShardLimits};

/// Messages that a ring between two cores holds.
const RING_CAPACITY: usize = 4096;
/// Messages that the ring from a maintenance thread to its core holds; more jobs than that never run at once.
const MAINTENANCE_RING_CAPACITY: usize = 256;

/// How a node is started.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// The data directory; made if it is absent.
    pub data_directory: PathBuf,
    /// Where to listen. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// The number of cores.
    pub cores: u16,
    /// The number of partitions; `None` takes what the directory has, or 64 for a new one.
    pub partition_count: Option<u16>,
    /// What clients must know; without secrets everybody may do everything.
    pub secrets: Secrets,
    /// Each core's store.
    pub store: Options,
    /// Bounds of each core.
    pub limits: ShardLimits,
    /// Whether threads are pinned to processors.
    pub pin_threads: bool,
    /// The cluster that this node belongs to, if it does.
    pub cluster: Option<Cluster>,
    /// What is said to other nodes to be let in.
    pub peer_credentials: Option<Credentials>,
}

/// A node that runs.
pub struct Node {
    address: SocketAddr,
    cores: Vec<CoreHandle>,
    ended: mpsc::Receiver<(Core, Result<()>)>,
    // Held until every core has ended.
    _lock: <ThreadEnvironment as corelode_engine::env::Environment>::DirectoryLock,
}

struct CoreHandle {
    thread: JoinHandle<()>,
    sender: Sender<Message<E>>,
}

/// Asks a running node to stop; see [`Node::run_until`].
pub type StopReceiver = mpsc::Receiver<()>;

impl Node {
    /// Opens the data directory and starts serving. When this returns, connections are accepted.
    ///
    /// # Errors
    /// What opening the directory or listening meets.
    pub fn start(mut options: NodeOptions) -> Result<Self> {
        bound_connections(&mut options);
        let environment = ThreadEnvironment::new();
        let open = OpenOptions {
            cores: options.cores,
            partition_count: options.partition_count,
            membership: options.cluster.as_ref().map(Cluster::identity),
            store: options.store,
        };
        let directory = environment.block_on(open_data_directory(&environment, &options.data_directory, open))?;
        report_recovery(&directory, &options);
        let DataDirectory { identity, lock, cores: starts, .. } = directory;
        let logs: Vec<_> = starts.iter().map(|start| start.log().0).collect();
        // Behind the lock: a process that was just killed holds its port about as long.
        let mut listeners = listen(&options)?;
        let address = listeners[0].local_addr().map_err(|error| listen_error(options.listen, &error))?;
        let map = PartitionMap::new(identity.partition_count, options.cores);
        let mut mailboxes: Vec<_> = starts.iter().map(|_| Mailbox::new()).collect();
        let mut senders: Vec<Vec<Option<Sender<Message<E>>>>> = starts.iter().map(|_| Vec::new()).collect();
        for (from, own) in senders.iter_mut().enumerate() {
            for (to, mailbox) in mailboxes.iter_mut().enumerate() {
                own.push((from != to).then(|| mailbox.add_sender(RING_CAPACITY)));
            }
        }
        let (on_end, ended) = mpsc::channel();
        let (on_ready, ready) = mpsc::channel();
        let mut cores = Vec::new();
        let processors = processors_to_pin_to(&options);
        for (number, (start, (mut mailbox, senders))) in
            (0_u16..).zip(starts.into_iter().zip(mailboxes.into_iter().zip(senders)))
        {
            let core = Core(number);
            let sender = mailbox.add_sender(16);
            let maintenance = start_maintenance(core, mailbox.add_sender(MAINTENANCE_RING_CAPACITY))?;
            let handshake = ServerConfig {
                versions: VersionRange::CURRENT,
                features: Features::RECEIPTS.with(Features::SESSIONS),
                secrets: options.secrets.clone(),
                cluster_id: ClusterId(identity.cluster),
                node_id: NodeId(identity.node),
                core: CoreIndex(number),
                core_count: options.cores,
                map_epoch: MapEpoch(1),
                server_version: env!("CARGO_PKG_VERSION").to_owned(),
                limits: announced_limits(&options.limits),
            };
            let config = ShardConfig {
                core,
                map: map.clone(),
                map_epoch: MapEpoch(1),
                logs: logs.clone(),
                core_ports: vec![None; usize::from(options.cores)],
                handshake,
                limits: options.limits,
                incarnation: identity.incarnation,
                cluster: options.cluster.clone(),
                peer_credentials: options.peer_credentials.clone(),
            };
            let on_ready = on_ready.clone();
            let parts = CoreParts {
                config,
                start,
                listeners: vec![listeners.remove(0)],
                mailbox,
                senders,
                maintenance,
                on_ready: Box::new(move || {
                    // The starter may have given up by now; then nobody waits.
                    let _ = on_ready.send(());
                }),
            };
            let processor = processors.get(usize::from(number)).copied();
            let thread = spawn_core(core, processor, parts, on_end.clone())?;
            cores.push(CoreHandle { thread, sender });
        }
        drop((on_end, on_ready));
        let node = Self { address, cores, ended, _lock: lock };
        for _ in &node.cores {
            if ready.recv().is_err() {
                break;
            }
        }
        tracing::info!(%address, cores = options.cores, partitions = identity.partition_count, "serving");
        Ok(node)
    }

    /// Where the node listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is signalled or a core fails; then stops all cores in order: answers what is under way, flushes, seals the logs.
    ///
    /// # Errors
    /// What made a core fail. Other cores are stopped all the same.
    pub fn run_until(mut self, stop: &StopReceiver) -> Result<()> {
        let mut outcome = Ok(());
        let mut running = self.cores.len();
        let mut is_stopping = false;
        while running > 0 {
            if !is_stopping && (stop.try_recv().is_ok() || outcome.is_err()) {
                is_stopping = true;
                tracing::info!("stopping: finishing what is under way");
                self.stop_cores();
            }
            match self.ended.recv_timeout(Duration::from_millis(20)) {
                Ok((core, result)) => {
                    running -= 1;
                    if let Err(error) = result {
                        tracing::error!(core = core.0, %error, "a core failed: the node stops");
                        outcome = outcome.and(Err(error));
                    }
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
        }
        for core in self.cores {
            // A core that panicked has said so on its way out.
            if core.thread.join().is_err() && outcome.is_ok() {
                outcome = Err(internal("a core panicked"));
            }
        }
        if outcome.is_ok() {
            tracing::info!("stopped: everything is on disk");
        }
        outcome
    }

    fn stop_cores(&mut self) {
        for core in &mut self.cores {
            // A core whose ring is full or that has ended needs no telling twice.
            let _ = core.sender.push(Message::ShutDown);
            core.sender.flush();
        }
    }
}

fn start_maintenance(core: Core, sender: Sender<Message<E>>) -> Result<MaintenanceThread<job::Job<E>>> {
    let sender = std::sync::Mutex::new(sender);
    let deliver = move |result: std::result::Result<job::JobDone<E>, _>| {
        let Ok(done) = result else {
            tracing::error!(core = core.0, "a maintenance job panicked: the node cannot go on");
            std::process::abort();
        };
        let mut sender = sender.lock().expect("only this thread uses it");
        let mut message = Message::JobDone(Box::new(done));
        while let Err(back) = sender.push(message) {
            message = back;
            sender.flush();
            std::thread::sleep(Duration::from_millis(1));
        }
        sender.flush();
    };
    let name = format!("maintain-{}", core.0);
    MaintenanceThread::start(MaintenanceOptions::new(name), job::run::<E>, deliver)
        .map_err(|error| Error::io("start the maintenance thread of", "core".as_ref(), error))
}

fn spawn_core(
    core: Core,
    processor: Option<usize>,
    parts: CoreParts,
    on_end: mpsc::Sender<(Core, Result<()>)>,
) -> Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(format!("core-{}", core.0))
        .spawn(move || {
            if let Some(processor) = processor {
                pin_to(processor);
            }
            let result = match crate::runtime::run(core::run(parts)) {
                Ok(result) => result,
                Err(error) => Err(Error::io("set up io_uring for", "core".as_ref(), error)),
            };
            // Nobody listens any more if the node was dropped.
            let _ = on_end.send((core, result));
        })
        .map_err(|error| Error::io("start the thread of", "core".as_ref(), error))
}

/// Sockets may take half of the descriptors that the process may have, since log segments and tables take some too, and a log that finds none
/// stops the node. As many are asked for as the system allows.
fn bound_connections(options: &mut NodeOptions) {
    const DESCRIPTORS_WANTED: u64 = 16 * 1024;
    let Rlimit { current, maximum } = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: maximum, maximum };
    let is_raised = rustix::process::setrlimit(Resource::Nofile, raised).is_ok();
    let descriptors = if is_raised { maximum } else { current }.unwrap_or(u64::MAX);
    if descriptors < DESCRIPTORS_WANTED {
        tracing::warn!(
            descriptors,
            "the system allows few open files: connections are refused at half of them; raise the limit (ulimit -Hn, LimitNOFILE=)"
        );
    }
    let each = usize::try_from(descriptors / 2 / u64::from(options.cores)).unwrap_or(usize::MAX);
    options.limits.connections_max = options.limits.connections_max.min(each.max(1));
}

/// What clients are told of a connection's bounds.
fn announced_limits(limits: &ShardLimits) -> Limits {
    Limits {
        requests_in_flight_max: u32::try_from(limits.connection.requests_in_flight_max).unwrap_or(u32::MAX),
        bytes_in_flight_max: limits.connection.bytes_in_flight_max as u64,
        deadline_default_ms: u32::try_from(limits.deadline_default_ms).unwrap_or(u32::MAX),
        ..Limits::default()
    }
}

/// The processors that this process may run on, one for each core; none if there are fewer, or threads are not to be pinned.
fn processors_to_pin_to(options: &NodeOptions) -> Vec<usize> {
    let count = usize::from(options.cores);
    if !options.pin_threads {
        return Vec::new();
    }
    let processors: Vec<_> = match rustix::thread::sched_getaffinity(None) {
        Ok(allowed) => (0..rustix::thread::CpuSet::MAX_CPU).filter(|&processor| allowed.is_set(processor)).collect(),
        Err(error) => {
            tracing::warn!(%error, "the processors cannot be told: threads run where the kernel puts them");
            return Vec::new();
        }
    };
    if processors.len() < count {
        tracing::warn!(
            cores = count,
            processors = processors.len(),
            "there are more cores than processors: their threads take turns, and none is pinned"
        );
        return Vec::new();
    }
    processors
}

fn pin_to(processor: usize) {
    let mut processors = rustix::thread::CpuSet::new();
    processors.set(processor);
    if let Err(error) = rustix::thread::sched_setaffinity(None, &processors) {
        tracing::warn!(processor, %error, "a core's thread could not be pinned; it runs where the kernel puts it");
    }
}

/// Listens, and waits a moment if the address is in use: a process that was killed just now may not have let go of it.
fn listen(options: &NodeOptions) -> Result<Vec<std::net::TcpListener>> {
    const PATIENCE: Duration = Duration::from_secs(2);
    let started = Instant::now();
    loop {
        match listen_once(options) {
            Ok(listeners) => return Ok(listeners),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && started.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(error) => return Err(listen_error(options.listen, &error)),
        }
    }
}

/// One listener for each core on the same port.
fn listen_once(options: &NodeOptions) -> io::Result<Vec<std::net::TcpListener>> {
    let shares_port = options.cores > 1;
    let mut address = options.listen;
    let mut listeners = Vec::new();
    if shares_port && address.port() != 0 {
        // A port that is shared could be shared with a stranger, too: make sure that nobody has it.
        drop(socket::listen(address, false)?);
    }
    for _ in 0..options.cores {
        let listener = socket::listen(address, shares_port)?;
        address = listener.local_addr()?;
        listeners.push(listener);
    }
    Ok(listeners)
}

fn listen_error(address: SocketAddr, error: &io::Error) -> Error {
    Error::Mismatch {
        path: address.to_string().into(),
        message: format!(
            "cannot listen here: {error}; choose another address with --listen, or stop what has this one"
        ),
    }
}

fn internal(message: &str) -> Error {
    Error::Mismatch { path: "node".into(), message: message.to_owned() }
}

fn report_recovery(directory: &DataDirectory<E>, options: &NodeOptions) {
    let report = &directory.report;
    let path = options.data_directory.display();
    if report.is_new {
        tracing::info!(%path, partitions = directory.identity.partition_count, "made a new data directory");
    } else {
        tracing::info!(
            %path,
            tables = report.tables,
            entries_replayed = report.entries_replayed,
            orphans_removed = report.orphans_removed,
            recyclings_interrupted = report.recyclings_interrupted,
            streams_moved = report.streams_moved,
            "opened the data directory"
        );
    }
    for tail in &report.torn_tails {
        let segment = tail.path.display();
        tracing::warn!(%segment, offset = tail.offset, "a write that had not completed was cut; nothing acknowledged was in it");
    }
    if directory.log_mode == LogMode::BufferedThenSync {
        tracing::warn!(
            "the file system refuses direct I/O: the log is written through the page cache and synced, which is slower"
        );
    }
    if !crate::runtime::uses_ring() {
        tracing::warn!(
            "io_uring is not available: falling back to epoll, which is slower; see kernel.io_uring_disabled"
        );
    }
}
