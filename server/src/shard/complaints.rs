//! How much a shard logs about connections that misbehave: strangers must not fill the disk that the log goes to.

/// Lines in one interval; of the rest only the number is logged.
const LINES_MAX: u32 = 10;
const INTERVAL_MS: u64 = 10_000;

/// Owned by one shard.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    interval_began_ms: u64,
    count: u32,
}

impl Complaints {
    /// Whether a line may be logged now. Tells how many were held back once an interval has passed.
    pub(crate) fn may_speak(&mut self, now_ms: u64) -> bool {
        if now_ms >= self.interval_began_ms + INTERVAL_MS {
            let held_back = self.count.saturating_sub(LINES_MAX);
            if held_back > 0 {
                tracing::warn!(held_back, "further connections misbehaved and were closed");
            }
            *self = Self { interval_began_ms: now_ms, count: 0 };
        }
        self.count = self.count.saturating_add(1);
        self.count <= LINES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_lines_an_interval() {
        let mut complaints = Complaints::default();
        let spoken = |complaints: &mut Complaints, now_ms| (0..100).filter(|_| complaints.may_speak(now_ms)).count();
        assert_eq!(spoken(&mut complaints, 5), LINES_MAX as usize);
        assert_eq!(spoken(&mut complaints, INTERVAL_MS - 1), 0);
        assert_eq!(spoken(&mut complaints, INTERVAL_MS), LINES_MAX as usize);
    }
}
