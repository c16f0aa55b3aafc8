//! The members of a group as bytes: in entries of the log, and in the row that a flush writes. `docs/formats/log.md` describes them.

use corelode_raft::{Membership, NodeId};

const VERSION: u8 = 1;

/// The members as bytes.
pub(crate) fn encode(membership: &Membership) -> Vec<u8> {
    let lists = [membership.voters(), membership.outgoing(), membership.learners()];
    let mut bytes = vec![VERSION];
    bytes.extend(lists.iter().map(|list| u8::try_from(list.len()).expect("members are few")));
    for node in lists.into_iter().flatten() {
        bytes.extend_from_slice(&node.0.to_le_bytes());
    }
    bytes
}

/// Reads members back.
///
/// # Errors
/// A clause that says what is wrong.
pub(crate) fn decode(bytes: &[u8]) -> Result<Membership, String> {
    let (&[version, voters, outgoing, learners], rest) =
        bytes.split_first_chunk::<4>().ok_or("the list of members is cut")?;
    if version != VERSION {
        return Err(format!("the list of members has format version {version}, and this program reads {VERSION}"));
    }
    let (nodes, remainder) = rest.as_chunks::<8>();
    if !remainder.is_empty() || nodes.len() != usize::from(voters) + usize::from(outgoing) + usize::from(learners) {
        return Err("the list of members has another length than it says".to_owned());
    }
    let mut nodes = nodes.iter().map(|bytes| NodeId(u64::from_le_bytes(*bytes)));
    let mut list = |count: u8| nodes.by_ref().take(usize::from(count)).collect::<Vec<_>>();
    let (voters, outgoing, learners) = (list(voters), list(outgoing), list(learners));
    Membership::joint(voters, outgoing, learners).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_come_back_and_damage_is_refused() {
        let nodes = |ids: &[u64]| ids.iter().copied().map(NodeId).collect::<Vec<_>>();
        let membership = Membership::joint(nodes(&[1, 2, 3]), nodes(&[3, 4]), nodes(&[5])).expect("valid");
        let bytes = encode(&membership);
        assert_eq!(decode(&bytes), Ok(membership));
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length]).is_err(), "cut to {length}");
        }
    }
}
