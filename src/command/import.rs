//! `corelode import`: many records from a file.

use std::{
    collections::{BTreeMap, HashSet},
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal, Write},
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Args;
use corelode_client::{Client, Durability, WriteOptions, slot_of};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{
    Output, WriteDurability,
    connection::{ConnectionArguments, Failure, durability, exit_of},
    show,
};
use crate::{
    exit::Exit,
    record::{Format, ReadError, Record, RecordReader, escape::escape},
    server_url::ServerUrl,
};

/// Store all records of a file
///
/// NDJSON holds one record a line, {"key":"…","value":"…"}, with key_base64 or value_base64 for bytes that are not
/// UTF-8, and ttl_ms for a record that shall vanish. TSV holds key TAB value with the escapes \t \n \r \\ \xNN.
/// A record that is refused is counted with its reason, and the import goes on; it then exits with 4.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// The file; `-` means standard input
    pub(crate) file: PathBuf,

    /// How records are written [default: by the file's ending; NDJSON for `-`]
    #[arg(long, value_enum)]
    pub(crate) format: Option<Format>,

    /// Write each acknowledged key to this file, or `-` for standard output, one a line, escaped as in TSV, as soon as it is acknowledged
    #[arg(long, value_name = "FILE")]
    pub(crate) acked: Option<PathBuf>,

    /// How many writes to keep under way for each core of the server
    #[arg(long, value_name = "N", default_value = "64")]
    pub(crate) in_flight: NonZeroU32,

    /// How sure a write must be before it is acknowledged
    #[arg(long, value_enum, default_value_t = WriteDurability::Synced)]
    pub(crate) durability: WriteDurability,

    /// How to show the counts at the end; raw shows nothing
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,

    #[command(flatten)]
    pub(crate) connection: ConnectionArguments,
}

/// Stores the records; the counts are shown whatever happens.
pub(crate) fn run(arguments: &Arguments, url: &ServerUrl) -> Result<Exit, Failure> {
    let format = arguments.format.or_else(|| Format::of_file(&arguments.file)).ok_or_else(|| {
        Failure::usage("the format is not clear: give --format, or a file that ends in .ndjson or .tsv")
    })?;
    let input: Box<dyn BufRead> = if arguments.file == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(&arguments.file).map_err(|error| Failure::file(&arguments.file, &error))?;
        Box::new(BufReader::with_capacity(1 << 20, file))
    };
    let acked = match &arguments.acked {
        Some(path) if path == Path::new("-") => Some(Box::new(io::stdout()) as Box<dyn Write>),
        Some(path) => {
            Some(Box::new(File::create(path).map_err(|error| Failure::file(path, &error))?) as Box<dyn Write>)
        }
        None => None,
    };
    let is_interrupted = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::clone(&is_interrupted))
        .map_err(|error| Failure { exit: Exit::Refused, message: error.to_string() })?;
    let client = arguments.connection.client(url)?;
    let import = Import {
        client: client.asynchronous().clone(),
        durability: durability(arguments.durability),
        in_flight: arguments.in_flight.get() as usize,
        counts: Counts::default(),
        complaints: 0,
        line_written: Instant::now(),
        acked: acked.zip(arguments.acked.clone()),
        progress: progress(),
        is_interrupted,
    };
    let counts = client.block_on(import.run(RecordReader::new(input, format)))?;
    show_counts(arguments.output, &counts)?;
    Ok(counts.exit())
}

/// What an import has done.
#[derive(Debug, Default)]
struct Counts {
    read: u64,
    stored: u64,
    value_bytes: u64,
    unknown: u64,
    unreachable: u64,
    /// How many records were refused, by reason.
    refused: BTreeMap<String, u64>,
    is_interrupted: bool,
    elapsed: Duration,
}

impl Counts {
    fn refuse(&mut self, reason: String) {
        /// Reasons beyond these are counted together: a damaged file must not fill the memory.
        const REASONS_MAX: usize = 100;
        let is_known = self.refused.contains_key(&reason);
        let reason = if is_known || self.refused.len() < REASONS_MAX { reason } else { "other reasons".to_owned() };
        *self.refused.entry(reason).or_default() += 1;
    }

    fn exit(&self) -> Exit {
        if self.unknown > 0 {
            Exit::OutcomeUnknown
        } else if self.unreachable > 0 {
            Exit::Unreachable
        } else if !self.refused.is_empty() || self.is_interrupted {
            Exit::Refused
        } else {
            Exit::Done
        }
    }
}

/// A record whose write has ended.
struct Ended {
    key: Vec<u8>,
    value_length: usize,
    result: corelode_client::Result<u64>,
}

struct Import {
    client: Client,
    durability: Durability,
    in_flight: usize,
    counts: Counts,
    complaints: u32,
    line_written: Instant,
    acked: Option<(Box<dyn Write>, PathBuf)>,
    progress: ProgressBar,
    is_interrupted: Arc<AtomicBool>,
}

impl Import {
    /// Reads, writes and counts. Memory holds the records in flight; two records of one key are written one after the other, so that the
    /// later one counts.
    async fn run<R: BufRead>(mut self, records: RecordReader<R>) -> Result<Counts, Failure> {
        let started = Instant::now();
        let topology = self.client.fetch_topology().await?;
        let cores: Vec<_> = topology.cores.iter().map(|_| Arc::new(Semaphore::new(self.in_flight))).collect();
        let (ended, mut endings) = mpsc::unbounded_channel();
        let mut keys_in_flight = HashSet::new();
        for record in records {
            if self.is_interrupted.load(Ordering::Relaxed) || self.counts.unreachable > 0 {
                break;
            }
            self.counts.read += 1;
            let record = match record {
                Ok(record) => record,
                Err(error @ ReadError::Input(_)) => {
                    self.counts.refuse(error.to_string());
                    break;
                }
                Err(error @ ReadError::Line { .. }) => {
                    self.complain(&error.to_string());
                    let ReadError::Line { refusal, .. } = error else { unreachable!("matched above") };
                    self.counts.refuse(refusal.to_string());
                    continue;
                }
            };
            while keys_in_flight.contains(&record.key) {
                let first = endings.recv().await.expect("this task holds a sender");
                self.take(first, &mut endings, &mut keys_in_flight)?;
            }
            let owner = topology.partition_of(slot_of(&record.key)).map_or(0, |entry| usize::from(entry.core.0));
            let core = Arc::clone(&cores[owner % cores.len()]);
            let permit = loop {
                tokio::select! {
                    biased;
                    Some(first) = endings.recv() => self.take(first, &mut endings, &mut keys_in_flight)?,
                    permit = Arc::clone(&core).acquire_owned() => break permit.expect("the semaphore is never closed"),
                }
            };
            keys_in_flight.insert(record.key.clone());
            self.start(record, permit, ended.clone());
        }
        drop(ended);
        while let Some(first) = endings.recv().await {
            self.take(first, &mut endings, &mut keys_in_flight)?;
        }
        self.progress.finish_and_clear();
        self.counts.is_interrupted = self.is_interrupted.load(Ordering::Relaxed);
        self.counts.elapsed = started.elapsed();
        Ok(self.counts)
    }

    fn start(&self, record: Record, permit: OwnedSemaphorePermit, ended: mpsc::UnboundedSender<Ended>) {
        let client = self.client.clone();
        let ttl = record.ttl_ms.map(|ttl_ms| Duration::from_millis(ttl_ms.get()));
        let options = WriteOptions { ttl, durability: self.durability };
        tokio::spawn(async move {
            let result = client.put_with(&record.key, &record.value, options).await;
            let value_length = record.value.len();
            // The import may have given up; then nobody counts.
            let _ = ended.send(Ended { key: record.key, value_length, result });
            drop(permit);
        });
    }

    fn show_progress(&mut self) {
        /// Where nobody watches a line that changes, a new one is written so often.
        const LINE_INTERVAL: Duration = Duration::from_secs(5);
        self.progress.set_position(self.counts.stored);
        if self.progress.is_hidden() && self.line_written.elapsed() >= LINE_INTERVAL {
            self.line_written = Instant::now();
            eprintln!("{} records stored, {} read", self.counts.stored, self.counts.read);
        }
    }

    /// Names a record that was refused; of many only the first, since the counts at the end tell of all.
    fn complain(&mut self, refusal: &str) {
        const COMPLAINTS_MAX: u32 = 50;
        self.complaints += 1;
        match self.complaints {
            ..=COMPLAINTS_MAX => self.progress.suspend(|| eprintln!("{refusal}")),
            complaints if complaints == COMPLAINTS_MAX + 1 => {
                self.progress.suspend(|| eprintln!("more records are refused: they are counted, and not named"));
            }
            _ => {}
        }
    }

    /// Counts a write that has ended, with all others that have by now; acknowledged keys are written down before anything else happens.
    fn take(
        &mut self,
        first: Ended,
        endings: &mut mpsc::UnboundedReceiver<Ended>,
        keys_in_flight: &mut HashSet<Vec<u8>>,
    ) -> Result<(), Failure> {
        let mut acknowledged = Vec::new();
        let mut next = Some(first);
        while let Some(Ended { key, value_length, result }) = next {
            keys_in_flight.remove(&key);
            match result {
                Ok(_) => {
                    self.counts.stored += 1;
                    self.counts.value_bytes += value_length as u64;
                    escape(&key, &mut acknowledged);
                    acknowledged.push(b'\n');
                }
                Err(error) => match exit_of(&error) {
                    Exit::OutcomeUnknown => self.counts.unknown += 1,
                    Exit::Unreachable => self.counts.unreachable += 1,
                    _ => {
                        self.complain(&format!("key {}: {error}", show::cell(&key, 80)));
                        self.counts.refuse(error.to_string());
                    }
                },
            }
            next = endings.try_recv().ok();
        }
        if let Some((file, path)) = &mut self.acked {
            file.write_all(&acknowledged).and_then(|()| file.flush()).map_err(|error| Failure::file(path, &error))?;
        }
        self.show_progress();
        Ok(())
    }
}

/// A line on a terminal's standard error; hidden elsewhere.
fn progress() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {human_pos} records stored, {per_sec}, {elapsed}");
    ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}

fn show_counts(output: Output, counts: &Counts) -> Result<(), Failure> {
    let seconds = counts.elapsed.as_secs_f64();
    let text = match output {
        Output::Raw => return Ok(()),
        Output::Json => {
            let object = serde_json::json!({
                "read": counts.read,
                "stored": counts.stored,
                "value_bytes": counts.value_bytes,
                "refused": counts.refused,
                "outcome_unknown": counts.unknown,
                "unreachable": counts.unreachable,
                "interrupted": counts.is_interrupted,
                "seconds": seconds,
            });
            format!("{object}\n")
        }
        Output::Table => {
            let mut text = format!(
                "read             {}\nstored           {}\nbytes of values  {}\nseconds          {seconds:.2}\n",
                counts.read, counts.stored, counts.value_bytes
            );
            for (reason, count) in &counts.refused {
                text.push_str(&format!("refused          {count}: {reason}\n"));
            }
            if counts.unknown > 0 {
                text.push_str(&format!(
                    "outcome unknown  {}: sent, and no answer came; import the file again\n",
                    counts.unknown
                ));
            }
            if counts.unreachable > 0 {
                text.push_str(&format!("not sent         {}: no server was reached\n", counts.unreachable));
            }
            if counts.is_interrupted {
                text.push_str("interrupted      what follows was not read\n");
            }
            text
        }
    };
    show::bytes(text.as_bytes()).map_err(|error| Failure::file("standard output".as_ref(), &error))
}
