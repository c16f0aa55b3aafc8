//! Writes frames straight into an outbound buffer: the body first, then the header over the room kept for it.

use crate::bytes_at::length_u32;
use crate::header::{FrameHeader, HeaderFields};
use crate::limits::{BODY_SIZE_BYTES_MAX, HEADER_SIZE_BYTES};

/// A frame being written at the end of a buffer that may hold earlier frames.
///
/// Dropping it unfinished takes its bytes away again. It allocates only if the buffer has to grow; a buffer that is
/// cleared and used again soon does not.
///
/// ```
/// use corelode_net::{FrameWriter, MapEpoch, Opcode, RequestHead, RequestId};
/// let mut out = Vec::new();
/// let head = RequestHead { request_id: RequestId(1), map_epoch: MapEpoch(0), deadline_ms: 0 };
/// let mut frame = FrameWriter::begin(&mut out);
/// frame.body().extend_from_slice(b"are you there?");
/// frame.finish(&head.fields(Opcode::Ping, 0));
/// assert_eq!(out.len(), 32 + 14);
/// ```
#[derive(Debug)]
pub struct FrameWriter<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    finished: bool,
}

impl<'a> FrameWriter<'a> {
    /// Keeps room for a header at the end of `out`.
    #[inline]
    #[must_use]
    pub fn begin(out: &'a mut Vec<u8>) -> Self {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER_SIZE_BYTES]);
        Self { out, start, finished: false }
    }

    /// The buffer, to append the body to. Only append.
    #[inline]
    pub fn body(&mut self) -> &mut Vec<u8> {
        self.out
    }

    /// Bytes of the body so far.
    #[inline]
    #[must_use]
    pub fn body_length(&self) -> usize {
        self.out.len() - self.start - HEADER_SIZE_BYTES
    }

    /// The body so far, to write over what was left open.
    #[inline]
    pub(crate) fn body_so_far(&mut self) -> &mut [u8] {
        &mut self.out[self.start + HEADER_SIZE_BYTES..]
    }

    /// Takes what was appended since the body had `length` bytes away again.
    pub(crate) fn truncate_body(&mut self, length: usize) {
        self.out.truncate(self.start + HEADER_SIZE_BYTES + length);
    }

    /// Writes the header and returns the frame's size, bytes.
    ///
    /// # Panics
    /// If the body exceeds [`BODY_SIZE_BYTES_MAX`]: whoever fills a body checks against the limits first.
    #[inline]
    pub fn finish(mut self, fields: &HeaderFields) -> usize {
        let length = self.body_length();
        assert!(length <= BODY_SIZE_BYTES_MAX, "a body of {length} bytes, above the limit of {BODY_SIZE_BYTES_MAX}");
        let body_crc = crc32fast::hash(self.body_so_far());
        let header = FrameHeader { length: length_u32(length), fields: *fields, body_crc };
        self.out[self.start..self.start + HEADER_SIZE_BYTES].copy_from_slice(&header.encode());
        self.finished = true;
        HEADER_SIZE_BYTES + length
    }
}

impl Drop for FrameWriter<'_> {
    #[inline]
    fn drop(&mut self) {
        if !self.finished {
            self.out.truncate(self.start);
        }
    }
}
