//! What an operator asks of groups: another leader, other members.

use corelode_engine::env::Environment;
use corelode_engine::ids::PartitionId;
use corelode_raft::{Input, Membership, NodeId, Refused, Time};

use super::Shard;

impl<E: Environment> Shard<E> {
    /// Has another replica lead a partition that this core leads. It happens once that replica has all entries, or not at all if it takes longer than an election timeout.
    ///
    /// # Errors
    /// [`Refused`]; `NotLeader` also where this core has no replica.
    pub fn transfer_leadership(&mut self, partition: PartitionId, to: NodeId) -> Result<(), Refused> {
        self.govern(partition, Input::Transfer { to })
    }

    /// Gives the group of a partition that this core leads other members, by joint consensus. It is done when [`replicas`](Self::replicas) shows a membership that
    /// is not joint.
    ///
    /// # Errors
    /// [`Refused`]; `NotLeader` also where this core has no replica.
    pub fn change_membership(&mut self, partition: PartitionId, membership: Membership) -> Result<(), Refused> {
        self.govern(partition, Input::ChangeMembership(membership))
    }

    fn govern(&mut self, partition: PartitionId, input: Input) -> Result<(), Refused> {
        let now = Time(self.now.monotonic_ns);
        let replication = self.replication.as_mut().ok_or(Refused::NotLeader { leader: None })?;
        let group = replication.groups.get_mut(&partition).ok_or(Refused::NotLeader { leader: None })?;
        group.step(&mut self.store, now, self.now.wall_ms, input)?;
        replication.activate(partition);
        Ok(())
    }
}
