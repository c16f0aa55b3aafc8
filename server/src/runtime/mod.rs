//! The runtime: pinned threads, io_uring, sockets, and the rings between cores.
//!
//! The only part of the server that touches the operating system; everything it learns it hands to the [shard](crate::shard) of its core.

mod alternation;
mod connection;
pub(crate) mod core;
mod files;
pub(crate) mod mailbox;
mod notify;
mod ring_buffer;
pub(crate) mod socket;

use std::io;

use monoio::blocking::DefaultThreadPool;
use monoio::{FusionDriver, RuntimeBuilder};

/// Whether I/O goes through io_uring; where the kernel refuses that, through epoll.
pub(crate) fn uses_ring() -> bool {
    monoio::utils::detect_uring()
}

/// Runs a future, and what it spawns, on this thread.
///
/// # Errors
/// If the kernel refuses the ring.
pub(crate) fn run<F: Future>(future: F) -> io::Result<F::Output> {
    /// One for the log's write and one for blocks that reads miss.
    const FILE_THREADS: usize = 2;
    let mut builder = RuntimeBuilder::<FusionDriver>::new();
    if !uses_ring() {
        builder = builder.attach_thread_pool(Box::new(DefaultThreadPool::new(FILE_THREADS)));
    }
    Ok(builder.enable_timer().build()?.block_on(future))
}
