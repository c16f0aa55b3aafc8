//! A first look at speed through the client: PUT and GET a second at a given depth, synced and in memory mode.
//!
//! `cargo run --release -p corelode-client --example first_look -- corelode://127.0.0.1:7400 [SECONDS]`
//!
//! Closed loops: each of *depth* tasks has one request under way. It tells what the pair of client and server can do on this machine now;
//! it is no latency measurement, since a stalled request keeps its loop from sending.

#![allow(clippy::print_stdout, reason = "an example tells what it sees")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use corelode_client::{Client, Durability, Options, WriteOptions};

const KEYS: u64 = 100_000;

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or_else(|| "corelode://127.0.0.1:7400".to_owned());
    let seconds: f64 = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(3.0);
    let client = Client::new(Options::from_url(&url)?);
    for durability in [Durability::Synced, Durability::Memory] {
        for depth in [1, 16, 256] {
            let puts = run(&client, depth, seconds, Some(durability)).await;
            println!("PUT {durability:?}, depth {depth}: {puts:.0} a second");
        }
    }
    for depth in [1, 16, 256] {
        let gets = run(&client, depth, seconds, None).await;
        println!("GET, depth {depth}: {gets:.0} a second");
    }
    Ok(())
}

async fn run(client: &Client, depth: u64, seconds: f64, durability: Option<Durability>) -> f64 {
    let started = Instant::now();
    let until = started + Duration::from_secs_f64(seconds);
    let done = Arc::new(AtomicU64::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..depth {
        let (client, done) = (client.clone(), Arc::clone(&done));
        tasks.spawn(async move {
            let value = [b'v'; 100];
            let mut number = task;
            while Instant::now() < until {
                number = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(depth + task);
                let key = format!("key-{:012}", number % KEYS);
                match durability {
                    Some(durability) => {
                        let options = WriteOptions { durability, ..WriteOptions::default() };
                        client.put_with(key.as_bytes(), &value, options).await.expect("the server serves");
                    }
                    None => drop(client.get(key.as_bytes()).await.expect("the server serves")),
                }
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    while tasks.join_next().await.is_some() {}
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let count = done.load(Ordering::Relaxed) as f64;
    count / started.elapsed().as_secs_f64()
}
