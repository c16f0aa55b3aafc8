//! The `corelode` command line.

#![forbid(unsafe_code)]

mod command;
mod exit;
mod record;
mod server_url;

use std::process::ExitCode;

use clap::Parser;
use command::CommandLine;

fn main() -> ExitCode {
    CommandLine::parse().run().into()
}
