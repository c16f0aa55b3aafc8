//! The frame header: 32 bytes, little-endian, enough to route a frame without its body.
//!
//! | offset | size | field | |
//! |---|---|---|---|
//! | 0 | 4 | `length` | bytes of the body that follows |
//! | 4 | 4 | `header_crc` | CRC-32 (IEEE) of bytes 0..4 and 8..32 |
//! | 8 | 8 | `request_id` | pairs a reply with its request |
//! | 16 | 1 | `opcode` | see [`Opcode`] |
//! | 17 | 1 | `flags` | see [`Flags`] |
//! | 18 | 2 | `target` | slot of a key operation, partition of a scan, else 0 |
//! | 20 | 4 | `map_epoch` | the sender's map, 0 if it has none |
//! | 24 | 4 | `deadline_ms` | from receipt, 0 for none |
//! | 28 | 4 | `body_crc` | CRC-32 (IEEE) of the body |
//!
//! Decoding copies 32 bytes and allocates nothing, whatever the length field says.

use std::fmt;

use crate::bytes_at::{put, u16_at, u32_at, u64_at};
use crate::error_code::ErrorCode;
use crate::ids::{MapEpoch, PartitionId, RequestId};
use crate::limits::{BODY_SIZE_BYTES_MAX, HEADER_SIZE_BYTES};
use crate::opcode::Opcode;
use crate::slot::Slot;

/// Bits that change how a frame is read.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Flags(pub u8);

impl Flags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// The frame answers the request of the same id, or is a server's notice.
    pub const REPLY: Self = Self(1);
    /// The body is an [error table](crate::table::ErrorReply). Only together with [`Flags::REPLY`].
    pub const ERROR: Self = Self(1 << 1);
    /// The body starts with a [session prefix](crate::body::SessionPrefix). Unknown unless its feature is negotiated.
    pub const SESSION: Self = Self(1 << 2);
    /// More replies to the same request follow. Reserved for streams.
    pub const MORE: Self = Self(1 << 3);
    /// Of a request: a [receipt](crate::body::Receipt) is wanted. Of a reply: its body ends with one.
    pub const RECEIPT: Self = Self(1 << 4);
    /// Every flag that has a meaning, now or reserved.
    pub const KNOWN: Self = Self(0x1f);

    /// Whether all bits of `other` are set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets of bits.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The bits without those of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// What a sender decides about a header; the frame writer adds lengths and checksums.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeaderFields {
    /// Pairs a reply with its request.
    pub request_id: RequestId,
    /// The operation, as a number: one that this version does not know is answered, not fatal.
    pub opcode: u8,
    /// How the frame is read.
    pub flags: Flags,
    /// Slot of a key operation, partition of a scan, else 0.
    pub target: u16,
    /// The sender's map.
    pub map_epoch: MapEpoch,
    /// Milliseconds from receipt after which the request need not be executed; 0 for no deadline.
    pub deadline_ms: u32,
}

/// A decoded, verified header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameHeader {
    /// Bytes of the body. Invariant: at most the limit the header was decoded with.
    pub length: u32,
    /// What the sender decided.
    pub fields: HeaderFields,
    /// CRC-32 of the body.
    pub body_crc: u32,
}

/// Why 32 bytes are no header. Fatal to the connection: the place of the next header is not known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeaderError {
    /// The header's bytes do not match their checksum.
    Checksum {
        /// Computed over the bytes received.
        computed: u32,
        /// Found in the header.
        found: u32,
    },
    /// The body would exceed the limit, bytes.
    Oversize {
        /// The length the header states.
        length: u32,
        /// The limit in force.
        limit: usize,
    },
}

impl HeaderError {
    /// The code to report before closing.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Checksum { .. } => ErrorCode::BadChecksum,
            Self::Oversize { .. } => ErrorCode::TooLarge,
        }
    }
}

impl fmt::Display for HeaderError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checksum { computed, found } => {
                write!(formatter, "frame header: checksum {found:#010x}, but its bytes give {computed:#010x}")
            }
            Self::Oversize { length, limit } => {
                write!(formatter, "frame header: a body of {length} bytes, but the limit is {limit}")
            }
        }
    }
}

impl std::error::Error for HeaderError {}

impl FrameHeader {
    /// Reads and verifies a header, with a body of at most `body_limit` bytes.
    ///
    /// # Errors
    /// See [`HeaderError`]. The checksum is looked at first, so that an oversize length was really sent.
    #[inline]
    pub fn decode(bytes: &[u8; HEADER_SIZE_BYTES], body_limit: usize) -> Result<Self, HeaderError> {
        let found = u32_at(bytes, 4);
        let computed = header_crc(bytes);
        if computed != found {
            return Err(HeaderError::Checksum { computed, found });
        }
        let length = u32_at(bytes, 0);
        if length as usize > body_limit {
            return Err(HeaderError::Oversize { length, limit: body_limit });
        }
        Ok(Self {
            length,
            fields: HeaderFields {
                request_id: RequestId(u64_at(bytes, 8)),
                opcode: bytes[16],
                flags: Flags(bytes[17]),
                target: u16_at(bytes, 18),
                map_epoch: MapEpoch(u32_at(bytes, 20)),
                deadline_ms: u32_at(bytes, 24),
            },
            body_crc: u32_at(bytes, 28),
        })
    }

    /// The header's bytes.
    #[inline]
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_SIZE_BYTES] {
        debug_assert!(self.length as usize <= BODY_SIZE_BYTES_MAX, "a body of {} bytes", self.length);
        let mut bytes = [0; HEADER_SIZE_BYTES];
        put(&mut bytes, 0, self.length.to_le_bytes());
        put(&mut bytes, 8, self.fields.request_id.0.to_le_bytes());
        bytes[16] = self.fields.opcode;
        bytes[17] = self.fields.flags.0;
        put(&mut bytes, 18, self.fields.target.to_le_bytes());
        put(&mut bytes, 20, self.fields.map_epoch.0.to_le_bytes());
        put(&mut bytes, 24, self.fields.deadline_ms.to_le_bytes());
        put(&mut bytes, 28, self.body_crc.to_le_bytes());
        let crc = header_crc(&bytes);
        put(&mut bytes, 4, crc.to_le_bytes());
        bytes
    }

    /// Gives a frame that was written, and has waited since, another deadline.
    ///
    /// # Panics
    /// If `frame` does not begin with a header as [`encode`](Self::encode) makes it: only who wrote it may change it.
    pub fn set_deadline_ms(frame: &mut [u8], deadline_ms: u32) {
        let bytes = frame.first_chunk_mut().expect("a frame begins with a header");
        let mut header = Self::decode(bytes, BODY_SIZE_BYTES_MAX).expect("the header is ours");
        header.fields.deadline_ms = deadline_ms;
        *bytes = header.encode();
    }

    /// The opcode, if this version knows it.
    #[must_use]
    pub fn opcode(&self) -> Option<Opcode> {
        Opcode::from_wire(self.fields.opcode)
    }

    /// The target read as a slot; `None` if it is none.
    #[must_use]
    pub fn slot(&self) -> Option<Slot> {
        Slot::new(self.fields.target)
    }

    /// The target read as a partition.
    #[must_use]
    pub fn partition(&self) -> PartitionId {
        PartitionId(self.fields.target)
    }
}

/// The checksum over all but the checksum's own four bytes, moved together so that it is one call.
#[inline]
fn header_crc(bytes: &[u8; HEADER_SIZE_BYTES]) -> u32 {
    let mut covered = [0; HEADER_SIZE_BYTES - 4];
    covered[..4].copy_from_slice(&bytes[..4]);
    covered[4..].copy_from_slice(&bytes[8..]);
    crc32fast::hash(&covered)
}

/// What every request of a client has in common.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestHead {
    /// From [`RequestIds`](crate::ids::RequestIds).
    pub request_id: RequestId,
    /// The client's map, zero if it has none.
    pub map_epoch: MapEpoch,
    /// Milliseconds from receipt after which the request need not be executed; 0 for no deadline.
    pub deadline_ms: u32,
}

impl RequestHead {
    /// The header of a request.
    ///
    /// # Panics
    /// If its number is 0: whoever reads that closes the connection, see [`Frame::request`](crate::Frame::request).
    #[must_use]
    pub fn fields(self, opcode: Opcode, target: u16) -> HeaderFields {
        assert_ne!(self.request_id, RequestId(0), "a request has a number, also if it has no reply");
        HeaderFields {
            request_id: self.request_id,
            opcode: opcode.to_wire(),
            flags: Flags::NONE,
            target,
            map_epoch: self.map_epoch,
            deadline_ms: self.deadline_ms,
        }
    }
}

/// What a server keeps of a request in order to answer it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplyHead {
    /// The request's id.
    pub request_id: RequestId,
    /// The request's opcode, as a number.
    pub opcode: u8,
    /// The request's target, echoed.
    pub target: u16,
    /// The server's map, so that a client sees when its own is old.
    pub map_epoch: MapEpoch,
}

impl ReplyHead {
    /// The head of the reply to `request`.
    #[inline]
    #[must_use]
    pub fn to(request: &FrameHeader, map_epoch: MapEpoch) -> Self {
        let HeaderFields { request_id, opcode, target, .. } = request.fields;
        Self { request_id, opcode, target, map_epoch }
    }

    /// The head of a notice: a frame of the server that answers nothing.
    #[must_use]
    pub fn notice(opcode: Opcode, map_epoch: MapEpoch) -> Self {
        Self { request_id: RequestId(0), opcode: opcode.to_wire(), target: 0, map_epoch }
    }

    /// The header of a reply with `flags` besides [`Flags::REPLY`].
    #[inline]
    #[must_use]
    pub fn fields(self, flags: Flags) -> HeaderFields {
        HeaderFields {
            request_id: self.request_id,
            opcode: self.opcode,
            flags: flags.with(Flags::REPLY),
            target: self.target,
            map_epoch: self.map_epoch,
            deadline_ms: 0,
        }
    }
}
