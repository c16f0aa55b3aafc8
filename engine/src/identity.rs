//! The identity of a data directory: which cluster and node it belongs to, and how many partitions it was made with.
//!
//! Written once, at the end of the first start, to `IDENTITY`; the file exists whole or not at all. See `docs/formats/data-directory.md`.

use std::path::Path;

use crate::atomic_file;
use crate::bytes_io::{ByteSink, FieldReader};
use crate::env::Environment;
use crate::error::{Error, Result};
use crate::ids::SlotRange;

/// The file's name.
pub const IDENTITY_FILE_NAME: &str = "IDENTITY";
/// The version of the data directory's layout that this program writes, and the newest it opens.
pub const DATA_DIRECTORY_VERSION: u32 = 1;

const MAGIC: u32 = u32::from_le_bytes(*b"CLID");
const LENGTH: usize = 56;

/// Which cluster and node a data directory belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The cluster: random, made by the first start.
    pub cluster: [u8; 16],
    /// The node within the cluster.
    pub node: u64,
    /// Random for each data directory, so that a wiped disk does not pass for the one before.
    pub incarnation: u64,
    /// The number of partitions, fixed when the cluster is made.
    pub partition_count: u16,
}

impl Identity {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(LENGTH);
        bytes.put_u32(MAGIC);
        bytes.put_u32(DATA_DIRECTORY_VERSION);
        bytes.put(&self.cluster);
        bytes.put_u64(self.node);
        bytes.put_u64(self.incarnation);
        bytes.put_u16(self.partition_count);
        bytes.put(&[0; 10]);
        let checksum = crc32fast::hash(&bytes);
        bytes.put_u32(checksum);
        bytes
    }

    fn decode(path: &Path, bytes: &[u8]) -> Result<Self> {
        let damaged = |message: &str| Error::corruption(path, 0, message);
        let mut fields = FieldReader::new(bytes);
        if fields.u32() != Some(MAGIC) {
            return Err(damaged("this is not an identity file of corelode"));
        }
        let version = fields.u32().ok_or_else(|| damaged("the file is cut"))?;
        let Some((checked, stored)) = bytes.split_last_chunk::<4>() else { return Err(damaged("the file is cut")) };
        if crc32fast::hash(checked) != u32::from_le_bytes(*stored) {
            return Err(damaged("the checksum does not hold"));
        }
        if version != DATA_DIRECTORY_VERSION {
            let path = path.to_path_buf();
            return Err(Error::UnknownVersion { path, found: version, supported: DATA_DIRECTORY_VERSION });
        }
        let mut read = || {
            let cluster = fields.bytes(16)?.try_into().ok()?;
            Some(Self { cluster, node: fields.u64()?, incarnation: fields.u64()?, partition_count: fields.u16()? })
        };
        let identity = read().ok_or_else(|| damaged("the file is cut"))?;
        if bytes.len() != LENGTH || identity.partition_count == 0 || identity.partition_count > SlotRange::SLOT_COUNT {
            return Err(damaged("a field makes no sense"));
        }
        Ok(identity)
    }
}

/// Reads the identity of `directory`, or `None` where there is none yet.
///
/// # Errors
/// [`Error::Mismatch`] if the directory was made with another number of partitions than `partition_count`; [`Error::Corruption`],
/// [`Error::UnknownVersion`] and [`Error::Io`] as they occur.
pub async fn read_identity<E: Environment>(
    environment: &E,
    directory: &Path,
    partition_count: Option<u16>,
) -> Result<Option<Identity>> {
    let path = directory.join(IDENTITY_FILE_NAME);
    let Some(bytes) = atomic_file::read(environment, &path, 4096).await? else { return Ok(None) };
    let identity = Identity::decode(&path, &bytes)?;
    match partition_count {
        Some(asked) if asked != identity.partition_count => Err(Error::Mismatch {
            path: directory.to_path_buf(),
            message: format!(
                "this data directory was made with {} partitions, which cannot change, and {asked} were asked for: start with --partitions {} or without the option",
                identity.partition_count, identity.partition_count
            ),
        }),
        _ => Ok(Some(identity)),
    }
}

impl Identity {
    /// An identity for a new directory, by default with 64 partitions.
    #[must_use]
    pub fn random<E: Environment>(environment: &E, partition_count: Option<u16>) -> Self {
        const DEFAULT_PARTITION_COUNT: u16 = 64;
        let mut cluster = [0; 16];
        cluster[..8].copy_from_slice(&environment.random_u64().to_le_bytes());
        cluster[8..].copy_from_slice(&environment.random_u64().to_le_bytes());
        Self {
            cluster,
            node: 1,
            incarnation: environment.random_u64(),
            partition_count: partition_count.unwrap_or(DEFAULT_PARTITION_COUNT),
        }
    }

    /// Writes the identity of a directory whose logs are ready, durably. From here on a log that is missing is noticed.
    ///
    /// # Errors
    /// [`Error::Io`]; the directory has this identity or none.
    pub async fn write<E: Environment>(&self, environment: &E, directory: &Path) -> Result<()> {
        let steps = atomic_file::Steps::ALL;
        Ok(atomic_file::replace(environment, directory, IDENTITY_FILE_NAME, &self.encode(), &steps).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_notices_every_flipped_bit() {
        let identity = Identity { cluster: [7; 16], node: 1, incarnation: 99, partition_count: 64 };
        let bytes = identity.encode();
        assert_eq!(bytes.len(), LENGTH);
        let path = Path::new("IDENTITY");
        assert_eq!(Identity::decode(path, &bytes).expect("valid"), identity);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Identity::decode(path, &damaged).is_err(), "bit {bit}");
        }
    }
}
