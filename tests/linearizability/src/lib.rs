//! Whether what clients were told can have happened one operation after the other, key by key.
//!
//! It knows no cluster, no network and no clock: the simulator brings histories in simulated time, and the tests with real processes bring theirs. A crate of
//! its own, so that who needs the check does not build the simulator, whose planted bugs would be compiled into whatever is built along with it.

#![forbid(unsafe_code)]

pub mod history;
mod search;

pub use search::check;
