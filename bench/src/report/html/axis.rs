//! Axes: from values to places in a picture, and the values at which lines are drawn.

/// The factor from which on the end of an axis is told apart from the power of ten beside it.
const END_APART: f64 = 3.0;

/// Values along a line of a picture.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Axis {
    /// The value at the beginning.
    pub(super) low: f64,
    /// The value at the end.
    pub(super) high: f64,
    /// Where the beginning is drawn.
    pub(super) from: f64,
    /// Where the end is drawn.
    pub(super) to: f64,
    /// Whether equal factors, and not equal differences, are equally long.
    pub(super) is_logarithmic: bool,
}

impl Axis {
    /// A logarithmic axis whose ends are the nearest of 1, 2 and 5 times a power of ten that have all values between them. Values of 0 do not
    /// count: they have no place on it.
    pub(super) fn logarithmic(values: impl IntoIterator<Item = u64>, from: f64, to: f64) -> Self {
        let (mut least, mut greatest) = (f64::INFINITY, 0.0_f64);
        for value in values.into_iter().filter(|value| *value > 0) {
            least = least.min(value as f64);
            greatest = greatest.max(value as f64);
        }
        if greatest == 0.0 {
            (least, greatest) = (1e3, 1e6);
        }
        let low = steps().take_while(|step| *step <= least).last().unwrap_or(1.0);
        let high = steps().find(|step| *step >= greatest && *step > low).unwrap_or(greatest);
        Self { low, high, from, to, is_logarithmic: true }
    }

    /// An axis from `low` to `high`.
    pub(super) fn linear(low: f64, high: f64, from: f64, to: f64) -> Self {
        Self { low, high: if high > low { high } else { low + 1.0 }, from, to, is_logarithmic: false }
    }

    /// Where a value is drawn; one beyond the ends at the end.
    pub(super) fn at(&self, value: f64) -> f64 {
        let value = value.clamp(self.low, self.high);
        let share = if self.is_logarithmic {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + share * (self.to - self.from)
    }

    /// The values at which lines are drawn: on a logarithmic axis every 1, 2 and 5 if that is not too many, else every power of ten and the ends; on a
    /// linear one about `count`, at round distances.
    pub(super) fn ticks(&self, count: f64) -> Vec<f64> {
        let inside = |value: &f64| *value >= self.low * 0.9999 && *value <= self.high * 1.0001;
        if self.is_logarithmic {
            if (self.high / self.low).log10() <= 3.0 {
                return steps().filter(inside).collect();
            }
            let mut ticks: Vec<f64> = steps().step_by(3).filter(inside).collect();
            // An end that is far from any power of ten says where the axis ends.
            if ticks[0] / self.low >= END_APART {
                ticks.insert(0, self.low);
            }
            if self.high / ticks[ticks.len() - 1] >= END_APART {
                ticks.push(self.high);
            }
            return ticks;
        }
        let step = round_step((self.high - self.low) / count);
        let first = (self.low / step).ceil();
        let last = (self.high / step).floor();
        std::iter::successors(Some(first), |number| Some(number + 1.0))
            .take_while(|number| *number <= last)
            .map(|number| number * step)
            .collect()
    }
}

/// The nearest greater value that is 1, 2 or 5 times a power of ten.
pub(super) fn round_step(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= value * 0.9999)
        .unwrap_or(10.0 * power)
}

/// 1, 2 and 5 times each power of ten that a histogram can hold.
fn steps() -> impl Iterator<Item = f64> {
    (0..14).flat_map(|power| [1.0, 2.0, 5.0].map(|factor| factor * 10_f64.powi(power)))
}

/// Moves places apart that are closer than `gap`, as little as it takes, and keeps them between the ends. The order stays.
pub(super) fn spread_apart(places: &mut [f64], gap: f64, low: f64, high: f64) {
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by(|one, other| places[*one].total_cmp(&places[*other]));
    let mut least = low;
    for index in &order {
        places[*index] = places[*index].max(least);
        least = places[*index] + gap;
    }
    let mut greatest = high;
    for index in order.iter().rev() {
        places[*index] = places[*index].min(greatest);
        greatest = places[*index] - gap;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logarithmic_axis_ends_at_round_values_around_all() {
        let axis = Axis::logarithmic([0, 70_000, 340_000_000], 400.0, 0.0);
        assert_eq!((axis.low, axis.high), (50_000.0, 500_000_000.0));
        assert_eq!(axis.ticks(0.0), [1e5, 1e6, 1e7, 1e8, 5e8]);
        assert!((axis.at(5e6) - 200.0).abs() < 1e-9, "half the factors are half the way");
        assert_eq!(axis.at(1.0), 400.0);
        let one = Axis::logarithmic([1_000], 0.0, 1.0);
        assert_eq!((one.low, one.high), (1_000.0, 2_000.0));
        assert!(Axis::logarithmic([], 0.0, 1.0).high > 0.0);
    }

    #[test]
    fn a_linear_axis_has_lines_at_round_distances() {
        let axis = Axis::linear(0.0, 12_800.0, 0.0, 100.0);
        assert_eq!(axis.ticks(4.0), [0.0, 5_000.0, 10_000.0]);
        assert_eq!(Axis::linear(0.0, 0.0, 0.0, 1.0).at(0.0), 0.0);
    }

    #[test]
    fn labels_that_would_overlap_are_moved_apart_within_the_picture() {
        let mut places = [50.0, 10.0, 52.0, 99.0];
        spread_apart(&mut places, 10.0, 0.0, 100.0);
        assert_eq!(places, [50.0, 10.0, 60.0, 99.0]);
        let mut places = [99.0, 98.0];
        spread_apart(&mut places, 10.0, 0.0, 100.0);
        assert_eq!(places, [100.0, 90.0]);
    }
}
