//! What travels between the cores of a node. Everything in a message is owned; the rings that carry it are bounded.

use std::os::fd::OwnedFd;

use corelode_engine::env::Environment;
use corelode_engine::ids::PartitionId;
use corelode_engine::job::JobDone;
use corelode_net::handshake::Features;
use corelode_net::table::{CoreStatus, Histograms};
use corelode_net::{ReplyHead, Role};

use crate::replication::leaders::Told;
use crate::shard::{Core, ForwardToken, Operation, OperationResult};

/// A message to a core.
pub enum Message<E: Environment> {
    /// An operation on a partition that the receiver owns.
    Forward {
        /// Who asks.
        from: Core,
        /// What the asking core knows it by.
        token: ForwardToken,
        /// The partition.
        partition: PartitionId,
        /// Milliseconds that may still pass.
        remaining_ms: u64,
        /// What to do.
        operation: Operation<Vec<u8>>,
    },
    /// The result of an operation that the receiver forwarded.
    Result {
        /// Which one.
        token: ForwardToken,
        /// What became of it.
        result: OperationResult<Vec<u8>>,
    },
    /// A connection that asked to be bound to the receiver.
    Adopt(Box<AdoptedConnection>),
    /// The counters of this core are wanted.
    StatusRequest {
        /// Who asks.
        from: Core,
        /// What the asking core knows it by.
        token: ForwardToken,
    },
    /// The counters of a core.
    StatusResult {
        /// Which request this answers.
        token: ForwardToken,
        /// What the core says of itself.
        status: Box<CoreStatus>,
    },
    /// The histograms of this core are wanted.
    HistogramsRequest {
        /// Who asks.
        from: Core,
        /// What the asking core knows it by.
        token: ForwardToken,
        /// The operation; empty only asks which there are.
        operation: String,
    },
    /// The histograms of a core.
    HistogramsResult {
        /// Which request this answers.
        token: ForwardToken,
        /// What the core has.
        histograms: Box<Histograms>,
    },
    /// The leaders of partitions of the sender changed.
    Leaders(Told),
    /// A job of the maintenance thread ended.
    JobDone(Box<JobDone<E>>),
    /// The node shuts down: drain and close.
    ShutDown,
}

/// A connection on its way from one core to another: nothing of it is in flight anywhere.
pub struct AdoptedConnection {
    /// The socket.
    pub socket: OwnedFd,
    /// The address of the other end, for messages.
    pub peer: String,
    /// What the handshake granted.
    pub role: Role,
    /// What both ends have.
    pub features: Features,
    /// The BIND to answer.
    pub head: ReplyHead,
    /// Bytes received and not yet looked at.
    pub leftover: Vec<u8>,
}
