//! What does a flush or a compaction pay for each row it writes? 16-byte keys, 100-byte values of which half is random.

use corelode_engine::ids::{Revision, SlotRange, TableId};
use corelode_engine::row::{Keyspace, Row, RowKey, RowKind};
use corelode_engine::table::{TableBuilder, TableOptions};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const ROW_COUNT: u64 = 100_000;

/// Keys in order and values that compress by half.
fn rows() -> Vec<(String, Vec<u8>)> {
    let mut state = 88_172_645_463_325_252_u64;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..ROW_COUNT)
        .map(|number| {
            let mut value: Vec<u8> = (0..50).map(|_| byte()).collect();
            value.resize(100, 0);
            (format!("user{number:012}"), value)
        })
        .collect()
}

fn build(criterion: &mut Criterion) {
    let rows = rows();
    let mut group = criterion.benchmark_group("build a table");
    group.sample_size(10);
    group.throughput(Throughput::Elements(ROW_COUNT));
    for (name, compress) in [("plain", false), ("LZ4", true)] {
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| {
                let options = TableOptions { block_size_bytes: 4096, compress };
                let mut builder = TableBuilder::new(TableId(1), 7, SlotRange::ALL, options);
                for (key, value) in &rows {
                    builder.add(&Row {
                        row_key: RowKey { keyspace: Keyspace::Data, key: key.as_bytes(), revision: Revision(1) },
                        kind: RowKind::Value,
                        deadline: None,
                        value_crc: 7,
                        value,
                    });
                    while builder.take_chunk().is_some() {}
                }
                builder.finish().2.file_length
            });
        });
    }
}

criterion_group!(benches, build);
criterion_main!(benches);
