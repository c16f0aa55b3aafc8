//! Every bound of the wire, in one place. What an operator may lower is announced in [`Limits`](crate::table::Limits).

/// The frame header, bytes.
pub const HEADER_SIZE_BYTES: usize = 32;
/// The longest key, bytes. The shortest has one byte.
pub const KEY_LENGTH_MAX: usize = 4 * 1024;
/// The longest value, bytes. Lengths are 32 bits on the wire, so that this can rise.
pub const VALUE_LENGTH_MAX: usize = 1024 * 1024;
/// The largest body of a frame, bytes: one longest value with its key and whatever surrounds them.
pub const BODY_SIZE_BYTES_MAX: usize = VALUE_LENGTH_MAX + 64 * 1024;
/// The largest body accepted before the handshake is complete, bytes.
pub const HANDSHAKE_BODY_SIZE_BYTES_MAX: usize = 2 * 1024;
/// The most operations in a batch.
pub const BATCH_ITEM_COUNT_MAX: usize = 4096;
/// The longest client name, server version or counter name, bytes of UTF-8.
pub const NAME_LENGTH_MAX: usize = 128;
/// The longest message of an error, bytes of UTF-8; longer ones are cut.
pub const MESSAGE_LENGTH_MAX: usize = 1024;
/// The longest address of a node, bytes of UTF-8.
pub const ADDRESS_LENGTH_MAX: usize = 280;
/// The most nodes a topology may name.
pub const NODE_COUNT_MAX: usize = 256;
/// The most replicas that a partition may have.
pub const REPLICA_COUNT_MAX: usize = 16;
/// The most cores a topology or status may name.
pub const CORE_COUNT_MAX: usize = 1024;
/// The most partitions a topology may name.
pub const PARTITION_COUNT_MAX: usize = 16_384;
/// The most counters a status may report for one core.
pub const COUNTER_COUNT_MAX: usize = 512;
/// The most replicas, and the most followers, that a node may report in a status; it leaves out what is beyond.
pub const REPLICA_STATUS_COUNT_MAX: usize = 8192;
/// The most operations, and the most stages of one, that a core may report histograms of.
pub const HISTOGRAM_COUNT_MAX: usize = 64;
/// The longest payload of an entry between replicas, bytes: a PUT of the largest key and value, and what surrounds them.
pub const ENTRY_LENGTH_MAX: usize = VALUE_LENGTH_MAX + KEY_LENGTH_MAX + 16 * 1024;
/// How far the writes of a session may run ahead of the first one that was not answered.
pub const SESSION_WINDOW: u64 = 256;
/// The longest time that a session may live without being used, milliseconds.
pub const SESSION_TTL_MS_MAX: u64 = 24 * 60 * 60 * 1000;
/// The largest term, index or round between replicas. Whoever receives one can count on from there without overflow.
pub const PEER_NUMBER_MAX: u64 = (1 << 63) - 1;
/// The longest member list that a node tells another, bytes of UTF-8.
pub const MEMBERS_LENGTH_MAX: usize = 64 * 1024;
/// The shortest secret that the handshake accepts, bytes.
pub const SECRET_LENGTH_MIN: usize = 16;

const _: () = assert!(BODY_SIZE_BYTES_MAX <= u32::MAX as usize);
// The replicas and followers of a status leave half of the body for counters.
const _: () = assert!(2 * REPLICA_STATUS_COUNT_MAX * 32 <= BODY_SIZE_BYTES_MAX / 2);
// The largest PUT and the largest GET reply fit: fixed part (at most 64 bytes with a session), key, value.
const _: () = assert!(64 + KEY_LENGTH_MAX + VALUE_LENGTH_MAX <= BODY_SIZE_BYTES_MAX);
// A batch of the most items, each a shortest key, fits; so does its reply without values.
const _: () = assert!(BATCH_ITEM_COUNT_MAX * 64 + 64 <= BODY_SIZE_BYTES_MAX);
