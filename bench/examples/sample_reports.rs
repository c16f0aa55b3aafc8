//! Writes fabricated reports in every form, to look at them and to check them with other tools: `cargo run -p corelode-bench --example
//! sample_reports -- DIRECTORY`. See `bench/outside/README.md`.

#[path = "../tests/sample/mod.rs"]
mod sample;

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use corelode_bench::report::hgrm::{Unit, percentile_distribution};
use corelode_bench::report::histogram::Latencies;
use corelode_bench::report::hlog::{HlogWriter, Stretch};
use corelode_bench::report::model::OperationKind;
use corelode_bench::report::words::operation_tag;
use corelode_bench::report::{html, terminal};
use serde_json::json;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = PathBuf::from(std::env::args().nth(1).ok_or("which directory?")?);
    fs::create_dir_all(&directory)?;
    let reports = [&sample::OPEN, &sample::SLOWER, &sample::CLOSED].map(sample::report);
    for (name, report) in ["open", "slower", "closed"].into_iter().zip(&reports) {
        fs::write(directory.join(format!("{name}.json")), serde_json::to_string_pretty(report)?)?;
        fs::write(directory.join(format!("{name}.txt")), terminal::summary(report))?;
        fs::write(directory.join(format!("{name}.html")), html::render(std::slice::from_ref(report)))?;
    }
    fs::write(directory.join("compared.html"), html::render(&reports))?;
    interval_log(&directory)?;
    Ok(())
}

/// Writes an interval log second by second, and beside it what other tools must read from it: each line's count, and its values with theirs.
fn interval_log(directory: &Path) -> Result<(), Box<dyn Error>> {
    let started_at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_426_867_125);
    let mut log = HlogWriter::new(BufWriter::new(File::create(directory.join("open.hlog"))?), "a sample", started_at)?;
    // The stall of the second repetition leaves a second in which little is answered; one after the end has nothing at all.
    let mut seconds: BTreeMap<(u64, OperationKind), Latencies> = BTreeMap::new();
    for second in 0..=31 {
        for kind in [OperationKind::Read, OperationKind::Update] {
            seconds.entry((second, kind)).or_default();
        }
    }
    let mut totals: BTreeMap<OperationKind, Latencies> = BTreeMap::new();
    for operation in sample::operations(&sample::OPEN, 1) {
        let latency = operation.waited + operation.service;
        let answered = Duration::from_secs_f64(operation.intended) + Duration::from_nanos(latency);
        seconds.entry((answered.as_secs(), operation.kind)).or_default().record(latency);
        totals.entry(operation.kind).or_default().record(latency);
    }
    let mut expected = Vec::new();
    for ((second, kind), latencies) in &seconds {
        let stretch = Stretch { start: Duration::from_secs(*second), length: Duration::from_secs(1) };
        log.write(*kind, stretch, latencies)?;
        let histogram = latencies.as_histogram();
        let values = histogram.iter_recorded().map(|value| {
            let lowest = histogram.lowest_equivalent(value.value_iterated_to());
            json!([lowest, value.count_at_value()])
        });
        expected.push(json!({
            "tag": operation_tag(*kind), "start": second, "seconds": 1, "count": latencies.count(), "max": latencies.max(),
            "values": values.collect::<Vec<_>>(),
        }));
    }
    log.finish()?;
    fs::write(directory.join("open.hlog.expected.json"), serde_json::to_string(&expected)?)?;
    for (kind, latencies) in &totals {
        let tag = operation_tag(*kind);
        fs::write(directory.join(format!("{tag}.us.hgrm")), percentile_distribution(latencies, Unit::Microseconds))?;
        fs::write(directory.join(format!("{tag}.ms.hgrm")), percentile_distribution(latencies, Unit::Milliseconds))?;
    }
    Ok(())
}
