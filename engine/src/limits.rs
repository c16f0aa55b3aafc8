//! Every bound of the engine that is a property of its formats, in one place. Bounds that an operator
//! may choose are in [`Options`](crate::options::Options).

/// The longest key of a user, bytes.
pub const KEY_LENGTH_MAX: usize = 4 * 1024;
/// The longest value, bytes. Lengths are 32 bits on disk, so that this can rise.
pub const VALUE_LENGTH_MAX: usize = 1024 * 1024;
/// The unit of the log: a batch starts on such a block, and a block that holds acknowledged records is never written again.
pub const LOG_BLOCK_SIZE_BYTES: usize = 4096;
/// The largest write of the log, header and padding included.
pub const LOG_WRITE_SIZE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// The payload at which an entry is closed; one larger value makes an entry of its own.
pub const ENTRY_SIZE_BYTES_TARGET: usize = 256 * 1024;
/// The largest payload of an entry: one command with the longest key and value, and their fixed parts.
pub const ENTRY_SIZE_BYTES_MAX: usize = VALUE_LENGTH_MAX + KEY_LENGTH_MAX + 4096;
/// Levels of a tree, level 0 included.
pub const LEVEL_COUNT: usize = 7;
/// The alignment of buffers, offsets and lengths for direct I/O.
pub const DIRECT_IO_ALIGNMENT: usize = 4096;
/// The largest block of a table, before compression: one row with the longest key and value, or many small ones.
pub const TABLE_BLOCK_SIZE_BYTES_MAX: usize = VALUE_LENGTH_MAX + KEY_LENGTH_MAX + 4096;

const _: () = assert!(ENTRY_SIZE_BYTES_MAX + LOG_BLOCK_SIZE_BYTES <= LOG_WRITE_SIZE_BYTES_MAX);
const _: () = assert!(ENTRY_SIZE_BYTES_TARGET < ENTRY_SIZE_BYTES_MAX);
const _: () = assert!(LOG_WRITE_SIZE_BYTES_MAX.is_multiple_of(LOG_BLOCK_SIZE_BYTES));

/// Sessions of one partition. Beyond it the one that was not used for longest makes room.
pub const SESSIONS_MAX: usize = 10_000;
/// How far requests of a session may run ahead of the first one that was not answered.
pub const SESSION_WINDOW: u64 = 256;
