//! Errors of the server: its retry class alone decides whether a write is sent again.

use std::time::Duration;

use corelode_client::{Client, Error, ScanOptions};
use corelode_net::limits::KEY_LENGTH_MAX;
use corelode_net::{ErrorCode, Opcode, RetryClass};

use crate::fake_server::FakeServer;
use crate::{in_time, is_unknown, put, value};

#[tokio::test]
async fn a_write_refused_safely_is_sent_again() {
    let server = FakeServer::run(|server| {
        let mut data = server.accept_client();
        for code in [ErrorCode::Overloaded, ErrorCode::Unavailable, ErrorCode::ShuttingDown, ErrorCode::BadChecksum] {
            let request = data.expect(Opcode::Put, b"key");
            data.refuse(&request, code).send();
        }
        let request = data.expect(Opcode::Put, b"key");
        data.written(&request, 9).send();
        data.expect_close();
    });
    let client = Client::new(server.options());
    assert_eq!(put(&client, "key").await, Ok(9));
    drop(client);
    in_time(server.finish()).await;
}

#[tokio::test]
async fn a_write_refused_safely_again_and_again_is_refused_by_its_deadline() {
    let server = FakeServer::run(|server| {
        let mut data = server.accept_client();
        let first = data.expect(Opcode::Put, b"key");
        data.refuse(&first, ErrorCode::Overloaded).send();
        let second = data.expect(Opcode::Put, b"key");
        assert_ne!(first.head.request_id, second.head.request_id, "an id is given out once");
        data.refuse(&second, ErrorCode::Overloaded).send();
        // The rest are answered until the other request ends the loop.
        loop {
            let request = data.request();
            if request.opcode == Opcode::Get {
                data.found(&request, b"value").send();
                break;
            }
            data.refuse(&request, ErrorCode::Overloaded).send();
        }
        data.expect_close();
    });
    let client = Client::new(server.options().with_timeout(Duration::from_secs(2)));
    let outcome = put(&client, "key").await;
    assert!(matches!(outcome, Err(Error::Refused { code: Some(ErrorCode::Overloaded), .. })), "{outcome:?}");
    assert_eq!(value(&client, "key").await, Ok(b"value".to_vec()));
    drop(client);
    in_time(server.finish()).await;
}

/// Each case: how the server refuses a write, and whether its fate is then unknown.
#[tokio::test]
async fn a_write_refused_otherwise_is_not_sent_again() {
    let cases = [
        (ErrorCode::Internal, RetryClass::Unknown, true),
        (ErrorCode::OutcomeUnknown, RetryClass::Unknown, true),
        (ErrorCode::TooLarge, RetryClass::Never, false),
        (ErrorCode::Forbidden, RetryClass::Never, false),
        (ErrorCode::Corruption, RetryClass::Never, false),
        // The class binds more than the code's own.
        (ErrorCode::Overloaded, RetryClass::Unknown, true),
        (ErrorCode::WrongCore, RetryClass::Unknown, true),
        (ErrorCode::DeadlineExceeded, RetryClass::Unknown, true),
        (ErrorCode::StaleMap, RetryClass::Never, false),
    ];
    let server = FakeServer::run(move |server| {
        let mut data = server.accept_client();
        for (code, retry, _) in cases {
            let request = data.expect(Opcode::Put, code.name().as_bytes());
            data.refuse_as(&request, code, retry).send();
        }
        data.expect_close();
    });
    let client = Client::new(server.options());
    for (code, retry, is_fate_unknown) in cases {
        let outcome = put(&client, code.name()).await;
        assert_eq!(is_unknown(&outcome), is_fate_unknown, "{code} of class {retry:?}: {outcome:?}");
        assert_eq!(matches!(outcome, Err(Error::Refused { .. })), !is_fate_unknown, "{code}: {outcome:?}");
    }
    drop(client);
    in_time(server.finish()).await;
}

#[tokio::test]
async fn a_read_is_sent_again_unless_it_would_fail_again() {
    let server = FakeServer::run(|server| {
        let mut data = server.accept_client();
        for code in [ErrorCode::Overloaded, ErrorCode::Internal] {
            let request = data.expect(Opcode::Get, b"key");
            data.refuse(&request, code).send();
        }
        let request = data.expect(Opcode::Get, b"key");
        data.found(&request, b"value").send();
        let request = data.expect(Opcode::Get, b"damaged");
        data.refuse(&request, ErrorCode::Corruption).send();
        data.expect_close();
    });
    let client = Client::new(server.options());
    assert_eq!(value(&client, "key").await, Ok(b"value".to_vec()));
    let outcome = value(&client, "damaged").await;
    assert!(matches!(outcome, Err(Error::Refused { code: Some(ErrorCode::Corruption), .. })), "{outcome:?}");
    drop(client);
    in_time(server.finish()).await;
}

#[tokio::test]
async fn bounds_of_a_scan_that_no_key_has_are_refused_before_they_are_sent() {
    let server = FakeServer::run(|_| {});
    let start = vec![b'k'; KEY_LENGTH_MAX + 2];
    let mut scan = Client::new(server.options()).scan(ScanOptions { start, ..ScanOptions::default() });
    let outcome = in_time(scan.next()).await;
    assert!(matches!(outcome, Err(Error::Invalid { .. })), "{outcome:?}");
    in_time(server.finish()).await;
}
