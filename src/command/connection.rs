//! Arguments that every command of a client takes.

use std::{num::NonZeroU32, path::PathBuf};

use clap::Args;

use crate::server_url::ServerUrl;

/// Which server, and how long to wait for it.
#[derive(Args, Debug)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ConnectionArguments {
    /// The server
    #[arg(
        long,
        env = "CORELODE_URL",
        value_name = "corelode://HOST:PORT",
        default_value = "corelode://127.0.0.1:7400"
    )]
    pub(crate) url: ServerUrl,

    /// How long one request may take, in milliseconds, retries included
    #[arg(long, value_name = "MS", default_value = "5000")]
    pub(crate) timeout_ms: NonZeroU32,

    /// A file with the secret that the server shares with its clients
    #[arg(long, env = "CORELODE_SECRET_FILE", value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,
}
