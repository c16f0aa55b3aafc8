//! `corelode-bench`: the load generator by itself. `corelode bench` is the same.

use std::process::ExitCode;

use clap::Parser;
use corelode_bench::command::{Command, EXIT_CODES_HELP};

/// A load generator for key-value stores, and latency reports that people can trust
#[derive(Debug, Parser)]
#[command(name = "corelode-bench", version, after_help = EXIT_CODES_HELP, arg_required_else_help = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    let exit = CommandLine::parse().command.run("corelode-bench", "corelode://127.0.0.1:7400");
    ExitCode::from(exit as u8)
}
