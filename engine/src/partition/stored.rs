//! What a partition's tables say of it beside its rows: the counters, members and sessions that the last flush wrote.

use crate::block_cache::BlockCache;
use crate::cursor::Stop;
use crate::env::Environment;
use crate::error::{Error, Result};
use crate::ids::{LogTime, ReadPoint, Revision};
use crate::io_buffer::IoBuffer;
use crate::row::Keyspace;
use crate::table::BlockRead;
use crate::tree::{ReadOptions, Tree, Walk};

use super::replicated::MEMBERSHIP_KEY;
use super::sessions::Sessions;
use super::{COUNTERS_KEY, Counters};

/// The state beside the rows, as of a tree's tables.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct StoredState {
    pub(crate) counters: Counters,
    /// The group's members, opaque; empty if no entry said who they are.
    pub(crate) membership: Vec<u8>,
    pub(crate) sessions: Sessions,
}

/// Reads it out of the tables.
///
/// # Errors
/// [`Error::Corruption`] or [`Error::Io`].
pub(crate) async fn read_stored_state<E: Environment>(environment: &E, tree: &Tree<E>) -> Result<StoredState> {
    const CACHE_BYTES: u64 = 1024 * 1024;
    let mut cache = BlockCache::new(CACHE_BYTES);
    let mut state = loop {
        match find(tree, &mut cache) {
            Ok(Some(state)) => break state,
            Ok(None) => return Err(Error::corruption(tree.directory(), 0, "the counters make no sense")),
            Err(Stop::Corruption(corruption)) => return Err(corruption.into()),
            Err(Stop::Miss(read)) => read_block(environment, &read, &mut cache).await?,
        }
    };
    let mut start = Vec::new();
    loop {
        let point = ReadPoint { revision: Revision::MAX, log_time: LogTime(0) };
        let options =
            ReadOptions { keyspace: Keyspace::Session, start: &start, end: None, point, rows_walked_max: 1_000 };
        let mut unreadable = None;
        let walk = tree.scan(&options, &mut cache, |row| {
            let id = row.row_key.key.try_into().map(u64::from_be_bytes).ok();
            let loaded = id.and_then(|id| state.sessions.load(id, row.value));
            unreadable = unreadable.take().or(loaded.is_none().then(|| row.row_key.key.to_vec()));
            true
        });
        if let Some(key) = unreadable {
            let message = format!("the session {:?} makes no sense", key.escape_ascii().to_string());
            return Err(Error::corruption(tree.directory(), 0, message));
        }
        match walk? {
            Walk::Done => return Ok(state),
            Walk::Paused { resume_key, miss } => {
                start = resume_key;
                if let Some(read) = miss {
                    read_block(environment, &read, &mut cache).await?;
                }
            }
        }
        environment.yield_now().await;
    }
}

async fn read_block<E: Environment>(environment: &E, read: &BlockRead<E::File>, cache: &mut BlockCache) -> Result<()> {
    let buffer = IoBuffer::zeroed(read.handle.length as usize);
    let (result, mut buffer) = environment.read_at(&read.file, buffer, read.handle.offset).await;
    buffer.resize(result.map_err(|error| Error::io("read", &read.path, error))?);
    cache.complete(read, &buffer)
}

/// The counters and members; `None` if there are counters that cannot be read.
fn find<E: Environment>(
    tree: &Tree<E>,
    cache: &mut BlockCache,
) -> std::result::Result<Option<StoredState>, Stop<E::File>> {
    let mut state = StoredState::default();
    let mut is_readable = true;
    tree.get(Keyspace::Meta, COUNTERS_KEY, Revision::MAX, cache, |row| match Counters::decode(row.value) {
        Some(counters) => state.counters = counters,
        None => is_readable = false,
    })?;
    tree.get(Keyspace::Meta, MEMBERSHIP_KEY, Revision::MAX, cache, |row| state.membership = row.value.to_vec())?;
    Ok(is_readable.then_some(state))
}
