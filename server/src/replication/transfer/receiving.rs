//! The follower's side of a transfer: parts are given to the store as they come, and its end to consensus.

use std::collections::VecDeque;
use std::time::Duration;

use corelode_engine::Error;
use corelode_engine::env::Environment;
use corelode_engine::ids::{self, PartitionId};
use corelode_engine::store::{self, Store};
use corelode_engine::table::TableMeta;
use corelode_net as net;
use corelode_net::peer::{PeerTransfer, PeerTransferOutcome, PeerTransferPart, PeerTransferReply};
use corelode_raft::{LogPosition, NodeId, Time};

use super::{PATIENCE, PIECES_UNANSWERED_MAX, head_of};

/// While tables are being checked the sender hears so often that it goes on.
const ANSWER_INTERVAL: Duration = Duration::from_secs(2);

/// The transfer under way.
struct Active {
    transfer: u64,
    partition: PartitionId,
    from: NodeId,
    position: LogPosition,
    next_sequence: u32,
    /// Pieces that are not known to be written: their numbers and lengths.
    unwritten: VecDeque<(u32, usize)>,
    heard_at: Time,
    /// When it was last answered: checking may take long, and the sender must know that it goes on.
    answered_at: Time,
}

/// A core's part as the one who receives.
#[derive(Default)]
pub(crate) struct Receiving {
    active: Option<Active>,
    pub(crate) counters: ReceivingCounters,
}

/// What is counted, for STATUS.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct ReceivingCounters {
    pub(crate) begun: u64,
    pub(crate) done: u64,
    pub(crate) bytes: u64,
}

/// How far a transfer is, for whoever knows consensus.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// Parts are on their way, or jobs.
    UnderWay,
    /// All is here and checked.
    Checked,
    /// All is in place on disk.
    Replaced,
}

/// Why a transfer cannot go on, as a clause.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Failed {
    /// What was sent does not hold its checksums.
    Damaged(String),
    /// Something else.
    Otherwise(String),
}

impl Failed {
    pub(crate) fn text(&self) -> &str {
        let (Self::Damaged(text) | Self::Otherwise(text)) = self;
        text
    }
}

impl Receiving {
    /// Whether nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.active.is_none()
    }

    /// When there is something to do although nothing arrives.
    pub(crate) fn next_time(&self) -> Option<Time> {
        self.active
            .as_ref()
            .map(|active| active.heard_at.after(PATIENCE).min(active.answered_at.after(ANSWER_INTERVAL)))
    }

    /// What is being received, from whom, and up to where it goes.
    pub(crate) fn active(&self) -> Option<(PartitionId, NodeId, LogPosition)> {
        self.active.as_ref().map(|active| (active.partition, active.from, active.position))
    }

    /// Whether a part belongs to the transfer under way. A node that was started again counts its transfers from the beginning.
    pub(crate) fn is_expected(&self, from: NodeId, part: &PeerTransfer<'_>) -> bool {
        let named = (from, part.transfer, part.partition.0);
        self.active.as_ref().is_some_and(|active| (active.from, active.transfer, active.partition.0) == named)
    }

    /// Begins to receive what `part` announces.
    pub(crate) fn begin<E: Environment>(
        &mut self,
        store: &mut Store<E>,
        from: NodeId,
        part: &PeerTransfer<'_>,
        (position, table_count): (LogPosition, u32),
        now: Time,
    ) {
        let partition = PartitionId(part.partition.0);
        let through = ids::LogPosition { term: ids::Term(position.term.0), index: ids::LogIndex(position.index.0) };
        store.receive(partition, through, table_count);
        self.counters.begun += 1;
        self.active = Some(Active {
            transfer: part.transfer,
            partition,
            from,
            position,
            next_sequence: 1,
            unwritten: VecDeque::new(),
            heard_at: now,
            answered_at: now,
        });
    }

    /// Takes a part that is [expected](Self::is_expected), and is no beginning.
    ///
    /// # Errors
    /// A clause that says why the transfer cannot go on.
    pub(crate) fn take<E: Environment>(
        &mut self,
        store: &mut Store<E>,
        part: &PeerTransfer<'_>,
        now: Time,
    ) -> Result<(), String> {
        let active = self.active.as_mut().expect("the part is expected");
        if part.sequence != active.next_sequence {
            return Err(format!("part {} arrived in place of part {}", part.sequence, active.next_sequence));
        }
        active.next_sequence += 1;
        active.heard_at = now;
        match part.part {
            PeerTransferPart::Begin { .. } => Err("it began twice".to_owned()),
            PeerTransferPart::Table { level, description } => {
                let meta = TableMeta::decode(description).ok_or("what describes a table makes no sense")?;
                store.receive_table(active.partition, usize::try_from(level).unwrap_or(usize::MAX), meta)
            }
            PeerTransferPart::Piece { offset, bytes } => {
                if active.unwritten.len() > PIECES_UNANSWERED_MAX {
                    return Err("it did not wait until pieces were written".to_owned());
                }
                active.unwritten.push_back((part.sequence, bytes.len()));
                self.counters.bytes += bytes.len() as u64;
                store.receive_piece(active.partition, offset, bytes.to_vec())
            }
            PeerTransferPart::End => store.receive_end(active.partition),
            PeerTransferPart::Cancel => Err("its sender gave it up".to_owned()),
        }
    }

    /// How far it is; pieces that were written are answered to `out`.
    ///
    /// # Errors
    /// Why it cannot go on.
    pub(crate) fn pump<E: Environment>(
        &mut self,
        store: &Store<E>,
        now: Time,
        out: &mut Vec<u8>,
    ) -> Result<Stage, Failed> {
        let Some(active) = &mut self.active else { return Ok(Stage::UnderWay) };
        let state = store.receiving_state(active.partition).map_err(|error| match error {
            Error::Corruption(_) => Failed::Damaged(error.to_string()),
            _ => Failed::Otherwise(error.to_string()),
        })?;
        match state.ok_or_else(|| Failed::Otherwise("nothing is being received".to_owned()))? {
            store::Receiving::Pieces { unwritten } => {
                let mut waiting: usize = active.unwritten.iter().map(|(_, length)| length).sum();
                let mut taken = None;
                while let Some((sequence, length)) =
                    active.unwritten.pop_front_if(|(_, length)| waiting >= unwritten + *length)
                {
                    waiting -= length;
                    taken = Some(sequence);
                }
                if let Some(sequence) = taken {
                    active.answered_at = now;
                    active.answer(sequence, PeerTransferOutcome::Taken, out);
                }
                if now >= active.heard_at.after(PATIENCE) {
                    return Err(Failed::Otherwise(format!("nothing was heard of it for {PATIENCE:?}")));
                }
                Ok(Stage::UnderWay)
            }
            store::Receiving::Checking | store::Receiving::Replacing => {
                active.heard_at = now;
                if now >= active.answered_at.after(ANSWER_INTERVAL) {
                    active.answered_at = now;
                    active.answer(active.next_sequence - 1, PeerTransferOutcome::Taken, out);
                }
                Ok(Stage::UnderWay)
            }
            store::Receiving::Checked => Ok(Stage::Checked),
            store::Receiving::Replaced => Ok(Stage::Replaced),
        }
    }

    /// Ends the transfer, with an answer to `out`.
    pub(crate) fn end(&mut self, outcome: PeerTransferOutcome<'_>, out: &mut Vec<u8>) {
        let Some(active) = self.active.take() else { return };
        self.counters.done += u64::from(outcome == PeerTransferOutcome::Done);
        active.answer(active.next_sequence - 1, outcome, out);
    }
}

impl Active {
    fn answer(&self, sequence: u32, outcome: PeerTransferOutcome<'_>, out: &mut Vec<u8>) {
        let partition = net::PartitionId(self.partition.0);
        PeerTransferReply { transfer: self.transfer, partition, sequence, outcome }.encode(head_of(sequence), out);
    }
}

/// Answers a part of a transfer that is not wanted.
pub(crate) fn answer(part: &PeerTransfer<'_>, outcome: PeerTransferOutcome<'_>, out: &mut Vec<u8>) {
    let &PeerTransfer { transfer, partition, sequence, .. } = part;
    PeerTransferReply { transfer, partition, sequence, outcome }.encode(head_of(sequence), out);
}
