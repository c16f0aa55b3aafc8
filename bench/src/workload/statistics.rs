//! Whether counts follow a distribution: Pearson's chi-squared test, for tests with fixed seeds.

/// Cells that expect fewer than this are put together, as the test's approximation asks for.
const EXPECTED_MIN: f64 = 10.0;
/// The normal quantile of the test's level: one right distribution in 10,000 fails, and the seeds are fixed.
const LEVEL_Z: f64 = 3.719;

/// How far `counts` are from what `probabilities` let expect: chi-squared over its limit. Above 1 they do not follow them.
pub(super) fn chi_squared_over_limit(counts: &[u64], probabilities: &[f64]) -> f64 {
    assert_eq!(counts.len(), probabilities.len(), "a probability for each count");
    let sum: f64 = probabilities.iter().sum();
    assert!((sum - 1.0).abs() < 1e-6, "the probabilities sum to {sum}");
    let total = counts.iter().sum::<u64>() as f64;
    // Expected and counted.
    let mut cells: Vec<(f64, f64)> = Vec::new();
    let (mut expected, mut counted) = (0.0, 0.0);
    for (count, probability) in counts.iter().zip(probabilities) {
        expected += probability * total;
        counted += *count as f64;
        if expected >= EXPECTED_MIN {
            cells.push((expected, counted));
            (expected, counted) = (0.0, 0.0);
        }
    }
    let last = cells.last_mut().expect("there are counts");
    *last = (last.0 + expected, last.1 + counted);
    assert!(cells.len() > 1, "there is something to compare");
    let statistic: f64 = cells.iter().map(|(expected, counted)| (counted - expected).powi(2) / expected).sum();
    let freedom = (cells.len() - 1) as f64;
    // Wilson and Hilferty's approximation of the quantile.
    let spread = 2.0 / (9.0 * freedom);
    statistic / (freedom * (1.0 - spread + LEVEL_Z * spread.sqrt()).powi(3))
}

/// Asserts that `counts` follow `probabilities`.
pub(super) fn assert_follows(counts: &[u64], probabilities: &[f64], what: &str) {
    let excess = chi_squared_over_limit(counts, probabilities);
    assert!(excess <= 1.0, "{what}: chi-squared is {excess:.2} times its limit");
}

/// The probabilities of ranks 1 to `size` when they are proportional to 1/r^theta.
pub(super) fn zipfian(size: usize, theta: f64) -> Vec<f64> {
    let weights: Vec<f64> = (1..=size).map(|rank| (rank as f64).powf(-theta)).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}

#[test]
fn counts_that_follow_pass_and_others_fail() {
    assert_follows(&[1_010, 990, 1_005, 995], &[0.25; 4], "nearly equal");
    assert!(chi_squared_over_limit(&[1_200, 900, 1_000, 900], &[0.25; 4]) > 1.0, "one of four is too frequent");
}
