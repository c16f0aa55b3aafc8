//! Drivers: what a load says to a store, in the store's own words.
//!
//! A [`Store`] is found once, with blocking sockets; it then gives out [`Session`]s, one for each client of a load. A session has no socket
//! and no clock: operations become bytes in its connections' outbound buffers, bytes that arrive become answers. So one loop drives every
//! kind of store, and what is measured differs in the store alone.

pub mod native;
pub mod resp;

use std::fmt;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use crate::report::model::{OperationKind, ServerStages, Target};
use crate::report::words::seconds_text;

/// How long an answer is waited for in a conversation before or after the load.
const PATIENCE: Duration = Duration::from_secs(5);

/// A store that was found and can be driven.
pub trait Store: Send + Sync {
    /// What the store tells about itself.
    fn target(&self) -> Target;

    /// Where each connection of a session goes. A store of several nodes has connections to all of them, and a session does without some.
    fn endpoints(&self) -> Vec<SocketAddr>;

    /// Whether the store can do this at all.
    fn supports(&self, kind: OperationKind) -> bool;

    /// The longest key and the longest value that the store takes, bytes, if it is known.
    fn lengths_max(&self) -> Option<(usize, usize)> {
        None
    }

    /// What the store says of where it spent the time of its requests since it was started, if it says that.
    ///
    /// # Errors
    /// The store cannot be asked.
    fn stages(&self) -> Result<Option<ServerStages>, Broken> {
        Ok(None)
    }

    /// The state of a client's connections, which begin with their handshakes.
    fn session(&self) -> Box<dyn Session>;
}

/// What a session is asked to do.
#[derive(Clone, Copy, Debug)]
pub enum Request<'a> {
    /// Reads a key.
    Read {
        /// The key.
        key: &'a [u8],
    },
    /// Gives a key a value.
    Write {
        /// The key.
        key: &'a [u8],
        /// The value.
        value: &'a [u8],
    },
    /// Reads keys in order from a key on.
    Scan {
        /// The first key.
        start: &'a [u8],
        /// The most rows.
        rows: u32,
    },
}

/// Names a request of a session until it is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ticket(pub u32);

/// A request that was answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Which one.
    pub ticket: Ticket,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It was done.
    Done,
    /// A read that found nothing.
    Absent,
    /// The store refused or failed it; why, in few words that repeat for the same reason.
    Failed(String),
    /// Nothing was done, since another node has to do it: the request is to be submitted again, and goes there.
    Elsewhere {
        /// Whether the session knows which node that is; if not, the cluster needs some time.
        is_known: bool,
    },
    /// The connection was lost, and the request with it or after it was done.
    Lost,
}

/// The state of a client's connections. No socket.
pub trait Session {
    /// Whether every connection's handshake is complete, so that requests may be submitted.
    fn is_ready(&self) -> bool;

    /// What is to be sent on a connection.
    fn outbound(&mut self, connection: usize) -> &mut Vec<u8>;

    /// Encodes a request. Its ticket is free again once it is answered. Answers whether there is a connection for it; if not, it was not submitted.
    fn submit(&mut self, ticket: Ticket, request: Request<'_>) -> bool;

    /// Takes in bytes that arrived on a connection, and adds what was answered.
    ///
    /// # Errors
    /// The store broke its protocol or refused the handshake: the session is of no further use.
    fn receive(&mut self, connection: usize, bytes: &[u8], answers: &mut Vec<Answer>) -> Result<(), Broken>;

    /// A connection is lost. Answers whether the session does without it, and adds what it can say of the requests that were under way on it.
    fn lose(&mut self, _connection: usize, _answers: &mut Vec<Answer>) -> bool {
        false
    }

    /// A connection that was lost is there again, and begins with its handshake.
    fn reconnect(&mut self, _connection: usize) {}
}

/// What is wrong with a conversation before the load, with a store that is taken for one of this kind: such as a silent one, of which the system says no
/// more than that it should be tried again.
fn conversation_error(address: SocketAddr, kind: &str, error: &std::io::Error) -> Broken {
    match error.kind() {
        ErrorKind::WouldBlock => {
            Broken::new(format!("{address}: no answer within {}; is it {kind}?", seconds_text(PATIENCE.as_secs_f64())))
        }
        _ => Broken::new(format!("{address}: {error}")),
    }
}

/// As [`conversation_error`], where the store ended the conversation in place of an answer.
fn closed_error(address: SocketAddr, kind: &str) -> Broken {
    Broken::new(format!("{address}: the server closed the connection instead of an answer; is it {kind}?"))
}

/// A store that cannot be spoken with, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    /// In a sentence.
    pub reason: String,
    /// Whether the store is there and refuses, as for a wrong secret: trying again does not help.
    pub is_refusal: bool,
}

impl Broken {
    pub(crate) fn new(reason: impl fmt::Display) -> Self {
        Self { reason: reason.to_string(), is_refusal: false }
    }

    pub(crate) fn refused(reason: impl fmt::Display) -> Self {
        Self { reason: reason.to_string(), is_refusal: true }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.reason)
    }
}

impl std::error::Error for Broken {}
