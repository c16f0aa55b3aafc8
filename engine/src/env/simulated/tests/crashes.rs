//! What a crash leaves, by hazard.

use std::collections::BTreeSet;

use super::*;

const BLOCK: usize = 4096;

#[test]
fn bytes_without_a_sync_are_lost_and_with_one_are_kept() {
    let crash = after(async |environment| {
        let file = create_durable(&environment, "/file", b"old").await?;
        write(&environment, &file, b"newer", 0).await
    });
    assert_eq!(crash(CrashPolicy::DropUnsynced, 0).read("/file").unwrap(), b"old");
    assert_eq!(crash(CrashPolicy::KeepUnsynced, 0).read("/file").unwrap(), b"newer");
}

#[test]
fn a_created_name_without_a_directory_sync_is_lost_though_its_bytes_are_synced() {
    let crash = after(async |environment| {
        let file = create(&environment, "/file", b"bytes").await?;
        environment.sync_data(&file).await
    });
    assert!(crash(CrashPolicy::DropUnsynced, 0).files().is_empty());
    assert!(crash(CrashPolicy::BytesWithoutNames, 0).files().is_empty());
    assert_eq!(crash(CrashPolicy::NamesWithoutBytes, 0).read("/file").unwrap(), b"bytes");
}

#[test]
fn a_name_can_be_durable_while_its_bytes_are_not() {
    let crash = after(async |environment| {
        create(&environment, "/file", b"bytes").await?;
        environment.sync_directory("/".as_ref()).await
    });
    assert_eq!(crash(CrashPolicy::DropUnsynced, 0).read("/file").unwrap(), b"");
    assert_eq!(crash(CrashPolicy::NamesWithoutBytes, 0).read("/file").unwrap(), b"");
}

#[test]
fn a_synced_directory_is_lost_with_all_its_files_if_its_parent_is_not_synced() {
    let crash = after(async |environment| {
        environment.create_directory("/a/b".as_ref()).await?;
        environment.sync_directory("/".as_ref()).await?;
        create_durable(&environment, "/a/b/file", b"bytes").await?;
        Ok(())
    });
    assert!(crash(CrashPolicy::DropUnsynced, 0).files().is_empty());
    assert_eq!(crash(CrashPolicy::KeepUnsynced, 0).read("/a/b/file").unwrap(), b"bytes");
}

/// PITFALL 31.
#[test]
fn a_rename_over_an_existing_file_leaves_the_old_or_the_new_never_neither() {
    let crash = after(async |environment| {
        create_durable(&environment, "/CURRENT", b"old").await?;
        let new = create(&environment, "/CURRENT.tmp", b"new").await?;
        environment.sync_data(&new).await?;
        environment.rename("/CURRENT.tmp".as_ref(), "/CURRENT".as_ref()).await
    });
    let left: BTreeSet<_> = all_crashes().map(|(policy, seed)| crash(policy, seed).read("/CURRENT").unwrap()).collect();
    assert_eq!(left, BTreeSet::from([b"new".to_vec(), b"old".to_vec()]));
    assert_eq!(crash(CrashPolicy::DropUnsynced, 0).read("/CURRENT").unwrap(), b"old");
}

#[test]
fn a_renamed_file_whose_bytes_were_not_synced_is_empty_or_torn() {
    let crash = after(async |environment| {
        create_durable(&environment, "/CURRENT", b"old").await?;
        create(&environment, "/CURRENT.tmp", b"new").await?;
        environment.rename("/CURRENT.tmp".as_ref(), "/CURRENT".as_ref()).await?;
        environment.sync_directory("/".as_ref()).await
    });
    assert_eq!(crash(CrashPolicy::DropUnsynced, 0).read("/CURRENT").unwrap(), b"", "the old bytes are gone as well");
}

#[test]
fn each_change_of_a_directory_survives_on_its_own() {
    let crash = after(async |environment| {
        for name in ["/a", "/b", "/c"] {
            create(&environment, name, b"").await?;
        }
        Ok(())
    });
    let left: BTreeSet<_> = all_crashes().map(|(policy, seed)| crash(policy, seed).files()).collect();
    assert_eq!(left.len(), 8, "all subsets of three names");
}

#[test]
fn a_rename_within_a_directory_never_leaves_both_names_or_neither() {
    let crash = after(async |environment| {
        create_durable(&environment, "/old", b"bytes").await?;
        environment.rename("/old".as_ref(), "/new".as_ref()).await
    });
    for (policy, seed) in all_crashes() {
        assert_eq!(crash(policy, seed).files().len(), 1);
    }
}

#[test]
fn a_removed_file_comes_back_whole_until_the_directory_is_synced() {
    let scenario = |sync: bool| {
        after(async move |environment| {
            create_durable(&environment, "/file", b"bytes").await?;
            environment.remove_file("/file".as_ref()).await?;
            if sync { environment.sync_directory("/".as_ref()).await } else { Ok(()) }
        })
    };
    assert_eq!(scenario(false)(CrashPolicy::DropUnsynced, 0).read("/file").unwrap(), b"bytes");
    assert!(all_crashes().all(|(policy, seed)| scenario(true)(policy, seed).files().is_empty()));
}

#[test]
fn unsynced_blocks_survive_in_any_order_and_a_later_one_without_an_earlier() {
    let crash = after(async |environment| {
        let file = create_durable(&environment, "/file", &[0; 3 * BLOCK]).await?;
        write(&environment, &file, &[1; 3 * BLOCK], 0).await
    });
    let left: BTreeSet<_> = (0..200)
        .map(|seed| {
            let bytes = crash(CrashPolicy::Reordered, seed).read("/file").unwrap();
            assert!(bytes.chunks(BLOCK).all(|block| block.iter().all(|&byte| byte == block[0])), "blocks are whole");
            [bytes[0], bytes[BLOCK], bytes[2 * BLOCK]]
        })
        .collect();
    assert_eq!(left.len(), 8, "all subsets of three blocks");
}

#[test]
fn a_file_that_was_cut_and_grew_again_never_shows_what_was_cut() {
    let crash = after(async |environment| {
        let file = create_durable(&environment, "/file", &[1; 2 * BLOCK]).await?;
        environment.set_length(&file, 100).await?;
        environment.set_length(&file, 2 * BLOCK as u64).await?;
        let (read, buffer) = environment.read_at(&file, IoBuffer::zeroed(2 * BLOCK), 0).await;
        assert_eq!(read?, 2 * BLOCK);
        assert!(buffer[100..].iter().all(|&byte| byte == 0));
        environment.sync_data(&file).await
    });
    let bytes = crash(CrashPolicy::DropUnsynced, 0).read("/file").unwrap();
    assert_eq!((bytes.len(), bytes[99], bytes[100], bytes[BLOCK]), (2 * BLOCK, 1, 0, 0));
}

/// A log file of four blocks of ones, opened for the log, in a world that ends at the given change after that.
fn log_world(log_mode: LogMode, changes: u64) -> (SimulatedEnvironment, SimulatedFile) {
    let options = SimulationOptions { log_mode, ..SimulationOptions::in_order() };
    let environment = SimulatedEnvironment::new(options.crash_at(CrashPoint::Change(4 + changes)));
    let file = environment.run_until(async {
        create_durable(&environment, "/segment", &[1; 4 * BLOCK]).await?;
        environment.open("/segment".as_ref(), OpenMode::Log).await
    });
    (environment, file.unwrap().unwrap())
}

#[test]
fn a_direct_log_write_that_returned_survives_every_crash() {
    let (environment, file) = log_world(LogMode::DirectSynced, 100);
    environment.run_until(write(&environment, &file, &[2; 2 * BLOCK], BLOCK as u64)).unwrap().unwrap();
    for (policy, seed) in all_crashes() {
        let bytes = environment.crash_image(policy, seed).read("/segment").unwrap();
        assert_eq!([bytes[0], bytes[BLOCK], bytes[3 * BLOCK - 1], bytes[3 * BLOCK]], [1, 2, 2, 1]);
    }
}

#[test]
fn a_buffered_log_write_is_durable_after_its_sync_only() {
    let (environment, file) = log_world(LogMode::BufferedThenSync, 100);
    environment.run_until(write(&environment, &file, &[2; 100], 50)).unwrap().unwrap();
    let read = || environment.crash_image(CrashPolicy::DropUnsynced, 0).read("/segment").unwrap()[60];
    assert_eq!(read(), 1);
    environment.run_until(environment.sync_data(&file)).unwrap().unwrap();
    assert_eq!(read(), 2);
}

#[test]
fn a_log_write_that_was_not_submitted_leaves_nothing() {
    let (environment, file) = log_world(LogMode::DirectSynced, 0);
    environment.run_until(write(&environment, &file, &[2; BLOCK], 0)).unwrap_err();
    for (policy, seed) in all_crashes() {
        assert_eq!(environment.crash_image(policy, seed).read("/segment").unwrap(), [1; 4 * BLOCK]);
    }
}

/// PITFALL 29.
#[test]
fn a_log_write_in_flight_is_lost_or_complete_or_torn_and_harms_nothing_beside_it() {
    for log_mode in [LogMode::DirectSynced, LogMode::BufferedThenSync] {
        let (environment, file) = log_world(log_mode, 1);
        environment.run_until(write(&environment, &file, &[2; 2 * BLOCK], BLOCK as u64)).unwrap_err();
        let left = |policy, seed| {
            let bytes = environment.crash_image(policy, seed).read("/segment").unwrap();
            assert!(bytes[..BLOCK].iter().chain(&bytes[3 * BLOCK..]).all(|&byte| byte == 1));
            bytes[BLOCK..3 * BLOCK].to_vec()
        };
        assert_eq!(left(CrashPolicy::DropUnsynced, 0), [1; 2 * BLOCK]);
        assert_eq!(left(CrashPolicy::KeepUnsynced, 0), [2; 2 * BLOCK]);
        let blocks: BTreeSet<_> = (0..100).map(|seed| left(CrashPolicy::Reordered, seed)).collect();
        assert_eq!(blocks.len(), 4, "all subsets of two blocks");
        let torn = (0..100)
            .map(|seed| left(CrashPolicy::Torn, seed))
            .find(|bytes| bytes[..BLOCK].contains(&1) && bytes[..BLOCK].contains(&2));
        assert!(
            torn.unwrap().chunks(512).all(|sector| sector.iter().all(|&byte| byte == sector[0])),
            "sectors are whole"
        );
    }
}

#[test]
fn a_file_is_known_after_a_crash_by_its_surviving_name() {
    let crash = after(async |environment| {
        let file = create(&environment, "/a", b"bytes").await?;
        environment.sync_data(&file).await?;
        environment.sync_directory("/".as_ref()).await?;
        environment.rename("/a".as_ref(), "/b".as_ref()).await?;
        create(&environment, "/a", b"other").await?;
        environment.sync_directory("/".as_ref()).await
    });
    let image = crash(CrashPolicy::DropUnsynced, 0);
    assert_eq!((image.read("/b").unwrap(), image.read("/a").unwrap()), (b"bytes".to_vec(), vec![]));
}

#[test]
fn an_image_may_be_recovered_on_another_thread() {
    fn check<T: Send + Sync>() {}
    check::<DiskImage>();
}

#[test]
fn a_new_machine_starts_with_what_a_crash_left() {
    let crash = after(async |environment| {
        environment.create_directory("/logs/0".as_ref()).await?;
        environment.sync_directory("/".as_ref()).await?;
        environment.sync_directory("/logs".as_ref()).await?;
        create_durable(&environment, "/logs/0/segment", b"bytes").await?;
        Ok(())
    });
    let mut image = crash(CrashPolicy::DropUnsynced, 0);
    image.damage("/logs/0/segment", Damage::FlipBit { offset: 4, bit: 1 }).unwrap();
    image.write("/logs/0/more", b"prepared").unwrap();
    let environment = SimulatedEnvironment::with_disk(SimulationOptions::new(7), &image);
    environment
        .run_until(async {
            assert_eq!(environment.list_directory("/logs/0".as_ref()).await.unwrap(), ["more", "segment"]);
            let bytes = crate::env::read_file(&environment, "/logs/0/segment".as_ref(), 10).await.unwrap();
            assert_eq!(bytes, b"byteq");
        })
        .unwrap();
    assert_eq!(environment.crash_image(CrashPolicy::DropUnsynced, 0), image, "all of an image is durable");
}
