//! The messages of a turn: a head of 16 bytes, then what the kind adds.

use crate::body::{Value, expect_end, expect_zero, split_bytes, split_struct};
use crate::body_error::BodyError;
use crate::bytes_at::{put, u16_at, u32_at, u64_at};
use crate::ids::{LogIndex, LogPosition, PartitionId, Round, Term};
use crate::limits::{ENTRY_LENGTH_MAX, PEER_NUMBER_MAX};

pub(crate) const MESSAGE_HEAD_SIZE_BYTES: usize = 16;
pub(crate) const APPEND_SIZE_BYTES: usize = 40;
pub(crate) const ENTRY_HEAD_SIZE_BYTES: usize = 16;
const VOTE_REQUEST_SIZE_BYTES: usize = 16;
const APPEND_REPLY_SIZE_BYTES: usize = 32;
/// The longest message but an Append, head included.
const PLAIN_MESSAGE_SIZE_BYTES_MAX: usize = MESSAGE_HEAD_SIZE_BYTES + APPEND_REPLY_SIZE_BYTES;

/// Which message it is, as a number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Kind {
    VoteRequest = 1,
    VoteReply = 2,
    Append = 3,
    AppendReply = 4,
    TimeoutNow = 5,
}

impl Kind {
    fn from_wire(number: u8) -> Result<Self, BodyError> {
        match number {
            1 => Ok(Self::VoteRequest),
            2 => Ok(Self::VoteReply),
            3 => Ok(Self::Append),
            4 => Ok(Self::AppendReply),
            5 => Ok(Self::TimeoutNow),
            _ => Err(BodyError::Unsupported { what: "kind of a message between nodes" }),
        }
    }

    /// The flags that a message of the kind may have.
    fn flags(self) -> u8 {
        match self {
            Self::VoteRequest => flags::PRE | flags::TRANSFER,
            Self::VoteReply => flags::PRE | flags::GRANTED,
            Self::Append => flags::ROUND_AWAITED | flags::QUIET | flags::RECEIPT_AWAITED,
            Self::AppendReply => flags::QUIET | flags::REJECTED | flags::RECEIVED,
            Self::TimeoutNow => 0,
        }
    }
}

/// Bits of a message's head. One bit means one thing in whatever message has it.
pub(crate) mod flags {
    pub(crate) const PRE: u8 = 1;
    pub(crate) const TRANSFER: u8 = 1 << 1;
    pub(crate) const GRANTED: u8 = 1 << 2;
    pub(crate) const ROUND_AWAITED: u8 = 1 << 3;
    pub(crate) const QUIET: u8 = 1 << 4;
    pub(crate) const REJECTED: u8 = 1 << 5;
    pub(crate) const RECEIPT_AWAITED: u8 = 1 << 6;
    pub(crate) const RECEIVED: u8 = 1 << 7;

    /// `flag` if `condition`.
    pub(crate) fn when(condition: bool, flag: u8) -> u8 {
        if condition { flag } else { 0 }
    }
}

/// What kind of vote is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PeerVoteKind {
    /// Whether the vote would be given.
    Pre,
    /// The vote.
    Real,
    /// The vote, at the wish of the leader.
    Transfer,
}

/// Asks for a vote.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 8 | `last_term` |
/// | 8 | 8 | `last_index` |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerVoteRequest {
    /// The kind; in the flags.
    pub kind: PeerVoteKind,
    /// The term of the election; in the head.
    pub term: Term,
    /// The last entry of the candidate's log.
    pub last: LogPosition,
}

/// Answers a [`PeerVoteRequest`]. Head and flags say it all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerVoteReply {
    /// Whether a pre-vote was asked for.
    pub is_pre: bool,
    /// The election's term if the vote is given, and the voter's own if not.
    pub term: Term,
    /// Whether it is given.
    pub is_granted: bool,
}

/// From a leader: what stands before its entries.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 8 | `previous_term` |
/// | 8 | 8 | `previous_index` |
/// | 16 | 8 | `committed` |
/// | 24 | 8 | `round` |
/// | 32 | 4 | `entry_count` |
/// | 36 | 4 | zero |
/// | 40 | | `entry_count` times a [`PeerEntry`] |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerAppend {
    /// The leader's term; in the head.
    pub term: Term,
    /// The entry before the first.
    pub previous: LogPosition,
    /// The last entry that the leader knows to be committed.
    pub committed: LogIndex,
    /// The leader's round.
    pub round: Round,
    /// Whether reads wait for the round; in the flags.
    pub is_round_awaited: bool,
    /// Whether somebody waits to hear that the entries are in memory; in the flags.
    pub is_receipt_awaited: bool,
    /// The leader falls silent; in the flags.
    pub is_quiet: bool,
}

/// An entry of a group's log.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 8 | `term` |
/// | 8 | 4 | `length` |
/// | 12 | 4 | `payload_crc`: CRC-32 (IEEE) |
/// | 16 | `length` | payload |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerEntry<'a> {
    /// The term in which it was proposed.
    pub term: Term,
    /// Its bytes.
    pub payload: &'a [u8],
}

/// Answers an Append.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 8 | `round` |
/// | 8 | 8 | `index`: stored up to here, or the entry that is missing |
/// | 16 | 8 | `hint_term`, 0 unless rejected |
/// | 24 | 8 | `hint_index`, 0 unless rejected |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerAppendReply {
    /// The follower's term; in the head.
    pub term: Term,
    /// The newest round that it has heard of.
    pub round: Round,
    /// Whether it fell silent; in the flags.
    pub is_quiet: bool,
    /// What it has.
    pub outcome: PeerAppendOutcome,
}

/// What a follower says to entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PeerAppendOutcome {
    /// It has stored the leader's log up to here.
    Stored(LogIndex),
    /// It has the leader's log up to here in memory.
    Received(LogIndex),
    /// It has no such entry as the one before the first.
    Rejected {
        /// That entry's index.
        previous: LogIndex,
        /// Where its own log may still agree with the leader's.
        hint: LogPosition,
    },
}

/// A message of one replica of a group to another.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 2 | `partition`, which names the group |
/// | 2 | 1 | `kind` |
/// | 3 | 1 | `flags` |
/// | 4 | 4 | `length` of what follows the head |
/// | 8 | 8 | `term` |
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PeerMessage<'a> {
    /// Asks for a vote.
    VoteRequest(PeerVoteRequest),
    /// Answers that.
    VoteReply(PeerVoteReply),
    /// From a leader: entries, or none, and how far is committed.
    Append(PeerAppend, PeerEntries<'a>),
    /// Answers that.
    AppendReply(PeerAppendReply),
    /// From a leader to the one that is to take its place.
    TimeoutNow {
        /// The leader's term.
        term: Term,
    },
}

impl<'a> PeerMessage<'a> {
    /// Cuts a message off the front. The entries of an Append are not looked at: see [`PeerEntries::check`].
    #[inline]
    pub(crate) fn split(bytes: &'a [u8]) -> Result<(PartitionId, Self, &'a [u8]), BodyError> {
        let (head, rest) = split_struct::<MESSAGE_HEAD_SIZE_BYTES>(bytes)?;
        let (content, rest) = split_bytes(rest, u32_at(head, 4) as usize)?;
        let partition = PartitionId(u16_at(head, 0));
        let kind = Kind::from_wire(head[2])?;
        let has = |flag| head[3] & flag != 0;
        if has(!kind.flags()) {
            return Err(BodyError::Unsupported { what: "flag of a message between nodes" });
        }
        let term = Term(number("term", u64_at(head, 8))?);
        let message = match kind {
            Kind::VoteRequest => {
                let (fixed, end) = split_struct::<VOTE_REQUEST_SIZE_BYTES>(content)?;
                expect_end(end)?;
                let kind = match (has(flags::PRE), has(flags::TRANSFER)) {
                    (true, false) => PeerVoteKind::Pre,
                    (false, false) => PeerVoteKind::Real,
                    (false, true) => PeerVoteKind::Transfer,
                    (true, true) => {
                        return Err(BodyError::Field { field: "kind of a vote", found: u64::from(head[3]) });
                    }
                };
                Self::VoteRequest(PeerVoteRequest { kind, term, last: position(fixed, 0)? })
            }
            Kind::VoteReply => {
                expect_end(content)?;
                Self::VoteReply(PeerVoteReply { is_pre: has(flags::PRE), term, is_granted: has(flags::GRANTED) })
            }
            Kind::Append => {
                let (fixed, entries) = split_struct::<APPEND_SIZE_BYTES>(content)?;
                expect_zero("reserved bytes of an Append", &fixed[36..])?;
                let append = PeerAppend {
                    term,
                    previous: position(fixed, 0)?,
                    committed: LogIndex(number("index", u64_at(fixed, 16))?),
                    round: Round(number("round", u64_at(fixed, 24))?),
                    is_round_awaited: has(flags::ROUND_AWAITED),
                    is_receipt_awaited: has(flags::RECEIPT_AWAITED),
                    is_quiet: has(flags::QUIET),
                };
                Self::Append(append, PeerEntries { remaining: u32_at(fixed, 32) as usize, rest: entries })
            }
            Kind::AppendReply => {
                let (fixed, end) = split_struct::<APPEND_REPLY_SIZE_BYTES>(content)?;
                expect_end(end)?;
                let index = LogIndex(number("index", u64_at(fixed, 8))?);
                let outcome = match (has(flags::REJECTED), has(flags::RECEIVED)) {
                    (true, false) => PeerAppendOutcome::Rejected { previous: index, hint: position(fixed, 16)? },
                    (true, true) => {
                        return Err(BodyError::Field { field: "outcome of an Append", found: u64::from(head[3]) });
                    }
                    (false, is_received) => {
                        expect_zero("hint of a reply that rejects nothing", &fixed[16..])?;
                        if is_received { PeerAppendOutcome::Received(index) } else { PeerAppendOutcome::Stored(index) }
                    }
                };
                let round = Round(number("round", u64_at(fixed, 0))?);
                Self::AppendReply(PeerAppendReply { term, round, is_quiet: has(flags::QUIET), outcome })
            }
            Kind::TimeoutNow => {
                expect_end(content)?;
                Self::TimeoutNow { term }
            }
        };
        Ok((partition, message, rest))
    }

    /// The bytes of a message other than an Append.
    pub(crate) fn encode_plain(&self, partition: PartitionId) -> Option<PlainMessage> {
        let mut plain = PlainMessage { bytes: [0; PLAIN_MESSAGE_SIZE_BYTES_MAX], length: MESSAGE_HEAD_SIZE_BYTES };
        let (kind, flags, term) = match self {
            Self::VoteRequest(request) => {
                plain.put_u64(request.last.term.0);
                plain.put_u64(request.last.index.0);
                let flags = match request.kind {
                    PeerVoteKind::Pre => flags::PRE,
                    PeerVoteKind::Real => 0,
                    PeerVoteKind::Transfer => flags::TRANSFER,
                };
                (Kind::VoteRequest, flags, request.term)
            }
            Self::VoteReply(reply) => {
                let flags = flags::when(reply.is_pre, flags::PRE) | flags::when(reply.is_granted, flags::GRANTED);
                (Kind::VoteReply, flags, reply.term)
            }
            Self::Append(..) => return None,
            Self::AppendReply(reply) => {
                let (outcome, index, hint) = match reply.outcome {
                    PeerAppendOutcome::Stored(index) => (0, index, LogPosition::default()),
                    PeerAppendOutcome::Received(index) => (flags::RECEIVED, index, LogPosition::default()),
                    PeerAppendOutcome::Rejected { previous, hint } => (flags::REJECTED, previous, hint),
                };
                plain.put_u64(reply.round.0);
                plain.put_u64(index.0);
                plain.put_u64(hint.term.0);
                plain.put_u64(hint.index.0);
                let flags = flags::when(reply.is_quiet, flags::QUIET) | outcome;
                (Kind::AppendReply, flags, reply.term)
            }
            Self::TimeoutNow { term } => (Kind::TimeoutNow, 0, *term),
        };
        let length = crate::bytes_at::length_u32(plain.length - MESSAGE_HEAD_SIZE_BYTES);
        put_head(&mut plain.bytes, partition, kind, flags, term);
        put(&mut plain.bytes, 4, length.to_le_bytes());
        Some(plain)
    }
}

/// A message of known length, built where it is.
pub(crate) struct PlainMessage {
    bytes: [u8; PLAIN_MESSAGE_SIZE_BYTES_MAX],
    length: usize,
}

impl PlainMessage {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn put_u64(&mut self, value: u64) {
        put(&mut self.bytes, self.length, value.to_le_bytes());
        self.length += 8;
    }
}

/// Writes a message's head, but for the length.
pub(crate) fn put_head<const N: usize>(bytes: &mut [u8; N], partition: PartitionId, kind: Kind, flags: u8, term: Term) {
    debug_assert!(term.0 <= PEER_NUMBER_MAX, "term {term}");
    put(bytes, 0, partition.0.to_le_bytes());
    bytes[2] = kind as u8;
    bytes[3] = flags;
    put(bytes, 8, term.0.to_le_bytes());
}

impl PeerAppend {
    /// The message's head and what stands before the entries; length and count are still open.
    pub(crate) fn encode(&self, partition: PartitionId) -> [u8; MESSAGE_HEAD_SIZE_BYTES + APPEND_SIZE_BYTES] {
        let mut bytes = [0; MESSAGE_HEAD_SIZE_BYTES + APPEND_SIZE_BYTES];
        let flags = flags::when(self.is_round_awaited, flags::ROUND_AWAITED)
            | flags::when(self.is_receipt_awaited, flags::RECEIPT_AWAITED)
            | flags::when(self.is_quiet, flags::QUIET);
        put_head(&mut bytes, partition, Kind::Append, flags, self.term);
        for (field, value) in
            [self.previous.term.0, self.previous.index.0, self.committed.0, self.round.0].into_iter().enumerate()
        {
            put(&mut bytes, MESSAGE_HEAD_SIZE_BYTES + 8 * field, value.to_le_bytes());
        }
        bytes
    }
}

impl<'a> PeerEntry<'a> {
    /// The head of an entry; the payload follows it.
    pub(crate) fn encode_head(&self) -> [u8; ENTRY_HEAD_SIZE_BYTES] {
        let mut bytes = [0; ENTRY_HEAD_SIZE_BYTES];
        put(&mut bytes, 0, self.term.0.to_le_bytes());
        put(&mut bytes, 8, crate::bytes_at::length_u32(self.payload.len()).to_le_bytes());
        put(&mut bytes, 12, crc32fast::hash(self.payload).to_le_bytes());
        bytes
    }

    /// Cuts an entry off the front, with the checksum that its sender gave it.
    fn split(bytes: &'a [u8]) -> Result<(Self, u32, &'a [u8]), BodyError> {
        let (head, rest) = split_struct::<ENTRY_HEAD_SIZE_BYTES>(bytes)?;
        let (payload, rest) = split_bytes(rest, u32_at(head, 8) as usize)?;
        Ok((Self { term: Term(u64_at(head, 0)), payload }, u32_at(head, 12), rest))
    }
}

/// The entries of an Append, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerEntries<'a> {
    remaining: usize,
    /// Invariant, once a turn was decoded: `remaining` entries that [`PeerEntry::split`] accepts, and nothing else.
    rest: &'a [u8],
}

impl PeerEntries<'_> {
    /// Whether every entry is whole, of a term between that of the entry before it and the leader's, and the bytes that
    /// its sender meant, and whether nothing follows the last.
    #[inline]
    pub(crate) fn check(&self, append: &PeerAppend) -> Result<(), BodyError> {
        number("index", append.previous.index.0.saturating_add(self.remaining as u64))?;
        let mut term_min = append.previous.term;
        let mut rest = self.rest;
        for _ in 0..self.remaining {
            let (entry, crc, after) = PeerEntry::split(rest)?;
            if entry.payload.len() > ENTRY_LENGTH_MAX {
                let found = entry.payload.len();
                return Err(BodyError::TooLarge { what: "length of an entry", found, limit: ENTRY_LENGTH_MAX });
            }
            if entry.term < term_min || entry.term > append.term {
                return Err(BodyError::Field { field: "term of an entry", found: entry.term.0 });
            }
            Value { bytes: entry.payload, crc }.verify()?;
            term_min = entry.term;
            rest = after;
        }
        expect_end(rest)
    }
}

impl<'a> Iterator for PeerEntries<'a> {
    type Item = PeerEntry<'a>;

    #[inline]
    fn next(&mut self) -> Option<PeerEntry<'a>> {
        self.remaining = self.remaining.checked_sub(1)?;
        let (entry, _, rest) = PeerEntry::split(self.rest).expect("PeerTurn::decode checked every entry");
        self.rest = rest;
        Some(entry)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.remaining, Some(self.remaining))
    }
}

impl ExactSizeIterator for PeerEntries<'_> {}

/// A number that leaves its receiver room to count on.
fn number(field: &'static str, found: u64) -> Result<u64, BodyError> {
    if found <= PEER_NUMBER_MAX { Ok(found) } else { Err(BodyError::Field { field, found }) }
}

/// Term and index, one after the other.
fn position<const N: usize>(fixed: &[u8; N], offset: usize) -> Result<LogPosition, BodyError> {
    let (term, index) = (u64_at(fixed, offset), u64_at(fixed, offset + 8));
    Ok(LogPosition { term: Term(number("term", term)?), index: LogIndex(number("index", index)?) })
}
