//! The standing of a maintenance thread with the kernel's scheduler: nicer than its shard, and not pinned to the shard's core.

use std::io;

use rustix::process::{getpid, getpriority_process, setpriority_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::MaintenanceOptions;

/// The nicest there is.
const NICE_MAX: i32 = 19;

/// Gives the calling thread the standing that the options ask for. What the kernel refuses is said and done without: the
/// thread works all the same, in a worse place.
pub(super) fn apply(options: &MaintenanceOptions) {
    if let Err(error) = become_nicer(options.nice) {
        tracing::warn!(thread = options.name, %error, "cannot lower the priority of a maintenance thread");
    }
    if let Err(error) = unpin(options.processors.as_deref()) {
        tracing::warn!(thread = options.name, %error, "cannot choose the processors of a maintenance thread");
    }
}

fn become_nicer(by: u8) -> io::Result<()> {
    // On Linux a process of none means the calling thread alone.
    let nice = getpriority_process(None)? + i32::from(by);
    Ok(setpriority_process(None, nice.min(NICE_MAX))?)
}

fn unpin(processors: Option<&[usize]>) -> io::Result<()> {
    let allowed = match processors {
        Some(processors) => {
            let mut allowed = CpuSet::new();
            for &processor in processors.iter().filter(|&&processor| processor < CpuSet::MAX_CPU) {
                allowed.set(processor);
            }
            allowed
        }
        // A thread is born with the pinning of the one that starts it. The first thread of the process has what the operator gave.
        None => sched_getaffinity(Some(getpid()))?,
    };
    Ok(sched_setaffinity(None, &allowed)?)
}
