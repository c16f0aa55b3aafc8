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
    /// Whether other nodes have replicas of its partitions.
    pub is_replicated: bool,
}

/// Which node of which cluster a data directory is opened for, where there are several.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Membership {
    /// The cluster.
    pub cluster: [u8; 16],
    /// The node within it.
    pub node: u64,
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
        bytes.put(&[u8::from(self.is_replicated)]);
        bytes.put(&[0; 9]);
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
            let (node, incarnation, partition_count) = (fields.u64()?, fields.u64()?, fields.u16()?);
            let flags = fields.u8()?;
            (flags <= 1).then_some(Self { cluster, node, incarnation, partition_count, is_replicated: flags == 1 })
        };
        let identity =
            read().ok_or_else(|| damaged("the file is cut, or has flags that this program does not know"))?;
        if bytes.len() != LENGTH || identity.partition_count == 0 || identity.partition_count > SlotRange::SLOT_COUNT {
            return Err(damaged("a field makes no sense"));
        }
        Ok(identity)
    }
}

/// Reads the identity of `directory`, or `None` where there is none yet.
///
/// # Errors
/// [`Error::Mismatch`] if the directory was made with another number of partitions than `partition_count`, or for another node than `membership`; [`Error::Corruption`],
/// [`Error::UnknownVersion`] and [`Error::Io`] as they occur.
pub async fn read_identity<E: Environment>(
    environment: &E,
    directory: &Path,
    partition_count: Option<u16>,
    membership: Option<Membership>,
) -> Result<Option<Identity>> {
    let path = directory.join(IDENTITY_FILE_NAME);
    let Some(bytes) = atomic_file::read(environment, &path, 4096).await? else { return Ok(None) };
    let identity = Identity::decode(&path, &bytes)?;
    identity.check_membership(directory, membership)?;
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
    pub fn random<E: Environment>(
        environment: &E,
        partition_count: Option<u16>,
        membership: Option<Membership>,
    ) -> Self {
        const DEFAULT_PARTITION_COUNT: u16 = 64;
        let mut cluster = [0; 16];
        cluster[..8].copy_from_slice(&environment.random_u64().to_le_bytes());
        cluster[8..].copy_from_slice(&environment.random_u64().to_le_bytes());
        Self {
            cluster: membership.map_or(cluster, |membership| membership.cluster),
            node: membership.map_or(1, |membership| membership.node),
            incarnation: environment.random_u64(),
            partition_count: partition_count.unwrap_or(DEFAULT_PARTITION_COUNT),
            is_replicated: membership.is_some(),
        }
    }

    /// A directory is one node's for ever: what it promised to other nodes no other may take over.
    fn check_membership(&self, directory: &Path, membership: Option<Membership>) -> Result<()> {
        let message = match membership {
            None if self.is_replicated => format!(
                "this data directory is that of node {} of a cluster: start it with --node-id {} and the --peers that it had",
                self.node, self.node
            ),
            Some(_) if !self.is_replicated => {
                "this data directory is that of a node without a cluster: start it without --peers, or choose another directory"
                    .to_owned()
            }
            Some(Membership { node, .. }) if node != self.node => {
                format!("this data directory is that of node {}, and not of node {node}", self.node)
            }
            Some(Membership { cluster, .. }) if cluster != self.cluster => {
                "this data directory is that of a node of another cluster: see --cluster".to_owned()
            }
            _ => return Ok(()),
        };
        Err(Error::Mismatch { path: directory.to_path_buf(), message })
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
        let identity =
            Identity { cluster: [7; 16], node: 1, incarnation: 99, partition_count: 64, is_replicated: true };
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
