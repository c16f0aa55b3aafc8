//! A data block: rows in order, keys without the prefix they share with the row before, a restart point every sixteen rows.
//!
//! Layout, before compression; `docs/formats/table.md` has every byte:
//!
//! ```text
//! rows | restart offsets (4 bytes each) | hash buckets (1 byte each) | restart count (4) | bucket count (2)
//! ```
//!
//! The hash buckets answer a point read without the binary search over restart points, as RocksDB's data block hash index does: a bucket
//! holds the restart interval of the keys that hash there, [`BUCKET_EMPTY`], or [`BUCKET_COLLISION`].

use std::cmp::Ordering;

use crate::ids::{LogTime, Revision};
use crate::row::{Keyspace, Row, RowKey, RowKind};

use super::varint::{put_varint, read_varint};

const RESTART_INTERVAL: usize = 16;
const TAIL_LENGTH: usize = 6;
const BUCKET_EMPTY: u8 = 255;
const BUCKET_COLLISION: u8 = 254;
/// Keys for each hundred buckets.
const BUCKET_LOAD_PERCENT: usize = 75;

const FLAG_DEADLINE: u8 = 1 << 7;
const KIND_MASK: u8 = 0x0f;

/// Builds one block.
#[derive(Debug, Default)]
pub(crate) struct BlockBuilder {
    bytes: Vec<u8>,
    restarts: Vec<u32>,
    rows_in_interval: usize,
    /// Keyspace and key of the last row.
    last_key: Vec<u8>,
    /// For each distinct key its hash and restart interval.
    hashes: Vec<(u64, u32)>,
}

impl BlockBuilder {
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The block's length if it were finished now, bytes.
    pub(crate) fn length(&self) -> usize {
        self.bytes.len() + self.restarts.len() * 4 + self.hashes.len() * 100 / BUCKET_LOAD_PERCENT + 1 + TAIL_LENGTH
    }

    /// Adds a row that orders behind all before it; `hash` is that of its key.
    pub(crate) fn add(&mut self, row: &Row<'_>, hash: u64) {
        let RowKey { keyspace, key, revision } = row.row_key;
        let is_same_key = self.last_key.split_first() == Some((&(keyspace as u8), key));
        let is_restart = self.restarts.is_empty() || self.rows_in_interval == RESTART_INTERVAL;
        if is_restart {
            self.restarts.push(length_u32(self.bytes.len()));
            self.rows_in_interval = 0;
        }
        let interval = length_u32(self.restarts.len() - 1);
        // A key that goes on into another interval is found by the binary search.
        if !is_same_key || is_restart {
            self.hashes.push((hash, interval));
        }
        let shared = if is_restart { 0 } else { self.shared_length(keyspace, key) };
        put_varint(&mut self.bytes, length_u32(shared));
        put_varint(&mut self.bytes, length_u32(1 + key.len() - shared));
        put_varint(&mut self.bytes, length_u32(row.value.len()));
        self.bytes.push(row.kind as u8 | if row.deadline.is_some() { FLAG_DEADLINE } else { 0 });
        self.bytes.extend_from_slice(&revision.0.to_le_bytes());
        if let Some(deadline) = row.deadline {
            self.bytes.extend_from_slice(&deadline.0.to_le_bytes());
        }
        if row.kind != RowKind::Tombstone {
            self.bytes.extend_from_slice(&row.value_crc.to_le_bytes());
        }
        if shared == 0 {
            self.bytes.push(keyspace as u8);
            self.bytes.extend_from_slice(key);
        } else {
            self.bytes.extend_from_slice(&key[shared - 1..]);
        }
        self.bytes.extend_from_slice(row.value);
        self.last_key.clear();
        self.last_key.push(keyspace as u8);
        self.last_key.extend_from_slice(key);
        self.rows_in_interval += 1;
    }

    fn shared_length(&self, keyspace: Keyspace, key: &[u8]) -> usize {
        match self.last_key.split_first() {
            Some((&last_keyspace, last_key)) if last_keyspace == keyspace as u8 => {
                1 + last_key.iter().zip(key).take_while(|(a, b)| a == b).count()
            }
            _ => 0,
        }
    }

    /// Ends the block, appends its bytes to `out`, and is empty again.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.bytes);
        for restart in &self.restarts {
            out.extend_from_slice(&restart.to_le_bytes());
        }
        let buckets = self.buckets();
        out.extend_from_slice(&buckets);
        out.extend_from_slice(&length_u32(self.restarts.len()).to_le_bytes());
        out.extend_from_slice(&u16::try_from(buckets.len()).expect("bounded by buckets()").to_le_bytes());
        *self = Self { last_key: std::mem::take(&mut self.last_key), ..Self::default() };
        self.last_key.clear();
    }

    fn buckets(&self) -> Vec<u8> {
        let count = self.hashes.len() * 100 / BUCKET_LOAD_PERCENT + 1;
        if self.restarts.len() >= usize::from(BUCKET_COLLISION) || count > usize::from(u16::MAX) {
            return Vec::new();
        }
        let mut buckets = vec![BUCKET_EMPTY; count];
        for &(hash, interval) in &self.hashes {
            let bucket = &mut buckets[bucket_of(hash, count)];
            let interval = u8::try_from(interval).expect("fewer intervals than that");
            *bucket = if *bucket == BUCKET_EMPTY || *bucket == interval { interval } else { BUCKET_COLLISION };
        }
        buckets
    }
}

fn bucket_of(hash: u64, count: usize) -> usize {
    // The low bits choose a filter's line; these are others.
    ((hash >> 32) as usize) % count
}

/// A block's parts, its tail checked. `bytes` are those before compression.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block<'a> {
    rows: &'a [u8],
    restarts: &'a [u8],
    buckets: &'a [u8],
}

/// The bytes of a block do not follow the format, although their checksum holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Malformed;

impl<'a> Block<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (rest, tail) = bytes.split_last_chunk::<TAIL_LENGTH>().ok_or(Malformed)?;
        let restart_count = u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]) as usize;
        let bucket_count = usize::from(u16::from_le_bytes([tail[4], tail[5]]));
        let rest_length = rest.len().checked_sub(bucket_count).ok_or(Malformed)?;
        let (rest, buckets) = rest.split_at(rest_length);
        let restarts_length = restart_count.checked_mul(4).ok_or(Malformed)?;
        let rows_length = rest.len().checked_sub(restarts_length).ok_or(Malformed)?;
        let (rows, restarts) = rest.split_at(rows_length);
        if restart_count == 0 || rows.is_empty() {
            return Err(Malformed);
        }
        Ok(Self { rows, restarts, buckets })
    }

    fn restart_count(&self) -> usize {
        self.restarts.len() / 4
    }

    fn restart(&self, index: usize) -> Result<usize, Malformed> {
        let offset = self.restarts.get(index * 4..index * 4 + 4).ok_or(Malformed)?;
        let offset = u32::from_le_bytes(offset.try_into().expect("four bytes")) as usize;
        if offset < self.rows.len() { Ok(offset) } else { Err(Malformed) }
    }

    /// The restart interval in which the first row at or behind `target` stands, or the one before it.
    fn interval_of(&self, target: RowKey<'_>) -> Result<usize, Malformed> {
        let (mut low, mut high) = (0, self.restart_count());
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.restart_key(middle)? < target { low = middle } else { high = middle }
        }
        Ok(low)
    }

    /// The key of the row at a restart point, which shares nothing with the row before it.
    fn restart_key(&self, index: usize) -> Result<RowKey<'a>, Malformed> {
        let head = RowHead::parse(self.rows, self.restart(index)?)?;
        if head.shared_length > 0 {
            return Err(Malformed);
        }
        head.row_key(self.rows.get(head.suffix_start..head.value_start).ok_or(Malformed)?)
    }

    /// The newest version of a key that is not newer than `target`; `hash` is that of the key.
    ///
    /// Keys are compared where they stand: a row that shares more with the one before it than that one shares with the target stands on
    /// the same side of it, and one that shares less stands behind it.
    pub(crate) fn find(&self, target: RowKey<'a>, hash: u64) -> Result<Option<FoundRow<'a>>, Malformed> {
        let Some(mut at) = self.start_of_key(target, hash)? else { return Ok(None) };
        // How many bytes of the target's keyspace and key the row before has.
        let mut common = 0;
        while at < self.rows.len() {
            let head = RowHead::parse(self.rows, at)?;
            at = head.value_end;
            match head.shared_length {
                // At a restart nothing is shared, though it may be in common.
                0 => common = 0,
                shared if shared > common => continue,
                shared if shared < common => return Ok(None),
                _ => {}
            }
            let suffix = self.rows.get(head.suffix_start..head.value_start).ok_or(Malformed)?;
            let (ordering, matched) = compare_from(common, suffix, target);
            common += matched;
            match ordering {
                Ordering::Less => {}
                Ordering::Equal if head.revision > target.revision => {}
                Ordering::Equal => {
                    return Ok(Some(FoundRow { head, value: &self.rows[head.value_start..head.value_end] }));
                }
                Ordering::Greater => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Where to begin looking for the versions of a key; `None` if the block surely has none.
    fn start_of_key(&self, target: RowKey<'_>, hash: u64) -> Result<Option<usize>, Malformed> {
        let bucket =
            if self.buckets.is_empty() { BUCKET_COLLISION } else { self.buckets[bucket_of(hash, self.buckets.len())] };
        match bucket {
            BUCKET_EMPTY => Ok(None),
            BUCKET_COLLISION => self.interval_of(target).and_then(|interval| self.restart(interval)).map(Some),
            interval => self.restart(usize::from(interval)).map(Some),
        }
    }
}

/// How a key that goes on with `suffix` orders to the target, which has its first `common` bytes, and how many more it has.
fn compare_from(common: usize, suffix: &[u8], target: RowKey<'_>) -> (Ordering, usize) {
    let keyspace = [target.keyspace as u8];
    let (first, rest): (&[u8], &[u8]) = match common.checked_sub(1) {
        None => (&keyspace, target.key),
        Some(common) => (&[], target.key.get(common..).unwrap_or_default()),
    };
    let mut expected = first.iter().chain(rest);
    let matched = suffix.iter().zip(expected.clone()).take_while(|(a, b)| a == b).count();
    (suffix[matched..].first().cmp(&expected.nth(matched)), matched)
}

/// A row that a point read found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FoundRow<'a> {
    head: RowHead,
    value: &'a [u8],
}

impl<'a> FoundRow<'a> {
    /// The row, whose key is the one that was looked for.
    pub(crate) fn row(&self, target: RowKey<'a>) -> Row<'a> {
        let RowHead { kind, revision, deadline, value_crc, .. } = self.head;
        Row { row_key: RowKey { revision, ..target }, kind, deadline, value_crc, value: self.value }
    }
}

/// A row's fixed part and where its bytes stand.
#[derive(Clone, Copy, Debug)]
struct RowHead {
    /// Bytes of keyspace and key that it has in common with the row before.
    shared_length: usize,
    /// The rest of the key stands from here to the value.
    suffix_start: usize,
    kind: RowKind,
    revision: Revision,
    deadline: Option<LogTime>,
    value_crc: u32,
    value_start: usize,
    value_end: usize,
}

impl RowHead {
    /// Reads the row at `offset`. All of it lies within `rows`.
    #[inline]
    fn parse(rows: &[u8], offset: usize) -> Result<Self, Malformed> {
        let mut at = offset;
        let mut varint = || {
            let (value, length) = read_varint(rows.get(at..).ok_or(Malformed)?).ok_or(Malformed)?;
            at += length;
            Ok::<usize, Malformed>(value as usize)
        };
        let (shared_length, suffix_length, value_length) = (varint()?, varint()?, varint()?);
        let mut take = |length: usize| {
            let end = at.checked_add(length).ok_or(Malformed)?;
            let bytes = rows.get(at..end).ok_or(Malformed)?;
            at = end;
            Ok::<&[u8], Malformed>(bytes)
        };
        let flags = take(1)?[0];
        if flags & !(FLAG_DEADLINE | KIND_MASK) != 0 {
            return Err(Malformed);
        }
        let kind = RowKind::from_byte(flags & KIND_MASK).ok_or(Malformed)?;
        let u64_of = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        let revision = Revision(u64_of(take(8)?));
        let deadline = if flags & FLAG_DEADLINE == 0 { None } else { Some(LogTime(u64_of(take(8)?))) };
        let value_crc = match kind {
            RowKind::Tombstone => 0,
            _ => u32::from_le_bytes(take(4)?.try_into().expect("four bytes")),
        };
        take(suffix_length)?;
        take(value_length)?;
        let value_start = at - value_length;
        let suffix_start = value_start - suffix_length;
        Ok(Self { shared_length, suffix_start, kind, revision, deadline, value_crc, value_start, value_end: at })
    }

    fn row_key<'k>(&self, key: &'k [u8]) -> Result<RowKey<'k>, Malformed> {
        let (&keyspace, key) = key.split_first().ok_or(Malformed)?;
        Ok(RowKey { keyspace: Keyspace::from_byte(keyspace).ok_or(Malformed)?, key, revision: self.revision })
    }
}

/// Walks over a block's rows. It holds no bytes of the block: these are given to each call, always the same ones.
#[derive(Debug, Default)]
pub(crate) struct BlockCursor {
    head: Option<RowHead>,
    /// Keyspace and key of the current row.
    key: Vec<u8>,
    keyspace: Option<Keyspace>,
}

impl BlockCursor {
    /// Goes to the first row.
    pub(crate) fn seek_to_first(&mut self, block: Block<'_>) -> Result<(), Malformed> {
        self.key.clear();
        self.move_to(block, 0)
    }

    /// Goes to the first row at or behind `target`, or past the end.
    pub(crate) fn seek(&mut self, block: Block<'_>, target: RowKey<'_>) -> Result<(), Malformed> {
        self.head = None;
        let start = block.restart(block.interval_of(target)?)?;
        self.seek_from(block, start, target)
    }

    fn seek_from(&mut self, block: Block<'_>, start: usize, target: RowKey<'_>) -> Result<(), Malformed> {
        self.key.clear();
        self.move_to(block, start)?;
        while self.row_key().is_some_and(|row_key| row_key < target) {
            self.advance(block)?;
        }
        Ok(())
    }

    /// Goes to the next row, or past the end, where it stays.
    pub(crate) fn advance(&mut self, block: Block<'_>) -> Result<(), Malformed> {
        let Some(head) = self.head else { return Ok(()) };
        if head.value_end == block.rows.len() {
            self.head = None;
            return Ok(());
        }
        self.move_to(block, head.value_end)
    }

    fn move_to(&mut self, block: Block<'_>, offset: usize) -> Result<(), Malformed> {
        // Past the end, should the row turn out to be malformed: a cursor never shows half of one.
        self.head = None;
        let head = RowHead::parse(block.rows, offset)?;
        if head.shared_length > self.key.len() {
            return Err(Malformed);
        }
        self.key.truncate(head.shared_length);
        self.key.extend_from_slice(&block.rows[head.suffix_start..head.value_start]);
        self.keyspace = Some(head.row_key(&self.key)?.keyspace);
        self.head = Some(head);
        Ok(())
    }

    fn row_key(&self) -> Option<RowKey<'_>> {
        let head = self.head?;
        Some(RowKey { keyspace: self.keyspace?, key: &self.key[1..], revision: head.revision })
    }

    /// The current row, `None` past the end. `block_bytes` are those that the block was made of.
    pub(crate) fn row<'a>(&'a self, block_bytes: &'a [u8]) -> Option<Row<'a>> {
        let head = self.head?;
        Some(Row {
            row_key: self.row_key()?,
            kind: head.kind,
            deadline: head.deadline,
            value_crc: head.value_crc,
            value: &block_bytes[head.value_start..head.value_end],
        })
    }
}

fn length_u32(length: usize) -> u32 {
    u32::try_from(length).expect("a block is far smaller than 4 GiB")
}
