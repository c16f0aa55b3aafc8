//! Where results go.

use std::fs;
use std::path::{Path, PathBuf};

use corelode_bench::report::machine::{this_build, this_machine};
use corelode_bench::report::model::{Build, Machine};
use serde::Serialize;

use crate::Common;

/// A result with what a reader must know to believe it.
#[derive(Serialize)]
struct Document<'a, R> {
    scenario: &'a str,
    machine: Machine,
    build: Build,
    /// Processes that were ready to run, on average over the last minute: how busy the machine was, with what is measured here.
    load_average: String,
    result: &'a R,
}

/// Writes `SCENARIO.json` and `SCENARIO.txt`, and shows the text.
pub(crate) fn write<R: Serialize>(common: &Common, scenario: &str, result: &R, text: &str) -> Result<(), String> {
    let load_average = fs::read_to_string("/proc/loadavg").unwrap_or_default().trim().to_owned();
    let document = Document { scenario, machine: this_machine(), build: this_build(), load_average, result };
    let json = serde_json::to_string_pretty(&document).expect("text and numbers");
    write_file(common, &format!("{scenario}.json"), &(json + "\n"))?;
    write_file(common, &format!("{scenario}.txt"), text)?;
    eprint!("{text}");
    Ok(())
}

/// Writes a file beside them.
pub(crate) fn write_file(common: &Common, name: &str, text: &str) -> Result<(), String> {
    let path = common.out.join(name);
    let fail = |error: std::io::Error| format!("{}: {error}", path.display());
    fs::create_dir_all(&common.out).map_err(fail)?;
    fs::write(&path, text).map_err(fail)?;
    eprintln!("written: {}", path.display());
    Ok(())
}

/// The directory of the nodes, which is removed with this if nobody chose it.
pub(crate) struct Place {
    path: PathBuf,
    _temporary: Option<tempfile::TempDir>,
}

impl Place {
    pub(crate) fn find(common: &Common) -> Result<Self, String> {
        if let Some(path) = &common.data {
            let fail = |error: std::io::Error| format!("{}: {error}", path.display());
            fs::create_dir_all(path).map_err(fail)?;
            if fs::read_dir(path).map_err(fail)?.next().is_some() {
                return Err(format!("{} is not empty: name a directory that is", path.display()));
            }
            return Ok(Self { path: path.clone(), _temporary: None });
        }
        let temporary = tempfile::tempdir().map_err(|error| format!("no temporary directory: {error}"))?;
        Ok(Self { path: temporary.path().to_path_buf(), _temporary: Some(temporary) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Milliseconds as text, or a dash.
pub(crate) fn ms(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{:.1}", seconds * 1e3))
}
