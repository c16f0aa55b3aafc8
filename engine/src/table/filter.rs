//! A Bloom filter in cache lines: one line of 512 bits a key, seven bits of it (Putze, Sanders, Singler 2007).
//!
//! It answers whether a table may have a key, at about ten bits a key and one cache miss a question; some 1% of absent keys pass.

use crate::row::Keyspace;

const LINE_LENGTH: usize = 64;
const BITS_PER_KEY: usize = 10;
const PROBES: u32 = 7;

/// The hash of a key that filters and hash indexes go by: XXH3, 64 bits, seeded with the keyspace. Part of the format.
pub(crate) fn key_hash(keyspace: Keyspace, key: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(key, keyspace as u64)
}

/// Builds the filter of the keys with these hashes.
pub(crate) fn build_filter(hashes: &[u64]) -> Vec<u8> {
    let lines = (hashes.len() * BITS_PER_KEY).div_ceil(LINE_LENGTH * 8).max(1);
    let mut filter = vec![0; lines * LINE_LENGTH];
    for &hash in hashes {
        let line = line_of(hash, lines);
        for bit in bits_of(hash) {
            filter[line + bit / 8] |= 1 << (bit % 8);
        }
    }
    filter
}

/// Whether a key with this hash may be in the table.
pub(crate) fn may_contain(filter: &[u8], hash: u64) -> bool {
    let lines = filter.len() / LINE_LENGTH;
    if lines == 0 {
        return true;
    }
    let line = line_of(hash, lines);
    bits_of(hash).all(|bit| filter[line + bit / 8] & (1 << (bit % 8)) != 0)
}

fn line_of(hash: u64, lines: usize) -> usize {
    // The high half, scaled (Lemire 2016).
    let scaled = (u128::from(hash) * lines as u128) >> 64;
    usize::try_from(scaled).expect("below the number of lines") * LINE_LENGTH
}

fn bits_of(hash: u64) -> impl Iterator<Item = usize> {
    let mut state = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..PROBES).map(move |_| {
        let bit = usize::try_from(state & 511).expect("nine bits");
        state >>= 9;
        bit
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contains_every_key_and_few_others() {
        let hash = |number: u32| key_hash(Keyspace::Data, &number.to_le_bytes());
        let hashes: Vec<_> = (0..10_000).map(hash).collect();
        let filter = build_filter(&hashes);
        assert!(hashes.iter().all(|&hash| may_contain(&filter, hash)));
        let passed = (10_000..110_000).filter(|&number| may_contain(&filter, hash(number))).count();
        assert!(passed < 2_500, "{passed} of 100,000 absent keys passed");
    }
}
