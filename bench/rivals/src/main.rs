//! A cluster of Corelode beside clusters of etcd and NATS JetStream: how many writes and reads does each do, and how long do they take?
//!
//! ```text
//! cargo run --release --manifest-path bench/rivals/Cargo.toml -- --directory SCRATCH --corelode target/release/corelode \
//!     --etcd venv/bin/etcd --nats venv/bin/nats-server
//! ```
//!
//! Three nodes of each run on this machine, on loopback addresses. Every write is synced on a majority before it is answered. The clusters take
//! turns, case by case, and another one begins in each repetition, so that what changes on the machine meanwhile befalls all of them. One
//! loop in one process drives all three: so many tasks, each of which has one request under way. Every value read is checked.
//!
//! Absolute figures are those of one machine at one time. The ratios are the result.

mod client;
mod load;
mod report;
mod servers;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use client::Client;
use load::Case;
use report::{Report, Setting, Turn};
use servers::{Binaries, Servers};

/// What may go wrong, told to whoever runs this.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Who is measured. The order is that of the tables.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
enum System {
    Corelode,
    Etcd,
    Nats,
}

/// Measures a cluster of Corelode beside clusters of etcd and NATS JetStream, in turns.
#[derive(Parser)]
#[command(name = "corelode-bench-rivals", version)]
struct Arguments {
    /// An existing directory on the disk to measure; what is made there is removed again
    #[arg(long)]
    directory: PathBuf,
    /// The program `corelode`, built for release
    #[arg(long, default_value = "target/release/corelode")]
    corelode: PathBuf,
    /// The program `etcd`
    #[arg(long, default_value = "etcd")]
    etcd: PathBuf,
    /// The program `nats-server`
    #[arg(long, default_value = "nats-server")]
    nats: PathBuf,
    /// The clusters to run
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["corelode", "etcd", "nats"])]
    only: Vec<System>,
    /// The cases to run
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["put-256", "put-1", "get-256", "get-1"])]
    cases: Vec<Case>,
    /// How often each case is run on each cluster
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    repetitions: u32,
    /// How long each is measured, after one second that is not
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// How many cores each node of Corelode uses
    #[arg(long, default_value_t = 1)]
    cores: u16,
    /// How many connections the clients of etcd and of NATS have each, all to the leader
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    connections: u16,
    /// How many threads the load has
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// What else ran on the machine meanwhile; printed with the figures
    #[arg(long, default_value = "not told")]
    beside: String,
    /// Where the figures are written as text; as JSON beside it
    #[arg(long)]
    output: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(arguments.threads.max(1)).enable_all().build();
    match runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(run(arguments))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<()> {
    let mut systems = arguments.only.clone();
    systems.sort();
    systems.dedup();
    report::refuse_memory(&arguments.directory)?;
    let scratch = tempfile::Builder::new().prefix("corelode-bench-rivals-").tempdir_in(&arguments.directory)?;
    let binaries = Binaries { corelode: arguments.corelode, etcd: arguments.etcd, nats: arguments.nats };
    let mut clusters = Vec::new();
    for system in &systems {
        let servers = Servers::start(*system, &binaries, scratch.path(), arguments.cores)?;
        let client = Client::connect(&servers, arguments.connections)
            .await
            .map_err(|error| format!("{system:?} does not serve: {error}\n{}", servers.log_tails()))?;
        load::fill(&client).await?;
        eprintln!("{system:?} serves: {}", servers.version);
        clusters.push((servers, client));
    }
    let mut turns = Vec::new();
    let measured = Duration::from_secs(arguments.seconds);
    for repetition in 0..arguments.repetitions {
        for case in &arguments.cases {
            for turn in 0..clusters.len() {
                let (servers, client) = &clusters[(repetition as usize + turn) % clusters.len()];
                let figures = load::run(*case, client, servers, measured)
                    .await
                    .map_err(|error| format!("{:?}, {case:?}: {error}\n{}", servers.system, servers.log_tails()))?;
                eprintln!("{repetition} {:?} {case:?} {figures:?}", servers.system);
                turns.push(Turn { repetition, system: servers.system, case: *case, figures });
                // What the last one left to the disk is not charged to the next.
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        }
    }
    let setting = |(servers, _): &(Servers, Client)| Setting {
        system: servers.system,
        version: servers.version.clone(),
        durability: servers.durability(),
    };
    let report = Report {
        machine: report::machine(),
        beside: arguments.beside,
        seconds: arguments.seconds,
        cores: arguments.cores,
        connections: arguments.connections,
        threads: arguments.threads,
        settings: clusters.iter().map(setting).collect(),
        turns,
    };
    let text = report.text(&arguments.cases);
    print!("{text}");
    if let Some(path) = arguments.output {
        std::fs::write(&path, &text)?;
        std::fs::write(path.with_extension("json"), serde_json::to_vec_pretty(&report)?)?;
    }
    Ok(())
}
