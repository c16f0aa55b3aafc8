//! Damage of bytes that were durable, in every kind of file, and versions from the future.

mod harness;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use corelode_engine::env::Environment;
use corelode_engine::env::simulated::{CrashPolicy, Damage, DiskImage, SimulatedEnvironment, SimulationOptions};
use corelode_engine::ids::PartitionId;
use harness::History;
use harness::crashes::{Extent, machine_after_crash, open_and_check};
use harness::damage::{disk_at_rest, files_of, flip_everywhere, names, read_everything};
use harness::load::CORES;
use harness::workload::{Workload, open_options, sentence};

const LOG_BLOCK: u64 = 4096;

#[test]
fn a_flipped_bit_is_named_or_changes_nothing() {
    let (image, history) = disk_at_rest(Workload { turns: 30, ..Workload::default() });
    let stride = if (Extent { stride: 2, first: 0, seeds: 0 }).or_all().stride == 1 { 7 } else { 113 };
    let flips = flip_everywhere(&image, &history, stride).expect("each flip is named, or changes nothing");
    for kind in ["identity", "manifest", "table", "log"] {
        let flips = flips.get(kind).copied().unwrap_or_default();
        #[allow(clippy::print_stdout, reason = "a report reads these lines")]
        {
            println!("CORELODE-FIGURE flips_{kind}_named={}", flips.named);
            println!("CORELODE-FIGURE flips_{kind}_harmless={}", flips.harmless);
        }
        assert!(flips.named > 0, "no flip in a file of kind {kind} was named");
        assert!(kind == "log" || flips.harmless == 0, "every byte of a {kind} counts");
    }
}

#[test]
fn every_byte_of_the_small_files_counts() {
    let (image, history) = disk_at_rest(Workload { turns: 6, ..Workload::default() });
    for path in files_of(&image, "identity").into_iter().chain(files_of(&image, "manifest")) {
        for offset in 0..image.read(&path).expect("it is there").len() as u64 {
            let mut damaged = image.clone();
            damaged.damage(&path, Damage::FlipBit { offset, bit: 5 }).expect("it is there");
            let message = read_everything(&damaged, &history).expect_err("every byte is checked");
            assert!(names(&message, &path), "byte {offset} of {}: {message}", path.display());
        }
    }
}

#[test]
fn a_file_that_was_cut_short_is_named() {
    let (image, history) = disk_at_rest(Workload { turns: 30, ..Workload::default() });
    for kind in ["identity", "manifest", "table"] {
        for path in files_of(&image, kind) {
            let length = image.read(&path).expect("it is there").len() as u64;
            for length in [0, 1, length / 2, length - 1] {
                let mut damaged = image.clone();
                damaged.damage(&path, Damage::Truncate { length }).expect("it is there");
                let message = read_everything(&damaged, &history).expect_err("a cut file is not whole");
                assert!(names(&message, &path), "{} cut to {length}: {message}", path.display());
            }
        }
    }
}

/// A segment that is free may be shorter than others; one that holds records may not.
#[test]
fn a_log_segment_that_was_cut_short_is_named_or_was_free() {
    for image_and_history in [disk_at_rest(Workload { turns: 30, ..Workload::default() }), small_log(false)] {
        let (image, history) = image_and_history;
        let mut named = 0;
        for path in files_of(&image, "log") {
            let whole = image.read(&path).expect("it is there").len() as u64;
            for length in (0..whole).step_by(512).chain([1, whole - 1]) {
                let mut damaged = image.clone();
                damaged.damage(&path, Damage::Truncate { length }).expect("it is there");
                if let Err(message) = read_everything(&damaged, &history) {
                    assert!(names(&message, &path), "{} cut to {length}: {message}", path.display());
                    named += 1;
                }
            }
        }
        assert!(named > 0, "no log has records");
    }
}

/// Three acknowledged writes in one log, a block each; with a marker behind them or without.
fn small_log(is_marked: bool) -> (DiskImage, History) {
    let environment = SimulatedEnvironment::new(SimulationOptions::in_order());
    let history = History::default();
    let ran = environment.run_until(async {
        let mut node = open_and_check(&environment, open_options(1), &history).await?;
        for number in 0..3_u8 {
            node.put(PartitionId(0), &[number], b"value").await.map_err(sentence)?;
        }
        if is_marked { node.mark_logs().await.map_err(sentence) } else { Ok(()) }
    });
    ran.expect("no crash was planned").expect("three writes");
    (environment.crash_image(CrashPolicy::DropUnsynced, 0), history)
}

/// The checkpoint and the ATTACH of each of three streams stand before.
fn block_of_write(number: u64) -> u64 {
    (4 + number) * LOG_BLOCK
}

const SEGMENT: &str = "/data/logs/001/segment-000001.log";

fn with_flip(image: &DiskImage, offset: u64) -> DiskImage {
    let mut damaged = image.clone();
    damaged.damage(SEGMENT, Damage::FlipBit { offset, bit: 3 }).expect("the first segment is there");
    damaged
}

/// PITFALL 27.
#[test]
fn damage_in_the_middle_of_the_log_is_refused_with_file_and_offset() {
    let (image, history) = small_log(false);
    for number in 0..2 {
        for within in [0, 70] {
            let message = read_everything(&with_flip(&image, block_of_write(number) + within), &history);
            let expected = format!("{SEGMENT} is damaged at offset {}: ", block_of_write(number));
            assert!(message.as_ref().is_err_and(|message| message.starts_with(&expected)), "{message:?}");
        }
    }
}

#[test]
fn damage_in_the_last_batch_is_refused_if_a_marker_stands_behind_it() {
    let (image, history) = small_log(true);
    let message = read_everything(&with_flip(&image, block_of_write(2) + 70), &history);
    let expected = format!("{SEGMENT} is damaged at offset {}: ", block_of_write(2));
    assert!(message.as_ref().is_err_and(|message| message.starts_with(&expected)), "{message:?}");
}

/// Without a marker it cannot be told from a write that never completed. What is cut is named.
/// PITFALL 26.
#[test]
fn damage_in_the_last_batch_without_a_marker_is_cut_and_named() {
    let (image, _) = small_log(false);
    let environment = machine_after_crash(&with_flip(&image, block_of_write(2) + 70));
    let opened = environment.run_until(async {
        let mut node =
            harness::Node::open(&environment, Path::new("/data"), open_options(1)).await.map_err(sentence)?;
        let keys: Vec<_> = node.scan(PartitionId(0)).await.map_err(sentence)?.into_keys().collect();
        let tails: Vec<_> =
            node.report.torn_tails.iter().map(|tail| (tail.path.display().to_string(), tail.offset)).collect();
        Ok::<_, String>((keys, tails))
    });
    let (keys, tails) = opened.expect("no crash was planned").expect("the log opens");
    assert_eq!(keys, [[0], [1]]);
    assert_eq!(tails, [(SEGMENT.to_owned(), block_of_write(2))]);
}

/// Removes what `is_lost` says, and opens.
fn after_loss_of(image: &DiskImage, history: &History, is_lost: impl Fn(&Path) -> bool) -> Result<(), String> {
    let environment = machine_after_crash(image);
    let opened = environment.run_until(async {
        for path in image.files().into_iter().filter(|path| is_lost(path)) {
            environment.remove_file(&path).await.expect("it is there");
        }
        open_and_check(&environment, open_options(1), history).await.map(drop)
    });
    opened.expect("no crash was planned")
}

/// Also before the first flush, when nothing but the log knows what was written.
#[test]
fn a_file_that_is_lost_is_noticed_and_nothing_else_is_removed() {
    let (young, young_history) = small_log(true);
    let (old, old_history) = disk_at_rest(Workload { turns: 30, ..Workload::default() });
    for (image, history) in [(&young, &young_history), (&old, &old_history)] {
        for kind in ["log", "identity", "manifest", "table"] {
            if files_of(image, kind).is_empty() {
                continue;
            }
            let lost = after_loss_of(image, history, |path| harness::damage::kind_of(path) == kind);
            assert!(lost.is_err(), "all files of kind {kind} were lost, and nobody noticed");
        }
    }
    let environment = machine_after_crash(&old);
    let opened = environment.run_until(async {
        let manifest = files_of(&old, "manifest").swap_remove(0);
        environment.remove_file(&manifest).await.expect("it is there");
        open_and_check(&environment, open_options(CORES), &old_history).await.map(drop)
    });
    opened.expect("no crash was planned").expect_err("a manifest is missing");
    let left = environment.crash_image(CrashPolicy::KeepUnsynced, 0);
    assert_eq!(files_of(&left, "table"), files_of(&old, "table"), "its tables may still be rescued");
}

/// The segment of each log that was opened last.
fn newest_segments(image: &DiskImage) -> Vec<PathBuf> {
    let mut newest: BTreeMap<PathBuf, (u64, PathBuf)> = BTreeMap::new();
    for path in files_of(image, "log") {
        let bytes = image.read(&path).expect("it is there");
        if bytes.starts_with(b"CLOG") {
            let generation = u64::from_le_bytes(bytes[8..16].try_into().expect("eight bytes"));
            let log = path.parent().expect("a log has a directory").to_path_buf();
            let known = newest.entry(log).or_default();
            *known = known.clone().max((generation, path));
        }
    }
    newest.into_values().map(|(_, path)| path).collect()
}

/// The segment before names it, also where another process wrote that one.
#[test]
fn the_newest_segment_of_a_log_is_missed() {
    let (busy, busy_history) = disk_at_rest(Workload { turns: 30, ..Workload::default() });
    let (young, young_history) = small_log(true);
    let restarted = machine_after_crash(&young);
    let ran = restarted.run_until(async {
        let mut node = open_and_check(&restarted, open_options(1), &young_history).await?;
        node.put(PartitionId(1), b"key", b"value").await.map_err(sentence)
    });
    ran.expect("no crash was planned").expect("another write");
    let restarted = restarted.crash_image(CrashPolicy::DropUnsynced, 0);
    for (image, history, log_count) in [(&busy, &busy_history, usize::from(CORES)), (&restarted, &young_history, 1)] {
        let newest = newest_segments(image);
        assert_eq!(newest.len(), log_count);
        for path in &newest {
            let message = after_loss_of(image, history, |lost| lost == path).expect_err("a segment is missing");
            assert!(message.contains("which was begun behind this one"), "{message}");
            let mut damaged = image.clone();
            damaged.damage(path, Damage::FlipBit { offset: 100, bit: 0 }).expect("it is there");
            let message = read_everything(&damaged, history).expect_err("a checkpoint is damaged");
            assert!(message.contains("damaged"), "{message}");
        }
    }
}

/// Two stores with the same numbers of everything.
#[test]
fn what_another_directory_wrote_is_refused() {
    let (ours, history) = disk_at_rest(Workload { turns: 30, ..Workload::default() });
    let (theirs, _) = disk_at_rest(Workload { turns: 30, seed: 2, ..Workload::default() });
    for kinds in [["log", "log"], ["manifest", "table"]] {
        let mut mixed = ours.clone();
        for path in kinds.into_iter().flat_map(|kind| files_of(&theirs, kind)) {
            mixed.write(&path, &theirs.read(&path).expect("it is there")).expect("its directory is there");
        }
        let message = read_everything(&mixed, &history).expect_err("half of it is another's");
        assert!(message.contains("another directory"), "{kinds:?}: {message}");
    }
}

/// Changes a version field, and the checksum so that it holds.
fn with_version(image: &DiskImage, path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> DiskImage {
    let mut bytes = image.read(path).expect("it is there");
    change(&mut bytes);
    let mut changed = image.clone();
    changed.write(path, &bytes).expect("its directory is there");
    changed
}

fn put_u32(bytes: &mut [u8], offset: usize, value: u32) {
    bytes[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
}

#[test]
fn a_version_from_the_future_is_named_in_every_kind_of_file() {
    let (image, history) = disk_at_rest(Workload { turns: 30, ..Workload::default() });
    let first = |kind: &str| files_of(&image, kind).into_iter().next().expect("there is one");
    let refuse = |path: &Path, change: &dyn Fn(&mut Vec<u8>)| {
        let message = read_everything(&with_version(&image, path, change), &history).expect_err("it is unknown");
        let expected = format!("{} has format version 9", path.display());
        assert!(message.starts_with(&expected), "{message}");
    };
    refuse(&first("identity"), &|bytes| {
        put_u32(bytes, 4, 9);
        let end = bytes.len() - 4;
        let sum = crc32fast::hash(&bytes[..end]);
        put_u32(bytes, end, sum);
    });
    refuse(&first("manifest"), &|bytes| {
        put_u32(bytes, 4, 9);
        let sum = crc32fast::hash(&bytes[..20]);
        put_u32(bytes, 20, sum);
    });
    refuse(&first("table"), &|bytes| {
        let end = bytes.len();
        put_u32(bytes, end - 16, 9);
        put_u32(bytes, end - 12, !9);
    });
    refuse(&first("log"), &|bytes| {
        bytes[62..64].copy_from_slice(&9_u16.to_le_bytes());
        let sum = crc32fast::hash(&bytes[8..64]);
        put_u32(bytes, 4, sum);
    });
}

/// A program of a later version finds, behind the last batch, what this one left in the file's earlier life; and the other way round.
#[test]
fn remains_of_another_version_in_a_reused_segment_are_ignored() {
    let (image, history) = small_log(false);
    let behind = usize::try_from(block_of_write(2)).expect("small");
    let mut bytes = image.read(SEGMENT).expect("it is there");
    // As if the last write had never been made, and an older life showed in its place.
    let mut header = bytes[behind..behind + 64].to_vec();
    header[16..24].copy_from_slice(&[0xa5; 8]);
    header[62..64].copy_from_slice(&9_u16.to_le_bytes());
    let sum = crc32fast::hash(&header[8..]);
    put_u32(&mut header, 4, sum);
    bytes[behind..behind + 64].copy_from_slice(&header);
    let mut changed = image.clone();
    changed.write(SEGMENT, &bytes).expect("its directory is there");
    let message = read_everything(&changed, &history).expect_err("the last write is gone");
    assert!(message.contains("entry 3 was acknowledged, and 2 is the last found"), "{message}");
}
