//! A sequence of named steps: each announced and timed; a failed one is told with what to do about it.

use std::time::{Duration, Instant};

use crate::failure::Failure;

/// The steps taken so far, with the time each took.
#[derive(Debug)]
pub(crate) struct Steps {
    begin: Instant,
    taken: Vec<Taken>,
}

#[derive(Debug)]
struct Taken {
    name: &'static str,
    time: Duration,
    is_done: bool,
}

impl Steps {
    /// No step taken yet; the time in all counts from here.
    pub(crate) fn begin() -> Self {
        Self { begin: Instant::now(), taken: Vec::new() }
    }

    /// Takes one step. `advice` says what to do when it fails.
    pub(crate) fn step<T>(
        &mut self,
        name: &'static str,
        advice: &'static str,
        work: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        println!("\n=== {}. {name} ===", self.taken.len() + 1);
        let begin = Instant::now();
        let outcome = work();
        self.taken.push(Taken { name, time: begin.elapsed(), is_done: outcome.is_ok() });
        outcome.map_err(|source| Failure::Step { name, advice, source: Box::new(source) })
    }

    /// Prints the time of each step taken and of all together.
    pub(crate) fn print_times(&self) {
        println!("\n=== time ===");
        for Taken { name, time, is_done } in &self.taken {
            println!("{:8.1} s  {name}{}", time.as_secs_f64(), if *is_done { "" } else { "  FAILED" });
        }
        println!("{:8.1} s  in all", self.begin.elapsed().as_secs_f64());
    }
}
