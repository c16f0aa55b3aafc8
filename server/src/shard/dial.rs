//! Connections that this shard dials, to cores of other nodes: from the socket to the first frame; and who it lets in.

use corelode_engine::env::Environment;
use corelode_net::handshake::{ClientConfig, ClientHandshake, Features, Nonce, VersionRange};
use corelode_net::limits::BODY_SIZE_BYTES_MAX;
use corelode_net::peer::PeerHello;
use corelode_net::table::{Bind, BindReply, ErrorReply, TableBuilder, Welcome};
use corelode_net::{
    BootId, ClusterId, CoreIndex, ErrorCode, Frame, FrameReader, Inbound, Incarnation, MapEpoch, Opcode, RequestHead,
    RequestId, Role,
};
use corelode_raft::{NodeId, Time};

use super::connection::Stage;
use super::{ClientReply, Connection, ConnectionId, Failure, Now, OperationResult, ReplyTo, Shard};
use crate::replication::link::LinkState;

const BIND_ID: RequestId = RequestId(3);
const PEER_HELLO_ID: RequestId = RequestId(4);

/// How far a connection is that was dialled from here.
pub(crate) enum DialStage {
    /// The handshake.
    Handshake(Box<ClientHandshake>),
    /// It asked for a core.
    Binding,
    /// It said who it is.
    Greeting,
    /// Frames may be sent.
    Up,
}

/// A connection that was dialled from here.
pub(crate) struct Dialled {
    pub(crate) node: NodeId,
    pub(crate) stage: DialStage,
}

impl<E: Environment> Shard<E> {
    /// Nodes that the driver is to dial now, with their addresses; it answers each with [`dialled`](Self::dialled) or
    /// [`dial_failed`](Self::dial_failed).
    pub fn take_dials(&mut self) -> Vec<(NodeId, std::net::SocketAddr)> {
        let now = Time(self.now.monotonic_ns);
        if self.is_draining {
            return Vec::new();
        }
        let links = self.replication.iter_mut().flat_map(|replication| replication.links.iter_mut());
        links.filter_map(|(node, link)| link.begin_dial(now).then_some((*node, link.address))).collect()
    }

    /// A node could not be reached.
    pub fn dial_failed(&mut self, node: NodeId, now: Now) {
        self.now = now;
        self.link_down(node);
    }

    /// A connection to a node is there. `nonce` is random.
    pub fn dialled(&mut self, node: NodeId, peer: String, nonce: [u8; 32], now: Now) -> ConnectionId {
        self.now = now;
        let config = self.dial_config();
        let mut output = Vec::new();
        let handshake = ClientHandshake::begin(&config, Nonce(nonce), &mut self.tables, &mut output);
        let stage = DialStage::Handshake(Box::new(handshake));
        let reader = FrameReader::with_read_size(BODY_SIZE_BYTES_MAX, 64 * 1024);
        let stage = Stage::Dialled(Box::new(Dialled { node, stage }));
        let connection = Connection::new(peer, now.monotonic_ms, stage, Role::Read, reader);
        let id = ConnectionId(self.connections.insert(connection));
        self.append_output(id, |_, out| out.extend_from_slice(&output));
        id
    }

    fn dial_config(&self) -> ClientConfig {
        ClientConfig {
            versions: VersionRange::CURRENT,
            features: Features::NONE,
            client_name: format!("corelode-server/{}", env!("CARGO_PKG_VERSION")),
            credentials: self.config.peer_credentials.clone(),
        }
    }

    /// The connection to a node is gone.
    pub(super) fn link_down(&mut self, node: NodeId) {
        let now = Time(self.now.monotonic_ns);
        if let Some(link) = self.replication.as_mut().and_then(|replication| replication.links.get_mut(&node)) {
            link.went_down(now);
        }
    }

    /// A frame on a connection that was dialled from here. Answers why it is of no use, if it is not.
    pub(super) fn dialled_frame(&mut self, id: ConnectionId, frame: &Frame<'_>) -> Result<(), String> {
        let config = self.dial_config();
        let connection = self.connections.get_mut(id.0).expect("looked up by the caller");
        let Stage::Dialled(dialled) = &mut connection.stage else { unreachable!("looked at by the caller") };
        let node = dialled.node;
        if let DialStage::Handshake(handshake) = &mut dialled.stage {
            let before = connection.output.len();
            let outcome = handshake.on_frame(frame, &config, &mut self.tables, &mut connection.output);
            self.output_bytes += connection.output.len() - before;
            self.list_writable(id);
            return match outcome.map_err(|error| error.to_string())? {
                Some(connected) => self.choose_core(id, &connected.welcome),
                None => Ok(()),
            };
        }
        match frame.inbound().map_err(|error| error.to_string())? {
            Inbound::Reply(BIND_ID, Opcode::Bind) => {
                BindReply::decode(frame).map_err(|error| error.to_string())?;
                self.greet(id);
                Ok(())
            }
            Inbound::Reply(PEER_HELLO_ID, Opcode::PeerHello) => {
                let hello = PeerHello::decode_reply(frame).map_err(|error| error.to_string())?;
                if let Some((_, message)) = self.refuse_peer(&hello) {
                    return Err(message);
                }
                if let Some((_, message)) = self.refuse_stranger(&hello) {
                    self.note_stranger(&hello);
                    return Err(message);
                }
                self.meet(node, hello.incarnation.0);
                self.set_dial_stage(id, DialStage::Up);
                if let Some(link) = self.replication.as_mut().and_then(|replication| replication.links.get_mut(&node)) {
                    link.went_up(id);
                }
                Ok(())
            }
            Inbound::Error(_) | Inbound::ConnectionError => {
                let error = ErrorReply::decode(frame).map_err(|error| error.to_string())?;
                if let Some(Stage::Dialled(dialled)) = self.connections.get(id.0).map(|connection| &connection.stage)
                    && matches!(dialled.stage, DialStage::Up)
                    && let Some(replication) = &mut self.replication
                {
                    // What this node says is well formed: it is a bug of either.
                    replication.counters.peer_errors += 1;
                    tracing::error!(%node, message = error.message, "a node does not understand this one");
                }
                Err(error.message.to_owned())
            }
            Inbound::GoAway => Err("it is shutting down".to_owned()),
            Inbound::Reply(..) => Err("it answered what was not asked".to_owned()),
        }
    }

    fn set_dial_stage(&mut self, id: ConnectionId, stage: DialStage) {
        if let Some(connection) = self.connections.get_mut(id.0)
            && let Stage::Dialled(dialled) = &mut connection.stage
        {
            dialled.stage = stage;
        }
    }

    /// The core of the same number has the same partitions, where nodes have as many cores.
    fn choose_core(&mut self, id: ConnectionId, welcome: &Welcome) -> Result<(), String> {
        if welcome.core_count != self.config.map.cores() {
            return Err(format!(
                "it has {} cores and this node {}: start all nodes with the same --cores",
                welcome.core_count,
                self.config.map.cores()
            ));
        }
        let wanted = CoreIndex(self.config.core.0);
        if welcome.core == wanted {
            self.greet(id);
        } else {
            self.set_dial_stage(id, DialStage::Binding);
            let head = RequestHead { request_id: BIND_ID, map_epoch: MapEpoch(0), deadline_ms: 0 };
            self.append_output(id, |tables, output| Bind { core: wanted }.encode(head, tables, output));
        }
        Ok(())
    }

    fn greet(&mut self, id: ConnectionId) {
        self.set_dial_stage(id, DialStage::Greeting);
        let Some(connection) = self.connections.get(id.0) else { return };
        let Stage::Dialled(dialled) = &connection.stage else { return };
        let to = dialled.node;
        let head = RequestHead { request_id: PEER_HELLO_ID, map_epoch: MapEpoch(0), deadline_ms: 0 };
        self.say_hello(id, to, |hello, tables, output| hello.encode_request(head, tables, output));
    }

    /// Appends what this core says of itself to the core of another node.
    fn say_hello(
        &mut self,
        id: ConnectionId,
        to: NodeId,
        encode: impl FnOnce(&PeerHello<'_>, &mut TableBuilder, &mut Vec<u8>),
    ) {
        let Some(replication) = &self.replication else { return };
        let cluster = &replication.cluster;
        let members = cluster.members_text();
        let hello = PeerHello {
            cluster_id: ClusterId(cluster.identity().cluster),
            node_id: corelode_net::NodeId(cluster.node.0),
            to_node_id: corelode_net::NodeId(to.0),
            incarnation: Incarnation(self.config.incarnation),
            boot: BootId(cluster.boot),
            core: CoreIndex(self.config.core.0),
            core_count: self.config.map.cores(),
            partition_count: self.config.map.partition_count(),
            members: &members,
        };
        self.append_output(id, |tables, output| encode(&hello, tables, output));
    }

    /// A core of another node says who it is.
    pub(super) fn take_peer_hello(&mut self, client: ClientReply, hello: &PeerHello<'_>) {
        let stranger = self.refuse_stranger(hello);
        if let Some((code, message)) = self.refuse_peer(hello).or_else(|| stranger.clone()) {
            if stranger.is_some_and(|(other, _)| other == code) {
                self.note_stranger(hello);
            }
            if let Some(replication) = &mut self.replication {
                replication.counters.peers_refused += 1;
            }
            if self.complaints.may_speak(self.now.monotonic_ms) {
                tracing::warn!(node = hello.node_id.0, message, "a node is refused");
            }
            let failure = Failure::with_message(code, message);
            self.deliver(ReplyTo::Client(client), OperationResult::Failed(failure));
            return;
        }
        let node = NodeId(hello.node_id.0);
        self.meet(node, hello.incarnation.0);
        if let Some(connection) = self.connections.get_mut(client.connection.0) {
            connection.peer_node = Some(node);
        }
        self.say_hello(client.connection, node, |own, tables, output| own.encode_reply(client.head, tables, output));
        self.answer(client, |_, _| {});
    }

    /// Why what another node says of itself does not fit what this one was told, if it does not.
    fn refuse_peer(&self, hello: &PeerHello<'_>) -> Option<(ErrorCode, String)> {
        let Some(replication) = &self.replication else {
            let message = "this node is not part of a cluster: start it with --node-id and --peers";
            return Some((ErrorCode::WrongCluster, message.to_owned()));
        };
        let cluster = &replication.cluster;
        let (node, own) = (NodeId(hello.node_id.0), cluster.node);
        if hello.cluster_id.0 != cluster.identity().cluster {
            let message = format!("node {node} is of another cluster than {:?}: see --cluster", cluster.name);
            return Some((ErrorCode::WrongCluster, message));
        }
        if hello.to_node_id.0 != own.0 {
            let message = format!("this is node {own}, and node {node} wants node {}: see --peers", hello.to_node_id.0);
            return Some((ErrorCode::WrongNode, message));
        }
        if node == own || !cluster.nodes.contains_key(&node) {
            let message = format!("node {node} is none of this cluster's: {}", cluster.members_text());
            return Some((ErrorCode::WrongNode, message));
        }
        let mismatch = |message: String| Some((ErrorCode::PeerMismatch, message));
        if hello.members != cluster.members_text() {
            let (ours, theirs) = (cluster.members_text(), hello.members);
            return mismatch(format!("node {node} has --peers {theirs}, and node {own} has {ours}"));
        }
        if hello.partition_count != self.config.map.partition_count() {
            let (ours, theirs) = (self.config.map.partition_count(), hello.partition_count);
            return mismatch(format!("node {node} has {theirs} partitions, and node {own} has {ours}"));
        }
        if hello.core_count != self.config.map.cores() || hello.core.0 != self.config.core.0 {
            let (ours, theirs) = (self.config.map.cores(), hello.core_count);
            return mismatch(format!(
                "node {node} has {theirs} cores, and node {own} has {ours}: give all nodes the same --cores"
            ));
        }
        None
    }

    /// A connection is gone: if it was dialled from here it is dialled again.
    pub(super) fn dialled_closed(&mut self, id: ConnectionId, stage: &Stage) {
        let Stage::Dialled(dialled) = stage else { return };
        let node = dialled.node;
        let is_of_link = self.replication.as_ref().and_then(|replication| replication.links.get(&node)).is_some_and(
            |link| match link.state {
                LinkState::Up(up) => up == id,
                LinkState::Dialling => true,
                LinkState::Down { .. } => false,
            },
        );
        if is_of_link {
            self.link_down(node);
        }
    }
}
