//! A scan with a limit over all partitions: how many rows each is asked for, and which must be asked again.
//!
//! A hash spreads keys over partitions, so that of the `limit` smallest keys a partition holds about `limit` / partitions. Asking each for all
//! `limit` would throw most rows away; each is asked for few, and the rare one that holds more is asked again.
//!
//! Bounded by what its caller hands in: the keys of one page of each partition, or of several for one that was asked again.

use std::ops::Range;

/// How many rows to ask each of `partitions` for first, so that as a rule none must be asked again.
///
/// Of the `limit` smallest rows a partition holds a binomially distributed number: the mean is `limit` / `partitions`, the variance is smaller.
/// Two standard deviations and one row above the mean leave less than one partition in two hundred that holds more. A further row from each
/// would cost more than the few that are asked again.
///
/// ```
/// use corelode_net::first_page_rows;
///
/// assert_eq!(first_page_rows(100, 64), 6);
/// assert_eq!(first_page_rows(100, 4), 36);
/// assert_eq!(first_page_rows(1, 64), 1);
/// ```
#[must_use]
pub fn first_page_rows(limit: u64, partitions: usize) -> u64 {
    let partitions = partitions.max(1) as u64;
    let mean = limit.div_ceil(partitions);
    let square_of_two_deviations = limit.saturating_mul(4).div_ceil(partitions);
    let two_deviations = match square_of_two_deviations {
        0 => 0,
        square => (square - 1).isqrt() + 1,
    };
    mean.saturating_add(two_deviations + 1).min(limit)
}

/// Which of the rows that came are among the smallest, and which partitions may hold more of those.
///
/// Pages of a partition are taken in ascending order; partitions in any.
#[derive(Clone, Default, Debug)]
pub struct ScanMerge {
    limit: usize,
    /// The keys of all rows, and those that the rests begin with.
    bytes: Vec<u8>,
    rows: Vec<KeyOf>,
    /// By partition: the key before which nothing is left to be read, `None` if nothing is left at all.
    rests: Vec<Option<Range<usize>>>,
}

#[derive(Clone, Debug)]
struct KeyOf {
    partition: usize,
    key: Range<usize>,
}

impl ScanMerge {
    /// Begins anew, with the memory of the scan before: of the rows of `partitions` the `limit` smallest are wanted. Each partition has a rest, from
    /// the smallest key of all on.
    pub fn begin(&mut self, limit: usize, partitions: usize) {
        self.limit = limit;
        self.bytes.clear();
        self.rows.clear();
        self.rests.clear();
        self.rests.resize(partitions, Some(0..0));
    }

    /// Takes in the next page of a partition: its keys, and where the next one goes on unless this was the last.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn take_page<'a>(&mut self, partition: usize, keys: impl Iterator<Item = &'a [u8]>, resume_key: Option<&[u8]>) {
        for key in keys {
            let key = self.keep(key);
            self.rows.push(KeyOf { partition, key });
        }
        self.rests[partition] = resume_key.map(|key| self.keep(key));
    }

    fn keep(&mut self, key: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        start..self.bytes.len()
    }

    /// Forgets what came of a partition, which is read again from its first page on.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn forget(&mut self, partition: usize) {
        self.rows.retain(|row| row.partition != partition);
        self.rests[partition] = Some(0..0);
    }

    /// Adds to `unsettled` the partitions whose rest may hold one of the smallest rows. With none the smallest rows have all come, or all rows.
    pub fn find_unsettled(&mut self, unsettled: &mut Vec<usize>) {
        let Self { limit, bytes, rows, rests } = self;
        let Some(last) = limit.checked_sub(1) else { return };
        let key_of = |range: &Range<usize>| &bytes[range.clone()];
        let greatest_wanted = (rows.len() > last).then(|| {
            let (_, greatest, _) = rows.select_nth_unstable_by(last, |a, b| key_of(&a.key).cmp(key_of(&b.key)));
            key_of(&greatest.key)
        });
        let may_hold_wanted = |rest: &Range<usize>| greatest_wanted.is_none_or(|greatest| key_of(rest) <= greatest);
        let rests = rests.iter().enumerate();
        unsettled.extend(rests.filter(|(_, rest)| rest.as_ref().is_some_and(may_hold_wanted)).map(|(index, _)| index));
    }

    /// The keys that came and are among the smallest, in order, each with its partition.
    #[must_use]
    pub fn smallest(&self) -> Vec<(&[u8], usize)> {
        let mut keys: Vec<_> = self.rows.iter().map(|row| (&self.bytes[row.key.clone()], row.partition)).collect();
        keys.sort_unstable();
        keys.truncate(self.limit);
        keys
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use proptest::{collection, sample};

    use super::*;

    /// Reads as a server would: from a key on, at most so many.
    fn page(keys: &BTreeSet<Vec<u8>>, start: &[u8], row_limit: usize) -> (Vec<Vec<u8>>, Option<Vec<u8>>) {
        let mut rest = keys.range(start.to_vec()..).cloned();
        let rows = rest.by_ref().take(row_limit).collect();
        (rows, rest.next())
    }

    #[test]
    fn few_rows_are_asked_for_first_and_never_more_than_are_wanted() {
        for limit in 0..2_000 {
            for partitions in [1, 2, 3, 4, 64, 1_000] {
                let rows = first_page_rows(limit, partitions);
                assert!(rows <= limit && rows * partitions as u64 >= limit, "{limit} of {partitions}: {rows}");
            }
        }
        assert_eq!(first_page_rows(u64::MAX, 1), u64::MAX);
        assert_eq!(first_page_rows(0, 0), 0);
        assert_eq!([1, 10, 50, 100, 1_000].map(|limit| first_page_rows(limit, 64)), [1, 3, 4, 6, 25]);
    }

    proptest! {
        /// However keys lie over partitions, however short pages are, and whichever partitions are read anew meanwhile.
        #[test]
        fn the_smallest_rows_are_those_of_a_set_with_all_keys(
            keys in collection::btree_map(collection::vec(0_u8..4, 0..4), 0_usize..5, 0..80),
            limit in 0_usize..90,
            row_limits in collection::vec(0_usize..6, 1..8),
            anew in collection::vec(any::<sample::Index>(), 0..4),
        ) {
            let mut of_partition = vec![BTreeSet::new(); 5];
            for (key, partition) in &keys {
                of_partition[*partition].insert(key.clone());
            }
            let mut merge = ScanMerge::default();
            merge.begin(7, 3);
            merge.take_page(2, [&b"of the scan before"[..]].into_iter(), None);
            merge.begin(limit, 5);
            let mut starts = vec![Vec::new(); 5];
            let (mut row_limits, mut anew) = (row_limits.iter().cycle(), anew.iter());
            // Pages that brought something: a partition is asked again only while it may hold what is wanted.
            for round in 0.. {
                let mut unsettled = Vec::new();
                merge.find_unsettled(&mut unsettled);
                if unsettled.is_empty() {
                    break;
                }
                prop_assert!(round < 1_000, "it does not end");
                for partition in unsettled {
                    let row_limit = *row_limits.next().expect("a cycle") + usize::from(round > 10);
                    let (rows, resume_key) = page(&of_partition[partition], &starts[partition], row_limit);
                    merge.take_page(partition, rows.iter().map(Vec::as_slice), resume_key.as_deref());
                    starts[partition] = resume_key.unwrap_or_default();
                }
                if let Some(index) = anew.next() {
                    let partition = index.index(5);
                    merge.forget(partition);
                    starts[partition].clear();
                }
            }
            let expected: Vec<_> = keys.iter().take(limit).map(|(key, partition)| (key.as_slice(), *partition)).collect();
            prop_assert_eq!(merge.smallest(), expected);
        }

        /// No partition is asked again whose rest lies behind what is wanted.
        #[test]
        fn only_partitions_that_may_hold_more_are_asked_again(
            keys in collection::btree_set(any::<u64>(), 200..300),
            limit in 1_usize..200,
        ) {
            let mut of_partition = vec![BTreeSet::new(); 64];
            for key in &keys {
                of_partition[(*key % 64) as usize].insert(key.to_be_bytes().to_vec());
            }
            let row_limit = usize::try_from(first_page_rows(limit as u64, 64)).expect("few");
            let mut merge = ScanMerge::default();
            merge.begin(limit, 64);
            for (partition, keys) in of_partition.iter().enumerate() {
                let (rows, resume_key) = page(keys, b"", row_limit);
                merge.take_page(partition, rows.iter().map(Vec::as_slice), resume_key.as_deref());
            }
            let mut unsettled = Vec::new();
            merge.find_unsettled(&mut unsettled);
            let mut wanted = vec![0_usize; 64];
            for key in keys.iter().take(limit) {
                wanted[(*key % 64) as usize] += 1;
            }
            if merge.rows.len() >= limit {
                // Those with more wanted rows than came are surely asked. Until these are known others may have to be, but none that has given all.
                for (partition, wanted) in wanted.iter().enumerate() {
                    let is_asked = unsettled.contains(&partition);
                    prop_assert!(is_asked || *wanted <= row_limit);
                    prop_assert!(!is_asked || of_partition[partition].len() > row_limit);
                }
            }
        }
    }
}
