//! A shard as one of several replicas: what peers say goes into its groups, and what its groups have to say goes to peers.

use std::collections::BTreeMap;

use corelode_engine::env::Environment;
use corelode_engine::ids::{self, PartitionId};
use corelode_engine::partition::ProposedEntry;
use corelode_net::peer::{PeerMessage, PeerTurn, PeerTurnWriter};
use corelode_net::table::counters as names;
use corelode_net::{BootId, ErrorCode, MapEpoch, RequestHead, RequestId};
use corelode_raft::{Accepted, Input, LogIndex, LogPosition, Membership, Message, NodeId, Output, Term, Time};

use super::stages::Cause;
use super::{Failure, Leader, Operation, OperationResult, ReadLevel, ReplyTo, Request, Shard};
use crate::replication::group::Group;
use crate::replication::leaders::Told;
use crate::replication::link::{Heard, Link, LinkState};
use crate::replication::{Replication, translation};
use crate::shard::Parked;

/// Bytes that may wait for a core of another node to take them. Beyond it messages are dropped, which consensus survives.
const LINK_OUTPUT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How a core sees a replica of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReplicaStatus {
    /// The partition.
    pub partition: PartitionId,
    /// Its term.
    pub term: Term,
    /// Whether it leads.
    pub is_leading: bool,
    /// Who leads, as far as it knows.
    pub leader: Option<NodeId>,
    /// The last entry of its log.
    pub last: LogPosition,
    /// The last entry that it knows to be committed.
    pub committed: LogIndex,
    /// The last committed entry that it has applied.
    pub applied: LogIndex,
    /// The rolling hash of what it has applied by then, if it is known still: where it has applied much from memory since, it is not.
    pub state_hash: Option<u64>,
    /// The first entry from which another replica has applied something else, as far as it was found.
    pub diverged_from: Option<ids::LogIndex>,
    /// The members of its group, as of its log.
    pub membership: Membership,
}

/// Messages of a turn, by the node that they go to.
type Outgoing = BTreeMap<NodeId, Vec<(PartitionId, Message)>>;

/// The head of a frame to a peer. Nobody answers it; an error would name it.
fn head_of(turn: u64) -> RequestHead {
    RequestHead { request_id: RequestId(turn), map_epoch: MapEpoch(0), deadline_ms: 0 }
}

impl<E: Environment> Shard<E> {
    fn raft_now(&self) -> Time {
        Time(self.now.monotonic_ns)
    }

    /// Whether an operation may be carried out here and now. If not it was taken care of: it waits for its group, or was refused.
    pub(super) fn is_admitted(&mut self, request: Request, operation: &Operation<&[u8]>) -> bool {
        let Some(replication) = &mut self.replication else { return true };
        if replication.groups.get(&request.partition).is_some_and(Group::is_fenced) {
            let failure = self.not_leader(request.partition);
            self.deliver(request.reply_to, OperationResult::Failed(failure));
            return false;
        }
        let needs_leader = match operation {
            Operation::Get { level, .. } => *level == ReadLevel::Linearizable,
            Operation::Scan(page) => page.level == ReadLevel::Linearizable && page.snapshot == 0,
            Operation::ReleaseSnapshot { .. } => false,
            write => write.is_write(),
        };
        if !needs_leader {
            return true;
        }
        let Some(group) =
            replication.groups.get_mut(&request.partition).filter(|group| group.is_leading() && group.is_bound())
        else {
            let failure = self.not_leader(request.partition);
            self.deliver(request.reply_to, OperationResult::Failed(failure));
            return false;
        };
        if !operation.is_read() {
            return true;
        }
        group.push_read(Parked { request, operation: operation.clone().into_owned() });
        replication.activate(request.partition);
        false
    }

    /// Why this node does not serve a partition, and who does.
    fn not_leader(&self, partition: PartitionId) -> Failure {
        let Some(replication) = &self.replication else { return ErrorCode::NotLeader.into() };
        let group = replication.groups.get(&partition);
        let is_new = group.is_some_and(|group| !group.is_bound());
        let leader = group.and_then(|group| group.leader());
        let other = leader.filter(|leader| *leader != replication.cluster.node);
        let known = other.and_then(|node| Some(Leader { node, address: *replication.cluster.nodes.get(&node)? }));
        let message = match known {
            Some(Leader { node, address }) => format!("node {node} at {address} leads partition {partition}"),
            None if is_new => {
                format!("partition {partition} is new, and serves once all nodes of the cluster have been up together")
            }
            None => format!("no leader of partition {partition} is known here"),
        };
        Failure { leader: known, ..Failure::with_message(ErrorCode::NotLeader, message) }
    }

    /// Entries that were proposed here and will never be committed: whoever waits for them may try again elsewhere.
    pub(super) fn fail_proposals(&mut self, partition: PartitionId, entries: &[ProposedEntry]) {
        let mut waiters = Vec::new();
        self.writes.remove(partition, entries, |waiter| waiters.push(waiter));
        for waiter in waiters {
            let failure = self.not_leader(partition);
            self.deliver(waiter.reply_to, OperationResult::Failed(failure));
        }
    }

    /// Entries that were proposed here, and may have been committed or not: tables have taken their place.
    pub(super) fn lose_proposals(&mut self, partition: PartitionId, entries: &[ProposedEntry]) {
        let mut waiters = Vec::new();
        self.writes.remove(partition, entries, |waiter| waiters.push(waiter));
        for waiter in waiters {
            self.deliver(waiter.reply_to, OperationResult::Failed(ErrorCode::OutcomeUnknown.into()));
        }
    }

    /// All that a core of another node had to say in one turn.
    pub(super) fn take_peer_turn(&mut self, from: NodeId, turn: &PeerTurn<'_>) {
        let Some(mut replication) = self.replication.take() else { return };
        replication.counters.frames_received += 1;
        self.hear(&mut replication, from, turn.boot.0);
        for (partition, message) in turn.messages() {
            replication.counters.messages_received += 1;
            self.take_peer_message(&mut replication, from, PartitionId(partition.0), &message);
        }
        self.replication = Some(replication);
    }

    fn take_peer_message(
        &mut self,
        replication: &mut Replication,
        from: NodeId,
        partition: PartitionId,
        message: &PeerMessage<'_>,
    ) {
        // What does not belong here is of a node that was told something else; what finds no room is sent again.
        let has_entries = matches!(message, PeerMessage::Append(_, entries) if entries.len() > 0);
        // The others may have lost their leader before it said anything here, and need this vote.
        if matches!(message, PeerMessage::Append(..) | PeerMessage::VoteRequest(_)) {
            replication.welcome(&self.store, partition, self.raft_now());
        }
        let is_here = replication.groups.contains_key(&partition);
        let is_full = |group: &Group| self.has_too_many_unapplied(replication, group);
        if !is_here
            || has_entries
                && (self.store.check_capacity(partition).is_err()
                    || replication.groups.get(&partition).is_some_and(is_full))
        {
            replication.counters.messages_dropped += 1;
            return;
        }
        let read = match translation::read(message) {
            Ok(read) => read,
            Err(error) => {
                tracing::error!(%partition, node = %from, error, "a peer sent what is no message; it is ignored");
                replication.counters.messages_dropped += 1;
                return;
            }
        };
        let now = self.raft_now();
        let group = replication.groups.get_mut(&partition).expect("looked up above");
        if group.is_replacing {
            replication.counters.messages_dropped += 1;
            return;
        }
        let input = Input::Message { from, message: read };
        let accepted = group.step(&mut self.store, now, self.now.wall_ms, input);
        if let (Ok(Accepted::Store { first }), PeerMessage::Append(append, entries)) = (accepted, message) {
            if self.store.cut_applied(partition, ids::LogIndex(first.0)) {
                self.lose_what_was_applied(replication, partition);
            }
            let mut cut = Vec::new();
            for (index, entry) in (append.previous.index.0 + 1..).zip(entries.clone()) {
                if LogIndex(index) < first {
                    continue;
                }
                let position = ids::LogPosition { term: ids::Term(entry.term.0), index: ids::LogIndex(index) };
                let payload = entry.payload.to_vec();
                cut.extend(self.store.append_entry(partition, position, payload).expect("it was read above"));
            }
            self.fail_proposals(partition, &cut);
        }
        replication.activate(partition);
    }

    /// A core of another node lives.
    fn hear(&mut self, replication: &mut Replication, node: NodeId, boot: u64) {
        let now = self.raft_now();
        let Some(link) = replication.links.get_mut(&node) else { return };
        let inputs: &[Input] = match link.heard(now, boot) {
            Heard::Alive => return,
            Heard::Back => &[Input::PeerUp(node)],
            Heard::Restarted => &[Input::PeerDown(node), Input::PeerUp(node)],
        };
        tracing::info!(core = self.config.core.0, %node, "a node is back");
        self.tell_groups(replication, inputs);
    }

    pub(super) fn tell_groups(&mut self, replication: &mut Replication, inputs: &[Input]) {
        let now = self.raft_now();
        let partitions: Vec<_> = replication.groups.keys().copied().collect();
        for partition in partitions {
            let group = replication.groups.get_mut(&partition).expect("listed just now");
            for input in inputs {
                // What does not concern a group it does not take.
                let _ = group.step(&mut self.store, now, self.now.wall_ms, input.clone());
            }
            replication.activate(partition);
        }
    }

    /// What was given to the log is durable: groups hear of it.
    pub(super) fn note_durable(&mut self) {
        let stored = self.store.take_stored();
        let Some(mut replication) = self.replication.take() else { return };
        let now = self.raft_now();
        for (partition, token) in stored {
            let Some(group) = replication.groups.get_mut(&partition) else { continue };
            let persist = corelode_raft::PersistId(token);
            let _ = group.step(&mut self.store, now, self.now.wall_ms, Input::Stored(persist));
            if let Cause::Logged { started_ns, ended_ns } = self.cause {
                let through = ids::LogIndex(group.raft.log().stored().0);
                self.store_times.entry(partition).or_default().stored(through, started_ns, ended_ns);
            }
            replication.activate(partition);
        }
        self.replication = Some(replication);
    }

    /// Ends the turn of the groups that something has happened to.
    pub(super) fn replicate(&mut self) {
        let Some(mut replication) = self.replication.take() else { return };
        let now = self.raft_now();
        for partition in replication.due(now) {
            let group = replication.groups.get_mut(&partition).expect("groups stay");
            if !group.is_replacing {
                let _ = group.step(&mut self.store, now, self.now.wall_ms, Input::Tick);
            }
            replication.activate(partition);
        }
        self.notice_silence(&mut replication);
        self.mend(&mut replication);
        self.reconcile_members(&mut replication);
        self.transfer(&mut replication);
        for partition in self.store.take_sealed() {
            replication.activate(partition);
        }
        let mut outgoing = Outgoing::new();
        let mut output = Output::default();
        for partition in replication.take_active() {
            self.end_group_turn(&mut replication, partition, &mut output, &mut outgoing);
        }
        self.send_to_peers(&mut replication, outgoing);
        self.report_state_hashes(&mut replication);
        self.tell_leaders(&mut replication);
        self.replication = Some(replication);
        // What this core alone could store at once is stored.
        self.note_durable();
    }

    fn end_group_turn(
        &mut self,
        replication: &mut Replication,
        partition: PartitionId,
        output: &mut Output,
        outgoing: &mut Outgoing,
    ) {
        let now = self.raft_now();
        let group = replication.groups.get_mut(&partition).expect("groups stay");
        group.is_active = false;
        // Not later: what the turn has to say may hold these entries, and their bytes are taken when it leaves.
        group.truncate(&mut self.store, now, replication.lending.pinned(partition));
        let was_refused = group.propose(&mut self.store, now).is_err();
        group.ask_for_reads(now);
        group.end_turn(&mut self.store, now, output);
        let is_leading = group.is_leading();
        let mut lost_reads = Vec::new();
        if output.is_status_changed {
            let status = group.raft.status();
            self.store.set_leading(partition, is_leading);
            replication.leaders.changed(partition, status.leader, self.other_cores());
            if is_leading {
                replication.reconcile_at.get_or_insert(now);
            }
            tracing::debug!(core = self.config.core.0, %partition, ?status, "a replica changed");
        }
        if !is_leading {
            lost_reads = group.abandon_reads();
        }
        let through = ids::LogIndex(group.raft.log().committed().0);
        if group.may_apply() && through > self.store.partition(partition).expect("owned").settled().index {
            self.store.commit(partition, through, &mut self.outcomes);
            replication.comparison.note_applied(now);
            if group.note_members(&replication.cluster, &self.store) {
                replication.reconcile_at.get_or_insert(now);
            }
        }
        if let Some(received) = output.received.filter(|_| group.may_apply()) {
            self.store.apply_received(partition, ids::LogIndex(received.0), &mut self.outcomes);
        }
        // Not earlier: a group that falls silent with this turn would never flush what the turn has applied.
        group.note_stored(&mut self.store);
        let applied = self.store.partition(partition).expect("owned").applied().index;
        let ready = group.ready_reads(LogIndex(applied.0));
        for (to, message) in output.messages.drain(..) {
            outgoing.entry(to).or_default().push((partition, message));
        }
        output.snapshots.drain(..).for_each(|node| replication.lending.want(partition, node));
        replication.schedule(partition);
        if was_refused || !is_leading {
            let abandoned = self.store.abandon_proposals(partition);
            self.fail_proposals(partition, &abandoned);
        }
        for read in lost_reads {
            self.deliver(read.request.reply_to, OperationResult::Failed(ErrorCode::NotLeader.into()));
        }
        self.settle_outcomes();
        for read in ready {
            self.execute_here(read.request, read.operation.borrowed());
        }
    }

    /// Nodes that have not been heard for long are taken for dead, and those that cannot be told otherwise are shown a sign of life.
    fn notice_silence(&mut self, replication: &mut Replication) {
        let now = self.raft_now();
        let patience = replication.cluster.election_timeout.mul_f64(0.8).max(Link::beat_interval() * 2);
        let silent: Vec<_> = replication
            .links
            .iter_mut()
            .filter_map(|(node, link)| link.has_fallen_silent(now, patience).then_some(*node))
            .collect();
        for node in silent {
            tracing::warn!(core = self.config.core.0, %node, "a node has fallen silent");
            self.tell_groups(replication, &[Input::PeerDown(node)]);
        }
    }

    fn send_to_peers(&mut self, replication: &mut Replication, outgoing: Outgoing) {
        let now = self.raft_now();
        let boot = BootId(replication.cluster.boot);
        let mut unreachable = Vec::new();
        for (node, messages) in outgoing {
            let Some(link) = replication.links.get_mut(&node) else { continue };
            let connection = match link.state {
                LinkState::Up(id) => self.connections.get_mut(id.0).map(|connection| (id, connection)),
                _ => None,
            };
            let has_room = |output: &Vec<u8>, in_flight: usize| output.len() + in_flight < LINK_OUTPUT_BYTES_MAX;
            let Some((id, connection)) =
                connection.filter(|(_, connection)| has_room(&connection.output, connection.output_in_flight))
            else {
                replication.counters.messages_dropped += messages.len() as u64;
                unreachable.push((node, messages));
                continue;
            };
            let before = connection.output.len();
            let mut messages = messages.into_iter().peekable();
            while messages.peek().is_some() {
                let turn = link.sent(now);
                let mut writer = PeerTurnWriter::begin(&mut connection.output, boot, turn);
                while let Some((partition, message)) = messages.peek() {
                    let owned = self.store.partition(*partition).expect("owned");
                    if !translation::push(&mut writer, *partition, message, owned) {
                        assert!(writer.count() > 0, "consensus bounds a message so that it fits a frame");
                        break;
                    }
                    replication.counters.messages_sent += 1;
                    messages.next();
                }
                writer.finish(head_of(turn));
                replication.counters.frames_sent += 1;
            }
            self.output_bytes += connection.output.len() - before;
            self.list_writable(id);
        }
        for (node, messages) in unreachable {
            for (partition, message) in messages {
                if matches!(message, Message::Append(_)) {
                    let group = replication.groups.get_mut(&partition).expect("groups stay");
                    let _ = group.raft.step(now, Input::Unreachable(node));
                }
            }
        }
        let beats: Vec<_> = replication.links.values_mut().filter(|link| link.is_beat_due(now)).collect();
        for link in beats {
            let LinkState::Up(id) = link.state else { continue };
            let turn = link.sent(now);
            replication.counters.frames_sent += 1;
            self.append_output(id, |_, output| {
                PeerTurnWriter::begin(output, boot, turn).finish(head_of(turn));
            });
        }
    }

    /// Hands the partitions that this core leads to their most advanced followers, so that its end costs no election.
    pub(super) fn hand_over(&mut self) {
        let Some(mut replication) = self.replication.take() else { return };
        let now = self.raft_now();
        let led: Vec<_> =
            replication.groups.values().filter(|group| group.is_leading()).map(|group| group.partition).collect();
        for partition in led {
            self.hand_over_group(&mut replication, partition);
        }
        replication.hand_over_until = Some(now.after(replication.cluster.election_timeout));
        self.replication = Some(replication);
    }

    /// Whether partitions are on their way to other leaders. They are not waited for longer than an election would take.
    pub(super) fn is_handing_over(&self) -> bool {
        self.replication.as_ref().is_some_and(|replication| {
            let has_time = replication.hand_over_until.is_some_and(|until| self.raft_now() < until);
            let is_anybody_there = || replication.links.values().any(|link| link.is_alive);
            has_time && is_anybody_there() && replication.groups.values().any(Group::is_leading)
        })
    }

    /// Tells the other cores whose leaders changed. One whose messages wait hears it later.
    fn tell_leaders(&mut self, replication: &mut Replication) {
        for core in self.other_cores() {
            if self.outbox[usize::from(core.0)].len() >= self.config.limits.outbox_max {
                continue;
            }
            let told = replication.leaders.take_untold(core);
            if !told.is_empty() {
                self.send(core, super::Message::Leaders(told));
            }
        }
    }

    /// Another core of this node told who leads its partitions.
    pub(super) fn hear_leaders(&mut self, told: Told) {
        if let Some(replication) = &mut self.replication {
            replication.leaders.hear(told);
        }
    }

    /// Reads that wait for their groups, past their deadlines.
    pub(super) fn expire_group_reads(&mut self, answers: &mut Vec<(ReplyTo, ErrorCode)>) {
        let now_ms = self.now.monotonic_ms;
        let Some(replication) = &mut self.replication else { return };
        for group in replication.groups.values_mut() {
            group.expire_reads(now_ms, |read| answers.push((read.request.reply_to, ErrorCode::DeadlineExceeded)));
        }
    }

    /// The replicas of this core; none without other nodes.
    #[must_use]
    pub fn replicas(&self) -> Vec<ReplicaStatus> {
        let groups = self.replication.iter().flat_map(|replication| replication.groups.values());
        let status = |group: &Group| {
            let (status, log) = (group.raft.status(), group.raft.log());
            let owned = self.store.partition(group.partition).expect("owned");
            let applied = owned.settled().index;
            ReplicaStatus {
                partition: group.partition,
                term: status.term,
                is_leading: group.is_leading(),
                leader: status.leader,
                last: log.last(),
                committed: log.committed(),
                applied: LogIndex(applied.0),
                state_hash: owned.state_hash_at(applied),
                diverged_from: group.divergence.first(),
                membership: group.raft.membership().clone(),
            }
        };
        groups.map(status).collect()
    }

    /// How many frames to other nodes those did not understand: none, without a bug.
    #[must_use]
    pub fn peer_errors(&self) -> u64 {
        self.replication.as_ref().map_or(0, |replication| replication.counters.peer_errors)
    }

    /// What STATUS says of this core's groups; nothing without other nodes.
    pub(super) fn replication_counters(&self) -> Vec<(&'static str, u64)> {
        let Some(replication) = &self.replication else { return Vec::new() };
        let groups = || replication.groups.values();
        let counted = |is_counted: &dyn Fn(&Group) -> bool| groups().filter(|group| is_counted(group)).count() as u64;
        let is_short = |group: &Group| {
            let mut wanted = replication.cluster.replicas(group.partition).into_iter();
            !wanted.all(|node| group.members.is_bound_voter(node))
        };
        let of_peers = &replication.counters;
        vec![
            (names::REPLICAS, groups().count() as u64),
            (names::REPLICAS_LEADING, counted(&Group::is_leading)),
            (names::GROUPS_SHORT_OF_VOTERS, counted(&|group| group.is_leading() && is_short(group))),
            (names::REPLICAS_WITHOUT_LEADER, counted(&|group| group.leader().is_none())),
            (names::REPLICAS_SILENT, counted(&|group| group.raft.is_silent())),
            (names::REPLICAS_ENTRIES_UNCOMMITTED, groups().map(Group::entries_uncommitted).sum()),
            (names::REPLICAS_DAMAGED, counted(&|group| group.is_damaged)),
            (names::REPLICAS_DIVERGED, counted(&|group| group.divergence.first().is_some())),
            (names::STATE_HASHES_COMPARED_TOTAL, replication.comparison.counters.compared),
            (names::STATE_HASHES_INCOMPARABLE_TOTAL, replication.comparison.counters.incomparable),
            (names::REPLICAS_READS_WAITING, replication.reads_waiting() as u64),
            (names::PEERS_ALIVE, replication.links.values().filter(|link| link.is_alive).count() as u64),
            (names::PEER_FRAMES_SENT_TOTAL, of_peers.frames_sent),
            (names::PEER_FRAMES_RECEIVED_TOTAL, of_peers.frames_received),
            (names::PEER_MESSAGES_SENT_TOTAL, of_peers.messages_sent),
            (names::PEER_MESSAGES_RECEIVED_TOTAL, of_peers.messages_received),
            (names::PEER_MESSAGES_DROPPED_TOTAL, of_peers.messages_dropped),
            (names::MEMORY_WRITES_LOST_TOTAL, of_peers.memory_writes_lost),
            (names::PEERS_REFUSED_TOTAL, of_peers.peers_refused),
            (names::PEER_ERRORS_TOTAL, of_peers.peer_errors),
            (names::TRANSFERS_SENT_BEGUN_TOTAL, replication.lending.counters.begun),
            (names::TRANSFERS_SENT_DONE_TOTAL, replication.lending.counters.done),
            (names::TRANSFERS_SENT_BYTES_TOTAL, replication.lending.counters.bytes),
            (names::TRANSFERS_RECEIVED_BEGUN_TOTAL, replication.receiving.counters.begun),
            (names::TRANSFERS_RECEIVED_DONE_TOTAL, replication.receiving.counters.done),
            (names::TRANSFERS_RECEIVED_BYTES_TOTAL, replication.receiving.counters.bytes),
        ]
    }
}
