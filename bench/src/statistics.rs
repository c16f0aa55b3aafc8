//! Whether two loads differ: ratios of figures with confidence intervals, from repetitions.
//!
//! Figures of repetitions are compared as logarithms, so that a ratio of 2 and one of 1/2 count alike. Repetitions that ran in turns are
//! compared pair by pair, which takes out what changed on the machine meanwhile; those of two separate runs by Welch's test (Welch 1947),
//! which does not take the two spreads for equal. Where several figures are looked at together, each interval is made wider, so that all
//! of them together hold with the confidence stated (Bonferroni).

use statrs::distribution::{ContinuousCDF, StudentsT};

/// How sure the intervals of all figures together are. Who compares twenty times should not be told of a difference that is none, which 95 % would
/// do once on average.
pub const CONFIDENCE: f64 = 0.99;
/// The difference that [`Comparison::repetitions_needed`] is about.
pub const DIFFERENCE_SOUGHT: f64 = 0.05;

/// A figure of one load as a multiple of the same figure of another.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Comparison {
    /// The best guess: the ratio of geometric means.
    pub ratio: f64,
    /// The least ratio that the repetitions are consistent with; zero with too few of them.
    pub low: f64,
    /// The greatest; infinite with too few.
    pub high: f64,
    /// How many repetitions of each load would tell a difference of [`DIFFERENCE_SOUGHT`], as far as these show.
    pub repetitions_needed: Option<u32>,
}

/// What a comparison comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The interval holds 1: the two may be equal.
    NoDifference,
    /// The figure is less, as far as one can be sure.
    Less,
    /// The figure is more.
    More,
}

impl Comparison {
    /// What it comes to.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self {
            Self { high, .. } if *high < 1.0 => Verdict::Less,
            Self { low, .. } if *low > 1.0 => Verdict::More,
            _ => Verdict::NoDifference,
        }
    }

    /// `error_with` is the standard error with so many repetitions, and its degrees of freedom.
    fn new(mean: f64, (error, freedom): (f64, f64), look: Look, error_with: impl Fn(f64) -> (f64, f64)) -> Self {
        let Look { figures, resolution } = look;
        // Repetitions that agree to the last digit are no surer than that digit. How far it may be wrong is known, and not estimated from them.
        let half_min = resolution * critical(FREEDOM_OF_THE_KNOWN, figures);
        let half_of = |(error, freedom): (f64, f64)| (error * critical(freedom, figures)).max(half_min);
        let half = half_of((error, freedom));
        // With as many repetitions as needed the interval is as wide as the difference.
        let sought = (1.0 + DIFFERENCE_SOUGHT).ln();
        let tells = |count: &u32| half_of(error_with(f64::from(*count))) < sought;
        Self {
            ratio: mean.exp(),
            low: (mean - half).exp(),
            high: (mean + half).exp(),
            repetitions_needed: (2..=10_000).find(tells),
        }
    }
}

/// Degrees of freedom from which on Student's distribution is the normal one.
const FREEDOM_OF_THE_KNOWN: f64 = 1e6;

/// How a figure is looked at.
#[derive(Clone, Copy)]
struct Look {
    /// So many figures are looked at together.
    figures: usize,
    /// Two values may differ by this share though what they stand for does not.
    resolution: f64,
}

/// Compares repetitions that ran in turns: `ours[i]` right beside `theirs[i]`. `figures` are looked at together, and two values may differ by the share
/// `resolution` for how they are counted alone. `None` without two pairs, or with a figure that is not positive.
#[must_use]
pub fn compare_pairs(ours: &[f64], theirs: &[f64], figures: usize, resolution: f64) -> Option<Comparison> {
    let logs: Option<Vec<f64>> = ours.iter().zip(theirs).map(|(ours, theirs)| log_of(ours / theirs)).collect();
    let (mean, variance, count) = moments(&logs?)?;
    let error_with = |count: f64| ((variance / count).sqrt(), count - 1.0);
    Some(Comparison::new(mean, error_with(count), Look { figures, resolution }, error_with))
}

/// Compares repetitions of separate runs, and else as [`compare_pairs`]. `None` without two repetitions of each, or with a figure that is not positive.
#[must_use]
pub fn compare_runs(ours: &[f64], theirs: &[f64], figures: usize, resolution: f64) -> Option<Comparison> {
    let logs = |values: &[f64]| values.iter().map(|value| log_of(*value)).collect::<Option<Vec<_>>>();
    let (our_mean, our_variance, our_count) = moments(&logs(ours)?)?;
    let (their_mean, their_variance, their_count) = moments(&logs(theirs)?)?;
    let welch = |our_count: f64, their_count: f64| {
        let (our_part, their_part) = (our_variance / our_count, their_variance / their_count);
        let sum = our_part + their_part;
        let freedom =
            sum * sum / (our_part * our_part / (our_count - 1.0) + their_part * their_part / (their_count - 1.0));
        // Equal repetitions have no spread to speak of.
        (sum.sqrt(), if freedom.is_finite() { freedom } else { our_count + their_count - 2.0 })
    };
    let look = Look { figures, resolution };
    Some(Comparison::new(our_mean - their_mean, welch(our_count, their_count), look, |count| welch(count, count)))
}

fn log_of(value: f64) -> Option<f64> {
    (value.is_finite() && value > 0.0).then(|| value.ln())
}

/// Mean, variance of the sample, and count.
fn moments(values: &[f64]) -> Option<(f64, f64, f64)> {
    if values.len() < 2 {
        return None;
    }
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((mean, squares / (count - 1.0), count))
}

/// How many standard errors an interval reaches to each side.
fn critical(freedom: f64, figures: usize) -> f64 {
    let outside = (1.0 - CONFIDENCE) / figures.max(1) as f64;
    let student = StudentsT::new(0.0, 1.0, freedom.max(1.0)).expect("a positive number of degrees");
    student.inverse_cdf(1.0 - outside / 2.0)
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// A figure that varies by `spread` around `mean`: a sum of uniform numbers is nearly normal.
    fn repetitions(random: &mut StdRng, mean: f64, spread: f64, count: usize) -> Vec<f64> {
        let normal = |random: &mut StdRng| (0..12).map(|_| random.random::<f64>()).sum::<f64>() - 6.0;
        (0..count).map(|_| mean * (1.0 + spread * normal(random))).collect()
    }

    #[test]
    fn critical_values_are_those_of_the_tables() {
        for (freedom, expected) in [(1.0, 63.657), (4.0, 4.604), (8.0, 3.355), (30.0, 2.750)] {
            assert!((critical(freedom, 1) - expected).abs() < 0.001, "{freedom}");
        }
        assert!((critical(8.0, 5) - 4.501).abs() < 0.001, "998 of 1000, for five figures together");
    }

    #[test]
    fn equal_loads_differ_as_rarely_as_the_confidence_says() {
        let mut random = StdRng::seed_from_u64(1);
        let mut different = [0, 0];
        for _ in 0..2_000 {
            let (ours, theirs) = (repetitions(&mut random, 1e5, 0.03, 5), repetitions(&mut random, 1e5, 0.03, 5));
            for (count, compare) in different.iter_mut().zip([compare_runs, compare_pairs]) {
                let comparison = compare(&ours, &theirs, 1, 0.0).expect("enough of them");
                *count += usize::from(comparison.verdict() != Verdict::NoDifference);
            }
        }
        assert!(different.iter().all(|count| (8..=36).contains(count)), "{different:?} of 2000, where 20 are due");
    }

    #[test]
    fn a_difference_is_found_with_the_repetitions_that_were_said_to_be_needed() {
        let mut random = StdRng::seed_from_u64(2);
        let quiet =
            compare_runs(&repetitions(&mut random, 1.05e5, 0.01, 5), &repetitions(&mut random, 1e5, 0.01, 5), 1, 0.0);
        let quiet = quiet.expect("enough of them");
        assert_eq!(quiet.verdict(), Verdict::More, "{quiet:?}");
        assert!((quiet.ratio - 1.05).abs() < 0.02 && quiet.low < quiet.ratio && quiet.ratio < quiet.high);
        let noisy =
            compare_runs(&repetitions(&mut random, 1e5, 0.1, 5), &repetitions(&mut random, 1e5, 0.1, 5), 1, 0.0);
        let needed = noisy.expect("enough of them").repetitions_needed.expect("some hundred are enough");
        assert!((10..=300).contains(&needed), "{needed}");
        let found = (0..100).filter(|_| {
            let (ours, theirs) = (
                repetitions(&mut random, 1.05e5, 0.1, 2 * needed as usize),
                repetitions(&mut random, 1e5, 0.1, 2 * needed as usize),
            );
            compare_runs(&ours, &theirs, 1, 0.0).expect("enough of them").verdict() == Verdict::More
        });
        assert!(found.count() >= 50, "twice what half of the time is enough");
    }

    #[test]
    fn what_changes_for_both_alike_is_no_difference_to_pairs() {
        let drift = [1.0, 1.3, 0.8, 1.1, 0.7];
        let theirs: Vec<f64> = drift.iter().map(|drift| drift * 1e5).collect();
        let ours: Vec<f64> =
            theirs.iter().zip([1.05, 1.06, 1.05, 1.04, 1.05]).map(|(value, gain)| value * gain).collect();
        let pairs = compare_pairs(&ours, &theirs, 1, 0.0).expect("enough of them");
        assert_eq!(pairs.verdict(), Verdict::More);
        assert_eq!(compare_runs(&ours, &theirs, 1, 0.0).expect("enough of them").verdict(), Verdict::NoDifference);
    }

    /// A server with a timer answers in the same bucket of the histogram each time, and in the next one if it is slower by next to nothing.
    #[test]
    fn values_that_agree_to_the_last_digit_are_no_surer_than_that() {
        for compare in [compare_runs, compare_pairs] {
            let verdict = |ours: f64, resolution| {
                compare(&[ours; 5], &[100_000.0; 5], 5, resolution).expect("enough of them").verdict()
            };
            assert_eq!(verdict(100_064.0, 0.0), Verdict::More, "which nobody can know");
            assert_eq!(verdict(100_064.0, 0.000_64), Verdict::NoDifference);
            assert_eq!(verdict(99_936.0, 0.000_64), Verdict::NoDifference);
            assert_eq!((verdict(101_000.0, 0.000_64), verdict(99_000.0, 0.000_64)), (Verdict::More, Verdict::Less));
        }
    }

    #[test]
    fn too_few_or_nothing_compare_to_nothing() {
        assert_eq!(compare_pairs(&[1.0], &[1.0], 1, 0.0), None);
        assert_eq!(compare_runs(&[1.0, 2.0], &[0.0, 1.0], 1, 0.0), None);
        let same = compare_runs(&[5.0, 5.0, 5.0], &[5.0, 5.0, 5.0], 3, 0.0).expect("enough of them");
        assert_eq!((same.ratio, same.verdict()), (1.0, Verdict::NoDifference));
    }
}
