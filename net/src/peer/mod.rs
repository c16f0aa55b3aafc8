//! What nodes say to each other: one frame per pair of cores and turn, which carries the messages of all their groups.
//!
//! A connection between nodes belongs to the one that dialled it, and messages go in that direction only; the other node
//! dials its own. The dialler completes the handshake as [`Role::Peer`](crate::Role::Peer), moves to the core it wants
//! with BIND, and says [`PeerHello`], which is answered. Then it sends a [`PeerTurn`] at a time, which nobody answers: what was lost is said again by consensus, which
//! expects no more of its network. A turn without messages is a beat, a sign of life of the core that sent it.
//! A replica that lags too far for the log is sent its partition's tables, a [`PeerTransfer`] for each part, and answers with [`PeerTransferReply`] over the
//! connection that it dialled. Replicas compare what they have applied by [`PeerStateHashes`].
//!
//! These are layouts, not consensus: this crate does not know the crate that decides, and the server carries between the
//! two. A decoded message is one that consensus can take without checks of its own: numbers leave room to count on,
//! entries have terms that do not fall, and payloads are the bytes that their sender meant. `docs/formats/wire.md` shows
//! every offset.

mod hello;
mod message;
mod state_hashes;
mod transfer;
mod turn;
mod turn_writer;

pub use hello::PeerHello;
pub use message::{
    PeerAppend, PeerAppendOutcome, PeerAppendReply, PeerEntries, PeerEntry, PeerMessage, PeerVoteKind, PeerVoteReply,
    PeerVoteRequest,
};
pub use state_hashes::PeerStateHashes;
pub use transfer::{PeerTransfer, PeerTransferOutcome, PeerTransferPart, PeerTransferReply};
pub use turn::{PeerMessages, PeerTurn};
pub use turn_writer::{PeerAppendWriter, PeerTurnWriter};
