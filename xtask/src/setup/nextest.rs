//! nextest, the test runner: the one that is installed if it is new enough, else a pinned one under `target/tools/`.

use std::{fs, path::PathBuf, process::Command};

use crate::{failure::Failure, process, workspace::Workspace};

/// The version we install: the last that builds with the workspace's `rust-version`. A newer one will do.
const VERSION: [u32; 3] = [0, 9, 114];

/// A `cargo nextest` command in the root of the repository.
pub(crate) fn command(workspace: &Workspace) -> Command {
    let own = own_root(workspace).join("bin").join("cargo-nextest");
    let mut command = if own.exists() { workspace.in_root(own) } else { workspace.cargo() };
    command.arg("nextest");
    command
}

/// Installs it unless a version that will do is there.
pub(crate) fn install(workspace: &Workspace) -> Result<(), Failure> {
    let wanted = VERSION.map(|number| number.to_string()).join(".");
    if let Some(found) = installed_version(workspace)
        && found >= VERSION
    {
        println!("nextest: {} is in place", found.map(|number| number.to_string()).join("."));
        return Ok(());
    }
    println!("nextest: building {wanted}, which takes some minutes");
    let build = workspace.tools().join("nextest-build");
    // Unoptimised: it builds in half the time, and a test runner only waits.
    process::run(
        workspace
            .cargo()
            .args(["install", "cargo-nextest", "--locked", "--debug", "--version", &wanted])
            .args(["--no-default-features", "--features", "default-no-update"])
            .arg("--root")
            .arg(own_root(workspace))
            .env("CARGO_TARGET_DIR", &build)
            .env("CARGO_PROFILE_DEV_DEBUG", "false"),
    )?;
    fs::remove_dir_all(&build).map_err(Failure::file(build))
}

fn own_root(workspace: &Workspace) -> PathBuf {
    workspace.tools().join("nextest")
}

/// The version that [`command`] would run.
fn installed_version(workspace: &Workspace) -> Option<[u32; 3]> {
    let output = command(workspace).arg("--version").output().ok()?;
    read_version(&String::from_utf8_lossy(&output.stdout))
}

/// Reads `cargo-nextest 0.9.114 (…)`.
fn read_version(text: &str) -> Option<[u32; 3]> {
    let version = text.strip_prefix("cargo-nextest ")?.split_whitespace().next()?;
    let mut numbers = version.split('.').map(|number| number.parse().ok());
    Some([numbers.next()??, numbers.next()??, numbers.next()??])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_compared_by_number() {
        assert_eq!(read_version("cargo-nextest 0.9.143 (60fa45f63 2026-08-04)\nrelease: 0.9.143"), Some([0, 9, 143]));
        assert_eq!(read_version("error: no such command: `nextest`"), None);
        assert!([0, 9, 143] >= VERSION && [0, 9, 98] < VERSION);
    }
}
