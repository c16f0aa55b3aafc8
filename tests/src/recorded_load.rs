//! Clients that read and write a few keys and note when they asked what and were told what, for a check of linearizability.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use corelode_client::blocking::Client;
use corelode_client::{Durability, Error};
use corelode_linearizability::history::{Action, History, Operation};

use crate::history::{value_of, version_of};
use crate::load::{Random, partition_of};
use crate::network::Network;

/// A load that does not go on for so long has stopped for good.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest time between an answer and the next question.
const THINKING_MS_MAX: u64 = 8;

/// The keys of a load: some that all workers share, and one in each partition for the worker that watches it.
#[derive(Clone, Debug)]
pub struct Keys {
    names: Vec<Vec<u8>>,
    shared: u64,
}

impl Keys {
    /// Keys whose names begin so; the first `shared` of them are shared.
    #[must_use]
    pub fn new(prefix: &str, shared: u64, partitions: u16) -> Self {
        let name = |number: u64| format!("{prefix}-{number}").into_bytes();
        let watched = |partition: u16| {
            let in_partition = |name: &Vec<u8>| partition_of(name, partitions) == partition;
            (shared..).map(name).find(in_partition).expect("each partition has keys")
        };
        let names = (0..shared).map(name).chain((0..partitions).map(watched)).collect();
        Self { names, shared }
    }

    /// The name of each key, in order of their numbers.
    pub fn names(&self) -> impl Iterator<Item = (u64, &[u8])> {
        (0..).zip(self.names.iter().map(Vec::as_slice))
    }

    fn name(&self, number: u64) -> &[u8] {
        &self.names[usize::try_from(number).expect("few keys")]
    }

    fn watched(&self) -> std::ops::Range<u64> {
        self.shared..self.names.len() as u64
    }
}

/// What one key shows, the deletions and absences too.
///
/// # Errors
/// The client's.
///
/// # Panics
/// If a value is not whole.
pub fn read(client: &Client, name: &[u8]) -> Result<Option<u64>, Error> {
    Ok(client.get(name)?.map(|found| version_of(name, &found.value)))
}

/// Workers on one host, who share a client.
pub struct Crew {
    /// Where they are.
    pub host: usize,
    /// How they ask.
    pub client: Client,
    /// How many share keys.
    pub workers: u64,
    /// Whether there is one more for each partition, who does nothing but write there.
    pub is_watching: bool,
}

/// A load that runs.
pub struct RecordedLoad {
    keys: Keys,
    began: Instant,
    stop: Arc<AtomicBool>,
    workers: Vec<(Arc<AtomicU64>, JoinHandle<Notes>)>,
}

/// What a worker has noted.
#[derive(Default)]
struct Notes {
    operations: Vec<(u64, Operation)>,
    unexecuted: u64,
}

/// What was recorded of a load.
pub struct Recorded {
    /// The operations.
    pub history: History,
    /// Writes whose outcome is unknown.
    pub unknown: u64,
    /// Operations that the client says have not happened.
    pub unexecuted: u64,
    keys: Keys,
    ended: Duration,
}

struct Worker {
    number: u64,
    client: Client,
    keys: Keys,
    /// The only key, of one who watches a partition.
    watched: Option<u64>,
    random: Random,
    began: Instant,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    notes: Notes,
}

impl RecordedLoad {
    /// Starts the workers of all crews. What they do depends on the seed, and when on the machine.
    #[must_use]
    pub fn start(network: &Arc<Network>, keys: Keys, crews: &[Crew], seed: u64) -> Self {
        let (began, stop) = (Instant::now(), Arc::new(AtomicBool::new(false)));
        let mut workers = Vec::new();
        for crew in crews {
            let watched = keys.watched().filter(|_| crew.is_watching).map(Some);
            for watched in watched.chain((0..crew.workers).map(|_| None)) {
                let number = workers.len() as u64 + 1;
                let answered = Arc::<AtomicU64>::default();
                let worker = Worker {
                    number,
                    client: crew.client.clone(),
                    keys: keys.clone(),
                    watched,
                    random: Random::new(seed.wrapping_mul(31).wrapping_add(number)),
                    began,
                    stop: Arc::clone(&stop),
                    answered: Arc::clone(&answered),
                    notes: Notes::default(),
                };
                let (network, host) = (Arc::clone(network), crew.host);
                let thread = std::thread::spawn(move || {
                    network.enter(host);
                    worker.run()
                });
                workers.push((answered, thread));
            }
        }
        Self { keys, began, stop, workers }
    }

    /// The time since the start.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Waits until each worker has so many more answers.
    ///
    /// # Panics
    /// If one does not get them, or has met what it may not.
    pub fn go_on(&self, answers: u64) {
        let counts = || self.workers.iter().map(|(answered, _)| answered.load(Ordering::Relaxed));
        let (until, started) = (counts().map(|count| count + answers).collect::<Vec<_>>(), Instant::now());
        while counts().zip(&until).any(|(count, until)| count < *until) {
            let failed = self.workers.iter().filter(|(_, thread)| thread.is_finished()).count();
            assert!(failed == 0, "{failed} workers have met what they may not");
            assert!(started.elapsed() < PATIENCE, "the load goes on: {:?} of {until:?}", counts().collect::<Vec<_>>());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Ends the load. At the end each key is read by `client`.
    ///
    /// # Panics
    /// If a worker has met what it may not, or a key cannot be read.
    #[must_use]
    pub fn end(self, client: &Client) -> Recorded {
        let ended = self.now();
        self.stop.store(true, Ordering::Relaxed);
        let notes: Vec<_> =
            self.workers.into_iter().map(|(_, thread)| thread.join().expect("a worker meets what it may")).collect();
        let history = History::default();
        let operations = || notes.iter().flat_map(|notes| &notes.operations);
        operations().for_each(|(key, operation)| history.push(*key, *operation));
        for (key, name) in self.keys.names() {
            let called = self.began.elapsed();
            let found = read(client, name).unwrap_or_else(|error| panic!("the last read of key {key}: {error}"));
            let returned = Some(self.began.elapsed());
            history.push(key, Operation { client: 0, called, returned, action: Action::Read(found) });
        }
        let unknown = operations().filter(|(_, operation)| operation.returned.is_none()).count() as u64;
        let unexecuted = notes.iter().map(|notes| notes.unexecuted).sum();
        Recorded { history, unknown, unexecuted, keys: self.keys, ended }
    }
}

impl Recorded {
    /// The longest time for which a partition accepted no write, from then on until the end of the load.
    #[must_use]
    pub fn pause_max(&self, from: Duration) -> Duration {
        let histories = self.history.keys();
        let pause_max = |key: u64| {
            let returns = histories.get(&key).into_iter().flatten().filter(|operation| is_write(operation));
            let mut returns: Vec<_> = returns.filter_map(|operation| operation.returned).collect();
            returns.push(self.ended);
            returns.retain(|returned| (from..=self.ended).contains(returned));
            returns.sort();
            let mut last = from;
            let pauses = returns.into_iter().map(|returned| returned - std::mem::replace(&mut last, returned));
            pauses.max().unwrap_or_default()
        };
        self.keys.watched().map(pause_max).max().unwrap_or_default()
    }

    /// What each key may show from now on: what was read last, and what a write that nobody has seen and that has no answer may make of it yet.
    ///
    /// # Panics
    /// If a key was not read at the end.
    #[must_use]
    pub fn settled(&self) -> BTreeMap<Vec<u8>, Vec<Option<u64>>> {
        let histories = self.history.keys();
        let settle = |(key, name): (u64, &[u8])| {
            let operations = &histories[&key];
            let reads = || operations.iter().filter_map(read_by);
            let last = operations.last().and_then(read_by).expect("each key was read last");
            let may_come = |operation: &&Operation| is_write(operation) && operation.returned.is_none();
            let open = operations.iter().filter(may_come).filter_map(|operation| match operation.action {
                Action::Write(Some(value)) if reads().any(|found| found == Some(value)) => None,
                Action::Write(written) => Some(written),
                Action::Read(_) => None,
            });
            (name.to_vec(), std::iter::once(last).chain(open).collect())
        };
        self.keys.names().map(settle).collect()
    }
}

fn is_write(operation: &Operation) -> bool {
    matches!(operation.action, Action::Write(_))
}

fn read_by(operation: &Operation) -> Option<Option<u64>> {
    match operation.action {
        Action::Read(found) => Some(found),
        Action::Write(_) => None,
    }
}

impl Worker {
    fn run(mut self) -> Notes {
        let mut writes = 0;
        while !self.stop.load(Ordering::Relaxed) {
            let key = self.watched.unwrap_or_else(|| self.random.below(self.keys.shared));
            let choice = if self.watched.is_some() { 99 } else { self.random.below(100) };
            writes += 1;
            let value = self.number << 32 | writes;
            let called = self.began.elapsed();
            match choice {
                0..45 => {
                    let found = read(&self.client, self.keys.name(key));
                    self.note(key, called, found.map(Action::Read), None);
                }
                45..55 => {
                    let deleted = self.client.delete_with(self.keys.name(key), Durability::Synced);
                    self.note(key, called, deleted.map(|_| Action::Write(None)), Some(Action::Write(None)));
                }
                _ => {
                    let (name, action) = (self.keys.name(key), Action::Write(Some(value)));
                    let put = self.client.put(name, &value_of(name, value));
                    self.note(key, called, put.map(|_| action), Some(action));
                }
            }
            std::thread::sleep(Duration::from_millis(self.random.below(THINKING_MS_MAX)));
        }
        self.notes
    }

    /// Notes how an operation ended; `possibly` is what may have happened if nobody knows.
    fn note(&mut self, key: u64, called: Duration, ended: Result<Action, Error>, possibly: Option<Action>) {
        let mut push = |returned, action| {
            self.notes.operations.push((key, Operation { client: self.number, called, returned, action }));
        };
        match (ended, possibly) {
            (Ok(action), _) => {
                push(Some(self.began.elapsed()), action);
                self.answered.fetch_add(1, Ordering::Relaxed);
            }
            (Err(Error::OutcomeUnknown { .. }), Some(action)) => push(None, action),
            // It has surely not happened: whoever sees it all the same finds a value that nobody wrote.
            (Err(Error::Unreachable { .. } | Error::DeadlineExceeded | Error::Refused { .. }), _) => {
                self.notes.unexecuted += 1;
            }
            (Err(other), _) => panic!("worker {} was told: {other}", self.number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A load of one shared key and one that is watched, whose writes ended at these times.
    fn recorded(shared: &[(Option<u64>, Action)], watched: &[u64], ended: u64) -> Recorded {
        let history = History::default();
        for (returned, action) in shared {
            history.push(0, Operation { client: 1, called: ms(0), returned: returned.map(ms), action: *action });
        }
        for &returned in watched {
            let action = Action::Write(Some(returned));
            history.push(1, Operation { client: 2, called: ms(0), returned: Some(ms(returned)), action });
        }
        history.push(1, Operation { client: 0, called: ms(ended), returned: None, action: Action::Read(None) });
        Recorded { history, unknown: 0, unexecuted: 0, keys: Keys::new("key", 1, 1), ended: ms(ended) }
    }

    #[test]
    fn a_pause_reaches_from_one_acknowledgement_to_the_next() {
        let recorded = recorded(&[], &[10, 20, 500, 510], 600);
        assert_eq!(recorded.pause_max(ms(0)), ms(480));
        assert_eq!(recorded.pause_max(ms(300)), ms(200), "what was before does not count");
        assert_eq!(recorded.pause_max(ms(505)), ms(90), "nor does it last longer than the load");
    }

    #[test]
    fn what_may_come_yet_is_what_was_neither_answered_nor_seen() {
        use Action::{Read, Write};
        let recorded = recorded(
            &[
                (None, Write(Some(1))),
                (None, Write(Some(2))),
                (None, Write(None)),
                (Some(3), Write(Some(3))),
                (Some(4), Read(Some(1))),
                (Some(5), Read(Some(3))),
            ],
            &[],
            6,
        );
        assert_eq!(recorded.settled()[b"key-0".as_slice()], [Some(3), Some(2), None]);
    }
}
