//! Sockets: listeners that cores share, and a connection's way from one core's ring to another's.

#![allow(unsafe_code)]

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::time::Duration;

use monoio::net::TcpStream;
use monoio::net::tcp::{TcpOwnedReadHalf, TcpOwnedWriteHalf};
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType, sockopt};

/// Connections that wait to be accepted, at most.
const BACKLOG: i32 = 1024;
/// A connection that was silent for so long is asked whether its other end still lives.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// It is asked again after so long.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// A client that takes nothing of what is sent for so long is cut off, milliseconds.
const UNTAKEN_TIMEOUT_MS: u32 = 120_000;
/// So is a node, which is shown a sign of life several times a second: once nothing of them has arrived for so long, a new connection is tried. The old one would
/// send again only after waits that double, so that it would come back as long after the network as that was away.
const NODE_UNTAKEN_TIMEOUT: Duration = Duration::from_secs(5);

/// A listener on `address`; several with `shares_port` may listen on one port, and the kernel spreads connections over them.
pub(crate) fn listen(address: SocketAddr, shares_port: bool) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if shares_port {
        sockopt::set_socket_reuseport(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

/// Sets how an accepted connection behaves.
pub(super) fn tune(stream: &TcpStream) -> io::Result<()> {
    // SAFETY: the stream outlives the borrow of its descriptor.
    let socket = unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) };
    // Without it small answers wait for the client's acknowledgements.
    sockopt::set_tcp_nodelay(socket, true)?;
    // A client whose machine lost its power never says goodbye.
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(socket, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_user_timeout(socket, UNTAKEN_TIMEOUT_MS)?;
    Ok(())
}

/// As [`tune`], for a connection to another node.
pub(super) fn tune_link(stream: &TcpStream) -> io::Result<()> {
    tune(stream)?;
    // SAFETY: as in `tune`.
    let socket = unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) };
    // Before it may send anything, it waits for an answer from a node that may be gone.
    sockopt::set_tcp_keepidle(socket, NODE_UNTAKEN_TIMEOUT)?;
    let timeout_ms = u32::try_from(NODE_UNTAKEN_TIMEOUT.as_millis()).expect("a few seconds");
    sockopt::set_tcp_user_timeout(socket, timeout_ms)?;
    Ok(())
}

/// Takes a socket out of its ring. No operation on it is in flight, since both halves are here.
pub(super) fn into_fd(reader: TcpOwnedReadHalf, writer: TcpOwnedWriteHalf) -> OwnedFd {
    let stream = reader.reunite(writer).expect("both halves are of one socket");
    // SAFETY: `into_raw_fd` gives up the descriptor, so that it is owned here and nowhere else.
    unsafe { OwnedFd::from_raw_fd(stream.into_raw_fd()) }
}

/// Whether sockets must be set not to block: epoll needs it, and the ring must not have it.
pub(super) fn must_not_block() -> bool {
    !super::uses_ring()
}

/// Ends both directions, so that a read under way comes back with nothing.
pub(super) fn shut_down(writer: &TcpOwnedWriteHalf) {
    // SAFETY: the stream is alive while the half is borrowed, only its descriptor is copied out, and nothing else runs on this
    // thread meanwhile; so the descriptor stays open for the whole call.
    let fd = unsafe { BorrowedFd::borrow_raw((*writer.0.get()).as_raw_fd()) };
    // A socket that the other end has closed already needs no closing.
    let _ = rustix::net::shutdown(fd, Shutdown::Both);
}
