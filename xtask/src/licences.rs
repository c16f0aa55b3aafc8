//! Every dependency comes from crates.io, and its licence allows what MIT OR Apache-2.0 promises to our users.

use std::{collections::BTreeSet, fs};

use crate::{
    failure::Failure,
    licence_expression,
    metadata::{self, Package},
    workspace::Workspace,
};

/// Licences that a dependency may be used under: permissive ones only.
const ALLOWED: &[&str] = &[
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "ISC",
    "Zlib",
    "0BSD",
    "CC0-1.0",
    "Unlicense",
    "Unicode-3.0",
];

/// What cargo calls crates.io in lock files and metadata, whatever mirror serves it.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Checks licences over the graph that is built on Linux, and sources over the whole lock file.
pub(crate) fn check(workspace: &Workspace) -> Result<(), Failure> {
    let packages = metadata::packages(workspace)?;
    let lock_path = workspace.root.join("Cargo.lock");
    let lock = fs::read_to_string(&lock_path).map_err(Failure::file(lock_path))?;
    let mut findings = licence_findings(&packages);
    findings.extend(source_findings(&lock));
    if findings.is_empty() {
        let count = packages.iter().filter(|package| package.source.is_some()).count();
        println!("{count} dependencies, all from crates.io, all under allowed licences");
        return Ok(());
    }
    Err(Failure::Findings { rule: "dependencies come from crates.io under permissive licences", findings })
}

fn licence_findings(packages: &BTreeSet<Package>) -> Vec<String> {
    let is_allowed = |word: &str| ALLOWED.contains(&word);
    let mut findings = Vec::new();
    for Package { name, version, licence, source, is_member, .. } in packages {
        match licence
            .as_deref()
            .map(|expression| (expression, licence_expression::is_satisfied(expression, &is_allowed)))
        {
            None => findings.push(format!("{name} {version} states no licence")),
            Some((_, Ok(true))) => {}
            Some((expression, Ok(false))) => {
                findings.push(format!("{name} {version} is under {expression}, which is not allowed"));
            }
            Some((expression, Err(reason))) => {
                findings.push(format!("{name} {version} has a licence that does not parse, {expression:?}: {reason}"));
            }
        }
        if source.is_none() && !is_member {
            findings.push(format!("{name} {version} is a path outside the workspace"));
        }
    }
    findings
}

/// Looks at `source = "…"` lines of the lock file, so that crates for other systems are covered too.
fn source_findings(lock: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let mut name = "";
    for line in lock.lines() {
        if let Some(value) = quoted(line, "name") {
            name = value;
        }
        if let Some(source) = quoted(line, "source").filter(|&source| source != CRATES_IO) {
            findings.push(format!("{name} comes from {source}, not from crates.io"));
        }
    }
    findings
}

fn quoted<'a>(line: &'a str, field: &str) -> Option<&'a str> {
    line.strip_prefix(field)?.strip_prefix(" = \"")?.strip_suffix('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dependency(name: &str, licence: Option<&str>) -> Package {
        Package {
            name: name.into(),
            version: "1.0.0".into(),
            licence: licence.map(str::to_owned),
            source: Some(CRATES_IO.into()),
            is_member: false,
            dependencies: BTreeSet::new(),
        }
    }

    #[test]
    fn licences_that_are_not_allowed_are_named() {
        let packages = BTreeSet::from([
            dependency("good", Some("MIT OR Apache-2.0")),
            dependency("copyleft", Some("AGPL-3.0-only")),
            dependency("silent", None),
            dependency("strange", Some("MIT OR")),
        ]);
        assert_eq!(
            licence_findings(&packages),
            [
                "copyleft 1.0.0 is under AGPL-3.0-only, which is not allowed",
                "silent 1.0.0 states no licence",
                "strange 1.0.0 has a licence that does not parse, \"MIT OR\": it ends where a licence was expected",
            ]
        );
    }

    #[test]
    fn a_path_outside_the_workspace_is_named() {
        let outside = Package { source: None, ..dependency("elsewhere", Some("MIT")) };
        assert_eq!(licence_findings(&BTreeSet::from([outside])), ["elsewhere 1.0.0 is a path outside the workspace"]);
    }

    #[test]
    fn a_source_other_than_the_registry_is_named() {
        let lock = format!(
            "[[package]]\nname = \"good\"\nversion = \"1.0.0\"\nsource = \"{CRATES_IO}\"\n\n\
             [[package]]\nname = \"ours\"\nversion = \"0.1.0\"\n\n\
             [[package]]\nname = \"forked\"\nversion = \"1.0.0\"\nsource = \"git+https://example.org/forked#1\"\n"
        );
        assert_eq!(source_findings(&lock), ["forked comes from git+https://example.org/forked#1, not from crates.io"]);
    }
}
