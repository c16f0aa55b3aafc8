//! The seed decides everything, operations overlap, and both ways to visit crash points agree.

use std::cell::RefCell;

use super::*;

/// Four tasks that each write, sync and rename files of their own, at the same time; each notes when it is done.
fn concurrent_run(options: SimulationOptions) -> (SimulatedEnvironment, Vec<u8>) {
    let environment = SimulatedEnvironment::new(options);
    let done = Rc::new(RefCell::new(Vec::new()));
    for task in 0..4 {
        let (inner, done) = (environment.clone(), Rc::clone(&done));
        environment.spawn(async move {
            for round in 0..4 {
                let temporary = format!("/{task}-{round}.tmp");
                let Ok(file) = create(&inner, &temporary, &[task; 5000]).await else { return };
                if inner.sync_data(&file).await.is_err() {
                    return;
                }
                let _ = inner.rename(temporary.as_ref(), format!("/{task}").as_ref()).await;
                let _ = inner.sync_directory("/".as_ref()).await;
            }
            done.borrow_mut().push(task);
        });
    }
    let all_done = async {
        while done.borrow().len() < 4 {
            environment.simulation().sleep(Duration::from_millis(1)).await;
        }
    };
    let _ = environment.run_until(all_done);
    let done = done.take();
    (environment, done)
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_seed_another() {
    let run = |seed| concurrent_run(SimulationOptions::new(seed));
    let mut orders = Vec::new();
    for seed in 0..8 {
        let ((first, first_done), (second, second_done)) = (run(seed), run(seed));
        assert_eq!(first.trace_hash(), second.trace_hash());
        assert_eq!(first.trace(), second.trace());
        assert_eq!(first_done, second_done);
        let crash = |environment: &SimulatedEnvironment| environment.crash_image(CrashPolicy::Torn, seed);
        assert_eq!(crash(&first), crash(&second));
        orders.push((first.trace_hash(), first_done));
    }
    orders.sort();
    orders.dedup_by_key(|(hash, _)| *hash);
    assert_eq!(orders.len(), 8, "every seed its own trace");
    orders.dedup_by_key(|(_, done)| done.clone());
    assert!(orders.len() > 1, "the tasks end in different orders");
}

#[test]
fn steps_of_tasks_at_the_same_time_interleave() {
    let (environment, _) = concurrent_run(SimulationOptions::new(1));
    let tasks: Vec<_> =
        environment.trace().iter().filter_map(|step| step.path.to_string_lossy().chars().nth(1)).collect();
    let switches = tasks.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(switches > tasks.len() / 3, "{switches} switches between tasks in {} steps", tasks.len());
}

#[test]
fn a_sync_covers_no_write_that_ended_after_it_was_asked_for() {
    let mut uncovered = 0;
    for seed in 0..50 {
        let environment = SimulatedEnvironment::new(SimulationOptions::new(seed));
        let file = environment.run_until(create_durable(&environment, "/file", b"-")).unwrap().unwrap();
        let (writer, late) = (environment.clone(), file.clone());
        environment.spawn(async move { write(&writer, &late, b"x", 0).await.unwrap() });
        environment.run_until(environment.sync_data(&file)).unwrap().unwrap();
        let written = environment.trace().iter().filter(|step| step.kind == StepKind::Write).count() == 2;
        let durable = environment.crash_image(CrashPolicy::DropUnsynced, 0).read("/file").unwrap() == b"x";
        assert!(written || !durable);
        uncovered += usize::from(written && !durable);
    }
    assert!(uncovered > 10, "it happened {uncovered} times of 50");
}

#[test]
fn observing_one_run_shows_the_same_crashes_as_a_run_for_each_step() {
    let images = Rc::new(RefCell::new(Vec::new()));
    let environment = SimulatedEnvironment::new(SimulationOptions::in_order());
    let observed = Rc::clone(&images);
    environment.observe_steps(move |step, disk| {
        assert_eq!(step.index, observed.borrow().len() as u64);
        observed.borrow_mut().push(disk.crash_image(CrashPolicy::Torn, step.index));
    });
    let scenario = async |environment: &SimulatedEnvironment| {
        let file = create_durable(environment, "/segment", &[1; 3 * 4096]).await?;
        write(environment, &file, &[2; 5000], 100).await?;
        environment.rename("/segment".as_ref(), "/renamed".as_ref()).await?;
        let file = environment.open("/renamed".as_ref(), OpenMode::Log).await?;
        write(environment, &file, &[3; 8192], 4096).await?;
        environment.sync_directory("/".as_ref()).await
    };
    environment.run_until(scenario(&environment)).unwrap().unwrap();
    assert_eq!(images.borrow().len() as u64, environment.step_counts().total());

    for (index, image) in (0..).zip(images.borrow().iter()) {
        let options = SimulationOptions::in_order().crash_at(CrashPoint::Step(index));
        let crashed = SimulatedEnvironment::new(options);
        assert_eq!(crashed.run_until(scenario(&crashed)).err(), Some(SimulatedCrash));
        assert_eq!(crashed.crash_image(CrashPolicy::Torn, index), *image, "step {index}");
    }
}

#[test]
fn steps_are_counted_by_kind_and_part_of_the_store() {
    let environment = SimulatedEnvironment::new(SimulationOptions::in_order());
    environment
        .run_until(async {
            environment.create_directory("/data/logs/0".as_ref()).await?;
            create_durable(&environment, "/data/logs/0/segment-000001.log", &[0; 4096]).await?;
            let log = environment.open("/data/logs/0/segment-000001.log".as_ref(), OpenMode::Log).await?;
            write(&environment, &log, &[1; 4096], 0).await
        })
        .unwrap()
        .unwrap();
    let counts = environment.step_counts();
    assert_eq!(counts.get(PathClass::Directory, StepKind::CreateDirectory), 3);
    assert_eq!(counts.get(PathClass::Log, StepKind::LogWriteStart), 1);
    assert_eq!(counts.get(PathClass::Log, StepKind::LogWriteEnd), 1);
    assert_eq!((counts.total(), counts.changes()), (10, 9));
    let mut sum = counts.clone();
    sum += &counts;
    assert_eq!(sum.total(), 20);
    assert!(counts.to_string().contains("Log        LogWriteStart           1"), "{counts}");
    assert_eq!(environment.trace()[9].to_string().split_whitespace().nth(2), Some("LogWriteEnd"));
}
