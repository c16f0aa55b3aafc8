//! Randomness of the client: nonces, and jitter that keeps clients apart.

/// Random bytes.
///
/// # Panics
/// If the kernel gives no randomness, without which no handshake is safe.
pub(crate) fn bytes() -> [u8; 32] {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the kernel gives randomness");
    bytes
}

/// A random number.
pub(crate) fn number() -> u64 {
    u64::from_le_bytes(*bytes().first_chunk().expect("32 bytes hold eight"))
}
