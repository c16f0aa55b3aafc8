//! A server process under test: started, watched, killed.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a server may take to serve or to stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a server under test is started.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The data directory.
    pub data_directory: PathBuf,
    /// The number of cores.
    pub cores: u16,
    /// The number of partitions.
    pub partitions: u16,
    /// Memtables, tables and segments of kilobytes, so that flushes, compactions and recycling run all the time.
    pub is_tiny: bool,
    /// Without io_uring, as on a kernel that refuses it.
    pub is_without_ring: bool,
}

/// A running server.
pub struct Server {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
    /// Where this server's part of the log begins; before it stands what its predecessors have logged.
    log_start: u64,
}

/// The `corelode` program: the one that `CORELODE_BIN` names, or the one that was built beside this test.
///
/// # Panics
/// If it was not built.
#[must_use]
pub fn program() -> PathBuf {
    built("CORELODE_BIN", "corelode")
}

/// The `corelode-bench` program: the one that `CORELODE_BENCH_BIN` names, or the one that was built beside this test.
///
/// # Panics
/// If it was not built.
#[must_use]
pub fn bench_program() -> PathBuf {
    built("CORELODE_BENCH_BIN", "corelode-bench")
}

/// The program that `variable` names, or the one of that name that was built beside this program.
fn built(variable: &str, name: &str) -> PathBuf {
    if let Some(program) = std::env::var_os(variable) {
        return program.into();
    }
    let own = std::env::current_exe().expect("a process knows its program");
    // A test stands in target/PROFILE/deps, another program in target/PROFILE itself.
    let place = own.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|program| program.exists());
    place.unwrap_or_else(|| panic!("{name} is missing beside {}: run `cargo build -p {name}` first", own.display()))
}

impl Server {
    /// Starts a server and waits until it serves.
    ///
    /// # Panics
    /// If it does not come to serve; its log is shown.
    #[must_use]
    pub fn start(options: &ServerOptions) -> Self {
        Self::start_logging_to(options, &options.data_directory.with_extension("log"))
    }

    /// As [`start`](Self::start), with a log elsewhere than beside the data directory.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn start_logging_to(options: &ServerOptions, log: &Path) -> Self {
        // The kernel gives a free port, and the server's log says which: nobody can take it in between.
        Self::start_at(options, SocketAddr::from(([127, 0, 0, 1], 0)), log)
    }

    /// As [`start`](Self::start), on an address of the caller's choice.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn start_at(options: &ServerOptions, address: SocketAddr, log: &Path) -> Self {
        Self::start_with(options, address, log, &[])
    }

    /// As [`start`](Self::start), with a secret that clients must know.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn start_with_secret(options: &ServerOptions, secret_file: &Path) -> Self {
        let log = options.data_directory.with_extension("log");
        let secret = ["--secret-file".to_owned(), secret_file.display().to_string()];
        Self::start_with(options, SocketAddr::from(([127, 0, 0, 1], 0)), &log, &secret)
    }

    /// As [`start_at`](Self::start_at), with further arguments.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn start_with(options: &ServerOptions, address: SocketAddr, log: &Path, arguments: &[String]) -> Self {
        Self::try_start_with(options, address, log, arguments).unwrap_or_else(|log| panic!("the server ended\n{log}"))
    }

    /// As [`start_with`](Self::start_with).
    ///
    /// # Errors
    /// What the server has logged, if it ends before it serves.
    ///
    /// # Panics
    /// If it neither serves nor ends in time.
    pub fn try_start_with(
        options: &ServerOptions,
        address: SocketAddr,
        log: &Path,
        arguments: &[String],
    ) -> Result<Self, String> {
        let log = log.to_path_buf();
        let log_start = std::fs::metadata(&log).map_or(0, |metadata| metadata.len());
        let output = File::options().create(true).append(true).open(&log).expect("the log's place is writable");
        let mut command = Command::new(program());
        command
            .arg("serve")
            .arg("--data-dir")
            .arg(&options.data_directory)
            .args(["--listen", &address.to_string()])
            .args(["--cores", &options.cores.to_string()])
            .args(["--partitions", &options.partitions.to_string()])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            // After a kill the log tells which jobs were under way.
            .env("CORELODE_LOG", "info,corelode_engine::job=debug");
        if options.is_without_ring {
            command.env("MONOIO_FORCE_LEGACY_DRIVER", "1");
        }
        if options.is_tiny {
            command.env("CORELODE_TEST_TINY_STORE", "1");
        }
        let child = command.spawn().expect("the server's program starts");
        let mut server = Self { child, address, log, log_start };
        let started = Instant::now();
        loop {
            if let Some(address) = served_address(&server.log()) {
                server.address = address;
                return Ok(server);
            }
            let ended = server.child.try_wait().expect("a child can be waited for");
            if ended.is_some() {
                return Err(server.log());
            }
            assert!(started.elapsed() < PATIENCE, "the server does not serve\n{}", server.log());
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// The memory that the server's pages take now, bytes.
    ///
    /// # Panics
    /// If the server has ended.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the server runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the kernel tells");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kib * 1024
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has logged, without colours.
    ///
    /// # Panics
    /// If the log cannot be read.
    #[must_use]
    pub fn log(&self) -> String {
        let mut file = File::open(&self.log).expect("the log exists");
        file.seek(SeekFrom::Start(self.log_start)).expect("a file has places");
        let mut text = String::new();
        file.read_to_string(&mut text).expect("logs are UTF-8");
        text
    }

    /// The process.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it at once, as `kill -9` does; answers what it had logged.
    ///
    /// # Panics
    /// If it had ended by itself.
    pub fn kill(mut self) -> String {
        let ended = self.child.try_wait().expect("a child can be waited for");
        assert!(ended.is_none(), "the server ended by itself: {ended:?}\n{}", self.log());
        self.child.kill().expect("the server is ours");
        self.child.wait().expect("a killed child ends");
        self.log()
    }

    /// Ends it, whether or not it has ended by itself.
    pub fn end(self) {
        drop(self);
    }

    /// Asks it to stop, and waits for the end, which must be in order.
    ///
    /// # Panics
    /// If it does not end, or ends with another code than 0; its log is shown.
    pub fn terminate(mut self) {
        let asked = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(asked.expect("kill exists").success(), "the server is gone\n{}", self.log());
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                assert_eq!(status.code(), Some(0), "a server that is asked to stop ends with 0\n{}", self.log());
                return;
            }
            assert!(started.elapsed() < PATIENCE, "the server does not stop\n{}", self.log());
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A test that fails leaves no server behind; one that was waited for is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address that the server says it serves at, once its log has the whole line.
fn served_address(log: &str) -> Option<SocketAddr> {
    let line = log.split_inclusive('\n').find(|line| line.ends_with('\n') && line.contains(" serving address="))?;
    let (_, rest) = line.split_once("address=")?;
    rest.split_whitespace().next()?.parse().ok()
}
