//! Three nodes on loopback addresses or a network of their own: started, killed, started again.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use corelode_client::blocking::Client;
use corelode_client::{Error, ErrorCode, Options, WriteOptions};
use corelode_net::body::Durability;
use corelode_net::table::counters;

use crate::network::Network;
use crate::server::{Server, ServerOptions};

/// How long a cluster may take until it serves a key again.
const PATIENCE: Duration = Duration::from_secs(30);
const PORT: u16 = 7400;

/// A cluster of three.
pub struct Cluster {
    directory: PathBuf,
    addresses: [SocketAddr; 3],
    servers: [Option<Server>; 3],
    clients: [Client; 3],
    shape: Shape,
    /// Where the nodes are the first three hosts; none on loopback addresses.
    network: Option<Arc<Network>>,
}

/// What all nodes have in common.
#[derive(Clone, Copy)]
struct Shape {
    cores: u16,
    partitions: u16,
    is_tiny: bool,
}

impl Cluster {
    /// Starts three nodes whose data is in `directory`. Each has an address of 127.0.0.0/8 that no other test has.
    ///
    /// # Panics
    /// If a node does not come to serve.
    #[must_use]
    pub fn start(directory: &Path, cores: u16, partitions: u16) -> Self {
        Self::start_with_stores(directory, cores, partitions, true)
    }

    /// As [`start`](Self::start), with stores of the usual size rather than tiny ones, if that is said.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn start_with_stores(directory: &Path, cores: u16, partitions: u16, is_tiny: bool) -> Self {
        Self::start_beside(0, directory, cores, partitions, is_tiny)
    }

    /// As [`start_with_stores`](Self::start_with_stores), beside other clusters of this process: each has a number of its own, up to 9.
    ///
    /// # Panics
    /// As [`start`](Self::start), or if the number is greater.
    #[must_use]
    pub fn start_beside(number: u8, directory: &Path, cores: u16, partitions: u16, is_tiny: bool) -> Self {
        assert!(number < 10, "there are addresses for ten clusters");
        let process = std::process::id();
        let [_, _, high, low] = process.to_be_bytes();
        let network = 64 + 3 * number;
        let address = |node: u8| SocketAddr::from((Ipv4Addr::new(127, network + node, high, low.clamp(1, 254)), PORT));
        let shape = Shape { cores, partitions, is_tiny };
        Self::start_at(directory, [1, 2, 3].map(address), shape, None)
    }

    /// As [`start`](Self::start), with stores of the usual size, on the first three hosts of a network. The caller's thread is on a host from where the nodes
    /// are reached.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn start_on(network: &Arc<Network>, directory: &Path, cores: u16, partitions: u16) -> Self {
        let addresses = [0, 1, 2].map(|host| SocketAddr::from((network.address(host), PORT)));
        let shape = Shape { cores, partitions, is_tiny: false };
        Self::start_at(directory, addresses, shape, Some(Arc::clone(network)))
    }

    fn start_at(directory: &Path, addresses: [SocketAddr; 3], shape: Shape, network: Option<Arc<Network>>) -> Self {
        let client = |address: SocketAddr| {
            let options = Options::from_addresses(vec![address.to_string()]).with_timeout(Duration::from_millis(250));
            Client::new(options).expect("a client starts")
        };
        let mut cluster = Self {
            directory: directory.to_path_buf(),
            addresses,
            servers: [None, None, None],
            clients: addresses.map(client),
            shape,
            network,
        };
        (0..3).for_each(|node| cluster.restart(node));
        cluster.await_whole();
        cluster
    }

    /// Waits until each partition has a leader that knows the disks of all its voters: until then a new cluster elects nobody without all of them.
    fn await_whole(&self) {
        let started = Instant::now();
        let is_whole = |client: &Client| {
            client.status().is_ok_and(|status| {
                [counters::REPLICAS_WITHOUT_LEADER, counters::GROUPS_SHORT_OF_VOTERS]
                    .iter()
                    .all(|name| status.total(name) == 0)
            })
        };
        while !self.clients.iter().all(is_whole) {
            assert!(started.elapsed() < PATIENCE, "the new cluster is not whole yet");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts a node that does not run. Nodes count from 0.
    ///
    /// # Panics
    /// If it does not come to serve.
    pub fn restart(&mut self, node: usize) {
        self.try_restart(node).unwrap_or_else(|log| panic!("node {} ended\n{log}", node + 1));
    }

    /// As [`restart`](Self::restart), if the node comes to serve.
    ///
    /// # Errors
    /// What it has logged, if it ends before.
    ///
    /// # Panics
    /// If it does neither.
    pub fn try_restart(&mut self, node: usize) -> Result<(), String> {
        let peers = (1..).zip(self.addresses).map(|(id, address): (u32, _)| format!("{id}={address}"));
        let peers = peers.collect::<Vec<_>>().join(",");
        self.servers[node] = Some(self.try_start_node(node, &peers)?);
        Ok(())
    }

    /// Starts a node with peers of the caller's choice.
    ///
    /// # Panics
    /// If it does not come to serve.
    #[must_use]
    pub fn start_node(&self, node: usize, peers: &str) -> Server {
        self.try_start_node(node, peers).unwrap_or_else(|log| panic!("node {} ended\n{log}", node + 1))
    }

    fn try_start_node(&self, node: usize, peers: &str) -> Result<Server, String> {
        let options = ServerOptions {
            data_directory: self.data_directory(node),
            cores: self.shape.cores,
            partitions: self.shape.partitions,
            is_tiny: self.shape.is_tiny,
            is_without_ring: false,
        };
        let number = (node + 1).to_string();
        let arguments = ["--node-id", &number, "--peers", peers].map(str::to_owned);
        let start = |arguments: &[String]| {
            Server::try_start_with(&options, self.addresses[node], &self.log_file(node), arguments)
        };
        match &self.network {
            None => start(&arguments),
            // Nobody else is on that network.
            Some(network) => network.on(node, || start(&[&arguments[..], &["--insecure".to_owned()]].concat())),
        }
    }

    /// The file into which a node logs, each time that it runs.
    #[must_use]
    pub fn log_file(&self, node: usize) -> PathBuf {
        self.directory.join(format!("{}.log", node + 1))
    }

    /// Where a node has its data.
    #[must_use]
    pub fn data_directory(&self, node: usize) -> PathBuf {
        self.directory.join(format!("{}", node + 1))
    }

    /// A node that runs.
    ///
    /// # Panics
    /// If it does not.
    #[must_use]
    pub fn server(&self, node: usize) -> &Server {
        self.servers[node].as_ref().expect("the node runs")
    }

    /// Ends a node at once.
    ///
    /// # Panics
    /// If it had ended by itself.
    pub fn kill(&mut self, node: usize) {
        let _ = self.servers[node].take().expect("the node runs").kill();
    }

    /// Stops a node in the midst of whatever it does, until it [goes on](Self::resume). Its connections stay.
    ///
    /// # Panics
    /// If it does not run.
    pub fn pause(&self, node: usize) {
        self.signal(node, "-STOP");
    }

    /// Lets a node go on.
    ///
    /// # Panics
    /// If it does not run.
    pub fn resume(&self, node: usize) {
        self.signal(node, "-CONT");
    }

    fn signal(&self, node: usize, signal: &str) {
        let process = self.server(node).process_id().to_string();
        let sent = std::process::Command::new("kill").args([signal, &process]).status();
        assert!(sent.expect("kill exists").success(), "node {} runs", node + 1);
    }

    /// Asks a node to stop, and starts it again once it has.
    ///
    /// # Panics
    /// If it does not stop in order, or does not come to serve.
    pub fn stop_and_restart(&mut self, node: usize) {
        self.stop(node);
        self.restart(node);
    }

    /// Asks a node to stop, and waits until it has.
    ///
    /// # Panics
    /// If it does not run, or does not stop in order.
    pub fn stop(&mut self, node: usize) {
        self.servers[node].take().expect("the node runs").terminate();
    }

    /// The addresses of all nodes, whether or not they run.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.addresses.iter().map(ToString::to_string).collect()
    }

    /// Asks all nodes to stop, one after the other; each must end in order.
    ///
    /// # Panics
    /// If one does not.
    pub fn terminate(mut self) {
        self.servers.iter_mut().filter_map(Option::take).for_each(Server::terminate);
    }

    /// Writes a key on whichever node leads its partition.
    ///
    /// # Panics
    /// If the cluster does not serve it in time, or a node answers what no node should.
    pub fn put(&self, key: &[u8], value: &[u8]) {
        self.on_leader(|client| client.put(key, value).map(drop));
    }

    /// As [`put`](Self::put), for a time.
    ///
    /// # Panics
    /// As [`put`](Self::put).
    pub fn put_for(&self, key: &[u8], value: &[u8], time: Duration) {
        let options = WriteOptions { ttl: Some(time), ..WriteOptions::default() };
        self.on_leader(|client| client.put_with(key, value, options).map(drop));
    }

    /// As [`put`](Self::put), where the memory of a majority is enough.
    ///
    /// # Panics
    /// As [`put`](Self::put).
    pub fn put_in_memory(&self, key: &[u8], value: &[u8]) {
        let options = WriteOptions { durability: Durability::Memory, ..WriteOptions::default() };
        self.on_leader(|client| client.put_with(key, value, options).map(drop));
    }

    /// Reads a key on whichever node leads its partition.
    ///
    /// # Panics
    /// As [`put`](Self::put).
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.on_leader(|client| client.get(key)).map(|found| found.value.to_vec())
    }

    fn on_leader<R>(&self, ask: impl Fn(&Client) -> Result<R, Error>) -> R {
        let started = Instant::now();
        let mut last = String::new();
        while started.elapsed() < PATIENCE {
            let running = self.clients.iter().zip(&self.servers).filter(|(_, server)| server.is_some());
            for (client, _) in running {
                match ask(client) {
                    Ok(answer) => return answer,
                    Err(Error::Refused { code: Some(ErrorCode::NotLeader), message }) => last = message,
                    Err(Error::Unreachable { reason } | Error::OutcomeUnknown { reason }) => last = reason,
                    Err(Error::DeadlineExceeded) => "the deadline passed".clone_into(&mut last),
                    Err(other) => panic!("{other}"),
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("no node served the key: {last}");
    }
}
