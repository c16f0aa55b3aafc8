//! The names in one simulated directory: those that are durable, those that a reader sees, and the changes between them.
//!
//! Each change survives a crash or not on its own, until a sync of the directory. A change is one name, or the two names of a
//! rename within the directory, which survive together: a journal writes them in one transaction.

use std::collections::BTreeMap;

use super::content::ChangeSequence;
use super::image::{Dice, Survival};

/// A file or directory, whatever its names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Inode(pub(super) u64);

type Names = BTreeMap<String, Inode>;

#[derive(Clone, Default)]
pub(super) struct Directory {
    durable: Names,
    visible: Names,
    /// Oldest first.
    pending: Vec<Change>,
    sequence: ChangeSequence,
}

#[derive(Clone)]
struct Change {
    sequence: ChangeSequence,
    /// What each name stands for afterwards; none if it is gone.
    names: Vec<(String, Option<Inode>)>,
}

impl Change {
    fn apply(&self, names: &mut Names) {
        for (name, inode) in &self.names {
            match inode {
                Some(inode) => names.insert(name.clone(), *inode),
                None => names.remove(name),
            };
        }
    }
}

impl Directory {
    pub(super) fn get(&self, name: &str) -> Option<Inode> {
        self.visible.get(name).copied()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = (&str, Inode)> {
        self.visible.iter().map(|(name, &inode)| (name.as_str(), inode))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.visible.is_empty()
    }

    /// The latest change, which a sync that starts now will cover.
    pub(super) fn sequence(&self) -> ChangeSequence {
        self.sequence
    }

    /// Changes names, as one unit.
    pub(super) fn change(&mut self, names: Vec<(String, Option<Inode>)>) {
        let change = Change { sequence: self.sequence.next(), names };
        change.apply(&mut self.visible);
        self.pending.push(change);
    }

    /// Makes durable what was changed up to `covered`.
    pub(super) fn sync(&mut self, covered: ChangeSequence) {
        let count = self.pending.partition_point(|change| change.sequence <= covered);
        for change in self.pending.drain(..count) {
            change.apply(&mut self.durable);
        }
    }

    /// Every inode that a name stands for, or may stand for after a crash; some more than once.
    pub(super) fn references(&self) -> impl Iterator<Item = Inode> {
        let pending = self.pending.iter().flat_map(|change| &change.names).filter_map(|(_, inode)| *inode);
        self.durable.values().chain(self.visible.values()).copied().chain(pending)
    }

    /// What a crash leaves of the names.
    pub(super) fn after_crash(&self, survival: Survival, dice: &mut Dice) -> Self {
        let mut names = self.durable.clone();
        for change in &self.pending {
            let survives = match survival {
                Survival::Nothing => false,
                Survival::Everything => true,
                Survival::Units | Survival::Sectors => dice.survives(),
            };
            if survives {
                change.apply(&mut names);
            }
        }
        Self { durable: names.clone(), visible: names, ..Self::default() }
    }
}
