//! Writes to every partition that fall due at fixed times, whatever became of the ones before. What is noted of each is when it was due, when it was
//! sent, and when its caller heard what became of it.
//!
//! Of a partition at most [`UNDER_WAY_MAX`] are under way; one that finds no room is sent late, and its latency counts from when it was due.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use corelode_client::Client;
use corelode_tests::load::partition_of;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Writes of a partition that may be under way.
const UNDER_WAY_MAX: usize = 256;
/// Errors of which the words are kept.
const WORDS_MAX: usize = 100;

/// How much is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) partitions: u16,
    /// Between two writes to one partition.
    pub(crate) every: Duration,
    pub(crate) value_bytes: usize,
    pub(crate) keys_per_partition: usize,
}

/// A write; times count from the load's beginning, in seconds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Sample {
    pub(crate) partition: u16,
    pub(crate) due: f64,
    pub(crate) sent: f64,
    pub(crate) done: f64,
    pub(crate) is_acknowledged: bool,
}

impl Sample {
    /// From when it was due, seconds.
    pub(crate) fn latency(&self) -> f64 {
        self.done - self.due
    }
}

/// What was noted of a load.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) samples: Vec<Sample>,
    /// When and what callers were told in place of an acknowledgement, as far as it is kept.
    pub(crate) errors: Vec<(f64, String)>,
}

impl Notes {
    /// What was due from one time until another.
    pub(crate) fn due_between(&self, from: f64, until: f64) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(move |sample| sample.due >= from && sample.due < until)
    }
}

/// A load that runs.
pub(crate) struct Load {
    began: Instant,
    stop: Arc<AtomicBool>,
    notes: Arc<Mutex<Notes>>,
    tasks: JoinSet<()>,
}

impl Load {
    /// Begins to write, once every partition has been written to.
    pub(crate) fn start(runtime: &Handle, client: &Client, shape: Shape) -> Result<Self, String> {
        let keys = Arc::new(keys(shape));
        let value: Arc<[u8]> = vec![b'v'; shape.value_bytes].into();
        runtime.block_on(first_writes(client, &keys, &value))?;
        let stop = Arc::<AtomicBool>::default();
        let notes = Arc::<Mutex<Notes>>::default();
        let (began, mut tasks) = (Instant::now(), JoinSet::new());
        for partition in 0..shape.partitions {
            let writer = Writer {
                partition,
                client: client.clone(),
                keys: Arc::clone(&keys),
                value: Arc::clone(&value),
                began,
                every: shape.every,
                // They do not all fall due at once.
                first: shape.every.mul_f64(f64::from(partition) / f64::from(shape.partitions)),
                stop: Arc::clone(&stop),
                notes: Arc::clone(&notes),
            };
            tasks.spawn_on(writer.run(), runtime);
        }
        Ok(Self { began, stop, notes, tasks })
    }

    /// The time now, as samples have it.
    pub(crate) fn now(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// Sends nothing more, waits for what is under way, and answers what was noted.
    pub(crate) fn end(mut self, runtime: &Handle) -> Notes {
        self.stop.store(true, Ordering::Relaxed);
        runtime.block_on(async { while self.tasks.join_next().await.is_some() {} });
        std::mem::take(&mut *self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct Writer {
    partition: u16,
    client: Client,
    keys: Arc<Vec<Vec<Vec<u8>>>>,
    value: Arc<[u8]>,
    began: Instant,
    every: Duration,
    first: Duration,
    stop: Arc<AtomicBool>,
    notes: Arc<Mutex<Notes>>,
}

impl Writer {
    async fn run(self) {
        let room = Arc::new(Semaphore::new(UNDER_WAY_MAX));
        let mut under_way = JoinSet::new();
        let mut due = self.first;
        for number in 0.. {
            tokio::time::sleep_until((self.began + due).into()).await;
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let place = Arc::clone(&room).acquire_owned().await.expect("it is never closed");
            while under_way.try_join_next().is_some() {}
            let (client, keys, value) = (self.client.clone(), Arc::clone(&self.keys), Arc::clone(&self.value));
            let (notes, began, partition, due_at) = (Arc::clone(&self.notes), self.began, self.partition, due);
            under_way.spawn(async move {
                let keys = &keys[usize::from(partition)];
                let sent = began.elapsed();
                let outcome = client.put(&keys[number % keys.len()], &value).await;
                let done = began.elapsed().as_secs_f64();
                let sample = Sample {
                    partition,
                    due: due_at.as_secs_f64(),
                    sent: sent.as_secs_f64(),
                    done,
                    is_acknowledged: outcome.is_ok(),
                };
                let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
                notes.samples.push(sample);
                if let Err(error) = outcome
                    && notes.errors.len() < WORDS_MAX
                {
                    notes.errors.push((done, format!("partition {partition}: {error}")));
                }
                drop(place);
            });
            due += self.every;
        }
        while under_way.join_next().await.is_some() {}
    }
}

/// Writes each partition's first key, so that sessions and connections are there. A new cluster may take a while until it serves them all.
async fn first_writes(client: &Client, keys: &[Vec<Vec<u8>>], value: &[u8]) -> Result<(), String> {
    let until = Instant::now() + Duration::from_secs(30);
    for keys in keys {
        while let Err(error) = client.put(&keys[0], value).await {
            if Instant::now() > until {
                return Err(format!("the cluster does not take writes: {error}"));
            }
        }
    }
    Ok(())
}

/// The keys of each partition.
fn keys(shape: Shape) -> Vec<Vec<Vec<u8>>> {
    let mut keys = vec![Vec::new(); usize::from(shape.partitions)];
    let mut missing = keys.len();
    for number in 0_u64.. {
        let key = format!("key-{number:010}").into_bytes();
        let of_partition = &mut keys[usize::from(partition_of(&key, shape.partitions))];
        if of_partition.len() < shape.keys_per_partition {
            of_partition.push(key);
            missing -= usize::from(of_partition.len() == shape.keys_per_partition);
        }
        if missing == 0 {
            break;
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_partition_has_keys_of_its_own() {
        let shape = Shape { partitions: 7, every: Duration::from_secs(1), value_bytes: 1, keys_per_partition: 3 };
        let keys = keys(shape);
        assert_eq!(keys.len(), 7);
        for (partition, keys) in (0..).zip(&keys) {
            assert_eq!(keys.len(), 3);
            assert!(keys.iter().all(|key| partition_of(key, 7) == partition));
        }
    }
}
