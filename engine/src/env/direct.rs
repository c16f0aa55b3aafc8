//! What direct I/O asks of an operation, said clearly: the kernel's own word for it is a bare `EINVAL`.

use std::io;

use crate::limits::DIRECT_IO_ALIGNMENT;

/// Refuses an offset or length that direct I/O cannot take. The memory is aligned by [`IoBuffer`](crate::io_buffer::IoBuffer).
pub(super) fn check_alignment(operation: &str, offset: u64, length: usize) -> io::Result<()> {
    if offset.is_multiple_of(DIRECT_IO_ALIGNMENT as u64) && length.is_multiple_of(DIRECT_IO_ALIGNMENT) {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!(
            "direct {operation} of {length} bytes at offset {offset}: both must be multiples of {DIRECT_IO_ALIGNMENT}"
        ),
    ))
}
