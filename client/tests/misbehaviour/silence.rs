//! A server that is there and says nothing: every call ends by its deadline, with what is known about it.

use std::time::Duration;

use corelode_client::{Client, Error};
use corelode_net::Opcode;
use tokio::task::JoinSet;

use crate::fake_server::FakeServer;
use crate::{in_time, is_unknown, put, value};

const SHORT: Duration = Duration::from_millis(500);

#[tokio::test]
async fn a_handshake_without_an_answer_ends_by_the_deadline() {
    let server = FakeServer::run(|server| {
        let silent = server.accept();
        silent.expect_hello_only();
    });
    let options = server.options().with_timeout(SHORT);
    let client = Client::new(options);
    let outcome = put(&client, "key").await;
    assert!(matches!(outcome, Err(Error::Unreachable { .. } | Error::DeadlineExceeded)), "{outcome:?}");
    drop(client);
    in_time(server.finish()).await;
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_is_tried_again() {
    let server = FakeServer::run(|server| {
        let silent = server.accept();
        let mut data = server.accept_client();
        let request = data.expect(Opcode::Put, b"key");
        data.written(&request, 5).send();
        silent.expect_hello_only();
        data.expect_close();
    });
    let client = Client::new(server.options().with_connect_timeout(SHORT));
    assert_eq!(put(&client, "key").await, Ok(5));
    drop(client);
    in_time(server.finish()).await;
}

#[tokio::test]
async fn a_request_without_an_answer_ends_by_its_deadline() {
    let server = FakeServer::run(|server| {
        let mut data = server.accept_client();
        data.expect(Opcode::Get, b"key");
        let write = data.expect(Opcode::Put, b"key");
        // Half an answer is none.
        data.written(&write, 1);
        data.out.truncate(40);
        data.send();
        data.expect_close();
    });
    let client = Client::new(server.options().with_timeout(SHORT));
    let outcome = value(&client, "key").await;
    assert!(matches!(outcome, Err(Error::DeadlineExceeded)), "{outcome:?}");
    assert!(is_unknown(&put(&client, "key").await));
    drop(client);
    in_time(server.finish()).await;
}

#[tokio::test]
async fn requests_behind_a_silent_handshake_end_by_their_deadlines() {
    let server = FakeServer::run(|server| {
        let mut control = server.accept_ready();
        control.expect_topology_request(1, 0);
        server.accept().expect_hello_only();
    });
    let client = Client::new(server.options().with_timeout(SHORT));
    let mut tasks = JoinSet::new();
    for _ in 0..20 {
        let client = client.clone();
        tasks.spawn(async move { put(&client, "key").await });
    }
    for outcome in in_time(tasks.join_all()).await {
        assert!(matches!(outcome, Err(Error::Unreachable { .. } | Error::DeadlineExceeded)), "{outcome:?}");
    }
    drop(client);
    in_time(server.finish()).await;
}

#[tokio::test]
async fn requests_that_wait_for_room_end_by_their_deadlines() {
    const COUNT: usize = 20;
    let server = FakeServer::run(|server| {
        server.limits.requests_in_flight_max = 2;
        let mut data = server.accept_client();
        data.expect(Opcode::Put, b"key");
        data.expect(Opcode::Put, b"key");
        // Two were sent and never answered: the others find no room, are not sent, and are not taken for sent.
        data.expect_close();
    });
    let client = Client::new(server.options().with_timeout(SHORT));
    let mut tasks = JoinSet::new();
    for _ in 0..COUNT {
        let client = client.clone();
        tasks.spawn(async move { put(&client, "key").await });
    }
    let outcomes = in_time(tasks.join_all()).await;
    assert_eq!(outcomes.iter().filter(|outcome| is_unknown(outcome)).count(), 2);
    let is_late = |outcome: &&Result<_, _>| matches!(outcome, Err(Error::DeadlineExceeded));
    assert_eq!(outcomes.iter().filter(is_late).count(), COUNT - 2, "{outcomes:?}");
    drop(client);
    in_time(server.finish()).await;
}

#[tokio::test]
async fn a_server_that_owes_answers_and_stays_silent_is_taken_for_dead() {
    let server = FakeServer::run(|server| {
        let mut dead = server.accept_client();
        let request = dead.expect(Opcode::Put, b"key");
        dead.written(&request, 1).send();
        dead.expect(Opcode::Get, b"key");
        dead.expect_close();
        let mut alive = server.accept_ready();
        let request = alive.expect(Opcode::Get, b"key");
        alive.found(&request, b"value").send();
        alive.expect_close();
    });
    let options = server.options().with_connect_timeout(4 * SHORT).with_timeout(5 * SHORT);
    let client = Client::new(options);
    assert_eq!(put(&client, "key").await, Ok(1));
    assert!(matches!(value(&client, "key").await, Err(Error::DeadlineExceeded)));
    assert_eq!(value(&client, "key").await, Ok(b"value".to_vec()));
    drop(client);
    in_time(server.finish()).await;
}

#[tokio::test]
async fn requests_behind_a_full_socket_need_no_answer_to_be_sent() {
    // Together far more than the buffers of a socket hold, and less than the server allows under way.
    const COUNT: usize = 14;
    static VALUE: [u8; 1 << 20] = [7; 1 << 20];
    let (is_full, full) = std::sync::mpsc::channel();
    let server = FakeServer::run(move |server| {
        let mut data = server.accept_client();
        full.recv().unwrap();
        let requests: Vec<_> = (0..COUNT).map(|_| data.request()).collect();
        for request in requests {
            data.written(&request, 1).send();
        }
        data.expect_close();
    });
    let client = Client::new(server.options());
    let mut tasks = JoinSet::new();
    for number in 0..COUNT {
        let client = client.clone();
        tasks.spawn(async move { client.put(format!("key {number}").as_bytes(), &VALUE).await });
        // Each comes when those before it have gone as far as they go, and the last ones when the socket takes no more.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
    is_full.send(()).unwrap();
    for outcome in in_time(tasks.join_all()).await {
        assert_eq!(outcome, Ok(1));
    }
    drop(client);
    in_time(server.finish()).await;
}

#[tokio::test]
async fn a_server_that_was_not_asked_for_long_and_is_late_once_is_not_dead() {
    let server = FakeServer::run(|server| {
        let mut data = server.accept_client();
        let request = data.expect(Opcode::Put, b"key");
        data.written(&request, 1).send();
        let late = data.expect(Opcode::Put, b"late");
        let other = data.expect(Opcode::Put, b"other");
        // Behind the deadline of the first, and before that of the second.
        std::thread::sleep(Duration::from_millis(200));
        data.written(&late, 2);
        data.written(&other, 3);
        data.send();
        data.expect_close();
    });
    let options = server.options().with_connect_timeout(2 * SHORT).with_timeout(SHORT);
    let client = Client::new(options);
    assert_eq!(put(&client, "key").await, Ok(1));
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let late = tokio::spawn({
        let client = client.clone();
        async move { put(&client, "late").await }
    });
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(put(&client, "other").await, Ok(3));
    assert!(is_unknown(&late.await.unwrap()));
    drop(client);
    in_time(server.finish()).await;
}
