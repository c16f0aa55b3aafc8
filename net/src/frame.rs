//! A whole frame: a verified header and a body that matches its checksum, borrowed from the receive buffer.

use crate::body_error::BodyError;
use crate::header::{Flags, FrameHeader};
use crate::ids::RequestId;
use crate::opcode::Opcode;

/// A frame as received. Its checksums were verified; its body was not looked at yet.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The header.
    pub header: FrameHeader,
    /// The body, as long as the header says.
    pub body: &'a [u8],
}

/// What a frame means to a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Inbound {
    /// The request of that id was answered; decode the body by the opcode.
    Reply(RequestId, Opcode),
    /// The request of that id failed; decode the body with [`ErrorReply`](crate::table::ErrorReply).
    Error(RequestId),
    /// The server is going away; decode the body with [`GoAway`](crate::table::GoAway).
    GoAway,
    /// The connection failed and will be closed; decode the body with [`ErrorReply`](crate::table::ErrorReply). Its retry
    /// class is not that of the requests in flight: what became of those is unknown.
    ConnectionError,
}

impl Frame<'_> {
    /// The operation a client asks for, if the frame is a request that this version can serve.
    ///
    /// # Errors
    /// [`BodyError::Opcode`] or [`BodyError::Unsupported`], which are answered and leave the connection open;
    /// [`BodyError::Field`] for a frame that no client sends, which closes it.
    #[inline]
    pub fn request(&self) -> Result<Opcode, BodyError> {
        let flags = self.header.fields.flags;
        if flags != Flags::NONE {
            return Err(refuse_request_flags(flags));
        }
        if self.header.fields.request_id == RequestId(0) {
            return Err(BodyError::Field { field: "request id", found: 0 });
        }
        match self.header.opcode() {
            Some(opcode) if opcode.is_in_version_1() && !opcode.is_notice() => Ok(opcode),
            Some(opcode) if !opcode.is_notice() => Err(BodyError::Unsupported { what: opcode.name() }),
            _ => Err(BodyError::Opcode { found: self.header.fields.opcode }),
        }
    }

    /// What the frame means to a client.
    ///
    /// # Errors
    /// A frame that no server sends; the connection is to be closed.
    #[inline]
    pub fn inbound(&self) -> Result<Inbound, BodyError> {
        let fields = &self.header.fields;
        let opcode = self.header.opcode().ok_or(BodyError::Opcode { found: fields.opcode });
        let flags = fields.flags;
        if !flags.contains(Flags::REPLY) || flags.without(Flags::ERROR) != Flags::REPLY {
            return Err(BodyError::Field { field: "flags of a reply", found: u64::from(flags.0) });
        }
        if fields.request_id == RequestId(0) {
            return match opcode? {
                Opcode::GoAway if flags == Flags::REPLY => Ok(Inbound::GoAway),
                Opcode::ConnectionError if flags.contains(Flags::ERROR) => Ok(Inbound::ConnectionError),
                _ => Err(BodyError::Field { field: "request id", found: 0 }),
            };
        }
        if flags.contains(Flags::ERROR) {
            return Ok(Inbound::Error(fields.request_id));
        }
        Ok(Inbound::Reply(fields.request_id, opcode?))
    }

    /// Whether the frame carries `opcode` in the direction of a request.
    pub(crate) fn expect_request(&self, opcode: Opcode) -> Result<(), BodyError> {
        let fields = &self.header.fields;
        if fields.opcode != opcode.to_wire() {
            return Err(BodyError::Unexpected { expected: opcode, found: fields.opcode });
        }
        if fields.flags != Flags::NONE {
            return Err(refuse_request_flags(fields.flags));
        }
        Ok(())
    }

    /// Whether the frame carries `opcode` in the direction of a successful reply.
    pub(crate) fn expect_reply(&self, opcode: Opcode) -> Result<(), BodyError> {
        let fields = &self.header.fields;
        if fields.opcode != opcode.to_wire() || fields.flags != Flags::REPLY {
            return Err(BodyError::Unexpected { expected: opcode, found: fields.opcode });
        }
        Ok(())
    }
}

#[cold]
fn refuse_request_flags(flags: Flags) -> BodyError {
    if flags.contains(Flags::REPLY) {
        BodyError::Field { field: "flags of a request", found: u64::from(flags.0) }
    } else if flags.contains(Flags::SESSION) {
        BodyError::Unsupported { what: "session prefix" }
    } else {
        BodyError::Unsupported { what: "flag" }
    }
}
