//! `corelode status`: what the server says about itself.

use clap::Args;

use super::{Output, connection::ConnectionArguments};

/// Show the server's version, its partitions and the counters of each core
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// How to show the result; raw is one NAME TAB VALUE a line
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,

    #[command(flatten)]
    pub(crate) connection: ConnectionArguments,
}
