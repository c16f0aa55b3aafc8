//! The numbers of keys: which exist, and which is added next.
//!
//! Shared by all threads of a run, without a lock on the way that operations usually take. Bounded by the window of inserts that are
//! under way.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use super::error::WorkloadError;
use super::keys::KEYS_MAX;

/// How far beyond the first number that is not acknowledged numbers are handed out.
pub const INSERT_WINDOW: usize = 1 << 16;

/// An atomic number alone in its cache lines, since threads write one while others read the other.
#[derive(Debug)]
#[repr(align(128))]
struct Lines(AtomicU64);

/// The keys of a run, by number: those below [`keys`](Self::keys) exist.
///
/// An insert takes the next number with [`reserve`](Self::reserve), and says afterwards whether it succeeded
/// ([`acknowledge`](Self::acknowledge)) or not ([`give_back`](Self::give_back)). Inserts end in any order; a number counts as a key
/// only when all numbers below it are acknowledged as well, so that other operations never ask for a key that does not exist. YCSB
/// does the same with its `AcknowledgedCounterGenerator`. Here an insert is refused if too many are open, instead of a crash when
/// they are acknowledged, and an acknowledgement takes effect at once, not with the next one.
///
/// ```
/// use corelode_bench::workload::KeySpace;
///
/// let keys = KeySpace::new(100)?;
/// let (first, second) = (keys.reserve(), keys.reserve());
/// assert_eq!((first, second), (Some(100), Some(101)));
/// keys.acknowledge(101);
/// assert_eq!(keys.keys(), 100);
/// keys.acknowledge(100);
/// assert_eq!(keys.keys(), 102);
/// # Ok::<(), corelode_bench::workload::WorkloadError>(())
/// ```
#[derive(Debug)]
pub struct KeySpace {
    keys_at_start: u64,
    /// Invariant: all numbers below are acknowledged. It never falls.
    acknowledged: Lines,
    /// The number that is handed out next. Invariant: at most `acknowledged` plus the length of the window.
    next: Lines,
    /// For each acknowledged number of the window, the number plus one, at the number modulo the length. Older entries need not be
    /// cleared: they name another number.
    window: Box<[AtomicU64]>,
    /// Numbers whose insert failed; they are handed out first. Bounded by the window.
    returned: Mutex<Vec<u64>>,
    /// The length of `returned`, so that the lock is taken only if there is one.
    returned_count: AtomicUsize,
}

impl KeySpace {
    /// A space in which the keys 0 to `keys` - 1 exist.
    ///
    /// # Errors
    /// If there is no key, or more than [`KEYS_MAX`].
    pub fn new(keys: u64) -> Result<Self, WorkloadError> {
        Self::with_window(keys, INSERT_WINDOW)
    }

    fn with_window(keys: u64, window: usize) -> Result<Self, WorkloadError> {
        if !(1..=KEYS_MAX).contains(&keys) {
            return Err(WorkloadError::Keys(keys));
        }
        Ok(Self {
            keys_at_start: keys,
            acknowledged: Lines(AtomicU64::new(keys)),
            next: Lines(AtomicU64::new(keys)),
            window: (0..window).map(|_| AtomicU64::new(0)).collect(),
            returned: Mutex::new(Vec::new()),
            returned_count: AtomicUsize::new(0),
        })
    }

    /// How many keys there are: all numbers below exist.
    #[inline]
    #[must_use]
    pub fn keys(&self) -> u64 {
        self.acknowledged.0.load(Ordering::Acquire)
    }

    /// How many keys there were at first.
    #[must_use]
    pub fn keys_at_start(&self) -> u64 {
        self.keys_at_start
    }

    /// The number for an insert. `None` if it would be [`INSERT_WINDOW`] or more beyond the first number that is not acknowledged, or if
    /// [`KEYS_MAX`] keys are there: an older insert has to end before.
    ///
    /// A number that was [given back](Self::give_back) comes first, also if the window is full.
    #[must_use]
    pub fn reserve(&self) -> Option<u64> {
        if self.returned_count.load(Ordering::Acquire) > 0
            && let Some(number) = self.take_returned()
        {
            return Some(number);
        }
        // An outdated `acknowledged` is lower, and refuses rather than hands out too much.
        let end = self.keys().saturating_add(self.window.len() as u64).min(KEYS_MAX);
        let next = |number| (number < end).then_some(number + 1);
        self.next.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).ok()
    }

    /// Says that the key `number` exists now.
    ///
    /// # Panics
    /// If `number` was not handed out, or was acknowledged before.
    pub fn acknowledge(&self, number: u64) {
        self.assert_open(number);
        let before = self.slot(number).swap(number + 1, Ordering::SeqCst);
        assert!(before != number + 1, "key {number} was acknowledged before");
        // No acknowledgement is left behind. All these accesses have one order. Say a thread moves `acknowledged` to `number` and then
        // finds the slot of `number` empty: then the thread that fills the slot reads `acknowledged` later, and moves it on.
        loop {
            let acknowledged = self.acknowledged.0.load(Ordering::SeqCst);
            if self.slot(acknowledged).load(Ordering::SeqCst) != acknowledged + 1 {
                return;
            }
            // If it fails, another thread has moved it on, and this one looks again.
            let _ = self.acknowledged.0.compare_exchange(
                acknowledged,
                acknowledged + 1,
                Ordering::SeqCst,
                Ordering::SeqCst,
            );
        }
    }

    /// Says that the insert of `number` failed, or that nobody knows how it ended. The next insert takes the number, so that it does
    /// not hold up the numbers after it.
    ///
    /// # Panics
    /// If `number` was not handed out, or was acknowledged.
    pub fn give_back(&self, number: u64) {
        self.assert_open(number);
        let mut returned = self.lock_returned();
        returned.push(number);
        assert!(returned.len() <= self.window.len(), "more numbers come back than were handed out");
        self.returned_count.store(returned.len(), Ordering::Release);
    }

    fn take_returned(&self) -> Option<u64> {
        let mut returned = self.lock_returned();
        let number = returned.pop();
        self.returned_count.store(returned.len(), Ordering::Release);
        number
    }

    fn lock_returned(&self) -> MutexGuard<'_, Vec<u64>> {
        self.returned.lock().expect("no thread has panicked with the lock")
    }

    fn assert_open(&self, number: u64) {
        let (acknowledged, next) = (self.keys(), self.next.0.load(Ordering::Acquire));
        assert!((acknowledged..next).contains(&number), "key {number} is not open; {acknowledged} to {next} are");
    }

    fn slot(&self, number: u64) -> &AtomicU64 {
        #[expect(clippy::cast_possible_truncation, reason = "the remainder is below the window's length")]
        let slot = (number % self.window.len() as u64) as usize;
        &self.window[slot]
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use rand::seq::SliceRandom;
    use rand::{RngExt, SeedableRng, rngs::Xoshiro256PlusPlus};

    use super::*;

    #[test]
    fn a_space_has_between_one_key_and_the_most() {
        assert_eq!(KeySpace::new(0).err(), Some(WorkloadError::Keys(0)));
        assert_eq!(KeySpace::new(KEYS_MAX + 1).err(), Some(WorkloadError::Keys(KEYS_MAX + 1)));
        let full = KeySpace::new(KEYS_MAX).unwrap();
        assert_eq!(full.reserve(), None, "no number is beyond the most");
    }

    #[test]
    fn keys_count_once_all_before_them_are_acknowledged() {
        let keys = KeySpace::with_window(10, 8).unwrap();
        let numbers: Vec<u64> = (0..6).map(|_| keys.reserve().unwrap()).collect();
        assert_eq!(numbers, [10, 11, 12, 13, 14, 15]);
        for (acknowledged, exist) in [(12, 10), (11, 10), (15, 10), (10, 13), (13, 14), (14, 16)] {
            keys.acknowledge(acknowledged);
            assert_eq!(keys.keys(), exist, "after {acknowledged}");
        }
        assert_eq!(keys.keys_at_start(), 10);
    }

    #[test]
    fn a_full_window_refuses_until_the_oldest_insert_ends() {
        let keys = KeySpace::with_window(1, 4).unwrap();
        let numbers: Vec<u64> = std::iter::from_fn(|| keys.reserve()).collect();
        assert_eq!(numbers, [1, 2, 3, 4]);
        for number in [2, 3, 4] {
            keys.acknowledge(number);
            assert_eq!(keys.reserve(), None, "1 is still open");
        }
        keys.acknowledge(1);
        assert_eq!(keys.keys(), 5);
        let numbers: Vec<u64> = std::iter::from_fn(|| keys.reserve()).collect();
        assert_eq!(numbers, [5, 6, 7, 8], "the window moved as a whole");
    }

    #[test]
    fn a_failed_insert_is_done_again_before_new_ones() {
        let keys = KeySpace::with_window(1, 2).unwrap();
        assert_eq!((keys.reserve(), keys.reserve(), keys.reserve()), (Some(1), Some(2), None));
        keys.acknowledge(2);
        keys.give_back(1);
        assert_eq!(keys.keys(), 1, "what failed does not exist");
        assert_eq!((keys.reserve(), keys.reserve()), (Some(1), None));
        keys.acknowledge(1);
        assert_eq!((keys.keys(), keys.reserve()), (3, Some(3)));
    }

    #[test]
    #[should_panic(expected = "key 6 is not open")]
    fn what_was_not_handed_out_is_not_acknowledged() {
        let keys = KeySpace::new(5).unwrap();
        assert_eq!(keys.reserve(), Some(5));
        keys.acknowledge(6);
    }

    #[test]
    #[should_panic(expected = "key 6 was acknowledged before")]
    fn nothing_is_acknowledged_twice() {
        let keys = KeySpace::new(5).unwrap();
        assert_eq!((keys.reserve(), keys.reserve()), (Some(5), Some(6)));
        keys.acknowledge(6);
        keys.acknowledge(6);
    }

    #[test]
    fn threads_that_acknowledge_in_any_order_agree() {
        const START: u64 = 3;
        const COUNT: u64 = 60_000;
        const THREADS: u64 = 4;
        // The window is small, so that it is full and goes round many times.
        let keys = KeySpace::with_window(START, 64).unwrap();
        let exists: Vec<AtomicBool> = (0..START + COUNT).map(|number| AtomicBool::new(number < START)).collect();
        let exists_at = |number: u64| &exists[usize::try_from(number).unwrap()];
        let insert = |thread: u64| {
            let mut random = Xoshiro256PlusPlus::seed_from_u64(thread);
            let mut seen = START;
            while seen < START + COUNT {
                let batch = random.random_range(1..=12);
                let mut numbers: Vec<u64> = (0..batch).map_while(|_| keys.reserve()).collect();
                numbers.shuffle(&mut random);
                for number in numbers {
                    if number >= START + COUNT {
                        continue;
                    }
                    if random.random_range(0..10) == 0 {
                        keys.give_back(number);
                    } else {
                        assert!(!exists_at(number).swap(true, Ordering::AcqRel), "{number} is inserted once");
                        keys.acknowledge(number);
                    }
                }
                let now = keys.keys();
                assert!(now >= seen, "keys do not vanish");
                assert!((seen..now).all(|number| exists_at(number).load(Ordering::Acquire)), "only what exists counts");
                seen = now;
                thread::yield_now();
            }
        };
        thread::scope(|scope| {
            for thread in 0..THREADS {
                scope.spawn(move || insert(thread));
            }
        });
        assert_eq!(keys.keys(), START + COUNT, "no acknowledgement was left behind");
    }
}
