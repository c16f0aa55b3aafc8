//! Walking over rows in order: one memtable, one table, one level, all of a tree merged.
//!
//! A walk that needs a block which is not at hand stops with [`Stop::Miss`] and names it. The caller brings the block and repeats the
//! call, which goes on as if the block had been there.

mod merge;
mod retention;

use crate::error::Corruption;
use crate::table::BlockRead;

pub(crate) use merge::{Input, MergeCursor};
pub(crate) use retention::{Retain, Retention};

/// Why a read could not go on.
#[derive(Clone, Debug)]
pub enum Stop<F> {
    /// This block must be read first.
    Miss(Box<BlockRead<F>>),
    /// A block is damaged.
    Corruption(Corruption),
}

impl<F> From<Corruption> for Stop<F> {
    fn from(corruption: Corruption) -> Self {
        Self::Corruption(corruption)
    }
}

#[cfg(test)]
mod tests;
