//! Whether the operations on one key can have happened one after the other, each between its call and its answer.
//!
//! A depth-first search over the orders, as Wing and Gong have it ("Testing and verifying concurrent objects", 1993), which remembers what it has tried by the
//! set of operations done and the value there (Lowe, "Testing for linearizability", 2017). Written here and not taken from a crate: the one that there is
//! brings a benchmark framework along, and a register whose values are written once needs few lines.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::history::{Action, Operation};

/// Whether the operations on a key, which was absent before the first, are linearizable.
///
/// # Errors
/// A sentence that shows the operations around the point that no order reaches beyond.
pub fn check(operations: &[Operation]) -> Result<(), String> {
    let operations = relevant(operations);
    let mut search = Search::new(&operations);
    if search.run() { Ok(()) } else { Err(search.describe()) }
}

/// Without writes that may or may not have happened and that nobody saw: they may as well come last. One that was seen has happened before the first who saw it was
/// told. A deletion is seen as absence, so it stays as it is.
fn relevant(operations: &[Operation]) -> Vec<Operation> {
    let mut seen_at = HashMap::new();
    for operation in operations {
        if let (Action::Read(Some(value)), Some(returned)) = (operation.action, operation.returned) {
            let first = seen_at.entry(value).or_insert(returned);
            *first = returned.min(*first);
        }
    }
    let narrowed = |operation: &Operation| match operation.action {
        Action::Write(Some(written)) => {
            let returned = operation.returned.or_else(|| seen_at.get(&written).copied())?;
            Some(Operation { returned: Some(returned), ..*operation })
        }
        Action::Write(None) | Action::Read(_) => Some(*operation),
    };
    let mut needed: Vec<_> = operations.iter().filter_map(narrowed).collect();
    needed.sort_by_key(|operation| (operation.called, operation.returned));
    needed
}

struct Search<'a> {
    /// By the time of the call.
    operations: &'a [Operation],
    done: Vec<bool>,
    /// The first that is not done.
    first: usize,
    value: Option<u64>,
    tried: HashSet<(usize, Vec<usize>, Option<u64>)>,
    /// The most that were ever done.
    reached: usize,
    reached_first: usize,
}

impl<'a> Search<'a> {
    fn new(operations: &'a [Operation]) -> Self {
        let done = vec![false; operations.len()];
        Self { operations, done, first: 0, value: None, tried: HashSet::new(), reached: 0, reached_first: 0 }
    }

    /// Depth first, with the path on the heap: histories are long.
    fn run(&mut self) -> bool {
        // What was done, and the value before.
        let mut path: Vec<(usize, Option<u64>)> = Vec::new();
        let mut candidates = vec![self.candidates()];
        loop {
            if self.is_complete() {
                return true;
            }
            let next = candidates.last_mut().expect("one for each step of the path").pop();
            let Some(next) = next else {
                candidates.pop();
                let Some((undone, value)) = path.pop() else { return false };
                self.done[undone] = false;
                self.first = self.first.min(undone);
                self.value = value;
                continue;
            };
            let before = self.value;
            if !self.accept(next) {
                continue;
            }
            if self.is_new() {
                path.push((next, before));
                if path.len() > self.reached {
                    (self.reached, self.reached_first) = (path.len(), self.first);
                }
                candidates.push(self.candidates());
            } else {
                self.done[next] = false;
                self.first = self.first.min(next);
                self.value = before;
            }
        }
    }

    /// Whether all that was answered is done: what was not may never happen.
    fn is_complete(&self) -> bool {
        (self.first..self.operations.len()).all(|place| self.done[place] || self.operations[place].returned.is_none())
    }

    /// Those that may come next: called before the first answer among those that are not done.
    fn candidates(&self) -> Vec<usize> {
        let open = || (self.first..self.operations.len()).filter(|place| !self.done[*place]);
        let end = |place: usize| self.operations[place].returned.unwrap_or(Duration::MAX);
        let first_answer = open().map(end).min().unwrap_or(Duration::MAX);
        let mut candidates: Vec<_> =
            open().take_while(|place| self.operations[*place].called <= first_answer).collect();
        // The last one is tried first: what was answered first, and what may never have happened last.
        candidates.sort_by_key(|place| std::cmp::Reverse(end(*place)));
        candidates
    }

    /// Does an operation, if the value allows it.
    fn accept(&mut self, place: usize) -> bool {
        match self.operations[place].action {
            Action::Read(found) if found != self.value => return false,
            Action::Read(_) => {}
            Action::Write(written) => self.value = written,
        }
        self.done[place] = true;
        while self.done.get(self.first) == Some(&true) {
            self.first += 1;
        }
        true
    }

    /// Whether this set of operations and value were not tried before.
    fn is_new(&mut self) -> bool {
        let beyond = (self.first..self.operations.len()).filter(|place| self.done[*place]).collect();
        self.tried.insert((self.first, beyond, self.value))
    }

    fn describe(&self) -> String {
        let around = self.reached_first.saturating_sub(3)..(self.reached_first + 12).min(self.operations.len());
        let lines: Vec<_> = self.operations[around].iter().map(|operation| format!("  {operation:?}")).collect();
        format!(
            "{} operations cannot have happened one after the other: no order goes beyond\n{}",
            self.operations.len(),
            lines.join("\n")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn operation(client: u64, called: u64, returned: impl Into<Option<u64>>, action: Action) -> Operation {
        Operation { client, called: at(called), returned: returned.into().map(at), action }
    }

    use Action::{Read, Write};

    #[test]
    fn what_can_have_happened_is_accepted() {
        let good: &[&[Operation]] = &[
            &[],
            &[operation(1, 0, 1, Read(None))],
            &[operation(1, 0, 1, Write(Some(1))), operation(1, 2, 3, Read(Some(1)))],
            // A read that overlaps a write sees either.
            &[operation(1, 0, 10, Write(Some(1))), operation(2, 1, 2, Read(None)), operation(2, 3, 4, Read(Some(1)))],
            // A write without an answer may take effect late, or never.
            &[
                operation(1, 0, None, Write(Some(1))),
                operation(2, 1, 2, Write(Some(2))),
                operation(2, 3, 4, Read(Some(2))),
                operation(2, 5, 6, Read(Some(1))),
            ],
            &[operation(1, 0, None, Write(Some(1))), operation(2, 50, 60, Read(None))],
            &[
                operation(1, 0, 1, Write(Some(1))),
                operation(1, 2, None, Write(None)),
                operation(2, 3, 4, Read(Some(1))),
                operation(2, 5, 6, Read(None)),
            ],
            // Two overlapping writes, in either order.
            &[
                operation(1, 0, 10, Write(Some(1))),
                operation(2, 0, 10, Write(Some(2))),
                operation(3, 11, 12, Read(Some(1))),
                operation(3, 13, 14, Read(Some(1))),
            ],
        ];
        for (number, history) in good.iter().enumerate() {
            assert_eq!(check(history), Ok(()), "history {number}");
        }
    }

    #[test]
    fn what_cannot_have_happened_is_rejected() {
        let bad: &[(&str, &[Operation])] = &[
            ("a value that nobody wrote", &[operation(1, 0, 1, Read(Some(9)))]),
            ("a lost write", &[operation(1, 0, 1, Write(Some(1))), operation(2, 2, 3, Read(None))]),
            (
                "a stale read",
                &[
                    operation(1, 0, 1, Write(Some(1))),
                    operation(1, 2, 3, Write(Some(2))),
                    operation(2, 4, 5, Read(Some(1))),
                ],
            ),
            (
                "a read that goes back",
                &[
                    operation(1, 0, 10, Write(Some(1))),
                    operation(2, 1, 2, Read(Some(1))),
                    operation(3, 3, 4, Read(None)),
                ],
            ),
            (
                "two readers that see two orders",
                &[
                    operation(1, 0, 10, Write(Some(1))),
                    operation(2, 0, 10, Write(Some(2))),
                    operation(3, 11, 12, Read(Some(1))),
                    operation(4, 13, 14, Read(Some(2))),
                ],
            ),
            (
                "a write that is applied twice",
                &[
                    operation(1, 0, 1, Write(Some(1))),
                    operation(2, 2, 3, Write(Some(2))),
                    operation(3, 4, 5, Read(Some(2))),
                    operation(3, 6, 7, Read(Some(1))),
                ],
            ),
            (
                "a deletion that comes back",
                &[
                    operation(1, 0, 1, Write(Some(1))),
                    operation(1, 2, 3, Write(None)),
                    operation(2, 4, 5, Read(Some(1))),
                ],
            ),
            (
                "a read of what is written later",
                &[operation(1, 0, 1, Read(Some(1))), operation(2, 2, 3, Write(Some(1)))],
            ),
        ];
        for (name, history) in bad {
            assert!(check(history).is_err(), "{name}");
        }
    }

    /// Numbers that are the same in every run (xorshift, Marsaglia 2003).
    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 11) % bound
        }
    }

    /// All orders, one after the other.
    fn check_by_trying_all(operations: &[Operation]) -> bool {
        fn go(operations: &[Operation], done: &mut Vec<bool>, value: Option<u64>) -> bool {
            if operations.iter().zip(done.iter()).all(|(operation, done)| *done || operation.returned.is_none()) {
                return true;
            }
            for place in 0..operations.len() {
                let is_first = |other: &Operation| other.returned.is_none_or(|end| end >= operations[place].called);
                let may_be_next =
                    !done[place] && operations.iter().zip(done.iter()).all(|(other, done)| *done || is_first(other));
                let after = match operations[place].action {
                    Read(found) if found == value => Some(value),
                    Read(_) => None,
                    Write(written) => Some(written),
                };
                if let (true, Some(after)) = (may_be_next, after) {
                    done[place] = true;
                    if go(operations, done, after) {
                        return true;
                    }
                    done[place] = false;
                }
            }
            false
        }
        go(operations, &mut vec![false; operations.len()], None)
    }

    #[test]
    fn the_search_finds_what_trying_all_orders_finds() {
        let mut random = Random(7);
        let (mut good, mut bad) = (0, 0);
        for _ in 0..20_000 {
            let count = 1 + random.below(6);
            let mut history = Vec::new();
            for number in 0..count {
                let called = random.below(12);
                let returned = (random.below(5) > 0).then(|| called + 1 + random.below(6));
                let action = match random.below(5) {
                    0 => Write(None),
                    1 | 2 => Write(Some(number)),
                    3 => Read(None),
                    _ => Read(Some(random.below(count))),
                };
                // A read without an answer says nothing.
                let returned = if matches!(action, Read(_)) { Some(returned.unwrap_or(called + 3)) } else { returned };
                history.push(operation(number, called, returned, action));
            }
            let expected = check_by_trying_all(&history);
            if expected {
                good += 1
            } else {
                bad += 1
            }
            assert_eq!(check(&history).is_ok(), expected, "{history:?}");
        }
        assert!(good > 1_000 && bad > 1_000, "{good} good, {bad} bad");
    }
}
