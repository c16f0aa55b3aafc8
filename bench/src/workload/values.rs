//! The bytes of values.

use std::fmt;
use std::sync::Arc;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, SeedableRng};

use super::distribution::Share;
use super::error::WorkloadError;
use super::permutation::mix64;

/// The longest values, bytes: 64 MiB.
pub const VALUE_BYTES_MAX: usize = 64 << 20;
/// The length of values if nothing else is said, bytes: about that of YCSB's records, ten fields of 100.
pub const VALUE_BYTES_DEFAULT: usize = 1_000;

/// Places in the random bytes that a value can begin at. Far more than compressors look back within a block.
const STARTS: usize = 1 << 20;
const SEED: u64 = 0x1319_8A2E_0370_7344;

/// Makes values of one length: random bytes, and then, for what shall be compressible, zeros.
///
/// A value follows from its key and its version, and can be made again to compare it. It begins with a hash of the two, so that other
/// versions and other keys have other values: with eight random bytes or more, two versions of a key are never equal. The rest is
/// copied, from a place that follows from the hash, out of random bytes that were drawn once.
///
/// A clone shares the random bytes.
#[derive(Clone)]
pub struct ValueFormat {
    value_bytes: usize,
    random_bytes: usize,
    random: Arc<[u8]>,
}

impl ValueFormat {
    /// Values of `value_bytes` bytes, of which the share `compressible` is zeros.
    ///
    /// # Errors
    /// If those are more than [`VALUE_BYTES_MAX`].
    pub fn new(value_bytes: usize, compressible: Share) -> Result<Self, WorkloadError> {
        if value_bytes > VALUE_BYTES_MAX {
            return Err(WorkloadError::ValueBytes(value_bytes));
        }
        #[expect(clippy::cast_possible_truncation, reason = "a share of the length is not more than the length")]
        let zeros = compressible.of(value_bytes as u64) as usize;
        let random_bytes = value_bytes - zeros;
        let mut random = vec![0; STARTS + random_bytes];
        Xoshiro256PlusPlus::seed_from_u64(SEED).fill_bytes(&mut random);
        Ok(Self { value_bytes, random_bytes, random: random.into() })
    }

    /// The length of a value, bytes.
    #[must_use]
    pub fn value_bytes(&self) -> usize {
        self.value_bytes
    }

    /// Appends the value of key `number` in `version` to `bytes`. Any number serves as a version, such as a random one.
    pub fn write_value(&self, number: u64, version: u64, bytes: &mut Vec<u8>) {
        let hash = mix64(number ^ mix64(version));
        #[expect(clippy::cast_possible_truncation, reason = "the remainder is below the number of starts")]
        let start = (hash % STARTS as u64) as usize;
        let hash = hash.to_le_bytes();
        let hash = &hash[..hash.len().min(self.random_bytes)];
        let end = bytes.len() + self.value_bytes;
        bytes.extend_from_slice(hash);
        bytes.extend_from_slice(&self.random[start..start + self.random_bytes - hash.len()]);
        bytes.resize(end, 0);
    }
}

impl fmt::Debug for ValueFormat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ValueFormat")
            .field("value_bytes", &self.value_bytes)
            .field("random_bytes", &self.random_bytes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::workload::statistics::assert_follows;

    fn value(format: &ValueFormat, number: u64, version: u64) -> Vec<u8> {
        let mut value = b"before".to_vec();
        format.write_value(number, version, &mut value);
        assert!(value.starts_with(b"before"), "values are appended");
        value.split_off(b"before".len())
    }

    #[test]
    fn values_have_the_length_and_the_zeros_that_were_asked_for() {
        for (value_bytes, compressible, zeros) in
            [(0, 0.5, 0), (1, 0.0, 0), (100, 0.25, 25), (1_000, 0.0, 0), (1_000, 0.5, 500), (3_000_000, 1.0, 3_000_000)]
        {
            let format = ValueFormat::new(value_bytes, Share::new(compressible).unwrap()).unwrap();
            assert_eq!(format.value_bytes(), value_bytes);
            let value = value(&format, 5, 6);
            assert_eq!(value.len(), value_bytes);
            let (random, rest) = value.split_at(value_bytes - zeros);
            assert!(rest.iter().all(|byte| *byte == 0), "the rest is zeros");
            assert!(
                random.iter().filter(|byte| **byte == 0).count() <= 1 + random.len() / 64,
                "and not more than the rest"
            );
        }
    }

    #[test]
    fn values_follow_from_key_and_version() {
        let format = ValueFormat::new(64, Share::NONE).unwrap();
        let again = ValueFormat::new(64, Share::NONE).unwrap();
        let mut values = HashSet::new();
        for number in 0..30 {
            for version in 0..30 {
                let value = value(&format, number, version);
                assert_eq!(value, self::value(&again, number, version), "the same value can be made again");
                values.insert(value);
            }
        }
        assert_eq!(values.len(), 900, "other keys and versions have other values");
    }

    #[test]
    fn the_bytes_of_values_are_equally_frequent() {
        let mut counts = [0; 256];
        // Values that are much shorter than what they are copied from, and one that is longer.
        for (value_bytes, values) in [(8, 20_000), (5_000_000, 1)] {
            let format = ValueFormat::new(value_bytes, Share::NONE).unwrap();
            for number in 0..values {
                value(&format, number, 1).iter().for_each(|byte| counts[usize::from(*byte)] += 1);
            }
            assert_follows(&counts, &[1.0 / 256.0; 256], "bytes");
        }
    }

    #[test]
    fn values_that_are_too_long_are_refused() {
        let error = ValueFormat::new(VALUE_BYTES_MAX + 1, Share::NONE).expect_err("too long");
        assert_eq!(error.to_string(), "values of 67108865 bytes are too long; give them at most 67108864 bytes");
    }
}
