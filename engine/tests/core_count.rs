//! Another number of cores at a start: streams move to other logs, all data is found, and a crash in the middle costs nothing.

mod harness;

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use corelode_engine::data_directory::OpenOptions;
use corelode_engine::env::Environment;
use corelode_engine::env::simulated::{CrashPolicy, DiskImage, SimulatedEnvironment, SimulationOptions};
use corelode_engine::ids::PartitionId;
use corelode_engine::options::Options;
use harness::crashes::{
    Coverage, DIRECTORY, Extent, Work, crash_everywhere, machine_after_crash, open_and_check, recover_and_check,
};
use harness::workload::{Workload, minute_options, open_options, sentence};
use harness::{History, Node};

/// Each core count follows each other one.
const CORES: [u16; 13] = [1, 2, 3, 5, 1, 3, 2, 5, 3, 1, 5, 2, 1];

/// Large enough that nothing is flushed unless a test says so.
fn unflushed(cores: u16) -> OpenOptions {
    let store = Options { memtable_memory_bytes: 16 * 1024 * 1024, ..minute_options() };
    OpenOptions { store, ..open_options(cores) }
}

async fn log_names(environment: &SimulatedEnvironment) -> Vec<String> {
    environment.list_directory(&Path::new(DIRECTORY).join("logs")).await.expect("there are logs")
}

#[test]
fn all_data_is_found_whatever_the_cores_and_unused_logs_are_retired() {
    let environment = SimulatedEnvironment::new(SimulationOptions::in_order());
    let history = History::default();
    let ran = environment.run_until(async {
        for (round, cores) in (0_u64..).zip(CORES) {
            let mut node = open_and_check(&environment, open_options(cores), &history).await?;
            assert_eq!(log_names(&environment).await.len(), usize::from(cores), "one log a core, and no other");
            Workload { seed: round, turns: 12, ..Workload::default() }.run(&mut node).await.map_err(sentence)?;
        }
        open_and_check(&environment, open_options(1), &history).await.map(drop)
    });
    ran.expect("no crash was planned").expect("all data is found");
}

/// Runs some writes with `from` cores; nothing of them is in tables.
fn disk_with_unflushed_entries(from: u16, history: &History) -> DiskImage {
    let environment = SimulatedEnvironment::new(SimulationOptions::in_order());
    let ran = environment.run_until(async {
        let mut node = open_and_check(&environment, unflushed(from), history).await?;
        let workload = Workload { seed: u64::from(from), turns: 5, ..Workload::default() };
        workload.run(&mut node).await.map_err(sentence)
    });
    ran.expect("no crash was planned").expect("the load runs");
    environment.crash_image(CrashPolicy::DropUnsynced, 0)
}

/// Crashes every step of a start with `to` cores, and starts again with as many, and with as many as before.
fn crash_the_move(from: u16, to: u16, extent: Extent) -> Result<Coverage, String> {
    let history = History::default();
    let image = disk_with_unflushed_entries(from, &history);
    let environment = machine_after_crash(&image);
    let coverage = {
        let history = history.clone();
        crash_everywhere(&environment, extent, move |image| {
            recover_and_check(image, unflushed(to), &history)
                .map_err(|message| format!("from {from} to {to} cores: {message}"))?;
            recover_and_check(image, unflushed(from), &history)
                .map_err(|message| format!("from {from} to {to} cores and back: {message}"))
        })
    };
    let moved = environment.run_until(async {
        let node = open_and_check(&environment, unflushed(to), &history.fork()).await?;
        Ok::<_, String>(node.report.streams_moved)
    });
    let streams_moved = moved.expect("no crash was planned")?;
    assert!(streams_moved > 0, "from {from} to {to} cores something moves");
    let coverage = coverage.borrow().clone();
    coverage.result().map(|()| coverage)
}

/// PITFALL 37.
#[test]
fn a_crash_at_any_step_of_a_move_loses_and_doubles_nothing() {
    let extent = Extent { stride: 2, first: 4, seeds: 2 }.or_all();
    let sum = Rc::new(RefCell::new(Coverage::default()));
    for (from, to) in [(1, 2), (2, 1), (2, 3), (3, 1), (1, 3), (3, 2), (5, 2)] {
        let coverage = crash_the_move(from, to, extent).expect("every crash is survived");
        sum.borrow_mut().add(&coverage);
    }
    let sum = sum.borrow();
    sum.print("crash_move");
    sum.assert_covers(&[Work::LogWrite, Work::SegmentPrepare, Work::LogRetire]);
}

/// Streams of several logs come into one: together they may be longer than a log may grow in service.
#[test]
fn more_unflushed_entries_than_a_log_may_hold_move_into_it() {
    let environment = SimulatedEnvironment::new(SimulationOptions::in_order());
    let history = History::default();
    let ran = environment.run_until(async {
        let mut node = open_and_check(&environment, unflushed(3), &history).await?;
        for number in 0..240_u32 {
            let partition = PartitionId(u16::try_from(number % 3).expect("small"));
            node.put(partition, &number.to_be_bytes(), &[7; 3000]).await.map_err(sentence)?;
        }
        drop(node);
        let options = unflushed(1);
        let node: Node<_> = open_and_check(&environment, options, &history).await?;
        assert_eq!(node.report.streams_moved, 2);
        Ok::<_, String>(())
    });
    ran.expect("no crash was planned").expect("all data is found");
}
