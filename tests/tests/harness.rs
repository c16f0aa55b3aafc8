//! The load generator and the server's own histograms, as users meet them: exit codes, files, and counts that two sides must agree on.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use corelode_bench::report::histogram::Latencies;
use corelode_bench::report::model::{End, OperationKind, RESIDENCY, Repetition, Report, STAGES, ServerStages};
use corelode_bench::report::words::{OPERATION_KINDS, operation_tag};
use corelode_tests::server::{Server, ServerOptions, bench_program, program};

const PARTITIONS: u16 = 4;
const KEYS: u64 = 2_000;
/// How long something may take that is on its way.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server with two cores, and a folder for reports.
struct Harness {
    scratch: tempfile::TempDir,
    server: Server,
}

impl Harness {
    fn start() -> Self {
        let scratch = tempfile::tempdir().expect("a directory for the test");
        let server = Server::start(&ServerOptions {
            data_directory: scratch.path().join("data"),
            cores: 2,
            partitions: PARTITIONS,
            is_tiny: false,
            is_without_ring: false,
        });
        Self { scratch, server }
    }

    fn url(&self) -> String {
        format!("corelode://{}", self.server.address())
    }

    /// Where a report of that name goes; files have endings added.
    fn out(&self, name: &str) -> PathBuf {
        self.scratch.path().join("reports").join(name)
    }

    /// A load on the server with a report of that name. Words are divided by spaces.
    fn load(&self, name: &str, words: &str) -> Command {
        let mut command = Command::new(bench_program());
        command.args(["run", "--store", &self.url(), "--keys", &KEYS.to_string()]);
        command.args(words.split_whitespace()).arg("--out").arg(self.out(name));
        command
    }

    /// As [`load`](Self::load), to its end, which must be in order.
    fn report_of(&self, name: &str, words: &str) -> Report {
        let output = self.load(name, words).output().expect("the load generator starts");
        assert_eq!(output.status.code(), Some(0), "{name}: {}", text(&output.stderr));
        read_report(&self.out(name))
    }

    /// The server's counters, over its cores.
    fn counters(&self) -> BTreeMap<String, u64> {
        let output = Command::new(program())
            .args(["--url", &self.url(), "status", "--output", "raw"])
            .output()
            .expect("corelode starts");
        let parse = |line: &str| {
            let (name, value) = line.split_once('\t').expect("a name and a value");
            (name.to_owned(), value.parse().expect("a number"))
        };
        text(&output.stdout).lines().map(parse).collect()
    }

    /// The server's stages since its start.
    fn stages(&self) -> ServerStages {
        let output = Command::new(program())
            .args(["--url", &self.url(), "hdr", "--output", "json"])
            .output()
            .expect("corelode starts");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("stages as JSON")
    }

    /// Waits until a load has the server at work.
    fn wait_until_counted(&self, counter: &str, least: u64) {
        let started = Instant::now();
        while self.counters()[counter] < least {
            assert!(started.elapsed() < PATIENCE, "the load does not get on");
            thread::sleep(Duration::from_millis(100));
        }
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("all that is printed is UTF-8")
}

fn with_suffix(out: &Path, suffix: &str) -> PathBuf {
    let mut path = out.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

fn read_report(out: &Path) -> Report {
    let json = fs::read_to_string(with_suffix(out, ".json")).expect("the report was written");
    serde_json::from_str(&json).expect("the report is one")
}

fn only_repetition(report: &Report) -> &Repetition {
    assert_eq!(report.repetitions.len(), 1);
    &report.repetitions[0]
}

/// How often each kind of operation was counted.
fn counts(repetition: &Repetition) -> BTreeMap<OperationKind, u64> {
    repetition.operations.iter().map(|(kind, measured)| (*kind, measured.latency.count())).collect()
}

/// Starts a load whose output is kept.
fn spawn(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
}

fn bench(words: &[&str]) -> Output {
    Command::new(bench_program()).args(words).output().expect("the load generator starts")
}

/// Everything that is counted is counted on both sides: without a warm-up the server has seen no more than the fill and what the report says.
#[test]
fn ycsb_a_to_f_are_measured_and_their_counts_are_those_of_the_server() {
    use OperationKind::{Insert, Read, ReadModifyWrite, Scan, Update};
    let workloads: [(&str, &[OperationKind]); 6] = [
        ("A", &[Read, Update]),
        ("B", &[Read, Update]),
        ("C", &[Read]),
        ("D", &[Read, Insert]),
        ("E", &[Insert, Scan]),
        ("F", &[Read, Update, ReadModifyWrite]),
    ];
    let harness = Harness::start();
    for (name, kinds) in workloads {
        let before = harness.counters();
        let words = format!("--workload {name} --clients 16 --warm-up 0 --seconds 0.3 --repetitions 1");
        let report = harness.report_of(name, &words);
        let repetition = only_repetition(&report);
        assert_eq!((report.workload.name.as_str(), &repetition.end), (name, &End::Complete));
        assert!((0.29..0.31).contains(&repetition.seconds), "{name}: {} s", repetition.seconds);
        let counts = counts(repetition);
        assert_eq!(counts.keys().collect::<Vec<_>>(), kinds.iter().collect::<Vec<_>>(), "{name}");
        for (kind, measured) in &repetition.operations {
            assert!(measured.latency.count() > 0, "{name} has no {kind:?}");
            assert_eq!(measured.errors, BTreeMap::new(), "{name}, {kind:?}");
            assert_eq!((measured.unanswered, measured.absent), (0, 0), "{name}, {kind:?}");
        }
        let count = |kind| counts.get(&kind).copied().unwrap_or_default();
        if name == "F" {
            assert_eq!(count(Update), count(ReadModifyWrite), "every update of F is the second half of a whole");
        }
        let over_time: u64 = repetition.intervals.iter().map(|interval| interval.count).sum();
        assert_eq!(over_time, count(Read) + count(Update) + count(Insert) + count(Scan), "{name}");

        let after = harness.counters();
        let added = |counter: &str| after[counter] - before[counter];
        assert_eq!(added("gets_total"), count(Read), "{name}");
        assert_eq!(added("puts_total"), KEYS + count(Update) + count(Insert), "{name}");
        // Each partition once, and a few again that held more than their share.
        let pages_once = u64::from(PARTITIONS) * count(Scan);
        let pages = added("scan_pages_total");
        assert!((pages_once..=pages_once + pages_once / 20).contains(&pages), "{name}: {pages} for {pages_once}");
        assert_eq!((added("forwarded_total"), added("errors_total")), (0, 0), "{name}");
        assert_files(&harness.out(name), &report, &counts);
    }
    harness.server.terminate();
}

/// All forms of a report are there, and are of this run.
fn assert_files(out: &Path, report: &Report, counts: &BTreeMap<OperationKind, u64>) {
    let file = |suffix: &str| {
        let path = with_suffix(out, suffix);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    assert!(file(".html").contains(&report.title), "the page has the title");
    let log = file(".hlog");
    for (kind, count) in counts {
        let tag = operation_tag(*kind);
        assert!(log.contains(&format!("Tag={tag},")), "the interval log has {tag}:\n{log}");
        let distribution = file(&format!("-{tag}.hgrm"));
        let total = distribution.rsplit_once("Total count    =").and_then(|(_, rest)| rest.split(']').next());
        assert_eq!(total.and_then(|total| total.trim().parse().ok()), Some(*count), "{distribution}");
    }
    for kind in OPERATION_KINDS.into_iter().filter(|kind| !counts.contains_key(kind)) {
        assert!(!with_suffix(out, &format!("-{}.hgrm", operation_tag(kind))).exists(), "no {kind:?} was measured");
    }
}

#[test]
fn an_interrupted_run_reports_what_it_has() {
    let harness = Harness::start();
    let mut load = harness.load("interrupted", "--workload A --clients 8 --warm-up 0 --seconds 600 --repetitions 3");
    let load = spawn(&mut load);
    // The fill reads nothing.
    harness.wait_until_counted("gets_total", 500);
    let output = interrupt(load);
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    assert!(shown.contains("throughput") && shown.contains("interrupted by the user"), "{shown}");
    let report = read_report(&harness.out("interrupted"));
    let repetition = only_repetition(&report);
    assert_eq!(repetition.end, End::Interrupted);
    assert!(counts(repetition)[&OperationKind::Read] >= 400, "what was measured is kept: {:?}", counts(repetition));
    assert!(repetition.seconds > 0.0 && repetition.seconds < 60.0, "{} s", repetition.seconds);
    harness.server.terminate();
}

/// Asks a load to end, as Ctrl-C does, and waits for it.
fn interrupt(load: Child) -> Output {
    ask_to_end(&load);
    load.wait_with_output().expect("it ends")
}

fn ask_to_end(load: &Child) {
    let asked = Command::new("kill").args(["-INT", &load.id().to_string()]).status();
    assert!(asked.expect("kill exists").success());
}

#[test]
fn a_run_that_is_interrupted_while_keys_are_written_says_that_nothing_was_measured() {
    let harness = Harness::start();
    let mut load = Command::new(bench_program());
    load.args(["run", "--store", &harness.url(), "--keys", "100000000"]);
    let load = spawn(&mut load);
    harness.wait_until_counted("puts_total", 500);
    let output = interrupt(load);
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("nothing was measured"), "{}", text(&output.stdout));
    harness.server.terminate();
}

#[test]
fn a_server_that_is_killed_under_load_is_reported_as_lost() {
    for pace in ["--clients 8", "--clients 8 --rate 2000"] {
        let harness = Harness::start();
        let words = format!("--workload A {pace} --warm-up 0 --seconds 600 --repetitions 3");
        let load = spawn(&mut harness.load("lost", &words));
        harness.wait_until_counted("gets_total", 500);
        let out = harness.out("lost");
        harness.server.kill();
        let output = load.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
        assert!(text(&output.stdout).contains("could no longer be reached"), "{}", text(&output.stdout));
        let report = read_report(&out);
        let repetition = only_repetition(&report);
        assert!(matches!(repetition.end, End::Lost(_)), "{:?}", repetition.end);
        assert!(counts(repetition)[&OperationKind::Read] >= 400, "what was measured is kept: {:?}", counts(repetition));
    }
}

#[test]
fn a_server_that_is_killed_while_keys_are_written_is_named_and_nothing_is_reported() {
    let harness = Harness::start();
    let mut load = Command::new(bench_program());
    load.args(["run", "--store", &harness.url(), "--keys", "100000000"]);
    let load = spawn(&mut load);
    harness.wait_until_counted("puts_total", 500);
    harness.server.kill();
    let output = load.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(3), ""));
    assert!(text(&output.stderr).contains("lost while its keys were written"), "{}", text(&output.stderr));
}

#[test]
fn where_nobody_listens_a_run_says_so() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = listener.local_addr().expect("a port").to_string();
    drop(listener);
    for scheme in ["corelode", "redis"] {
        let output = bench(&["run", "--store", &format!("{scheme}://{address}")]);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(3), ""));
        let complaint = text(&output.stderr);
        assert!(complaint.contains(&address) && complaint.contains("refused"), "{complaint}");
    }
    // The same through the front door, which knows the server by its own option.
    let output = Command::new(program())
        .args(["--url", &format!("corelode://{address}"), "bench", "run"])
        .output()
        .expect("corelode starts");
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains(&address), "{}", text(&output.stderr));
}

#[test]
fn wrong_options_are_refused_before_anything_is_sent() {
    let cases: [(&[&str], &str); 9] = [
        (&["run", "--nonsense"], "--nonsense"),
        (&["run", "--store", "http://127.0.0.1:1"], "corelode://HOST:PORT"),
        (&["run", "--workload", "Z"], "workload"),
        (&["run", "--mix", "read=0.5"], "sum to 0.5"),
        (&["run", "--threads", "3", "--clients", "2"], "3 threads for 2 clients"),
        (&["run", "--seconds", "0"], "--seconds"),
        (&["run", "--rate=-5"], "operations a second"),
        (&["compare", "--store", "one=corelode://127.0.0.1:1"], "twice or more"),
        (&["diff", "nowhere.json", "nowhere.json"], "nowhere.json"),
    ];
    for (words, complaint) in cases {
        let output = bench(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(complaint), "{words:?}: {}", text(&output.stderr));
    }
}

#[test]
fn a_server_with_a_secret_is_driven_by_who_knows_it() {
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let file = |name: &str, content: &str| {
        let path = scratch.path().join(name);
        fs::write(&path, content).expect("the test's directory is writable");
        path
    };
    let right = file("right", "a secret of more than sixteen bytes\n");
    let wrong = file("wrong", "another secret of more than sixteen bytes\n");
    let short = file("short", "short\n");
    let options = |name: &str| ServerOptions {
        data_directory: scratch.path().join(name),
        cores: 2,
        partitions: PARTITIONS,
        is_tiny: false,
        is_without_ring: false,
    };
    let server = Server::start_with_secret(&options("data"), &right);
    let open = Server::start(&options("open"));
    let drive = |server: &Server, secret: Option<&Path>| {
        let mut command = Command::new(bench_program());
        command.args(["run", "--store", &format!("corelode://{}", server.address()), "--keys", "200"]);
        command.args(["--workload", "E", "--warm-up", "0", "--seconds", "0.1", "--repetitions", "1"]);
        command.args(secret.iter().flat_map(|path| [Path::new("--secret-file"), path]));
        command.env_remove("CORELODE_SECRET_FILE");
        command
    };
    let output = |command: &mut Command| command.output().expect("the load generator starts");
    let driven = output(&mut drive(&server, Some(&right)));
    assert_eq!(driven.status.code(), Some(0), "{}", text(&driven.stderr));
    assert!(text(&driven.stdout).contains("errors      none"), "{}", text(&driven.stdout));
    let driven = output(drive(&server, None).env("CORELODE_SECRET_FILE", &right));
    assert_eq!(driven.status.code(), Some(0), "{}", text(&driven.stderr));

    let missing = scratch.path().join("missing");
    let cases: [(&Server, Option<&Path>, i32, &str); 5] = [
        (&server, None, 4, "asks for a secret"),
        (&server, Some(&wrong), 4, "does not match the server's"),
        (&open, Some(&right), 4, "asks for no secret"),
        (&server, Some(&short), 2, "a secret of 5 bytes"),
        (&server, Some(&missing), 2, "missing"),
    ];
    for (server, secret, code, complaint) in cases {
        let refused = output(&mut drive(server, secret));
        assert_eq!(refused.status.code(), Some(code), "{secret:?}: {}", text(&refused.stderr));
        assert!(text(&refused.stderr).contains(complaint), "{secret:?}: {}", text(&refused.stderr));
        assert_eq!(code == 4, text(&refused.stderr).contains("--secret-file"), "{}", text(&refused.stderr));
    }
    server.terminate();
    open.terminate();
}

#[test]
fn a_report_does_not_differ_from_itself() {
    let harness = Harness::start();
    let diff_of = |name: &str, repetitions: u32| {
        harness.report_of(name, &format!("--workload A --warm-up 0 --seconds 0.2 --repetitions {repetitions}"));
        let json = with_suffix(&harness.out(name), ".json");
        let output = Command::new(bench_program()).arg("diff").arg(&json).arg(&json).output().expect("it starts");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout).to_owned()
    };
    let three = diff_of("three", 3);
    let figures = three.lines().filter(|line| line.ends_with("no difference") && line.contains(" 1.000 "));
    assert_eq!(figures.count(), 5, "five figures with a ratio of 1:\n{three}");
    assert!(three.contains("no difference, as far as 3 repetitions can tell"), "{three}");
    let once = diff_of("once", 1);
    assert!(once.contains("nothing can be told") && !once.contains("no difference"), "{once}");
    assert!(!once.contains("would have been told"), "{once}");
    harness.server.terminate();
}

/// The server's histograms beside its own counters and beside what the client counted: nothing is missing and nothing is there twice.
#[test]
fn the_stages_of_a_server_sum_to_residency_and_count_what_was_asked() {
    let harness = Harness::start();
    let words = "--clients 16 --warm-up 0 --seconds 0.5 --repetitions 1";
    let writes = harness.report_of("writes", &format!("--mix update=1 --durability synced {words}"));
    // All is on disk now, so that no read has to wait for it.
    let reads = harness.report_of("reads", &format!("--workload C --no-fill --depth 4 {words}"));
    let written = KEYS + counts(only_repetition(&writes))[&OperationKind::Update];
    let read = counts(only_repetition(&reads))[&OperationKind::Read];

    let stages = harness.stages();
    assert_eq!(stages.cores.iter().map(|core| core.core).collect::<Vec<_>>(), [0, 1]);
    for core in &stages.cores {
        let names: Vec<_> = core.operations.keys().map(String::as_str).collect();
        assert_eq!(names, ["get", "put"], "core {}", core.core);
        for (operation, stages) in &core.operations {
            let place = format!("core {}, {operation}", core.core);
            let names: Vec<_> = stages.keys().map(String::as_str).collect();
            let expected: &[&str] = match operation.as_str() {
                "put" => &["append", "apply", "queue", "reply", "residency", "sync"],
                _ => &["apply", "queue", "reply", "residency"],
            };
            assert_eq!(names, expected, "{place}");
            assert!(stages.values().all(|stage| stage.count() == stages[RESIDENCY].count()), "{place}: {stages:?}");
            assert_sums(&place, stages);
        }
    }
    let total = stages.total();
    let counted = |operation: &str| total.operations[operation][RESIDENCY].count();
    assert_eq!((counted("put"), counted("get")), (written, read), "as the clients counted");
    let counters = harness.counters();
    assert_eq!((counters["puts_total"], counters["gets_total"]), (written, read), "as the server counted");
    harness.server.terminate();
}

/// Each stage begins where the one before ended, to the nanosecond; histograms keep three digits. So the true sums are equal, and lie between the
/// sums of the lowest and of the highest times that the histograms may stand for.
fn assert_sums(place: &str, stages: &BTreeMap<String, Latencies>) {
    let bounds = |stage: &str| -> (u64, u64) {
        let Some(latencies) = stages.get(stage) else { return (0, 0) };
        let histogram = latencies.as_histogram();
        let values = histogram.iter_recorded().map(|value| (value.value_iterated_to(), value.count_at_value()));
        values.fold((0, 0), |(low, high), (value, count)| {
            (low + histogram.lowest_equivalent(value) * count, high + histogram.highest_equivalent(value) * count)
        })
    };
    let parts = STAGES.map(bounds);
    let (low, high) = parts.iter().fold((0, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1));
    let (residency_low, residency_high) = bounds(RESIDENCY);
    assert!(residency_low > 0, "{place}: requests take time");
    assert!(
        low <= residency_high && residency_low <= high,
        "{place}: {low} to {high}, {residency_low} to {residency_high}"
    );
    let apart = high.abs_diff(residency_high);
    assert!(
        apart * 1_000 <= residency_high * 2,
        "{place}: stages sum to {high} ns and residency to {residency_high} ns"
    );
}

/// A load that kept a record of each operation, were it only its latency as eight bytes, would grow by 64 MB between the two looks. What it does
/// keep are histograms of 0.3 MB: two for each of two kinds, in the interval under way, in one on its way and in the sum. Of each the kernel gives
/// out the pages as they are first written to, and which those are is the machine's affair: up to 4.1 MiB were seen.
#[test]
fn the_memory_of_a_load_does_not_grow_with_ten_million_operations() {
    const GROWTH_KIB_MAX: u64 = 16 * 1024;
    /// The load takes some 16 MiB, program and buffers included. At its end it asks the server for its stages again, and has 28 histograms of
    /// before and as many of after: 22 MiB were seen. Twice that leaves room for other machines.
    const PEAK_KIB_MAX: u64 = 48 * 1024;
    let harness = Harness::start();
    let words = "--workload B --durability memory --value-bytes 16 --clients 8 --depth 64 --warm-up 0 --seconds 600 --repetitions 1";
    let mut load = spawn(&mut harness.load("long", words));
    harness.wait_until_counted("gets_total", 1_900_000);
    let early_kib = memory_kib(&load, "VmRSS:").expect("the load runs");
    harness.wait_until_counted("gets_total", 9_600_000);
    let late_kib = memory_kib(&load, "VmRSS:").expect("the load runs");
    let growth_kib = late_kib.saturating_sub(early_kib);
    assert!(growth_kib < GROWTH_KIB_MAX, "{growth_kib} KiB more after ten million operations than {early_kib} KiB");

    ask_to_end(&load);
    let mut peak_kib = late_kib;
    // Its few lines fit into the pipes: it does not wait for a reader.
    while load.try_wait().expect("a child can be waited for").is_none() {
        peak_kib = memory_kib(&load, "VmHWM:").unwrap_or(peak_kib);
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(load.wait_with_output().expect("it has ended").status.code(), Some(130), "as ended by a signal");
    let count: u64 = counts(only_repetition(&read_report(&harness.out("long")))).values().sum();
    assert!(count >= 10_000_000, "{count} operations are in the report");
    assert!(peak_kib < PEAK_KIB_MAX, "{peak_kib} KiB at most");
    harness.server.terminate();
}

/// What the kernel says of a process; nothing if that has ended and was not waited for.
fn memory_kib(process: &Child, field: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).ok()?;
    let value = status.lines().find_map(|line| line.strip_prefix(field))?;
    Some(value.trim().trim_end_matches(" kB").parse().expect("a number"))
}
