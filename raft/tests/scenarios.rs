//! Scenarios as transcripts that one can read: `testdata/*.txt`, each about one thing. Lines that begin with `>` are commands, those with `#` are for
//! the reader, and what follows a command is what happened. `UPDATE_GOLDENS=1` writes them anew; do that only if you understand what changed.
//! The commands are described in `cluster/scene.rs`; all that must hold is checked besides.

use std::fs;
use std::path::{Path, PathBuf};

mod cluster;

use cluster::scene::Scene;

fn transcripts() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let files = fs::read_dir(&directory).expect("the transcripts are there");
    let mut paths: Vec<_> = files.map(|file| file.expect("a file has a name").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    paths
}

/// The transcript with what happens now in place of what happened then.
fn replay(transcript: &str) -> String {
    let mut scene = Scene::default();
    let mut replayed = String::new();
    for line in transcript.lines() {
        if let Some(command) = line.strip_prefix("> ") {
            replayed += &format!("{line}\n{}", scene.command(command));
        } else if line.starts_with('#') || line.is_empty() {
            replayed += &format!("{line}\n");
        }
        if line == "# Anew." {
            scene = Scene::default();
        }
    }
    replayed
}

#[test]
fn the_transcripts_say_what_happens() {
    let is_update = std::env::var_os("UPDATE_GOLDENS").is_some();
    let mut changed = Vec::new();
    for path in transcripts() {
        let golden = fs::read_to_string(&path).unwrap();
        assert!(golden.starts_with("# "), "{} begins with a sentence on what it shows", path.display());
        let replayed = replay(&golden);
        if replayed == golden {
            continue;
        }
        if is_update {
            fs::write(&path, replayed).unwrap();
        } else {
            let (line, (then, now)) = golden
                .lines()
                .zip(replayed.lines())
                .enumerate()
                .find(|(_, (then, now))| then != now)
                .unwrap_or((0, ("(fewer or more lines)", "")));
            changed.push(format!("{}:{}\n  then: {then}\n  now:  {now}", path.display(), line + 1));
        }
    }
    assert!(changed.is_empty(), "set UPDATE_GOLDENS=1 if you understand these:\n{}", changed.join("\n"));
}
