//! Checking all of a table: every block is read from the disk, past the page cache, and its checksum compared.

use crate::env::{Environment, OpenMode};
use crate::error::{Error, Result};
use crate::io_buffer::IoBuffer;
use crate::limits::DIRECT_IO_ALIGNMENT;

use super::{Table, load_block};

/// The file is read in pieces of so many bytes, or of one block if that is longer.
const WINDOW_SIZE_BYTES: usize = 512 * 1024;

impl<E: Environment> Table<E> {
    /// Reads every block and checks it. The other parts were checked when the table was opened.
    ///
    /// # Errors
    /// [`Error::Corruption`] with file and offset of the first damaged block; [`Error::Io`].
    pub async fn verify(&self, environment: &E) -> Result<()> {
        let path = self.path();
        let file =
            environment.open(path, OpenMode::ReadDirect).await.map_err(|error| Error::io("open", path, error))?;
        let (mut window, mut window_offset) = (IoBuffer::default(), 0);
        for block in 0..self.index.block_count() {
            let handle = self.index.handle(block);
            let end = handle.offset + u64::from(handle.length);
            if end > window_offset + window.len() as u64 {
                let alignment = DIRECT_IO_ALIGNMENT as u64;
                window_offset = handle.offset / alignment * alignment;
                let needed = usize::try_from(end - window_offset).expect("a block fits into memory");
                window.resize(needed.max(WINDOW_SIZE_BYTES).next_multiple_of(DIRECT_IO_ALIGNMENT));
                let (result, buffer) = environment.read_at(&file, window, window_offset).await;
                window = buffer;
                let length = result.map_err(|error| Error::io("read", path, error))?;
                if length < needed {
                    return Err(Error::corruption(path, handle.offset, "the file ends within a block"));
                }
                window.resize(length);
                environment.yield_now().await;
            }
            let start = usize::try_from(handle.offset - window_offset).expect("within the window");
            let stored = &window[start..start + handle.length as usize];
            load_block(path, stored, self.meta.checksum_seed, handle.offset)?;
        }
        Ok(())
    }
}
