//! `corelode serve`: the server itself.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
    num::{NonZeroU16, NonZeroUsize},
    path::PathBuf,
};

use clap::Args;

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
    #[arg(long, value_name = "N")]
    pub(crate) cores: Option<NonZeroUsize>,

    /// Into how many partitions to divide the keys; fixed at the first start [default: 64]
    #[arg(long, value_name = "N")]
    pub(crate) partitions: Option<NonZeroU16>,

    /// A file with the secret that clients must know
    #[arg(long, env = "CORELODE_SECRET_FILE", value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,

    /// Listen beyond this machine without a secret
    #[arg(long)]
    pub(crate) insecure: bool,
}

/// The first address that a name and port stand for; a name such as `localhost` may stand for several.
fn resolve(text: &str) -> io::Result<SocketAddr> {
    text.to_socket_addrs()?.next().ok_or_else(|| io::Error::other("the name has no address"))
}
