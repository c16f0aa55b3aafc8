//! Sessions: what makes a write that is sent again be applied once.
//!
//! A session is of one partition. The first write to a partition opens one, while the others wait for it; all clones of a client share what there is. A
//! write takes a *stamp* from it, its number in the session, and is sent with the same stamp until it is answered. The server answers what
//! it has applied before as it did then.
//!
//! The stamp also names the oldest number that some write may still be sent with. Before that the server forgets what it answered, and refuses what
//! comes. So a write that is given up holds nothing: once a later stamp passes it, what was sent of it is either applied already, or never will be. A
//! write that is given up is settled by dropping its [`Stamp`], as is one whose caller goes away.
//!
//! Sessions are not closed when a client is dropped, unless it [says so](crate::Client::close): the server forgets them after [`TTL`].
//!
//! Touched by callers, under one lock a partition, which is held for a few instructions and never while something is waited for.
//! Bounded: a pool for each partition, of a few sessions.

mod pool;
mod window;
mod write;

use std::sync::{Arc, Mutex, RwLock};

use corelode_net::PartitionId;
use corelode_net::body::SessionPrefix;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::directory::Directory;
use crate::error::{AttemptError, Error, Result};
use crate::request::{Reply, Request};
use crate::routes::Target;
use crate::trail::Trail;
use pool::{Pool, TTL, Turn};

const LOCK: &str = "nobody panics while holding it";

/// The sessions of all partitions.
#[derive(Default)]
pub(crate) struct Sessions {
    /// By the partition's number; each made when it is first needed.
    partitions: RwLock<Vec<Option<Arc<Partition>>>>,
}

#[derive(Default)]
struct Partition {
    pool: Mutex<Pool>,
    /// There is room where there was none. Wakes one who waits, who wakes the next if there is more.
    has_room: Notify,
}

/// A write's place in a session, settled when it is dropped: the write is not sent any more.
pub(crate) struct Stamp {
    partition: Arc<Partition>,
    prefix: SessionPrefix,
}

impl Stamp {
    /// The server does not know the session any more.
    fn forget_session(&self) {
        self.partition.with(|pool| pool.forget(self.prefix.session));
        self.partition.has_room.notify_one();
    }

    /// Sessions of the partition do not last.
    fn pause_sessions(&self) {
        self.partition.with(|pool| pool.pause(Instant::now()));
    }
}

impl Drop for Stamp {
    fn drop(&mut self) {
        if self.partition.with(|pool| pool.settle(self.prefix)) {
            self.partition.has_room.notify_one();
        }
    }
}

impl Partition {
    fn with<R>(&self, work: impl FnOnce(&mut Pool) -> R) -> R {
        work(&mut self.pool.lock().expect(LOCK))
    }
}

impl Sessions {
    fn of(&self, partition: PartitionId) -> Arc<Partition> {
        let number = usize::from(partition.0);
        let known = self.partitions.read().expect(LOCK).get(number).cloned().flatten();
        known.unwrap_or_else(|| {
            let mut partitions = self.partitions.write().expect(LOCK);
            if partitions.len() <= number {
                partitions.resize(number + 1, None);
            }
            // Somebody else may have made it meanwhile.
            Arc::clone(partitions[number].get_or_insert_default())
        })
    }

    /// Takes the sessions out that nobody uses now.
    fn take_unused(&self) -> Vec<(PartitionId, u64)> {
        let partitions = self.partitions.read().expect(LOCK);
        let known = (0..).zip(partitions.iter()).filter_map(|(number, known)| Some((number, known.as_ref()?)));
        let unused = known.flat_map(|(number, known)| {
            let sessions = known.with(Pool::take_unused);
            sessions.into_iter().map(move |session| (PartitionId(number), session))
        });
        unused.collect()
    }
}

impl Directory {
    /// A stamp for a write to a partition; `None` if it has no sessions for now. Opens one if need be, and waits while another caller does, or while all
    /// windows are full.
    ///
    /// # Errors
    /// No stamp was to be had by the deadline.
    async fn stamp(self: &Arc<Self>, id: PartitionId, deadline: Instant) -> Result<Option<Stamp>> {
        let partition = self.sessions.of(id);
        let mut has_waited = false;
        loop {
            let stamp = match partition.with(|pool| pool.next(Instant::now())) {
                Turn::Stamped(prefix) => Some(Stamp { partition: Arc::clone(&partition), prefix }),
                Turn::Unstamped => None,
                Turn::Open => {
                    Box::pin(self.open(id, Opening::new(&partition), deadline)).await?;
                    continue;
                }
                Turn::Wait => {
                    has_waited = true;
                    // What happens before it is polled is not missed: it leaves a permit.
                    if timeout_at(deadline, partition.has_room.notified()).await.is_err() {
                        return Err(partition.with(|pool| pool.failure()).unwrap_or(Error::DeadlineExceeded));
                    }
                    continue;
                }
            };
            if has_waited {
                // There may be room for more, and each time only one is woken.
                partition.has_room.notify_one();
            }
            return Ok(stamp);
        }
    }

    /// Opens a session of a partition. That may be repeated at will: what is opened in vain is forgotten by the server in time.
    async fn open(self: &Arc<Self>, id: PartitionId, opening: Opening, deadline: Instant) -> Result<()> {
        let ttl_ms = u64::try_from(TTL.as_millis()).expect("minutes");
        let request = Request::OpenSession { partition: id, ttl_ms };
        let mut trail = Trail::default();
        match self.call_along(Target::Partition(id), request, deadline, &mut trail).await {
            Ok(Reply::Written { revision }) => {
                opening.end(|pool| pool.opened(revision, Instant::now()));
                Ok(())
            }
            Ok(other) => opening.fail(AttemptError::unexpected(&other).into_error(false)),
            Err(_) if trail.last().is_some_and(AttemptError::is_refusal_for_good) => {
                opening.end(|pool| pool.refused(Instant::now()));
                Ok(())
            }
            Err(error) => opening.fail(error),
        }
    }

    /// Ends the sessions that nobody uses now, those that there is time for.
    pub(crate) async fn close_sessions(self: &Arc<Self>, deadline: Instant) {
        let mut closing = JoinSet::new();
        for (partition, session) in self.sessions.take_unused() {
            let directory = Arc::clone(self);
            closing.spawn(async move {
                let request = Request::CloseSession { partition, session };
                // What is not closed is forgotten in time.
                let _ = directory.call(Target::Partition(partition), request, deadline).await;
            });
        }
        while closing.join_next().await.is_some() {}
    }
}

/// The duty to open a session, which passes on to another if its caller goes away.
struct Opening {
    /// `None` once it is done.
    partition: Option<Arc<Partition>>,
}

impl Opening {
    fn new(partition: &Arc<Partition>) -> Self {
        Self { partition: Some(Arc::clone(partition)) }
    }

    /// Tells the pool how it ended, and those who wait.
    fn end(mut self, tell: impl FnOnce(&mut Pool)) {
        let partition = self.partition.take().expect("it ends once");
        partition.with(tell);
        partition.has_room.notify_one();
    }

    fn fail(self, error: Error) -> Result<()> {
        self.end(|pool| pool.not_opened(Some(error.clone())));
        Err(error)
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if let Some(partition) = self.partition.take() {
            partition.with(|pool| pool.not_opened(None));
            partition.has_room.notify_one();
        }
    }
}
