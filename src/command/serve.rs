//! `corelode serve`: the server itself.

use std::{
    io::{self, IsTerminal},
    net::{SocketAddr, ToSocketAddrs},
    num::NonZeroUsize,
    path::PathBuf,
};

use clap::{Args, value_parser};
use corelode_server::node::{Node, NodeOptions};
use corelode_server::shard::ShardLimits;
use corelode_server::{Role, Secret, Secrets};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::exit::Exit;

/// Run a server until SIGTERM or SIGINT
///
/// The data directory is made if it is not there. On SIGTERM or SIGINT the server stops taking requests, finishes those
/// it has, writes everything out and exits with 0.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Where the data is kept
    #[arg(long, value_name = "DIR", default_value = "./corelode-data")]
    pub(crate) data_dir: PathBuf,

    /// Where to listen for clients
    #[arg(long, value_name = "HOST:PORT", value_parser = resolve, default_value = "127.0.0.1:7400")]
    pub(crate) listen: SocketAddr,

    /// How many cores to use, each as a shard of its own [default: every core]
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..=i64::from(CORES_MAX)))]
    pub(crate) cores: Option<u16>,

    /// Into how many partitions to divide the keys; fixed at the first start [default: 64]
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..=16_384))]
    pub(crate) partitions: Option<u16>,

    /// A file with the secret that clients must know
    #[arg(long, env = "CORELODE_SECRET_FILE", value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,

    /// Listen beyond this machine without a secret
    #[arg(long)]
    pub(crate) insecure: bool,
}

/// Serves until the process is told to stop.
pub(crate) fn run(arguments: Arguments) -> Exit {
    start_log();
    let options = match node_options(arguments) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("corelode serve: {message}");
            return Exit::Usage;
        }
    };
    // Before any thread starts, so that none of them is ended by a signal.
    let mut signals = match Signals::new([SIGTERM, SIGINT]) {
        Ok(signals) => signals,
        Err(error) => {
            eprintln!("corelode serve: signals cannot be waited for: {error}");
            return Exit::Refused;
        }
    };
    let node = match Node::start(options) {
        Ok(node) => node,
        Err(error) => {
            eprintln!("corelode serve: {error}");
            return Exit::Refused;
        }
    };
    let (stop, stopped) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for _ in signals.forever() {
            // After the node has ended nobody listens.
            let _ = stop.send(());
        }
    });
    match node.run_until(&stopped) {
        Ok(()) => Exit::Done,
        Err(error) => {
            eprintln!("corelode serve: {error}");
            Exit::Refused
        }
    }
}

/// Logs go to standard error; `CORELODE_LOG` chooses which, as in `CORELODE_LOG=debug`.
fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("CORELODE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        // A log that nobody reads any more must not stop the server.
        .log_internal_errors(false)
        .init();
}

fn node_options(arguments: Arguments) -> Result<NodeOptions, String> {
    let available = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let cores = arguments.cores.unwrap_or_else(|| u16::try_from(available).unwrap_or(CORES_MAX).min(CORES_MAX));
    let secrets = match &arguments.secret_file {
        Some(path) => Secrets::default().with(Role::Admin, read_secret(path)?),
        None if arguments.listen.ip().is_loopback() || arguments.insecure => Secrets::default(),
        None => {
            return Err(format!(
                "{} is reachable from other machines, and no secret was given: name one with --secret-file, or say --insecure if everybody who reaches it may read and write",
                arguments.listen
            ));
        }
    };
    Ok(NodeOptions {
        data_directory: arguments.data_dir,
        listen: arguments.listen,
        cores,
        partition_count: arguments.partitions,
        secrets,
        store: store_options(),
        limits: ShardLimits::default(),
        pin_threads: true,
    })
}

/// The engine's options; tests make everything small, so that flushes, compactions and recycling run all the time.
fn store_options() -> corelode_server::options::Options {
    match std::env::var("CORELODE_TEST_TINY_STORE") {
        Ok(value) if value == "1" => corelode_server::options::Options::tiny(),
        _ => corelode_server::options::Options::default(),
    }
}

/// More threads than that would not be a machine's cores.
const CORES_MAX: u16 = 256;

fn read_secret(path: &std::path::Path) -> Result<Secret, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let secret = bytes.trim_ascii_end();
    Secret::new(secret).map_err(|error| format!("{}: {error}", path.display()))
}

/// The first address that a name and port stand for; a name such as `localhost` may stand for several.
fn resolve(text: &str) -> io::Result<SocketAddr> {
    text.to_socket_addrs()?.next().ok_or_else(|| io::Error::other("the name has no address"))
}
