//! A server that does as its script says, right or wrong, on a socket of the loopback. It speaks the wire crate's own codecs, so that
//! only what the script breaks is broken.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use corelode_net::body::{DeleteRequest, Durability, Found, GetReply, GetRequest, PutRequest, Value, WriteReply};
use corelode_net::handshake::{Features, Nonce, Secrets, ServerConfig, ServerHandshake, VersionRange};
use corelode_net::limits::BODY_SIZE_BYTES_MAX;
use corelode_net::table::{
    Bind, BindReply, CoreEntry, ErrorReply, GoAway, Limits, PartitionEntry, TableBuilder, Topology,
};
use corelode_net::{
    ClusterId, CoreIndex, ErrorCode, Frame, FrameReader, MapEpoch, NodeId, Opcode, PartitionId, ReplyHead, Revision,
    SLOT_COUNT, Slot,
};

/// A request as the script sees it; TOPOLOGY and BIND are answered before it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Counts all requests that scripts saw, from 0.
    pub(crate) number: usize,
    pub(crate) opcode: Opcode,
    pub(crate) head: ReplyHead,
    pub(crate) key: Vec<u8>,
}

/// Whether a connection goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Next {
    GoOn,
    /// The socket is closed.
    Close,
    /// The socket stays open, and nothing more is read or answered.
    FallSilent,
}

/// How the server is set up.
#[derive(Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) requests_in_flight_max: u32,
    /// The core that the topology names as the owner of everything, by the number of times it was asked for.
    pub(crate) owner: fn(usize) -> u16,
    /// The cluster that it says it is, by the connection's number.
    pub(crate) cluster: fn(usize) -> u8,
    /// Whether handshakes are answered.
    pub(crate) shakes_hands: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self { requests_in_flight_max: 1024, owner: |_| 0, cluster: |_| 1, shakes_hands: true }
    }
}

/// What was asked of the server so far.
#[derive(Default)]
pub(crate) struct Seen {
    requests: Mutex<Vec<Asked>>,
    topologies: AtomicUsize,
    connections: AtomicUsize,
    is_over: AtomicBool,
}

impl Seen {
    /// How many requests of a kind came.
    pub(crate) fn count(&self, opcode: Opcode) -> usize {
        self.requests.lock().expect("no script panics").iter().filter(|asked| asked.opcode == opcode).count()
    }

    pub(crate) fn topologies(&self) -> usize {
        self.topologies.load(Ordering::SeqCst)
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// The server; it ends with the test.
pub(crate) struct FakeServer {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Seen>,
}

impl FakeServer {
    pub(crate) fn start(setup: Setup, script: impl Fn(&mut Peer, Asked) -> Next + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let seen = Arc::new(Seen::default());
        let script = Arc::new(script);
        let of_server = Arc::clone(&seen);
        thread::spawn(move || {
            for socket in listener.incoming() {
                let Ok(socket) = socket else { return };
                let (script, seen) = (Arc::clone(&script), Arc::clone(&of_server));
                let number = seen.connections.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || Peer::new(socket, number, setup, seen).serve(&*script));
            }
        });
        Self { address, seen }
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.seen.is_over.store(true, Ordering::SeqCst);
    }
}

/// One client's connection.
pub(crate) struct Peer {
    socket: TcpStream,
    /// Counts connections, from 0.
    number: usize,
    reader: FrameReader,
    tables: TableBuilder,
    setup: Setup,
    seen: Arc<Seen>,
    core: u16,
    /// Requests that the script has put aside.
    pub(crate) held: Vec<Asked>,
}

impl Peer {
    fn new(socket: TcpStream, number: usize, setup: Setup, seen: Arc<Seen>) -> Self {
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a socket");
        let reader = FrameReader::new(BODY_SIZE_BYTES_MAX);
        Self { socket, number, reader, tables: TableBuilder::new(), setup, seen, core: 0, held: Vec::new() }
    }

    fn config(&self) -> ServerConfig {
        ServerConfig {
            versions: VersionRange::CURRENT,
            features: Features::NONE,
            server_version: "fake".to_owned(),
            cluster_id: ClusterId([(self.setup.cluster)(self.number); 16]),
            node_id: NodeId(1),
            core: CoreIndex(self.core),
            core_count: 2,
            map_epoch: MapEpoch(1),
            limits: Limits { requests_in_flight_max: self.setup.requests_in_flight_max, ..Limits::default() },
            secrets: Secrets::default(),
        }
    }

    fn serve(mut self, script: &dyn Fn(&mut Self, Asked) -> Next) {
        let mut handshake = Some(ServerHandshake::new(Nonce([9; 32])));
        let mut next = Next::GoOn;
        while next != Next::Close && !self.seen.is_over.load(Ordering::SeqCst) {
            if next == Next::FallSilent || !self.setup.shakes_hands {
                thread::sleep(Duration::from_millis(20));
                continue;
            }
            let mut reader = std::mem::replace(&mut self.reader, FrameReader::new(0));
            while next == Next::GoOn
                && let Some(frame) = reader.next_frame().expect("clients send whole frames")
            {
                next = match handshake.as_mut() {
                    Some(shaking) => {
                        let (config, mut out) = (self.config(), Vec::new());
                        let accepted = shaking.on_frame(&frame, &config, &mut self.tables, &mut out);
                        self.send(&out);
                        if accepted.expect("clients shake hands").is_some() {
                            handshake = None;
                        }
                        Next::GoOn
                    }
                    None => self.asked(&frame, script),
                };
            }
            self.reader = reader;
            if next == Next::GoOn && !self.receive() {
                return;
            }
        }
    }

    /// Reads what has come; `false` if the client is gone.
    pub(crate) fn receive(&mut self) -> bool {
        let mut bytes = [0; 64 * 1024];
        match self.socket.read(&mut bytes) {
            Ok(0) => false,
            Ok(length) => {
                self.reader.push(&bytes[..length]);
                true
            }
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }

    fn asked(&mut self, frame: &Frame<'_>, script: &dyn Fn(&mut Self, Asked) -> Next) -> Next {
        let head = ReplyHead::to(&frame.header, MapEpoch(1));
        let opcode = frame.request().expect("clients send requests");
        let mut out = Vec::new();
        match opcode {
            Opcode::Topology => {
                let owner = (self.setup.owner)(self.seen.topologies.fetch_add(1, Ordering::SeqCst));
                topology(owner).encode(head, &mut self.tables, &mut out);
                self.send(&out);
                return Next::GoOn;
            }
            Opcode::Bind => {
                self.core = Bind::decode(frame).expect("a BIND").core.0;
                BindReply { core: CoreIndex(self.core) }.encode(head, &mut self.tables, &mut out);
                self.send(&out);
                return Next::GoOn;
            }
            _ => {}
        }
        let key = match opcode {
            Opcode::Get => GetRequest::decode(frame).expect("a GET").key.to_vec(),
            Opcode::Put => PutRequest::decode(frame).expect("a PUT").key.to_vec(),
            Opcode::Delete => DeleteRequest::decode(frame).expect("a DELETE").key.to_vec(),
            _ => Vec::new(),
        };
        let asked = {
            let mut requests = self.seen.requests.lock().expect("no script panics");
            let asked = Asked { number: requests.len(), opcode, head, key };
            requests.push(asked.clone());
            asked
        };
        script(self, asked)
    }

    /// Sends bytes as they are. A client that is gone does not mind.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ = self.socket.write_all(bytes);
    }

    /// The bytes of a right answer: a GET finds its key as its value.
    pub(crate) fn right_answer(asked: &Asked) -> Vec<u8> {
        let mut out = Vec::new();
        match asked.opcode {
            Opcode::Get => {
                let found = Found { revision: Revision(1), deadline_ms: 0, value: Value::new(&asked.key) };
                GetReply::Found(found).encode(asked.head, &mut out);
            }
            _ => WriteReply { revision: Revision(1), durability: Durability::Synced }.encode(asked.head, &mut out),
        }
        out
    }

    pub(crate) fn answer(&mut self, asked: &Asked) -> Next {
        self.send(&Self::right_answer(asked));
        Next::GoOn
    }

    pub(crate) fn refuse(&mut self, asked: &Asked, code: ErrorCode) -> Next {
        let mut out = Vec::new();
        ErrorReply::new(code).encode(asked.head, &mut self.tables, &mut out);
        self.send(&out);
        Next::GoOn
    }

    pub(crate) fn go_away(&mut self) {
        let mut out = Vec::new();
        GoAway::shutting_down(1000).encode(MapEpoch(1), &mut self.tables, &mut out);
        self.send(&out);
    }
}

/// One partition, all of it owned by one of two cores.
fn topology(owner: u16) -> Topology {
    let partition = PartitionEntry {
        partition: PartitionId(0),
        first_slot: Slot::new(0).expect("a slot"),
        last_slot: Slot::new(SLOT_COUNT - 1).expect("a slot"),
        core: CoreIndex(owner),
        log: 1,
    };
    Topology {
        cluster_id: ClusterId([1; 16]),
        node_id: NodeId(1),
        map_epoch: MapEpoch(1),
        partitions: vec![partition],
        cores: (0..2).map(|core| CoreEntry { core: CoreIndex(core), port: None }).collect(),
    }
}
