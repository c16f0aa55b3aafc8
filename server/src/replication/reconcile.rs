//! What the leader of a group changes of its members by itself, so that they become what the partition map says.
//!
//! ```text
//! a cluster begins           voters without incarnations ──► the same, with those that were met
//! a disk was lost            a voter knocks with another incarnation: refused ──► learner
//! it is let in, and sent all that it lacks                              learner ──► voter, with its new incarnation
//! ```

use std::collections::BTreeMap;

use corelode_raft::{LogIndex, Membership, NodeId};

use super::members::Members;

/// What a leader knows when it looks at its members.
pub(crate) struct Seen<'a> {
    /// The members as of what is committed.
    pub(crate) members: &'a Members,
    /// The nodes that are to have a replica.
    pub(crate) wanted: &'a [NodeId],
    /// The incarnations of nodes that were let in.
    pub(crate) met: &'a BTreeMap<NodeId, u64>,
    /// Those of nodes that were not.
    pub(crate) strangers: &'a BTreeMap<NodeId, u64>,
    /// How far a follower's log is known to be the leader's.
    pub(crate) matched: &'a dyn Fn(NodeId) -> Option<LogIndex>,
    /// The last entry that is committed.
    pub(crate) committed: LogIndex,
}

/// The members that the group should have next, if not these.
pub(crate) fn next_members(seen: &Seen<'_>) -> Option<Membership> {
    let membership = &seen.members.membership;
    if membership.is_joint() {
        return None;
    }
    let (voters, learners) = (membership.voters(), membership.learners());
    let is_lost = |node: &&NodeId| seen.strangers.get(node).is_some_and(|new| seen.members.is_stranger(**node, *new));
    if let Some(lost) = voters.iter().find(is_lost).filter(|_| voters.len() > 1) {
        let voters = voters.iter().filter(|node| *node != lost).copied();
        return Membership::new(voters, learners.iter().chain([lost]).copied()).ok();
    }
    let has_caught_up = |node: &&NodeId| {
        seen.wanted.contains(node)
            && seen.met.contains_key(node)
            && (seen.matched)(**node).is_some_and(|matched| matched >= seen.committed)
    };
    if let Some(back) = learners.iter().find(has_caught_up) {
        let learners = learners.iter().filter(|node| *node != back).copied();
        return Membership::new(voters.iter().chain([back]).copied(), learners).ok();
    }
    let is_unbound = |node: &NodeId| !seen.members.incarnations.contains_key(node) && seen.met.contains_key(node);
    voters.iter().any(is_unbound).then(|| membership.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(ids: &[u64]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    fn known(pairs: &[(u64, u64)]) -> BTreeMap<NodeId, u64> {
        pairs.iter().map(|(node, incarnation)| (NodeId(*node), *incarnation)).collect()
    }

    fn members(voters: &[u64], learners: &[u64], incarnations: &[(u64, u64)]) -> Members {
        let membership = Membership::new(nodes(voters), nodes(learners)).expect("valid");
        Members { membership, incarnations: known(incarnations) }
    }

    fn next(
        members: &Members,
        met: &[(u64, u64)],
        strangers: &[(u64, u64)],
        matched: &[(u64, u64)],
    ) -> Option<Membership> {
        let (wanted, met, strangers, matched) = (nodes(&[1, 2, 3]), known(met), known(strangers), known(matched));
        next_members(&Seen {
            members,
            wanted: &wanted,
            met: &met,
            strangers: &strangers,
            matched: &|node| matched.get(&node).copied().map(LogIndex),
            committed: LogIndex(10),
        })
    }

    fn membership(voters: &[u64], learners: &[u64]) -> Option<Membership> {
        Some(Membership::new(nodes(voters), nodes(learners)).expect("valid"))
    }

    #[test]
    fn members_are_bound_to_the_incarnations_that_were_met() {
        let unbound = members(&[1, 2, 3], &[], &[]);
        assert_eq!(next(&unbound, &[], &[], &[]), None);
        assert_eq!(next(&unbound, &[(1, 11), (2, 22)], &[], &[]), membership(&[1, 2, 3], &[]));
        let bound = members(&[1, 2, 3], &[], &[(1, 11), (2, 22)]);
        assert_eq!(next(&bound, &[(1, 11), (2, 22)], &[], &[]), None);
        assert_eq!(next(&bound, &[(1, 11), (2, 22), (3, 33)], &[], &[]), membership(&[1, 2, 3], &[]));
    }

    #[test]
    fn who_lost_its_disk_learns_until_it_has_all_and_votes_again() {
        let bound = members(&[1, 2, 3], &[], &[(1, 11), (2, 22), (3, 33)]);
        let met = [(1, 11), (2, 22)];
        assert_eq!(next(&bound, &met, &[(3, 34)], &[]), membership(&[1, 2], &[3]));
        let learning = members(&[1, 2], &[3], &[(1, 11), (2, 22), (3, 33)]);
        assert_eq!(next(&learning, &met, &[(3, 34)], &[]), None, "it was not let in yet");
        let met = [(1, 11), (2, 22), (3, 34)];
        assert_eq!(next(&learning, &met, &[], &[(3, 9)]), None, "it has not caught up");
        assert_eq!(next(&learning, &met, &[], &[(3, 10)]), membership(&[1, 2, 3], &[]));
    }

    #[test]
    fn the_last_voter_stays_and_who_does_not_belong_here_goes_on_learning() {
        let alone = members(&[3], &[], &[(3, 33)]);
        assert_eq!(next(&alone, &[], &[(3, 34)], &[]), None);
        let other = members(&[1, 2], &[4], &[(1, 11), (2, 22)]);
        assert_eq!(next(&other, &[(1, 11), (2, 22), (4, 44)], &[], &[(4, 10)]), None);
    }
}
