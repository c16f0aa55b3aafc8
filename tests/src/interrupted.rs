//! What a killed server was doing, by what it left behind.
//!
//! Each finding rests on a trace on the disk that only work cut short leaves: a table of a job that had begun and not ended, a manifest
//! under its temporary name, a segment whose newest life is nothing but its checkpoint. Whose a table was, the log says.

use std::fs;
use std::path::Path;

/// Work of a server that a kill may land in.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Interrupted {
    /// A memtable was being written to a table.
    pub flush: bool,
    /// Tables were being merged.
    pub compaction: bool,
    /// A manifest was being written, and was not in its place yet.
    pub manifest: bool,
}

impl Interrupted {
    /// What a kill landed in: `log` is what the killed server had logged, `data` its data directory, not opened since.
    ///
    /// # Panics
    /// If the directory is none of a server's.
    #[must_use]
    pub fn find(data: &Path, log: &str) -> Self {
        let partitions = data.join("partitions");
        let has_table = |job: &Job<'_>| {
            let directory = partitions.join(format!("{:05}", job.partition));
            job.tables.clone().any(|table| directory.join(format!("{table:010}.table")).exists())
        };
        let is_cut_short = |kind: &str| jobs_under_way(log).any(|job| job.kind == kind && has_table(&job));
        let mut directories = fs::read_dir(&partitions).expect("a data directory has partitions");
        Self {
            flush: is_cut_short("flush"),
            compaction: is_cut_short("compaction"),
            manifest: directories.any(|entry| entry.expect("readable").path().join("MANIFEST.tmp").exists()),
        }
    }
}

/// Whether a start found that the server before had been recycling a segment; `log` is what the started server has logged.
///
/// # Panics
/// If the start does not say so or otherwise.
#[must_use]
pub fn found_recycling(log: &str) -> bool {
    field(log, "recyclings_interrupted").expect("a start says what it found").parse() != Ok(0)
}

/// A job that writes tables.
struct Job<'a> {
    kind: &'a str,
    partition: u64,
    /// The numbers that its tables may have.
    tables: std::ops::Range<u64>,
}

/// The jobs that the log says have begun, and does not say have ended.
fn jobs_under_way(log: &str) -> impl Iterator<Item = Job<'_>> {
    let fields_after = |marker: &'static str| log.lines().filter_map(move |line| Some(line.split_once(marker)?.1));
    fields_after(" job begins ").filter(move |fields| !fields_after(" job ended ").any(|ended| ended == *fields)).map(
        |fields| {
            let number = |name| field(fields, name).and_then(|text| text.parse::<u64>().ok()).expect("a number");
            let first = number("table_id_first");
            Job {
                kind: field(fields, "kind").expect("a job has a kind").trim_matches('"'),
                partition: number("partition"),
                tables: first..first + number("table_count_max"),
            }
        },
    )
}

/// The value of the first field of that name in a log.
fn field<'a>(log: &'a str, name: &str) -> Option<&'a str> {
    log.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = r#"
2026-01-01T00:00:00Z  INFO opened the data directory path=/d orphans_removed=2 recyclings_interrupted=1 streams_moved=0
2026-01-01T00:00:00Z DEBUG job begins kind="flush" partition=3 table_id_first=7 table_count_max=1
2026-01-01T00:00:00Z DEBUG job begins kind="compaction" partition=3 table_id_first=8 table_count_max=4
2026-01-01T00:00:00Z DEBUG job ended kind="flush" partition=3 table_id_first=7 table_count_max=1
2026-01-01T00:00:00Z DEBUG job begins kind="flush" partition=0 table_id_first=7 table_count_max=1
"#;

    fn data_with(files: &[&str]) -> tempfile::TempDir {
        let data = tempfile::tempdir().unwrap();
        for file in files {
            let path = data.path().join("partitions").join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        data
    }

    #[test]
    fn a_table_belongs_to_the_job_that_had_its_number_and_had_not_ended() {
        let find = |file| Interrupted::find(data_with(&[file]).path(), LOG);
        assert_eq!(find("00000/0000000007.table"), Interrupted { flush: true, ..Interrupted::default() });
        assert_eq!(find("00003/0000000011.table"), Interrupted { compaction: true, ..Interrupted::default() });
        assert_eq!(find("00003/0000000007.table"), Interrupted::default(), "that flush had ended");
        assert_eq!(find("00003/0000000012.table"), Interrupted::default(), "a number behind the compaction's");
    }

    #[test]
    fn a_manifest_under_its_temporary_name_was_being_written() {
        let interrupted = Interrupted::find(data_with(&["00001/MANIFEST", "00002/MANIFEST.tmp"]).path(), "");
        assert_eq!(interrupted, Interrupted { manifest: true, ..Interrupted::default() });
    }

    #[test]
    fn a_start_says_whether_a_segment_was_being_recycled() {
        assert!(found_recycling(LOG));
        assert!(!found_recycling("opened the data directory recyclings_interrupted=0 streams_moved=0"));
    }
}
