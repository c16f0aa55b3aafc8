//! The server's end of the handshake.

use crate::frame::Frame;
use crate::frame_writer::FrameWriter;
use crate::handshake::error::HandshakeError;
use crate::handshake::messages::{Hello, RoleProof};
use crate::handshake::proof::{HelloHash, Nonce, Secrets, Transcript};
use crate::handshake::{Features, VersionRange};
use crate::header::{Flags, ReplyHead};
use crate::ids::{ClusterId, CoreIndex, MapEpoch, NodeId};
use crate::opcode::{Opcode, Role};
use crate::table::{ErrorReply, Limits, TableBuilder, Welcome};

/// What a core tells every client that connects. One for each core; the map's epoch is kept up to date by its owner.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The versions it speaks.
    pub versions: VersionRange,
    /// The features it has.
    pub features: Features,
    /// Its version, for people.
    pub server_version: String,
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The node.
    pub node_id: NodeId,
    /// The core.
    pub core: CoreIndex,
    /// How many cores the node has.
    pub core_count: u16,
    /// The map as of now.
    pub map_epoch: MapEpoch,
    /// What clients may send.
    pub limits: Limits,
    /// The secrets. With none the server asks for none, and every client may do everything.
    pub secrets: Secrets,
}

/// A completed handshake, as the server sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Accepted {
    /// The protocol version of the connection.
    pub version: u16,
    /// The features of the connection.
    pub features: Features,
    /// What the client may do.
    pub role: Role,
    /// What the client calls itself, for people.
    pub client_name: String,
}

/// The server's state machine. Feed it every frame until it is complete or fails.
#[derive(Debug)]
pub struct ServerHandshake {
    state: State,
}

#[derive(Debug)]
enum State {
    AwaitHello {
        nonce: Nonce,
    },
    /// WELCOME is sent, and only AUTH may follow.
    AwaitAuth {
        transcript: Transcript,
        version: u16,
        features: Features,
        client_name: String,
    },
    Over,
}

impl ServerHandshake {
    /// Waits for HELLO, with a fresh challenge.
    #[must_use]
    pub fn new(nonce: Nonce) -> Self {
        Self { state: State::AwaitHello { nonce } }
    }

    /// Takes the client's next frame and appends the answer to `out`. `Some` means that the handshake is complete: flush
    /// the answer, raise the reader's body limit, serve.
    ///
    /// # Errors
    /// The handshake failed, and the error reply is in `out`: flush it and close.
    pub fn on_frame(
        &mut self,
        frame: &Frame<'_>,
        config: &ServerConfig,
        tables: &mut TableBuilder,
        out: &mut Vec<u8>,
    ) -> Result<Option<Accepted>, HandshakeError> {
        let head = ReplyHead::to(&frame.header, config.map_epoch);
        let result = match std::mem::replace(&mut self.state, State::Over) {
            State::AwaitHello { nonce } => self.on_hello(nonce, frame, config, tables, out),
            State::AwaitAuth { transcript, version, features, client_name } => {
                on_auth(&transcript, frame, config, tables, out)
                    .map(|role| Some(Accepted { version, features, role, client_name }))
            }
            State::Over => Err(HandshakeError::Over),
        };
        if let Err(error) = &result {
            ErrorReply::with_message(error.code(), &error.to_string()).encode(head, tables, out);
        }
        result
    }

    fn on_hello(
        &mut self,
        nonce: Nonce,
        frame: &Frame<'_>,
        config: &ServerConfig,
        tables: &mut TableBuilder,
        out: &mut Vec<u8>,
    ) -> Result<Option<Accepted>, HandshakeError> {
        if frame.header.opcode() != Some(Opcode::Hello) {
            return Err(HandshakeError::OutOfOrder { opcode: frame.header.fields.opcode, is_proof_due: false });
        }
        frame.request()?;
        let hello = Hello::read(frame.body)?;
        let version = config
            .versions
            .newest_common(hello.versions)
            .ok_or(HandshakeError::Version { ours: config.versions, theirs: hello.versions })?;
        let welcome = Welcome {
            version,
            features: config.features.common(hello.features),
            nonce,
            authentication_required: !config.secrets.is_empty(),
            cluster_id: config.cluster_id,
            node_id: config.node_id,
            core: config.core,
            core_count: config.core_count,
            map_epoch: config.map_epoch,
            server_version: config.server_version.clone(),
            limits: config.limits,
        };
        let body = welcome.build(tables);
        let head = ReplyHead::to(&frame.header, config.map_epoch);
        append(out, head, body);
        let (features, client_name) = (welcome.features, hello.client_name.to_owned());
        if !welcome.authentication_required {
            return Ok(Some(Accepted { version, features, role: Role::Admin, client_name }));
        }
        let transcript = Transcript::new(hello.nonce, nonce, HelloHash::of(frame.body), body);
        self.state = State::AwaitAuth { transcript, version, features, client_name };
        Ok(None)
    }

    /// Whether the handshake is complete or has failed.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }
}

fn on_auth(
    transcript: &Transcript,
    frame: &Frame<'_>,
    config: &ServerConfig,
    tables: &mut TableBuilder,
    out: &mut Vec<u8>,
) -> Result<Role, HandshakeError> {
    if frame.header.opcode() != Some(Opcode::Auth) {
        return Err(HandshakeError::OutOfOrder { opcode: frame.header.fields.opcode, is_proof_due: true });
    }
    frame.expect_request(Opcode::Auth)?;
    let auth = RoleProof::read_request(frame.body)?;
    let secret = config.secrets.of(auth.role);
    let holds = transcript.client_proof_holds(auth.role, secret, &auth.proof);
    let Some(secret) = secret.filter(|_| holds) else {
        return Err(HandshakeError::WrongProof);
    };
    let proof = transcript.server_proof(auth.role, secret, &auth.proof);
    let head = ReplyHead::to(&frame.header, config.map_epoch);
    append(out, head, RoleProof { role: auth.role, proof }.build_reply(tables));
    Ok(auth.role)
}

fn append(out: &mut Vec<u8>, head: ReplyHead, body: &[u8]) {
    let mut frame = FrameWriter::begin(out);
    frame.body().extend_from_slice(body);
    frame.finish(&head.fields(Flags::NONE));
}
