//! Tables against a sorted list of their rows; hostile bytes; the format's bytes as committed.

mod golden;
mod hostile;
mod map;
pub(crate) mod support;

use std::rc::Rc;

use proptest::prelude::*;

use super::*;
use crate::cursor::Stop;
use crate::ids::{LogTime, Revision};
use crate::row::{Keyspace, RowKey, RowKind};
use support::{MissingSource, OwnedRow, in_order, options, rows, view_of};

/// What a point read at `target` should find.
fn newest<'a>(rows: &'a [OwnedRow], target: RowKey<'_>) -> Option<&'a OwnedRow> {
    let is_version = |row: &&OwnedRow| row.keyspace == target.keyspace && row.key == target.key;
    rows.iter().filter(is_version).find(|row| row.revision <= target.revision)
}

/// Targets around every row: itself, one revision on either side, and keys just behind it.
fn targets(rows: &[OwnedRow]) -> Vec<(Keyspace, Vec<u8>, Revision)> {
    let mut targets = Vec::new();
    for row in rows {
        for revision in [row.revision.0.saturating_sub(1), row.revision.0, row.revision.0 + 1, u64::MAX] {
            targets.push((row.keyspace, row.key.clone(), Revision(revision)));
        }
        targets.push((row.keyspace, [&row.key[..], &[0]].concat(), Revision::MAX));
        targets.push((row.keyspace, [&row.key[..], &[255]].concat(), Revision(0)));
    }
    targets
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn equals_its_rows_whatever_is_missed(rows in rows(120), options in options(), seed in any::<u64>()) {
        let view = view_of(1, &rows, options);
        let mut source = MissingSource::new(seed);
        let mut cursor = TableCursor::new(Rc::clone(&view));
        source.run(|source| cursor.settle(source));
        for row in &rows {
            prop_assert_eq!(cursor.row(), Some(row.row()));
            cursor.step().map_err(|_| TestCaseError::fail("a valid table"))?;
            source.run(|source| cursor.settle(source));
        }
        prop_assert_eq!(cursor.row(), None);
        for (keyspace, key, revision) in targets(&rows) {
            let target = RowKey { keyspace, key: &key, revision };
            let found = source.run(|source| {
                let mut found = None;
                view.get(target, source, |row| found = Some((row.row_key.revision, row.value.to_vec())))?;
                Ok(found)
            });
            let expected = newest(&rows, target).map(|row| (row.revision, row.value.clone()));
            prop_assert_eq!(found, expected, "get {:?}", target);
            source.run(|source| cursor.seek(target, source));
            let expected = rows.iter().find(|row| row.row_key() >= target).map(OwnedRow::row);
            prop_assert_eq!(cursor.row(), expected, "seek {:?}", target);
        }
        prop_assert!(source.misses > 0);
    }

    #[test]
    fn properties_are_those_of_the_rows(rows in rows(40), options in options()) {
        let view = view_of(1, &rows, options);
        let meta = view.meta();
        let deadlines = || rows.iter().filter_map(|row| row.deadline);
        prop_assert_eq!(meta.row_count, rows.len() as u64);
        prop_assert_eq!(meta.tombstone_count, rows.iter().filter(|row| row.kind == RowKind::Tombstone).count() as u64);
        prop_assert_eq!(meta.value_bytes, rows.iter().map(|row| row.value.len() as u64).sum::<u64>());
        prop_assert_eq!(meta.deadline_count, deadlines().count() as u64);
        prop_assert_eq!(meta.deadline_oldest, deadlines().min().unwrap_or(LogTime(u64::MAX)));
        prop_assert_eq!(meta.deadline_newest, deadlines().max().unwrap_or(LogTime(0)));
        prop_assert_eq!(Some(meta.revision_oldest), rows.iter().map(|row| row.revision).min());
        prop_assert_eq!(Some(meta.revision_newest), rows.iter().map(|row| row.revision).max());
        let (first, last) = (rows.first().unwrap(), rows.last().unwrap());
        prop_assert_eq!(meta.smallest.as_bound(), (first.keyspace, &first.key[..]));
        prop_assert_eq!(meta.largest.as_bound(), (last.keyspace, &last.key[..]));
        let mut bytes = Vec::new();
        meta.encode(&mut bytes);
        prop_assert_eq!(TableMeta::decode(&bytes), Some(meta.clone()));
    }
}

#[test]
fn the_longest_keys_and_values_fit() {
    let value = vec![7; crate::limits::VALUE_LENGTH_MAX];
    let key = |last: u8| [vec![b'k'; crate::limits::KEY_LENGTH_MAX + 7], vec![last]].concat();
    let mut rows: Vec<_> = (0..3).map(|number| OwnedRow::new(&key(number), 9, &value)).collect();
    rows.push(OwnedRow::new(b"small", 1, b"v"));
    let rows = in_order(rows);
    for (compress, length_max) in [(false, 3_300_000), (true, 60_000)] {
        let view = view_of(1, &rows, TableOptions { block_size_bytes: 4096, compress });
        assert!(view.meta().file_length < length_max, "{} bytes", view.meta().file_length);
        let mut source = MissingSource::new(1);
        for row in &rows {
            let mut found = None;
            let is_found = source.run(|source| view.get(row.row_key(), source, |row| found = Some(row.value.to_vec())));
            assert!(is_found && found.as_ref() == Some(&row.value));
        }
    }
}

#[test]
fn a_point_read_of_an_absent_key_seldom_asks_for_a_block() {
    let rows: Vec<_> = (0..1000_u32).map(|number| OwnedRow::new(format!("{number:06}").as_bytes(), 1, b"v")).collect();
    let view = view_of(1, &rows, TableOptions { block_size_bytes: 4096, compress: false });
    let mut source = MissingSource::new(1);
    for number in 0..1000_u32 {
        let key = format!("{number:06}x");
        let target = RowKey { keyspace: Keyspace::Data, key: key.as_bytes(), revision: Revision::MAX };
        assert!(!source.run(|source| view.get(target, source, |_| ())));
    }
    assert!(source.misses < 40, "{} of 1000 reads passed the filter", source.misses);
}

#[test]
#[should_panic(expected = "rows out of order")]
fn rows_out_of_order_are_a_bug() {
    view_of(
        1,
        &[OwnedRow::new(b"b", 1, b""), OwnedRow::new(b"a", 1, b"")],
        TableOptions { block_size_bytes: 4096, compress: false },
    );
}

/// A stop as a test reads it.
fn clause<F>(stop: Stop<F>) -> String {
    match stop {
        Stop::Miss(read) => format!("miss at {}", read.handle.offset),
        Stop::Corruption(corruption) => corruption.message,
    }
}
