//! Partitions that move to another core: the client learns the new map and follows. Another cluster it does not follow.

use std::time::Duration;

use corelode_client::{Client, Error};
use corelode_net::{ClusterId, ErrorCode, MapEpoch, Opcode};

use crate::fake_server::FakeServer;
use crate::{in_time, is_unknown, put, value};

#[tokio::test]
async fn a_partition_that_moved_is_found_where_it_went() {
    let server = FakeServer::run(|server| {
        let mut control = server.accept_ready();
        control.expect_topology_request(1, 0);
        let mut old = server.accept_ready();
        let request = old.expect(Opcode::Put, b"key");
        old.refuse(&request, ErrorCode::WrongCore).send();
        control.expect_topology_request(2, 1);
        let mut new = server.accept_bound(1);
        let request = new.expect(Opcode::Put, b"key");
        new.written(&request, 4).send();
        let request = new.expect(Opcode::Get, b"key");
        new.found(&request, b"value").send();
        old.expect_close();
        new.expect_close();
    });
    let client = Client::new(server.options());
    assert_eq!(put(&client, "key").await, Ok(4));
    assert_eq!(value(&client, "key").await, Ok(b"value".to_vec()));
    drop(client);
    in_time(server.finish()).await;
}

#[tokio::test]
async fn a_newer_epoch_in_an_answer_makes_the_client_fetch_the_map() {
    let server = FakeServer::run(|server| {
        let mut control = server.accept_ready();
        control.expect_topology_request(1, 0);
        let mut old = server.accept_ready();
        // The old core forwards, and says so by its epoch.
        let request = old.expect(Opcode::Get, b"key");
        old.map_epoch = MapEpoch(2);
        old.found(&request, b"forwarded").send();
        control.expect_topology_request(2, 1);
        let mut new = server.accept_bound(1);
        new.map_epoch = MapEpoch(2);
        for _ in 0..2 {
            let request = new.expect(Opcode::Get, b"key");
            new.found(&request, b"direct").send();
        }
        control.expect_silence();
        old.expect_close();
        new.expect_close();
    });
    let client = Client::new(server.options());
    assert_eq!(value(&client, "key").await, Ok(b"forwarded".to_vec()));
    assert_eq!(value(&client, "key").await, Ok(b"direct".to_vec()));
    assert_eq!(value(&client, "key").await, Ok(b"direct".to_vec()));
    drop(client);
    in_time(server.finish()).await;
}

#[tokio::test]
async fn a_core_that_is_gone_after_a_restart_is_asked_no_more() {
    let server = FakeServer::run(|server| {
        let mut control = server.accept_ready();
        control.expect_topology_request(1, 1);
        let mut gone = server.accept_ready();
        let bind = gone.request();
        assert_eq!(bind.opcode, Opcode::Bind);
        gone.refuse(&bind, ErrorCode::StaleMap).send();
        gone.expect_close();
        control.expect_topology_request(1, 0);
        let mut data = server.accept_ready();
        let request = data.expect(Opcode::Put, b"key");
        data.written(&request, 6).send();
        data.expect_close();
    });
    let client = Client::new(server.options());
    assert_eq!(put(&client, "key").await, Ok(6));
    drop(client);
    in_time(server.finish()).await;
}

#[tokio::test]
async fn a_map_with_a_hole_is_refused() {
    let server = FakeServer::run(|server| {
        let mut control = server.accept_ready();
        let request = control.expect(Opcode::Topology, b"");
        control.empty(&request).send();
        control.expect_close();
    });
    let client = Client::new(server.options());
    assert!(matches!(put(&client, "key").await, Err(Error::Protocol { .. })));
    drop(client);
    in_time(server.finish()).await;
}

#[tokio::test]
async fn another_cluster_at_the_same_address_gets_nothing() {
    let server = FakeServer::run(|server| {
        let mut data = server.accept_client();
        data.expect(Opcode::Put, b"key");
        drop(data);
        server.cluster = ClusterId([2; 16]);
        // The client tries again, and says nothing more once it was welcomed.
        for _ in 0..2 {
            let mut other = server.accept_ready();
            other.expect_silence();
            other.expect_close();
        }
        // That of the attempt that was under way at the deadline.
        server.accept().expect_hello_only();
    });
    let client = Client::new(server.options().with_timeout(Duration::from_secs(2)));
    assert!(is_unknown(&put(&client, "key").await));
    let Err(Error::Unreachable { reason }) = put(&client, "key").await else { panic!("nobody answers") };
    assert!(reason.contains("the client has spoken with cluster"), "{reason}");
    drop(client);
    in_time(server.finish()).await;
}
