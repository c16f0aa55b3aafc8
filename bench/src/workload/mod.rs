//! What is asked of a store: kinds of operations, and the keys they are about.

use crate::report::model::OperationKind;

/// An operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Operation {
    /// What it does.
    pub kind: OperationKind,
    /// The number of its key.
    pub key: u64,
    /// The most rows of a scan.
    pub scan_rows: u32,
}

/// Where operations come from.
pub trait Source {
    /// The next one; `None` if there are no more.
    fn next(&mut self) -> Option<Operation>;

    /// An insert was acknowledged.
    fn inserted(&mut self, key: u64);
}

/// What keys look like.
#[derive(Clone, Debug)]
pub struct KeyForm {
    /// Their length, bytes.
    pub key_bytes: usize,
}

impl KeyForm {
    /// Writes the key of a number.
    pub fn write(&self, number: u64, key: &mut Vec<u8>) {
        use std::io::Write;
        key.clear();
        write!(key, "{number:0width$}", width = self.key_bytes).expect("memory takes it");
    }
}

/// What values look like.
#[derive(Clone, Debug)]
pub struct Values {
    /// Their length, bytes.
    pub value_bytes: usize,
}

impl Values {
    /// Writes a value.
    pub fn write(&mut self, value: &mut Vec<u8>) {
        value.clear();
        value.resize(self.value_bytes, b'v');
    }
}
