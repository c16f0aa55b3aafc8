//! Nodes that say who they are: let in, or refused because they vote here with another data directory; and what leaders make of it.

use std::time::Duration;

use corelode_engine::env::Environment;
use corelode_engine::ids::PartitionId;
use corelode_net::ErrorCode;
use corelode_net::peer::PeerHello;
use corelode_raft::{Input, NodeId, Time};

use super::Shard;
use crate::replication::Replication;
use crate::replication::group::Group;
use crate::replication::reconcile::{Seen, next_members};

/// Leaders that have something to change look at their members this often.
const RECONCILE_INTERVAL: Duration = Duration::from_millis(100);

impl<E: Environment> Shard<E> {
    /// Why a node is refused that has another data directory than the groups of this core were told, if one of them counts on its vote.
    pub(super) fn refuse_stranger(&self, hello: &PeerHello<'_>) -> Option<(ErrorCode, String)> {
        let replication = self.replication.as_ref()?;
        let (node, incarnation) = (NodeId(hello.node_id.0), hello.incarnation.0);
        let counts_on_another = |group: &&Group| group.is_stranger(&self.store, node, incarnation);
        let group = replication.groups.values().find(counts_on_another)?;
        let message = format!(
            "node {node} votes on partition {} with another data directory than it has now: it is let in as a learner \
             once the leader has taken its vote away, which it does by itself while the others have a majority",
            group.partition
        );
        Some((ErrorCode::UnknownIncarnation, message))
    }

    /// A node was refused by [`refuse_stranger`](Self::refuse_stranger).
    pub(super) fn note_stranger(&mut self, hello: &PeerHello<'_>) {
        let now = Time(self.now.monotonic_ns);
        let Some(replication) = &mut self.replication else { return };
        let (node, incarnation) = (NodeId(hello.node_id.0), hello.incarnation.0);
        if replication.strangers.insert(node, incarnation) != Some(incarnation) {
            tracing::warn!(
                core = self.config.core.0, %node, incarnation = format!("{incarnation:016x}"),
                "a node comes back with another data directory: it will learn before it votes again"
            );
        }
        replication.reconcile_at.get_or_insert(now);
    }

    /// A node was let in.
    pub(super) fn meet(&mut self, node: NodeId, incarnation: u64) {
        let now = Time(self.now.monotonic_ns);
        let Some(replication) = &mut self.replication else { return };
        replication.strangers.remove(&node);
        let before = replication.met.insert(node, incarnation);
        if before == Some(incarnation) {
            return;
        }
        for group in replication.groups.values_mut() {
            group.met.insert(node, incarnation);
        }
        replication.reconcile_at.get_or_insert(now);
        if before.is_none() {
            return;
        }
        // It has forgotten what it acknowledged, and what still arrives of its former life is worth nothing.
        let Some(mut replication) = self.replication.take() else { return };
        self.tell_groups(&mut replication, &[Input::Forgetful(node)]);
        self.replication = Some(replication);
        let keys: Vec<_> = self.connections.keys().collect();
        for key in keys {
            if let Some(connection) = self.connections.get_mut(key).filter(|other| other.peer_node == Some(node)) {
                connection.peer_node = None;
            }
        }
    }

    /// Leaders of this core give their groups the members that they should have, one step at a time.
    pub(super) fn reconcile_members(&mut self, replication: &mut Replication) {
        let now = Time(self.now.monotonic_ns);
        if replication.reconcile_at.is_none_or(|at| now < at) {
            return;
        }
        replication.reconcile_at = None;
        let led: Vec<_> = replication.groups.values().filter(|group| group.is_leading()).collect();
        let changes: Vec<_> = led
            .into_iter()
            .filter_map(|group| {
                let matched = |node: NodeId| {
                    let mut followers = group.raft.followers();
                    followers.find(|(follower, _)| *follower == node).map(|(_, progress)| progress.matched())
                };
                let members = next_members(&Seen {
                    members: &group.members,
                    wanted: &replication.cluster.replicas(group.partition),
                    met: &replication.met,
                    strangers: &replication.strangers,
                    matched: &matched,
                    committed: group.raft.log().committed(),
                });
                let has_learners = !group.members.membership.learners().is_empty();
                (members.is_some() || has_learners).then_some((group.partition, members))
            })
            .collect();
        if !changes.is_empty() {
            // What is refused now, or not known to be committed, is looked at again.
            replication.reconcile_at = Some(now.after(RECONCILE_INTERVAL));
        }
        for (partition, members) in changes {
            if let Some(members) = members {
                self.change_members(replication, partition, members);
            }
        }
    }

    fn change_members(&mut self, replication: &mut Replication, partition: PartitionId, to: corelode_raft::Membership) {
        let now = Time(self.now.monotonic_ns);
        let group = replication.groups.get_mut(&partition).expect("listed just now");
        let text = to.to_string();
        if group.step(&mut self.store, now, self.now.wall_ms, Input::ChangeMembership(to)).is_ok() {
            tracing::info!(core = self.config.core.0, %partition, members = text, "the members of a group change");
            replication.activate(partition);
        }
    }
}
