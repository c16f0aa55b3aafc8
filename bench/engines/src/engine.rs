//! What every engine is asked to do, and the engines there are.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::corelode::Corelode;
use crate::fjall_engine::Fjall;
use crate::load::{KEY_BYTES, Rows};
use crate::redb_engine::Redb;
use crate::settings::Settings;

/// Whatever an engine may fail with. A failure ends the run: there are no figures of an engine that failed.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;
/// What an operation of an engine comes to.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// A key and its value.
pub(crate) type Pair = ([u8; KEY_BYTES], Vec<u8>);

/// How far a write has come when it returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Durability {
    /// It survives a power cut.
    Synced,
    /// Nothing waited for a sync; [`EngineName::unsynced`] says what that means for each engine.
    Unsynced,
}

/// An embedded engine with one database open, driven by one thread.
///
/// Reads copy what they find to the caller, so that no engine is measured by handing out a reference that nobody follows.
pub(crate) trait Engine {
    /// Gives a key a value.
    fn put(&mut self, key: &[u8], value: &[u8], durability: Durability) -> Result<()>;

    /// Gives some keys their values with one sync for all of them.
    fn put_batch(&mut self, pairs: &[Pair]) -> Result<()>;

    /// Replaces `value` by the key's value; `false` if there is none.
    fn get(&mut self, key: &[u8], value: &mut Vec<u8>) -> Result<bool>;

    /// Adds the first `row_count` rows from the key `start` on.
    fn scan(&mut self, start: &[u8], row_count: usize, rows: &mut Rows) -> Result<()>;

    /// Makes all that was written durable, and waits until no work is left for later: memtables are flushed, no compaction is due.
    /// Answers how long the engine was at it, without the time it took to be sure.
    fn settle(&mut self) -> Result<Duration>;

    /// Called once all keys have been read, before reads are measured.
    fn reads_follow(&mut self) -> Result<()> {
        Ok(())
    }

    /// What the database consists of, in the engine's own words.
    fn shape(&self) -> Result<String>;

    /// Closes the database in good order.
    fn close(self: Box<Self>) -> Result<()>;
}

/// The engines, in the order in which tables show them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EngineName {
    /// What this is about.
    Corelode,
    /// A log-structured merge tree.
    Fjall,
    /// A copy-on-write B-tree.
    Redb,
}

impl EngineName {
    /// Opens the database in `directory`, or makes one.
    pub(crate) fn open(self, directory: &Path, settings: &Settings) -> Result<Box<dyn Engine>> {
        Ok(match self {
            Self::Corelode => Box::new(Corelode::open(directory, settings)?),
            Self::Fjall => Box::new(Fjall::open(directory, settings)?),
            Self::Redb => Box::new(Redb::open(directory, settings)?),
        })
    }

    /// The package in the lock file.
    pub(crate) fn package(self) -> &'static str {
        match self {
            Self::Corelode => "corelode-engine",
            Self::Fjall => "fjall",
            Self::Redb => "redb",
        }
    }

    /// What a durable write does.
    pub(crate) fn synced(self, settings: &Settings) -> String {
        match self {
            Self::Corelode => "one log write for all, O_DIRECT and O_DSYNC into recycled segments".to_owned(),
            Self::Fjall => format!("journal write, then `persist(PersistMode::{:?})`", settings.fjall_sync),
            Self::Redb => "a transaction with `Durability::Immediate`, which syncs by fdatasync".to_owned(),
        }
    }

    /// What a write without a sync does, and what takes it away again.
    pub(crate) fn unsynced(self) -> &'static str {
        match self {
            Self::Corelode => {
                "`Durability::Memory`: applied in memory, while a second thread writes and syncs the log without a pause; \
                 a crash of the process loses what its write in flight has not reached, some milliseconds"
            }
            Self::Fjall => {
                "journal write to the page cache (`PersistMode::Buffer`, the default); a crash of the process loses nothing, a power cut \
                 what the kernel has not written, up to half a minute"
            }
            Self::Redb => {
                "a transaction of one write with `Durability::None`; a crash of the process loses all since the last durable commit, \
                 here the whole fill"
            }
        }
    }
}

impl fmt::Display for EngineName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Corelode => "corelode",
            Self::Fjall => "fjall",
            Self::Redb => "redb",
        })
    }
}
