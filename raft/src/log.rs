//! The shape of a replica's log: which terms, how long, which memberships, how far it is stored and committed. The entries' bytes are the driver's.

use std::collections::VecDeque;

use crate::bugs::{self, Bug};
use crate::ids::{LogIndex, LogPosition, NodeId, PersistId, Term};
use crate::marks::{self, Mark};
use crate::membership::Membership;

/// What is known of an entry besides its bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EntryInfo {
    /// The term in which it was proposed.
    pub term: Term,
    /// The length of its bytes.
    pub bytes: u32,
    /// The membership that holds from this entry on, if it changes that.
    pub membership: Option<Box<Membership>>,
}

/// Entries that follow each other.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Entries {
    /// The first one's index.
    pub first: LogIndex,
    /// All of them, in order.
    pub infos: Vec<EntryInfo>,
}

impl Entries {
    /// The last one's index; the one before the first if there are none.
    #[must_use]
    pub fn last(&self) -> LogIndex {
        LogIndex(self.first.0 - 1).plus(self.infos.len() as u64)
    }

    /// The length of their bytes together.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.infos.iter().map(|info| u64::from(info.bytes)).sum()
    }
}

/// Entries of one term, up to where the next run begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TermRun {
    /// The first entry of the term.
    pub first: LogIndex,
    /// The term.
    pub term: Term,
}

/// A replica's log, as far as consensus looks at it. Takes four bytes an entry, besides a run for each term.
///
/// Invariant: `truncated ≤ committed ≤ last`, `stored ≤ last`; terms of runs rise.
#[derive(Clone, Debug)]
pub struct RaftLog {
    /// The last entry that is gone. All up to it was committed.
    truncated: LogPosition,
    runs: VecDeque<TermRun>,
    sizes: VecDeque<u32>,
    /// Entries that changed the membership, oldest first. The first holds the membership as of the truncated part.
    memberships: VecDeque<(LogIndex, Membership)>,
    committed: LogIndex,
    /// What this replica has stored, so that a crash does not take it.
    stored: LogIndex,
    /// What was given to be stored, and how far that goes.
    storing: VecDeque<(PersistId, LogIndex)>,
}

impl RaftLog {
    /// A log whose entries up to `truncated` are gone, and the membership as of there. `entries` follow, and are stored.
    pub(crate) fn new(
        truncated: LogPosition,
        membership: Membership,
        entries: &[EntryInfo],
        committed: LogIndex,
    ) -> Self {
        let mut log = Self {
            truncated,
            runs: VecDeque::new(),
            sizes: VecDeque::new(),
            memberships: VecDeque::from([(truncated.index, membership)]),
            committed: truncated.index,
            stored: truncated.index,
            storing: VecDeque::new(),
        };
        for entry in entries {
            log.append(entry);
        }
        log.stored = log.last().index;
        log.commit_to(committed.max(truncated.index));
        log
    }

    /// The last entry that is gone.
    #[must_use]
    pub fn truncated(&self) -> LogPosition {
        self.truncated
    }

    /// The first entry that is there, or would be.
    #[must_use]
    pub fn first_index(&self) -> LogIndex {
        self.truncated.index.next()
    }

    /// The last entry.
    #[must_use]
    pub fn last(&self) -> LogPosition {
        let index = self.truncated.index.plus(self.sizes.len() as u64);
        LogPosition { index, term: self.runs.back().map_or(self.truncated.term, |run| run.term) }
    }

    /// The last entry that is committed, as far as this replica knows.
    #[must_use]
    pub fn committed(&self) -> LogIndex {
        self.committed
    }

    /// The last entry that this replica has stored.
    #[must_use]
    pub fn stored(&self) -> LogIndex {
        self.stored
    }

    /// The term of an entry; `None` if it is gone or not there yet.
    #[must_use]
    pub fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index == self.truncated.index {
            return Some(self.truncated.term);
        }
        if index < self.truncated.index || index > self.last().index {
            return None;
        }
        let behind = self.runs.partition_point(|run| run.first <= index);
        Some(self.runs[behind - 1].term)
    }

    /// The position of an entry, if its term is known.
    #[must_use]
    pub fn position_at(&self, index: LogIndex) -> Option<LogPosition> {
        self.term_at(index).map(|term| LogPosition { term, index })
    }

    /// The membership that holds: of the last entry that changed it, committed or not (thesis 4.1).
    #[must_use]
    pub fn membership(&self) -> &Membership {
        &self.memberships.back().expect("there is always one").1
    }

    /// The entry that the membership holds from.
    #[must_use]
    pub fn membership_index(&self) -> LogIndex {
        self.memberships.back().expect("there is always one").0
    }

    /// Whether the node votes in a membership that may be in force, as far as is known here: of the last committed entry that changed it, or since.
    pub(crate) fn may_be_voter(&self, node: NodeId) -> bool {
        let behind = self.memberships.partition_point(|(from, _)| *from <= self.committed);
        let in_force = self.memberships.range(behind.max(1) - 1..);
        in_force.map(|(_, membership)| membership).any(|membership| membership.is_voter(node))
    }

    /// The membership as of an entry that is committed or truncated, for a snapshot there.
    #[must_use]
    pub fn membership_at(&self, index: LogIndex) -> &Membership {
        let behind = self.memberships.partition_point(|(from, _)| *from <= index);
        &self.memberships[behind.max(1) - 1].1
    }

    /// The last index of the runs up to which an entry's term is at most `term`, not beyond `index`: the best guess of a leader, or of a follower, at where
    /// two logs part (thesis 5.3, with one step for each term rather than each entry).
    pub(crate) fn last_with_term_at_most(&self, index: LogIndex, term: Term) -> LogPosition {
        let index = index.min(self.last().index);
        if let Some(found) = self.term_at(index)
            && found <= term
        {
            return LogPosition { index, term: found };
        }
        let behind = self.runs.partition_point(|run| run.first <= index && run.term <= term);
        let Some(run) = behind.checked_sub(1).map(|place| self.runs[place]) else { return self.truncated };
        let end = self.runs.get(behind).map_or(index, |next| next.first.previous());
        LogPosition { index: end.min(index), term: run.term }
    }

    /// Adds an entry.
    pub(crate) fn append(&mut self, entry: &EntryInfo) -> LogPosition {
        let last = self.last();
        assert!(entry.term >= last.term, "an entry of term {} behind {last}", entry.term);
        let index = last.index.next();
        if self.runs.back().is_none_or(|run| run.term != entry.term) {
            self.runs.push_back(TermRun { first: index, term: entry.term });
        }
        self.sizes.push_back(entry.bytes);
        if let Some(membership) = &entry.membership {
            self.memberships.push_back((index, (**membership).clone()));
        }
        LogPosition { index, term: entry.term }
    }

    /// Removes the entries from `first` on: another leader's take their place. The membership falls back to what held before them (thesis 4.1).
    pub(crate) fn cut_from(&mut self, first: LogIndex) {
        assert!(first > self.committed, "entry {first} is cut, but {} is committed", self.committed);
        let kept = usize::try_from(first.0 - self.first_index().0).expect("entries fit into memory");
        self.sizes.truncate(kept);
        while self.runs.back().is_some_and(|run| run.first >= first) {
            self.runs.pop_back();
        }
        let is_cut = |memberships: &VecDeque<(LogIndex, Membership)>| {
            memberships.len() > 1 && memberships.back().is_some_and(|(index, _)| *index >= first)
        };
        while is_cut(&self.memberships) && !bugs::is_planted(Bug::CutKeepsMembership) {
            marks::hit(Mark::ChangeCut);
            self.memberships.pop_back();
        }
        let last = first.previous();
        self.stored = self.stored.min(last);
        for (_, through) in &mut self.storing {
            *through = (*through).min(last);
        }
    }

    /// Forgets the entries up to `through`.
    ///
    /// # Panics
    /// If one of them is not committed.
    pub(crate) fn truncate(&mut self, through: LogIndex) {
        if through <= self.truncated.index {
            return;
        }
        assert!(through <= self.committed, "{through} is truncated, but only {} is committed", self.committed);
        let term = self.term_at(through).expect("a committed entry is there or was truncated");
        let gone = usize::try_from(through.0 - self.truncated.index.0).expect("entries fit into memory");
        self.sizes.drain(..gone);
        while self.runs.get(1).is_some_and(|next| next.first <= through.next()) {
            self.runs.pop_front();
        }
        if self.sizes.is_empty() {
            self.runs.clear();
        } else if let Some(first) = self.runs.front_mut() {
            first.first = first.first.max(through.next());
        }
        while self.memberships.get(1).is_some_and(|(index, _)| *index <= through) {
            self.memberships.pop_front();
        }
        self.truncated = LogPosition { term, index: through };
        // What the application or a snapshot holds needs no log.
        self.stored = self.stored.max(through);
    }

    /// Forgets everything: a snapshot takes its place, and is stored.
    pub(crate) fn reset(&mut self, position: LogPosition, membership: Membership) {
        *self = Self::new(position, membership, &[], position.index);
    }

    /// Learns that entries are committed; never goes back.
    pub(crate) fn commit_to(&mut self, index: LogIndex) -> bool {
        assert!(index <= self.last().index, "{index} is committed, but {} is the last", self.last());
        let is_more = index > self.committed;
        self.committed = self.committed.max(index);
        is_more
    }

    /// Learns that all there is now goes to the disk as `persist`.
    pub(crate) fn storing(&mut self, persist: PersistId) {
        self.storing.push_back((persist, self.last().index));
    }

    /// Learns that `persist` and all before it is stored.
    pub(crate) fn stored_through(&mut self, persist: PersistId) {
        while let Some((_, through)) = self.storing.pop_front_if(|(id, _)| *id <= persist) {
            self.stored = self.stored.max(through);
        }
    }

    /// The entries from `first` on, as many as have `bytes_max` together, but at least one if there is one.
    pub(crate) fn entries(&self, first: LogIndex, bytes_max: u64) -> Entries {
        debug_assert!(first >= self.first_index(), "{first} is gone");
        let mut infos = Vec::new();
        let mut bytes = 0;
        let mut index = first;
        let offset = usize::try_from(first.0 - self.first_index().0).expect("entries fit into memory");
        for size in self.sizes.range(offset.min(self.sizes.len())..) {
            bytes += u64::from(*size);
            if bytes > bytes_max && !infos.is_empty() {
                break;
            }
            let term = self.term_at(index).expect("the entry is there");
            infos.push(EntryInfo { term, bytes: *size, membership: self.membership_entry(index) });
            index = index.next();
        }
        Entries { first, infos }
    }

    fn membership_entry(&self, index: LogIndex) -> Option<Box<Membership>> {
        // The first one may be older than what is there; nearly always it is the only one.
        let found = self.memberships.iter().rev().take_while(|(from, _)| *from >= index).last();
        found.filter(|(from, _)| *from == index).map(|(_, membership)| Box::new(membership.clone()))
    }

    /// Asserts what always holds.
    pub(crate) fn check(&self) {
        let last = self.last();
        assert!(self.truncated.index <= self.committed && self.committed <= last.index, "{self:?}");
        assert!(self.stored <= last.index, "{self:?}");
        assert_eq!(self.runs.is_empty(), self.sizes.is_empty(), "{self:?}");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(term: u64) -> EntryInfo {
        EntryInfo { term: Term(term), bytes: 10, membership: None }
    }

    fn membership(voter: u64) -> Membership {
        Membership::new([NodeId(voter)], []).unwrap()
    }

    fn log_of(terms: &[u64]) -> RaftLog {
        let entries: Vec<_> = terms.iter().map(|term| entry(*term)).collect();
        RaftLog::new(LogPosition::ZERO, membership(1), &entries, LogIndex(0))
    }

    #[test]
    fn where_logs_part_is_found_in_one_step_a_term() {
        let log = log_of(&[1, 1, 4, 4, 5, 5, 6]);
        let at = |index, term| log.last_with_term_at_most(LogIndex(index), Term(term)).to_string();
        assert_eq!(at(7, 6), "7@6");
        assert_eq!(at(9, 9), "7@6");
        assert_eq!(at(7, 5), "6@5");
        assert_eq!(at(5, 5), "5@5");
        assert_eq!(at(6, 3), "2@1");
        assert_eq!(at(6, 0), "0@0");
    }

    #[test]
    fn a_cut_brings_the_membership_before_back() {
        let mut log = log_of(&[1, 1]);
        log.append(&EntryInfo { membership: Some(Box::new(membership(2))), ..entry(2) });
        log.storing(PersistId(1));
        assert_eq!((log.membership(), log.membership_index()), (&membership(2), LogIndex(3)));
        log.cut_from(LogIndex(3));
        assert_eq!(log.membership(), &membership(1));
        log.append(&entry(3));
        log.stored_through(PersistId(1));
        assert_eq!(log.stored(), LogIndex(2), "what was stored is not what is there now");
    }

    #[test]
    #[should_panic(expected = "is committed")]
    fn a_committed_entry_is_never_cut() {
        let mut log = log_of(&[1, 1]);
        log.commit_to(LogIndex(2));
        log.cut_from(LogIndex(2));
    }

    proptest! {
        /// Against a plain list of terms.
        #[test]
        fn a_log_is_a_list_of_terms(steps in prop::collection::vec((0_u8..4, 0_u64..12), 1..60)) {
            let mut log = log_of(&[]);
            let (mut model, mut truncated, mut committed, mut term) = (vec![0_u64], 0_u64, 0_u64, 1);
            for (step, number) in steps {
                let last = model.len() as u64 - 1;
                match step {
                    0 => {
                        term += number % 2;
                        log.append(&entry(term));
                        model.push(term);
                    }
                    1 if committed < last => {
                        let first = committed + 1 + number % (last - committed);
                        log.cut_from(LogIndex(first));
                        model.truncate(usize::try_from(first).unwrap());
                        term += 1;
                    }
                    2 => {
                        committed = committed.max(number.min(last));
                        log.commit_to(LogIndex(number.min(last)));
                    }
                    3 => {
                        truncated = truncated.max(number.min(committed));
                        log.truncate(LogIndex(number.min(committed)));
                    }
                    _ => {}
                }
                log.check();
                for index in 0..=model.len() {
                    let expected = model.get(index).filter(|_| index as u64 >= truncated).copied().map(Term);
                    prop_assert_eq!(log.term_at(LogIndex(index as u64)), expected, "{} of {:?}", index, model);
                }
                let entries = log.entries(log.first_index(), 25);
                let expected: Vec<_> = model.iter().skip(usize::try_from(truncated).unwrap() + 1).take(2).copied().map(entry).collect();
                prop_assert_eq!(entries.infos, expected);
            }
        }
    }
}
