//! The load: so many tasks, each with one request under way, and every answer checked.

use std::time::{Duration, Instant};

use clap::ValueEnum;
use corelode_bench::report::histogram::Latencies;
use tokio::task::JoinSet;

use crate::Result;
use crate::client::Client;
use crate::servers::{Servers, cpu_seconds};

const KEYS: u64 = 10_000;
const VALUE_BYTES: usize = 256;
const WARM_UP: Duration = Duration::from_secs(1);

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Case {
    #[value(name = "put-256")]
    Put256,
    #[value(name = "put-1")]
    Put1,
    #[value(name = "get-256")]
    Get256,
    #[value(name = "get-1")]
    Get1,
}

impl Case {
    pub(crate) fn clients(self) -> usize {
        if matches!(self, Self::Put256 | Self::Get256) { 256 } else { 1 }
    }

    pub(crate) fn is_put(self) -> bool {
        matches!(self, Self::Put256 | Self::Put1)
    }
}

/// What one cluster did in one turn.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(crate) struct Figures {
    pub(crate) per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// Processors that the three nodes kept busy, and the load.
    pub(crate) server_cpus: f64,
    pub(crate) load_cpus: f64,
}

/// Puts every key once.
pub(crate) async fn fill(client: &Client) -> Result<()> {
    let mut tasks = JoinSet::new();
    for task in 0..64 {
        let mut handle = client.handle(task as usize);
        tasks.spawn(async move {
            for number in (task..KEYS).step_by(64) {
                handle.put(&key(number), value(number, number)).await?;
            }
            Result::Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

/// Runs one case for one cluster.
pub(crate) async fn run(case: Case, client: &Client, servers: &Servers, measured: Duration) -> Result<Figures> {
    let begin = Instant::now() + WARM_UP;
    let end = begin + measured;
    let mut tasks = JoinSet::new();
    for task in 0..case.clients() {
        let handle = client.handle(task);
        tasks.spawn(work(case, handle, Random(task as u64 + 1), begin, end));
    }
    tokio::time::sleep_until(begin.into()).await;
    let before = (servers.cpu_seconds()?, cpu_seconds("self")?, Instant::now());
    tokio::time::sleep_until(end.into()).await;
    let after = (servers.cpu_seconds()?, cpu_seconds("self")?, Instant::now());
    let mut latencies = Latencies::default();
    while let Some(ended) = tasks.join_next().await {
        latencies.add(&ended??);
    }
    if latencies.count() == 0 {
        return Err("nothing was answered in time".into());
    }
    let wall = (after.2 - before.2).as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let (count, microseconds) = (latencies.count() as f64, |quantile| latencies.quantile(quantile) as f64 / 1e3);
    Ok(Figures {
        per_second: count / measured.as_secs_f64(),
        p50_us: microseconds(0.5),
        p99_us: microseconds(0.99),
        server_cpus: (after.0 - before.0) / wall,
        load_cpus: (after.1 - before.1) / wall,
    })
}

/// One task. It counts what was answered between `begin` and `end`.
async fn work(
    case: Case,
    mut handle: crate::client::Handle,
    mut random: Random,
    begin: Instant,
    end: Instant,
) -> Result<Latencies> {
    let mut latencies = Latencies::default();
    loop {
        let number = random.next() % KEYS;
        let sent = Instant::now();
        if case.is_put() {
            handle.put(&key(number), value(number, random.next())).await?;
        } else {
            let found = handle.get(&key(number)).await?.ok_or("a key that was put is not there")?;
            if found.len() != VALUE_BYTES || found[..8] != number.to_le_bytes() {
                return Err(format!("key {number} has the value of another").into());
            }
        }
        let answered = Instant::now();
        if answered >= end {
            return Ok(latencies);
        }
        if answered >= begin {
            latencies.record(u64::try_from((answered - sent).as_nanos())?);
        }
    }
}

fn key(number: u64) -> String {
    format!("key-{number:012}")
}

/// The key's number, and bytes that do not compress.
fn value(number: u64, seed: u64) -> Vec<u8> {
    let mut random = Random(seed | 1);
    let mut bytes = number.to_le_bytes().to_vec();
    while bytes.len() < VALUE_BYTES {
        bytes.extend(random.next().to_le_bytes());
    }
    bytes
}

/// Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators" (2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
