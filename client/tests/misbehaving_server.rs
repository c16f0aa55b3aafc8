//! The client against a server that misbehaves: whatever comes, no request gets another's answer, no write that may have been executed is sent
//! again, and every call ends by its deadline.

mod fake_server;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use corelode_client::{Client, Error, Options, ScanOptions};
use corelode_net::{ErrorCode, Opcode};
use fake_server::{Asked, FakeServer, Next, Peer, Setup};

/// Long enough for anything that is to succeed.
const PATIENCE: Duration = Duration::from_secs(30);
/// Short enough to be waited out.
const IMPATIENCE: Duration = Duration::from_millis(400);

fn client(server: &FakeServer, timeout: Duration) -> Client {
    Client::new(Options::from_addresses(vec![server.address.to_string()]).with_timeout(timeout))
}

#[track_caller]
fn assert_unknown(outcome: Result<u64, Error>) {
    assert!(matches!(outcome, Err(Error::OutcomeUnknown { .. })), "{outcome:?}");
}

#[tokio::test]
async fn answers_in_another_order_reach_their_requests() {
    let server = FakeServer::start(Setup::default(), |peer, asked| {
        peer.held.push(asked);
        if peer.held.len() == 16 {
            for asked in std::mem::take(&mut peer.held).iter().rev() {
                peer.answer(asked);
            }
        }
        Next::GoOn
    });
    let client = client(&server, PATIENCE);
    let calls: Vec<_> = (0..16)
        .map(|number| {
            let client = client.clone();
            tokio::spawn(async move { (number, client.get(format!("key-{number}").as_bytes()).await) })
        })
        .collect();
    for call in calls {
        let (number, found) = call.await.expect("no panic");
        assert_eq!(found.expect("answered").expect("found").value, format!("key-{number}").into_bytes());
    }
}

#[tokio::test]
async fn an_answer_behind_its_deadline_is_nobodys() {
    let server = FakeServer::start(Setup::default(), |peer, asked| {
        peer.held.push(asked);
        // The first call has given up by the time of the second.
        if peer.held.len() == 2 {
            for asked in std::mem::take(&mut peer.held) {
                peer.answer(&asked);
            }
        }
        Next::GoOn
    });
    let client = client(&server, IMPATIENCE);
    assert_eq!(client.get(b"first").await, Err(Error::DeadlineExceeded));
    assert_eq!(client.get(b"second").await.expect("answered").expect("found").value, b"second");
    assert_eq!(server.seen.connections(), 2, "one for the topology, one for the core, and no other was needed");
}

#[tokio::test]
async fn an_answer_to_no_request_is_nobodys() {
    let server = FakeServer::start(Setup::default(), |peer, asked| {
        let mut stray = asked.clone();
        stray.head.request_id.0 += 1_000_000;
        stray.key = b"stray".to_vec();
        peer.answer(&stray);
        peer.answer(&asked);
        // Twice the same answer: the second one has no request left.
        peer.answer(&asked)
    });
    let client = client(&server, PATIENCE);
    for number in 0..20 {
        let key = format!("key-{number}");
        assert_eq!(client.get(key.as_bytes()).await.expect("answered").expect("found").value, key.as_bytes());
    }
}

#[tokio::test]
async fn a_connection_that_breaks_costs_a_read_time_and_a_write_its_certainty() {
    let server = FakeServer::start(Setup::default(), |peer, asked| match (asked.opcode, asked.number) {
        (Opcode::Get, 0) | (Opcode::Put, _) => Next::Close,
        _ => peer.answer(&asked),
    });
    let client = client(&server, PATIENCE);
    assert_eq!(client.get(b"key").await.expect("asked again").expect("found").value, b"key");
    assert_eq!(server.seen.count(Opcode::Get), 2);
    assert_unknown(client.put(b"key", b"value").await);
    assert_eq!(server.seen.count(Opcode::Put), 1, "a write that was sent is not sent again");
    assert_eq!(client.get(b"key").await.expect("connected again").expect("found").value, b"key");
}

#[tokio::test]
async fn what_surely_was_not_executed_is_sent_again_and_nothing_else_is() {
    let server = FakeServer::start(Setup::default(), |peer, asked| match (asked.key.as_slice(), asked.number) {
        (b"busy", 0..3) => peer.refuse(&asked, ErrorCode::Overloaded),
        (b"unknown", _) => peer.refuse(&asked, ErrorCode::OutcomeUnknown),
        (b"never", _) => peer.refuse(&asked, ErrorCode::TooLarge),
        _ => peer.answer(&asked),
    });
    let client = client(&server, PATIENCE);
    client.put(b"busy", b"value").await.expect("the fourth time");
    assert_eq!(server.seen.count(Opcode::Put), 4);
    assert_unknown(client.put(b"unknown", b"value").await);
    assert_eq!(server.seen.count(Opcode::Put), 5);
    let refused = client.put(b"never", b"value").await;
    assert!(matches!(refused, Err(Error::Refused { code: Some(ErrorCode::TooLarge), .. })), "{refused:?}");
    assert_eq!(server.seen.count(Opcode::Put), 6);
}

#[tokio::test]
async fn a_server_that_is_always_busy_is_reported_by_the_deadline() {
    let server = FakeServer::start(Setup::default(), |peer, asked| peer.refuse(&asked, ErrorCode::Overloaded));
    let outcome = client(&server, IMPATIENCE).put(b"key", b"value").await;
    assert!(matches!(outcome, Err(Error::Refused { code: Some(ErrorCode::Overloaded), .. })), "{outcome:?}");
    assert!(server.seen.count(Opcode::Put) > 2, "it tried again");
}

#[tokio::test]
async fn a_server_that_goes_away_answers_what_it_owes_and_gets_nothing_new() {
    let late = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&late);
    let server = FakeServer::start(Setup::default(), move |peer, asked| {
        if asked.number > 0 {
            if !peer.held.is_empty() {
                counted.fetch_add(1, Ordering::SeqCst);
            }
            return peer.answer(&asked);
        }
        peer.go_away();
        // Long enough for the client to send something new if it were to.
        std::thread::sleep(Duration::from_millis(100));
        peer.held.push(asked.clone());
        peer.answer(&asked)
    });
    let client = client(&server, PATIENCE);
    let first = tokio::spawn({
        let client = client.clone();
        async move { client.put(b"first", b"value").await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    client.put(b"second", b"value").await.expect("over a new connection");
    first.await.expect("no panic").expect("it was owed an answer");
    assert_eq!(server.seen.count(Opcode::Put), 2);
    assert_eq!(late.load(Ordering::SeqCst), 0, "nothing new came over the old connection");
}

/// Each way of breaking the protocol, once, as the answer to the first request.
#[tokio::test]
async fn a_broken_protocol_ends_the_connection_and_not_the_client() {
    type Breakage = fn(&mut Peer, &Asked);
    let breakages: [(&str, Breakage); 6] = [
        ("bytes that are no frame", |peer, _| peer.send(&[0xa5; 256])),
        ("a header with one bit flipped", |peer, asked| {
            let mut answer = Peer::right_answer(asked);
            answer[9] ^= 4;
            peer.send(&answer);
        }),
        ("a version that nobody speaks", |peer, asked| {
            let mut answer = Peer::right_answer(asked);
            answer[..4].copy_from_slice(&[0xff; 4]);
            peer.send(&answer);
        }),
        ("a body that is cut", |peer, asked| {
            let answer = Peer::right_answer(asked);
            peer.send(&answer[..answer.len() - 1]);
        }),
        ("an answer to another question", |peer, asked| {
            let mut other = asked.clone();
            other.opcode = if asked.opcode == Opcode::Get { Opcode::Put } else { Opcode::Get };
            peer.send(&Peer::right_answer(&other));
        }),
        ("nothing at all", |_, _| {}),
    ];
    for (name, breakage) in breakages {
        let server = FakeServer::start(Setup::default(), move |peer, asked| {
            if asked.key == b"breaks" {
                breakage(peer, &asked);
                return Next::Close;
            }
            peer.answer(&asked)
        });
        let client = client(&server, IMPATIENCE);
        let read = client.get(b"breaks").await;
        assert!(read.is_err(), "{name}: {read:?}");
        assert_unknown(client.put(b"breaks", b"value").await);
        // None, if it went into a connection that was being closed.
        assert!(server.seen.count(Opcode::Put) <= 1, "{name}");
        let read = client.get(b"key").await;
        assert_eq!(read.expect(name).expect("found").value, b"key", "{name}");
    }
}

#[tokio::test]
async fn a_damaged_value_is_never_given_out() {
    let server = FakeServer::start(Setup::default(), |peer, asked| {
        let mut answer = Peer::right_answer(&asked);
        *answer.last_mut().expect("a value") ^= 1;
        peer.send(&answer);
        Next::GoOn
    });
    let read = client(&server, IMPATIENCE).get(b"key").await;
    assert!(read.is_err(), "{read:?}");
}

#[tokio::test]
async fn silence_ends_with_the_deadline() {
    let server = FakeServer::start(Setup::default(), |peer, asked| {
        let answer = Peer::right_answer(&asked);
        if asked.key == b"half" {
            peer.send(&answer[..answer.len() / 2]);
        }
        Next::FallSilent
    });
    for key in [&b"half"[..], b"none"] {
        let client = client(&server, IMPATIENCE);
        assert_eq!(client.get(key).await, Err(Error::DeadlineExceeded));
        assert_unknown(client.put(key, b"value").await);
    }
}

#[tokio::test]
async fn a_server_that_never_shakes_hands_is_not_reached() {
    let server = FakeServer::start(Setup { shakes_hands: false, ..Setup::default() }, |_, _| Next::GoOn);
    let options = Options::from_addresses(vec![server.address.to_string()]);
    let client = Client::new(options.with_timeout(IMPATIENCE).with_connect_timeout(Duration::from_millis(100)));
    let started = Instant::now();
    let outcome = client.put(b"key", b"value").await;
    assert!(matches!(outcome, Err(Error::Unreachable { .. })), "{outcome:?}");
    assert!(started.elapsed() < PATIENCE, "it took {:?}", started.elapsed());
}

#[tokio::test]
async fn a_partition_that_moved_is_found_again() {
    let setup = Setup { owner: |asked| u16::from(asked == 0), ..Setup::default() };
    let server = FakeServer::start(setup, |peer, asked| match asked.number {
        0 => peer.refuse(&asked, ErrorCode::WrongCore),
        _ => peer.answer(&asked),
    });
    let client = client(&server, PATIENCE);
    client.put(b"key", b"value").await.expect("at the other core");
    assert_eq!(server.seen.count(Opcode::Put), 2);
    client.put(b"key", b"value").await.expect("served");
    assert_eq!(server.seen.topologies(), 2, "the map was fetched again, once");
}

#[tokio::test]
async fn no_more_is_under_way_than_the_server_allows() {
    const ALLOWED: usize = 4;
    let excess = Arc::new(Mutex::new(0));
    let noted = Arc::clone(&excess);
    let setup = Setup { requests_in_flight_max: u32::try_from(ALLOWED).expect("few"), ..Setup::default() };
    let server = FakeServer::start(setup, move |peer, asked| {
        peer.held.push(asked);
        if peer.held.len() > ALLOWED {
            *noted.lock().expect("no panic") += 1;
        }
        // Answers are held back for as long as more might come.
        if peer.held.len() >= ALLOWED {
            std::thread::sleep(Duration::from_millis(5));
            let received = peer.receive();
            assert!(received, "the client stays");
            let oldest = peer.held.remove(0);
            peer.answer(&oldest);
            if oldest.number + ALLOWED >= 64 {
                for rest in std::mem::take(&mut peer.held) {
                    peer.answer(&rest);
                }
            }
        }
        Next::GoOn
    });
    let client = client(&server, PATIENCE);
    let calls: Vec<_> = (0..64)
        .map(|number| {
            let client = client.clone();
            tokio::spawn(async move { client.get(format!("key-{number}").as_bytes()).await })
        })
        .collect();
    for call in calls {
        call.await.expect("no panic").expect("answered").expect("found");
    }
    assert_eq!(*excess.lock().expect("no panic"), 0);
}

#[tokio::test]
async fn another_cluster_at_the_same_address_gets_nothing() {
    let setup = Setup { cluster: |connection| if connection < 2 { 1 } else { 2 }, ..Setup::default() };
    let server = FakeServer::start(setup, |peer, asked| match asked.number {
        0 => peer.answer(&asked),
        _ => Next::Close,
    });
    let client = client(&server, IMPATIENCE);
    client.put(b"key", b"value").await.expect("served");
    assert_unknown(client.put(b"key", b"value").await);
    // From here on somebody else is there.
    let outcome = client.put(b"key", b"value").await;
    let Err(Error::Unreachable { reason }) = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("cluster"), "{reason}");
    assert_eq!(server.seen.count(Opcode::Put), 2);
}

#[tokio::test]
async fn bounds_of_a_scan_that_no_key_has_are_refused_before_they_are_sent() {
    let server = FakeServer::start(Setup::default(), |_, _| Next::GoOn);
    let options = ScanOptions { start: vec![b'k'; 4098], ..ScanOptions::default() };
    let outcome = client(&server, PATIENCE).scan(options).next().await;
    assert!(matches!(outcome, Err(Error::Invalid { .. })), "{outcome:?}");
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it is bound").to_string();
    drop(listener);
    let client = Client::new(Options::from_addresses(vec![address]).with_timeout(IMPATIENCE));
    let outcome = client.put(b"key", b"value").await;
    assert!(matches!(outcome, Err(Error::Unreachable { .. })), "{outcome:?}");
}
