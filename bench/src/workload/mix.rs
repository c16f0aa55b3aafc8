//! How frequent each kind of operation is.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;

use super::distribution::{Share, parse_number};
use super::error::WorkloadError;
use crate::report::model::OperationKind;

/// All kinds of operations with their names, in the order of the enum.
const KINDS: [(OperationKind, &str); 5] = [
    (OperationKind::Read, "read"),
    (OperationKind::Update, "update"),
    (OperationKind::Insert, "insert"),
    (OperationKind::Scan, "scan"),
    (OperationKind::ReadModifyWrite, "read_modify_write"),
];

/// How far the sum of shares may be from 1: decimals such as 0.1 have no exact binary form.
const SUM_TOLERANCE: f64 = 1e-9;

/// The shares of the kinds of operations. They sum to 1.
///
/// As text: `KIND=SHARE` with commas between. Kinds that are not named do not occur.
///
/// ```
/// use corelode_bench::report::model::OperationKind;
/// use corelode_bench::workload::Mix;
///
/// let mix: Mix = "read=0.95,update=0.05".parse()?;
/// assert_eq!(mix.share(OperationKind::Update), 0.05);
/// assert_eq!(mix.to_string(), "read=0.95,update=0.05");
/// # Ok::<(), corelode_bench::workload::WorkloadError>(())
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct Mix {
    shares: [f64; KINDS.len()],
    /// The sum of each kind's share and of those before it. Invariant: exactly 1 from the last kind that occurs.
    sums: [f64; KINDS.len()],
}

impl Mix {
    /// Takes over shares.
    ///
    /// # Errors
    /// If a share is not from 0 to 1, a kind has two, or their sum is not 1.
    pub fn new(shares: impl IntoIterator<Item = (OperationKind, f64)>) -> Result<Self, WorkloadError> {
        let mut by_kind = [None; KINDS.len()];
        for (kind, share) in shares {
            let share = Share::new(share)?.get();
            if by_kind[kind as usize].replace(share).is_some() {
                return Err(WorkloadError::MixTwice(kind));
            }
        }
        let shares = by_kind.map(Option::unwrap_or_default);
        let total: f64 = shares.iter().sum();
        if (total - 1.0).abs() > SUM_TOLERANCE {
            return Err(WorkloadError::MixSum(total));
        }
        let last = shares.iter().rposition(|share| *share > 0.0).expect("the shares sum to 1");
        let mut sums = [1.0; KINDS.len()];
        let mut sum = 0.0;
        for kind in 0..last {
            sum += shares[kind];
            sums[kind] = sum;
        }
        Ok(Self { shares, sums })
    }

    /// The share of `kind`, from 0 to 1.
    #[must_use]
    pub fn share(&self, kind: OperationKind) -> f64 {
        self.shares[kind as usize]
    }

    /// The shares of all kinds that occur.
    #[must_use]
    pub fn shares(&self) -> BTreeMap<OperationKind, f64> {
        KINDS.iter().map(|(kind, _)| (*kind, self.share(*kind))).filter(|(_, share)| *share > 0.0).collect()
    }

    /// Draws a kind by its share. A kind without a share is never drawn: its sum is that of the kind before it.
    #[inline]
    pub(super) fn draw(&self, random: &mut Xoshiro256PlusPlus) -> OperationKind {
        let point: f64 = random.random();
        KINDS[self.sums.iter().filter(|sum| point >= **sum).count()].0
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (kind, name) in KINDS {
            if self.share(kind) > 0.0 {
                write!(formatter, "{separator}{name}={}", self.share(kind))?;
                separator = ",";
            }
        }
        Ok(())
    }
}

impl FromStr for Mix {
    type Err = WorkloadError;

    fn from_str(text: &str) -> Result<Self, WorkloadError> {
        let parts = text.split(',').map(|part| {
            let unknown = || WorkloadError::MixPart(part.trim().to_owned());
            let (name, share) = part.split_once('=').ok_or_else(unknown)?;
            let name = name.trim().to_ascii_lowercase().replace('-', "_");
            let (kind, _) = KINDS.iter().find(|(_, known)| *known == name).ok_or_else(unknown)?;
            Ok((*kind, parse_number(share)?))
        });
        Self::new(parts.collect::<Result<Vec<_>, WorkloadError>>()?)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::workload::statistics::assert_follows;

    fn parsed(text: &str) -> Result<String, String> {
        text.parse::<Mix>().map(|mix| mix.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn kinds_are_where_the_enum_has_them_and_named_as_in_reports() {
        for (index, (kind, name)) in KINDS.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{name}\""));
        }
    }

    #[test]
    fn mixes_are_read_and_printed_in_one_form() {
        for (text, printed) in [
            ("read=1", "read=1"),
            ("read=0.95,update=0.05", "read=0.95,update=0.05"),
            (" Update = 0.5 , read = 0.5 ", "read=0.5,update=0.5"),
            ("read=0.5,read-modify-write=0.5,scan=0", "read=0.5,read_modify_write=0.5"),
            ("read=0.1,update=0.2,insert=0.3,scan=0.4", "read=0.1,update=0.2,insert=0.3,scan=0.4"),
        ] {
            assert_eq!(parsed(text).as_deref(), Ok(printed), "{text}");
            assert_eq!(parsed(printed).as_deref(), Ok(printed), "what is printed is read back");
        }
    }

    #[test]
    fn what_is_no_mix_is_told_what_is_allowed() {
        for (text, hint) in [
            ("", "`` is not a kind of operation with its share; write KIND=SHARE"),
            ("read", "`read` is not a kind of operation with its share"),
            ("read=1,", "`` is not a kind of operation with its share"),
            ("delete=1", "KIND is read, update, insert, scan or read_modify_write"),
            ("read=x", "`x` is not a number"),
            ("read=1.5,update=-0.5", "the share 1.5 is not from 0 to 1"),
            ("read=nan", "the share NaN is not from 0 to 1"),
            ("read=0.9,update=0.05", "the shares of the mix sum to 0.95"),
            ("read=1,update=1", "the shares of the mix sum to 2; they have to sum to 1"),
            ("read=0.5,read=0.5", "names Read twice"),
        ] {
            let error = parsed(text).expect_err(text);
            assert!(error.contains(hint), "{text}: {error}");
        }
    }

    #[test]
    fn kinds_are_drawn_by_their_shares() {
        for text in [
            "read=1",
            "read_modify_write=1",
            "scan=0.95,insert=0.05",
            "read=0.1,update=0.2,insert=0.3,scan=0.15,read_modify_write=0.25",
            "read=0.333333333,update=0.333333333,insert=0.333333333",
        ] {
            let mix: Mix = text.parse().unwrap();
            let mut random = Xoshiro256PlusPlus::seed_from_u64(11);
            let mut counts = [0; KINDS.len()];
            for _ in 0..200_000 {
                counts[mix.draw(&mut random) as usize] += 1;
            }
            let occurring = |index: &usize| mix.shares[*index] > 0.0;
            assert!((0..KINDS.len()).filter(|index| !occurring(index)).all(|index| counts[index] == 0), "{text}");
            let occurring: Vec<usize> = (0..KINDS.len()).filter(occurring).collect();
            if occurring.len() > 1 {
                let counts: Vec<u64> = occurring.iter().map(|index| counts[*index]).collect();
                let shares: Vec<f64> = occurring.iter().map(|index| mix.shares[*index]).collect();
                assert_follows(&counts, &shares, text);
            }
        }
    }
}
