//! Reports: the data, and the forms in which people and tools read them.

pub mod histogram;
pub mod model;
