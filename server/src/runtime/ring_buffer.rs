//! The engine's aligned buffers as the ring takes them.

#![allow(unsafe_code)]

use corelode_engine::io_buffer::IoBuffer;
use monoio::buf::{IoBuf, IoBufMut};

/// An [`IoBuffer`] that an operation of the ring owns until it completes.
pub(super) struct RingBuffer(pub(super) IoBuffer);

// SAFETY: the memory belongs to the buffer's vector, which neither moves nor is freed while the operation owns this value; all of
// its bytes are initialised from the start, and `len` of them are there to be read.
unsafe impl IoBuf for RingBuffer {
    fn read_ptr(&self) -> *const u8 {
        self.0.as_ptr()
    }

    fn bytes_init(&self) -> usize {
        self.0.len()
    }
}

// SAFETY: as above; the kernel writes at most `len` bytes, which exist, and the length is left as it is.
unsafe impl IoBufMut for RingBuffer {
    fn write_ptr(&mut self) -> *mut u8 {
        self.0.as_mut_ptr()
    }

    fn bytes_total(&mut self) -> usize {
        self.0.len()
    }

    unsafe fn set_init(&mut self, _length: usize) {}
}
