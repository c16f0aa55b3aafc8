//! The leader's side of a transfer: which parts leave, and when.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use corelode_engine::env::Environment;
use corelode_engine::ids::{LogIndex, LogPosition, PartitionId};
use corelode_engine::store::Store;
use corelode_engine::table::TableMeta;
use corelode_engine::transfer::TransferId;
use corelode_net as net;
use corelode_net::peer::{PeerTransfer, PeerTransferOutcome, PeerTransferPart, PeerTransferReply};
use corelode_raft::{NodeId, Time};

use super::{PATIENCE, PIECES_UNANSWERED_MAX, head_of};
use crate::replication::group::Group;
use crate::shard::ConnectionId;

/// After a failure consensus is told so late, so that what fails at once is not tried without end.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// Entries behind the tables are kept for the one who is being sent them, up to so many times the bytes that are kept otherwise.
pub(crate) const PINNED_TIMES_MAX: usize = 4;

/// The transfer under way.
struct Active {
    number: u64,
    partition: PartitionId,
    to: NodeId,
    connection: ConnectionId,
    /// There is none until the tables hold enough of the log.
    lent: Option<Lent>,
    /// The next part's number.
    sequence: u32,
    /// Numbers of pieces that were not answered.
    unanswered: VecDeque<u32>,
    heard_at: Time,
}

struct Lent {
    id: TransferId,
    position: LogPosition,
    tables: Vec<(usize, TableMeta)>,
    is_begun: bool,
    /// The table whose pieces leave; behind the last one all was sent.
    table: usize,
    is_announced: bool,
    offset: u64,
    is_reading: bool,
    is_ended: bool,
}

/// A core's part as the one who lends. Bounded by its groups and their followers.
pub(crate) struct Lending {
    bytes_per_second: u64,
    wanted: VecDeque<(PartitionId, NodeId)>,
    /// Of whom tables must hold more than consensus asks for.
    at_least: BTreeMap<(PartitionId, NodeId), LogIndex>,
    active: Option<Active>,
    /// Of these consensus is told that they have ended.
    failed: VecDeque<(Time, PartitionId, NodeId)>,
    last_number: u64,
    /// When the budget allows another piece.
    next_piece_at: Time,
    pub(crate) counters: LendingCounters,
}

/// What is counted, for STATUS.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct LendingCounters {
    pub(crate) begun: u64,
    pub(crate) done: u64,
    pub(crate) bytes: u64,
}

impl Lending {
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        Self {
            bytes_per_second: bytes_per_second.max(1),
            wanted: VecDeque::new(),
            at_least: BTreeMap::new(),
            active: None,
            failed: VecDeque::new(),
            last_number: 0,
            next_piece_at: Time(0),
            counters: LendingCounters::default(),
        }
    }

    /// A follower needs tables.
    pub(crate) fn want(&mut self, partition: PartitionId, to: NodeId) {
        if !self.wanted.contains(&(partition, to)) {
            self.wanted.push_back((partition, to));
        }
    }

    /// A follower needs tables that hold all through an entry, whatever its log holds.
    pub(crate) fn want_through(&mut self, partition: PartitionId, to: NodeId, at_least: LogIndex) {
        self.at_least.insert((partition, to), at_least);
        if self.active.as_ref().is_none_or(|active| (active.partition, active.to) != (partition, to)) {
            self.want(partition, to);
        }
    }

    /// Whether nothing is under way or waited for.
    pub(crate) fn is_idle(&self) -> bool {
        self.active.is_none() && self.wanted.is_empty() && self.failed.is_empty()
    }

    /// When there is something to do although nothing arrives.
    pub(crate) fn next_time(&self, now: Time) -> Option<Time> {
        let wanted = (self.active.is_none() && !self.wanted.is_empty()).then_some(now);
        let piece = self.active.as_ref().map(|_| self.next_piece_at).filter(|at| *at > now);
        let patience = self.active.as_ref().map(|active| active.heard_at.after(PATIENCE));
        let failed = self.failed.front().map(|(at, ..)| *at);
        [wanted, piece, patience, failed].into_iter().flatten().min()
    }

    /// The next one who wants tables, if none is being sent any.
    pub(crate) fn take_wanted(&mut self) -> Option<(PartitionId, NodeId)> {
        if self.active.is_some() { None } else { self.wanted.pop_front() }
    }

    pub(crate) fn begin(&mut self, partition: PartitionId, to: NodeId, connection: ConnectionId, now: Time) {
        self.last_number += 1;
        self.counters.begun += 1;
        self.active = Some(Active {
            number: self.last_number,
            partition,
            to,
            connection,
            lent: None,
            sequence: 0,
            unanswered: VecDeque::new(),
            heard_at: now,
        });
    }

    /// What is being sent to whom, over which connection.
    pub(crate) fn active(&self) -> Option<(PartitionId, NodeId, ConnectionId)> {
        self.active.as_ref().map(|active| (active.partition, active.to, active.connection))
    }

    /// The last entry that a partition may let go, for the sake of the one who is being sent its tables.
    pub(crate) fn pinned(&self, partition: PartitionId) -> Option<corelode_raft::LogIndex> {
        let active = self.active.as_ref().filter(|active| active.partition == partition)?;
        Some(corelode_raft::LogIndex(active.lent.as_ref().map_or(0, |lent| lent.position.index.0)))
    }

    /// Appends the parts that may leave now to `out`, and asks the store for what the next ones need.
    ///
    /// # Errors
    /// A clause that says why the transfer cannot go on.
    pub(crate) fn pump<E: Environment>(
        &mut self,
        store: &mut Store<E>,
        group: &Group,
        now: Time,
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        let Some(active) = &mut self.active else { return Ok(()) };
        if now >= active.heard_at.after(PATIENCE) {
            return Err(format!("nothing was heard of it for {PATIENCE:?}"));
        }
        let Some(lent) = &mut active.lent else {
            let at_least = self.at_least.get(&(active.partition, active.to)).copied().unwrap_or_default();
            let truncated = LogIndex(group.raft.log().truncated().index.0);
            if let Some(id) = store.lend(active.partition, truncated.max(at_least)) {
                self.at_least.remove(&(active.partition, active.to));
                let (position, tables) = store.lent_tables(id);
                active.heard_at = now;
                active.lent = Some(Lent::new(id, position, tables));
                return self.pump(store, group, now, out);
            }
            return Ok(());
        };
        let (number, partition) = (active.number, net::PartitionId(active.partition.0));
        let mut send = |part: PeerTransferPart<'_>, out: &mut Vec<u8>| {
            let sequence = active.sequence;
            active.sequence += 1;
            PeerTransfer { transfer: number, partition, sequence, part }.encode(head_of(sequence), out);
            sequence
        };
        if !std::mem::replace(&mut lent.is_begun, true) {
            let table_count = u32::try_from(lent.tables.len()).map_err(|_| "it has too many tables")?;
            let (term, index) = (net::Term(lent.position.term.0), net::LogIndex(lent.position.index.0));
            let position = net::LogPosition { term, index };
            send(PeerTransferPart::Begin { position, table_count }, out);
        }
        while let Some((level, meta)) = lent.tables.get(lent.table) {
            if !lent.is_reading {
                if active.unanswered.len() >= PIECES_UNANSWERED_MAX || now < self.next_piece_at {
                    return Ok(());
                }
                if !std::mem::replace(&mut lent.is_announced, true) {
                    let mut description = Vec::new();
                    meta.encode(&mut description);
                    let level = u32::try_from(*level).map_err(|_| "it has too many levels")?;
                    send(PeerTransferPart::Table { level, description: &description }, out);
                }
                store.read_piece(lent.id, lent.table, lent.offset);
                lent.is_reading = true;
            }
            let Some(piece) = store.take_piece(lent.id) else { return Ok(()) };
            let bytes = piece.map_err(|error| error.to_string())?;
            lent.is_reading = false;
            let sequence = send(PeerTransferPart::Piece { offset: lent.offset, bytes: &bytes }, out);
            active.unanswered.push_back(sequence);
            lent.offset += bytes.len() as u64;
            if lent.offset == meta.file_length {
                (lent.table, lent.offset, lent.is_announced) = (lent.table + 1, 0, false);
            }
            self.counters.bytes += bytes.len() as u64;
            let takes = Duration::from_nanos(bytes.len() as u64 * 1_000_000_000 / self.bytes_per_second);
            self.next_piece_at = now.max(self.next_piece_at).after(takes);
        }
        if !std::mem::replace(&mut lent.is_ended, true) {
            send(PeerTransferPart::End, out);
        }
        Ok(())
    }

    /// Takes an answer of the receiver. Answers the partition if the transfer is done.
    ///
    /// # Errors
    /// A clause that says why the receiver does not want it.
    pub(crate) fn take_reply(
        &mut self,
        from: NodeId,
        reply: &PeerTransferReply<'_>,
        now: Time,
    ) -> Result<Option<PartitionId>, String> {
        let is_meant = |active: &&mut Active| active.to == from && active.number == reply.transfer;
        let Some(active) = self.active.as_mut().filter(is_meant) else { return Ok(None) };
        active.heard_at = now;
        match reply.outcome {
            PeerTransferOutcome::Taken => {
                while active.unanswered.pop_front_if(|sequence| *sequence <= reply.sequence).is_some() {}
                Ok(None)
            }
            PeerTransferOutcome::Done => {
                self.counters.done += 1;
                Ok(Some(active.partition))
            }
            PeerTransferOutcome::Refused { message } | PeerTransferOutcome::Damaged { message } => {
                Err(message.to_owned())
            }
            PeerTransferOutcome::Needed => Ok(None),
        }
    }

    /// Ends the transfer. A receiver that may still be there is told, by what is appended to `out`.
    pub(crate) fn end<E: Environment>(&mut self, store: &mut Store<E>, is_cancelled: bool, out: &mut Vec<u8>) {
        let Some(active) = self.active.take() else { return };
        if let Some(lent) = &active.lent {
            store.end_lending(lent.id);
        }
        if is_cancelled && active.sequence > 0 {
            let partition = net::PartitionId(active.partition.0);
            let (transfer, sequence, part) = (active.number, active.sequence, PeerTransferPart::Cancel);
            PeerTransfer { transfer, partition, sequence, part }.encode(head_of(sequence), out);
        }
    }

    /// Consensus will be told, a little later, that a transfer came to nothing.
    pub(crate) fn retry_later(&mut self, partition: PartitionId, to: NodeId, now: Time) {
        self.failed.push_back((now.after(RETRY_AFTER), partition, to));
    }

    /// The transfers of which consensus is told now that they came to nothing.
    pub(crate) fn take_failed(&mut self, now: Time) -> Option<(PartitionId, NodeId)> {
        self.failed.pop_front_if(|(at, ..)| *at <= now).map(|(_, partition, to)| (partition, to))
    }
}

impl Lent {
    fn new(id: TransferId, position: LogPosition, tables: Vec<(usize, TableMeta)>) -> Self {
        Self {
            id,
            position,
            tables,
            is_begun: false,
            table: 0,
            is_announced: false,
            offset: 0,
            is_reading: false,
            is_ended: false,
        }
    }
}
