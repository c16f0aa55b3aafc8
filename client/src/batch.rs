//! Batches: cut into parts that one core of one node carries out each, sent beside each other, and what was refused safely sent again.
//!
//! A part's answer has a result for each operation, and a node that leads only some of the partitions refuses the others. What may be tried again
//! is cut and sent anew, by the leaders known then; each operation is decided on by itself, so that a read may be repeated where a write
//! may not.
//!
//! A frame of a batch has no place for a session's stamps, so that its writes are not told apart: one whose answer is lost is unknown, and not sent again.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use corelode_net::body::Durability;
use corelode_net::{CoreIndex, slot_of};
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant};

use crate::call::Next;
use crate::directory::Directory;
use crate::error::{AttemptError, Result};
use crate::random;
use crate::request::{Found, Operation, Outcome, Reply, Request};
use crate::retry::jittered;
use crate::routes::{Destination, Routes, Target};
use crate::trail::Trail;

/// The most operations that one frame of a batch carries.
const OPERATIONS_MAX: usize = 1024;
/// The most bytes of keys and values in one frame of a batch, beside one larger operation.
const BYTES_MAX: usize = 512 * 1024;

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

/// An operation that has no outcome yet.
struct Item {
    /// Its place in the batch.
    number: usize,
    operation: Operation,
    /// What was met so far.
    trail: Trail,
}

/// Operations that one frame to one core holds, each of a partition that it is believed to lead.
struct Part {
    operations: Vec<Operation>,
    /// The rest of each operation's item, and where it went.
    places: Vec<(usize, Trail, Destination)>,
    size_bytes: usize,
}

/// What all parts of a batch share.
#[derive(Clone)]
struct Batch {
    directory: Arc<Directory>,
    durability: Durability,
    deadline: Instant,
}

/// Operations with their places in the batch, and what became of them.
type Results = Vec<(usize, Result<BatchOutcome>)>;

/// Carries out operations, each at the leader of its partition. The results stand in their order.
pub(crate) async fn carry_out(
    directory: &Arc<Directory>,
    operations: Vec<Operation>,
    durability: Durability,
    deadline: Instant,
) -> Result<Vec<Result<BatchOutcome>>> {
    // Without a map nothing is sent.
    directory.routes(deadline).await?;
    let batch = Batch { directory: Arc::clone(directory), durability, deadline };
    let item = |(number, operation)| Item { number, operation, trail: Trail::default() };
    let mut results = batch.carry_out(operations.into_iter().enumerate().map(item).collect()).await;
    results.sort_unstable_by_key(|(number, _)| *number);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

impl Batch {
    /// Carries out operations to their ends. Each part goes on by itself: one that waits holds up no other.
    fn carry_out(self, items: Vec<Item>) -> Pin<Box<dyn Future<Output = Results> + Send>> {
        Box::pin(self.carry_out_parts(items))
    }

    async fn carry_out_parts(self, items: Vec<Item>) -> Results {
        let routes = match self.directory.routes(self.deadline).await {
            Ok(routes) => routes,
            Err(_) => return items.into_iter().map(Item::give_up).collect(),
        };
        let mut tasks = JoinSet::new();
        for part in split(items, &routes) {
            let (batch, routes) = (self.clone(), Arc::clone(&routes));
            tasks.spawn(async move { batch.carry_out_part(part, &routes).await });
        }
        let mut results = Results::new();
        while let Some(joined) = tasks.join_next().await {
            results.extend(joined.expect("a batch's task neither panics nor is cancelled"));
        }
        results
    }

    async fn carry_out_part(self, part: Part, routes: &Routes) -> Results {
        let (mut results, mut again) = (Results::new(), Vec::new());
        let mut within_max = Duration::ZERO;
        for Done { mut item, destination, outcome } in part.attempt(&self, routes).await {
            let error = match outcome {
                Ok(outcome) => {
                    results.push((item.number, Ok(outcome)));
                    continue;
                }
                Err(error) => error,
            };
            let kind = item.operation.kind();
            let next = self.directory.consider(routes, &destination, &error, kind, &mut item.trail);
            item.trail.note(&destination.node, error);
            item.trail.next_turn();
            match next {
                Next::GiveUp => results.push(item.give_up()),
                Next::AtOnce => again.push(item),
                Next::Within(within) => {
                    within_max = within_max.max(within);
                    again.push(item);
                }
            }
        }
        let wake_at = Instant::now() + jittered(within_max, random::number());
        if wake_at >= self.deadline {
            results.extend(again.into_iter().map(Item::give_up));
        } else if !again.is_empty() {
            tokio::time::sleep_until(wake_at).await;
            results.extend(self.carry_out(again).await);
        }
        results
    }
}

impl Item {
    fn give_up(self) -> (usize, Result<BatchOutcome>) {
        (self.number, Err(self.trail.error(self.operation.kind())))
    }
}

/// An operation of a part that came back.
struct Done {
    item: Item,
    destination: Destination,
    outcome: std::result::Result<BatchOutcome, AttemptError>,
}

impl Part {
    async fn attempt(self, batch: &Batch, routes: &Routes) -> Vec<Done> {
        let request = Request::Batch { operations: &self.operations, durability: batch.durability };
        let (_, trail, destination) = &self.places[0];
        let outcomes = match batch.directory.attempt(routes, destination, request, batch.deadline, trail.turn()).await {
            Ok(Reply::Batch(outcomes)) => outcomes.into_iter().map(outcome_of).collect(),
            Ok(other) => vec![Err(AttemptError::unexpected(&other)); self.places.len()],
            Err(error) => vec![Err(error); self.places.len()],
        };
        let items = self.operations.into_iter().zip(self.places);
        let done = |((operation, (number, trail, destination)), outcome)| Done {
            item: Item { number, operation, trail },
            destination,
            outcome,
        };
        items.zip(outcomes).map(done).collect()
    }
}

fn outcome_of(outcome: Outcome) -> std::result::Result<BatchOutcome, AttemptError> {
    match outcome {
        Outcome::Value(found) => Ok(BatchOutcome::Value(found)),
        Outcome::Written { revision } => Ok(BatchOutcome::Written { revision }),
        Outcome::Failed { code, retry } => {
            let code = corelode_net::ErrorCode::from_wire(code);
            let message = code.map_or("the server failed this operation", |code| code.advice()).to_owned();
            Err(AttemptError::Server { code, retry, message, leader: None })
        }
    }
}

/// Cuts operations into parts that one frame to one core holds each.
fn split(items: Vec<Item>, routes: &Routes) -> Vec<Part> {
    let mut open: HashMap<(u16, Option<CoreIndex>), Part> = HashMap::new();
    let mut full = Vec::new();
    for Item { number, operation, trail } in items {
        let turn = usize::try_from(trail.turn()).expect("32 bits");
        let destination = routes.choose(Target::Slot(slot_of(operation.key())), turn);
        let destination = destination.expect("a map covers all slots");
        let size_bytes = operation.size_bytes();
        let part = open.entry((destination.member, destination.core)).or_insert_with(Part::empty);
        let is_full = part.operations.len() >= OPERATIONS_MAX || part.size_bytes + size_bytes > BYTES_MAX;
        if is_full && !part.operations.is_empty() {
            full.push(std::mem::replace(part, Part::empty()));
        }
        part.size_bytes += size_bytes;
        part.operations.push(operation);
        part.places.push((number, trail, destination));
    }
    full.extend(open.into_values());
    full
}

impl Part {
    fn empty() -> Self {
        Self { operations: Vec::new(), places: Vec::new(), size_bytes: 0 }
    }
}
