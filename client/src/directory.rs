//! Finding the map of the cluster: any node that lives has it.
//!
//! One fetch serves all who wait. It asks one node, and the next one as soon as that fails or has not answered for [`HEDGE_DELAY`]; the first
//! answer counts. Nodes of the last map come first, then the seeds; those that nothing comes of are asked last, and asked all the same.
//!
//! A map that is known to be old is waited for. One that is merely doubtful serves on while another is fetched beside.

use std::sync::{Arc, Mutex as StdMutex, RwLock};
use std::time::Duration;

use corelode_net::MapEpoch;
use corelode_net::table::Topology;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use crate::error::{AttemptError, Error, Result};
use crate::lane::Limits;
use crate::map::Map;
use crate::node::Node;
use crate::options::Options;
use crate::random;
use crate::request::{Reply, Request};
use crate::retry::{Decision, Kind, decide, delay, jittered};
use crate::routes::Routes;
use crate::session::Sessions;
use crate::trail::Trail;

/// How long a node may take to send its map before another is asked, too.
const HEDGE_DELAY: Duration = Duration::from_millis(150);
/// A doubtful map is fetched again no sooner than this after the last.
const DOUBT_INTERVAL: Duration = Duration::from_millis(50);
/// How long a fetch beside goes on.
const DOUBT_PATIENCE: Duration = Duration::from_secs(2);
const LOCK: &str = "nobody panics while holding it";

/// The nodes that a client knows, and how to find the others.
pub(crate) struct Directory {
    pub(crate) options: Options,
    pub(crate) map: Arc<Map>,
    pub(crate) sessions: Sessions,
    seeds: Vec<Arc<Node>>,
    routes: RwLock<Option<Arc<Routes>>>,
    /// Held by whoever fetches the map.
    fetching: Arc<Mutex<Fetching>>,
    /// What the last fetch met, if it failed: what those are told whose time ends while they wait for another caller's fetch.
    failure: StdMutex<Option<Error>>,
}

#[derive(Default)]
struct Fetching {
    ended_at: Option<Instant>,
}

impl Directory {
    pub(crate) fn new(options: Options) -> Arc<Self> {
        let mut seeds: Vec<_> = options.addresses.iter().map(|address| Node::new(address)).collect();
        if seeds.len() > 1 {
            // Many clients are given the same list, and its first node is not to get all of them.
            let first = usize::try_from(random::number() % seeds.len() as u64).expect("an index");
            seeds.rotate_left(first);
        }
        Arc::new(Self {
            options,
            map: Arc::default(),
            sessions: Sessions::default(),
            seeds,
            routes: RwLock::default(),
            fetching: Arc::default(),
            failure: StdMutex::default(),
        })
    }

    /// The routes by the newest map.
    pub(crate) async fn routes(self: &Arc<Self>, deadline: Instant) -> Result<Arc<Routes>> {
        if let Some(routes) = self.current() {
            if self.map.is_doubtful() {
                self.fetch_beside();
            }
            return Ok(routes);
        }
        let Ok(mut fetching) = timeout_at(deadline, self.fetching.lock()).await else {
            let failure = self.failure.lock().expect(LOCK).clone();
            let unknown = || Error::Unreachable { reason: "no node sent its map in time".to_owned() };
            return Err(failure.unwrap_or_else(unknown));
        };
        // Somebody else may have fetched it meanwhile.
        if let Some(routes) = self.current() {
            return Ok(routes);
        }
        let fetched = self.fetch(deadline).await;
        fetching.ended_at = Some(Instant::now());
        fetched
    }

    /// The routes, unless their map is known to be old.
    fn current(&self) -> Option<Arc<Routes>> {
        let routes = self.routes.read().expect(LOCK);
        routes.as_ref().filter(|routes| routes.are_of_now() && self.map.is_newest(routes.topology.map_epoch)).cloned()
    }

    /// Fetches the map while the one that there is serves on. One fetch at a time, and not at once after the last.
    fn fetch_beside(self: &Arc<Self>) {
        let Ok(mut fetching) = Arc::clone(&self.fetching).try_lock_owned() else { return };
        if fetching.ended_at.is_some_and(|ended_at| ended_at.elapsed() < DOUBT_INTERVAL) {
            return;
        }
        let directory = Arc::clone(self);
        tokio::spawn(async move {
            let deadline = Instant::now() + directory.options.timeout.min(DOUBT_PATIENCE);
            // The next one who doubts tries again.
            let _ = directory.fetch(deadline).await;
            fetching.ended_at = Some(Instant::now());
        });
    }

    /// Asks nodes for the map until one sends it.
    async fn fetch(&self, deadline: Instant) -> Result<Arc<Routes>> {
        let mut trail = Trail::default();
        loop {
            let is_lasting = match self.ask_once(deadline, &mut trail).await {
                Some((node, topology)) => return Ok(self.learn(topology, &node)),
                None => trail.last().is_none_or(|error| decide(error, Kind::Read, trail.turn()) == Decision::GiveUp),
            };
            let error = trail.error(Kind::Read);
            *self.failure.lock().expect(LOCK) = Some(error.clone());
            let wake_at = Instant::now() + jittered(delay(trail.turn()), random::number());
            if is_lasting || wake_at >= deadline {
                return Err(error);
            }
            trail.next_turn();
            tokio::time::sleep_until(wake_at).await;
        }
    }

    /// Asks each node once, one after the other, until one answers.
    async fn ask_once(&self, deadline: Instant, trail: &mut Trail) -> Option<(Arc<Node>, Topology)> {
        let mut nodes = self.candidates().into_iter();
        let has_others = nodes.len() > 1;
        let mut asked = JoinSet::new();
        loop {
            if let Some(node) = nodes.next() {
                let (options, map) = (self.options.clone(), Arc::clone(&self.map));
                asked.spawn(async move {
                    let patience =
                        if has_others { (Instant::now() + options.attempt_timeout).min(deadline) } else { deadline };
                    let transport = node.transport(None, &options, &map);
                    let answer = transport.call(Request::Topology, MapEpoch(0), Limits { deadline, patience }).await;
                    (node, answer)
                });
            }
            let wait = if nodes.len() > 0 { HEDGE_DELAY } else { Duration::MAX };
            match timeout(wait, asked.join_next()).await {
                Err(_) => {}
                Ok(None) => return None,
                Ok(Some(joined)) => match joined.expect("asking neither panics nor is cancelled") {
                    (node, Ok(Reply::Topology(topology))) => return Some((node, topology)),
                    (node, Ok(other)) => trail.note(&node, AttemptError::unexpected(&other)),
                    (node, Err(error)) => trail.note(&node, error),
                },
            }
        }
    }

    /// Every node that is known, the likeliest to answer first.
    fn candidates(&self) -> Vec<Arc<Node>> {
        let routes = self.routes.read().expect(LOCK).clone();
        let mut nodes: Vec<Arc<Node>> = routes.iter().flat_map(|routes| routes.nodes().cloned()).collect();
        for seed in &self.seeds {
            if !nodes.iter().any(|node| node.address() == seed.address()) {
                nodes.push(Arc::clone(seed));
            }
        }
        nodes.sort_by_key(|node| node.is_in_trouble(None));
        nodes
    }

    /// Takes in the map that a node sent. Nodes that it does not name any more are let go, with their connections.
    fn learn(&self, topology: Topology, answered: &Arc<Node>) -> Arc<Routes> {
        let mut known = self.routes.write().expect(LOCK);
        let before = known.clone();
        let node_at = |address: &str| {
            let nodes = before.iter().flat_map(|routes| routes.nodes()).chain(&self.seeds);
            let same = nodes.into_iter().find(|node| node.address() == address);
            same.cloned().unwrap_or_else(|| Node::new(address))
        };
        let routes = Arc::new(Routes::new(Arc::new(topology), answered, before.as_deref(), node_at));
        self.map.learn(routes.topology.map_epoch, routes.has_several_nodes());
        *known = Some(Arc::clone(&routes));
        *self.failure.lock().expect(LOCK) = None;
        routes
    }
}
