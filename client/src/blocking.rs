//! The client for callers without an async runtime: the same calls, each waiting for its result.

use std::sync::Arc;

use corelode_net::body::{Durability, Receipt};
use corelode_net::table::{Histograms, NodeEntry, Status, Topology};
use corelode_net::{CoreIndex, NodeId};
use tokio::runtime::Runtime;

use crate::batch::BatchOutcome;
use crate::client::WriteOptions;
use crate::error::Result;
use crate::options::Options;
use crate::request::{Found, Operation, Row};
use crate::scan::ScanOptions;

/// A client that blocks. Cheap to clone; clones share connections, which one background thread serves.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use corelode_client::{Options, blocking};
///
/// let client = blocking::Client::new(Options::from_url("corelode://127.0.0.1:7400")?)?;
/// client.put(b"greeting", b"hello")?;
/// assert!(client.get(b"greeting")?.is_some());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    client: crate::Client,
    runtime: Arc<Runtime>,
}

impl Client {
    /// A client that connects when it is first used.
    ///
    /// # Errors
    /// If the background thread cannot be started.
    pub fn new(options: Options) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("corelode-client")
            .enable_all()
            .build()?;
        Ok(Self { client: crate::Client::new(options), runtime: Arc::new(runtime) })
    }

    /// The client within, for calls from async code.
    #[must_use]
    pub fn asynchronous(&self) -> &crate::Client {
        &self.client
    }

    /// As [`Client::get`](crate::Client::get).
    ///
    /// # Errors
    /// See [`Error`](crate::Error).
    pub fn get(&self, key: &[u8]) -> Result<Option<Found>> {
        self.runtime.block_on(self.client.get(key))
    }

    /// As [`Client::get_local`](crate::Client::get_local).
    ///
    /// # Errors
    /// See [`Error`](crate::Error).
    pub fn get_local(&self, key: &[u8]) -> Result<Option<Found>> {
        self.runtime.block_on(self.client.get_local(key))
    }

    /// As [`Client::put`](crate::Client::put).
    ///
    /// # Errors
    /// See [`Error`](crate::Error).
    pub fn put(&self, key: &[u8], value: &[u8]) -> Result<u64> {
        self.runtime.block_on(self.client.put(key, value))
    }

    /// As [`Client::put_with`](crate::Client::put_with).
    ///
    /// # Errors
    /// See [`Error`](crate::Error).
    pub fn put_with(&self, key: &[u8], value: &[u8], options: WriteOptions) -> Result<u64> {
        self.runtime.block_on(self.client.put_with(key, value, options))
    }

    /// As [`Client::get_with_receipt`](crate::Client::get_with_receipt).
    ///
    /// # Errors
    /// See [`Error`](crate::Error).
    pub fn get_with_receipt(&self, key: &[u8]) -> Result<(Option<Found>, Option<Receipt>)> {
        self.runtime.block_on(self.client.get_with_receipt(key))
    }

    /// As [`Client::put_with_receipt`](crate::Client::put_with_receipt).
    ///
    /// # Errors
    /// See [`Error`](crate::Error).
    pub fn put_with_receipt(&self, key: &[u8], value: &[u8], options: WriteOptions) -> Result<(u64, Option<Receipt>)> {
        self.runtime.block_on(self.client.put_with_receipt(key, value, options))
    }

    /// As [`Client::delete_with`](crate::Client::delete_with).
    ///
    /// # Errors
    /// See [`Error`](crate::Error).
    pub fn delete_with(&self, key: &[u8], durability: Durability) -> Result<u64> {
        self.runtime.block_on(self.client.delete_with(key, durability))
    }

    /// As [`Client::batch`](crate::Client::batch).
    ///
    /// # Errors
    /// See [`Error`](crate::Error).
    pub fn batch(&self, operations: Vec<Operation>, durability: Durability) -> Result<Vec<Result<BatchOutcome>>> {
        self.runtime.block_on(self.client.batch(operations, durability))
    }

    /// As [`Client::scan`](crate::Client::scan), as an iterator.
    #[must_use]
    pub fn scan(&self, options: ScanOptions) -> Scan {
        Scan { scan: self.client.scan(options), runtime: Arc::clone(&self.runtime) }
    }

    /// As [`Client::status`](crate::Client::status).
    ///
    /// # Errors
    /// See [`Error`](crate::Error).
    pub fn status(&self) -> Result<Status> {
        self.runtime.block_on(self.client.status())
    }

    /// As [`Client::statuses`](crate::Client::statuses).
    ///
    /// # Errors
    /// See [`Error`](crate::Error).
    pub fn statuses(&self) -> Result<Vec<(NodeEntry, Result<Status>)>> {
        self.runtime.block_on(self.client.statuses())
    }

    /// As [`Client::histograms`](crate::Client::histograms).
    ///
    /// # Errors
    /// See [`Error`](crate::Error).
    pub fn histograms(&self, node: NodeId, core: CoreIndex, operation: &str) -> Result<Histograms> {
        self.runtime.block_on(self.client.histograms(node, core, operation))
    }

    /// As [`Client::fetch_topology`](crate::Client::fetch_topology).
    ///
    /// # Errors
    /// See [`Error`](crate::Error).
    pub fn fetch_topology(&self) -> Result<Arc<Topology>> {
        self.runtime.block_on(self.client.fetch_topology())
    }

    /// As [`Client::close`](crate::Client::close).
    pub fn close(self) {
        self.runtime.block_on(self.client.close());
    }

    /// Runs a future of the client's on its background thread and waits for it.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }
}

/// A scan that blocks for each row that is not at hand.
pub struct Scan {
    scan: crate::Scan,
    runtime: Arc<Runtime>,
}

impl Scan {
    /// As [`Scan::newer_revisions`](crate::Scan::newer_revisions).
    #[must_use]
    pub fn newer_revisions(&self) -> u64 {
        self.scan.newer_revisions()
    }
}

impl Iterator for Scan {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Result<Row>> {
        self.runtime.block_on(self.scan.next()).transpose()
    }
}
