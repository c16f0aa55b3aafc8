//! One seed, from the first start to the last check.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use corelode_engine::env::Environment;
use corelode_engine::env::simulated::{DiskImage, Random, SimulatedEnvironment, SimulationOptions};
use corelode_engine::ids::PartitionId;
use corelode_raft::marks::{self, Mark};

use crate::client::{Client, Counts, Manner, Record};
use crate::cluster::{ReplicaRows, Shape, SimulatedCluster};
use crate::faults;
use crate::plan::{Extent, Plan, plan};
use crate::signal::Signal;

/// After faults end each partition has a leader within so long.
const LEADER_PATIENCE: Duration = Duration::from_secs(10);
/// And its replicas hold the same within so long.
const EQUALITY_PATIENCE: Duration = Duration::from_secs(60);
/// And nodes that were asked to stop have within so long.
const STOP_PATIENCE: Duration = Duration::from_secs(20);
const KEYS: u64 = 8;

/// What a seed is run with.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The seed.
    pub seed: u64,
    /// The shape of the cluster.
    pub shape: Shape,
    /// Clients.
    pub clients: u64,
    /// How they behave.
    pub manner: Manner,
    /// How long faults go on.
    pub duration: Duration,
    /// What happens when.
    pub plan: Plan,
}

/// What became of a seed.
#[derive(Clone, Default, Debug)]
pub struct Report {
    /// Operations that were answered.
    pub answered: u64,
    /// Pairs of operations on one key that overlapped.
    pub overlapping: u64,
    /// Leaders elected.
    pub leaders: u64,
    /// Turns of all cores.
    pub turns: u64,
    /// Writes that were sent again.
    pub repeated: u64,
    /// Times that tables took the place of a replica's own.
    pub replacements: u64,
    /// Times that a node stopped by itself.
    pub self_stops: u64,
    /// Simulated time.
    pub simulated: Duration,
    /// Membership changes that were begun.
    pub changes: u64,
    /// Disks that were lost.
    pub wipes: u64,
    /// Bits that turned over in tables.
    pub rotten: u64,
    /// How often consensus took paths that are rarely taken.
    pub marks: BTreeMap<Mark, u64>,
    /// The trace.
    pub trace: u64,
}

/// What a seed must have seen to be worth anything.
const ANSWERED_MIN: u64 = 100;
const OVERLAPPING_MIN: u64 = 10;

impl Scenario {
    /// The scenario of a seed.
    #[must_use]
    pub fn of_seed(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let nodes = if random.below(5) == 0 { 5 } else { 3 };
        let shape = Shape {
            nodes,
            cores: 1 + u16::try_from(random.below(2)).expect("small"),
            partitions: 1 + u16::try_from(random.below(4)).expect("small"),
            election_timeout: Duration::from_millis(300 + random.below(900)),
        };
        let manner = Manner {
            keys: KEYS,
            partitions: shape.partitions,
            nodes,
            has_sessions: random.below(2) == 0,
            in_memory_percent: [0, 0, 30, 70][random.position(4)],
            pause: Duration::from_millis(5 + random.below(60)),
            value_bytes: [8, 100, 1_000, 4_000][random.position(4)],
        };
        let duration = Duration::from_secs(30);
        // Only where no node loses its memory must what was acknowledged from there be there in the end.
        let is_kept = manner.in_memory_percent > 0 && random.below(3) == 0;
        let extent = if is_kept { Extent::NoMemory } else { Extent::Anything };
        let plan = plan(&shape, duration, extent, &mut random);
        Self { seed, shape, clients: 3 + random.below(4), manner, duration, plan }
    }

    /// Runs it.
    ///
    /// # Errors
    /// A sentence about what was promised and not kept.
    pub fn run(&self) -> Result<Report, String> {
        let mut cluster = SimulatedCluster::new(self.shape, self.seed);
        let simulation = cluster.simulation.clone();
        let record = Rc::new(Record::default());
        simulation.run_until(self.go(&mut cluster, &record))
    }

    async fn go(&self, cluster: &mut SimulatedCluster, record: &Rc<Record>) -> Result<Report, String> {
        let mut report = Report::default();
        drop(marks::take());
        let simulation = cluster.simulation.clone();
        let mut random = Random::new(self.seed ^ 0x5EED);
        let clients = self.start_clients(cluster, record, &mut random);
        for (at, fault) in &self.plan {
            simulation.sleep(at.saturating_sub(simulation.now())).await;
            check_violation(cluster)?;
            report.self_stops += cluster.restart_failed();
            faults::apply(cluster, fault);
        }
        simulation.sleep(self.duration.saturating_sub(simulation.now())).await;
        cluster.heal();
        clients.wait().await;
        self.await_leaders(cluster).await?;
        let mut reader = self.client(cluster, 1_000, record, random.next_u64());
        for key in 0..self.manner.keys {
            if !reader.read(key, LEADER_PATIENCE).await {
                return Err(format!(
                    "key {key} could not be read {LEADER_PATIENCE:?} after all faults were over: {}",
                    describe(cluster)
                ));
            }
        }
        self.await_equality(cluster).await?;
        check_violation(cluster)?;
        self.await_stops(cluster).await?;
        report.answered = record.answered();
        report.overlapping = record.overlapping();
        record.settle(cluster.losses() > 0);
        for (key, operations) in record.history.keys() {
            corelode_linearizability::check(&operations).map_err(|message| format!("key {key}: {message}"))?;
        }
        report.leaders = cluster.leaders_elected();
        report.turns = cluster.turns();
        report.simulated = simulation.now();
        report.trace = cluster.trace();
        report.repeated = clients.counts().writes_repeated;
        report.replacements = cluster.replacements();
        report.changes = cluster.membership_changes();
        report.rotten = cluster.rotten();
        report.wipes = cluster.wipes();
        report.marks = marks::take();
        report.check_floor(self.shape)?;
        Ok(report)
    }

    fn client(&self, cluster: &SimulatedCluster, number: u64, record: &Rc<Record>, seed: u64) -> Client {
        Client::new(number, &cluster.simulation, &cluster.network, self.manner, seed, record)
    }

    fn start_clients(&self, cluster: &SimulatedCluster, record: &Rc<Record>, random: &mut Random) -> Clients {
        let options = SimulationOptions::new(random.next_u64());
        let host = SimulatedEnvironment::in_simulation(&cluster.simulation, options, &DiskImage::empty());
        let running = Rc::new(Cell::new(self.clients));
        let ended = Rc::new(Signal::default());
        let mut counts = Vec::new();
        for number in 1..=self.clients {
            let mut client = self.client(cluster, number, record, random.next_u64());
            counts.push(Rc::clone(&client.counts));
            let (running, ended, until) = (Rc::clone(&running), Rc::clone(&ended), self.duration);
            host.spawn(async move {
                client.run(until).await;
                running.set(running.get() - 1);
                ended.raise();
            });
        }
        Clients { running, ended, counts, host }
    }

    /// Waits until each partition has one leader that its majority knows.
    async fn await_leaders(&self, cluster: &mut SimulatedCluster) -> Result<(), String> {
        let simulation = cluster.simulation.clone();
        let begun = simulation.now();
        loop {
            check_violation(cluster)?;
            cluster.start_all();
            let replicas = cluster.replicas();
            let is_led = |partition: u16| {
                let leads = |status: &corelode_server::shard::ReplicaStatus| {
                    status.partition == PartitionId(partition) && status.is_leading
                };
                replicas.iter().any(|(_, status)| leads(status))
            };
            match (0..self.shape.partitions).find(|partition| !is_led(*partition)) {
                None => return Ok(()),
                Some(partition) if simulation.now() - begun > LEADER_PATIENCE => {
                    return Err(format!(
                        "partition {partition} has no leader {LEADER_PATIENCE:?} after all faults were over: {}",
                        describe(cluster)
                    ));
                }
                Some(_) => simulation.sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Waits until the nodes that were asked to stop have stopped.
    async fn await_stops(&self, cluster: &SimulatedCluster) -> Result<(), String> {
        let begun = cluster.simulation.now();
        while let Some(node) = cluster.stopping() {
            if cluster.simulation.now() - begun > STOP_PATIENCE {
                return Err(format!("node {node} was asked to stop, and has not: {}", describe(cluster)));
            }
            cluster.simulation.sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Waits until the replicas of each partition hold the same.
    async fn await_equality(&self, cluster: &mut SimulatedCluster) -> Result<(), String> {
        let simulation = cluster.simulation.clone();
        let begun = simulation.now();
        let changes = cluster.membership_changes() > 0;
        for number in 0..self.shape.partitions {
            let partition = PartitionId(number);
            loop {
                check_violation(cluster)?;
                cluster.start_all();
                let mut all = Vec::new();
                let members = cluster.members(partition).unwrap_or_default();
                for node in &members {
                    all.extend(cluster.rows(*node, partition).await?.map(|rows| (*node, rows)));
                }
                // Who lost its disk votes again, unless somebody asked for other members.
                let is_settled = changes || cluster.has_all_voters(partition);
                if is_settled && !members.is_empty() && all.len() == members.len() && are_equal(&all) {
                    break;
                }
                if simulation.now() - begun > EQUALITY_PATIENCE {
                    return Err(format!(
                        "the replicas of partition {partition} differ {EQUALITY_PATIENCE:?} after all faults were over: {}{}",
                        differences(&all),
                        describe(cluster)
                    ));
                }
                // A late client may still write.
                simulation.sleep(Duration::from_millis(200)).await;
            }
        }
        Ok(())
    }
}

fn are_equal(all: &[(u64, ReplicaRows)]) -> bool {
    all.windows(2).all(|pair| pair[0].1 == pair[1].1)
}

fn differences(all: &[(u64, ReplicaRows)]) -> String {
    let lines = all
        .iter()
        .map(|(node, rows)| format!("\n  node {node}: {} rows as of entry {}", rows.rows.len(), rows.applied));
    lines.collect()
}

fn describe(cluster: &SimulatedCluster) -> String {
    let replicas = cluster.replicas();
    let lines = replicas.iter().map(|(node, status)| format!("\n  node {node}: {status:?}"));
    let failures = cluster.nodes().filter_map(|node| Some(format!("\n  node {node}: {}", cluster.failure(node)?)));
    lines.chain(failures).chain([cluster.describe_cores()]).collect()
}

fn check_violation(cluster: &SimulatedCluster) -> Result<(), String> {
    cluster.violation().map_or(Ok(()), Err)
}

/// The clients of a run.
struct Clients {
    running: Rc<Cell<u64>>,
    ended: Rc<Signal>,
    counts: Vec<Rc<std::cell::RefCell<Counts>>>,
    host: SimulatedEnvironment,
}

impl Drop for Clients {
    fn drop(&mut self) {
        // Its tasks hold what holds them.
        self.host.crash();
    }
}

impl Clients {
    async fn wait(&self) {
        while self.running.get() > 0 {
            self.ended.wait().await;
        }
    }

    fn counts(&self) -> Counts {
        self.counts.iter().fold(Counts::default(), |sum, counts| {
            let counts = counts.borrow();
            Counts {
                not_leader: sum.not_leader + counts.not_leader,
                writes_repeated: sum.writes_repeated + counts.writes_repeated,
                given_up: sum.given_up + counts.given_up,
            }
        })
    }
}

impl Report {
    /// A run in which little happens shows little.
    fn check_floor(&self, shape: Shape) -> Result<(), String> {
        let floors = [
            ("operations were answered", self.answered, ANSWERED_MIN),
            ("pairs of operations overlapped", self.overlapping, OVERLAPPING_MIN),
            ("leaders were elected", self.leaders, u64::from(shape.partitions)),
        ];
        match floors.into_iter().find(|(_, found, least)| found < least) {
            None => Ok(()),
            Some((what, found, least)) => Err(format!("only {found} {what}, and at least {least} are wanted")),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            answered,
            overlapping,
            leaders,
            turns,
            repeated,
            replacements,
            changes,
            rotten,
            wipes,
            self_stops,
            ..
        } = self;
        write!(
            formatter,
            "{answered} answered, {overlapping} pairs overlapping, {leaders} leaders, {turns} turns, {repeated} writes repeated, {replacements} replicas replaced, {changes} membership changes, {rotten} bits rotten, {wipes} disks lost, {self_stops} stopped by themselves"
        )
    }
}
