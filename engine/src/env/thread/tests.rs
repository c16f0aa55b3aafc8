//! The operating system as the engine sees it, on a disk and on tmpfs.

use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::env::{FileMap, read_file};

/// A directory on the usual file system, and one on tmpfs where there is such.
fn directories() -> Vec<TempDir> {
    let mut directories = vec![tempfile::tempdir().unwrap()];
    directories.extend(tempfile::tempdir_in("/dev/shm").ok());
    directories
}

/// Runs a test in every directory of [`directories`].
fn everywhere<F: Future<Output = io::Result<()>>>(test: impl Fn(ThreadEnvironment, PathBuf) -> F) {
    for directory in directories() {
        let environment = ThreadEnvironment::new();
        environment.block_on(test(environment.clone(), directory.path().to_path_buf())).unwrap();
    }
}

#[test]
fn what_is_written_is_read_in_every_mode() {
    everywhere(async |environment, directory| {
        for (name, mode) in [("buffered", OpenMode::Create), ("direct", OpenMode::CreateDirect)] {
            let path = directory.join(name);
            let mut bytes = IoBuffer::zeroed(3 * 4096);
            bytes[5000] = 42;
            let file = environment.open(&path, mode).await?;
            let (result, bytes) = environment.write_at(&file, bytes, 4096).await;
            result?;
            environment.sync_data(&file).await?;
            environment.set_length(&file, 4 * 4096 - 96).await?;
            assert_eq!(environment.file_length(&file).await?, 4 * 4096 - 96);

            for mode in [OpenMode::Read, OpenMode::ReadDirect] {
                let file = environment.open(&path, mode).await?;
                let (read, buffer) = environment.read_at(&file, IoBuffer::zeroed(16 * 4096), 4096).await;
                assert_eq!(read?, 3 * 4096 - 96, "up to the end of the file");
                assert_eq!(buffer[..3 * 4096 - 96], bytes[..3 * 4096 - 96]);
                let (read, _) = environment.read_at(&file, IoBuffer::zeroed(4096), 16 * 4096).await;
                assert_eq!(read?, 0, "beyond the end of the file");
            }
            assert_eq!(read_file(&environment, &path, 1 << 20).await?[4096 + 5000], 42);
            assert_eq!(read_file(&environment, &path, 100).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
        Ok(())
    });
}

#[test]
fn the_log_is_written_and_read_in_the_mode_that_was_found() {
    everywhere(async |environment, directory| {
        let mode = environment.log_mode(&directory).await?;
        assert_eq!(environment.list_directory(&directory).await?, [""; 0], "the probe leaves nothing behind");

        let path = directory.join("segment");
        let file = environment.open(&path, OpenMode::CreateDirect).await?;
        environment.write_at(&file, IoBuffer::zeroed(8 * 4096), 0).await.0?;
        environment.sync_data(&file).await?;

        let file = environment.open(&path, OpenMode::Log).await?;
        assert_eq!(file.is_direct(), mode == LogMode::DirectSynced);
        environment.write_at(&file, IoBuffer::from(&[9; 4096][..]), 4096).await.0?;
        let (read, buffer) = environment.read_at(&file, IoBuffer::zeroed(3 * 4096), 0).await;
        assert_eq!(read?, 3 * 4096);
        assert_eq!((buffer[4095], buffer[4096], buffer[8191], buffer[8192]), (0, 9, 9, 0));
        Ok(())
    });
}

#[test]
fn a_file_is_created_once() {
    everywhere(async |environment, directory| {
        for mode in [OpenMode::Create, OpenMode::CreateDirect] {
            let path = directory.join(format!("{mode:?}"));
            environment.open(&path, mode).await?;
            assert_eq!(environment.open(&path, mode).await.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        }
        for mode in [OpenMode::Read, OpenMode::ReadDirect, OpenMode::Log] {
            let absent = environment.open(&directory.join("absent"), mode).await;
            assert_eq!(absent.unwrap_err().kind(), io::ErrorKind::NotFound);
        }
        Ok(())
    });
}

#[test]
fn misaligned_direct_io_is_refused_in_words() {
    everywhere(async |environment, directory| {
        let file = environment.open(&directory.join("file"), OpenMode::CreateDirect).await?;
        // tmpfs takes O_DIRECT since Linux 6.6.
        if !file.is_direct() {
            return Ok(());
        }
        for (length, offset) in [(4096, 512), (100, 0)] {
            let (written, _) = environment.write_at(&file, IoBuffer::zeroed(length), offset).await;
            let (read, _) = environment.read_at(&file, IoBuffer::zeroed(length), offset).await;
            for error in [written.unwrap_err(), read.unwrap_err()] {
                assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
                assert!(error.to_string().contains(&format!("of {length} bytes at offset {offset}")), "{error}");
            }
        }
        Ok(())
    });
}

#[test]
fn a_file_system_without_direct_io_is_read_through_the_page_cache() {
    let environment = ThreadEnvironment::new();
    let file = environment.block_on(environment.open("/proc/version".as_ref(), OpenMode::ReadDirect)).unwrap();
    assert!(!file.is_direct());
    assert!(environment.shared.direct_refusal_said.get());
    let (read, buffer) = environment.block_on(environment.read_at(&file, IoBuffer::zeroed(1000), 0));
    assert!(buffer[..read.unwrap()].starts_with(b"Linux"));
}

#[test]
fn a_file_is_mapped_whole() {
    everywhere(async |environment, directory| {
        let file = environment.open(&directory.join("table"), OpenMode::CreateDirect).await?;
        environment.write_at(&file, IoBuffer::from(&[3; 8192][..]), 0).await.0?;
        environment.set_length(&file, 5000).await?;
        environment.sync_data(&file).await?;
        let map = environment.map(&file, 5000).await?;
        environment.remove_file(&directory.join("table")).await?;
        map.page_in(0, 5000)?;
        assert_eq!(map.residency()?, [0b11]);
        assert_eq!(*map, [3; 5000], "the map outlives the name");
        Ok(())
    });
}

#[test]
fn names_come_and_go() {
    everywhere(async |environment, directory| {
        let inner = directory.join("partitions/7");
        environment.create_directory(&inner).await?;
        environment.create_directory(&inner).await?;
        for name in ["b", "a"] {
            environment.open(&inner.join(name), OpenMode::Create).await?;
        }
        environment.sync_directory(&inner).await?;
        assert_eq!(environment.list_directory(&inner).await?, ["a", "b"]);
        environment.rename(&inner.join("a"), &inner.join("b")).await?;
        assert_eq!(environment.list_directory(&inner).await?, ["b"]);
        assert!(environment.remove_directory(&inner).await.is_err(), "not empty");
        environment.remove_file(&inner.join("b")).await?;
        environment.remove_directory(&inner).await?;
        assert_eq!(environment.list_directory(&inner).await.unwrap_err().kind(), io::ErrorKind::NotFound);
        Ok(())
    });
}

#[test]
fn a_directory_belongs_to_one_holder_at_a_time() {
    everywhere(async |environment, directory| {
        let held = environment.lock_directory(&directory, Duration::ZERO).await?;
        let error = environment.lock_directory(&directory, Duration::from_millis(15)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!(error.to_string().ends_with(&format!("process {}", std::process::id())), "{error}");
        drop(held);
        environment.lock_directory(&directory, Duration::ZERO).await?;
        Ok(())
    });
}

#[test]
fn a_lock_that_is_let_go_within_the_patience_is_taken() {
    let directory = tempfile::tempdir().unwrap();
    let environment = ThreadEnvironment::new();
    let held = environment.block_on(environment.lock_directory(directory.path(), Duration::ZERO)).unwrap();
    let (started, waiting) = std::sync::mpsc::channel();
    let releaser = std::thread::spawn(move || {
        waiting.recv().unwrap();
        drop(held);
    });
    started.send(()).unwrap();
    environment.block_on(environment.lock_directory(directory.path(), Duration::from_secs(20))).unwrap();
    releaser.join().unwrap();
}

#[test]
fn spawned_tasks_take_turns() {
    let environment = ThreadEnvironment::new();
    let order = Rc::new(std::cell::RefCell::new(Vec::new()));
    environment.block_on(async {
        for task in 0..2 {
            let (order, environment_inner) = (Rc::clone(&order), environment.clone());
            environment.spawn(async move {
                for chunk in 0..2 {
                    order.borrow_mut().push((chunk, task));
                    environment_inner.yield_now().await;
                }
            });
        }
        while order.borrow().len() < 4 {
            environment.yield_now().await;
        }
    });
    assert_eq!(*order.borrow(), [(0, 0), (0, 1), (1, 0), (1, 1)]);
}

#[test]
fn the_clocks_run() {
    let environment = ThreadEnvironment::new();
    let start = environment.monotonic();
    assert!(start > Duration::ZERO && environment.monotonic() >= start);
    assert!(environment.wall_clock_ms() > 1_700_000_000_000);
    assert_ne!(environment.random_u64(), environment.random_u64());
}
