//! Where the threads of a load wait for each other before it begins.
//!
//! A barrier of the standard library waits for ever for a thread that panicked on its way there. Here each has an [`Arrival`] from before it is
//! started, and to lose that is to arrive, too: the others go on, and find that the load is stopped.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

/// Opens once all that it expects have come.
#[derive(Default)]
pub(super) struct Gate {
    missing: Mutex<usize>,
    is_open: Condvar,
}

/// One of those that a gate expects. One that is dropped instead of waiting stops the load.
pub(super) struct Arrival<'a> {
    gate: &'a Gate,
    stop: &'a AtomicBool,
    is_there: bool,
}

impl Gate {
    /// Expects one more, who sets `stop` if it does not come.
    pub(super) fn expect_one<'a>(&'a self, stop: &'a AtomicBool) -> Arrival<'a> {
        *self.missing.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Arrival { gate: self, stop, is_there: false }
    }
}

impl Arrival<'_> {
    /// Arrives, and waits for all others.
    pub(super) fn wait(mut self) {
        self.is_there = true;
        let gate = self.gate;
        drop(self);
        let missing = gate.missing.lock().unwrap_or_else(PoisonError::into_inner);
        drop(gate.is_open.wait_while(missing, |missing| *missing > 0).unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for Arrival<'_> {
    fn drop(&mut self) {
        if !self.is_there {
            // Before the gate opens, so that nobody begins.
            self.stop.store(true, Ordering::Relaxed);
        }
        // No code panics while it holds the lock.
        let mut missing = self.gate.missing.lock().unwrap_or_else(PoisonError::into_inner);
        *missing -= 1;
        if *missing == 0 {
            self.gate.is_open.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_lost_on_the_way_opens_the_gate_for_the_others_and_stops_them() {
        let (gate, stop) = (Gate::default(), AtomicBool::new(false));
        let (one, other, lost) = (gate.expect_one(&stop), gate.expect_one(&stop), gate.expect_one(&stop));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| one.wait());
            let panicked = scope.spawn(move || {
                let _lost = lost;
                panic!("on the way");
            });
            assert!(panicked.join().is_err());
            other.wait();
            waiting.join().expect("it came through");
        });
        assert!(stop.load(Ordering::Relaxed));
    }
}
