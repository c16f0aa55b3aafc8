//! A server that does what a test's script says, right or wrong. It speaks through the codecs of `net`, so that a script only names what
//! is special about it, and it runs on a thread of its own.
//!
//! A script waits for what the client does and never for time to pass; what never comes ends the test after [`PATIENCE`].

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use corelode_client::{Options, Topology};
use corelode_net::body::{
    DeleteRequest, Durability, Found, GetReply, GetRequest, PutRequest, ReadLevel, SessionClose, SessionPrefix, Value,
    WriteReply,
};
use corelode_net::handshake::{Features, Nonce, Secrets, ServerConfig, ServerHandshake, VersionRange};
use corelode_net::limits::BODY_SIZE_BYTES_MAX;
use corelode_net::table::{
    Bind, BindReply, CoreEntry, ErrorReply, GoAway, Limits, PartitionEntry, TableBuilder, encode_empty_reply,
};
use corelode_net::{
    ClusterId, CoreIndex, ErrorCode, Flags, FrameHeader, FrameReader, MapEpoch, NodeId, Opcode, PartitionId, ReplyHead,
    RequestHead, RequestId, RetryClass, Revision, SLOT_COUNT, Slot, slot_of,
};

/// How long a test waits for what must come. Far longer than anything takes, so that a slow machine fails no test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How long a script looks for what must *not* come. Too short a look misses a fault, and never invents one.
const LOOK: Duration = Duration::from_millis(100);

/// A running script.
pub(crate) struct Running {
    address: SocketAddr,
    script: JoinHandle<()>,
}

impl Running {
    /// Options of a client that knows the server.
    pub(crate) fn options(&self) -> Options {
        Options::from_addresses(vec![self.address.to_string()]).with_timeout(PATIENCE)
    }

    /// Waits until the script is through.
    ///
    /// # Panics
    /// If the script panicked.
    pub(crate) async fn finish(self) {
        let joined = tokio::task::spawn_blocking(|| self.script.join()).await.unwrap();
        if let Err(panic) = joined {
            std::panic::resume_unwind(panic);
        }
    }
}

/// What a script works with.
pub(crate) struct FakeServer {
    listener: TcpListener,
    pub(crate) limits: Limits,
    pub(crate) versions: VersionRange,
    /// None unless a script says otherwise.
    pub(crate) features: Features,
    pub(crate) cluster: ClusterId,
    node_id: NodeId,
}

impl FakeServer {
    /// Runs `script` behind a port of its own.
    pub(crate) fn run(script: impl FnOnce(&mut FakeServer) + Send + 'static) -> Running {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let mut server = Self::behind(listener, NodeId(1));
        Running { address, script: std::thread::spawn(move || script(&mut server)) }
    }

    /// A node behind a port.
    pub(crate) fn behind(listener: TcpListener, node_id: NodeId) -> Self {
        let (limits, versions) = (Limits::default(), VersionRange::CURRENT);
        Self { listener, limits, versions, features: Features::NONE, cluster: ClusterId([1; 16]), node_id }
    }

    /// The client's next connection, with nothing said yet.
    pub(crate) fn accept(&self) -> Peer {
        let (socket, _) = self.listener.accept().unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let reader = FrameReader::new(BODY_SIZE_BYTES_MAX);
        Peer { socket, reader, tables: TableBuilder::new(), out: Vec::new(), map_epoch: MapEpoch(1) }
    }

    /// The client's next connection after its handshake, which core 0 has.
    pub(crate) fn accept_ready(&self) -> Peer {
        let mut peer = self.accept();
        assert!(peer.shake_hands(self), "the handshake succeeds");
        peer
    }

    /// The client's next connection after its handshake and its BIND to `core`.
    pub(crate) fn accept_bound(&self, core: u16) -> Peer {
        let mut peer = self.accept_ready();
        let bind = peer.request();
        assert_eq!((bind.opcode, bind.core), (Opcode::Bind, Some(CoreIndex(core))));
        BindReply { core: CoreIndex(core) }.encode(bind.head, &mut peer.tables, &mut peer.out);
        peer.send();
        peer
    }

    /// The connection to core 0 of a new client. The one before it, on which the client asks for the topology, is answered by a thread
    /// of its own as long as it lives: core 0 has everything.
    pub(crate) fn accept_client(&self) -> Peer {
        let mut control = self.accept_ready();
        control.expect_topology_request(1, 0);
        std::thread::spawn(move || control.answer_topology_until_closed());
        self.accept_ready()
    }
}

/// A request as the server got it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) head: ReplyHead,
    pub(crate) deadline_ms: u32,
    pub(crate) opcode: Opcode,
    /// The key of a GET, PUT or DELETE.
    pub(crate) key: Vec<u8>,
    /// The core of a BIND.
    pub(crate) core: Option<CoreIndex>,
    /// The stamp of a PUT or DELETE.
    pub(crate) stamp: Option<SessionPrefix>,
    /// The session of a SESSION_CLOSE.
    pub(crate) session: Option<u64>,
}

/// The server's end of a connection. Answers gather in `out` until [`send`](Self::send).
pub(crate) struct Peer {
    socket: TcpStream,
    reader: FrameReader,
    tables: TableBuilder,
    pub(crate) out: Vec<u8>,
    /// What replies name as the map's epoch.
    pub(crate) map_epoch: MapEpoch,
}

impl Peer {
    /// Answers the handshake; tells whether it succeeded.
    pub(crate) fn shake_hands(&mut self, server: &FakeServer) -> bool {
        let config = ServerConfig {
            versions: server.versions,
            features: server.features,
            server_version: "fake".to_owned(),
            cluster_id: server.cluster,
            node_id: server.node_id,
            core: CoreIndex(0),
            core_count: 2,
            map_epoch: self.map_epoch,
            limits: server.limits,
            secrets: Secrets::default(),
        };
        let mut handshake = ServerHandshake::new(Nonce([9; 32]));
        while self.reader.pending_bytes() == 0 {
            assert!(self.receive(), "a HELLO comes");
        }
        let frame = self.reader.next_frame().unwrap().expect("a HELLO is sent at once");
        let outcome = handshake.on_frame(&frame, &config, &mut self.tables, &mut self.out);
        self.send();
        outcome.is_ok_and(|accepted| accepted.is_some())
    }

    /// The next request.
    pub(crate) fn request(&mut self) -> Request {
        loop {
            if let Some(request) = self.arrived() {
                return request;
            }
            assert!(self.receive(), "a request comes, not the end of the connection");
        }
    }

    /// The next request; `None` at the end of the connection.
    pub(crate) fn request_or_close(&mut self) -> Option<Request> {
        self.socket.set_read_timeout(None).unwrap();
        loop {
            if let Some(request) = self.arrived() {
                return Some(request);
            }
            if !self.receive() {
                return None;
            }
        }
    }

    /// The next request, which is this operation on this key.
    pub(crate) fn expect(&mut self, opcode: Opcode, key: &[u8]) -> Request {
        let request = self.request();
        assert_eq!((request.opcode, request.key.as_slice()), (opcode, key));
        request
    }

    /// The next request, which is a PUT of this key with a stamp: session, sequence, oldest.
    pub(crate) fn expect_stamped(&mut self, key: &[u8], stamp: (u64, u64, u64)) -> Request {
        let request = self.expect(Opcode::Put, key);
        let (session, sequence, oldest) = stamp;
        assert_eq!(request.stamp, Some(SessionPrefix { session, sequence, oldest }));
        request
    }

    /// Answers the next request, which opens a session: it has this number.
    pub(crate) fn expect_open(&mut self, session: u64) {
        let request = self.expect(Opcode::SessionOpen, b"");
        self.written(&request, session).send();
    }

    /// Answers the next request, which asks for the topology: `owner` has everything.
    pub(crate) fn expect_topology_request(&mut self, map_epoch: u32, owner: u16) {
        let request = self.expect(Opcode::Topology, b"");
        self.map_epoch = MapEpoch(map_epoch);
        self.topology(&request, owner).send();
    }

    fn answer_topology_until_closed(mut self) {
        loop {
            while let Some(request) = self.arrived() {
                self.topology(&request, 0).send();
            }
            if !self.receive() {
                return;
            }
        }
    }

    /// Sees to it that the client asks for nothing more for now.
    pub(crate) fn expect_silence(&mut self) {
        self.socket.set_read_timeout(Some(LOOK)).unwrap();
        while self.receive() {}
        self.socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = self.arrived();
        assert!(request.is_none(), "no request was due, but {request:?} came");
    }

    /// Waits until the client closes the connection, without another request.
    pub(crate) fn expect_close(mut self) {
        while self.receive() {}
        let request = self.arrived();
        assert!(request.is_none(), "no request was due, but {request:?} came");
    }

    /// As [`expect_close`](Self::expect_close), of a client that got no answer to its HELLO.
    pub(crate) fn expect_hello_only(mut self) {
        assert_eq!(self.request().opcode, Opcode::Hello);
        self.expect_close();
    }

    pub(crate) fn found(&mut self, request: &Request, value: &[u8]) -> &mut Self {
        let found = Found { revision: Revision(7), deadline_ms: 0, value: Value::new(value) };
        GetReply::Found(found).encode(self.head(request), &mut self.out);
        self
    }

    /// As [`found`](Self::found), with a checksum that is not the value's.
    pub(crate) fn found_damaged(&mut self, request: &Request, value: &[u8]) -> &mut Self {
        let value = Value { bytes: value, crc: !Value::new(value).crc };
        let found = Found { revision: Revision(7), deadline_ms: 0, value };
        GetReply::Found(found).encode(self.head(request), &mut self.out);
        self
    }

    pub(crate) fn written(&mut self, request: &Request, revision: u64) -> &mut Self {
        let reply = WriteReply { revision: Revision(revision), durability: Durability::Synced };
        reply.encode(self.head(request), &mut self.out);
        self
    }

    pub(crate) fn empty(&mut self, request: &Request) -> &mut Self {
        encode_empty_reply(self.head(request), &mut self.out);
        self
    }

    pub(crate) fn topology(&mut self, request: &Request, owner: u16) -> &mut Self {
        let everything = PartitionEntry {
            partition: PartitionId(0),
            first_slot: slot(0),
            last_slot: slot(SLOT_COUNT - 1),
            core: CoreIndex(owner),
            log: 0,
            replicas: Vec::new(),
            leader: None,
        };
        let topology = Topology {
            cluster_id: ClusterId([1; 16]),
            node_id: NodeId(1),
            map_epoch: self.map_epoch,
            partitions: vec![everything],
            cores: (0..2).map(|core| CoreEntry { core: CoreIndex(core), port: None }).collect(),
            nodes: Vec::new(),
        };
        topology.encode(self.head(request), &mut self.tables, &mut self.out);
        self
    }

    /// Answers with a map of the caller's.
    pub(crate) fn send_topology(&mut self, request: &Request, topology: &Topology) {
        topology.encode(self.head(request), &mut self.tables, &mut self.out);
        self.send();
    }

    /// Refuses with a code and its own retry class.
    pub(crate) fn refuse(&mut self, request: &Request, code: ErrorCode) -> &mut Self {
        self.refuse_as(request, code, code.retry_class())
    }

    /// Refuses with a code and a retry class that this case has.
    pub(crate) fn refuse_as(&mut self, request: &Request, code: ErrorCode, retry: RetryClass) -> &mut Self {
        self.refuse_with(request, &ErrorReply { retry, ..ErrorReply::new(code) })
    }

    /// Refuses with an error of the caller's.
    pub(crate) fn refuse_with(&mut self, request: &Request, error: &ErrorReply<'_>) -> &mut Self {
        error.encode(self.head(request), &mut self.tables, &mut self.out);
        self
    }

    pub(crate) fn go_away(&mut self, grace: Duration) -> &mut Self {
        let grace_ms = u32::try_from(grace.as_millis()).unwrap();
        GoAway::shutting_down(grace_ms).encode(self.map_epoch, &mut self.tables, &mut self.out);
        self
    }

    pub(crate) fn connection_error(&mut self, code: ErrorCode) -> &mut Self {
        ErrorReply::new(code).encode_for_connection(self.map_epoch, &mut self.tables, &mut self.out);
        self
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.out.extend_from_slice(bytes);
        self
    }

    /// Sends what has gathered, in one write.
    pub(crate) fn send(&mut self) {
        // A client that has closed the connection already does not read it, which no script minds.
        let _ = self.socket.write_all(&self.out);
        self.out.clear();
    }

    fn head(&self, request: &Request) -> ReplyHead {
        ReplyHead { map_epoch: self.map_epoch, ..request.head }
    }

    /// The next request among the bytes that have arrived.
    fn arrived(&mut self) -> Option<Request> {
        let frame = self.reader.next_frame().unwrap()?;
        let (stamp, frame) = SessionPrefix::take(&frame).unwrap();
        let opcode = frame.request().unwrap();
        let (mut key, mut core, mut session) = (Vec::new(), None, None);
        match opcode {
            Opcode::Get => key = GetRequest::decode(&frame).unwrap().key.to_vec(),
            Opcode::Put => key = PutRequest::decode(&frame).unwrap().key.to_vec(),
            Opcode::Delete => key = DeleteRequest::decode(&frame).unwrap().key.to_vec(),
            Opcode::Bind => core = Some(Bind::decode(&frame).unwrap().core),
            Opcode::SessionClose => session = Some(SessionClose::decode(&frame).unwrap().session),
            _ => {}
        }
        let deadline_ms = frame.header.fields.deadline_ms;
        Some(Request {
            head: ReplyHead::to(&frame.header, self.map_epoch),
            deadline_ms,
            opcode,
            key,
            core,
            stamp,
            session,
        })
    }

    /// Takes in what comes next; `false` at the end of the connection, or of the time to look.
    fn receive(&mut self) -> bool {
        let mut bytes = [0; 64 * 1024];
        match self.socket.read(&mut bytes) {
            Ok(length) => {
                self.reader.push(&bytes[..length]);
                length > 0
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let limit = self.socket.read_timeout().unwrap();
                assert_ne!(limit, Some(PATIENCE), "the client does something in time");
                false
            }
            // A client that closes with bytes unread resets the connection.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("the connection fails: {error}"),
        }
    }
}

/// A frame that no server sends: the request of a client.
pub(crate) fn frame_of_a_client() -> Vec<u8> {
    let head = RequestHead { request_id: RequestId(1), map_epoch: MapEpoch(0), deadline_ms: 0 };
    let mut out = Vec::new();
    GetRequest { slot: slot_of(b"key"), key: b"key", level: ReadLevel::Linearizable }.encode(head, &mut out);
    out
}

/// The header, with a right checksum, of a frame above every limit.
pub(crate) fn header_of_an_oversize_frame() -> Vec<u8> {
    let head = ReplyHead { request_id: RequestId(2), opcode: Opcode::Get.to_wire(), target: 0, map_epoch: MapEpoch(1) };
    let fields = head.fields(Flags::NONE);
    let mut header = FrameHeader { length: 0, fields, body_crc: 0 }.encode().to_vec();
    header[..4].copy_from_slice(&u32::MAX.to_le_bytes());
    let checked = [&header[..4], &header[8..]].concat();
    header[4..8].copy_from_slice(&Value::new(&checked).crc.to_le_bytes());
    header
}

fn slot(number: u16) -> Slot {
    Slot::new(number).unwrap()
}
