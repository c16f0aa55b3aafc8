//! `corelode status`: what the server, or each node of a cluster, says about itself.

mod cluster;

use clap::Args;
use corelode_client::{CoreStatus, Status};

use super::{
    Output,
    connection::{ConnectionArguments, Failure},
    show,
};
use crate::{exit::Exit, server_url::ServerUrl};

/// Show the server's version, its cluster and the counters of each core
///
/// Of a cluster: the nodes, those that cannot be reached included, the leader of each partition and how many entries its followers are behind, and the
/// counters of each node.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// How to show the result; raw is one NAME TAB VALUE a line
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,

    #[command(flatten)]
    pub(crate) connection: ConnectionArguments,
}

/// Shows what the server says.
pub(crate) fn run(arguments: &Arguments, url: &ServerUrl) -> Result<Exit, Failure> {
    let client = arguments.connection.client(url)?;
    let topology = client.fetch_topology()?;
    let text = if topology.nodes.is_empty() {
        let status = client.status()?;
        match arguments.output {
            Output::Table => table(&status),
            Output::Json => format!("{}\n", json_of(&status)),
            Output::Raw => raw(&status),
        }
    } else {
        let nodes = client.statuses()?;
        let cluster = cluster::Cluster::new(&topology, &nodes);
        match arguments.output {
            Output::Table => cluster.table(),
            Output::Json => cluster.json(),
            Output::Raw => cluster.raw(),
        }
    };
    show::bytes(text.as_bytes()).map(|()| Exit::Done).map_err(|error| Failure::file("standard output".as_ref(), &error))
}

fn table(status: &Status) -> String {
    let mut text = format!(
        "server   corelode {}, up {}\ncluster  {}\nnode     {}\ncores    {}\n\n",
        status.server_version,
        uptime(status),
        status.cluster_id,
        status.node_id,
        status.cores.len()
    );
    let names: Vec<&str> = status.cores.first().map_or(Vec::new(), |core| names(core));
    text.push_str(&format!("{:<32}", "counter"));
    for core in &status.cores {
        text.push_str(&format!("{:>16}", format!("core {}", core.core)));
    }
    text.push_str(&format!("{:>18}\n", "total"));
    for name in names {
        text.push_str(&format!("{name:<32}"));
        for core in &status.cores {
            text.push_str(&format!("{:>16}", core.counter(name).unwrap_or(0)));
        }
        text.push_str(&format!("{:>18}\n", status.total(name)));
    }
    text
}

fn uptime(status: &Status) -> String {
    let seconds = status.uptime_ms / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    format!("{days}d {hours:02}:{minutes:02}:{:02}", seconds % 60)
}

fn names(core: &CoreStatus) -> Vec<&str> {
    core.counters.iter().map(|counter| counter.name.as_str()).collect()
}

fn json_of(status: &Status) -> serde_json::Value {
    let cores: Vec<_> = status
        .cores
        .iter()
        .map(|core| {
            let counters = core.counters.iter().map(|counter| (counter.name.clone(), counter.value.into()));
            serde_json::json!({ "core": core.core.0, "counters": serde_json::Map::from_iter(counters) })
        })
        .collect();
    serde_json::json!({
        "server_version": status.server_version,
        "uptime_ms": status.uptime_ms,
        "cluster_id": status.cluster_id.to_string(),
        "node_id": status.node_id.0,
        "incarnation": format!("{:016x}", status.incarnation),
        "cores": cores,
    })
}

fn raw(status: &Status) -> String {
    let mut text = String::new();
    for name in status.cores.first().map_or(Vec::new(), |core| names(core)) {
        text.push_str(&format!("{name}\t{}\n", status.total(name)));
    }
    text
}
