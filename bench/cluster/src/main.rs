//! `corelode-bench-cluster`: starts three nodes on loopback addresses itself and measures what happens to clients while leaders are lost or handed over, what
//! an idle cluster costs, how writes share log writes, and how a node catches up.
//!
//! ```text
//! main ──► a scenario ──► corelode-tests: three processes, started, killed, stopped
//!               ├───────► load: writes that fall due at fixed times, or corelode-bench's closed loops
//!               ├───────► counters, process: what the nodes and the kernel count
//!               └───────► output: DIR/SCENARIO.json, DIR/SCENARIO.txt, pictures of failover
//! ```
//!
//! It stands apart from `corelode-bench` since it sees the client and the processes of the tests, and the load generator is to see neither.

#![forbid(unsafe_code)]

mod catch_up;
mod counters;
mod failover;
mod group_commit;
mod idle;
mod load;
mod output;
mod process;
mod settle;
mod statistics;
mod transfer;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// Three nodes on this machine, measured while things happen to them
#[derive(Debug, Parser)]
#[command(name = "corelode-bench-cluster", version, arg_required_else_help = true)]
struct CommandLine {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// Kill a node under load: the time until each partition that it led acknowledges a write again
    Failover(failover::Arguments),
    /// Stop a node in order and start it again under load: errors and pauses that clients see
    Transfer(transfer::Arguments),
    /// Leave a cluster alone: what its nodes cost
    Idle(idle::Arguments),
    /// Write to one partition and to many in turns: log writes per turn and per acknowledged write
    GroupCommit(group_commit::Arguments),
    /// Kill a node, write without it, start it again: what clients see until it has caught up
    CatchUp(catch_up::Arguments),
}

/// What all scenarios are told.
#[derive(Args, Clone, Debug)]
struct Common {
    /// Where the results go
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// Where the nodes keep their data while it runs [default: a temporary directory]
    ///
    /// Their logs are there, too. It must be empty, and its disk is what is measured.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// The cores of each node
    #[arg(long, value_name = "N", default_value_t = 1)]
    cores: u16,
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let outcome = runtime.map_err(|error| format!("no threads can be had: {error}")).and_then(|runtime| {
        let _entered = runtime.enter();
        match CommandLine::parse().scenario {
            Scenario::Failover(arguments) => failover::run(&runtime, &arguments),
            Scenario::Transfer(arguments) => transfer::run(&runtime, &arguments),
            Scenario::Idle(arguments) => idle::run(&runtime, &arguments),
            Scenario::GroupCommit(arguments) => group_commit::run(&runtime, &arguments),
            Scenario::CatchUp(arguments) => catch_up::run(&runtime, &arguments),
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("corelode-bench-cluster: {message}");
            ExitCode::FAILURE
        }
    }
}
