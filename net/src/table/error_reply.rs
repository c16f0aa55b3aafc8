//! ERROR: why a request failed, or why a connection did.

use crate::body_error::BodyError;
use crate::error_code::{ErrorCode, RetryClass};
use crate::frame::Frame;
use crate::generated::wire;
use crate::header::{Flags, ReplyHead};
use crate::ids::{CoreIndex, MapEpoch, NodeId, RequestId};
use crate::limits::{ADDRESS_LENGTH_MAX, KEY_LENGTH_MAX, MESSAGE_LENGTH_MAX};
use crate::opcode::Opcode;
use crate::table::TableBuilder;
use crate::table::builder::{cut_text, verified_root};

/// Where a partition's leader is, as the node that does not lead it knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeaderHint<'a> {
    /// The leader.
    pub node_id: NodeId,
    /// Where clients reach it: host and port, as in [`NodeEntry`](crate::table::NodeEntry). Empty if the node does not know.
    pub address: &'a str,
}

/// The body of a reply with [`Flags::ERROR`], and of a [`Opcode::ConnectionError`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ErrorReply<'a> {
    /// The code's number; a later server may send one that [`ErrorCode::from_wire`] does not know.
    pub code: u16,
    /// What the client may do. It binds more than the code's own class: the server knows this case.
    pub retry: RetryClass,
    /// A sentence for a person, at most [`MESSAGE_LENGTH_MAX`] bytes; longer ones are cut when encoded.
    pub message: &'a str,
    /// Where a scan goes on, with [`ErrorCode::SnapshotExpired`]. Empty if there is nothing to resume.
    pub resume_key: &'a [u8],
    /// The core that owns the key, with [`ErrorCode::WrongCore`].
    pub core: Option<CoreIndex>,
    /// Who leads the partition, with [`ErrorCode::NotLeader`]; `None` if the node does not know.
    pub leader: Option<LeaderHint<'a>>,
}

impl<'a> ErrorReply<'a> {
    /// An error with the code's own retry class and sentence.
    #[must_use]
    pub fn new(code: ErrorCode) -> Self {
        Self {
            code: code.to_wire(),
            retry: code.retry_class(),
            message: code.advice(),
            resume_key: &[],
            core: None,
            leader: None,
        }
    }

    /// An error that says more than its code's sentence does.
    #[must_use]
    pub fn with_message(code: ErrorCode, message: &'a str) -> Self {
        Self { message, ..Self::new(code) }
    }

    /// The code, if this version knows it.
    #[must_use]
    pub fn error_code(&self) -> Option<ErrorCode> {
        ErrorCode::from_wire(self.code)
    }

    /// Appends the frame that answers `head`'s request with this error. To a request of id zero, which no client may send,
    /// it is the connection's error.
    ///
    /// # Panics
    /// If the resume key is longer than a key can be, or the leader's address than an address.
    pub fn encode(&self, head: ReplyHead, tables: &mut TableBuilder, out: &mut Vec<u8>) {
        let head = match head.request_id {
            RequestId(0) => ReplyHead::notice(Opcode::ConnectionError, head.map_epoch),
            _ => head,
        };
        assert!(self.resume_key.len() <= KEY_LENGTH_MAX + 1, "a resume key of {} bytes", self.resume_key.len());
        if let Some(leader) = &self.leader {
            assert!(leader.node_id != NodeId(0), "a leader that is no node");
            assert!(leader.address.len() <= ADDRESS_LENGTH_MAX, "an address of {} bytes", leader.address.len());
        }
        tables.frame(&head.fields(Flags::ERROR), out, |builder| {
            let message = builder.create_string(cut_text(self.message, MESSAGE_LENGTH_MAX));
            let resume_key = (!self.resume_key.is_empty()).then(|| builder.create_vector(self.resume_key));
            let address = self.leader.map(|leader| leader.address).filter(|address| !address.is_empty());
            let leader_address = address.map(|address| builder.create_string(address));
            wire::Error::create(
                builder,
                &wire::ErrorArgs {
                    code: self.code,
                    retry: self.retry as u8,
                    message: Some(message),
                    resume_key,
                    core: self.core.map(|core| core.0),
                    leader_node_id: self.leader.map_or(0, |leader| leader.node_id.0),
                    leader_address,
                },
            )
        });
    }

    /// Appends the frame that says this of the connection. The sender closes after it.
    pub fn encode_for_connection(&self, map_epoch: MapEpoch, tables: &mut TableBuilder, out: &mut Vec<u8>) {
        self.encode(ReplyHead::notice(Opcode::ConnectionError, map_epoch), tables, out);
    }

    /// Reads the body of a frame that [`Frame::inbound`] called an error.
    ///
    /// # Errors
    /// A body that is no error table.
    pub fn decode(frame: &Frame<'a>) -> Result<Self, BodyError> {
        let fields = &frame.header.fields;
        if fields.flags != Flags::REPLY.with(Flags::ERROR) {
            return Err(BodyError::Field { field: "flags of an error", found: u64::from(fields.flags.0) });
        }
        let table = verified_root::<wire::Error<'_>>(frame.body)?;
        let address = table.leader_address().unwrap_or_default();
        if address.len() > ADDRESS_LENGTH_MAX {
            let (found, limit) = (address.len(), ADDRESS_LENGTH_MAX);
            return Err(BodyError::TooLarge { what: "address of a leader", found, limit });
        }
        let leader_node_id = Some(NodeId(table.leader_node_id())).filter(|&node_id| node_id != NodeId(0));
        Ok(Self {
            code: table.code(),
            retry: RetryClass::from_wire(table.retry()),
            message: cut_text(table.message().unwrap_or_default(), MESSAGE_LENGTH_MAX),
            resume_key: table.resume_key().map(|key| key.bytes()).unwrap_or_default(),
            core: table.core().map(CoreIndex),
            leader: leader_node_id.map(|node_id| LeaderHint { node_id, address }),
        })
    }
}
