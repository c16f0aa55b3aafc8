//! Values with a time to live: gone at most 10 ms and one commit after their deadline, and never seen again, over restarts and kills.

use std::thread;
use std::time::{Duration, Instant};

use corelode_net::body::{Durability, ReadLevel};
use corelode_tests::server::{Server, ServerOptions};
use corelode_tests::wire_client::{Reply, WireClient};

/// Beyond the promised 10 ms: a commit, a reply and whatever else a shared machine does meanwhile. The promise itself is tested to the
/// millisecond on the engine's simulated clock.
const GRACE: Duration = Duration::from_secs(5);

fn options(scratch: &tempfile::TempDir, cores: u16) -> ServerOptions {
    ServerOptions {
        data_directory: scratch.path().join("data"),
        cores,
        partitions: 4,
        is_tiny: true,
        is_without_ring: false,
    }
}

fn get(client: &mut WireClient, key: &[u8]) -> Reply {
    client.call(|client| client.get(key, ReadLevel::Linearizable)).expect("the server serves")
}

fn put(client: &mut WireClient, key: &[u8], ttl_ms: u64) {
    let reply = client.call(|client| client.put(key, b"value", ttl_ms, Durability::Synced));
    assert!(matches!(reply.expect("the server serves"), Reply::Written(_)));
}

#[test]
fn a_value_is_there_until_its_deadline_and_gone_after_it() {
    const TTL: Duration = Duration::from_millis(400);
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let server = Server::start(&options(&scratch, 1));
    let mut client = WireClient::connect(server.address(), 0).expect("connects");
    put(&mut client, b"stays", 0);
    for round in 0..5 {
        let before = Instant::now();
        put(&mut client, b"goes", 400);
        let after = Instant::now();
        let gone_at = loop {
            let asked = Instant::now();
            match get(&mut client, b"goes") {
                Reply::Found(_) => assert!(asked < after + TTL + GRACE, "round {round}: still there"),
                Reply::Absent => break Instant::now(),
                other => panic!("{other:?}"),
            }
            thread::sleep(Duration::from_millis(1));
        };
        assert!(gone_at >= before + TTL, "round {round}: gone {:?} early", before + TTL - gone_at);
    }
    assert!(matches!(get(&mut client, b"stays"), Reply::Found(_)));
}

#[test]
fn what_expired_while_the_server_was_down_is_never_seen() {
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let keys: Vec<_> = (0..200).map(|number| format!("key-{number}").into_bytes()).collect();
    for (round, kills) in [true, false, true].into_iter().enumerate() {
        let server = Server::start(&options(&scratch, 1));
        let mut client = WireClient::connect(server.address(), 0).expect("connects");
        for key in &keys {
            put(&mut client, key, 300);
        }
        drop(client);
        if kills {
            server.kill();
        } else {
            server.terminate();
        }
        thread::sleep(Duration::from_millis(400));
        for _ in 0..2 {
            let server = Server::start(&options(&scratch, 1));
            let mut client = WireClient::connect(server.address(), 0).expect("connects");
            for key in &keys {
                assert_eq!(get(&mut client, key), Reply::Absent, "round {round}: {key:?} came back");
            }
            server.kill();
        }
    }
}
