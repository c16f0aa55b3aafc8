//! A socket that never blocks, and the bytes on their way to it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
const RECONNECT_PATIENCE: Duration = Duration::from_millis(20);

/// A connection of a client.
pub(super) struct Socket {
    stream: TcpStream,
    unsent: Vec<u8>,
    /// Invariant: `written <= unsent.len()`.
    written: usize,
}

impl Socket {
    pub(super) fn connect(address: SocketAddr) -> io::Result<Self> {
        Self::connect_within(address, CONNECT_PATIENCE)
    }

    /// As [`connect`](Self::connect), while a load goes on, which stands still meanwhile.
    pub(super) fn reconnect(address: SocketAddr) -> io::Result<Self> {
        Self::connect_within(address, RECONNECT_PATIENCE)
    }

    fn connect_within(address: SocketAddr, patience: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, unsent: Vec::new(), written: 0 })
    }

    /// Writes what is left of earlier, and then `outbound`. Answers whether all of it is with the kernel.
    pub(super) fn flush(&mut self, outbound: &mut Vec<u8>) -> io::Result<bool> {
        loop {
            if self.written == self.unsent.len() {
                self.written = 0;
                self.unsent.clear();
                if outbound.is_empty() {
                    return Ok(true);
                }
                std::mem::swap(&mut self.unsent, outbound);
            }
            match self.stream.write(&self.unsent[self.written..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(length) => self.written += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads what has arrived into `buffer`; `None` if nothing has. Zero bytes are the end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match self.stream.read(buffer) {
                Ok(length) => return Ok(Some(length)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
