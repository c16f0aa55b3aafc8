//! What is asked of a store: kinds of operations, and the keys they are about.
//!
//! A [`WorkloadConfig`] describes it. The threads of a run share one [`KeySpace`], and each has a [`Generator`] of its own that says
//! what to send next. A [`KeyFormat`] and a [`ValueFormat`] turn numbers into bytes.
//!
//! All randomness follows from the seed. Memory does not grow with the number of keys.
//!
//! ```
//! use std::sync::Arc;
//! use corelode_bench::report::model::OperationKind;
//! use corelode_bench::workload::{Generator, KeyFormat, KeySpace, Preset, ValueFormat, WorkloadConfig};
//!
//! let config = WorkloadConfig { keys: 10_000, ..Preset::A.into() };
//! config.check()?;
//! let key_space = Arc::new(KeySpace::new(config.keys)?);
//! let key_format = KeyFormat::new(config.key_bytes)?;
//! let value_format = ValueFormat::new(config.value_bytes, config.value_compressible)?;
//! let mut generator = Generator::new(&config, Arc::clone(&key_space), 42, 0);
//!
//! let (mut key, mut value) = (Vec::new(), Vec::new());
//! let operation = generator.next();
//! key_format.write_key(operation.key, &mut key);
//! if operation.kind == OperationKind::Update {
//!     value_format.write_value(operation.key, 1, &mut value);
//! }
//! assert_eq!(key.len(), config.key_bytes);
//! # Ok::<(), corelode_bench::workload::WorkloadError>(())
//! ```

mod chooser;
mod distribution;
mod error;
mod generator;
mod key_space;
mod keys;
mod mix;
mod permutation;
#[cfg(test)]
mod statistics;
mod values;
mod ycsb;
mod zipfian;

use std::num::NonZeroU32;

pub use distribution::{Hotspot, KeyChoice, Share, THETA_MAX, Theta};
pub use error::WorkloadError;
pub use generator::{Generator, Operation};
pub use key_space::{INSERT_WINDOW, KeySpace};
pub use keys::{KEY_BYTES_DEFAULT, KEY_BYTES_MAX, KEY_BYTES_MIN, KEYS_MAX, KeyFormat};
pub use mix::Mix;
pub use values::{VALUE_BYTES_DEFAULT, VALUE_BYTES_MAX, ValueFormat};
pub use ycsb::{Preset, SCAN_ROWS_MAX_DEFAULT};

use crate::report::model::OperationKind;

/// How many keys there are if nothing else is said.
pub const KEYS_DEFAULT: u64 = 1_000_000;

/// The description of a workload. The default is YCSB's workload [A](Preset::A).
#[derive(Clone, PartialEq, Debug)]
pub struct WorkloadConfig {
    /// The shares of the kinds of operations.
    pub mix: Mix,
    /// How keys are chosen.
    pub key_choice: KeyChoice,
    /// The longest scan, rows; lengths are uniform from 1.
    pub scan_rows_max: NonZeroU32,
    /// How many keys exist at the start, at most [`KEYS_MAX`].
    pub keys: u64,
    /// The length of keys, bytes, from [`KEY_BYTES_MIN`] to [`KEY_BYTES_MAX`].
    pub key_bytes: usize,
    /// The length of values, bytes, at most [`VALUE_BYTES_MAX`].
    pub value_bytes: usize,
    /// The share of each value that compresses well.
    pub value_compressible: Share,
}

impl WorkloadConfig {
    /// Whether the workload can be made, before anything is done for it.
    ///
    /// # Errors
    /// If the number of keys, the length of keys or the length of values is out of range.
    pub fn check(&self) -> Result<(), WorkloadError> {
        if !(1..=KEYS_MAX).contains(&self.keys) {
            return Err(WorkloadError::Keys(self.keys));
        }
        if self.value_bytes > VALUE_BYTES_MAX {
            return Err(WorkloadError::ValueBytes(self.value_bytes));
        }
        KeyFormat::new(self.key_bytes).map(|_| ())
    }

    /// The letter of the preset whose operations these are, or `custom`. The numbers and lengths of keys and values do not matter.
    #[must_use]
    pub fn name(&self) -> String {
        let is_scan_equal = self.scan_rows_max == SCAN_ROWS_MAX_DEFAULT || self.mix.share(OperationKind::Scan) == 0.0;
        let is_equal =
            |preset: &Preset| is_scan_equal && preset.mix() == self.mix && preset.key_choice() == self.key_choice;
        Preset::ALL.into_iter().find(is_equal).map_or_else(|| "custom".to_owned(), |preset| preset.to_string())
    }
}

/// The operations of a preset, on keys and values of the default number and lengths.
impl From<Preset> for WorkloadConfig {
    fn from(preset: Preset) -> Self {
        Self {
            mix: preset.mix(),
            key_choice: preset.key_choice(),
            scan_rows_max: SCAN_ROWS_MAX_DEFAULT,
            keys: KEYS_DEFAULT,
            key_bytes: KEY_BYTES_DEFAULT,
            value_bytes: VALUE_BYTES_DEFAULT,
            value_compressible: Share::NONE,
        }
    }
}

impl Default for WorkloadConfig {
    fn default() -> Self {
        Preset::A.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_knows_its_name() {
        for preset in Preset::ALL {
            assert_eq!(WorkloadConfig { keys: 7, ..preset.into() }.name(), preset.to_string());
        }
        let rows = NonZeroU32::new(7).unwrap();
        assert_eq!(WorkloadConfig { scan_rows_max: rows, ..Preset::A.into() }.name(), "A", "it has no scans");
        assert_eq!(WorkloadConfig { scan_rows_max: rows, ..Preset::E.into() }.name(), "custom");
        assert_eq!(WorkloadConfig { key_choice: KeyChoice::Uniform, ..Preset::A.into() }.name(), "custom");
        assert_eq!(
            WorkloadConfig { mix: "read=0.51,update=0.49".parse().unwrap(), ..Preset::A.into() }.name(),
            "custom"
        );
    }

    #[test]
    fn what_cannot_be_made_is_found_before_the_run() {
        let default = WorkloadConfig::default;
        for (config, expected) in [
            (default(), Ok(())),
            (WorkloadConfig { keys: 0, ..default() }, Err(WorkloadError::Keys(0))),
            (WorkloadConfig { keys: KEYS_MAX + 1, ..default() }, Err(WorkloadError::Keys(KEYS_MAX + 1))),
            (WorkloadConfig { key_bytes: 7, ..default() }, Err(WorkloadError::KeyBytes(7))),
            (WorkloadConfig { value_bytes: 1 << 30, ..default() }, Err(WorkloadError::ValueBytes(1 << 30))),
        ] {
            assert_eq!(config.check(), expected);
        }
    }
}
