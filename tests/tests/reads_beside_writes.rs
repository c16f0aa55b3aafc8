//! Reads that writes could keep from ever ending: over ranges of deleted keys, and of keys that change in memory all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use corelode_client::{BatchOutcome, Client, Durability, Operation, Options, ScanOptions, WriteOptions};
use corelode_tests::server::{Server, ServerOptions};

fn options(scratch: &tempfile::TempDir) -> ServerOptions {
    ServerOptions {
        data_directory: scratch.path().join("data"),
        cores: 1,
        partitions: 2,
        is_tiny: true,
        is_without_ring: false,
    }
}

fn client_of(server: &Server) -> Client {
    Client::new(Options::from_addresses(vec![server.address().to_string()]).with_timeout(Duration::from_secs(30)))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

async fn keys(client: &Client, options: ScanOptions) -> Vec<Vec<u8>> {
    let mut scan = client.scan(options);
    let mut keys = Vec::new();
    while let Some(row) = scan.next().await.expect("served") {
        keys.push(row.key);
    }
    keys
}

/// The tombstones are many times what the block cache holds and what one page may walk over.
#[test]
fn a_scan_over_deleted_keys_ends() {
    const KEYS: usize = 60_000;
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let server = Server::start(&options(&scratch));
    let client = client_of(&server);
    runtime().block_on(async {
        client.put(b"a", b"first").await.expect("served");
        client.put(b"z", b"last").await.expect("served");
        // While a scan holds its snapshot, no compaction drops what it may see.
        let mut held = client.scan(ScanOptions { limit: Some(2), ..ScanOptions::default() });
        assert_eq!(held.next().await.expect("served").expect("a row").key, b"a");
        let numbers: Vec<usize> = (0..KEYS).collect();
        for chunk in numbers.chunks(1_000) {
            let key = |number: &usize| format!("key-{number:08}-{}", "x".repeat(40)).into_bytes();
            let deletions = chunk.iter().map(|number| Operation::Delete { key: key(number) }).collect();
            for outcome in client.batch(deletions, Durability::Memory).await.expect("served") {
                assert!(matches!(outcome, Ok(BatchOutcome::Written { .. })), "{outcome:?}");
            }
        }
        assert_eq!(keys(&client, ScanOptions::default()).await, [b"a".to_vec(), b"z".to_vec()]);
        let last = ScanOptions { start: b"b".to_vec(), limit: Some(1), ..ScanOptions::default() };
        assert_eq!(keys(&client, last).await, [b"z".to_vec()]);
    });
    server.terminate();
}

/// At every moment the newest value is one that a crash could take back. Readers wait for what they saw, not for a quiet moment.
#[test]
fn keys_that_change_in_memory_all_the_time_are_read() {
    const WRITERS: usize = 16;
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let server = Server::start(&options(&scratch));
    let client = client_of(&server);
    let runtime = runtime();
    let stop = Arc::new(AtomicBool::new(false));
    let in_memory = WriteOptions { durability: Durability::Memory, ttl: None };
    runtime.block_on(client.put_with(b"hot", &0_u64.to_le_bytes(), in_memory)).expect("served");
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let (client, stop) = (client.clone(), Arc::clone(&stop));
            runtime.spawn(async move {
                let mut written = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    written += 1;
                    client.put_with(b"hot", &written.to_le_bytes(), in_memory).await.expect("served");
                }
                written
            })
        })
        .collect();
    runtime.block_on(async {
        for _ in 0..300 {
            client.get(b"hot").await.expect("served").expect("it was put");
            assert_eq!(keys(&client, ScanOptions::default()).await, [b"hot".to_vec()]);
        }
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            assert!(writer.await.expect("no writer fails") > 100, "the writers wrote beside the reads");
        }
    });
    server.terminate();
}
