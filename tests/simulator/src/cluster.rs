//! The cluster under test: machines, the network between them, and what is seen of their consensus from outside.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::hash::Hasher;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use corelode_engine::Error;
use corelode_engine::cursor::Stop;
use corelode_engine::env::Environment;
use corelode_engine::env::simulated::{CrashPolicy, Damage, PathClass, Random, SimulatedEnvironment, Simulation};
use corelode_engine::ids::PartitionId;
use corelode_engine::io_buffer::IoBuffer;
use corelode_engine::row::Keyspace;
use corelode_engine::tree::{ReadOptions, Walk};
use corelode_raft::{LogIndex, Membership, Term};
use corelode_server::cluster::{Cluster, NodeId};
use corelode_server::options::Options;
use corelode_server::shard::{ReplicaStatus, Shard};

use crate::machine::{Machine, MachineConfig};
use crate::network::{Latency, Network, Place};

/// The shape of a cluster.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Nodes.
    pub nodes: u64,
    /// Cores of each.
    pub cores: u16,
    /// Partitions.
    pub partitions: u16,
    /// How long a replica waits for its leader.
    pub election_timeout: Duration,
}

const USUAL_LATENCY: Latency = Latency { least: Duration::from_micros(50), spread: Duration::from_micros(500) };
/// What a node may stop for by itself: faults of its disk, which only the plan brings.
const FAILURES_OF_DISKS: [&str; 2] = ["Input/output error", "No space left on device"];

/// What is seen of all cores, and what must never be seen.
#[derive(Default)]
pub(crate) struct Observer {
    /// Who led which term of which partition.
    leaders: RefCell<BTreeMap<(PartitionId, Term), u64>>,
    /// The hash of what was applied, and by whom first.
    applied: RefCell<BTreeMap<(PartitionId, LogIndex), (u64, u64)>>,
    trace: Cell<u64>,
    turns: Cell<u64>,
    violation: RefCell<Option<String>>,
}

impl Observer {
    pub(crate) fn note(&self, node: u64, what: &[u64]) {
        let mut hasher = std::hash::DefaultHasher::new();
        hasher.write_u64(self.trace.get());
        hasher.write_u64(node);
        what.iter().for_each(|number| hasher.write_u64(*number));
        self.trace.set(hasher.finish());
    }

    pub(crate) fn observe(&self, node: u64, core: u16, shard: &Shard<SimulatedEnvironment>) {
        self.turns.set(self.turns.get() + 1);
        if shard.peer_errors() > 0 {
            self.violated(format!("a node does not understand what core {core} of node {node} says"));
        }
        for status in shard.replicas() {
            let at = (status.partition, status.applied);
            let known = status.state_hash.map(|own| (own, *self.applied.borrow_mut().entry(at).or_insert((own, node))));
            if let Some((own, (hash, first))) = known
                && own != hash
            {
                let (partition, index) = at;
                self.violated(format!(
                    "nodes {first} and {node} have applied different entries of partition {partition} through {index}"
                ));
            }
            if let Some(index) = status.diverged_from {
                let partition = status.partition;
                self.violated(format!(
                    "node {node} says that a replica of partition {partition} differs from {index} on"
                ));
            }
            if !status.is_leading {
                continue;
            }
            let leader = *self.leaders.borrow_mut().entry((status.partition, status.term)).or_insert_with(|| {
                self.note(node, &[u64::from(core), u64::from(status.partition.0), status.term.0]);
                node
            });
            if leader != node {
                let (partition, term) = (status.partition, status.term);
                self.violated(format!("nodes {leader} and {node} both lead partition {partition} in term {term}"));
            }
        }
    }

    pub(crate) fn violated(&self, message: String) {
        self.violation.borrow_mut().get_or_insert(message);
    }
}

/// The cluster.
pub struct SimulatedCluster {
    /// Its shape.
    pub shape: Shape,
    /// Its time.
    pub simulation: Simulation,
    /// Its network.
    pub network: Network,
    machines: BTreeMap<u64, Machine>,
    observer: Rc<Observer>,
    membership_changes: Cell<u64>,
    /// Files in which a bit has turned over.
    rotten: Vec<(u64, PathBuf)>,
    rotten_count: u64,
    wipes: u64,
    /// How often a node lost what it had in memory alone.
    losses: u64,
}

impl SimulatedCluster {
    /// A cluster whose nodes are started, from one seed.
    ///
    /// # Panics
    /// If the shape has no nodes.
    #[must_use]
    pub fn new(shape: Shape, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let simulation = Simulation::new(random.next_u64());
        let network = Network::new(&simulation, random.next_u64(), USUAL_LATENCY);
        let observer = Rc::new(Observer::default());
        let address = |node: u64| SocketAddr::from((Ipv4Addr::LOCALHOST, u16::try_from(7_000 + node).expect("few")));
        let cluster = Cluster {
            name: "simulated".to_owned(),
            node: NodeId(1),
            nodes: (1..=shape.nodes).map(|node| (NodeId(node), address(node))).collect(),
            election_timeout: shape.election_timeout,
            transfer_bytes_per_second: 8 * 1024 * 1024,
            entry_bytes_kept_max: 16 * 1024,
            boot: 1,
        };
        let config =
            MachineConfig { cluster, cores: shape.cores, partitions: shape.partitions, store: Options::tiny() };
        let machines = (1..=shape.nodes).map(|node| {
            let mut machine = Machine::new(config.clone(), &simulation, &network, &observer, node, random.next_u64());
            machine.start();
            (node, machine)
        });
        let machines = machines.collect();
        Self {
            shape,
            simulation,
            network,
            machines,
            observer,
            membership_changes: Cell::new(0),
            rotten: Vec::new(),
            rotten_count: 0,
            wipes: 0,
            losses: 0,
        }
    }

    /// Ends a node at once.
    pub fn crash(&mut self, node: u64, policy: CrashPolicy) {
        self.losses += 1;
        self.machine(node).crash(policy);
    }

    /// Ends a node at once, and gives it an empty disk.
    pub fn wipe(&mut self, node: u64) {
        self.machine(node).wipe();
        self.wipes += 1;
        self.losses += 1;
    }

    /// How often a node lost what it had in memory alone: writes that waited for no more may be lost.
    #[must_use]
    pub fn losses(&self) -> u64 {
        self.losses
    }

    /// How many disks were replaced.
    #[must_use]
    pub fn wipes(&self) -> u64 {
        self.wipes
    }

    /// Asks a node to stop in order.
    pub fn stop(&mut self, node: u64) {
        self.machine(node).stop();
    }

    /// Nodes that were asked to stop and have not yet.
    #[must_use]
    pub fn stopping(&self) -> Option<u64> {
        self.machines.iter().find_map(|(node, machine)| machine.is_stopping().then_some(*node))
    }

    /// Asks whoever leads a partition to hand it to a node; it may refuse.
    pub fn transfer_leadership(&self, partition: u16, to: u64) {
        self.on_leader(partition, |shard| shard.transfer_leadership(PartitionId(partition), NodeId(to)));
    }

    /// Asks whoever leads a partition to change its group's members; it may refuse.
    pub fn change_membership(&self, partition: u16, voters: &[u64], learners: &[u64]) {
        let nodes = |numbers: &[u64]| numbers.iter().copied().map(NodeId).collect::<Vec<_>>();
        let membership = Membership::new(nodes(voters), nodes(learners)).expect("the plan names members that can be");
        self.on_leader(partition, |shard| {
            shard.change_membership(PartitionId(partition), membership.clone())?;
            self.membership_changes.set(self.membership_changes.get() + 1);
            Ok(())
        });
    }

    /// How many changes of members were begun.
    #[must_use]
    pub fn membership_changes(&self) -> u64 {
        self.membership_changes.get()
    }

    fn on_leader(
        &self,
        partition: u16,
        ask: impl Fn(&mut Shard<SimulatedEnvironment>) -> Result<(), corelode_raft::Refused>,
    ) {
        for core in self.machines.values().flat_map(Machine::cores) {
            let leads = |status: &ReplicaStatus| status.partition == PartitionId(partition) && status.is_leading;
            let mut shard = core.shard.borrow_mut();
            if shard.replicas().iter().any(leads) {
                // What is refused does not happen, and that is no fault.
                let _ = ask(&mut shard);
                core.raise();
            }
        }
    }

    /// Turns a bit over in one of the tables of a node that runs, if it has any.
    pub fn rot(&mut self, node: u64, random: u64) {
        let Some(environment) = self.environment(node) else { return };
        let tables: Vec<_> =
            environment.files().into_iter().filter(|path| PathClass::of_file(path) == PathClass::Table).collect();
        if let Some(place) = (random / 256).checked_rem(tables.len() as u64) {
            let path = &tables[usize::try_from(place).expect("few tables")];
            // Every table begins with a block of rows.
            let damage = Damage::FlipBit { offset: random % 16, bit: u8::try_from(random / 16 % 8).expect("below 8") };
            if environment.damage(path, damage).is_ok() {
                environment.evict_maps();
                self.rotten.push((node, path.clone()));
                self.rotten_count += 1;
            }
        }
    }

    /// How many bits turned over.
    #[must_use]
    pub fn rotten(&self) -> u64 {
        self.rotten_count
    }

    /// Starts a node, if it does not run. One that stopped by itself is ended first; it must have had a reason.
    pub fn start(&mut self, node: u64) {
        let failure = self.failure(node);
        if self.is_up(node) {
            return;
        }
        self.machine(node).crash(CrashPolicy::KeepUnsynced);
        self.losses += u64::from(failure.is_some());
        if let Some(failure) = failure {
            // A node that refuses to start with what it finds names the file, and is started with an empty disk.
            let is_named = |(at, path): &(u64, PathBuf)| {
                *at == node && failure.contains(&format!("{} is damaged", path.display()))
            };
            if self.rotten.iter().any(is_named) {
                self.wipe(node);
            } else if !FAILURES_OF_DISKS.iter().any(|known| failure.contains(known)) {
                self.observer.violated(format!("node {node} stopped by itself: {failure}"));
            }
        }
        self.machine(node).start();
    }

    /// Starts the nodes that stopped by themselves; answers how many those were.
    pub fn restart_failed(&mut self) -> u64 {
        let failed: Vec<_> = self.nodes().filter(|node| self.failure(*node).is_some()).collect();
        failed.iter().for_each(|node| self.start(*node));
        failed.len() as u64
    }

    /// The members of a partition's group, once they are settled, as the leader of the newest term has them.
    #[must_use]
    pub fn members(&self, partition: PartitionId) -> Option<Vec<u64>> {
        let replicas = self.replicas();
        let leaders = replicas.iter().filter(|(_, status)| status.partition == partition && status.is_leading);
        let (_, status) = leaders.max_by_key(|(_, status)| status.term)?;
        (!status.membership.is_joint()).then(|| status.membership.nodes().map(|node| node.0).collect())
    }

    /// Whether a partition's group has the voters that the partition map wants.
    #[must_use]
    pub fn has_all_voters(&self, partition: PartitionId) -> bool {
        let replicas = self.replicas();
        let mut leaders = replicas.iter().filter(|(_, status)| status.partition == partition && status.is_leading);
        let wanted = usize::try_from(self.shape.nodes.min(3)).expect("few nodes");
        leaders.any(|(_, status)| !status.membership.is_joint() && status.membership.voters().len() == wanted)
    }

    /// Starts all nodes that do not run, as whoever watches over processes does.
    pub fn start_all(&mut self) {
        self.nodes().for_each(|node| self.start(node));
    }

    /// Stops a node as SIGSTOP does, or lets it go on.
    pub fn set_paused(&mut self, node: u64, is_paused: bool) {
        self.machine(node).set_paused(is_paused);
    }

    /// A node's clock jumps.
    pub fn step_wall_clock(&mut self, node: u64, by_ms: i64) {
        self.machine(node).step_wall_clock(by_ms);
    }

    /// The environment of a node, while it runs, for faults of its disk.
    pub fn environment(&mut self, node: u64) -> Option<SimulatedEnvironment> {
        self.machine(node).environment().cloned()
    }

    /// Whether a node runs.
    #[must_use]
    pub fn is_up(&self, node: u64) -> bool {
        self.machines[&node].is_up()
    }

    /// Why a node stopped by itself, if it did.
    #[must_use]
    pub fn failure(&self, node: u64) -> Option<String> {
        self.machines[&node].failure()
    }

    fn machine(&mut self, node: u64) -> &mut Machine {
        self.machines.get_mut(&node).expect("a node of the cluster")
    }

    /// The numbers of the nodes.
    pub fn nodes(&self) -> impl Iterator<Item = u64> + use<> {
        1..=self.shape.nodes
    }

    /// All replicas that run, with their nodes.
    #[must_use]
    pub fn replicas(&self) -> Vec<(u64, ReplicaStatus)> {
        let mut all = Vec::new();
        for (node, machine) in &self.machines {
            for core in machine.cores() {
                all.extend(core.shard.borrow().replicas().into_iter().map(|status| (*node, status)));
            }
        }
        all
    }

    /// What each core of each node is at, for a report of what went wrong.
    #[must_use]
    pub fn describe_cores(&self) -> String {
        let mut text = String::new();
        for (node, machine) in &self.machines {
            for core in machine.cores() {
                let mut shard = core.shard.borrow_mut();
                let counters: Vec<_> = shard.status().into_iter().filter(|(_, value)| *value > 0).collect();
                let is_log_idle = shard.store_mut().is_log_idle();
                text += &format!("\n  node {node}: log idle {is_log_idle}, {counters:?}");
            }
        }
        text
    }

    /// How many leaders were elected.
    #[must_use]
    pub fn leaders_elected(&self) -> u64 {
        self.observer.leaders.borrow().len() as u64
    }

    /// How many times tables took the place of a replica's own, in the present lives of the nodes.
    #[must_use]
    pub fn replacements(&self) -> u64 {
        let cores = self.machines.values().flat_map(Machine::cores);
        cores.map(|core| core.shard.borrow_mut().store_mut().counters().replacements).sum()
    }

    /// How many turns all cores have had.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.observer.turns.get()
    }

    /// A number that two runs share only if the same happened in both.
    #[must_use]
    pub fn trace(&self) -> u64 {
        self.observer.trace.get()
    }

    /// What was seen that must never be, if anything was.
    #[must_use]
    pub fn violation(&self) -> Option<String> {
        self.observer.violation.borrow().clone()
    }

    /// Heals everything: the network, pauses, and nodes that do not run.
    pub fn heal(&mut self) {
        self.network.heal();
        self.network.set_latency(USUAL_LATENCY);
        for node in self.nodes() {
            self.set_paused(node, false);
            if let Some(environment) = self.environment(node) {
                environment.set_capacity_bytes(None);
                environment.set_slowness(1);
            }
            self.start(node);
        }
    }

    /// The rows of a replica, of all its keyspaces, and what they are as of; `None` if it does not run, or has just met damage that a fault has done.
    ///
    /// # Errors
    /// A sentence about damage.
    pub async fn rows(&self, node: u64, partition: PartitionId) -> Result<Option<ReplicaRows>, String> {
        for core in self.machines[&node].cores() {
            let owns = core.shard.borrow_mut().store_mut().partition(partition).is_some();
            if !owns {
                continue;
            }
            let mut rows = Vec::new();
            for keyspace in [Keyspace::Data, Keyspace::Deadline] {
                let mut start = Vec::new();
                loop {
                    let walk = {
                        let mut shard = core.shard.borrow_mut();
                        let store = shard.store_mut();
                        let point = store.partition(partition).expect("owned").read_point();
                        let options =
                            ReadOptions { keyspace, start: &start, end: None, point, rows_walked_max: usize::MAX };
                        store.scan(partition, &options, |row| {
                            let (key, revision) = (row.row_key.key.to_vec(), row.row_key.revision.0);
                            rows.push((keyspace as u8, key, revision, row.value_crc));
                            true
                        })
                    };
                    let walk = match walk {
                        Err(_) if self.rotten() > 0 => return Ok(None),
                        walk => walk.map_err(|corruption| corruption.to_string())?,
                    };
                    match walk {
                        Walk::Done => break,
                        Walk::Paused { resume_key, miss } => {
                            start = resume_key;
                            let Some(read) = miss else { continue };
                            let buffer = IoBuffer::zeroed(read.handle.length as usize);
                            let (result, buffer) =
                                core.environment.read_at(&read.file, buffer, read.handle.offset).await;
                            let mut shard = core.shard.borrow_mut();
                            match shard.store_mut().block_read(&read, &buffer, result) {
                                Err(Error::Corruption(_)) if self.rotten() > 0 => {
                                    core.raise();
                                    return Ok(None);
                                }
                                outcome => outcome.map_err(|error| error.to_string())?,
                            }
                        }
                    }
                }
            }
            let applied = core.shard.borrow_mut().store_mut().partition(partition).expect("owned").applied();
            return Ok(Some(ReplicaRows { applied: applied.index.0, rows }));
        }
        Ok(None)
    }

    /// A place for a client.
    #[must_use]
    pub fn client(number: u64) -> Place {
        Place::Client(number)
    }
}

impl Drop for SimulatedCluster {
    fn drop(&mut self) {
        self.machines.values_mut().for_each(|machine| drop(machine.end()));
    }
}

/// What a replica holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReplicaRows {
    /// The last entry that was applied.
    pub applied: u64,
    /// Keyspace, key, revision, checksum of the value.
    pub rows: Vec<(u8, Vec<u8>, u64, u32)>,
}

/// A stop that a read of the simulator does not expect.
#[must_use]
pub fn sentence<F>(stop: Stop<F>) -> String {
    match stop {
        Stop::Miss(_) => "a block is missing".to_owned(),
        Stop::Corruption(corruption) => corruption.to_string(),
    }
}
