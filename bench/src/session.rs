//! A session with a store: its keys are made, then a load is repeated and measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use crate::driver::{Broken, Store};
use crate::load::{self, CollectedInterval, LoadOptions, PATIENCE_DEFAULT, Source, Work};
use crate::report::model::{Load, Pace, Repetition, Workload};
use crate::workload::{Generator, KeyFormat, KeySpace, ValueFormat, WorkloadConfig, WorkloadError};

const FILL_CLIENTS: usize = 8;
/// Requests of each client under way while keys are made,
const FILL_DEPTH_MAX: u32 = 64;
/// and their bytes: long values are to overload neither the store nor the memory here.
const FILL_SIZE_BYTES_MAX: usize = 1 << 20;

/// A store, and what is asked of it.
pub struct Session<'a> {
    store: &'a dyn Store,
    workload: WorkloadConfig,
    keys: KeyFormat,
    values: ValueFormat,
    key_space: Arc<KeySpace>,
    seed: u64,
}

impl<'a> Session<'a> {
    /// A session whose random choices follow from `seed`.
    ///
    /// # Errors
    /// The workload makes no sense.
    pub fn new(store: &'a dyn Store, workload: WorkloadConfig, seed: u64) -> Result<Self, WorkloadError> {
        workload.check()?;
        Ok(Self {
            keys: KeyFormat::new(workload.key_bytes)?,
            values: ValueFormat::new(workload.value_bytes, workload.value_compressible)?,
            key_space: Arc::new(KeySpace::new(workload.keys)?),
            store,
            workload,
            seed,
        })
    }

    /// Gives every key a value. `on_interval` sees how far it is, a second at a time.
    ///
    /// # Errors
    /// The store cannot be reached at the start.
    pub fn fill(
        &self,
        stop: &AtomicBool,
        on_interval: &mut dyn FnMut(&CollectedInterval<'_>),
    ) -> Result<Repetition, Broken> {
        let options = LoadOptions {
            pace: Pace::Closed,
            clients: FILL_CLIENTS,
            depth: fill_depth(self.workload.key_bytes + self.workload.value_bytes),
            threads: 1,
            processors: Vec::new(),
            warm_up: Duration::ZERO,
            duration: None,
            seed: self.seed,
            patience: PATIENCE_DEFAULT,
        };
        let source = Source::Fill { next: Arc::new(AtomicU64::new(0)), keys: self.workload.keys };
        let work = Work { sources: vec![source], keys: self.keys, values: &self.values };
        load::run(self.store, &options, work, stop, on_interval)
    }

    /// Measures once. The repetitions of one session differ in their random choices, and those of two sessions with one seed do not.
    ///
    /// # Errors
    /// The store cannot be reached at the start.
    pub fn repeat(
        &self,
        options: &LoadOptions,
        repetition: u32,
        stop: &AtomicBool,
        on_interval: &mut dyn FnMut(&CollectedInterval<'_>),
    ) -> Result<Repetition, Broken> {
        let seed = self.seed.wrapping_add(u64::from(repetition).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let source = |thread| Source::Workload {
            generator: Box::new(Generator::new(&self.workload, Arc::clone(&self.key_space), seed, thread)),
            key_space: Arc::clone(&self.key_space),
        };
        let sources = (0..options.threads).map(source).collect();
        let work = Work { sources, keys: self.keys, values: &self.values };
        load::run(self.store, &LoadOptions { seed, ..options.clone() }, work, stop, on_interval)
    }

    /// The workload, as reports tell it.
    #[must_use]
    pub fn described_workload(&self) -> Workload {
        let WorkloadConfig { mix, key_choice, scan_rows_max, keys, key_bytes, value_bytes, .. } = &self.workload;
        Workload {
            name: self.workload.name(),
            mix: mix.shares(),
            distribution: key_choice.to_string(),
            keys: *keys,
            key_bytes: *key_bytes,
            value_bytes: *value_bytes,
            scan_rows_max: scan_rows_max.get(),
            seed: self.seed,
        }
    }
}

/// How many writes of so many bytes a client has under way while keys are made.
fn fill_depth(write_bytes: usize) -> u32 {
    let fitting = FILL_SIZE_BYTES_MAX / write_bytes.max(1);
    u32::try_from(fitting).unwrap_or(u32::MAX).clamp(1, FILL_DEPTH_MAX)
}

/// A load, as reports tell it.
#[must_use]
pub fn described_load(options: &LoadOptions) -> Load {
    let processors: Vec<_> = options.processors.iter().map(ToString::to_string).collect();
    Load {
        pace: options.pace,
        clients: options.clients,
        depth: options.depth as usize,
        threads: options.threads,
        pinned_to: processors.join(","),
        warm_up_seconds: options.warm_up.as_secs_f64(),
        seconds: options.duration.unwrap_or_default().as_secs_f64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_long_values_are_under_way_while_keys_are_made() {
        for (write_bytes, depth) in [(0, 64), (116, 64), (16 << 10, 64), (100 << 10, 10), (1 << 20, 1), (64 << 20, 1)] {
            assert_eq!(fill_depth(write_bytes), depth, "of {write_bytes} bytes");
        }
    }
}
