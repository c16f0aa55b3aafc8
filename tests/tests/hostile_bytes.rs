//! Bytes that are no frames, frames that are no requests, and connections that say nothing: each costs its own connection and nobody else's.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use corelode_net::body::{Durability, ReadLevel};
use corelode_tests::load::Random;
use corelode_tests::server::{Server, ServerOptions};
use corelode_tests::wire_client::{Reply, WireClient};

/// Reads until the server closes; answers how much it said.
fn drain(socket: &mut TcpStream) -> usize {
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
    let mut bytes = Vec::new();
    // A reset is a close, too.
    let _ = socket.read_to_end(&mut bytes);
    bytes.len()
}

#[test]
fn garbage_closes_its_own_connection_only() {
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let server = Server::start(&ServerOptions {
        data_directory: scratch.path().join("data"),
        cores: 2,
        partitions: 4,
        is_tiny: true,
        is_without_ring: false,
    });
    let mut bystander = WireClient::connect(server.address(), 0).expect("connects");
    let mut random = Random::new(11);
    let mut silent = Vec::new();
    for round in 0..200_u64 {
        let mut socket = TcpStream::connect(server.address()).expect("connects");
        let length = 1 + random.below(4096);
        let mut bytes: Vec<u8> = (0..length).map(|_| u8::try_from(random.below(256)).expect("a byte")).collect();
        match round % 4 {
            // A header that promises four gibibytes.
            0 => bytes[..4.min(usize::try_from(length).expect("small"))].fill(0xff),
            // Nothing at all, for longer than the test.
            1 => {
                silent.push(socket);
                continue;
            }
            // Half a header.
            2 => bytes.truncate(16),
            _ => {}
        }
        // The server may have closed before everything was sent.
        let _ = socket.write_all(&bytes);
        let _ = socket.shutdown(std::net::Shutdown::Write);
        drain(&mut socket);
        let key = format!("key-{round}").into_bytes();
        let written = bystander.call(|client| client.put(&key, b"value", 0, Durability::Synced));
        assert!(matches!(written.expect("the bystander is served"), Reply::Written(_)));
        let read = bystander.call(|client| client.get(&key, ReadLevel::Linearizable));
        assert_eq!(read.expect("the bystander is served"), Reply::Found(b"value".to_vec()));
    }
    server.terminate();
}

#[test]
fn a_connection_that_never_shakes_hands_is_closed() {
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let server = Server::start(&ServerOptions {
        data_directory: scratch.path().join("data"),
        cores: 1,
        partitions: 4,
        is_tiny: true,
        is_without_ring: false,
    });
    let mut socket = TcpStream::connect(server.address()).expect("connects");
    assert!(drain(&mut socket) > 0, "the server says why before it closes");
    server.terminate();
}

#[test]
fn without_io_uring_the_server_serves_and_loses_nothing() {
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let options = ServerOptions {
        data_directory: scratch.path().join("data"),
        cores: 2,
        partitions: 4,
        is_tiny: true,
        is_without_ring: true,
    };
    for round in 0..3_u64 {
        let server = Server::start(&options);
        assert!(server.log().contains("falling back to epoll"), "it says so\n{}", server.log());
        // Both clients reach every key: what is another core's is forwarded.
        let mut clients: Vec<_> =
            (0..2).map(|core| WireClient::connect(server.address(), core).expect("connects")).collect();
        for number in 0..100 {
            let client = &mut clients[number % 2];
            let key = format!("key-{number}").into_bytes();
            if round > 0 {
                let read = client.call(|client| client.get(&key, ReadLevel::Linearizable)).expect("served");
                assert_eq!(read, Reply::Found((round - 1).to_le_bytes().to_vec()));
            }
            let value = round.to_le_bytes();
            let written = client.call(|client| client.put(&key, &value, 0, Durability::Synced)).expect("served");
            assert!(matches!(written, Reply::Written(_)));
        }
        server.kill();
    }
}
