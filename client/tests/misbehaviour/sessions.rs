//! Writes in sessions: sent again with the stamp that they had, told apart from writes that were never sent, and unknown only where nothing else is left.

use std::time::Duration;

use corelode_client::{Client, Error};
use corelode_net::body::SessionPrefix;
use corelode_net::handshake::Features;
use corelode_net::{ErrorCode, Opcode, RetryClass};
use tokio::task::JoinSet;

use crate::fake_cluster::{Does, FakeCluster};
use crate::fake_server::{FakeServer, Running};
use crate::{in_time, is_unknown, put, value};

const SHORT: Duration = Duration::from_millis(500);

/// A server with sessions that does what `script` says.
fn run(script: impl FnOnce(&mut FakeServer) + Send + 'static) -> Running {
    FakeServer::run(|server| {
        server.features = Features::SESSIONS;
        script(server);
    })
}

fn stamp(session: u64, sequence: u64, oldest: u64) -> Option<SessionPrefix> {
    Some(SessionPrefix { session, sequence, oldest })
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_sent_again_with_its_stamp() {
    let server = run(|server| {
        let mut data = server.accept_client();
        data.expect_open(17);
        data.expect_stamped(b"key", (17, 1, 1));
        drop(data);
        let mut data = server.accept_ready();
        let request = data.expect_stamped(b"key", (17, 1, 1));
        // A node that was about to lose its leadership when it came.
        data.refuse(&request, ErrorCode::OutcomeUnknown).send();
        let request = data.expect_stamped(b"key", (17, 1, 1));
        data.written(&request, 5).send();
        let request = data.expect_stamped(b"key", (17, 2, 2));
        data.written(&request, 6).send();
        data.expect_close();
    });
    let client = Client::new(server.options());
    assert_eq!(put(&client, "key").await, Ok(5));
    assert_eq!(put(&client, "key").await, Ok(6));
    drop(client);
    in_time(server.finish()).await;
}

#[tokio::test]
async fn a_write_whose_leader_is_lost_is_sent_to_the_next_with_its_stamp() {
    let cluster = FakeCluster::start_with_sessions([Does::LoseAnswers, Does::Serve, Does::Name(Some(1))]);
    let client = Client::new(cluster.options(0));
    assert_eq!(put(&client, "key").await, Ok(1));
    assert_eq!(cluster.sessions(), 1);
    assert_eq!((cluster.stamps(0), cluster.stamps(1)), (vec![stamp(1, 1, 1)], vec![stamp(1, 1, 1)]));
}

#[tokio::test]
async fn a_write_to_a_leader_that_falls_silent_is_sent_to_the_next_with_its_stamp() {
    let cluster = FakeCluster::start_with_sessions([Does::Serve, Does::Serve, Does::Name(Some(1))]);
    let client = Client::new(cluster.options(0));
    assert_eq!(put(&client, "key").await, Ok(1));
    cluster.set(0, Does::Silent);
    let started = std::time::Instant::now();
    assert_eq!(put(&client, "key").await, Ok(1));
    assert!(started.elapsed() < 4 * SHORT, "it takes {:?}", started.elapsed());
    assert_eq!(cluster.stamps(0), [stamp(1, 1, 1), stamp(1, 2, 2)]);
    assert_eq!(cluster.stamps(1), [stamp(1, 2, 2)]);
}

#[tokio::test]
async fn a_leader_that_lives_and_is_slow_is_not_sent_a_write_twice() {
    let cluster = FakeCluster::start_with_sessions([Does::Serve, Does::Name(Some(0)), Does::Name(Some(0))]);
    let client = Client::new(cluster.options(0).with_timeout(3 * SHORT));
    assert_eq!(put(&client, "key").await, Ok(1));
    cluster.set(0, Does::Slow);
    assert!(is_unknown(&put(&client, "key").await));
    assert_eq!(cluster.requests(), [3, 0, 0], "a session and two writes");
}

#[tokio::test]
async fn a_session_that_expired_before_the_write_is_replaced() {
    let server = run(|server| {
        let mut data = server.accept_client();
        data.expect_open(17);
        let request = data.expect_stamped(b"key", (17, 1, 1));
        data.refuse(&request, ErrorCode::Overloaded).send();
        let request = data.expect_stamped(b"key", (17, 1, 1));
        data.refuse(&request, ErrorCode::SessionExpired).send();
        data.expect_open(18);
        let request = data.expect_stamped(b"key", (18, 1, 1));
        data.written(&request, 5).send();
        data.expect_close();
    });
    let client = Client::new(server.options());
    assert_eq!(put(&client, "key").await, Ok(5));
    drop(client);
    in_time(server.finish()).await;
}

#[tokio::test]
async fn a_session_that_expired_after_a_lost_answer_leaves_the_write_unknown() {
    let server = run(|server| {
        let mut data = server.accept_client();
        data.expect_open(17);
        data.expect_stamped(b"key", (17, 1, 1));
        drop(data);
        let mut data = server.accept_ready();
        let request = data.expect_stamped(b"key", (17, 1, 1));
        data.refuse(&request, ErrorCode::SessionExpired).send();
        data.expect_open(18);
        let request = data.expect_stamped(b"next", (18, 1, 1));
        data.written(&request, 5).send();
        data.expect_close();
    });
    let client = Client::new(server.options());
    let outcome = put(&client, "key").await;
    assert!(is_unknown(&outcome), "{outcome:?}");
    assert_eq!(put(&client, "next").await, Ok(5));
    drop(client);
    in_time(server.finish()).await;
}

#[tokio::test]
async fn a_refusal_does_not_make_a_lost_answer_certain() {
    let cluster = FakeCluster::start_with_sessions([Does::LoseAnswers, Does::Name(None), Does::Name(None)]);
    let client = Client::new(cluster.options(0).with_timeout(SHORT));
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { put(&client, "key").await }
    });
    while cluster.stamps(0).is_empty() {
        tokio::task::yield_now().await;
    }
    // From now on nothing is carried out, and everybody says so.
    cluster.set(0, Does::Name(None));
    let outcome = in_time(waiting).await.unwrap();
    assert!(is_unknown(&outcome), "{outcome:?}");
    for code in [ErrorCode::Forbidden, ErrorCode::SequenceReused, ErrorCode::Unsupported] {
        let server = run(move |server| {
            let mut data = server.accept_client();
            data.expect_open(17);
            data.expect_stamped(b"key", (17, 1, 1));
            drop(data);
            let mut data = server.accept_ready();
            let request = data.expect_stamped(b"key", (17, 1, 1));
            data.refuse(&request, code).send();
            data.expect_close();
        });
        let client = Client::new(server.options());
        let outcome = put(&client, "key").await;
        assert!(is_unknown(&outcome), "{code}: {outcome:?}");
        drop(client);
        in_time(server.finish()).await;
    }
}

#[tokio::test]
async fn sessions_that_do_not_last_are_done_without() {
    let server = run(|server| {
        let mut data = server.accept_client();
        for session in [17, 18] {
            data.expect_open(session);
            let request = data.expect_stamped(b"key", (session, 1, 1));
            data.refuse(&request, ErrorCode::SessionExpired).send();
        }
        for revision in [5, 6] {
            let request = data.expect(Opcode::Put, b"key");
            assert_eq!(request.stamp, None);
            data.written(&request, revision).send();
        }
        data.expect_close();
    });
    let client = Client::new(server.options());
    assert_eq!(put(&client, "key").await, Ok(5));
    assert_eq!(put(&client, "key").await, Ok(6));
    drop(client);
    in_time(server.finish()).await;
}

#[tokio::test]
async fn where_sessions_are_refused_a_write_is_sent_once() {
    let server = run(|server| {
        let mut data = server.accept_client();
        let request = data.expect(Opcode::SessionOpen, b"");
        data.refuse_as(&request, ErrorCode::TooLarge, RetryClass::Never).send();
        let request = data.expect(Opcode::Put, b"key");
        assert_eq!(request.stamp, None);
        data.written(&request, 5).send();
        // None is asked for again at once.
        let request = data.expect(Opcode::Put, b"key");
        assert_eq!(request.stamp, None);
        drop(data);
        let mut data = server.accept_ready();
        let request = data.expect(Opcode::Get, b"key");
        data.found(&request, b"value").send();
        data.expect_close();
    });
    let client = Client::new(server.options());
    assert_eq!(put(&client, "key").await, Ok(5));
    assert!(is_unknown(&put(&client, "key").await));
    assert_eq!(value(&client, "key").await, Ok(b"value".to_vec()));
    drop(client);
    in_time(server.finish()).await;
}

#[tokio::test]
async fn a_client_that_wants_no_sessions_has_none() {
    let cluster = FakeCluster::start_with_sessions([Does::LoseAnswers, Does::Serve, Does::Serve]);
    let client = Client::new(cluster.options(0).without_sessions());
    assert!(is_unknown(&put(&client, "key").await));
    assert_eq!((cluster.requests(), cluster.stamps(0)), (vec![1, 0, 0], vec![None]));
}

/// PITFALL 40.
#[tokio::test]
async fn a_stamp_that_another_write_had_is_told_and_its_session_left() {
    let server = run(|server| {
        let mut data = server.accept_client();
        data.expect_open(17);
        let request = data.expect_stamped(b"key", (17, 1, 1));
        data.refuse(&request, ErrorCode::SequenceReused).send();
        data.expect_open(18);
        let request = data.expect_stamped(b"key", (18, 1, 1));
        data.written(&request, 5).send();
        data.expect_close();
    });
    let client = Client::new(server.options());
    let outcome = put(&client, "key").await;
    assert!(matches!(outcome, Err(Error::Refused { code: Some(ErrorCode::SequenceReused), .. })), "{outcome:?}");
    assert_eq!(put(&client, "key").await, Ok(5));
    drop(client);
    in_time(server.finish()).await;
}

#[tokio::test]
async fn a_write_that_is_given_up_is_passed_by_those_after_it() {
    let (is_sent, sent) = tokio::sync::oneshot::channel();
    let server = run(|server| {
        let mut data = server.accept_client();
        data.expect_open(17);
        data.expect_stamped(b"late", (17, 1, 1));
        data.expect_stamped(b"dropped", (17, 2, 2));
        is_sent.send(()).unwrap();
        let request = data.expect_stamped(b"next", (17, 3, 3));
        data.written(&request, 5).send();
        data.expect_close();
    });
    let client = Client::new(server.options().with_timeout(SHORT));
    assert!(is_unknown(&put(&client, "late").await));
    // Its caller goes away once it was sent.
    tokio::select! {
        outcome = client.put(b"dropped", b"value") => panic!("nobody answers, and yet: {outcome:?}"),
        sent = sent => sent.unwrap(),
    }
    assert_eq!(put(&client, "next").await, Ok(5));
    drop(client);
    in_time(server.finish()).await;
}

#[tokio::test]
async fn many_writers_share_a_session_that_one_of_them_opens() {
    const WRITERS: u64 = 100;
    let cluster = FakeCluster::start_with_sessions([Does::Serve, Does::Serve]);
    let client = Client::new(cluster.options(0));
    let mut tasks = JoinSet::new();
    for _ in 0..WRITERS {
        let client = client.clone();
        tasks.spawn(async move { put(&client, "key").await });
    }
    assert!(in_time(tasks.join_all()).await.iter().all(Result::is_ok));
    let stamps: Vec<_> = cluster.stamps(0).into_iter().map(|stamp| stamp.expect("all are stamped")).collect();
    assert_eq!(cluster.sessions(), 1);
    assert!(stamps.iter().map(|stamp| stamp.sequence).eq(1..=WRITERS), "in order: {stamps:?}");
    assert!(stamps.iter().all(|stamp| stamp.session == 1 && stamp.oldest <= stamp.sequence));
}

#[tokio::test]
async fn writers_beyond_all_windows_wait_for_room() {
    // Eight sessions with windows of 256, and some more.
    const WRITERS: usize = 8 * 256 + 100;
    let cluster = FakeCluster::start_with_sessions([Does::Serve]);
    let client = Client::new(cluster.options(0).with_timeout(4 * SHORT));
    assert_eq!(put(&client, "key").await, Ok(1));
    cluster.set(0, Does::RefuseWrites(ErrorCode::Overloaded));
    let mut tasks = JoinSet::new();
    let write = |client: &Client| {
        let client = client.clone();
        async move { in_time(client.put(b"key", b"value")).await }
    };
    (0..WRITERS).for_each(|_| drop(tasks.spawn(write(&client))));
    let outcomes = tasks.join_all().await;
    assert_eq!(cluster.sessions(), 8);
    // The codec of the fake refuses stamps beyond their window.
    let is_told =
        |outcome: &Result<u64, Error>| matches!(outcome, Err(Error::Refused { .. } | Error::DeadlineExceeded));
    assert!(outcomes.iter().all(is_told), "{outcomes:?}");
    // With room again all of them go on, one waking the next.
    let mut tasks = JoinSet::new();
    (0..WRITERS).for_each(|_| drop(tasks.spawn(write(&client))));
    cluster.set(0, Does::Serve);
    assert!(tasks.join_all().await.iter().all(Result::is_ok));
    assert_eq!(cluster.sessions(), 8);
}

#[tokio::test]
async fn who_goes_away_while_opening_a_session_leaves_it_to_the_next() {
    let (is_asked, asked) = tokio::sync::oneshot::channel();
    let server = run(|server| {
        let mut data = server.accept_client();
        data.expect(Opcode::SessionOpen, b"");
        is_asked.send(()).unwrap();
        data.expect_open(17);
        let request = data.expect_stamped(b"key", (17, 1, 1));
        data.written(&request, 5).send();
        data.expect_close();
    });
    let client = Client::new(server.options());
    let first = tokio::spawn({
        let client = client.clone();
        async move { put(&client, "key").await }
    });
    asked.await.unwrap();
    let second = tokio::spawn({
        let client = client.clone();
        async move { put(&client, "key").await }
    });
    // Spawned tasks run in their order: the second one waits by now.
    tokio::task::yield_now().await;
    first.abort();
    assert_eq!(in_time(second).await.unwrap(), Ok(5));
    drop(client);
    in_time(server.finish()).await;
}

#[tokio::test]
async fn a_client_that_is_closed_ends_its_sessions() {
    let server = run(|server| {
        let mut data = server.accept_client();
        data.expect_open(17);
        let request = data.expect_stamped(b"key", (17, 1, 1));
        data.written(&request, 5).send();
        let request = data.expect(Opcode::SessionClose, b"");
        assert_eq!(request.session, Some(17));
        data.written(&request, 6).send();
        data.expect_close();
    });
    let client = Client::new(server.options());
    assert_eq!(put(&client, "key").await, Ok(5));
    in_time(client.close()).await;
    in_time(server.finish()).await;
}
