//! Bytes that somebody or something changed: an error or the same answers, never other rows, never a panic.

use std::rc::Rc;
use std::sync::Arc;

use proptest::prelude::*;

use super::super::block::{Block, BlockBuilder, BlockCursor};
use super::super::*;
use super::support::{OwnedRow, SEED, disk, in_order, options, path_of, rows, write_table};
use crate::cursor::Stop;
use crate::env::simulated::{DiskImage, SimulatedEnvironment, SimulationOptions};
use crate::ids::{LogTime, Revision, SlotRange};
use crate::row::{Keyspace, RowKey, RowKind};

/// Reads blocks from the map, always.
struct MapSource;

impl BlockSource<SimulatedEnvironment> for MapSource {
    fn block(
        &mut self,
        view: &TableView<SimulatedEnvironment>,
        block: usize,
    ) -> std::result::Result<BlockBytes<SimulatedEnvironment>, Stop<<SimulatedEnvironment as Environment>::File>> {
        let handle = view.handle(block);
        let stored = &view.table().map[usize::try_from(handle.offset).unwrap()..][..handle.length as usize];
        let loaded = load_block(view.table().path(), stored, view.meta().checksum_seed, handle.offset)?;
        Ok(BlockBytes::Owned(match loaded {
            StoredBlock::Plain(bytes) => Rc::from(bytes),
            StoredBlock::Unpacked(bytes) => Rc::from(bytes),
        }))
    }
}

fn open(bytes: &[u8], meta: &TableMeta) -> Result<Table<SimulatedEnvironment>> {
    let mut image = DiskImage::empty();
    image.write(path_of(1), bytes).unwrap();
    let environment = SimulatedEnvironment::with_disk(SimulationOptions::in_order(), &image);
    environment.run_until(Table::open(&environment, &path_of(1), meta.clone())).unwrap()
}

/// Reads everything; `false` if damage was found.
fn reads_as(bytes: &[u8], meta: &TableMeta, rows: &[OwnedRow]) -> bool {
    let Ok(table) = open(bytes, meta) else { return false };
    let view = Rc::new(TableView::new(Arc::new(table)));
    let mut is_whole = true;
    for row in rows {
        let mut found = None;
        match view.get(row.row_key(), &mut MapSource, |row| found = Some(row.value.to_vec())) {
            Ok(is_found) => assert!(is_found && found.as_ref() == Some(&row.value), "another answer for {:?}", row.key),
            Err(_) => is_whole = false,
        }
    }
    let mut cursor = TableCursor::new(view);
    for row in rows {
        if cursor.settle(&mut MapSource).is_err() {
            return false;
        }
        assert_eq!(cursor.row(), Some(row.row()));
        if cursor.step().is_err() {
            return false;
        }
    }
    is_whole
}

fn sample() -> Vec<OwnedRow> {
    let mut rows = Vec::new();
    for number in 0..12_u64 {
        let key = format!("key/{:04}", number / 2);
        rows.push(OwnedRow {
            kind: if number % 5 == 4 { RowKind::Tombstone } else { RowKind::Value },
            deadline: (number % 3 == 0).then_some(LogTime(1000 + number)),
            ..OwnedRow::new(key.as_bytes(), number, if number % 5 == 4 { b"" } else { b"vvvvvvvvvvvvvvvvvvvvvvvv" })
        });
    }
    rows.push(OwnedRow { keyspace: Keyspace::Meta, ..OwnedRow::new(b"counters", 12, &[0; 16]) });
    in_order(rows)
}

fn file_of(rows: &[OwnedRow], options: TableOptions) -> (Vec<u8>, TableMeta) {
    let environment = disk();
    let table = environment.run_until(write_table(&environment, 1, rows, options)).unwrap().unwrap();
    (table.map.to_vec(), table.meta().clone())
}

#[test]
fn every_changed_byte_is_found() {
    let rows = sample();
    for compress in [false, true] {
        let (file, meta) = file_of(&rows, TableOptions { block_size_bytes: 128, compress });
        assert!(reads_as(&file, &meta, &rows));
        for at in 0..file.len() {
            for mask in [0x01, 0x80, 0xff] {
                let mut changed = file.clone();
                changed[at] ^= mask;
                assert!(!reads_as(&changed, &meta, &rows), "byte {at} of {} changed by {mask:#x}", file.len());
            }
        }
    }
}

#[test]
fn every_cut_is_found() {
    let rows = sample();
    let (file, meta) = file_of(&rows, TableOptions { block_size_bytes: 128, compress: false });
    for length in 0..file.len() {
        assert!(open(&file[..length], &meta).is_err(), "cut to {length}");
        let lying = TableMeta { file_length: length as u64, ..meta.clone() };
        assert!(length == 0 || open(&file[..length], &lying).is_err(), "cut to {length}, and the manifest agrees");
    }
}

#[test]
fn a_newer_version_is_named_and_a_flipped_bit_in_the_version_is_not_one() {
    let (file, meta) = file_of(&sample(), TableOptions { block_size_bytes: 128, compress: false });
    let at = file.len() - 16;
    let mut newer = file.clone();
    newer[at..at + 4].copy_from_slice(&7_u32.to_le_bytes());
    newer[at + 4..at + 8].copy_from_slice(&(!7_u32).to_le_bytes());
    let found = open(&newer, &meta).unwrap_err();
    assert!(matches!(found, Error::UnknownVersion { found: 7, supported: 1, .. }), "{found}");
    let mut flipped = file;
    flipped[at] ^= 2;
    assert!(matches!(open(&flipped, &meta), Err(Error::Corruption(_))));
}

#[test]
fn a_block_of_another_table_or_place_never_passes() {
    let rows: Vec<_> = (0..4_u32).map(|number| OwnedRow::new(&number.to_be_bytes(), 1, &[7; 100])).collect();
    let (file, meta) = file_of(&rows, TableOptions { block_size_bytes: 1, compress: false });
    let block_length = {
        let table = open(&file, &meta).unwrap();
        table.index.handle(0).length as usize
    };
    let mut swapped = file.clone();
    swapped.copy_within(block_length..2 * block_length, 0);
    assert!(!reads_as(&swapped, &meta, &rows));
    let stale = load_block("/t".as_ref(), &file[..block_length], SEED + 2, 0);
    assert!(stale.is_err(), "the same bytes under another table's seed");
}

#[test]
fn a_manifest_that_says_otherwise_is_found() {
    let (file, meta) = file_of(&sample(), TableOptions { block_size_bytes: 128, compress: false });
    let relinked = TableMeta { id: TableId(77), slots: SlotRange { first: 0, last: 9 }, ..meta.clone() };
    assert!(open(&file, &relinked).is_ok(), "a split may link the file under another number and with fewer slots");
    for other in [
        TableMeta { row_count: meta.row_count + 1, ..meta.clone() },
        TableMeta { deadline_newest: LogTime(5), ..meta.clone() },
        TableMeta { largest: meta.smallest.clone(), ..meta.clone() },
        TableMeta { checksum_seed: meta.checksum_seed ^ 1, ..meta.clone() },
    ] {
        assert!(open(&file, &other).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Damage that no checksum guards against: a block whose bytes never were one.
    #[test]
    fn no_bytes_make_a_block_panic(
        rows in rows(20),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
        target in 0_usize..20,
    ) {
        let mut builder = BlockBuilder::default();
        for row in &rows {
            builder.add(&row.row(), filter::key_hash(row.keyspace, &row.key));
        }
        let mut bytes = Vec::new();
        builder.finish(&mut bytes);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if is_cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let Ok(block) = Block::new(&bytes) else { return Ok(()) };
        let target = rows[target % rows.len()].row_key();
        let mut cursor = BlockCursor::default();
        if cursor.seek_to_first(block).is_ok() {
            while cursor.row(&bytes).is_some() && cursor.advance(block).is_ok() {}
        }
        let _ = cursor.seek(block, target);
        let _ = cursor.row(&bytes);
        let _ = block.find(target, filter::key_hash(target.keyspace, target.key));
    }

    #[test]
    fn no_bytes_make_the_parts_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), end in 0_u64..300) {
        let _ = TableIndex::decode(&bytes, end);
        let _ = TableMeta::decode(&bytes);
        let _ = Footer::decode("/t".as_ref(), &bytes, SEED, end);
        let _ = load_block("/t".as_ref(), &bytes, SEED, end);
    }

    #[test]
    fn random_damage_of_random_tables_is_found(
        rows in rows(30),
        options in options(),
        at in any::<prop::sample::Index>(),
        mask in 1_u8..=255,
    ) {
        let (mut file, meta) = file_of(&rows, options);
        let at = at.index(file.len());
        file[at] ^= mask;
        prop_assert!(!reads_as(&file, &meta, &rows), "byte {} changed by {:#x}", at, mask);
    }
}

/// Found by the property above: the cursor went on showing the row before, with the key of the one that could not be read.
#[test]
fn a_row_that_cannot_be_read_is_not_shown_in_part() {
    let rows = [OwnedRow::new(b"a", 1, b"v"), OwnedRow::new(b"b", 1, b"v")];
    let mut builder = BlockBuilder::default();
    rows.iter().for_each(|row| builder.add(&row.row(), 0));
    let mut bytes = Vec::new();
    builder.finish(&mut bytes);
    let mut cursor = BlockCursor::default();
    cursor.seek_to_first(Block::new(&bytes).unwrap()).unwrap();
    let second = cursor.row(&bytes).unwrap().value.as_ptr() as usize - bytes.as_ptr() as usize + 1;
    // The second row takes nothing from the first, and what it brings is no keyspace.
    bytes[second] = 0;
    bytes[second + 1] = 1;
    assert!(cursor.advance(Block::new(&bytes).unwrap()).is_err());
    assert_eq!(cursor.row(&bytes), None);
    assert!(cursor.seek(Block::new(&bytes).unwrap(), rows[1].row_key()).is_err());
    assert_eq!(cursor.row(&bytes), None);
}

/// The range of a bound key is checked before its bytes are copied.
/// PITFALL 28.
#[test]
fn a_length_that_is_too_large_allocates_nothing() {
    let (_, meta) = file_of(&sample(), TableOptions { block_size_bytes: 128, compress: false });
    let mut bytes = Vec::new();
    meta.encode(&mut bytes);
    let length_at = bytes.len() - meta.largest.key.len() - 4;
    bytes[length_at..length_at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(TableMeta::decode(&bytes), None);
    let target = RowKey { keyspace: Keyspace::Data, key: b"k", revision: Revision(1) };
    let mut index = TableIndex::default();
    index.push(BlockHandle { offset: 0, length: 50 }, target);
    let mut encoded = index.encode();
    encoded[0..4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(TableIndex::decode(&encoded, 50).is_none());
}
