//! The bytes of keys.

use super::error::WorkloadError;
use super::permutation::Scramble;

/// Bits of a key's number.
const NUMBER_BITS: u32 = 48;
/// The most keys that a workload has: 2^48. So every number fits the shortest key, and is exact as a `f64`.
pub const KEYS_MAX: u64 = 1 << NUMBER_BITS;
/// The shortest keys, bytes: as many digits as the largest number has.
pub const KEY_BYTES_MIN: usize = NUMBER_BITS.div_ceil(DIGIT_BITS) as usize;
/// The longest keys, bytes: 1 MiB, more than any store should be asked for.
pub const KEY_BYTES_MAX: usize = 1 << 20;
/// The length of keys if nothing else is said, bytes.
pub const KEY_BYTES_DEFAULT: usize = 16;

/// Bits of a digit.
const DIGIT_BITS: u32 = 6;
/// The digits, in the order of their bytes. None of them has a meaning in URLs, in CSV or in the hash tags of Redis.
const DIGITS: &[u8; 1 << DIGIT_BITS] = b"-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";
/// What follows the digits of a longer key.
const PADDING: u8 = b'.';

/// Changing it changes all keys: a store that was filled before would seem empty.
const SCRAMBLE: Scramble = Scramble::new(NUMBER_BITS, 0x243F_6A88_85A3_08D3);

const _: () = assert!(
    NUMBER_BITS.is_multiple_of(DIGIT_BITS),
    "no digit is used in part, so that all first digits are as frequent"
);

/// Turns the numbers of keys into bytes of one length.
///
/// A bijection scatters the numbers, so that neighbours in the order of keys were not inserted one after the other and any ranges and
/// slots are hit evenly. Then come eight digits of base 64, in ASCII, and padding up to the length. Different numbers give different
/// keys, and a number gives the same key in all runs.
///
/// ```
/// use corelode_bench::workload::KeyFormat;
///
/// let mut key = Vec::new();
/// KeyFormat::new(16)?.write_key(7, &mut key);
/// assert_eq!(key, b"E0NXMp1U........");
/// # Ok::<(), corelode_bench::workload::WorkloadError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyFormat {
    /// Invariant: from [`KEY_BYTES_MIN`] to [`KEY_BYTES_MAX`].
    key_bytes: usize,
}

impl KeyFormat {
    /// Keys of `key_bytes` bytes.
    ///
    /// # Errors
    /// If those are fewer than [`KEY_BYTES_MIN`] or more than [`KEY_BYTES_MAX`].
    pub fn new(key_bytes: usize) -> Result<Self, WorkloadError> {
        let is_possible = (KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&key_bytes);
        if is_possible { Ok(Self { key_bytes }) } else { Err(WorkloadError::KeyBytes(key_bytes)) }
    }

    /// The length of a key, bytes.
    #[must_use]
    pub fn key_bytes(self) -> usize {
        self.key_bytes
    }

    /// Appends the key `number` to `bytes`.
    ///
    /// # Panics
    /// If `number` is not below [`KEYS_MAX`].
    pub fn write_key(self, number: u64, bytes: &mut Vec<u8>) {
        assert!(number < KEYS_MAX, "key {number} is not below {KEYS_MAX}");
        let mut rest = SCRAMBLE.apply(number);
        let mut digits = [0; KEY_BYTES_MIN];
        for digit in digits.iter_mut().rev() {
            #[expect(clippy::cast_possible_truncation, reason = "the remainder is below 64")]
            let value = (rest % DIGITS.len() as u64) as usize;
            *digit = DIGITS[value];
            rest /= DIGITS.len() as u64;
        }
        let end = bytes.len() + self.key_bytes;
        bytes.extend_from_slice(&digits);
        bytes.resize(end, PADDING);
    }
}

/// Keys of [`KEY_BYTES_DEFAULT`] bytes.
impl Default for KeyFormat {
    fn default() -> Self {
        Self { key_bytes: KEY_BYTES_DEFAULT }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::workload::statistics::assert_follows;

    fn key(format: KeyFormat, number: u64) -> Vec<u8> {
        let mut key = Vec::new();
        format.write_key(number, &mut key);
        key
    }

    #[test]
    fn keys_are_different_and_of_one_length() {
        for key_bytes in [KEY_BYTES_MIN, 9, 16, 100] {
            let format = KeyFormat::new(key_bytes).unwrap();
            let numbers =
                (0..50_000).chain(KEYS_MAX - 50_000..KEYS_MAX).chain((0..48).map(|bit| (1 << bit) | (1 << 47)));
            let numbers: HashSet<u64> = numbers.collect();
            let keys: HashSet<Vec<u8>> = numbers.iter().map(|number| key(format, *number)).collect();
            assert_eq!(keys.len(), numbers.len(), "no two numbers share a key");
            assert!(keys.iter().all(|key| key.len() == key_bytes && key.iter().all(u8::is_ascii_graphic)));
        }
    }

    #[test]
    fn keys_stay_the_same_from_version_to_version() {
        let keys: Vec<String> = [0, 1, 2, 1_000_000, KEYS_MAX - 1]
            .map(|number| String::from_utf8(key(KeyFormat::new(10).unwrap(), number)).unwrap())
            .to_vec();
        assert_eq!(keys, ["v43fjtbx..", "gbxQakkk..", "kbWPXCPD..", "J4s5QMAD..", "pX5aV76L.."]);
    }

    #[test]
    fn a_key_is_appended() {
        let mut bytes = b"before ".to_vec();
        KeyFormat::default().write_key(1, &mut bytes);
        assert_eq!(bytes, [b"before ".as_slice(), &key(KeyFormat::default(), 1)].concat());
    }

    #[test]
    fn ranges_of_keys_are_hit_evenly() {
        let mut by_first = [0_u64; 64];
        let mut by_second = [0_u64; 64];
        let mut rises = [0_u64; 2];
        let mut before = key(KeyFormat::default(), 0);
        for number in 1..=200_000 {
            let key = key(KeyFormat::default(), number);
            let digit = |at: usize| DIGITS.binary_search(&key[at]).expect("digits are in the order of their bytes");
            by_first[digit(0)] += 1;
            by_second[digit(1)] += 1;
            rises[usize::from(before < key)] += 1;
            before = key;
        }
        assert_follows(&by_first, &[1.0 / 64.0; 64], "the first digit");
        assert_follows(&by_second, &[1.0 / 64.0; 64], "the second digit");
        assert_follows(&rises, &[0.5; 2], "whether a key is after the one that was inserted before it");
    }

    #[test]
    fn keys_longer_than_any_store_takes_are_refused() {
        let error = KeyFormat::new(KEY_BYTES_MAX + 1).expect_err("too long");
        assert_eq!(error.to_string(), "keys of 1048577 bytes are too long; give them at most 1048576 bytes");
    }

    #[test]
    fn short_keys_are_refused_with_the_length_that_they_need() {
        let error = KeyFormat::new(KEY_BYTES_MIN - 1).expect_err("too short");
        assert_eq!(error.to_string(), "keys of 7 bytes cannot tell all numbers apart; give them 8 bytes or more");
    }
}
