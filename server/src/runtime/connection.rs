//! A connection's socket: one task that reads and one that writes, both at the shard's word.

use std::cell::Cell;
use std::rc::Rc;

use monoio::buf::IoBufMut;
use monoio::io::{AsyncReadRent, AsyncWriteRentExt, Splitable};
use monoio::net::TcpStream;
use monoio::net::tcp::{TcpOwnedReadHalf, TcpOwnedWriteHalf};

use super::core::CoreRuntime;
use super::notify::Notify;
use super::socket;
use crate::message::Message;
use crate::shard::{ConnectionId, Departure};

/// A spare output buffer larger than this is given back.
const SPARE_BYTES_MAX: usize = 256 * 1024;

/// What the two tasks of a connection share.
pub(super) struct ConnectionIo {
    /// The shard lets the reader read on.
    pub(super) may_read: Notify,
    /// There is output, or the connection leaves.
    pub(super) may_write: Notify,
    reader_ended: Notify,
    /// The reading half, once its task has ended.
    reader: Cell<Option<TcpOwnedReadHalf>>,
    is_leaving: Cell<bool>,
}

/// Starts the tasks of a connection.
pub(super) fn start(core: &Rc<CoreRuntime>, id: ConnectionId, stream: TcpStream) {
    let (reader, writer) = stream.into_split();
    let io = Rc::new(ConnectionIo {
        may_read: Notify::default(),
        may_write: Notify::default(),
        reader_ended: Notify::default(),
        reader: Cell::new(None),
        is_leaving: Cell::new(false),
    });
    core.connections.borrow_mut().insert(id, Rc::clone(&io));
    monoio::spawn(read_loop(Rc::clone(core), id, Rc::clone(&io), reader));
    monoio::spawn(write_loop(Rc::clone(core), id, io, writer));
}

async fn read_loop(core: Rc<CoreRuntime>, id: ConnectionId, io: Rc<ConnectionIo>, mut reader: TcpOwnedReadHalf) {
    while !io.is_leaving.get() {
        let Some(buffer) = core.shard.borrow_mut().take_receive_buffer(id) else { break };
        let (start, end) = (buffer.len(), buffer.capacity());
        let (result, slice) = reader.read(buffer.slice_mut(start..end)).await;
        let mut buffer = slice.into_inner();
        // A socket that fails has nothing more to say; what it had said still counts.
        let length = result.unwrap_or(0);
        buffer.truncate(start + length);
        core.shard.borrow_mut().received(id, buffer, length, core.stage_ns());
        core.turn.raise();
        if length == 0 {
            break;
        }
        io.may_read.wait().await;
    }
    io.reader.set(Some(reader));
    io.reader_ended.raise();
}

async fn write_loop(core: Rc<CoreRuntime>, id: ConnectionId, io: Rc<ConnectionIo>, mut writer: TcpOwnedWriteHalf) {
    let mut spare = Vec::new();
    let departure = loop {
        io.may_write.wait().await;
        let is_broken = loop {
            let output = core.shard.borrow_mut().take_output(id, std::mem::take(&mut spare), core.stage_ns());
            if output.is_empty() {
                spare = output;
                break false;
            }
            let (result, buffer) = writer.write_all(output).await;
            if result.is_err() {
                break true;
            }
            spare = buffer;
            spare.clear();
            spare.shrink_to(SPARE_BYTES_MAX);
            if core.shard.borrow_mut().output_written(id, core.stage_ns()) {
                core.turn.raise();
            }
        };
        if is_broken {
            break Departure::Close;
        }
        if let Some(departure) = core.shard.borrow().departure(id) {
            break departure;
        }
    };
    io.is_leaving.set(true);
    core.connections.borrow_mut().remove(&id);
    match departure {
        Departure::Close => {
            socket::shut_down(&writer);
            io.may_read.raise();
            core.shard.borrow_mut().connection_closed(id);
            core.turn.raise();
        }
        Departure::Move(to) => {
            io.may_read.raise();
            io.reader_ended.wait().await;
            let Some(reader) = io.reader.take() else { return };
            let socket = socket::into_fd(reader, writer);
            let Some(adopted) = core.shard.borrow_mut().adopted(id, socket) else { return };
            core.shard.borrow_mut().outbox(to).push_back(Message::Adopt(Box::new(adopted)));
            core.turn.raise();
        }
    }
}
