//! Corelode's wire: frames, codecs and connection state for both ends. No sockets, no clock, no randomness.
//!
//! Everything here is a plain function or a small state machine over bytes, so that the server's shard, the client and
//! the simulator share it. The format is specified in `docs/formats/wire.md`.
//!
//! - A [`FrameReader`] cuts [`Frame`]s out of received bytes. [`Frame::request`] and [`Frame::inbound`] say what they
//!   are, to a server and to a client.
//! - [`body`] has the fixed layouts of the hot path; [`table`] the FlatBuffers of everything that evolves.
//! - [`peer`] has what nodes say to each other.
//! - [`handshake`] has a state machine for either end.
//! - [`slot_of`] says where a key belongs; [`ScanMerge`] reads keys in order although they are spread over partitions.
//!
//! ```
//! use corelode_net::body::{Durability, PutRequest, Value};
//! use corelode_net::limits::BODY_SIZE_BYTES_MAX;
//! use corelode_net::{FrameReader, MapEpoch, Opcode, RequestHead, RequestIds, slot_of};
//!
//! let mut ids = RequestIds::new();
//! let head = RequestHead { request_id: ids.next(), map_epoch: MapEpoch(0), deadline_ms: 1_000 };
//! let put = PutRequest {
//!     slot: slot_of(b"colour"),
//!     key: b"colour",
//!     value: Value::new(b"green"),
//!     ttl_ms: 0,
//!     durability: Durability::Synced,
//! };
//! let mut out = Vec::new();
//! put.encode(head, &mut out);
//!
//! let mut reader = FrameReader::new(BODY_SIZE_BYTES_MAX);
//! reader.push(&out);
//! let frame = reader.next_frame().unwrap().expect("a whole frame arrived");
//! assert_eq!(frame.request(), Ok(Opcode::Put));
//! assert_eq!(PutRequest::decode(&frame), Ok(put));
//! ```

#![deny(unsafe_code)]

pub mod body;
mod body_error;
mod bytes_at;
mod error_code;
mod frame;
mod frame_reader;
mod frame_writer;
mod generated;
pub mod handshake;
mod header;
mod ids;
#[cfg(test)]
mod layout_tests;
pub mod limits;
mod opcode;
pub mod peer;
mod scan_merge;
mod slot;
pub mod table;

pub use body_error::BodyError;
pub use error_code::{ErrorCode, RetryClass};
pub use frame::{Frame, Inbound};
pub use frame_reader::{FrameError, FrameReader};
pub use frame_writer::FrameWriter;
pub use header::{Flags, FrameHeader, HeaderError, HeaderFields, ReplyHead, RequestHead};
pub use ids::{
    BootId, ClusterId, CoreIndex, Incarnation, LogIndex, LogPosition, MapEpoch, NodeId, PartitionId, RequestId,
    RequestIds, Revision, Round, SnapshotToken, Term,
};
pub use opcode::{Opcode, Role};
pub use scan_merge::{ScanMerge, first_page_rows};
pub use slot::{SLOT_COUNT, Slot, crc16_xmodem, hash_tag, slot_of};
