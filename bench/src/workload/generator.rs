//! The operations that a thread sends, one after the other.

use std::num::NonZeroU32;
use std::sync::Arc;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use super::WorkloadConfig;
use super::chooser::KeyChooser;
use super::key_space::KeySpace;
use super::mix::Mix;
use super::permutation::mix64;
use crate::report::model::OperationKind;

/// What is sent next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Operation {
    /// What it does.
    pub kind: OperationKind,
    /// The number of the key that it is about, or that a scan starts from. Of an insert, a number that
    /// [`KeySpace::reserve`] handed out and that has to be acknowledged or given back.
    pub key: u64,
    /// How many rows a scan reads, from 1; 0 for other kinds.
    pub scan_rows: u32,
}

/// Makes the operations of one thread.
///
/// They follow from the configuration, the seed, the thread's number, and from how many keys exist each time. Without inserts the
/// last does not change, and the operations are the same in each run. With inserts it depends on when they are acknowledged, so that
/// keys may differ from run to run; the kinds do not, as long as no insert is refused.
///
/// If the key space refuses an insert, since too many are under way, the operation becomes an update of a key that exists: the load
/// keeps its rate and its share of writes. [`inserts_refused`](Self::inserts_refused) tells how many did.
#[derive(Debug)]
pub struct Generator {
    random: Xoshiro256PlusPlus,
    mix: Mix,
    chooser: KeyChooser,
    scan_rows_max: NonZeroU32,
    key_space: Arc<KeySpace>,
    inserts_refused: u64,
}

impl Generator {
    /// Makes the operations of thread `thread_number` over the keys of `key_space`. How many keys the configuration names does not
    /// matter here.
    #[must_use]
    pub fn new(config: &WorkloadConfig, key_space: Arc<KeySpace>, seed: u64, thread_number: usize) -> Self {
        Self {
            random: random_of_thread(seed, thread_number),
            mix: config.mix.clone(),
            chooser: KeyChooser::new(config.key_choice, key_space.keys_at_start()),
            scan_rows_max: config.scan_rows_max,
            key_space,
            inserts_refused: 0,
        }
    }

    /// The next operation. There is always one.
    #[expect(clippy::should_implement_trait, reason = "it never ends, and an iterator would have to say so each time")]
    #[inline]
    pub fn next(&mut self) -> Operation {
        let mut kind = self.mix.draw(&mut self.random);
        if kind == OperationKind::Insert {
            if let Some(key) = self.key_space.reserve() {
                return Operation { kind, key, scan_rows: 0 };
            }
            self.inserts_refused += 1;
            kind = OperationKind::Update;
        }
        let key = self.chooser.choose(&mut self.random, self.key_space.keys());
        let scan_rows = match kind {
            OperationKind::Scan => self.random.random_range(1..=self.scan_rows_max.get()),
            _ => 0,
        };
        Operation { kind, key, scan_rows }
    }

    /// How many inserts became updates.
    #[must_use]
    pub fn inserts_refused(&self) -> u64 {
        self.inserts_refused
    }
}

/// The random numbers of a thread: other ones for each seed and each thread.
fn random_of_thread(seed: u64, thread_number: usize) -> Xoshiro256PlusPlus {
    let mut bytes = [0; 32];
    // The first two words already differ for any two pairs; the others only fill the state.
    let words =
        [mix64(seed), mix64(thread_number as u64), mix64(seed ^ mix64(thread_number as u64)), mix64(mix64(seed))];
    for (bytes, word) in bytes.chunks_exact_mut(8).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    Xoshiro256PlusPlus::from_seed(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::workload::Preset;
    use crate::workload::key_space::INSERT_WINDOW;
    use crate::workload::statistics::{assert_follows, zipfian};

    fn generator(preset: Preset, keys: u64, seed: u64, thread_number: usize) -> Generator {
        Generator::new(&preset.into(), Arc::new(KeySpace::new(keys).unwrap()), seed, thread_number)
    }

    /// `count` operations; inserts are acknowledged at once.
    fn operations(generator: &mut Generator, count: usize) -> Vec<Operation> {
        let next = |_| {
            let operation = generator.next();
            if operation.kind == OperationKind::Insert {
                generator.key_space.acknowledge(operation.key);
            }
            operation
        };
        (0..count).map(next).collect()
    }

    #[test]
    fn operations_follow_from_seed_and_thread() {
        for preset in Preset::ALL {
            let of = |seed, thread| operations(&mut generator(preset, 10_000, seed, thread), 2_000);
            assert_eq!(of(1, 0), of(1, 0), "{preset}");
            for (seed, thread) in [(1, 1), (2, 0), (0, 1)] {
                assert_ne!(of(1, 0), of(seed, thread), "{preset}: seed {seed}, thread {thread}");
            }
            assert_ne!(of(2, 1), of(1, 2), "{preset}: seed and thread are not exchangeable");
        }
    }

    #[test]
    fn operations_stay_the_same_from_version_to_version() {
        let mut generator = generator(Preset::E, 1_000_000, 1, 0);
        let operations = operations(&mut generator, 4).into_iter();
        let operations: Vec<_> = operations.map(|operation| (operation.key, operation.scan_rows)).collect();
        assert_eq!(operations, [(1_000_000, 0), (806_073, 31), (848_882, 36), (929_459, 81)]);
    }

    #[test]
    fn kinds_and_lengths_of_scans_have_their_shares() {
        for preset in Preset::ALL {
            let operations = operations(&mut generator(preset, 1_000, 7, 3), 200_000);
            let mut counts = BTreeMap::new();
            operations.iter().for_each(|operation| *counts.entry(operation.kind).or_insert(0) += 1);
            let shares = preset.mix().shares();
            assert!(counts.keys().eq(shares.keys()), "{preset}: {counts:?}");
            if shares.len() > 1 {
                let counts: Vec<u64> = counts.into_values().collect();
                assert_follows(&counts, &shares.into_values().collect::<Vec<f64>>(), &preset.to_string());
            }
            let (scans, others): (Vec<&Operation>, Vec<&Operation>) =
                operations.iter().partition(|operation| operation.kind == OperationKind::Scan);
            assert!(others.iter().all(|operation| operation.scan_rows == 0), "{preset}");
            if !scans.is_empty() {
                let mut lengths = [0; 100];
                scans.iter().for_each(|scan| lengths[scan.scan_rows as usize - 1] += 1);
                assert_follows(&lengths, &[0.01; 100], "scans have 1 to 100 rows, uniformly");
            }
        }
    }

    #[test]
    fn reads_of_the_latest_follow_inserts_that_are_acknowledged() {
        let mut generator = generator(Preset::D, 1_000, 3, 0);
        let mut distances = vec![0; 1_000];
        let mut keys = 1_000;
        for _ in 0..300_000 {
            let operation = generator.next();
            if operation.kind == OperationKind::Insert {
                assert_eq!(operation.key, keys, "the next number");
                generator.key_space.acknowledge(operation.key);
                keys += 1;
            } else if let Some(count) = distances.get_mut(usize::try_from(keys - 1 - operation.key).unwrap()) {
                *count += 1;
            }
        }
        // Of the distances that are possible from the start, those proportions stay whatever the number of keys.
        assert!(keys > 10_000, "the space grew a lot");
        assert_follows(&distances, &zipfian(1_000, 0.99), "distances from the newest key");
    }

    #[test]
    fn only_keys_that_exist_are_asked_for_while_inserts_are_open() {
        let mut generator = generator(Preset::E, 10, 3, 0);
        let mut open = Vec::new();
        for _ in 0..20_000 {
            let operation = generator.next();
            if operation.kind == OperationKind::Insert {
                open.push(operation.key);
            } else {
                assert!(operation.key < 10, "nothing is acknowledged yet");
            }
        }
        assert!(open.iter().copied().eq(10..10 + open.len() as u64));
        assert_eq!(generator.inserts_refused(), 0);
    }

    #[test]
    fn a_refused_insert_becomes_an_update() {
        let config = WorkloadConfig { mix: "insert=1".parse().unwrap(), ..WorkloadConfig::default() };
        let mut generator = Generator::new(&config, Arc::new(KeySpace::new(5).unwrap()), 1, 0);
        let mut kinds = (0..INSERT_WINDOW + 3).map(|_| generator.next());
        assert!(kinds.by_ref().take(INSERT_WINDOW).all(|operation| operation.kind == OperationKind::Insert));
        assert!(kinds.all(|operation| operation.kind == OperationKind::Update && operation.key < 5));
        assert_eq!(generator.inserts_refused(), 3);
    }
}
