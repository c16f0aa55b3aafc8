//! Three nodes of one system as processes, with directories and ports of their own. They end with this value, and with this process.

use std::fmt::Write as _;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::{Result, System};

const NODES: usize = 3;

/// Where the programs are.
pub(crate) struct Binaries {
    pub(crate) corelode: PathBuf,
    pub(crate) etcd: PathBuf,
    pub(crate) nats: PathBuf,
}

/// A running cluster.
pub(crate) struct Servers {
    pub(crate) system: System,
    /// What the program says of itself.
    pub(crate) version: String,
    /// Where clients connect, node by node.
    pub(crate) addresses: Vec<String>,
    children: Vec<Child>,
    logs: Vec<PathBuf>,
}

impl Servers {
    /// Starts three nodes. That they serve is for the client to find out.
    pub(crate) fn start(system: System, binaries: &Binaries, scratch: &Path, cores: u16) -> Result<Self> {
        let (program, version_argument) = match system {
            System::Corelode => (&binaries.corelode, "--version"),
            System::Etcd => (&binaries.etcd, "--version"),
            System::Nats => (&binaries.nats, "--version"),
        };
        let output = Command::new(program).arg(version_argument).output();
        let output = output.map_err(|error| format!("{} cannot be run: {error}", program.display()))?;
        let version = String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or("unknown").to_owned();
        let (clients, peers) = (free_addresses()?, free_addresses()?);
        let mut servers = Self { system, version, addresses: clients.clone(), children: vec![], logs: vec![] };
        for node in 0..NODES {
            let directory = scratch.join(format!("{system:?}-{node}").to_lowercase());
            std::fs::create_dir(&directory)?;
            let log = directory.join("log.txt");
            // The kernel ends the node when this process ends, in whatever way.
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "KILL", "--"]).arg(program);
            match system {
                System::Corelode => {
                    let list = (0..NODES).map(|peer| format!("{}={}", peer + 1, clients[peer])).collect::<Vec<_>>();
                    command.args(["serve", "--node-id", &(node + 1).to_string(), "--peers", &list.join(",")]);
                    command.args(["--cores", &cores.to_string(), "--data-dir"]).arg(directory.join("data"));
                }
                System::Etcd => {
                    let list = (0..NODES).map(|peer| format!("n{peer}=http://{}", peers[peer])).collect::<Vec<_>>();
                    let (client, peer) = (format!("http://{}", clients[node]), format!("http://{}", peers[node]));
                    command.args(["--name", &format!("n{node}"), "--initial-cluster", &list.join(",")]);
                    command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
                    command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
                    command.args(["--quota-backend-bytes", "8589934592", "--log-level", "warn"]);
                    command.arg("--data-dir").arg(directory.join("data"));
                }
                System::Nats => {
                    let routes = peers.iter().map(|peer| format!("nats://{peer}")).collect::<Vec<_>>().join(", ");
                    let configuration = format!(
                        "server_name: n{node}\nlisten: {}\ncluster {{ name: rivals, listen: {}, routes: [{routes}] }}\n\
                         jetstream {{ store_dir: {:?}, sync_interval: always }}\n",
                        clients[node],
                        peers[node],
                        directory.join("data")
                    );
                    let path = directory.join("nats.conf");
                    std::fs::write(&path, configuration)?;
                    command.arg("-c").arg(path);
                }
            }
            let output = File::create(&log)?;
            command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
            let child = command.spawn().map_err(|error| format!("setpriv (of util-linux) cannot be run: {error}"))?;
            servers.children.push(child);
            servers.logs.push(log);
        }
        Ok(servers)
    }

    /// What an acknowledged write of this cluster means.
    pub(crate) fn durability(&self) -> &'static str {
        match self.system {
            System::Corelode => {
                "a write is synced on a majority before its answer (the default); linearizable reads by read index (the default)"
            }
            System::Etcd => {
                "a write is synced on a majority before its answer (the default); linearizable reads (the default)"
            }
            System::Nats => {
                "three replicas, sync_interval always; reads by the stream's leader without asking a majority, which is less than linearizable"
            }
        }
    }

    /// Processor seconds of all nodes since they began.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        self.children.iter().map(|child| cpu_seconds(&child.id().to_string())).sum()
    }

    /// The last lines of each node, for who has to find out why one does not serve.
    pub(crate) fn log_tails(&self) -> String {
        let mut tails = String::new();
        for log in &self.logs {
            let text = std::fs::read_to_string(log).unwrap_or_default();
            let lines: Vec<_> = text.lines().collect();
            let _ = writeln!(tails, "{}:\n{}", log.display(), lines[lines.len().saturating_sub(8)..].join("\n"));
        }
        tails
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Processor seconds of a process, `self` or a number, with all its threads.
pub(crate) fn cpu_seconds(process: &str) -> Result<f64> {
    let path = format!("/proc/{process}/stat");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}: a node has ended"))?;
    // The name may hold blanks; what follows its parenthesis does not. User and system time are fields 14 and 15 of the whole.
    let rest = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: Vec<f64> = rest.split_whitespace().skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    if ticks.len() != 2 {
        return Err(format!("{path} is not as expected: {text}").into());
    }
    #[expect(clippy::cast_precision_loss, reason = "a hundred")]
    let per_second = rustix::param::clock_ticks_per_second() as f64;
    Ok(ticks.iter().sum::<f64>() / per_second)
}

/// Three addresses that nobody listens on. All are held until the last is found, so that they differ.
fn free_addresses() -> Result<Vec<String>> {
    let held = (0..NODES).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<std::io::Result<Vec<_>>>()?;
    held.iter().map(|listener| Ok(listener.local_addr()?.to_string())).collect()
}
