//! The bytes of every kind of frame, committed. A difference here is a difference that deployed clients and servers meet:
//! `UPDATE_GOLDENS=1 cargo test -p corelode-net` rewrites the file, only if you understand what changed.

// A test fails by panicking, in its helpers too.
#![allow(clippy::unwrap_used)]

mod common;

use std::fmt::Write as _;
use std::path::Path;

use common::{samples, with_frame};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// A name, the header, and the body 32 bytes a line.
fn render(name: &str, frame: &[u8]) -> String {
    let mut text = format!("{name}\n");
    for line in frame.chunks(32) {
        writeln!(text, "  {}", hex(line)).unwrap();
    }
    text
}

fn parse(text: &str) -> Vec<(String, Vec<u8>)> {
    let mut frames: Vec<(String, Vec<u8>)> = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("  ") {
            None => frames.push((line.to_owned(), Vec::new())),
            Some(digits) => {
                let bytes = (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap());
                frames.last_mut().expect("a name before the bytes").1.extend(bytes);
            }
        }
    }
    frames
}

#[test]
fn frames_are_those_of_the_first_version() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/frames_version_1.txt");
    let found: String = samples().iter().map(|(name, frame)| render(name, frame)).collect();
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert_eq!(found, expected, "the wire changed");
}

#[test]
fn goldens_are_read_by_the_decoder_they_belong_to() {
    let expected =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/frames_version_1.txt"))
            .unwrap();
    for (name, bytes) in parse(&expected) {
        let accepted = with_frame(&bytes, common::decode_everything);
        // These have no body, or a body that only the next state of a handshake reads.
        let has_no_decoder = name.starts_with("PING")
            || name == "SCAN_RELEASE reply"
            || name == "TOPOLOGY"
            || name == "STATUS"
            || name.starts_with("AUTH");
        assert!(accepted >= 1 || has_no_decoder, "{name}: no decoder accepts it");
    }
}
