//! Which way of making the log durable is faster here: `O_DIRECT | O_DSYNC`, or a write and then `fdatasync`?
//!
//! Both overwrite a file that was written through once, as the log does; the two take turns, so that a machine whose speed drifts drifts
//! under both. `cargo run --release -p corelode-engine --example log_modes -- DIRECTORY`

#![allow(clippy::print_stdout, reason = "an example tells what it sees")]

use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use corelode_engine::env::thread::ThreadEnvironment;
use corelode_engine::env::{Environment, LogMode};
use corelode_engine::io_buffer::IoBuffer;
use corelode_engine::log::prepare_segment;

const SEGMENT_SIZE_BYTES: u64 = 32 * 1024 * 1024;
const ROUNDS: u64 = 40;
const WRITES_PER_ROUND: u64 = 50;

fn main() {
    let directory: PathBuf = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned()).into();
    let environment = ThreadEnvironment::new();
    environment.block_on(compare(&environment, &directory));
}

async fn compare(environment: &ThreadEnvironment, directory: &std::path::Path) {
    let mode = environment.log_mode(directory).await.expect("the directory can be written");
    assert_eq!(mode, LogMode::DirectSynced, "this file system refuses direct I/O: there is nothing to compare");
    let direct = prepare_segment(environment, directory, 1, SEGMENT_SIZE_BYTES).await.expect("a segment");
    let buffered = prepare_segment(environment, directory, 2, SEGMENT_SIZE_BYTES).await.expect("a segment");
    let plain = std::fs::File::options().write(true).open(&buffered.path).expect("the segment");
    for size in [4 * 1024, 64 * 1024] {
        let mut direct_times = Vec::new();
        let mut buffered_times = Vec::new();
        let mut offset = 0;
        for _ in 0..ROUNDS {
            for _ in 0..WRITES_PER_ROUND {
                let started = Instant::now();
                let buffer = IoBuffer::zeroed(size);
                environment.write_at(&direct.file, buffer, offset).await.0.expect("writes");
                direct_times.push(started.elapsed());
                offset = (offset + size as u64) % (SEGMENT_SIZE_BYTES - size as u64);
                offset -= offset % 4096;
            }
            for _ in 0..WRITES_PER_ROUND {
                let started = Instant::now();
                plain.write_all_at(&vec![0; size], offset).expect("writes");
                plain.sync_data().expect("syncs");
                buffered_times.push(started.elapsed());
                offset = (offset + size as u64) % (SEGMENT_SIZE_BYTES - size as u64);
                offset -= offset % 4096;
            }
        }
        let (direct_median, direct_p99) = quantiles(&mut direct_times);
        let (buffered_median, buffered_p99) = quantiles(&mut buffered_times);
        println!("{size} bytes, O_DIRECT|O_DSYNC:   median {direct_median:?}, p99 {direct_p99:?}");
        println!("{size} bytes, write + fdatasync: median {buffered_median:?}, p99 {buffered_p99:?}");
        println!("{size} bytes, ratio of medians:  {:.2}", buffered_median.as_secs_f64() / direct_median.as_secs_f64());
    }
    for file in [direct.path, buffered.path] {
        std::fs::remove_file(file).expect("removes its own files");
    }
}

fn quantiles(times: &mut [Duration]) -> (Duration, Duration) {
    times.sort();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}
