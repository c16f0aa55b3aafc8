//! What the simulated environment gives out: files, maps and locks. They may go to any thread, as the real ones.

use std::io;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::directory::Inode;
use super::disk;
use crate::env::{FileMap, LogMode, OpenMode};

const PAGE_SIZE_BYTES: usize = 4096;

/// An open file of one simulated world; of no use in another.
#[derive(Clone, Debug)]
pub struct SimulatedFile {
    pub(super) world: u64,
    pub(super) inode: Inode,
    pub(super) mode: OpenMode,
    pub(super) log_mode: LogMode,
    /// The name it was opened by.
    pub(super) path: Arc<Path>,
    /// Keeps the inode while its names are gone.
    pub(super) _handle: Arc<()>,
}

impl SimulatedFile {
    /// Whether operations must be aligned.
    pub(super) fn is_direct(&self) -> bool {
        match self.mode {
            OpenMode::ReadDirect | OpenMode::CreateDirect => true,
            OpenMode::Log => self.log_mode == LogMode::DirectSynced,
            OpenMode::Read | OpenMode::Create => false,
        }
    }

    pub(super) fn is_log(&self) -> bool {
        self.mode == OpenMode::Log
    }

    pub(super) fn is_writable(&self) -> bool {
        !matches!(self.mode, OpenMode::Read | OpenMode::ReadDirect)
    }
}

/// A read-only map: a copy of the file, which the world guards against changes of the original.
pub struct SimulatedMap {
    pub(super) shared: Arc<MapShared>,
}

/// What the map and its world both know.
pub(super) struct MapShared {
    bytes: Vec<u8>,
    resident: Vec<AtomicU64>,
    /// The world's wish: paging in fails, as on a disk that cannot be read.
    page_in_fails: Arc<AtomicBool>,
}

impl MapShared {
    pub(super) fn new(bytes: Vec<u8>, mut resident: impl FnMut() -> bool, page_in_fails: Arc<AtomicBool>) -> Self {
        let page_count = bytes.len().div_ceil(PAGE_SIZE_BYTES);
        let mut words = vec![0_u64; page_count.div_ceil(64)];
        for page in 0..page_count {
            words[page / 64] |= u64::from(resident()) << (page % 64);
        }
        Self { bytes, resident: words.into_iter().map(AtomicU64::new).collect(), page_in_fails }
    }

    /// Takes all pages out of memory.
    pub(super) fn evict(&self) {
        for word in &self.resident {
            word.store(0, Ordering::Relaxed);
        }
    }
}

impl Deref for SimulatedMap {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.shared.bytes
    }
}

impl FileMap for SimulatedMap {
    fn residency(&self) -> io::Result<Vec<u64>> {
        Ok(self.shared.resident.iter().map(|word| word.load(Ordering::Relaxed)).collect())
    }

    fn page_in(&self, offset: usize, length: usize) -> io::Result<()> {
        if offset.checked_add(length).is_none_or(|end| end > self.len()) {
            return Err(disk::error(libc::EINVAL));
        }
        if self.shared.page_in_fails.load(Ordering::Relaxed) {
            return Err(disk::error(libc::EIO));
        }
        for page in offset / PAGE_SIZE_BYTES..(offset + length).div_ceil(PAGE_SIZE_BYTES) {
            self.shared.resident[page / 64].fetch_or(1 << (page % 64), Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Held while a directory of the simulated disk has an owner.
#[derive(Debug)]
pub struct SimulatedDirectoryLock {
    pub(super) _held: Arc<()>,
}
