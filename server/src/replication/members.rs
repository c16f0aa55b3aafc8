//! The members of a group with the incarnations of their data directories, as bytes: in entries of the log, and in the row that a flush writes. `docs/formats/log.md` describes them.
//!
//! A voter whose data directory is another one than the group was told has forgotten what it voted for and what it acknowledged. The incarnations stand in the replicated log, so that
//! whoever knows of a change of members knows which directories it was made for.

use std::collections::BTreeMap;

use corelode_raft::{Membership, NodeId};

const VERSION: u8 = 2;

/// The members of a group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Members {
    pub(crate) membership: Membership,
    /// Of the members whose incarnation was known when the entry was made.
    pub(crate) incarnations: BTreeMap<NodeId, u64>,
}

impl Members {
    /// Members of whom nothing else is known.
    pub(crate) fn unbound(membership: Membership) -> Self {
        Self { membership, incarnations: BTreeMap::new() }
    }

    /// Whether a node votes, and it is known with which data directory.
    pub(crate) fn is_bound_voter(&self, node: NodeId) -> bool {
        self.membership.voters().contains(&node) && self.incarnations.contains_key(&node)
    }

    /// Whether a node with this incarnation must not take part: it votes here, with another. Until an entry says with which, it may be any: until then all must agree.
    pub(crate) fn is_stranger(&self, node: NodeId, incarnation: u64) -> bool {
        let bound = self.incarnations.get(&node);
        self.membership.is_voter(node) && bound.is_some_and(|bound| *bound != incarnation)
    }
}

/// The members as bytes. `incarnation` answers those that are known.
pub(crate) fn encode(membership: &Membership, incarnation: impl Fn(NodeId) -> Option<u64>) -> Vec<u8> {
    let lists = [membership.voters(), membership.outgoing(), membership.learners()];
    let mut bytes = vec![VERSION];
    bytes.extend(lists.iter().map(|list| u8::try_from(list.len()).expect("members are few")));
    for node in lists.into_iter().flatten() {
        bytes.extend_from_slice(&node.0.to_le_bytes());
        bytes.extend_from_slice(&incarnation(*node).unwrap_or(0).to_le_bytes());
    }
    bytes
}

/// Reads members back.
///
/// # Errors
/// A clause that says what is wrong.
pub(crate) fn decode(bytes: &[u8]) -> Result<Members, String> {
    let (&[version, voters, outgoing, learners], rest) =
        bytes.split_first_chunk::<4>().ok_or("the list of members is cut")?;
    if version != VERSION {
        return Err(format!("the list of members has format version {version}, and this program reads {VERSION}"));
    }
    let (members, remainder) = rest.as_chunks::<16>();
    if !remainder.is_empty() || members.len() != usize::from(voters) + usize::from(outgoing) + usize::from(learners) {
        return Err("the list of members has another length than it says".to_owned());
    }
    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    let incarnations = members.iter().map(|bytes| (NodeId(number(&bytes[..8])), number(&bytes[8..])));
    let incarnations = incarnations.filter(|(_, incarnation)| *incarnation != 0).collect();
    let mut nodes = members.iter().map(|bytes| NodeId(number(&bytes[..8])));
    let mut list = |count: u8| nodes.by_ref().take(usize::from(count)).collect::<Vec<_>>();
    let (voters, outgoing, learners) = (list(voters), list(outgoing), list(learners));
    let membership = Membership::joint(voters, outgoing, learners).map_err(|error| error.to_string())?;
    Ok(Members { membership, incarnations })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(ids: &[u64]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    #[test]
    fn members_come_back_and_damage_is_refused() {
        let membership = Membership::joint(nodes(&[1, 2, 3]), nodes(&[3, 4]), nodes(&[5])).expect("valid");
        let bytes = encode(&membership, |node| (node.0 > 1).then_some(node.0 * 100));
        let incarnations = (2..=5).map(|node| (NodeId(node), node * 100)).collect();
        assert_eq!(decode(&bytes), Ok(Members { membership, incarnations }));
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length]).is_err(), "cut to {length}");
        }
    }

    #[test]
    fn only_a_voter_that_was_another_is_a_stranger() {
        let membership = Membership::joint(nodes(&[1, 2]), nodes(&[2, 3]), nodes(&[4])).expect("valid");
        let members = decode(&encode(&membership, |node| (node.0 != 1).then_some(7))).expect("just encoded");
        assert!(!members.is_stranger(NodeId(1), 8), "nobody knows who it was");
        assert!(!members.is_stranger(NodeId(2), 7) && members.is_stranger(NodeId(2), 8));
        assert!(members.is_stranger(NodeId(3), 8), "it votes until the change is complete");
        assert!(!members.is_stranger(NodeId(4), 8), "a learner may begin anew");
    }
}
