//! BATCH: 8 bytes, then items of 24 bytes, key and value each. Operations are independent: each is atomic, the batch is not.
//!
//! One durability serves all writes of a batch and one level all reads, since a client gathers a batch for one kind of
//! work, and the server answers it in one frame, which waits for its slowest item anyway.
//!
//! Decoding checks the whole structure before anything is executed, so that a batch is refused whole or not at all for
//! its form; what can fail for one item alone (its checksum, its partition) fails in that item's result.

use crate::body::parts::{
    Durability, ReadLevel, Value, check_key_length, check_slot, check_value_length, expect_end, expect_no_condition,
    expect_zero, split_bytes, split_struct,
};
use crate::body_error::BodyError;
use crate::bytes_at::{length_u32, put, u16_at, u32_at, u64_at};
use crate::frame::Frame;
use crate::frame_writer::FrameWriter;
use crate::header::RequestHead;
use crate::limits::{BATCH_ITEM_COUNT_MAX, BODY_SIZE_BYTES_MAX};
use crate::opcode::{Opcode, Role};
use crate::slot::Slot;

const HEAD_SIZE_BYTES: usize = 8;
const ITEM_SIZE_BYTES: usize = 24;

/// One operation of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BatchOperation<'a> {
    /// Reads a key.
    Get {
        /// The key.
        key: &'a [u8],
    },
    /// Writes a key.
    Put {
        /// The key.
        key: &'a [u8],
        /// The value with its writer's checksum, which the server [verifies](Value::verify) before it executes.
        value: Value<'a>,
        /// Milliseconds from execution to expiry; 0 for never.
        ttl_ms: u64,
    },
    /// Deletes a key.
    Delete {
        /// The key.
        key: &'a [u8],
    },
}

impl<'a> BatchOperation<'a> {
    /// The key it works on.
    #[must_use]
    pub fn key(&self) -> &'a [u8] {
        match self {
            Self::Get { key } | Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }

    /// Which operation it is.
    #[must_use]
    pub fn opcode(&self) -> Opcode {
        match self {
            Self::Get { .. } => Opcode::Get,
            Self::Put { .. } => Opcode::Put,
            Self::Delete { .. } => Opcode::Delete,
        }
    }
}

/// An operation and the slot of its key.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 8 | `ttl_ms`, 0 but for PUT |
/// | 8 | 4 | `key_length` |
/// | 12 | 4 | `value_length`, 0 but for PUT |
/// | 16 | 4 | `value_crc`, 0 but for PUT |
/// | 20 | 2 | `slot` |
/// | 22 | 1 | `kind`: the opcode of GET, PUT or DELETE |
/// | 23 | 1 | `condition`: 0 none; others are reserved |
/// | 24 | `key_length` | key |
/// | | `value_length` | value |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchItem<'a> {
    /// The key's slot.
    pub slot: Slot,
    /// The operation.
    pub operation: BatchOperation<'a>,
}

impl<'a> BatchItem<'a> {
    fn split(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), BodyError> {
        let (fixed, rest) = split_struct::<ITEM_SIZE_BYTES>(bytes)?;
        let key_length = u32_at(fixed, 8) as usize;
        let value_length = u32_at(fixed, 12) as usize;
        check_key_length(key_length)?;
        check_value_length(value_length)?;
        expect_no_condition(fixed[23])?;
        let (key, rest) = split_bytes(rest, key_length)?;
        let (value, rest) = split_bytes(rest, value_length)?;
        let operation = match Opcode::from_wire(fixed[22]) {
            Some(Opcode::Get) => BatchOperation::Get { key },
            Some(Opcode::Delete) => BatchOperation::Delete { key },
            Some(Opcode::Put) => BatchOperation::Put {
                key,
                value: Value { bytes: value, crc: u32_at(fixed, 16) },
                ttl_ms: u64_at(fixed, 0),
            },
            _ => return Err(BodyError::Unsupported { what: "operation of a batch's item" }),
        };
        if !matches!(operation, BatchOperation::Put { .. }) {
            expect_zero("fields of a value, in an item without one", &fixed[..8])?;
            expect_zero("fields of a value, in an item without one", &fixed[12..20])?;
        }
        let slot = check_slot(key, u16_at(fixed, 20))?;
        Ok((Self { slot, operation }, rest))
    }

    fn size_bytes(&self) -> usize {
        let value_length = match &self.operation {
            BatchOperation::Put { value, .. } => value.bytes.len(),
            _ => 0,
        };
        ITEM_SIZE_BYTES + self.operation.key().len() + value_length
    }
}

/// A batch whose structure was checked.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 4 | `count`, 1 to 4096 |
/// | 4 | 1 | `durability` of its writes |
/// | 5 | 1 | `level` of its reads |
/// | 6 | 2 | zero |
/// | 8 | | `count` times a [`BatchItem`] |
#[derive(Clone, Copy, Debug)]
pub struct BatchRequest<'a> {
    /// What every write waits for.
    pub durability: Durability,
    /// What every read may see.
    pub level: ReadLevel,
    count: usize,
    writes: usize,
    /// Invariant: `count` items that [`BatchItem::split`] accepts, and nothing else.
    items: &'a [u8],
}

impl<'a> BatchRequest<'a> {
    /// Reads a BATCH and checks every item: lengths, kinds and slots, and that nothing follows the last.
    ///
    /// # Errors
    /// The first thing that is wrong. No item is to be executed then.
    pub fn decode(frame: &Frame<'a>) -> Result<Self, BodyError> {
        frame.expect_request(Opcode::Batch)?;
        let (fixed, items) = split_struct::<HEAD_SIZE_BYTES>(frame.body)?;
        let count = u32_at(fixed, 0) as usize;
        if count > BATCH_ITEM_COUNT_MAX {
            return Err(BodyError::TooLarge { what: "batch count", found: count, limit: BATCH_ITEM_COUNT_MAX });
        }
        if count == 0 {
            return Err(BodyError::Field { field: "batch count", found: 0 });
        }
        let durability = Durability::from_wire(fixed[4])?;
        let level = ReadLevel::from_wire(fixed[5])?;
        expect_zero("reserved bytes of BATCH", &fixed[6..])?;
        let mut writes = 0;
        let mut rest = items;
        for _ in 0..count {
            let (item, after) = BatchItem::split(rest)?;
            writes += usize::from(item.operation.opcode() != Opcode::Get);
            rest = after;
        }
        expect_end(rest)?;
        Ok(Self { durability, level, count, writes, items })
    }

    /// The items, in the order in which the reply's results stand.
    #[must_use]
    pub fn items(&self) -> BatchItems<'a> {
        BatchItems { remaining: self.count, rest: self.items }
    }

    /// How many items it has.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// How many of them write.
    #[must_use]
    pub fn write_count(&self) -> usize {
        self.writes
    }

    /// The role that all of its items together need.
    #[must_use]
    pub fn role_required(&self) -> Role {
        if self.writes > 0 { Role::Write } else { Role::Read }
    }
}

/// The items of a checked batch.
#[derive(Clone, Debug)]
pub struct BatchItems<'a> {
    remaining: usize,
    rest: &'a [u8],
}

impl<'a> Iterator for BatchItems<'a> {
    type Item = BatchItem<'a>;

    fn next(&mut self) -> Option<BatchItem<'a>> {
        self.remaining = self.remaining.checked_sub(1)?;
        let (item, rest) = BatchItem::split(self.rest).expect("BatchRequest::decode checked every item");
        self.rest = rest;
        Some(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.remaining, Some(self.remaining))
    }
}

impl ExactSizeIterator for BatchItems<'_> {}

/// The item does not fit: send the batch, and begin another with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchFull;

/// Writes a BATCH item by item.
#[derive(Debug)]
pub struct BatchWriter<'a> {
    frame: FrameWriter<'a>,
    count: usize,
}

impl<'a> BatchWriter<'a> {
    /// Begins a batch at the end of `out`.
    #[must_use]
    pub fn begin(out: &'a mut Vec<u8>, durability: Durability, level: ReadLevel) -> Self {
        let mut fixed = [0; HEAD_SIZE_BYTES];
        fixed[4] = durability as u8;
        fixed[5] = level as u8;
        let mut frame = FrameWriter::begin(out);
        frame.body().extend_from_slice(&fixed);
        Self { frame, count: 0 }
    }

    /// Appends an item.
    ///
    /// # Errors
    /// [`BatchFull`] if the batch has no room for it. One item always fits an empty batch.
    ///
    /// # Panics
    /// If a length is out of bounds; [`check_key`](crate::body::check_key) and
    /// [`check_value`](crate::body::check_value) first.
    pub fn push(&mut self, item: &BatchItem<'_>) -> Result<(), BatchFull> {
        if self.count == BATCH_ITEM_COUNT_MAX || self.frame.body_length() + item.size_bytes() > BODY_SIZE_BYTES_MAX {
            return Err(BatchFull);
        }
        let key = item.operation.key();
        assert!(check_key_length(key.len()).is_ok(), "a key of {} bytes", key.len());
        let mut fixed = [0; ITEM_SIZE_BYTES];
        put(&mut fixed, 8, length_u32(key.len()).to_le_bytes());
        put(&mut fixed, 20, item.slot.get().to_le_bytes());
        fixed[22] = item.operation.opcode().to_wire();
        let mut bytes: &[u8] = &[];
        if let BatchOperation::Put { value, ttl_ms, .. } = &item.operation {
            assert!(check_value_length(value.bytes.len()).is_ok(), "a value above the limit");
            put(&mut fixed, 0, ttl_ms.to_le_bytes());
            put(&mut fixed, 12, length_u32(value.bytes.len()).to_le_bytes());
            put(&mut fixed, 16, value.crc.to_le_bytes());
            bytes = value.bytes;
        }
        let body = self.frame.body();
        body.extend_from_slice(&fixed);
        body.extend_from_slice(key);
        body.extend_from_slice(bytes);
        self.count += 1;
        Ok(())
    }

    /// How many items it holds.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Ends the frame and returns its size, bytes.
    ///
    /// # Panics
    /// If no item was pushed: an empty batch asks for nothing.
    pub fn finish(mut self, head: RequestHead) -> usize {
        assert!(self.count > 0, "an empty batch");
        let count = length_u32(self.count);
        self.frame.body_so_far()[..4].copy_from_slice(&count.to_le_bytes());
        self.frame.finish(&head.fields(Opcode::Batch, 0))
    }
}
