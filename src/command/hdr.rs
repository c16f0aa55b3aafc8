//! `corelode hdr`: where the server spent the time of its requests.

use std::{collections::BTreeMap, fmt::Write, num::NonZeroU64, thread, time::Duration};

use clap::{Args, ValueEnum};
use corelode_bench::report::{
    histogram::Latencies,
    model::{CoreStages, RESIDENCY, STAGES, ServerStages},
};
use corelode_client::{NodeId, blocking::Client};

use super::{
    connection::{ConnectionArguments, Failure},
    show,
};
use crate::{exit::Exit, server_url::ServerUrl};

/// Show where the server spent the time of its requests: by operation, stage and core
///
/// queue: from the last byte received to the turn that looks at the request. wait: until a block, room or another core's
/// answer is there. append: until the request's log write begins. sync: until that is durable. apply: until the answer is
/// given to the socket. reply: until the socket has taken it. residency: all of it.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Only this operation: get, put, delete, batch or scan
    #[arg(long, value_name = "NAME")]
    pub(crate) operation: Option<String>,

    /// The node of a cluster [default: one that answers]
    #[arg(long, value_name = "N")]
    pub(crate) node: Option<u64>,

    /// Each core by itself, beside the total
    #[arg(long)]
    pub(crate) cores: bool,

    /// Watch for so many seconds, and show those only; otherwise all since the server's start
    #[arg(long, value_name = "N")]
    pub(crate) seconds: Option<NonZeroU64>,

    /// table for people; json has the histograms themselves, as HdrHistogram's compressed V2 encoding in base64
    #[arg(long, value_enum, default_value_t = Form::Table)]
    pub(crate) output: Form,

    #[command(flatten)]
    pub(crate) connection: ConnectionArguments,
}

/// How the histograms are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// Columns for people
    Table,
    /// One JSON object
    Json,
}

/// Shows the stages.
pub(crate) fn run(arguments: &Arguments, url: &ServerUrl) -> Result<Exit, Failure> {
    let client = arguments.connection.client(url)?;
    let mut stages = fetch(&client, arguments.node)?;
    if let Some(seconds) = arguments.seconds {
        thread::sleep(Duration::from_secs(seconds.get()));
        stages = fetch(&client, arguments.node)?.since(&stages);
    }
    if let Some(operation) = &arguments.operation {
        stages.cores.iter_mut().for_each(|core| core.operations.retain(|name, _| name == operation));
    }
    let text = match arguments.output {
        Form::Table => table(&stages, arguments.cores),
        Form::Json => serde_json::to_string(&stages).expect("text and numbers") + "\n",
    };
    show::bytes(text.as_bytes()).map(|()| Exit::Done).map_err(|error| Failure::file("standard output".as_ref(), &error))
}

/// The stages of all cores of a node, since their start. Nodes of a cluster have the same number of cores.
fn fetch(client: &Client, node: Option<u64>) -> Result<ServerStages, Failure> {
    let mut stages = ServerStages::default();
    let topology = client.fetch_topology()?;
    let node = node.map_or(topology.node_id, NodeId);
    for entry in &topology.cores {
        let mut core = CoreStages { core: entry.core.0, ..CoreStages::default() };
        for operation in client.histograms(node, entry.core, "")?.operations {
            let mut found = BTreeMap::new();
            for stage in client.histograms(node, entry.core, &operation)?.stages {
                let latencies = Latencies::from_v2(&stage.v2);
                let latencies = latencies.map_err(|message| Failure { exit: Exit::Refused, message })?;
                found.insert(stage.stage, latencies);
            }
            core.operations.insert(operation, found);
        }
        stages.cores.push(core);
    }
    Ok(stages)
}

fn table(stages: &ServerStages, shows_cores: bool) -> String {
    let mut text = String::new();
    let total = stages.total();
    if total.operations.is_empty() {
        return "nothing was counted\n".to_owned();
    }
    for (operation, found) in &total.operations {
        heading(&mut text, operation, "all cores");
        rows(&mut text, found);
        for core in stages.cores.iter().filter(|_| shows_cores) {
            if let Some(found) = core.operations.get(operation) {
                heading(&mut text, operation, &format!("core {}", core.core));
                rows(&mut text, found);
            }
        }
    }
    text
}

fn heading(text: &mut String, operation: &str, whose: &str) {
    if !text.is_empty() {
        text.push('\n');
    }
    let columns = ["count", "share", "mean us", "p50 us", "p99 us", "p99.9 us", "max us"];
    write!(text, "{:<24}", format!("{operation}, {whose}")).expect("memory takes it");
    for column in columns {
        write!(text, "{column:>12}").expect("memory takes it");
    }
    text.push('\n');
}

fn rows(text: &mut String, found: &BTreeMap<String, Latencies>) {
    let sum_of = |latencies: &Latencies| latencies.mean() * latencies.count() as f64;
    let whole = found.get(RESIDENCY).map_or(0.0, sum_of);
    let stages = STAGES.into_iter().chain([RESIDENCY]);
    for (stage, latencies) in stages.filter_map(|stage| Some((stage, found.get(stage)?))) {
        let share = if whole > 0.0 { format!("{:.1}%", 100.0 * sum_of(latencies) / whole) } else { String::new() };
        write!(text, "  {stage:<22}{:>12}{share:>12}", latencies.count()).expect("memory takes it");
        write!(text, "{:>12.1}", latencies.mean() / 1e3).expect("memory takes it");
        for quantile in [0.5, 0.99, 0.999] {
            write!(text, "{:>12.1}", latencies.quantile(quantile) as f64 / 1e3).expect("memory takes it");
        }
        writeln!(text, "{:>12.1}", latencies.max() as f64 / 1e3).expect("memory takes it");
    }
}
