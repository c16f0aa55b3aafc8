//! What `flatc` makes of `schema/wire.fbs`, as it comes. Private: the crate's own types stand before it.

#[path = "wire_generated.rs"]
#[rustfmt::skip]
// Generated code keeps to its generator's style. Its `unsafe` reads tables that `root_with_opts` has verified.
#[allow(
    warnings,
    missing_docs,
    unreachable_pub,
    unsafe_code,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    clippy::unwrap_used,
    clippy::cast_possible_truncation
)]
mod wire_generated;

pub(crate) use wire_generated::corelode::wire;
