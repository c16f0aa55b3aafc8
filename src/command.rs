//! The command line: one subcommand a file, each with its arguments and its help.

mod connection;
mod del;
mod export;
mod get;
mod hdr;
mod import;
mod key;
mod put;
mod scan;
mod serve;
mod show;
mod status;

use clap::{Parser, Subcommand, ValueEnum};

use crate::exit::{EXIT_CODES_HELP, Exit};
use crate::server_url::ServerUrl;

/// A durable, ordered key-value store in which every core is a small database of its own.
#[derive(Debug, Parser)]
#[command(name = "corelode", version, after_help = EXIT_CODES_HELP, arg_required_else_help = true)]
pub(crate) struct CommandLine {
    /// The server, for all commands but `serve`; of a cluster some nodes or all, of which one must live
    #[arg(
        long,
        visible_alias = "server",
        global = true,
        env = "CORELODE_URL",
        value_name = "corelode://HOST:PORT[,…]",
        default_value = "corelode://127.0.0.1:7400",
        help_heading = "Connection"
    )]
    url: ServerUrl,

    #[command(subcommand)]
    command: Command,
}

impl CommandLine {
    /// Does what was asked for.
    pub(crate) fn run(self) -> Exit {
        self.command.run(&self.url)
    }
}

/// What can be asked for.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Serve(serve::Arguments),
    Get(get::Arguments),
    Put(put::Arguments),
    Del(del::Arguments),
    Scan(scan::Arguments),
    Import(import::Arguments),
    Export(export::Arguments),
    Status(status::Arguments),
    Hdr(hdr::Arguments),
    /// Make loads on this or another store, and report latencies that one can trust
    #[command(subcommand, after_help = corelode_bench::command::EXIT_CODES_HELP)]
    Bench(corelode_bench::command::Command),
}

impl Command {
    fn run(self, url: &ServerUrl) -> Exit {
        let name = self.name();
        let outcome = match self {
            Self::Serve(arguments) => return serve::run(arguments),
            Self::Get(arguments) => get::run(&arguments, url),
            Self::Put(arguments) => put::run(&arguments, url),
            Self::Del(arguments) => del::run(&arguments, url),
            Self::Scan(arguments) => scan::run(&arguments, url),
            Self::Import(arguments) => import::run(&arguments, url),
            Self::Export(arguments) => export::run(&arguments, url),
            Self::Status(arguments) => status::run(&arguments, url),
            Self::Hdr(arguments) => hdr::run(&arguments, url),
            Self::Bench(command) => return command.run("corelode bench", &url.to_string()).into(),
        };
        outcome.unwrap_or_else(|failure| {
            eprintln!("corelode {name}: {}", failure.message);
            failure.exit
        })
    }

    /// The subcommand as one types it.
    fn name(&self) -> &'static str {
        match self {
            Self::Serve(_) => "serve",
            Self::Get(_) => "get",
            Self::Put(_) => "put",
            Self::Del(_) => "del",
            Self::Scan(_) => "scan",
            Self::Import(_) => "import",
            Self::Export(_) => "export",
            Self::Status(_) => "status",
            Self::Hdr(_) => "hdr",
            Self::Bench(_) => "bench",
        }
    }
}

/// How a result is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Columns for people
    Table,
    /// One JSON object a line, for programs
    Json,
    /// The bytes themselves and nothing else
    Raw,
}

/// How sure a write must be before it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WriteDurability {
    /// On disk: survives a power cut
    Synced,
    /// In the server's memory: faster, and lost if the server stops before its next sync
    Memory,
}

#[cfg(test)]
mod tests;
