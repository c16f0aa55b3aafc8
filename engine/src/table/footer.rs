//! The footer: the last 80 bytes of a table, which say where its parts stand.
//!
//! Its last 16 bytes, version and magic, are where every version of the format has them, so that an older program knows a newer file.

use std::path::Path;

use crate::bytes_io::{ByteSink, FieldReader};
use crate::error::{Error, Result};

use super::checksum::checksum;

/// The version of the table format that this program writes, and the newest it reads.
pub const TABLE_FORMAT_VERSION: u32 = 1;
/// The footer's length, bytes.
pub(crate) const FOOTER_LENGTH: usize = 80;
/// Ends every table file.
const MAGIC: [u8; 8] = *b"CORETBL\n";
const CHECKSUM_OFFSET: usize = 60;
const VERSION_OFFSET: usize = 64;

/// A part of a table file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Part {
    pub(crate) offset: u64,
    pub(crate) length: u32,
    pub(crate) checksum: u32,
}

/// Where the parts of a table stand: each begins where the one before ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Footer {
    pub(crate) filter: Part,
    pub(crate) index: Part,
    pub(crate) properties: Part,
}

impl Footer {
    /// Appends the footer that stands at `offset`.
    pub(crate) fn encode(&self, seed: u64, offset: u64, bytes: &mut Vec<u8>) {
        let start = bytes.len();
        bytes.put_u64(seed);
        for part in [self.filter, self.index, self.properties] {
            bytes.put_u64(part.offset);
            bytes.put_u32(part.length);
            bytes.put_u32(part.checksum);
        }
        bytes.put_u32(0);
        let sum = checksum(seed, offset, &bytes[start..]);
        bytes.put_u32(sum);
        bytes.put_u32(TABLE_FORMAT_VERSION);
        bytes.put_u32(!TABLE_FORMAT_VERSION);
        bytes.put(&MAGIC);
        assert_eq!(bytes.len() - start, FOOTER_LENGTH, "the footer's length is part of the format");
    }

    /// Reads the footer, which stands at `offset` of the file, whose checksums start from `seed`.
    pub(crate) fn decode(path: &Path, bytes: &[u8], seed: u64, offset: u64) -> Result<Self> {
        let damaged = |message: &str| Error::corruption(path, offset, message);
        let Some((fields, ending)) = bytes.split_at_checked(VERSION_OFFSET) else {
            return Err(damaged("the footer is cut"));
        };
        check_version(path, ending, offset)?;
        let (checked, sum) = fields.split_at(CHECKSUM_OFFSET);
        let (checked_seed, _) = checked.split_first_chunk::<8>().expect("60 bytes");
        let found_seed = u64::from_le_bytes(*checked_seed);
        if checksum(found_seed, offset, checked).to_le_bytes() != *sum {
            return Err(damaged("the footer's checksum does not hold"));
        }
        if found_seed != seed {
            return Err(damaged("the file is another table than the one expected"));
        }
        let mut fields = FieldReader::new(&checked[8..]);
        let mut part = || Some(Part { offset: fields.u64()?, length: fields.u32()?, checksum: fields.u32()? });
        let parts = || Some(Self { filter: part()?, index: part()?, properties: part()? });
        let footer = { parts }().expect("52 bytes hold three parts");
        let end = |part: Part| part.offset.checked_add(u64::from(part.length));
        let is_gapless = end(footer.filter) == Some(footer.index.offset)
            && end(footer.index) == Some(footer.properties.offset)
            && end(footer.properties) == Some(offset);
        if is_gapless { Ok(footer) } else { Err(damaged("the parts of the table do not meet")) }
    }
}

/// The version stands beside its complement, so that a flipped bit is damage and not another version.
fn check_version(path: &Path, ending: &[u8], offset: u64) -> Result<()> {
    let mut fields = FieldReader::new(ending);
    let mut read = || Some((fields.u32()?, fields.u32()?, fields.rest()));
    match read() {
        Some((version, complement, magic)) if magic == MAGIC && version == !complement => {
            if version == TABLE_FORMAT_VERSION {
                return Ok(());
            }
            let path = path.to_path_buf();
            Err(Error::UnknownVersion { path, found: version, supported: TABLE_FORMAT_VERSION })
        }
        _ => Err(Error::corruption(path, offset, "the file does not end as a table does")),
    }
}
