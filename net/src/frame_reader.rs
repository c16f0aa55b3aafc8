//! Cuts frames out of a stream of bytes, however the stream arrives in pieces.
//!
//! Owned by one connection at one end; touched by that connection's core only. Bounded by the body limit: the buffer
//! never holds more than one largest frame beyond what one read may bring. It grows as bytes *arrive*, never by what a
//! length field promises, and gives memory back once a large frame is gone. Any error is fatal to the connection, and
//! sticks.

use std::fmt;

use crate::error_code::ErrorCode;
use crate::frame::Frame;
use crate::header::{FrameHeader, HeaderError};
use crate::ids::RequestId;
use crate::limits::{BODY_SIZE_BYTES_MAX, HEADER_SIZE_BYTES};

/// Why a stream is no stream of frames. The connection is to be told [`code`](Self::code) and closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrameError {
    /// The header is damaged or oversize.
    Header(HeaderError),
    /// The body does not match its checksum.
    BodyChecksum {
        /// The frame's request, as its (intact) header says.
        request_id: RequestId,
        /// Computed over the bytes received.
        computed: u32,
        /// Found in the header.
        found: u32,
    },
}

impl FrameError {
    /// The code to report before closing.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Header(error) => error.code(),
            Self::BodyChecksum { .. } => ErrorCode::BadChecksum,
        }
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(error) => error.fmt(formatter),
            Self::BodyChecksum { request_id, computed, found } => write!(
                formatter,
                "body of request {request_id}: checksum {found:#010x}, but its bytes give {computed:#010x}"
            ),
        }
    }
}

impl std::error::Error for FrameError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Header(error) => Some(error),
            Self::BodyChecksum { .. } => None,
        }
    }
}

/// The receive buffer of a connection.
///
/// A turn: take [`buffer_for_read`](Self::buffer_for_read), let the socket append to it, then take every frame out with
/// [`next_frame`](Self::next_frame). Runtimes that want to own the buffer while they read take the `Vec` out of the
/// place with [`std::mem::take`] and put it back with [`restore_buffer`](Self::restore_buffer).
#[derive(Debug)]
pub struct FrameReader {
    /// Received bytes; those before `start` are consumed.
    buffer: Vec<u8>,
    /// Invariant: `start <= buffer.len()`.
    start: usize,
    read_size_bytes: usize,
    body_limit: usize,
    failed: Option<FrameError>,
}

impl FrameReader {
    /// Bytes that one read may bring, unless chosen otherwise.
    pub const READ_SIZE_BYTES: usize = 16 * 1024;

    /// An empty reader for bodies of up to `body_limit` bytes.
    #[must_use]
    pub fn new(body_limit: usize) -> Self {
        Self::with_read_size(body_limit, Self::READ_SIZE_BYTES)
    }

    /// The same, with room for at least `read_size_bytes` in every read. The buffer is allocated by the first read.
    ///
    /// # Panics
    /// If the limit exceeds [`BODY_SIZE_BYTES_MAX`] or the read size is zero.
    #[must_use]
    pub fn with_read_size(body_limit: usize, read_size_bytes: usize) -> Self {
        assert!(body_limit <= BODY_SIZE_BYTES_MAX, "a body limit of {body_limit} bytes");
        assert!(read_size_bytes > 0, "a read has to bring something");
        Self { buffer: Vec::new(), start: 0, read_size_bytes, body_limit, failed: None }
    }

    /// Raises or lowers the body limit, from the next header on: the handshake's is smaller than the connection's.
    pub fn set_body_limit(&mut self, body_limit: usize) {
        assert!(body_limit <= BODY_SIZE_BYTES_MAX, "a body limit of {body_limit} bytes");
        self.body_limit = body_limit;
    }

    /// The buffer with spare capacity, for a socket to append to within that capacity.
    ///
    /// What is left of a frame moves to the front first; frames taken out before are gone.
    pub fn buffer_for_read(&mut self) -> &mut Vec<u8> {
        self.compact();
        if self.buffer.capacity() - self.buffer.len() < self.read_size_bytes {
            // Doubles as bytes arrive, so that a frame of a mebibyte is not copied for every read.
            let grown = (self.buffer.len() * 2).min(HEADER_SIZE_BYTES + self.body_limit);
            let room = (grown - self.buffer.len().min(grown)).max(self.read_size_bytes);
            self.buffer.reserve_exact(room);
        }
        &mut self.buffer
    }

    /// Puts back a buffer that was taken out of [`buffer_for_read`](Self::buffer_for_read) while the kernel wrote to it.
    pub fn restore_buffer(&mut self, buffer: Vec<u8>) {
        debug_assert!(self.buffer.is_empty() && self.start == 0, "a buffer was put back that nobody had taken");
        self.buffer = buffer;
    }

    /// Appends a copy of `bytes`; for those who cannot read into the buffer itself.
    pub fn push(&mut self, bytes: &[u8]) {
        self.compact();
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, or `None` until more bytes arrive.
    ///
    /// # Errors
    /// A damaged or oversize frame. The same error comes again from then on.
    #[inline]
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let Some((header_bytes, rest)) = self.buffer[self.start..].split_first_chunk::<HEADER_SIZE_BYTES>() else {
            return Ok(None);
        };
        let header = match FrameHeader::decode(header_bytes, self.body_limit) {
            Ok(header) => header,
            Err(error) => return Err(self.fail(FrameError::Header(error))),
        };
        let length = header.length as usize;
        if rest.len() < length {
            return Ok(None);
        }
        let computed = crc32fast::hash(&rest[..length]);
        if computed != header.body_crc {
            let request_id = header.fields.request_id;
            return Err(self.fail(FrameError::BodyChecksum { request_id, computed, found: header.body_crc }));
        }
        let body_start = self.start + HEADER_SIZE_BYTES;
        self.start = body_start + length;
        Ok(Some(Frame { header, body: &self.buffer[body_start..self.start] }))
    }

    /// Bytes received and not yet taken out as frames.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Bytes of memory held.
    #[must_use]
    pub fn capacity_bytes(&self) -> usize {
        self.buffer.capacity()
    }

    /// The bytes not yet taken out, for the core that the connection moves to; [`push`](Self::push) them there.
    #[must_use]
    pub fn into_leftover(mut self) -> Vec<u8> {
        self.compact();
        self.buffer
    }

    #[cold]
    fn fail(&mut self, error: FrameError) -> FrameError {
        self.failed = Some(error);
        error
    }

    /// Moves what is not consumed to the front, and gives back what a large frame had needed.
    fn compact(&mut self) {
        if self.start == 0 {
            return;
        }
        self.buffer.copy_within(self.start.., 0);
        self.buffer.truncate(self.buffer.len() - self.start);
        self.start = 0;
        let retained = self.read_size_bytes * 4;
        if self.buffer.capacity() > retained && self.buffer.len() < self.read_size_bytes {
            self.buffer.shrink_to(retained);
        }
    }
}
