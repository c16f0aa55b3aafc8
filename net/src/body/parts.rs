//! What several bodies share: durability, read level, keys, values, and how they are cut out of a body.

use crate::body_error::BodyError;
use crate::bytes_at::{put, u64_at};
use crate::frame::Frame;
use crate::header::Flags;
use crate::limits::{KEY_LENGTH_MAX, SESSION_WINDOW, VALUE_LENGTH_MAX};
use crate::slot::{Slot, slot_of};

/// What a write waits for before it is answered.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
#[repr(u8)]
pub enum Durability {
    /// On disk, on a majority of replicas. The default.
    #[default]
    Synced = 0,
    /// In memory, on a majority of replicas: a restart of one node can lose the write.
    Memory = 1,
}

impl Durability {
    pub(crate) fn from_wire(number: u8) -> Result<Self, BodyError> {
        match number {
            0 => Ok(Self::Synced),
            1 => Ok(Self::Memory),
            _ => Err(BodyError::Field { field: "durability", found: u64::from(number) }),
        }
    }
}

/// What a read may see.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
#[repr(u8)]
pub enum ReadLevel {
    /// Everything answered before the read began; waits until what it sees is durable. The default.
    #[default]
    Linearizable = 0,
    /// What the core holds now, [`Durability::Memory`] writes included that may yet be lost.
    Local = 1,
}

impl ReadLevel {
    pub(crate) fn from_wire(number: u8) -> Result<Self, BodyError> {
        match number {
            0 => Ok(Self::Linearizable),
            1 => Ok(Self::Local),
            _ => Err(BodyError::Field { field: "read level", found: u64::from(number) }),
        }
    }
}

/// A value and the checksum that its writer gave it, which stays with it through log, table and reply.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Value<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// CRC-32 (IEEE) of the bytes, as their first writer computed it.
    pub crc: u32,
}

impl<'a> Value<'a> {
    /// A value that begins its life here: computes the checksum.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, crc: crc32fast::hash(bytes) }
    }

    /// Whether the bytes are still those that their writer had.
    ///
    /// # Errors
    /// [`BodyError::ValueChecksum`] if not.
    pub fn verify(&self) -> Result<(), BodyError> {
        let computed = crc32fast::hash(self.bytes);
        if computed == self.crc { Ok(()) } else { Err(BodyError::ValueChecksum { computed, found: self.crc }) }
    }
}

/// Whether `key` has a length that the wire allows.
///
/// # Errors
/// [`BodyError::KeyLength`] if it is empty or too long.
#[inline]
pub fn check_key(key: &[u8]) -> Result<(), BodyError> {
    check_key_length(key.len())
}

/// Whether `value` has a length that the wire allows.
///
/// # Errors
/// [`BodyError::TooLarge`] if it is too long.
#[inline]
pub fn check_value(value: &[u8]) -> Result<(), BodyError> {
    check_value_length(value.len())
}

#[inline]
pub(crate) fn check_key_length(length: usize) -> Result<(), BodyError> {
    if length == 0 || length > KEY_LENGTH_MAX {
        return Err(BodyError::KeyLength { length });
    }
    Ok(())
}

#[inline]
pub(crate) fn check_value_length(length: usize) -> Result<(), BodyError> {
    if length > VALUE_LENGTH_MAX {
        return Err(BodyError::TooLarge { what: "value length", found: length, limit: VALUE_LENGTH_MAX });
    }
    Ok(())
}

/// Whether `found` is the slot of `key`.
#[inline]
pub(crate) fn check_slot(key: &[u8], found: u16) -> Result<Slot, BodyError> {
    let expected = slot_of(key);
    if expected.get() != found {
        return Err(BodyError::Slot { expected: expected.get(), found });
    }
    Ok(expected)
}

/// Cuts a fixed struct off the front.
#[inline]
pub(crate) fn split_struct<const N: usize>(bytes: &[u8]) -> Result<(&[u8; N], &[u8]), BodyError> {
    bytes.split_first_chunk::<N>().ok_or(BodyError::Truncated { needed: N, found: bytes.len() })
}

/// Cuts `length` bytes off the front.
#[inline]
pub(crate) fn split_bytes(bytes: &[u8], length: usize) -> Result<(&[u8], &[u8]), BodyError> {
    bytes.split_at_checked(length).ok_or(BodyError::Truncated { needed: length, found: bytes.len() })
}

/// Whether nothing is left.
#[inline]
pub(crate) fn expect_end(rest: &[u8]) -> Result<(), BodyError> {
    if rest.is_empty() { Ok(()) } else { Err(BodyError::Trailing { bytes: rest.len() }) }
}

/// Whether reserved bytes are zero.
#[inline]
pub(crate) fn expect_zero(field: &'static str, bytes: &[u8]) -> Result<(), BodyError> {
    // All at once rather than up to the first: they are few, and nearly always zero.
    let any = bytes.iter().fold(0, |any, byte| any | byte);
    if any == 0 { Ok(()) } else { Err(BodyError::Field { field, found: u64::from(any) }) }
}

/// Whether a write comes without a condition, which is all that this version has.
#[inline]
pub(crate) fn expect_no_condition(kind: u8) -> Result<(), BodyError> {
    if kind == 0 { Ok(()) } else { Err(BodyError::Unsupported { what: "condition" }) }
}

/// Where a write stands in its session: what makes a retry apply once.
///
/// With [`Flags::SESSION`] the body of a PUT or DELETE starts with these 24 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionPrefix {
    /// The session, as its partition numbered it.
    pub session: u64,
    /// The write's number in the session, from 1.
    pub sequence: u64,
    /// The first of the session's writes that the client may still send, since it has no answer and did not give up: at most this one, and less than
    /// [`SESSION_WINDOW`] before it.
    pub oldest: u64,
}

impl SessionPrefix {
    /// Bytes on the wire.
    pub const SIZE_BYTES: usize = 24;

    /// The prefix's bytes.
    #[must_use]
    pub fn encode(self) -> [u8; Self::SIZE_BYTES] {
        let mut bytes = [0; Self::SIZE_BYTES];
        put(&mut bytes, 0, self.session.to_le_bytes());
        put(&mut bytes, 8, self.sequence.to_le_bytes());
        put(&mut bytes, 16, self.oldest.to_le_bytes());
        bytes
    }

    /// Takes the prefix off a frame that has one. The frame returned has neither prefix nor flag.
    ///
    /// # Errors
    /// [`BodyError::Truncated`] if the flag is set and the body too short, [`BodyError::Field`] if the numbers are none of a session.
    pub fn take<'a>(frame: &Frame<'a>) -> Result<(Option<Self>, Frame<'a>), BodyError> {
        if !frame.header.fields.flags.contains(Flags::SESSION) {
            return Ok((None, *frame));
        }
        let (bytes, body) = split_struct::<{ Self::SIZE_BYTES }>(frame.body)?;
        let prefix = Self { session: u64_at(bytes, 0), sequence: u64_at(bytes, 8), oldest: u64_at(bytes, 16) };
        let ahead = prefix.sequence.checked_sub(prefix.oldest);
        if prefix.oldest == 0 || ahead.is_none_or(|ahead| ahead >= SESSION_WINDOW) {
            return Err(BodyError::Field { field: "sequence of a session", found: prefix.sequence });
        }
        let mut rest = Frame { header: frame.header, body };
        rest.header.fields.flags = rest.header.fields.flags.without(Flags::SESSION);
        Ok((Some(prefix), rest))
    }
}
