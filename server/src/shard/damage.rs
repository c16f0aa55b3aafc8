//! A replica whose tables are damaged: it leads no more, answers nobody, and asks whoever leads for tables in place of its own.
//!
//! ```text
//! a block does not hold its checksum ──► (leads) hand over, every second until somebody takes it
//!                                   └──► (follows) apply no more; ask the leader for tables, every second
//! tables arrive, are checked, end at or behind what is applied here ──► in place of the damaged ones ──► apply what follows
//! ```
//!
//! Its log is not concerned: it goes on storing and acknowledging entries. Bounded by the groups of the core, and by the entries that wait to be applied.

use corelode_engine::env::Environment;
use corelode_engine::ids::PartitionId;
use corelode_net as net;
use corelode_net::peer::{PeerTransferOutcome, PeerTransferReply};
use corelode_net::{ErrorCode, MapEpoch, RequestHead, RequestId};
use corelode_raft::{Input, NodeId, Time};

use super::{Failure, OperationResult, Shard};
use crate::replication::Replication;
use crate::replication::group::Group;

/// Entries that wait to be applied are kept up to so many times the bytes that are kept otherwise; further ones are not taken.
const UNAPPLIED_TIMES_MAX: usize = 4;

impl<E: Environment> Shard<E> {
    /// Takes note of what reads and maintenance have found, and does what is due about it.
    pub(super) fn mend(&mut self, replication: &mut Replication) {
        let now = Time(self.now.monotonic_ns);
        for partition in self.store.take_damaged() {
            let Some(group) = replication.groups.get_mut(&partition) else { continue };
            tracing::error!(
                core = self.config.core.0, %partition,
                "THE TABLES OF A PARTITION ARE DAMAGED on this node: it is fenced until another node has sent its own"
            );
            group.is_damaged = true;
            replication.damaged.note(partition, now);
        }
        for partition in replication.damaged.take_due(now) {
            let group = &replication.groups[&partition];
            if !group.is_damaged || replication.receiving.active().is_some_and(|(busy, ..)| busy == partition) {
                continue;
            }
            if group.is_leading() {
                self.hand_over_group(replication, partition);
            } else if let Some(leader) = group.leader() {
                let mut out = Vec::new();
                let (transfer, sequence, outcome) = (0, 0, PeerTransferOutcome::Needed);
                let head = RequestHead { request_id: RequestId(1), map_epoch: MapEpoch(0), deadline_ms: 0 };
                let partition = net::PartitionId(partition.0);
                PeerTransferReply { transfer, partition, sequence, outcome }.encode(head, &mut out);
                self.send_to_node(replication, leader, &out);
            }
        }
        let groups = &replication.groups;
        replication.damaged.retain(|partition| groups[&partition].is_damaged);
    }

    /// Another leader has cut entries that were applied from memory: enough nodes have crashed at once that nobody has them any more. The rows never were, and those of
    /// the new leader take their place as if they were damaged.
    pub(super) fn lose_what_was_applied(&mut self, replication: &mut Replication, partition: PartitionId) {
        tracing::error!(
            core = self.config.core.0, %partition,
            "WRITES IN MEMORY ARE LOST: several nodes crashed before their disks had them, and this one had applied them. It is fenced until the leader has sent its tables"
        );
        replication.counters.memory_writes_lost += 1;
        let group = replication.groups.get_mut(&partition).expect("looked up by the caller");
        (group.is_cut, group.is_damaged) = (true, true);
        replication.damaged.note(partition, Time(self.now.monotonic_ns));
        self.fail_reads_ahead(partition);
    }

    /// Reads that wait until what they saw is durable have seen what never was.
    pub(super) fn fail_reads_ahead(&mut self, partition: PartitionId) {
        for read in self.durability.remove(partition) {
            self.deliver(read.request.reply_to, OperationResult::Failed(ErrorCode::NotLeader.into()));
        }
    }

    /// Hands a partition that this core leads to the follower that is alive and has most of it.
    pub(super) fn hand_over_group(&mut self, replication: &mut Replication, partition: PartitionId) {
        let now = Time(self.now.monotonic_ns);
        let group = replication.groups.get_mut(&partition).expect("looked up by the caller");
        let is_alive = |node: &NodeId| replication.links.get(node).is_some_and(|link| link.is_alive);
        let voters = group.raft.membership().voters();
        let followers = group.raft.followers().filter(|(node, _)| is_alive(node) && voters.contains(node));
        let Some((to, _)) = followers.max_by_key(|(_, progress)| progress.matched()) else { return };
        // What cannot be handed over goes by an election.
        let _ = group.step(&mut self.store, now, self.now.wall_ms, Input::Transfer { to });
        replication.activate(partition);
    }

    /// What a client is told whose read met damage: another replica may have what this one has not.
    pub(super) fn damage_failure(&self, partition: PartitionId, message: String) -> Failure {
        let group = self.replication.as_ref().and_then(|replication| replication.groups.get(&partition));
        let others = group.is_some_and(Group::has_other_voters);
        let code = if others { ErrorCode::NotLeader } else { ErrorCode::Corruption };
        Failure::with_message(code, message)
    }

    /// Whether entries of a partition are not taken because too many wait to be applied.
    pub(super) fn has_too_many_unapplied(&self, replication: &Replication, group: &Group) -> bool {
        let bytes_max = replication.cluster.entry_bytes_kept_max * UNAPPLIED_TIMES_MAX;
        group.is_damaged && self.store.partition(group.partition).is_some_and(|owned| owned.kept_bytes() > bytes_max)
    }
}
