//! The bytes of one simulated file: what is durable, what is not yet, and what is in flight.
//!
//! A file is its durable bytes, and above them, for each block of 4 KiB, the versions written since. A read sees the latest
//! version. A sync makes the latest version it covers durable. A crash may leave any version of any block: the kernel writes
//! pages back when it likes.
//!
//! Invariant: bytes of a version beyond the end of the file are zero, so that a file that grows again shows zeros there.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::image::{Damage, Dice, Survival};

pub(super) const BLOCK_SIZE_BYTES: usize = 4096;
/// What a disk writes whole.
pub(super) const SECTOR_SIZE_BYTES: usize = 512;

type Block = [u8; BLOCK_SIZE_BYTES];

/// Orders the changes of one file, so that a sync covers those before it was asked for and no others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(super) struct ChangeSequence(u64);

impl ChangeSequence {
    pub(super) fn next(&mut self) -> Self {
        self.0 += 1;
        *self
    }
}

/// A write that was submitted and is not complete.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct InFlightWrite(u64);

#[derive(Clone, Default)]
pub(super) struct Content {
    durable: Arc<Vec<u8>>,
    /// The length a reader sees.
    length: u64,
    /// By block number; oldest version first, at least one.
    versions: BTreeMap<u64, Vec<Version>>,
    /// The lengths since the durable one, oldest first.
    lengths: Vec<(ChangeSequence, u64)>,
    in_flight: BTreeMap<InFlightWrite, InFlight>,
    sequence: ChangeSequence,
}

#[derive(Clone)]
struct Version {
    sequence: ChangeSequence,
    bytes: Arc<Block>,
    /// A sync of it failed: the kernel takes the page for clean and will not write it again.
    marked_clean: bool,
}

#[derive(Clone)]
struct InFlight {
    offset: u64,
    bytes: Arc<[u8]>,
}

impl Content {
    /// A file of which all is durable.
    pub(super) fn durable(bytes: Vec<u8>) -> Self {
        Self { length: bytes.len() as u64, durable: Arc::new(bytes), ..Self::default() }
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// The latest change, which a sync that starts now will cover.
    pub(super) fn sequence(&self) -> ChangeSequence {
        self.sequence
    }

    /// Reads what was written, up to the end of the file.
    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> usize {
        let length = to_usize(self.length.saturating_sub(offset)).min(buffer.len());
        for piece in pieces(offset, length) {
            let block = self.block(piece.block);
            buffer[piece.source.clone()].copy_from_slice(&block[piece.start..piece.start + piece.source.len()]);
        }
        length
    }

    /// The whole file as a reader sees it.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; to_usize(self.length)];
        self.read(&mut bytes, 0);
        bytes
    }

    /// The latest version of a block.
    fn block(&self, block: u64) -> Block {
        match self.versions.get(&block).and_then(|versions| versions.last()) {
            Some(version) => *version.bytes,
            None => block_of(&self.durable, block),
        }
    }

    /// A write that is complete and not durable.
    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
        let sequence = self.sequence.next();
        for piece in pieces(offset, bytes.len()) {
            let mut block = self.block(piece.block);
            block[piece.start..piece.start + piece.source.len()].copy_from_slice(&bytes[piece.source.clone()]);
            self.push_version(piece.block, sequence, Arc::new(block));
        }
        let end = offset + bytes.len() as u64;
        if end > self.length {
            self.length = end;
            self.lengths.push((sequence, end));
        }
    }

    /// Cuts the file, or extends it by zeros.
    pub(super) fn set_length(&mut self, length: u64) {
        let sequence = self.sequence.next();
        if length < self.length {
            // What is cut off must not come back when the file grows again.
            let cut_off = to_usize(self.length - length);
            let zeros = Arc::new([0; BLOCK_SIZE_BYTES]);
            for piece in pieces(length, cut_off) {
                if piece.start == 0 {
                    self.push_version(piece.block, sequence, Arc::clone(&zeros));
                } else {
                    let mut block = self.block(piece.block);
                    block[piece.start..].fill(0);
                    self.push_version(piece.block, sequence, Arc::new(block));
                }
            }
        }
        self.length = length;
        self.lengths.push((sequence, length));
    }

    fn push_version(&mut self, block: u64, sequence: ChangeSequence, bytes: Arc<Block>) {
        self.versions.entry(block).or_default().push(Version { sequence, bytes, marked_clean: false });
    }

    /// Makes durable what was written up to `covered`.
    pub(super) fn sync(&mut self, covered: ChangeSequence) {
        if self.versions.is_empty() && self.lengths.is_empty() {
            // An image may share the bytes; leave them shared.
            return;
        }
        let length_before = self.durable.len() as u64;
        let durable = Arc::make_mut(&mut self.durable);
        self.versions.retain(|&block, versions| {
            let latest = versions.iter().rposition(|version| version.sequence <= covered);
            if let Some(latest) = latest.filter(|&latest| !versions[latest].marked_clean) {
                put(durable, &*versions[latest].bytes, block * BLOCK_SIZE_BYTES as u64);
                versions.drain(..=latest);
            }
            !versions.is_empty()
        });
        let covered_lengths = self.lengths.partition_point(|(sequence, _)| *sequence <= covered);
        let length = self.lengths.drain(..covered_lengths).next_back().map_or(length_before, |(_, length)| length);
        // The last block was put as a whole, and its end is not part of the file.
        durable.resize(to_usize(length), 0);
    }

    /// What ext4 does when a sync fails: the pages are taken for clean, stay readable, and are never written again.
    pub(super) fn sync_failed(&mut self, covered: ChangeSequence) {
        for version in self.versions.values_mut().flatten().filter(|version| version.sequence <= covered) {
            version.marked_clean = true;
        }
    }

    /// A write is submitted; from here on any part of it may reach the disk.
    pub(super) fn start_write(&mut self, bytes: &[u8], offset: u64) -> InFlightWrite {
        let write = InFlightWrite(self.sequence.next().0);
        self.in_flight.insert(write, InFlight { offset, bytes: Arc::from(bytes) });
        write
    }

    /// A write is complete.
    pub(super) fn end_write(&mut self, write: InFlightWrite, durable: bool) {
        let InFlight { offset, bytes } = self.in_flight.remove(&write).expect("a write ends once, after it started");
        if !durable {
            self.write(&bytes, offset);
            return;
        }
        let end = offset + bytes.len() as u64;
        put(Arc::make_mut(&mut self.durable), &bytes, offset);
        // Direct writes are whole blocks, so that nothing older of these blocks is left to be written.
        for piece in pieces(offset, bytes.len()) {
            self.versions.remove(&piece.block);
        }
        for (_, length) in &mut self.lengths {
            *length = end.max(*length);
        }
        self.length = end.max(self.length);
    }

    /// What the end of a process leaves of the file: the kernel completes what it was given, and writes it back when it likes.
    pub(super) fn after_kill(&self) -> Self {
        let mut survivor = self.clone();
        let in_flight: Vec<_> = survivor.in_flight.keys().copied().collect();
        for write in in_flight {
            survivor.end_write(write, false);
        }
        survivor
    }

    /// What a crash leaves of the file.
    pub(super) fn after_crash(&self, survival: Survival, dice: &mut Dice) -> Self {
        if self.versions.is_empty() && self.lengths.is_empty() && self.in_flight.is_empty() {
            return Self { durable: Arc::clone(&self.durable), length: self.durable.len() as u64, ..Self::default() };
        }
        let mut length = match survival {
            Survival::Nothing => self.durable.len() as u64,
            Survival::Everything => self.length,
            Survival::Units | Survival::Sectors => match dice.pick_version(self.lengths.len()) {
                Some(version) => self.lengths[version].1,
                None => self.durable.len() as u64,
            },
        };
        let mut bytes = self.durable.to_vec();
        for (&block, versions) in &self.versions {
            let survivor = surviving_block(block_of(&self.durable, block), versions, survival, dice);
            put(&mut bytes, &survivor, block * BLOCK_SIZE_BYTES as u64);
        }
        for InFlight { offset, bytes: written } in self.in_flight.values() {
            let unit = match survival {
                Survival::Nothing => continue,
                Survival::Everything => written.len().max(1),
                Survival::Units => BLOCK_SIZE_BYTES,
                Survival::Sectors => SECTOR_SIZE_BYTES,
            };
            for (index, piece) in written.chunks(unit).enumerate() {
                if survival == Survival::Everything || dice.survives() {
                    let start = offset + (index * unit) as u64;
                    put(&mut bytes, piece, start);
                    // A write that grew the file may have its bytes on the disk and the old length in the inode.
                    if survival == Survival::Everything || dice.survives() {
                        length = length.max(start + piece.len() as u64);
                    }
                }
            }
        }
        bytes.resize(to_usize(length), 0);
        Self::durable(bytes)
    }

    /// Damages the file as a failing disk does. What was not yet durable becomes so: damage is for files that are finished.
    pub(super) fn damage(&mut self, damage: Damage) {
        let mut bytes = self.bytes();
        match damage {
            Damage::FlipBit { offset, bit } => bytes[to_usize(offset)] ^= 1 << bit,
            Damage::Truncate { length } => bytes.truncate(to_usize(length)),
            Damage::ZeroRange { offset, length } => bytes[to_usize(offset)..to_usize(offset + length)].fill(0),
        }
        *self =
            Self { in_flight: std::mem::take(&mut self.in_flight), sequence: self.sequence, ..Self::durable(bytes) };
    }
}

fn surviving_block(durable: Block, versions: &[Version], survival: Survival, dice: &mut Dice) -> Block {
    match survival {
        Survival::Nothing => durable,
        Survival::Everything => match versions.last().filter(|version| !version.marked_clean) {
            Some(version) => *version.bytes,
            None => durable,
        },
        Survival::Units => dice.pick_version(versions.len()).map_or(durable, |version| *versions[version].bytes),
        Survival::Sectors => {
            let mut block = durable;
            for start in (0..BLOCK_SIZE_BYTES).step_by(SECTOR_SIZE_BYTES) {
                if let Some(version) = dice.pick_version(versions.len()) {
                    let sector = start..start + SECTOR_SIZE_BYTES;
                    block[sector.clone()].copy_from_slice(&versions[version].bytes[sector]);
                }
            }
            block
        }
    }
}

/// The part of a range of bytes that lies in one block.
struct Piece {
    block: u64,
    /// Where in the block it starts.
    start: usize,
    /// Where in the range it lies.
    source: std::ops::Range<usize>,
}

fn pieces(offset: u64, length: usize) -> impl Iterator<Item = Piece> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == length {
            return None;
        }
        let at = offset + done as u64;
        let start = to_usize(at % BLOCK_SIZE_BYTES as u64);
        let end = length.min(done + BLOCK_SIZE_BYTES - start);
        let piece = Piece { block: at / BLOCK_SIZE_BYTES as u64, start, source: done..end };
        done = end;
        Some(piece)
    })
}

/// A block of `bytes`, with zeros beyond their end.
fn block_of(bytes: &[u8], block: u64) -> Block {
    let start = to_usize(block).saturating_mul(BLOCK_SIZE_BYTES).min(bytes.len());
    let end = (start + BLOCK_SIZE_BYTES).min(bytes.len());
    let mut copy = [0; BLOCK_SIZE_BYTES];
    copy[..end - start].copy_from_slice(&bytes[start..end]);
    copy
}

/// Copies `source` to `offset` of `target`, which grows by zeros where it must.
fn put(target: &mut Vec<u8>, source: &[u8], offset: u64) {
    let start = to_usize(offset);
    let end = start + source.len();
    if end > target.len() {
        target.resize(end, 0);
    }
    target[start..end].copy_from_slice(source);
}

fn to_usize(value: u64) -> usize {
    usize::try_from(value).expect("a simulated file fits in memory")
}
