//! A connection to a core, without its socket: handshake, BIND, then whole frames.

use std::sync::Arc;

use corelode_net::handshake::{ClientConfig, ClientHandshake, HandshakeError, Nonce};
use corelode_net::limits::{BODY_SIZE_BYTES_MAX, HANDSHAKE_BODY_SIZE_BYTES_MAX};
use corelode_net::table::{Bind, TableBuilder};
use corelode_net::{CoreIndex, ErrorCode, Frame, FrameReader, RequestHead, RequestId};

use super::answer_of;
use crate::driver::{Broken, Outcome};

/// Why a handshake failed, and what to do about it.
fn refusal(error: HandshakeError) -> Broken {
    match error.code() {
        ErrorCode::AuthRequired | ErrorCode::AuthFailed => Broken::refused(format!("{error} (--secret-file FILE)")),
        _ => Broken::new(error),
    }
}

/// How far a connection is.
pub(super) enum Stage {
    Handshake(Box<ClientHandshake>),
    Binding,
    Ready,
    /// It is lost.
    Down,
}

/// A connection.
pub(super) struct Connection {
    pub(super) stage: Stage,
    config: Arc<ClientConfig>,
    core: Option<CoreIndex>,
    pub(super) reader: FrameReader,
    pub(super) outbound: Vec<u8>,
    tables: TableBuilder,
    /// The server's version, once the handshake is complete.
    pub(super) server: String,
}

impl Connection {
    pub(super) fn new(core: Option<CoreIndex>, config: &Arc<ClientConfig>) -> Result<Self, Broken> {
        let mut nonce = [0; 32];
        getrandom::fill(&mut nonce).map_err(Broken::new)?;
        let (mut tables, mut outbound) = (TableBuilder::new(), Vec::new());
        let handshake = ClientHandshake::begin(config, Nonce(nonce), &mut tables, &mut outbound);
        Ok(Self {
            stage: Stage::Handshake(Box::new(handshake)),
            config: Arc::clone(config),
            core,
            reader: FrameReader::with_read_size(HANDSHAKE_BODY_SIZE_BYTES_MAX, 64 * 1024),
            outbound,
            tables,
            server: String::new(),
        })
    }

    #[inline]
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.stage, Stage::Ready)
    }

    pub(super) fn is_down(&self) -> bool {
        matches!(self.stage, Stage::Down)
    }

    /// The connection ended: nothing is sent or taken in until the next one.
    pub(super) fn lose(&mut self) {
        self.stage = Stage::Down;
        self.outbound.clear();
        self.reader = FrameReader::new(0);
    }

    /// The next connection, after this one.
    pub(super) fn anew(&self) -> Result<Self, Broken> {
        Self::new(self.core, &self.config)
    }

    /// Hands out the frames that have arrived whole, but those of handshake and BIND.
    pub(super) fn take_frames(&mut self, mut take: impl FnMut(&Frame<'_>) -> Result<(), Broken>) -> Result<(), Broken> {
        let Self { stage, config, core, reader, outbound, tables, server } = self;
        while let Some(frame) = reader.next_frame().map_err(Broken::new)? {
            match stage {
                Stage::Handshake(handshake) => {
                    let connected = handshake.on_frame(&frame, config, tables, outbound).map_err(refusal)?;
                    let Some(connected) = connected else { continue };
                    reader.set_body_limit(BODY_SIZE_BYTES_MAX);
                    *server = connected.welcome.server_version;
                    *stage = match *core {
                        Some(core) if core != connected.welcome.core => {
                            let head = RequestHead {
                                request_id: RequestId(1),
                                map_epoch: connected.welcome.map_epoch,
                                deadline_ms: 0,
                            };
                            Bind { core }.encode(head, tables, outbound);
                            Stage::Binding
                        }
                        _ => Stage::Ready,
                    };
                }
                Stage::Binding => match answer_of(&frame)?.1 {
                    Outcome::Done => *stage = Stage::Ready,
                    other => return Err(Broken::new(format!("the server does not bind the connection: {other:?}"))),
                },
                Stage::Ready => take(&frame)?,
                Stage::Down => return Err(Broken::new("bytes on a connection that is lost")),
            }
        }
        Ok(())
    }
}
