//! The `corelode` command line.

#![forbid(unsafe_code)]
// Goes with the last subcommand: an expectation that is not met is a warning.
#![expect(dead_code, unused_imports, reason = "the bodies of the subcommands wait for the server and the client")]

mod command;
mod exit;
mod record;
mod server_url;

use std::process::ExitCode;

use clap::Parser;
use command::CommandLine;
use exit::Exit;

fn main() -> ExitCode {
    let CommandLine { command } = CommandLine::parse();
    let command = match command {
        command::Command::Serve(arguments) => return command::serve::run(arguments).into(),
        other => other,
    };
    // The subcommands arrive with the crates they stand on, server and client; until then none pretends to work.
    eprintln!("corelode: `{}` is not part of this build yet", command.name());
    Exit::Refused.into()
}
