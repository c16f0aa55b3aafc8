//! The keys and values that all engines get, and what they must answer.

use corelode_bench::workload::{Share, ValueFormat};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use crate::engine::{Pair, Result};
use crate::settings::Settings;

/// The length of keys.
pub(crate) const KEY_BYTES: usize = 16;
const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// The key `number`: sixteen hexadecimal digits, scattered evenly by a bijection, so that different numbers give different keys.
pub(crate) fn key_of(number: u64) -> [u8; KEY_BYTES] {
    let scattered = scatter(number);
    std::array::from_fn(|place| DIGITS[(scattered >> (60 - 4 * place) & 0xf) as usize])
}

/// The finalizer of SplitMix64 (Steele et al. 2014): a bijection of 64 bits.
fn scatter(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Rows that a scan copied out, one after the other.
#[derive(Default)]
pub(crate) struct Rows {
    bytes: Vec<u8>,
    /// Where each row's key and each row's value end.
    ends: Vec<(usize, usize)>,
}

impl Rows {
    /// Adds a row.
    pub(crate) fn push(&mut self, key: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.ends.push((key_end, self.bytes.len()));
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Forgets all rows.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|ends| ends.1));
        starts.zip(&self.ends).map(|(start, &(key_end, end))| (&self.bytes[start..key_end], &self.bytes[key_end..end]))
    }
}

/// What was put, in which version: the model that every answer is compared with.
pub(crate) struct Load {
    values: ValueFormat,
    /// The order in which keys are put first.
    order: Vec<u32>,
    /// How many of `order` were put.
    filled: usize,
    /// By number: how often the key was put again.
    versions: Vec<u32>,
    /// The numbers in the order of keys.
    sorted: Vec<u32>,
    seed: u64,
}

impl Load {
    /// The load of a run: the same for every engine.
    pub(crate) fn new(settings: &Settings) -> Result<Self> {
        let numbers = 0..u32::try_from(settings.keys)?;
        let mut order: Vec<u32> = numbers.clone().collect();
        order.shuffle(&mut StdRng::seed_from_u64(settings.seed));
        let mut sorted: Vec<u32> = numbers.collect();
        sorted.sort_unstable_by_key(|&number| scatter(u64::from(number)));
        Ok(Self {
            values: ValueFormat::new(settings.value_bytes, Share::new(settings.compressible)?)?,
            filled: 0,
            versions: vec![0; order.len()],
            order,
            sorted,
            seed: settings.seed,
        })
    }

    /// Random numbers for one purpose, the same for every engine.
    pub(crate) fn random(&self, purpose: u64) -> StdRng {
        StdRng::seed_from_u64(self.seed ^ scatter(purpose))
    }

    /// The next key of the fill.
    pub(crate) fn next_pair(&mut self) -> Pair {
        let number = self.order[self.filled];
        self.filled += 1;
        let mut value = Vec::new();
        self.write_value(number, &mut value);
        (key_of(u64::from(number)), value)
    }

    /// Replaces `value` by a key's next value.
    pub(crate) fn update(&mut self, number: u64, value: &mut Vec<u8>) {
        let number = u32::try_from(number).expect("a number of a key");
        self.versions[number as usize] += 1;
        self.write_value(number, value);
    }

    fn write_value(&self, number: u32, value: &mut Vec<u8>) {
        value.clear();
        self.values.write_value(u64::from(number), u64::from(self.versions[number as usize]), value);
    }

    /// The number of a key that was put, evenly.
    pub(crate) fn draw(&self, random: &mut StdRng) -> u64 {
        u64::from(self.order[random.random_range(0..self.filled)])
    }

    /// The number of a key that was never put; such keys lie evenly between the others.
    pub(crate) fn draw_absent(&self, random: &mut StdRng) -> u64 {
        let keys = self.order.len() as u64;
        random.random_range(keys..keys * 2)
    }

    /// The place of a scan's first key in the order of keys, evenly.
    pub(crate) fn draw_place(&self, random: &mut StdRng) -> usize {
        assert_eq!(self.filled, self.order.len(), "a scan's rows are known once all keys are there");
        random.random_range(0..self.sorted.len())
    }

    /// The key at a place.
    pub(crate) fn key_at(&self, place: usize) -> [u8; KEY_BYTES] {
        key_of(u64::from(self.sorted[place]))
    }

    /// The numbers of all keys, in their order.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.sorted.iter().map(|&number| u64::from(number))
    }

    /// Compares what was read with what was put.
    pub(crate) fn check_value(&self, number: u64, found: bool, value: &[u8], expected: &mut Vec<u8>) -> Result<()> {
        let name = || String::from_utf8_lossy(&key_of(number)).into_owned();
        if !found {
            return Err(format!("key {} is not found, but was put", name()).into());
        }
        self.write_value(u32::try_from(number)?, expected);
        if value != expected {
            return Err(format!("key {} has the value {value:02x?}, but {expected:02x?} was put", name()).into());
        }
        Ok(())
    }

    /// Compares the rows of a scan with those that must be there.
    pub(crate) fn check_rows(&self, place: usize, row_count: usize, rows: &Rows, expected: &mut Vec<u8>) -> Result<()> {
        let numbers = &self.sorted[place..self.sorted.len().min(place + row_count)];
        if rows.len() != numbers.len() {
            return Err(format!("a scan found {} rows, but there are {}", rows.len(), numbers.len()).into());
        }
        for (&number, (key, value)) in numbers.iter().zip(rows.iter()) {
            let number = u64::from(number);
            if key != key_of(number) {
                let (found, wanted) = (key.to_vec(), key_of(number).to_vec());
                return Err(format!("a scan found {found:02x?} in place of {wanted:02x?}").into());
            }
            self.check_value(number, true, value, expected)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        settings: Settings,
    }

    fn load(keys: &str) -> Load {
        Load::new(&Line::parse_from(["test", "--keys", keys]).settings).unwrap()
    }

    #[test]
    fn keys_differ_and_sort_as_their_numbers_say() {
        let load = load("1000");
        let keys: Vec<_> = load.numbers().map(key_of).collect();
        assert!(keys.is_sorted_by(|one, next| one < next));
        assert_eq!(keys.len(), 1000);
        assert_eq!(keys[3], load.key_at(3));
    }

    #[test]
    fn two_loads_of_a_seed_are_equal_and_put_every_key_once() {
        let (mut one, mut other) = (load("500"), load("500"));
        let pairs: Vec<_> = (0..500).map(|_| one.next_pair()).collect();
        assert!(pairs.iter().all(|pair| *pair == other.next_pair()));
        assert!(!pairs.is_sorted(), "they are put in a random order");
        let keys: std::collections::BTreeSet<_> = pairs.iter().map(|pair| pair.0).collect();
        assert_eq!(keys.len(), 500);
    }

    #[test]
    fn wrong_answers_are_noticed() {
        let mut load = load("10");
        let (mut old, mut new, mut scratch) = (Vec::new(), Vec::new(), Vec::new());
        load.write_value(3, &mut old);
        load.update(3, &mut new);
        assert!(load.check_value(3, true, &new, &mut scratch).is_ok());
        assert!(load.check_value(3, true, &old, &mut scratch).is_err(), "an old version");
        assert!(load.check_value(3, false, &new, &mut scratch).is_err(), "not found");
        assert!(load.check_value(4, true, &new, &mut scratch).is_err(), "another key's");
    }

    #[test]
    fn scans_that_miss_a_row_or_invent_one_are_noticed() {
        let load = load("10");
        let rows_at = |places: &[usize]| {
            let mut rows = Rows::default();
            for &place in places {
                let mut value = Vec::new();
                load.write_value(load.sorted[place], &mut value);
                rows.push(&load.key_at(place), &value);
            }
            rows
        };
        let is_right =
            |place, count, places: &[usize]| load.check_rows(place, count, &rows_at(places), &mut Vec::new()).is_ok();
        assert!(is_right(2, 3, &[2, 3, 4]));
        assert!(is_right(8, 3, &[8, 9]), "the end of the keys");
        assert!(!is_right(2, 3, &[2, 3]), "a row is missing at the end");
        assert!(!is_right(2, 3, &[2, 4, 5]), "a row is missing in between");
        assert!(!is_right(2, 3, &[2, 2, 3]), "a row comes twice");
        assert!(!is_right(2, 3, &[2, 3, 4, 5]), "there are too many");
    }
}
