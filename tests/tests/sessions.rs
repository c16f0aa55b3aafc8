//! Writes that are sent again, on the wire: applied once, after a lost connection, a kill, and on another leader.

use std::time::{Duration, Instant};

use corelode_net::body::{ReadLevel, SessionPrefix};
use corelode_tests::cluster::Cluster;
use corelode_tests::server::{Server, ServerOptions};
use corelode_tests::wire_client::{Reply, WireClient};

const KEY: &[u8] = b"key";
const MINUTE_MS: u64 = 60_000;

fn prefix(session: u64, sequence: u64) -> SessionPrefix {
    SessionPrefix { session, sequence, oldest: 1 }
}

fn revision_of(reply: &Reply) -> u64 {
    match reply {
        Reply::Written(revision) => *revision,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_write_that_is_sent_again_after_a_kill_is_applied_once() {
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let options = ServerOptions {
        data_directory: scratch.path().join("data"),
        cores: 2,
        partitions: 1,
        is_tiny: true,
        is_without_ring: false,
    };
    let server = Server::start(&options);
    // Of the two cores one has the partition, and the other sends on what it is asked.
    let mut first = WireClient::connect(server.address(), 0).expect("connects");
    let mut second = WireClient::connect(server.address(), 1).expect("connects");
    let session = revision_of(&second.call(|client| client.open_session(0, MINUTE_MS)).expect("served"));
    let put = |client: &mut WireClient, sequence, value: &[u8]| {
        client.call(|client| client.put_in_session(prefix(session, sequence), KEY, value)).expect("served")
    };
    let once = put(&mut first, 1, b"once");
    let then = put(&mut second, 2, b"then");
    assert!(revision_of(&then) > revision_of(&once));
    assert_eq!(put(&mut second, 1, b"once"), once);
    let Reply::Refused(reason) = put(&mut first, 1, b"another") else { panic!("it was another write") };
    assert!(reason.starts_with("SEQUENCE_REUSED"), "{reason}");
    server.kill();

    let server = Server::start(&options);
    let mut client = WireClient::connect(server.address(), 1).expect("connects");
    assert_eq!(put(&mut client, 1, b"once"), once, "the log remembers");
    let read = client.call(|client| client.get(KEY, ReadLevel::Linearizable)).expect("served");
    assert_eq!(read, Reply::Found(b"then".to_vec()));
    client.call(|client| client.close_session(0, session)).expect("served");
    let Reply::Refused(reason) = put(&mut client, 3, b"late") else { panic!("the session was closed") };
    assert!(reason.starts_with("SESSION_EXPIRED"), "{reason}");
    let short = revision_of(&client.call(|client| client.open_session(0, 50)).expect("served"));
    std::thread::sleep(Duration::from_millis(60));
    let late = client.call(|client| client.put_in_session(prefix(short, 1), KEY, b"late")).expect("served");
    assert!(matches!(late, Reply::Refused(_)), "{late:?}");
    let read = client.call(|client| client.get(KEY, ReadLevel::Linearizable)).expect("served");
    assert_eq!(read, Reply::Found(b"then".to_vec()));
    server.terminate();
}

#[test]
fn a_write_that_is_sent_again_to_the_next_leader_is_applied_once() {
    const PATIENCE: Duration = Duration::from_secs(30);
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let mut cluster = Cluster::start(scratch.path(), 1, 1);
    let on_leader = |cluster: &Cluster, nodes: &[usize], queue: &dyn Fn(&mut WireClient) -> _| {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            for &node in nodes {
                let Ok(mut client) = WireClient::connect(cluster.server(node).address(), 0) else { continue };
                match client.call(queue) {
                    Ok(Reply::Refused(reason)) if reason.starts_with("NOT_LEADER") => {}
                    Ok(reply) => return (node, reply),
                    Err(_) => {}
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("nobody leads");
    };
    let (_, opened) = on_leader(&cluster, &[0, 1, 2], &|client| client.open_session(0, MINUTE_MS));
    let session = revision_of(&opened);
    let put = |cluster: &Cluster, nodes: &[usize], sequence, value: &'static [u8]| {
        on_leader(cluster, nodes, &move |client| client.put_in_session(prefix(session, sequence), KEY, value))
    };
    let (leader, once) = put(&cluster, &[0, 1, 2], 1, b"once");
    let (_, then) = put(&cluster, &[leader], 2, b"then");
    cluster.kill(leader);
    let others: Vec<_> = (0..3).filter(|node| *node != leader).collect();
    assert_eq!(put(&cluster, &others, 1, b"once").1, once);
    assert_eq!(put(&cluster, &others, 2, b"then").1, then);
    assert_eq!(cluster.get(KEY), Some(b"then".to_vec()));
    cluster.restart(leader);
    cluster.terminate();
}
