//! A crash at every step of I/O, and at every step of the recovery from it.

mod harness;

use std::cell::RefCell;
use std::rc::Rc;

use corelode_engine::env::LogMode;
use corelode_engine::env::simulated::{CrashPolicy, DiskImage, SimulatedEnvironment, SimulationOptions};
use corelode_engine::ids::PartitionId;
use harness::crashes::{
    Coverage, Extent, Work, crash_everywhere, kill_everywhere, machine_after_crash, open_and_check, write_a_little,
};
use harness::load::{CORES, crash_the_load, observed_load, recovers};
use harness::workload::{Workload, open_options, sentence};
use harness::{History, Jobs, Node};

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

/// PITFALL 30.
#[test]
fn nothing_acknowledged_is_lost_at_any_step() {
    let extent = Extent { stride: 3, first: 6, seeds: 2 }.or_all();
    let coverage = crash_the_load(SimulationOptions::in_order(), Jobs::Inline, Workload::default(), extent, recovers);
    let coverage = coverage.expect("every crash is survived");
    coverage.print("crash");
    coverage.assert_covers(PARTS);
}

/// PITFALL 33.
#[test]
fn nothing_acknowledged_is_lost_while_the_log_goes_round() {
    let extent = Extent { stride: 3, first: 6, seeds: 2 }.or_all();
    let coverage =
        crash_the_load(SimulationOptions::in_order(), Jobs::Inline, Workload::of_the_log(), extent, recovers);
    let coverage = coverage.expect("every crash is survived");
    coverage.print("crash_log");
    coverage.assert_covers(&[Work::LogWrite, Work::SegmentOpen, Work::SegmentRecycle, Work::TableWrite]);
}

#[test]
fn nothing_acknowledged_is_lost_while_jobs_run_beside_writes() {
    let extent = Extent { stride: 5, first: 6, seeds: 2 }.or_all();
    for seed in 0..2 {
        let simulation = SimulationOptions::new(seed);
        let workload = Workload { seed, turns: 40, ..Workload::default() };
        let coverage = crash_the_load(simulation, Jobs::Beside, workload, extent, recovers);
        coverage.expect("every crash is survived").print(&format!("crash_beside_{seed}"));
    }
}

#[test]
fn nothing_acknowledged_is_lost_with_a_buffered_log() {
    let extent = Extent { stride: 9, first: 0, seeds: 2 }.or_all();
    let simulation = SimulationOptions { log_mode: LogMode::BufferedThenSync, ..SimulationOptions::in_order() };
    let coverage = crash_the_load(simulation, Jobs::Inline, Workload::default(), extent, recovers);
    coverage.expect("every crash is survived").print("crash_buffered");
}

#[test]
fn a_crash_of_the_recovery_from_a_crash_loses_nothing_either() {
    let outer = Extent { stride: 331, first: 0, seeds: 1 }.or_every(41);
    let inner = Extent { stride: 7, first: 0, seeds: 1 }.or_every(1);
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
            node.put(PartitionId(0), b"key-00", b"first").await.map_err(sentence)?;
            node.settle().await.map_err(sentence)
        });
        opened.expect("no crash was planned")?;
        let coverage = coverage.borrow();
        sum.borrow_mut().add(&coverage);
        coverage.result()
    };
    let outer = crash_the_load(SimulationOptions::in_order(), Jobs::Inline, Workload::default(), outer, check);
    outer.expect("every crash of every recovery is survived");
    let recovery = recovery.borrow();
    recovery.print("crash_recovery");
    recovery.assert_covers(&[Work::SegmentOpen, Work::TableWrite, Work::ManifestRename]);
}

/// After a kill the next process reads what is only in the kernel's memory. Whatever it builds upon that must be durable before.
#[test]
fn a_power_cut_after_a_kill_takes_nothing_that_the_new_process_acknowledged() {
    let extent = Extent { stride: 3, first: 6, seeds: 1 }.or_all();
    let after_kill = async |mut node: Node<SimulatedEnvironment>| write_a_little(&mut node).await;
    let killed = kill_and_cut_power(extent, after_kill);
    killed.expect("every kill and power cut is survived").print("kill");
}

/// The manifest that the killed process renamed into place says what is flushed, and segments are reused by that.
#[test]
fn a_power_cut_after_a_kill_finds_the_manifest_by_which_the_log_was_reused() {
    let extent = Extent { stride: 10, first: 3, seeds: 1 }.or_all();
    // Partitions 0 and 2 share a log; 0 stays silent while 2 makes it go round.
    let after_kill = async |mut node: Node<SimulatedEnvironment>| {
        for number in 0..90_u8 {
            node.put(PartitionId(2), &[number % 16], &[number; 400]).await.map_err(sentence)?;
        }
        let log = node.counters()[0].log;
        if log.segments_recycled > 3 { Ok(()) } else { Err(format!("the log did not go round: {log:?}")) }
    };
    let killed = kill_and_cut_power(extent, after_kill);
    killed.expect("every kill and power cut is survived").print("kill_reuse");
}

/// Kills a load at every step; each time a new process does what is asked, and then the power is cut.
fn kill_and_cut_power(
    extent: Extent,
    next_process: impl AsyncFn(Node<SimulatedEnvironment>) -> Result<(), String> + 'static,
) -> Result<Coverage, String> {
    let kill = move |image: &DiskImage, history: &History| {
        let history = history.fork();
        let environment = machine_after_crash(image);
        let wrote = environment.run_until(async {
            let node = open_and_check(&environment, open_options(CORES), &history).await?;
            next_process(node).await
        });
        wrote.expect("no crash was planned")?;
        [CrashPolicy::DropUnsynced, CrashPolicy::Reordered].into_iter().try_for_each(|policy| {
            let recovered = recovers(&environment.crash_image(policy, 0), &history);
            recovered.map_err(|message| format!("then a power cut as {policy:?}: {message}"))
        })
    };
    observed_load(SimulationOptions::in_order(), Jobs::Inline, Workload::default(), |machine, history| {
        kill_everywhere(machine, extent, move |image| kill(image, &history))
    })
}
