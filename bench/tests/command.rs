//! What the program does with odd command lines, stores and outputs: it says what is wrong, and keeps what it measured.

#![allow(clippy::unwrap_used, reason = "what the fake server does not expect fails its test")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// The program with these words.
fn bench(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_corelode-bench"));
    command.args(words).stdin(Stdio::null()).env_remove("CORELODE_STORE").env("RUST_BACKTRACE", "0");
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A server of RESP that answers each command with what `answer` makes of its words; answers its URL.
fn resp_server(answer: impl Fn(&[Vec<u8>]) -> &'static [u8] + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let answer = std::sync::Arc::new(answer);
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let (socket, answer) = (socket.unwrap(), std::sync::Arc::clone(&answer));
            std::thread::spawn(move || serve(socket, &*answer));
        }
    });
    url
}

fn serve(mut socket: TcpStream, answer: &dyn Fn(&[Vec<u8>]) -> &'static [u8]) {
    let mut reader = BufReader::new(socket.try_clone().unwrap());
    while let Some(words) = read_command(&mut reader) {
        if socket.write_all(answer(&words)).is_err() {
            return;
        }
    }
}

/// The words of the next command; `None` at the end of the connection.
fn read_command(reader: &mut BufReader<TcpStream>) -> Option<Vec<Vec<u8>>> {
    let number = |reader: &mut BufReader<TcpStream>| {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        line.trim().get(1..)?.parse::<usize>().ok()
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

fn plain(words: &[Vec<u8>]) -> &'static [u8] {
    match words[0].as_slice() {
        b"INFO" | b"CONFIG" => b"-ERR this server tells nothing\r\n",
        b"GET" => b"$1\r\nv\r\n",
        _ => b"+OK\r\n",
    }
}

/// A folder that is gone at the end of its test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("corelode-bench-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const SHORT: [&str; 7] = ["--keys", "100", "--warm-up=0", "--seconds", "0.2", "--repetitions=1", "--clients=2"];

#[test]
fn times_and_lengths_that_cannot_be_are_refused_in_a_sentence() {
    for (words, hint) in [
        (["--seconds", "1e12"], "no number of seconds that one can wait"),
        (["--warm-up", "1e12"], "no number of seconds that one can wait"),
        (["--key-bytes", "1000000000000"], "of memory, and at most 2 GiB can be had"),
        (["--key-bytes", "2000000"], "keys of 2000000 bytes are too long"),
        (["--value-bytes", "18446744073709551615"], "of memory, and at most 2 GiB can be had"),
        (
            ["--depth", "4294967295"],
            "50 clients with --depth 4294967295 would have 214,748,364,750 operations under way",
        ),
        (["--clients", "18446744073709551615"], "operations under way at a time, and at most 262,144 can be"),
        (["--threads", "1000000"], "1000000 threads are too many"),
        (["--repetitions", "4294967295"], "4294967295 repetitions are too many"),
        (["--keys", "1000000000000"], "are written before a load: give fewer --keys"),
        (["--keys", "18446744073709551615"], "are written before a load: give fewer --keys"),
        (["--rate", "1e300"], "operations a second cannot be sent"),
    ] {
        let url = resp_server(plain);
        let output = bench(&["run", "--store", &url]).args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains(hint), "{}", stderr(&output));
    }
}

/// "Too many open files", after a thousand connections, says neither how many it would take nor what to do.
#[test]
fn more_connections_than_files_are_refused_before_anything_is_sent() {
    let url = resp_server(plain);
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 256 && exec \"$@\"", "sh", env!("CARGO_BIN_EXE_corelode-bench")]);
    let output = command.args(["run", "--store", &url, "--clients", "300"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("this process may open 256 files: raise that (ulimit -n)"), "{}", stderr(&output));
}

/// What waits for a store to come up must not wait for a password to become right.
#[test]
fn a_login_that_is_refused_is_a_refusal() {
    let url = resp_server(|words| match words[0].as_slice() {
        b"AUTH" if words[1..] == [b"anna".to_vec(), b"right".to_vec()] => b"+OK\r\n",
        b"AUTH" => b"-WRONGPASS invalid username-password pair\r\n",
        _ => b"-NOAUTH Authentication required.\r\n",
    });
    for (login, hint) in [
        ("", "wants a password"),
        (":right@", "WRONGPASS"),
        ("anna:wrong@", "WRONGPASS"),
        // The login is taken; what the server says to everything else comes after it.
        ("anna:right@", "wants a password"),
    ] {
        let url = url.replace("://", &format!("://{login}"));
        let output = bench(&["run", "--store", &url]).output().unwrap();
        assert_eq!(output.status.code(), Some(4), "{login}: {}", stderr(&output));
        assert!(stderr(&output).contains(hint), "{login}: {}", stderr(&output));
    }
}

/// A measurement may have taken hours.
#[test]
fn an_output_that_fails_keeps_the_report_from_no_other() {
    let folder = Folder::new("outputs");
    let url = resp_server(plain);
    let run =
        |out: &str| bench(&["run", "--store", &url, "--out", out]).args(SHORT).stdout(Stdio::piped()).spawn().unwrap();
    // Nothing can be written to a file that is a folder.
    std::fs::create_dir(folder.path("a.json")).unwrap();
    let output = run(&folder.path("a")).wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stdout).contains("throughput"));
    assert!(["a.hlog", "a.html", "a-read.hgrm"].iter().all(|name| PathBuf::from(folder.path(name)).exists()));
    // A device that is full: the interval log is what is written first.
    std::os::unix::fs::symlink("/dev/full", folder.path("b.hlog")).unwrap();
    let output = run(&folder.path("b")).wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stdout).contains("throughput"));
    assert!(PathBuf::from(folder.path("b.json")).exists());
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output =
        bench(&["run", "--store", &url, "--out", &folder.path("c")]).args(SHORT).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("standard output"), "{}", stderr(&output));
    assert!(PathBuf::from(folder.path("c.json")).exists());
}

#[test]
fn a_store_is_not_taken_for_one_that_was_to_be_started() {
    let (one, other) = (resp_server(plain), resp_server(plain));
    let stores = [format!("a={one}"), format!("b={other}")];
    let output =
        bench(&["compare", "--store", &stores[0], "--store", &stores[1], "--start", "b=sleep 100"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("listens at redis://127.0.0.1:"), "{}", stderr(&output));
}

#[test]
fn stores_of_one_name_are_refused() {
    let store = format!("a={}", resp_server(plain));
    let output = bench(&["compare", "--store", &store, "--store", &store]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("two stores are called a"), "{}", stderr(&output));
}

/// The first and the second column of a sweep's table.
fn asked_and_answered(output: &Output) -> Vec<(f64, f64)> {
    let text = String::from_utf8_lossy(&output.stdout).replace(',', "");
    let rows =
        text.lines().map(|line| line.split_whitespace().map_while(|word| word.parse().ok()).collect::<Vec<f64>>());
    rows.filter(|row| row.len() >= 2).map(|row| (row[0], row[1])).collect()
}

#[test]
fn a_sweep_counts_operations_at_rates_that_rise() {
    let url = resp_server(plain);
    let output = bench(&["sweep", "--store", &url, "--workload", "F", "--rates", "800,400", "--arrival", "constant"])
        .args(SHORT)
        .args(["--depth", "64"])
        .output()
        .unwrap();
    let rows = asked_and_answered(&output);
    assert_eq!(rows.iter().map(|(asked, _)| *asked).collect::<Vec<_>>(), [400.0, 800.0], "{rows:?}");
    // Half of them are of two requests.
    assert!(rows.iter().all(|(asked, answered)| (answered / asked - 1.0).abs() < 0.05), "{rows:?}");
}

#[test]
fn a_sweep_of_a_store_that_answers_nothing_has_no_rates() {
    let url = resp_server(|words| if words[0] == b"GET" { b"-LOADING\r\n" } else { plain(words) });
    let output = bench(&["sweep", "--store", &url, "--workload", "C"]).args(SHORT).output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("LOADING"));
    let output = bench(&["sweep", "--store", &url, "--workload", "C", "--rates", "500"]).args(SHORT).output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(shown.contains("warning: at 500: ") && !shown.contains(" 0 ns"), "{shown}");
}

/// Else a store that refuses half of what it is asked is the quicker one.
#[test]
fn a_difference_tells_what_its_figures_leave_out() {
    let folder = Folder::new("doubts");
    let whole = resp_server(plain);
    let half = resp_server(|words| if words[0] == b"SET" { b"-OOM\r\n" } else { plain(words) });
    for (name, url) in [("whole", &whole), ("half", &half)] {
        let output =
            bench(&["run", "--store", url, "--no-fill", "--out", &folder.path(name)]).args(SHORT).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    }
    let output = bench(&["diff", &folder.path("whole.json"), &folder.path("half.json")]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let doubts: Vec<&str> = text.lines().filter(|line| line.contains("in no figure")).collect();
    assert!(matches!(doubts.as_slice(), [one] if one.starts_with("warning second: update: ")), "{text}");
}

/// "Resource temporarily unavailable (os error 11)" is what the system says of a server that is silent.
#[test]
fn a_server_that_is_of_another_kind_is_not_said_to_be_unavailable() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let silent = silent.local_addr().unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let closing = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            // It takes what is said, so that its end is no reset.
            let _ = socket.unwrap().read(&mut [0; 1024]);
        }
    });
    let resp = "is it a server that speaks RESP, such as Redis or Valkey?";
    for (scheme, address, words, hint) in [
        ("redis", silent, "no answer within 5 s", resp),
        ("redis", closing, "closed the connection instead of an answer", resp),
        ("corelode", silent, "no answer within 5 s", "is it a Corelode server?"),
        ("corelode", closing, "closed the connection instead of an answer", "is it a Corelode server?"),
    ] {
        let output = bench(&["run", "--store", &format!("{scheme}://{address}")]).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
        assert!(stderr(&output).contains(&format!("{address}: ")), "{}", stderr(&output));
        assert!(stderr(&output).contains(words) && stderr(&output).contains(hint), "{}", stderr(&output));
        assert!(!stderr(&output).contains("os error"), "{}", stderr(&output));
    }
}

/// `compare` with a store that it starts: a script that never listens, so that the command waits for it. Answers both processes once the script runs.
fn compare_with_script(folder: &Folder, script: &str) -> (Child, Pid) {
    // Nobody listens there any more.
    let address = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let (path, told) = (folder.path("script"), folder.path("pid"));
    let _ = std::fs::remove_file(&told);
    std::fs::write(
        &path,
        format!("{script}\necho $$ > {told}.new && mv {told}.new {told}\nwhile :; do sleep 0.05; done\n"),
    )
    .unwrap();
    let stores = [format!("a=redis://{address}"), format!("b={}", resp_server(plain))];
    let mut command = bench(&["compare", "--store", &stores[0], "--store", &stores[1], "--start"]);
    let compare = command.arg(format!("a=sh {path}")).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let pid = wait_for("the script runs", || std::fs::read_to_string(&told).ok()?.trim().parse().ok());
    (compare, Pid::from_raw(pid).unwrap())
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        match look() {
            Some(found) => return found,
            None => assert!(began.elapsed() < Duration::from_secs(25), "{what}: not within 25 s"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Else they go on, hold their ports and data, and take the processor from what is measured next.
#[test]
fn stores_that_were_started_end_with_the_command_however_it_ends() {
    const STUBBORN: &str = "trap '' INT TERM HUP";
    let folder = Folder::new("children");
    for (script, signals, code) in [
        ("", &[Signal::INT][..], Some(130)),
        // Whoever asks twice does not wait until a store that does not end by itself is killed.
        (STUBBORN, &[Signal::INT, Signal::TERM], Some(130)),
        (STUBBORN, &[Signal::KILL], None),
    ] {
        let (mut compare, script) = compare_with_script(&folder, script);
        for signal in signals {
            kill_process(Pid::from_child(&compare), *signal).unwrap();
        }
        let status = wait_for("the command ends", || compare.try_wait().unwrap());
        assert_eq!(status.code(), code, "{signals:?}");
        wait_for("the store is gone", || test_kill_process(script).is_err().then_some(()));
    }
}

/// A script that goes on with the figures of a store that did nothing does not look into them.
#[test]
fn a_load_of_which_nothing_was_done_does_not_end_well() {
    let refusing = resp_server(|words| if words[0] == b"GET" { b"-LOADING\r\n" } else { plain(words) });
    let silent = resp_server(|words| if words[0] == b"GET" { b"" } else { plain(words) });
    let well = resp_server(plain);
    for (url, words, code, complaint) in [
        (&refusing, ["--rate", "500"], 4, "repetition 1: not one operation was done: "),
        (&silent, ["--depth", "2"], 3, "repetition 1: not one operation was answered"),
        (&well, ["--rate", "0.001"], 2, "no operation was due in the time: give more --seconds or a higher --rate"),
    ] {
        let folder = Folder::new("nothing");
        let mut command = bench(&["run", "--store", url, "--workload", "C", "--out", &folder.path("a")]);
        let short = ["--keys", "100", "--warm-up", "0.1", "--seconds", "0.2", "--repetitions=1", "--clients=2"];
        let output = command.args(short).args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        assert!(stderr(&output).contains(complaint), "{}", stderr(&output));
        assert!(PathBuf::from(folder.path("a.json")).exists(), "what there is, is reported");
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(shown.contains("p99         -\n") && !shown.contains("0 ns"), "{shown}");
    }
    let help = bench(&["run", "--help"]).output().unwrap();
    assert!(String::from_utf8_lossy(&help.stdout).contains("Exit codes: 0 measured as asked"));
}

#[test]
fn a_load_that_was_interrupted_reports_what_it_has_and_says_so() {
    let (count, folder) = (std::sync::Arc::new(AtomicU64::new(0)), Folder::new("interrupted"));
    let counted = std::sync::Arc::clone(&count);
    let url = resp_server(move |words| {
        counted.fetch_add(u64::from(words[0] == b"GET"), Ordering::Relaxed);
        plain(words)
    });
    let mut command = bench(&["run", "--store", &url, "--out", &folder.path("a"), "--keys", "100", "--seconds", "600"]);
    let load = command.args(["--warm-up", "0"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for("the load measures", || (count.load(Ordering::Relaxed) > 200).then_some(()));
    kill_process(Pid::from_child(&load), Signal::INT).unwrap();
    let output = load.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert!(stderr(&output).contains("interrupted: 0 of 5 repetitions are whole"), "{}", stderr(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("interrupted by the user"));
    assert!(PathBuf::from(folder.path("a.json")).exists());
}

/// Two stores in turns, or rates that rise, take longest of all.
#[test]
fn an_output_that_fails_keeps_no_other_of_a_comparison_or_a_sweep() {
    let folder = Folder::new("several");
    let url = resp_server(plain);
    let stores = [format!("one={url}"), format!("other={url}")];
    let (out, html) = (folder.path("c"), folder.path("s.html"));
    for blocked in ["c-one.json", "s.html"] {
        std::fs::create_dir(folder.path(blocked)).unwrap();
    }
    let compared =
        bench(&["compare", "--store", &stores[0], "--store", &stores[1], "--out", &out]).args(SHORT).output().unwrap();
    assert_eq!(compared.status.code(), Some(2), "{}", stderr(&compared));
    assert!(stderr(&compared).contains("c-one.json"), "{}", stderr(&compared));
    assert!(["c-other.json", "c.html"].iter().all(|name| PathBuf::from(folder.path(name)).is_file()));
    let swept = bench(&["sweep", "--store", &url, "--rates", "100", "--out", &folder.path("s")]);
    let swept = { swept }.args(SHORT).output().unwrap();
    assert_eq!(swept.status.code(), Some(2), "{}", stderr(&swept));
    assert!(stderr(&swept).contains(&html), "{}", stderr(&swept));
    assert!(PathBuf::from(folder.path("s-100.json")).is_file());
}

/// A store that goes away between two repetitions leaves those before it.
#[test]
fn a_store_that_cannot_be_reached_again_leaves_what_was_measured() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        // One conversation, and the two clients of one repetition; then it is gone for whoever comes.
        for _ in 0..3 {
            let socket = listener.accept().unwrap().0;
            std::thread::spawn(move || serve(socket, &plain));
        }
    });
    let folder = Folder::new("gone");
    let words = ["run", "--store", &url, "--no-fill", "--out", &folder.path("a")];
    let short = ["--warm-up=0", "--seconds", "0.2", "--repetitions=2", "--clients=2"];
    let output = bench(&words).args(short).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains("refused"), "{}", stderr(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 × 0.2 s"));
    assert!(PathBuf::from(folder.path("a.json")).exists());
}
