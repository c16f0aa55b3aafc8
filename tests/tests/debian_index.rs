//! The script that turns Debian's package index into records, on a small index with every trap and on the whole one.

#![allow(clippy::unwrap_used, reason = "a test's helpers may fail the test")]

use std::{
    collections::BTreeMap,
    io::Write,
    path::Path,
    process::{Command, Stdio},
    thread,
};

use corelode_tests::requirements::{self, Requirement};

/// Runs the script; returns what it wrote to standard output and to standard error.
fn convert(index: &[u8]) -> (String, String) {
    let mut child = Command::new("sh")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("data/dumpavail_to_ndjson.sh"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    // Fed from a thread of its own: the script writes while it reads, and a pipe holds little.
    let output = thread::scope(|scope| {
        scope.spawn(move || input.write_all(index).unwrap());
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "{output:?}");
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn quotes_backslashes_tabs_and_foreign_letters_survive() {
    let index = "Package: one\nDescription: a \"quoted\" \\ word & more\n\tindented\n\n\n\
                 Package: grün\nControl: \u{1}\u{1b}\n\nPackage: one\nAgain: yes\n\nNo-Name: here\n\nPackage: last\n";
    let (records, complaint) = convert(index.as_bytes());
    assert_eq!(
        records,
        concat!(
            r#"{"key":"one","value":"Package: one\nDescription: a \"quoted\" \\ word & more\n\tindented\n"}"#,
            "\n",
            r#"{"key":"grün","value":"Package: grün\nControl: \u0001\u001b\n"}"#,
            "\n",
            r#"{"key":"last","value":"Package: last\n"}"#,
            "\n",
        )
    );
    assert_eq!(complaint, "1 stanzas left out: they name no package\n1 stanzas left out: their names came before\n");
}

#[test]
fn the_whole_index_comes_through_stanza_for_stanza() {
    if !requirements::are_met(&[Requirement::PackageIndex]) {
        return;
    }
    let index = Command::new("apt-cache").arg("dumpavail").output().unwrap().stdout;
    let mut stanzas: BTreeMap<String, String> = BTreeMap::new();
    for stanza in String::from_utf8(index.clone()).unwrap().split("\n\n") {
        let stanza = stanza.trim_matches('\n');
        if let Some(name) = stanza.lines().find_map(|line| line.strip_prefix("Package: ")) {
            stanzas.entry(name.to_owned()).or_insert_with(|| format!("{stanza}\n"));
        }
    }

    let (text, _) = convert(&index);
    let mut records = BTreeMap::new();
    for line in text.lines() {
        let record: BTreeMap<String, String> = serde_json::from_str(line).unwrap();
        assert!(record.keys().eq(["key", "value"]), "{line}");
        let replaced = records.insert(record["key"].clone(), record["value"].clone());
        assert_eq!(replaced, None, "{} comes twice", record["key"]);
    }
    assert_eq!(records.len(), stanzas.len());
    assert!(records == stanzas, "a stanza was changed on its way");
}
