//! Whole clusters in one thread: production shards over simulated disks, clocks and a simulated network, all of it decided by one seed.
//!
//! ```text
//! clients ──► network ──► core: what the driver in server/src/runtime does ──► Shard (production) ──► simulated disk
//!    │           ▲                                                                 │
//!    │           └──────────── connections between nodes ◄────────────────────────┘
//!    └──► history ──► linearizability, key by key (tests/linearizability)
//! faults: a plan made from the seed, carried out at its times
//! ```
//!
//! Nothing here knows what consensus or storage should do; it knows what clients and operators are promised.

pub mod client;
pub mod cluster;
mod core;
pub mod faults;
mod machine;
pub mod network;
pub mod plan;
pub mod run;
mod signal;
