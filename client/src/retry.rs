//! Whether to try again, where, and after how long: pure functions.
//!
//! A read may be repeated whatever happened, and so may a write that its session tells apart. Any other write is repeated only if it was surely not
//! executed.

use std::time::Duration;

use corelode_net::{ErrorCode, RetryClass};

use crate::error::AttemptError;

const DELAY_FIRST: Duration = Duration::from_millis(2);
const DELAY_MAX: Duration = Duration::from_millis(500);
/// A partition without a leader has one again within a second or two, and nobody tells when.
const DELAY_ELSEWHERE_MAX: Duration = Duration::from_millis(64);

/// What it means to carry out a request twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Nothing: a read, or what else may be repeated at will.
    Read,
    /// It may undo what was written in between.
    Write,
    /// It is carried out once, however often it is sent.
    StampedWrite,
}

impl Kind {
    /// Whether the caller wants to know that it may have been carried out.
    pub(crate) fn is_write(self) -> bool {
        self != Self::Read
    }
}

/// What to do after a failed attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Decision {
    /// Tell the caller.
    GiveUp,
    /// Try again after a delay drawn below this one.
    RetryWithin(Duration),
    /// The map is old: fetch the topology, then try again after a delay drawn below this one.
    RefreshAndRetryWithin(Duration),
    /// Whoever was asked does not serve it: try another replica after a delay drawn below this one.
    ElsewhereWithin(Duration),
}

/// The longest delay before another attempt, of number `attempt` from 0.
pub(crate) fn delay(attempt: u32) -> Duration {
    DELAY_FIRST.saturating_mul(1 << attempt.min(16)).min(DELAY_MAX)
}

/// Decides on attempt number `attempt`, from 0.
pub(crate) fn decide(error: &AttemptError, kind: Kind, attempt: u32) -> Decision {
    let delay = delay(attempt);
    let may_be_repeated = kind != Kind::Write;
    let elsewhere = Decision::ElsewhereWithin(delay.min(DELAY_ELSEWHERE_MAX));
    match error {
        AttemptError::NotSent { .. } | AttemptError::TimedOut { was_sent: false } => elsewhere,
        AttemptError::Broken { .. } | AttemptError::TimedOut { was_sent: true } if may_be_repeated => elsewhere,
        // The class binds more than what the code usually means.
        AttemptError::Server {
            code: Some(ErrorCode::WrongCore | ErrorCode::StaleMap),
            retry: RetryClass::Safe,
            ..
        } => Decision::RefreshAndRetryWithin(delay),
        AttemptError::Server {
            code: Some(ErrorCode::NotLeader | ErrorCode::ShuttingDown),
            retry: RetryClass::Safe,
            ..
        } => elsewhere,
        // The deadline that passed is the caller's own.
        AttemptError::Server { code: Some(ErrorCode::DeadlineExceeded), .. } => Decision::GiveUp,
        // What is safe to repeat is the scan, from where it was, at another revision: its caller decides.
        AttemptError::Server { code: Some(ErrorCode::SnapshotExpired), .. } => Decision::GiveUp,
        AttemptError::Server { retry: RetryClass::Safe, .. } => Decision::RetryWithin(delay),
        AttemptError::Server { retry: RetryClass::Unknown, .. } if may_be_repeated => Decision::RetryWithin(delay),
        _ => Decision::GiveUp,
    }
}

/// A delay drawn evenly from half of `within` to all of it, so that clients do not come back together.
pub(crate) fn jittered(within: Duration, random: u64) -> Duration {
    let half = within / 2;
    let share = f64::from(u32::try_from(random >> 32).expect("32 bits")) / f64::from(u32::MAX);
    half + half.mul_f64(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(code: ErrorCode) -> AttemptError {
        AttemptError::Server { code: Some(code), retry: code.retry_class(), message: String::new(), leader: None }
    }

    #[test]
    fn a_write_is_repeated_only_if_it_was_surely_not_executed() {
        let is_repeated = |error: AttemptError| decide(&error, Kind::Write, 0) != Decision::GiveUp;
        assert!(is_repeated(AttemptError::NotSent { reason: String::new() }));
        assert!(is_repeated(server(ErrorCode::Overloaded)));
        assert!(is_repeated(server(ErrorCode::ShuttingDown)));
        assert!(!is_repeated(AttemptError::Broken { reason: String::new() }));
        assert!(!is_repeated(AttemptError::TimedOut { was_sent: true }));
        assert!(!is_repeated(server(ErrorCode::OutcomeUnknown)));
        assert!(!is_repeated(server(ErrorCode::Internal)));
        assert!(!is_repeated(server(ErrorCode::TooLarge)));
    }

    #[test]
    fn a_read_is_repeated_after_a_broken_connection() {
        let error = AttemptError::Broken { reason: String::new() };
        assert_eq!(decide(&error, Kind::Read, 0), Decision::ElsewhereWithin(DELAY_FIRST));
    }

    #[test]
    fn a_stamped_write_is_repeated_whatever_became_of_it_unless_it_was_refused() {
        let decide = |error: AttemptError| decide(&error, Kind::StampedWrite, 0);
        let elsewhere = Decision::ElsewhereWithin(DELAY_FIRST);
        assert_eq!(decide(AttemptError::NotSent { reason: String::new() }), elsewhere);
        assert_eq!(decide(AttemptError::Broken { reason: String::new() }), elsewhere);
        assert_eq!(decide(AttemptError::TimedOut { was_sent: true }), elsewhere);
        for code in [ErrorCode::OutcomeUnknown, ErrorCode::Internal, ErrorCode::Overloaded] {
            assert_eq!(decide(server(code)), Decision::RetryWithin(DELAY_FIRST));
        }
        for code in [ErrorCode::SessionExpired, ErrorCode::SequenceReused, ErrorCode::DeadlineExceeded] {
            assert_eq!(decide(server(code)), Decision::GiveUp);
        }
        assert_eq!(decide(AttemptError::Protocol { message: String::new() }), Decision::GiveUp);
    }

    /// PITFALL 41.
    #[test]
    fn delays_grow_to_a_bound_and_vary() {
        assert_eq!(decide(&server(ErrorCode::Overloaded), Kind::Write, 40), Decision::RetryWithin(DELAY_MAX));
        assert_eq!(
            decide(&server(ErrorCode::NotLeader), Kind::Write, 40),
            Decision::ElsewhereWithin(DELAY_ELSEWHERE_MAX)
        );
        assert_eq!(jittered(DELAY_MAX, 0), DELAY_MAX / 2);
        assert_eq!(jittered(DELAY_MAX, u64::MAX), DELAY_MAX);
    }
}
