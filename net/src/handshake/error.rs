//! Why a handshake failed. It fails once; the connection is closed.

use std::fmt;

use crate::body_error::BodyError;
use crate::error_code::ErrorCode;
use crate::handshake::VersionRange;

/// Why a handshake failed, at either end.
#[derive(Clone, PartialEq, Debug)]
pub enum HandshakeError {
    /// A body that is not what it should be.
    Body(BodyError),
    /// Another frame than the handshake's next. With a server that asks for a secret: a request before it was proved.
    OutOfOrder {
        /// The opcode found.
        opcode: u8,
        /// Whether a proof was due.
        is_proof_due: bool,
    },
    /// No version in common.
    Version {
        /// What this end speaks.
        ours: VersionRange,
        /// What the other end speaks, or chose.
        theirs: VersionRange,
    },
    /// At the server: the client's proof is wrong, or there is no secret for its role.
    WrongProof,
    /// At the client: the server's proof is wrong; it does not know the secret and may be an impostor.
    ServerUnproven,
    /// At the client: it holds a secret, but the server did not ask for it and so proves nothing.
    ServerWithoutSecret,
    /// At the client: the server asks for a secret, and there is none.
    SecretNeeded,
    /// At the client: the server chose a feature that was not offered, or echoed another role.
    Contradiction {
        /// What contradicts the client.
        what: &'static str,
    },
    /// At the client: the server answered with an error.
    Refused {
        /// Its number.
        code: u16,
        /// Its sentence.
        message: String,
    },
    /// The handshake is over, or had failed before.
    Over,
}

impl HandshakeError {
    /// The stable code: what a server answers, and what a client reports.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Body(error) => error.code(),
            Self::OutOfOrder { is_proof_due: true, .. } | Self::SecretNeeded => ErrorCode::AuthRequired,
            Self::OutOfOrder { .. } | Self::Contradiction { .. } | Self::Over => ErrorCode::Malformed,
            Self::Version { .. } => ErrorCode::UnsupportedVersion,
            Self::WrongProof | Self::ServerUnproven | Self::ServerWithoutSecret => ErrorCode::AuthFailed,
            Self::Refused { code, .. } => ErrorCode::from_wire(*code).unwrap_or(ErrorCode::Internal),
        }
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body(error) => write!(formatter, "handshake: {error}"),
            Self::OutOfOrder { opcode, is_proof_due: true } => {
                write!(formatter, "operation {opcode} before the client proved that it knows the secret")
            }
            Self::OutOfOrder { opcode, .. } => write!(formatter, "operation {opcode} before the handshake"),
            Self::Version { ours, theirs } => write!(
                formatter,
                "no protocol version in common: this end speaks {} to {}, the other {} to {}",
                ours.min, ours.max, theirs.min, theirs.max
            ),
            Self::WrongProof => formatter.write_str(ErrorCode::AuthFailed.advice()),
            Self::ServerUnproven => formatter.write_str(
                "the server could not prove that it knows the secret; check its address, and the secret at both ends",
            ),
            Self::ServerWithoutSecret => formatter.write_str(
                "the server asks for no secret and so proves nothing; configure its secret, or take the client's away",
            ),
            Self::SecretNeeded => formatter.write_str(ErrorCode::AuthRequired.advice()),
            Self::Contradiction { what } => write!(formatter, "the server's {what} is not what was offered"),
            Self::Refused { code, message } => write!(formatter, "the server refused, code {code}: {message}"),
            Self::Over => formatter.write_str("the handshake is over"),
        }
    }
}

impl std::error::Error for HandshakeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Body(error) => Some(error),
            _ => None,
        }
    }
}

impl From<BodyError> for HandshakeError {
    fn from(error: BodyError) -> Self {
        Self::Body(error)
    }
}
