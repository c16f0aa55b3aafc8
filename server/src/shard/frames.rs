//! Connections: what arrives on them, frame by frame, and what the driver may do with their sockets.

use std::os::fd::OwnedFd;

use corelode_engine::command::SessionStamp;
use corelode_engine::env::Environment;
use corelode_engine::ids::{PartitionId, Revision};
use corelode_engine::partition::Durability;
use corelode_net::body::{
    BatchRequest, DeleteRequest, GetRequest, PutRequest, Receipt, SessionClose, SessionOpen, SessionPrefix,
};
use corelode_net::handshake::{Features, Nonce, ServerHandshake};
use corelode_net::limits::{BODY_SIZE_BYTES_MAX, HANDSHAKE_BODY_SIZE_BYTES_MAX};
use corelode_net::peer::{PeerHello, PeerStateHashes, PeerTransfer, PeerTransferReply, PeerTurn};
use corelode_net::table::{Bind, BindReply, ErrorReply, GoAway, HistogramsRequest, ScanRelease, ScanRequest};
use corelode_net::{BodyError, ErrorCode, Frame, FrameReader, Opcode, ReplyHead, Role};

use super::connection::Stage;
use super::{
    ClientReply, Connection, ConnectionId, Core, Departure, Failure, Now, Operation, OperationResult, ReadLevel,
    ReplyTo, Request, ScanPageRequest, Shard, TimedOperation,
};
use crate::message::AdoptedConnection;

/// The grace that clients are told when the server goes, milliseconds.
const GOODBYE_GRACE_MS: u32 = 5000;
/// What a request counts as in flight beside its body, bytes.
const REQUEST_SIZE_BYTES_MIN: usize = 128;
/// How long a connection may take to complete its handshake, milliseconds.
const HANDSHAKE_PATIENCE_MS: u64 = 10_000;
/// The largest page of a scan, bytes of rows.
const SCAN_PAGE_BYTES_MAX: usize = 512 * 1024;
/// The largest page of a scan, rows.
const SCAN_PAGE_ROWS_MAX: usize = 10_000;

impl<E: Environment> Shard<E> {
    /// Takes in a new connection; `None` if there are as many as there may be. `nonce` is random.
    pub fn connection_opened(&mut self, peer: String, nonce: [u8; 32], now: Now) -> Option<ConnectionId> {
        // The last turn may be long ago.
        self.now = now;
        if self.connections.len() >= self.config.limits.connections_max || self.is_draining {
            if self.complaints.may_speak(now.monotonic_ms) {
                let (open, is_draining) = (self.connections.len(), self.is_draining);
                tracing::warn!(
                    peer,
                    open,
                    is_draining,
                    "a connection is refused: there are as many as there may be, or the server goes"
                );
            }
            return None;
        }
        self.counters.connections_accepted += 1;
        self.handshaking += 1;
        let handshake = Box::new(ServerHandshake::new(Nonce(nonce)));
        let reader = FrameReader::with_read_size(HANDSHAKE_BODY_SIZE_BYTES_MAX, 64 * 1024);
        let connection = Connection::new(peer, self.now.monotonic_ms, Stage::Handshake(handshake), Role::Read, reader);
        Some(ConnectionId(self.connections.insert(connection)))
    }

    /// Takes in a connection from another core and answers its BIND.
    pub fn connection_adopted(&mut self, adopted: &AdoptedConnection) -> ConnectionId {
        let mut reader = FrameReader::with_read_size(BODY_SIZE_BYTES_MAX, 64 * 1024);
        reader.push(&adopted.leftover);
        let connection =
            Connection::new(adopted.peer.clone(), self.now.monotonic_ms, Stage::Open, adopted.role, reader);
        let connection = Connection { features: adopted.features, ..connection };
        let id = ConnectionId(self.connections.insert(connection));
        self.answer_bind(id, adopted.head);
        self.list_ready(id);
        id
    }

    /// The receive buffer of a connection, for the driver to read into; [`received`](Self::received) gives it back.
    pub fn take_receive_buffer(&mut self, id: ConnectionId) -> Option<Vec<u8>> {
        let connection = self.connections.get_mut(id.0)?;
        Some(std::mem::take(connection.reader.buffer_for_read()))
    }

    /// Bytes have arrived at `now_ns`: `length` of them at the end of `buffer`. Zero says that the client closed its end.
    pub fn received(&mut self, id: ConnectionId, buffer: Vec<u8>, length: usize, now_ns: u64) {
        let Some(connection) = self.connections.get_mut(id.0) else { return };
        connection.reader.restore_buffer(buffer);
        connection.received_ns = now_ns;
        connection.wants_read = true;
        connection.is_input_closed |= length == 0;
        self.counters.received_bytes += length as u64;
        self.list_ready(id);
    }

    /// The socket failed, or the driver is done with it.
    pub fn connection_closed(&mut self, id: ConnectionId) {
        let Some(removed) = self.connections.remove(id.0) else { return };
        self.dialled_closed(id, &removed.stage);
        self.input_bytes -= removed.input_bytes;
        self.release_output(removed.output.len() + removed.output_in_flight);
        if matches!(removed.stage, Stage::Handshake(_)) {
            self.handshaking -= 1;
        }
    }

    /// Closes connections that were opened long ago and never completed their handshake.
    pub(super) fn expire_handshakes(&mut self) {
        let now_ms = self.now.monotonic_ms;
        let keys: Vec<_> = self.connections.keys().collect();
        for key in keys {
            let connection = self.connections.get_mut(key).expect("listed just now");
            if matches!(connection.stage, Stage::Handshake(_)) && now_ms >= connection.opened_ms + HANDSHAKE_PATIENCE_MS
            {
                self.close_with(ConnectionId(key), ErrorCode::DeadlineExceeded, "the handshake took too long");
            }
        }
    }

    /// Connections with output.
    pub fn take_writable(&mut self) -> Vec<ConnectionId> {
        std::mem::take(&mut self.writable)
    }

    /// Connections that may be read again.
    pub fn take_readable(&mut self) -> Vec<ConnectionId> {
        std::mem::take(&mut self.readable)
    }

    /// Exchanges a connection's output for the empty `spare`. The driver writes it and calls [`output_written`](Self::output_written).
    pub fn take_output(&mut self, id: ConnectionId, spare: Vec<u8>, now_ns: u64) -> Vec<u8> {
        let Some(connection) = self.connections.get_mut(id.0) else { return spare };
        connection.is_listed_writable = false;
        let mut output = std::mem::replace(&mut connection.output, spare);
        connection.departures.taken(now_ns, &mut output);
        connection.output_in_flight = output.len();
        output
    }

    /// What was taken is with the client's kernel. Answers whether frames that had to wait can be looked at now, in a turn.
    pub fn output_written(&mut self, id: ConnectionId, now_ns: u64) -> bool {
        let limits = self.config.limits.connection;
        let Some(connection) = self.connections.get_mut(id.0) else { return false };
        let written = std::mem::take(&mut connection.output_in_flight);
        connection.departures.written(now_ns, &mut self.stages);
        let goes_on = connection.is_paused && connection.has_room(&limits);
        self.counters.sent_bytes += written as u64;
        let has_room_again = self.release_output(written);
        if goes_on {
            self.list_ready(id);
        }
        goes_on || has_room_again
    }

    /// Counts output out; answers whether stalled connections go on by it.
    fn release_output(&mut self, length: usize) -> bool {
        let output_bytes_max = self.config.limits.output_bytes_max;
        let was_full = self.output_bytes >= output_bytes_max;
        self.output_bytes -= length;
        let goes_on = was_full && self.output_bytes < output_bytes_max && !self.stalled.is_empty();
        if goes_on {
            self.resume_stalled();
        }
        goes_on
    }

    pub(super) fn resume_stalled(&mut self) {
        for stalled in std::mem::take(&mut self.stalled) {
            self.list_ready(stalled);
        }
    }

    /// Whether a connection leaves, now that nothing of it is in flight.
    #[must_use]
    pub fn departure(&self, id: ConnectionId) -> Option<Departure> {
        let Some(connection) = self.connections.get(id.0) else { return Some(Departure::Close) };
        if !connection.output.is_empty() || connection.output_in_flight > 0 {
            return None;
        }
        match connection.stage {
            Stage::Closing => Some(Departure::Close),
            Stage::Moving { to, .. } => Some(Departure::Move(to)),
            _ if connection.is_input_closed && connection.requests_in_flight == 0 && !connection.is_paused => {
                Some(Departure::Close)
            }
            _ => None,
        }
    }

    /// What goes with a connection that moves on `socket`: everything that the other core must know of it.
    pub fn adopted(&mut self, id: ConnectionId, socket: OwnedFd) -> Option<AdoptedConnection> {
        let connection = self.connections.remove(id.0)?;
        self.input_bytes -= connection.input_bytes;
        let Stage::Moving { head, .. } = connection.stage else { return None };
        Some(AdoptedConnection {
            socket,
            peer: connection.peer,
            role: connection.role,
            features: connection.features,
            head,
            leftover: connection.reader.into_leftover(),
        })
    }

    /// Tells every client that the server goes. Other nodes see it by themselves, and what is under way here ends by what they say.
    pub(super) fn say_goodbye(&mut self) {
        let keys: Vec<_> = self.connections.keys().collect();
        for key in keys {
            let connection = self.connections.get_mut(key).expect("listed just now");
            if matches!(connection.stage, Stage::Open) && !connection.is_of_node() {
                let (notice, map_epoch) = (GoAway::shutting_down(GOODBYE_GRACE_MS), self.config.map_epoch);
                self.append_output(ConnectionId(key), |tables, output| notice.encode(map_epoch, tables, output));
            }
        }
    }

    pub(super) fn list_ready(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(id.0)
            && !std::mem::replace(&mut connection.is_listed_ready, true)
        {
            self.ready.push(id);
        }
    }

    pub(super) fn list_writable(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(id.0)
            && !std::mem::replace(&mut connection.is_listed_writable, true)
        {
            self.writable.push(id);
        }
    }

    /// Handles the whole frames that a connection has, as far as its bounds allow.
    pub(super) fn look_at_frames(&mut self, id: ConnectionId) {
        let limits = self.config.limits.connection;
        let Some(connection) = self.connections.get_mut(id.0) else { return };
        connection.is_listed_ready = false;
        connection.is_paused = false;
        let mut reader = std::mem::replace(&mut connection.reader, FrameReader::new(0));
        let mut is_behind_a_frame = false;
        loop {
            let Some(connection) = self.connections.get_mut(id.0) else { return };
            if matches!(connection.stage, Stage::Closing | Stage::Moving { .. }) {
                break;
            }
            // What other nodes say lets requests end: it must not wait until some have.
            let is_of_node = connection.is_of_node();
            if !is_of_node && !connection.has_room(&limits) {
                connection.is_paused = true;
                break;
            }
            let is_output_full = self.output_bytes >= self.config.limits.output_bytes_max && connection.has_output();
            let is_full = is_output_full || self.bytes_in_flight >= self.config.limits.bytes_in_flight_max;
            if is_full && !is_of_node {
                connection.is_paused = true;
                self.stalled.push(id);
                break;
            }
            match reader.next_frame() {
                Ok(Some(frame)) => {
                    is_behind_a_frame = true;
                    let is_admitted = self.handle_frame(id, &frame);
                    if is_admitted {
                        reader.set_body_limit(BODY_SIZE_BYTES_MAX);
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    self.close_with(id, error.code(), &error.to_string());
                    break;
                }
            }
        }
        let Some(connection) = self.connections.get_mut(id.0) else { return };
        if matches!(connection.stage, Stage::Closing) {
            reader = FrameReader::new(0);
        }
        self.input_bytes = self.input_bytes - connection.input_bytes + reader.pending_bytes();
        connection.input_bytes = reader.pending_bytes();
        connection.half_frame_since_ms = match connection.half_frame_since_ms {
            _ if connection.is_paused || connection.input_bytes == 0 => None,
            Some(since) if !is_behind_a_frame => Some(since),
            _ => Some(self.now.monotonic_ms),
        };
        connection.reader = reader;
        // A paused connection is read again once its frames were looked at.
        let is_leaving = matches!(connection.stage, Stage::Closing | Stage::Moving { .. });
        if connection.wants_read && !connection.is_paused && !is_leaving {
            connection.wants_read = false;
            self.readable.push(id);
        }
        // Even without output the driver looks whether the connection leaves.
        if self.departure(id).is_some() {
            self.list_writable(id);
        }
    }

    /// Keeps the memory of frames that do not arrive whole in bounds: who began first and is not done is the slowest.
    pub(super) fn give_up_half_frames(&mut self) {
        while self.input_bytes > self.config.limits.half_frame_bytes_max {
            let began = |key| Some((self.connections.get(key)?.half_frame_since_ms?, key));
            let Some((_, slowest)) = self.connections.keys().filter_map(began).min() else { return };
            self.close_with(ConnectionId(slowest), ErrorCode::Overloaded, "too much waits for the rest of its frame");
        }
    }

    /// Handles one frame; answers whether the handshake was completed by it.
    fn handle_frame(&mut self, id: ConnectionId, frame: &Frame<'_>) -> bool {
        let connection = self.connections.get_mut(id.0).expect("looked up by the caller");
        if let Stage::Dialled(dialled) = &connection.stage {
            let node = dialled.node;
            if let Err(message) = self.dialled_frame(id, frame) {
                if self.complaints.may_speak(self.now.monotonic_ms) {
                    tracing::warn!(%node, message, "a node does not take part");
                }
                self.link_down(node);
                self.close(id);
            }
            return false;
        }
        let Stage::Handshake(handshake) = &mut connection.stage else {
            self.handle_request(id, frame);
            return false;
        };
        let before = connection.output.len();
        let outcome = handshake.on_frame(frame, &self.config.handshake, &mut self.tables, &mut connection.output);
        self.output_bytes += connection.output.len() - before;
        let is_admitted = match outcome {
            Ok(None) => false,
            Ok(Some(accepted)) => {
                connection.role = accepted.role;
                connection.features = accepted.features;
                connection.stage = Stage::Open;
                self.handshaking -= 1;
                true
            }
            Err(error) => {
                if self.complaints.may_speak(self.now.monotonic_ms) {
                    tracing::warn!(peer = connection.peer, %error, "a handshake failed");
                }
                connection.stage = Stage::Closing;
                self.handshaking -= 1;
                false
            }
        };
        self.list_writable(id);
        is_admitted
    }

    fn handle_request(&mut self, id: ConnectionId, frame: &Frame<'_>) {
        let head = ReplyHead::to(&frame.header, self.config.map_epoch);
        let mut client = self.begin_request(id, head, REQUEST_SIZE_BYTES_MIN + frame.body.len());
        let Connection { role, features, .. } = self.connections.get(id.0).expect("looked up by the caller");
        let (role, has_receipts) = (*role, features.contains(Features::RECEIPTS));
        // Without the feature the flag stays, and is refused as one that nobody knows.
        let (wants_receipt, plain) = Receipt::take_from_request(frame);
        client.wants_receipt = wants_receipt && has_receipts;
        let frame = if has_receipts { &plain } else { frame };
        let reply_to = ReplyTo::Client(client);
        let taken = if features.contains(Features::SESSIONS) { SessionPrefix::take(frame) } else { Ok((None, *frame)) };
        let (session, frame) = match taken {
            Ok((session, rest)) => (session, rest),
            Err(error) => return self.refuse_body(id, reply_to, &error),
        };
        let frame = &frame;
        let admitted = frame.request().map_err(Refused::Body).and_then(|opcode| match opcode {
            Opcode::Put | Opcode::Delete => Ok(opcode),
            _ if session.is_some() => Err(Refused::Body(BodyError::Unsupported { what: "session prefix" })),
            _ => Ok(opcode),
        });
        let admitted = admitted.and_then(|opcode| match opcode {
            _ if !role.may(opcode) => Err(Refused::Code(ErrorCode::Forbidden)),
            Opcode::Ping | Opcode::Topology | Opcode::Status | Opcode::Histograms => Ok(opcode),
            // What is under way ends by what other nodes say.
            Opcode::PeerHello
            | Opcode::PeerTurn
            | Opcode::PeerTransfer
            | Opcode::PeerTransferReply
            | Opcode::PeerStateHashes => Ok(opcode),
            _ if self.is_draining => Err(Refused::Code(ErrorCode::ShuttingDown)),
            _ => Ok(opcode),
        });
        let outcome = admitted.and_then(|opcode| {
            let client = ClientReply { timed: timed_as(opcode), ..client };
            self.dispatch(client, opcode, session, frame)
        });
        match outcome {
            Ok(()) => {}
            Err(Refused::Code(code)) => self.deliver(reply_to, OperationResult::Failed(code.into())),
            Err(Refused::Body(error)) => self.refuse_body(id, reply_to, &error),
        }
    }

    fn refuse_body(&mut self, id: ConnectionId, reply_to: ReplyTo, error: &BodyError) {
        let failure = Failure::with_message(error.code(), error.to_string());
        self.deliver(reply_to, OperationResult::Failed(failure));
        if error.is_fatal() {
            self.close(id);
        }
    }

    fn dispatch(
        &mut self,
        client: ClientReply,
        opcode: Opcode,
        session: Option<SessionPrefix>,
        frame: &Frame<'_>,
    ) -> Result<(), Refused> {
        let session =
            session.map(|SessionPrefix { session, sequence, oldest }| SessionStamp { session, sequence, oldest });
        let deadline_ms = self.deadline_ms(frame);
        let reply_to = ReplyTo::Client(client);
        let to = |partition| Request { reply_to, partition, deadline_ms };
        match opcode {
            Opcode::Get => {
                let request = GetRequest::decode(frame)?;
                let partition = self.config.map.partition_of(request.slot.get());
                self.execute(to(partition), Operation::Get { key: request.key, level: read_level(request.level) });
            }
            Opcode::Put => {
                let request = PutRequest::decode(frame)?;
                request.value.verify()?;
                let partition = self.config.map.partition_of(request.slot.get());
                let operation = Operation::Put {
                    key: request.key,
                    value: request.value.bytes,
                    value_crc: request.value.crc,
                    ttl_ms: (request.ttl_ms > 0).then_some(request.ttl_ms),
                    durability: durability(request.durability),
                    session,
                };
                self.execute(to(partition), operation);
            }
            Opcode::Delete => {
                let request = DeleteRequest::decode(frame)?;
                let partition = self.config.map.partition_of(request.slot.get());
                let operation =
                    Operation::Delete { key: request.key, durability: durability(request.durability), session };
                self.execute(to(partition), operation);
            }
            Opcode::SessionOpen => {
                let request = SessionOpen::decode(frame)?;
                let partition = PartitionId(request.partition.0);
                self.check_partition(partition)?;
                self.execute(to(partition), Operation::OpenSession { ttl_ms: request.ttl_ms });
            }
            Opcode::SessionClose => {
                let request = SessionClose::decode(frame)?;
                let partition = PartitionId(request.partition.0);
                self.check_partition(partition)?;
                self.execute(to(partition), Operation::CloseSession { session: request.session });
            }
            Opcode::Batch => {
                let request = BatchRequest::decode(frame)?;
                let role = self.connections.get(client.connection.0).expect("looked up by the caller").role;
                if !role.includes(request.role_required()) {
                    return Err(Refused::Code(ErrorCode::Forbidden));
                }
                self.execute_batch(client, deadline_ms, &request);
            }
            Opcode::Scan => {
                let request = ScanRequest::decode(frame)?;
                let partition = PartitionId(request.partition.0);
                self.check_partition(partition)?;
                self.execute(to(partition), Operation::Scan(Box::new(page_request(&request))));
            }
            Opcode::ScanRelease => {
                let request = ScanRelease::decode(frame)?;
                let partition = PartitionId(request.partition.0);
                self.check_partition(partition)?;
                self.execute(to(partition), Operation::ReleaseSnapshot { snapshot: request.snapshot.0 });
            }
            Opcode::Bind => self.bind(client, Core(Bind::decode(frame)?.core.0))?,
            Opcode::PeerHello => {
                let hello = PeerHello::decode_request(frame)?;
                self.take_peer_hello(client, &hello);
            }
            Opcode::PeerTurn => {
                let turn = PeerTurn::decode(frame)?;
                self.take_peer_turn(self.node_at(client.connection)?, &turn);
                // It has no answer.
                self.answer(client, |_, _| {});
            }
            Opcode::PeerTransfer => {
                let part = PeerTransfer::decode(frame)?;
                self.take_transfer(self.node_at(client.connection)?, &part);
                self.answer(client, |_, _| {});
            }
            Opcode::PeerTransferReply => {
                let reply = PeerTransferReply::decode(frame)?;
                self.take_transfer_reply(self.node_at(client.connection)?, &reply);
                self.answer(client, |_, _| {});
            }
            Opcode::PeerStateHashes => {
                let hashes = PeerStateHashes::decode(frame)?;
                self.take_state_hashes(self.node_at(client.connection)?, &hashes);
                self.answer(client, |_, _| {});
            }
            Opcode::Ping => self.deliver(reply_to, OperationResult::Done),
            Opcode::Topology => self.answer_topology(client),
            Opcode::Status => self.gather_status(client),
            Opcode::Histograms => {
                let request = HistogramsRequest::decode(frame)?;
                let core = Core(request.core.0);
                if core.0 >= self.config.map.cores() {
                    return Err(Refused::Code(ErrorCode::StaleMap));
                }
                self.gather_histograms(client, core, request.operation);
            }
            _ => return Err(Refused::Body(BodyError::Unsupported { what: opcode.name() })),
        }
        Ok(())
    }

    /// The node whose core said that it is at the other end.
    fn node_at(&self, connection: ConnectionId) -> Result<corelode_raft::NodeId, Refused> {
        let connection = self.connections.get(connection.0).expect("looked up by the caller");
        connection.peer_node.ok_or(Refused::Code(ErrorCode::Forbidden))
    }

    fn deadline_ms(&self, frame: &Frame<'_>) -> u64 {
        let relative = match frame.header.fields.deadline_ms {
            0 => self.config.limits.deadline_default_ms,
            asked => u64::from(asked),
        };
        self.now.monotonic_ms.saturating_add(relative)
    }

    fn check_partition(&self, partition: PartitionId) -> Result<(), Refused> {
        if partition.0 < self.config.map.partition_count() { Ok(()) } else { Err(Refused::Code(ErrorCode::StaleMap)) }
    }

    fn bind(&mut self, client: ClientReply, to: Core) -> Result<(), Refused> {
        if to.0 >= self.config.map.cores() {
            return Err(Refused::Code(ErrorCode::StaleMap));
        }
        let connection = self.connections.get_mut(client.connection.0).expect("looked up by the caller");
        if connection.requests_in_flight > 1 {
            // Its answers could not follow it; a client binds before it asks for anything.
            return Err(Refused::Body(BodyError::Unsupported { what: "BIND with requests in flight" }));
        }
        if to == self.config.core {
            let reply = BindReply { core: corelode_net::CoreIndex(to.0) };
            self.answer(client, |tables, output| reply.encode(client.head, tables, output));
        } else {
            connection.stage = Stage::Moving { to, head: client.head };
            // The other core answers; here nothing remains to be said.
            self.answer(client, |_, _| {});
        }
        Ok(())
    }

    fn answer_bind(&mut self, id: ConnectionId, head: ReplyHead) {
        let core = corelode_net::CoreIndex(self.config.core.0);
        self.append_output(id, |tables, output| BindReply { core }.encode(head, tables, output));
    }

    /// Sends what is in the output, then closes.
    fn close(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(id.0) {
            if matches!(connection.stage, Stage::Handshake(_)) {
                self.handshaking -= 1;
            }
            connection.stage = Stage::Closing;
            connection.half_frame_since_ms = None;
            self.input_bytes -= std::mem::take(&mut connection.input_bytes);
            self.list_writable(id);
        }
    }

    fn close_with(&mut self, id: ConnectionId, code: ErrorCode, message: &str) {
        self.counters.errors += 1;
        if let Some(connection) = self.connections.get_mut(id.0) {
            if self.complaints.may_speak(self.now.monotonic_ms) {
                tracing::warn!(peer = connection.peer, %code, message, "a connection is closed");
            }
            let (error, map_epoch) = (ErrorReply::with_message(code, message), self.config.map_epoch);
            self.append_output(id, |tables, output| error.encode_for_connection(map_epoch, tables, output));
        }
        self.close(id);
    }
}

/// Whether the time of an operation is counted, and as what. What was refused at once is not.
fn timed_as(opcode: Opcode) -> Option<TimedOperation> {
    match opcode {
        Opcode::Get => Some(TimedOperation::Get),
        Opcode::Put => Some(TimedOperation::Put),
        Opcode::Delete => Some(TimedOperation::Delete),
        Opcode::Batch => Some(TimedOperation::Batch),
        Opcode::Scan => Some(TimedOperation::Scan),
        _ => None,
    }
}

/// Why a request is not carried out.
enum Refused {
    Code(ErrorCode),
    Body(BodyError),
}

impl From<BodyError> for Refused {
    fn from(error: BodyError) -> Self {
        Self::Body(error)
    }
}

fn page_request(request: &ScanRequest<'_>) -> ScanPageRequest {
    let bounded = |asked: u32, max: usize| if asked == 0 { max } else { (asked as usize).min(max) };
    ScanPageRequest {
        start: request.start.to_vec(),
        end: request.end.to_vec(),
        prefix: request.prefix.to_vec(),
        row_limit: bounded(request.row_limit, SCAN_PAGE_ROWS_MAX),
        byte_limit: bounded(request.byte_limit, SCAN_PAGE_BYTES_MAX),
        keys_only: request.keys_only,
        level: read_level(request.level),
        snapshot: request.snapshot.0,
        revision: Revision(request.revision.0),
        is_single: request.is_single_page,
    }
}

pub(super) fn read_level(level: corelode_net::body::ReadLevel) -> ReadLevel {
    match level {
        corelode_net::body::ReadLevel::Linearizable => ReadLevel::Linearizable,
        corelode_net::body::ReadLevel::Local => ReadLevel::Local,
    }
}

pub(super) fn durability(durability: corelode_net::body::Durability) -> Durability {
    match durability {
        corelode_net::body::Durability::Synced => Durability::Synced,
        corelode_net::body::Durability::Memory => Durability::Memory,
    }
}
