//! Scans against a server that answers from sets of keys: short pages, snapshots that are gone, refusals.

use std::collections::{BTreeMap, BTreeSet};

use corelode_net::body::{ScanPageWriter, ScanRow};
use corelode_net::limits::BODY_SIZE_BYTES_MAX;
use corelode_net::table::{CoreEntry, PartitionEntry, ScanRequest, encode_empty_reply};
use corelode_net::{ClusterId, FrameReader, NodeId, PartitionId, ReplyHead, Revision, SnapshotToken};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::connection::Stage;
use super::*;

const PARTITIONS: u16 = 8;
const CORES: u16 = 2;
const REVISION: Revision = Revision(7);

/// The keys of each partition, and the snapshots that are held.
struct FakeServer {
    keys: Vec<BTreeSet<Vec<u8>>>,
    snapshots: BTreeSet<(u16, u64)>,
    snapshot_last: u64,
    random: StdRng,
    /// Whether single pages are known.
    is_new: bool,
    /// How many of a hundred further pages find their snapshot gone.
    expired_percent: u32,
    /// How many of a hundred pages have fewer rows than were asked for.
    short_percent: u32,
    /// How many of a hundred pages are refused.
    refused_percent: u32,
    pages: BTreeMap<u16, u32>,
    rows: usize,
}

impl FakeServer {
    fn new(seed: u64, keys: Vec<BTreeSet<Vec<u8>>>) -> Self {
        Self {
            keys,
            snapshots: BTreeSet::new(),
            snapshot_last: 0,
            random: StdRng::seed_from_u64(seed),
            is_new: true,
            expired_percent: 0,
            short_percent: 0,
            refused_percent: 0,
            pages: BTreeMap::new(),
            rows: 0,
        }
    }

    fn is_chosen(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    fn answer(&mut self, request: &[u8], out: &mut Vec<u8>) {
        let mut reader = FrameReader::new(BODY_SIZE_BYTES_MAX);
        reader.push(request);
        while let Some(frame) = reader.next_frame().expect("whole frames") {
            let head = ReplyHead::to(&frame.header, MapEpoch(1));
            if let Ok(release) = ScanRelease::decode(&frame) {
                assert!(self.snapshots.remove(&(release.partition.0, release.snapshot.0)), "{release:?} is held");
                encode_empty_reply(head, out);
            } else {
                self.answer_page(head, &ScanRequest::decode(&frame).expect("a page is asked for"), out);
            }
        }
    }

    fn answer_page(&mut self, head: ReplyHead, request: &ScanRequest<'_>, out: &mut Vec<u8>) {
        let (partition, mut tables) = (request.partition.0, TableBuilder::new());
        *self.pages.entry(partition).or_default() += 1;
        if self.is_chosen(self.refused_percent) {
            return ErrorReply::new(ErrorCode::Overloaded).encode(head, &mut tables, out);
        }
        let held = (partition, request.snapshot.0);
        if request.snapshot != SnapshotToken(0) {
            assert!(self.snapshots.contains(&held) && request.revision == REVISION, "{request:?} names a snapshot");
            if self.is_chosen(self.expired_percent) {
                self.snapshots.remove(&held);
                let error = ErrorReply { resume_key: request.start, ..ErrorReply::new(ErrorCode::SnapshotExpired) };
                return error.encode(head, &mut tables, out);
            }
        }
        let is_short = self.is_chosen(self.short_percent);
        let row_limit = if is_short { self.random.random_range(0..=request.row_limit) } else { request.row_limit };
        let mut rest = self.keys[usize::from(partition)].range(request.start.to_vec()..);
        let mut page = ScanPageWriter::begin(out, head, 0, 0);
        for key in rest.by_ref().take(row_limit as usize) {
            let row = ScanRow { key, revision: REVISION, deadline_ms: 0, value: Value::new(b"value") };
            assert!(page.push(&row));
            self.rows += 1;
        }
        let resume_key = rest.next();
        let is_single = self.is_new && request.is_single_page;
        let snapshot = match (resume_key, request.snapshot.0) {
            (None, token) => {
                self.snapshots.remove(&(partition, token));
                0
            }
            (Some(_), 0) if is_single => 0,
            (Some(_), 0) => {
                self.snapshot_last += 1;
                self.snapshots.insert((partition, self.snapshot_last));
                self.snapshot_last
            }
            (Some(_), token) => token,
        };
        page.finish(REVISION, SnapshotToken(snapshot), resume_key.map(Vec::as_slice), &mut tables);
    }
}

fn session() -> NativeSession {
    let handshake = Arc::new(ClientConfig {
        versions: VersionRange::CURRENT,
        features: Features::NONE,
        client_name: "test".to_owned(),
        credentials: None,
    });
    let connection = |core| {
        let mut connection = Connection::new(Some(CoreIndex(core)), &handshake).expect("randomness");
        connection.outbound.clear();
        connection.reader.set_body_limit(BODY_SIZE_BYTES_MAX);
        connection.stage = Stage::Ready;
        connection
    };
    let entry = |partition: u16| PartitionEntry {
        partition: PartitionId(partition),
        first_slot: Slot::new(partition * 2048).expect("a slot"),
        last_slot: Slot::new(partition * 2048 + 2047).expect("a slot"),
        core: CoreIndex(partition % CORES),
        log: 0,
        replicas: Vec::new(),
        leader: None,
    };
    let topology = Topology {
        cluster_id: ClusterId([1; 16]),
        node_id: NodeId(1),
        map_epoch: MapEpoch(1),
        partitions: (0..PARTITIONS).map(entry).collect(),
        cores: (0..CORES).map(|core| CoreEntry { core: CoreIndex(core), port: None }).collect(),
        nodes: Vec::new(),
    };
    let map = Map::of(&topology, SocketAddr::from(([127, 0, 0, 1], 1))).expect("a map");
    NativeSession {
        connections: (0..CORES).map(connection).collect(),
        durability: Durability::Memory,
        map: Arc::new(map),
        asked: Vec::new(),
        scans: Vec::new(),
        tables: TableBuilder::new(),
    }
}

/// Moves bytes between the two, a connection after the other, until nothing is left to be said.
fn converse(session: &mut NativeSession, server: &mut FakeServer) -> Vec<Answer> {
    let mut answers = Vec::new();
    loop {
        let connection = server.random.random_range(0..usize::from(CORES));
        let all: usize = session.connections.iter().map(|connection| connection.outbound.len()).sum();
        let request = std::mem::take(session.outbound(connection));
        let mut reply = Vec::new();
        server.answer(&request, &mut reply);
        // In two pieces, as a socket may give it.
        let (first, second) = reply.split_at(server.random.random_range(0..=reply.len()));
        for piece in [first, second] {
            session.receive(connection, piece, &mut answers).expect("the server keeps to its protocol");
        }
        if all == 0 {
            return answers;
        }
    }
}

fn keys_of(number: u64) -> Vec<u8> {
    format!("key-{number:04}").into_bytes()
}

/// Keys over partitions: spread, or all in a few.
fn distribute(random: &mut StdRng, count: u64) -> Vec<BTreeSet<Vec<u8>>> {
    let used = random.random_range(1..=PARTITIONS);
    let mut keys = vec![BTreeSet::new(); usize::from(PARTITIONS)];
    for number in 0..count {
        keys[usize::from(random.random_range(0..used))].insert(keys_of(number));
    }
    keys
}

#[test]
fn a_scan_is_done_once_the_smallest_rows_have_come_however_they_are_spread() {
    for seed in 0..400 {
        let mut random = StdRng::seed_from_u64(seed);
        let count = random.random_range(0..300);
        let mut server = FakeServer::new(seed, distribute(&mut random, count));
        server.is_new = seed % 5 != 0;
        server.short_percent = [0, 30][usize::from(seed % 2 == 1)];
        server.expired_percent = [0, 0, 5][usize::try_from(seed % 3).expect("small")];
        let mut session = session();
        // Several at once, and tickets used again.
        for _ in 0..3 {
            let scans: Vec<(u64, u32)> =
                (0..4).map(|_| (random.random_range(0..=count), random.random_range(1..120))).collect();
            for (ticket, (start, rows)) in (0..).zip(&scans) {
                session.submit(Ticket(ticket), Request::Scan { start: &keys_of(*start), rows: *rows });
            }
            let answers = converse(&mut session, &mut server);
            assert_eq!(answers.len(), scans.len(), "seed {seed}: each is answered once");
            for Answer { ticket, outcome } in answers {
                let (start, rows) = scans[ticket.0 as usize];
                if outcome == Outcome::Failed("SNAPSHOT_EXPIRED".to_owned()) && server.expired_percent > 0 {
                    continue;
                }
                assert_eq!(outcome, Outcome::Done, "seed {seed}");
                let expected: Vec<_> = (start..count).take(rows as usize).map(keys_of).collect();
                assert_eq!(session.scans[ticket.0 as usize].keys(), expected, "seed {seed}");
            }
            assert_eq!(server.snapshots, BTreeSet::new(), "seed {seed}: all are released");
        }
    }
}

#[test]
fn a_refused_page_fails_its_scan_and_releases_the_snapshots_of_the_others() {
    let mut failed = 0;
    for seed in 0..200 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut server = FakeServer::new(seed, distribute(&mut random, 200));
        (server.is_new, server.short_percent, server.refused_percent) = (false, 50, 3);
        let mut session = session();
        session.submit(Ticket(0), Request::Scan { start: b"", rows: 50 });
        let answers = converse(&mut session, &mut server);
        assert_eq!(answers.len(), 1);
        if answers[0].outcome == Outcome::Failed("OVERLOADED".to_owned()) {
            failed += 1;
        } else {
            assert_eq!(answers[0].outcome, Outcome::Done);
        }
        assert_eq!(server.snapshots, BTreeSet::new(), "seed {seed}");
    }
    assert!((20..180).contains(&failed), "{failed} of 200");
}

#[test]
fn of_keys_that_a_hash_spreads_each_partition_is_asked_about_once_for_its_share() {
    const SCANS: u32 = 200;
    let mut random = StdRng::seed_from_u64(1);
    let mut keys = vec![BTreeSet::new(); usize::from(PARTITIONS)];
    for number in 0..5_000 {
        keys[usize::from(random.random_range(0..PARTITIONS))].insert(keys_of(number));
    }
    let mut server = FakeServer::new(1, keys);
    let mut session = session();
    for _ in 0..SCANS {
        let start = keys_of(random.random_range(0..4_000));
        session.submit(Ticket(0), Request::Scan { start: &start, rows: 50 });
        assert_eq!(converse(&mut session, &mut server)[0].outcome, Outcome::Done);
    }
    let pages: u32 = server.pages.values().sum();
    assert!(pages <= SCANS * u32::from(PARTITIONS) * 102 / 100, "{pages} pages for {SCANS} scans");
    assert!(server.rows <= 3 * 50 * SCANS as usize, "{} rows for {SCANS} scans of 50", server.rows);
}

#[test]
fn a_page_that_nobody_asked_for_ends_the_session() {
    let mut session = session();
    let mut server = FakeServer::new(1, vec![BTreeSet::new(); usize::from(PARTITIONS)]);
    session.submit(Ticket(0), Request::Scan { start: b"", rows: 5 });
    let request = std::mem::take(session.outbound(0));
    let mut reply = Vec::new();
    server.answer(&request, &mut reply);
    let mut answers = Vec::new();
    session.receive(0, &reply, &mut answers).expect("asked for");
    assert!(session.receive(0, &reply, &mut answers).is_err());
    assert_eq!(answers, []);
}
