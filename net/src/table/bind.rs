//! BIND, and the requests that have no body of their own: PING, TOPOLOGY, STATUS.

use crate::body_error::BodyError;
use crate::frame::Frame;
use crate::frame_writer::FrameWriter;
use crate::generated::wire;
use crate::header::{Flags, ReplyHead, RequestHead};
use crate::ids::CoreIndex;
use crate::opcode::Opcode;
use crate::table::TableBuilder;
use crate::table::builder::verified_root;

/// Moves the connection to another core of the same node.
///
/// After BIND the client sends nothing until the answer: the old core hands the socket over with no receive armed, and
/// bytes in flight would be split between two readers. A server may refuse whatever it finds behind a BIND.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bind {
    /// The core to move to.
    pub core: CoreIndex,
}

impl Bind {
    /// Appends the request.
    pub fn encode(&self, head: RequestHead, tables: &mut TableBuilder, out: &mut Vec<u8>) {
        tables.frame(&head.fields(Opcode::Bind, 0), out, |builder| {
            wire::Bind::create(builder, &wire::BindArgs { core: self.core.0 })
        });
    }

    /// Reads the request.
    ///
    /// # Errors
    /// A body that is no BIND.
    pub fn decode(frame: &Frame<'_>) -> Result<Self, BodyError> {
        frame.expect_request(Opcode::Bind)?;
        let table = verified_root::<wire::Bind<'_>>(frame.body)?;
        Ok(Self { core: CoreIndex(table.core()) })
    }
}

/// The answer to BIND, sent by the core that now has the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BindReply {
    /// That core.
    pub core: CoreIndex,
}

impl BindReply {
    /// Appends the reply.
    pub fn encode(&self, head: ReplyHead, tables: &mut TableBuilder, out: &mut Vec<u8>) {
        tables.frame(&head.fields(Flags::NONE), out, |builder| {
            wire::BindReply::create(builder, &wire::BindReplyArgs { core: self.core.0 })
        });
    }

    /// Reads the reply.
    ///
    /// # Errors
    /// A body that is no answer to BIND.
    pub fn decode(frame: &Frame<'_>) -> Result<Self, BodyError> {
        frame.expect_reply(Opcode::Bind)?;
        let table = verified_root::<wire::BindReply<'_>>(frame.body)?;
        Ok(Self { core: CoreIndex(table.core()) })
    }
}

/// Appends a PING. Its body is empty in version 1.
pub fn encode_ping(head: RequestHead, out: &mut Vec<u8>) {
    FrameWriter::begin(out).finish(&head.fields(Opcode::Ping, 0));
}

/// Appends a request for the topology. Its body is empty in version 1.
pub fn encode_topology_request(head: RequestHead, out: &mut Vec<u8>) {
    FrameWriter::begin(out).finish(&head.fields(Opcode::Topology, 0));
}

/// Appends a request for the status. Its body is empty in version 1.
pub fn encode_status_request(head: RequestHead, out: &mut Vec<u8>) {
    FrameWriter::begin(out).finish(&head.fields(Opcode::Status, 0));
}

/// Appends a reply without a body: to PING and SCAN_RELEASE.
pub fn encode_empty_reply(head: ReplyHead, out: &mut Vec<u8>) {
    FrameWriter::begin(out).finish(&head.fields(Flags::NONE));
}
