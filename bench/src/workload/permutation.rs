//! Bijections that need no memory: they scatter numbers, and no two numbers meet.
//!
//! YCSB scatters the ranks of its zipfian distribution by a hash modulo the number of keys. Then ranks share keys, and with as many
//! ranks as keys about 1/e of the keys have none, so that the result is not the distribution it is named for. A bijection keeps every
//! probability as it is.

/// Rounds of multiplication and shift. One more or less makes little difference to the time: the walk's branches take most of it.
const ROUNDS: usize = 3;

/// Scatters the ranks of keys by popularity over the numbers of keys.
const RANK_KEY: u64 = 0x6C62_272E_07BB_0142;

/// Scatters 64 bits: the finalizer of SplitMix64 (Steele, Lea, Flood 2014), a bijection.
pub(super) const fn mix64(number: u64) -> u64 {
    let mut number = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

/// A bijection on the numbers below a power of two.
///
/// Each step has an inverse modulo that power: the addition, the multiplication by an odd number, and the exclusive-or with the
/// number's own upper half. So has their sequence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scramble {
    mask: u64,
    shift: u32,
    offset: u64,
    multipliers: [u64; ROUNDS],
}

impl Scramble {
    /// The bijection on numbers of `bits` bits, at most 64, that `key` selects.
    pub(super) const fn new(bits: u32, key: u64) -> Self {
        assert!(bits <= u64::BITS, "numbers have at most 64 bits");
        let mask = if bits == 0 { 0 } else { u64::MAX >> (u64::BITS - bits) };
        // A shift of zero would make `x ^ (x >> shift)` zero.
        let shift = if bits < 2 { 1 } else { bits.div_ceil(2) };
        let mut multipliers = [0; ROUNDS];
        let mut state = key;
        let mut round = 0;
        while round < ROUNDS {
            state = mix64(state);
            multipliers[round] = state | 1;
            round += 1;
        }
        Self { mask, shift, offset: mix64(state), multipliers }
    }

    /// Where `number` goes. It has to be below 2^bits.
    #[inline]
    pub(super) const fn apply(&self, number: u64) -> u64 {
        debug_assert!(number <= self.mask, "the number is in the domain");
        let mut number = number.wrapping_add(self.offset) & self.mask;
        let mut round = 0;
        while round < ROUNDS {
            number = number.wrapping_mul(self.multipliers[round]) & self.mask;
            number ^= number >> self.shift;
            round += 1;
        }
        number
    }
}

/// For any number of keys, a bijection from their ranks by popularity to their numbers.
///
/// It walks a [`Scramble`] of at least as many numbers until it meets one that is a key's (cycle walking: Black, Rogaway 2002). While
/// the power of two stays, one more key changes the key of at most one older rank, so that the hot keys stay hot while keys are added,
/// and a new key may get any rank. The power is chosen with room for the keys to double; once they more than double, and then at each
/// further doubling, all ranks are scattered anew.
///
/// All generators of one key space agree, and all runs that start with as many keys do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spread {
    /// Invariant: at most `2^bits` keys are spread.
    bits: u32,
    scramble: Scramble,
}

impl Spread {
    /// The bijection for a key space that starts with `keys_at_start` keys.
    pub(super) fn new(keys_at_start: u64) -> Self {
        assert!(keys_at_start > 0, "there is a key");
        let bits = (2 * keys_at_start - 1).ilog2() + 1;
        Self { bits, scramble: Scramble::new(bits, RANK_KEY) }
    }

    /// The number of the key that has `rank`, from 0 for the most popular, among `keys` keys.
    #[inline]
    pub(super) fn number(&mut self, rank: u64, keys: u64) -> u64 {
        debug_assert!(rank < keys, "rank {rank} is one of {keys}");
        while keys - 1 > self.scramble.mask {
            self.bits += 1;
            self.scramble = Scramble::new(self.bits, RANK_KEY);
        }
        // The walk ends: it runs along a cycle of the bijection, and `rank`, which is below `keys`, lies on that cycle.
        let mut number = self.scramble.apply(rank);
        while number >= keys {
            number = self.scramble.apply(number);
        }
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::statistics::assert_follows;

    fn assert_bijective(numbers: impl Iterator<Item = u64>, size: u64, what: &str) {
        let mut is_met = vec![false; usize::try_from(size).unwrap()];
        for number in numbers {
            assert!(number < size, "{what}: {number} is outside");
            assert!(!std::mem::replace(&mut is_met[usize::try_from(number).unwrap()], true), "{what}: {number} twice");
        }
        assert!(is_met.iter().all(|is_met| *is_met), "{what}: not all are met");
    }

    #[test]
    fn a_scramble_is_a_bijection_for_every_number_of_bits() {
        for bits in 0..=18 {
            let scramble = Scramble::new(bits, 7);
            assert_bijective((0..1 << bits).map(|number| scramble.apply(number)), 1 << bits, &format!("{bits} bits"));
        }
    }

    #[test]
    fn ranks_are_spread_by_a_bijection_for_every_number_of_keys() {
        for keys in (1..=300_u64).chain([1_000, 4_095, 4_096, 4_097, 65_537, 100_000]) {
            // Also for spaces that began smaller, by less than a doubling and by far more.
            for keys_at_start in [keys, keys.div_ceil(2), 1] {
                let mut spread = Spread::new(keys_at_start);
                let what = format!("{keys} keys, {keys_at_start} at the start");
                assert_bijective((0..keys).map(|rank| spread.number(rank, keys)), keys, &what);
            }
        }
    }

    #[test]
    fn a_new_key_moves_at_most_one_rank() {
        let mut spread = Spread::new(500);
        for keys in 500..1_000 {
            let moved: Vec<u64> =
                (0..keys).filter(|rank| spread.number(*rank, keys) != spread.number(*rank, keys + 1)).collect();
            assert!(moved.len() <= 1, "{keys} keys and one more: ranks {moved:?} moved");
            for rank in moved {
                assert_eq!(spread.number(rank, keys + 1), keys, "a rank moves only to the new key");
            }
        }
    }

    #[test]
    fn the_popular_keys_do_not_stand_together() {
        for keys in [100_000_u64, 1_000_000] {
            let mut spread = Spread::new(keys);
            let mut by_hundredth = [0_u64; 100];
            for rank in 0..10_000 {
                by_hundredth[usize::try_from(spread.number(rank, keys) * 100 / keys).unwrap()] += 1;
            }
            assert_follows(&by_hundredth, &[0.01; 100], "the most popular keys over the numbers");
        }
    }
}
