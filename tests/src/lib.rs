//! Tests of Corelode as a whole: what they share. The tests themselves are in `tests/tests/`, one hazard a file.

#![forbid(unsafe_code)]

pub mod cluster;
pub mod fault_round;
pub mod history;
pub mod interrupted;
pub mod load;
pub mod network;
pub mod recorded_load;
pub mod requirements;
pub mod server;
pub mod wire_client;
