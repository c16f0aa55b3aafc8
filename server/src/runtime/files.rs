//! A shard's own file operations: the write of its log, and the reading of blocks that are not resident.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use corelode_engine::env::LogMode;
use corelode_engine::env::thread::ThreadFile;
use corelode_engine::io_buffer::IoBuffer;
use corelode_engine::log::LogWrite;
use corelode_engine::table::BlockRead;
use monoio::fs::File;

use super::ring_buffer::RingBuffer;

/// The file that the log goes to now, in the ring's terms.
#[derive(Default)]
pub(super) struct LogFile {
    current: RefCell<Option<(Arc<std::fs::File>, Rc<File>)>>,
}

impl LogFile {
    /// Carries out a log write; the buffer is in `write` again afterwards.
    pub(super) async fn write(&self, write: &mut LogWrite<ThreadFile>) -> io::Result<()> {
        let file = self.open(write.file.as_std())?;
        let buffer = RingBuffer(std::mem::take(&mut write.buffer));
        let (result, buffer) = file.write_all_at(buffer, write.offset).await;
        write.buffer = buffer.0;
        result?;
        match write.mode {
            LogMode::DirectSynced => Ok(()),
            LogMode::BufferedThenSync => file.sync_data().await,
        }
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

/// Reads a block through the page cache.
pub(super) async fn read_block(read: &BlockRead<ThreadFile>) -> (io::Result<usize>, IoBuffer) {
    let length = read.handle.length as usize;
    let file = match read.file.as_std().try_clone().and_then(File::from_std) {
        Ok(file) => file,
        Err(error) => return (Err(error), IoBuffer::default()),
    };
    let (result, buffer) = file.read_exact_at(RingBuffer(IoBuffer::zeroed(length)), read.handle.offset).await;
    (result.map(|()| length), buffer.0)
}
