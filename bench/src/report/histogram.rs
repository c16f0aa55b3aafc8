//! Histograms of latencies, all of one shape, so that any two can be added without loss.

use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::{Deserialize, Deserializer as SerdeDeserializer, Serialize, Serializer as SerdeSerializer, de};

/// The shortest time that is told apart from zero, nanoseconds.
const LOWEST_NS: u64 = 1;
/// The longest time that is told apart from longer ones, nanoseconds: an hour. Longer ones count as this.
pub const HIGHEST_NS: u64 = 3_600_000_000_000;
/// Decimal digits that a recorded time keeps.
pub const DIGITS: u8 = 3;

/// Times in nanoseconds, each kept to three decimal digits.
#[derive(Clone, PartialEq, Debug)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(LOWEST_NS, HIGHEST_NS, DIGITS).expect("the bounds are valid"))
    }
}

impl Latencies {
    /// Counts one time.
    #[inline]
    pub fn record(&mut self, nanoseconds: u64) {
        self.0.saturating_record(nanoseconds);
    }

    /// Counts a time `count` times.
    #[inline]
    pub fn record_n(&mut self, nanoseconds: u64, count: u64) {
        self.0.saturating_record_n(nanoseconds, count);
    }

    /// Adds all times of `other`. Nothing is lost: the two have the same shape.
    pub fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all histograms have one shape");
    }

    /// Takes away what `earlier` counted, which this one had counted already.
    pub fn subtract(&mut self, earlier: &Self) {
        self.0.subtract(&earlier.0).expect("all histograms have one shape, and counts only rise");
    }

    /// Reads HdrHistogram's V2 encoding, whatever its bounds.
    ///
    /// # Errors
    /// The bytes are no such histogram.
    pub fn from_v2(mut bytes: &[u8]) -> Result<Self, String> {
        let histogram: Histogram<u64> = Deserializer::new()
            .deserialize(&mut bytes)
            .map_err(|error| format!("a histogram is damaged: {error:?}"))?;
        Ok(Self::from_histogram(&histogram))
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.0.reset();
    }

    /// How many times were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The time that the share `quantile` (0 to 1) of all do not exceed, nanoseconds; 0 if there are none.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> u64 {
        self.0.value_at_quantile(quantile)
    }

    /// The longest time, nanoseconds, to the histogram's precision.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.0.max()
    }

    /// The least difference from a time that is told apart, as a share of it: about a thousandth, and more where that is less than a nanosecond.
    #[must_use]
    pub fn resolution_at(&self, nanoseconds: u64) -> f64 {
        self.0.equivalent_range(nanoseconds) as f64 / nanoseconds.max(1) as f64
    }

    /// The mean, nanoseconds.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.0.mean()
    }

    /// The histogram itself, for formats of HdrHistogram.
    #[must_use]
    pub fn as_histogram(&self) -> &Histogram<u64> {
        &self.0
    }

    /// Takes over a histogram, whatever its bounds; its times are re-counted at this shape's precision.
    #[must_use]
    pub fn from_histogram(histogram: &Histogram<u64>) -> Self {
        let mut latencies = Self::default();
        for value in histogram.iter_recorded() {
            latencies.record_n(value.value_iterated_to(), value.count_at_value());
        }
        latencies
    }
}

/// As HdrHistogram's V2 encoding, deflated, in base64: what its other libraries read.
impl Serialize for Latencies {
    fn serialize<S: SerdeSerializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use base64::Engine;
        let mut bytes = Vec::new();
        V2DeflateSerializer::new().serialize(&self.0, &mut bytes).map_err(serde::ser::Error::custom)?;
        serializer.serialize_str(&base64::engine::general_purpose::STANDARD.encode(bytes))
    }
}

impl<'de> Deserialize<'de> for Latencies {
    fn deserialize<D: SerdeDeserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use base64::Engine;
        let text = String::deserialize(deserializer)?;
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).map_err(de::Error::custom)?;
        let histogram: Histogram<u64> =
            Deserializer::new().deserialize(&mut bytes.as_slice()).map_err(de::Error::custom)?;
        Ok(Self::from_histogram(&histogram))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_sums_agree() {
        let mut one = Latencies::default();
        let mut other = Latencies::default();
        for number in 0..10_000_u64 {
            one.record(number * number);
            other.record(number * 37);
        }
        other.record(u64::MAX);
        let text = serde_json::to_string(&one).expect("encodes");
        let read: Latencies = serde_json::from_str(&text).expect("decodes");
        assert_eq!(read, one);
        let mut sum = one.clone();
        sum.add(&other);
        assert_eq!(sum.count(), 20_001);
        assert!(sum.max() >= HIGHEST_NS, "what is longer than the longest counts as the longest");
    }
}
