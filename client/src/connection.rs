//! A connection without its socket: handshake, BIND, and then many requests under way whose replies come in any order.
//!
//! Bounded by what the server's WELCOME allows: requests in flight and their bytes. A reply that nobody waits for, such as one that
//! came after its deadline, is dropped; an id is never given out twice on a connection.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use corelode_net::handshake::{ClientConfig, ClientHandshake, Nonce};
use corelode_net::limits::{BODY_SIZE_BYTES_MAX, HANDSHAKE_BODY_SIZE_BYTES_MAX};
use corelode_net::table::{Bind, TableBuilder, Welcome};
use corelode_net::{ClusterId, CoreIndex, Frame, FrameReader, Inbound, MapEpoch, RequestHead, RequestId, RequestIds};

use crate::error::AttemptError;
use crate::request::{Expected, Reply, Request, decode_error};

/// Something that whoever drives the connection must know.
#[derive(Debug)]
pub(crate) enum Event<T> {
    /// Requests may be submitted.
    Ready,
    /// The request that was submitted with this ticket has its answer.
    Answered(T, Result<Reply, AttemptError>),
    /// The server goes away: what is under way is answered, and nothing new is to be sent here.
    GoAway,
}

enum Stage {
    Handshake(Box<ClientHandshake>),
    /// BIND was sent; nothing is sent until its answer.
    Binding,
    Ready,
}

struct Pending<T> {
    /// `None` once nobody waits any more.
    ticket: Option<T>,
    expected: Expected,
    size_bytes: usize,
}

/// One connection, bound to one core once it is ready. `T` is what a request's answer is handed to.
pub(crate) struct Connection<T> {
    config: ClientConfig,
    /// The cluster that the client speaks with, once it knows.
    cluster: Arc<OnceLock<ClusterId>>,
    /// The core to bind to; `None` stays where the kernel put the connection.
    core: Option<CoreIndex>,
    stage: Stage,
    welcome: Option<Box<Welcome>>,
    reader: FrameReader,
    tables: TableBuilder,
    ids: RequestIds,
    pending: HashMap<RequestId, Pending<T>>,
    bytes_in_flight: usize,
    /// What is to be sent.
    pub(crate) outbound: Vec<u8>,
    is_going_away: bool,
}

impl<T> Connection<T> {
    /// A connection that begins with its handshake. `nonce` is random. The first connection of all sets `cluster`; no other cluster is spoken
    /// with afterwards.
    pub(crate) fn new(
        config: ClientConfig,
        cluster: Arc<OnceLock<ClusterId>>,
        core: Option<CoreIndex>,
        nonce: [u8; 32],
    ) -> Self {
        let mut tables = TableBuilder::new();
        let mut outbound = Vec::new();
        let handshake = ClientHandshake::begin(&config, Nonce(nonce), &mut tables, &mut outbound);
        Self {
            config,
            cluster,
            core,
            stage: Stage::Handshake(Box::new(handshake)),
            welcome: None,
            reader: FrameReader::with_read_size(HANDSHAKE_BODY_SIZE_BYTES_MAX, 64 * 1024),
            tables,
            ids: RequestIds::new(),
            pending: HashMap::new(),
            bytes_in_flight: 0,
            outbound,
            is_going_away: false,
        }
    }

    /// Whether a request may be submitted now.
    pub(crate) fn has_room(&self) -> bool {
        let Some(limits) = self.welcome.as_ref().map(|welcome| &welcome.limits) else { return false };
        matches!(self.stage, Stage::Ready)
            && !self.is_going_away
            && self.pending.len() < limits.requests_in_flight_max as usize
            && (self.bytes_in_flight as u64) < limits.bytes_in_flight_max
    }

    pub(crate) fn is_going_away(&self) -> bool {
        self.is_going_away
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.pending.len()
    }

    /// Encodes a request; its answer comes as [`Event::Answered`] with `ticket`.
    pub(crate) fn submit(&mut self, ticket: T, request: &Request, map_epoch: MapEpoch, deadline_ms: u32) {
        let head = RequestHead { request_id: self.ids.next(), map_epoch, deadline_ms };
        request.encode(head, &mut self.tables, &mut self.outbound);
        let size_bytes = request.size_bytes();
        self.bytes_in_flight += size_bytes;
        self.pending
            .insert(head.request_id, Pending { ticket: Some(ticket), expected: request.expected(), size_bytes });
    }

    /// The tickets of requests that were submitted and not answered, when the connection breaks.
    pub(crate) fn into_unanswered(self) -> impl Iterator<Item = T> {
        self.pending.into_values().filter_map(|pending| pending.ticket)
    }

    /// Takes back the tickets that `is_late` says. Their requests stay under way as far as the server is concerned, and their answers are dropped.
    pub(crate) fn take_late(&mut self, is_late: impl Fn(&T) -> bool) -> impl Iterator<Item = T> {
        self.pending.values_mut().filter_map(move |pending| pending.ticket.take_if(|ticket| is_late(ticket)))
    }

    /// Takes in received bytes.
    ///
    /// # Errors
    /// The connection is of no further use: the other side broke the protocol, or refused the handshake.
    pub(crate) fn receive(&mut self, bytes: &[u8], events: &mut Vec<Event<T>>) -> Result<(), AttemptError> {
        let mut reader = std::mem::replace(&mut self.reader, FrameReader::new(0));
        reader.push(bytes);
        let outcome = self.read_frames(&mut reader, events);
        self.reader = reader;
        outcome
    }

    fn read_frames(&mut self, reader: &mut FrameReader, events: &mut Vec<Event<T>>) -> Result<(), AttemptError> {
        let fail = |message: String| AttemptError::Protocol { message };
        loop {
            let frame = match reader.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => return Ok(()),
                Err(error) => return Err(fail(error.to_string())),
            };
            let is_admitted = match &mut self.stage {
                Stage::Handshake(handshake) => {
                    let connected = handshake
                        .on_frame(&frame, &self.config, &mut self.tables, &mut self.outbound)
                        .map_err(|error| AttemptError::Server {
                            code: Some(error.code()),
                            retry: error.code().retry_class(),
                            message: error.to_string(),
                        })?;
                    connected.map(|connected| connected.welcome)
                }
                _ => {
                    self.handle(&frame, events)?;
                    None
                }
            };
            if let Some(welcome) = is_admitted {
                reader.set_body_limit(BODY_SIZE_BYTES_MAX);
                self.admitted(welcome, events)?;
            }
        }
    }

    fn admitted(&mut self, welcome: Welcome, events: &mut Vec<Event<T>>) -> Result<(), AttemptError> {
        let known = *self.cluster.get_or_init(|| welcome.cluster_id);
        if known != welcome.cluster_id {
            let reason =
                format!("this is cluster {}, and the client has spoken with cluster {known}", welcome.cluster_id);
            return Err(AttemptError::NotSent { reason });
        }
        let is_elsewhere = self.core.filter(|core| *core != welcome.core);
        let map_epoch = welcome.map_epoch;
        self.welcome = Some(Box::new(welcome));
        match is_elsewhere {
            Some(core) => {
                let head = RequestHead { request_id: self.ids.next(), map_epoch, deadline_ms: 0 };
                Bind { core }.encode(head, &mut self.tables, &mut self.outbound);
                self.stage = Stage::Binding;
            }
            None => self.become_ready(events),
        }
        Ok(())
    }

    fn become_ready(&mut self, events: &mut Vec<Event<T>>) {
        self.stage = Stage::Ready;
        events.push(Event::Ready);
    }

    fn handle(&mut self, frame: &Frame<'_>, events: &mut Vec<Event<T>>) -> Result<(), AttemptError> {
        let inbound = frame.inbound().map_err(|error| AttemptError::Protocol { message: error.to_string() })?;
        let is_binding = matches!(self.stage, Stage::Binding);
        match inbound {
            Inbound::Reply(_, _) if is_binding => self.become_ready(events),
            Inbound::Error(_) if is_binding => return Err(decode_error(frame)),
            Inbound::Reply(id, _) => {
                if let Some((ticket, expected)) = self.take_pending(id) {
                    events.push(Event::Answered(ticket, expected.decode(frame)));
                }
            }
            Inbound::Error(id) => {
                if let Some((ticket, _)) = self.take_pending(id) {
                    events.push(Event::Answered(ticket, Err(decode_error(frame))));
                }
            }
            Inbound::GoAway => {
                self.is_going_away = true;
                events.push(Event::GoAway);
            }
            Inbound::ConnectionError => return Err(decode_error(frame)),
        }
        Ok(())
    }

    fn take_pending(&mut self, id: RequestId) -> Option<(T, Expected)> {
        let Pending { ticket, expected, size_bytes } = self.pending.remove(&id)?;
        self.bytes_in_flight -= size_bytes;
        Some((ticket?, expected))
    }
}
