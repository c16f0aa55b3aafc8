//! Tests of the simulated machine: its disk against a naive model and against the kernel, its crashes by hazard, its faults, and
//! that a seed decides everything.

mod conformance;
mod content_model;
mod crashes;
mod determinism;
mod faults;

use std::io;
use std::path::Path;

use super::*;

/// Creates a file with the given bytes; nothing is synced.
async fn create(environment: &SimulatedEnvironment, path: &str, bytes: &[u8]) -> io::Result<SimulatedFile> {
    let file = environment.open(Path::new(path), OpenMode::Create).await?;
    environment.write_at(&file, IoBuffer::from(bytes), 0).await.0?;
    Ok(file)
}

/// Creates a file whose bytes and name are durable.
async fn create_durable(environment: &SimulatedEnvironment, path: &str, bytes: &[u8]) -> io::Result<SimulatedFile> {
    let file = create(environment, path, bytes).await?;
    environment.sync_data(&file).await?;
    environment.sync_directory(Path::new(path).parent().unwrap()).await?;
    Ok(file)
}

async fn write(environment: &SimulatedEnvironment, file: &SimulatedFile, bytes: &[u8], offset: u64) -> io::Result<()> {
    environment.write_at(file, IoBuffer::from(bytes), offset).await.0
}

/// What a crash at the end of `scenario` leaves, on a machine whose operations complete at once.
fn after<F: Future<Output = io::Result<()>>>(
    scenario: impl FnOnce(SimulatedEnvironment) -> F,
) -> impl Fn(CrashPolicy, u64) -> DiskImage {
    let environment = SimulatedEnvironment::new(SimulationOptions::in_order());
    environment.run_until(scenario(environment.clone())).unwrap().unwrap();
    move |policy, seed| environment.crash_image(policy, seed)
}

/// Every policy, the random ones with many seeds.
fn all_crashes() -> impl Iterator<Item = (CrashPolicy, u64)> {
    CrashPolicy::ALL
        .into_iter()
        .flat_map(|policy| (0..if policy.is_random() { 64 } else { 1 }).map(move |seed| (policy, seed)))
}
