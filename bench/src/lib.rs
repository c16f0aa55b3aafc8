//! A load generator for key-value stores, and latency reports that people can trust.
//!
//! ```text
//! workload ──► load ──► driver ──► store
//!               │
//!               └─► report: JSON, HTML, terminal, .hlog, .hgrm
//! ```

pub mod command;
pub mod driver;
pub mod load;
pub mod report;
pub mod session;
pub mod statistics;
pub mod workload;
