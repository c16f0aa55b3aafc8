//! Corelode's own protocol: a connection to each core, and each key sent to the core that owns it.

mod scan;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use corelode_net::body::{Durability, GetReply, GetRequest, PutRequest, ReadLevel, ScanPage, Value};
use corelode_net::handshake::{
    ClientConfig, ClientHandshake, Credentials, Features, HandshakeError, Nonce, Secret, VersionRange,
};
use corelode_net::limits::{BODY_SIZE_BYTES_MAX, HANDSHAKE_BODY_SIZE_BYTES_MAX, KEY_LENGTH_MAX, VALUE_LENGTH_MAX};
use corelode_net::table::{
    Bind, ErrorReply, Histograms, HistogramsRequest, ScanRelease, TableBuilder, Topology, encode_topology_request,
};
use corelode_net::{
    CoreIndex, ErrorCode, Frame, FrameReader, Inbound, MapEpoch, Opcode, PartitionId, RequestHead, RequestId, Role,
    slot_of,
};

use scan::{Next, Scan};

use super::{Answer, Broken, Outcome, Request, Session, Store, Ticket};
use crate::report::histogram::Latencies;
use crate::report::model::{CoreStages, OperationKind, ServerStages, Target};

const PATIENCE: Duration = Duration::from_secs(5);
/// Bits of a request id that are its ticket; above them stands which partition it asks, of a request that goes to all.
const TICKET_BITS: u32 = 32;

/// How a Corelode server is driven.
#[derive(Clone, Debug)]
pub struct NativeOptions {
    /// What is waited for before a write is acknowledged.
    pub durability: Durability,
    /// What the server shares with its clients, if it asks for that.
    pub secret: Option<Secret>,
}

/// A Corelode server.
pub struct NativeStore {
    address: SocketAddr,
    server: String,
    durability: Durability,
    handshake: Arc<ClientConfig>,
    map: Arc<Map>,
}

/// Who owns what.
struct Map {
    epoch: MapEpoch,
    /// By slot: the core's connection.
    cores: Vec<u16>,
    /// Each partition with its core's connection.
    partitions: Vec<(PartitionId, u16)>,
    core_count: u16,
}

impl NativeStore {
    /// Asks the server at `address` who owns what.
    ///
    /// # Errors
    /// The server cannot be reached, is none of Corelode's, or shares another secret.
    pub fn find(address: SocketAddr, options: &NativeOptions) -> Result<Self, Broken> {
        let credentials = options.secret.clone().map(|secret| Credentials { role: Role::Admin, secret });
        let handshake = Arc::new(ClientConfig {
            versions: VersionRange::CURRENT,
            features: Features::NONE,
            client_name: concat!("corelode-bench/", env!("CARGO_PKG_VERSION")).to_owned(),
            credentials,
        });
        let mut conversation = Conversation::open(address, &handshake)?;
        let map = conversation
            .ask(encode_topology_request, |frame| Map::of(&Topology::decode(frame).map_err(Broken::new)?))?;
        let (server, durability) = (conversation.connection.server, options.durability);
        Ok(Self { address, server, durability, handshake, map: Arc::new(map) })
    }
}

/// Questions and answers one after the other, before the load and after it.
struct Conversation {
    address: SocketAddr,
    socket: TcpStream,
    connection: Connection,
}

impl Conversation {
    fn open(address: SocketAddr, handshake: &Arc<ClientConfig>) -> Result<Self, Broken> {
        let fail = |error: std::io::Error| Broken::new(format!("{address}: {error}"));
        let socket = TcpStream::connect_timeout(&address, PATIENCE).map_err(fail)?;
        socket.set_read_timeout(Some(PATIENCE)).map_err(fail)?;
        let mut conversation = Self { address, socket, connection: Connection::new(None, handshake)? };
        while !conversation.connection.is_ready() {
            conversation.exchange()?;
            let taken = conversation.connection.take_frames(|_| Err(Broken::new("an answer that nobody asked for")));
            taken.map_err(|broken| Broken { reason: format!("{address}: {}", broken.reason), ..broken })?;
        }
        Ok(conversation)
    }

    fn ask<T>(
        &mut self,
        encode: impl FnOnce(RequestHead, &mut Vec<u8>),
        decode: impl Fn(&Frame<'_>) -> Result<T, Broken>,
    ) -> Result<T, Broken> {
        encode(
            RequestHead { request_id: RequestId(1), map_epoch: MapEpoch(0), deadline_ms: 0 },
            &mut self.connection.outbound,
        );
        let mut answer = None;
        while answer.is_none() {
            self.exchange()?;
            self.connection.take_frames(|frame| {
                match answer_of(frame)?.1 {
                    Outcome::Failed(reason) => return Err(Broken::new(format!("the server refuses: {reason}"))),
                    _ => answer = Some(decode(frame)?),
                }
                Ok(())
            })?;
        }
        Ok(answer.expect("looked at above"))
    }

    /// Sends what there is to say, and takes in what comes.
    fn exchange(&mut self) -> Result<(), Broken> {
        let address = self.address;
        let fail = |error: std::io::Error| Broken::new(format!("{address}: {error}"));
        self.socket.write_all(&self.connection.outbound).map_err(fail)?;
        self.connection.outbound.clear();
        let mut bytes = [0; 64 * 1024];
        let length = self.socket.read(&mut bytes).map_err(fail)?;
        if length == 0 {
            return Err(Broken::new(format!("{address}: the server closed the connection")));
        }
        self.connection.reader.push(&bytes[..length]);
        Ok(())
    }

    fn histograms(&mut self, core: u16, operation: &str) -> Result<Histograms, Broken> {
        let mut tables = TableBuilder::new();
        let request = HistogramsRequest { core: CoreIndex(core), operation };
        self.ask(
            |head, out| request.encode(head, &mut tables, out),
            |frame| Histograms::decode(frame).map_err(Broken::new),
        )
    }
}

impl Map {
    fn of(topology: &Topology) -> Result<Self, Broken> {
        let mut cores = Vec::new();
        for entry in &topology.partitions {
            cores.resize(usize::from(entry.last_slot.get()) + 1, entry.core.0);
        }
        Ok(Self {
            epoch: topology.map_epoch,
            cores,
            partitions: topology.partitions.iter().map(|entry| (entry.partition, entry.core.0)).collect(),
            core_count: u16::try_from(topology.cores.len()).map_err(|_| Broken::new("too many cores"))?,
        })
    }
}

impl Store for NativeStore {
    fn target(&self) -> Target {
        let durability = match self.durability {
            Durability::Synced => "each acknowledged write is synced to disk",
            Durability::Memory => "in memory: a restart can lose acknowledged writes",
        };
        let settings = [
            ("cores".to_owned(), self.map.core_count.to_string()),
            ("partitions".to_owned(), self.map.partitions.len().to_string()),
        ];
        Target {
            driver: "native".to_owned(),
            address: self.address.to_string(),
            server: format!("Corelode {}", self.server),
            durability: durability.to_owned(),
            pinned_to: String::new(),
            settings: settings.into(),
        }
    }

    fn endpoints(&self) -> Vec<SocketAddr> {
        vec![self.address; usize::from(self.map.core_count)]
    }

    fn supports(&self, _: OperationKind) -> bool {
        true
    }

    fn lengths_max(&self) -> Option<(usize, usize)> {
        Some((KEY_LENGTH_MAX, VALUE_LENGTH_MAX))
    }

    fn stages(&self) -> Result<Option<ServerStages>, Broken> {
        let mut conversation = Conversation::open(self.address, &self.handshake)?;
        let mut cores = Vec::new();
        for core in 0..self.map.core_count {
            let mut operations = BTreeMap::new();
            for operation in conversation.histograms(core, "")?.operations {
                let mut stages = BTreeMap::new();
                for stage in conversation.histograms(core, &operation)?.stages {
                    stages.insert(stage.stage, Latencies::from_v2(&stage.v2).map_err(Broken::new)?);
                }
                operations.insert(operation, stages);
            }
            cores.push(CoreStages { core, operations });
        }
        Ok(Some(ServerStages { cores }))
    }

    fn session(&self) -> Box<dyn Session> {
        let connection =
            |core| Connection::new(Some(CoreIndex(core)), &self.handshake).expect("the kernel has random bytes");
        Box::new(NativeSession {
            connections: (0..self.map.core_count).map(connection).collect(),
            durability: self.durability,
            map: Arc::clone(&self.map),
            scans: Vec::new(),
            tables: TableBuilder::new(),
        })
    }
}

struct NativeSession {
    connections: Vec<Connection>,
    durability: Durability,
    map: Arc<Map>,
    /// By ticket.
    scans: Vec<Scan>,
    tables: TableBuilder,
}

impl NativeSession {
    fn head(&self, ticket: Ticket, partition: usize) -> RequestHead {
        RequestHead { request_id: id_of(ticket, partition), map_epoch: self.map.epoch, deadline_ms: 0 }
    }

    /// Asks a partition for a page of the ticket's scan.
    fn ask_for_page(&mut self, ticket: Ticket, index: usize) {
        let head = self.head(ticket, index);
        let (partition, core) = self.map.partitions[index];
        let out = &mut self.connections[usize::from(core)].outbound;
        self.scans[ticket.0 as usize].request(index, partition).encode(head, &mut self.tables, out);
    }

    /// Does what the scan says; answers how it ended, if it did.
    fn go_on(&mut self, ticket: Ticket, next: Next) -> Option<Outcome> {
        match next {
            Next::Wait => None,
            Next::Ask(partitions) => {
                partitions.into_iter().for_each(|index| self.ask_for_page(ticket, index));
                None
            }
            Next::End(outcome) => {
                let Self { connections, scans, tables, map, .. } = self;
                for (index, snapshot) in scans[ticket.0 as usize].take_snapshots() {
                    let (partition, core) = map.partitions[index];
                    let request_id = id_of(ticket, index);
                    let head = RequestHead { request_id, map_epoch: map.epoch, deadline_ms: 0 };
                    let out = &mut connections[usize::from(core)].outbound;
                    ScanRelease { partition, snapshot }.encode(head, tables, out);
                }
                Some(outcome)
            }
        }
    }
}

impl Session for NativeSession {
    fn is_ready(&self) -> bool {
        self.connections.iter().all(Connection::is_ready)
    }

    fn outbound(&mut self, connection: usize) -> &mut Vec<u8> {
        &mut self.connections[connection].outbound
    }

    fn submit(&mut self, ticket: Ticket, request: Request<'_>) {
        let head = self.head(ticket, 0);
        match request {
            Request::Read { key } => {
                let slot = slot_of(key);
                let out = &mut self.connections[usize::from(self.map.cores[usize::from(slot.get())])].outbound;
                GetRequest { slot, key, level: ReadLevel::Linearizable }.encode(head, out);
            }
            Request::Write { key, value } => {
                let slot = slot_of(key);
                let out = &mut self.connections[usize::from(self.map.cores[usize::from(slot.get())])].outbound;
                let value = Value::new(value);
                PutRequest { slot, key, value, ttl_ms: 0, durability: self.durability }.encode(head, out);
            }
            // Keys are spread over all partitions: whoever reads in order asks each, and merges.
            Request::Scan { start, rows } => {
                let (number, partitions) = (ticket.0 as usize, self.map.partitions.len());
                if self.scans.len() <= number {
                    self.scans.resize_with(number + 1, Scan::default);
                }
                self.scans[number].begin(start, rows, partitions);
                (0..partitions).for_each(|index| self.ask_for_page(ticket, index));
            }
        }
    }

    fn receive(&mut self, connection: usize, bytes: &[u8], answers: &mut Vec<Answer>) -> Result<(), Broken> {
        let Self { connections, scans, .. } = self;
        let connection = &mut connections[connection];
        connection.reader.push(bytes);
        let mut steps = Vec::new();
        let taken = connection.take_frames(|frame| {
            let opcode = frame.header.fields.opcode;
            if opcode == Opcode::ScanRelease.to_wire() {
                // Nobody waits for it: a snapshot that is not released expires.
                return Ok(());
            }
            if opcode == Opcode::Scan.to_wire() {
                let (ticket, next) = page_came(scans, frame)?;
                if !matches!(next, Next::Wait) {
                    steps.push((ticket, next));
                }
                return Ok(());
            }
            let (ticket, outcome) = answer_of(frame)?;
            answers.push(Answer { ticket, outcome });
            Ok(())
        });
        for (ticket, next) in steps {
            answers.extend(self.go_on(ticket, next).map(|outcome| Answer { ticket, outcome }));
        }
        taken
    }
}

/// Hands a page, or what was said in its place, to its scan.
fn page_came(scans: &mut [Scan], frame: &Frame<'_>) -> Result<(Ticket, Next), Broken> {
    let (Inbound::Reply(id, _) | Inbound::Error(id)) = frame.inbound().map_err(Broken::new)? else {
        return Err(Broken::new("an answer to a scan that is none"));
    };
    let (ticket, index) = parts_of(id);
    let scan = scans.get_mut(ticket.0 as usize).filter(|scan| scan.is_asking(index));
    let scan = scan.ok_or_else(|| Broken::new("a page that nobody asked for"))?;
    let next = if let Inbound::Error(_) = frame.inbound().map_err(Broken::new)? {
        scan.take_refusal(index, ErrorReply::decode(frame).map_err(Broken::new)?.error_code())
    } else {
        scan.take_page(index, &ScanPage::decode(frame).map_err(Broken::new)?)
    };
    Ok((ticket, next))
}

fn id_of(ticket: Ticket, partition: usize) -> RequestId {
    // Zero is nobody's id.
    RequestId((partition as u64 + 1) << TICKET_BITS | u64::from(ticket.0))
}

fn parts_of(id: RequestId) -> (Ticket, usize) {
    let ticket = Ticket(u32::try_from(id.0 & u64::from(u32::MAX)).expect("32 bits"));
    (ticket, usize::try_from(id.0 >> TICKET_BITS).map_or(usize::MAX, |number| number.wrapping_sub(1)))
}

fn answer_of(frame: &Frame<'_>) -> Result<(Ticket, Outcome), Broken> {
    let ticket = |id: RequestId| parts_of(id).0;
    match frame.inbound().map_err(Broken::new)? {
        Inbound::Reply(id, Opcode::Get) => {
            let outcome = match GetReply::decode(frame).map_err(Broken::new)? {
                GetReply::Absent => Outcome::Absent,
                GetReply::Found(_) => Outcome::Done,
            };
            Ok((ticket(id), outcome))
        }
        Inbound::Reply(id, _) => Ok((ticket(id), Outcome::Done)),
        Inbound::Error(id) => {
            let error = ErrorReply::decode(frame).map_err(Broken::new)?;
            let name = error.error_code().map_or("unknown", ErrorCode::name);
            Ok((ticket(id), Outcome::Failed(name.to_owned())))
        }
        Inbound::ConnectionError => {
            let error = ErrorReply::decode(frame).map_err(Broken::new)?;
            Err(Broken::new(format!("the server ended the connection: {}", error.message)))
        }
        Inbound::GoAway => Err(Broken::new("the server is shutting down")),
    }
}

/// Why a handshake failed, and what to do about it.
fn refusal(error: HandshakeError) -> Broken {
    match error.code() {
        ErrorCode::AuthRequired | ErrorCode::AuthFailed => Broken::refused(format!("{error} (--secret-file FILE)")),
        _ => Broken::new(error),
    }
}

enum Stage {
    Handshake(Box<ClientHandshake>),
    Binding,
    Ready,
}

struct Connection {
    stage: Stage,
    config: Arc<ClientConfig>,
    core: Option<CoreIndex>,
    reader: FrameReader,
    outbound: Vec<u8>,
    tables: TableBuilder,
    server: String,
}

impl Connection {
    fn new(core: Option<CoreIndex>, config: &Arc<ClientConfig>) -> Result<Self, Broken> {
        let mut nonce = [0; 32];
        getrandom::fill(&mut nonce).map_err(Broken::new)?;
        let (mut tables, mut outbound) = (TableBuilder::new(), Vec::new());
        let handshake = ClientHandshake::begin(config, Nonce(nonce), &mut tables, &mut outbound);
        Ok(Self {
            stage: Stage::Handshake(Box::new(handshake)),
            config: Arc::clone(config),
            core,
            reader: FrameReader::with_read_size(HANDSHAKE_BODY_SIZE_BYTES_MAX, 64 * 1024),
            outbound,
            tables,
            server: String::new(),
        })
    }

    fn is_ready(&self) -> bool {
        matches!(self.stage, Stage::Ready)
    }

    /// Hands out the frames that have arrived whole, but those of handshake and BIND.
    fn take_frames(&mut self, mut take: impl FnMut(&Frame<'_>) -> Result<(), Broken>) -> Result<(), Broken> {
        let Self { stage, config, core, reader, outbound, tables, server } = self;
        while let Some(frame) = reader.next_frame().map_err(Broken::new)? {
            match stage {
                Stage::Handshake(handshake) => {
                    let connected = handshake.on_frame(&frame, config, tables, outbound).map_err(refusal)?;
                    let Some(connected) = connected else { continue };
                    reader.set_body_limit(BODY_SIZE_BYTES_MAX);
                    *server = connected.welcome.server_version;
                    *stage = match *core {
                        Some(core) if core != connected.welcome.core => {
                            let head = RequestHead {
                                request_id: RequestId(1),
                                map_epoch: connected.welcome.map_epoch,
                                deadline_ms: 0,
                            };
                            Bind { core }.encode(head, tables, outbound);
                            Stage::Binding
                        }
                        _ => Stage::Ready,
                    };
                }
                Stage::Binding => match answer_of(&frame)?.1 {
                    Outcome::Done => *stage = Stage::Ready,
                    other => return Err(Broken::new(format!("the server does not bind the connection: {other:?}"))),
                },
                Stage::Ready => take(&frame)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
