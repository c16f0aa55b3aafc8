//! STATUS: who the server is and what its cores have done, as named counters, so that new ones need no new schema.

use crate::body_error::BodyError;
use crate::frame::Frame;
use crate::generated::wire;
use crate::header::{Flags, ReplyHead};
use crate::ids::{ClusterId, CoreIndex, NodeId};
use crate::limits::{CORE_COUNT_MAX, COUNTER_COUNT_MAX, NAME_LENGTH_MAX};
use crate::opcode::Opcode;
use crate::table::TableBuilder;
use crate::table::builder::{checked_text, cut_text, verified_root};
use crate::table::topology::bounded;

/// A number and its name, one of [`counters`](crate::table::counters) or a later one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counter {
    /// The name.
    pub name: String,
    /// The number.
    pub value: u64,
}

/// The counters of a core.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CoreStatus {
    /// The core.
    pub core: CoreIndex,
    /// Its counters.
    pub counters: Vec<Counter>,
}

impl CoreStatus {
    /// The counter of that name, if the server reported it.
    #[must_use]
    pub fn counter(&self, name: &str) -> Option<u64> {
        self.counters.iter().find(|counter| counter.name == name).map(|counter| counter.value)
    }
}

/// What a server says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// The server's version, for people.
    pub server_version: String,
    /// Milliseconds since its start.
    pub uptime_ms: u64,
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The node.
    pub node_id: NodeId,
    /// Its cores.
    pub cores: Vec<CoreStatus>,
}

impl Status {
    /// The sum of a counter over all cores; zero if no core reported it.
    #[must_use]
    pub fn total(&self, name: &str) -> u64 {
        self.cores.iter().filter_map(|core| core.counter(name)).sum()
    }

    /// Appends the reply.
    ///
    /// # Panics
    /// If there are more cores or counters than the limits allow, or a counter's name is too long.
    pub fn encode(&self, head: ReplyHead, tables: &mut TableBuilder, out: &mut Vec<u8>) {
        assert!(self.cores.len() <= CORE_COUNT_MAX, "{} cores", self.cores.len());
        tables.frame(&head.fields(Flags::NONE), out, |builder| {
            let cores: Vec<_> = self
                .cores
                .iter()
                .map(|core| {
                    assert!(core.counters.len() <= COUNTER_COUNT_MAX, "{} counters", core.counters.len());
                    let counters: Vec<_> = core
                        .counters
                        .iter()
                        .map(|counter| {
                            assert!(counter.name.len() <= NAME_LENGTH_MAX, "counter name {:?}", counter.name);
                            let name = Some(builder.create_shared_string(&counter.name));
                            wire::Counter::create(builder, &wire::CounterArgs { name, value: counter.value })
                        })
                        .collect();
                    let counters = Some(builder.create_vector(&counters));
                    wire::CoreStatus::create(builder, &wire::CoreStatusArgs { core: core.core.0, counters })
                })
                .collect();
            let cores = Some(builder.create_vector(&cores));
            let server_version = Some(builder.create_string(cut_text(&self.server_version, NAME_LENGTH_MAX)));
            wire::Status::create(
                builder,
                &wire::StatusArgs {
                    server_version,
                    uptime_ms: self.uptime_ms,
                    cluster_id: Some(&wire::Bytes16(self.cluster_id.0)),
                    node_id: self.node_id.0,
                    cores,
                },
            )
        });
    }

    /// Reads the reply.
    ///
    /// # Errors
    /// A body that is no status, or one above the limits.
    pub fn decode(frame: &Frame<'_>) -> Result<Self, BodyError> {
        frame.expect_reply(Opcode::Status)?;
        let table = verified_root::<wire::Status<'_>>(frame.body)?;
        bounded("cores", table.cores().len(), CORE_COUNT_MAX)?;
        let mut cores = Vec::with_capacity(table.cores().len());
        for core in table.cores() {
            bounded("counters of a core", core.counters().len(), COUNTER_COUNT_MAX)?;
            let mut counters = Vec::with_capacity(core.counters().len());
            for counter in core.counters() {
                let name = checked_text("counter name", Some(counter.name()))?.to_owned();
                counters.push(Counter { name, value: counter.value() });
            }
            cores.push(CoreStatus { core: CoreIndex(core.core()), counters });
        }
        Ok(Self {
            server_version: checked_text("server version", table.server_version())?.to_owned(),
            uptime_ms: table.uptime_ms(),
            cluster_id: ClusterId(table.cluster_id().0),
            node_id: NodeId(table.node_id()),
            cores,
        })
    }
}
