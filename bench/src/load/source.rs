//! Where a thread's operations come from.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::report::model::OperationKind;
use crate::workload::{Generator, KeySpace, Operation};

/// Operations for one thread.
pub enum Source {
    /// Those of a workload, without end.
    Workload {
        /// The thread's generator.
        generator: Box<Generator>,
        /// The keys, which its inserts add to.
        key_space: Arc<KeySpace>,
    },
    /// Each key once: what there is before a workload begins.
    Fill {
        /// The next key, of all threads.
        next: Arc<AtomicU64>,
        /// The number of keys.
        keys: u64,
    },
}

impl Source {
    /// The next operation; `None` if there are no more.
    pub(super) fn next(&mut self) -> Option<Operation> {
        match self {
            Self::Workload { generator, .. } => Some(generator.next()),
            Self::Fill { next, keys } => {
                let key = next.fetch_add(1, Ordering::Relaxed);
                (key < *keys).then_some(Operation { kind: OperationKind::Update, key, scan_rows: 0 })
            }
        }
    }

    /// An operation ended; `is_done` says how.
    pub(super) fn ended(&mut self, operation: Operation, is_done: bool) {
        if let (Self::Workload { key_space, .. }, OperationKind::Insert) = (self, operation.kind) {
            match is_done {
                true => key_space.acknowledge(operation.key),
                false => key_space.give_back(operation.key),
            }
        }
    }
}
