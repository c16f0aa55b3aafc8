//! The way of a request so far: which nodes it met, and what each said. What its caller is told if it comes to nothing.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::error::{AttemptError, Error};
use crate::node::Node;
use crate::retry::Kind;

/// The attempts of one request. Bounded by the number of nodes, of each of which the last word is kept.
#[derive(Default)]
pub(crate) struct Trail {
    /// In the order of their last words.
    said: Vec<(Arc<Node>, AttemptError)>,
    turn: u32,
    /// Leaders followed since the last delay.
    hops: u32,
    /// Some attempt may have been executed, whatever those after it met.
    may_be_executed: bool,
}

impl Trail {
    /// The number of the attempt, from 0.
    pub(crate) fn turn(&self) -> u32 {
        self.turn
    }

    pub(crate) fn next_turn(&mut self) {
        self.turn = self.turn.saturating_add(1);
    }

    /// Counts a leader as followed; answers whether there were fewer than `max` in a row before.
    pub(crate) fn may_hop(&mut self, max: u32) -> bool {
        self.hops += 1;
        self.hops <= max
    }

    pub(crate) fn rest(&mut self) {
        self.hops = 0;
    }

    /// Keeps what a node said.
    pub(crate) fn note(&mut self, node: &Arc<Node>, error: AttemptError) {
        self.may_be_executed |= error.may_be_executed();
        // What was met before says more than that time ran out while nothing was sent.
        let says_nothing = matches!(error, AttemptError::TimedOut { was_sent: false });
        if says_nothing && self.said.iter().any(|(known, _)| Arc::ptr_eq(known, node)) {
            return;
        }
        self.said.retain(|(known, _)| !Arc::ptr_eq(known, node));
        let place = if says_nothing { 0 } else { self.said.len() };
        self.said.insert(place, (Arc::clone(node), error));
    }

    /// What was met last.
    pub(crate) fn last(&self) -> Option<&AttemptError> {
        self.said.last().map(|(_, error)| error)
    }

    /// Whether some attempt may have been executed.
    pub(crate) fn may_be_executed(&self) -> bool {
        self.may_be_executed
    }

    /// What the caller is told. It is of the kind of the last word, unless a write may have been executed before that; and it names all.
    pub(crate) fn error(&self, kind: Kind) -> Error {
        let Some((node, last)) = self.said.last() else { return Error::DeadlineExceeded };
        let mut error = last.clone().into_error(kind.is_write());
        if kind.is_write() && self.may_be_executed && !matches!(error, Error::OutcomeUnknown { .. }) {
            error = Error::OutcomeUnknown { reason: last.to_string() };
        }
        let text = match &mut error {
            Error::Unreachable { reason } | Error::OutcomeUnknown { reason } => reason,
            Error::Refused { message, .. } if self.said.len() > 1 => message,
            _ => return error,
        };
        text.insert_str(0, &format!("{}: ", node.address()));
        for (node, said) in self.said.iter().rev().skip(1) {
            write!(text, "; {}: {said}", node.address()).expect("memory takes it");
        }
        error
    }
}
