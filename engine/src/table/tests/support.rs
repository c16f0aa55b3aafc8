//! Rows that tests own, tables made of them on a simulated disk, and a source of blocks that misses at will.

use std::collections::HashSet;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use proptest::prelude::*;

use crate::cursor::Stop;
use crate::env::Environment;
use crate::env::simulated::{SimulatedEnvironment, SimulatedFile, SimulationOptions};
use crate::error::Result;
use crate::ids::{LogTime, Revision, SlotRange, TableId};
use crate::row::{Keyspace, Row, RowKey, RowKind};
use crate::table::{
    BlockBytes, BlockSource, StoredBlock, Table, TableBuilder, TableOptions, TableView, TableWriter, load_block,
    table_file_name,
};

/// A row that owns its bytes. It orders as rows do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct OwnedRow {
    pub(crate) keyspace: Keyspace,
    pub(crate) key: Vec<u8>,
    pub(crate) revision: Revision,
    pub(crate) kind: RowKind,
    pub(crate) deadline: Option<LogTime>,
    pub(crate) value: Vec<u8>,
}

impl OwnedRow {
    pub(crate) fn new(key: &[u8], revision: u64, value: &[u8]) -> Self {
        Self {
            keyspace: Keyspace::Data,
            key: key.to_vec(),
            revision: Revision(revision),
            kind: RowKind::Value,
            deadline: None,
            value: value.to_vec(),
        }
    }

    pub(crate) fn row_key(&self) -> RowKey<'_> {
        RowKey { keyspace: self.keyspace, key: &self.key, revision: self.revision }
    }

    pub(crate) fn row(&self) -> Row<'_> {
        let is_tombstone = self.kind == RowKind::Tombstone;
        let value_crc = if is_tombstone { 0 } else { crc32fast::hash(&self.value) };
        Row { row_key: self.row_key(), kind: self.kind, deadline: self.deadline, value_crc, value: &self.value }
    }
}

/// Sorts by internal key and drops what is there twice.
pub(crate) fn in_order(mut rows: Vec<OwnedRow>) -> Vec<OwnedRow> {
    rows.sort_by(|a, b| a.row_key().cmp(&b.row_key()));
    rows.dedup_by(|a, b| a.row_key() == b.row_key());
    rows
}

/// Rows with few distinct keys, long shared prefixes, many versions, now and then a long key or a large value.
pub(crate) fn rows(count_max: usize) -> impl Strategy<Value = Vec<OwnedRow>> {
    let key = prop_oneof![
        8 => prop::collection::vec(0_u8..3, 1..5),
        4 => (0_u16..200).prop_map(|number| format!("tenant/0001/user/{number:05}").into_bytes()),
        1 => (0_u8..3).prop_map(|byte| vec![byte; 4096]),
        1 => prop::collection::vec(prop_oneof![Just(0), Just(255)], 1..5),
    ];
    let value = prop_oneof![
        16 => prop::collection::vec(any::<u8>(), 0..60),
        8 => (any::<u8>(), 0_usize..3000).prop_map(|(byte, length)| vec![byte; length]),
        1 => any::<u8>().prop_map(|byte| vec![byte; 70_000]),
    ];
    let row = (1_u8..=4, key, 0_u64..40, 1_u8..=3, prop::option::of(1_u64..1000), value);
    let row = row.prop_map(|(keyspace, key, revision, kind, deadline, value)| {
        let kind = RowKind::from_byte(kind).unwrap();
        let is_tombstone = kind == RowKind::Tombstone;
        OwnedRow {
            keyspace: Keyspace::from_byte(keyspace).unwrap(),
            key,
            revision: Revision(revision),
            kind,
            deadline: deadline.map(LogTime),
            value: if is_tombstone { Vec::new() } else { value },
        }
    });
    prop::collection::vec(row, 1..count_max).prop_map(in_order)
}

pub(crate) fn options() -> impl Strategy<Value = TableOptions> {
    (prop_oneof![Just(1), Just(64), Just(512), Just(4096), Just(65_536)], any::<bool>())
        .prop_map(|(block_size_bytes, compress)| TableOptions { block_size_bytes, compress })
}

pub(crate) const SEED: u64 = 0x5eed_5eed_5eed_5eed;

pub(crate) fn disk() -> SimulatedEnvironment {
    SimulatedEnvironment::new(SimulationOptions::in_order())
}

pub(crate) fn path_of(id: u64) -> PathBuf {
    PathBuf::from("/").join(table_file_name(TableId(id)))
}

/// Writes a table of these rows, as a job does, and opens it.
pub(crate) async fn write_table(
    environment: &SimulatedEnvironment,
    id: u64,
    rows: &[OwnedRow],
    options: TableOptions,
) -> Result<Table<SimulatedEnvironment>> {
    let builder = TableBuilder::new(TableId(id), SEED + id, SlotRange::ALL, options);
    let mut writer = TableWriter::create(environment, &path_of(id), builder).await?;
    for row in rows {
        writer.add(&row.row()).await?;
    }
    let meta = writer.finish().await?;
    Table::open(environment, &path_of(id), meta).await
}

/// A view of a table made of these rows, on a disk of its own.
pub(crate) fn view_of(id: u64, rows: &[OwnedRow], options: TableOptions) -> Rc<TableView<SimulatedEnvironment>> {
    let environment = disk();
    let table = environment.run_until(write_table(&environment, id, rows, options)).unwrap().unwrap();
    Rc::new(TableView::new(Arc::new(table)))
}

/// Gives blocks from a table's map, and says that it misses them as often as it is told: the first time, and at random again.
pub(crate) struct MissingSource {
    random: u64,
    arrived: HashSet<(u64, u64)>,
    pub(crate) misses: usize,
}

impl MissingSource {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: seed | 1, arrived: HashSet::new(), misses: 0 }
    }

    fn flip(&mut self) -> bool {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random.is_multiple_of(3)
    }

    /// Repeats `operation` for as long as it misses, as a driver does.
    pub(crate) fn run<T>(
        &mut self,
        mut operation: impl FnMut(&mut Self) -> std::result::Result<T, Stop<SimulatedFile>>,
    ) -> T {
        loop {
            match operation(self) {
                Ok(answer) => return answer,
                Err(Stop::Miss(read)) => {
                    self.misses += 1;
                    self.arrived.insert((read.seed, read.handle.offset));
                }
                Err(Stop::Corruption(corruption)) => panic!("{corruption}"),
            }
        }
    }
}

impl<E: Environment> BlockSource<E> for MissingSource {
    fn block(&mut self, view: &TableView<E>, block: usize) -> std::result::Result<BlockBytes<E>, Stop<E::File>> {
        let (seed, handle) = (view.meta().checksum_seed, view.handle(block));
        if !self.arrived.contains(&(seed, handle.offset)) {
            return Err(Stop::Miss(Box::new(view.block_read(block))));
        }
        if self.flip() {
            self.arrived.remove(&(seed, handle.offset));
        }
        let stored = &view.table().map[usize::try_from(handle.offset).unwrap()..][..handle.length as usize];
        Ok(BlockBytes::Owned(match load_block(view.table().path(), stored, seed, handle.offset)? {
            StoredBlock::Plain(bytes) => Rc::from(bytes),
            StoredBlock::Unpacked(bytes) => Rc::from(bytes),
        }))
    }
}
