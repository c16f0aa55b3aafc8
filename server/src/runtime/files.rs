//! A shard's own file operations: the write of its log, and the reading of blocks that are not resident.
//!
//! They go through the ring. Where there is none, epoll is of no help with files: then threads beside the shard carry them out, so that the
//! shard never waits for a disk.

use std::cell::RefCell;
use std::io;
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::sync::Arc;

use corelode_engine::env::LogMode;
use corelode_engine::env::thread::ThreadFile;
use corelode_engine::io_buffer::IoBuffer;
use corelode_engine::log::LogWrite;
use corelode_engine::table::BlockRead;
use monoio::fs::File;

use super::ring_buffer::RingBuffer;
use super::uses_ring;

/// The file that the log goes to now, in the ring's terms.
#[derive(Default)]
pub(super) struct LogFile {
    current: RefCell<Option<(Arc<std::fs::File>, Rc<File>)>>,
}

impl LogFile {
    /// Carries out a log write; the buffer is in `write` again afterwards.
    pub(super) async fn write(&self, write: &mut LogWrite<ThreadFile>) -> io::Result<()> {
        let buffer = std::mem::take(&mut write.buffer);
        let (result, buffer) =
            if uses_ring() { self.write_through_ring(write, buffer).await } else { write_beside(write, buffer).await };
        write.buffer = buffer;
        result
    }

    async fn write_through_ring(&self, write: &LogWrite<ThreadFile>, buffer: IoBuffer) -> (io::Result<()>, IoBuffer) {
        let file = match self.open(write.file.as_std()) {
            Ok(file) => file,
            Err(error) => return (Err(error), buffer),
        };
        let (mut result, buffer) = file.write_all_at(RingBuffer(buffer), write.offset).await;
        if result.is_ok() && write.mode == LogMode::BufferedThenSync {
            result = file.sync_data().await;
        }
        (result, buffer.0)
    }

    fn open(&self, file: &Arc<std::fs::File>) -> io::Result<Rc<File>> {
        if let Some((known, open)) = &*self.current.borrow()
            && Arc::ptr_eq(known, file)
        {
            return Ok(Rc::clone(open));
        }
        let open = Rc::new(File::from_std(file.try_clone()?)?);
        *self.current.borrow_mut() = Some((Arc::clone(file), Rc::clone(&open)));
        Ok(open)
    }
}

async fn write_beside(write: &LogWrite<ThreadFile>, buffer: IoBuffer) -> (io::Result<()>, IoBuffer) {
    let (file, offset, mode) = (Arc::clone(write.file.as_std()), write.offset, write.mode);
    beside(move || {
        let mut result = file.write_all_at(&buffer, offset);
        if result.is_ok() && mode == LogMode::BufferedThenSync {
            result = file.sync_data();
        }
        (result, buffer)
    })
    .await
}

/// Reads a block through the page cache.
pub(super) async fn read_block(read: &BlockRead<ThreadFile>) -> (io::Result<usize>, IoBuffer) {
    let (length, offset) = (read.handle.length as usize, read.handle.offset);
    let mut buffer = IoBuffer::zeroed(length);
    if !uses_ring() {
        let file = Arc::clone(read.file.as_std());
        return beside(move || (file.read_exact_at(&mut buffer, offset).map(|()| length), buffer)).await;
    }
    let file = match read.file.as_std().try_clone().and_then(File::from_std) {
        Ok(file) => file,
        Err(error) => return (Err(error), IoBuffer::default()),
    };
    let (result, buffer) = file.read_exact_at(RingBuffer(buffer), offset).await;
    (result.map(|()| length), buffer.0)
}

async fn beside<R: Send + 'static>(operation: impl FnOnce() -> R + Send + 'static) -> R {
    monoio::spawn_blocking(operation).await.expect("a file operation does not panic, and its thread outlives the shard")
}
