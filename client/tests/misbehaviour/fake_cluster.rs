//! Nodes of a cluster, each of which does what a test tells it to, on any number of connections, and counts what it is asked.
//!
//! One partition has everything, and every node a replica of it.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use corelode_client::{Options, Topology};
use corelode_net::body::SessionPrefix;
use corelode_net::handshake::Features;
use corelode_net::table::{CoreEntry, ErrorReply, LeaderHint, NodeEntry, PartitionEntry};
use corelode_net::{ClusterId, CoreIndex, ErrorCode, NodeId, Opcode, PartitionId, SLOT_COUNT, Slot};

use crate::fake_server::{FakeServer, Peer, Request};

/// What a node does with requests for keys. Nodes count from 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Does {
    /// Serves them, as a leader.
    Serve,
    /// Says that it does not lead, and names another node, or none.
    Name(Option<usize>),
    /// As [`Name`](Self::Name) so many times, and then serves.
    NameThenServe(usize, usize),
    /// Closes the connection without an answer.
    Close,
    /// Serves, but closes the connection instead of an answer to a write.
    LoseAnswers,
    /// Serves, but refuses writes with a code.
    RefuseWrites(ErrorCode),
    /// Answers nothing at all, not even whether it lives.
    Silent,
    /// Lives, and has no answer yet.
    Slow,
}

/// A node.
pub(crate) struct FakeNode {
    address: SocketAddr,
    does: Mutex<Does>,
    /// Whom its map names as the leader.
    leader: Mutex<Option<usize>>,
    requests: AtomicUsize,
    maps: AtomicUsize,
    /// Of each write that it was sent, in order.
    stamps: Mutex<Vec<Option<SessionPrefix>>>,
}

/// The nodes.
#[derive(Clone)]
pub(crate) struct FakeCluster {
    nodes: Arc<Vec<FakeNode>>,
    features: Features,
    /// How many sessions were opened. The first is number 1.
    sessions: Arc<AtomicU64>,
}

impl FakeCluster {
    /// Nodes that do this, and whose maps name node 0 as the leader. They have no sessions.
    pub(crate) fn start<const COUNT: usize>(does: [Does; COUNT]) -> Self {
        Self::start_with(Features::NONE, does)
    }

    /// As [`start`](Self::start), with sessions. Writes are answered once, whatever their stamps.
    pub(crate) fn start_with_sessions<const COUNT: usize>(does: [Does; COUNT]) -> Self {
        Self::start_with(Features::SESSIONS, does)
    }

    fn start_with<const COUNT: usize>(features: Features, does: [Does; COUNT]) -> Self {
        let listeners = does.map(|_| TcpListener::bind(("127.0.0.1", 0)).unwrap());
        let node = |(does, listener): (&Does, &TcpListener)| FakeNode {
            address: listener.local_addr().unwrap(),
            does: Mutex::new(*does),
            leader: Mutex::new(Some(0)),
            requests: AtomicUsize::new(0),
            maps: AtomicUsize::new(0),
            stamps: Mutex::default(),
        };
        let nodes = Arc::new(does.iter().zip(&listeners).map(node).collect());
        let cluster = Self { nodes, features, sessions: Arc::default() };
        for (number, listener) in listeners.into_iter().enumerate() {
            let cluster = cluster.clone();
            std::thread::spawn(move || cluster.accept(number, listener));
        }
        cluster
    }

    pub(crate) fn address(&self, node: usize) -> String {
        self.nodes[node].address.to_string()
    }

    /// Options of a client that knows this node.
    pub(crate) fn options(&self, node: usize) -> Options {
        Options::from_addresses(vec![self.address(node)])
    }

    /// What a node does from now on.
    pub(crate) fn set(&self, node: usize, does: Does) {
        *self.nodes[node].does.lock().unwrap() = does;
    }

    /// Whom all maps name as the leader from now on.
    pub(crate) fn set_leader(&self, leader: Option<usize>) {
        for node in self.nodes.iter() {
            *node.leader.lock().unwrap() = leader;
        }
    }

    /// How many requests for keys each node was sent.
    pub(crate) fn requests(&self) -> Vec<usize> {
        self.nodes.iter().map(|node| node.requests.load(Ordering::SeqCst)).collect()
    }

    /// The stamps of the writes that a node was sent, in order.
    pub(crate) fn stamps(&self, node: usize) -> Vec<Option<SessionPrefix>> {
        self.nodes[node].stamps.lock().unwrap().clone()
    }

    /// How many sessions were opened.
    pub(crate) fn sessions(&self) -> u64 {
        self.sessions.load(Ordering::SeqCst)
    }

    /// How many maps all nodes were asked for.
    pub(crate) fn maps(&self) -> usize {
        self.nodes.iter().map(|node| node.maps.load(Ordering::SeqCst)).sum()
    }

    fn accept(&self, node: usize, listener: TcpListener) {
        let mut server = FakeServer::behind(listener, node_id(node));
        server.features = self.features;
        let server = Arc::new(server);
        loop {
            let mut peer = server.accept();
            let (cluster, server) = (self.clone(), Arc::clone(&server));
            std::thread::spawn(move || {
                if peer.shake_hands(&server) {
                    cluster.serve(node, peer);
                }
            });
        }
    }

    /// Answers a connection until the client closes it.
    fn serve(&self, node: usize, mut peer: Peer) {
        while let Some(request) = peer.request_or_close() {
            let does = *self.nodes[node].does.lock().unwrap();
            match request.opcode {
                _ if does == Does::Silent && request.opcode == Opcode::Ping => {}
                Opcode::Ping => peer.empty(&request).send(),
                Opcode::Topology => {
                    self.nodes[node].maps.fetch_add(1, Ordering::SeqCst);
                    if does != Does::Silent {
                        self.send_map(node, &mut peer, &request);
                    }
                }
                _ => {
                    let before = self.nodes[node].requests.fetch_add(1, Ordering::SeqCst);
                    let is_write = matches!(request.opcode, Opcode::Put | Opcode::Delete);
                    if is_write {
                        self.nodes[node].stamps.lock().unwrap().push(request.stamp);
                    }
                    match does {
                        Does::Name(leader) => self.name(&mut peer, &request, leader),
                        Does::NameThenServe(leader, times) if before < times => {
                            self.name(&mut peer, &request, Some(leader));
                        }
                        Does::RefuseWrites(code) if is_write => peer.refuse(&request, code).send(),
                        Does::LoseAnswers if is_write => return,
                        Does::Close => return,
                        Does::Silent | Does::Slow => {}
                        Does::Serve | Does::NameThenServe(..) | Does::RefuseWrites(_) | Does::LoseAnswers => {
                            self.carry_out(&mut peer, &request);
                        }
                    }
                }
            }
        }
    }

    fn carry_out(&self, peer: &mut Peer, request: &Request) {
        match request.opcode {
            Opcode::Get => peer.found(request, b"value").send(),
            Opcode::Put | Opcode::Delete => peer.written(request, 1).send(),
            Opcode::SessionOpen => {
                let number = 1 + self.sessions.fetch_add(1, Ordering::SeqCst);
                peer.written(request, number).send();
            }
            other => panic!("no node of this cluster answers {other:?}"),
        }
    }

    fn name(&self, peer: &mut Peer, request: &Request, leader: Option<usize>) {
        let address = leader.map(|node| self.address(node)).unwrap_or_default();
        let leader = leader.map(|node| LeaderHint { node_id: node_id(node), address: &address });
        peer.refuse_with(request, &ErrorReply { leader, ..ErrorReply::new(ErrorCode::NotLeader) }).send();
    }

    fn send_map(&self, node: usize, peer: &mut Peer, request: &Request) {
        let slot = |number| Slot::new(number).unwrap();
        let entry = |(number, other): (usize, &FakeNode)| NodeEntry {
            node_id: node_id(number),
            address: other.address.to_string(),
            is_this_node: number == node,
            core_count: 1,
        };
        let partition = PartitionEntry {
            partition: PartitionId(0),
            first_slot: slot(0),
            last_slot: slot(SLOT_COUNT - 1),
            core: CoreIndex(0),
            log: 0,
            replicas: (0..self.nodes.len()).map(node_id).collect(),
            leader: self.nodes[node].leader.lock().unwrap().map(node_id),
        };
        let topology = Topology {
            cluster_id: ClusterId([1; 16]),
            node_id: node_id(node),
            map_epoch: peer.map_epoch,
            partitions: vec![partition],
            cores: vec![CoreEntry { core: CoreIndex(0), port: None }],
            nodes: self.nodes.iter().enumerate().map(entry).collect(),
        };
        peer.send_topology(request, &topology);
    }
}

fn node_id(node: usize) -> NodeId {
    NodeId(node as u64 + 1)
}
