//! The power goes under load, again and again: the file system is shut down beneath the server, unmounted and mounted again.
//!
//! What was not synced is gone then. Nothing acknowledged may be, nothing may be there in part, and every start must succeed without
//! help. Writes are synced by default; that is all they rely on.

#![allow(clippy::print_stdout, reason = "figures go to standard output")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use corelode_tests::fault_round::FaultRounds;
use corelode_tests::load::{Load, Random};
use corelode_tests::requirements::{self, Requirement};
use corelode_tests::server::{Server, ServerOptions};

const CORES: u16 = 2;
const PARTITIONS: u16 = 4;
const LOAD: Load = Load { keys: 600, batches: 120, depth: 32, deletion_every: 12 };

/// How long a file system may stay busy after its last process has ended.
const UNMOUNT_PATIENCE: Duration = Duration::from_secs(30);

/// A file system in a file, mounted through a loop device.
struct Disk {
    image: PathBuf,
    mount_point: PathBuf,
}

impl Disk {
    fn make(scratch: &Path, kind: &str) -> Self {
        let disk = Self { image: scratch.join("image"), mount_point: scratch.join("mount") };
        fs::create_dir(&disk.mount_point).expect("a mount point");
        let image = fs::File::create(&disk.image).expect("an image");
        image.set_len(768 * 1024 * 1024).expect("a sparse image");
        run(Command::new(format!("mkfs.{kind}")).arg("-q").arg(&disk.image));
        disk.mount();
        disk
    }

    fn mount(&self) {
        run(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.mount_point));
    }

    /// A process that was killed holds its files for a moment longer, while its ring is taken down.
    fn unmount(&self) {
        let started = Instant::now();
        loop {
            let output = Command::new("umount").arg(&self.mount_point).output().expect("umount exists");
            if output.status.success() {
                return;
            }
            let complaint = String::from_utf8_lossy(&output.stderr);
            assert!(started.elapsed() < UNMOUNT_PATIENCE, "umount: {complaint}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn cut_power(&self) {
        run(Command::new("xfs_io").args(["-x", "-c", "shutdown"]).arg(&self.mount_point));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A failed test leaves nothing mounted; after a passed one there is nothing to do.
        let _ = Command::new("umount").arg("-l").arg(&self.mount_point).output();
    }
}

fn run(command: &mut Command) {
    let output = command.output().expect("the program was asked for");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn cuts_lose_nothing(kind: &str, cuts: u64) {
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let disk = Disk::make(scratch.path(), kind);
    let options = ServerOptions {
        data_directory: disk.mount_point.join("data"),
        cores: CORES,
        partitions: PARTITIONS,
        is_tiny: true,
        is_without_ring: false,
    };
    let log = scratch.path().join("log");
    let mut rounds = FaultRounds::new(&options, LOAD);
    for cut in 0..cuts {
        rounds.run(cut, Server::start_logging_to(&options, &log), |server| {
            thread::sleep(Duration::from_millis(30 + Random::new(cut).below(250)));
            disk.cut_power();
            server.end();
        });
        disk.unmount();
        disk.mount();
    }
    let server = Server::start_logging_to(&options, &log);
    rounds.check(&server);
    server.terminate();
    disk.unmount();
    let acknowledged = rounds.writes_acknowledged();
    println!("CORELODE-FIGURE power_cuts_{kind}={cuts}");
    println!("CORELODE-FIGURE power_cuts_{kind}_writes_acknowledged={acknowledged}");
    println!("CORELODE-FIGURE power_cuts_{kind}_batches_acknowledged={}", rounds.batches_acknowledged());
    assert!(acknowledged > cuts * 10, "the load was no load: {acknowledged} writes");
}

fn cuts() -> u64 {
    std::env::var("CORELODE_TEST_POWER_CUTS").ok().and_then(|text| text.parse().ok()).unwrap_or(40)
}

#[test]
fn nothing_acknowledged_is_lost_on_ext4_as_root() {
    if requirements::are_met(&[Requirement::Root, Requirement::Program("mkfs.ext4"), Requirement::Program("xfs_io")]) {
        cuts_lose_nothing("ext4", cuts() / 2);
    }
}

#[test]
fn nothing_acknowledged_is_lost_on_xfs_as_root() {
    if requirements::are_met(&[Requirement::Root, Requirement::Program("mkfs.xfs"), Requirement::Program("xfs_io")]) {
        cuts_lose_nothing("xfs", cuts() - cuts() / 2);
    }
}
