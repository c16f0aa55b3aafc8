//! The longest keys and values there may be, and what one client can take of the server's memory.

use std::time::Duration;

use corelode_net::body::{Durability, ReadLevel};
use corelode_net::limits::{KEY_LENGTH_MAX, VALUE_LENGTH_MAX};
use corelode_tests::server::{Server, ServerOptions};
use corelode_tests::wire_client::{Reply, WireClient};

#[test]
fn the_longest_keys_and_values_survive_a_kill() {
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let options = ServerOptions {
        data_directory: scratch.path().join("data"),
        cores: 2,
        partitions: 4,
        is_tiny: false,
        is_without_ring: false,
    };
    let key_of = |number: u8| {
        let mut key = vec![b'k'; KEY_LENGTH_MAX];
        key[KEY_LENGTH_MAX - 1] = number;
        key
    };
    let value_of = |number: u8| -> Vec<u8> {
        (0..VALUE_LENGTH_MAX).map(|at| number ^ at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect()
    };
    let server = Server::start(&options);
    let mut client = WireClient::connect(server.address(), 0).expect("connects");
    // More than the memtables hold, so that large values go through flushes and compactions, too; and all in flight at once.
    let count = 160;
    for number in 0..count {
        client.put(&key_of(number), &value_of(number), 0, Durability::Synced);
        client.send().expect("served");
    }
    for _ in 0..count {
        let (_, reply) = client.next_reply().expect("served");
        assert!(matches!(reply, Reply::Written(_)), "{reply:?}");
    }
    server.kill();
    let server = Server::start(&options);
    let mut client = WireClient::connect(server.address(), 1).expect("connects");
    for number in 0..count {
        let reply = client.call(|client| client.get(&key_of(number), ReadLevel::Linearizable)).expect("served");
        assert_eq!(reply, Reply::Found(value_of(number)), "value {number}");
    }
    let empty = client.call(|client| client.put(b"k", b"", 0, Durability::Synced)).expect("served");
    assert!(matches!(empty, Reply::Written(_)));
    let read = client.call(|client| client.get(b"k", ReadLevel::Linearizable)).expect("served");
    assert_eq!(read, Reply::Found(Vec::new()), "an empty value is a value");
    server.terminate();
}

#[test]
fn a_write_in_memory_is_seen_at_once_by_those_who_ask_for_it_and_kept_by_an_orderly_stop() {
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let options = ServerOptions {
        data_directory: scratch.path().join("data"),
        cores: 1,
        partitions: 4,
        is_tiny: true,
        is_without_ring: false,
    };
    let server = Server::start(&options);
    let mut client = WireClient::connect(server.address(), 0).expect("connects");
    for number in 0..500_u64 {
        let value = number.to_le_bytes();
        let written = client.call(|client| client.put(b"counter", &value, 0, Durability::Memory)).expect("served");
        assert!(matches!(written, Reply::Written(_)));
        let level = if number % 2 == 0 { ReadLevel::Local } else { ReadLevel::Linearizable };
        let read = client.call(|client| client.get(b"counter", level)).expect("served");
        assert_eq!(read, Reply::Found(value.to_vec()));
    }
    server.terminate();
    let server = Server::start(&options);
    let mut client = WireClient::connect(server.address(), 0).expect("connects");
    let read = client.call(|client| client.get(b"counter", ReadLevel::Linearizable)).expect("served");
    assert_eq!(read, Reply::Found(499_u64.to_le_bytes().to_vec()));
}

/// The clock of a shard is read at its turns, and an idle one has none.
#[test]
fn the_first_connection_after_a_long_silence_is_served() {
    const LONGER_THAN_A_HANDSHAKE_MAY_TAKE: Duration = Duration::from_secs(12);
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let options = ServerOptions {
        data_directory: scratch.path().join("data"),
        cores: 2,
        partitions: 4,
        is_tiny: false,
        is_without_ring: false,
    };
    let server = Server::start(&options);
    std::thread::sleep(LONGER_THAN_A_HANDSHAKE_MAY_TAKE);
    for core in 0..2 {
        let mut client = WireClient::connect(server.address(), core).expect("connects");
        let read = client.call(|client| client.get(b"key", ReadLevel::Linearizable)).expect("served");
        assert_eq!(read, Reply::Absent);
    }
    server.terminate();
}

/// Answers of the core that has the client, and of the other one, which come when they come.
#[test]
fn answers_that_nobody_reads_take_bounded_memory() {
    const REQUESTS: usize = 1_000;
    const GROWTH_BYTES_MAX: u64 = 300 * 1024 * 1024;
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let options = ServerOptions {
        data_directory: scratch.path().join("data"),
        cores: 2,
        partitions: 4,
        is_tiny: false,
        is_without_ring: false,
    };
    let server = Server::start(&options);
    let mut client = WireClient::connect(server.address(), 0).expect("connects");
    let value = vec![7; VALUE_LENGTH_MAX];
    let written = client.call(|client| client.put(b"large", &value, 0, Durability::Synced)).expect("served");
    assert!(matches!(written, Reply::Written(_)));
    let before = server.resident_bytes();
    let mut deaf: Vec<_> = (0..2).map(|core| WireClient::connect(server.address(), core).expect("connects")).collect();
    for client in &mut deaf {
        for _ in 0..REQUESTS {
            client.get(b"large", ReadLevel::Linearizable);
        }
        client.send().expect("the requests are small");
    }
    // Long enough for all of it to be answered if nothing held it back.
    std::thread::sleep(Duration::from_secs(2));
    let growth = server.resident_bytes().saturating_sub(before);
    assert!(growth < GROWTH_BYTES_MAX, "{} answers took {growth} bytes", 2 * REQUESTS);
    // Others are served meanwhile, and whoever reads at last gets all of it.
    let read = client.call(|client| client.get(b"large", ReadLevel::Linearizable)).expect("served");
    assert_eq!(read, Reply::Found(value.clone()));
    for client in &mut deaf {
        for _ in 0..REQUESTS {
            let (_, reply) = client.next_reply().expect("served");
            assert!(reply == Reply::Found(value.clone()) || matches!(reply, Reply::Refused(_)), "another answer");
        }
    }
    server.terminate();
}

/// STATUS is gathered over the cores, and TOPOLOGY is answered at once.
#[test]
fn words_about_the_server_that_nobody_reads_take_bounded_memory() {
    const CONNECTIONS: u16 = 30;
    const REQUESTS: usize = 3_000;
    const GROWTH_BYTES_MAX: u64 = 200 * 1024 * 1024;
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let options = ServerOptions {
        data_directory: scratch.path().join("data"),
        cores: 2,
        partitions: 64,
        is_tiny: false,
        is_without_ring: false,
    };
    let server = Server::start(&options);
    let before = server.resident_bytes();
    let mut deaf = Vec::new();
    for number in 0..CONNECTIONS {
        let mut client = WireClient::connect(server.address(), number % 2).expect("connects");
        for _ in 0..REQUESTS {
            match number % 3 {
                0 => client.topology(),
                _ => client.status(),
            };
        }
        client.send().expect("the requests are small");
        deaf.push(client);
    }
    // Long enough for all of it to be answered if nothing held it back.
    std::thread::sleep(Duration::from_secs(2));
    let growth = server.resident_bytes().saturating_sub(before);
    assert!(growth < GROWTH_BYTES_MAX, "{CONNECTIONS} connections took {growth} bytes");
    let mut client = WireClient::connect(server.address(), 0).expect("connects");
    let read = client.call(|client| client.get(b"key", ReadLevel::Linearizable)).expect("served");
    assert_eq!(read, Reply::Absent);
    server.terminate();
}

#[test]
fn frames_that_never_end_take_bounded_memory() {
    const CONNECTIONS: usize = 300;
    const GROWTH_BYTES_MAX: u64 = 200 * 1024 * 1024;
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let options = ServerOptions {
        data_directory: scratch.path().join("data"),
        cores: 1,
        partitions: 4,
        is_tiny: false,
        is_without_ring: false,
    };
    let server = Server::start(&options);
    let value = vec![7; VALUE_LENGTH_MAX];
    let before = server.resident_bytes();
    let mut slow = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut client = WireClient::connect(server.address(), 0).expect("connects");
        client.put(b"slow", &value, 0, Durability::Synced);
        client.send_all_but_one().expect("the server takes it in");
        slow.push(client);
    }
    std::thread::sleep(Duration::from_secs(1));
    let growth = server.resident_bytes().saturating_sub(before);
    assert!(growth < GROWTH_BYTES_MAX, "{CONNECTIONS} frames took {growth} bytes\n{}", server.log());
    // Who began last is served; who began first was given up for it.
    let mut last = slow.pop().expect("there are many");
    last.send().expect("served");
    assert!(matches!(last.next_reply(), Ok((_, Reply::Written(_)))));
    let first = &mut slow[0];
    assert!(first.send().and_then(|()| first.next_reply()).is_err(), "the first connection is closed");
    server.terminate();
}
