//! Both ends of the handshake against each other, and against those who do not play by its rules.

// A test fails by panicking, in its helpers too.
#![allow(clippy::unwrap_used)]

mod common;

use common::{client_config, samples, secret, server_config, with_frame};
use corelode_net::handshake::{
    Accepted, ClientConfig, ClientHandshake, Connected, Credentials, Features, HandshakeError, Nonce, Secret, Secrets,
    ServerConfig, ServerHandshake, VersionRange,
};
use corelode_net::limits::{HANDSHAKE_BODY_SIZE_BYTES_MAX, NAME_LENGTH_MAX};
use corelode_net::table::{ErrorReply, TableBuilder};
use corelode_net::{ErrorCode, FrameReader, Inbound, Role};

const CLIENT_NONCE: Nonce = Nonce([1; 32]);
const SERVER_NONCE: Nonce = Nonce([2; 32]);

/// What each side sent, in order.
#[derive(Default)]
struct Transcript {
    from_client: Vec<Vec<u8>>,
    from_server: Vec<Vec<u8>>,
}

type Outcome = (Result<Connected, HandshakeError>, Result<Accepted, HandshakeError>);

/// Runs both ends until both are done. `tamper` may change what the server receives and sends.
fn run_with(
    client: &ClientConfig,
    server: &ServerConfig,
    tamper: &mut dyn FnMut(&mut Vec<u8>),
) -> (Outcome, Transcript) {
    let mut tables = TableBuilder::new();
    let mut transcript = Transcript::default();
    let mut outgoing = Vec::new();
    let mut client_end = ClientHandshake::begin(client, CLIENT_NONCE, &mut tables, &mut outgoing);
    let mut server_end = ServerHandshake::new(SERVER_NONCE);
    let mut accepted = Err(HandshakeError::Over);
    let connected = loop {
        tamper(&mut outgoing);
        transcript.from_client.push(std::mem::take(&mut outgoing));
        let mut answer = Vec::new();
        let bytes = transcript.from_client.last().unwrap();
        match read(bytes, |frame| server_end.on_frame(frame, server, &mut tables, &mut answer)) {
            Ok(Some(done)) => accepted = Ok(done),
            Ok(None) => {}
            Err(error) => accepted = Err(error),
        }
        tamper(&mut answer);
        transcript.from_server.push(answer);
        let bytes = transcript.from_server.last().unwrap();
        match read(bytes, |frame| client_end.on_frame(frame, client, &mut tables, &mut outgoing)) {
            Ok(Some(done)) => break Ok(done),
            Ok(None) => {}
            Err(error) => break Err(error),
        }
    };
    assert!(client_end.is_over());
    ((connected, accepted), transcript)
}

fn run(client: &ClientConfig, server: &ServerConfig) -> Outcome {
    run_with(client, server, &mut |_| {}).0
}

/// As a connection reads before the handshake is complete: within its limit.
fn read<R>(bytes: &[u8], use_frame: impl FnOnce(&corelode_net::Frame<'_>) -> R) -> R {
    let mut reader = FrameReader::new(HANDSHAKE_BODY_SIZE_BYTES_MAX);
    reader.push(bytes);
    use_frame(&reader.next_frame().unwrap().expect("a whole frame"))
}

fn credentials(role: Role, secret: &Secret) -> Option<Credentials> {
    Some(Credentials { role, secret: secret.clone() })
}

fn all_secrets() -> [Secret; 4] {
    ["a secret for readers", "a secret for writers", "a secret for admins", "a secret for peers"].map(secret)
}

fn server_with_all() -> ServerConfig {
    let [read, write, admin, peer] = all_secrets();
    let secrets = Secrets::default().with(Role::Read, read).with(Role::Write, write);
    server_config(secrets.with(Role::Admin, admin).with(Role::Peer, peer))
}

#[test]
fn without_secrets_everybody_may_do_everything() {
    let (connected, accepted) = run(&client_config(None), &server_config(Secrets::default()));
    let (connected, accepted) = (connected.unwrap(), accepted.unwrap());
    assert_eq!((connected.role, accepted.role), (Role::Admin, Role::Admin));
    assert_eq!((connected.welcome.version, accepted.version), (1, 1));
    assert_eq!(accepted.client_name, "a test");
    assert!(!connected.welcome.authentication_required);
    assert_eq!(connected.welcome.core_count, 2);
}

#[test]
fn each_role_is_had_by_its_own_secret_only() {
    let roles = [Role::Read, Role::Write, Role::Admin, Role::Peer];
    for (role, own) in roles.into_iter().zip(all_secrets()) {
        let (connected, accepted) = run(&client_config(credentials(role, &own)), &server_with_all());
        assert_eq!((connected.unwrap().role, accepted.unwrap().role), (role, role));
        for other in roles.into_iter().filter(|&other| other != role) {
            let (connected, accepted) = run(&client_config(credentials(other, &own)), &server_with_all());
            assert_eq!(accepted, Err(HandshakeError::WrongProof));
            assert_eq!(connected.unwrap_err().code(), ErrorCode::AuthFailed);
        }
    }
}

#[test]
fn a_role_without_a_secret_is_closed() {
    let server = server_config(Secrets::default().with(Role::Read, secret("a secret for readers")));
    for guess in ["a secret for readers", "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"] {
        let (_, accepted) = run(&client_config(credentials(Role::Admin, &secret(guess))), &server);
        assert_eq!(accepted, Err(HandshakeError::WrongProof));
    }
}

#[test]
fn a_client_without_the_needed_secret_says_so() {
    let (connected, _) = run(&client_config(None), &server_with_all());
    assert_eq!(connected, Err(HandshakeError::SecretNeeded));
}

#[test]
fn a_client_with_a_secret_refuses_a_server_that_proves_nothing() {
    let [read, ..] = all_secrets();
    let (connected, _) = run(&client_config(credentials(Role::Read, &read)), &server_config(Secrets::default()));
    assert_eq!(connected, Err(HandshakeError::ServerWithoutSecret));
}

#[test]
fn an_impostor_cannot_reflect_the_clients_proof() {
    let [read, ..] = all_secrets();
    let client = client_config(credentials(Role::Read, &read));
    let server = server_with_all();
    let mut tables = TableBuilder::new();
    let (mut hello, mut welcome, mut auth, mut reply) = Default::default();
    let mut client_end = ClientHandshake::begin(&client, CLIENT_NONCE, &mut tables, &mut hello);
    // The impostor copies a real server's welcome but has no secret.
    let mut server_end = ServerHandshake::new(SERVER_NONCE);
    with_frame(&hello, |frame| server_end.on_frame(frame, &server, &mut tables, &mut welcome)).unwrap();
    with_frame(&welcome, |frame| client_end.on_frame(frame, &client, &mut tables, &mut auth)).unwrap();
    with_frame(&auth, |frame| {
        // AUTH and its reply have the same layout: send the client's own proof back.
        let mut writer = corelode_net::FrameWriter::begin(&mut reply);
        writer.body().extend_from_slice(frame.body);
        let head = corelode_net::ReplyHead::to(&frame.header, server.map_epoch);
        writer.finish(&head.fields(corelode_net::Flags::NONE));
    });
    let result = with_frame(&reply, |frame| client_end.on_frame(frame, &client, &mut tables, &mut Vec::new()));
    assert_eq!(result, Err(HandshakeError::ServerUnproven));
}

#[test]
fn a_recorded_handshake_cannot_be_replayed() {
    let [_, write, ..] = all_secrets();
    let (_, recorded) = run_with(&client_config(credentials(Role::Write, &write)), &server_with_all(), &mut |_| {});
    let mut tables = TableBuilder::new();
    let mut out = Vec::new();
    let mut server_end = ServerHandshake::new(Nonce([3; 32]));
    let [hello, auth] = &recorded.from_client[..] else { panic!("two frames of the client") };
    assert_eq!(
        with_frame(hello, |frame| server_end.on_frame(frame, &server_with_all(), &mut tables, &mut out)),
        Ok(None)
    );
    assert_eq!(
        with_frame(auth, |frame| server_end.on_frame(frame, &server_with_all(), &mut tables, &mut out)),
        Err(HandshakeError::WrongProof)
    );
    assert!(server_end.is_over());
}

#[test]
fn whoever_changes_a_byte_of_hello_or_welcome_breaks_the_proof() {
    let [_, write, ..] = all_secrets();
    let client = client_config(credentials(Role::Write, &write));
    let (_, untouched) = run_with(&client, &server_with_all(), &mut |_| {});
    let bodies = [&untouched.from_client[0], &untouched.from_server[0]];
    for (turn, body) in bodies.into_iter().enumerate() {
        for at in 32..body.len() {
            let mut count = 0;
            let ((connected, accepted), _) = run_with(&client, &server_with_all(), &mut |bytes| {
                if count == turn {
                    bytes[at] ^= 0x01;
                    let crc = crc32fast::hash(&bytes[32..]);
                    bytes[28..32].copy_from_slice(&crc.to_le_bytes());
                    let crc = crc32fast::hash(&[&bytes[..4], &bytes[8..32]].concat());
                    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
                }
                count += 1;
            });
            assert!(connected.is_err() && accepted.is_err(), "byte {at} of message {turn}");
        }
    }
}

#[test]
fn the_newest_common_version_is_chosen() {
    let range = |min, max| VersionRange { min, max };
    for (client, server, common) in [
        (range(1, 1), range(1, 1), Some(1)),
        (range(1, 3), range(2, 5), Some(3)),
        (range(2, 5), range(1, 3), Some(3)),
        (range(1, 2), range(3, 4), None),
        (range(3, 4), range(1, 2), None),
        (range(0, 9), range(4, 4), Some(4)),
        (range(5, 2), range(1, 9), None),
    ] {
        let client = ClientConfig { versions: client, ..client_config(None) };
        let server = ServerConfig { versions: server, ..server_config(Secrets::default()) };
        let (connected, accepted) = run(&client, &server);
        assert_eq!(accepted.as_ref().ok().map(|accepted| accepted.version), common);
        match common {
            Some(version) => assert_eq!(connected.unwrap().welcome.version, version),
            None => assert_eq!(connected.unwrap_err().code(), ErrorCode::UnsupportedVersion),
        }
    }
}

#[test]
fn only_features_of_both_ends_are_used() {
    let features = |bits| Features(bits);
    let client = ClientConfig { features: features(0b0110), ..client_config(None) };
    let server = ServerConfig { features: features(0b1010), ..server_config(Secrets::default()) };
    let (connected, accepted) = run(&client, &server);
    assert_eq!((connected.unwrap().welcome.features, accepted.unwrap().features), (Features(0b0010), Features(0b0010)));
}

#[test]
fn nothing_but_the_handshake_is_heard_before_it_is_complete() {
    let mut tables = TableBuilder::new();
    for config in [server_config(Secrets::default()), server_with_all()] {
        for (name, bytes) in samples() {
            if name == "HELLO" {
                continue;
            }
            let mut out = Vec::new();
            let mut fresh = ServerHandshake::new(SERVER_NONCE);
            let error = with_frame(&bytes, |frame| fresh.on_frame(frame, &config, &mut tables, &mut out)).unwrap_err();
            assert!(fresh.is_over(), "{name}");
            assert_answered_with(&out, error.code());
        }
    }
    let hello = samples().into_iter().find(|(name, _)| *name == "HELLO").unwrap().1;
    for (name, bytes) in samples() {
        let mut greeted = ServerHandshake::new(Nonce([9; 32]));
        with_frame(&hello, |frame| greeted.on_frame(frame, &server_with_all(), &mut tables, &mut Vec::new())).unwrap();
        let mut out = Vec::new();
        let error =
            with_frame(&bytes, |frame| greeted.on_frame(frame, &server_with_all(), &mut tables, &mut out)).unwrap_err();
        if !name.starts_with("AUTH") {
            assert_eq!(error.code(), ErrorCode::AuthRequired, "{name}");
        }
        assert_answered_with(&out, error.code());
    }
}

fn assert_answered_with(out: &[u8], code: ErrorCode) {
    with_frame(out, |frame| {
        assert!(matches!(frame.inbound(), Ok(Inbound::Error(_) | Inbound::ConnectionError)));
        assert_eq!(ErrorReply::decode(frame).unwrap().error_code(), Some(code));
    });
}

#[test]
fn a_failed_handshake_stays_failed() {
    let mut tables = TableBuilder::new();
    let samples = samples();
    let bytes = |wanted| &samples.iter().find(|(name, _)| *name == wanted).unwrap().1;
    let mut server_end = ServerHandshake::new(SERVER_NONCE);
    let config = server_config(Secrets::default());
    let mut feed =
        |name| with_frame(bytes(name), |frame| server_end.on_frame(frame, &config, &mut tables, &mut Vec::new()));
    assert!(feed("GET").is_err());
    assert_eq!(feed("HELLO"), Err(HandshakeError::Over));
}

#[test]
fn messages_of_the_handshake_fit_its_limit() {
    let mut client = client_config(credentials(Role::Write, &all_secrets()[1]));
    client.client_name = "n".repeat(500);
    let mut server = server_with_all();
    server.server_version = "v".repeat(500);
    let ((connected, accepted), transcript) = run_with(&client, &server, &mut |_| {});
    assert_eq!(connected.unwrap().welcome.server_version.len(), NAME_LENGTH_MAX);
    assert_eq!(accepted.unwrap().client_name.len(), NAME_LENGTH_MAX);
    for message in transcript.from_client.iter().chain(&transcript.from_server) {
        assert!(message.len() <= 32 + HANDSHAKE_BODY_SIZE_BYTES_MAX);
    }
}

#[test]
fn a_short_secret_is_refused_and_none_is_shown() {
    assert!(Secret::new(b"fifteen bytes..").is_err());
    let shown = format!("{:?}", credentials(Role::Read, &secret("do not show this one")));
    assert!(!shown.contains("show"), "{shown}");
}
