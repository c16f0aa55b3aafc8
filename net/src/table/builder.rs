//! The reused builder, and the one way to read a table: verified, within bounds.

use std::fmt;

use flatbuffers::{FlatBufferBuilder, Follow, Verifiable, VerifierOptions, WIPOffset, root_with_opts};

use crate::body_error::BodyError;
use crate::frame_writer::FrameWriter;
use crate::header::HeaderFields;
use crate::limits::{BODY_SIZE_BYTES_MAX, NAME_LENGTH_MAX};

/// Bounds of verification. Tables may share parts, so that a body's apparent size can exceed its real one; both the
/// number of tables and the apparent size are bounded, since decoding copies what it keeps.
const VERIFIER: VerifierOptions = VerifierOptions {
    max_depth: 8,
    max_tables: 65_536,
    max_apparent_size: 4 * BODY_SIZE_BYTES_MAX,
    ignore_missing_null_terminator: false,
};

/// Builds the tables of a connection or a core, one at a time, in memory that stays for the next one.
#[derive(Default)]
pub struct TableBuilder {
    builder: FlatBufferBuilder<'static>,
}

impl TableBuilder {
    /// A builder that has allocated nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self { builder: FlatBufferBuilder::with_capacity(0) }
    }

    /// Builds a table and returns its bytes.
    pub(crate) fn build<T>(&mut self, build: impl FnOnce(&mut FlatBufferBuilder<'static>) -> WIPOffset<T>) -> &[u8] {
        self.builder.reset();
        let root = build(&mut self.builder);
        self.builder.finish_minimal(root);
        self.builder.finished_data()
    }

    /// Appends a frame whose body is the table that `build` makes.
    pub(crate) fn frame<T>(
        &mut self,
        fields: &HeaderFields,
        out: &mut Vec<u8>,
        build: impl FnOnce(&mut FlatBufferBuilder<'static>) -> WIPOffset<T>,
    ) {
        let body = self.build(build);
        let mut frame = FrameWriter::begin(out);
        frame.body().extend_from_slice(body);
        frame.finish(fields);
    }
}

impl fmt::Debug for TableBuilder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TableBuilder(..)")
    }
}

/// Verifies a table and returns it.
pub(crate) fn verified_root<'a, T>(body: &'a [u8]) -> Result<T::Inner, BodyError>
where
    T: Follow<'a> + Verifiable + 'a,
{
    Ok(root_with_opts::<T>(&VERIFIER, body)?)
}

/// A name within its bound.
pub(crate) fn checked_text<'a>(what: &'static str, text: Option<&'a str>) -> Result<&'a str, BodyError> {
    let text = text.unwrap_or_default();
    if text.len() > NAME_LENGTH_MAX {
        return Err(BodyError::TooLarge { what, found: text.len(), limit: NAME_LENGTH_MAX });
    }
    Ok(text)
}

/// The longest start of `text` of at most `limit` bytes that ends between two characters.
pub(crate) fn cut_text(text: &str, limit: usize) -> &str {
    let end = (0..=limit.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    &text[..end]
}
