//! Little-endian numbers at fixed offsets of fixed arrays: the whole of the hot path's parsing.
//!
//! Offsets are constants at every call, so that the bounds checks vanish when these are inlined.

#[inline]
pub(crate) fn u16_at<const N: usize>(bytes: &[u8; N], offset: usize) -> u16 {
    u16::from_le_bytes([bytes[offset], bytes[offset + 1]])
}

#[inline]
pub(crate) fn u32_at<const N: usize>(bytes: &[u8; N], offset: usize) -> u32 {
    u32::from_le_bytes([bytes[offset], bytes[offset + 1], bytes[offset + 2], bytes[offset + 3]])
}

#[inline]
pub(crate) fn u64_at<const N: usize>(bytes: &[u8; N], offset: usize) -> u64 {
    u64::from(u32_at(bytes, offset)) | u64::from(u32_at(bytes, offset + 4)) << 32
}

#[inline]
pub(crate) fn put<const N: usize, const M: usize>(bytes: &mut [u8; N], offset: usize, field: [u8; M]) {
    bytes[offset..offset + M].copy_from_slice(&field);
}

/// A length as the wire's 32 bits. Callers have checked it against a limit far below.
#[inline]
pub(crate) fn length_u32(length: usize) -> u32 {
    u32::try_from(length).expect("lengths are bounded by the body limit")
}
