//! Reports: the data, and the forms in which people and tools read them.

pub mod hgrm;
pub mod histogram;
pub mod hlog;
pub mod html;
pub mod model;
pub mod summary;
pub mod terminal;
pub mod words;
