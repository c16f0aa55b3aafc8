//! What a crash leaves: the policies that decide it, and the disk that is left.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::content::Content;
use super::disk::Disk;
use super::random::Random;

/// Which of the changes that were not durable survive a crash. Where chance decides, it is the seed's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CrashPolicy {
    /// None: the disk's promises and nothing more. A power cut with a cold cache.
    DropUnsynced,
    /// All, writes in flight included: the kernel was just done. Also what `kill -9` leaves.
    KeepUnsynced,
    /// Names but no bytes: a journal that writes metadata first; new files are there and empty.
    NamesWithoutBytes,
    /// Bytes but no names: what was renamed or created is still under its old name, or gone.
    BytesWithoutNames,
    /// Each name and each block of 4 KiB on its own, a block in any version since the last sync.
    Reordered,
    /// As [`Reordered`](Self::Reordered), and each sector of 512 bytes on its own.
    Torn,
}

impl CrashPolicy {
    /// All policies.
    pub const ALL: [Self; 6] = [
        Self::DropUnsynced,
        Self::KeepUnsynced,
        Self::NamesWithoutBytes,
        Self::BytesWithoutNames,
        Self::Reordered,
        Self::Torn,
    ];

    /// Whether the outcome depends on the seed, so that several seeds are worth trying.
    #[must_use]
    pub fn is_random(self) -> bool {
        matches!(self, Self::Reordered | Self::Torn)
    }

    pub(super) fn names(self) -> Survival {
        match self {
            Self::DropUnsynced | Self::BytesWithoutNames => Survival::Nothing,
            Self::KeepUnsynced | Self::NamesWithoutBytes => Survival::Everything,
            Self::Reordered | Self::Torn => Survival::Units,
        }
    }

    pub(super) fn bytes(self) -> Survival {
        match self {
            Self::DropUnsynced | Self::NamesWithoutBytes => Survival::Nothing,
            Self::KeepUnsynced | Self::BytesWithoutNames => Survival::Everything,
            Self::Reordered => Survival::Units,
            Self::Torn => Survival::Sectors,
        }
    }
}

/// What survives of one thing's pending changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Survival {
    Nothing,
    Everything,
    /// Each block, or each change of names, as chance has it.
    Units,
    /// Each sector as chance has it.
    Sectors,
}

/// Decides what survives.
pub(super) struct Dice {
    random: Random,
    /// How likely a change is to survive; drawn once, so that some crashes keep nearly all and some nearly nothing.
    survival_percent: u64,
}

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let survival_percent = [10, 50, 90][random.position(3)];
        Self { random, survival_percent }
    }

    pub(super) fn survives(&mut self) -> bool {
        self.random.chance(self.survival_percent)
    }

    /// One of `count` pending versions, or none of them. The latest is the likeliest.
    pub(super) fn pick_version(&mut self, count: usize) -> Option<usize> {
        if count == 0 || !self.survives() {
            return None;
        }
        Some(if self.survives() { count - 1 } else { self.random.position(count) })
    }
}

/// Harm that a failing disk does to bytes that were durable.
#[allow(missing_docs)] // The names say it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Damage {
    /// Turns one bit over, counted from the lowest.
    FlipBit { offset: u64, bit: u8 },
    /// Loses the end of the file.
    Truncate { length: u64 },
    /// Loses what a range held.
    ZeroRange { offset: u64, length: u64 },
}

/// A disk at rest, all of it durable: what a crash left, or what a test prepared.
#[derive(Clone)]
pub struct DiskImage {
    pub(super) disk: Disk,
}

impl DiskImage {
    /// A disk without files.
    #[must_use]
    pub fn empty() -> Self {
        Self { disk: Disk::new() }
    }

    /// The paths of all files, sorted.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.disk.files()
    }

    /// The bytes of a file.
    ///
    /// # Errors
    /// If there is no such file.
    pub fn read(&self, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        Ok(self.disk.content(self.disk.find_file(path.as_ref())?).bytes())
    }

    /// Puts a file in place of whatever file was there.
    ///
    /// # Errors
    /// If its directory is absent.
    pub fn write(&mut self, path: impl AsRef<Path>, bytes: &[u8]) -> io::Result<()> {
        let path = path.as_ref();
        let inode = match self.disk.find_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let inode = self.disk.create_file(path)?;
                self.disk = self.disk.after_crash(CrashPolicy::KeepUnsynced, 0);
                inode
            }
            found => found?,
        };
        *self.disk.content_mut(inode) = Content::durable(bytes.to_vec());
        Ok(())
    }

    /// Damages a file.
    ///
    /// # Errors
    /// If there is no such file.
    ///
    /// # Panics
    /// If the damage lies outside of the file.
    pub fn damage(&mut self, path: impl AsRef<Path>, damage: Damage) -> io::Result<()> {
        let inode = self.disk.find_file(path.as_ref())?;
        self.disk.content_mut(inode).damage(damage);
        Ok(())
    }
}

impl PartialEq for DiskImage {
    /// Whether both hold the same files with the same bytes.
    fn eq(&self, other: &Self) -> bool {
        let files = self.files();
        files == other.files() && files.iter().all(|path| self.read(path).ok() == other.read(path).ok())
    }
}

impl fmt::Debug for DiskImage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = |path: &PathBuf| self.read(path).map_or(0, |bytes| bytes.len());
        formatter.debug_map().entries(self.files().iter().map(|path| (path.display(), length(path)))).finish()
    }
}
