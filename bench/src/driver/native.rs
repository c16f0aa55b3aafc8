//! Corelode's own protocol: a connection to each core of each node, and each key sent to the core that owns it of the node that leads.
//!
//! Who does not lead names the leader, and the [map](map::Map) that all sessions share is corrected. A node that is lost is done without: its connections
//! are down until they are made anew, and what goes there goes to the next node, which names the leader.

mod connection;
mod map;
mod scan;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use corelode_net::body::{Durability, GetReply, GetRequest, PutRequest, ReadLevel, ScanPage, Value};
use corelode_net::handshake::{ClientConfig, Credentials, Features, Secret, VersionRange};
use corelode_net::limits::{KEY_LENGTH_MAX, VALUE_LENGTH_MAX};
use corelode_net::table::{
    ErrorReply, Histograms, HistogramsRequest, ScanRelease, TableBuilder, Topology, encode_topology_request,
};
use corelode_net::{
    CoreIndex, ErrorCode, Frame, Inbound, MapEpoch, Opcode, RequestHead, RequestId, Role, Slot, slot_of,
};

use connection::Connection;
use map::Map;
use scan::{Next, Scan};

use super::{Answer, Broken, Outcome, PATIENCE, Request, Session, Store, Ticket, closed_error, conversation_error};
use crate::report::histogram::Latencies;
use crate::report::model::{CoreStages, OperationKind, ServerStages, Target};

/// What we take the store for.
const KIND: &str = "a Corelode server";
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

impl NativeStore {
    /// Asks the first of some nodes that answers who owns what.
    ///
    /// # Errors
    /// No node can be reached, or one is none of Corelode's or shares another secret.
    pub fn find(addresses: &[SocketAddr], options: &NativeOptions) -> Result<Self, Broken> {
        let mut reasons = Vec::new();
        for address in addresses {
            match Self::find_at(*address, options) {
                Err(broken) if !broken.is_refusal => reasons.push(broken.reason),
                outcome => return outcome,
            }
        }
        Err(Broken::new(reasons.join("; ")))
    }

    fn find_at(address: SocketAddr, options: &NativeOptions) -> Result<Self, Broken> {
        let credentials = options.secret.clone().map(|secret| Credentials { role: Role::Admin, secret });
        let handshake = Arc::new(ClientConfig {
            versions: VersionRange::CURRENT,
            features: Features::NONE,
            client_name: concat!("corelode-bench/", env!("CARGO_PKG_VERSION")).to_owned(),
            credentials,
        });
        let mut conversation = Conversation::open(address, &handshake)?;
        let map = conversation
            .ask(encode_topology_request, |frame| Map::of(&Topology::decode(frame).map_err(Broken::new)?, address))?;
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
        socket.set_write_timeout(Some(PATIENCE)).map_err(fail)?;
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
        let fail = |error: std::io::Error| conversation_error(address, KIND, &error);
        self.socket.write_all(&self.connection.outbound).map_err(fail)?;
        self.connection.outbound.clear();
        let mut bytes = [0; 64 * 1024];
        let length = self.socket.read(&mut bytes).map_err(fail)?;
        if length == 0 {
            return Err(closed_error(address, KIND));
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

impl Store for NativeStore {
    fn target(&self) -> Target {
        let durability = match self.durability {
            Durability::Synced => "each acknowledged write is synced to disk",
            Durability::Memory => "in memory: a restart can lose acknowledged writes",
        };
        let settings = [
            ("cores".to_owned(), self.map.core_count.to_string()),
            ("partitions".to_owned(), self.map.partitions.len().to_string()),
            ("nodes".to_owned(), self.map.nodes.len().to_string()),
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
        let cores = usize::from(self.map.core_count);
        self.map.nodes.iter().flat_map(|(_, address)| std::iter::repeat_n(*address, cores)).collect()
    }

    fn supports(&self, _: OperationKind) -> bool {
        true
    }

    fn lengths_max(&self) -> Option<(usize, usize)> {
        Some((KEY_LENGTH_MAX, VALUE_LENGTH_MAX))
    }

    fn stages(&self) -> Result<Option<ServerStages>, Broken> {
        let mut cores = Vec::new();
        // The cores of the second node are counted on from those of the first.
        for ((_, address), first) in self.map.nodes.iter().zip((0..).step_by(usize::from(self.map.core_count))) {
            let mut conversation = Conversation::open(*address, &self.handshake)?;
            for core in 0..self.map.core_count {
                let mut operations = BTreeMap::new();
                for operation in conversation.histograms(core, "")?.operations {
                    let mut stages = BTreeMap::new();
                    for stage in conversation.histograms(core, &operation)?.stages {
                        stages.insert(stage.stage, Latencies::from_v2(&stage.v2).map_err(Broken::new)?);
                    }
                    operations.insert(operation, stages);
                }
                cores.push(CoreStages { core: first + core, operations });
            }
        }
        Ok(Some(ServerStages { cores }))
    }

    fn session(&self) -> Box<dyn Session> {
        let connection =
            |core| Connection::new(Some(CoreIndex(core)), &self.handshake).expect("the kernel has random bytes");
        Box::new(NativeSession {
            connections: self.map.nodes.iter().flat_map(|_| (0..self.map.core_count).map(connection)).collect(),
            durability: self.durability,
            map: Arc::clone(&self.map),
            asked: Vec::new(),
            scans: Vec::new(),
            tables: TableBuilder::new(),
        })
    }
}

struct NativeSession {
    connections: Vec<Connection>,
    durability: Durability,
    map: Arc<Map>,
    /// By ticket: the connection that its request went to last.
    asked: Vec<u16>,
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
        let wanted = self.map.connection_of_index(index);
        // Of a store without any connection nobody ever gets the page.
        let connection = self.living(wanted).unwrap_or(wanted);
        let out = &mut self.connections[connection].outbound;
        let scan = &mut self.scans[ticket.0 as usize];
        scan.asked_at(index, connection);
        scan.request(index, self.map.partitions[index].partition).encode(head, &mut self.tables, out);
    }

    /// The connection, or one to the next node that is there.
    #[inline]
    fn living(&self, connection: usize) -> Option<usize> {
        if self.connections[connection].is_ready() { Some(connection) } else { self.another(connection) }
    }

    #[cold]
    fn another(&self, connection: usize) -> Option<usize> {
        let following = std::iter::successors(Some(connection), |connection| Some(self.map.next_node(*connection)));
        following.take(self.map.nodes.len()).find(|connection| self.connections[*connection].is_ready())
    }

    /// Where a request for a slot is written to.
    #[inline]
    fn outbound_for(&mut self, ticket: Ticket, slot: Slot) -> Option<&mut Vec<u8>> {
        let connection = self.living(self.map.connection_of(slot))?;
        let number = ticket.0 as usize;
        if self.asked.len() <= number {
            self.asked.resize(number + 1, 0);
        }
        self.asked[number] = u16::try_from(connection).expect("connections are few");
        Some(&mut self.connections[connection].outbound)
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
                    let connection = &mut connections[map.connection_of_index(index)];
                    if !connection.is_ready() {
                        continue;
                    }
                    let (partition, request_id) = (map.partitions[index].partition, id_of(ticket, index));
                    let head = RequestHead { request_id, map_epoch: map.epoch, deadline_ms: 0 };
                    let out = &mut connection.outbound;
                    ScanRelease { partition, snapshot }.encode(head, tables, out);
                }
                Some(outcome)
            }
        }
    }
}

impl Session for NativeSession {
    fn is_ready(&self) -> bool {
        let is_settled = |connection: &Connection| connection.is_ready() || connection.is_down();
        self.connections.iter().all(is_settled) && self.connections.iter().any(Connection::is_ready)
    }

    fn outbound(&mut self, connection: usize) -> &mut Vec<u8> {
        &mut self.connections[connection].outbound
    }

    fn submit(&mut self, ticket: Ticket, request: Request<'_>) -> bool {
        let head = self.head(ticket, 0);
        match request {
            Request::Read { key } => {
                let slot = slot_of(key);
                let Some(out) = self.outbound_for(ticket, slot) else { return false };
                GetRequest { slot, key, level: ReadLevel::Linearizable }.encode(head, out);
            }
            Request::Write { key, value } => {
                let (slot, durability) = (slot_of(key), self.durability);
                let Some(out) = self.outbound_for(ticket, slot) else { return false };
                let value = Value::new(value);
                PutRequest { slot, key, value, ttl_ms: 0, durability }.encode(head, out);
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
        true
    }

    fn receive(&mut self, connection: usize, bytes: &[u8], answers: &mut Vec<Answer>) -> Result<(), Broken> {
        let Self { connections, scans, map, .. } = self;
        let (number, connection) = (connection, &mut connections[connection]);
        connection.reader.push(bytes);
        let mut steps = Vec::new();
        let taken = connection.take_frames(|frame| {
            let opcode = frame.header.fields.opcode;
            if opcode == Opcode::ScanRelease.to_wire() {
                // Nobody waits for it: a snapshot that is not released expires.
                return Ok(());
            }
            if opcode == Opcode::Scan.to_wire() {
                let (ticket, next) = page_came(scans, map, number, frame)?;
                if !matches!(next, Next::Wait) {
                    steps.push((ticket, next));
                }
                return Ok(());
            }
            let (ticket, mut outcome) = answer_of(frame)?;
            if let Outcome::Elsewhere { .. } = outcome {
                outcome = elsewhere(map, number, frame)?;
            }
            answers.push(Answer { ticket, outcome });
            Ok(())
        });
        for (ticket, next) in steps {
            answers.extend(self.go_on(ticket, next).map(|outcome| Answer { ticket, outcome }));
        }
        taken
    }

    fn lose(&mut self, connection: usize, answers: &mut Vec<Answer>) -> bool {
        if self.map.nodes.len() == 1 {
            return false;
        }
        self.connections[connection].lose();
        let number = u16::try_from(connection).expect("connections are few");
        let tickets = (0..).map(Ticket).zip(&self.asked).filter(|(_, asked)| **asked == number);
        answers.extend(tickets.map(|(ticket, _)| Answer { ticket, outcome: Outcome::Lost }));
        for (ticket, number) in
            (0..self.scans.len()).map(|number| (Ticket(u32::try_from(number).expect("tickets")), number))
        {
            while let Some(next) = self.scans[number].lose_page_of(connection) {
                answers.extend(self.go_on(ticket, next).map(|outcome| Answer { ticket, outcome }));
            }
        }
        true
    }

    fn reconnect(&mut self, connection: usize) {
        self.connections[connection] = self.connections[connection].anew().expect("the kernel has random bytes");
    }
}

/// What becomes of a request that a node refuses since another has to do it.
fn elsewhere(map: &Map, connection: usize, frame: &Frame<'_>) -> Result<Outcome, Broken> {
    if map.nodes.len() == 1 {
        let code = ErrorReply::decode(frame).map_err(Broken::new)?.error_code();
        return Ok(Outcome::Failed(code.map_or("unknown", ErrorCode::name).to_owned()));
    }
    let index = map.index_of_slot(usize::from(frame.header.fields.target));
    Ok(Outcome::Elsewhere { is_known: follow(map, index, connection, frame)? })
}

/// Takes note of the leader that an error names; answers whether it is another node that the map knows.
fn follow(map: &Map, index: Option<usize>, connection: usize, frame: &Frame<'_>) -> Result<bool, Broken> {
    let leader = ErrorReply::decode(frame).map_err(Broken::new)?.leader.map(|leader| leader.node_id);
    Ok(index.is_some_and(|index| map.follow(index, connection, leader)))
}

/// Hands a page, or what was said in its place, to its scan.
fn page_came(scans: &mut [Scan], map: &Map, connection: usize, frame: &Frame<'_>) -> Result<(Ticket, Next), Broken> {
    let (Inbound::Reply(id, _) | Inbound::Error(id)) = frame.inbound().map_err(Broken::new)? else {
        return Err(Broken::new("an answer to a scan that is none"));
    };
    let (ticket, index) = parts_of(id);
    let scan = scans.get_mut(ticket.0 as usize).filter(|scan| scan.is_asking(index));
    let scan = scan.ok_or_else(|| Broken::new("a page that nobody asked for"))?;
    let next = if let Inbound::Error(_) = frame.inbound().map_err(Broken::new)? {
        let code = ErrorReply::decode(frame).map_err(Broken::new)?.error_code();
        match code {
            Some(ErrorCode::NotLeader) if follow(map, Some(index), connection, frame)? => Next::Ask(vec![index]),
            _ => scan.take_refusal(index, code),
        }
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
            let outcome = match error.error_code() {
                Some(ErrorCode::NotLeader | ErrorCode::ShuttingDown) => Outcome::Elsewhere { is_known: false },
                code => Outcome::Failed(code.map_or("unknown", ErrorCode::name).to_owned()),
            };
            Ok((ticket(id), outcome))
        }
        Inbound::ConnectionError => {
            let error = ErrorReply::decode(frame).map_err(Broken::new)?;
            Err(Broken::new(format!("the server ended the connection: {}", error.message)))
        }
        Inbound::GoAway => Err(Broken::new("the server is shutting down")),
    }
}

#[cfg(test)]
mod tests;
