//! Commands and the entries that carry them: what a partition's replicated log says, byte for byte.
//!
//! An entry holds the log time at which it was proposed and any number of commands; an entry without commands only advances
//! log time. Applying it is a function of these bytes and the partition's state alone: no clock, no randomness. The
//! format is specified in `docs/formats/log.md`.

use crate::bytes_io::{ByteSink, FieldReader, length_u32};
use crate::ids::LogTime;
use crate::limits::{KEY_LENGTH_MAX, VALUE_LENGTH_MAX};

/// The version of the entry format that this program writes.
const ENTRY_FORMAT_VERSION: u8 = 1;
const COMMAND_HEADER_LENGTH: usize = 24;
const SESSION_LENGTH: usize = 24;

const ENTRY_COMMANDS: u8 = 0;
const ENTRY_MEMBERSHIP: u8 = 1;

const KIND_PUT: u8 = 1;
const KIND_DELETE: u8 = 2;
const KIND_OPEN_SESSION: u8 = 3;
const KIND_CLOSE_SESSION: u8 = 4;
const FLAG_SESSION: u8 = 1;

/// A change of one key, or of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Command<'a> {
    /// The key, 1 to 4,096 bytes; empty where no key is changed.
    pub key: &'a [u8],
    /// What happens.
    pub change: Change<'a>,
    /// Who asked, where the request may be repeated: with the same session and sequence it is applied once.
    pub session: Option<SessionStamp>,
}

/// What a command does to its key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change<'a> {
    /// The key gets a value.
    Put {
        /// The value, up to 1 MiB.
        value: &'a [u8],
        /// The CRC-32 of the value that the client computed.
        value_crc: u32,
        /// When the value stops being visible, in log time.
        deadline: Option<LogTime>,
    },
    /// The key becomes absent.
    Delete,
    /// A session begins, under the number of the command's revision.
    OpenSession {
        /// How long it lives without being used, milliseconds of log time.
        ttl_ms: u64,
    },
    /// A session ends.
    CloseSession {
        /// Which.
        session: u64,
    },
}

impl Change<'_> {
    fn has_key(&self) -> bool {
        matches!(self, Self::Put { .. } | Self::Delete)
    }
}

/// A client session and the number of a request within it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionStamp {
    /// The session.
    pub session: u64,
    /// The request's number, from 1.
    pub sequence: u64,
    /// The first of the session's requests that its client has no answer to; at most [`SESSION_WINDOW`](crate::limits::SESSION_WINDOW) - 1 before this one.
    pub oldest: u64,
}

impl Command<'_> {
    /// A checksum of what is asked for, by which a request that is sent again is known from another one. A deadline counts from when it was proposed, and is no
    /// part of it.
    #[must_use]
    pub fn body_hash(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        let (kind, crc) = match self.change {
            Change::Put { value_crc, .. } => (KIND_PUT, value_crc),
            Change::Delete => (KIND_DELETE, 0),
            Change::OpenSession { .. } => (KIND_OPEN_SESSION, 0),
            Change::CloseSession { .. } => (KIND_CLOSE_SESSION, 0),
        };
        hasher.update(&[kind]);
        hasher.update(&crc.to_le_bytes());
        hasher.update(self.key);
        hasher.finalize()
    }

    /// The bytes the command takes in an entry.
    #[must_use]
    pub fn encoded_length(&self) -> usize {
        let value_length = match self.change {
            Change::Put { value, .. } => value.len(),
            Change::Delete | Change::OpenSession { .. } | Change::CloseSession { .. } => 0,
        };
        let session_length = if self.session.is_some() { SESSION_LENGTH } else { 0 };
        COMMAND_HEADER_LENGTH + session_length + self.key.len() + value_length
    }

    fn encode(&self, entry: &mut Vec<u8>) {
        let key_lengths = if self.change.has_key() { 1..=KEY_LENGTH_MAX + 8 } else { 0..=0 };
        assert!(key_lengths.contains(&self.key.len()), "a key of {} bytes", self.key.len());
        let (kind, value, value_crc, number) = match self.change {
            Change::Put { value, value_crc, deadline } => {
                assert!(deadline != Some(LogTime(0)), "a deadline of zero means none");
                (KIND_PUT, value, value_crc, deadline.map_or(0, |deadline| deadline.0))
            }
            Change::Delete => (KIND_DELETE, &[][..], 0, 0),
            Change::OpenSession { ttl_ms } => (KIND_OPEN_SESSION, &[][..], 0, ttl_ms),
            Change::CloseSession { session } => (KIND_CLOSE_SESSION, &[][..], 0, session),
        };
        assert!(value.len() <= VALUE_LENGTH_MAX, "a value of {} bytes", value.len());
        entry.put_u8(kind);
        entry.put_u8(if self.session.is_some() { FLAG_SESSION } else { 0 });
        entry.put_u16(u16::try_from(self.key.len()).expect("asserted above"));
        entry.put_u32(length_u32(value.len()));
        entry.put_u32(value_crc);
        entry.put_u32(0);
        entry.put_u64(number);
        if let Some(stamp) = self.session {
            entry.put_u64(stamp.session);
            entry.put_u64(stamp.sequence);
            entry.put_u64(stamp.oldest);
        }
        entry.put(self.key);
        entry.put(value);
    }
}

/// An entry being built: commands of one turn for one partition.
#[derive(Debug)]
pub struct EntryBuilder {
    bytes: Vec<u8>,
    command_count: u32,
}

impl EntryBuilder {
    /// Starts an entry at `log_time`. `bytes` is memory to use again; its contents are dropped.
    #[must_use]
    pub fn new(log_time: LogTime, mut bytes: Vec<u8>) -> Self {
        bytes.clear();
        bytes.put(&[ENTRY_FORMAT_VERSION, 0, 0, 0]);
        bytes.put_u32(0);
        bytes.put_u64(log_time.0);
        Self { bytes, command_count: 0 }
    }

    /// Adds a command; answers its place in the entry, from 0.
    ///
    /// # Panics
    /// If the key or the value is longer than the limits: callers refuse those.
    pub fn push(&mut self, command: &Command<'_>) -> u32 {
        let ordinal = self.command_count;
        command.encode(&mut self.bytes);
        self.command_count += 1;
        ordinal
    }

    /// The entry's length so far, bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        self.bytes.len()
    }

    /// The number of commands so far.
    #[must_use]
    pub fn command_count(&self) -> u32 {
        self.command_count
    }

    /// Closes the entry.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes[4..8].copy_from_slice(&self.command_count.to_le_bytes());
        self.bytes
    }
}

/// An entry as it is read: checked as a whole before any of it is applied.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The log time at which it was proposed.
    pub log_time: LogTime,
    /// The number of commands.
    pub command_count: u32,
    /// The group's members from here on, if the entry changes them; opaque to the engine.
    pub membership: Option<&'a [u8]>,
    commands: &'a [u8],
}

/// An entry that says who the members of the group are, in bytes of the caller's choice.
#[must_use]
pub fn encode_membership(log_time: LogTime, membership: &[u8]) -> Vec<u8> {
    let mut payload = EntryBuilder::new(log_time, Vec::new()).finish();
    payload[1] = ENTRY_MEMBERSHIP;
    payload.put(membership);
    payload
}

impl<'a> Entry<'a> {
    /// Reads an entry and checks all of it, so that an entry is applied whole or not at all.
    ///
    /// # Errors
    /// A clause that says what is wrong.
    pub fn decode(payload: &'a [u8]) -> Result<Self, String> {
        let mut fields = FieldReader::new(payload);
        let version = fields.u8().ok_or("the entry is empty")?;
        if version != ENTRY_FORMAT_VERSION {
            return Err(format!(
                "the entry has format version {version}, and this program reads {ENTRY_FORMAT_VERSION}"
            ));
        }
        let mut header = || {
            let kind = fields.u8()?;
            fields.bytes(2)?;
            Some((kind, fields.u32()?, LogTime(fields.u64()?)))
        };
        let (kind, command_count, log_time) = header().ok_or("the entry's header is cut")?;
        let body = fields.rest();
        match (kind, command_count) {
            (ENTRY_COMMANDS, _) => {}
            (ENTRY_MEMBERSHIP, 0) => {
                return Ok(Self { log_time, command_count, membership: Some(body), commands: &[] });
            }
            (ENTRY_MEMBERSHIP, _) => return Err("an entry of members has commands".to_owned()),
            _ => return Err(format!("the entry is of the unknown kind {kind}")),
        }
        let entry = Self { log_time, command_count, membership: None, commands: body };
        let mut rest = FieldReader::new(entry.commands);
        for ordinal in 0..command_count {
            decode_command(&mut rest).ok_or_else(|| format!("command {ordinal} of {command_count} cannot be read"))?;
        }
        if rest.is_empty() { Ok(entry) } else { Err("bytes stand behind the last command".to_owned()) }
    }

    /// The commands in order.
    pub fn commands(&self) -> impl Iterator<Item = Command<'a>> + use<'a> {
        let mut rest = FieldReader::new(self.commands);
        (0..self.command_count).map(move |_| decode_command(&mut rest).expect("decode checked every command"))
    }
}

fn decode_command<'a>(fields: &mut FieldReader<'a>) -> Option<Command<'a>> {
    let kind = fields.u8()?;
    let flags = fields.u8()?;
    let key_length = usize::from(fields.u16()?);
    let value_length = usize::try_from(fields.u32()?).ok()?;
    let value_crc = fields.u32()?;
    fields.u32()?;
    let number = fields.u64()?;
    let session = match flags {
        0 => None,
        FLAG_SESSION => Some(SessionStamp { session: fields.u64()?, sequence: fields.u64()?, oldest: fields.u64()? }),
        _ => return None,
    };
    if value_length > VALUE_LENGTH_MAX {
        return None;
    }
    let key = fields.bytes(key_length)?;
    let value = fields.bytes(value_length)?;
    let change = match kind {
        KIND_PUT => Change::Put { value, value_crc, deadline: (number > 0).then_some(LogTime(number)) },
        KIND_DELETE if value.is_empty() => Change::Delete,
        KIND_OPEN_SESSION if value.is_empty() => Change::OpenSession { ttl_ms: number },
        KIND_CLOSE_SESSION if value.is_empty() => Change::CloseSession { session: number },
        _ => return None,
    };
    if change.has_key() == key.is_empty() {
        return None;
    }
    Some(Command { key, change, session })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<Command<'static>> {
        vec![
            Command {
                key: b"a",
                change: Change::Put { value: b"one", value_crc: 7, deadline: Some(LogTime(1000)) },
                session: None,
            },
            Command {
                key: b"b",
                change: Change::Delete,
                session: Some(SessionStamp { session: 1, sequence: 2, oldest: 1 }),
            },
            Command { key: b"c", change: Change::Put { value: b"", value_crc: 0, deadline: None }, session: None },
            Command { key: b"", change: Change::OpenSession { ttl_ms: 60_000 }, session: None },
            Command { key: b"", change: Change::CloseSession { session: 9 }, session: None },
        ]
    }

    fn encoded(commands: &[Command<'_>]) -> Vec<u8> {
        let mut entry = EntryBuilder::new(LogTime(77), Vec::new());
        for (ordinal, command) in commands.iter().enumerate() {
            let before = entry.length();
            assert_eq!(entry.push(command) as usize, ordinal);
            assert_eq!(entry.length() - before, command.encoded_length());
        }
        entry.finish()
    }

    #[test]
    fn round_trips() {
        let bytes = encoded(&sample());
        let entry = Entry::decode(&bytes).expect("valid");
        assert_eq!(entry.log_time, LogTime(77));
        assert_eq!(entry.commands().collect::<Vec<_>>(), sample());
    }

    #[test]
    fn an_entry_without_commands_carries_the_time() {
        let bytes = encoded(&[]);
        assert_eq!(Entry::decode(&bytes).expect("valid").command_count, 0);
    }

    #[test]
    fn an_entry_of_members_carries_them() {
        let bytes = encode_membership(LogTime(5), b"one and two");
        let entry = Entry::decode(&bytes).expect("valid");
        assert_eq!((entry.log_time, entry.membership), (LogTime(5), Some(&b"one and two"[..])));
        assert_eq!(entry.commands().count(), 0);
        let mut unknown = bytes;
        unknown[1] = 2;
        assert!(Entry::decode(&unknown).is_err());
    }

    #[test]
    fn every_cut_is_refused() {
        let bytes = encoded(&sample());
        for length in 0..bytes.len() {
            assert!(Entry::decode(&bytes[..length]).is_err(), "cut to {length}");
        }
    }
}
