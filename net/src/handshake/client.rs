//! The client's end of the handshake.

use crate::frame::{Frame, Inbound};
use crate::frame_writer::FrameWriter;
use crate::handshake::error::HandshakeError;
use crate::handshake::messages::{Hello, RoleProof};
use crate::handshake::proof::{Credentials, HelloHash, Nonce, Proof, Transcript};
use crate::handshake::{Features, VersionRange};
use crate::header::RequestHead;
use crate::ids::{MapEpoch, RequestId};
use crate::limits::NAME_LENGTH_MAX;
use crate::opcode::{Opcode, Role};
use crate::table::{ErrorReply, TableBuilder, Welcome};

/// What a client says of itself.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The versions it speaks.
    pub versions: VersionRange,
    /// The features it offers.
    pub features: Features,
    /// What it calls itself, for people; cut after [`NAME_LENGTH_MAX`] bytes.
    pub client_name: String,
    /// Its role and secret. With them it insists that the server proves to know the secret too.
    pub credentials: Option<Credentials>,
}

/// A completed handshake, as the client sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Connected {
    /// What the server said of itself.
    pub welcome: Welcome,
    /// What the client may do.
    pub role: Role,
}

/// The client's state machine. Feed it every frame until it is complete or fails, and send nothing else before.
#[derive(Debug)]
pub struct ClientHandshake {
    state: State,
}

#[derive(Debug)]
enum State {
    AwaitWelcome { nonce: Nonce, hello_hash: HelloHash },
    AwaitProof { welcome: Welcome, transcript: Transcript, proof: Proof },
    Over,
}

/// The ids of the handshake's two requests. No other request shares the connection with them.
const HELLO_ID: RequestId = RequestId(1);
const AUTH_ID: RequestId = RequestId(2);

impl ClientHandshake {
    /// Appends HELLO with a fresh challenge to `out`, and waits for the server's WELCOME.
    #[must_use]
    pub fn begin(config: &ClientConfig, nonce: Nonce, tables: &mut TableBuilder, out: &mut Vec<u8>) -> Self {
        let client_name = crate::table::cut_text(&config.client_name, NAME_LENGTH_MAX);
        let hello = Hello { versions: config.versions, features: config.features, nonce, client_name };
        let body = hello.build(tables);
        append(out, HELLO_ID, Opcode::Hello, body);
        Self { state: State::AwaitWelcome { nonce, hello_hash: HelloHash::of(body) } }
    }

    /// Takes the server's next frame and appends what is to be sent to `out`. `Some` means that the handshake is complete.
    ///
    /// # Errors
    /// The handshake failed: close the connection.
    pub fn on_frame(
        &mut self,
        frame: &Frame<'_>,
        config: &ClientConfig,
        tables: &mut TableBuilder,
        out: &mut Vec<u8>,
    ) -> Result<Option<Connected>, HandshakeError> {
        let state = std::mem::replace(&mut self.state, State::Over);
        match state {
            State::AwaitWelcome { nonce, hello_hash } => {
                expect(frame, HELLO_ID, Opcode::Hello)?;
                self.on_welcome(nonce, hello_hash, frame, config, tables, out)
            }
            State::AwaitProof { welcome, transcript, proof } => {
                expect(frame, AUTH_ID, Opcode::Auth)?;
                let reply = RoleProof::read_reply(frame.body)?;
                let credentials = config.credentials.as_ref().ok_or(HandshakeError::SecretNeeded)?;
                if reply.role != credentials.role {
                    return Err(HandshakeError::Contradiction { what: "role" });
                }
                if !transcript.server_proof_holds(reply.role, &credentials.secret, &proof, &reply.proof) {
                    return Err(HandshakeError::ServerUnproven);
                }
                Ok(Some(Connected { welcome, role: reply.role }))
            }
            State::Over => Err(HandshakeError::Over),
        }
    }

    fn on_welcome(
        &mut self,
        nonce: Nonce,
        hello_hash: HelloHash,
        frame: &Frame<'_>,
        config: &ClientConfig,
        tables: &mut TableBuilder,
        out: &mut Vec<u8>,
    ) -> Result<Option<Connected>, HandshakeError> {
        let welcome = Welcome::read(frame.body)?;
        if !config.versions.contains(welcome.version) {
            let theirs = VersionRange { min: welcome.version, max: welcome.version };
            return Err(HandshakeError::Version { ours: config.versions, theirs });
        }
        if !config.features.contains(welcome.features) {
            return Err(HandshakeError::Contradiction { what: "set of features" });
        }
        let credentials = match (&config.credentials, welcome.authentication_required) {
            (None, false) => return Ok(Some(Connected { welcome, role: Role::Admin })),
            (None, true) => return Err(HandshakeError::SecretNeeded),
            (Some(_), false) => return Err(HandshakeError::ServerWithoutSecret),
            (Some(credentials), true) => credentials,
        };
        let transcript = Transcript::new(nonce, welcome.nonce, hello_hash, frame.body);
        let proof = transcript.client_proof(credentials.role, &credentials.secret);
        let auth = RoleProof { role: credentials.role, proof };
        append(out, AUTH_ID, Opcode::Auth, auth.build_request(tables));
        self.state = State::AwaitProof { welcome, transcript, proof };
        Ok(None)
    }

    /// Whether the handshake is complete or has failed.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }
}

/// Whether the frame is the answer to that request; an error of the server becomes an error here.
fn expect(frame: &Frame<'_>, id: RequestId, opcode: Opcode) -> Result<(), HandshakeError> {
    match frame.inbound()? {
        Inbound::Reply(found, answered) if found == id && answered == opcode => Ok(()),
        Inbound::Error(_) | Inbound::ConnectionError => {
            let error = ErrorReply::decode(frame)?;
            Err(HandshakeError::Refused { code: error.code, message: error.message.to_owned() })
        }
        _ => Err(HandshakeError::OutOfOrder { opcode: frame.header.fields.opcode, is_proof_due: false }),
    }
}

fn append(out: &mut Vec<u8>, request_id: RequestId, opcode: Opcode, body: &[u8]) {
    let head = RequestHead { request_id, map_epoch: MapEpoch(0), deadline_ms: 0 };
    let mut frame = FrameWriter::begin(out);
    frame.body().extend_from_slice(body);
    frame.finish(&head.fields(opcode, 0));
}
