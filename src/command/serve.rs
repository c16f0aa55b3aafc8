//! `corelode serve`: the server itself.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal},
    net::{SocketAddr, ToSocketAddrs},
    num::NonZeroUsize,
    path::PathBuf,
    time::Duration,
};

use clap::{Args, value_parser};
use corelode_server::cluster::{Cluster, ENTRY_BYTES_KEPT_MAX, NodeId};
use corelode_server::node::{Node, NodeOptions};
use corelode_server::shard::ShardLimits;
use corelode_server::{Credentials, Error, Role, Secret, Secrets};
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
    ///
    /// By default 127.0.0.1:7400, or in a cluster the address that --peers gives this node.
    #[arg(long, value_name = "HOST:PORT", value_parser = resolve)]
    pub(crate) listen: Option<SocketAddr>,

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

    /// The number of this node in its cluster
    #[arg(long, value_name = "N", requires = "peers", value_parser = value_parser!(u64).range(1..), help_heading = "Cluster")]
    pub(crate) node_id: Option<u64>,

    /// All nodes of the cluster, this one included, with the addresses that they listen on; the same on each of them
    #[arg(
        long,
        value_name = "N=HOST:PORT,…",
        requires = "node_id",
        value_delimiter = ',',
        value_parser = peer,
        help_heading = "Cluster"
    )]
    pub(crate) peers: Vec<(u64, SocketAddr)>,

    /// The cluster's name; nodes of others are refused
    #[arg(long, value_name = "NAME", default_value = "corelode", help_heading = "Cluster")]
    pub(crate) cluster: String,

    /// A file with the secret that the cluster's nodes must know [default: that of --secret-file]
    #[arg(long, env = "CORELODE_PEER_SECRET_FILE", value_name = "FILE", help_heading = "Cluster")]
    pub(crate) peer_secret_file: Option<PathBuf>,

    /// How long the leader of a partition may be silent before another takes its place, milliseconds
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = value_parser!(u64).range(100..=60_000), help_heading = "Cluster")]
    pub(crate) election_timeout_ms: u64,

    /// What a core may send of its tables to nodes that lag too far for the log, MiB a second
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = value_parser!(u64).range(1..=65_536), help_heading = "Cluster")]
    pub(crate) catch_up_mib_per_second: u64,
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
    let is_alone = options.cluster.is_none();
    let node = match Node::start(options) {
        Ok(node) => node,
        Err(error) => {
            eprintln!("corelode serve: {error}");
            if let Error::Corruption(_) = error {
                eprintln!("{}", advice(is_alone));
            }
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

/// What to do with a data directory that is damaged.
fn advice(is_alone: bool) -> &'static str {
    if is_alone {
        "nothing was changed: put back the file from a backup of this directory, or keep the directory for a report"
    } else {
        "nothing was changed. The other nodes have their own copies: move this data directory away and start with an empty one; \
         they fill it while they serve, as long as a majority of them is there"
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
    let cluster = cluster(&arguments)?;
    let own_address = cluster.as_ref().map(|cluster| cluster.nodes[&cluster.node]);
    let listen = arguments.listen.or(own_address).unwrap_or(SocketAddr::from(([127, 0, 0, 1], DEFAULT_PORT)));
    let peer_secret_file = arguments.peer_secret_file.as_ref().or(arguments.secret_file.as_ref());
    let peer_secret = peer_secret_file.filter(|_| cluster.is_some()).map(|path| read_secret(path)).transpose()?;
    let mut secrets = match &arguments.secret_file {
        Some(path) => Secrets::default().with(Role::Admin, read_secret(path)?),
        None if listen.ip().is_loopback() || arguments.insecure => Secrets::default(),
        None => {
            return Err(format!(
                "{} is reachable from other machines, and no secret was given: name one with --secret-file, or say --insecure if everybody who reaches it may read and write",
                listen
            ));
        }
    };
    if let Some(secret) = &peer_secret {
        secrets = secrets.with(Role::Peer, secret.clone());
    }
    Ok(NodeOptions {
        data_directory: arguments.data_dir,
        listen,
        cores,
        partition_count: arguments.partitions,
        secrets,
        store: store_options(),
        limits: ShardLimits::default(),
        pin_threads: true,
        cluster,
        peer_credentials: peer_secret.map(|secret| Credentials { role: Role::Peer, secret }),
    })
}

/// The cluster that the arguments speak of, if they do.
fn cluster(arguments: &Arguments) -> Result<Option<Cluster>, String> {
    let Some(node) = arguments.node_id.map(NodeId) else { return Ok(None) };
    let mut nodes = BTreeMap::new();
    for (id, address) in &arguments.peers {
        if nodes.insert(NodeId(*id), *address).is_some() {
            return Err(format!("--peers names node {id} twice"));
        }
        if arguments.peers.iter().any(|(other, same)| other != id && same == address) {
            return Err(format!("--peers gives two nodes the address {address}"));
        }
    }
    if !nodes.contains_key(&node) {
        return Err(format!("--peers does not name this node, {node}: it names all nodes of the cluster"));
    }
    let mut boot = [0; 8];
    getrandom::fill(&mut boot).map_err(|error| format!("the kernel has no random numbers: {error}"))?;
    Ok(Some(Cluster {
        name: arguments.cluster.clone(),
        node,
        nodes,
        election_timeout: Duration::from_millis(arguments.election_timeout_ms),
        transfer_bytes_per_second: arguments.catch_up_mib_per_second * 1024 * 1024,
        entry_bytes_kept_max: if is_test_store_tiny() { 64 * 1024 } else { ENTRY_BYTES_KEPT_MAX },
        boot: u64::from_le_bytes(boot).max(1),
    }))
}

/// `N=HOST:PORT`.
fn peer(text: &str) -> Result<(u64, SocketAddr), String> {
    let (node, address) = text.split_once('=').ok_or_else(|| format!("{text:?} is not of the form N=HOST:PORT"))?;
    let node = node.parse().ok().filter(|node| *node > 0);
    let node = node.ok_or_else(|| format!("{text:?}: a node is a number from 1 on"))?;
    Ok((node, resolve(address).map_err(|error| format!("{address:?}: {error}"))?))
}

/// The port that a node without a cluster listens on.
const DEFAULT_PORT: u16 = 7400;

/// The engine's options; tests make everything small, so that flushes, compactions and recycling run all the time.
fn store_options() -> corelode_server::options::Options {
    if is_test_store_tiny() { corelode_server::options::Options::tiny() } else { Default::default() }
}

fn is_test_store_tiny() -> bool {
    std::env::var("CORELODE_TEST_TINY_STORE").is_ok_and(|value| value == "1")
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
