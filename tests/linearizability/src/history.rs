//! What clients asked and were told, and when.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

/// What was done to a key. Values are numbers, each written once in a history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// A value was written, or the key deleted.
    Write(Option<u64>),
    /// This was read.
    Read(Option<u64>),
}

/// An operation on one key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Operation {
    /// Who.
    pub client: u64,
    /// When it was asked.
    pub called: Duration,
    /// When it was answered; `None` for a write whose outcome is unknown: it may take effect at any time, or never.
    pub returned: Option<Duration>,
    /// What.
    pub action: Action,
}

/// Operations by key.
#[derive(Default, Debug)]
pub struct History {
    keys: RefCell<BTreeMap<u64, Vec<Operation>>>,
}

impl History {
    /// Notes an operation that has ended, one way or the other.
    pub fn push(&self, key: u64, operation: Operation) {
        self.keys.borrow_mut().entry(key).or_default().push(operation);
    }

    /// The operations on each key.
    #[must_use]
    pub fn keys(&self) -> BTreeMap<u64, Vec<Operation>> {
        self.keys.borrow().clone()
    }

    /// How many operations were answered.
    #[must_use]
    pub fn answered(&self) -> u64 {
        let keys = self.keys.borrow();
        keys.values().flatten().filter(|operation| operation.returned.is_some()).count() as u64
    }

    /// How many pairs of operations on the same key overlapped in time.
    #[must_use]
    pub fn overlapping(&self) -> u64 {
        let keys = self.keys.borrow();
        let pairs = keys.values().map(|operations| {
            let mut by_call = operations.clone();
            by_call.sort_by_key(|operation| operation.called);
            let overlapping_with = |(place, one): (usize, &Operation)| {
                let end = one.returned.unwrap_or(Duration::MAX);
                by_call[place + 1..].iter().take_while(|other| other.called < end).count() as u64
            };
            by_call.iter().enumerate().map(overlapping_with).sum::<u64>()
        });
        pairs.sum()
    }
}
