//! fjall: one keyspace, with fjall's defaults but for the sizes of the cache and the memtable.

use std::path::Path;
use std::time::{Duration, Instant};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::engine::{Durability, Engine, Pair, Result};
use crate::load::Rows;
use crate::settings::{FjallSync, Settings};

/// fjall does not say whether a compaction is queued: it counts as settled when none has run for so long.
const QUIET: Duration = Duration::from_millis(300);

pub(crate) struct Fjall {
    database: Database,
    keyspace: Keyspace,
    sync: PersistMode,
}

impl Fjall {
    pub(crate) fn open(directory: &Path, settings: &Settings) -> Result<Self> {
        let database = Database::builder(directory).cache_size(settings.cache_bytes()).open()?;
        let keyspace = database
            .keyspace("data", || KeyspaceCreateOptions::default().max_memtable_size(settings.memtable_bytes()))?;
        let sync = match settings.fjall_sync {
            FjallSync::SyncData => PersistMode::SyncData,
            FjallSync::SyncAll => PersistMode::SyncAll,
        };
        Ok(Self { database, keyspace, sync })
    }
}

impl Engine for Fjall {
    fn put(&mut self, key: &[u8], value: &[u8], durability: Durability) -> Result<()> {
        self.keyspace.insert(key, value)?;
        if durability == Durability::Synced {
            self.database.persist(self.sync)?;
        }
        Ok(())
    }

    fn put_batch(&mut self, pairs: &[Pair]) -> Result<()> {
        let mut batch = self.database.batch().durability(Some(self.sync));
        for (key, value) in pairs {
            batch.insert(&self.keyspace, key, value.as_slice());
        }
        Ok(batch.commit()?)
    }

    fn get(&mut self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        value.clear();
        let found = self.keyspace.get(key)?;
        if let Some(found) = &found {
            value.extend_from_slice(found);
        }
        Ok(found.is_some())
    }

    fn scan(&mut self, start: &[u8], row_count: usize, rows: &mut Rows) -> Result<()> {
        for guard in self.keyspace.range(start..).take(row_count) {
            let (key, value) = guard.into_inner()?;
            rows.push(&key, &value);
        }
        Ok(())
    }

    fn settle(&mut self) -> Result<Duration> {
        let started = Instant::now();
        self.keyspace.rotate_memtable_and_wait()?;
        self.database.persist(self.sync)?;
        let (mut busy_at, mut completed) = (Instant::now(), self.database.compactions_completed());
        while busy_at.elapsed() < QUIET {
            std::thread::sleep(Duration::from_millis(1));
            let completed_now = self.database.compactions_completed();
            let is_idle = self.database.outstanding_flushes() == 0
                && self.keyspace.sealed_memtable_count() == 0
                && self.database.active_compactions() == 0
                && completed_now == completed;
            if !is_idle {
                (busy_at, completed) = (Instant::now(), completed_now);
            }
        }
        Ok(busy_at - started)
    }

    fn shape(&self) -> Result<String> {
        Ok(format!(
            "{} tables, {} of them in level 0, of {} MB; {} journals of {} MB; {} compactions",
            self.keyspace.table_count(),
            self.keyspace.l0_table_count(),
            self.keyspace.disk_space() / 1_000_000,
            self.database.journal_count(),
            self.database.journal_disk_space()? / 1_000_000,
            self.database.compactions_completed()
        ))
    }

    fn close(mut self: Box<Self>) -> Result<()> {
        self.settle()?;
        Ok(())
    }
}
