//! Bodies of fixed layout: a little-endian struct, then the raw bytes of key and value, with no padding between.
//!
//! Decoders borrow from the frame and allocate nothing. Each accepts its body only if every length fits and every byte
//! is accounted for. Reserved bytes are zero; a decoder refuses others, so that they can mean something later.
//! `docs/formats/wire.md` shows every offset.

mod batch;
mod batch_reply;
mod get;
mod parts;
mod receipt;
mod scan_page;
mod session;
mod write;

pub use batch::{BatchFull, BatchItem, BatchItems, BatchOperation, BatchRequest, BatchWriter};
pub use batch_reply::{BatchReply, BatchReplyWriter, BatchResult, BatchResults};
pub use get::{Found, GetReply, GetRequest};
pub use parts::{Durability, ReadLevel, SessionPrefix, Value, check_key, check_value};
pub(crate) use parts::{expect_end, expect_zero, split_bytes, split_struct};
pub use receipt::Receipt;
pub use scan_page::{ScanPage, ScanPageWriter, ScanRow, ScanRows};
pub use session::{SessionClose, SessionOpen};
pub use write::{DeleteRequest, PutRequest, WriteReply};
