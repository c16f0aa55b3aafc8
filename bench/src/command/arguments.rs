//! Arguments that several commands take: the workload, and how it is sent.

use std::collections::BTreeSet;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use corelode_net::body::Durability;
use corelode_net::handshake::Secret;
use rustix::thread::CpuSet;

use super::Failure;
use crate::driver::native::NativeOptions;
use crate::load::{LoadOptions, PATIENCE_DEFAULT};
use crate::report::model::{Arrival, Pace};
use crate::report::words::{bytes_text, count_text, plural};
use crate::workload::{
    KEY_BYTES_DEFAULT, KEYS_DEFAULT, KeyChoice, Mix, Preset, SCAN_ROWS_MAX_DEFAULT, Share, WorkloadConfig,
};

/// What holds for every Corelode store of a command
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Corelode")]
pub(crate) struct NativeArguments {
    /// What an acknowledged write of Corelode has survived; other stores have that in their settings
    #[arg(long, value_enum, default_value_t = WriteDurability::Synced)]
    durability: WriteDurability,

    /// A file with the secret that a Corelode server shares with its clients; other stores have a password in their URL
    #[arg(long, env = "CORELODE_SECRET_FILE", value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

impl NativeArguments {
    /// # Errors
    /// The secret cannot be read, or is too short to be one.
    pub(crate) fn options(&self) -> Result<NativeOptions, Failure> {
        let durability = match self.durability {
            WriteDurability::Synced => Durability::Synced,
            WriteDurability::Memory => Durability::Memory,
        };
        let secret = match &self.secret_file {
            Some(path) => {
                let bytes = std::fs::read(path).map_err(|error| Failure::file(path, &error))?;
                let secret = Secret::new(bytes.trim_ascii_end());
                Some(secret.map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?)
            }
            None => None,
        };
        Ok(NativeOptions { durability, secret })
    }
}

/// What an acknowledged write has survived. Other stores than Corelode have that in their own settings.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum WriteDurability {
    /// On disk: survives a power cut
    Synced,
    /// In the server's memory: lost if the server stops before its next sync
    Memory,
}

/// What is asked of the store
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Workload")]
pub(crate) struct WorkloadArguments {
    /// YCSB's workload A to F; the options below change it
    #[arg(long, value_name = "A-F", default_value = "A")]
    pub(crate) workload: Preset,

    /// Shares of operations, such as read=0.95,update=0.05; also insert, scan and read-modify-write
    #[arg(long, value_name = "SHARES")]
    pub(crate) mix: Option<Mix>,

    /// How keys are chosen: uniform, zipfian:THETA, latest:THETA or hotspot:KEYS,OPERATIONS
    #[arg(long, value_name = "CHOICE")]
    pub(crate) choice: Option<KeyChoice>,

    /// Keys that there are before the load
    #[arg(long, value_name = "N", default_value_t = KEYS_DEFAULT)]
    pub(crate) keys: u64,

    /// The length of keys
    #[arg(long, value_name = "BYTES", default_value_t = KEY_BYTES_DEFAULT)]
    pub(crate) key_bytes: usize,

    /// The length of values
    #[arg(long, value_name = "BYTES", default_value_t = 100)]
    pub(crate) value_bytes: usize,

    /// The share of each value that compresses well
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = share)]
    pub(crate) compressible: Share,

    /// The longest scan, rows
    #[arg(long, value_name = "N", default_value_t = SCAN_ROWS_MAX_DEFAULT)]
    pub(crate) scan_rows: NonZeroU32,

    /// What all random choices follow from
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,

    /// The keys are there: do not write them first
    #[arg(long)]
    pub(crate) no_fill: bool,
}

/// The most operations of all clients together that may be under way: each has its place in memory before the load begins.
const UNDER_WAY_MAX: u64 = 1 << 18;
/// The most bytes of keys and values that they may have together.
const UNDER_WAY_SIZE_BYTES_MAX: u64 = 2 << 30;
/// The most threads; more are no use on any machine, and the system may refuse them.
const THREADS_MAX: usize = 1_024;
/// The most repetitions: each one's histograms are kept to the end.
const REPETITIONS_MAX: u32 = 1_000;
/// The most bytes of keys and values that are written before a load: more would take days.
const FILL_SIZE_BYTES_MAX: u64 = 16 << 40;
/// The fastest schedule, operations a second: one each nanosecond.
const RATE_MAX: f64 = 1e9;

impl WorkloadArguments {
    fn row_size_bytes(&self) -> u64 {
        (self.key_bytes as u64).saturating_add(self.value_bytes as u64)
    }

    /// Whether the keys can be written in some sensible time.
    ///
    /// # Errors
    /// In a sentence, if not.
    pub(crate) fn check_fill(&self) -> Result<(), String> {
        let size_bytes = self.keys.saturating_mul(self.row_size_bytes());
        if self.no_fill || size_bytes <= FILL_SIZE_BYTES_MAX {
            return Ok(());
        }
        Err(format!(
            "{} of {} with their values are {}, and at most {} are written before a load: give fewer --keys, or --no-fill if they are there",
            plural(self.keys, "key"),
            bytes_text(self.row_size_bytes()),
            bytes_text(size_bytes),
            bytes_text(FILL_SIZE_BYTES_MAX)
        ))
    }

    pub(crate) fn config(&self) -> WorkloadConfig {
        let preset = WorkloadConfig::from(self.workload);
        WorkloadConfig {
            mix: self.mix.clone().unwrap_or(preset.mix),
            key_choice: self.choice.unwrap_or(preset.key_choice),
            scan_rows_max: self.scan_rows,
            keys: self.keys,
            key_bytes: self.key_bytes,
            value_bytes: self.value_bytes,
            value_compressible: self.compressible,
        }
    }
}

/// How operations are sent
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Load")]
pub(crate) struct LoadArguments {
    /// Clients, each with a connection (to each core, where the store has those)
    #[arg(long, value_name = "N", default_value = "50")]
    pub(crate) clients: NonZeroUsize,

    /// The most operations that a client has under way
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) depth: NonZeroU32,

    /// Threads that make the load
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) threads: NonZeroUsize,

    /// Processors for the threads, such as 1 or 2,4-7
    #[arg(long, value_name = "LIST")]
    pub(crate) pin: Option<Processors>,

    /// Seconds before each measurement that do not count
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    pub(crate) warm_up: Duration,

    /// Seconds of each measurement
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub(crate) seconds: Duration,

    /// How often to measure
    #[arg(long, value_name = "N", default_value = "5")]
    pub(crate) repetitions: NonZeroU32,
}

impl LoadArguments {
    /// # Errors
    /// If there are more threads than clients, or more of anything than a load can have.
    pub(crate) fn options(&self, pace: Pace, workload: &WorkloadArguments) -> Result<LoadOptions, String> {
        let (clients, threads) = (self.clients.get(), self.threads.get());
        if threads > THREADS_MAX {
            return Err(format!("{threads} threads are too many: give at most {THREADS_MAX}"));
        }
        let under_way = (clients as u64).saturating_mul(u64::from(self.depth.get()));
        if under_way > UNDER_WAY_MAX {
            return Err(format!(
                "{} with --depth {} would have {} operations under way at a time, and at most {} can be",
                plural(clients as u64, "client"),
                self.depth,
                count_text(under_way),
                count_text(UNDER_WAY_MAX)
            ));
        }
        let under_way_bytes = under_way.saturating_mul(workload.row_size_bytes());
        if under_way_bytes > UNDER_WAY_SIZE_BYTES_MAX {
            return Err(format!(
                "{} under way at a time, of keys and values of {}, take {} of memory, and at most {} can be had: give fewer --clients, a lower --depth or smaller --value-bytes",
                plural(under_way, "operation"),
                bytes_text(workload.row_size_bytes()),
                bytes_text(under_way_bytes),
                bytes_text(UNDER_WAY_SIZE_BYTES_MAX)
            ));
        }
        if self.repetitions.get() > REPETITIONS_MAX {
            return Err(format!("{} repetitions are too many: give at most {REPETITIONS_MAX}", self.repetitions));
        }
        if threads > clients {
            return Err(format!("{threads} threads for {clients} clients: each thread needs one"));
        }
        if self.seconds.is_zero() {
            return Err("a measurement needs some time: give --seconds".to_owned());
        }
        Ok(LoadOptions {
            pace,
            clients,
            depth: self.depth.get(),
            threads,
            processors: self.pin.iter().flat_map(|list| list.0.iter().copied()).collect(),
            warm_up: self.warm_up,
            duration: Some(self.seconds),
            seed: 0,
            patience: PATIENCE_DEFAULT,
        })
    }
}

/// How the times of an open loop lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum ArrivalArgument {
    /// Independent of each other, as those of many users
    Poisson,
    /// At equal distances
    Constant,
}

impl From<ArrivalArgument> for Arrival {
    fn from(argument: ArrivalArgument) -> Self {
        match argument {
            ArrivalArgument::Poisson => Self::Poisson,
            ArrivalArgument::Constant => Self::Constant,
        }
    }
}

/// Numbers of processors.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Processors(pub(crate) BTreeSet<usize>);

impl std::str::FromStr for Processors {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            let number = text.parse::<usize>().ok().filter(|number| *number < CpuSet::MAX_CPU);
            number.ok_or_else(|| format!("{text:?} is no processor: give a list such as 1 or 2,4-7"))
        };
        let mut processors = BTreeSet::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            // An empty range would leave the load unpinned, and nobody would see it.
            if last < first {
                return Err(format!("{part:?} has no processors: give the lower number first"));
            }
            processors.extend(first..=last);
        }
        Ok(Self(processors))
    }
}

pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    /// A year: times in nanoseconds fit 64 bits with much to spare.
    const SECONDS_MAX: f64 = 365.0 * 24.0 * 3_600.0;
    let seconds: f64 = text.parse().map_err(|_| format!("{text:?} is no number of seconds"))?;
    let duration = Duration::try_from_secs_f64(seconds).ok().filter(|_| seconds <= SECONDS_MAX);
    duration.ok_or_else(|| format!("{text} is no number of seconds that one can wait"))
}

pub(crate) fn share(text: &str) -> Result<Share, String> {
    let share: f64 = text.parse().map_err(|_| format!("{text:?} is no share: give a number from 0 to 1"))?;
    Share::new(share).map_err(|error| error.to_string())
}

/// Operations a second.
pub(crate) fn rate(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('k').map_or((text, 1.0), |number| (number, 1_000.0));
    let rate: f64 = number.0.parse().map_err(|_| format!("{text:?} is no number of operations a second"))?;
    let rate = rate * number.1;
    if rate > 0.0 && rate <= RATE_MAX { Ok(rate) } else { Err(format!("{text} operations a second cannot be sent")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors_have_numbers_and_ranges() {
        let list = |text: &str| text.parse::<Processors>().map(|list| list.0.into_iter().collect::<Vec<_>>());
        assert_eq!(list("1"), Ok(vec![1]));
        assert_eq!(list("2,4-7,5"), Ok(vec![2, 4, 5, 6, 7]));
        assert!(list("").is_err());
        assert!(list("a-b").is_err());
        assert!(list("7-4").is_err(), "it would pin to nothing");
        assert!(list("0-18446744073709551615").is_err() && list("1024").is_err(), "more than the kernel tells apart");
    }

    #[test]
    fn rates_and_times_are_positive_numbers() {
        assert_eq!(rate("20k"), Ok(20_000.0));
        assert_eq!(rate("0.5"), Ok(0.5));
        assert_eq!(rate("1e9"), Ok(1e9));
        for wrong in ["0", "-1", "nan", "inf", "k", "", "1e10"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        for wrong in ["-1", "nan", "1e12", "1e30", ""] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
