//! PEER_HELLO: two nodes find out whether they are meant for each other, before either hears a word of consensus.

use crate::body_error::BodyError;
use crate::error_code::ErrorCode;
use crate::frame::Frame;
use crate::generated::wire;
use crate::header::{Flags, HeaderFields, ReplyHead, RequestHead};
use crate::ids::{BootId, ClusterId, CoreIndex, Incarnation, NodeId};
use crate::limits::{CORE_COUNT_MAX, MEMBERS_LENGTH_MAX, PARTITION_COUNT_MAX};
use crate::opcode::Opcode;
use crate::table::{TableBuilder, verified_root};

/// What a core says of itself to the core of another node. Request and answer are alike.
///
/// The dialler sends it once, right after it moved to the core it wants. The other end [compares](Self::check) and
/// answers with its own, or refuses with an error whose code says why; the dialler compares in its turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerHello<'a> {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The node that speaks.
    pub node_id: NodeId,
    /// The node that it believes to speak to.
    pub to_node_id: NodeId,
    /// The speaker's data directory: one that was wiped has another, and has forgotten what its node promised.
    pub incarnation: Incarnation,
    /// The start of the speaker's process.
    pub boot: BootId,
    /// The core that speaks.
    pub core: CoreIndex,
    /// How many cores the speaker's node has.
    pub core_count: u16,
    /// How many partitions the key space has.
    pub partition_count: u16,
    /// The members as the speaker's node was told, sorted, as text: only ever compared.
    pub members: &'a str,
}

impl<'a> PeerHello<'a> {
    /// Whether the speaker of this belongs with the node that says `own`, on whose side the comparison is made. What is
    /// known of its [incarnation](Self::incarnation) is the caller's to compare.
    ///
    /// # Errors
    /// The code to refuse with: [`ErrorCode::WrongCluster`], [`ErrorCode::WrongNode`] or [`ErrorCode::PeerMismatch`].
    pub fn check(&self, own: &PeerHello<'_>) -> Result<(), ErrorCode> {
        if self.cluster_id != own.cluster_id {
            return Err(ErrorCode::WrongCluster);
        }
        if self.to_node_id != own.node_id || self.node_id != own.to_node_id || self.node_id == own.node_id {
            return Err(ErrorCode::WrongNode);
        }
        if self.partition_count != own.partition_count || self.members != own.members {
            return Err(ErrorCode::PeerMismatch);
        }
        Ok(())
    }

    /// Appends the request.
    ///
    /// # Panics
    /// If a count or the member list exceeds the limits.
    pub fn encode_request(&self, head: RequestHead, tables: &mut TableBuilder, out: &mut Vec<u8>) {
        self.encode(&head.fields(Opcode::PeerHello, 0), tables, out);
    }

    /// Appends the answer.
    ///
    /// # Panics
    /// If a count or the member list exceeds the limits.
    pub fn encode_reply(&self, head: ReplyHead, tables: &mut TableBuilder, out: &mut Vec<u8>) {
        self.encode(&head.fields(Flags::NONE), tables, out);
    }

    fn encode(&self, fields: &HeaderFields, tables: &mut TableBuilder, out: &mut Vec<u8>) {
        if let Err(error) = self.check_bounds() {
            panic!("a node says what no node may: {error}");
        }
        tables.frame(fields, out, |builder| {
            let members = Some(builder.create_string(self.members));
            wire::PeerHello::create(
                builder,
                &wire::PeerHelloArgs {
                    cluster_id: Some(&wire::Bytes16(self.cluster_id.0)),
                    node_id: self.node_id.0,
                    to_node_id: self.to_node_id.0,
                    incarnation: self.incarnation.0,
                    boot: self.boot.0,
                    core: self.core.0,
                    core_count: self.core_count,
                    partition_count: self.partition_count,
                    members,
                },
            )
        });
    }

    /// Reads the request.
    ///
    /// # Errors
    /// A body that is no such table, or one whose numbers no node has.
    pub fn decode_request(frame: &Frame<'a>) -> Result<Self, BodyError> {
        frame.expect_request(Opcode::PeerHello)?;
        Self::read(frame.body)
    }

    /// Reads the answer.
    ///
    /// # Errors
    /// A body that is no such table, or one whose numbers no node has.
    pub fn decode_reply(frame: &Frame<'a>) -> Result<Self, BodyError> {
        frame.expect_reply(Opcode::PeerHello)?;
        Self::read(frame.body)
    }

    fn read(body: &'a [u8]) -> Result<Self, BodyError> {
        let table = verified_root::<wire::PeerHello<'a>>(body)?;
        let hello = Self {
            cluster_id: ClusterId(table.cluster_id().0),
            node_id: NodeId(table.node_id()),
            to_node_id: NodeId(table.to_node_id()),
            incarnation: Incarnation(table.incarnation()),
            boot: BootId(table.boot()),
            core: CoreIndex(table.core()),
            core_count: table.core_count(),
            partition_count: table.partition_count(),
            members: table.members(),
        };
        hello.check_bounds()?;
        Ok(hello)
    }

    /// Whether the numbers are ones that a node can have.
    fn check_bounds(&self) -> Result<(), BodyError> {
        let bounded = |what, found, limit| {
            if found > limit { Err(BodyError::TooLarge { what, found, limit }) } else { Ok(()) }
        };
        bounded("member list", self.members.len(), MEMBERS_LENGTH_MAX)?;
        bounded("core count", usize::from(self.core_count), CORE_COUNT_MAX)?;
        bounded("partition count", usize::from(self.partition_count), PARTITION_COUNT_MAX)?;
        if self.core.0 >= self.core_count {
            return Err(BodyError::Field { field: "core", found: u64::from(self.core.0) });
        }
        if self.node_id == NodeId(0) {
            return Err(BodyError::Field { field: "node", found: 0 });
        }
        Ok(())
    }
}
