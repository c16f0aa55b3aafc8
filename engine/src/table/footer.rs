//! The footer: the last 64 bytes of a table, which say where its parts stand.

use std::path::Path;

use crate::bytes_io::{ByteSink, FieldReader};
use crate::error::{Error, Result};

use super::checksum::checksum;

/// The version of the table format that this program writes, and the newest it reads.
pub const TABLE_FORMAT_VERSION: u32 = 1;
/// The footer's length, bytes.
pub(crate) const FOOTER_LENGTH: usize = 64;
const MAGIC: u32 = u32::from_le_bytes(*b"CTBL");

/// A part of a table file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Part {
    pub(crate) offset: u64,
    pub(crate) length: u32,
    pub(crate) checksum: u32,
}

/// Where the parts of a table stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Footer {
    pub(crate) filter: Part,
    pub(crate) index: Part,
}

impl Footer {
    /// Appends the footer that stands at `offset`.
    pub(crate) fn encode(&self, seed: u64, offset: u64, bytes: &mut Vec<u8>) {
        let start = bytes.len();
        bytes.put_u32(MAGIC);
        bytes.put_u32(TABLE_FORMAT_VERSION);
        bytes.put_u64(seed);
        for part in [self.filter, self.index] {
            bytes.put_u64(part.offset);
            bytes.put_u32(part.length);
            bytes.put_u32(part.checksum);
        }
        bytes.put(&[0; 12]);
        let sum = checksum(seed, offset, &bytes[start..]);
        bytes.put_u32(sum);
        assert_eq!(bytes.len() - start, FOOTER_LENGTH, "the footer's length is part of the format");
    }

    /// Reads the footer, which stands at `offset` of the file.
    pub(crate) fn decode(path: &Path, bytes: &[u8], seed: u64, offset: u64) -> Result<Self> {
        let damaged = |message: &str| Error::corruption(path, offset, message);
        let mut fields = FieldReader::new(bytes);
        let (Some(magic), Some(version), Some(found_seed)) = (fields.u32(), fields.u32(), fields.u64()) else {
            return Err(damaged("the footer is cut"));
        };
        let Some((checked, stored)) = bytes.split_last_chunk::<4>() else { return Err(damaged("the footer is cut")) };
        if magic != MAGIC || checksum(seed, offset, checked) != u32::from_le_bytes(*stored) {
            return Err(damaged("the footer's checksum does not hold"));
        }
        if version != TABLE_FORMAT_VERSION {
            let path = path.to_path_buf();
            return Err(Error::UnknownVersion { path, found: version, supported: TABLE_FORMAT_VERSION });
        }
        if found_seed != seed {
            return Err(damaged("the file is another table than the manifest names"));
        }
        let mut part = || Some(Part { offset: fields.u64()?, length: fields.u32()?, checksum: fields.u32()? });
        let (filter, index) = part().zip(part()).ok_or_else(|| damaged("the footer is cut"))?;
        let lies_before =
            |part: &Part| part.offset.checked_add(u64::from(part.length)).is_some_and(|end| end <= offset);
        if lies_before(&filter) && lies_before(&index) {
            Ok(Self { filter, index })
        } else {
            Err(damaged("a part of the table reaches beyond its footer"))
        }
    }
}
