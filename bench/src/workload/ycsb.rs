//! The core workloads of YCSB.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use super::distribution::{KeyChoice, Theta};
use super::error::WorkloadError;
use super::mix::Mix;
use crate::report::model::OperationKind;

/// The longest scan of YCSB's workload E, rows.
pub const SCAN_ROWS_MAX_DEFAULT: NonZeroU32 = NonZeroU32::new(100).expect("it is not zero");

/// A core workload of YCSB: table 2 of Cooper et al. 2010 for A to E, and the files `workloads/workloada` to `workloadf` of its
/// repository.
///
/// As text: its letter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Preset {
    /// Update heavy: half reads, half updates, zipfian.
    A,
    /// Read mostly: 95 of 100 are reads, 5 are updates, zipfian.
    B,
    /// Read only, zipfian.
    C,
    /// Read latest: 95 of 100 are reads, of the latest keys; 5 are inserts.
    D,
    /// Short ranges: 95 of 100 are scans of 1 to 100 rows, uniformly, from a zipfian key; 5 are inserts.
    E,
    /// Half reads, half read-modify-writes, zipfian.
    F,
}

impl Preset {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::A, Self::B, Self::C, Self::D, Self::E, Self::F];

    /// The shares of the kinds of operations.
    #[must_use]
    pub fn mix(self) -> Mix {
        use OperationKind::{Insert, Read, ReadModifyWrite, Scan, Update};
        let shares: &[(OperationKind, f64)] = match self {
            Self::A => &[(Read, 0.5), (Update, 0.5)],
            Self::B => &[(Read, 0.95), (Update, 0.05)],
            Self::C => &[(Read, 1.0)],
            Self::D => &[(Read, 0.95), (Insert, 0.05)],
            Self::E => &[(Scan, 0.95), (Insert, 0.05)],
            Self::F => &[(Read, 0.5), (ReadModifyWrite, 0.5)],
        };
        Mix::new(shares.iter().copied()).expect("the shares of each preset sum to 1")
    }

    /// How keys are chosen.
    #[must_use]
    pub fn key_choice(self) -> KeyChoice {
        match self {
            Self::D => KeyChoice::Latest(Theta::default()),
            Self::A | Self::B | Self::C | Self::E | Self::F => KeyChoice::Zipfian(Theta::default()),
        }
    }
}

/// Its letter.
impl fmt::Display for Preset {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, formatter)
    }
}

impl FromStr for Preset {
    type Err = WorkloadError;

    fn from_str(text: &str) -> Result<Self, WorkloadError> {
        let is_named = |preset: &Self| text.trim().eq_ignore_ascii_case(&preset.to_string());
        Self::ALL.into_iter().find(is_named).ok_or_else(|| WorkloadError::Preset(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_those_of_ycsb() {
        for (text, mix, key_choice) in [
            ("a", "read=0.5,update=0.5", "zipfian:0.99"),
            ("b", "read=0.95,update=0.05", "zipfian:0.99"),
            ("c", "read=1", "zipfian:0.99"),
            ("d", "read=0.95,insert=0.05", "latest:0.99"),
            ("e", "insert=0.05,scan=0.95", "zipfian:0.99"),
            ("f", "read=0.5,read_modify_write=0.5", "zipfian:0.99"),
        ] {
            let preset: Preset = text.parse().unwrap();
            assert_eq!(preset.to_string(), text.to_uppercase());
            assert_eq!(preset.mix().to_string(), mix, "{preset}");
            assert_eq!(preset.key_choice().to_string(), key_choice, "{preset}");
        }
        assert_eq!(SCAN_ROWS_MAX_DEFAULT.get(), 100);
    }

    #[test]
    fn what_is_no_preset_is_told_what_is_allowed() {
        let error = "g".parse::<Preset>().expect_err("there is none");
        assert_eq!(error.to_string(), "`g` is no workload of YCSB; write a, b, c, d, e or f");
    }
}
