//! Messages of consensus as the wire has them, and back.

use corelode_engine::env::Environment;
use corelode_engine::ids::{self, PartitionId};
use corelode_engine::partition::Partition;
use corelode_net as net;
use corelode_net::peer::{
    PeerAppend, PeerAppendOutcome, PeerAppendReply, PeerMessage, PeerTurnWriter, PeerVoteKind, PeerVoteReply,
    PeerVoteRequest,
};
use corelode_raft::{
    Append, AppendOutcome, AppendReply, Entries, LogIndex, LogPosition, Message, Round, Term, VoteKind, VoteReply,
    VoteRequest,
};

use super::group::entry_info;

/// Puts a message into a frame; the bytes of its entries are taken from where they are kept. Answers whether it fits.
pub(crate) fn push<E: Environment>(
    writer: &mut PeerTurnWriter<'_>,
    partition: PartitionId,
    message: &Message,
    owned: &Partition<E>,
) -> bool {
    let number = net::PartitionId(partition.0);
    let plain = match message {
        Message::Append(append) => return push_append(writer, number, append, owned),
        Message::VoteRequest(VoteRequest { kind, term, last }) => PeerMessage::VoteRequest(PeerVoteRequest {
            kind: match kind {
                VoteKind::Pre => PeerVoteKind::Pre,
                VoteKind::Real => PeerVoteKind::Real,
                VoteKind::Transfer => PeerVoteKind::Transfer,
            },
            term: net::Term(term.0),
            last: to_wire(*last),
        }),
        Message::VoteReply(VoteReply { is_pre, term, is_granted }) => {
            PeerMessage::VoteReply(PeerVoteReply { is_pre: *is_pre, term: net::Term(term.0), is_granted: *is_granted })
        }
        Message::AppendReply(AppendReply { term, round, outcome, is_quiet }) => {
            let outcome = match outcome {
                AppendOutcome::Stored(index) => PeerAppendOutcome::Stored(net::LogIndex(index.0)),
                AppendOutcome::Received(index) => PeerAppendOutcome::Received(net::LogIndex(index.0)),
                AppendOutcome::Rejected { previous, hint } => {
                    PeerAppendOutcome::Rejected { previous: net::LogIndex(previous.0), hint: to_wire(*hint) }
                }
            };
            let (term, round) = (net::Term(term.0), net::Round(round.0));
            PeerMessage::AppendReply(PeerAppendReply { term, round, is_quiet: *is_quiet, outcome })
        }
        Message::TimeoutNow { term } => PeerMessage::TimeoutNow { term: net::Term(term.0) },
    };
    writer.push(number, &plain)
}

fn push_append<E: Environment>(
    writer: &mut PeerTurnWriter<'_>,
    partition: net::PartitionId,
    append: &Append,
    owned: &Partition<E>,
) -> bool {
    let head = PeerAppend {
        term: net::Term(append.term.0),
        previous: to_wire(append.previous),
        committed: net::LogIndex(append.committed.0),
        round: net::Round(append.round.0),
        is_round_awaited: append.is_round_awaited,
        is_receipt_awaited: append.is_receipt_awaited,
        is_quiet: append.is_quiet,
    };
    let Some(mut entries) = writer.begin_append(partition, &head) else { return false };
    for (index, info) in (append.entries.first.0..).zip(&append.entries.infos) {
        let payload = owned.entry(ids::LogIndex(index)).expect("entries are kept as long as consensus has them");
        if !entries.push_entry(net::Term(info.term.0), payload) {
            return false;
        }
    }
    entries.finish();
    true
}

/// Reads a message.
///
/// # Errors
/// One of its entries is none.
pub(crate) fn read(message: &PeerMessage<'_>) -> Result<Message, String> {
    Ok(match message {
        PeerMessage::VoteRequest(PeerVoteRequest { kind, term, last }) => Message::VoteRequest(VoteRequest {
            kind: match kind {
                PeerVoteKind::Pre => VoteKind::Pre,
                PeerVoteKind::Real => VoteKind::Real,
                PeerVoteKind::Transfer => VoteKind::Transfer,
            },
            term: Term(term.0),
            last: from_wire(*last),
        }),
        PeerMessage::VoteReply(PeerVoteReply { is_pre, term, is_granted }) => {
            Message::VoteReply(VoteReply { is_pre: *is_pre, term: Term(term.0), is_granted: *is_granted })
        }
        PeerMessage::Append(append, entries) => {
            let first = LogIndex(append.previous.index.0).next();
            let infos = (first.0..).zip(entries.clone()).map(|(index, entry)| {
                let position = ids::LogPosition { term: ids::Term(entry.term.0), index: ids::LogIndex(index) };
                entry_info(position, entry.payload)
            });
            Message::Append(Append {
                term: Term(append.term.0),
                previous: from_wire(append.previous),
                entries: Entries { first, infos: infos.collect::<Result<_, _>>()? },
                committed: LogIndex(append.committed.0),
                round: Round(append.round.0),
                is_round_awaited: append.is_round_awaited,
                is_receipt_awaited: append.is_receipt_awaited,
                is_quiet: append.is_quiet,
            })
        }
        PeerMessage::AppendReply(PeerAppendReply { term, round, is_quiet, outcome }) => {
            let outcome = match outcome {
                PeerAppendOutcome::Stored(index) => AppendOutcome::Stored(LogIndex(index.0)),
                PeerAppendOutcome::Received(index) => AppendOutcome::Received(LogIndex(index.0)),
                PeerAppendOutcome::Rejected { previous, hint } => {
                    AppendOutcome::Rejected { previous: LogIndex(previous.0), hint: from_wire(*hint) }
                }
            };
            Message::AppendReply(AppendReply {
                term: Term(term.0),
                round: Round(round.0),
                outcome,
                is_quiet: *is_quiet,
            })
        }
        PeerMessage::TimeoutNow { term } => Message::TimeoutNow { term: Term(term.0) },
    })
}

fn to_wire(position: LogPosition) -> net::LogPosition {
    net::LogPosition { term: net::Term(position.term.0), index: net::LogIndex(position.index.0) }
}

fn from_wire(position: net::LogPosition) -> LogPosition {
    LogPosition { term: Term(position.term.0), index: LogIndex(position.index.0) }
}
