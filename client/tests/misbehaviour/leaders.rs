//! Leaders that are elsewhere, change, or are lost: the client follows whoever knows, asks the others, and gives up by its deadline.

use std::time::{Duration, Instant};

use corelode_client::{Client, Error, Options};
use corelode_net::ErrorCode;
use tokio::task::JoinSet;

use crate::fake_cluster::{Does, FakeCluster};
use crate::{in_time, is_unknown, put, value};

const SHORT: Duration = Duration::from_millis(500);
/// An address that nobody listens at: the reserved port 1.
const NOBODY: &str = "127.0.0.1:1";

#[tokio::test]
async fn a_node_that_names_the_leader_is_believed_at_once_and_from_then_on() {
    let cluster = FakeCluster::start([Does::Name(Some(2)), Does::Name(Some(2)), Does::Serve]);
    let client = Client::new(cluster.options(0));
    for _ in 0..10 {
        assert_eq!(put(&client, "key").await, Ok(1));
    }
    assert_eq!(cluster.requests(), [1, 0, 10]);
}

#[tokio::test]
async fn a_partition_without_a_leader_is_served_as_soon_as_it_has_one() {
    let cluster = FakeCluster::start([Does::Name(None), Does::Name(None), Does::Name(None)]);
    cluster.set_leader(None);
    let client = Client::new(cluster.options(0));
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { put(&client, "key").await }
    });
    while cluster.requests().iter().sum::<usize>() < 6 {
        tokio::task::yield_now().await;
    }
    assert!(
        cluster.requests().iter().all(|requests| *requests > 0),
        "every replica is asked: {:?}",
        cluster.requests()
    );
    cluster.set(1, Does::Serve);
    assert_eq!(in_time(waiting).await.unwrap(), Ok(1));
}

#[tokio::test]
async fn two_nodes_that_name_each_other_are_not_asked_in_a_frenzy() {
    let cluster = FakeCluster::start([Does::Name(Some(1)), Does::Name(Some(0))]);
    let client = Client::new(cluster.options(0).with_timeout(SHORT));
    let outcome = put(&client, "key").await;
    let Err(Error::Refused { code: Some(ErrorCode::NotLeader), message }) = outcome else { panic!("{outcome:?}") };
    for node in [0, 1] {
        assert!(message.contains(&cluster.address(node)), "it says what each node said: {message}");
    }
    // Delays of 1 to 64 ms with four requests between.
    let requests: usize = cluster.requests().iter().sum();
    assert!((8..100).contains(&requests), "{requests} requests in half a second");
    // It ends by itself once one of them leads.
    let cluster = FakeCluster::start([Does::Name(Some(1)), Does::NameThenServe(0, 6)]);
    assert_eq!(put(&Client::new(cluster.options(0)), "key").await, Ok(1));
}

#[tokio::test]
async fn a_majority_that_does_not_come_back_is_told_by_the_deadline() {
    let cluster = FakeCluster::start([Does::Name(None), Does::Name(None), Does::Name(None)]);
    let client = Client::new(cluster.options(0).with_timeout(SHORT));
    let started = Instant::now();
    for outcome in [put(&client, "key").await.map(drop), value(&client, "key").await.map(drop)] {
        assert!(matches!(outcome, Err(Error::Refused { code: Some(ErrorCode::NotLeader), .. })), "{outcome:?}");
    }
    assert!(started.elapsed() < 3 * SHORT, "{:?}", started.elapsed());
}

#[tokio::test]
async fn any_seed_that_lives_does() {
    let cluster = FakeCluster::start([Does::Serve, Does::Name(Some(0))]);
    for number in 0..8 {
        let seeds = vec![NOBODY.to_owned(), "127.0.0.1:2".to_owned(), cluster.address(number % 2)];
        assert_eq!(put(&Client::new(Options::from_addresses(seeds)), "key").await, Ok(1));
    }
    // One that is silent costs the time until the next is asked.
    cluster.set(1, Does::Silent);
    for _ in 0..4 {
        let seeds = vec![cluster.address(1), cluster.address(0)];
        let started = Instant::now();
        assert_eq!(put(&Client::new(Options::from_addresses(seeds)), "key").await, Ok(1));
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    }
}

#[tokio::test]
async fn without_a_seed_that_lives_the_error_names_them_all() {
    let seeds = vec![NOBODY.to_owned(), "127.0.0.1:2".to_owned()];
    let client = Client::new(Options::from_addresses(seeds.clone()).with_timeout(SHORT));
    let outcome = put(&client, "key").await;
    let Err(Error::Unreachable { reason }) = outcome else { panic!("{outcome:?}") };
    assert!(seeds.iter().all(|seed| reason.contains(seed)), "{reason}");
}

#[tokio::test]
async fn a_read_whose_leader_is_lost_goes_elsewhere_and_a_write_is_unknown() {
    let cluster = FakeCluster::start([Does::Close, Does::Serve, Does::Serve]);
    let client = Client::new(cluster.options(0));
    assert!(is_unknown(&put(&client, "key").await));
    assert_eq!(cluster.requests(), [1, 0, 0], "a write that was sent is sent to nobody else");
    assert_eq!(value(&client, "key").await, Ok(b"value".to_vec()));
}

#[tokio::test]
async fn a_leader_that_falls_silent_is_left() {
    let cluster = FakeCluster::start([Does::Serve, Does::Serve, Does::Name(Some(1))]);
    let client = Client::new(cluster.options(0).with_attempt_timeout(SHORT / 2));
    assert_eq!(put(&client, "key").await, Ok(1));
    cluster.set(0, Does::Silent);
    let started = Instant::now();
    assert_eq!(value(&client, "key").await, Ok(b"value".to_vec()));
    assert!(started.elapsed() < 4 * SHORT, "a read waits for {:?}", started.elapsed());
    // Its map still names the silent node, and so do those of others until they have elected another.
    tokio::time::sleep(SHORT).await;
    let before = cluster.requests()[0];
    for _ in 0..10 {
        assert_eq!(put(&client, "key").await, Ok(1));
    }
    assert_eq!(cluster.requests()[0], before, "nothing more is sent to a node that is silent");
}

#[tokio::test]
async fn a_write_to_a_leader_that_falls_silent_is_unknown_and_sent_once() {
    let cluster = FakeCluster::start([Does::Silent, Does::Serve, Does::Serve]);
    let client = Client::new(cluster.options(1).with_timeout(3 * SHORT));
    assert!(is_unknown(&put(&client, "key").await));
    assert_eq!(cluster.requests(), [1, 0, 0]);
}

#[tokio::test]
async fn a_leader_that_lives_and_is_slow_is_not_left() {
    let cluster = FakeCluster::start([Does::Slow, Does::Name(Some(0)), Does::Name(Some(0))]);
    let client = Client::new(cluster.options(0).with_timeout(4 * SHORT));
    let slow = tokio::spawn({
        let client = client.clone();
        async move { put(&client, "slow").await }
    });
    // Long enough for it to be asked for a sign of life, and judged.
    tokio::time::sleep(2 * SHORT).await;
    cluster.set(0, Does::Serve);
    assert_eq!(put(&client, "key").await, Ok(1));
    assert_eq!(cluster.requests(), [2, 0, 0]);
    assert!(is_unknown(&in_time(slow).await.unwrap()));
}

#[tokio::test]
async fn many_callers_ask_for_one_map() {
    let cluster = FakeCluster::start([Does::Serve, Does::Serve]);
    let client = Client::new(cluster.options(0));
    let mut tasks = JoinSet::new();
    for _ in 0..100 {
        let client = client.clone();
        tasks.spawn(async move { put(&client, "key").await });
    }
    assert!(in_time(tasks.join_all()).await.iter().all(Result::is_ok));
    assert_eq!(cluster.maps(), 1);
    // Nor do they when the leader is lost and all of them look for another.
    cluster.set(0, Does::Name(None));
    cluster.set(1, Does::Name(None));
    cluster.set_leader(None);
    let client = client.clone();
    let mut tasks = JoinSet::new();
    let started = Instant::now();
    for _ in 0..100 {
        let client = client.clone();
        tasks.spawn(async move { put(&client, "key").await });
    }
    tokio::time::sleep(SHORT).await;
    cluster.set(1, Does::Serve);
    assert!(in_time(tasks.join_all()).await.iter().all(Result::is_ok));
    let maps_max = 2 + usize::try_from(started.elapsed().as_millis()).unwrap() / 50;
    assert!(cluster.maps() <= maps_max, "{} maps in {:?}", cluster.maps(), started.elapsed());
}
