//! Transfers of tables on their way through a turn: what lags is sent tables, what arrives is put in place, and consensus is told.

use corelode_engine::env::Environment;
use corelode_engine::ids::PartitionId;
use corelode_net::peer::{PeerTransfer, PeerTransferOutcome, PeerTransferPart, PeerTransferReply};
use corelode_raft::{Input, LogIndex, LogPosition, NodeId, Refused, RoleKind, Term, Time};

use super::{ConnectionId, Shard};
use crate::replication::Replication;
use crate::replication::link::LinkState;
use crate::replication::transfer::{Failed, Stage, answer};

impl<E: Environment> Shard<E> {
    /// A part of a partition's tables has arrived.
    pub(super) fn take_transfer(&mut self, from: NodeId, part: &PeerTransfer<'_>) {
        let Some(mut replication) = self.replication.take() else { return };
        let mut out = Vec::new();
        if let PeerTransferPart::Begin { position, table_count } = part.part {
            let position = LogPosition { term: Term(position.term.0), index: LogIndex(position.index.0) };
            let outcome = self.begin_receiving(&mut replication, from, part, (position, table_count), &mut out);
            match &outcome {
                Ok(None) => {}
                Ok(Some(done)) => answer(part, *done, &mut out),
                Err(message) => answer(part, PeerTransferOutcome::Refused { message }, &mut out),
            }
        } else if replication.groups.get(&PartitionId(part.partition.0)).is_some_and(|group| group.is_replacing) {
            // All of it is here, and takes its course, whatever its sender thinks of it by now.
        } else if replication.receiving.is_expected(from, part) {
            let now = Time(self.now.monotonic_ns);
            if let Err(message) = replication.receiving.take(&mut self.store, part, now) {
                self.stop_receiving(&mut replication, &message, &mut out);
            }
        } else if !matches!(part.part, PeerTransferPart::Cancel) {
            answer(part, PeerTransferOutcome::Refused { message: "it is not being received" }, &mut out);
        }
        self.send_to_node(&replication, from, &out);
        self.replication = Some(replication);
    }

    /// Begins to receive a partition's tables. Answers what is to be said at once, if they are not needed.
    fn begin_receiving(
        &mut self,
        replication: &mut Replication,
        from: NodeId,
        part: &PeerTransfer<'_>,
        (position, table_count): (LogPosition, u32),
        out: &mut Vec<u8>,
    ) -> Result<Option<PeerTransferOutcome<'static>>, String> {
        let partition = PartitionId(part.partition.0);
        if self.is_draining {
            return Err("this node is shutting down".to_owned());
        }
        let group = replication.groups.get(&partition).ok_or("this core has no replica of the partition")?;
        if group.is_replacing {
            return Err("tables are being put in place here just now".to_owned());
        }
        if group.raft.status().role != RoleKind::Follower {
            return Err("this replica does not follow".to_owned());
        }
        if let Some((busy, other, _)) = replication.receiving.active() {
            if busy != partition && other != from {
                return Err(format!("this core receives partition {busy} of node {other}"));
            }
            if replication.groups.get(&busy).is_some_and(|group| group.is_replacing) {
                return Err("tables are being put in place here just now".to_owned());
            }
            self.stop_receiving(replication, "another transfer took its place", out);
        }
        let is_known = self.has_already(replication, partition, position);
        let is_damaged = replication.groups[&partition].is_damaged;
        if is_damaged && self.is_behind_applied(partition, position) {
            return Err("it is older than what is applied here".to_owned());
        }
        if is_known && !is_damaged {
            return Ok(Some(PeerTransferOutcome::Done));
        }
        tracing::info!(core = self.config.core.0, %partition, node = %from, %position, table_count, "tables are being received");
        let now = Time(self.now.monotonic_ns);
        replication.receiving.begin(&mut self.store, from, part, (position, table_count), now);
        Ok(None)
    }

    /// Whether a replica has all through a position that is known to be committed. If its log has it, that is how it comes to know.
    fn has_already(&mut self, replication: &mut Replication, partition: PartitionId, position: LogPosition) -> bool {
        let now = Time(self.now.monotonic_ns);
        let group = replication.groups.get_mut(&partition).expect("looked up by the caller");
        match group.step(&mut self.store, now, self.now.wall_ms, Input::Committed(position)) {
            Ok(_) => {
                replication.activate(partition);
                true
            }
            Err(refused) => refused == Refused::Stale,
        }
    }

    /// Whether tables that end at `position` would take back what is applied.
    fn is_behind_applied(&self, partition: PartitionId, position: LogPosition) -> bool {
        position.index.0 < self.store.partition(partition).expect("owned").settled().index.0
    }

    fn stop_receiving(&mut self, replication: &mut Replication, message: &str, out: &mut Vec<u8>) {
        self.end_receiving(replication, PeerTransferOutcome::Refused { message }, message, out);
    }

    fn end_receiving(
        &mut self,
        replication: &mut Replication,
        outcome: PeerTransferOutcome<'_>,
        message: &str,
        out: &mut Vec<u8>,
    ) {
        let Some((partition, from, _)) = replication.receiving.active() else { return };
        tracing::warn!(core = self.config.core.0, %partition, node = %from, message, "tables are not received");
        self.store.stop_receiving(partition);
        replication.receiving.end(outcome, out);
    }

    /// The receiver of this core's tables has answered.
    pub(super) fn take_transfer_reply(&mut self, from: NodeId, reply: &PeerTransferReply<'_>) {
        let Some(mut replication) = self.replication.take() else { return };
        let now = Time(self.now.monotonic_ns);
        if reply.outcome == PeerTransferOutcome::Needed {
            let partition = PartitionId(reply.partition.0);
            if let Some(group) = replication.groups.get(&partition).filter(|group| group.is_leading()) {
                let settled = self.store.partition(group.partition).expect("owned").settled().index;
                replication.lending.want_through(partition, from, settled);
            }
            self.replication = Some(replication);
            return;
        }
        if let PeerTransferOutcome::Damaged { .. } = reply.outcome {
            // If it is not the network, it is the tables of this node.
            self.store.verify_tables(PartitionId(reply.partition.0));
        }
        match replication.lending.take_reply(from, reply, now) {
            Ok(None) => {}
            Ok(Some(partition)) => {
                tracing::info!(core = self.config.core.0, %partition, node = %from, "tables were sent");
                replication.lending.end(&mut self.store, false, &mut Vec::new());
                self.transfer_ended(&mut replication, partition, from);
            }
            Err(message) => self.stop_lending(&mut replication, &message, false),
        }
        self.replication = Some(replication);
    }

    fn transfer_ended(&mut self, replication: &mut Replication, partition: PartitionId, to: NodeId) {
        let now = Time(self.now.monotonic_ns);
        if let Some(group) = replication.groups.get_mut(&partition) {
            let _ = group.step(&mut self.store, now, self.now.wall_ms, Input::SnapshotEnded { to });
            replication.activate(partition);
        }
    }

    fn stop_lending(&mut self, replication: &mut Replication, message: &str, is_cancelled: bool) {
        let Some((partition, to, _)) = replication.lending.active() else { return };
        tracing::warn!(core = self.config.core.0, %partition, node = %to, message, "tables are not sent");
        let mut out = Vec::new();
        replication.lending.end(&mut self.store, is_cancelled, &mut out);
        self.send_to_node(replication, to, &out);
        replication.lending.retry_later(partition, to, Time(self.now.monotonic_ns));
    }

    /// Lets transfers go on, as far as what has happened allows.
    pub(super) fn transfer(&mut self, replication: &mut Replication) {
        if !replication.lending.is_idle() {
            self.lend(replication);
        }
        if !replication.receiving.is_idle() {
            self.receive(replication);
        }
    }

    fn lend(&mut self, replication: &mut Replication) {
        let now = Time(self.now.monotonic_ns);
        while let Some((partition, to)) = replication.lending.take_failed(now) {
            self.transfer_ended(replication, partition, to);
        }
        while let Some((partition, to)) = replication.lending.take_wanted() {
            let is_damaged = replication.groups.get(&partition).is_some_and(|group| group.is_damaged);
            match link_to(replication, to).filter(|_| !is_damaged) {
                Some(connection) => replication.lending.begin(partition, to, connection, now),
                None => replication.lending.retry_later(partition, to, now),
            }
        }
        let Some((partition, to, connection)) = replication.lending.active() else { return };
        let group = &replication.groups[&partition];
        if !group.is_leading() {
            self.stop_lending(replication, "this replica leads no longer", true);
            return;
        }
        if link_to(replication, to) != Some(connection) {
            self.stop_lending(replication, "the connection is gone", false);
            return;
        }
        let mut out = Vec::new();
        let pumped = replication.lending.pump(&mut self.store, group, now, &mut out);
        self.send_to_node(replication, to, &out);
        if let Err(message) = pumped {
            self.stop_lending(replication, &message, true);
        }
    }

    fn receive(&mut self, replication: &mut Replication) {
        let now = Time(self.now.monotonic_ns);
        let Some((partition, from, position)) = replication.receiving.active() else { return };
        let mut out = Vec::new();
        match replication.receiving.pump(&self.store, now, &mut out) {
            Ok(Stage::UnderWay) => {}
            Ok(Stage::Checked) => {
                let is_known = self.has_already(replication, partition, position);
                let group = &replication.groups[&partition];
                if is_known && group.is_damaged {
                    self.repair(replication, partition, position, &mut out);
                } else if is_known {
                    self.store.stop_receiving(partition);
                    replication.receiving.end(PeerTransferOutcome::Done, &mut out);
                } else if replication.groups[&partition].raft.status().role == RoleKind::Follower {
                    // From here on nothing may be applied, and nobody elected.
                    replication.groups.get_mut(&partition).expect("looked up above").is_replacing = true;
                    self.store.replace(partition);
                } else {
                    self.stop_receiving(replication, "this replica does not follow", &mut out);
                }
            }
            Ok(Stage::Replaced) => {
                self.finish_replacing(replication, partition);
                replication.receiving.end(PeerTransferOutcome::Done, &mut out);
            }
            Err(message) => {
                if let Some(group) = replication.groups.get_mut(&partition) {
                    group.is_replacing = false;
                }
                replication.activate(partition);
                let outcome = match &message {
                    Failed::Damaged(message) => PeerTransferOutcome::Damaged { message },
                    Failed::Otherwise(message) => PeerTransferOutcome::Refused { message },
                };
                self.end_receiving(replication, outcome, message.text(), &mut out);
            }
        }
        self.send_to_node(replication, from, &out);
    }

    /// Tables are here whole that end within this replica's log, in place of its own, which are damaged.
    fn repair(
        &mut self,
        replication: &mut Replication,
        partition: PartitionId,
        position: LogPosition,
        out: &mut Vec<u8>,
    ) {
        let group = replication.groups.get_mut(&partition).expect("looked up by the caller");
        if self.is_behind_applied(partition, position) {
            self.stop_receiving(replication, "it is older than what is applied here", out);
        } else if group.is_leading() {
            self.stop_receiving(replication, "this replica does not follow", out);
        } else if group.raft.log().stored() >= position.index {
            group.is_replacing = true;
            self.store.repair(partition);
        }
        // Else the log on this disk is not that far yet: a matter of moments.
    }

    /// The tables are in place, durably: consensus goes on behind them.
    fn finish_replacing(&mut self, replication: &mut Replication, partition: PartitionId) {
        let now = Time(self.now.monotonic_ns);
        let (position, lost) = self.store.finish_replacing(partition);
        self.lose_proposals(partition, &lost);
        self.fail_reads_ahead(partition);
        let group = replication.groups.get_mut(&partition).expect("looked up by the caller");
        group.note_members(&replication.cluster, &self.store);
        let membership = group.members.membership.clone();
        group.is_replacing = false;
        group.is_damaged = false;
        group.is_cut = false;
        group.divergence.clear();
        replication.activate(partition);
        let group = replication.groups.get_mut(&partition).expect("looked up by the caller");
        let position = crate::replication::group::raft_position(position);
        if position.index <= group.raft.log().committed() {
            tracing::info!(core = self.config.core.0, %partition, %position, "tables of another node took the place of damaged ones");
            return;
        }
        let input = Input::SnapshotInstalled { position, membership };
        let installed = group.step(&mut self.store, now, self.now.wall_ms, input);
        assert!(installed.is_ok(), "{installed:?}: nothing was committed while the group rested");
        tracing::info!(core = self.config.core.0, %partition, %position, "tables of another node took the place of this replica's");
    }

    pub(super) fn send_to_node(&mut self, replication: &Replication, node: NodeId, bytes: &[u8]) {
        if let (false, Some(connection)) = (bytes.is_empty(), link_to(replication, node)) {
            self.append_output(connection, |_, output| output.extend_from_slice(bytes));
        }
    }
}

fn link_to(replication: &Replication, node: NodeId) -> Option<ConnectionId> {
    match replication.links.get(&node)?.state {
        LinkState::Up(connection) => Some(connection),
        _ => None,
    }
}
