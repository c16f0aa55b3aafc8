//! GO_AWAY: the server will close the connection; what is in flight is still answered.

use crate::body_error::BodyError;
use crate::error_code::ErrorCode;
use crate::frame::Frame;
use crate::generated::wire;
use crate::header::{Flags, ReplyHead};
use crate::ids::MapEpoch;
use crate::limits::MESSAGE_LENGTH_MAX;
use crate::opcode::Opcode;
use crate::table::TableBuilder;
use crate::table::builder::{cut_text, verified_root};

/// A notice that the server sends unasked. The client opens another connection for new requests, waits for the answers
/// it is still owed, and closes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GoAway<'a> {
    /// Why, as the number of an [`ErrorCode`]: [`ErrorCode::ShuttingDown`] as a rule.
    pub code: u16,
    /// For how long the server still answers what is in flight, milliseconds.
    pub grace_ms: u32,
    /// A sentence for a person.
    pub message: &'a str,
}

impl<'a> GoAway<'a> {
    /// The notice of a server that shuts down.
    #[must_use]
    pub fn shutting_down(grace_ms: u32) -> Self {
        let code = ErrorCode::ShuttingDown;
        Self { code: code.to_wire(), grace_ms, message: code.advice() }
    }

    /// Appends the notice.
    pub fn encode(&self, map_epoch: MapEpoch, tables: &mut TableBuilder, out: &mut Vec<u8>) {
        let fields = ReplyHead::notice(Opcode::GoAway, map_epoch).fields(Flags::NONE);
        tables.frame(&fields, out, |builder| {
            let message = Some(builder.create_string(cut_text(self.message, MESSAGE_LENGTH_MAX)));
            wire::GoAway::create(builder, &wire::GoAwayArgs { code: self.code, grace_ms: self.grace_ms, message })
        });
    }

    /// Reads the notice.
    ///
    /// # Errors
    /// A body that is none.
    pub fn decode(frame: &Frame<'a>) -> Result<Self, BodyError> {
        frame.expect_reply(Opcode::GoAway)?;
        let table = verified_root::<wire::GoAway<'_>>(frame.body)?;
        let message = cut_text(table.message().unwrap_or_default(), MESSAGE_LENGTH_MAX);
        Ok(Self { code: table.code(), grace_ms: table.grace_ms(), message })
    }
}
