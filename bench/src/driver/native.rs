//! Corelode's own protocol: a connection to each core, and each key sent to the core that owns it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use corelode_net::body::{Durability, GetReply, GetRequest, PutRequest, ReadLevel, ScanPage, Value};
use corelode_net::handshake::{ClientConfig, ClientHandshake, Features, Nonce, VersionRange};
use corelode_net::limits::{BODY_SIZE_BYTES_MAX, HANDSHAKE_BODY_SIZE_BYTES_MAX};
use corelode_net::table::{
    Bind, ErrorReply, Histograms, HistogramsRequest, ScanRequest, TableBuilder, Topology, encode_topology_request,
};
use corelode_net::{
    CoreIndex, ErrorCode, Frame, FrameReader, Inbound, MapEpoch, Opcode, PartitionId, RequestHead, RequestId, slot_of,
};

use super::{Answer, Broken, Outcome, Request, Session, Store, Ticket};
use crate::report::histogram::Latencies;
use crate::report::model::{CoreStages, OperationKind, ServerStages, Target};

const PATIENCE: Duration = Duration::from_secs(5);
/// Bits of a request id that name the part of a request that went to several partitions.
const TICKET_BITS: u32 = 32;

/// A Corelode server.
pub struct NativeStore {
    address: SocketAddr,
    server: String,
    durability: Durability,
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
    /// Asks the server at `address` who owns what. Writes will be acknowledged as `durability` says.
    ///
    /// # Errors
    /// The server cannot be reached, or is none of Corelode's.
    pub fn find(address: SocketAddr, durability: Durability) -> Result<Self, Broken> {
        let mut conversation = Conversation::open(address)?;
        let map = conversation
            .ask(encode_topology_request, |frame| Map::of(&Topology::decode(frame).map_err(Broken::new)?))?;
        Ok(Self { address, server: conversation.connection.server, durability, map: Arc::new(map) })
    }
}

/// Questions and answers one after the other, before the load and after it.
struct Conversation {
    address: SocketAddr,
    socket: TcpStream,
    connection: Connection,
}

impl Conversation {
    fn open(address: SocketAddr) -> Result<Self, Broken> {
        let fail = |error: std::io::Error| Broken::new(format!("{address}: {error}"));
        let socket = TcpStream::connect_timeout(&address, PATIENCE).map_err(fail)?;
        socket.set_read_timeout(Some(PATIENCE)).map_err(fail)?;
        let mut conversation = Self { address, socket, connection: Connection::new(None)? };
        while !conversation.connection.is_ready() {
            conversation.exchange()?;
            conversation.connection.take_frames(|_| Err(Broken::new("an answer that nobody asked for")))?;
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

    fn stages(&self) -> Result<Option<ServerStages>, Broken> {
        let mut conversation = Conversation::open(self.address)?;
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
        let connection = |core| Connection::new(Some(CoreIndex(core))).expect("the kernel has random bytes");
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
    /// By ticket: the partitions whose pages a scan still waits for, and its failure if one failed.
    scans: Vec<(u32, Option<String>)>,
    tables: TableBuilder,
}

impl Session for NativeSession {
    fn is_ready(&self) -> bool {
        self.connections.iter().all(Connection::is_ready)
    }

    fn outbound(&mut self, connection: usize) -> &mut Vec<u8> {
        &mut self.connections[connection].outbound
    }

    fn submit(&mut self, ticket: Ticket, request: Request<'_>) {
        let head = RequestHead { request_id: id_of(ticket), map_epoch: self.map.epoch, deadline_ms: 0 };
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
                let ticket = ticket.0 as usize;
                if self.scans.len() <= ticket {
                    self.scans.resize(ticket + 1, (0, None));
                }
                self.scans[ticket] = (u32::try_from(self.map.partitions.len()).expect("16 bits"), None);
                for &(partition, core) in &self.map.partitions {
                    let page = ScanRequest { start, row_limit: rows, ..ScanRequest::all(partition) };
                    page.encode(head, &mut self.tables, &mut self.connections[usize::from(core)].outbound);
                }
            }
        }
    }

    fn receive(&mut self, connection: usize, bytes: &[u8], answers: &mut Vec<Answer>) -> Result<(), Broken> {
        let Self { connections, scans, .. } = self;
        let connection = &mut connections[connection];
        connection.reader.push(bytes);
        connection.take_frames(|frame| {
            let (ticket, mut outcome) = answer_of(frame)?;
            if frame.header.fields.opcode == Opcode::Scan.to_wire() {
                let (missing, failure) = &mut scans[ticket.0 as usize];
                *missing -= 1;
                if let Outcome::Failed(reason) = outcome {
                    *failure = Some(reason);
                }
                if *missing > 0 {
                    return Ok(());
                }
                outcome = failure.take().map_or(Outcome::Done, Outcome::Failed);
            }
            answers.push(Answer { ticket, outcome });
            Ok(())
        })
    }
}

fn id_of(ticket: Ticket) -> RequestId {
    RequestId((1 << TICKET_BITS) | u64::from(ticket.0))
}

fn answer_of(frame: &Frame<'_>) -> Result<(Ticket, Outcome), Broken> {
    let ticket = |id: RequestId| Ticket(u32::try_from(id.0 & u64::from(u32::MAX)).expect("32 bits"));
    match frame.inbound().map_err(Broken::new)? {
        Inbound::Reply(id, Opcode::Get) => {
            let outcome = match GetReply::decode(frame).map_err(Broken::new)? {
                GetReply::Absent => Outcome::Absent,
                GetReply::Found(_) => Outcome::Done,
            };
            Ok((ticket(id), outcome))
        }
        Inbound::Reply(id, Opcode::Scan) => {
            ScanPage::decode(frame).map_err(Broken::new)?;
            Ok((ticket(id), Outcome::Done))
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

enum Stage {
    Handshake(Box<ClientHandshake>),
    Binding,
    Ready,
}

struct Connection {
    stage: Stage,
    config: ClientConfig,
    core: Option<CoreIndex>,
    reader: FrameReader,
    outbound: Vec<u8>,
    tables: TableBuilder,
    server: String,
}

impl Connection {
    fn new(core: Option<CoreIndex>) -> Result<Self, Broken> {
        let config = ClientConfig {
            versions: VersionRange::CURRENT,
            features: Features::NONE,
            client_name: concat!("corelode-bench/", env!("CARGO_PKG_VERSION")).to_owned(),
            credentials: None,
        };
        let mut nonce = [0; 32];
        getrandom::fill(&mut nonce).map_err(Broken::new)?;
        let (mut tables, mut outbound) = (TableBuilder::new(), Vec::new());
        let handshake = ClientHandshake::begin(&config, Nonce(nonce), &mut tables, &mut outbound);
        Ok(Self {
            stage: Stage::Handshake(Box::new(handshake)),
            config,
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
                    let connected = handshake.on_frame(&frame, config, tables, outbound).map_err(Broken::new)?;
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
