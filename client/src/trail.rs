//! The way of a request so far: which nodes it met, and what each said. What its caller is told if it comes to nothing.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::error::{AttemptError, Error};
use crate::node::Node;

/// The attempts of one request. Bounded by the number of nodes, of each of which the last word is kept.
#[derive(Default)]
pub(crate) struct Trail {
    /// In the order of their last words.
    said: Vec<(Arc<Node>, AttemptError)>,
    turn: u32,
    /// Leaders followed since the last delay.
    hops: u32,
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

    /// What the caller is told. It is of the kind of the last word, and names all.
    pub(crate) fn error(&self, is_write: bool) -> Error {
        let Some((node, last)) = self.said.last() else { return Error::DeadlineExceeded };
        let mut error = last.clone().into_error(is_write);
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
