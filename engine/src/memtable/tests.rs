//! A memtable against `BTreeMap`, for keys that share prefixes, for versions, and for rows that arrive in order.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::ids::LogTime;
use crate::row::RowKind;

type Model = BTreeMap<(u8, Vec<u8>), BTreeMap<u64, Vec<u8>>>;

fn row<'a>(keyspace: Keyspace, key: &'a [u8], revision: u64, value: &'a [u8]) -> Row<'a> {
    Row {
        row_key: RowKey { keyspace, key, revision: Revision(revision) },
        kind: if value.is_empty() { RowKind::Tombstone } else { RowKind::Value },
        deadline: (value.len() % 2 == 1).then_some(LogTime(revision)),
        value_crc: crc32fast::hash(value),
        value,
    }
}

fn data<'a>(key: &'a [u8], revision: u64, value: &'a [u8]) -> Row<'a> {
    row(Keyspace::Data, key, revision, value)
}

/// Checks order, every version at every pin, and every seek.
fn check(memtable: &FrozenMemtable, model: &Model, pins: &[u64]) {
    let rows: Vec<_> = memtable.iter().collect();
    assert!(rows.is_sorted_by(|a, b| a.row_key < b.row_key), "rows are in order, none twice");
    assert_eq!(rows.len(), memtable.rows().row_count());
    for ((keyspace, key), versions) in model {
        let keyspace = Keyspace::from_byte(*keyspace).unwrap();
        for &pin in pins {
            let expected = versions.range(..=pin).next_back();
            let expected = expected.map(|(&revision, value)| row(keyspace, key, revision, value));
            assert_eq!(memtable.get(keyspace, key, Revision(pin)), expected, "{key:?} at {pin}");
            let target = RowKey { keyspace, key, revision: Revision(pin) };
            let sought = memtable.rows().seek(target).map(|at| memtable.rows().row(at));
            assert_eq!(sought, rows.iter().copied().find(|row| row.row_key >= target));
        }
    }
}

#[test]
fn frozen_memtables_are_shared_between_threads() {
    fn shared<T: Send + Sync>(_: &T) {}
    shared(&Memtable::new().freeze());
}

#[test]
fn an_empty_memtable_has_nothing() {
    let memtable = Memtable::new();
    assert!(memtable.is_empty());
    assert_eq!(memtable.get(Keyspace::Data, b"k", Revision::MAX), None);
    assert_eq!(memtable.freeze().iter().count(), 0);
}

#[test]
fn an_overwrite_keeps_the_version_that_a_reader_holds() {
    let mut memtable = Memtable::new();
    memtable.insert(&data(b"k", 1, b"one"), None);
    memtable.insert(&data(b"k", 2, b"two"), Some(Revision(1)));
    memtable.insert(&data(b"k", 3, b"three"), Some(Revision(1)));
    assert_eq!(memtable.row_count(), 2);
    let at = |revision| memtable.get(Keyspace::Data, b"k", Revision(revision)).map(|row| row.value);
    assert_eq!((at(1), at(2), at(3)), (Some(&b"one"[..]), Some(&b"one"[..]), Some(&b"three"[..])));
}

#[test]
fn overwriting_one_key_does_not_take_more_memory() {
    let mut memtable = Memtable::new();
    memtable.insert(&data(b"hot", 1, &[0; 1000]), None);
    let before = memtable.memory_bytes();
    for revision in 2..10_000 {
        let length = usize::try_from(revision % 1000).unwrap();
        memtable.insert(&data(b"hot", revision, &vec![1; length]), None);
    }
    assert_eq!((memtable.memory_bytes(), memtable.row_count()), (before, 1));
}

#[test]
fn large_values_leave_the_shared_chunk_to_small_ones() {
    let mut memtable = Memtable::new();
    let large = vec![7; 1024 * 1024];
    for number in 0..20_u8 {
        memtable.insert(&data(&[b'l', number], number.into(), &large), None);
        memtable.insert(&data(&[b's', number], number.into(), b"small"), None);
    }
    let payload = 20 * (large.len() + 5);
    assert!(memtable.memory_bytes() < payload + payload / 20, "{} bytes", memtable.memory_bytes());
    for number in 0..20_u8 {
        let found = memtable.get(Keyspace::Data, &[b'l', number], Revision::MAX).unwrap();
        assert_eq!(found.value, large);
    }
}

#[test]
fn rows_that_arrive_in_order_and_in_reverse_are_found() {
    for is_reverse in [false, true] {
        let mut memtable = Memtable::new();
        let mut model = Model::new();
        for step in 0..2000_u64 {
            let number = if is_reverse { 2000 - step } else { step };
            let key = format!("a rather long common prefix {number:08}").into_bytes();
            memtable.insert(&data(&key, step, b"v"), None);
            model.entry((Keyspace::Data as u8, key)).or_default().insert(step, b"v".to_vec());
        }
        check(&memtable.freeze(), &model, &[u64::MAX]);
    }
}

fn keys() -> impl Strategy<Value = Vec<u8>> {
    let short = prop::collection::vec(0_u8..3, 1..6);
    let shared_prefix = (0_u8..3, prop::collection::vec(any::<u8>(), 0..4)).prop_map(|(number, end)| {
        let mut key = [b"tenant/0001/user/" as &[u8], &[number]].concat();
        key.extend_from_slice(&end);
        key
    });
    prop_oneof![short, shared_prefix, prop::collection::vec(any::<u8>(), 1..20)]
}

proptest! {
    #[test]
    fn equals_a_btree_map(
        operations in prop::collection::vec(
            (1_u8..=4, keys(), prop::collection::vec(any::<u8>(), 0..40), prop::bool::weighted(0.1)),
            1..300,
        )
    ) {
        let mut memtable = Memtable::new();
        let mut model = Model::new();
        let mut pins = Vec::new();
        for (step, (keyspace, key, value, pin)) in operations.into_iter().enumerate() {
            let revision = step as u64 + 1;
            let of = Keyspace::from_byte(keyspace).unwrap();
            memtable.insert(&row(of, &key, revision, &value), pins.last().copied().map(Revision));
            model.entry((keyspace, key)).or_default().insert(revision, value);
            if pin {
                pins.push(revision);
            }
        }
        pins.push(u64::MAX);
        check(&memtable.freeze(), &model, &pins);
    }

    /// Nobody writes older versions today; the order must hold all the same.
    #[test]
    fn versions_in_any_order_are_found(
        operations in prop::collection::vec((keys(), 0_u64..50, prop::collection::vec(any::<u8>(), 0..9)), 1..200)
    ) {
        let mut memtable = Memtable::new();
        let mut model = Model::new();
        for (key, revision, value) in operations {
            memtable.insert(&data(&key, revision, &value), Some(Revision::MAX));
            model.entry((Keyspace::Data as u8, key)).or_default().insert(revision, value);
        }
        check(&memtable.freeze(), &model, &[0, 1, 7, 24, 49, u64::MAX]);
    }
}
