//! Who is in a group: voters, learners, and during a change the voters of before (joint consensus, thesis 4.3).

use std::fmt;

use crate::ids::NodeId;

/// The most members of a group, of all kinds together.
pub const MEMBERS_MAX: usize = 16;

/// The members of a group. While `outgoing` is not empty the configuration is joint: every decision needs a majority of both sets.
///
/// Invariant: each list is sorted and holds no node twice; there are at most [`MEMBERS_MAX`] different nodes.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
pub struct Membership {
    voters: Vec<NodeId>,
    outgoing: Vec<NodeId>,
    learners: Vec<NodeId>,
}

/// Why a list of members is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MembershipError {
    /// Nobody could decide anything.
    NoVoters,
    /// More than [`MEMBERS_MAX`] members.
    TooMany(usize),
    /// Node 0 is no node.
    NodeZero,
    /// A node is named as a voter and as a learner.
    VoterAndLearner(NodeId),
}

impl fmt::Display for MembershipError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoVoters => write!(formatter, "a group needs a voter"),
            Self::TooMany(count) => write!(formatter, "{count} members are too many: {MEMBERS_MAX} at most"),
            Self::NodeZero => write!(formatter, "0 is no node"),
            Self::VoterAndLearner(node) => write!(formatter, "node {node} cannot be a voter and a learner"),
        }
    }
}

impl std::error::Error for MembershipError {}

impl Membership {
    /// A configuration that is not joint.
    ///
    /// # Errors
    /// The lists name nobody, or too many, or a node in two ways.
    pub fn new(
        voters: impl IntoIterator<Item = NodeId>,
        learners: impl IntoIterator<Item = NodeId>,
    ) -> Result<Self, MembershipError> {
        Self::joint(voters, [], learners)
    }

    /// A configuration with the voters of before, as it is read back from where it was stored.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn joint(
        voters: impl IntoIterator<Item = NodeId>,
        outgoing: impl IntoIterator<Item = NodeId>,
        learners: impl IntoIterator<Item = NodeId>,
    ) -> Result<Self, MembershipError> {
        let membership = Self { voters: sorted(voters), outgoing: sorted(outgoing), learners: sorted(learners) };
        if membership.voters.is_empty() {
            return Err(MembershipError::NoVoters);
        }
        let count = membership.nodes().count();
        if count > MEMBERS_MAX {
            return Err(MembershipError::TooMany(count));
        }
        if membership.nodes().any(|node| node == NodeId(0)) {
            return Err(MembershipError::NodeZero);
        }
        match membership.learners.iter().find(|node| membership.voters.contains(node)) {
            Some(node) => Err(MembershipError::VoterAndLearner(*node)),
            None => Ok(membership),
        }
    }

    /// The nodes that vote, those of the new set if the configuration is joint.
    #[must_use]
    pub fn voters(&self) -> &[NodeId] {
        &self.voters
    }

    /// The voters of before, while the configuration is joint.
    #[must_use]
    pub fn outgoing(&self) -> &[NodeId] {
        &self.outgoing
    }

    /// The nodes that receive entries and decide nothing. One of them may still be a voter of before.
    #[must_use]
    pub fn learners(&self) -> &[NodeId] {
        &self.learners
    }

    /// Whether a change is under way.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether the node takes part in decisions.
    #[must_use]
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.voters.contains(&node) || self.outgoing.contains(&node)
    }

    /// Whether the node has a part in the group at all.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        self.is_voter(node) || self.learners.contains(&node)
    }

    /// All members, each once.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        let only_outgoing = self.outgoing.iter().filter(|node| !self.voters.contains(node));
        let only_learners = self.learners.iter().filter(|node| !self.is_voter(**node));
        self.voters.iter().chain(only_outgoing).chain(only_learners).copied()
    }

    /// Whether the node is the only voter, so that it alone decides.
    #[must_use]
    pub fn is_sole_voter(&self, node: NodeId) -> bool {
        self.voters == [node] && self.outgoing.iter().all(|outgoing| *outgoing == node)
    }

    /// The configuration on the way to `target`: joint if the voters change, `target` itself if only learners do.
    ///
    /// # Errors
    /// Both sets together are too many.
    pub(crate) fn toward(&self, target: &Self) -> Result<Self, MembershipError> {
        let outgoing = if self.voters == target.voters { &[][..] } else { &self.voters };
        Self::joint(target.voters.iter().copied(), outgoing.iter().copied(), target.learners.iter().copied())
    }

    /// The configuration once the change is complete.
    pub(crate) fn without_outgoing(&self) -> Self {
        Self { outgoing: Vec::new(), ..self.clone() }
    }
}

impl fmt::Display for Membership {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |nodes: &[NodeId]| nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        write!(formatter, "({})", list(&self.voters))?;
        if self.is_joint() {
            write!(formatter, "&({})", list(&self.outgoing))?;
        }
        if !self.learners.is_empty() {
            write!(formatter, " learners ({})", list(&self.learners))?;
        }
        Ok(())
    }
}

fn sorted(nodes: impl IntoIterator<Item = NodeId>) -> Vec<NodeId> {
    let mut nodes: Vec<_> = nodes.into_iter().collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(ids: &[u64]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    #[test]
    fn a_change_of_voters_goes_through_both_sets() {
        let old = Membership::new(nodes(&[1, 2, 3]), []).unwrap();
        let new = Membership::new(nodes(&[2, 3, 4]), nodes(&[1])).unwrap();
        let joint = old.toward(&new).unwrap();
        assert_eq!(joint.to_string(), "(2 3 4)&(1 2 3) learners (1)");
        assert!(joint.is_voter(NodeId(1)) && joint.is_voter(NodeId(4)) && !joint.is_voter(NodeId(5)));
        assert_eq!(joint.nodes().collect::<Vec<_>>(), nodes(&[2, 3, 4, 1]));
        assert_eq!(joint.without_outgoing(), new);
    }

    #[test]
    fn a_change_of_learners_is_one_step() {
        let old = Membership::new(nodes(&[1]), []).unwrap();
        let new = Membership::new(nodes(&[1]), nodes(&[2])).unwrap();
        assert_eq!(old.toward(&new).unwrap(), new);
    }

    #[test]
    fn lists_that_make_no_sense_are_refused() {
        let refused = |voters: &[u64], learners: &[u64]| Membership::new(nodes(voters), nodes(learners)).unwrap_err();
        assert_eq!(refused(&[], &[1]), MembershipError::NoVoters);
        assert_eq!(refused(&[0, 1], &[]), MembershipError::NodeZero);
        assert_eq!(refused(&[1, 2], &[2]), MembershipError::VoterAndLearner(NodeId(2)));
        let many: Vec<_> = (1..=17).collect();
        assert_eq!(refused(&many, &[]), MembershipError::TooMany(17));
    }
}
