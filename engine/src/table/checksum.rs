//! Checksums of a table's parts cover where they stand: a block of another table, or of another place, never passes.

/// The CRC-32 of `bytes` at `offset` of the table whose checksums start from `seed`.
pub(crate) fn checksum(seed: u64, offset: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(&offset.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}
