//! A load generator for key-value stores, and latency reports that people can trust.

pub mod driver;
pub mod load;
pub mod report;
pub mod workload;
