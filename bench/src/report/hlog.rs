//! HdrHistogram's interval log (`.hlog`): the whole histogram of each kind of operation in each interval, for HdrHistogram's own tools.
//!
//! Values are nanoseconds. The column of maxima, which is for people, is in milliseconds: [`MAX_VALUE_DIVISOR`], which the header states. Lines
//! carry the kind of operation as their tag, and times since the header's base time. A writer holds one interval at a time, so that its memory
//! does not grow with a run.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, IntervalLogWriterError, Tag};

use super::histogram::Latencies;
use super::model::OperationKind;
use super::words::operation_tag;

/// By what the column of maxima is divided: nanoseconds in a millisecond, as all writers of HdrHistogram do by default.
pub const MAX_VALUE_DIVISOR: f64 = 1e6;

/// The columns, as HdrHistogram's other writers name them.
const LEGEND: &str = "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n";

/// Writes an interval log as the run goes.
///
/// A line is given to the output in one piece, so that an output that is never closed has whole lines up to the last.
pub struct HlogWriter<W: Write> {
    output: W,
    encoder: V2DeflateSerializer,
    /// A line in the making, behind the header that the crate's writer puts before everything.
    line: Vec<u8>,
}

/// A stretch of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stretch {
    /// When it began, from the log's start.
    pub start: Duration,
    /// How long it was.
    pub length: Duration,
}

impl<W: Write> HlogWriter<W> {
    /// Begins a log of what the run called `title` measures from `started_at` on. The output should be buffered.
    ///
    /// # Errors
    /// If the output fails.
    pub fn new(mut output: W, title: &str, started_at: SystemTime) -> io::Result<Self> {
        let mut encoder = V2DeflateSerializer::new();
        builder()
            .add_comment(&format!("[{}]", title.replace(['\r', '\n'], " ")))
            .add_comment("[Values are nanoseconds; maxima are milliseconds; tags are kinds of operations]")
            .add_comment("[Histogram log format version 1.3]")
            .with_start_time(started_at)
            .with_base_time(started_at)
            .begin_log_with(&mut output, &mut encoder)?;
        output.write_all(LEGEND.as_bytes())?;
        Ok(Self { output, encoder, line: Vec::new() })
    }

    /// Writes what was measured of one kind of operation in a stretch. Stretches come in order; one without operations is written too.
    ///
    /// # Errors
    /// If the output fails.
    pub fn write(&mut self, kind: OperationKind, stretch: Stretch, latencies: &Latencies) -> io::Result<()> {
        self.line.clear();
        let tag = Tag::new(operation_tag(kind));
        debug_assert!(tag.is_some(), "names of operations have no commas, spaces or line ends");
        builder()
            .begin_log_with(&mut self.line, &mut self.encoder)?
            .write_histogram(latencies.as_histogram(), stretch.start, stretch.length, tag)
            .map_err(|error| match error {
                IntervalLogWriterError::IoError(error) => error,
                IntervalLogWriterError::SerializeError(error) => io::Error::other(error),
            })?;
        // The log has said its divisor once. Before the line there is nothing else.
        let divisor_end = self.line.iter().position(|byte| *byte == b'\n').map_or(0, |position| position + 1);
        self.output.write_all(&self.line[divisor_end..])
    }

    /// Flushes the log and gives the output back.
    ///
    /// # Errors
    /// If the output fails.
    pub fn finish(mut self) -> io::Result<W> {
        self.output.flush()?;
        Ok(self.output)
    }
}

/// A writer of the crate that divides as the header says.
fn builder() -> IntervalLogWriterBuilder {
    let mut builder = IntervalLogWriterBuilder::new();
    builder.with_max_value_divisor(MAX_VALUE_DIVISOR);
    builder
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;

    /// Twenty intervals of two kinds: their number, kind and times. Every fifth has none.
    fn intervals() -> Vec<(u64, OperationKind, Latencies)> {
        let mut intervals = Vec::new();
        for second in 0..20 {
            for kind in [OperationKind::Read, OperationKind::ReadModifyWrite] {
                let mut latencies = Latencies::default();
                for number in 0..if second % 5 == 4 { 0 } else { 1_000 } {
                    latencies.record(50_000 + number * number * (second + 1) + 17 * kind as u64);
                }
                intervals.push((second, kind, latencies));
            }
        }
        intervals
    }

    #[test]
    fn a_log_is_read_back_by_the_crates_iterator() {
        let started_at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_790_000_000_250);
        let mut writer = HlogWriter::new(Vec::new(), "two\nlines", started_at).expect("writes");
        for (second, kind, latencies) in &intervals() {
            let stretch = Stretch { start: Duration::from_secs(*second), length: Duration::from_millis(1_000) };
            writer.write(*kind, stretch, latencies).expect("writes");
        }
        let bytes = writer.finish().expect("flushes");
        let text = std::str::from_utf8(&bytes).expect("text");
        assert_eq!(text.matches("#[MaxValueDivisor: 1000000.000]\n").count(), 1);
        assert!(text.starts_with("#[two lines]\n"), "a title does not end its comment: {text}");

        let mut times = Vec::new();
        let mut read = Vec::new();
        for entry in IntervalLogIterator::new(&bytes) {
            match entry.expect("parses") {
                LogEntry::StartTime(time) | LogEntry::BaseTime(time) => times.push(time.as_millis()),
                LogEntry::Interval(interval) => {
                    let encoded = interval.encoded_histogram();
                    let encoded = base64::engine::general_purpose::STANDARD.decode(encoded).expect("base64");
                    let histogram: Histogram<u64> =
                        Deserializer::new().deserialize(&mut encoded.as_slice()).expect("V2 deflate");
                    assert_eq!(interval.duration(), Duration::from_secs(1));
                    let max_ms = histogram.max() as f64 / MAX_VALUE_DIVISOR;
                    assert!((interval.max() - max_ms).abs() < 0.001, "the maximum is in milliseconds");
                    let tag = interval.tag().expect("every line has one").as_str().to_owned();
                    read.push((interval.start_timestamp().as_secs(), tag, Latencies::from_histogram(&histogram)));
                }
            }
        }
        assert_eq!(times, [1_790_000_000_250, 1_790_000_000_250]);
        let expected = intervals().into_iter().map(|(second, kind, latencies)| {
            let tag = operation_tag(kind).to_owned();
            (second, tag, latencies)
        });
        assert_eq!(read, expected.collect::<Vec<_>>());
    }
}
