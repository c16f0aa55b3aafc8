//! The percentile distribution as text (`.hgrm`), laid out as HdrHistogram's own `outputPercentileDistribution` does, so that its plotters read
//! it.

use std::fmt::Write;

use super::histogram::{DIGITS, Latencies};

/// Lines for each halving of the distance to 100 %, as HdrHistogram writes by default.
const TICKS_PER_HALF_DISTANCE: f64 = 5.0;

/// The unit of an output's values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Millionths of a second.
    Microseconds,
    /// Thousandths of a second, as most published plots have it.
    Milliseconds,
}

impl Unit {
    /// Nanoseconds in one.
    fn nanoseconds(self) -> f64 {
        match self {
            Self::Microseconds => 1e3,
            Self::Milliseconds => 1e6,
        }
    }
}

/// The distribution in HdrHistogram's layout: a line for each percentile level that was iterated to, and the summary in lines with `#`.
#[must_use]
pub fn percentile_distribution(latencies: &Latencies, unit: Unit) -> String {
    let histogram = latencies.as_histogram();
    let scale = unit.nanoseconds();
    let decimals = usize::from(DIGITS);
    let mut text = format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    for level in levels(latencies) {
        let value = level.value_ns as f64 / scale;
        let share = level.percentile / 100.0;
        let written = if level.percentile == 100.0 {
            writeln!(text, "{value:12.decimals$} {share:.12} {:10}", level.count)
        } else {
            writeln!(text, "{value:12.decimals$} {share:.12} {:10} {:14.2}", level.count, 1.0 / (1.0 - share))
        };
        written.expect("a string takes all text");
    }
    // Up to 2 * 10^digits every value has a sub-bucket of its own.
    let sub_buckets = (2 * 10_u32.pow(u32::from(DIGITS))).next_power_of_two();
    write!(
        text,
        "#[Mean    = {mean:12.decimals$}, StdDeviation   = {deviation:12.decimals$}]\n\
         #[Max     = {max:12.decimals$}, Total count    = {count:12}]\n\
         #[Buckets = {buckets:12}, SubBuckets     = {sub_buckets:12}]\n",
        mean = histogram.mean() / scale,
        deviation = histogram.stdev() / scale,
        max = histogram.max() as f64 / scale,
        count = histogram.len(),
        buckets = histogram.buckets(),
    )
    .expect("a string takes all text");
    text
}

/// A line of the distribution.
struct Level {
    /// The highest time that the histogram does not tell apart from the one at this level, nanoseconds.
    value_ns: u64,
    /// The level, 0 to 100.
    percentile: f64,
    /// Times up to the value.
    count: u64,
}

/// The levels that HdrHistogram's percentile iterator stops at. It counts in percent and not in shares of 1, and whether a level is reached
/// depends on that in the last bit; the crate's own iterator counts in shares and so skips or repeats a line here and there.
fn levels(latencies: &Latencies) -> Vec<Level> {
    let total = latencies.count();
    let mut levels = Vec::new();
    let mut percentile = 0.0_f64;
    let mut count = 0;
    for recorded in latencies.as_histogram().iter_recorded() {
        count += recorded.count_at_value();
        let value_ns = recorded.value_iterated_to();
        let reached = 100.0 * count as f64 / total as f64;
        while reached >= percentile {
            levels.push(Level { value_ns, percentile, count });
            let halvings = (100.0 / (100.0 - percentile)).log2().floor();
            percentile += 100.0 / (TICKS_PER_HALF_DISTANCE * (halvings + 1.0).exp2());
            if count == total {
                levels.push(Level { value_ns, percentile: 100.0, count });
                break;
            }
        }
    }
    levels
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The golden was written by hdr-histogram-js 3.0.1, and not by this code, but for the maximum: as HdrHistogram itself does, ours is the
    /// highest time that is not told apart from the maximum, and theirs the lowest.
    #[test]
    fn the_layout_is_hdrhistograms() {
        let mut latencies = Latencies::default();
        for microseconds in 1..=10 {
            latencies.record(microseconds * 1_000);
        }
        latencies.record(25_000_000);
        let text = percentile_distribution(&latencies, Unit::Microseconds);
        assert_eq!(text, include_str!("hgrm_golden.txt"));
    }

    #[test]
    fn nothing_recorded_is_a_head_and_a_summary() {
        let text = percentile_distribution(&Latencies::default(), Unit::Milliseconds);
        assert_eq!(text.lines().count(), 5);
        assert!(text.contains("#[Max     =        0.000, Total count    =            0]"), "{text}");
    }
}
