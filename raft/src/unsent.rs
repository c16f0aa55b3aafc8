//! Messages that must not leave before something is stored, apart from those that need not wait.

use std::collections::VecDeque;

use crate::bugs::{self, Bug};
use crate::ids::{NodeId, PersistId, Term};
use crate::marks::{self, Mark};
use crate::message::{AppendOutcome, Message};

/// Votes and acknowledgements that wait for the disk.
///
/// A message that waits speaks for the term in which it was made. If the term has changed by the time the disk is done it is dropped: what it says
/// was true of a log that another leader may have changed since.
#[derive(Clone, Default, Debug)]
pub(crate) struct Unsent {
    /// Made in this turn, which has not told yet what to store.
    new: Vec<(NodeId, Term, Message)>,
    waiting: VecDeque<(PersistId, NodeId, Term, Message)>,
}

impl Unsent {
    pub(crate) fn add(&mut self, to: NodeId, term: Term, message: Message) {
        self.new.push((to, term, message));
    }

    /// The turn ends, and what its messages wait for is `persist`.
    pub(crate) fn wait_for(&mut self, persist: PersistId) {
        for (to, term, message) in self.new.drain(..) {
            self.waiting.push_back((persist, to, term, message));
        }
    }

    /// Hands out what waited for `persist` or earlier, as of `term`. Of several acknowledgements to one node the last one says all.
    pub(crate) fn release(&mut self, persist: PersistId, term: Term, messages: &mut Vec<(NodeId, Message)>) {
        let first = messages.len();
        while let Some((_, to, of, message)) = self.waiting.pop_front_if(|(id, ..)| *id <= persist) {
            if of != term && !bugs::is_planted(Bug::StaleAcknowledgementSent) {
                marks::hit(Mark::StaleAcknowledgementDropped);
                continue;
            }
            if let Message::AppendReply(reply) = &message
                && matches!(reply.outcome, AppendOutcome::Stored(_))
            {
                let is_older = |(node, old): &(NodeId, Message)| {
                    let is_stored =
                        matches!(old, Message::AppendReply(old) if matches!(old.outcome, AppendOutcome::Stored(_)));
                    *node == to && is_stored
                };
                if let Some(place) = messages[first..].iter().position(is_older) {
                    messages.remove(first + place);
                }
            }
            messages.push((to, message));
        }
    }

    /// Whether a message waits for the disk.
    pub(crate) fn has_new(&self) -> bool {
        !self.new.is_empty()
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.new.is_empty() && self.waiting.is_empty()
    }
}
