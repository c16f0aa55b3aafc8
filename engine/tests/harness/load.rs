//! A load on a machine that crashes.

use std::cell::RefCell;
use std::rc::Rc;

use corelode_engine::env::simulated::{DiskImage, SimulatedEnvironment, SimulationOptions};

use super::crashes::{Coverage, DIRECTORY, Extent, crash_everywhere, recover_and_check};
use super::workload::{Workload, open_options, sentence};
use super::{History, Jobs, Node};

pub const CORES: u16 = 2;

/// What is being covered while a machine runs.
pub type Checked = Rc<RefCell<Coverage>>;

/// Runs a load on a machine that `observe` watches.
pub fn observed_load(
    simulation: SimulationOptions,
    jobs: Jobs,
    workload: Workload,
    observe: impl FnOnce(&SimulatedEnvironment, History) -> Checked,
) -> Result<Coverage, String> {
    let environment = SimulatedEnvironment::new(simulation);
    let history = History::default();
    let coverage = observe(&environment, history.clone());
    let ran = environment.run_until(async {
        let options = workload.open_options(CORES);
        let mut node = Node::open_with(&environment, DIRECTORY.as_ref(), options, &history).await.map_err(sentence)?;
        node.jobs = jobs;
        workload.run(&mut node).await.map_err(sentence)?;
        history.check(&mut node).await.map_err(|message| format!("without a crash: {message}"))
    });
    ran.expect("no crash was planned")?;
    let coverage = coverage.borrow().clone();
    coverage.result().map(|()| coverage)
}

/// Crashes a load at every step.
pub fn crash_the_load(
    simulation: SimulationOptions,
    jobs: Jobs,
    workload: Workload,
    extent: Extent,
    check: impl Fn(&DiskImage, &History) -> Result<(), String> + 'static,
) -> Result<Coverage, String> {
    observed_load(simulation, jobs, workload, |environment, history| {
        crash_everywhere(environment, extent, move |image| check(image, &history))
    })
}

/// Opens what a crash left, and checks it.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn recovers(image: &DiskImage, history: &History) -> Result<(), String> {
    recover_and_check(image, open_options(CORES), history)
}
