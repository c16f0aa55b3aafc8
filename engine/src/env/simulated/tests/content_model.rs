//! The bytes of a simulated file against a model that keeps every state since the last sync as a whole copy.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::env::simulated::content::{BLOCK_SIZE_BYTES, Content, SECTOR_SIZE_BYTES};
use crate::env::simulated::image::{Dice, Survival};

const LENGTH_MAX: usize = 5 * BLOCK_SIZE_BYTES;

#[derive(Clone, Debug)]
enum Operation {
    Write {
        offset: usize,
        length: usize,
        byte: u8,
    },
    SetLength(usize),
    /// A direct write of one block, durable when it ends.
    DirectWrite {
        block: usize,
        byte: u8,
    },
    /// A sync that is asked for before the given operations of the rest, and ends after them.
    Sync {
        delay: usize,
    },
}

fn operation() -> impl Strategy<Value = Operation> {
    let length_max = LENGTH_MAX / 2;
    prop_oneof![
        4 => (0..length_max, 1..length_max, 1..=u8::MAX)
            .prop_map(|(offset, length, byte)| Operation::Write { offset, length, byte }),
        1 => (0..LENGTH_MAX).prop_map(Operation::SetLength),
        1 => (0..LENGTH_MAX / BLOCK_SIZE_BYTES, 1..=u8::MAX)
            .prop_map(|(block, byte)| Operation::DirectWrite { block, byte }),
        2 => (0..3_usize).prop_map(|delay| Operation::Sync { delay }),
    ]
}

/// All states since the durable one, which is the first; the last is what a reader sees.
struct Model {
    states: Vec<Vec<u8>>,
    /// How many states are before the first, so that a sync can name the one it covers.
    forgotten: usize,
}

impl Model {
    fn visible(&self) -> &Vec<u8> {
        self.states.last().unwrap()
    }

    fn change(&mut self, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.visible().clone();
        change(&mut state);
        self.states.push(state);
    }

    fn sync(&mut self, covered: usize) {
        if let Some(count) = covered.checked_sub(self.forgotten) {
            self.states.drain(..count);
            self.forgotten += count;
        }
    }

    /// A bytewise look into a state that reads zeros beyond its end.
    fn unit(state: &[u8], start: usize, length: usize) -> Vec<u8> {
        (start..start + length).map(|at| state.get(at).copied().unwrap_or(0)).collect()
    }
}

fn put(state: &mut Vec<u8>, offset: usize, length: usize, byte: u8) {
    if state.len() < offset + length {
        state.resize(offset + length, 0);
    }
    state[offset..offset + length].fill(byte);
}

/// Runs the operations on both, comparing what a reader sees after each.
fn run(operations: &[Operation]) -> (Content, Model) {
    let mut content = Content::default();
    let mut model = Model { states: vec![Vec::new()], forgotten: 0 };
    let mut syncs = Vec::new();
    for operation in operations {
        match *operation {
            Operation::Write { offset, length, byte } => {
                content.write(&vec![byte; length], offset as u64);
                model.change(|state| put(state, offset, length, byte));
            }
            Operation::SetLength(length) => {
                content.set_length(length as u64);
                model.change(|state| state.resize(length, 0));
            }
            Operation::DirectWrite { block, byte } => {
                let offset = block * BLOCK_SIZE_BYTES;
                let write = content.start_write(&[byte; BLOCK_SIZE_BYTES], offset as u64);
                content.end_write(write, true);
                model.states.iter_mut().for_each(|state| put(state, offset, BLOCK_SIZE_BYTES, byte));
            }
            Operation::Sync { delay } => {
                syncs.push((delay, content.sequence(), model.forgotten + model.states.len() - 1));
            }
        }
        for (delay, covered, state) in std::mem::take(&mut syncs) {
            if delay == 0 {
                content.sync(covered);
                model.sync(state);
            } else {
                syncs.push((delay - 1, covered, state));
            }
        }
        assert!(content.bytes() == *model.visible(), "a reader sees what was written");
    }
    (content, model)
}

proptest! {
    #[test]
    fn a_crash_leaves_what_the_syncs_promised(operations in vec(operation(), 1..12), seed: u64) {
        let (content, model) = run(&operations);
        let survivor = |survival| content.after_crash(survival, &mut Dice::new(seed)).bytes();
        prop_assert!(survivor(Survival::Nothing) == model.states[0]);
        prop_assert!(survivor(Survival::Everything) == *model.visible());
        for (survival, unit) in [(Survival::Units, BLOCK_SIZE_BYTES), (Survival::Sectors, SECTOR_SIZE_BYTES)] {
            let bytes = survivor(survival);
            prop_assert!(model.states.iter().any(|state| state.len() == bytes.len()), "length {}", bytes.len());
            for (index, found) in bytes.chunks(unit).enumerate() {
                let version = |state: &Vec<u8>| Model::unit(state, index * unit, found.len()) == found;
                prop_assert!(model.states.iter().any(version), "unit {index} was never such");
            }
        }
    }

    #[test]
    fn a_read_ends_where_the_file_ends(length in 0..LENGTH_MAX, offset in 0..LENGTH_MAX, wanted in 0..LENGTH_MAX) {
        let bytes: Vec<u8> = (0..=250).cycle().take(length).collect();
        let content = Content::durable(bytes.clone());
        let mut buffer = vec![0xee; wanted];
        let read = content.read(&mut buffer, offset as u64);
        let expected = &bytes[offset.min(length)..(offset + wanted).min(length).max(offset.min(length))];
        prop_assert!(&buffer[..read] == expected);
        prop_assert!(buffer[read..].iter().all(|&byte| byte == 0xee), "beyond the end nothing is touched");
    }
}
