//! Figures of a few samples.

/// The value that the share `quantile` (0 to 1) of all do not exceed; `None` of none.
pub(crate) fn quantile(values: &[f64], quantile: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    // The least one that so many do not exceed.
    let at = whole((quantile * sorted.len() as f64).ceil()).saturating_sub(1);
    Some(sorted[at.min(last)])
}

/// The greatest value; `None` of none.
pub(crate) fn max(values: &[f64]) -> Option<f64> {
    values.iter().copied().max_by(f64::total_cmp)
}

/// The median; `None` of none.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// The whole part of a number; 0 of one that is less than nothing.
#[allow(clippy::cast_possible_truncation, reason = "a cast of a float saturates, and counts here are small")]
pub(crate) fn whole(value: f64) -> usize {
    value as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_there() {
        let values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(median(&values), Some(2.0));
        assert_eq!(quantile(&values, 0.99), Some(4.0));
        assert_eq!(quantile(&values, 0.0), Some(1.0));
        assert_eq!(max(&values), Some(4.0));
        assert_eq!((median(&[]), max(&[])), (None, None));
    }
}
