//! The runtime: pinned threads, io_uring, sockets, and the rings between cores.

mod mailbox;
mod notify;
