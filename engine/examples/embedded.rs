//! The engine without a server: fill, read, scan, reopen; and a first look at its speed.
//!
//! `cargo run --release -p corelode-engine --example embedded -- DIRECTORY [KEYS]`

#![allow(clippy::print_stdout, reason = "an example tells what it sees")]

use std::path::PathBuf;
use std::time::Instant;

use corelode_engine::embedded::{Database, put};
use corelode_engine::partition::Write;

fn main() -> corelode_engine::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let directory: PathBuf = arguments.next().unwrap_or_else(|| "./corelode-example".to_owned()).into();
    let keys: u64 = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
    let key_of = |number: u64| format!("{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).into_bytes();
    let value = [b'v'; 100];

    let mut database = Database::open(&directory, Default::default())?;
    let report = |what: &str, count: u64, started: Instant| {
        println!("{what}: {:.0} a second", count as f64 / started.elapsed().as_secs_f64());
    };

    let started = Instant::now();
    let single = keys.min(2_000);
    for number in 0..single {
        database.put(&key_of(number), &value)?;
    }
    report("durable puts, one at a time", single, started);

    let started = Instant::now();
    for first in (0..keys).step_by(100) {
        let batch: Vec<_> = (first..(first + 100).min(keys)).map(key_of).collect();
        let writes: Vec<Write<'_>> = batch.iter().map(|key| put(key, &value)).collect();
        database.write(&writes)?;
    }
    report("durable puts, a hundred at a time", keys, started);

    let started = Instant::now();
    database.settle()?;
    println!("compaction caught up after {:?}: {:?}", started.elapsed(), database.counters());

    let started = Instant::now();
    let reads = keys.min(300_000);
    for number in 0..reads {
        let found = database.get(&key_of(number.wrapping_mul(7919) % keys))?;
        assert_eq!(found.as_deref(), Some(&value[..]));
    }
    report("gets", reads, started);

    let started = Instant::now();
    let mut rows = 0;
    database.scan(b"", None, |_, _| {
        rows += 1;
        true
    })?;
    assert!(rows >= keys, "every key is there");
    report("rows scanned", rows, started);

    database.close()?;
    let started = Instant::now();
    drop(Database::open(&directory, Default::default())?);
    println!("opened again after {:?}", started.elapsed());
    Ok(())
}
