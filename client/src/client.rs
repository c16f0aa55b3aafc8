//! The client: what callers may ask for.

use std::sync::Arc;
use std::time::Duration;

use corelode_net::body::{Durability, ReadLevel, Receipt, check_key, check_value};
use corelode_net::table::{Histograms, NodeEntry, Status, Topology};
use corelode_net::{CoreIndex, NodeId, PartitionId, slot_of};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::batch::{self, BatchOutcome};
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::options::Options;
use crate::request::{Found, Operation, PageRequest, Reply, Request};
use crate::routes::Target;
use crate::scan::{Scan, ScanOptions};

/// How long closing sessions may take.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);

/// What becomes of a write beside its key and value.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct WriteOptions {
    /// How long the value stays visible; `None` for ever.
    pub ttl: Option<Duration>,
    /// What the acknowledgement waits for.
    pub durability: Durability,
}

/// A client of a server or a cluster. Cheap to clone; clones share connections.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use corelode_client::{Client, Options};
///
/// let client = Client::new(Options::from_url("corelode://127.0.0.1:7400")?);
/// client.put(b"greeting", b"hello").await?;
/// let found = client.get(b"greeting").await?.expect("it was put");
/// assert_eq!(found.value, b"hello");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    directory: Arc<Directory>,
}

impl Client {
    /// A client that connects when it is first used. Must be called within a tokio runtime's context by its first use.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { directory: Directory::new(options) }
    }

    /// The value of a key, `None` if it is absent. Sees every write that was acknowledged before.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn get(&self, key: &[u8]) -> Result<Option<Found>> {
        check_key(key).map_err(invalid)?;
        let request = Request::Get { key, level: ReadLevel::Linearizable };
        match self.call_for_key(key, request).await? {
            Reply::Value(found) => Ok(found),
            other => Err(unexpected(&other)),
        }
    }

    /// The value of a key as some replica has it: without asking a leader, and perhaps behind what was acknowledged.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn get_local(&self, key: &[u8]) -> Result<Option<Found>> {
        check_key(key).map_err(invalid)?;
        let request = Request::Get { key, level: ReadLevel::Local };
        match self.call(Target::ReplicaOf(slot_of(key)), request, self.deadline()).await? {
            Reply::Value(found) => Ok(found),
            other => Err(unexpected(&other)),
        }
    }

    /// As [`get`](Self::get), and where the server spent the time of it, if it had room to say so.
    ///
    /// # Errors
    /// See [`Error`]. A server that gives no receipts refuses.
    pub async fn get_with_receipt(&self, key: &[u8]) -> Result<(Option<Found>, Option<Receipt>)> {
        check_key(key).map_err(invalid)?;
        let request = Request::Get { key, level: ReadLevel::Linearizable };
        let (reply, receipt) = with_receipt(self.call_for_key(key, Request::WithReceipt(&request)).await?);
        match reply {
            Reply::Value(found) => Ok((found, receipt)),
            other => Err(unexpected(&other)),
        }
    }

    /// Gives a key a value, durably and for ever; answers the revision of the write.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn put(&self, key: &[u8], value: &[u8]) -> Result<u64> {
        self.put_with(key, value, WriteOptions::default()).await
    }

    /// Gives a key a value; answers the revision of the write.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn put_with(&self, key: &[u8], value: &[u8], options: WriteOptions) -> Result<u64> {
        written(self.write(key, put_request(key, value, options)?).await?)
    }

    /// As [`put_with`](Self::put_with), and where the server spent the time of it.
    ///
    /// # Errors
    /// See [`Error`]. A server that gives no receipts refuses.
    pub async fn put_with_receipt(
        &self,
        key: &[u8],
        value: &[u8],
        options: WriteOptions,
    ) -> Result<(u64, Option<Receipt>)> {
        let request = put_request(key, value, options)?;
        let (reply, receipt) = with_receipt(self.write(key, Request::WithReceipt(&request)).await?);
        Ok((written(reply)?, receipt))
    }

    /// Removes a key, whether or not it exists; answers the revision of the write.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn delete(&self, key: &[u8]) -> Result<u64> {
        self.delete_with(key, Durability::Synced).await
    }

    /// As [`delete`](Self::delete), with a durability.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn delete_with(&self, key: &[u8], durability: Durability) -> Result<u64> {
        check_key(key).map_err(invalid)?;
        written(self.write(key, Request::Delete { key, durability }).await?)
    }

    /// Carries out independent operations on any keys: each is atomic, all together are not. The results stand in the order of the
    /// operations, each with its own success.
    ///
    /// Writes of a batch have no sessions: one whose answer is lost is [`Error::OutcomeUnknown`], and is not sent again. Where that matters,
    /// [`put`](Self::put) beside each other: they share connections and are as many under way.
    ///
    /// # Errors
    /// If no operation was sent because one of them is invalid, or no topology could be had.
    pub async fn batch(&self, operations: Vec<Operation>, durability: Durability) -> Result<Vec<Result<BatchOutcome>>> {
        for operation in &operations {
            check_key(operation.key()).map_err(invalid)?;
            if let Operation::Put { value, .. } = operation {
                check_value(value).map_err(invalid)?;
            }
        }
        batch::carry_out(&self.directory, operations, durability, self.deadline()).await
    }

    /// Walks over keys in order, over all partitions.
    #[must_use]
    pub fn scan(&self, options: ScanOptions) -> Scan {
        Scan::new(self.clone(), options)
    }

    /// What a server tells about itself and its cores: of a cluster, any node that answers.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn status(&self) -> Result<Status> {
        self.status_of(Target::Any, self.deadline()).await
    }

    /// What each node of the cluster tells about itself, in the order of the map, or why it does not. A server that does not replicate is its
    /// only node, without an address.
    ///
    /// # Errors
    /// If no node sent its map: see [`Error`].
    pub async fn statuses(&self) -> Result<Vec<(NodeEntry, Result<Status>)>> {
        let topology = self.fetch_topology().await?;
        let alone = [NodeEntry {
            node_id: topology.node_id,
            address: String::new(),
            is_this_node: true,
            core_count: u16::try_from(topology.cores.len()).unwrap_or(u16::MAX),
        }];
        let nodes = if topology.nodes.is_empty() { &alone } else { topology.nodes.as_slice() };
        let mut tasks = JoinSet::new();
        for (number, node_id) in nodes.iter().map(|node| node.node_id).enumerate() {
            let client = self.clone();
            // Nobody else can answer for a node that is down.
            let deadline = self.deadline().min(Instant::now() + 2 * self.directory.options.attempt_timeout);
            tasks.spawn(async move { (number, client.status_of(Target::Node(node_id), deadline).await) });
        }
        let mut statuses: Vec<_> = nodes.iter().map(|node| (node.clone(), Err(Error::DeadlineExceeded))).collect();
        while let Some(joined) = tasks.join_next().await {
            let (number, status) = joined.expect("asking neither panics nor is cancelled");
            statuses[number].1 = status;
        }
        Ok(statuses)
    }

    async fn status_of(&self, target: Target, deadline: Instant) -> Result<Status> {
        match self.call(target, Request::Status, deadline).await? {
            Reply::Status(status) => Ok(status),
            other => Err(unexpected(&other)),
        }
    }

    /// Where a core of a node spent the time of its requests of one operation, since its start; with an empty operation, which operations there are.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn histograms(&self, node: NodeId, core: CoreIndex, operation: &str) -> Result<Histograms> {
        match self.call(Target::Node(node), Request::Histograms { core, operation }, self.deadline()).await? {
            Reply::Histograms(histograms) => Ok(histograms),
            other => Err(unexpected(&other)),
        }
    }

    /// The map of slots, partitions, nodes and cores; fetched once, and again when it has changed.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn fetch_topology(&self) -> Result<Arc<Topology>> {
        let routes = self.directory.routes(self.deadline()).await?;
        Ok(Arc::clone(&routes.topology))
    }

    /// Ends the client's sessions, as far as no write of a clone is under way in them. A client that is dropped without it loses nothing; its
    /// sessions take some memory of the servers for ten minutes more. Takes a second at most.
    pub async fn close(self) {
        self.directory.close_sessions(self.deadline().min(Instant::now() + CLOSE_PATIENCE)).await;
    }

    pub(crate) async fn page(&self, page: &PageRequest) -> Result<Reply> {
        self.call(Target::Partition(page.partition), Request::Scan(page), self.deadline()).await
    }

    pub(crate) async fn release(&self, partition: PartitionId, snapshot: corelode_net::SnapshotToken) -> Result<()> {
        let request = Request::ScanRelease { partition, snapshot };
        self.call(Target::Partition(partition), request, self.deadline()).await.map(drop)
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.directory.options.timeout
    }

    async fn call_for_key(&self, key: &[u8], request: Request<'_>) -> Result<Reply> {
        self.call(Target::Slot(slot_of(key)), request, self.deadline()).await
    }

    async fn write(&self, key: &[u8], request: Request<'_>) -> Result<Reply> {
        self.directory.write(slot_of(key), request, self.deadline()).await
    }

    async fn call(&self, target: Target, request: Request<'_>, deadline: Instant) -> Result<Reply> {
        self.directory.call(target, request, deadline).await
    }
}

fn put_request<'a>(key: &'a [u8], value: &'a [u8], options: WriteOptions) -> Result<Request<'a>> {
    check_key(key).and_then(|()| check_value(value)).map_err(invalid)?;
    Ok(Request::Put {
        key,
        value,
        ttl_ms: options.ttl.map_or(0, |ttl| milliseconds(ttl).max(1)),
        durability: options.durability,
    })
}

fn with_receipt(reply: Reply) -> (Reply, Option<Receipt>) {
    match reply {
        Reply::WithReceipt(reply, receipt) => (*reply, Some(receipt)),
        reply => (reply, None),
    }
}

fn written(reply: Reply) -> Result<u64> {
    match reply {
        Reply::Written { revision } => Ok(revision),
        other => Err(unexpected(&other)),
    }
}

pub(crate) fn unexpected(reply: &Reply) -> Error {
    Error::Protocol { message: format!("an answer to another question: {reply:?}") }
}

pub(crate) fn invalid(error: corelode_net::BodyError) -> Error {
    Error::Invalid { message: error.to_string() }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
