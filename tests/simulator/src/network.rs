//! Streams between places: bytes arrive in order, after a while, unless something stands between.
//!
//! As TCP has it: what is cut off by a partition waits, and arrives when the partition heals; a place that dies breaks its streams; a stream that
//! could deliver nothing for long breaks.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::{Rc, Weak};
use std::time::Duration;

use corelode_engine::env::simulated::{Random, Simulation};

use crate::signal::Signal;

/// Somebody with an address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Place {
    /// A node of the cluster.
    Node(u64),
    /// A client.
    Client(u64),
}

/// While a partition lasts a stream looks so often whether it is over.
const BLOCKED_RETRY: Duration = Duration::from_millis(10);
/// Bytes that could not be delivered for so long break their stream.
const RETRANSMISSION_PATIENCE: Duration = Duration::from_secs(8);
/// How long connecting takes to give up.
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);

/// How long bytes are on their way.
#[derive(Clone, Copy, Debug)]
pub struct Latency {
    /// At least.
    pub least: Duration,
    /// By chance so much more.
    pub spread: Duration,
}

/// All places and what lies between them. Clones are the same one.
#[derive(Clone)]
pub struct Network {
    inner: Rc<Inner>,
}

struct Inner {
    simulation: Simulation,
    random: RefCell<Random>,
    listeners: RefCell<BTreeMap<Place, Rc<Listener>>>,
    /// From, to.
    blocked: RefCell<BTreeSet<(Place, Place)>>,
    latency: Cell<Latency>,
    pipes: RefCell<Vec<Weak<Pipe>>>,
}

/// Where a node accepts connections.
#[derive(Default)]
pub(crate) struct Listener {
    arrived: RefCell<VecDeque<Endpoint>>,
    signal: Signal,
}

/// One direction of a stream.
struct Pipe {
    from: Place,
    to: Place,
    /// When they arrive, and the bytes.
    data: RefCell<VecDeque<(Duration, Vec<u8>)>>,
    last_arrival: Cell<Duration>,
    /// When its end arrives.
    end: Cell<Option<Duration>>,
    is_broken: Cell<bool>,
    signal: Signal,
}

/// One end of a stream.
pub struct Endpoint {
    network: Network,
    /// Who is at the other end.
    pub there: Place,
    incoming: Rc<Pipe>,
    outgoing: Rc<Pipe>,
}

impl Network {
    /// A network without places.
    #[must_use]
    pub fn new(simulation: &Simulation, seed: u64, latency: Latency) -> Self {
        Self {
            inner: Rc::new(Inner {
                simulation: simulation.clone(),
                random: RefCell::new(Random::new(seed)),
                listeners: RefCell::default(),
                blocked: RefCell::default(),
                latency: Cell::new(latency),
                pipes: RefCell::default(),
            }),
        }
    }

    /// The time.
    pub(crate) fn now(&self) -> Duration {
        self.inner.simulation.now()
    }

    /// Changes how long bytes are on their way from now on.
    pub fn set_latency(&self, latency: Latency) {
        self.inner.latency.set(latency);
    }

    /// Nothing that is said at `from` is heard at `to` until [`heal`](Self::heal).
    pub fn block(&self, from: Place, to: Place) {
        self.inner.blocked.borrow_mut().insert((from, to));
    }

    /// Everybody hears everybody.
    pub fn heal(&self) {
        self.inner.blocked.borrow_mut().clear();
    }

    /// Breaks every stream between two places.
    pub fn cut(&self, one: Place, other: Place) {
        self.break_pipes(|pipe| [(one, other), (other, one)].contains(&(pipe.from, pipe.to)));
    }

    /// A place is gone, with its streams.
    pub(crate) fn kill(&self, place: Place) {
        self.inner.listeners.borrow_mut().remove(&place);
        self.break_pipes(|pipe| pipe.from == place || pipe.to == place);
    }

    fn break_pipes(&self, is_meant: impl Fn(&Pipe) -> bool) {
        let mut pipes = self.inner.pipes.borrow_mut();
        pipes.retain(|pipe| pipe.strong_count() > 0);
        for pipe in pipes.iter().filter_map(Weak::upgrade).filter(|pipe| is_meant(pipe)) {
            pipe.is_broken.set(true);
            pipe.signal.raise();
        }
    }

    pub(crate) fn listen(&self, place: Place) -> Rc<Listener> {
        let listener = Rc::new(Listener::default());
        self.inner.listeners.borrow_mut().insert(place, Rc::clone(&listener));
        listener
    }

    /// Connects to a place; `None` if nobody listens there, or nothing gets through.
    pub(crate) async fn connect(&self, from: Place, to: Place) -> Option<Endpoint> {
        let until = self.inner.simulation.now() + CONNECT_PATIENCE;
        loop {
            let latency = self.latency();
            self.inner.simulation.sleep(latency).await;
            if !self.is_blocked(from, to) && !self.is_blocked(to, from) {
                break;
            }
            if self.inner.simulation.now() >= until {
                return None;
            }
            self.inner.simulation.sleep(BLOCKED_RETRY * 10).await;
        }
        let listener = self.inner.listeners.borrow().get(&to).cloned()?;
        let (there, back) = (self.pipe(from, to), self.pipe(to, from));
        let endpoint = |there, incoming: &Rc<Pipe>, outgoing: &Rc<Pipe>| Endpoint {
            network: self.clone(),
            there,
            incoming: Rc::clone(incoming),
            outgoing: Rc::clone(outgoing),
        };
        listener.arrived.borrow_mut().push_back(endpoint(from, &there, &back));
        listener.signal.raise();
        Some(endpoint(to, &back, &there))
    }

    fn pipe(&self, from: Place, to: Place) -> Rc<Pipe> {
        let pipe = Rc::new(Pipe {
            from,
            to,
            data: RefCell::default(),
            last_arrival: Cell::new(Duration::ZERO),
            end: Cell::new(None),
            is_broken: Cell::new(false),
            signal: Signal::default(),
        });
        self.inner.pipes.borrow_mut().push(Rc::downgrade(&pipe));
        pipe
    }

    fn latency(&self) -> Duration {
        let Latency { least, spread } = self.inner.latency.get();
        let spread_ns = u64::try_from(spread.as_nanos()).unwrap_or(u64::MAX).max(1);
        let mut random = self.inner.random.borrow_mut();
        // Now and then bytes are lost, and sent again.
        let stall = if random.below(200) == 0 { Duration::from_millis(random.below(250)) } else { Duration::ZERO };
        least + Duration::from_nanos(random.below(spread_ns)) + stall
    }

    fn is_blocked(&self, from: Place, to: Place) -> bool {
        self.inner.blocked.borrow().contains(&(from, to))
    }
}

impl Listener {
    pub(crate) async fn accept(&self) -> Endpoint {
        loop {
            if let Some(endpoint) = self.arrived.borrow_mut().pop_front() {
                return endpoint;
            }
            self.signal.wait().await;
        }
    }
}

impl Endpoint {
    /// Sends bytes; `false` if the stream is broken.
    pub(crate) fn send(&self, bytes: Vec<u8>) -> bool {
        if self.outgoing.is_broken.get() {
            return false;
        }
        self.outgoing.data.borrow_mut().push_back((self.arrival(), bytes));
        self.outgoing.signal.raise();
        true
    }

    /// Says that nothing more follows.
    pub(crate) fn close(&self) {
        self.outgoing.end.set(Some(self.arrival()));
        self.outgoing.signal.raise();
    }

    fn arrival(&self) -> Duration {
        let arrival =
            (self.network.inner.simulation.now() + self.network.latency()).max(self.outgoing.last_arrival.get());
        self.outgoing.last_arrival.set(arrival);
        arrival
    }

    /// The next bytes, at most so many; `None` at the end, or if the stream broke.
    pub(crate) async fn receive(&self, length_max: usize) -> Option<Vec<u8>> {
        let simulation = &self.network.inner.simulation;
        let pipe = &self.incoming;
        let mut blocked_since = None;
        loop {
            if pipe.is_broken.get() {
                return None;
            }
            let now = simulation.now();
            let next = pipe.data.borrow().front().map(|(at, _)| *at).or(pipe.end.get());
            let wait = match next {
                None => None,
                Some(at) if at > now => Some(at - now),
                Some(_) if self.network.is_blocked(pipe.from, pipe.to) => {
                    if now - *blocked_since.get_or_insert(now) > RETRANSMISSION_PATIENCE {
                        pipe.is_broken.set(true);
                        self.outgoing.is_broken.set(true);
                        self.outgoing.signal.raise();
                    }
                    Some(BLOCKED_RETRY)
                }
                Some(_) => return pipe.take(length_max),
            };
            pipe.signal.wait_for(simulation, wait).await;
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        if self.outgoing.end.get().is_none() {
            self.close();
        }
    }
}

impl Pipe {
    fn take(&self, length_max: usize) -> Option<Vec<u8>> {
        let mut data = self.data.borrow_mut();
        let (_, bytes) = data.front_mut()?;
        let rest = if bytes.len() > length_max { bytes.split_off(length_max) } else { Vec::new() };
        let taken = std::mem::replace(bytes, rest);
        if bytes.is_empty() {
            data.pop_front();
        }
        Some(taken)
    }
}
