//! Walking over a table's rows, block by block.

use std::rc::Rc;

use crate::cursor::Stop;
use crate::env::Environment;
use crate::row::{Row, RowKey};

use super::block::{Block, BlockCursor};
use super::view::{BlockBytes, BlockSource, TableView};

/// Walks over a table's rows in order. After a [`Stop::Miss`] the same call, repeated once the block is there, goes on as if it had been.
pub(crate) struct TableCursor<E: Environment> {
    view: Rc<TableView<E>>,
    /// The block that is being read, or that must be entered next.
    block: usize,
    /// `None` between two blocks and past the end.
    bytes: Option<BlockBytes<E>>,
    rows: BlockCursor,
}

impl<E: Environment> TableCursor<E> {
    /// A cursor before the first row.
    pub(crate) fn new(view: Rc<TableView<E>>) -> Self {
        Self { view, block: 0, bytes: None, rows: BlockCursor::default() }
    }

    /// Goes to the first row at or behind `target`.
    pub(crate) fn seek(&mut self, target: RowKey<'_>, source: &mut impl BlockSource<E>) -> Result<(), Stop<E::File>> {
        self.bytes = None;
        self.block = self.view.find_block(target);
        if self.block == self.view.block_count() {
            return Ok(());
        }
        let bytes = source.block(&self.view, self.block)?;
        let malformed = |_| self.view.malformed(self.block);
        self.rows.seek(Block::new(&bytes).map_err(malformed)?, target).map_err(malformed)?;
        if self.rows.row(&bytes).is_some() {
            self.bytes = Some(bytes);
            return Ok(());
        }
        // The target stands between this block's last row and the next block.
        self.block += 1;
        self.settle(source)
    }

    /// Enters the block that stands next, if the cursor stands between blocks. Called before the first row, and repeated after a miss.
    pub(crate) fn settle(&mut self, source: &mut impl BlockSource<E>) -> Result<(), Stop<E::File>> {
        if self.bytes.is_some() || self.block >= self.view.block_count() {
            return Ok(());
        }
        let bytes = source.block(&self.view, self.block)?;
        let malformed = |_| self.view.malformed(self.block);
        self.rows.seek_to_first(Block::new(&bytes).map_err(malformed)?).map_err(malformed)?;
        self.bytes = Some(bytes);
        Ok(())
    }

    /// Steps over the current row, perhaps to between two blocks: then the cursor must [settle](Self::settle). Needs no block.
    pub(crate) fn step(&mut self) -> Result<(), Stop<E::File>> {
        let Some(bytes) = &self.bytes else { return Ok(()) };
        let malformed = |_| self.view.malformed(self.block);
        self.rows.advance(Block::new(bytes).map_err(malformed)?).map_err(malformed)?;
        if self.rows.row(bytes).is_none() {
            self.bytes = None;
            self.block += 1;
        }
        Ok(())
    }

    /// The current row, `None` past the end.
    pub(crate) fn row(&self) -> Option<Row<'_>> {
        self.rows.row(self.bytes.as_ref()?)
    }
}
