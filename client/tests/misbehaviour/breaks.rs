//! Connections that end: reads go on with the next one, and a write that was sent is never sent again.

use std::net::TcpListener;
use std::time::Duration;

use corelode_client::{Client, Error, Options};
use corelode_net::{ErrorCode, Opcode};
use tokio::task::JoinSet;

use crate::fake_server::{FakeServer, PATIENCE};
use crate::{in_time, is_unknown, put, value};

#[tokio::test]
async fn a_read_goes_on_with_the_next_connection() {
    let server = FakeServer::run(|server| {
        let mut data = server.accept_client();
        data.expect(Opcode::Get, b"key");
        drop(data);
        let mut data = server.accept_ready();
        let request = data.expect(Opcode::Get, b"key");
        data.found(&request, b"value").send();
        data.expect_close();
    });
    let client = Client::new(server.options());
    assert_eq!(value(&client, "key").await, Ok(b"value".to_vec()));
    drop(client);
    in_time(server.finish()).await;
}

/// PITFALL 39.
#[tokio::test]
async fn a_write_that_was_sent_is_unknown_and_not_sent_again() {
    let server = FakeServer::run(|server| {
        let mut data = server.accept_client();
        data.expect(Opcode::Put, b"key");
        drop(data);
        // Had the write been sent again, it would come before what is asked after it.
        let mut data = server.accept_ready();
        let request = data.expect(Opcode::Get, b"key");
        data.found(&request, b"value").send();
        data.expect_close();
    });
    let client = Client::new(server.options());
    assert!(is_unknown(&put(&client, "key").await));
    assert_eq!(value(&client, "key").await, Ok(b"value".to_vec()));
    drop(client);
    in_time(server.finish()).await;
}

#[tokio::test]
async fn a_write_that_was_not_sent_waits_for_the_next_connection() {
    let server = FakeServer::run(|server| {
        let mut control = server.accept_ready();
        control.expect_topology_request(1, 0);
        // Broken before the handshake, and in the middle of it.
        drop(server.accept());
        let mut half = server.accept();
        half.bytes(&[0; 16]).send();
        drop(half);
        let mut data = server.accept_ready();
        let request = data.expect(Opcode::Put, b"key");
        data.written(&request, 3).send();
        data.expect_close();
    });
    let client = Client::new(server.options());
    assert_eq!(put(&client, "key").await, Ok(3));
    drop(client);
    in_time(server.finish()).await;
}

#[tokio::test]
async fn a_handshake_that_the_server_puts_off_is_tried_again() {
    let server = FakeServer::run(|server| {
        for code in [ErrorCode::DeadlineExceeded, ErrorCode::Overloaded, ErrorCode::ShuttingDown] {
            let mut peer = server.accept();
            peer.expect(Opcode::Hello, b"");
            peer.connection_error(code).send();
            peer.expect_close();
        }
        let mut data = server.accept_client();
        let request = data.expect(Opcode::Put, b"key");
        data.written(&request, 3).send();
        data.expect_close();
    });
    let client = Client::new(server.options());
    assert_eq!(put(&client, "key").await, Ok(3));
    drop(client);
    in_time(server.finish()).await;
}

#[tokio::test]
async fn a_connection_that_ends_while_idle_costs_nothing() {
    let (is_closed, closed) = tokio::sync::oneshot::channel();
    let server = FakeServer::run(|server| {
        let mut data = server.accept_client();
        let request = data.expect(Opcode::Put, b"first");
        data.written(&request, 1).send();
        drop(data);
        is_closed.send(()).unwrap();
        let mut data = server.accept_ready();
        let request = data.expect(Opcode::Get, b"second");
        data.found(&request, b"value").send();
        data.expect_close();
    });
    let client = Client::new(server.options());
    assert_eq!(put(&client, "first").await, Ok(1));
    closed.await.unwrap();
    assert_eq!(value(&client, "second").await, Ok(b"value".to_vec()));
    drop(client);
    in_time(server.finish()).await;
}

#[tokio::test]
async fn a_server_that_goes_away_answers_what_it_owes_and_gets_nothing_new() {
    let (is_gone, gone) = tokio::sync::oneshot::channel();
    let server = FakeServer::run(|server| {
        let mut old = server.accept_client();
        let first = old.expect(Opcode::Put, b"first");
        let seen = old.expect(Opcode::Get, b"seen");
        old.go_away(PATIENCE).found(&seen, b"value").send();
        // The client has read the notice once it has the answer behind it.
        is_gone.send(()).unwrap();
        old.expect_silence();
        old.written(&first, 1).send();
        let mut new = server.accept_ready();
        let second = new.expect(Opcode::Put, b"second");
        new.written(&second, 2).send();
        old.expect_close();
        new.expect_close();
    });
    let client = Client::new(server.options());
    let first = tokio::spawn({
        let client = client.clone();
        async move { put(&client, "first").await }
    });
    // The spawned write runs first: this task yields when it waits.
    tokio::task::yield_now().await;
    assert_eq!(value(&client, "seen").await, Ok(b"value".to_vec()));
    gone.await.unwrap();
    assert_eq!(put(&client, "second").await, Ok(2));
    assert_eq!(in_time(first).await.unwrap(), Ok(1));
    drop(client);
    in_time(server.finish()).await;
}

#[tokio::test]
async fn a_connection_error_says_nothing_about_the_writes_under_way() {
    let server = FakeServer::run(|server| {
        let mut data = server.accept_client();
        data.expect(Opcode::Put, b"key");
        // A code of class safe, which here speaks of the connection.
        data.connection_error(ErrorCode::ShuttingDown).send();
        data.expect_close();
    });
    let client = Client::new(server.options());
    assert!(is_unknown(&put(&client, "key").await));
    drop(client);
    in_time(server.finish()).await;
}

#[tokio::test]
async fn a_refused_connection_is_told_to_everybody_in_time() {
    let nobody = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let address = address.to_string();
    let options = Options::from_addresses(vec![address.clone()]).with_timeout(Duration::from_millis(500));
    let client = Client::new(options);
    let mut tasks = JoinSet::new();
    for number in 0..50 {
        let client = client.clone();
        tasks.spawn(async move { put(&client, &format!("key {number}")).await });
    }
    for outcome in in_time(tasks.join_all()).await {
        let Err(Error::Unreachable { reason }) = outcome else { panic!("nobody is there: {outcome:?}") };
        assert!(reason.contains(&address), "the reason is what was met there: {reason}");
    }
}

#[tokio::test]
async fn a_server_that_goes_away_without_its_answers_is_left_after_its_grace() {
    let server = FakeServer::run(|server| {
        let mut old = server.accept_client();
        old.expect(Opcode::Put, b"owed");
        old.go_away(Duration::from_millis(50)).send();
        let mut new = server.accept_ready();
        let request = new.expect(Opcode::Get, b"next");
        new.found(&request, b"value").send();
        old.expect_close();
        new.expect_close();
    });
    let client = Client::new(server.options());
    assert!(is_unknown(&put(&client, "owed").await));
    assert_eq!(value(&client, "next").await, Ok(b"value".to_vec()));
    drop(client);
    in_time(server.finish()).await;
}
