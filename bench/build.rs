//! Tells the program which commit it was built from, for its reports. Outside of a checkout that is not known.

#![allow(clippy::print_stdout, reason = "how a build script speaks to cargo")]

use std::process::Command;

fn main() {
    let git = |words: &[&str]| -> Option<String> {
        let output = Command::new("git").args(words).output().ok().filter(|output| output.status.success())?;
        String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).map(|commit| {
        let is_clean =
            git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|changes| changes.is_empty());
        if is_clean { commit } else { format!("{commit} with changes") }
    });
    println!("cargo:rustc-env=CORELODE_COMMIT={}", commit.unwrap_or_default());
    for file in ["HEAD", "index"] {
        if let Some(path) = git(&["rev-parse", "--git-path", file]) {
            println!("cargo:rerun-if-changed={path}");
        }
    }
}
