//! Reading from the map: only what is said to be resident, checked once while it stays so.

use std::rc::Rc;
use std::sync::Arc;

use super::super::*;
use super::clause;
use super::support::{OwnedRow, disk, path_of, write_table};
use crate::block_cache::BlockCache;
use crate::cursor::Stop;
use crate::env::simulated::{Damage, SimulatedEnvironment};
use crate::ids::Revision;
use crate::row::{Keyspace, RowKey};

const KEY_COUNT: u32 = 400;

struct Fixture {
    environment: SimulatedEnvironment,
    view: Rc<TableView<SimulatedEnvironment>>,
    cache: BlockCache,
}

impl Fixture {
    fn new(compress: bool) -> Self {
        let environment = disk();
        let value = vec![b'v'; 300];
        let rows: Vec<_> = (0..KEY_COUNT).map(|number| OwnedRow::new(&number.to_be_bytes(), 1, &value)).collect();
        let table_options = TableOptions { block_size_bytes: 4096, compress };
        let table = environment.run_until(write_table(&environment, 1, &rows, table_options)).unwrap().unwrap();
        let view = Rc::new(TableView::new(Arc::new(table)));
        Self { environment, view, cache: BlockCache::new(1024 * 1024) }
    }

    fn get(&mut self, number: u32) -> std::result::Result<bool, String> {
        let key = number.to_be_bytes();
        let target = RowKey { keyspace: Keyspace::Data, key: &key, revision: Revision::MAX };
        self.view.get(target, &mut self.cache, |_| ()).map_err(clause)
    }

    fn pages(&self) -> Vec<u64> {
        self.view.table().residency().unwrap()
    }
}

#[test]
fn nothing_is_read_from_the_map_until_it_is_known_to_be_resident() {
    for compress in [false, true] {
        let mut fixture = Fixture::new(compress);
        assert!(fixture.get(0).unwrap_err().starts_with("miss"));
        let pages = fixture.pages();
        fixture.view.set_residency(pages);
        assert_eq!(fixture.get(0), Ok(true));
        assert_eq!(fixture.get(KEY_COUNT - 1), Ok(true));
        // The last page goes out: blocks on it are missed, the others are not. An unpacked block is in the cache by now.
        let last_block = fixture.view.handle(fixture.view.block_count() - 1);
        let last_page = usize::try_from(last_block.offset).unwrap() / DIRECT_IO_ALIGNMENT;
        let mut pages = fixture.pages();
        pages[last_page / 64] &= !(1 << (last_page % 64));
        fixture.view.set_residency(pages);
        assert_eq!(fixture.get(0), Ok(true));
        assert_eq!(fixture.get(KEY_COUNT - 1).is_ok(), compress);
    }
}

#[test]
fn damage_in_the_map_is_found_before_the_first_row_is_read() {
    let mut fixture = Fixture::new(false);
    let environment = fixture.environment.clone();
    environment.damage(path_of(1), Damage::FlipBit { offset: 100, bit: 3 }).unwrap();
    let meta = fixture.view.meta().clone();
    let table = environment.run_until(Table::open(&environment, &path_of(1), meta)).unwrap().unwrap();
    fixture.view = Rc::new(TableView::new(Arc::new(table)));
    let pages = fixture.pages();
    fixture.view.set_residency(pages);
    assert!(fixture.get(0).unwrap_err().contains("checksum"));
    assert_eq!(fixture.get(KEY_COUNT - 1), Ok(true));
}

#[test]
fn a_block_larger_than_the_cache_is_read_in_the_end() {
    let environment = disk();
    let value = vec![b'v'; 1_000_000];
    let rows = [OwnedRow::new(b"large", 1, &value)];
    let table_options = TableOptions { block_size_bytes: 4096, compress: false };
    let table = environment.run_until(write_table(&environment, 1, &rows, table_options)).unwrap().unwrap();
    let view = TableView::new(Arc::new(table));
    let mut cache = BlockCache::new(1024);
    let mut found = None;
    let Err(Stop::Miss(read)) = view.get(rows[0].row_key(), &mut cache, |_| ()) else { panic!("nothing is cached") };
    let stored = &view.table().map[usize::try_from(read.handle.offset).unwrap()..][..read.handle.length as usize];
    cache.complete(&read, stored).unwrap();
    assert!(view.get(rows[0].row_key(), &mut cache, |row| found = Some(row.value.to_vec())).unwrap_or(false));
    assert_eq!(found.unwrap(), value);
    assert_eq!((cache.counters().hits, cache.counters().misses), (1, 1));
    assert!(cache.complete(&read, &stored[..stored.len() - 1]).is_err(), "a short read is damage");
}
