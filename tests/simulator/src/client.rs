//! A client that does one operation after the other, straight on the wire: it looks for leaders as any client must, and knows what it does not know.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use corelode_engine::env::simulated::{Random, Simulation};
use corelode_linearizability::history::{Action, History, Operation};
use corelode_net::body::{
    DeleteRequest, Durability, GetReply, GetRequest, PutRequest, ReadLevel, SessionOpen, SessionPrefix, Value,
    WriteReply,
};
use corelode_net::handshake::{ClientConfig, ClientHandshake, Features, Nonce, VersionRange};
use corelode_net::limits::BODY_SIZE_BYTES_MAX;
use corelode_net::table::{ErrorReply, TableBuilder};
use corelode_net::{FrameReader, Inbound, MapEpoch, Opcode, PartitionId, RequestHead, RequestId, RetryClass, slot_of};

use corelode_server::shard::PartitionMap;

use crate::network::{Endpoint, Network, Place};
use crate::signal::first;

/// How long a client waits for one answer.
const ANSWER_PATIENCE: Duration = Duration::from_millis(700);
/// How long it tries an operation.
const OPERATION_PATIENCE: Duration = Duration::from_secs(6);
const SESSION_TTL_MS: u64 = 120_000;

/// How a client behaves.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// Keys that it works on.
    pub keys: u64,
    /// Partitions that they fall into.
    pub partitions: u16,
    /// Nodes.
    pub nodes: u64,
    /// Whether writes are sent again in sessions until they are answered.
    pub has_sessions: bool,
    /// How many of a hundred puts wait for no more than the memory of a majority.
    pub in_memory_percent: u64,
    /// How long it pauses between operations at most.
    pub pause: Duration,
    /// The length of values, bytes.
    pub value_bytes: usize,
}

/// What all clients of a cluster have done.
#[derive(Default)]
pub struct Record {
    /// What was promised for good.
    pub history: History,
    /// Writes that were acknowledged from memory.
    in_memory: RefCell<Vec<(u64, Operation)>>,
}

impl Record {
    /// Puts the writes that were acknowledged from memory into the history. If a node has lost its memory nobody knows what became of them, but that what a reader has
    /// seen is there for good.
    pub fn settle(&self, may_be_lost: bool) {
        for (key, operation) in self.in_memory.take() {
            let returned = operation.returned.filter(|_| !may_be_lost);
            self.history.push(key, Operation { returned, ..operation });
        }
    }

    /// How many pairs of operations on the same key overlapped in time, as their clients saw it.
    #[must_use]
    pub fn overlapping(&self) -> u64 {
        let seen = History::default();
        let promised = self.history.keys().into_iter();
        promised.for_each(|(key, operations)| operations.into_iter().for_each(|operation| seen.push(key, operation)));
        self.in_memory.borrow().iter().for_each(|(key, operation)| seen.push(*key, *operation));
        seen.overlapping()
    }

    /// How many operations were answered.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.history.answered() + self.in_memory.borrow().len() as u64
    }
}

/// A client.
pub struct Client {
    number: u64,
    simulation: Simulation,
    network: Network,
    manner: Manner,
    map: PartitionMap,
    random: Random,
    record: Rc<Record>,
    connections: BTreeMap<u64, Connection>,
    /// Who was last known to lead.
    leaders: BTreeMap<u16, u64>,
    sessions: BTreeMap<u16, Session>,
    values_written: u64,
    /// Retries that were answered as repeated, and the like.
    pub counts: Rc<RefCell<Counts>>,
}

/// What a client has met.
#[derive(Clone, Copy, Default, Debug)]
pub struct Counts {
    /// Answers that another node leads.
    pub not_leader: u64,
    /// Writes that were sent again after their outcome was unknown.
    pub writes_repeated: u64,
    /// Operations given up.
    pub given_up: u64,
}

#[derive(Clone, Copy)]
struct Session {
    number: u64,
    last_sequence: u64,
}

struct Connection {
    endpoint: Endpoint,
    reader: FrameReader,
    last_id: u64,
}

/// What became of one attempt.
enum Attempt {
    Found(Option<u64>),
    Written(u64),
    /// Not carried out: try again, perhaps at this node.
    Safe(Option<u64>),
    /// Perhaps carried out.
    Unknown,
    /// The session does not know.
    SessionExpired,
}

/// What is asked.
#[derive(Clone, Copy)]
enum Request {
    Get { key: u64 },
    Put { key: u64, value: u64, durability: Durability, session: Option<SessionPrefix> },
    Delete { key: u64, session: Option<SessionPrefix> },
    OpenSession { partition: u16 },
}

impl Client {
    /// A client of a cluster.
    #[must_use]
    pub fn new(
        number: u64,
        simulation: &Simulation,
        network: &Network,
        manner: Manner,
        seed: u64,
        record: &Rc<Record>,
    ) -> Self {
        Self {
            number,
            simulation: simulation.clone(),
            network: network.clone(),
            manner,
            map: PartitionMap::new(manner.partitions, 1),
            random: Random::new(seed),
            record: Rc::clone(record),
            connections: BTreeMap::new(),
            leaders: BTreeMap::new(),
            sessions: BTreeMap::new(),
            values_written: 0,
            counts: Rc::default(),
        }
    }

    /// Does operations until `until`.
    pub async fn run(&mut self, until: Duration) {
        while self.simulation.now() < until {
            // Half of the time all want the same two: operations that never meet prove little.
            let keys = if self.random.below(2) == 0 { 2 } else { self.manner.keys };
            let key = self.random.below(keys);
            match self.random.below(20) {
                0 => self.write(key, None).await,
                1..=9 => {
                    self.values_written += 1;
                    let value = self.number * 1_000_000 + self.values_written;
                    self.write(key, Some(value)).await;
                }
                _ => drop(self.read(key, OPERATION_PATIENCE).await),
            }
            let pause_ns = u64::try_from(self.manner.pause.as_nanos()).unwrap_or(u64::MAX).max(1);
            let pause = Duration::from_nanos(self.random.below(pause_ns));
            self.simulation.sleep(pause).await;
        }
    }

    /// Reads a key, and notes what was found; answers whether anything was.
    pub async fn read(&mut self, key: u64, patience: Duration) -> bool {
        let called = self.simulation.now();
        while self.simulation.now() - called < patience {
            if let Attempt::Found(found) = self.attempt(self.partition_of(key), Request::Get { key }).await {
                let returned = Some(self.simulation.now());
                self.note(key, called, returned, Action::Read(found));
                return true;
            }
        }
        self.counts.borrow_mut().given_up += 1;
        false
    }

    async fn write(&mut self, key: u64, value: Option<u64>) {
        let partition = self.partition_of(key);
        let called = self.simulation.now();
        let session = if self.manner.has_sessions { self.stamp(partition).await } else { None };
        if self.manner.has_sessions && session.is_none() {
            return;
        }
        // Of a deletion nobody can tell whether it was seen.
        let is_in_memory = value.is_some() && self.random.below(100) < self.manner.in_memory_percent;
        let durability = if is_in_memory { Durability::Memory } else { Durability::Synced };
        let request = match value {
            Some(value) => Request::Put { key, value, durability, session },
            None => Request::Delete { key, session },
        };
        let mut is_unknown = false;
        let returned = loop {
            if self.simulation.now() - called >= OPERATION_PATIENCE {
                break None;
            }
            match self.attempt(partition, request).await {
                Attempt::Written(_) => break Some(self.simulation.now()),
                Attempt::Unknown if session.is_none() => {
                    is_unknown = true;
                    break None;
                }
                Attempt::Unknown => {
                    is_unknown = true;
                    self.counts.borrow_mut().writes_repeated += 1;
                }
                Attempt::SessionExpired => {
                    self.sessions.remove(&partition);
                    break None;
                }
                Attempt::Safe(_) | Attempt::Found(_) => {}
            }
        };
        if returned.is_none() {
            self.counts.borrow_mut().given_up += 1;
            // The next write must not wait for the answer to this one.
            self.sessions.remove(&partition);
        }
        if returned.is_some() && is_in_memory {
            let operation = Operation { client: self.number, called, returned, action: Action::Write(value) };
            self.record.in_memory.borrow_mut().push((key, operation));
        } else if returned.is_some() || is_unknown {
            self.note(key, called, returned, Action::Write(value));
        }
    }

    /// The place of the next write in this client's session of a partition; opens one if need be.
    async fn stamp(&mut self, partition: u16) -> Option<SessionPrefix> {
        let begun = self.simulation.now();
        while !self.sessions.contains_key(&partition) {
            if self.simulation.now() - begun > OPERATION_PATIENCE {
                return None;
            }
            if let Attempt::Written(number) = self.attempt(partition, Request::OpenSession { partition }).await {
                self.sessions.insert(partition, Session { number, last_sequence: 0 });
            }
        }
        let session = self.sessions.get_mut(&partition)?;
        session.last_sequence += 1;
        let sequence = session.last_sequence;
        Some(SessionPrefix { session: session.number, sequence, oldest: sequence })
    }

    fn note(&self, key: u64, called: Duration, returned: Option<Duration>, action: Action) {
        self.record.history.push(key, Operation { client: self.number, called, returned, action });
    }

    fn key(key: u64) -> Vec<u8> {
        format!("key-{key}").into_bytes()
    }

    fn partition_of(&self, key: u64) -> u16 {
        self.map.partition_of(slot_of(&Self::key(key)).get()).0
    }

    /// Asks once, whoever is thought to lead.
    async fn attempt(&mut self, partition: u16, request: Request) -> Attempt {
        let known = self.leaders.get(&partition).copied();
        let node = match known {
            // Even who is known may be gone without a word.
            Some(node) if self.random.below(10) > 0 => node,
            _ => 1 + self.random.below(self.manner.nodes),
        };
        let attempt = self.ask(node, request).await;
        match attempt {
            Attempt::Found(_) | Attempt::Written(_) => drop(self.leaders.insert(partition, node)),
            Attempt::Safe(Some(leader)) => drop(self.leaders.insert(partition, leader)),
            Attempt::Safe(None) | Attempt::Unknown => {
                self.leaders.remove(&partition);
                let pause = Duration::from_millis(5 + self.random.below(40));
                self.simulation.sleep(pause).await;
            }
            Attempt::SessionExpired => {}
        }
        attempt
    }

    async fn ask(&mut self, node: u64, request: Request) -> Attempt {
        let simulation = self.simulation.clone();
        let mut connection = match self.connections.remove(&node) {
            Some(connection) => connection,
            None => {
                let patience = simulation.sleep(ANSWER_PATIENCE);
                let connected = first(self.connect(node), patience).await.flatten();
                let Some(connection) = connected else { return Attempt::Safe(None) };
                connection
            }
        };
        let is_read = matches!(request, Request::Get { .. });
        connection.last_id += 1;
        let head = RequestHead {
            request_id: RequestId(connection.last_id),
            map_epoch: MapEpoch(1),
            deadline_ms: u32::try_from(ANSWER_PATIENCE.as_millis()).expect("short"),
        };
        let mut out = Vec::new();
        self.encode(request, head, &mut out);
        if !connection.endpoint.send(out) {
            return Attempt::Safe(None);
        }
        let answered = first(connection.answer(), simulation.sleep(ANSWER_PATIENCE)).await;
        match answered {
            // A connection that is silent is given up: its late answers must not be taken for others.
            None | Some(None) if is_read => Attempt::Safe(None),
            None | Some(None) => Attempt::Unknown,
            Some(Some(attempt)) => {
                if matches!(attempt, Attempt::Safe(_)) {
                    self.counts.borrow_mut().not_leader += 1;
                }
                self.connections.insert(node, connection);
                if is_read && matches!(attempt, Attempt::Unknown) { Attempt::Safe(None) } else { attempt }
            }
        }
    }

    fn encode(&self, request: Request, head: RequestHead, out: &mut Vec<u8>) {
        match request {
            Request::Get { key } => {
                let key = Self::key(key);
                GetRequest { slot: slot_of(&key), key: &key, level: ReadLevel::Linearizable }.encode(head, out);
            }
            Request::Put { key, value, durability, session } => {
                let key = Self::key(key);
                let mut bytes = value.to_le_bytes().to_vec();
                bytes.resize(self.manner.value_bytes.max(8), 0);
                let request =
                    PutRequest { slot: slot_of(&key), key: &key, value: Value::new(&bytes), ttl_ms: 0, durability };
                match session {
                    Some(session) => request.encode_in_session(session, head, out),
                    None => request.encode(head, out),
                }
            }
            Request::Delete { key, session } => {
                let key = Self::key(key);
                let request = DeleteRequest { slot: slot_of(&key), key: &key, durability: Durability::Synced };
                match session {
                    Some(session) => request.encode_in_session(session, head, out),
                    None => request.encode(head, out),
                }
            }
            Request::OpenSession { partition } => {
                SessionOpen { partition: PartitionId(partition), ttl_ms: SESSION_TTL_MS }.encode(head, out);
            }
        }
    }

    async fn connect(&mut self, node: u64) -> Option<Connection> {
        let endpoint = self.network.connect(Place::Client(self.number), Place::Node(node)).await?;
        let config = ClientConfig {
            versions: VersionRange::CURRENT,
            features: Features::SESSIONS,
            client_name: "simulated".to_owned(),
            credentials: None,
        };
        let reader = FrameReader::with_read_size(BODY_SIZE_BYTES_MAX, 64 * 1024);
        let mut connection = Connection { endpoint, reader, last_id: 10 };
        let (mut tables, mut out) = (TableBuilder::new(), Vec::new());
        let mut handshake = ClientHandshake::begin(&config, Nonce([7; 32]), &mut tables, &mut out);
        loop {
            if !out.is_empty() {
                connection.endpoint.send(std::mem::take(&mut out));
            }
            connection.receive().await?;
            while let Some(frame) = connection.reader.next_frame().ok()? {
                if handshake.on_frame(&frame, &config, &mut tables, &mut out).ok()?.is_some() {
                    return Some(connection);
                }
            }
        }
    }
}

impl Connection {
    async fn receive(&mut self) -> Option<()> {
        let bytes = self.endpoint.receive(64 * 1024).await?;
        self.reader.push(&bytes);
        Some(())
    }

    /// The answer to the last request; `None` if the connection breaks.
    async fn answer(&mut self) -> Option<Attempt> {
        loop {
            while let Some(frame) = self.reader.next_frame().ok()? {
                let (id, attempt) = match frame.inbound().ok()? {
                    Inbound::Reply(id, Opcode::Get) => match GetReply::decode(&frame).ok()? {
                        GetReply::Absent => (id, Attempt::Found(None)),
                        GetReply::Found(found) => {
                            assert!(found.value.verify().is_ok(), "a value is its writer's");
                            let number = found.value.bytes.first_chunk::<8>().expect("values have eight bytes");
                            (id, Attempt::Found(Some(u64::from_le_bytes(*number))))
                        }
                    },
                    Inbound::Reply(id, opcode) => {
                        (id, Attempt::Written(WriteReply::decode(&frame, opcode).ok()?.revision.0))
                    }
                    Inbound::Error(id) => (id, refusal(&ErrorReply::decode(&frame).ok()?)),
                    Inbound::GoAway => continue,
                    Inbound::ConnectionError => return None,
                };
                if id.0 == self.last_id {
                    return Some(attempt);
                }
            }
            self.receive().await?;
        }
    }
}

fn refusal(error: &ErrorReply<'_>) -> Attempt {
    use corelode_net::ErrorCode;
    match error.error_code() {
        Some(ErrorCode::SessionExpired) => Attempt::SessionExpired,
        Some(code) if code.retry_class() == RetryClass::Safe => {
            Attempt::Safe(error.leader.as_ref().map(|leader| leader.node_id.0))
        }
        _ => Attempt::Unknown,
    }
}
