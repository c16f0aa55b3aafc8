//! What a run does, the same for every engine. The command line makes it, and the workers get it as JSON.

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

/// How fjall syncs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ValueEnum)]
pub(crate) enum FjallSync {
    /// By fdatasync, which is what Corelode's O_DSYNC and redb's commits amount to.
    #[value(name = "data")]
    SyncData,
    /// By fsync.
    #[value(name = "all")]
    SyncAll,
}

/// What a run does.
#[derive(Clone, Debug, Serialize, Deserialize, Args)]
pub(crate) struct Settings {
    /// Keys in the database. They are all put once: most without a sync, then `--batched`, then `--singles`.
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) keys: u64,
    /// Keys that are put in durable batches.
    #[arg(long, default_value_t = 100_000)]
    pub(crate) batched: u64,
    /// Keys of a durable batch.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) batch_keys: u64,
    /// Keys that are put durably one by one; also the operations of the durable mix.
    #[arg(long, default_value_t = 2_000)]
    pub(crate) singles: u64,
    /// Reads of keys that are there, and as many of keys that are not.
    #[arg(long, default_value_t = 500_000)]
    pub(crate) reads: u64,
    /// Scans.
    #[arg(long, default_value_t = 20_000)]
    pub(crate) scans: u64,
    /// Rows of a scan.
    #[arg(long, default_value_t = 100)]
    pub(crate) scan_rows: usize,
    /// Operations of the mix without syncs.
    #[arg(long, default_value_t = 200_000)]
    pub(crate) mixed: u64,
    /// The length of values, bytes.
    #[arg(long, default_value_t = 100)]
    pub(crate) value_bytes: usize,
    /// The share of each value that is zeros, and so can be compressed.
    #[arg(long, default_value_t = 0.5)]
    pub(crate) compressible: f64,
    /// The block or page cache of each engine, MiB. The default holds all of the data, so that reads are cached ones.
    #[arg(long, default_value_t = 512)]
    pub(crate) cache_mib: u64,
    /// The size at which an active memtable is flushed, MiB, of the engines that have one.
    #[arg(long, default_value_t = 64)]
    pub(crate) memtable_mib: u64,
    /// How fjall syncs.
    #[arg(long, value_enum, default_value_t = FjallSync::SyncData)]
    pub(crate) fjall_sync: FjallSync,
    /// What all randomness follows from.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

impl Settings {
    /// Whether the numbers go together.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.batched + self.singles >= self.keys {
            return Err(format!(
                "--batched {} and --singles {} leave none of the {} keys to put without a sync",
                self.batched, self.singles, self.keys
            ));
        }
        if self.keys > u64::from(u32::MAX) {
            return Err(format!("--keys {} is more than {}", self.keys, u32::MAX));
        }
        Ok(())
    }

    /// The cache of each engine, bytes.
    pub(crate) fn cache_bytes(&self) -> u64 {
        self.cache_mib * 1024 * 1024
    }

    /// The size at which an active memtable is flushed, bytes.
    pub(crate) fn memtable_bytes(&self) -> u64 {
        self.memtable_mib * 1024 * 1024
    }
}
