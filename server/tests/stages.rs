//! A shard without a socket, a disk or a clock: what it says of where the time went, to the nanosecond.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use corelode_engine::data_directory::{OpenOptions, open_data_directory};
use corelode_engine::env::Environment;
use corelode_engine::env::simulated::{SimulatedEnvironment, SimulationOptions};
use corelode_engine::log::LogOptions;
use corelode_engine::options::Options;
use corelode_net::body::{
    BatchItem, BatchOperation, BatchWriter, Durability, GetRequest, PutRequest, ReadLevel, Receipt, Value,
};
use corelode_net::handshake::{ClientConfig, ClientHandshake, Features, Nonce, Secrets, ServerConfig, VersionRange};
use corelode_net::limits::BODY_SIZE_BYTES_MAX;
use corelode_net::table::{Histograms, HistogramsRequest, Limits, TableBuilder};
use corelode_net::{
    ClusterId, CoreIndex, Frame, FrameReader, Inbound, MapEpoch, NodeId, RequestHead, RequestId, slot_of,
};
use corelode_server::shard::{ConnectionId, Core, Now, PartitionMap, Shard, ShardConfig, ShardLimits};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;

const SYNC: Duration = Duration::from_millis(20);

/// One core, and the time, which passes where the test says so.
struct OneCore {
    environment: SimulatedEnvironment,
    shard: Shard<SimulatedEnvironment>,
    connection: ConnectionId,
    reader: FrameReader,
    id_last: u64,
    now_ns: Cell<u64>,
}

impl OneCore {
    fn start() -> Self {
        Self::start_with(Options::tiny())
    }

    fn start_with(options: Options) -> Self {
        let environment = SimulatedEnvironment::new(SimulationOptions::in_order());
        // Segments that none of these tests fills.
        let log = LogOptions { segment_size_bytes: 4 * 1024 * 1024, segments_max: 4 };
        let store = Options { log, ..options };
        let options = OpenOptions { cores: 1, partition_count: Some(4), membership: None, store };
        let opened = environment.run_until(open_data_directory(&environment, Path::new("/data"), options));
        let mut directory = opened.expect("no crash was planned").expect("a new directory opens");
        let start = directory.cores.pop().expect("there is one core");
        let config = ShardConfig {
            core: Core(0),
            map: PartitionMap::new(4, 1),
            map_epoch: MapEpoch(1),
            logs: vec![start.log().0],
            core_ports: vec![None],
            handshake: ServerConfig {
                versions: VersionRange::CURRENT,
                features: Features::RECEIPTS,
                server_version: "test".to_owned(),
                cluster_id: ClusterId([1; 16]),
                node_id: NodeId(1),
                core: CoreIndex(0),
                core_count: 1,
                map_epoch: MapEpoch(1),
                limits: Limits::default(),
                secrets: Secrets::default(),
            },
            limits: ShardLimits::default(),
            incarnation: 1,
            cluster: None,
            peer_credentials: None,
        };
        let now_ns = Cell::new(1_000_000_000);
        let mut shard = Shard::new(config, start.into_store(), now(&now_ns));
        let opened = shard.connection_opened("test".to_owned(), [9; 32], now(&now_ns));
        let connection = opened.expect("there is room for a connection");
        let reader = FrameReader::new(BODY_SIZE_BYTES_MAX);
        let mut core = Self { environment, shard, connection, reader, id_last: 1, now_ns };
        core.shake_hands();
        core.open_segment();
        core
    }

    /// The first write after a start opens a segment, which takes writes of its own.
    fn open_segment(&mut self) {
        let put = self.put(b"first of all");
        self.receive(&put);
        self.turn();
        while self.write_log(Duration::ZERO) {}
        self.send(Duration::ZERO);
        self.receipt();
    }

    fn shake_hands(&mut self) {
        let config = ClientConfig {
            versions: VersionRange::CURRENT,
            features: Features::RECEIPTS,
            client_name: "test".to_owned(),
            credentials: None,
        };
        let (mut tables, mut out) = (TableBuilder::new(), Vec::new());
        let mut handshake = ClientHandshake::begin(&config, Nonce([7; 32]), &mut tables, &mut out);
        self.receive(&out);
        self.turn();
        self.send(Duration::ZERO);
        let frame = self.reader.next_frame().expect("whole frames").expect("a welcome");
        out.clear();
        let connected = handshake.on_frame(&frame, &config, &mut tables, &mut out).expect("a handshake");
        assert!(connected.is_some() && out.is_empty());
    }

    fn pass(&self, time: Duration) {
        self.now_ns.set(self.now_ns.get() + u64::try_from(time.as_nanos()).expect("short"));
    }

    /// Bytes arrive.
    fn receive(&mut self, bytes: &[u8]) {
        let mut buffer = self.shard.take_receive_buffer(self.connection).expect("the connection is open");
        buffer.extend_from_slice(bytes);
        self.shard.received(self.connection, buffer, bytes.len(), self.now_ns.get());
    }

    fn turn(&mut self) {
        self.shard.turn(now(&self.now_ns));
        self.shard.take_writable();
        self.shard.take_readable();
    }

    /// The log write that is due takes `time`. Answers whether one was.
    fn write_log(&mut self, time: Duration) -> bool {
        let Some(mut write) = self.shard.start_log_write(self.now_ns.get()) else { return false };
        let buffer = std::mem::take(&mut write.buffer);
        let written = self.environment.run_until(self.environment.write_at(&write.file, buffer, write.offset));
        let (result, buffer) = written.expect("no crash was planned");
        write.buffer = buffer;
        self.pass(time);
        self.shard.finish_log_write(write, result, now(&self.now_ns)).expect("the log is written");
        true
    }

    /// Gives the output to the socket, which takes it in `time`.
    fn send(&mut self, time: Duration) {
        let output = self.shard.take_output(self.connection, Vec::new(), self.now_ns.get());
        self.reader.push(&output);
        self.pass(time);
        self.shard.output_written(self.connection, self.now_ns.get());
    }

    fn head(&mut self) -> RequestHead {
        self.id_last += 1;
        RequestHead { request_id: RequestId(self.id_last), map_epoch: MapEpoch(1), deadline_ms: 0 }
    }

    fn put(&mut self, key: &[u8]) -> Vec<u8> {
        self.put_value(key, b"value", Durability::Synced)
    }

    fn put_value(&mut self, key: &[u8], value: &[u8], durability: Durability) -> Vec<u8> {
        let head = self.head();
        let mut out = Vec::new();
        PutRequest { slot: slot_of(key), key, value: Value::new(value), ttl_ms: 0, durability }.encode(head, &mut out);
        Receipt::ask(&mut out, 0);
        out
    }

    fn batch(&mut self, keys: &[&[u8]]) -> Vec<u8> {
        let head = self.head();
        let mut out = Vec::new();
        let mut batch = BatchWriter::begin(&mut out, Durability::Synced, ReadLevel::Linearizable);
        for key in keys {
            let operation = BatchOperation::Put { key, value: Value::new(b"value"), ttl_ms: 0 };
            batch.push(&BatchItem { slot: slot_of(key), operation }).expect("it fits a frame");
        }
        batch.finish(head);
        Receipt::ask(&mut out, 0);
        out
    }

    fn get(&mut self, key: &[u8]) -> Vec<u8> {
        let head = self.head();
        let mut out = Vec::new();
        GetRequest { slot: slot_of(key), key, level: ReadLevel::Linearizable }.encode(head, &mut out);
        Receipt::ask(&mut out, 0);
        out
    }

    /// The receipt of the next answer.
    fn receipt(&mut self) -> Receipt {
        let frame = self.reader.next_frame().expect("whole frames").expect("an answer");
        let (receipt, plain) = Receipt::take_from_reply(&frame).expect("a receipt");
        assert!(matches!(plain.inbound(), Ok(Inbound::Reply(..))), "not an error");
        receipt.expect("it was asked for")
    }

    /// The histograms of an operation, by stage.
    fn histograms(&mut self, operation: &str) -> BTreeMap<String, Histogram<u64>> {
        let head = self.head();
        let (mut tables, mut out) = (TableBuilder::new(), Vec::new());
        HistogramsRequest { core: CoreIndex(0), operation }.encode(head, &mut tables, &mut out);
        self.receive(&out);
        self.turn();
        self.send(Duration::ZERO);
        let frame: Frame<'_> = self.reader.next_frame().expect("whole frames").expect("an answer");
        let found = Histograms::decode(&frame).expect("histograms");
        let decode = |v2: &[u8]| Deserializer::new().deserialize(&mut &*v2).expect("HdrHistogram's own encoding");
        found.stages.iter().map(|stage| (stage.stage.clone(), decode(&stage.v2))).collect()
    }
}

fn now(now_ns: &Cell<u64>) -> Now {
    let monotonic_ns = now_ns.get();
    Now { monotonic_ms: monotonic_ns / 1_000_000, monotonic_ns, wall_ms: 1_700_000_000_000 + monotonic_ns / 1_000_000 }
}

fn sum(histogram: &Histogram<u64>) -> u64 {
    histogram.iter_recorded().map(|value| value.value_iterated_to() * value.count_at_value()).sum()
}

#[test]
fn a_slow_sync_is_the_syncs_and_the_stages_sum_to_the_residency() {
    let us = Duration::from_micros;
    let mut core = OneCore::start();
    for number in 0..100_u32 {
        let key = format!("key-{number}").into_bytes();
        let put = core.put(&key);
        core.receive(&put);
        core.pass(us(30));
        core.turn();
        core.pass(us(10));
        // The write is handed out in the time of the turn.
        assert!(core.write_log(SYNC));
        core.pass(us(50));
        core.send(us(15));
        let receipt = core.receipt();
        let expected = Receipt {
            queue_ns: 30_000,
            wait_ns: 0,
            append_ns: 10_000,
            sync_ns: 20_000_000,
            quorum_ns: 0,
            apply_ns: 50_000,
        };
        assert_eq!(receipt, expected);
        let get = core.get(&key);
        core.receive(&get);
        core.pass(us(5));
        core.turn();
        core.pass(us(7));
        core.send(us(11));
        let expected = Receipt { queue_ns: 5_000, apply_ns: 7_000, ..Receipt::default() };
        assert_eq!(core.receipt(), expected);
    }
    let puts = core.histograms("put");
    let residency = sum(&puts["residency"]);
    let stages: u64 = puts.iter().filter(|(stage, _)| *stage != "residency").map(|(_, histogram)| sum(histogram)).sum();
    assert!(puts.values().all(|histogram| histogram.len() == 101), "{:?}", puts.keys());
    // Each of the numbers is rounded to three digits.
    assert!(stages.abs_diff(residency) * 1_000 <= residency, "{stages} and {residency}");
    let share = sum(&puts["sync"]) * 100 / residency;
    assert!(share >= 95, "{share} of 100 are the sync's");
    let gets = core.histograms("get");
    assert_eq!(gets.keys().map(String::as_str).collect::<Vec<_>>(), ["apply", "queue", "reply", "residency"]);
    let close = |histogram: &Histogram<u64>, ns: u64| histogram.max().abs_diff(ns) * 1_000 <= ns;
    assert!(close(&gets["queue"], 5_000) && close(&gets["apply"], 7_000) && close(&gets["reply"], 11_000));
    assert!(close(&gets["residency"], 23_000), "{}", gets["residency"].max());
}

/// Of requests that come together the second waits for the log write of the first.
#[test]
fn who_comes_while_a_log_write_is_under_way_waits_for_it_in_append() {
    let mut core = OneCore::start();
    let (first, second) = (core.put(b"first"), core.put(b"second"));
    core.receive(&first);
    core.turn();
    let mut write = core.shard.start_log_write(core.now_ns.get()).expect("a write is due");
    core.receive(&second);
    core.turn();
    assert!(core.shard.start_log_write(core.now_ns.get()).is_none(), "one write at a time");
    let buffer = std::mem::take(&mut write.buffer);
    let written = core.environment.run_until(core.environment.write_at(&write.file, buffer, write.offset));
    let (result, buffer) = written.expect("no crash was planned");
    write.buffer = buffer;
    core.pass(SYNC);
    core.shard.finish_log_write(write, result, now(&core.now_ns)).expect("the log is written");
    core.turn();
    assert!(core.write_log(SYNC));
    core.send(Duration::ZERO);
    let (first, second) = (core.receipt(), core.receipt());
    assert_eq!((first.append_ns, first.sync_ns), (0, 20_000_000));
    assert_eq!((second.append_ns, second.sync_ns), (20_000_000, 20_000_000));
}

/// The log takes no more while it has a write under way and much that waits behind it. The wait for room is neither in append nor in apply.
#[test]
fn a_write_that_waits_for_room_has_that_in_wait() {
    let us = Duration::from_micros;
    let mut core = OneCore::start_with(Options { log_pending_bytes_max: 64 * 1024, ..Options::tiny() });
    let large = vec![7; 40 * 1024];
    for key in [&b"first"[..], b"second"] {
        let put = core.put_value(key, &large, Durability::Synced);
        core.receive(&put);
    }
    core.turn();
    // Two that come later, and a batch: none of them has room.
    let synced = core.put(b"synced");
    let memory = core.put_value(b"memory", b"value", Durability::Memory);
    let batch = core.batch(&[b"in a batch", b"another"]);
    [synced, memory, batch].iter().for_each(|bytes| core.receive(bytes));
    core.pass(us(30));
    core.turn();
    core.pass(us(10));
    assert!(core.write_log(SYNC));
    core.pass(us(500));
    core.turn();
    core.pass(us(20));
    core.send(us(5));
    let waited_ns = 10_000 + 20_000_000 + 500_000;
    for _ in 0..2 {
        assert_eq!(core.receipt().wait_ns, 0, "those who filled the log");
    }
    let expected = Receipt { queue_ns: 30_000, wait_ns: waited_ns, apply_ns: 20_000, ..Receipt::default() };
    assert_eq!(core.receipt(), expected, "in memory it is done once there is room");
    core.pass(us(7));
    assert!(core.write_log(SYNC));
    core.pass(us(50));
    core.send(us(15));
    // Since the turn that had room: to the socket, out of it, and to the disk.
    let append_ns = 20_000 + 5_000 + 7_000;
    for who in ["a put", "a batch"] {
        let expected = Receipt {
            queue_ns: 30_000,
            wait_ns: waited_ns,
            append_ns,
            sync_ns: 20_000_000,
            quorum_ns: 0,
            apply_ns: 50_000,
        };
        assert_eq!(core.receipt(), expected, "{who}");
    }
    for (operation, waited) in [("put", 2), ("batch", 1)] {
        let histograms = core.histograms(operation);
        let residency = sum(&histograms["residency"]);
        let stages = histograms.iter().filter(|(stage, _)| *stage != "residency");
        let stages: u64 = stages.map(|(_, histogram)| sum(histogram)).sum();
        // Each of the numbers is rounded to three digits.
        assert!(stages.abs_diff(residency) * 1_000 <= residency, "{operation}: {stages} and {residency}");
        assert_eq!(histograms["wait"].len(), waited, "{operation}: only those who waited");
    }
}
