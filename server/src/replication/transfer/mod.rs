//! A partition's tables on their way to a replica that lags so far that the log does not hold what it needs.
//!
//! ```text
//! the leader's core                              the follower's core
//! flush what is in memory only
//! BEGIN, TABLE, PIECE, PIECE ...  ────────────►  write each piece to files of its own
//!   a window and a budget hold it back  ◄──────  TAKEN
//! END  ───────────────────────────────────────►  check every block; let the group rest; one manifest; begin the log anew
//! consensus goes on behind the tables  ◄───────  DONE, or REFUSED
//! ```
//!
//! One transfer each way at a time on a core; others wait. Whatever goes wrong ends it, and consensus asks for another.

mod lending;
mod receiving;

use std::time::Duration;

use corelode_net::{MapEpoch, RequestHead, RequestId};

pub(crate) use lending::{Lending, PINNED_TIMES_MAX};
pub(crate) use receiving::{Failed, Receiving, Stage, answer};

/// Pieces that may be under way, not yet written by the receiver.
const PIECES_UNANSWERED_MAX: usize = 4;
/// Without a word from the other end for so long a transfer is given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// The head of a frame that nobody answers; an error would name it.
fn head_of(sequence: u32) -> RequestHead {
    RequestHead { request_id: RequestId(u64::from(sequence) + 1), map_epoch: MapEpoch(0), deadline_ms: 0 }
}
