//! Corelode's storage engine beside other embedded engines: where does it stand, operation by operation?
//!
//! ```text
//! cargo run --release --manifest-path bench/engines/Cargo.toml -- --rounds 5
//! ```
//!
//! Each round makes a new database for each engine, all on one file system. The engines take turns case by case, and in cases that wait
//! for the disk ten times a case; another one begins each time. So what changes on the machine meanwhile befalls all of them. All get the same keys, values and operations in the same
//! order, from one seed, and each answer is compared with what was put. Between two cases nothing is under way: memtables are
//! flushed, no compaction is due, and the file system is written back. Before reads are measured all keys have been read once.
//!
//! Absolute figures are those of one machine at one time. The ratios are the result.

mod case;
mod corelode;
mod engine;
mod fjall_engine;
mod load;
mod process_io;
mod redb_engine;
mod report;
mod settings;
mod worker;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::{CommandFactory, Parser, error::ErrorKind};

use case::{Case, Figures};
use engine::{EngineName, Result};
use report::{EngineReport, Report, Turn};
use settings::Settings;
use worker::Worker;

/// Measures Corelode's storage engine beside other embedded engines, in turns.
#[derive(Parser)]
#[command(name = "corelode-bench-engines", version)]
struct Arguments {
    /// How many databases each engine makes.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Where they are made: an existing directory on the file system to measure. What is made there is removed again.
    #[arg(long, default_value = ".")]
    directory: PathBuf,
    /// The engines to run.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["corelode", "fjall", "redb"])]
    engines: Vec<EngineName>,
    /// Where the report is written as JSON.
    #[arg(long, default_value = "engines.json")]
    json: PathBuf,
    #[command(flatten)]
    settings: Settings,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let outcome = match (arguments.next(), arguments.next()) {
        (Some(first), Some(task)) if first == worker::WORKER => worker::work(&task),
        _ => run(Arguments::parse()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    let Arguments { rounds, directory, mut engines, json, settings } = arguments;
    if let Err(words) = settings.check() {
        Arguments::command().error(ErrorKind::ValueValidation, words).exit();
    }
    engines.sort();
    engines.dedup();
    let file_system = file_system(&directory)?;
    let mut turns = Vec::new();
    for round in 0..rounds {
        run_round(round, &directory, &engines, &settings, &mut turns)?;
    }
    let engines = engines.into_iter().map(|engine| EngineReport {
        engine,
        version: version_of(engine),
        synced: engine.synced(&settings),
        unsynced: engine.unsynced(),
    });
    let report =
        Report { machine: machine(), directory: file_system, rounds, engines: engines.collect(), settings, turns };
    std::fs::write(&json, serde_json::to_vec_pretty(&report)?)?;
    println!("{}; {}; {} rounds\n", report.machine, report.directory, report.rounds);
    println!("{}", report.tables());
    eprintln!("the figures of every turn are in {}", json.display());
    Ok(())
}

fn run_round(
    round: u32,
    directory: &Path,
    engines: &[EngineName],
    settings: &Settings,
    turns: &mut Vec<Turn>,
) -> Result<()> {
    let fresh = tempfile::Builder::new().prefix("corelode-bench-engines-").tempdir_in(directory)?;
    let start = |engine: &EngineName| Worker::start(*engine, &fresh.path().join(engine.to_string()), settings);
    let mut workers = engines.iter().map(start).collect::<Result<Vec<_>>>()?;
    let count = workers.len();
    let mut first = round as usize;
    for case in Case::ALL {
        for _ in 0..case.parts() {
            for turn in 0..count {
                let worker = &mut workers[(first + turn) % count];
                if let Some(figures) = worker.run(case)? {
                    tell(round, worker.engine, &figures, settings);
                    turns.push(Turn { round, engine: worker.engine, figures });
                }
            }
            first += 1;
        }
    }
    workers.into_iter().try_for_each(Worker::end)
}

fn tell(round: u32, engine: EngineName, figures: &Figures, settings: &Settings) {
    eprintln!(
        "round {}, {:52} {engine:9} {:11.0} a second, settled after {:.2} s; {}",
        round + 1,
        figures.case.title(settings),
        figures.rate(),
        figures.settle_seconds,
        figures.shape
    );
}

/// What the lock file says. Corelode's engine has no release of its own; its commit tells more.
fn version_of(engine: EngineName) -> String {
    if engine == EngineName::Corelode {
        let manifest_directory = env!("CARGO_MANIFEST_DIR");
        let words = ["-C", manifest_directory, "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"];
        let describe = Command::new("git").args(words).output();
        if let Some(output) = describe.ok().filter(|output| output.status.success()) {
            return format!("commit {}", String::from_utf8_lossy(&output.stdout).trim());
        }
    }
    let mut lines = include_str!("../Cargo.lock").lines();
    let name = format!("name = \"{}\"", engine.package());
    let version = lines.find(|line| **line == name).and_then(|_| lines.next());
    version.and_then(|line| line.split('"').nth(1)).unwrap_or("unknown").to_owned()
}

/// Which file system the databases are on. One in memory makes every sync free, which is worth a word.
fn file_system(directory: &Path) -> Result<String> {
    const EXT4_MAGIC: i64 = 0xef53;
    const XFS_MAGIC: i64 = 0x5846_5342;
    const TMPFS_MAGIC: i64 = 0x0102_1994;
    let name = match rustix::fs::statfs(directory)?.f_type {
        EXT4_MAGIC => "ext4".to_owned(),
        XFS_MAGIC => "xfs".to_owned(),
        TMPFS_MAGIC => "tmpfs, where a sync does nothing".to_owned(),
        other => format!("file system {other:#x}"),
    };
    if name.starts_with("tmpfs") {
        eprintln!("warning: {} is in memory, so that durable writes are not durable", directory.display());
    }
    Ok(name)
}

fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let info = read("/proc/cpuinfo");
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("");
    let model = model.trim_start_matches([' ', '\t', ':']);
    format!("{processors} cores of {model}, Linux {}", read("/proc/sys/kernel/osrelease").trim())
}
