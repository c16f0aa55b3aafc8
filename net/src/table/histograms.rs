//! HISTOGRAMS: where a core spent the time of its requests, in the lossless encoding of HdrHistogram.
//!
//! One reply has the histograms of one core and one operation, which fit a frame whatever they hold.

use crate::body_error::BodyError;
use crate::frame::Frame;
use crate::generated::wire;
use crate::header::{Flags, ReplyHead, RequestHead};
use crate::ids::CoreIndex;
use crate::limits::{HISTOGRAM_COUNT_MAX, NAME_LENGTH_MAX};
use crate::opcode::Opcode;
use crate::table::TableBuilder;
use crate::table::builder::{checked_text, verified_root};
use crate::table::topology::bounded;

/// Asks a core for its histograms of one operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HistogramsRequest<'a> {
    /// The core.
    pub core: CoreIndex,
    /// The operation, as the server names it; an empty one only asks which there are.
    pub operation: &'a str,
}

impl<'a> HistogramsRequest<'a> {
    /// Appends the request.
    ///
    /// # Panics
    /// If the operation's name is too long.
    pub fn encode(&self, head: RequestHead, tables: &mut TableBuilder, out: &mut Vec<u8>) {
        assert!(self.operation.len() <= NAME_LENGTH_MAX, "operation name {:?}", self.operation);
        tables.frame(&head.fields(Opcode::Histograms, 0), out, |builder| {
            let operation = Some(builder.create_string(self.operation));
            wire::HistogramsRequest::create(builder, &wire::HistogramsRequestArgs { core: self.core.0, operation })
        });
    }

    /// Reads the request.
    ///
    /// # Errors
    /// A body that is no such request.
    pub fn decode(frame: &Frame<'a>) -> Result<Self, BodyError> {
        frame.expect_request(Opcode::Histograms)?;
        let table = verified_root::<wire::HistogramsRequest<'a>>(frame.body)?;
        let operation = checked_text("operation name", table.operation())?;
        Ok(Self { core: CoreIndex(table.core()), operation })
    }
}

/// A stage of an operation and its times.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StageHistogram {
    /// The stage's name.
    pub stage: String,
    /// Its times in nanoseconds, in the V2 encoding of HdrHistogram, not compressed.
    pub v2: Vec<u8>,
}

/// The histograms of a core since its start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Histograms {
    /// The core.
    pub core: CoreIndex,
    /// The operations that the core has timed.
    pub operations: Vec<String>,
    /// The stages of the operation asked for, in their order; `residency`, their sum, is last.
    pub stages: Vec<StageHistogram>,
}

impl Histograms {
    /// Appends the reply.
    ///
    /// # Panics
    /// If there are more operations or stages than the limits allow, or a name is too long.
    pub fn encode(&self, head: ReplyHead, tables: &mut TableBuilder, out: &mut Vec<u8>) {
        assert!(self.operations.len() <= HISTOGRAM_COUNT_MAX, "{} operations", self.operations.len());
        assert!(self.stages.len() <= HISTOGRAM_COUNT_MAX, "{} stages", self.stages.len());
        tables.frame(&head.fields(Flags::NONE), out, |builder| {
            let name = |name: &str| assert!(name.len() <= NAME_LENGTH_MAX, "name {name:?}");
            let mut operations = Vec::new();
            for operation in &self.operations {
                name(operation);
                operations.push(builder.create_string(operation));
            }
            let operations = Some(builder.create_vector(&operations));
            let mut stages = Vec::new();
            for stage in &self.stages {
                name(&stage.stage);
                let v2 = Some(builder.create_vector(&stage.v2));
                let stage = Some(builder.create_string(&stage.stage));
                stages.push(wire::StageHistogram::create(builder, &wire::StageHistogramArgs { stage, v2 }));
            }
            let stages = Some(builder.create_vector(&stages));
            wire::Histograms::create(builder, &wire::HistogramsArgs { core: self.core.0, operations, stages })
        });
    }

    /// Reads the reply.
    ///
    /// # Errors
    /// A body that is no such reply, or one above the limits.
    pub fn decode(frame: &Frame<'_>) -> Result<Self, BodyError> {
        frame.expect_reply(Opcode::Histograms)?;
        let table = verified_root::<wire::Histograms<'_>>(frame.body)?;
        bounded("operations of a core", table.operations().len(), HISTOGRAM_COUNT_MAX)?;
        bounded("stages of an operation", table.stages().len(), HISTOGRAM_COUNT_MAX)?;
        let mut operations = Vec::with_capacity(table.operations().len());
        for operation in table.operations() {
            operations.push(checked_text("operation name", Some(operation))?.to_owned());
        }
        let mut stages = Vec::with_capacity(table.stages().len());
        for stage in table.stages() {
            let name = checked_text("stage name", Some(stage.stage()))?.to_owned();
            stages.push(StageHistogram { stage: name, v2: stage.v2().bytes().to_vec() });
        }
        Ok(Self { core: CoreIndex(table.core()), operations, stages })
    }
}
