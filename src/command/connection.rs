//! Arguments that every command of a client takes.

use std::{num::NonZeroU32, path::PathBuf, time::Duration};

use clap::Args;
use corelode_client::{Durability, Options, Role, Secret, blocking::Client};

use crate::{exit::Exit, server_url::ServerUrl};

/// How to speak with the server, and how long to wait for it.
#[derive(Args, Debug)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ConnectionArguments {
    /// How long one request may take, in milliseconds, retries included
    #[arg(long, value_name = "MS", default_value = "5000")]
    pub(crate) timeout_ms: NonZeroU32,

    /// A file with the secret that the server shares with its clients
    #[arg(long, env = "CORELODE_SECRET_FILE", value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,
}

impl ConnectionArguments {
    /// A client of the server or cluster at `url`.
    ///
    /// # Errors
    ///
    /// A sentence for the user, if the secret cannot be read.
    pub(crate) fn client(&self, url: &ServerUrl) -> Result<Client, Failure> {
        let timeout = Duration::from_millis(u64::from(self.timeout_ms.get()));
        let mut options = Options::from_addresses(url.addresses()).with_timeout(timeout).with_name("corelode-cli");
        if let Some(path) = &self.secret_file {
            let usage = |message: String| Failure { exit: Exit::Usage, message };
            let bytes =
                std::fs::read(path).map_err(|error| usage(format!("cannot read {}: {error}", path.display())))?;
            let secret =
                Secret::new(bytes.trim_ascii_end()).map_err(|error| usage(format!("{}: {error}", path.display())))?;
            options = options.with_secret(Role::Admin, secret);
        }
        Client::new(options).map_err(|error| Failure { exit: Exit::Refused, message: error.to_string() })
    }
}

/// Why a command did not do what was asked: what to say, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
}

impl Failure {
    /// A word of the command line that makes no sense.
    pub(crate) fn usage(message: impl std::fmt::Display) -> Self {
        Self { exit: Exit::Usage, message: message.to_string() }
    }

    /// A file that cannot be opened, read or written.
    pub(crate) fn file(path: &std::path::Path, error: &std::io::Error) -> Self {
        Self { exit: Exit::Usage, message: format!("{}: {error}", path.display()) }
    }
}

impl From<corelode_client::Error> for Failure {
    fn from(error: corelode_client::Error) -> Self {
        Self { exit: exit_of(&error), message: error.to_string() }
    }
}

/// The exit code that an error of the client stands for.
pub(crate) fn exit_of(error: &corelode_client::Error) -> Exit {
    use corelode_client::Error;
    match error {
        Error::Unreachable { .. } | Error::DeadlineExceeded => Exit::Unreachable,
        Error::OutcomeUnknown { .. } => Exit::OutcomeUnknown,
        Error::Refused { .. } | Error::Invalid { .. } | Error::Protocol { .. } => Exit::Refused,
    }
}

/// The durability that an argument stands for.
pub(crate) fn durability(argument: super::WriteDurability) -> Durability {
    match argument {
        super::WriteDurability::Synced => Durability::Synced,
        super::WriteDurability::Memory => Durability::Memory,
    }
}
