//! What the kernel counts of a process.

use std::fs;
use std::path::Path;

/// Of all threads of a process together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Usage {
    /// Time on a processor, nanoseconds.
    pub(crate) processor_ns: u64,
    /// How often a thread gave its processor up, and so was woken again.
    pub(crate) waits: u64,
}

impl Usage {
    /// Asks the kernel.
    pub(crate) fn of(process: u32) -> Result<Self, String> {
        let mut usage = Self::default();
        let tasks = format!("/proc/{process}/task");
        let fail = |error: std::io::Error| format!("{tasks}: {error}");
        for task in fs::read_dir(&tasks).map_err(fail)? {
            let folder = task.map_err(fail)?.path();
            // A thread may end in between.
            let Some((processor_ns, waits)) = of_thread(&folder) else { continue };
            usage.processor_ns += processor_ns;
            usage.waits += waits;
        }
        Ok(usage)
    }

    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            processor_ns: self.processor_ns.saturating_sub(earlier.processor_ns),
            waits: self.waits.saturating_sub(earlier.waits),
        }
    }
}

fn of_thread(folder: &Path) -> Option<(u64, u64)> {
    let scheduled = fs::read_to_string(folder.join("schedstat")).ok()?;
    let status = fs::read_to_string(folder.join("status")).ok()?;
    let waits = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
    Some((scheduled.split(' ').next()?.parse().ok()?, waits.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_works_uses_its_processor() {
        let own = std::process::id();
        let before = Usage::of(own).expect("it runs");
        let mut sum = 0_u64;
        while Usage::of(own).expect("it runs").since(before).processor_ns < 5_000_000 {
            sum = (0..100_000).fold(sum, |sum, number| sum.wrapping_mul(31).wrapping_add(number));
        }
        assert_ne!(std::hint::black_box(sum), 1);
        assert!(Usage::of(u32::MAX).is_err());
    }
}
