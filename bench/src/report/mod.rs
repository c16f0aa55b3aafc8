//! Reports: the data, and the forms in which people and tools read them.

pub mod hgrm;
pub mod histogram;
pub mod hlog;
pub mod model;
pub mod words;
