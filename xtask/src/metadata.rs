//! What cargo knows about the workspace and its dependencies, read once from `cargo metadata`.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{failure::Failure, process, workspace::Workspace};

/// The targets that Corelode is built for. Crates that only other systems use are not looked at.
const TARGETS: [&str; 2] = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"];

/// One package of the dependency graph.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
    /// Its licence expression, if it states one.
    pub(crate) licence: Option<String>,
    /// The registry or repository it comes from; none for a path in this repository.
    pub(crate) source: Option<String>,
    /// Whether it is a member of the workspace.
    pub(crate) is_member: bool,
    /// The names of all it declares as dependencies, of every kind: normal, build and development.
    pub(crate) dependencies: BTreeSet<String>,
}

/// All packages that the workspace is built from on Linux.
pub(crate) fn packages(workspace: &Workspace) -> Result<BTreeSet<Package>, Failure> {
    let mut command = workspace.cargo();
    command.args(["metadata", "--format-version", "1", "--locked", "--all-features"]);
    for target in TARGETS {
        command.args(["--filter-platform", target]);
    }
    let text = process::capture(&mut command)?;
    parse(&text)
}

/// Reads the output of `cargo metadata --format-version 1`.
pub(crate) fn parse(text: &str) -> Result<BTreeSet<Package>, Failure> {
    let unreadable = |reason: String| Failure::Unreadable { what: "the output of `cargo metadata`".into(), reason };
    let root: Value = serde_json::from_str(text).map_err(|error| unreadable(error.to_string()))?;
    let members: BTreeSet<&str> = array(&root, "workspace_members").iter().filter_map(Value::as_str).collect();
    let mut packages = BTreeSet::new();
    for entry in array(&root, "packages") {
        let member_id = field(entry, "id").ok_or_else(|| unreadable("a package without an id".into()))?;
        let name = field(entry, "name").ok_or_else(|| unreadable(format!("{member_id} has no name")))?;
        let version = field(entry, "version").ok_or_else(|| unreadable(format!("{name} has no version")))?;
        packages.insert(Package {
            name: name.to_owned(),
            version: version.to_owned(),
            licence: field(entry, "license").map(str::to_owned),
            source: field(entry, "source").map(str::to_owned),
            is_member: members.contains(member_id),
            dependencies: array(entry, "dependencies")
                .iter()
                .filter_map(|dependency| field(dependency, "name"))
                .map(str::to_owned)
                .collect(),
        });
    }
    if packages.is_empty() {
        return Err(unreadable("it names no package".into()));
    }
    Ok(packages)
}

fn array<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn field<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Value::as_str)
}
