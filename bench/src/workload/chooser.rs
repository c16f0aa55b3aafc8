//! Draws keys by a distribution while keys are added.
//!
//! Owned by one thread's generator. Memory and the cost of a draw do not depend on the number of keys.

use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;

use super::distribution::{Hotspot, KeyChoice, Theta};
use super::permutation::Spread;
use super::zipfian::Zipfian;

/// Growth by this part is prepared for at once: 1 of 64.
const GROWTH_SHIFT: u32 = 6;

/// Draws numbers of keys.
#[derive(Clone, Debug)]
pub(super) struct KeyChooser(Draw);

/// The state of each [`KeyChoice`].
#[derive(Clone, Debug)]
enum Draw {
    Uniform,
    Zipfian { ranks: ZipfianRanks, spread: Spread },
    Latest { ranks: ZipfianRanks },
    Hotspot { hotspot: Hotspot, spread: Spread },
}

impl KeyChooser {
    /// Draws by `choice` in a key space that starts with `keys_at_start` keys.
    pub(super) fn new(choice: KeyChoice, keys_at_start: u64) -> Self {
        let spread = Spread::new(keys_at_start);
        Self(match choice {
            KeyChoice::Uniform => Draw::Uniform,
            KeyChoice::Zipfian(theta) => Draw::Zipfian { ranks: ZipfianRanks::new(theta, keys_at_start), spread },
            KeyChoice::Latest(theta) => Draw::Latest { ranks: ZipfianRanks::new(theta, keys_at_start) },
            KeyChoice::Hotspot(hotspot) => Draw::Hotspot { hotspot, spread },
        })
    }

    /// The number of a key, below `keys`, which is not zero.
    #[inline]
    pub(super) fn choose(&mut self, random: &mut Xoshiro256PlusPlus, keys: u64) -> u64 {
        match &mut self.0 {
            Draw::Uniform => random.random_range(0..keys),
            Draw::Zipfian { ranks, spread } => spread.number(ranks.draw(random, keys), keys),
            Draw::Latest { ranks } => keys - 1 - ranks.draw(random, keys),
            Draw::Hotspot { hotspot, spread } => {
                let hot_keys = hotspot.keys.of(keys).max(1);
                let is_hot = random.random::<f64>() < hotspot.operations.get() || hot_keys == keys;
                let ranks = if is_hot { 0..hot_keys } else { hot_keys..keys };
                spread.number(random.random_range(ranks), keys)
            }
        }
    }
}

/// Draws ranks from 0 that follow a zipfian distribution over a number of keys that grows.
///
/// The sampler is made for somewhat more keys than there are, and ranks that no key has are drawn again. What remains is exactly the
/// distribution over the keys there are, since those keep their proportions. So it is made anew only when the keys have grown by 1 of
/// 64, and until then less than 1 of 64 draws is in vain.
#[derive(Clone, Debug)]
struct ZipfianRanks {
    sampler: Zipfian,
}

impl ZipfianRanks {
    fn new(theta: Theta, keys: u64) -> Self {
        Self { sampler: Zipfian::new(theta, keys) }
    }

    #[inline]
    fn draw(&mut self, random: &mut Xoshiro256PlusPlus, keys: u64) -> u64 {
        if keys > self.sampler.size {
            self.sampler = Zipfian::new(self.sampler.theta, keys + (keys >> GROWTH_SHIFT));
        }
        loop {
            let rank = self.sampler.draw(random);
            if rank <= keys {
                return rank - 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::workload::distribution::Share;
    use crate::workload::statistics::{assert_follows, chi_squared_over_limit, zipfian};

    const DRAWS: usize = 400_000;

    /// How often each of `keys` keys is drawn, in a space that started with `keys_at_start` and grew to `keys` in small steps.
    fn counts(choice: &str, keys_at_start: u64, keys: u64) -> Vec<u64> {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(42);
        let mut chooser = KeyChooser::new(choice.parse().unwrap(), keys_at_start);
        for keys in keys_at_start..keys {
            assert!(chooser.choose(&mut random, keys) < keys, "only keys that exist are drawn");
        }
        let mut counts = vec![0; usize::try_from(keys).unwrap()];
        for _ in 0..DRAWS {
            counts[usize::try_from(chooser.choose(&mut random, keys)).unwrap()] += 1;
        }
        counts
    }

    /// `counts` of keys in the order of their ranks.
    fn by_rank(counts: &[u64], keys_at_start: u64) -> Vec<u64> {
        let keys = counts.len() as u64;
        let mut spread = Spread::new(keys_at_start);
        (0..keys).map(|rank| counts[usize::try_from(spread.number(rank, keys)).unwrap()]).collect()
    }

    /// Spaces: how many keys at the start, and how many they grow to.
    const SPACES: [(u64, u64); 6] = [(2, 2), (10, 10), (1_000, 1_000), (1_000, 1_010), (700, 1_300), (5, 1_000)];

    #[test]
    fn uniform_keys_are_equally_frequent() {
        for (keys_at_start, keys) in SPACES {
            let counts = counts("uniform", keys_at_start, keys);
            assert_follows(&counts, &vec![1.0 / keys as f64; counts.len()], &format!("{keys_at_start} to {keys} keys"));
        }
    }

    #[test]
    fn zipfian_ranks_have_their_frequencies() {
        for theta in [0.0, 0.5, 0.9, 0.99, 0.999_999_999_9, 1.0, 1.000_000_1, 1.2, 2.0, 5.0] {
            for (keys_at_start, keys) in SPACES {
                let counts = by_rank(&counts(&format!("zipfian:{theta}"), keys_at_start, keys), keys_at_start);
                let what = format!("theta {theta}, {keys_at_start} to {keys} keys");
                assert_follows(&counts, &zipfian(counts.len(), theta), &what);
            }
        }
    }

    #[test]
    fn a_slightly_wrong_skew_would_be_noticed() {
        let counts = by_rank(&counts("zipfian:0.99", 1_000, 1_000), 1_000);
        for wrong in [0.97, 1.01] {
            assert!(chi_squared_over_limit(&counts, &zipfian(1_000, wrong)) > 1.0, "{wrong} is told from 0.99");
        }
        let mut probabilities = zipfian(900, 0.99);
        probabilities.resize(1_000, 0.0);
        assert!(chi_squared_over_limit(&counts, &probabilities) > 1.0, "900 keys are told from 1,000");
    }

    #[test]
    fn the_first_rank_of_many_keys_has_its_frequency() {
        let keys = 1_000_000;
        let counts = by_rank(&counts("zipfian", keys, keys), keys);
        let first = zipfian(counts.len(), 0.99)[0];
        assert_follows(&[counts[0], counts[1..].iter().sum()], &[first, 1.0 - first], "rank 1 of 1,000,000");
    }

    #[test]
    fn latest_follows_the_newest_key() {
        for theta in [0.5, 0.99, 1.2] {
            for (keys_at_start, keys) in SPACES {
                let mut counts = counts(&format!("latest:{theta}"), keys_at_start, keys);
                counts.reverse();
                let what = format!("theta {theta}, {keys_at_start} to {keys} keys");
                assert_follows(&counts, &zipfian(counts.len(), theta), &what);
            }
        }
    }

    #[test]
    fn hot_keys_get_their_share_and_are_equally_frequent() {
        for (hot_share, operations, keys_at_start, keys) in [
            (0.2, 0.8, 1_000, 1_000),
            (0.2, 0.8, 500, 1_700),
            (0.01, 0.9, 1_000, 1_000),
            (0.5, 0.1, 10, 10),
            (0.0, 0.3, 100, 100),
        ] {
            let counts =
                by_rank(&counts(&format!("hotspot:{hot_share},{operations}"), keys_at_start, keys), keys_at_start);
            let hot_keys = usize::try_from(Share::new(hot_share).unwrap().of(keys).max(1)).unwrap();
            let mut probabilities = vec![operations / hot_keys as f64; hot_keys];
            probabilities.resize(counts.len(), (1.0 - operations) / (counts.len() - hot_keys) as f64);
            let what = format!("{hot_share} of {keys} keys, {operations} of operations");
            assert_follows(&counts, &probabilities, &what);
            let hot: u64 = counts[..hot_keys].iter().sum();
            assert_follows(&[hot, DRAWS as u64 - hot], &[operations, 1.0 - operations], &what);
        }
    }

    #[test]
    fn all_operations_are_hot_if_all_keys_are() {
        for (choice, keys) in [("hotspot:1,0.5", 10), ("hotspot", 1)] {
            let counts = counts(choice, keys, keys);
            assert_eq!(counts.iter().sum::<u64>(), DRAWS as u64);
            assert!(counts.iter().all(|count| *count > 0), "{choice}: {counts:?}");
        }
    }

    #[test]
    fn one_key_is_always_drawn() {
        for choice in ["uniform", "zipfian", "zipfian:1", "latest", "hotspot"] {
            assert_eq!(counts(choice, 1, 1), [DRAWS as u64], "{choice}");
        }
    }

    #[test]
    fn the_most_keys_can_be_drawn_from() {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
        for choice in ["uniform", "zipfian", "zipfian:0.5", "zipfian:1", "zipfian:2", "zipfian:5", "latest", "hotspot"]
        {
            let keys = crate::workload::KEYS_MAX;
            let mut chooser = KeyChooser::new(choice.parse().unwrap(), keys - 1);
            for _ in 0..1_000 {
                assert!(chooser.choose(&mut random, keys) < keys, "{choice}");
            }
        }
    }
}
