//! One process for each engine and round, so that none inherits another's heap, threads or counters.
//!
//! For each part of a case the parent writes the case as a line of JSON, and gets a line of JSON: `null`, or with the last part the figures; the end of the input ends the worker. While
//! one worker has its turn the others wait, with all their work done.

use std::io::{BufRead, BufReader, Write, stdin, stdout};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::case::{Bench, Case, Figures};
use crate::engine::{EngineName, Result};
use crate::settings::Settings;

/// The first argument of a worker.
pub(crate) const WORKER: &str = "worker";

#[derive(Serialize, Deserialize)]
struct Task {
    engine: EngineName,
    directory: PathBuf,
    settings: Settings,
}

/// The life of a worker.
pub(crate) fn work(task: &str) -> Result<()> {
    let Task { engine, directory, settings } = serde_json::from_str(task)?;
    let mut bench = Bench::new(engine, &directory, &settings)?;
    for line in stdin().lines() {
        let figures = bench.run(serde_json::from_str(&line?)?)?;
        let mut stdout = stdout().lock();
        serde_json::to_writer(&mut stdout, &figures)?;
        writeln!(stdout)?;
        stdout.flush()?;
    }
    Ok(())
}

/// A worker, seen from its parent.
pub(crate) struct Worker {
    pub(crate) engine: EngineName,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts a worker on a new database in `directory`.
    pub(crate) fn start(engine: EngineName, directory: &Path, settings: &Settings) -> Result<Self> {
        let task = Task { engine, directory: directory.to_path_buf(), settings: settings.clone() };
        let mut child = Command::new(std::env::current_exe()?)
            .args([WORKER, &serde_json::to_string(&task)?])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().expect("it is piped");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        Ok(Self { engine, child, input, output })
    }

    /// Lets it carry out the next part of a case, and waits. The last part comes with the figures.
    pub(crate) fn run(&mut self, case: Case) -> Result<Option<Figures>> {
        writeln!(self.input, "{}", serde_json::to_string(&case)?)?;
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            return Err(format!("{} failed in {case}; what it said is above", self.engine).into());
        }
        Ok(serde_json::from_str(&line)?)
    }

    /// Ends it.
    pub(crate) fn end(self) -> Result<()> {
        let Self { engine, mut child, input, output } = self;
        drop((input, output));
        let status = child.wait()?;
        if status.success() { Ok(()) } else { Err(format!("{engine} ended with {status}").into()) }
    }
}
