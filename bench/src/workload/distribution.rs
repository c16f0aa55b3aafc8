//! How keys are chosen: the distributions of YCSB (Cooper et al., "Benchmarking Cloud Serving Systems with YCSB", SoCC 2010, section
//! 4.1), as text and as data.

use std::fmt;
use std::str::FromStr;

use super::error::WorkloadError;

/// The largest [`Theta`]. At 5 one key already gets 96 of 100 operations.
pub const THETA_MAX: f64 = 5.0;

/// A skew: the exponent of a zipfian distribution, from 0 (uniform) to [`THETA_MAX`].
#[derive(Clone, Copy, PartialEq, PartialOrd, Debug)]
pub struct Theta(f64);

impl Theta {
    /// Takes over a skew.
    ///
    /// # Errors
    /// If it is not from 0 to [`THETA_MAX`].
    pub fn new(theta: f64) -> Result<Self, WorkloadError> {
        if (0.0..=THETA_MAX).contains(&theta) { Ok(Self(theta)) } else { Err(WorkloadError::Theta(theta)) }
    }

    /// The exponent.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

/// 0.99, the constant of YCSB.
impl Default for Theta {
    fn default() -> Self {
        Self(0.99)
    }
}

/// A part of a whole, from 0 to 1.
#[derive(Clone, Copy, PartialEq, PartialOrd, Debug)]
pub struct Share(f64);

impl Share {
    /// Nothing.
    pub const NONE: Self = Self(0.0);

    /// Takes over a share.
    ///
    /// # Errors
    /// If it is not from 0 to 1.
    pub fn new(share: f64) -> Result<Self, WorkloadError> {
        if (0.0..=1.0).contains(&share) { Ok(Self(share)) } else { Err(WorkloadError::Share(share)) }
    }

    /// The share, from 0 to 1.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }

    /// This share of `count`, to the nearest whole number.
    #[inline]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "a share of a count is not more than the count")]
    pub(super) fn of(self, count: u64) -> u64 {
        ((count as f64 * self.0).round() as u64).min(count)
    }
}

/// How an operation's key is chosen among those that exist.
///
/// As text: `uniform`, `zipfian`, `zipfian:THETA`, `latest`, `latest:THETA`, `hotspot`, `hotspot:KEYS,OPERATIONS`.
///
/// ```
/// use corelode_bench::workload::{KeyChoice, Theta};
///
/// let choice: KeyChoice = "zipfian".parse()?;
/// assert_eq!(choice, KeyChoice::Zipfian(Theta::default()));
/// assert_eq!(choice.to_string(), "zipfian:0.99");
/// # Ok::<(), corelode_bench::workload::WorkloadError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum KeyChoice {
    /// Each key is as likely as any other.
    Uniform,
    /// The key of rank r among n has a probability proportional to 1/r^theta, for r from 1 to n (the distribution of Gray et al.,
    /// "Quickly Generating Billion-Record Synthetic Databases", SIGMOD 1994, which YCSB takes over).
    ///
    /// A bijection spreads the ranks over the keys, so that popular keys do not stand together and every probability is exact. YCSB
    /// differs in two ways, and its results are not those of this definition: it draws from 10^16 ranks whatever the number of
    /// keys, and its hash modulo the number of keys lets ranks meet.
    ///
    /// Popularity does not depend on a key's age: a key that is added may get any rank, and the key that had it takes the last one.
    Zipfian(Theta),
    /// Recent keys are popular: the newest key that is known to exist has rank 1, the one before it rank 2 and so on, with
    /// probabilities proportional to 1/r^theta. The ranks follow each [acknowledged](super::KeySpace::acknowledge) insert.
    Latest(Theta),
    /// Some keys get most of the operations.
    Hotspot(Hotspot),
}

/// The shares of [`KeyChoice::Hotspot`].
///
/// Operations go to the hot keys by their share and to the other keys otherwise, in both uniformly. There is always a hot key; if all
/// are hot, all operations go there. The bijection that spreads zipfian ranks spreads the hot keys too, where YCSB takes the first
/// ones. As keys are added, some of them join the hot ones, so that the share holds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Hotspot {
    /// The share of keys that are hot.
    pub keys: Share,
    /// The share of operations that go to a hot key.
    pub operations: Share,
}

/// 80 of 100 operations go to 20 of 100 keys.
impl Default for Hotspot {
    fn default() -> Self {
        Self { keys: Share(0.2), operations: Share(0.8) }
    }
}

impl fmt::Display for KeyChoice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uniform => formatter.write_str("uniform"),
            Self::Zipfian(theta) => write!(formatter, "zipfian:{}", theta.get()),
            Self::Latest(theta) => write!(formatter, "latest:{}", theta.get()),
            Self::Hotspot(hotspot) => {
                write!(formatter, "hotspot:{},{}", hotspot.keys.get(), hotspot.operations.get())
            }
        }
    }
}

impl FromStr for KeyChoice {
    type Err = WorkloadError;

    fn from_str(text: &str) -> Result<Self, WorkloadError> {
        let (name, parameters) = match text.trim().split_once(':') {
            Some((name, parameters)) => (name, Some(parameters)),
            None => (text.trim(), None),
        };
        let theta = || parameters.map_or(Ok(Theta::default()), |theta| Theta::new(parse_number(theta)?));
        match name.trim().to_ascii_lowercase().as_str() {
            "uniform" if parameters.is_none() => Ok(Self::Uniform),
            "zipfian" => Ok(Self::Zipfian(theta()?)),
            "latest" => Ok(Self::Latest(theta()?)),
            "hotspot" => match parameters.map(|shares| shares.split_once(',')) {
                None => Ok(Self::Hotspot(Hotspot::default())),
                Some(Some((keys, operations))) => Ok(Self::Hotspot(Hotspot {
                    keys: Share::new(parse_number(keys)?)?,
                    operations: Share::new(parse_number(operations)?)?,
                })),
                Some(None) => Err(WorkloadError::KeyChoice(text.to_owned())),
            },
            _ => Err(WorkloadError::KeyChoice(text.to_owned())),
        }
    }
}

/// The number that `text` is.
pub(super) fn parse_number(text: &str) -> Result<f64, WorkloadError> {
    text.trim().parse().map_err(|_| WorkloadError::Number(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<String, String> {
        text.parse::<KeyChoice>().map(|choice| choice.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn choices_are_read_and_printed_in_one_form() {
        for (text, printed) in [
            ("uniform", "uniform"),
            ("zipfian", "zipfian:0.99"),
            ("zipfian:0.99", "zipfian:0.99"),
            ("Zipfian: 1.2", "zipfian:1.2"),
            ("zipfian:1", "zipfian:1"),
            ("latest", "latest:0.99"),
            ("latest:0.5", "latest:0.5"),
            ("hotspot", "hotspot:0.2,0.8"),
            ("hotspot:0.01, 0.9", "hotspot:0.01,0.9"),
        ] {
            assert_eq!(parsed(text).as_deref(), Ok(printed), "{text}");
            assert_eq!(parsed(printed).as_deref(), Ok(printed), "what is printed is read back");
        }
    }

    #[test]
    fn what_is_no_choice_is_told_what_is_allowed() {
        for (text, hint) in [
            ("zipf", "write uniform, zipfian, zipfian:THETA, latest"),
            ("", "write uniform, zipfian"),
            ("uniform:1", "write uniform, zipfian"),
            ("hotspot:0.2", "hotspot:SHARE_OF_KEYS,SHARE_OF_OPERATIONS"),
            ("hotspot:0.2,1.8", "the share 1.8 is not from 0 to 1"),
            ("hotspot:0.2,0.8,1", "`0.8,1` is not a number"),
            ("zipfian:", "`` is not a number"),
            ("zipfian:x", "`x` is not a number; write it as 0.99"),
            ("zipfian:-1", "the skew -1 is not from 0 to 5"),
            ("zipfian:NaN", "the skew NaN is not from 0 to 5"),
            ("latest:inf", "the skew inf is not from 0 to 5"),
        ] {
            let error = parsed(text).expect_err(text);
            assert!(error.contains(hint), "{text}: {error}");
        }
    }
}
