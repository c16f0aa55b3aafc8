//! The handshake: a version and features in common, then a proof by either end that it knows a secret.
//!
//! ```text
//! client                                  server
//!   HELLO {versions, features, nonce c} ->
//!       <- WELCOME {version, features, nonce s, limits, is a secret needed?}
//!   AUTH {role, proof of the client} ->                only if a secret is needed
//!       <- AUTH reply {role, proof of the server}
//! ```
//!
//! A proof is an HMAC-SHA256 under the role's secret over a label of the sender's side, the role, both nonces, and the
//! SHA-256 of HELLO and WELCOME as they were sent: nobody can reflect it, replay it, or talk the two into a lower version
//! without the secret. The server's proof covers the client's too. Comparison takes the same time wherever the bytes
//! differ. The secret itself never travels; what follows the handshake is not encrypted, which is TLS's to do later.
//!
//! Either state machine lives with its connection on that connection's core. It accepts two frames at most, each of up to
//! [`HANDSHAKE_BODY_SIZE_BYTES_MAX`](crate::limits::HANDSHAKE_BODY_SIZE_BYTES_MAX); give that limit to the
//! [`FrameReader`](crate::FrameReader) until the handshake is complete, and a deadline to the connection. Nonces come from
//! the caller, 32 bytes of the kernel's randomness, never used twice.

mod client;
mod error;
mod messages;
mod proof;
mod server;

pub use client::{ClientConfig, ClientHandshake, Connected};
pub use error::HandshakeError;
pub use proof::{Credentials, Nonce, Secret, SecretTooShort, Secrets};
pub use server::{Accepted, ServerConfig, ServerHandshake};

/// The one protocol version there is.
pub const PROTOCOL_VERSION: u16 = 1;

/// The protocol versions that an end speaks, both included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VersionRange {
    /// The oldest.
    pub min: u16,
    /// The newest.
    pub max: u16,
}

impl VersionRange {
    /// What this crate speaks.
    pub const CURRENT: Self = Self { min: PROTOCOL_VERSION, max: PROTOCOL_VERSION };

    /// The newest version that both ranges have.
    #[must_use]
    pub fn newest_common(self, other: Self) -> Option<u16> {
        let newest = self.max.min(other.max);
        (newest >= self.min && newest >= other.min).then_some(newest)
    }

    /// Whether `version` is in the range.
    #[must_use]
    pub fn contains(self, version: u16) -> bool {
        (self.min..=self.max).contains(&version)
    }
}

/// Features that both ends must have before either uses them. Of these, version 1 has receipts; the other bits are reserved.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Features(pub u64);

impl Features {
    /// No feature.
    pub const NONE: Self = Self(0);
    /// Encryption begins after the handshake's first exchange.
    pub const TLS: Self = Self(1);
    /// Bodies may be compressed.
    pub const COMPRESSION: Self = Self(1 << 1);
    /// Writes may carry a [session prefix](crate::body::SessionPrefix).
    pub const SESSIONS: Self = Self(1 << 2);
    /// Writes may carry conditions.
    pub const CONDITIONS: Self = Self(1 << 3);
    /// Requests may ask for a [receipt](crate::body::Receipt).
    pub const RECEIPTS: Self = Self(1 << 4);

    /// These and others.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The features of both.
    #[must_use]
    pub const fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether all of `other` are there.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}
