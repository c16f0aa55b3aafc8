//! What a test needs from the machine, and what happens where it is missing.
//!
//! A test begins by asking, and leaves if it must:
//!
//! ```
//! use corelode_tests::requirements::{self, Requirement};
//!
//! # fn test() {
//! if !requirements::are_met(&[Requirement::Root, Requirement::Program("mkfs.xfs")]) {
//!     return;
//! }
//! # }
//! ```
//!
//! For a developer that skips the test, in plain sight: the reason goes to standard error and to the file that
//! `CORELODE_SKIP_REPORT` names, which `cargo xtask ci` repeats at its end. Where nothing may be skipped
//! (`CORELODE_CI=1` or `CI=true`) the test fails instead. By convention a test that needs root ends its name with
//! `as_root`; nextest then shows its output also when it passes.

use std::{
    env, fmt,
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
    thread,
};

/// A package index with fewer records was never fetched; Debian 12 has 63 thousand.
const PACKAGE_INDEX_RECORDS_MIN: usize = 10_000;

/// One thing that a test needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// The test runs as root: it mounts, makes network namespaces, or changes limits.
    Root,
    /// A program of this name, on the path or where Debian keeps those of root. `cargo xtask setup` installs them.
    Program(&'static str),
    /// A file or device, such as `/dev/loop-control`.
    File(&'static str),
    /// Debian's package index, as `apt-cache dumpavail` prints it.
    PackageIndex,
}

impl fmt::Display for Requirement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => write!(formatter, "needs root"),
            Self::Program(name) => write!(formatter, "needs the program {name} (see `cargo xtask setup`)"),
            Self::File(path) => write!(formatter, "needs {path}"),
            Self::PackageIndex => write!(formatter, "needs Debian's package index (run `apt-get update`)"),
        }
    }
}

/// Whether everything that the calling test needs is here. If not, the test must return at once; the reason has been
/// told.
///
/// # Panics
///
/// Where nothing may be skipped, if something is missing.
#[must_use = "a test that lacks what it needs must return"]
pub fn are_met(requirements: &[Requirement]) -> bool {
    let missing: Vec<String> =
        requirements.iter().filter(|requirement| !requirement.is_met()).map(Requirement::to_string).collect();
    if missing.is_empty() {
        return true;
    }
    let current = thread::current();
    let reason = format!("{}: {}", current.name().unwrap_or("a test"), missing.join(", "));
    assert!(!is_skipping_forbidden(), "nothing may be skipped here, but {reason}");
    eprintln!("skipped: {reason}");
    if let Some(report) = env::var_os("CORELODE_SKIP_REPORT") {
        let written = OpenOptions::new().create(true).append(true).open(&report).and_then(|mut file| {
            // One call, so that the lines of tests that run side by side do not mix.
            file.write_all(format!("{reason}\n").as_bytes())
        });
        written.unwrap_or_else(|error| panic!("CORELODE_SKIP_REPORT {}: {error}", Path::new(&report).display()));
    }
    false
}

/// The program's file, on the path or where Debian keeps the programs of root, which an ordinary user's path leaves out.
#[must_use]
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| fs::metadata(file).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0))
}

impl Requirement {
    fn is_met(&self) -> bool {
        match self {
            Self::Root => fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0),
            Self::Program(name) => find_program(name).is_some(),
            Self::File(path) => Path::new(path).exists(),
            Self::PackageIndex => Command::new("apt-cache").arg("dumpavail").output().is_ok_and(|index| {
                let lines = index.stdout.split(|&byte| byte == b'\n');
                lines.filter(|line| line.starts_with(b"Package: ")).count() >= PACKAGE_INDEX_RECORDS_MIN
            }),
        }
    }
}

fn is_skipping_forbidden() -> bool {
    let is = |name: &str, wanted: &str| env::var(name).is_ok_and(|value| value == wanted);
    is("CORELODE_CI", "1") || is("CI", "true")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_files_and_root_are_looked_for() {
        assert!(are_met(&[Requirement::Program("sh"), Requirement::File("/proc/self")]));
        assert!(!Requirement::Program("no-such-program-of-corelode").is_met());
        assert!(!Requirement::File("/no/such/file").is_met());
        let uid = Command::new("id").arg("-u").output().unwrap().stdout;
        assert_eq!(Requirement::Root.is_met(), uid == b"0\n");
    }

    /// Runs this very test again as a process of its own, with an environment of its own.
    #[test]
    fn a_missing_requirement_skips_or_fails_as_the_environment_says() {
        const CHILD: &str = "CORELODE_TEST_REQUIREMENTS_CHILD";
        if env::var_os(CHILD).is_some() {
            assert!(!are_met(&[Requirement::File("/no/such/file")]));
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let report = folder.path().join("skipped.txt");
        let run = |forbidden: Option<(&str, &str)>| {
            let mut command = Command::new(env::current_exe().unwrap());
            command
                .args(["--exact", "requirements::tests::a_missing_requirement_skips_or_fails_as_the_environment_says"])
                .env_remove("CI")
                .env_remove("CORELODE_CI")
                .env("CORELODE_SKIP_REPORT", &report)
                .env(CHILD, "1")
                .envs(forbidden);
            command.output().unwrap().status.success()
        };
        assert!(run(None), "a developer's test is skipped");
        let told = fs::read_to_string(&report).unwrap();
        assert!(told.ends_with("as_the_environment_says: needs /no/such/file\n"), "{told}");
        assert!(!run(Some(("CI", "true"))), "nothing is skipped in CI");
        assert!(!run(Some(("CORELODE_CI", "1"))), "nothing is skipped in .ci/run");
        assert_eq!(fs::read_to_string(&report).unwrap(), told, "a failure is no skip");
    }
}
