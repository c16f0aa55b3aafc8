//! What a load says of servers whose behaviour is known.

#![allow(clippy::unwrap_used, reason = "what the fake server does not expect fails its test")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use corelode_bench::driver::resp::RespStore;
use corelode_bench::driver::{Broken, Session, Store};
use corelode_bench::load::{LoadOptions, PATIENCE_DEFAULT, Source, Work, run};
use corelode_bench::report::histogram::Latencies;
use corelode_bench::report::model::{Arrival, End, Interval, OperationKind, Pace, Repetition, Target};
use corelode_bench::workload::{Generator, KeyFormat, KeySpace, Preset, Share, ValueFormat, WorkloadConfig};

/// A server that answers each command in turn, as `answer` does it.
struct FakeServer {
    address: SocketAddr,
}

type Answer = dyn Fn(&mut TcpStream, &[Vec<u8>]) + Send + Sync;

impl FakeServer {
    fn start(answer: Arc<Answer>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let (socket, answer) = (socket.unwrap(), Arc::clone(&answer));
                socket.set_nodelay(true).unwrap();
                std::thread::spawn(move || serve(socket, &*answer));
            }
        });
        Self { address }
    }
}

fn serve(mut socket: TcpStream, answer: &Answer) {
    let mut reader = BufReader::new(socket.try_clone().unwrap());
    while let Some(command) = read_command(&mut reader) {
        if matches!(command[0].as_slice(), b"INFO" | b"CONFIG") {
            socket.write_all(b"-ERR this server tells nothing\r\n").unwrap();
        } else {
            answer(&mut socket, &command);
        }
    }
}

/// The words of the next command; `None` at the end of the connection.
fn read_command(reader: &mut BufReader<TcpStream>) -> Option<Vec<Vec<u8>>> {
    let number = |reader: &mut BufReader<TcpStream>| {
        let mut line = String::new();
        let length = reader.read_line(&mut line).ok()?;
        (length > 0).then(|| line.trim()[1..].parse::<usize>().unwrap())
    };
    let count = number(reader)?;
    let mut words = Vec::new();
    for _ in 0..count {
        let mut word = vec![0; number(reader)? + 2];
        reader.read_exact(&mut word).ok()?;
        word.truncate(word.len() - 2);
        words.push(word);
    }
    Some(words)
}

fn options(pace: Pace, clients: usize, depth: u32, duration: Duration) -> LoadOptions {
    LoadOptions {
        pace,
        clients,
        depth,
        threads: 1,
        processors: Vec::new(),
        warm_up: Duration::from_millis(200),
        duration: Some(duration),
        seed: 1,
        patience: PATIENCE_DEFAULT,
    }
}

fn measure(server: &FakeServer, preset: Preset, options: &LoadOptions) -> Repetition {
    try_measure(server, preset, options).unwrap()
}

fn try_measure(server: &FakeServer, preset: Preset, options: &LoadOptions) -> Result<Repetition, Broken> {
    let store = RespStore::find(server.address, None).unwrap();
    let config = WorkloadConfig { keys: 1_000, ..preset.into() };
    let key_space = Arc::new(KeySpace::new(config.keys).unwrap());
    let source = |thread| Source::Workload {
        generator: Box::new(Generator::new(&config, Arc::clone(&key_space), 7, thread)),
        key_space: Arc::clone(&key_space),
    };
    let work = Work {
        sources: (0..options.threads).map(source).collect(),
        keys: KeyFormat::new(16).unwrap(),
        values: &ValueFormat::new(100, Share::NONE).unwrap(),
    };
    run(&store, options, work, &AtomicBool::new(false), &mut |_| {})
}

fn reads(repetition: &Repetition) -> &Latencies {
    &repetition.operations[&OperationKind::Read].latency
}

/// A server that stalls for 100 ms every second. Of operations that are sent all the time a tenth meets the stall; of operations that wait for
/// each other, one for each stall.
#[test]
fn an_open_loop_shows_a_stall_that_a_closed_loop_hides() {
    const STALL: Duration = Duration::from_millis(100);
    let began = Instant::now();
    let server = FakeServer::start(Arc::new(move |socket, _| {
        let into_second = Duration::from_nanos(began.elapsed().subsec_nanos().into());
        if into_second < STALL {
            std::thread::sleep(STALL - into_second);
        }
        socket.write_all(b"$1\r\nv\r\n").unwrap();
    }));
    let duration = Duration::from_secs(4);
    let open = Pace::Open { rate: 1_000.0, arrival: Arrival::Constant };
    let open = measure(&server, Preset::C, &options(open, 16, 16, duration));
    // Times within a stall are spread evenly over it.
    let ms = |latencies: &Latencies, quantile| latencies.quantile(quantile) / 1_000_000;
    assert!(ms(reads(&open), 0.99) >= 80, "p99 of {} ms", ms(reads(&open), 0.99));
    assert!(ms(reads(&open), 0.999) >= 90, "p99.9 of {} ms", ms(reads(&open), 0.999));
    let closed = measure(&server, Preset::C, &options(Pace::Closed, 2, 1, duration));
    assert!(ms(reads(&closed), 0.99) < 80, "p99 of {} ms", ms(reads(&closed), 0.99));
    assert!(closed.operations[&OperationKind::Read].latency.max() >= 80_000_000, "the stall itself was met");
}

/// The server times what it does itself: 1 ms, 10 ms or 50 ms. What the load says is that, and the way there and back.
#[test]
fn a_known_delay_is_what_is_reported() {
    let delays = Arc::new(Mutex::new(Latencies::default()));
    let (number, recorded) = (AtomicU64::new(0), Arc::clone(&delays));
    let server = FakeServer::start(Arc::new(move |socket, _| {
        let began = Instant::now();
        let ms = match number.fetch_add(1, Ordering::Relaxed) % 20 {
            0 => 50,
            1..5 => 10,
            _ => 1,
        };
        std::thread::sleep(Duration::from_millis(ms));
        socket.write_all(b"$1\r\nv\r\n").unwrap();
        recorded.lock().unwrap().record(u64::try_from(began.elapsed().as_nanos()).unwrap());
    }));
    let repetition = measure(&server, Preset::C, &options(Pace::Closed, 8, 1, Duration::from_secs(3)));
    let (found, delays) = (reads(&repetition), delays.lock().unwrap());
    assert!(found.count() > 500, "{} operations", found.count());
    for quantile in [0.5, 0.9, 0.96, 0.99] {
        let (known, found) = (delays.quantile(quantile), found.quantile(quantile));
        let way = found.saturating_sub(known);
        assert!(found * 1_000 >= known * 999, "{quantile}: {found} ns where the server took {known}");
        assert!(way < 8_000_000, "{quantile}: {found} ns where the server took {known}");
    }
}

#[test]
fn a_rate_is_kept_and_every_operation_is_accounted_for() {
    let server = FakeServer::start(Arc::new(|socket, _| socket.write_all(b"$1\r\nv\r\n").unwrap()));
    let open = Pace::Open { rate: 2_000.0, arrival: Arrival::Constant };
    let repetition = measure(&server, Preset::C, &options(open, 4, 4, Duration::from_secs(2)));
    assert_eq!(repetition.end, End::Complete);
    assert_eq!(reads(&repetition).count(), 4_000, "each one that was due in two seconds");
    let sum: u64 = repetition.intervals.iter().map(|interval| interval.count).sum();
    assert_eq!(sum, 4_000);
    assert_eq!(repetition.intervals.len(), 2);
}

/// A server that answers a thousand operations a second is asked for two thousand, on one connection: what is late waits in the client, or in the server.
#[test]
fn a_store_that_does_not_keep_up_is_not_said_to() {
    for depth in [1, 5_000] {
        let next = Mutex::new(Instant::now());
        let server = FakeServer::start(Arc::new(move |socket, _| {
            let mut next = next.lock().unwrap();
            *next = next.max(Instant::now()) + Duration::from_millis(1);
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            socket.write_all(b"$1\r\nv\r\n").unwrap();
        }));
        let open = Pace::Open { rate: 2_000.0, arrival: Arrival::Constant };
        let repetition = measure(&server, Preset::C, &options(open, 1, depth, Duration::from_secs(2)));
        assert_eq!((reads(&repetition).count(), repetition.unsent), (4_000, 0), "all that was due was sent in the end");
        let rate = 4_000.0 / repetition.seconds;
        assert!(rate < 1_050.0, "{rate} a second");
        // Nor in any part of it, but for what was answered before it was clear that much is late.
        let is_possible = |interval: &Interval| interval.count as f64 <= interval.seconds * 1_000.0 + 250.0;
        assert!(repetition.intervals.iter().all(is_possible), "{:?}", repetition.intervals);
    }
}

/// A server that falls silent for good while more and more is due: the histogram has what was answered before, and the report says what is missing.
#[test]
fn what_was_never_sent_is_counted() {
    let began = Instant::now();
    let server = FakeServer::start(Arc::new(move |socket, _| {
        if began.elapsed() < Duration::from_millis(700) {
            socket.write_all(b"$1\r\nv\r\n").unwrap();
        }
    }));
    let open = Pace::Open { rate: 1_000.0, arrival: Arrival::Constant };
    let repetition = measure(&server, Preset::C, &options(open, 2, 2, Duration::from_secs(1)));
    let read = &repetition.operations[&OperationKind::Read];
    assert_eq!(read.unanswered, 4);
    assert_eq!(read.latency.count() + read.unanswered + repetition.unsent, 1_000, "{} unsent", repetition.unsent);
    assert!((1.0..1.1).contains(&repetition.seconds), "{} s", repetition.seconds);
}

/// Else the rate over time would seem to fall at the end.
#[test]
fn the_last_interval_is_as_long_as_what_was_measured_of_it() {
    let server = FakeServer::start(Arc::new(|socket, _| socket.write_all(b"$1\r\nv\r\n").unwrap()));
    let open = Pace::Open { rate: 2_000.0, arrival: Arrival::Constant };
    let repetition = measure(&server, Preset::C, &options(open, 4, 4, Duration::from_millis(1_500)));
    let lengths: Vec<_> = repetition.intervals.iter().map(|interval| (interval.start, interval.seconds)).collect();
    assert_eq!(lengths, [(0.0, 1.0), (1.0, 0.5)]);
    // Whatever the machine does meanwhile, what was due in it was not answered before it.
    assert!(repetition.intervals[1].count >= 1_000, "{:?}", repetition.intervals);
}

#[test]
fn a_load_that_is_ended_before_it_measures_has_no_intervals() {
    let server = FakeServer::start(Arc::new(|socket, _| socket.write_all(b"$1\r\nv\r\n").unwrap()));
    let store = RespStore::find(server.address, None).unwrap();
    let key_space = Arc::new(KeySpace::new(1_000).unwrap());
    let config = WorkloadConfig { keys: 1_000, ..Preset::C.into() };
    let source =
        Source::Workload { generator: Box::new(Generator::new(&config, Arc::clone(&key_space), 7, 0)), key_space };
    let values = ValueFormat::new(100, Share::NONE).unwrap();
    let work = Work { sources: vec![source], keys: KeyFormat::new(16).unwrap(), values: &values };
    let options = options(Pace::Closed, 2, 1, Duration::from_secs(20));
    let repetition = run(&store, &options, work, &AtomicBool::new(true), &mut |_| {}).unwrap();
    assert_eq!((repetition.end, repetition.intervals), (End::Interrupted, Vec::new()));
}

/// The other threads, and whoever started them, would wait for it without end.
#[test]
fn a_thread_that_cannot_be_pinned_ends_the_load() {
    let server = FakeServer::start(Arc::new(|socket, _| socket.write_all(b"$1\r\nv\r\n").unwrap()));
    for processor in [1_000, 5_000] {
        let mut options = options(Pace::Closed, 2, 1, Duration::from_secs(20));
        (options.threads, options.processors) = (2, vec![processor]);
        let broken = try_measure(&server, Preset::C, &options).unwrap_err();
        assert!(broken.reason.contains(&processor.to_string()), "{broken}");
    }
}

#[test]
fn refusals_and_absences_are_counted_by_what_they_say() {
    let server = FakeServer::start(Arc::new(|socket, command| match command[0].as_slice() {
        b"GET" => socket.write_all(b"$-1\r\n").unwrap(),
        _ => socket.write_all(b"-OOM command not allowed\r\n").unwrap(),
    }));
    let repetition = measure(&server, Preset::A, &options(Pace::Closed, 2, 4, Duration::from_millis(500)));
    let (read, update) = (&repetition.operations[&OperationKind::Read], &repetition.operations[&OperationKind::Update]);
    assert_eq!(read.absent, read.latency.count());
    assert!(read.errors.is_empty());
    assert_eq!(update.latency.count(), 0, "a refusal is no answer in time");
    assert_eq!(update.errors.keys().collect::<Vec<_>>(), ["OOM"]);
}

#[test]
fn a_read_modify_write_is_one_operation_and_two_requests() {
    let server = FakeServer::start(Arc::new(|socket, command| match command[0].as_slice() {
        b"GET" => socket.write_all(b"$1\r\nv\r\n").unwrap(),
        _ => socket.write_all(b"+OK\r\n").unwrap(),
    }));
    let repetition = measure(&server, Preset::F, &options(Pace::Closed, 2, 4, Duration::from_secs(1)));
    let count = |kind| repetition.operations[&kind].latency.count();
    let (reads, updates, wholes) =
        (count(OperationKind::Read), count(OperationKind::Update), count(OperationKind::ReadModifyWrite));
    assert_eq!(updates, wholes);
    let requests: u64 = repetition.intervals.iter().map(|interval| interval.count).sum();
    assert_eq!(requests, reads + updates);
    let operations: u64 = repetition.intervals.iter().map(Interval::operations).sum();
    assert_eq!(operations, reads, "an update is the second part of an operation that began with a read");
    let mean = |kind| repetition.operations[&kind].latency.mean();
    let halves = mean(OperationKind::Update) + mean(OperationKind::Read);
    assert!(mean(OperationKind::ReadModifyWrite) > halves / 2.0);
}

#[test]
fn a_server_that_dies_in_the_middle_gives_a_report_that_says_so() {
    let count = AtomicU64::new(0);
    let server = FakeServer::start(Arc::new(move |socket, _| match count.fetch_add(1, Ordering::Relaxed) {
        0..500 => socket.write_all(b"$1\r\nv\r\n").unwrap(),
        _ => socket.shutdown(std::net::Shutdown::Both).unwrap(),
    }));
    let mut options = options(Pace::Closed, 2, 1, Duration::from_secs(20));
    options.warm_up = Duration::ZERO;
    let repetition = measure(&server, Preset::C, &options);
    assert!(matches!(&repetition.end, End::Lost(reason) if reason.contains("closed")), "{:?}", repetition.end);
    assert!((400..=500).contains(&reads(&repetition).count()), "{}", reads(&repetition).count());
    assert!(repetition.seconds < 19.0);
    let seconds: f64 = repetition.intervals.iter().map(|interval| interval.seconds).sum();
    assert!((seconds - repetition.seconds).abs() < 1e-6, "{seconds} s in intervals, {} s", repetition.seconds);
}

/// Loading the keys has no end of its own at which one could look how long the server has been silent.
#[test]
fn a_server_that_falls_silent_while_keys_are_written_is_lost() {
    let count = AtomicU64::new(0);
    let server = FakeServer::start(Arc::new(move |socket, _| {
        if count.fetch_add(1, Ordering::Relaxed) < 50 {
            socket.write_all(b"+OK\r\n").unwrap();
        }
    }));
    let store = RespStore::find(server.address, None).unwrap();
    let values = ValueFormat::new(100, Share::NONE).unwrap();
    let source = Source::Fill { next: Arc::new(AtomicU64::new(0)), keys: 1_000 };
    let work = Work { sources: vec![source], keys: KeyFormat::new(16).unwrap(), values: &values };
    let options = LoadOptions {
        warm_up: Duration::ZERO,
        duration: None,
        patience: Duration::from_millis(300),
        ..options(Pace::Closed, 2, 4, Duration::ZERO)
    };
    let repetition = run(&store, &options, work, &AtomicBool::new(false), &mut |_| {}).unwrap();
    let lost = |reason: &String| reason == "it is connected, and has answered nothing for 0.3 s";
    assert!(matches!(&repetition.end, End::Lost(reason) if lost(reason)), "{:?}", repetition.end);
    assert_eq!(repetition.operations[&OperationKind::Update].latency.count(), 50);
}

/// A store whose second session cannot be had, by a mistake of the driver.
struct Faulty(RespStore, AtomicU64);

impl Store for Faulty {
    fn target(&self) -> Target {
        self.0.target()
    }

    fn endpoints(&self) -> Vec<SocketAddr> {
        self.0.endpoints()
    }

    fn supports(&self, kind: OperationKind) -> bool {
        self.0.supports(kind)
    }

    fn session(&self) -> Box<dyn Session> {
        assert!(self.1.fetch_add(1, Ordering::Relaxed) != 1, "a mistake in the driver");
        self.0.session()
    }
}

/// The threads wait for each other before they begin: one that never comes would be waited for without end.
#[test]
fn a_thread_that_panics_before_the_load_begins_ends_it() {
    let server = FakeServer::start(Arc::new(|socket, _| socket.write_all(b"$1\r\nv\r\n").unwrap()));
    let address = server.address;
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let store = Faulty(RespStore::find(address, None).unwrap(), AtomicU64::new(0));
        let values = ValueFormat::new(100, Share::NONE).unwrap();
        let next = Arc::new(AtomicU64::new(0));
        let sources = (0..2).map(|_| Source::Fill { next: Arc::clone(&next), keys: u64::MAX }).collect();
        let work = Work { sources, keys: KeyFormat::new(16).unwrap(), values: &values };
        let options = LoadOptions { threads: 2, duration: None, ..options(Pace::Closed, 2, 1, Duration::ZERO) };
        let load = || run(&store, &options, work, &AtomicBool::new(false), &mut |_| {});
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(load));
        sender
            .send(outcome.map(|_| ()).map_err(|panic| panic.downcast_ref::<&str>().map(ToString::to_string)))
            .unwrap();
    });
    let outcome = receiver.recv_timeout(Duration::from_secs(20)).expect("the load ends");
    assert_eq!(outcome, Err(Some("a mistake in the driver".to_owned())));
}

/// The picture over time has a line for what was asked, and what was answered must not be half as much again for being counted otherwise.
#[test]
fn operations_over_time_are_counted_as_a_schedule_counts_them() {
    let server = FakeServer::start(Arc::new(|socket, command| match command[0].as_slice() {
        b"GET" => socket.write_all(b"$1\r\nv\r\n").unwrap(),
        _ => socket.write_all(b"+OK\r\n").unwrap(),
    }));
    let open = Pace::Open { rate: 1_000.0, arrival: Arrival::Constant };
    let repetition = measure(&server, Preset::F, &options(open, 4, 16, Duration::from_secs(2)));
    for interval in &repetition.intervals {
        let rate = interval.operation_rate().unwrap();
        // What the machine does meanwhile may shift some from one second into the next.
        assert!((900.0..1_100.0).contains(&rate), "{interval:?}");
        assert!(interval.count > 1_300, "{interval:?}");
    }
    assert_eq!(repetition.intervals.iter().map(Interval::operations).sum::<u64>(), 2_000);
}
