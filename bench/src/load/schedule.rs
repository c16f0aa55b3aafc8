//! When operations are sent.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::report::model::{Arrival, Pace};

/// A thread's share of the pace. Times are nanoseconds since the load began.
pub(super) enum Schedule {
    /// Whenever a client has room.
    Closed,
    /// At times that do not depend on answers. Nothing is stored for operations that are late, since their times follow from the seed.
    Open { next_ns: f64, mean_ns: f64, arrival: Arrival, random: Box<StdRng> },
}

impl Schedule {
    /// The schedule of thread `thread` of `threads`.
    pub(super) fn new(pace: Pace, thread: usize, threads: usize, seed: u64) -> Self {
        match pace {
            Pace::Closed => Self::Closed,
            Pace::Open { rate, arrival } => {
                #[allow(clippy::cast_precision_loss, reason = "a handful of threads")]
                let (thread, threads) = (thread as f64, threads as f64);
                let mean_ns = 1e9 * threads / rate;
                let random = Box::new(StdRng::seed_from_u64(seed));
                // Threads take turns.
                Self::Open { next_ns: mean_ns * thread / threads, mean_ns, arrival, random }
            }
        }
    }

    /// When the next operation is due; `None` in a closed loop.
    pub(super) fn next_ns(&self) -> Option<u64> {
        match self {
            Self::Closed => None,
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "not negative, and 500 years fit"
            )]
            Self::Open { next_ns, .. } => Some(*next_ns as u64),
        }
    }

    /// About how many operations are due from the next one on in the time from `from_ns` to `until_ns`: exact at equal distances, else by their mean.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a count, and not negative"
    )]
    pub(super) fn count_due(&self, from_ns: u64, until_ns: u64) -> u64 {
        match self {
            Self::Closed => 0,
            Self::Open { next_ns, mean_ns, .. } => {
                ((until_ns as f64 - next_ns.max(from_ns as f64)) / mean_ns).ceil().max(0.0) as u64
            }
        }
    }

    /// Goes on to the operation after that.
    pub(super) fn advance(&mut self) {
        if let Self::Open { next_ns, mean_ns, arrival, random } = self {
            *next_ns += match arrival {
                Arrival::Constant => *mean_ns,
                // The inverse of the exponential distribution's function; 1 - u is never zero.
                Arrival::Poisson => -*mean_ns * (1.0 - random.random::<f64>()).ln(),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(arrival: Arrival, thread: usize, count: usize) -> Vec<u64> {
        let mut schedule = Schedule::new(Pace::Open { rate: 1_000.0, arrival }, thread, 2, 7);
        let mut times = Vec::new();
        for _ in 0..count {
            times.push(schedule.next_ns().expect("an open loop"));
            schedule.advance();
        }
        times
    }

    #[test]
    fn constant_arrivals_of_two_threads_lie_between_each_other() {
        assert_eq!(times(Arrival::Constant, 0, 3), [0, 2_000_000, 4_000_000]);
        assert_eq!(times(Arrival::Constant, 1, 3), [1_000_000, 3_000_000, 5_000_000]);
    }

    #[test]
    fn what_is_due_is_counted_from_the_next_one_on() {
        let mut schedule = Schedule::new(Pace::Open { rate: 1_000.0, arrival: Arrival::Constant }, 0, 1, 7);
        assert_eq!(schedule.count_due(0, 10_000_000), 10);
        schedule.advance();
        assert_eq!(schedule.count_due(0, 10_000_000), 9);
        assert_eq!(schedule.count_due(4_000_000, 10_000_000), 6);
        assert_eq!(schedule.count_due(0, 1_000_000), 0);
        assert_eq!(Schedule::Closed.count_due(0, 10_000_000), 0);
    }

    /// The mean of n exponential distances deviates by 1/sqrt(n), and the share that is longer than the mean is 1/e.
    #[test]
    fn poisson_arrivals_have_the_rate_and_shape_of_their_definition() {
        let times = times(Arrival::Poisson, 0, 100_001);
        let mean = times.last().expect("many") / 100_000;
        assert!((1_980_000..=2_020_000).contains(&mean), "{mean}");
        let longer = times.windows(2).filter(|pair| pair[1] - pair[0] > 2_000_000).count();
        assert!((36_000..=37_600).contains(&longer), "{longer}");
    }
}
