//! Debian's package index, imported as a newcomer would; and a second import of new values, with the server killed in the middle of it.

#![allow(clippy::print_stdout, reason = "figures go to standard output")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use corelode_tests::requirements::{self, Requirement};
use corelode_tests::server::{Server, ServerOptions, program};

type Records = BTreeMap<String, String>;

fn package_index() -> Records {
    let dump = Command::new("apt-cache").arg("dumpavail").output().expect("apt-cache was asked for");
    let mut child = Command::new("sh")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("data/dumpavail_to_ndjson.sh"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a shell");
    let mut input = child.stdin.take().expect("a pipe");
    let output = thread::scope(|scope| {
        scope.spawn(move || input.write_all(&dump.stdout).expect("the script reads"));
        child.wait_with_output().expect("the script ends")
    });
    read_records(&String::from_utf8(output.stdout).expect("UTF-8"))
}

fn read_records(ndjson: &str) -> Records {
    let record = |line: &str| {
        let object: serde_json::Value = serde_json::from_str(line).expect("a record");
        let text = |name: &str| object[name].as_str().expect("a text").to_owned();
        (text("key"), text("value"))
    };
    ndjson.lines().map(record).collect()
}

fn write_records(path: &Path, records: &Records) {
    let mut file = std::io::BufWriter::new(fs::File::create(path).expect("a file"));
    for (key, value) in records {
        writeln!(file, "{}", serde_json::json!({ "key": key, "value": value })).expect("room");
    }
    file.flush().expect("room");
}

fn acknowledged(path: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(path).expect("import wrote it");
    // A line that was being written when it was read is none yet.
    text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(str::to_owned).collect()
}

fn corelode(server: &Server, arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(arguments).env("CORELODE_URL", format!("corelode://{}", server.address()));
    command
}

#[test]
fn a_package_index_survives_a_kill_in_the_middle_of_its_second_import() {
    if !requirements::are_met(&[Requirement::PackageIndex]) {
        return;
    }
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let path = |name: &str| scratch.path().join(name);
    let text = |name: &str| path(name).to_str().expect("UTF-8").to_owned();
    let first = package_index();
    assert!(first.len() > 10_000, "{} records are no package index", first.len());
    let mut second: Records =
        first.iter().map(|(key, value)| (key.clone(), format!("{value}Generation: 2\n"))).collect();
    for number in 0..5_000 {
        second.insert(format!("new-package-{number:05}"), format!("Package: new-package-{number:05}\n"));
    }
    write_records(&path("first.ndjson"), &first);
    write_records(&path("second.ndjson"), &second);

    let options = ServerOptions {
        data_directory: path("data"),
        cores: 2,
        partitions: 64,
        is_tiny: false,
        is_without_ring: false,
    };
    let server = Server::start(&options);
    let address = server.address();
    let status =
        corelode(&server, &["import", &text("first.ndjson"), "--acked", &text("first.acked"), "--output", "json"])
            .status()
            .expect("import runs");
    assert_eq!(status.code(), Some(0), "the first import stores everything");
    assert_eq!(acknowledged(&path("first.acked")), first.keys().cloned().collect());

    let mut import =
        corelode(&server, &["import", &text("second.ndjson"), "--acked", &text("second.acked"), "--output", "json"])
            .spawn()
            .expect("import runs");
    let started = Instant::now();
    let at_kill = loop {
        let length = fs::metadata(path("second.acked")).map_or(0, |metadata| metadata.len());
        if length > 100_000 {
            break acknowledged(&path("second.acked")).len();
        }
        assert!(started.elapsed() < Duration::from_secs(60), "the second import does not get on");
        thread::sleep(Duration::from_millis(1));
    };
    server.kill();
    assert!(at_kill > 0 && at_kill < second.len(), "the kill was in the middle: {at_kill} of {}", second.len());
    let server = Server::start_at(&options, address, &path("data.log"));
    let status = import.wait().expect("import ends");
    assert!(matches!(status.code(), Some(0 | 3 | 5)), "import says how it ended: {status:?}");

    let export = corelode(&server, &["export", "-", "--format", "ndjson"]).output().expect("export runs");
    assert_eq!(export.status.code(), Some(0), "{}", String::from_utf8_lossy(&export.stderr));
    let exported = String::from_utf8(export.stdout).expect("UTF-8");
    let keys: Vec<String> = exported.lines().map(|line| read_records(line).pop_first().expect("a record").0).collect();
    assert!(keys.is_sorted_by(|a, b| a.as_bytes() < b.as_bytes()), "the export is in key order");
    let exported = read_records(&exported);
    let acked = acknowledged(&path("second.acked"));
    for key in &acked {
        assert_eq!(exported.get(key), second.get(key), "{key} was acknowledged with its second value");
    }
    for (key, value) in &first {
        let found = exported.get(key);
        assert!(found == Some(value) || found == second.get(key), "{key} has neither its first nor its second value");
    }
    for (key, value) in &exported {
        assert!(first.get(key) == Some(value) || second.get(key) == Some(value), "{key} was never written like this");
    }
    println!("CORELODE-FIGURE real_input_records={}", first.len());
    println!("CORELODE-FIGURE real_input_acknowledged_at_kill={at_kill}");
    println!("CORELODE-FIGURE real_input_acknowledged={}", acked.len());

    // What is not known to be stored is simply imported again.
    let status =
        corelode(&server, &["import", &text("second.ndjson"), "--output", "raw"]).status().expect("import runs");
    assert_eq!(status.code(), Some(0));
    let export = corelode(&server, &["export", "-", "--format", "ndjson"]).output().expect("export runs");
    assert!(
        read_records(&String::from_utf8(export.stdout).expect("UTF-8")) == second,
        "everything has its second value"
    );
    server.terminate();
}
