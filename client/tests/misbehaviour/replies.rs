//! Each request gets its own answer and no other, however answers come.

use corelode_client::Client;
use corelode_net::{Opcode, RequestId};
use tokio::task::JoinSet;

use crate::fake_server::FakeServer;
use crate::{in_time, put, value};

#[tokio::test]
async fn answers_out_of_order_reach_their_own_requests() {
    const COUNT: usize = 64;
    let server = FakeServer::run(|server| {
        let mut data = server.accept_client();
        let requests: Vec<_> = (0..COUNT).map(|_| data.request()).collect();
        // Every second one first, and then the others backwards.
        let (even, odd): (Vec<_>, Vec<_>) = requests.iter().enumerate().partition(|(number, _)| number % 2 == 0);
        for (_, request) in even.into_iter().chain(odd.into_iter().rev()) {
            data.found(request, &request.key);
        }
        data.send();
        data.expect_close();
    });
    let client = Client::new(server.options());
    let mut tasks = JoinSet::new();
    for number in 0..COUNT {
        let client = client.clone();
        tasks.spawn(async move {
            let key = format!("key {number}");
            assert_eq!(value(&client, &key).await, Ok(key.into_bytes()));
        });
    }
    in_time(tasks.join_all()).await;
    drop(client);
    in_time(server.finish()).await;
}

#[tokio::test]
async fn an_answer_to_a_request_that_its_caller_gave_up_reaches_nobody() {
    let (is_asked, asked) = tokio::sync::oneshot::channel();
    let server = FakeServer::run(|server| {
        let mut data = server.accept_client();
        let given_up = data.expect(Opcode::Get, b"given up");
        is_asked.send(()).unwrap();
        let next = data.expect(Opcode::Get, b"next");
        data.found(&given_up, b"late").found(&next, b"right").send();
        // A second answer to the same request, and one to a request that never was.
        let last = data.expect(Opcode::Get, b"last");
        data.found(&given_up, b"late again").found(&next, b"twice");
        let mut never = last.clone();
        never.head.request_id = RequestId(last.head.request_id.0 + 1000);
        data.found(&never, b"unasked").found(&last, b"right again").send();
        data.expect_close();
    });
    let client = Client::new(server.options());
    tokio::select! {
        _ = client.get(b"given up") => panic!("nobody answered it"),
        _ = asked => {}
    }
    assert_eq!(value(&client, "next").await, Ok(b"right".to_vec()));
    assert_eq!(value(&client, "last").await, Ok(b"right again".to_vec()));
    drop(client);
    in_time(server.finish()).await;
}

#[tokio::test]
async fn an_answer_of_another_kind_is_no_answer() {
    let server = FakeServer::run(|server| {
        let mut data = server.accept_client();
        let mut get = data.expect(Opcode::Get, b"key");
        get.head.opcode = Opcode::Put.to_wire();
        data.written(&get, 1).send();
        // The same for a write: it may have been applied.
        let mut write = data.expect(Opcode::Put, b"key");
        write.head.opcode = Opcode::Get.to_wire();
        data.found(&write, b"value").send();
        data.expect_close();
    });
    let client = Client::new(server.options());
    assert!(matches!(value(&client, "key").await, Err(corelode_client::Error::Protocol { .. })));
    assert!(crate::is_unknown(&put(&client, "key").await));
    drop(client);
    in_time(server.finish()).await;
}

#[tokio::test]
async fn an_answer_counts_though_the_connection_fails_right_behind_it() {
    let server = FakeServer::run(|server| {
        let mut data = server.accept_client();
        let request = data.expect(Opcode::Put, b"key");
        data.written(&request, 3).connection_error(corelode_net::ErrorCode::Internal).send();
        data.expect_close();
    });
    let client = Client::new(server.options());
    assert_eq!(put(&client, "key").await, Ok(3));
    drop(client);
    in_time(server.finish()).await;
}

#[tokio::test]
async fn no_more_requests_are_under_way_than_the_server_allows() {
    const ALLOWED: usize = 4;
    const COUNT: usize = 20;
    let server = FakeServer::run(|server| {
        server.limits.requests_in_flight_max = u32::try_from(ALLOWED).unwrap();
        let mut data = server.accept_client();
        let mut requests: Vec<_> = (0..ALLOWED).map(|_| data.request()).collect();
        data.expect_silence();
        for _ in ALLOWED..COUNT {
            let request = requests.remove(0);
            data.found(&request, &request.key).send();
            requests.push(data.request());
        }
        data.expect_silence();
        for request in requests {
            data.found(&request, &request.key).send();
        }
        data.expect_close();
    });
    let client = Client::new(server.options());
    let mut tasks = JoinSet::new();
    for number in 0..COUNT {
        let client = client.clone();
        tasks.spawn(async move {
            let key = format!("key {number}");
            assert_eq!(value(&client, &key).await, Ok(key.into_bytes()));
        });
    }
    in_time(tasks.join_all()).await;
    drop(client);
    in_time(server.finish()).await;
}

/// The server counts a deadline from receipt: one that was written when the request began to wait would be too late.
#[tokio::test]
async fn a_request_that_waited_is_sent_with_the_time_that_is_left() {
    let server = FakeServer::run(|server| {
        server.limits.requests_in_flight_max = 1;
        let mut data = server.accept_client();
        let first = data.request();
        // It looks for a tenth of a second.
        data.expect_silence();
        data.found(&first, &first.key).send();
        let second = data.request();
        let (was, is) = (first.deadline_ms, second.deadline_ms);
        assert!(is > 0 && is + 50 < was, "{was} ms were left for the first, and {is} ms for the second");
        data.found(&second, &second.key).send();
        data.expect_close();
    });
    let client = Client::new(server.options());
    let (one, other) = tokio::join!(value(&client, "one"), value(&client, "other"));
    assert!(one.is_ok() && other.is_ok());
    drop(client);
    in_time(server.finish()).await;
}
