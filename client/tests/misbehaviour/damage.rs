//! Bytes that no server sends: the connection ends with a reason, and nothing that was under way is taken for answered.

use corelode_client::{Client, Error};
use corelode_net::handshake::VersionRange;
use corelode_net::{ErrorCode, Opcode};

use crate::fake_server::{FakeServer, Peer, Request, frame_of_a_client, header_of_an_oversize_frame};
use crate::{in_time, put, value};

type Damage = fn(&mut Peer, &Request);

const DAMAGES: [(&str, Damage); 6] = [
    ("garbage", |peer, _| _ = peer.bytes(&[0xa5; 64])),
    ("text of another protocol", |peer, _| _ = peer.bytes(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")),
    ("an oversize frame", |peer, _| _ = peer.bytes(&header_of_an_oversize_frame())),
    ("a request", |peer, _| _ = peer.bytes(&frame_of_a_client())),
    ("a damaged header", |peer, request| {
        peer.written(request, 1);
        peer.out[9] ^= 1;
    }),
    ("a damaged body", |peer, request| {
        peer.written(request, 1);
        *peer.out.last_mut().unwrap() ^= 1;
    }),
];

#[tokio::test]
async fn damage_ends_the_connection_and_leaves_a_write_unknown() {
    let server = FakeServer::run(|server| {
        let mut data = server.accept_client();
        for (_, damage) in DAMAGES {
            let request = data.expect(Opcode::Put, b"key");
            damage(&mut data, &request);
            data.send();
            data.expect_close();
            // The next connection serves.
            data = server.accept_ready();
            let request = data.expect(Opcode::Get, b"key");
            data.found(&request, b"value").send();
        }
        data.expect_close();
    });
    let client = Client::new(server.options());
    for (name, _) in DAMAGES {
        let outcome = put(&client, "key").await;
        assert!(crate::is_unknown(&outcome), "{name}: {outcome:?}");
        assert_eq!(value(&client, "key").await, Ok(b"value".to_vec()), "{name}");
    }
    drop(client);
    in_time(server.finish()).await;
}

#[tokio::test]
async fn damage_in_the_handshake_is_named_and_ends_the_call() {
    for (name, damage) in DAMAGES {
        let server = FakeServer::run(move |server| {
            let mut peer = server.accept();
            let request = peer.expect(Opcode::Hello, b"");
            damage(&mut peer, &request);
            peer.send();
            peer.expect_close();
        });
        let client = Client::new(server.options());
        let outcome = put(&client, "key").await;
        assert!(matches!(outcome, Err(Error::Protocol { .. } | Error::Refused { .. })), "{name}: {outcome:?}");
        drop(client);
        in_time(server.finish()).await;
    }
}

#[tokio::test]
async fn a_write_that_a_damaged_handshake_kept_back_was_not_executed() {
    let server = FakeServer::run(|server| {
        let mut control = server.accept_ready();
        control.expect_topology_request(1, 0);
        let mut data = server.accept();
        data.bytes(&[0xa5; 64]).send();
        data.expect_hello_only();
    });
    let client = Client::new(server.options());
    let outcome = put(&client, "key").await;
    assert!(matches!(outcome, Err(Error::Protocol { .. })), "{outcome:?}");
    drop(client);
    in_time(server.finish()).await;
}

#[tokio::test]
async fn a_server_of_another_version_is_refused_by_name() {
    let server = FakeServer::run(|server| {
        server.versions = VersionRange { min: 2, max: 3 };
        let mut peer = server.accept();
        assert!(!peer.shake_hands(server));
        peer.expect_close();
    });
    let client = Client::new(server.options());
    let outcome = put(&client, "key").await;
    assert!(matches!(outcome, Err(Error::Refused { code: Some(ErrorCode::UnsupportedVersion), .. })), "{outcome:?}");
    drop(client);
    in_time(server.finish()).await;
}

#[tokio::test]
async fn a_damaged_value_is_no_value() {
    let server = FakeServer::run(|server| {
        let mut data = server.accept_client();
        let request = data.expect(Opcode::Get, b"key");
        data.found_damaged(&request, b"value").send();
        // The frame was whole: the connection lives.
        let request = data.expect(Opcode::Get, b"other");
        data.found(&request, b"value").send();
        data.expect_close();
    });
    let client = Client::new(server.options());
    let outcome = value(&client, "key").await;
    assert!(matches!(outcome, Err(Error::Protocol { .. })), "{outcome:?}");
    assert_eq!(value(&client, "other").await, Ok(b"value".to_vec()));
    drop(client);
    in_time(server.finish()).await;
}

#[tokio::test]
async fn an_answer_that_arrives_byte_by_byte_is_an_answer() {
    let server = FakeServer::run(|server| {
        let mut data = server.accept_client();
        let request = data.expect(Opcode::Get, b"key");
        data.found(&request, b"value");
        for byte in std::mem::take(&mut data.out) {
            data.bytes(&[byte]).send();
        }
        data.expect_close();
    });
    let client = Client::new(server.options());
    assert_eq!(value(&client, "key").await, Ok(b"value".to_vec()));
    drop(client);
    in_time(server.finish()).await;
}
