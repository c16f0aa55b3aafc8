//! Is the memtable faster than `BTreeMap`, which needs no code of ours? 16-byte keys, 100-byte values; the map holds the same internal keys.
//!
//! Times are for all rows of a memtable; the throughput line is rows a second.

use std::collections::BTreeMap;
use std::hint::black_box;

use corelode_engine::ids::Revision;
use corelode_engine::memtable::Memtable;
use corelode_engine::row::{Keyspace, Row, RowKey, RowKind};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const VALUE: [u8; 100] = [7; 100];

type Key = [u8; 16];
/// Keyspace, key, and the complement of the revision.
type Map = BTreeMap<(u8, Box<[u8]>, u64), Box<[u8]>>;

fn key(number: u64) -> Key {
    format!("user{number:012}").into_bytes().try_into().expect("sixteen bytes")
}

/// xorshift64 (Marsaglia 2003): the same keys in every run.
fn random(count: usize) -> Vec<Key> {
    let mut state = 88_172_645_463_325_252_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..count).map(|_| key(next() % 1_000_000_000_000)).collect()
}

fn row(key: &Key, revision: usize) -> Row<'_> {
    Row {
        row_key: RowKey { keyspace: Keyspace::Data, key, revision: Revision(revision as u64) },
        kind: RowKind::Value,
        deadline: None,
        value_crc: 7,
        value: &VALUE,
    }
}

fn memtable_of(keys: &[Key]) -> Memtable {
    let mut memtable = Memtable::new();
    for (revision, key) in keys.iter().enumerate() {
        memtable.insert(&row(key, revision), None);
    }
    memtable
}

fn map_of(keys: &[Key]) -> Map {
    let mut map = Map::new();
    for (revision, key) in keys.iter().enumerate() {
        map.insert((1, Box::from(&key[..]), u64::MAX - revision as u64), Box::from(&VALUE[..]));
    }
    map
}

fn insert(criterion: &mut Criterion) {
    for (name, is_ordered) in [("insert random", false), ("insert ordered", true)] {
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10);
        for count in [10_000, 300_000] {
            let mut keys = random(count);
            if is_ordered {
                keys.sort_unstable();
            }
            group.throughput(Throughput::Elements(count as u64));
            group.bench_with_input(BenchmarkId::new("memtable", count), &keys, |bencher, keys| {
                bencher.iter_batched(|| (), |()| memtable_of(keys), BatchSize::PerIteration);
            });
            group.bench_with_input(BenchmarkId::new("BTreeMap", count), &keys, |bencher, keys| {
                bencher.iter_batched(|| (), |()| map_of(keys), BatchSize::PerIteration);
            });
        }
    }
}

fn read(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("get");
    group.sample_size(10);
    for count in [10_000, 300_000] {
        let mut keys = random(count);
        let (memtable, map) = (memtable_of(&keys), map_of(&keys));
        eprintln!("memory for each row of {count}: {} bytes", memtable.memory_bytes() / memtable.row_count());
        // Neither the order of insertion nor that of the keys.
        keys.sort_unstable_by_key(shuffled);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_with_input(BenchmarkId::new("memtable", count), &keys, |bencher, keys| {
            bencher.iter(|| {
                for key in keys {
                    black_box(memtable.get(Keyspace::Data, key, Revision::MAX).expect("inserted").value[0]);
                }
            });
        });
        group.bench_with_input(BenchmarkId::new("BTreeMap", count), &keys, |bencher, keys| {
            bencher.iter(|| {
                for key in keys {
                    let found = map.range((1, Box::from(&key[..]), 0)..).next().expect("inserted");
                    black_box(found.1[0]);
                }
            });
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("iterate");
    group.sample_size(10);
    for count in [10_000, 300_000] {
        let keys = random(count);
        let (memtable, map) = (memtable_of(&keys), map_of(&keys));
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::new("memtable", count), |bencher| {
            bencher.iter(|| {
                memtable.iter().map(|row| u64::from(row.value[0]) + u64::from(row.row_key.key[15])).sum::<u64>()
            });
        });
        group.bench_function(BenchmarkId::new("BTreeMap", count), |bencher| {
            bencher.iter(|| map.iter().map(|(key, value)| u64::from(value[0]) + u64::from(key.1[15])).sum::<u64>());
        });
    }
}

/// A shuffle that needs no generator: FNV-1a.
fn shuffled(key: &Key) -> u32 {
    key.iter().fold(0x811c_9dc5, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

criterion_group!(benches, insert, read);
criterion_main!(benches);
