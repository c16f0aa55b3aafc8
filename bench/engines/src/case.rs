//! The cases, in the order in which they run on one database, and how each is carried out and checked.
//!
//! Only the calls into the engine are timed. Keys, values and the comparison of what was read with what was put are made between them.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use corelode_bench::report::histogram::Latencies;
use corelode_bench::report::model::OperationKind;
use corelode_bench::workload::{Generator, KeySpace, Preset, WorkloadConfig};
use serde::{Deserialize, Serialize};

use crate::engine::{Durability, Engine, EngineName, Result};
use crate::load::{Load, Rows, key_of};
use crate::process_io;
use crate::settings::Settings;

/// A case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Case {
    /// Puts without a sync, one by one, of most keys in random order.
    FillUnsynced,
    /// Durable puts in batches.
    FillBatches,
    /// Durable puts one by one.
    FillSingles,
    /// Reads of random keys that are there.
    ReadRandom,
    /// Reads of random keys that are not.
    ReadAbsent,
    /// Scans from a random key.
    Scan,
    /// Half reads, half updates without a sync, of zipfian keys.
    MixedUnsynced,
    /// Half reads, half durable updates, of zipfian keys.
    MixedSynced,
    /// Closing, opening, and reading all keys in their order.
    Reopen,
}

impl Case {
    /// All of them, in the order in which they run.
    pub(crate) const ALL: [Self; 9] = [
        Self::FillUnsynced,
        Self::FillBatches,
        Self::FillSingles,
        Self::ReadRandom,
        Self::ReadAbsent,
        Self::Scan,
        Self::MixedUnsynced,
        Self::MixedSynced,
        Self::Reopen,
    ];

    /// What it does, and what is counted.
    pub(crate) fn title(self, settings: &Settings) -> String {
        match self {
            Self::FillUnsynced => "fill random, no sync; keys".to_owned(),
            Self::FillBatches => format!("fill random, durable batches of {}; keys", settings.batch_keys),
            Self::FillSingles => "fill random, durable one by one; keys".to_owned(),
            Self::ReadRandom => "read random, cached; reads".to_owned(),
            Self::ReadAbsent => "read absent keys; reads".to_owned(),
            Self::Scan => format!("scan {} rows from a random key; scans", settings.scan_rows),
            Self::MixedUnsynced => "mixed 50/50 zipfian, no sync; operations".to_owned(),
            Self::MixedSynced => "mixed 50/50 zipfian, durable; operations".to_owned(),
            Self::Reopen => "all keys in order after reopening; reads".to_owned(),
        }
    }

    /// In how many parts it is carried out. The speed of a disk changes within seconds: where it decides, turns are short.
    pub(crate) fn parts(self) -> u64 {
        match self {
            Self::FillBatches | Self::FillSingles | Self::MixedSynced => 10,
            _ => 1,
        }
    }

    /// Whether operations of this case change something.
    pub(crate) fn is_writing(self) -> bool {
        matches!(
            self,
            Self::FillUnsynced | Self::FillBatches | Self::FillSingles | Self::MixedUnsynced | Self::MixedSynced
        )
    }
}

impl fmt::Display for Case {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, formatter)
    }
}

/// What a case came to in one round, for one engine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) case: Case,
    /// What was counted: keys, reads, scans, operations.
    pub(crate) operations: u64,
    /// Calls into the engine; a batch is one.
    pub(crate) calls: u64,
    /// The time within those calls, seconds.
    pub(crate) busy_seconds: f64,
    /// Of a call, nanoseconds.
    pub(crate) p50_ns: u64,
    /// Of a call, nanoseconds.
    pub(crate) p99_ns: u64,
    /// Of a call, nanoseconds.
    pub(crate) max_ns: u64,
    /// What was left for later and done after the last call: flushes, compactions, syncs. Of [`Case::Reopen`], how long opening took.
    pub(crate) settle_seconds: f64,
    /// Bytes written to storage by the process, with what was left for later.
    pub(crate) written_bytes: u64,
    /// Bytes of keys and values that were put.
    pub(crate) put_bytes: u64,
    /// Processor time of the process with what was left for later, and with the making and checking of keys and values, seconds.
    pub(crate) processor_seconds: f64,
    /// What the database takes up on the disk afterwards, bytes.
    pub(crate) disk_bytes: u64,
    /// The most memory that the process has had so far, KiB.
    pub(crate) resident_kib_max: u64,
    /// The database afterwards, in the engine's words.
    pub(crate) shape: String,
}

impl Figures {
    /// Operations a second, of the time within the engine.
    pub(crate) fn rate(&self) -> f64 {
        self.operations as f64 / self.busy_seconds
    }

    /// Operations a second with what was left for later.
    pub(crate) fn rate_settled(&self) -> f64 {
        self.operations as f64 / (self.busy_seconds + self.settle_seconds)
    }
}

/// One engine's database and what it must hold.
pub(crate) struct Bench<'a> {
    settings: &'a Settings,
    name: EngineName,
    directory: &'a Path,
    /// `None` only while it is being opened again.
    engine: Option<Box<dyn Engine>>,
    load: Load,
    /// Of the case that is under way, and how many of its parts are done.
    clock: Clock,
    parts_done: u64,
    expected: Vec<u8>,
    value: Vec<u8>,
}

/// Times calls.
#[derive(Default)]
struct Clock {
    latencies: Latencies,
    busy: Duration,
    operations: u64,
    put_bytes: u64,
    written_bytes: u64,
    processor_seconds: f64,
}

impl Clock {
    fn time<T>(&mut self, operations: u64, call: impl FnOnce() -> Result<T>) -> Result<T> {
        let started = Instant::now();
        let result = call();
        let elapsed = started.elapsed();
        self.latencies.record(u64::try_from(elapsed.as_nanos())?);
        self.busy += elapsed;
        self.operations += operations;
        result
    }

    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.put_bytes += (key.len() + value.len()) as u64;
    }
}

impl<'a> Bench<'a> {
    /// Makes the engine's database in `directory`.
    pub(crate) fn new(name: EngineName, directory: &'a Path, settings: &'a Settings) -> Result<Self> {
        let engine = Some(name.open(directory, settings)?);
        let (expected, value) = (Vec::new(), Vec::new());
        let (load, clock) = (Load::new(settings)?, Clock::default());
        Ok(Self { settings, name, directory, engine, load, clock, parts_done: 0, expected, value })
    }

    /// Carries out the next part of a case. The last one answers the figures of all parts.
    pub(crate) fn run(&mut self, case: Case) -> Result<Option<Figures>> {
        let (written_before, processor_before) = (process_io::written_bytes()?, process_io::processor_seconds()?);
        let mut clock = std::mem::take(&mut self.clock);
        let mut settle = self.run_part(case, &mut clock)?;
        self.parts_done = (self.parts_done + 1) % case.parts();
        let is_last = self.parts_done == 0;
        if is_last && case.is_writing() {
            settle = self.engine().settle()?;
        }
        process_io::write_back(self.directory)?;
        clock.written_bytes += process_io::written_bytes()? - written_before;
        clock.processor_seconds += process_io::processor_seconds()? - processor_before;
        if !is_last {
            self.clock = clock;
            return Ok(None);
        }
        let figures = Figures {
            case,
            operations: clock.operations,
            calls: clock.latencies.count(),
            busy_seconds: clock.busy.as_secs_f64(),
            p50_ns: clock.latencies.quantile(0.5),
            p99_ns: clock.latencies.quantile(0.99),
            max_ns: clock.latencies.max(),
            settle_seconds: settle.as_secs_f64(),
            written_bytes: clock.written_bytes,
            put_bytes: clock.put_bytes,
            processor_seconds: clock.processor_seconds,
            disk_bytes: process_io::disk_bytes(self.directory)?,
            resident_kib_max: process_io::resident_kib_max()?,
            shape: self.engine().shape()?,
        };
        if matches!(case, Case::FillSingles | Case::MixedSynced) {
            self.warm_up()?;
        }
        Ok(Some(figures))
    }

    /// Answers how long opening took, of [`Case::Reopen`].
    fn run_part(&mut self, case: Case, clock: &mut Clock) -> Result<Duration> {
        let settings = self.settings;
        let part_of = |count: u64| {
            let (parts, part) = (case.parts(), self.parts_done);
            count * (part + 1) / parts - count * part / parts
        };
        match case {
            Case::FillUnsynced => {
                let count = settings.keys - settings.batched - settings.singles;
                self.fill_one_by_one(count, Durability::Unsynced, clock)?;
            }
            Case::FillBatches => self.fill_in_batches(part_of(settings.batched), clock)?,
            Case::FillSingles => self.fill_one_by_one(part_of(settings.singles), Durability::Synced, clock)?,
            Case::ReadRandom => self.read_random(clock)?,
            Case::ReadAbsent => self.read_absent(clock)?,
            Case::Scan => self.scan(clock)?,
            Case::MixedUnsynced => self.mixed(settings.mixed, Durability::Unsynced, clock)?,
            Case::MixedSynced => self.mixed(part_of(settings.singles), Durability::Synced, clock)?,
            Case::Reopen => return self.reopen(clock),
        }
        Ok(Duration::ZERO)
    }

    fn engine(&mut self) -> &mut dyn Engine {
        self.engine.as_deref_mut().expect("it is open")
    }

    fn fill_one_by_one(&mut self, count: u64, durability: Durability, clock: &mut Clock) -> Result<()> {
        for _ in 0..count {
            let (key, value) = self.load.next_pair();
            clock.put(&key, &value);
            let engine = self.engine();
            clock.time(1, || engine.put(&key, &value, durability))?;
        }
        Ok(())
    }

    fn fill_in_batches(&mut self, count: u64, clock: &mut Clock) -> Result<()> {
        let mut rest = count;
        while rest > 0 {
            let count = rest.min(self.settings.batch_keys);
            let pairs: Vec<_> = (0..count).map(|_| self.load.next_pair()).collect();
            pairs.iter().for_each(|(key, value)| clock.put(key, value));
            let engine = self.engine();
            clock.time(count, || engine.put_batch(&pairs))?;
            rest -= count;
        }
        Ok(())
    }

    /// Reads a key and compares its value with what was put.
    fn read(&mut self, number: u64, clock: &mut Clock) -> Result<()> {
        let key = key_of(number);
        let Self { engine, value, load, expected, .. } = self;
        let engine = engine.as_deref_mut().expect("it is open");
        let found = clock.time(1, || engine.get(&key, value))?;
        load.check_value(number, found, value, expected)
    }

    fn read_random(&mut self, clock: &mut Clock) -> Result<()> {
        let mut random = self.load.random(1);
        for _ in 0..self.settings.reads {
            let number = self.load.draw(&mut random);
            self.read(number, clock)?;
        }
        Ok(())
    }

    fn read_absent(&mut self, clock: &mut Clock) -> Result<()> {
        let mut random = self.load.random(2);
        for _ in 0..self.settings.reads {
            let key = key_of(self.load.draw_absent(&mut random));
            let Self { engine, value, .. } = self;
            let engine = engine.as_deref_mut().expect("it is open");
            if clock.time(1, || engine.get(&key, value))? {
                return Err(format!("key {} is found, but was never put", String::from_utf8_lossy(&key)).into());
            }
        }
        Ok(())
    }

    fn scan(&mut self, clock: &mut Clock) -> Result<()> {
        let row_count = self.settings.scan_rows;
        let mut random = self.load.random(3);
        let mut rows = Rows::default();
        for _ in 0..self.settings.scans {
            let place = self.load.draw_place(&mut random);
            let start = self.load.key_at(place);
            rows.clear();
            let engine = self.engine();
            clock.time(1, || engine.scan(&start, row_count, &mut rows))?;
            self.load.check_rows(place, row_count, &rows, &mut self.expected)?;
        }
        Ok(())
    }

    /// Workload A of YCSB.
    fn mixed(&mut self, count: u64, durability: Durability, clock: &mut Clock) -> Result<()> {
        let config = WorkloadConfig { keys: self.settings.keys, ..Preset::A.into() };
        let key_space = KeySpace::new(config.keys)?.into();
        // Each part draws other keys.
        let part = usize::try_from(self.parts_done)? + usize::from(durability == Durability::Synced);
        let mut generator = Generator::new(&config, key_space, self.settings.seed, part);
        let mut value = Vec::new();
        for _ in 0..count {
            let operation = generator.next();
            if operation.kind == OperationKind::Read {
                self.read(operation.key, clock)?;
            } else {
                self.load.update(operation.key, &mut value);
                let key = key_of(operation.key);
                clock.put(&key, &value);
                let engine = self.engine();
                clock.time(1, || engine.put(&key, &value, durability))?;
            }
        }
        Ok(())
    }

    /// Reads and compares all keys, so that what the engine caches is cached.
    fn warm_up(&mut self) -> Result<()> {
        self.read_all(&mut Clock::default())?;
        self.engine().reads_follow()
    }

    fn read_all(&mut self, clock: &mut Clock) -> Result<()> {
        let numbers: Vec<u64> = self.load.numbers().collect();
        numbers.into_iter().try_for_each(|number| self.read(number, clock))
    }

    /// Answers how long opening took.
    fn reopen(&mut self, clock: &mut Clock) -> Result<Duration> {
        self.engine.take().expect("it is open").close()?;
        let started = Instant::now();
        self.engine = Some(self.name.open(self.directory, self.settings)?);
        let opening = started.elapsed();
        self.read_all(clock)?;
        Ok(opening)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        settings: Settings,
    }

    /// Every engine carries out every case, and answers rightly: the bench fails otherwise.
    #[test]
    fn every_engine_answers_rightly_in_every_case() {
        let line = "test --keys 3000 --batched 1050 --singles 20 --reads 500 --scans 50 --mixed 500 --memtable-mib 1";
        let settings = Line::parse_from(line.split(' ')).settings;
        for name in [EngineName::Corelode, EngineName::Fjall, EngineName::Redb] {
            let directory = tempfile::tempdir_in(".").unwrap();
            let path = directory.path().join("database");
            let mut bench = Bench::new(name, &path, &settings).unwrap();
            for case in Case::ALL {
                let mut run = || bench.run(case).unwrap_or_else(|error| panic!("{name}, {case}: {error}"));
                for _ in 1..case.parts() {
                    assert!(run().is_none(), "{name}, {case}: figures come with the last part");
                }
                let figures = run().expect("it was the last part");
                let operations = match case {
                    Case::FillUnsynced => 1930,
                    Case::FillBatches => 1050,
                    Case::FillSingles | Case::MixedSynced => 20,
                    Case::ReadRandom | Case::ReadAbsent | Case::MixedUnsynced => 500,
                    Case::Scan => 50,
                    Case::Reopen => 3000,
                };
                assert_eq!(figures.operations, operations, "{name}, {case}");
                assert_eq!(figures.calls, if case == Case::FillBatches { 20 } else { operations }, "{name}, {case}");
                assert_eq!(figures.put_bytes > 0, case.is_writing(), "{name}, {case}");
                assert!(!case.is_writing() || figures.written_bytes >= figures.put_bytes / 2, "{name}, {case}");
            }
        }
    }
}
