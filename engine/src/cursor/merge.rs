//! Merging memtables, tables and levels into one sequence of rows.

use std::rc::Rc;

use crate::env::Environment;
use crate::ids::Revision;
use crate::memtable::{Position, Rows};
use crate::row::{Keyspace, Row, RowKey};
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
    pub(crate) fn memtable(rows: Rows<'a>) -> Self {
        Self::Memtable { rows, at: rows.first() }
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
            Self::Table(cursor) => cursor.seek(target, source).and_then(|()| cursor.settle(source)),
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

    /// Steps over the current row. What stands behind it may need a block: [`settle`](Self::settle) says.
    fn step(&mut self, source: &mut impl BlockSource<E>) -> Result<(), Stop<E::File>> {
        match self {
            Self::Memtable { rows, at } => {
                *at = at.and_then(|at| rows.next(at));
                Ok(())
            }
            Self::Table(cursor) | Self::Level { current: Some(cursor), .. } => {
                cursor.advance(source)?;
                self.settle(source)
            }
            Self::Level { .. } => Ok(()),
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
    current: Option<usize>,
    /// Keyspace and key of the row that is being stepped over.
    stepping: Vec<u8>,
    stepping_from: Option<(Keyspace, Revision)>,
    is_settled: bool,
}

impl<'a, E: Environment> MergeCursor<'a, E> {
    pub(crate) fn new(inputs: Vec<Input<'a, E>>) -> Self {
        Self { inputs, current: None, stepping: Vec::new(), stepping_from: None, is_settled: false }
    }

    /// Goes to the first row of all.
    pub(crate) fn seek_to_first(&mut self, source: &mut impl BlockSource<E>) -> Result<(), Stop<E::File>> {
        self.settle(source)
    }

    /// Goes to the first row at or behind `target`.
    pub(crate) fn seek(&mut self, target: RowKey<'_>, source: &mut impl BlockSource<E>) -> Result<(), Stop<E::File>> {
        self.stepping_from = None;
        self.is_settled = false;
        for input in &mut self.inputs {
            input.seek(target, source)?;
        }
        self.settle(source)
    }

    /// Goes to the next row.
    pub(crate) fn advance(&mut self, source: &mut impl BlockSource<E>) -> Result<(), Stop<E::File>> {
        if self.stepping_from.is_none() {
            let Some(current) = self.current else { return self.settle(source) };
            let row_key = self.inputs[current].row().expect("the current input has a row").row_key;
            self.stepping.clear();
            self.stepping.extend_from_slice(row_key.key);
            self.stepping_from = Some((row_key.keyspace, row_key.revision));
        }
        self.is_settled = false;
        self.settle(source)
    }

    fn settle(&mut self, source: &mut impl BlockSource<E>) -> Result<(), Stop<E::File>> {
        if self.is_settled {
            return Ok(());
        }
        for input in &mut self.inputs {
            input.settle(source)?;
            if let Some((keyspace, revision)) = self.stepping_from {
                let stepping = RowKey { keyspace, key: &self.stepping, revision };
                while input.row().is_some_and(|row| row.row_key <= stepping) {
                    input.step(source)?;
                }
            }
        }
        self.stepping_from = None;
        self.is_settled = true;
        let rows = self.inputs.iter().enumerate().filter_map(|(index, input)| Some((input.row()?.row_key, index)));
        self.current = rows.min().map(|(_, index)| index);
        Ok(())
    }

    /// The current row, `None` past the end.
    pub(crate) fn row(&self) -> Option<Row<'_>> {
        self.inputs[self.current?].row()
    }
}
