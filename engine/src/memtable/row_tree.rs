//! The order of a memtable's rows: a B+-tree whose nodes hold, for each row, eight bytes of its key.
//!
//! All keys of a node lie between the two separators that lead to it, so the bytes that those have in common need not be looked at:
//! the eight bytes behind them, the *head*, nearly always decide (Graefe 2011, normalized keys; Leis 2018, heads). A search
//! touches a few nodes and one record. A skip list with inline prefixes was built first and measured: at a million
//! rows it took five times as long, for it visits some twenty nodes, each a cache miss, and a `BTreeMap` took half as long again.
//!
//! Nodes are numbers, so all of this is safe code. Rows are never removed, only replaced by newer versions of themselves.

use std::cmp::Ordering;

use crate::ids::Revision;
use crate::row::{Keyspace, Row, RowKey};

use super::arena::{Arena, Location};

// Tests use small nodes, so that a few rows make a deep tree. 32 to 64 were equally fast.
const LEAF_CAPACITY: usize = if cfg!(test) { 4 } else { 48 };
const INNER_CAPACITY: usize = if cfg!(test) { 3 } else { 32 };

/// Entries in order: for each a head and the record with the whole key.
#[derive(Debug)]
struct Entries<const CAPACITY: usize> {
    count: usize,
    /// How many bytes, the keyspace's first, all keys of the node have in common, and its heads leave out.
    shared_length: usize,
    heads: [u64; CAPACITY],
    records: [Location; CAPACITY],
}

#[derive(Debug)]
struct Leaf {
    rows: Entries<LEAF_CAPACITY>,
    next: Option<u32>,
}

/// Child *i* holds the rows before separator *i*; the last child, those behind all separators. A separator is the first row of what follows it:
/// the same record, so that it stays so when the record is replaced by a newer version.
#[derive(Debug)]
struct Inner {
    separators: Entries<INNER_CAPACITY>,
    children: [u32; INNER_CAPACITY + 1],
}

/// The separators around a node; `None` where there is no bound.
#[derive(Clone, Copy, Debug)]
struct Fences {
    low: Option<Location>,
    high: Option<Location>,
}

/// A node on the way to a leaf, and which child was taken.
#[derive(Clone, Copy, Debug)]
struct Step {
    inner: u32,
    child: usize,
    fences: Fences,
}

/// A row's place in the order. It stays valid until the next insertion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Position {
    leaf: u32,
    index: u16,
}

/// Rows in order. Owned by one thread while it grows.
// Nodes are boxed so that the growth of these vectors moves pointers only: moving a million rows' nodes would stop the core for milliseconds.
#[expect(clippy::vec_box)]
#[derive(Debug)]
pub(crate) struct RowTree {
    arena: Arena,
    leaves: Vec<Box<Leaf>>,
    inners: Vec<Box<Inner>>,
    /// A leaf if `height` is zero, else an inner node.
    root: u32,
    height: usize,
    /// The leaf with the last rows.
    last: u32,
    row_count: usize,
    /// The way of the insertion under way; here so that its memory is used again.
    path: Vec<Step>,
}

impl RowTree {
    pub(crate) fn new() -> Self {
        let leaf = Box::new(Leaf { rows: Entries::new(0), next: None });
        Self {
            arena: Arena::default(),
            leaves: vec![leaf],
            inners: Vec::new(),
            root: 0,
            height: 0,
            last: 0,
            row_count: 0,
            path: Vec::new(),
        }
    }

    pub(crate) fn row_count(&self) -> usize {
        self.row_count
    }

    /// Memory held, bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        let nodes = self.leaves.len() * size_of::<Leaf>() + self.inners.len() * size_of::<Inner>();
        let pointers = (self.leaves.capacity() + self.inners.capacity()) * size_of::<usize>();
        self.arena.memory_bytes() + nodes + pointers
    }

    /// Inserts a row. If the version of its key before it is not needed, as `replaces` says of that one's revision, the row takes its place.
    pub(crate) fn insert(&mut self, row: &Row<'_>, replaces: impl FnOnce(Revision) -> bool) {
        if self.is_behind_all(row.row_key) && self.leaves[self.last as usize].rows.count < LEAF_CAPACITY {
            let record = self.arena.store(row);
            self.put(self.last, self.leaves[self.last as usize].rows.count, row.row_key, record);
            return;
        }
        let (leaf, index, fences) = self.place_of(row.row_key);
        if let Some(found) = self.normalized(leaf, index) {
            let record = self.record(found);
            let older = self.arena.row(record).row_key;
            let is_same_key = older.keyspace == row.row_key.keyspace && older.key == row.row_key.key;
            if is_same_key && (older.revision == row.row_key.revision || replaces(older.revision)) {
                self.arena.replace(record, row);
                return;
            }
        }
        let record = self.arena.store(row);
        let (leaf, index) = self.leaf_with_room(leaf, index, fences, record);
        self.put(leaf, index, row.row_key, record);
    }

    /// Rows that arrive in order need no search.
    fn is_behind_all(&self, target: RowKey<'_>) -> bool {
        let rows = &self.leaves[self.last as usize].rows;
        rows.count == 0 || self.arena.row(rows.records[rows.count - 1]).row_key < target
    }

    fn put(&mut self, leaf: u32, index: usize, row_key: RowKey<'_>, record: Location) {
        let rows = &mut self.leaves[leaf as usize].rows;
        rows.insert(index, head(row_key.keyspace, row_key.key, rows.shared_length), record);
        self.row_count += 1;
    }

    /// The leaf, and the index in it, at which `target` stands or would be inserted. Leaves the way there in `path`.
    fn place_of(&mut self, target: RowKey<'_>) -> (u32, usize, Fences) {
        let mut path = std::mem::take(&mut self.path);
        path.clear();
        let mut fences = Fences { low: None, high: None };
        let mut node = self.root;
        for _ in 0..self.height {
            let inner = &self.inners[node as usize];
            let child = inner.separators.count_of(&self.arena, target, Ordering::is_le);
            path.push(Step { inner: node, child, fences });
            if child > 0 {
                fences.low = Some(inner.separators.records[child - 1]);
            }
            if child < inner.separators.count {
                fences.high = Some(inner.separators.records[child]);
            }
            node = inner.children[child];
        }
        self.path = path;
        let index = self.leaves[node as usize].rows.count_of(&self.arena, target, Ordering::is_lt);
        (node, index, fences)
    }

    /// The first row at or behind `target`.
    pub(crate) fn seek(&self, target: RowKey<'_>) -> Option<Position> {
        let mut node = self.root;
        for _ in 0..self.height {
            let inner = &self.inners[node as usize];
            node = inner.children[inner.separators.count_of(&self.arena, target, Ordering::is_le)];
        }
        self.normalized(node, self.leaves[node as usize].rows.count_of(&self.arena, target, Ordering::is_lt))
    }

    /// The first row of all.
    pub(crate) fn first(&self) -> Option<Position> {
        self.normalized(0, 0)
    }

    /// The row behind `position`.
    pub(crate) fn next(&self, position: Position) -> Option<Position> {
        self.normalized(position.leaf, usize::from(position.index) + 1)
    }

    /// The row at a position.
    pub(crate) fn row(&self, position: Position) -> Row<'_> {
        self.arena.row(self.record(position))
    }

    fn record(&self, position: Position) -> Location {
        self.leaves[position.leaf as usize].rows.records[usize::from(position.index)]
    }

    /// The row at `index` of a leaf, where the count of its rows means the first row of the next one.
    fn normalized(&self, leaf: u32, index: usize) -> Option<Position> {
        let node = &self.leaves[leaf as usize];
        if index < node.rows.count {
            return Some(Position { leaf, index: u16::try_from(index).expect("below the capacity") });
        }
        // No leaf but the only one is empty.
        node.next.map(|leaf| Position { leaf, index: 0 })
    }

    /// Splits the leaf if it is full; answers where the row of `record` goes then.
    fn leaf_with_room(&mut self, leaf: u32, index: usize, fences: Fences, record: Location) -> (u32, usize) {
        if self.leaves[leaf as usize].rows.count < LEAF_CAPACITY {
            return (leaf, index);
        }
        // Rows that arrive in order leave full leaves behind.
        let is_append = index == LEAF_CAPACITY && leaf == self.last;
        let middle = if is_append { LEAF_CAPACITY } else { LEAF_CAPACITY / 2 };
        let right = length_u32(self.leaves.len());
        let node = &mut self.leaves[leaf as usize];
        let next = node.next.replace(right);
        let rows = node.rows.split_off(middle);
        let separator = if is_append { record } else { rows.records[0] };
        self.leaves.push(Box::new(Leaf { rows, next }));
        if leaf == self.last {
            self.last = right;
        }
        self.narrow_leaf(leaf, Fences { high: Some(separator), ..fences });
        self.narrow_leaf(right, Fences { low: Some(separator), ..fences });
        self.add_separator(separator, right);
        if index > middle || is_append { (right, index - middle) } else { (leaf, index) }
    }

    fn narrow_leaf(&mut self, leaf: u32, fences: Fences) {
        let shared_length = shared_length(&self.arena, fences);
        self.leaves[leaf as usize].rows.set_shared_length(&self.arena, shared_length);
    }

    /// Tells the parents on `path` of a new node on the right of the one they lead to.
    fn add_separator(&mut self, mut separator: Location, mut right: u32) {
        while let Some(Step { inner, child, fences }) = self.path.pop() {
            let node = &mut self.inners[inner as usize];
            if node.separators.count < INNER_CAPACITY {
                node.insert(&self.arena, child, separator, right);
                return;
            }
            // The separator in the middle moves up; both halves have room for the new one.
            let is_append = child == INNER_CAPACITY;
            let middle = if is_append { INNER_CAPACITY - 1 } else { INNER_CAPACITY / 2 };
            let (risen, mut sibling) = node.split_off(middle);
            let low = Fences { high: Some(risen), ..fences };
            let high = Fences { low: Some(risen), ..fences };
            node.separators.set_shared_length(&self.arena, shared_length(&self.arena, low));
            sibling.separators.set_shared_length(&self.arena, shared_length(&self.arena, high));
            if child <= middle {
                node.insert(&self.arena, child, separator, right);
            } else {
                sibling.insert(&self.arena, child - middle - 1, separator, right);
            }
            separator = risen;
            right = length_u32(self.inners.len());
            self.inners.push(sibling);
        }
        let mut root = Box::new(Inner { separators: Entries::new(0), children: [0; INNER_CAPACITY + 1] });
        root.children[0] = self.root;
        root.insert(&self.arena, 0, separator, right);
        self.root = length_u32(self.inners.len());
        self.inners.push(root);
        self.height += 1;
    }
}

impl<const CAPACITY: usize> Entries<CAPACITY> {
    fn new(shared_length: usize) -> Self {
        Self { count: 0, shared_length, heads: [0; CAPACITY], records: [Location::default(); CAPACITY] }
    }

    /// How many entries from the front compare to `target` as `is_before` says.
    fn count_of(&self, arena: &Arena, target: RowKey<'_>, is_before: impl Fn(Ordering) -> bool) -> usize {
        let head = head(target.keyspace, target.key, self.shared_length);
        let heads = &self.heads[..self.count];
        let low = heads.partition_point(|&other| other < head);
        let equal = heads[low..].iter().take_while(|&&other| other == head).count();
        low + self.records[low..low + equal].partition_point(|&record| is_before(arena.compare(record, target)))
    }

    fn insert(&mut self, index: usize, head: u64, record: Location) {
        self.heads.copy_within(index..self.count, index + 1);
        self.records.copy_within(index..self.count, index + 1);
        self.heads[index] = head;
        self.records[index] = record;
        self.count += 1;
    }

    fn split_off(&mut self, at: usize) -> Self {
        let mut right = Self::new(self.shared_length);
        right.count = self.count - at;
        right.heads[..right.count].copy_from_slice(&self.heads[at..self.count]);
        right.records[..right.count].copy_from_slice(&self.records[at..self.count]);
        self.count = at;
        right
    }

    fn set_shared_length(&mut self, arena: &Arena, shared_length: usize) {
        if shared_length == self.shared_length {
            return;
        }
        self.shared_length = shared_length;
        for (head, &record) in self.heads.iter_mut().zip(&self.records).take(self.count) {
            let (keyspace, key) = arena.full_key(record);
            *head = self::head(keyspace, key, shared_length);
        }
    }
}

impl Inner {
    /// Puts a separator at `index` and the node on its right behind it.
    fn insert(&mut self, arena: &Arena, index: usize, separator: Location, right: u32) {
        let (keyspace, key) = arena.full_key(separator);
        let head = head(keyspace, key, self.separators.shared_length);
        self.children.copy_within(index + 1..=self.separators.count, index + 2);
        self.children[index + 1] = right;
        self.separators.insert(index, head, separator);
    }

    /// Takes the separator at `index` out, and what is behind it into a new node.
    fn split_off(&mut self, index: usize) -> (Location, Box<Self>) {
        let risen = self.separators.records[index];
        let mut children = [0; INNER_CAPACITY + 1];
        let moved = &self.children[index + 1..=self.separators.count];
        children[..moved.len()].copy_from_slice(moved);
        let separators = self.separators.split_off(index + 1);
        self.separators.count = index;
        (risen, Box::new(Self { separators, children }))
    }
}

/// Eight bytes of (keyspace, key) behind the first `skip`, as a number that orders as they do.
fn head(keyspace: Keyspace, key: &[u8], skip: usize) -> u64 {
    if skip == 0 {
        return u64::from(keyspace as u8) << 56 | head_of_key(key) >> 8;
    }
    head_of_key(key.get(skip - 1..).unwrap_or_default())
}

fn head_of_key(bytes: &[u8]) -> u64 {
    if let Some(head) = bytes.first_chunk() {
        return u64::from_be_bytes(*head);
    }
    let mut head = [0; 8];
    head[..bytes.len()].copy_from_slice(bytes);
    u64::from_be_bytes(head)
}

/// How many bytes of (keyspace, key) every row between the fences begins with.
fn shared_length(arena: &Arena, fences: Fences) -> usize {
    let (Some(low), Some(high)) = (fences.low, fences.high) else { return 0 };
    let ((low_keyspace, low_key), (high_keyspace, high_key)) = (arena.full_key(low), arena.full_key(high));
    if low_keyspace != high_keyspace {
        return 0;
    }
    1 + low_key.iter().zip(high_key).take_while(|(a, b)| a == b).count()
}

fn length_u32(length: usize) -> u32 {
    u32::try_from(length).expect("a memtable has far fewer nodes than 2^32")
}
