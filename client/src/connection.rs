//! A connection without its socket: handshake, BIND, and then frames in either direction.
//!
//! Bounded by what the server's WELCOME allows: requests in flight and their bytes. Which request waits for which answer is the
//! business of the [`Lane`](crate::lane::Lane) that has the connection.

use std::sync::Arc;
use std::time::Duration;

use corelode_net::handshake::{ClientConfig, ClientHandshake, Nonce};
use corelode_net::limits::{BODY_SIZE_BYTES_MAX, HANDSHAKE_BODY_SIZE_BYTES_MAX};
use corelode_net::table::{Bind, GoAway, Limits, TableBuilder};
use corelode_net::{CoreIndex, Frame, Inbound, MapEpoch, RequestHead, RequestId, RequestIds};

use crate::error::AttemptError;
use crate::map::Map;
use crate::request::decode_error;

enum Stage {
    Handshake(Box<ClientHandshake>),
    /// BIND was sent; nothing is sent until its answer.
    Binding(RequestId),
    Ready,
}

/// One connection, bound to one core once it is ready.
pub(crate) struct Connection {
    config: ClientConfig,
    /// The core to bind to; `None` stays where the kernel put the connection.
    core: Option<CoreIndex>,
    map: Arc<Map>,
    stage: Stage,
    /// What the server allows, once the handshake is complete.
    limits: Limits,
    requests_in_flight: usize,
    bytes_in_flight: usize,
    /// What is to be sent.
    pub(crate) outbound: Vec<u8>,
    /// For how long the server that goes away still answers.
    pub(crate) grace: Option<Duration>,
}

impl Connection {
    /// A connection that begins with its handshake. `nonce` is random.
    pub(crate) fn new(
        config: ClientConfig,
        core: Option<CoreIndex>,
        map: Arc<Map>,
        nonce: [u8; 32],
        tables: &mut TableBuilder,
    ) -> Self {
        let mut outbound = Vec::new();
        let handshake = ClientHandshake::begin(&config, Nonce(nonce), tables, &mut outbound);
        Self {
            config,
            core,
            map,
            stage: Stage::Handshake(Box::new(handshake)),
            limits: Limits::default(),
            requests_in_flight: 0,
            bytes_in_flight: 0,
            outbound,
            grace: None,
        }
    }

    /// Whether handshake and BIND are complete.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.stage, Stage::Ready)
    }

    /// Whether a request may be sent now.
    pub(crate) fn has_room(&self) -> bool {
        self.is_ready()
            && self.grace.is_none()
            && self.requests_in_flight < self.limits.requests_in_flight_max as usize
            && (self.bytes_in_flight as u64) < self.limits.bytes_in_flight_max
    }

    /// Whether answers are owed.
    pub(crate) fn is_owed(&self) -> bool {
        self.requests_in_flight > 0
    }

    /// Counts a request as sent, which was appended to `outbound`.
    pub(crate) fn count_sent(&mut self, size_bytes: usize) {
        self.requests_in_flight += 1;
        self.bytes_in_flight += size_bytes;
    }

    /// Counts a request as answered.
    pub(crate) fn count_answered(&mut self, size_bytes: usize) {
        self.requests_in_flight -= 1;
        self.bytes_in_flight -= size_bytes;
    }

    /// The largest body that the server may send now.
    pub(crate) fn body_size_bytes_max(&self) -> usize {
        match self.stage {
            Stage::Handshake(_) => HANDSHAKE_BODY_SIZE_BYTES_MAX,
            Stage::Binding(_) | Stage::Ready => BODY_SIZE_BYTES_MAX,
        }
    }

    /// Takes in a frame. `Some` names the request that it answers.
    ///
    /// # Errors
    /// The connection is of no further use: the other side broke the protocol, or refused the handshake.
    pub(crate) fn receive(
        &mut self,
        frame: &Frame<'_>,
        ids: &mut RequestIds,
        tables: &mut TableBuilder,
    ) -> Result<Option<RequestId>, AttemptError> {
        match &mut self.stage {
            Stage::Handshake(handshake) => {
                let connected =
                    handshake.on_frame(frame, &self.config, tables, &mut self.outbound).map_err(|error| {
                        AttemptError::Server {
                            code: Some(error.code()),
                            retry: error.code().retry_class(),
                            message: error.to_string(),
                            leader: None,
                        }
                    })?;
                if let Some(connected) = connected {
                    let cluster = connected.welcome.cluster_id;
                    self.map.check_cluster(cluster).map_err(|reason| AttemptError::NotSent { reason })?;
                    self.map.negotiated(connected.welcome.features);
                    self.limits = connected.welcome.limits;
                    self.bind_or_stay(connected.welcome.core, ids, tables);
                }
                Ok(None)
            }
            Stage::Binding(bind) => match inbound(frame)? {
                Inbound::Reply(id, _) if id == *bind => {
                    self.stage = Stage::Ready;
                    Ok(None)
                }
                Inbound::Error(_) | Inbound::ConnectionError => Err(decode_error(frame)),
                Inbound::GoAway => Err(AttemptError::NotSent { reason: "the server is shutting down".to_owned() }),
                Inbound::Reply(..) => Err(AttemptError::Protocol { message: "an answer before BIND's".to_owned() }),
            },
            Stage::Ready => {
                let inbound = inbound(frame)?;
                self.map.saw(frame.header.fields.map_epoch);
                match inbound {
                    Inbound::Reply(id, _) | Inbound::Error(id) => Ok(Some(id)),
                    Inbound::ConnectionError => Err(decode_error(frame)),
                    Inbound::GoAway => {
                        let notice = GoAway::decode(frame)
                            .map_err(|error| AttemptError::Protocol { message: error.to_string() })?;
                        self.grace = Some(Duration::from_millis(notice.grace_ms.into()));
                        Ok(None)
                    }
                }
            }
        }
    }

    fn bind_or_stay(&mut self, at: CoreIndex, ids: &mut RequestIds, tables: &mut TableBuilder) {
        self.stage = match self.core {
            Some(core) if core != at => {
                let request_id = ids.next();
                let head = RequestHead { request_id, map_epoch: MapEpoch(0), deadline_ms: 0 };
                Bind { core }.encode(head, tables, &mut self.outbound);
                Stage::Binding(request_id)
            }
            _ => Stage::Ready,
        };
    }
}

fn inbound(frame: &Frame<'_>) -> Result<Inbound, AttemptError> {
    frame.inbound().map_err(|error| AttemptError::Protocol { message: error.to_string() })
}
