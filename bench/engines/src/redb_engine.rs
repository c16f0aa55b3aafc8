//! redb: one table of byte strings.
//!
//! A read transaction is kept until the next write, so that redb pays for one only where another engine's answer would change, too.

use std::path::Path;
use std::time::{Duration, Instant};

use redb::{Builder, Database, ReadOnlyTable, ReadableDatabase, TableDefinition};

use crate::engine::{Durability, Engine, Pair, Result};
use crate::load::Rows;
use crate::settings::Settings;

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("data");

pub(crate) struct Redb {
    database: Database,
    reader: Option<ReadOnlyTable<&'static [u8], &'static [u8]>>,
}

impl Redb {
    pub(crate) fn open(directory: &Path, settings: &Settings) -> Result<Self> {
        std::fs::create_dir_all(directory)?;
        let database = Builder::new()
            .set_cache_size(usize::try_from(settings.cache_bytes())?)
            .create(directory.join("data.redb"))?;
        let mut redb = Self { database, reader: None };
        redb.write(&[], redb::Durability::Immediate)?;
        Ok(redb)
    }

    fn write(&mut self, pairs: &[(&[u8], &[u8])], durability: redb::Durability) -> Result<()> {
        // A reader would keep the pages that this replaces.
        self.reader = None;
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(durability)?;
        {
            let mut table = transaction.open_table(TABLE)?;
            for (key, value) in pairs {
                table.insert(*key, *value)?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn reader(&mut self) -> Result<&ReadOnlyTable<&'static [u8], &'static [u8]>> {
        let table = match self.reader.take() {
            Some(table) => table,
            None => self.database.begin_read()?.open_table(TABLE)?,
        };
        Ok(self.reader.insert(table))
    }
}

impl Engine for Redb {
    fn put(&mut self, key: &[u8], value: &[u8], durability: Durability) -> Result<()> {
        let durability = match durability {
            Durability::Synced => redb::Durability::Immediate,
            Durability::Unsynced => redb::Durability::None,
        };
        self.write(&[(key, value)], durability)
    }

    fn put_batch(&mut self, pairs: &[Pair]) -> Result<()> {
        let pairs: Vec<(&[u8], &[u8])> = pairs.iter().map(|(key, value)| (key.as_slice(), value.as_slice())).collect();
        self.write(&pairs, redb::Durability::Immediate)
    }

    fn get(&mut self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        value.clear();
        let found = self.reader()?.get(key)?;
        if let Some(found) = &found {
            value.extend_from_slice(found.value());
        }
        Ok(found.is_some())
    }

    fn scan(&mut self, start: &[u8], row_count: usize, rows: &mut Rows) -> Result<()> {
        for row in self.reader()?.range(start..)?.take(row_count) {
            let (key, value) = row?;
            rows.push(key.value(), value.value());
        }
        Ok(())
    }

    fn settle(&mut self) -> Result<Duration> {
        let started = Instant::now();
        // The first makes durable what was not; pages that it freed can be used again after the second.
        self.write(&[], redb::Durability::Immediate)?;
        self.write(&[], redb::Durability::Immediate)?;
        Ok(started.elapsed())
    }

    fn shape(&self) -> Result<String> {
        let transaction = self.database.begin_write()?;
        let stats = transaction.stats()?;
        let shape = format!(
            "a tree {} pages high, {} leaf pages of {} bytes, {} MB of keys and values, {} MB of fragments",
            stats.tree_height(),
            stats.leaf_pages(),
            stats.page_size(),
            stats.stored_bytes() / 1_000_000,
            stats.fragmented_bytes() / 1_000_000
        );
        transaction.abort()?;
        Ok(shape)
    }

    fn close(mut self: Box<Self>) -> Result<()> {
        self.settle()?;
        Ok(())
    }
}
