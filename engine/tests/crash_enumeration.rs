//! A crash at every step of I/O, and at every step of the recovery from it.

mod harness;

use std::cell::RefCell;
use std::rc::Rc;

use corelode_engine::env::LogMode;
use corelode_engine::env::simulated::{DiskImage, SimulatedEnvironment, SimulationOptions};
use harness::crashes::{
    Coverage, DIRECTORY, Extent, Work, crash_everywhere, machine_after_crash, open_and_check, recover_and_check,
};
use harness::workload::{Workload, open_options, sentence};
use harness::{History, Jobs, Node};

const CORES: u16 = 2;

/// Crashes a load at every step.
fn crash_the_load(
    simulation: SimulationOptions,
    jobs: Jobs,
    workload: Workload,
    extent: Extent,
    check: impl Fn(&DiskImage, &History) -> Result<(), String> + 'static,
) -> Result<Coverage, String> {
    let environment = SimulatedEnvironment::new(simulation);
    let history = History::default();
    let coverage = {
        let history = history.clone();
        crash_everywhere(&environment, extent, move |image| check(image, &history))
    };
    let ran = environment.run_until(async {
        let options = open_options(CORES);
        let mut node = Node::open_with(&environment, DIRECTORY.as_ref(), options, &history).await.map_err(sentence)?;
        node.jobs = jobs;
        workload.run(&mut node).await.map_err(sentence)?;
        history.check(&mut node).await.map_err(|message| format!("without a crash: {message}"))
    });
    ran.expect("no crash was planned")?;
    let coverage = coverage.borrow().clone();
    coverage.result().map(|()| coverage)
}

fn recovers(image: &DiskImage, history: &History) -> Result<(), String> {
    recover_and_check(image, open_options(CORES), history)
}

const PARTS: &[Work] = &[
    Work::LogWrite,
    Work::SegmentOpen,
    Work::SegmentRecycle,
    Work::SegmentPrepare,
    Work::TableWrite,
    Work::ManifestTemporary,
    Work::ManifestRename,
    Work::ManifestDirectorySync,
    Work::TableRemoval,
];

#[test]
fn nothing_acknowledged_is_lost_at_any_step() {
    let extent = Extent { stride: 3, seeds: 2 }.or_all();
    let coverage = crash_the_load(SimulationOptions::in_order(), Jobs::Inline, Workload::default(), extent, recovers);
    let coverage = coverage.expect("every crash is survived");
    coverage.print("crash");
    coverage.assert_covers(PARTS);
}

#[test]
fn nothing_acknowledged_is_lost_while_jobs_run_beside_writes() {
    let extent = Extent { stride: 5, seeds: 2 }.or_all();
    for seed in 0..2 {
        let simulation = SimulationOptions::new(seed);
        let workload = Workload { seed, turns: 40, ..Workload::default() };
        let coverage = crash_the_load(simulation, Jobs::Beside, workload, extent, recovers);
        coverage.expect("every crash is survived").print(&format!("crash_beside_{seed}"));
    }
}

#[test]
fn nothing_acknowledged_is_lost_with_a_buffered_log() {
    let extent = Extent { stride: 9, seeds: 2 }.or_all();
    let simulation = SimulationOptions { log_mode: LogMode::BufferedThenSync, ..SimulationOptions::in_order() };
    let coverage = crash_the_load(simulation, Jobs::Inline, Workload::default(), extent, recovers);
    coverage.expect("every crash is survived").print("crash_buffered");
}

#[test]
fn a_crash_of_the_recovery_from_a_crash_loses_nothing_either() {
    let outer = Extent { stride: 331, seeds: 1 }.or_every(17);
    let inner = Extent { stride: 7, seeds: 1 }.or_all();
    let recovery = Rc::new(RefCell::new(Coverage::default()));
    let sum = Rc::clone(&recovery);
    let check = move |image: &DiskImage, history: &History| {
        let history = history.fork();
        let environment = machine_after_crash(image);
        let coverage = {
            let history = history.clone();
            crash_everywhere(&environment, inner, move |image| recovers(image, &history))
        };
        let opened = environment.run_until(async {
            let mut node = open_and_check(&environment, open_options(CORES), &history).await?;
            // Recovery ends with the first segment and the flushes that it asks for.
            node.put(corelode_engine::ids::PartitionId(0), b"key-00", b"first").await.map_err(sentence)?;
            node.settle().await.map_err(sentence)
        });
        opened.expect("no crash was planned")?;
        let coverage = coverage.borrow();
        let mut sum = sum.borrow_mut();
        sum.images += coverage.images;
        for (&part, count) in &coverage.steps {
            *sum.steps.entry(part).or_default() += count;
        }
        coverage.result()
    };
    let outer = crash_the_load(SimulationOptions::in_order(), Jobs::Inline, Workload::default(), outer, check);
    outer.expect("every crash of every recovery is survived");
    let recovery = recovery.borrow();
    recovery.print("crash_recovery");
    recovery.assert_covers(&[Work::SegmentOpen, Work::TableWrite, Work::ManifestRename]);
}
