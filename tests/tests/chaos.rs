//! Rounds of faults on three nodes under load: they are cut off, stopped and killed. What clients were told can have happened one after the other, nothing
//! acknowledged is lost, and wherever a majority is connected it accepts writes within seconds.
//!
//! Each node is a host of its own, in a network namespace, and links are cut by rules of the kernel's filter. Proxies between the nodes would do without root,
//! but nodes refuse each other unless they were given the same addresses (`PEER_MISMATCH`), so that there is no room for a proxy for each direction of each link;
//! and a connection through a proxy is never silent as one through a dead switch is: there the sender sends again, after longer and longer waits, and
//! what it waits for when the link is mended is part of the hazard.
//!
//! Each round writes keys of its own. At its end it reads them all, checks the history of each, and waits until the cluster is whole; at the very end
//! the keys of all rounds are read again. How long the worst partition accepted no write is counted by one writer for each.
//!
//! A round is drawn from the seed and its number. What a failure prints says how to run that round again.

#![allow(clippy::print_stdout, reason = "figures go to standard output")]

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use corelode_client::Options;
use corelode_client::blocking::Client;
use corelode_net::table::{FollowerState, Status, counters};
use corelode_tests::cluster::Cluster;
use corelode_tests::load::Random;
use corelode_tests::network::{self, Cut, Manner, Network};
use corelode_tests::recorded_load::{Crew, Keys, Recorded, RecordedLoad, read};
use corelode_tests::requirements;

const CORES: u16 = 2;
const PARTITIONS: u16 = 6;
const KEYS: u64 = 32;

/// Hosts 0 to 2 are the nodes'.
const HOSTS: usize = 5;
const NODES: [usize; 3] = [0, 1, 2];
/// Reaches all nodes, always.
const CLIENTS: usize = 3;
/// Is beside the node that is cut off, and reaches no other, when the network falls into halves.
const BESIDE: usize = 4;

/// How long a partition may accept no write while a majority is connected. The election timeout is one second.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Far longer than any partition may be without a leader: those who watch partitions are never told that they have waited too long.
const WATCH_TIMEOUT: Duration = Duration::from_secs(60);
/// Shorter than faults last, so that there are writes of unknown outcome.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Longer than a leader is stopped.
const STEADFAST_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a cluster without faults may take until all its nodes follow.
const WHOLE_PATIENCE: Duration = Duration::from_secs(60);
/// How long a leader is stopped, and a link goes up and down.
const LONG: Duration = Duration::from_secs(10);
/// What is shown of each node's log when a round fails.
const LOG_LINES: usize = 150;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Fault {
    // Cuts come first.
    /// A node, and the clients beside it, on one side, and the other two nodes on the other.
    Halves,
    /// The node that leads most loses both its links.
    LeaderCutOff,
    /// Each node hears only the next one: none of its links works both ways, and nobody has a majority until it is over.
    Ring,
    /// A link between two nodes is gone, and both have the other to the third: everybody has a majority.
    LinkCut,
    /// The node that leads most is heard and hears nothing, or hears and is not heard.
    OneWay,
    /// The node that leads most is cut off and comes back, again and again.
    Flapping,
    /// The node that leads most stands still, as under a debugger, and goes on.
    LeaderStopped,
    LeaderKilled,
    /// Of the node that leads least.
    FollowerKilled,
    /// Nobody has a majority until one is back.
    TwoKilled,
    AllKilled,
    /// Each node is asked to stop, and started again, one after the other.
    RollingRestart,
}

const FAULTS: [(Fault, &str); 12] = [
    (Fault::Halves, "halves"),
    (Fault::LeaderCutOff, "leader_cut_off"),
    (Fault::Ring, "ring"),
    (Fault::LinkCut, "link_cut"),
    (Fault::OneWay, "one_way"),
    (Fault::Flapping, "flapping"),
    (Fault::LeaderStopped, "leader_stopped"),
    (Fault::LeaderKilled, "leader_killed"),
    (Fault::FollowerKilled, "follower_killed"),
    (Fault::TwoKilled, "two_killed"),
    (Fault::AllKilled, "all_killed"),
    (Fault::RollingRestart, "rolling_restart"),
];

impl Fault {
    fn name(self) -> &'static str {
        FAULTS.iter().find(|(fault, _)| *fault == self).expect("each has a name").1
    }
}

/// What a round does.
#[derive(Clone, Debug)]
struct Plan {
    seed: u64,
    number: u64,
    fault: Fault,
    hold: Duration,
    manner: Manner,
    /// Which node, or which way, where the fault leaves it open.
    pick: usize,
}

impl Plan {
    /// Each of a dozen rounds has a fault of its own.
    fn draw(seed: u64, number: u64) -> Self {
        let dozen = FAULTS.len() as u64;
        let mut faults = FAULTS.map(|(fault, _)| fault);
        let mut shuffle = Random::new(seed.wrapping_add(1_000_003 * (number / dozen)));
        for place in (1..FAULTS.len()).rev() {
            let other = shuffle.below(place as u64 + 1);
            faults.swap(place, usize::try_from(other).expect("few"));
        }
        let mut random = Random::new(seed.wrapping_add(7919 * number));
        let fault = faults[usize::try_from(number % dozen).expect("few")];
        // What connections do after a cut depends on how long it was.
        let hold_ms_spread = if fault <= Fault::OneWay { 10_000 } else { 5_000 };
        Self {
            seed,
            number,
            fault,
            hold: Duration::from_millis(2_500 + random.below(hold_ms_spread)),
            manner: if random.below(2) == 0 { Manner::Lost } else { Manner::Refused },
            pick: usize::try_from(random.below(6)).expect("few"),
        }
    }
}

/// The cluster, and what is known of it over the rounds.
struct Chaos {
    network: Arc<Network>,
    cluster: Cluster,
    /// With time for whatever happens.
    patient: Client,
    impatient: Client,
    /// Waits for whomever it has asked: what a leader does with requests that it finds when it goes on is told to somebody.
    steadfast: Client,
    beside: Client,
    /// What keys of past rounds may show.
    settled: BTreeMap<Vec<u8>, Vec<Option<u64>>>,
    /// The round that runs.
    plan: Option<Plan>,
    operations: u64,
    unknown: u64,
    unexecuted: u64,
    pauses: BTreeMap<Fault, Vec<Duration>>,
    /// How long it took after each round until all nodes followed.
    until_whole: Vec<Duration>,
}

impl Chaos {
    fn start(network: &Arc<Network>, directory: &std::path::Path) -> Self {
        let cluster = Cluster::start_on(network, directory, CORES, PARTITIONS);
        let options = |timeout| Options::from_addresses(cluster.addresses()).with_timeout(timeout);
        let client = |options| Client::new(options).expect("a client starts");
        let (patient, impatient) = (client(options(WATCH_TIMEOUT)), client(options(TIMEOUT)));
        let steadfast = client(options(STEADFAST_TIMEOUT).with_attempt_timeout(STEADFAST_TIMEOUT));
        let beside = network.on(BESIDE, || client(options(TIMEOUT)));
        let mut chaos = Self {
            network: Arc::clone(network),
            cluster,
            patient,
            impatient,
            steadfast,
            beside,
            settled: BTreeMap::new(),
            plan: None,
            operations: 0,
            unknown: 0,
            unexecuted: 0,
            pauses: BTreeMap::new(),
            until_whole: Vec::new(),
        };
        chaos.become_whole();
        chaos
    }

    fn round(&mut self, plan: &Plan) {
        self.plan = Some(plan.clone());
        let keys = Keys::new(&format!("round-{}", plan.number), KEYS, PARTITIONS);
        let crew =
            |host, client: &Client, workers, is_watching| Crew { host, client: client.clone(), workers, is_watching };
        let crews = [
            crew(CLIENTS, &self.patient, 0, true),
            crew(CLIENTS, &self.impatient, 8, false),
            crew(CLIENTS, &self.steadfast, 4, false),
            crew(BESIDE, &self.beside, 4, false),
        ];
        let load = RecordedLoad::start(&self.network, keys, &crews, plan.seed ^ plan.number);
        load.go_on(20);
        let majority_since = self.carry_out(plan, &load);
        load.go_on(20);
        let recorded = load.end(&self.patient);
        self.check(plan, &recorded, majority_since);
    }

    fn check(&mut self, plan: &Plan, recorded: &Recorded, majority_since: Duration) {
        let histories = recorded.history.keys();
        for (key, operations) in &histories {
            corelode_linearizability::check(operations).unwrap_or_else(|message| panic!("key {key}: {message}"));
        }
        self.settled.extend(recorded.settled());
        let operations: usize = histories.values().map(Vec::len).sum();
        let pause = recorded.pause_max(majority_since);
        self.pauses.entry(plan.fault).or_default().push(pause);
        self.operations += operations as u64;
        self.unknown += recorded.unknown;
        self.unexecuted += recorded.unexecuted;
        let whole = self.become_whole();
        self.until_whole.push(whole);
        println!(
            "round {} {} ({} ms, {:?}, {}): {operations} operations, {} unknown, {} not executed, no writes for {} ms, whole after {} ms more",
            plan.number,
            plan.fault.name(),
            plan.hold.as_millis(),
            plan.manner,
            plan.pick,
            recorded.unknown,
            recorded.unexecuted,
            pause.as_millis(),
            whole.as_millis()
        );
    }

    /// Carries out the fault and mends it; answers since when a majority has been connected all the time.
    fn carry_out(&mut self, plan: &Plan, load: &RecordedLoad) -> Duration {
        let [leader, _, follower] = self.by_partitions_led();
        let any = plan.pick % NODES.len();
        let began = load.now();
        match plan.fault {
            Fault::Halves => {
                let beside = others(any).into_iter().flat_map(|node| both_ways(node, BESIDE, plan.manner));
                self.cut(plan.hold, &isolation(any, plan.manner).into_iter().chain(beside).collect::<Vec<_>>());
            }
            Fault::LeaderCutOff => self.cut(plan.hold, &isolation(leader, plan.manner)),
            Fault::Ring => {
                let cuts = NODES.map(|node| Cut { from: node, to: (node + 1) % 3, manner: plan.manner });
                self.cut(plan.hold, &cuts);
                return load.now();
            }
            Fault::LinkCut => {
                let other = others(leader)[plan.pick % 2];
                self.cut(plan.hold, &both_ways(leader, other, plan.manner));
            }
            Fault::OneWay => {
                let mut cuts = isolation(leader, plan.manner);
                cuts.retain(|cut| (cut.from == leader) == plan.pick.is_multiple_of(2));
                self.cut(plan.hold, &cuts);
            }
            Fault::Flapping => {
                let mut random = Random::new(plan.seed ^ plan.number);
                let started = Instant::now();
                let mut a_while = || Duration::from_millis(50 + random.below(1_500));
                while started.elapsed() < LONG {
                    self.cut(a_while(), &isolation(leader, plan.manner));
                    thread::sleep(a_while());
                }
            }
            Fault::LeaderStopped => {
                self.cluster.pause(leader);
                thread::sleep(LONG);
                self.cluster.resume(leader);
            }
            Fault::LeaderKilled => self.kill(plan.hold, &[leader]),
            Fault::FollowerKilled => self.kill(plan.hold, &[follower]),
            Fault::TwoKilled => {
                let [first, second] = others(any);
                self.kill(plan.hold, &[first, second]);
                return load.now();
            }
            Fault::AllKilled => {
                self.kill(plan.hold, &NODES);
                return load.now();
            }
            Fault::RollingRestart => {
                for node in NODES {
                    self.cluster.stop_and_restart(node);
                    // As whoever does this would, before the next one.
                    load.go_on(3);
                    self.become_whole();
                }
            }
        }
        began
    }

    fn cut(&self, hold: Duration, cuts: &[Cut]) {
        self.network.set_cuts(cuts);
        thread::sleep(hold);
        self.network.set_cuts(&[]);
    }

    fn kill(&mut self, hold: Duration, nodes: &[usize]) {
        nodes.iter().for_each(|node| self.cluster.kill(*node));
        thread::sleep(hold);
        nodes.iter().for_each(|node| self.cluster.restart(*node));
    }

    fn statuses(&self) -> Result<Vec<Status>, String> {
        let statuses = self.patient.statuses().map_err(|error| error.to_string())?.into_iter();
        statuses.map(|(node, status)| status.map_err(|error| format!("node {}: {error}", node.node_id.0))).collect()
    }

    /// The nodes, the one first that leads most.
    fn by_partitions_led(&self) -> [usize; 3] {
        let started = Instant::now();
        loop {
            match self.statuses() {
                Ok(statuses) => {
                    let mut nodes = NODES;
                    nodes.sort_by_key(|node| std::cmp::Reverse(statuses[*node].total(counters::REPLICAS_LEADING)));
                    return nodes;
                }
                Err(error) => assert!(started.elapsed() < WHOLE_PATIENCE, "{error}"),
            }
        }
    }

    /// Waits until each partition has a leader whom the others follow, and all nodes hear each other; answers how long that took.
    fn become_whole(&mut self) -> Duration {
        let started = Instant::now();
        loop {
            let missing = match self.statuses() {
                Ok(statuses) => what_is_missing(&statuses),
                Err(error) => Some(error),
            };
            let Some(missing) = missing else { return started.elapsed() };
            assert!(started.elapsed() < WHOLE_PATIENCE, "the cluster does not become whole: {missing}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Reads the keys of all rounds again.
    fn check_settled(&self) {
        for (name, expected) in &self.settled {
            let found = read(&self.patient, name).unwrap_or_else(|error| panic!("{}: {error}", text(name)));
            assert!(expected.contains(&found), "{} shows {found:?}, and may show {expected:?}", text(name));
        }
    }

    fn report(&self) {
        println!("CORELODE-FIGURE chaos_rounds={}", self.until_whole.len());
        println!("CORELODE-FIGURE chaos_operations={}", self.operations);
        println!("CORELODE-FIGURE chaos_writes_unknown={}", self.unknown);
        println!("CORELODE-FIGURE chaos_operations_not_executed={}", self.unexecuted);
        for (fault, pauses) in &self.pauses {
            let (name, (median, max)) = (fault.name(), median_and_max(pauses));
            println!("CORELODE-FIGURE chaos_{name}_pause_ms_median={median}");
            println!("CORELODE-FIGURE chaos_{name}_pause_ms_max={max}");
        }
        let (median, max) = median_and_max(&self.until_whole);
        println!("CORELODE-FIGURE chaos_until_whole_ms_median={median}");
        println!("CORELODE-FIGURE chaos_until_whole_ms_max={max}");
    }
}

impl Drop for Chaos {
    fn drop(&mut self) {
        let Some(plan) = self.plan.as_ref().filter(|_| thread::panicking()) else { return };
        for node in NODES {
            let log = fs::read_to_string(self.cluster.log_file(node)).unwrap_or_else(|error| error.to_string());
            let lines: Vec<_> = log.lines().filter(|line| !line.contains("corelode_engine::job")).collect();
            let tail = &lines[lines.len().saturating_sub(LOG_LINES)..];
            println!("--- the end of node {}'s log\n{}", node + 1, tail.join("\n"));
        }
        println!("--- in or after {plan:?}");
        println!(
            "--- again: CORELODE_TEST_CHAOS_SEED={} CORELODE_TEST_CHAOS_FIRST={} CORELODE_TEST_CHAOS_ROUNDS=1",
            plan.seed, plan.number
        );
    }
}

/// What keeps a cluster from being whole. That replicas differ or are damaged, and that nodes misunderstand each other, is never right.
fn what_is_missing(statuses: &[Status]) -> Option<String> {
    for status in statuses {
        let (node, total) = (status.node_id.0, |name| status.total(name));
        assert_eq!(total(counters::REPLICAS_DIVERGED), 0, "node {node} has replicas that differ from others'");
        assert_eq!(total(counters::REPLICAS_DAMAGED), 0, "node {node} has damaged replicas");
        assert_eq!(total(counters::PEER_ERRORS_TOTAL), 0, "another node does not understand node {node}");
        if total(counters::PEERS_ALIVE) != 2 * u64::from(CORES) {
            return Some(format!("node {node} hears {} cores", total(counters::PEERS_ALIVE)));
        }
        if total(counters::GROUPS_SHORT_OF_VOTERS) != 0 {
            // Until a new group knows its voters' disks, it elects nobody without all of them.
            return Some(format!(
                "node {node} leads {} groups without all voters",
                total(counters::GROUPS_SHORT_OF_VOTERS)
            ));
        }
        if total(counters::REPLICAS_WITHOUT_LEADER) != 0 {
            return Some(format!(
                "node {node} has {} replicas without a leader",
                total(counters::REPLICAS_WITHOUT_LEADER)
            ));
        }
    }
    let followers = || statuses.iter().flat_map(|status| &status.cores).flat_map(|core| &core.followers);
    let following = followers().filter(|follower| follower.state == FollowerState::Replicate).count();
    (following != 2 * usize::from(PARTITIONS) || followers().count() != following)
        .then(|| format!("{following} of {} followers follow", followers().count()))
}

fn others(node: usize) -> [usize; 2] {
    [(node + 1) % 3, (node + 2) % 3]
}

fn both_ways(one: usize, other: usize, manner: Manner) -> [Cut; 2] {
    [Cut { from: one, to: other, manner }, Cut { from: other, to: one, manner }]
}

/// Cuts a node off from the other two.
fn isolation(node: usize, manner: Manner) -> Vec<Cut> {
    others(node).into_iter().flat_map(|other| both_ways(node, other, manner)).collect()
}

fn median_and_max(times: &[Duration]) -> (u128, u128) {
    let mut times: Vec<_> = times.iter().map(Duration::as_millis).collect();
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() - 1])
}

fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

fn number_in(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text:?}")))
}

#[test]
fn each_dozen_of_rounds_has_each_fault_and_can_be_drawn_again() {
    for seed in 0..100 {
        for dozen in 0..3 {
            let rounds = || (12 * dozen..12 * (dozen + 1)).map(|number| Plan::draw(seed, number));
            let mut faults: Vec<_> = rounds().map(|plan| plan.fault).collect();
            faults.sort();
            assert_eq!(faults, FAULTS.map(|(fault, _)| fault));
            let drawn = || rounds().map(|plan| format!("{plan:?}")).collect::<Vec<_>>();
            assert_eq!(drawn(), drawn());
        }
    }
}

#[test]
fn promises_are_kept_whatever_happens_to_nodes_and_links_as_root() {
    if !requirements::are_met(&network::REQUIREMENTS) {
        return;
    }
    let network = Arc::new(Network::new(HOSTS));
    // Whatever it starts is among the clients, and the rest of the machine out of reach.
    network.on(CLIENTS, || run_rounds(&network));
}

fn run_rounds(network: &Arc<Network>) {
    let rounds = number_in("CORELODE_TEST_CHAOS_ROUNDS").unwrap_or(12);
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is after 1970").as_secs();
    let seed = number_in("CORELODE_TEST_CHAOS_SEED").unwrap_or_else(now);
    let first = number_in("CORELODE_TEST_CHAOS_FIRST").unwrap_or(0);
    println!("CORELODE-FIGURE chaos_seed={seed}");
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let mut chaos = Chaos::start(network, scratch.path());
    for number in first..first + rounds {
        chaos.round(&Plan::draw(seed, number));
    }
    chaos.check_settled();
    chaos.report();
    let worst = chaos.pauses.iter().map(|(fault, pauses)| (fault, median_and_max(pauses).1));
    let slow: Vec<_> = worst.filter(|(_, max)| *max >= PAUSE_MAX.as_millis()).collect();
    assert!(slow.is_empty(), "a majority was connected and accepted no write for so many milliseconds: {slow:?}");
    chaos.plan = None;
    for node in NODES {
        chaos.cluster.stop(node);
    }
}
