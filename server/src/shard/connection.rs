//! A connection as its shard sees it: bytes in, frames handled, bytes out. No socket.
//!
//! Bounds: requests in flight and their bytes, and bytes of output that the client has not taken; at a bound the shard stops
//! looking at the connection's frames, and so the driver stops reading.

use corelode_net::handshake::{Features, ServerHandshake};
use corelode_net::{FrameReader, ReplyHead, Role};

use super::dial::Dialled;
use super::operation::Core;
use super::slab::SlabKey;
use super::stages::Departures;

/// A connection of this core.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnectionId(pub SlabKey);

/// How far a connection is.
pub(crate) enum Stage {
    /// Nothing but handshake frames is accepted.
    Handshake(Box<ServerHandshake>),
    /// Requests are served.
    Open,
    /// It asked for another core; nothing more is read here, and it moves once its output is sent.
    Moving { to: Core, head: ReplyHead },
    /// What is in the output is still sent, then it is closed.
    Closing,
    /// It was dialled from here, to a core of another node.
    Dialled(Box<Dialled>),
}

/// Bounds of one connection.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Requests that are not answered yet.
    pub requests_in_flight_max: usize,
    /// Bytes of those requests.
    pub bytes_in_flight_max: usize,
    /// Bytes of output that wait for the client to take them.
    pub output_bytes_max: usize,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self { requests_in_flight_max: 8192, bytes_in_flight_max: 8 * 1024 * 1024, output_bytes_max: 4 * 1024 * 1024 }
    }
}

/// A connection's state on its shard.
pub(crate) struct Connection {
    pub(crate) peer: String,
    /// When it was opened, on the shard's monotonic clock, milliseconds.
    pub(crate) opened_ms: u64,
    pub(crate) stage: Stage,
    pub(crate) role: Role,
    /// The node whose core said that it is at the other end.
    pub(crate) peer_node: Option<corelode_raft::NodeId>,
    /// What both ends have.
    pub(crate) features: Features,
    pub(crate) reader: FrameReader,
    /// When bytes arrived last, on the shard's monotonic clock, nanoseconds.
    pub(crate) received_ns: u64,
    /// Answers that are timed.
    pub(crate) departures: Departures,
    /// Bytes received and not yet taken out as frames, when last looked at.
    pub(crate) input_bytes: usize,
    /// Since when the frame at the end of the input is incomplete, on the shard's monotonic clock, milliseconds.
    pub(crate) half_frame_since_ms: Option<u64>,
    pub(crate) output: Vec<u8>,
    /// Bytes that the driver has taken and not yet written.
    pub(crate) output_in_flight: usize,
    pub(crate) requests_in_flight: usize,
    pub(crate) bytes_in_flight: usize,
    /// Whether the connection stands in the shard's list of those with output.
    pub(crate) is_listed_writable: bool,
    /// Whether the connection stands in the list of those whose frames are to be looked at.
    pub(crate) is_listed_ready: bool,
    /// Whether frames are left that a bound keeps from being looked at.
    pub(crate) is_paused: bool,
    /// Whether the driver waits to be told that it may read on.
    pub(crate) wants_read: bool,
    /// Whether the client closed its end, or the socket failed.
    pub(crate) is_input_closed: bool,
}

impl Connection {
    pub(crate) fn new(peer: String, opened_ms: u64, stage: Stage, role: Role, reader: FrameReader) -> Self {
        Self {
            peer,
            opened_ms,
            stage,
            role,
            peer_node: None,
            features: Features::NONE,
            reader,
            received_ns: 0,
            departures: Departures::default(),
            input_bytes: 0,
            half_frame_since_ms: None,
            output: Vec::new(),
            output_in_flight: 0,
            requests_in_flight: 0,
            bytes_in_flight: 0,
            is_listed_writable: false,
            is_listed_ready: false,
            is_paused: false,
            wants_read: false,
            is_input_closed: false,
        }
    }

    /// Whether another frame may be looked at.
    pub(crate) fn has_room(&self, limits: &ConnectionLimits) -> bool {
        self.requests_in_flight < limits.requests_in_flight_max
            && self.bytes_in_flight < limits.bytes_in_flight_max
            && self.output.len() + self.output_in_flight < limits.output_bytes_max
    }

    /// Whether a core of another node is at the other end.
    pub(crate) fn is_of_node(&self) -> bool {
        self.peer_node.is_some() || matches!(self.stage, Stage::Dialled(_))
    }

    /// Whether the client has not taken all of its answers yet.
    pub(crate) fn has_output(&self) -> bool {
        !self.output.is_empty() || self.output_in_flight > 0
    }

    /// Whether all output is with the client's kernel and no request is on its way.
    pub(crate) fn is_drained(&self) -> bool {
        self.output.is_empty() && self.output_in_flight == 0 && self.requests_in_flight == 0
    }
}
