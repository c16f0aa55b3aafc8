//! A growable byte buffer whose memory is aligned for direct I/O.
//!
//! It is owned by whoever holds it: an I/O operation takes the buffer and gives it back, so that the kernel
//! never writes into memory that somebody else looks at.

use std::fmt;
use std::ops::{Deref, DerefMut};

use crate::limits::DIRECT_IO_ALIGNMENT;

/// One block of aligned, initialised memory.
#[derive(Clone)]
#[repr(C, align(4096))]
struct Block([u8; DIRECT_IO_ALIGNMENT]);

const ZERO_BLOCK: Block = Block([0; DIRECT_IO_ALIGNMENT]);

/// A byte buffer aligned to 4,096 bytes whose capacity is a whole number of such blocks.
///
/// All memory up to the capacity is initialised, so that padding can be taken in with [`resize`](Self::resize).
#[derive(Default)]
pub struct IoBuffer {
    blocks: Vec<Block>,
    length: usize,
}

impl IoBuffer {
    /// An empty buffer with room for at least `capacity` bytes.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { blocks: vec![ZERO_BLOCK; capacity.div_ceil(DIRECT_IO_ALIGNMENT)], length: 0 }
    }

    /// A buffer of `length` zero bytes.
    #[must_use]
    pub fn zeroed(length: usize) -> Self {
        let mut buffer = Self::with_capacity(length);
        buffer.length = length;
        buffer
    }

    /// The bytes that fit without growing.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.blocks.len() * DIRECT_IO_ALIGNMENT
    }

    /// Makes room for `additional` more bytes; growth is at least twofold.
    pub fn reserve(&mut self, additional: usize) {
        let needed = self.length + additional;
        if needed > self.capacity() {
            let capacity = needed.max(self.capacity() * 2);
            self.blocks.resize(capacity.div_ceil(DIRECT_IO_ALIGNMENT), ZERO_BLOCK);
        }
    }

    /// Appends `bytes`.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        let start = self.length;
        self.length += bytes.len();
        self[start..].copy_from_slice(bytes);
    }

    /// Sets the length; bytes that come in by this are zero.
    pub fn resize(&mut self, length: usize) {
        if length > self.length {
            self.reserve(length - self.length);
            let start = self.length;
            self.length = length;
            self[start..].fill(0);
        } else {
            self.length = length;
        }
    }

    /// Appends zeros up to the next multiple of `alignment`; returns how many.
    pub fn pad_to(&mut self, alignment: usize) -> usize {
        let padded = self.length.next_multiple_of(alignment);
        let padding = padded - self.length;
        self.resize(padded);
        padding
    }

    /// Drops the contents and keeps the memory.
    pub fn clear(&mut self) {
        self.length = 0;
    }

    /// The start of the memory, aligned to 4,096 bytes, for a kernel operation that owns this buffer.
    #[must_use]
    pub fn as_ptr(&self) -> *const u8 {
        self.blocks.as_ptr().cast()
    }

    /// The start of the memory for writing, as [`as_ptr`](Self::as_ptr).
    #[must_use]
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.blocks.as_mut_ptr().cast()
    }
}

impl Deref for IoBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `blocks` owns at least `length` bytes (every method that raises `length` reserves first), `Block`
        // is a plain array without padding, and all of its bytes are initialised from `ZERO_BLOCK` on.
        unsafe { std::slice::from_raw_parts(self.blocks.as_ptr().cast(), self.length) }
    }
}

impl DerefMut for IoBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.blocks.as_mut_ptr().cast(), self.length) }
    }
}

impl From<&[u8]> for IoBuffer {
    fn from(bytes: &[u8]) -> Self {
        let mut buffer = Self::with_capacity(bytes.len());
        buffer.extend_from_slice(bytes);
        buffer
    }
}

impl Clone for IoBuffer {
    fn clone(&self) -> Self {
        Self::from(&**self)
    }
}

impl fmt::Debug for IoBuffer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "IoBuffer({} bytes)", self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_aligned_and_keeps_bytes_while_growing() {
        let mut buffer = IoBuffer::default();
        let mut expected = Vec::new();
        for i in 0..3000_u32 {
            buffer.extend_from_slice(&i.to_le_bytes());
            expected.extend_from_slice(&i.to_le_bytes());
        }
        assert_eq!(&*buffer, &*expected);
        assert_eq!(buffer.as_ptr().align_offset(DIRECT_IO_ALIGNMENT), 0);
    }

    #[test]
    fn padding_is_zero_after_reuse() {
        let mut buffer = IoBuffer::from(&[0xff_u8; 5000][..]);
        buffer.clear();
        buffer.extend_from_slice(b"x");
        assert_eq!(buffer.pad_to(4096), 4095);
        assert!(buffer[1..].iter().all(|&byte| byte == 0));
    }
}
