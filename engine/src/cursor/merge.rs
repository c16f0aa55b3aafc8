//! Merging memtables, tables and levels into one sequence of rows.

use std::rc::Rc;

use crate::env::Environment;
use crate::memtable::{Position, Rows};
use crate::row::{Row, RowKey};
use crate::table::{BlockSource, TableCursor, TableView};

use super::Stop;

/// One sorted input of a merge.
pub(crate) enum Input<'a, E: Environment> {
    /// A memtable.
    Memtable { rows: Rows<'a>, at: Option<Position> },
    /// A table.
    Table(TableCursor<E>),
    /// The tables of a level: sorted, without overlap, entered one after the other.
    Level { tables: &'a [Rc<TableView<E>>], next: usize, current: Option<TableCursor<E>> },
}

impl<'a, E: Environment> Input<'a, E> {
    /// A memtable. It stands nowhere before the merge goes somewhere.
    pub(crate) fn memtable(rows: Rows<'a>) -> Self {
        Self::Memtable { rows, at: None }
    }

    pub(crate) fn table(view: &Rc<TableView<E>>) -> Self {
        Self::Table(TableCursor::new(Rc::clone(view)))
    }

    pub(crate) fn level(tables: &'a [Rc<TableView<E>>]) -> Self {
        Self::Level { tables, next: 0, current: None }
    }

    fn seek(&mut self, target: RowKey<'_>, source: &mut impl BlockSource<E>) -> Result<(), Stop<E::File>> {
        match self {
            Self::Memtable { rows, at } => {
                *at = rows.seek(target);
                Ok(())
            }
            Self::Table(cursor) => cursor.seek(target, source),
            Self::Level { tables, next, current } => {
                let bound = (target.keyspace, target.key);
                let index = tables.partition_point(|view| view.meta().largest.as_bound() < bound);
                *next = index + 1;
                *current = tables.get(index).map(|view| TableCursor::new(Rc::clone(view)));
                if let Some(cursor) = current {
                    cursor.seek(target, source)?;
                }
                self.settle(source)
            }
        }
    }

    /// Makes the current row known; needs a block if the input stands between two.
    fn settle(&mut self, source: &mut impl BlockSource<E>) -> Result<(), Stop<E::File>> {
        match self {
            Self::Memtable { .. } => Ok(()),
            Self::Table(cursor) => cursor.settle(source),
            Self::Level { tables, next, current } => loop {
                match current {
                    Some(cursor) => {
                        cursor.settle(source)?;
                        if cursor.row().is_some() {
                            return Ok(());
                        }
                        *current = None;
                    }
                    None => match tables.get(*next) {
                        Some(view) => {
                            *next += 1;
                            *current = Some(TableCursor::new(Rc::clone(view)));
                        }
                        None => return Ok(()),
                    },
                }
            },
        }
    }

    /// Steps over the current row. What stands behind it may need a block: [`settle`](Self::settle) finds out.
    fn step(&mut self) -> Result<(), Stop<E::File>> {
        match self {
            Self::Memtable { rows, at } => {
                *at = at.and_then(|at| rows.next(at));
                Ok(())
            }
            Self::Table(cursor) | Self::Level { current: Some(cursor), .. } => cursor.step(),
            Self::Level { current: None, .. } => Ok(()),
        }
    }

    fn row(&self) -> Option<Row<'_>> {
        match self {
            Self::Memtable { rows, at } => Some(rows.row((*at)?)),
            Self::Table(cursor) => cursor.row(),
            Self::Level { current, .. } => current.as_ref()?.row(),
        }
    }
}

/// The rows of all inputs in order. Where two inputs have a row of the same key and revision, the earlier input's counts: give
/// them newest first.
pub(crate) struct MergeCursor<'a, E: Environment> {
    inputs: Vec<Input<'a, E>>,
    /// The inputs that have a row, sorted by it, and where rows are equal in the order given. The first one's row is current.
    order: Vec<usize>,
    /// Inputs that have been moved; where they go in `order` may take a block to know.
    moved: Vec<usize>,
    /// The current row is still to be stepped over.
    is_stepping: bool,
}

impl<'a, E: Environment> MergeCursor<'a, E> {
    pub(crate) fn new(inputs: Vec<Input<'a, E>>) -> Self {
        let moved = (0..inputs.len()).collect();
        Self { order: Vec::with_capacity(inputs.len()), inputs, moved, is_stepping: false }
    }

    /// Goes to the first row of all. The inputs are new.
    pub(crate) fn seek_to_first(&mut self, source: &mut impl BlockSource<E>) -> Result<(), Stop<E::File>> {
        for input in &mut self.inputs {
            if let Input::Memtable { rows, at } = input {
                *at = rows.first();
            }
        }
        self.place_moved(source)
    }

    /// Goes to the first row at or behind `target`.
    pub(crate) fn seek(&mut self, target: RowKey<'_>, source: &mut impl BlockSource<E>) -> Result<(), Stop<E::File>> {
        self.is_stepping = false;
        self.order.clear();
        self.moved.clear();
        self.moved.extend(0..self.inputs.len());
        for input in &mut self.inputs {
            input.seek(target, source)?;
        }
        self.place_moved(source)
    }

    /// Goes to the next row.
    pub(crate) fn advance(&mut self, source: &mut impl BlockSource<E>) -> Result<(), Stop<E::File>> {
        // Otherwise this call goes on with one that missed a block.
        if self.moved.is_empty() {
            self.is_stepping = true;
        }
        loop {
            self.place_moved(source)?;
            let (true, Some(current)) = (self.is_stepping, self.row()) else { return Ok(()) };
            // The same row of other inputs first, so that the current one is there to compare with.
            let second = self.order.get(1).and_then(|&input| self.inputs[input].row());
            let is_repeated = second.is_some_and(|second| second.row_key == current.row_key);
            self.is_stepping = is_repeated;
            let input = self.order.remove(usize::from(is_repeated));
            self.moved.push(input);
            self.inputs[input].step()?;
        }
    }

    fn place_moved(&mut self, source: &mut impl BlockSource<E>) -> Result<(), Stop<E::File>> {
        while let Some(&input) = self.moved.last() {
            self.inputs[input].settle(source)?;
            self.moved.pop();
            if let Some(row) = self.inputs[input].row() {
                let place = (row.row_key, input);
                let is_before =
                    |&other: &usize| self.inputs[other].row().is_some_and(|row| (row.row_key, other) < place);
                let index = self.order.partition_point(is_before);
                self.order.insert(index, input);
            }
        }
        Ok(())
    }

    /// The current row, `None` past the end. Means nothing while a call is to be repeated.
    pub(crate) fn row(&self) -> Option<Row<'_>> {
        self.inputs[*self.order.first()?].row()
    }
}
