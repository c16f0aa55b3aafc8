//! The bytes of a table, committed. A difference here is a data directory that no longer opens:
//! `UPDATE_GOLDENS=1 cargo test -p corelode-engine golden` rewrites the file, only if you understand what changed.

use std::fmt::Write as _;
use std::path::Path;

use super::super::*;
use super::support::{OwnedRow, in_order};
use crate::ids::{LogTime, SlotRange};
use crate::row::{Keyspace, RowKind};

/// One of everything: versions, a deadline, a tombstone, a pointer, two keyspaces, blocks of one and of several rows.
fn sample() -> Vec<OwnedRow> {
    in_order(vec![
        OwnedRow::new(b"apple", 3, b"red"),
        OwnedRow { deadline: Some(LogTime(1_700_000_000_000)), ..OwnedRow::new(b"apple", 9, b"green") },
        OwnedRow { kind: RowKind::Tombstone, ..OwnedRow::new(b"apricot", 4, b"") },
        OwnedRow { kind: RowKind::ValuePointer, ..OwnedRow::new(b"banana", 5, &[1; 16]) },
        OwnedRow::new(b"cherry", 6, &[b'c'; 150]),
        OwnedRow::new(b"damson", 7, b""),
        OwnedRow { keyspace: Keyspace::Meta, ..OwnedRow::new(b"counters", 9, &[9; 16]) },
    ])
}

fn built(compress: bool) -> Vec<u8> {
    let options = TableOptions { block_size_bytes: 128, compress };
    let mut builder = TableBuilder::new(TableId(5), 0x0123_4567_89ab_cdef, SlotRange { first: 0, last: 255 }, options);
    for row in &sample() {
        builder.add(&row.row());
    }
    let (chunk, offset, meta) = builder.finish();
    assert_eq!(offset, 0);
    assert!(chunk[usize::try_from(meta.file_length).unwrap()..].iter().all(|&byte| byte == 0), "padding is zero");
    chunk[..usize::try_from(meta.file_length).unwrap()].to_vec()
}

#[test]
fn a_golden_table_has_the_bytes_of_the_first_version() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/table_version_1.txt");
    let found = built(false).chunks(32).fold(String::new(), |mut text, line| {
        line.iter().for_each(|byte| write!(text, "{byte:02x}").unwrap());
        text.push('\n');
        text
    });
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert_eq!(found, expected, "the bytes of a table changed");
}

/// The same rows give the same bytes: nothing of a table depends on a clock, an address or the order of a hash map.
#[test]
fn building_a_table_twice_gives_the_same_bytes() {
    assert_eq!(built(true), built(true));
}
