//! A client for tests: blocking, pipelined, straight on the wire crate, so that what it knows of a write's fate is what the bytes said.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use corelode_net::body::{
    BatchItem, BatchOperation, BatchReply, BatchResult, BatchWriter, DeleteRequest, Durability, GetReply, GetRequest,
    PutRequest, ReadLevel, SessionClose, SessionOpen, SessionPrefix, Value, WriteReply,
};
use corelode_net::handshake::{ClientConfig, ClientHandshake, Features, Nonce, VersionRange};
use corelode_net::limits::BODY_SIZE_BYTES_MAX;
use corelode_net::table::{Bind, ErrorReply, TableBuilder, encode_status_request, encode_topology_request};
use corelode_net::{CoreIndex, FrameReader, Inbound, MapEpoch, Opcode, PartitionId, RequestHead, RequestId, slot_of};

/// What became of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// A read found this value.
    Found(Vec<u8>),
    /// A read found nothing.
    Absent,
    /// A write was acknowledged, at this revision.
    Written(u64),
    /// The server refused; the code's name.
    Refused(String),
}

/// One connection, bound to one core.
pub struct WireClient {
    socket: TcpStream,
    reader: FrameReader,
    out: Vec<u8>,
    id_last: u64,
    arrived: VecDeque<(RequestId, Reply)>,
    /// The number of cores that the server has.
    pub core_count: u16,
}

impl WireClient {
    /// Connects, shakes hands, and binds to `core`.
    ///
    /// # Errors
    /// If the connection breaks.
    ///
    /// # Panics
    /// If the server breaks the protocol.
    pub fn connect(address: SocketAddr, core: u16) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_secs(30)))?;
        let config = ClientConfig {
            versions: VersionRange::CURRENT,
            features: Features::SESSIONS,
            client_name: "test".to_owned(),
            credentials: None,
        };
        let reader = FrameReader::with_read_size(BODY_SIZE_BYTES_MAX, 64 * 1024);
        let mut client = Self { socket, reader, out: Vec::new(), id_last: 1, arrived: VecDeque::new(), core_count: 0 };
        let mut tables = TableBuilder::new();
        let mut handshake = ClientHandshake::begin(&config, Nonce([7; 32]), &mut tables, &mut client.out);
        client.send()?;
        let connected = loop {
            if let Some(frame) = client.reader.next_frame().expect("frames are whole") {
                let done = handshake.on_frame(&frame, &config, &mut tables, &mut client.out).expect("a handshake");
                client.send()?;
                match done {
                    Some(connected) => break connected,
                    None => continue,
                }
            }
            client.receive()?;
        };
        client.core_count = connected.welcome.core_count;
        let head = client.head();
        Bind { core: CoreIndex(core) }.encode(head, &mut tables, &mut client.out);
        client.send()?;
        loop {
            if let Some(frame) = client.reader.next_frame().expect("frames are whole") {
                assert!(matches!(frame.inbound(), Ok(Inbound::Reply(_, Opcode::Bind))), "an answer to BIND");
                return Ok(client);
            }
            client.receive()?;
        }
    }

    fn head(&mut self) -> RequestHead {
        self.id_last += 1;
        RequestHead { request_id: RequestId(self.id_last), map_epoch: MapEpoch(1), deadline_ms: 0 }
    }

    /// Queues a PUT; [`send`](Self::send) sends what is queued.
    pub fn put(&mut self, key: &[u8], value: &[u8], ttl_ms: u64, durability: Durability) -> RequestId {
        let head = self.head();
        let slot = slot_of(key);
        PutRequest { slot, key, value: Value::new(value), ttl_ms, durability }.encode(head, &mut self.out);
        head.request_id
    }

    /// Queues a PUT with its place in a session.
    pub fn put_in_session(&mut self, session: SessionPrefix, key: &[u8], value: &[u8]) -> RequestId {
        let head = self.head();
        let (slot, durability) = (slot_of(key), Durability::Synced);
        let request = PutRequest { slot, key, value: Value::new(value), ttl_ms: 0, durability };
        request.encode_in_session(session, head, &mut self.out);
        head.request_id
    }

    /// Queues a SESSION_OPEN; the reply is [`Reply::Written`] with the session's number.
    pub fn open_session(&mut self, partition: u16, ttl_ms: u64) -> RequestId {
        let head = self.head();
        SessionOpen { partition: PartitionId(partition), ttl_ms }.encode(head, &mut self.out);
        head.request_id
    }

    /// Queues a SESSION_CLOSE.
    pub fn close_session(&mut self, partition: u16, session: u64) -> RequestId {
        let head = self.head();
        SessionClose { partition: PartitionId(partition), session }.encode(head, &mut self.out);
        head.request_id
    }

    /// Queues a DELETE.
    pub fn delete(&mut self, key: &[u8]) -> RequestId {
        let head = self.head();
        DeleteRequest { slot: slot_of(key), key, durability: Durability::Synced }.encode(head, &mut self.out);
        head.request_id
    }

    /// Queues a BATCH of keys with the values that they get; a key without one is deleted.
    ///
    /// # Panics
    /// If a frame does not hold them.
    pub fn write_batch<'a>(&mut self, writes: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>) -> RequestId {
        let head = self.head();
        let mut batch = BatchWriter::begin(&mut self.out, Durability::Synced, ReadLevel::Linearizable);
        for (key, value) in writes {
            let operation = match value {
                Some(value) => BatchOperation::Put { key, value: Value::new(value), ttl_ms: 0 },
                None => BatchOperation::Delete { key },
            };
            batch.push(&BatchItem { slot: slot_of(key), operation }).expect("tests' batches are small");
        }
        batch.finish(head);
        head.request_id
    }

    /// Queues a GET.
    pub fn get(&mut self, key: &[u8], level: ReadLevel) -> RequestId {
        let head = self.head();
        GetRequest { slot: slot_of(key), key, level }.encode(head, &mut self.out);
        head.request_id
    }

    /// Queues a STATUS.
    pub fn status(&mut self) -> RequestId {
        let head = self.head();
        encode_status_request(head, &mut self.out);
        head.request_id
    }

    /// Queues a TOPOLOGY.
    pub fn topology(&mut self) -> RequestId {
        let head = self.head();
        encode_topology_request(head, &mut self.out);
        head.request_id
    }

    /// Sends what is queued but its last byte, which stays queued.
    ///
    /// # Errors
    /// If the connection breaks.
    ///
    /// # Panics
    /// If nothing is queued.
    pub fn send_all_but_one(&mut self) -> io::Result<()> {
        let last = self.out.pop().expect("something is queued");
        self.send()?;
        self.out.push(last);
        Ok(())
    }

    /// Sends what is queued.
    ///
    /// # Errors
    /// If the connection breaks: what was queued may have arrived or not.
    pub fn send(&mut self) -> io::Result<()> {
        let outcome = self.socket.write_all(&self.out);
        self.out.clear();
        outcome
    }

    /// The next reply; waits for it.
    ///
    /// # Errors
    /// If the connection breaks.
    ///
    /// # Panics
    /// If the server breaks the protocol, or a value is not what its writer sent.
    pub fn next_reply(&mut self) -> io::Result<(RequestId, Reply)> {
        loop {
            if let Some(reply) = self.arrived.pop_front() {
                return Ok(reply);
            }
            while let Some(frame) = self.reader.next_frame().expect("frames are whole") {
                let reply = match frame.inbound().expect("a reply") {
                    Inbound::Reply(id, Opcode::Get) => match GetReply::decode(&frame).expect("a reply to GET") {
                        GetReply::Absent => (id, Reply::Absent),
                        GetReply::Found(found) => {
                            found.value.verify().expect("the value is its writer's");
                            (id, Reply::Found(found.value.bytes.to_vec()))
                        }
                    },
                    Inbound::Reply(id, Opcode::Batch) => {
                        (id, outcome_of(&BatchReply::decode(&frame).expect("a reply to BATCH")))
                    }
                    Inbound::Reply(id, opcode) => {
                        let written = WriteReply::decode(&frame, opcode).expect("a reply to a write");
                        (id, Reply::Written(written.revision.0))
                    }
                    Inbound::Error(id) => {
                        let error = ErrorReply::decode(&frame).expect("an error");
                        let name = error.error_code().map_or("unknown", corelode_net::ErrorCode::name);
                        (id, Reply::Refused(format!("{name}: {}", error.message)))
                    }
                    Inbound::GoAway => continue,
                    Inbound::ConnectionError => return Err(io::ErrorKind::ConnectionAborted.into()),
                };
                self.arrived.push_back(reply);
            }
            if self.arrived.is_empty() {
                self.receive()?;
            }
        }
    }

    /// Sends one request and waits for its reply.
    ///
    /// # Errors
    /// If the connection breaks.
    pub fn call(&mut self, queue: impl FnOnce(&mut Self) -> RequestId) -> io::Result<Reply> {
        let id = queue(self);
        self.send()?;
        loop {
            let (arrived, reply) = self.next_reply()?;
            if arrived == id {
                return Ok(reply);
            }
        }
    }

    fn receive(&mut self) -> io::Result<()> {
        let mut bytes = [0; 64 * 1024];
        let length = self.socket.read(&mut bytes)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.reader.push(&bytes[..length]);
        Ok(())
    }
}

/// What became of a batch of writes, which is taken or refused as a whole where its keys are of one partition.
fn outcome_of(reply: &BatchReply<'_>) -> Reply {
    let outcomes = reply.results().map(|result| match result {
        BatchResult::Written { revision } => Reply::Written(revision.0),
        BatchResult::Error { code, .. } => Reply::Refused(
            corelode_net::ErrorCode::from_wire(code).map_or("unknown", corelode_net::ErrorCode::name).to_owned(),
        ),
        BatchResult::Found(_) | BatchResult::Absent => panic!("a write was answered by {result:?}"),
    });
    let outcomes: Vec<_> = outcomes.collect();
    let is_written = |outcome: &&Reply| matches!(outcome, Reply::Written(_));
    let written = outcomes.iter().filter(is_written).count();
    assert!(written == 0 || written == outcomes.len(), "a batch was taken in part: {outcomes:?}");
    outcomes.into_iter().next_back().expect("a batch is not empty")
}
