//! The native client against a real server: every operation, many at once, and what it says when the server goes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use corelode_client::{
    BatchOutcome, Client, Durability, Error, ErrorCode, Operation, Options, Role, ScanOptions, Secret, WriteOptions,
};
use corelode_tests::server::{Server, ServerOptions};

fn options(scratch: &tempfile::TempDir, is_tiny: bool) -> ServerOptions {
    ServerOptions {
        data_directory: scratch.path().join("data"),
        cores: 2,
        partitions: 16,
        is_tiny,
        is_without_ring: false,
    }
}

fn client_of(address: SocketAddr) -> Client {
    Client::new(Options::from_addresses(vec![address.to_string()]).with_timeout(Duration::from_secs(20)))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

#[test]
fn every_operation_works_over_all_partitions() {
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let server = Server::start(&options(&scratch, true));
    let client = client_of(server.address());
    runtime().block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..2_000_u32 {
            let client = client.clone();
            tasks.spawn(async move {
                let key = format!("key-{number:05}");
                client.put(key.as_bytes(), &number.to_le_bytes()).await.expect("served");
                let found = client.get(key.as_bytes()).await.expect("served").expect("it was put");
                assert_eq!(found.value, number.to_le_bytes());
            });
        }
        while let Some(joined) = tasks.join_next().await {
            joined.expect("no task fails");
        }

        let mut operations: Vec<_> =
            (0..500).map(|number| Operation::Get { key: format!("key-{number:05}").into_bytes() }).collect();
        operations.push(Operation::Delete { key: b"key-00007".to_vec() });
        operations.push(Operation::Put { key: b"other".to_vec(), value: b"value".to_vec(), ttl_ms: None });
        operations.push(Operation::Get { key: b"absent".to_vec() });
        let results = client.batch(operations, Durability::Synced).await.expect("served");
        for (number, result) in (0..500_u32).zip(&results) {
            let Ok(BatchOutcome::Value(Some(found))) = result else { panic!("{result:?}") };
            assert_eq!(found.value, number.to_le_bytes());
        }
        assert!(matches!(results[500], Ok(BatchOutcome::Written { .. })));
        assert!(matches!(results[501], Ok(BatchOutcome::Written { .. })));
        assert_eq!(results[502], Ok(BatchOutcome::Value(None)));

        let collect = async |options: ScanOptions| {
            let mut scan = client.scan(options);
            let mut keys = Vec::new();
            while let Some(row) = scan.next().await.expect("served") {
                keys.push(String::from_utf8(row.key).expect("UTF-8"));
            }
            keys
        };
        let mut expected: Vec<_> = (0..2_000).map(|number| format!("key-{number:05}")).collect();
        expected.remove(7);
        expected.push("other".to_owned());
        assert_eq!(collect(ScanOptions::default()).await, expected);
        let prefix = ScanOptions { prefix: b"key-000".to_vec(), keys_only: true, ..ScanOptions::default() };
        assert_eq!(collect(prefix).await, expected[..99]);
        let range = ScanOptions {
            start: b"key-00100".to_vec(),
            end: b"key-00200".to_vec(),
            limit: Some(10),
            ..ScanOptions::default()
        };
        assert_eq!(collect(range).await, expected[99..109]);
        assert_eq!(client.status().await.expect("served").cores.len(), 2);
    });
    server.terminate();
}

/// Keys of one slot, keys of a few, and keys that a hash spreads: a partition may hold all of the smallest rows, or none.
#[test]
fn a_scan_with_a_limit_has_the_smallest_rows_however_they_lie_over_partitions() {
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let server = Server::start(&options(&scratch, true));
    let client = client_of(server.address());
    runtime().block_on(async {
        let mut expected: Vec<Vec<u8>> = (0..700_u32)
            .map(|number| match number {
                0..250 => format!("a-{number:04}{{one}}").into_bytes(),
                250..400 => format!("b-{number:04}{{few{}}}", number % 3).into_bytes(),
                _ => format!("c-{number:04}").into_bytes(),
            })
            .collect();
        let put = |key: &Vec<u8>| Operation::Put { key: key.clone(), value: key.clone(), ttl_ms: None };
        for written in client.batch(expected.iter().map(put).collect(), Durability::Memory).await.expect("served") {
            written.expect("taken");
        }
        // Keys that are gone are walked over.
        for number in (0..700).rev().step_by(10) {
            client.delete(&expected.remove(number)).await.expect("served");
        }
        for limit in [1, 2, 17, 100, 230, 511, 512, 513, 600, 10_000] {
            for (start, prefix) in
                [("", ""), ("a-0200", ""), ("b-0300{", ""), ("", "b-"), ("c-0450", "c-04"), ("d", "")]
            {
                let options = ScanOptions {
                    start: start.as_bytes().to_vec(),
                    prefix: prefix.as_bytes().to_vec(),
                    limit: Some(limit),
                    ..ScanOptions::default()
                };
                let mut scan = client.scan(options);
                let mut found = Vec::new();
                while let Some(row) = scan.next().await.expect("served") {
                    assert_eq!(row.key, row.found.value);
                    found.push(row.key);
                }
                let is_in_range =
                    |key: &&Vec<u8>| key.as_slice() >= start.as_bytes() && key.starts_with(prefix.as_bytes());
                let wanted: Vec<_> =
                    expected.iter().filter(is_in_range).take(usize::try_from(limit).expect("small")).cloned().collect();
                assert!(found == wanted, "{limit} from {start:?} with {prefix:?}: {} rows", found.len());
            }
        }
        let held = client
            .status()
            .await
            .expect("served")
            .cores
            .iter()
            .map(|core| core.counter("snapshots").expect("told"))
            .sum::<u64>();
        assert_eq!(held, 0, "no snapshot is left behind");
    });
    server.terminate();
}

#[test]
fn a_scan_sees_what_was_there_when_it_began() {
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let server = Server::start(&options(&scratch, true));
    let client = client_of(server.address());
    runtime().block_on(async {
        for number in 0..3_000_u32 {
            client
                .put_with(
                    format!("key-{number:05}").as_bytes(),
                    b"before",
                    WriteOptions { durability: Durability::Memory, ttl: None },
                )
                .await
                .expect("served");
        }
        let mut scan = client.scan(ScanOptions::default());
        let mut seen = 0;
        while let Some(row) = scan.next().await.expect("served") {
            assert_eq!(row.found.value, b"before", "{}", String::from_utf8_lossy(&row.key));
            seen += 1;
            // Ahead of the scan everything changes.
            let ahead = format!("key-{:05}", (seen + 700) % 3_000);
            client.put(ahead.as_bytes(), b"after").await.expect("served");
            client.delete(format!("key-{:05}", (seen + 1_500) % 3_000).as_bytes()).await.expect("served");
            if seen > 400 {
                break;
            }
        }
    });
    server.terminate();
}

#[test]
fn a_restart_costs_reads_time_and_writes_at_most_their_certainty() {
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let server = Server::start(&options(&scratch, true));
    let address = server.address();
    let client = client_of(address);
    let runtime = runtime();
    runtime.block_on(client.put(b"stays", b"value")).expect("served");
    let writers: Vec<_> = (0..64_u32)
        .map(|writer| {
            let client = client.clone();
            runtime.spawn(async move {
                let key = format!("key-{writer}");
                let (mut acknowledged, mut unknown) = (0_u32, 0_u32);
                for version in 1..200_u32 {
                    match client.put(key.as_bytes(), &version.to_le_bytes()).await {
                        Ok(_) => acknowledged = version,
                        Err(Error::OutcomeUnknown { .. }) => unknown += 1,
                        Err(other) => panic!("{other}"),
                    }
                }
                (key, acknowledged, unknown)
            })
        })
        .collect();
    std::thread::sleep(Duration::from_millis(150));
    server.kill();
    let server = Server::start_at(&options(&scratch, true), address, &scratch.path().join("data.log"));
    let read = runtime.block_on(client.get(b"stays")).expect("a read is repeated until the server is back");
    assert_eq!(read.expect("it was put").value, b"value");
    for writer in writers {
        let (key, acknowledged, unknown) = runtime.block_on(writer).expect("no writer fails");
        let found = runtime.block_on(client.get(key.as_bytes())).expect("served").expect("it was put");
        let version = u32::from_le_bytes(found.value.try_into().expect("four bytes"));
        assert!(version >= acknowledged, "{key}: {version} after {acknowledged} was acknowledged");
        assert!(unknown <= 1, "{key}: one write was under way, and {unknown} are unknown");
    }
    server.terminate();
}

/// What the server says of a request's time is less than what the client saw of it, and a synced write waited for the disk.
#[test]
fn a_receipt_says_where_the_time_went() {
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let server = Server::start(&options(&scratch, true));
    let client = client_of(server.address());
    runtime().block_on(async {
        for number in 0..200_u32 {
            let key = format!("key-{number}").into_bytes();
            let began = Instant::now();
            let durability = if number % 2 == 0 { Durability::Synced } else { Durability::Memory };
            let written = client.put_with_receipt(&key, b"value", WriteOptions { durability, ttl: None }).await;
            let (revision, receipt) = written.expect("served");
            let receipt = receipt.expect("there is room");
            assert!(revision > 0);
            assert!(u128::from(receipt.total_ns()) <= began.elapsed().as_nanos(), "{receipt:?}");
            assert_eq!(receipt.sync_ns > 0, durability == Durability::Synced, "{receipt:?}");
            assert!(receipt.apply_ns > 0, "{receipt:?}");
            let (found, receipt) = client.get_with_receipt(&key).await.expect("served");
            assert_eq!(found.expect("it was put").value, b"value");
            assert!(receipt.expect("there is room").apply_ns > 0);
        }
        let (absent, receipt) = client.get_with_receipt(b"nobody").await.expect("served");
        assert!(absent.is_none() && receipt.is_some());
        // Beside others, whose answers stand in the same bytes.
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..500_u32 {
            let client = client.clone();
            tasks.spawn(async move {
                let key = format!("key-{}", number % 200).into_bytes();
                match number % 3 {
                    0 => client.get_with_receipt(&key).await.expect("served").0,
                    _ => client.get(&key).await.expect("served"),
                }
            });
        }
        for found in tasks.join_all().await {
            assert_eq!(found.expect("it was put").value, b"value");
        }
    });
    server.terminate();
}

/// The server that comes back gives the same snapshot numbers out again, for other revisions.
#[test]
fn a_scan_goes_on_over_a_restart_only_if_it_may_see_newer_revisions() {
    const KEYS: usize = 16 * 1_000;
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let server = Server::start(&options(&scratch, false));
    let address = server.address();
    let client = client_of(address);
    let runtime = runtime();
    let write = async |value: &[u8]| {
        let key = |number: &usize| format!("key-{number:05}").into_bytes();
        let put = |number: &usize| Operation::Put { key: key(number), value: value.to_vec(), ttl_ms: None };
        let numbers: Vec<usize> = (0..KEYS).collect();
        for outcome in client.batch(numbers.iter().map(put).collect(), Durability::Synced).await.expect("served") {
            outcome.expect("taken");
        }
    };
    runtime.block_on(async {
        write(b"before").await;
        let mut strict = client.scan(ScanOptions::default());
        let mut lenient = client.scan(ScanOptions { at_newer_revisions: true, ..ScanOptions::default() });
        for scan in [&mut strict, &mut lenient] {
            assert_eq!(scan.next().await.expect("served").expect("a row").key, b"key-00000");
        }
        server.kill();
        let server = Server::start_at(&options(&scratch, false), address, &scratch.path().join("data.log"));
        write(b"after").await;
        let mut others: Vec<_> = (0..2).map(|_| client.scan(ScanOptions::default())).collect();
        for other in &mut others {
            other.next().await.expect("served");
        }
        let error = loop {
            match strict.next().await {
                Ok(row) => assert_eq!(row.expect("not the end").found.value, b"before"),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, Error::Refused { code: Some(ErrorCode::SnapshotExpired), .. }), "{error}");
        let mut keys = vec!["key-00000".to_owned()];
        let mut after = 0;
        while let Some(row) = lenient.next().await.expect("served") {
            after += usize::from(row.found.value == b"after");
            keys.push(String::from_utf8(row.key).expect("UTF-8"));
        }
        let all: Vec<_> = (0..KEYS).map(|number| format!("key-{number:05}")).collect();
        assert!(keys == all, "every key once and in order");
        assert_eq!(lenient.newer_revisions(), 16, "once in each partition");
        assert!(after > 0, "the rest is read at the newer revision");
        server.terminate();
    });
}

#[test]
fn nobody_there_and_the_wrong_secret_are_told_apart() {
    let runtime = runtime();
    let nobody = Options::from_addresses(vec!["127.0.0.1:9".to_owned()]).with_timeout(Duration::from_millis(300));
    let outcome = runtime.block_on(async { Client::new(nobody).get(b"k").await });
    assert!(matches!(outcome, Err(Error::Unreachable { .. })), "{outcome:?}");

    let scratch = tempfile::tempdir().expect("a directory for the test");
    let server = Server::start(&options(&scratch, true));
    let secret = Secret::new(b"a secret that the server does not have").expect("long enough");
    let stranger = Options::from_addresses(vec![server.address().to_string()])
        .with_timeout(Duration::from_secs(2))
        .with_secret(Role::Admin, secret);
    let outcome = runtime.block_on(async { Client::new(stranger).get(b"k").await });
    assert!(matches!(outcome, Err(Error::Refused { .. })), "{outcome:?}");
    server.terminate();
}
