//! A read-only map of a finished file, and which of its pages are in memory.
//!
//! Made and dropped by maintenance, read by the shard. It fails as the disk fails: a page that cannot be read is an error
//! from [`page_in`](FileMap::page_in), and a SIGBUS to whoever touches it without having asked.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use memmap2::{Advice, Mmap, MmapOptions};

use super::file::ThreadFile;
use crate::env::FileMap;

/// The pages that [`FileMap::residency`] speaks of.
const PAGE_SIZE_BYTES: usize = 4096;
/// How much is read at a time where the kernel cannot populate a map.
const SCRATCH_SIZE_BYTES: usize = 128 * 1024;

/// A whole file, mapped read-only.
pub struct ThreadMap {
    map: Mmap,
    file: ThreadFile,
}

impl ThreadMap {
    /// Maps the first `length` bytes of `file`, which must be all of it.
    pub(super) fn new(file: &ThreadFile, length: u64) -> io::Result<Self> {
        let actual = file.as_std().metadata()?.len();
        if actual != length || length == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("the file to map has {actual} bytes, {length} were expected"),
            ));
        }
        let length = usize::try_from(length).map_err(io::Error::other)?;
        // SAFETY: the bytes behind a map must not change while it lives. `Environment::map` is only for finished files, which
        // the engine never writes or shortens again (a table is removed by name, and its inode lives as long as the map);
        // the directory lock keeps other processes of ours away, and the length was checked above.
        let map = unsafe { MmapOptions::new().len(length).map(&**file.as_std())? };
        Ok(Self { map, file: file.clone() })
    }

    /// Brings pages in by reading them through the page cache, for kernels without `MADV_POPULATE_READ` (before 5.14).
    fn read_through_page_cache(&self, offset: usize, length: usize) -> io::Result<()> {
        // A file opened for direct I/O would read past the page cache, so it is opened once more.
        let reopened;
        let file = if self.file.is_direct() {
            reopened = File::open(format!("/proc/self/fd/{}", self.file.as_std().as_raw_fd()))?;
            &reopened
        } else {
            &**self.file.as_std()
        };
        let mut scratch = vec![0; SCRATCH_SIZE_BYTES.min(length)];
        let mut done = 0;
        while done < length {
            let chunk = scratch.len().min(length - done);
            file.read_exact_at(&mut scratch[..chunk], (offset + done) as u64)?;
            done += chunk;
        }
        Ok(())
    }
}

impl Deref for ThreadMap {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}

impl FileMap for ThreadMap {
    /// The kernel tells the truth to the owner of the file only; to others all pages look resident.
    fn residency(&self) -> io::Result<Vec<u64>> {
        let system_page_size = rustix::param::page_size();
        let mut system_pages = vec![0_u8; self.map.len().div_ceil(system_page_size)];
        // SAFETY: the map starts on a page and is `len` bytes long; `mincore` reads no memory behind it and writes one byte
        // for each page, for which `system_pages` has room by its own construction.
        let result =
            unsafe { libc::mincore(self.map.as_ptr().cast_mut().cast(), self.map.len(), system_pages.as_mut_ptr()) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        let pages_per_system_page = system_page_size / PAGE_SIZE_BYTES;
        let mut bits = vec![0_u64; self.map.len().div_ceil(PAGE_SIZE_BYTES).div_ceil(64)];
        for page in 0..self.map.len().div_ceil(PAGE_SIZE_BYTES) {
            // Only the lowest bit of an entry is defined.
            if system_pages[page / pages_per_system_page] & 1 == 1 {
                bits[page / 64] |= 1 << (page % 64);
            }
        }
        Ok(bits)
    }

    fn page_in(&self, offset: usize, length: usize) -> io::Result<()> {
        if offset.checked_add(length).is_none_or(|end| end > self.map.len()) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{length} bytes at offset {offset} are not within a map of {} bytes", self.map.len()),
            ));
        }
        if length == 0 {
            return Ok(());
        }
        match self.map.advise_range(Advice::PopulateRead, offset, length) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => self.read_through_page_cache(offset, length),
            // The kernel says EFAULT where a touch would have been a SIGBUS: the read failed.
            Err(error) if error.raw_os_error() == Some(libc::EFAULT) => Err(io::Error::from_raw_os_error(libc::EIO)),
            result => result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(pages: usize) -> ThreadMap {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&vec![7; pages * PAGE_SIZE_BYTES - 100], 0).unwrap();
        let length = file.metadata().unwrap().len();
        ThreadMap::new(&ThreadFile::new(file, false), length).unwrap()
    }

    #[test]
    fn pages_just_written_or_paged_in_are_resident() {
        let map = mapped(70);
        map.page_in(5000, map.len() - 5000).unwrap();
        let bits = map.residency().unwrap();
        assert_eq!(bits.len(), 2);
        assert_eq!(bits.iter().map(|word| word.count_ones()).sum::<u32>(), 70);
        assert!(map.iter().all(|&byte| byte == 7));
    }

    #[test]
    fn paging_in_works_without_the_help_of_the_kernel() {
        let map = mapped(70);
        map.read_through_page_cache(1, map.len() - 1).unwrap();
        assert!(map.read_through_page_cache(1, map.len()).is_err(), "past the end of the file");
    }

    #[test]
    fn a_range_beyond_the_map_is_refused() {
        let map = mapped(1);
        assert_eq!(map.page_in(4000, 97).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(map.page_in(usize::MAX, 2).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_file_of_another_length_than_expected_is_not_mapped() {
        let file = ThreadFile::new(tempfile::tempfile().unwrap(), false);
        assert!(ThreadMap::new(&file, 0).is_err());
        assert!(ThreadMap::new(&file, 1).is_err());
    }
}
