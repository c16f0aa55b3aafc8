//! WELCOME: what a server says of itself in the handshake, and the limits it holds its clients to.

use crate::body_error::BodyError;
use crate::generated::wire;
use crate::handshake::{Features, Nonce};
use crate::ids::{ClusterId, CoreIndex, MapEpoch, NodeId};
use crate::limits::{BATCH_ITEM_COUNT_MAX, BODY_SIZE_BYTES_MAX, KEY_LENGTH_MAX, NAME_LENGTH_MAX, VALUE_LENGTH_MAX};
use crate::table::TableBuilder;
use crate::table::builder::{checked_text, cut_text, verified_root};

/// What a client may send. A server may announce less than the wire allows, never more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The longest key, bytes.
    pub key_length_max: u32,
    /// The longest value, bytes.
    pub value_length_max: u32,
    /// The largest body, bytes.
    pub body_size_bytes_max: u32,
    /// The most items in a batch.
    pub batch_item_count_max: u32,
    /// The most requests of a connection without an answer; beyond them the server reads no further until some are answered.
    pub requests_in_flight_max: u32,
    /// The most bytes of those requests, headers included.
    pub bytes_in_flight_max: u64,
    /// The deadline of a request that names none, milliseconds; 0 for none.
    pub deadline_default_ms: u32,
}

impl Default for Limits {
    /// All that the wire allows, 1,024 requests and 16 MiB in flight, and no default deadline.
    fn default() -> Self {
        let length = crate::bytes_at::length_u32;
        Self {
            key_length_max: length(KEY_LENGTH_MAX),
            value_length_max: length(VALUE_LENGTH_MAX),
            body_size_bytes_max: length(BODY_SIZE_BYTES_MAX),
            batch_item_count_max: length(BATCH_ITEM_COUNT_MAX),
            requests_in_flight_max: 1024,
            bytes_in_flight_max: 16 * 1024 * 1024,
            deadline_default_ms: 0,
        }
    }
}

/// The server's answer to HELLO.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Welcome {
    /// The protocol version of the connection from here on.
    pub version: u16,
    /// The features of the connection: those that both ends have.
    pub features: Features,
    /// The server's challenge.
    pub nonce: Nonce,
    /// Whether AUTH must follow. If not, the connection has every role.
    pub authentication_required: bool,
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The node.
    pub node_id: NodeId,
    /// The core that has the connection.
    pub core: CoreIndex,
    /// How many cores the node has.
    pub core_count: u16,
    /// The server's map.
    pub map_epoch: MapEpoch,
    /// The server's version, for people.
    pub server_version: String,
    /// What the client may send.
    pub limits: Limits,
}

impl Welcome {
    pub(crate) fn build<'b>(&self, tables: &'b mut TableBuilder) -> &'b [u8] {
        tables.build(|builder| {
            let server_version = Some(builder.create_string(cut_text(&self.server_version, NAME_LENGTH_MAX)));
            let Limits {
                key_length_max,
                value_length_max,
                body_size_bytes_max,
                batch_item_count_max,
                requests_in_flight_max,
                bytes_in_flight_max,
                deadline_default_ms,
            } = self.limits;
            let limits = Some(wire::Limits::create(
                builder,
                &wire::LimitsArgs {
                    key_length_max,
                    value_length_max,
                    body_size_bytes_max,
                    batch_item_count_max,
                    requests_in_flight_max,
                    bytes_in_flight_max,
                    deadline_default_ms,
                },
            ));
            wire::Welcome::create(
                builder,
                &wire::WelcomeArgs {
                    version: self.version,
                    features: self.features.0,
                    nonce: Some(&wire::Bytes32(self.nonce.0)),
                    authentication_required: self.authentication_required,
                    cluster_id: Some(&wire::Bytes16(self.cluster_id.0)),
                    node_id: self.node_id.0,
                    core: self.core.0,
                    core_count: self.core_count,
                    map_epoch: self.map_epoch.0,
                    server_version,
                    limits,
                },
            )
        })
    }

    pub(crate) fn read(body: &[u8]) -> Result<Self, BodyError> {
        let table = verified_root::<wire::Welcome<'_>>(body)?;
        let limits = table.limits();
        Ok(Self {
            version: table.version(),
            features: Features(table.features()),
            nonce: Nonce(table.nonce().0),
            authentication_required: table.authentication_required(),
            cluster_id: ClusterId(table.cluster_id().0),
            node_id: NodeId(table.node_id()),
            core: CoreIndex(table.core()),
            core_count: table.core_count(),
            map_epoch: MapEpoch(table.map_epoch()),
            server_version: checked_text("server version", table.server_version())?.to_owned(),
            limits: Limits {
                key_length_max: limits.key_length_max(),
                value_length_max: limits.value_length_max(),
                body_size_bytes_max: limits.body_size_bytes_max(),
                batch_item_count_max: limits.batch_item_count_max(),
                requests_in_flight_max: limits.requests_in_flight_max(),
                bytes_in_flight_max: limits.bytes_in_flight_max(),
                deadline_default_ms: limits.deadline_default_ms(),
            },
        })
    }
}
