//! Damage to bytes that were durable: it is named with file and offset, or it changes nothing; never a wrong value, never a panic.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use corelode_engine::env::simulated::{CrashPolicy, Damage, DiskImage, SimulatedEnvironment, SimulationOptions};

use super::History;
use super::crashes::{keep_freed_memory, machine_after_crash, open_and_check};
use super::load::CORES;
use super::workload::{Workload, open_options, sentence};

/// A disk after a load and a clean shutdown.
pub fn disk_at_rest(workload: Workload) -> (DiskImage, History) {
    keep_freed_memory();
    // The seed is the machine's, too: what it makes at random is another's with another load.
    let environment =
        SimulatedEnvironment::new(SimulationOptions { seed: workload.seed, ..SimulationOptions::in_order() });
    let history = History::default();
    let ran = environment.run_until(async {
        let mut node = open_and_check(&environment, open_options(CORES), &history).await?;
        workload.run(&mut node).await.map_err(sentence)?;
        node.mark_logs().await.map_err(sentence)
    });
    ran.expect("no crash was planned").expect("the load runs");
    (environment.crash_image(CrashPolicy::KeepUnsynced, 0), history)
}

/// Opens a disk and reads everything in it.
///
/// # Errors
/// What the engine says, or what is wrong with what it answers.
pub fn read_everything(image: &DiskImage, history: &History) -> Result<(), String> {
    let environment = machine_after_crash(image);
    let history = history.fork();
    let opened =
        environment.run_until(async { open_and_check(&environment, open_options(CORES), &history).await.map(drop) });
    opened.expect("no crash was planned")
}

/// What flipped bits did, by kind of file.
#[derive(Clone, Copy, Default, Debug)]
pub struct Flips {
    /// Named with the file.
    pub named: u64,
    /// In bytes that nothing reads any more.
    pub harmless: u64,
}

/// Flips a bit at every `stride`th byte of every file.
///
/// # Errors
/// The first flip that changed what is read, or was not named.
pub fn flip_everywhere(
    image: &DiskImage,
    history: &History,
    stride: u64,
) -> Result<BTreeMap<&'static str, Flips>, String> {
    let mut flips: BTreeMap<&'static str, Flips> = BTreeMap::new();
    for path in image.files().into_iter().filter(|path| kind_of(path) != "other") {
        let length = image.read(&path).map_err(|error| error.to_string())?.len() as u64;
        // Another phase in each file, so that short files are hit at different places.
        let first = length % stride.min(length.max(1));
        for offset in (first..length).step_by(usize::try_from(stride).expect("small")) {
            let count = flips.entry(kind_of(&path)).or_default();
            let bit = u8::try_from(offset / stride % 8).expect("below 8");
            let mut damaged = image.clone();
            damaged.damage(&path, Damage::FlipBit { offset, bit }).map_err(|error| error.to_string())?;
            match read_everything(&damaged, history) {
                Ok(()) => count.harmless += 1,
                Err(message) if names(&message, &path) => count.named += 1,
                Err(message) => {
                    return Err(format!("bit {bit} at {offset} of {} was flipped: {message}", path.display()));
                }
            }
        }
    }
    Ok(flips)
}

/// Whether a message is that of damage to `path`, or of a version that it names.
pub fn names(message: &str, path: &Path) -> bool {
    let path = path.display().to_string();
    message.starts_with(&format!("{path} is damaged at offset "))
        || message.starts_with(&format!("{path} has format version "))
}

/// The kind of a file by its name.
pub fn kind_of(path: &Path) -> &'static str {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    match () {
        () if name == "IDENTITY" => "identity",
        () if name == "MANIFEST" => "manifest",
        () if name.ends_with(".table") => "table",
        () if name.ends_with(".log") => "log",
        () => "other",
    }
}

/// The files of a kind.
pub fn files_of(image: &DiskImage, kind: &str) -> Vec<PathBuf> {
    image.files().into_iter().filter(|path| kind_of(path) == kind).collect()
}
