//! Debian's packages: programs that tests drive, and the package index that tests import as real data.

use std::os::unix::fs::MetadataExt;

use crate::{failure::Failure, process, workspace::Workspace};

/// Packages with programs that tests drive: file systems to cut the power of, networks to break, system calls to watch.
const PACKAGES: &[&str] =
    &["e2fsprogs", "xfsprogs", "mount", "util-linux", "iproute2", "nftables", "strace", "ca-certificates"];

/// A package index with fewer records than this was never fetched; Debian 12 has 63 thousand.
const INDEX_RECORDS_MIN: usize = 10_000;

/// Whether we may install packages.
pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

fn is_debian(workspace: &Workspace) -> bool {
    process::succeeds(workspace.in_root("dpkg-query").arg("--version"))
        && process::succeeds(workspace.in_root("apt-get").arg("--version"))
}

/// Installs the packages that tests need, or says what to install by hand. What stays missing is no failure here: the
/// tests that need it say so themselves.
pub(crate) fn install_packages(workspace: &Workspace) -> Result<(), Failure> {
    if !is_debian(workspace) {
        println!("system packages: this is not Debian; tests need the programs of {}", PACKAGES.join(", "));
        return Ok(());
    }
    let missing: Vec<&str> = PACKAGES.iter().copied().filter(|package| !is_installed(workspace, package)).collect();
    if missing.is_empty() {
        println!("system packages: all {} are installed", PACKAGES.len());
        return Ok(());
    }
    if !is_root() {
        println!(
            "system packages: not root, so tests that need {} will be skipped; by hand: sudo apt-get install {}",
            missing.join(", "),
            missing.join(" ")
        );
        return Ok(());
    }
    install(workspace, &missing)
}

/// Fetches Debian's package index if it is not there: `apt-cache dumpavail` is the real data of a test.
pub(crate) fn fetch_index(workspace: &Workspace) -> Result<(), Failure> {
    if !is_debian(workspace) {
        return Ok(());
    }
    let record_count = index_record_count(workspace)?;
    if record_count >= INDEX_RECORDS_MIN {
        println!("package index: {record_count} records");
    } else if is_root() {
        println!("package index: {record_count} records; fetching it with apt-get update");
        update(workspace)?;
    } else {
        println!("package index: {record_count} records and not root; by hand: sudo apt-get update");
    }
    Ok(())
}

/// Installs packages as root, after an update.
pub(crate) fn install(workspace: &Workspace, packages: &[&str]) -> Result<(), Failure> {
    println!("system packages: installing {}", packages.join(", "));
    update(workspace)?;
    process::run(
        workspace
            .in_root("apt-get")
            .args(["install", "--yes", "--no-install-recommends"])
            .args(packages)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
}

/// Whether packages can be installed by us: Debian, and root.
pub(crate) fn can_install(workspace: &Workspace) -> bool {
    is_debian(workspace) && is_root()
}

fn update(workspace: &Workspace) -> Result<(), Failure> {
    process::run(workspace.in_root("apt-get").args(["--quiet", "update"]))
}

fn is_installed(workspace: &Workspace, package: &str) -> bool {
    let mut query = workspace.in_root("dpkg-query");
    query.args(["--show", "--showformat", "${db:Status-Status}", package]).stderr(std::process::Stdio::null());
    query.output().is_ok_and(|output| output.status.success() && output.stdout == b"installed")
}

fn index_record_count(workspace: &Workspace) -> Result<usize, Failure> {
    let index = process::capture_bytes(workspace.in_root("apt-cache").arg("dumpavail"))?;
    Ok(index.split(|&byte| byte == b'\n').filter(|line| line.starts_with(b"Package: ")).count())
}
