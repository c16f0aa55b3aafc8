//! When work that failed is tried again: not at once, since a full disk is still full then, but after a time that doubles.

const WAIT_MS_FIRST: u64 = 100;
const WAIT_MS_MAX: u64 = 10_000;

/// The failures of one kind of work since it last succeeded. Time is the machine's clock as the store was last told.
#[derive(Debug, Default)]
pub(super) struct Retry {
    failures: u32,
    failed_at_ms: u64,
    is_waiting: bool,
}

impl Retry {
    pub(super) fn failed(&mut self, now_ms: u64) {
        self.failures = self.failures.saturating_add(1);
        self.failed_at_ms = now_ms;
        self.is_waiting = true;
    }

    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// Whether the last attempt failed.
    pub(super) fn has_failed(&self) -> bool {
        self.failures > 0
    }

    /// Whether nothing of this kind may be started.
    pub(super) fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// When the waiting ends.
    pub(super) fn due_ms(&self) -> Option<u64> {
        let doublings = self.failures.saturating_sub(1).min(16);
        let wait_ms = (WAIT_MS_FIRST << doublings).min(WAIT_MS_MAX);
        self.is_waiting.then(|| self.failed_at_ms.saturating_add(wait_ms))
    }

    /// Ends the waiting if its time has come; answers whether it did. A clock that stepped back ends it too.
    pub(super) fn wake(&mut self, now_ms: u64) -> bool {
        let is_due = self.due_ms().is_some_and(|due_ms| due_ms <= now_ms || now_ms < self.failed_at_ms);
        self.is_waiting &= !is_due;
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_end_when_the_clock_steps_back() {
        let mut retry = Retry::default();
        assert_eq!(retry.due_ms(), None);
        for wait_ms in [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000] {
            retry.failed(50_000);
            assert_eq!(retry.due_ms(), Some(50_000 + wait_ms));
            assert!(!retry.wake(50_000 + wait_ms - 1) && retry.is_waiting());
            assert!(retry.wake(50_000 + wait_ms) && !retry.is_waiting());
        }
        retry.failed(50_000);
        assert!(retry.wake(49_999));
        retry.succeeded();
        retry.failed(60_000);
        assert_eq!(retry.due_ms(), Some(60_100));
    }
}
