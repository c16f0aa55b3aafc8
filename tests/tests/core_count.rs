//! Another number of cores at each start, and a kill in the middle of moving: all data is found.

use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use corelode_net::body::{Durability, ReadLevel};
use corelode_net::slot_of;
use corelode_tests::load::Random;
use corelode_tests::server::{Server, ServerOptions, program};
use corelode_tests::wire_client::{Reply, WireClient};

const PARTITIONS: u16 = 8;

fn owner(key: &[u8], cores: u16) -> u16 {
    let partition = u32::from(slot_of(key).get()) * u32::from(PARTITIONS) / 16_384;
    u16::try_from(partition % u32::from(cores)).expect("a core")
}

#[test]
fn data_follows_the_cores_and_survives_kills_on_the_way() {
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let mut options = ServerOptions {
        data_directory: scratch.path().join("data"),
        cores: 1,
        partitions: PARTITIONS,
        is_tiny: true,
        is_without_ring: false,
    };
    let keys: Vec<_> = (0..400).map(|number| format!("key-{number:05}").into_bytes()).collect();
    let mut random = Random::new(7);
    for (round, cores) in [2, 1, 4, 3, 1, 2].into_iter().enumerate() {
        // Starts that are killed before they serve: somewhere between the first log and the last.
        for _ in 0..4 {
            let mut child = Command::new(program())
                .arg("serve")
                .arg("--data-dir")
                .arg(&options.data_directory)
                .args(["--listen", "127.0.0.1:0", "--partitions", "8"])
                .args(["--cores", &cores.to_string()])
                .env("CORELODE_TEST_TINY_STORE", "1")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("the server's program starts");
            thread::sleep(Duration::from_micros(500 * random.below(80)));
            child.kill().expect("the server is ours");
            child.wait().expect("a killed child ends");
        }
        options.cores = cores;
        let server = Server::start(&options);
        let mut clients: Vec<_> =
            (0..cores).map(|core| WireClient::connect(server.address(), core).expect("connects")).collect();
        for key in &keys {
            let client = &mut clients[usize::from(owner(key, cores))];
            if round > 0 {
                let expected = format!("{}-{}", String::from_utf8_lossy(key), round - 1).into_bytes();
                let reply = client.call(|client| client.get(key, ReadLevel::Linearizable));
                assert_eq!(reply.expect("the server serves"), Reply::Found(expected), "round {round}, {cores} cores");
            }
            let value = format!("{}-{round}", String::from_utf8_lossy(key)).into_bytes();
            let reply = client.call(|client| client.put(key, &value, 0, Durability::Synced));
            assert!(matches!(reply.expect("the server serves"), Reply::Written(_)));
        }
        // A client that bound to no particular core is served all the same.
        let stranger = &mut clients[0];
        for key in keys.iter().take(50) {
            let reply = stranger.call(|client| client.get(key, ReadLevel::Linearizable));
            assert!(matches!(reply.expect("the server serves"), Reply::Found(_)));
        }
        drop(clients);
        if round % 2 == 0 {
            server.kill();
        } else {
            server.terminate();
        }
    }
}

#[test]
fn another_number_of_partitions_is_refused_by_name() {
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let options = ServerOptions {
        data_directory: scratch.path().join("data"),
        cores: 1,
        partitions: 4,
        is_tiny: true,
        is_without_ring: false,
    };
    Server::start(&options).terminate();
    let output = Command::new(program())
        .arg("serve")
        .arg("--data-dir")
        .arg(&options.data_directory)
        .args(["--listen", "127.0.0.1:0", "--partitions", "5"])
        .output()
        .expect("the server's program starts");
    assert_eq!(output.status.code(), Some(4));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(complaint.contains("made with 4 partitions") && complaint.contains("--partitions 4"), "{complaint}");
}

/// PITFALL 36.
#[test]
fn a_second_server_on_a_directory_is_refused_by_name() {
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let options = ServerOptions {
        data_directory: scratch.path().join("data"),
        cores: 1,
        partitions: 4,
        is_tiny: true,
        is_without_ring: false,
    };
    let server = Server::start(&options);
    let output = Command::new(program())
        .arg("serve")
        .arg("--data-dir")
        .arg(&options.data_directory)
        .args(["--listen", "127.0.0.1:0"])
        .output()
        .expect("the server's program starts");
    assert_eq!(output.status.code(), Some(4));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(complaint.contains("in use by another corelode process"), "{complaint}");
    server.terminate();
}
