//! Secrets, nonces, and the proofs made of them.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::limits::SECRET_LENGTH_MIN;
use crate::opcode::Role;

/// A challenge: 32 bytes from the kernel's randomness, never used twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Nonce(pub [u8; 32]);

/// A shared secret. It does not show itself in debug output.
#[derive(Clone)]
pub struct Secret(Box<[u8]>);

/// A secret has fewer than [`SECRET_LENGTH_MIN`] bytes, so that it could be guessed from one recorded handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SecretTooShort {
    /// Its length, bytes.
    pub length: usize,
}

impl fmt::Display for SecretTooShort {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "a secret of {} bytes; at least {SECRET_LENGTH_MIN} are needed, best 32 random ones",
            self.length
        )
    }
}

impl std::error::Error for SecretTooShort {}

impl Secret {
    /// A secret of these bytes.
    ///
    /// # Errors
    /// [`SecretTooShort`].
    pub fn new(bytes: &[u8]) -> Result<Self, SecretTooShort> {
        if bytes.len() < SECRET_LENGTH_MIN {
            return Err(SecretTooShort { length: bytes.len() });
        }
        Ok(Self(bytes.into()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(..)")
    }
}

/// The role that a client asks for, and its secret.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The role.
    pub role: Role,
    /// Its secret.
    pub secret: Secret,
}

/// The secrets that a server accepts, at most one for each role. With none at all it asks for none.
#[derive(Clone, Default, Debug)]
pub struct Secrets([Option<Secret>; Role::COUNT]);

impl Secrets {
    /// The same with a secret for `role`, in place of one it may have had.
    #[must_use]
    pub fn with(mut self, role: Role, secret: Secret) -> Self {
        self.0[role.index()] = Some(secret);
        self
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    pub(crate) fn of(&self, role: Role) -> Option<&Secret> {
        self.0[role.index()].as_ref()
    }
}

pub(crate) type Proof = [u8; 32];

/// What both ends have seen of the handshake, and therefore sign.
#[derive(Clone, Debug)]
pub(crate) struct Transcript {
    client_nonce: Nonce,
    server_nonce: Nonce,
    /// SHA-256 over the two bodies, each after its length as 32 little-endian bits.
    bodies: [u8; 32],
}

impl Transcript {
    pub(crate) fn new(client_nonce: Nonce, server_nonce: Nonce, hello_hash: HelloHash, welcome_body: &[u8]) -> Self {
        let bodies = add_body(hello_hash.0, welcome_body).finalize().into();
        Self { client_nonce, server_nonce, bodies }
    }

    /// The proof of a client that knows `secret`.
    pub(crate) fn client_proof(&self, role: Role, secret: &Secret) -> Proof {
        self.client_mac(role, &secret.0).finalize().into_bytes().into()
    }

    /// Whether `proof` is that of a client that knows the secret. Without a secret for the role the work is the same, and
    /// the answer no.
    pub(crate) fn client_proof_holds(&self, role: Role, secret: Option<&Secret>, proof: &Proof) -> bool {
        let key = secret.map_or(&[0; 32][..], |secret| &secret.0);
        let holds = self.client_mac(role, key).verify_slice(proof).is_ok();
        holds && secret.is_some()
    }

    /// The proof of a server that knows `secret`, given to the client whose proof it accepted.
    pub(crate) fn server_proof(&self, role: Role, secret: &Secret, client_proof: &Proof) -> Proof {
        self.server_mac(role, secret, client_proof).finalize().into_bytes().into()
    }

    /// Whether `proof` is that of a server that knows the secret.
    pub(crate) fn server_proof_holds(&self, role: Role, secret: &Secret, client_proof: &Proof, proof: &Proof) -> bool {
        self.server_mac(role, secret, client_proof).verify_slice(proof).is_ok()
    }

    fn client_mac(&self, role: Role, key: &[u8]) -> Hmac<Sha256> {
        self.mac(b"corelode auth 1 client\0", role, key)
    }

    fn server_mac(&self, role: Role, secret: &Secret, client_proof: &Proof) -> Hmac<Sha256> {
        let mut mac = self.mac(b"corelode auth 1 server\0", role, &secret.0);
        mac.update(client_proof);
        mac
    }

    fn mac(&self, label: &[u8], role: Role, key: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
        mac.update(label);
        mac.update(&[role as u8]);
        mac.update(&self.client_nonce.0);
        mac.update(&self.server_nonce.0);
        mac.update(&self.bodies);
        mac
    }
}

/// The transcript's hash after HELLO, which neither end keeps the bytes of.
#[derive(Clone, Debug)]
pub(crate) struct HelloHash(Sha256);

impl HelloHash {
    pub(crate) fn of(hello_body: &[u8]) -> Self {
        Self(add_body(Sha256::new(), hello_body))
    }
}

fn add_body(mut hash: Sha256, body: &[u8]) -> Sha256 {
    hash.update(crate::bytes_at::length_u32(body.len()).to_le_bytes());
    hash.update(body);
    hash
}
