//! A merge of memtables, tables and levels against the sorted list of all their rows, with blocks missed at random.

use std::rc::Rc;

use proptest::prelude::*;

use super::*;
use crate::env::simulated::SimulatedEnvironment;
use crate::ids::{LogTime, Revision};
use crate::memtable::Memtable;
use crate::row::{Keyspace, Row, RowKey, RowKind};
use crate::table::TableView;
use crate::table::tests::support::{MissingSource, OwnedRow, in_order, options, rows, view_of};

type View = Rc<TableView<SimulatedEnvironment>>;

/// What a tree may hold: rows in memtables, in tables that overlap, and in levels of tables that do not.
struct Shape {
    memtables: Vec<Memtable>,
    level0: Vec<View>,
    levels: Vec<Vec<View>>,
}

impl Shape {
    /// Deals each row to a source; a few go to two, as after a crash between a flush and the truncation of the log.
    fn new(rows: &[OwnedRow], deal: &[u8], table_options: crate::table::TableOptions) -> Self {
        let mut dealt: [Vec<OwnedRow>; 8] = Default::default();
        for (row, deal) in rows.iter().zip(deal.iter().cycle()) {
            dealt[usize::from(deal % 7)].push(row.clone());
            if deal % 5 == 0 {
                dealt[usize::from(deal / 5 % 7)].push(row.clone());
            }
        }
        let mut id = 0;
        let mut tables = |rows: &[OwnedRow], count: usize| -> Vec<View> {
            let rows = in_order(rows.to_vec());
            // Versions of one key stay in one table of a level.
            let mut pieces: Vec<Vec<OwnedRow>> = vec![Vec::new()];
            for row in rows.iter().cloned() {
                let last = pieces.last_mut().expect("never empty");
                let is_same_key = last.last().is_some_and(|last| last.key == row.key && last.keyspace == row.keyspace);
                if last.len() * count >= rows.len() && !is_same_key {
                    pieces.push(vec![row]);
                } else {
                    last.push(row);
                }
            }
            pieces.retain(|piece| !piece.is_empty());
            pieces
                .iter()
                .map(|piece| {
                    id += 1;
                    view_of(id, piece, table_options)
                })
                .collect()
        };
        let memtables = dealt[..2].iter().map(|rows| {
            let mut memtable = Memtable::new();
            rows.iter().for_each(|row| memtable.insert(&row.row(), Some(Revision::MAX)));
            memtable
        });
        let memtables = memtables.collect();
        let level0 = dealt[2..5].iter().flat_map(|rows| tables(rows, 1)).collect();
        let levels = dealt[5..7].iter().map(|rows| tables(rows, 4)).collect();
        Self { memtables, level0, levels }
    }

    fn merge(&self) -> MergeCursor<'_, SimulatedEnvironment> {
        let mut inputs: Vec<_> = self.memtables.iter().map(|memtable| Input::memtable(memtable.rows())).collect();
        inputs.extend(self.level0.iter().map(Input::table));
        inputs.extend(self.levels.iter().map(|level| Input::level(level)));
        MergeCursor::new(inputs)
    }
}

/// The model: the newest visible version of each key.
fn visible(rows: &[OwnedRow], at: Revision, log_time: LogTime) -> Vec<&OwnedRow> {
    let mut visible: Vec<&OwnedRow> = Vec::new();
    let mut last: Option<&OwnedRow> = None;
    for row in rows.iter().filter(|row| row.revision <= at) {
        if last.is_none_or(|last| (last.keyspace, &last.key) != (row.keyspace, &row.key)) {
            last = Some(row);
            if row.row().is_visible_at(log_time) {
                visible.push(row);
            }
        }
    }
    visible
}

fn apply(retention: &mut Retention, row: &Row<'_>, is_bottom: bool) -> Option<OwnedRow> {
    let owned = |kind, deadline, value: &[u8]| OwnedRow {
        keyspace: row.row_key.keyspace,
        key: row.row_key.key.to_vec(),
        revision: row.row_key.revision,
        kind,
        deadline,
        value: value.to_vec(),
    };
    match retention.decide(row, || is_bottom) {
        Retain::Keep => Some(owned(row.kind, row.deadline, row.value)),
        Retain::KeepAsTombstone => Some(owned(RowKind::Tombstone, None, &[])),
        Retain::Drop => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_merge_equals_its_rows_whatever_is_missed(
        rows in rows(120),
        deal in prop::collection::vec(any::<u8>(), 1..40),
        options in options(),
        seed in any::<u64>(),
        starts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let shape = Shape::new(&rows, &deal, options);
        let mut source = MissingSource::new(seed);
        let mut merge = shape.merge();
        source.run(|source| merge.seek_to_first(source));
        for row in &rows {
            prop_assert_eq!(merge.row(), Some(row.row()));
            source.run(|source| merge.advance(source));
        }
        prop_assert_eq!(merge.row(), None);
        source.run(|source| merge.advance(source));
        prop_assert_eq!(merge.row(), None, "the end is where it was");
        for start in starts {
            let start = start.get(&rows);
            let key = [&start.key[..], &[1]].concat();
            for target in [start.row_key(), RowKey { key: &key, ..start.row_key() }] {
                source.run(|source| merge.seek(target, source));
                for row in rows.iter().filter(|row| row.row_key() >= target).take(9) {
                    prop_assert_eq!(merge.row(), Some(row.row()), "behind {:?}", target);
                    source.run(|source| merge.advance(source));
                }
            }
        }
    }

    /// For every held snapshot, and for now, the same is visible before a compaction and after it.
    #[test]
    fn retention_changes_nothing_that_anybody_sees(
        rows in rows(150),
        mut pins in prop::collection::vec((0_u64..45).prop_map(Revision), 0..5),
        floor in 0_u64..1000,
        is_bottom in any::<bool>(),
    ) {
        pins.sort_unstable();
        pins.dedup();
        let mut retention = Retention::new(pins.clone(), LogTime(floor));
        let kept: Vec<_> = rows.iter().filter_map(|row| apply(&mut retention, &row.row(), is_bottom)).collect();
        for &at in pins.iter().chain(&[Revision::MAX]) {
            for log_time in [floor, floor + 100, 2000] {
                prop_assert_eq!(visible(&rows, at, LogTime(log_time)), visible(&kept, at, LogTime(log_time)));
            }
            let covered = |list: &[OwnedRow], row: &OwnedRow| {
                list.iter().any(|other| (other.keyspace, &other.key) == (row.keyspace, &row.key) && other.revision <= at)
            };
            prop_assert!(is_bottom || rows.iter().all(|row| covered(&rows, row) == covered(&kept, row)),
                "what lies beneath would show again");
        }
        // Nothing is kept for nobody.
        let keys: std::collections::BTreeSet<_> = rows.iter().map(|row| (row.keyspace, row.key.clone())).collect();
        prop_assert!(kept.len() <= keys.len() * (pins.len() + 1));
        if is_bottom && pins.is_empty() {
            prop_assert!(kept.iter().all(|row| row.row().is_visible_at(LogTime(floor))));
        }
    }
}

#[test]
fn a_merge_of_nothing_is_at_its_end() {
    let mut merge = MergeCursor::<SimulatedEnvironment>::new(Vec::new());
    let mut source = MissingSource::new(1);
    source.run(|source| merge.seek_to_first(source));
    assert!(merge.row().is_none());
    let target = RowKey { keyspace: Keyspace::Data, key: b"k", revision: Revision::MAX };
    source.run(|source| merge.seek(target, source));
    source.run(|source| merge.advance(source));
    assert!(merge.row().is_none());
}
