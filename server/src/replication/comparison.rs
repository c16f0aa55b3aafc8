//! Whether replicas that should be equal are: followers tell leaders the rolling hashes of what they have applied, and both look for the first entry from which they differ.
//!
//! A difference is a bug, or memory that does not keep what it is given; no replica can tell which of two is right. It is said loudly, counted until the hashes agree again,
//! and left to people.

use std::collections::BTreeMap;
use std::time::Duration;

use corelode_engine::ids::LogIndex;
use corelode_raft::{NodeId, Time};

/// Followers that have applied anything say so this often.
const INTERVAL: Duration = Duration::from_secs(1);

/// When a core's groups are to be compared next.
#[derive(Default, Debug)]
pub(crate) struct ComparisonSchedule {
    /// `None`: nothing was applied since the last time.
    due: Option<Time>,
    pub(crate) counters: ComparisonCounters,
}

/// What is counted, for STATUS.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct ComparisonCounters {
    /// Hashes that were compared.
    pub(crate) compared: u64,
    /// Hashes of entries that are not known here any more, or not yet.
    pub(crate) incomparable: u64,
}

impl ComparisonSchedule {
    /// Something was applied.
    pub(crate) fn note_applied(&mut self, now: Time) {
        self.due.get_or_insert(now.after(INTERVAL));
    }

    /// Whether it is time; said once.
    pub(crate) fn take_due(&mut self, now: Time) -> bool {
        self.due.take_if(|due| *due <= now).is_some()
    }

    pub(crate) fn next_time(&self) -> Option<Time> {
        self.due
    }
}

/// How hashes of two replicas compare.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Compared {
    /// No entry's hash is known to both.
    Incomparable,
    /// All that both know are equal.
    Equal,
    /// They differ from this entry on.
    DifferFrom {
        /// The first that is known to differ.
        first: LogIndex,
        /// Whether the one before is known to be equal.
        is_exact: bool,
    },
}

/// Compares hashes of another replica, in order, with this one's.
pub(crate) fn compare(
    theirs: impl Iterator<Item = (LogIndex, u64)>,
    ours: impl Fn(LogIndex) -> Option<u64>,
) -> Compared {
    let mut compared = Compared::Incomparable;
    for (index, their_hash) in theirs {
        let Some(our_hash) = ours(index) else { continue };
        if their_hash != our_hash {
            return Compared::DifferFrom { first: index, is_exact: compared == Compared::Equal };
        }
        compared = Compared::Equal;
    }
    compared
}

/// The replicas of a group that are known to differ from this one, and from where on.
#[derive(Default, Debug)]
pub(crate) struct Divergence {
    known: BTreeMap<NodeId, Since>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Since {
    first: LogIndex,
    is_exact: bool,
}

/// What is new about a replica.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum News {
    /// Nothing.
    None,
    /// It differs.
    Found,
    /// It is known better from where on.
    Narrowed,
    /// It differed, and does not any more.
    Over,
}

impl Divergence {
    /// Takes note of what comparing with `node` has shown.
    pub(crate) fn note(&mut self, node: NodeId, compared: Compared) -> News {
        match compared {
            Compared::Incomparable => News::None,
            Compared::Equal if self.known.remove(&node).is_some() => News::Over,
            Compared::Equal => News::None,
            Compared::DifferFrom { first, is_exact } => {
                let since = Since { first, is_exact };
                match self.known.insert(node, since) {
                    None => News::Found,
                    Some(before) if is_exact && !before.is_exact => News::Narrowed,
                    Some(before) => {
                        // The end of a row of hashes says less than its beginning did.
                        self.known.insert(node, before);
                        News::None
                    }
                }
            }
        }
    }

    /// This replica was replaced by another's: what was known of it is void.
    pub(crate) fn clear(&mut self) {
        self.known.clear();
    }

    /// The first entry from which any replica is known to differ.
    pub(crate) fn first(&self) -> Option<LogIndex> {
        self.known.values().map(|since| since.first).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(first: u64, hashes: &[u64]) -> impl Iterator<Item = (LogIndex, u64)> {
        (first..).map(LogIndex).zip(hashes.iter().copied()).collect::<Vec<_>>().into_iter()
    }

    #[test]
    fn the_first_difference_is_found_among_what_both_know() {
        let ours = |index: LogIndex| (10..20).contains(&index.0).then_some(index.0);
        assert_eq!(compare(hashes(5, &[5, 6]), ours), Compared::Incomparable);
        assert_eq!(compare(hashes(8, &[0, 0, 10, 11]), ours), Compared::Equal);
        let from = |first, is_exact| Compared::DifferFrom { first: LogIndex(first), is_exact };
        assert_eq!(compare(hashes(8, &[0, 0, 10, 11, 99, 13]), ours), from(12, true));
        assert_eq!(compare(hashes(10, &[99, 11]), ours), from(10, false));
        assert_eq!(compare(hashes(12, &[99]), ours), from(12, false));
    }

    #[test]
    fn a_difference_is_news_once_and_again_when_it_is_known_better_or_over() {
        let node = NodeId(2);
        let from = |first, is_exact| Compared::DifferFrom { first: LogIndex(first), is_exact };
        let mut divergence = Divergence::default();
        assert_eq!(divergence.note(node, Compared::Equal), News::None);
        assert_eq!(divergence.note(node, from(12, false)), News::Found);
        assert_eq!(divergence.note(node, from(13, false)), News::None);
        assert_eq!(divergence.first(), Some(LogIndex(12)));
        assert_eq!(divergence.note(node, from(7, true)), News::Narrowed);
        assert_eq!(divergence.note(node, from(13, false)), News::None);
        assert_eq!(divergence.first(), Some(LogIndex(7)));
        assert_eq!(divergence.note(node, Compared::Incomparable), News::None);
        assert_eq!(divergence.note(node, Compared::Equal), News::Over);
        assert_eq!(divergence.first(), None);
    }

    #[test]
    fn a_core_that_applies_nothing_has_nothing_to_compare() {
        let mut schedule = ComparisonSchedule::default();
        assert!(!schedule.take_due(Time(u64::MAX / 2)) && schedule.next_time().is_none());
        schedule.note_applied(Time(0));
        schedule.note_applied(Time(900_000_000));
        assert!(!schedule.take_due(Time(999_999_999)));
        assert!(schedule.take_due(Time(1_000_000_000)));
        assert!(!schedule.take_due(Time(2_000_000_000)) && schedule.next_time().is_none());
    }
}
