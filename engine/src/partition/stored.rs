//! What a partition's tables say of it beside its rows: the counters and members that the last flush wrote.

use crate::block_cache::BlockCache;
use crate::cursor::Stop;
use crate::env::Environment;
use crate::error::{Error, Result};
use crate::ids::Revision;
use crate::io_buffer::IoBuffer;
use crate::row::Keyspace;
use crate::tree::Tree;

use super::replicated::MEMBERSHIP_KEY;
use super::{COUNTERS_KEY, Counters};

/// The state beside the rows, as of a tree's tables.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct StoredState {
    pub(crate) counters: Counters,
    /// The group's members, opaque; empty if no entry said who they are.
    pub(crate) membership: Vec<u8>,
}

/// Reads it out of the tables.
///
/// # Errors
/// [`Error::Corruption`] or [`Error::Io`].
pub(crate) async fn read_stored_state<E: Environment>(environment: &E, tree: &Tree<E>) -> Result<StoredState> {
    const CACHE_BYTES: u64 = 1024 * 1024;
    let mut cache = BlockCache::new(CACHE_BYTES);
    loop {
        match find(tree, &mut cache) {
            Ok(state) => return Ok(state),
            Err(Stop::Corruption(corruption)) => return Err(corruption.into()),
            Err(Stop::Miss(read)) => {
                let buffer = IoBuffer::zeroed(read.handle.length as usize);
                let (result, mut buffer) = environment.read_at(&read.file, buffer, read.handle.offset).await;
                buffer.resize(result.map_err(|error| Error::io("read", &read.path, error))?);
                cache.complete(&read, &buffer)?;
            }
        }
    }
}

fn find<E: Environment>(tree: &Tree<E>, cache: &mut BlockCache) -> std::result::Result<StoredState, Stop<E::File>> {
    let mut state = StoredState::default();
    tree.get(Keyspace::Meta, COUNTERS_KEY, Revision::MAX, cache, |row| {
        state.counters = Counters::decode(row.value).unwrap_or_default();
    })?;
    tree.get(Keyspace::Meta, MEMBERSHIP_KEY, Revision::MAX, cache, |row| state.membership = row.value.to_vec())?;
    Ok(state)
}
