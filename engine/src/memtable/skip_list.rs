//! The skip list beneath the memtables: nodes in one vector, their towers in another, keys and values in chunks.
//!
//! Nodes are numbers, not pointers, so that all of it is safe code, and immutable lists are shared between threads as they are. The
//! first bytes of a key stand in its node: most comparisons of a search never leave the node vector (Pugh 1990; the
//! prefix as in "normalized keys", Graefe 2011).

use std::cmp::Ordering;

use crate::ids::{LogTime, Revision};
use crate::row::{Keyspace, Row, RowKey, RowKind};

const HEIGHT_MAX: usize = 12;
/// One node in so many rises to the next level.
const BRANCHING: u32 = 4;
const CHUNK_SIZE_BYTES_MIN: usize = 16 * 1024;
const CHUNK_SIZE_BYTES_MAX: usize = 1024 * 1024;

/// A node's number; [`NodeId::NONE`] ends a chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NodeId(u32);

impl NodeId {
    const NONE: Self = Self(u32::MAX);
}

/// Bytes in a chunk.
#[derive(Clone, Copy, Default, Debug)]
struct Location {
    chunk: u32,
    offset: u32,
    length: u32,
}

#[derive(Debug)]
struct Node {
    /// Keyspace and the first seven bytes of the key, so that unequal prefixes order as the keys do.
    prefix: u64,
    revision: Revision,
    deadline: Option<LogTime>,
    key: Location,
    value: Location,
    /// Bytes that may be used in place of the value.
    value_room: u32,
    value_crc: u32,
    tower: u32,
    keyspace: Keyspace,
    kind: RowKind,
}

/// What an insertion did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Inserted {
    /// The row is there beside older ones.
    Added,
    /// The row took the place of the version before it.
    Replaced,
}

/// Rows in order. Owned by one thread while it grows.
#[derive(Debug)]
pub(crate) struct SkipList {
    nodes: Vec<Node>,
    /// The next nodes, from the lowest level up; the head's tower comes first.
    towers: Vec<NodeId>,
    height: usize,
    chunks: Vec<Vec<u8>>,
    chunk_bytes: usize,
    random: u32,
}

impl SkipList {
    pub(crate) fn new() -> Self {
        Self {
            nodes: Vec::new(),
            towers: vec![NodeId::NONE; HEIGHT_MAX],
            height: 1,
            chunks: Vec::new(),
            chunk_bytes: 0,
            random: 0x9e37_79b9,
        }
    }

    pub(crate) fn row_count(&self) -> usize {
        self.nodes.len()
    }

    /// Memory held, bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.chunk_bytes + self.nodes.capacity() * size_of::<Node>() + self.towers.capacity() * size_of::<NodeId>()
    }

    /// Inserts a row. If the newest older version of its key is not needed, as `replaces` says of its revision, the row takes its place.
    pub(crate) fn insert(&mut self, row: &Row<'_>, replaces: impl Fn(Revision) -> bool) -> Inserted {
        let mut before = [HEAD_TOWER; HEIGHT_MAX];
        let found = self.find(row.row_key, &mut before);
        if let Some(node) = self.node(found)
            && node.keyspace == row.row_key.keyspace
            && self.bytes(node.key) == row.row_key.key
            && replaces(node.revision)
        {
            self.replace(found, row);
            return Inserted::Replaced;
        }
        self.add(row, &before);
        Inserted::Added
    }

    fn replace(&mut self, id: NodeId, row: &Row<'_>) {
        let node = &self.nodes[id.0 as usize];
        let (mut location, mut room) = (node.value, node.value_room);
        if row.value.len() <= room as usize {
            location.length = length_u32(row.value.len());
            let start = location.offset as usize;
            self.chunks[location.chunk as usize][start..start + row.value.len()].copy_from_slice(row.value);
        } else {
            location = self.store(row.value);
            room = location.length;
        }
        let node = &mut self.nodes[id.0 as usize];
        node.revision = row.row_key.revision;
        node.deadline = row.deadline;
        node.kind = row.kind;
        node.value_crc = row.value_crc;
        node.value = location;
        node.value_room = room;
    }

    fn add(&mut self, row: &Row<'_>, before: &[usize; HEIGHT_MAX]) {
        let id = NodeId(length_u32(self.nodes.len()));
        assert!(id != NodeId::NONE, "a memtable holds fewer than 2^32 rows");
        let height = self.random_height();
        self.height = self.height.max(height);
        let tower = self.towers.len();
        for (level, &link) in before.iter().enumerate().take(height) {
            let next = self.towers[link + level];
            self.towers.push(next);
            self.towers[link + level] = id;
        }
        let key = self.store(row.row_key.key);
        let value = self.store(row.value);
        self.nodes.push(Node {
            prefix: prefix(row.row_key),
            revision: row.row_key.revision,
            deadline: row.deadline,
            key,
            value,
            value_room: value.length,
            value_crc: row.value_crc,
            tower: length_u32(tower),
            keyspace: row.row_key.keyspace,
            kind: row.kind,
        });
    }

    /// The first node at or behind `target`.
    pub(crate) fn seek(&self, target: RowKey<'_>) -> Option<NodeId> {
        let mut before = [HEAD_TOWER; HEIGHT_MAX];
        self.exists(self.find(target, &mut before))
    }

    /// The first node of all.
    pub(crate) fn first(&self) -> Option<NodeId> {
        self.exists(self.towers[HEAD_TOWER])
    }

    /// The node behind `id`.
    pub(crate) fn next(&self, id: NodeId) -> Option<NodeId> {
        self.exists(self.towers[self.nodes[id.0 as usize].tower as usize])
    }

    /// The row of a node.
    pub(crate) fn row(&self, id: NodeId) -> Row<'_> {
        let node = &self.nodes[id.0 as usize];
        Row {
            row_key: RowKey { keyspace: node.keyspace, key: self.bytes(node.key), revision: node.revision },
            kind: node.kind,
            deadline: node.deadline,
            value_crc: node.value_crc,
            value: self.bytes(node.value),
        }
    }

    /// The first node at or behind `target`, and for each level the tower whose link leads to it or past it.
    fn find(&self, target: RowKey<'_>, before: &mut [usize; HEIGHT_MAX]) -> NodeId {
        let target_prefix = prefix(target);
        let mut tower = HEAD_TOWER;
        let mut found = NodeId::NONE;
        for level in (0..self.height).rev() {
            loop {
                let next = self.towers[tower + level];
                match self.node(next) {
                    Some(node) if self.compare(node, target, target_prefix) == Ordering::Less => {
                        tower = node.tower as usize
                    }
                    _ => {
                        found = next;
                        break;
                    }
                }
            }
            before[level] = tower;
        }
        found
    }

    fn compare(&self, node: &Node, target: RowKey<'_>, target_prefix: u64) -> Ordering {
        node.prefix
            .cmp(&target_prefix)
            .then_with(|| self.bytes(node.key).cmp(target.key))
            .then_with(|| target.revision.cmp(&node.revision))
    }

    fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id.0 as usize)
    }

    fn exists(&self, id: NodeId) -> Option<NodeId> {
        (id != NodeId::NONE).then_some(id)
    }

    fn bytes(&self, location: Location) -> &[u8] {
        if location.length == 0 {
            return &[];
        }
        let start = location.offset as usize;
        &self.chunks[location.chunk as usize][start..start + location.length as usize]
    }

    fn store(&mut self, bytes: &[u8]) -> Location {
        if bytes.is_empty() {
            return Location::default();
        }
        let fits = |chunk: &Vec<u8>| chunk.capacity() - chunk.len() >= bytes.len();
        if !self.chunks.last().is_some_and(fits) {
            let doubled = self.chunks.last().map_or(CHUNK_SIZE_BYTES_MIN, |chunk| chunk.capacity() * 2);
            let capacity = doubled.min(CHUNK_SIZE_BYTES_MAX).max(bytes.len());
            self.chunks.push(Vec::with_capacity(capacity));
            self.chunk_bytes += capacity;
        }
        let index = self.chunks.len() - 1;
        let chunk = &mut self.chunks[index];
        let offset = chunk.len();
        chunk.extend_from_slice(bytes);
        Location { chunk: length_u32(index), offset: length_u32(offset), length: length_u32(bytes.len()) }
    }

    /// Deterministic, so that the same rows give the same list (xorshift, Marsaglia 2003).
    fn random_height(&mut self) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        let mut bits = self.random;
        let mut height = 1;
        while height < HEIGHT_MAX && bits.is_multiple_of(BRANCHING) {
            bits /= BRANCHING;
            height += 1;
        }
        height
    }
}

const HEAD_TOWER: usize = 0;

fn prefix(row_key: RowKey<'_>) -> u64 {
    let mut bytes = [0; 8];
    bytes[0] = row_key.keyspace as u8;
    let length = row_key.key.len().min(7);
    bytes[1..=length].copy_from_slice(&row_key.key[..length]);
    u64::from_be_bytes(bytes)
}

fn length_u32(length: usize) -> u32 {
    u32::try_from(length).expect("a memtable is far smaller than 4 GiB")
}
