//! A cluster in memory, for the tests of the core: replicas with the driver that a server would be, and checks of all that they do together.
//!
//! - `node`: one replica, its disk, its contents.
//! - `history`: what must hold of all of them, checked after every turn.
//! - `scene`: a cluster that follows commands and says what it does, for the transcripts.
//! - `simulation`: a network, clocks and faults from one seed.

#![allow(dead_code, reason = "each test uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test's helpers may fail the test")]

pub(crate) mod history;
pub(crate) mod node;
pub(crate) mod scene;
pub(crate) mod simulation;
