//! A simulated node: its disk, its clock, its cores, from one life to the next.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::os::fd::RawFd;
use std::path::Path;
use std::rc::Rc;

use corelode_engine::data_directory::{DataDirectory, OpenOptions, open_data_directory};
use corelode_engine::env::Environment;
use corelode_engine::env::simulated::{
    CrashPolicy, DiskImage, Random, SimulatedEnvironment, Simulation, SimulationOptions,
};
use corelode_engine::{Error, Result};
use corelode_net::handshake::{Features, Secrets, ServerConfig, VersionRange};
use corelode_net::table::Limits;
use corelode_net::{ClusterId, CoreIndex, MapEpoch, NodeId};
use corelode_server::cluster::Cluster;
use corelode_server::message::Message;
use corelode_server::options::Options;
use corelode_server::shard::{Core, Now, PartitionMap, Shard, ShardConfig, ShardLimits};

use crate::cluster::Observer;
use crate::core::{self, SimulatedCore};
use crate::network::{Endpoint, Network, Place};

const DIRECTORY: &str = "/data";

/// What all machines of a cluster are made with.
#[derive(Clone, Debug)]
pub(crate) struct MachineConfig {
    pub(crate) cluster: Cluster,
    pub(crate) cores: u16,
    pub(crate) partitions: u16,
    pub(crate) store: Options,
}

/// What a machine's tasks share.
pub(crate) struct MachineShared {
    pub(crate) node: u64,
    pub(crate) network: Network,
    pub(crate) cores: RefCell<Vec<Rc<SimulatedCore>>>,
    /// Connections on their way from one core to another, by the descriptor that stands for them.
    pub(crate) travelling: RefCell<BTreeMap<RawFd, Endpoint>>,
    /// As by SIGSTOP.
    pub(crate) is_paused: Cell<bool>,
    /// Cores that have yet to end, if the node was asked to stop.
    pub(crate) stopping: Cell<Option<usize>>,
    /// How much faster than the true one its clock runs, parts in a million.
    pub(crate) clock_drift_ppm: Cell<i64>,
    random: RefCell<Random>,
    observer: Rc<Observer>,
    /// Why it stopped by itself, if it did.
    failure: RefCell<Option<String>>,
}

/// A node's machine.
pub(crate) struct Machine {
    config: MachineConfig,
    simulation: Simulation,
    network: Network,
    observer: Rc<Observer>,
    random: Random,
    node: u64,
    disk: DiskImage,
    life: Option<Life>,
    drift_ppm: i64,
}

struct Life {
    environment: SimulatedEnvironment,
    shared: Rc<MachineShared>,
}

impl Machine {
    pub(crate) fn new(
        config: MachineConfig,
        simulation: &Simulation,
        network: &Network,
        observer: &Rc<Observer>,
        node: u64,
        seed: u64,
    ) -> Self {
        let mut random = Random::new(seed);
        // As bad as clocks of servers get, and worse.
        let drift_ppm = i64::try_from(random.below(2_001)).expect("small") - 1_000;
        Self {
            config,
            simulation: simulation.clone(),
            network: network.clone(),
            observer: Rc::clone(observer),
            random,
            node,
            disk: DiskImage::empty(),
            life: None,
            drift_ppm,
        }
    }

    pub(crate) fn place(&self) -> Place {
        Place::Node(self.node)
    }

    /// Starts it, if it does not run.
    pub(crate) fn start(&mut self) {
        if self.life.is_some() {
            return;
        }
        let options = SimulationOptions {
            trace_length_max: 16,
            wall_clock_ms: 1_700_000_000_000 + self.random.below(2_000),
            ..SimulationOptions::new(self.random.next_u64())
        };
        let environment = SimulatedEnvironment::in_simulation(&self.simulation, options, &self.disk);
        let shared = Rc::new(MachineShared {
            node: self.node,
            network: self.network.clone(),
            cores: RefCell::default(),
            travelling: RefCell::default(),
            is_paused: Cell::new(false),
            stopping: Cell::new(None),
            clock_drift_ppm: Cell::new(self.drift_ppm),
            random: RefCell::new(Random::new(self.random.next_u64())),
            observer: Rc::clone(&self.observer),
            failure: RefCell::default(),
        });
        let mut config = self.config.clone();
        config.cluster.boot = self.random.next_u64().max(1);
        environment.spawn(boot(environment.clone(), Rc::clone(&shared), config));
        self.life = Some(Life { environment, shared });
    }

    /// Ends it at once; what its disk has afterwards is a matter of `policy`.
    pub(crate) fn crash(&mut self, policy: CrashPolicy) {
        let Some(environment) = self.end() else { return };
        self.disk = environment.crash_image(policy, self.random.next_u64());
    }

    /// Ends it at once, and replaces its disk by an empty one.
    pub(crate) fn wipe(&mut self) {
        drop(self.end());
        self.disk = DiskImage::empty();
    }

    /// Ends it for good: its tasks hold what holds them, and must go.
    pub(crate) fn end(&mut self) -> Option<SimulatedEnvironment> {
        let Life { environment, shared } = self.life.take()?;
        self.network.kill(self.place());
        environment.crash();
        shared.cores.borrow_mut().clear();
        shared.travelling.borrow_mut().clear();
        Some(environment)
    }

    /// Asks it to stop in order, if it serves.
    pub(crate) fn stop(&self) {
        let Some(Life { shared, .. }) = &self.life else { return };
        let cores = shared.cores.borrow();
        if !cores.is_empty() && shared.stopping.get().is_none() {
            shared.stopping.set(Some(cores.len()));
            cores.iter().for_each(|core| core.post(Message::ShutDown));
        }
    }

    /// Whether it was asked to stop, and has not yet.
    pub(crate) fn is_stopping(&self) -> bool {
        self.is_up() && self.life.as_ref().is_some_and(|life| life.shared.stopping.get().is_some())
    }

    /// Whether it runs, or is starting or stopping.
    pub(crate) fn is_up(&self) -> bool {
        let is_up = |life: &Life| life.shared.failure.borrow().is_none() && life.shared.stopping.get() != Some(0);
        self.life.as_ref().is_some_and(is_up)
    }

    /// Why it stopped by itself, if it did.
    pub(crate) fn failure(&self) -> Option<String> {
        self.life.as_ref()?.shared.failure.borrow().clone()
    }

    pub(crate) fn set_paused(&self, is_paused: bool) {
        if let Some(life) = &self.life {
            life.shared.is_paused.set(is_paused);
        }
    }

    /// The machine's clock jumps.
    pub(crate) fn step_wall_clock(&self, by_ms: i64) {
        if let Some(life) = &self.life {
            let now_ms = life.environment.wall_clock_ms();
            life.environment.set_wall_clock_ms(now_ms.saturating_add_signed(by_ms));
        }
    }

    /// The environment, while it runs.
    pub(crate) fn environment(&self) -> Option<&SimulatedEnvironment> {
        self.life.as_ref().map(|life| &life.environment)
    }

    /// Its cores, once it serves.
    pub(crate) fn cores(&self) -> Vec<Rc<SimulatedCore>> {
        self.life.as_ref().map(|life| life.shared.cores.borrow().clone()).unwrap_or_default()
    }
}

impl MachineShared {
    pub(crate) fn place(&self) -> Place {
        Place::Node(self.node)
    }

    pub(crate) fn now(&self, environment: &SimulatedEnvironment) -> Now {
        let true_ns = i64::try_from(environment.simulation().now().as_nanos()).unwrap_or(i64::MAX);
        let drifted = true_ns + true_ns / 1_000_000 * self.clock_drift_ppm.get();
        let monotonic_ns = u64::try_from(drifted).unwrap_or(0);
        Now { monotonic_ms: monotonic_ns / 1_000_000, monotonic_ns, wall_ms: environment.wall_clock_ms() }
    }

    pub(crate) fn nonce(&self) -> [u8; 32] {
        let mut random = self.random.borrow_mut();
        std::array::from_fn(|_| random.next_u64().to_le_bytes()[0])
    }

    /// Something happened, and goes into the trace.
    pub(crate) fn note(&self, what: &[u64]) {
        self.observer.note(self.node, what);
    }

    /// A core has had its turn.
    pub(crate) fn observe(&self, core: u16, shard: &Shard<SimulatedEnvironment>) {
        self.observer.observe(self.node, core, shard);
    }

    /// A core has ended as it was asked to.
    pub(crate) fn core_ended(&self) {
        let left = self.stopping.get().expect("it was asked to stop") - 1;
        self.stopping.set(Some(left));
        if left == 0 {
            self.network.kill(self.place());
        }
    }

    /// Says in logs whose they are, and when.
    pub(crate) fn span(&self, core: u16) -> tracing::Span {
        tracing::error_span!("simulated", node = self.node, core, at = ?self.network.now())
    }

    pub(crate) fn fail(&self, error: &Error) {
        tracing::error!(node = self.node, at = ?self.network.now(), %error, "the node stops");
        self.failure.borrow_mut().get_or_insert(error.to_string());
        self.network.kill(self.place());
    }
}

/// Opens the data directory and serves, as `server/src/node.rs` does.
async fn boot(environment: SimulatedEnvironment, shared: Rc<MachineShared>, config: MachineConfig) {
    match open(&environment, &shared, &config).await {
        Ok(()) => {
            let listener = shared.network.listen(shared.place());
            for core in shared.cores.borrow().iter() {
                environment.spawn(core::run(Rc::clone(core)));
            }
            loop {
                let endpoint = listener.accept().await;
                let cores = shared.cores.borrow().clone();
                let chosen = shared.random.borrow_mut().below(cores.len() as u64);
                core::accept(&cores[usize::try_from(chosen).expect("few cores")], endpoint);
            }
        }
        Err(error) => shared.fail(&error),
    }
}

async fn open(environment: &SimulatedEnvironment, shared: &Rc<MachineShared>, config: &MachineConfig) -> Result<()> {
    let MachineConfig { cluster, cores, partitions, store } = config;
    let options = OpenOptions {
        cores: *cores,
        partition_count: Some(*partitions),
        membership: Some(cluster.identity()),
        store: *store,
    };
    let opened = open_data_directory(environment, Path::new(DIRECTORY), options).await?;
    let DataDirectory { identity, cores: starts, .. } = opened;
    let logs: Vec<_> = starts.iter().map(|start| start.log().0).collect();
    let cluster = Cluster { node: corelode_server::cluster::NodeId(shared.node), ..cluster.clone() };
    for (number, start) in (0_u16..).zip(starts) {
        let config = ShardConfig {
            core: Core(number),
            map: PartitionMap::new(identity.partition_count, *cores),
            map_epoch: MapEpoch(1),
            logs: logs.clone(),
            core_ports: vec![None; usize::from(*cores)],
            handshake: ServerConfig {
                versions: VersionRange::CURRENT,
                features: Features::RECEIPTS.with(Features::SESSIONS),
                secrets: Secrets::default(),
                cluster_id: ClusterId(identity.cluster),
                node_id: NodeId(identity.node),
                core: CoreIndex(number),
                core_count: *cores,
                map_epoch: MapEpoch(1),
                server_version: "simulated".to_owned(),
                limits: Limits::default(),
            },
            limits: ShardLimits::default(),
            incarnation: identity.incarnation,
            cluster: Some(cluster.clone()),
            peer_credentials: None,
        };
        let shard = Shard::new(config, start.into_store(), shared.now(environment));
        let core = SimulatedCore::new(shard, environment.clone(), Rc::clone(shared), number);
        shared.cores.borrow_mut().push(Rc::new(core));
    }
    Ok(())
}
