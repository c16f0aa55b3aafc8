//! Dependencies between our own crates run one way. This is the rule, in one table.

use std::collections::BTreeSet;

use crate::{
    failure::Failure,
    metadata::{self, Package},
    workspace::Workspace,
};

/// Which crates of the workspace a crate may name, as a dependency of any kind. A crate may always name itself: that is
/// how its own tests switch on its features. A member that is not listed here is a failure.
const MAY_SEE: &[(&str, &[&str])] = &[
    ("corelode-raft", &[]),
    ("corelode-engine", &[]),
    ("corelode-net", &[]),
    ("corelode-server", &["corelode-raft", "corelode-engine", "corelode-net"]),
    ("corelode-client", &["corelode-net"]),
    ("corelode-bench", &["corelode-client", "corelode-net"]),
    ("corelode", &["corelode-server", "corelode-client", "corelode-bench"]),
    (
        "corelode-tests",
        &[
            "corelode-raft",
            "corelode-engine",
            "corelode-net",
            "corelode-server",
            "corelode-client",
            "corelode-bench",
            "corelode-linearizability",
            "corelode",
        ],
    ),
    ("corelode-linearizability", &[]),
    ("corelode-bench-cluster", &["corelode-bench", "corelode-client", "corelode-net", "corelode-tests"]),
    (
        "corelode-simulator",
        &["corelode-raft", "corelode-engine", "corelode-net", "corelode-server", "corelode-linearizability"],
    ),
    ("xtask", &[]),
];

/// Checks the workspace against the rule.
pub(crate) fn check(workspace: &Workspace) -> Result<(), Failure> {
    let packages = metadata::packages(workspace)?;
    let findings = findings(&packages);
    if findings.is_empty() {
        let count = packages.iter().filter(|package| package.is_member).count();
        println!("{count} crates of the workspace see only what they may");
        return Ok(());
    }
    Err(Failure::Findings { rule: "dependencies between the crates of the workspace run one way", findings })
}

/// Every breach of the rule, as a sentence.
fn findings(packages: &BTreeSet<Package>) -> Vec<String> {
    let members: BTreeSet<&str> =
        packages.iter().filter(|package| package.is_member).map(|package| package.name.as_str()).collect();
    let mut findings = Vec::new();
    for package in packages.iter().filter(|package| package.is_member) {
        let Some((_, allowed)) = MAY_SEE.iter().find(|(name, _)| *name == package.name) else {
            findings.push(format!("{} is not in the table: say there what it may see", package.name));
            continue;
        };
        for dependency in &package.dependencies {
            let is_own = members.contains(dependency.as_str());
            if is_own && *dependency != package.name && !allowed.contains(&dependency.as_str()) {
                findings.push(format!("{} depends on {dependency}, which it must not see", package.name));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, dependencies: &[&str]) -> Package {
        Package {
            name: name.into(),
            version: "0.1.0".into(),
            licence: Some("MIT".into()),
            source: None,
            is_member: true,
            dependencies: dependencies.iter().map(|&name| name.into()).collect(),
        }
    }

    #[test]
    fn the_house_as_designed_passes() {
        let packages = BTreeSet::from([
            member("corelode-engine", &["crc32fast", "corelode-engine"]),
            member("corelode-net", &["flatbuffers"]),
            member("corelode-server", &["corelode-engine", "corelode-net", "monoio"]),
        ]);
        assert_eq!(findings(&packages), Vec::<String>::new());
    }

    #[test]
    fn an_edge_against_the_direction_is_named() {
        let packages =
            BTreeSet::from([member("corelode-engine", &["corelode-net"]), member("corelode-net", &["flatbuffers"])]);
        assert_eq!(findings(&packages), ["corelode-engine depends on corelode-net, which it must not see"]);
    }

    #[test]
    fn a_crate_nobody_wrote_a_rule_for_is_named() {
        let packages = BTreeSet::from([member("corelode-extra", &[])]);
        assert_eq!(findings(&packages), ["corelode-extra is not in the table: say there what it may see"]);
    }
}
