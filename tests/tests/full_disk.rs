//! A disk that fills up: writes are refused, reads go on, the server can be stopped and started, and nothing acknowledged is lost.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use corelode_client::{Client, Options};
use corelode_tests::requirements::{self, Requirement};
use corelode_tests::server::{Server, ServerOptions};

/// A file system in memory, of a size that can be changed.
struct SmallDisk {
    mount_point: PathBuf,
}

impl SmallDisk {
    fn mount(mount_point: PathBuf, size: &str) -> Self {
        std::fs::create_dir(&mount_point).expect("a mount point");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(&mount_point));
        Self { mount_point }
    }

    fn resize(&self, size: &str) {
        run(Command::new("mount").args(["-o", &format!("remount,size={size}")]).arg(&self.mount_point));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.mount_point).output();
    }
}

fn run(command: &mut Command) {
    let output = command.output().expect("the program was asked for");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn start(mount_point: &Path, log: &Path) -> (Server, Client) {
    let options = ServerOptions {
        data_directory: mount_point.join("data"),
        cores: 2,
        partitions: 8,
        is_tiny: true,
        is_without_ring: false,
    };
    let server = Server::start_logging_to(&options, log);
    let options = Options::from_addresses(vec![server.address().to_string()]);
    (server, Client::new(options.with_timeout(Duration::from_secs(2))))
}

fn value(number: usize) -> Vec<u8> {
    // Bytes that do not compress.
    let bytes =
        (0..500_u64).flat_map(|at| (at + number as u64 * 1000).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    bytes.collect()
}

#[test]
fn a_full_disk_costs_nothing_that_was_acknowledged_as_root() {
    if !requirements::are_met(&[Requirement::Root, Requirement::Program("mount")]) {
        return;
    }
    let scratch = tempfile::tempdir().expect("a directory for the test");
    let disk = SmallDisk::mount(scratch.path().join("mount"), "24m");
    let log = scratch.path().join("log");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (server, client) = start(&disk.mount_point, &log);
    let mut acknowledged = Vec::new();
    let is_full = runtime.block_on(async {
        for number in 0..20_000 {
            match client.put(format!("key-{number}").as_bytes(), &value(number)).await {
                Ok(_) => acknowledged.push(number),
                // One core is full; what it holds is still read.
                Err(_) => return true,
            }
        }
        false
    });
    assert!(is_full, "{} writes were taken", acknowledged.len());
    let check = async |client: &Client| {
        for &number in &acknowledged {
            let found = client.get(format!("key-{number}").as_bytes()).await.expect("served");
            assert!(found.is_some_and(|found| found.value == value(number)), "key-{number}");
        }
    };
    runtime.block_on(check(&client));
    // It ends in order although it cannot flush.
    server.terminate();
    disk.resize("200m");
    let (server, client) = start(&disk.mount_point, &log);
    runtime.block_on(async {
        check(&client).await;
        client.put(b"key", b"there is room again").await.expect("served");
    });
    server.terminate();
}
