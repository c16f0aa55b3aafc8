//! Frames of every kind, and every decoder there is: what several tests go through.

// Each test is a crate of its own and uses a part of this.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used)]

use corelode_net::body::{
    BatchItem, BatchOperation, BatchReply, BatchReplyWriter, BatchRequest, BatchResult, BatchWriter, DeleteRequest,
    Durability, Found, GetReply, GetRequest, PutRequest, ReadLevel, ScanPage, ScanPageWriter, ScanRow, SessionClose,
    SessionOpen, SessionPrefix, Value, WriteReply,
};
use corelode_net::handshake::{
    ClientConfig, ClientHandshake, Credentials, Features, Nonce, Secret, Secrets, ServerConfig, ServerHandshake,
    VersionRange,
};
use corelode_net::limits::BODY_SIZE_BYTES_MAX;
use corelode_net::peer::{
    PeerAppend, PeerAppendOutcome, PeerAppendReply, PeerHello, PeerMessage, PeerStateHashes, PeerTransfer,
    PeerTransferOutcome, PeerTransferPart, PeerTransferReply, PeerTurn, PeerTurnWriter, PeerVoteKind, PeerVoteReply,
    PeerVoteRequest,
};
use corelode_net::table::{
    Bind, BindReply, CoreEntry, CoreStatus, Counter, ErrorReply, FollowerState, FollowerStatus, GoAway, Histograms,
    HistogramsRequest, LeaderHint, Limits, NodeEntry, PartitionEntry, ReplicaStatus, ScanRelease, ScanRequest,
    StageHistogram, Status, TableBuilder, Topology, counters, encode_empty_reply, encode_ping, encode_status_request,
    encode_topology_request,
};
use corelode_net::{
    BootId, ClusterId, CoreIndex, ErrorCode, Frame, FrameReader, Incarnation, LogIndex, LogPosition, MapEpoch, NodeId,
    Opcode, PartitionId, ReplyHead, RequestHead, RequestId, Revision, Role, Round, Slot, SnapshotToken, Term, slot_of,
};

pub const KEY: &[u8] = b"key-of-16-bytes!";
pub const HEAD: RequestHead = RequestHead { request_id: RequestId(0x0102), map_epoch: MapEpoch(7), deadline_ms: 1500 };
pub const CLUSTER: ClusterId = ClusterId(*b"0123456789abcdef");

pub fn reply_to(opcode: Opcode, target: u16) -> ReplyHead {
    ReplyHead { request_id: HEAD.request_id, opcode: opcode.to_wire(), target, map_epoch: MapEpoch(8) }
}

pub fn slot() -> Slot {
    slot_of(KEY)
}

pub fn put() -> PutRequest<'static> {
    PutRequest { slot: slot(), key: KEY, value: Value::new(b"a value"), ttl_ms: 60_000, durability: Durability::Memory }
}

pub fn found() -> Found<'static> {
    Found { revision: Revision(42), deadline_ms: 1_700_000_000_000, value: Value::new(b"a value") }
}

pub fn batch_items() -> Vec<BatchItem<'static>> {
    let item = |operation: BatchOperation<'static>| BatchItem { slot: slot_of(operation.key()), operation };
    vec![
        item(BatchOperation::Get { key: b"one" }),
        item(BatchOperation::Put { key: b"{two}", value: Value::new(b"2"), ttl_ms: 5 }),
        item(BatchOperation::Delete { key: b"three" }),
        item(BatchOperation::Put { key: b"four", value: Value::new(b""), ttl_ms: 0 }),
    ]
}

pub fn batch_results() -> Vec<BatchResult<'static>> {
    vec![
        BatchResult::Found(found()),
        BatchResult::Written { revision: Revision(9) },
        BatchResult::error(ErrorCode::NoSpace),
        BatchResult::Absent,
    ]
}

pub fn rows() -> Vec<ScanRow<'static>> {
    vec![
        ScanRow { key: b"a", revision: Revision(1), deadline_ms: 0, value: Value::new(b"first") },
        ScanRow { key: b"b", revision: Revision(3), deadline_ms: 9, value: Value::default() },
    ]
}

pub fn scan() -> ScanRequest<'static> {
    ScanRequest {
        partition: PartitionId(5),
        start: b"a",
        end: b"z",
        prefix: b"",
        row_limit: 100,
        byte_limit: 65_536,
        keys_only: true,
        level: ReadLevel::Local,
        revision: Revision(11),
        snapshot: SnapshotToken(12),
        is_single_page: false,
    }
}

pub fn topology() -> Topology {
    let slot = |number| Slot::new(number).unwrap();
    let entry = |partition, first, last, core| PartitionEntry {
        partition: PartitionId(partition),
        first_slot: slot(first),
        last_slot: slot(last),
        core: CoreIndex(core),
        log: u64::from(core),
        replicas: Vec::new(),
        leader: None,
    };
    Topology {
        cluster_id: CLUSTER,
        node_id: NodeId(3),
        map_epoch: MapEpoch(8),
        partitions: vec![entry(0, 0, 8_191, 0), entry(1, 8_192, 16_383, 1)],
        cores: vec![CoreEntry { core: CoreIndex(0), port: Some(7601) }, CoreEntry { core: CoreIndex(1), port: None }],
        nodes: Vec::new(),
    }
}

/// The same map of a server that replicates: three nodes, and a leader of one partition.
pub fn replicated_topology() -> Topology {
    let node = |node_id, address: &str, is_this_node, core_count| NodeEntry {
        node_id: NodeId(node_id),
        address: address.to_owned(),
        is_this_node,
        core_count,
    };
    let mut topology = topology();
    for partition in &mut topology.partitions {
        partition.replicas = [1, 2, 3].map(NodeId).to_vec();
    }
    topology.partitions[1].leader = Some(NodeId(2));
    topology.nodes = vec![
        node(1, "10.0.0.1:7600", false, 4),
        node(2, "[fd00::2]:7600", false, 0),
        node(3, "three.example:7600", true, 2),
    ];
    topology
}

pub fn status() -> Status {
    let core = |core| CoreStatus {
        core: CoreIndex(core),
        counters: vec![
            Counter { name: counters::CONNECTIONS.to_owned(), value: 2 },
            Counter { name: counters::REQUESTS_TOTAL.to_owned(), value: u64::MAX / 4 },
        ],
        replicas: Vec::new(),
        followers: Vec::new(),
    };
    Status {
        server_version: "0.1.0".to_owned(),
        uptime_ms: 12_345,
        cluster_id: CLUSTER,
        node_id: NodeId(3),
        incarnation: 0,
        cores: vec![core(0), core(1)],
    }
}

/// The status of a node that replicates: it leads one partition and follows in another.
pub fn replicated_status() -> Status {
    let replica = |partition, leader| ReplicaStatus { partition, leader, last_index: 90, committed_index: 88 };
    let follower = |node_id, matched_index, state| {
        let partition = PartitionId(0);
        FollowerStatus { partition, node_id: NodeId(node_id), matched_index, state }
    };
    let mut status = status();
    status.incarnation = 0x0123_4567_89AB_CDEF;
    status.cores[0].replicas = vec![replica(PartitionId(0), Some(NodeId(3))), replica(PartitionId(2), None)];
    status.cores[0].followers =
        vec![follower(1, 88, FollowerState::Replicate), follower(2, 5, FollowerState::Snapshot)];
    status
}

pub fn histograms() -> Histograms {
    let stage = |stage: &str, v2: &[u8]| StageHistogram { stage: stage.to_owned(), v2: v2.to_vec() };
    Histograms {
        core: CoreIndex(1),
        operations: vec!["get".to_owned(), "put".to_owned()],
        stages: vec![stage("queue", b"\x1c\x84\x93\x13"), stage("residency", b"")],
    }
}

pub fn error_reply() -> ErrorReply<'static> {
    ErrorReply {
        resume_key: b"resume",
        core: Some(CoreIndex(0)),
        ..ErrorReply::with_message(ErrorCode::SnapshotExpired, "Gone.")
    }
}

pub fn not_leader() -> ErrorReply<'static> {
    let leader = Some(LeaderHint { node_id: NodeId(2), address: "[fd00::2]:7600" });
    ErrorReply { leader, ..ErrorReply::with_message(ErrorCode::NotLeader, "Elsewhere.") }
}

pub fn peer_hello() -> PeerHello<'static> {
    PeerHello {
        cluster_id: CLUSTER,
        node_id: NodeId(1),
        to_node_id: NodeId(3),
        incarnation: Incarnation(0x1234_5678_9abc_def0),
        boot: BootId(0x0b00_7000),
        core: CoreIndex(1),
        core_count: 2,
        partition_count: 16,
        members: "1=10.0.0.1:7600 2=10.0.0.2:7600 3=10.0.0.3:7600",
    }
}

pub fn position(term: u64, index: u64) -> LogPosition {
    LogPosition { term: Term(term), index: LogIndex(index) }
}

pub fn append() -> PeerAppend {
    PeerAppend {
        term: Term(5),
        previous: position(3, 41),
        committed: LogIndex(40),
        round: Round(17),
        is_round_awaited: true,
        is_receipt_awaited: true,
        is_quiet: false,
    }
}

/// One message of every kind but Append, and all outcomes of that.
pub fn plain_messages() -> Vec<PeerMessage<'static>> {
    let request = PeerVoteRequest { kind: PeerVoteKind::Transfer, term: Term(6), last: position(5, 42) };
    let reply = PeerVoteReply { is_pre: true, term: Term(6), is_granted: true };
    let stored = PeerAppendReply {
        term: Term(5),
        round: Round(17),
        is_quiet: true,
        outcome: PeerAppendOutcome::Stored(LogIndex(42)),
    };
    let received = PeerAppendOutcome::Received(LogIndex(42));
    let outcome = PeerAppendOutcome::Rejected { previous: LogIndex(41), hint: position(2, 12) };
    vec![
        PeerMessage::VoteRequest(request),
        PeerMessage::VoteReply(reply),
        PeerMessage::AppendReply(stored),
        PeerMessage::AppendReply(PeerAppendReply { outcome: received, is_quiet: false, ..stored }),
        PeerMessage::AppendReply(PeerAppendReply { outcome, ..stored }),
        PeerMessage::TimeoutNow { term: Term(5) },
    ]
}

pub fn secret(text: &str) -> Secret {
    Secret::new(text.as_bytes()).unwrap()
}

pub fn client_config(credentials: Option<Credentials>) -> ClientConfig {
    ClientConfig {
        versions: VersionRange::CURRENT,
        features: Features::NONE,
        client_name: "a test".to_owned(),
        credentials,
    }
}

pub fn server_config(secrets: Secrets) -> ServerConfig {
    ServerConfig {
        versions: VersionRange::CURRENT,
        features: Features::NONE,
        server_version: "0.1.0".to_owned(),
        cluster_id: CLUSTER,
        node_id: NodeId(3),
        core: CoreIndex(1),
        core_count: 2,
        map_epoch: MapEpoch(8),
        limits: Limits::default(),
        secrets,
    }
}

/// One frame of every kind, with its name.
pub fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let mut tables = TableBuilder::new();
    let tables = &mut tables;
    let mut samples = Vec::new();
    let mut add = |name, encode: &mut dyn FnMut(&mut Vec<u8>)| {
        let mut out = Vec::new();
        encode(&mut out);
        samples.push((name, out));
    };
    let (get, delete) = (
        GetRequest { slot: slot(), key: KEY, level: ReadLevel::Linearizable },
        DeleteRequest { slot: slot(), key: KEY, durability: Durability::Synced },
    );
    let written = WriteReply { revision: Revision(43), durability: Durability::Synced };
    add("GET", &mut |out| get.encode(HEAD, out));
    add("GET reply, found", &mut |out| {
        GetReply::Found(found()).encode(reply_to(Opcode::Get, slot().get()), out);
    });
    add("GET reply, absent", &mut |out| GetReply::Absent.encode(reply_to(Opcode::Get, slot().get()), out));
    add("PUT", &mut |out| put().encode(HEAD, out));
    add("PUT reply", &mut |out| written.encode(reply_to(Opcode::Put, slot().get()), out));
    add("DELETE", &mut |out| delete.encode(HEAD, out));
    add("DELETE reply", &mut |out| written.encode(reply_to(Opcode::Delete, slot().get()), out));
    add("BATCH", &mut |out| {
        let mut batch = BatchWriter::begin(out, Durability::Memory, ReadLevel::Local);
        for item in batch_items() {
            batch.push(&item).unwrap();
        }
        batch.finish(HEAD);
    });
    add("BATCH reply", &mut |out| {
        let results = batch_results();
        let mut reply = BatchReplyWriter::begin(out, reply_to(Opcode::Batch, 0), Durability::Memory, results.len());
        results.iter().for_each(|result| reply.push(result));
        reply.finish();
    });
    add("SCAN", &mut |out| scan().encode(HEAD, tables, out));
    add("SCAN reply", &mut |out| {
        let mut page = ScanPageWriter::begin(out, reply_to(Opcode::Scan, 5), 0, 0);
        for row in rows() {
            assert!(page.push(&row));
        }
        page.finish(Revision(11), SnapshotToken(12), Some(b"c"), tables);
    });
    add("SCAN reply, done", &mut |out| {
        let page = ScanPageWriter::begin(out, reply_to(Opcode::Scan, 5), 0, 0);
        page.finish(Revision(11), SnapshotToken(0), None, tables);
    });
    let release = ScanRelease { partition: PartitionId(5), snapshot: SnapshotToken(12) };
    add("SCAN_RELEASE", &mut |out| release.encode(HEAD, tables, out));
    add("SCAN_RELEASE reply", &mut |out| encode_empty_reply(reply_to(Opcode::ScanRelease, 5), out));
    let session = SessionPrefix { session: 5, sequence: 7, oldest: 6 };
    add("PUT in a session", &mut |out| put().encode_in_session(session, HEAD, out));
    add("DELETE in a session", &mut |out| {
        DeleteRequest { slot: slot(), key: put().key, durability: Durability::Synced }
            .encode_in_session(session, HEAD, out);
    });
    let open = SessionOpen { partition: PartitionId(5), ttl_ms: 60_000 };
    add("SESSION_OPEN", &mut |out| open.encode(HEAD, out));
    let close = SessionClose { partition: PartitionId(5), session: 3 };
    add("SESSION_CLOSE", &mut |out| close.encode(HEAD, out));
    add("PING", &mut |out| encode_ping(HEAD, out));
    add("PING reply", &mut |out| encode_empty_reply(reply_to(Opcode::Ping, 0), out));
    add("BIND", &mut |out| Bind { core: CoreIndex(1) }.encode(HEAD, tables, out));
    add("BIND reply", &mut |out| BindReply { core: CoreIndex(1) }.encode(reply_to(Opcode::Bind, 0), tables, out));
    add("TOPOLOGY", &mut |out| encode_topology_request(HEAD, out));
    add("TOPOLOGY reply", &mut |out| topology().encode(reply_to(Opcode::Topology, 0), tables, out));
    add("TOPOLOGY reply, replicated", &mut |out| {
        replicated_topology().encode(reply_to(Opcode::Topology, 0), tables, out);
    });
    add("STATUS", &mut |out| encode_status_request(HEAD, out));
    add("STATUS reply", &mut |out| status().encode(reply_to(Opcode::Status, 0), tables, out));
    add("STATUS reply of a replicating server", &mut |out| {
        replicated_status().encode(reply_to(Opcode::Status, 0), tables, out);
    });
    add("HISTOGRAMS", &mut |out| HistogramsRequest { core: CoreIndex(1), operation: "get" }.encode(HEAD, tables, out));
    add("HISTOGRAMS reply", &mut |out| histograms().encode(reply_to(Opcode::Histograms, 0), tables, out));
    add("error of a SCAN", &mut |out| error_reply().encode(reply_to(Opcode::Scan, 5), tables, out));
    add("error of a PUT, not the leader", &mut |out| {
        not_leader().encode(reply_to(Opcode::Put, slot().get()), tables, out);
    });
    add("CONNECTION_ERROR", &mut |out| {
        ErrorReply::new(ErrorCode::Malformed).encode_for_connection(MapEpoch(8), tables, out);
    });
    add("GO_AWAY", &mut |out| GoAway::shutting_down(5_000).encode(MapEpoch(8), tables, out));

    add("PEER_HELLO", &mut |out| peer_hello().encode_request(HEAD, tables, out));
    add("PEER_HELLO reply", &mut |out| {
        let hello = PeerHello { node_id: NodeId(3), to_node_id: NodeId(1), ..peer_hello() };
        hello.encode_reply(reply_to(Opcode::PeerHello, 0), tables, out);
    });
    add("PEER_TURN", &mut |out| {
        let mut turn = PeerTurnWriter::begin(out, BootId(0x0b00_7000), 3);
        let mut entries = turn.begin_append(PartitionId(4), &append()).unwrap();
        assert!(entries.push_entry(Term(4), b"an entry") && entries.push_entry(Term(5), b""));
        entries.finish();
        for (partition, message) in (5..).map(PartitionId).zip(plain_messages()) {
            assert!(turn.push(partition, &message));
        }
        turn.finish(HEAD);
    });
    let transfer = |sequence, part| PeerTransfer { transfer: 7, partition: PartitionId(4), sequence, part };
    let begin = PeerTransferPart::Begin { position: position(5, 42), table_count: 1 };
    add("PEER_TRANSFER, begin", &mut |out| transfer(0, begin).encode(HEAD, out));
    let table = PeerTransferPart::Table { level: 2, description: b"what describes it" };
    add("PEER_TRANSFER, table", &mut |out| transfer(1, table).encode(HEAD, out));
    let piece = PeerTransferPart::Piece { offset: 262_144, bytes: b"bytes of the table" };
    add("PEER_TRANSFER, piece", &mut |out| transfer(2, piece).encode(HEAD, out));
    add("PEER_TRANSFER, end", &mut |out| transfer(3, PeerTransferPart::End).encode(HEAD, out));
    add("PEER_TRANSFER, cancel", &mut |out| transfer(3, PeerTransferPart::Cancel).encode(HEAD, out));
    let reply = |outcome| PeerTransferReply { transfer: 7, partition: PartitionId(4), sequence: 3, outcome };
    add("PEER_TRANSFER_REPLY, taken", &mut |out| reply(PeerTransferOutcome::Taken).encode(HEAD, out));
    add("PEER_TRANSFER_REPLY, done", &mut |out| reply(PeerTransferOutcome::Done).encode(HEAD, out));
    let refused = PeerTransferOutcome::Refused { message: "the disk is full" };
    add("PEER_TRANSFER_REPLY, refused", &mut |out| reply(refused).encode(HEAD, out));
    add("PEER_TRANSFER_REPLY, needed", &mut |out| reply(PeerTransferOutcome::Needed).encode(HEAD, out));
    let damaged = PeerTransferOutcome::Damaged { message: "table 7 at 4096" };
    add("PEER_TRANSFER_REPLY, damaged", &mut |out| reply(damaged).encode(HEAD, out));
    add("PEER_STATE_HASHES", &mut |out| {
        PeerStateHashes::encode(PartitionId(4), LogIndex(42), [0x0123_4567_89ab_cdef, 7], HEAD, out);
    });
    add("PEER_TURN, a beat", &mut |out| {
        PeerTurnWriter::begin(out, BootId(0x0b00_7000), 4).finish(HEAD);
    });

    let credentials = Credentials { role: Role::Write, secret: secret("a secret for writers") };
    let (client, server) = (
        client_config(Some(credentials.clone())),
        server_config(Secrets::default().with(Role::Write, credentials.secret.clone())),
    );
    let (mut hello, mut welcome, mut auth, mut proof) = Default::default();
    let mut client_end = ClientHandshake::begin(&client, Nonce([1; 32]), tables, &mut hello);
    let mut server_end = ServerHandshake::new(Nonce([2; 32]));
    with_frame(&hello, |frame| server_end.on_frame(frame, &server, tables, &mut welcome)).unwrap();
    with_frame(&welcome, |frame| client_end.on_frame(frame, &client, tables, &mut auth)).unwrap();
    with_frame(&auth, |frame| server_end.on_frame(frame, &server, tables, &mut proof)).unwrap();
    samples.push(("HELLO", hello));
    samples.push(("HELLO reply: welcome", welcome));
    samples.push(("AUTH", auth));
    samples.push(("AUTH reply", proof));
    samples
}

/// Hands the one frame that `bytes` holds to `use_frame`.
pub fn with_frame<R>(bytes: &[u8], use_frame: impl FnOnce(&Frame<'_>) -> R) -> R {
    let mut reader = FrameReader::new(BODY_SIZE_BYTES_MAX);
    reader.push(bytes);
    let result = use_frame(&reader.next_frame().unwrap().expect("a whole frame"));
    assert_eq!(reader.pending_bytes(), 0);
    result
}

/// Lets every decoder look at the frame, and walks whatever one of them accepts. Returns how many did.
pub fn decode_everything(frame: &Frame<'_>) -> usize {
    let mut accepted = 0;
    let mut count = |is_ok: bool| accepted += usize::from(is_ok);
    let _ = frame.request();
    let _ = frame.inbound();
    if let Ok((Some(_), rest)) = SessionPrefix::take(frame) {
        count(PutRequest::decode(&rest).is_ok() || DeleteRequest::decode(&rest).is_ok());
    }
    count(SessionOpen::decode(frame).is_ok());
    count(SessionClose::decode(frame).is_ok());
    count(GetRequest::decode(frame).is_ok());
    count(GetReply::decode(frame).is_ok());
    count(PutRequest::decode(frame).is_ok());
    count(DeleteRequest::decode(frame).is_ok());
    count(WriteReply::decode(frame, Opcode::Put).is_ok());
    count(WriteReply::decode(frame, Opcode::Delete).is_ok());
    count(BatchRequest::decode(frame).is_ok_and(|batch| {
        assert_eq!(batch.items().count(), batch.count());
        true
    }));
    count(BatchReply::decode(frame).is_ok_and(|reply| {
        assert_eq!(reply.results().count(), reply.count());
        true
    }));
    count(ScanRequest::decode(frame).is_ok());
    count(ScanPage::decode(frame).is_ok_and(|page| {
        assert_eq!(page.rows().count(), page.count());
        true
    }));
    count(ScanRelease::decode(frame).is_ok());
    count(Bind::decode(frame).is_ok());
    count(BindReply::decode(frame).is_ok());
    count(Topology::decode(frame).is_ok());
    count(Status::decode(frame).is_ok());
    count(HistogramsRequest::decode(frame).is_ok());
    count(Histograms::decode(frame).is_ok());
    count(GoAway::decode(frame).is_ok());
    count(ErrorReply::decode(frame).is_ok());
    count(PeerHello::decode_request(frame).is_ok());
    count(PeerHello::decode_reply(frame).is_ok());
    count(PeerTransfer::decode(frame).is_ok());
    count(PeerTransferReply::decode(frame).is_ok());
    count(PeerStateHashes::decode(frame).is_ok());
    count(PeerTurn::decode(frame).is_ok_and(|turn| {
        assert_eq!(turn.messages().count(), turn.count());
        for (_, message) in turn.messages() {
            if let PeerMessage::Append(_, entries) = message {
                assert_eq!(entries.len(), entries.count());
            }
        }
        true
    }));
    let mut tables = TableBuilder::new();
    let mut out = Vec::new();
    let server = server_config(Secrets::default().with(Role::Read, secret("a secret for readers")));
    let client = client_config(Some(Credentials { role: Role::Read, secret: secret("a secret for readers") }));
    let mut server_end = ServerHandshake::new(Nonce([2; 32]));
    count(server_end.on_frame(frame, &server, &mut tables, &mut out).is_ok());
    let mut client_end = ClientHandshake::begin(&client, Nonce([1; 32]), &mut tables, &mut out);
    count(client_end.on_frame(frame, &client, &mut tables, &mut out).is_ok());
    accepted
}
