//! A block as it is stored: its bytes, perhaps compressed, then how, and a checksum that covers the table and the place.

use std::path::Path;

use crate::error::Corruption;
use crate::limits::TABLE_BLOCK_SIZE_BYTES_MAX;

use super::checksum::checksum;

/// What follows a block's bytes: compression (1 byte), checksum (4 bytes).
pub(crate) const BLOCK_TRAILER_LENGTH: usize = 5;

const COMPRESSION_NONE: u8 = 0;
const COMPRESSION_LZ4: u8 = 1;

/// Appends `block` as it is stored at `offset`. Compression is kept only if it saves an eighth.
pub(crate) fn store_block(block: &[u8], compress: bool, seed: u64, offset: u64, out: &mut Vec<u8>) {
    let start = out.len();
    let mut compression = COMPRESSION_NONE;
    if compress {
        let packed = lz4_flex::block::compress_prepend_size(block);
        if packed.len() + block.len() / 8 <= block.len() {
            out.extend_from_slice(&packed);
            compression = COMPRESSION_LZ4;
        }
    }
    if compression == COMPRESSION_NONE {
        out.extend_from_slice(block);
    }
    out.push(compression);
    let sum = checksum(seed, offset, &out[start..]);
    out.extend_from_slice(&sum.to_le_bytes());
}

/// A block whose checksum held.
pub(crate) enum StoredBlock<'a> {
    /// These are its bytes.
    Plain(&'a [u8]),
    /// These are its bytes, unpacked.
    Unpacked(Vec<u8>),
}

/// Whether the stored block is compressed, by its trailer.
pub(crate) fn is_compressed(stored: &[u8]) -> bool {
    stored.len() >= BLOCK_TRAILER_LENGTH && stored[stored.len() - BLOCK_TRAILER_LENGTH] != COMPRESSION_NONE
}

/// The bytes of an uncompressed stored block.
pub(crate) fn plain_bytes(stored: &[u8]) -> &[u8] {
    &stored[..stored.len() - BLOCK_TRAILER_LENGTH]
}

/// Checks a stored block and unpacks it.
pub(crate) fn load_block<'a>(
    path: &Path,
    stored: &'a [u8],
    seed: u64,
    offset: u64,
) -> Result<StoredBlock<'a>, Corruption> {
    let damaged = |message: String| Corruption { path: path.to_path_buf(), offset, message };
    let Some((checked, sum)) = stored.split_last_chunk::<4>() else {
        return Err(damaged("the block is cut".to_owned()));
    };
    let (expected, found) = (u32::from_le_bytes(*sum), checksum(seed, offset, checked));
    if expected != found {
        return Err(damaged(format!("the block's checksum is {found:#010x}, and {expected:#010x} is stored")));
    }
    let Some((&compression, bytes)) = checked.split_last() else {
        return Err(damaged("the block is empty".to_owned()));
    };
    match compression {
        COMPRESSION_NONE => Ok(StoredBlock::Plain(bytes)),
        COMPRESSION_LZ4 => {
            let (length, packed) =
                lz4_flex::block::uncompressed_size(bytes).map_err(|error| damaged(error.to_string()))?;
            if length > TABLE_BLOCK_SIZE_BYTES_MAX {
                return Err(damaged(format!("a block of {length} bytes is longer than any we write")));
            }
            let unpacked = lz4_flex::block::decompress(packed, length).map_err(|error| damaged(error.to_string()))?;
            Ok(StoredBlock::Unpacked(unpacked))
        }
        other => Err(damaged(format!("compression {other} is not known"))),
    }
}
