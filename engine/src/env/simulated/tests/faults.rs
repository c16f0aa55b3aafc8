//! Errors, full disks, the end of the world, and promises of the engine that the machine watches over.

use std::cell::Cell;

use super::*;
use crate::env::FileMap;

fn error(kind: StepKind, after: u64, failure: Failure) -> InjectedError {
    InjectedError { kind, class: None, after, failure }
}

#[test]
fn the_chosen_operation_fails_once() {
    let options = SimulationOptions::in_order().fail(error(StepKind::Write, 1, Failure::InputOutput));
    let environment = SimulatedEnvironment::new(options);
    environment
        .run_until(async {
            let file = create(&environment, "/file", b"one").await.unwrap();
            let failed = write(&environment, &file, b"two", 0).await.unwrap_err();
            assert_eq!(failed.raw_os_error(), Some(libc::EIO));
            assert!(!is_simulated_crash(&failed));
            let (read, buffer) = environment.read_at(&file, IoBuffer::zeroed(10), 0).await;
            assert_eq!(&buffer[..read.unwrap()], b"one");
            write(&environment, &file, b"three", 0).await.unwrap();
        })
        .unwrap();
    let failed: Vec<_> = environment.trace().into_iter().filter(|step| step.outcome == StepOutcome::Failed).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].index, 2);
}

#[test]
fn errors_can_be_aimed_at_a_part_of_the_store() {
    let environment = SimulatedEnvironment::new(SimulationOptions::new(1));
    environment.inject(InjectedError { class: Some(PathClass::Table), ..error(StepKind::Create, 0, Failure::NoSpace) });
    environment
        .run_until(async {
            environment.create_directory("/partitions/3".as_ref()).await.unwrap();
            create(&environment, "/partitions/3/MANIFEST", b"").await.unwrap();
            let refused = create(&environment, "/partitions/3/000001.table", b"").await.unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
        })
        .unwrap();
}

#[test]
fn a_sync_after_a_failed_sync_says_ok_and_the_bytes_are_lost() {
    let options = SimulationOptions::in_order().fail(error(StepKind::SyncData, 1, Failure::InputOutput));
    let environment = SimulatedEnvironment::new(options);
    environment
        .run_until(async {
            let file = create_durable(&environment, "/file", b"first").await.unwrap();
            write(&environment, &file, b"SECOND", 0).await.unwrap();
            environment.sync_data(&file).await.unwrap_err();
            environment.sync_data(&file).await.unwrap();
            let (read, buffer) = environment.read_at(&file, IoBuffer::zeroed(10), 0).await;
            assert_eq!(&buffer[..read.unwrap()], b"SECOND", "the page cache still has them");
            assert_eq!(environment.crash_image(CrashPolicy::KeepUnsynced, 0).read("/file").unwrap(), b"first\0");
            write(&environment, &file, b"T", 0).await.unwrap();
            environment.sync_data(&file).await.unwrap();
        })
        .unwrap();
    let bytes = environment.crash_image(CrashPolicy::DropUnsynced, 0).read("/file").unwrap();
    assert_eq!(bytes, b"TECOND", "a page that is written again is written whole");
}

/// PITFALL 34.
#[test]
fn a_log_write_that_failed_leaves_any_part_of_it() {
    let options = SimulationOptions::in_order().fail(error(StepKind::LogWriteEnd, 0, Failure::InputOutput));
    let environment = SimulatedEnvironment::new(options);
    environment
        .run_until(async {
            create_durable(&environment, "/segment", &[0; 8192]).await.unwrap();
            let file = environment.open("/segment".as_ref(), OpenMode::Log).await.unwrap();
            write(&environment, &file, &[1; 8192], 0).await.unwrap_err();
        })
        .unwrap();
    let left = |seed| environment.crash_image(CrashPolicy::Reordered, seed).read("/segment").unwrap();
    for expected in [[0, 0], [0, 1], [1, 0], [1, 1]] {
        assert!((0..100).map(left).any(|bytes| [bytes[0], bytes[4096]] == expected), "{expected:?}");
    }
}

#[test]
fn a_full_disk_refuses_growth_and_heals_when_space_returns() {
    let options = SimulationOptions { capacity_bytes: Some(10_000), ..SimulationOptions::new(3) };
    let environment = SimulatedEnvironment::new(options);
    environment
        .run_until(async {
            let old = create_durable(&environment, "/old", &[0; 6000]).await.unwrap();
            let refused = create(&environment, "/new", &[0; 6000]).await.unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
            write(&environment, &old, &[1; 6000], 0).await.unwrap();
            drop(old);
            environment.remove_file("/new".as_ref()).await.unwrap();
            environment.remove_file("/old".as_ref()).await.unwrap();
            environment.sync_directory("/".as_ref()).await.unwrap();
            create(&environment, "/new", &[0; 6000]).await.unwrap();
            environment.set_capacity_bytes(None);
            create(&environment, "/newer", &[0; 60_000]).await.unwrap();
        })
        .unwrap();
}

#[test]
fn after_the_crash_nothing_happens_any_more() {
    let environment = SimulatedEnvironment::new(SimulationOptions::new(5).crash_at(CrashPoint::Step(3)));
    let progress = Rc::new(Cell::new(0));
    for _ in 0..3 {
        let (inner, progress) = (environment.clone(), Rc::clone(&progress));
        environment.spawn(async move {
            loop {
                if let Err(error) = inner.list_directory("/".as_ref()).await {
                    assert!(is_simulated_crash(&error));
                    return;
                }
                progress.set(progress.get() + 1);
            }
        });
    }
    assert_eq!(environment.run_until(std::future::pending::<()>()), Err(SimulatedCrash));
    assert_eq!(progress.get(), 3, "the steps before the crash point");
    assert_eq!(environment.simulation().task_count(), 0, "a crash ends the tasks of its machine");
    assert_eq!(environment.trace().last().unwrap().outcome, StepOutcome::Crashed);

    let late = environment.simulation().run_until(environment.create_directory("/late".as_ref()));
    assert!(is_simulated_crash(&late.unwrap_err()));
    assert_eq!(environment.step_counts().total(), 4);
}

#[test]
fn a_machine_can_crash_while_another_goes_on() {
    let simulation = Simulation::new(9);
    let machine =
        |seed| SimulatedEnvironment::in_simulation(&simulation, SimulationOptions::new(seed), &DiskImage::empty());
    let (dying, living) = (machine(1), machine(2));
    simulation.run_until(async {
        create_durable(&dying, "/file", b"dying").await.unwrap();
        dying.crash();
        assert!(is_simulated_crash(&create(&dying, "/late", b"").await.unwrap_err()));
        create_durable(&living, "/file", b"living").await.unwrap();
    });
    let read =
        |machine: &SimulatedEnvironment| machine.crash_image(CrashPolicy::DropUnsynced, 0).read("/file").unwrap();
    assert_eq!((read(&dying), read(&living)), (b"dying".to_vec(), b"living".to_vec()));
}

#[test]
fn bit_rot_reaches_readers_but_not_maps_made_before() {
    let environment = SimulatedEnvironment::new(SimulationOptions::in_order());
    environment
        .run_until(async {
            let file = create_durable(&environment, "/file", &[7; 5000]).await.unwrap();
            let map = environment.map(&file, 5000).await.unwrap();
            environment.damage("/file", Damage::ZeroRange { offset: 4990, length: 5 }).unwrap();
            environment.damage("/file", Damage::Truncate { length: 4998 }).unwrap();
            let (read, buffer) = environment.read_at(&file, IoBuffer::zeroed(20), 4985).await;
            assert_eq!(&buffer[..read.unwrap()], [7, 7, 7, 7, 7, 0, 0, 0, 0, 0, 7, 7, 7]);
            assert_eq!(*map, [7; 5000]);
        })
        .unwrap();
}

#[test]
fn the_pages_of_a_map_come_and_go() {
    let options = SimulationOptions { residency: Residency::None, ..SimulationOptions::new(1) };
    let environment = SimulatedEnvironment::new(options);
    environment
        .run_until(async {
            let file = create(&environment, "/file", &[7; 70 * 4096]).await.unwrap();
            let map = environment.map(&file, 70 * 4096).await.unwrap();
            assert_eq!(map.residency().unwrap(), [0, 0]);
            map.page_in(63 * 4096 + 5, 4096).unwrap();
            assert_eq!(map.residency().unwrap(), [1 << 63, 1]);
            environment.evict_maps();
            assert_eq!(map.residency().unwrap(), [0, 0]);
            environment.set_page_in_fails(true);
            assert_eq!(map.page_in(0, 1).unwrap_err().raw_os_error(), Some(libc::EIO));
        })
        .unwrap();
}

#[test]
#[should_panic(expected = "a write of /file while it is mapped")]
fn a_write_to_a_mapped_file_is_caught() {
    let environment = SimulatedEnvironment::new(SimulationOptions::in_order());
    let _ = environment.run_until(async {
        let file = create(&environment, "/file", b"bytes").await.unwrap();
        let _map = environment.map(&file, 5).await.unwrap();
        write(&environment, &file, b"other", 0).await
    });
}

#[test]
#[should_panic(expected = "was opened in another world")]
fn a_file_from_before_a_crash_is_caught() {
    let before = SimulatedEnvironment::new(SimulationOptions::in_order());
    let file = before.run_until(create(&before, "/file", b"bytes")).unwrap().unwrap();
    let image = before.crash_image(CrashPolicy::KeepUnsynced, 0);
    let simulation = before.simulation();
    let after = SimulatedEnvironment::in_simulation(simulation, SimulationOptions::in_order(), &image);
    let _ = after.run_until(after.file_length(&file));
}

#[test]
fn the_clocks_move_with_the_work_and_with_the_test() {
    for options in [SimulationOptions::new(1), SimulationOptions::in_order()] {
        let environment = SimulatedEnvironment::new(options);
        let (start, start_ms) = (environment.monotonic(), environment.wall_clock_ms());
        environment.run_until(create(&environment, "/file", b"")).unwrap().unwrap();
        assert!(environment.monotonic() > start);
        environment.advance(Duration::from_secs(60));
        assert!(environment.wall_clock_ms() >= start_ms + 60_000);
        environment.set_wall_clock_ms(5_000_000);
        assert_eq!(environment.wall_clock_ms(), 5_000_000);
    }
}
