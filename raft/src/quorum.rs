//! Arithmetic of majorities, for single and joint configurations.

use crate::ids::NodeId;
use crate::membership::{MEMBERS_MAX, Membership};

/// How many of `count` voters are a majority.
#[must_use]
pub fn majority(count: usize) -> usize {
    count / 2 + 1
}

/// The greatest value that a majority of `voters` has reached, if `reached` says how far each has come; `None` without voters, who set no bound.
///
/// # Panics
/// With more than [`MEMBERS_MAX`] voters.
pub fn reached_by_majority<V: Copy + Ord + Default>(voters: &[NodeId], reached: impl Fn(NodeId) -> V) -> Option<V> {
    let mut values = [V::default(); MEMBERS_MAX];
    let values = &mut values[..voters.len()];
    for (value, voter) in values.iter_mut().zip(voters) {
        *value = reached(*voter);
    }
    values.sort_unstable();
    // In ascending order a majority has reached the value that has a majority of places at or behind it.
    values.len().checked_sub(majority(voters.len())).map(|place| values[place])
}

/// How a vote stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tally {
    /// A majority agreed.
    Won,
    /// A majority can no longer agree.
    Lost,
    /// Neither yet.
    Open,
}

impl Membership {
    /// The greatest value that a quorum has reached: a majority of the voters, and of those of before while there are any.
    pub fn reached_by_quorum<V: Copy + Ord + Default>(&self, reached: impl Fn(NodeId) -> V) -> V {
        let voters = reached_by_majority(self.voters(), &reached).expect("there are voters");
        reached_by_majority(self.outgoing(), &reached).map_or(voters, |outgoing| outgoing.min(voters))
    }

    /// Whether the nodes for which `holds` is true are a quorum.
    pub fn is_quorum(&self, holds: impl Fn(NodeId) -> bool) -> bool {
        self.reached_by_quorum(holds)
    }

    /// As [`tally`](Self::tally), where every voter must agree.
    pub fn tally_unanimous(&self, vote: impl Fn(NodeId) -> Option<bool>) -> Tally {
        let votes = || self.voters().iter().chain(self.outgoing()).map(|node| vote(*node));
        if votes().any(|vote| vote == Some(false)) {
            Tally::Lost
        } else if votes().all(|vote| vote == Some(true)) {
            Tally::Won
        } else {
            Tally::Open
        }
    }

    /// How a vote stands, if `vote` says what each has answered.
    pub fn tally(&self, vote: impl Fn(NodeId) -> Option<bool>) -> Tally {
        if self.is_quorum(|node| vote(node) == Some(true)) {
            Tally::Won
        } else if self.is_quorum(|node| vote(node) != Some(false)) {
            Tally::Open
        } else {
            Tally::Lost
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nodes(ids: impl IntoIterator<Item = u64>) -> Vec<NodeId> {
        ids.into_iter().map(NodeId).collect()
    }

    fn value_of(values: &[u64], node: NodeId) -> u64 {
        values[usize::try_from(node.0).expect("few nodes")]
    }

    #[test]
    fn majorities_by_hand() {
        assert_eq!([1, 2, 3, 4, 5].map(majority), [1, 2, 2, 3, 3]);
        let reached =
            |values: &[u64]| reached_by_majority(&nodes(0..values.len() as u64), |node| value_of(values, node));
        assert_eq!(reached(&[]), None);
        assert_eq!(reached(&[7]), Some(7));
        assert_eq!(reached(&[7, 9]), Some(7));
        assert_eq!(reached(&[9, 0, 7]), Some(7));
        assert_eq!(reached(&[4, 4, 9, 9]), Some(4));
        assert_eq!(reached(&[1, 2, 3, 4, 5]), Some(3));
    }

    #[test]
    fn a_joint_quorum_needs_both_sets() {
        let membership = Membership::joint(nodes([1, 2, 3]), nodes([3, 4, 5]), []).unwrap();
        let agreed = |ids: &[u64]| membership.tally(|node| Some(ids.contains(&node.0)));
        assert_eq!(agreed(&[1, 2]), Tally::Lost);
        assert_eq!(agreed(&[3, 1, 4]), Tally::Won);
        assert_eq!(membership.tally(|node| (node.0 < 3).then_some(true)), Tally::Open);
        assert_eq!(membership.tally(|node| (node.0 > 3).then_some(false)), Tally::Lost);
        assert_eq!(membership.tally_unanimous(|_| Some(true)), Tally::Won);
        assert_eq!(membership.tally_unanimous(|node| (node.0 > 1).then_some(true)), Tally::Open);
        assert_eq!(membership.tally_unanimous(|node| (node.0 == 1).then_some(false)), Tally::Lost);
        assert_eq!(membership.reached_by_quorum(|node| node.0 * 10), 20);
    }

    proptest! {
        /// By definition: the greatest value for which the voters at or beyond it are more than half.
        #[test]
        fn the_value_of_a_majority_is_what_its_definition_says(values in prop::collection::vec(0_u64..9, 1..=MEMBERS_MAX)) {
            let expected = (0..9).rev().find(|value| values.iter().filter(|other| *other >= value).count() * 2 > values.len());
            let found = reached_by_majority(&nodes(0..values.len() as u64), |node| value_of(&values, node));
            prop_assert_eq!(found, expected);
        }

        /// Any two quorums of a configuration have a voter in common, which is all that safety rests on.
        #[test]
        fn quorums_meet(voters in prop::collection::btree_set(1_u64..9, 1..6), outgoing in prop::collection::btree_set(1_u64..9, 0..6), left in any::<u16>(), right in any::<u16>()) {
            let membership = Membership::joint(nodes(voters), nodes(outgoing), []).unwrap();
            let holds = |set: u16, node: NodeId| set >> node.0 & 1 == 1;
            if membership.is_quorum(|node| holds(left, node)) && membership.is_quorum(|node| holds(right, node)) {
                prop_assert!(membership.nodes().any(|node| holds(left, node) && holds(right, node)));
            }
        }
    }
}
