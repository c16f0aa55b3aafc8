//! The client: finds the core that owns a key, sends there, and tries again where that is safe.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use corelode_net::body::{Durability, ReadLevel, Receipt, check_key, check_value};
use corelode_net::table::{Histograms, Status, Topology};
use corelode_net::{CoreIndex, MapEpoch, PartitionId, Slot, slot_of};
use tokio::time::{Instant, timeout_at};

use crate::error::{AttemptError, Error, Result};
use crate::map::Map;
use crate::options::Options;
use crate::random;
use crate::request::{Found, Operation, Outcome, PageRequest, Reply, Request};
use crate::retry::{Decision, decide, jittered};
use crate::scan::{Scan, ScanOptions};
use crate::transport::Transport;

/// The most operations that one frame of a batch carries.
const BATCH_OPERATIONS_MAX: usize = 1024;
/// The most bytes of keys and values in one frame of a batch, beside one larger operation.
const BATCH_BYTES_MAX: usize = 512 * 1024;

/// What becomes of a write beside its key and value.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct WriteOptions {
    /// How long the value stays visible; `None` for ever.
    pub ttl: Option<Duration>,
    /// What the acknowledgement waits for.
    pub durability: Durability,
}

/// Who is to be asked.
#[derive(Clone, Copy, Debug)]
enum Route {
    /// Any core.
    Any,
    /// This core; another one would forward.
    Core(CoreIndex),
    /// The core that owns the slot.
    Slot(Slot),
    /// The core that owns the partition.
    Partition(PartitionId),
}

/// A client of one server. Cheap to clone; clones share connections.
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
    shared: Arc<Shared>,
}

struct Shared {
    options: Options,
    map: Arc<Map>,
    /// The one that any core may serve, and then one for each core; each made when it is first needed.
    transports: RwLock<Vec<Option<Transport>>>,
}

impl Client {
    /// A client that connects when it is first used. Must be called within a tokio runtime's context by its first use.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { shared: Arc::new(Shared { options, map: Arc::default(), transports: RwLock::default() }) }
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
        written(self.call_for_key(key, put_request(key, value, options)?).await?)
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
        let (reply, receipt) = with_receipt(self.call_for_key(key, Request::WithReceipt(&request)).await?);
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
        written(self.call_for_key(key, Request::Delete { key, durability }).await?)
    }

    /// Carries out independent operations on any keys: each is atomic, all together are not. The results stand in the order of the
    /// operations, each with its own success.
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
        let topology = self.topology(self.deadline()).await?;
        let mut results: Vec<Option<Result<BatchOutcome>>> = vec![None; operations.len()];
        let mut tasks = tokio::task::JoinSet::new();
        for (core, numbered) in split_by_core(operations, &topology) {
            let client = self.clone();
            tasks.spawn(async move {
                let (numbers, operations): (Vec<_>, Vec<_>) = numbered.into_iter().unzip();
                (numbers, client.batch_of_core(core, operations, durability).await)
            });
        }
        while let Some(joined) = tasks.join_next().await {
            let (numbers, outcomes) = joined.expect("a batch's task neither panics nor is cancelled");
            for (number, outcome) in numbers.into_iter().zip(outcomes) {
                results[number] = Some(outcome);
            }
        }
        Ok(results.into_iter().map(|result| result.expect("every operation was in one part")).collect())
    }

    async fn batch_of_core(
        &self,
        core: CoreIndex,
        operations: Vec<Operation>,
        durability: Durability,
    ) -> Vec<Result<BatchOutcome>> {
        let count = operations.len();
        let request = Request::Batch { operations: &operations, durability };
        match self.call(Route::Core(core), request, self.deadline()).await {
            Ok(Reply::Batch(outcomes)) => outcomes.into_iter().map(batch_outcome).collect(),
            Ok(other) => vec![Err(unexpected(&other)); count],
            Err(error) => vec![Err(error); count],
        }
    }

    /// Walks over keys in order, over all partitions.
    #[must_use]
    pub fn scan(&self, options: ScanOptions) -> Scan {
        Scan::new(self.clone(), options)
    }

    /// What the server tells about itself and its cores.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn status(&self) -> Result<Status> {
        match self.call(Route::Any, Request::Status, self.deadline()).await? {
            Reply::Status(status) => Ok(status),
            other => Err(unexpected(&other)),
        }
    }

    /// Where a core spent the time of its requests of one operation, since its start; with an empty operation, which operations there are.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn histograms(&self, core: CoreIndex, operation: &str) -> Result<Histograms> {
        match self.call(Route::Any, Request::Histograms { core, operation }, self.deadline()).await? {
            Reply::Histograms(histograms) => Ok(histograms),
            other => Err(unexpected(&other)),
        }
    }

    /// The server's map of slots, partitions and cores; fetched once, and again when it has changed.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn fetch_topology(&self) -> Result<Arc<Topology>> {
        self.topology(self.deadline()).await
    }

    pub(crate) async fn page(&self, page: &PageRequest) -> Result<Reply> {
        self.call(Route::Partition(page.partition), Request::Scan(page), self.deadline()).await
    }

    pub(crate) async fn release(&self, partition: PartitionId, snapshot: corelode_net::SnapshotToken) -> Result<()> {
        self.call(Route::Partition(partition), Request::ScanRelease { partition, snapshot }, self.deadline())
            .await
            .map(drop)
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.shared.options.timeout
    }

    async fn call_for_key(&self, key: &[u8], request: Request<'_>) -> Result<Reply> {
        self.call(Route::Slot(slot_of(key)), request, self.deadline()).await
    }

    /// Calls until an attempt succeeds, or must not or need not be repeated.
    async fn call(&self, route: Route, request: Request<'_>, deadline: Instant) -> Result<Reply> {
        let is_write = request.is_write();
        let mut route = route;
        let mut last: Option<AttemptError> = None;
        for attempt in 0.. {
            let (core, map_epoch) = self.resolve(route, deadline).await?;
            let error = match self.transport(core).call(request, map_epoch, deadline).await {
                Ok(reply) => return Ok(reply),
                // What was met before says more than that time ran out while nothing was sent.
                Err(AttemptError::TimedOut { was_sent: false }) if last.is_some() => break,
                Err(error) => error,
            };
            let decision = decide(&error, is_write, attempt);
            last = Some(error);
            let within = match decision {
                Decision::GiveUp => break,
                Decision::RetryWithin(within) => within,
                Decision::RefreshAndRetryWithin(within) => {
                    self.shared.map.forget();
                    if let Route::Core(_) = route {
                        // Whoever chose the core knew the old map. The server forwards what reaches the wrong one.
                        route = Route::Any;
                    }
                    within
                }
            };
            let wake_at = Instant::now() + jittered(within, random::number());
            if wake_at >= deadline {
                break;
            }
            tokio::time::sleep_until(wake_at).await;
        }
        Err(last.expect("a call fails by an attempt").into_error(is_write))
    }

    /// The core that a route leads to now, and the epoch of the map that says so.
    async fn resolve(&self, route: Route, deadline: Instant) -> Result<(Option<CoreIndex>, MapEpoch)> {
        if let Route::Any = route {
            return Ok((None, MapEpoch(0)));
        }
        let topology = self.topology(deadline).await?;
        let core = match route {
            Route::Any => None,
            Route::Core(core) => Some(core),
            Route::Slot(slot) => topology.partition_of(slot).map(|entry| entry.core),
            Route::Partition(partition) => {
                topology.partitions.iter().find(|entry| entry.partition == partition).map(|entry| entry.core)
            }
        };
        Ok((core, topology.map_epoch))
    }

    fn transport(&self, core: Option<CoreIndex>) -> Transport {
        let Shared { options, map, transports } = &*self.shared;
        let number = core.map_or(0, |core| usize::from(core.0) + 1);
        let known = transports.read().expect("nobody panics while holding it").get(number).cloned().flatten();
        known.unwrap_or_else(|| {
            let mut transports = transports.write().expect("nobody panics while holding it");
            if transports.len() <= number {
                transports.resize(number + 1, None);
            }
            // Somebody else may have made it meanwhile.
            transports[number].get_or_insert_with(|| Transport::start(options.clone(), core, Arc::clone(map))).clone()
        })
    }

    async fn topology(&self, deadline: Instant) -> Result<Arc<Topology>> {
        let map = &self.shared.map;
        if let Some(known) = map.current() {
            return Ok(known);
        }
        let no_map = || {
            // Whoever waited for the map of another caller's is told what that one met.
            let failure = self.transport(None).failure();
            failure.map_or(Error::Unreachable { reason: "no core sent its map in time".to_owned() }, |failure| {
                failure.into_error(false)
            })
        };
        let _fetching = timeout_at(deadline, map.fetching.lock()).await.map_err(|_| no_map())?;
        // Somebody else may have fetched it meanwhile.
        if let Some(known) = map.current() {
            return Ok(known);
        }
        match Box::pin(self.call(Route::Any, Request::Topology, deadline)).await {
            Ok(Reply::Topology(topology)) => {
                let topology = Arc::new(topology);
                map.learn(Arc::clone(&topology));
                Ok(topology)
            }
            Ok(other) => Err(unexpected(&other)),
            Err(Error::DeadlineExceeded) => Err(no_map()),
            Err(error) => Err(error),
        }
    }
}

/// What became of one operation of a batch that succeeded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BatchOutcome {
    /// A read's result, `None` if the key is absent.
    Value(Option<Found>),
    /// A write was applied at this revision.
    Written {
        /// The revision.
        revision: u64,
    },
}

fn batch_outcome(outcome: Outcome) -> Result<BatchOutcome> {
    match outcome {
        Outcome::Value(found) => Ok(BatchOutcome::Value(found)),
        Outcome::Written { revision } => Ok(BatchOutcome::Written { revision }),
        Outcome::Failed { code, retry } => {
            let code = corelode_net::ErrorCode::from_wire(code);
            let message = code.map_or("the server failed this operation", |code| code.advice()).to_owned();
            Err(AttemptError::Server { code, retry, message }.into_error(true))
        }
    }
}

type Numbered = Vec<(usize, Operation)>;

/// Cuts operations into parts that one frame to one core holds each.
fn split_by_core(operations: Vec<Operation>, topology: &Topology) -> Vec<(CoreIndex, Numbered)> {
    let mut open: HashMap<CoreIndex, (Numbered, usize)> = HashMap::new();
    let mut parts = Vec::new();
    for (number, operation) in operations.into_iter().enumerate() {
        let core = topology.partition_of(slot_of(operation.key())).map_or(CoreIndex(0), |entry| entry.core);
        let length =
            operation.key().len() + if let Operation::Put { value, .. } = &operation { value.len() } else { 0 };
        let (part, bytes) = open.entry(core).or_default();
        if part.len() >= BATCH_OPERATIONS_MAX || (*bytes + length > BATCH_BYTES_MAX && !part.is_empty()) {
            parts.push((core, std::mem::take(part)));
            *bytes = 0;
        }
        *bytes += length;
        part.push((number, operation));
    }
    parts.extend(open.into_iter().filter(|(_, (part, _))| !part.is_empty()).map(|(core, (part, _))| (core, part)));
    parts
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
