//! Replicas compared: the hashes that leave for leaders, and what arrives of other replicas'.

use corelode_engine::env::Environment;
use corelode_engine::ids::{LogIndex, PartitionId};
use corelode_net::peer::PeerStateHashes;
use corelode_net::{self as net, MapEpoch, RequestHead, RequestId};
use corelode_raft::{NodeId, Time};

use super::Shard;
use crate::replication::Replication;
use crate::replication::comparison::{Compared, News, compare};

/// What has no reply has a number all the same: none is a mistake for which the other end closes the connection.
const HEAD: RequestHead = RequestHead { request_id: RequestId(1), map_epoch: MapEpoch(0), deadline_ms: 0 };

impl<E: Environment> Shard<E> {
    /// Tells leaders what this core's followers have applied, if it is time.
    pub(super) fn report_state_hashes(&mut self, replication: &mut Replication) {
        if !replication.comparison.take_due(Time(self.now.monotonic_ns)) {
            return;
        }
        let own = replication.cluster.node;
        let mut frames = std::collections::BTreeMap::<NodeId, Vec<u8>>::new();
        for group in replication.groups.values_mut() {
            let owned = self.store.partition(group.partition).expect("owned");
            let applied = owned.settled().index;
            let leader = group.leader().filter(|leader| *leader != own);
            let (Some(leader), Some(hash)) = (leader, owned.state_hash_at(applied)) else { continue };
            if std::mem::replace(&mut group.hash_reported, applied) < applied {
                let out = frames.entry(leader).or_default();
                PeerStateHashes::encode(wire(group.partition), net::LogIndex(applied.0), [hash], HEAD, out);
            }
        }
        for (node, bytes) in frames {
            self.send_to_node(replication, node, &bytes);
        }
    }

    /// What another replica has applied, as it says.
    pub(super) fn take_state_hashes(&mut self, from: NodeId, hashes: &PeerStateHashes<'_>) {
        let Some(mut replication) = self.replication.take() else { return };
        let mut out = Vec::new();
        let partition = PartitionId(hashes.partition.0);
        if let Some(group) = replication.groups.get_mut(&partition).filter(|group| !group.is_replacing) {
            let owned = self.store.partition(partition).expect("owned");
            let theirs = hashes.hashes().map(|(index, hash)| (LogIndex(index.0), hash));
            let compared = compare(theirs, |index| owned.state_hash_at(index));
            match compared {
                Compared::Incomparable => replication.comparison.counters.incomparable += 1,
                _ => replication.comparison.counters.compared += 1,
            }
            let news = group.divergence.note(from, compared);
            let Compared::DifferFrom { first, is_exact } = compared else {
                if news == News::Over {
                    tracing::warn!(%partition, node = %from, "the replicas have applied the same again");
                }
                self.replication = Some(replication);
                return;
            };
            if news == News::Found || news == News::Narrowed {
                let since = if is_exact { "first" } else { "at the latest" };
                tracing::error!(
                    %partition, node = %from, entry = %first,
                    "REPLICAS DIFFER: that node has applied something else than this one, {since} at that entry. One of \
                     them is wrong: compare with the third, stop the node that is alone, empty its data directory's \
                     partition by starting it with a new one, and keep the old one for a report"
                );
            }
            if news == News::Found
                && let Some((last, _)) = hashes.hashes().last()
            {
                // Both sides are to find the first.
                let (first, ours) = owned.state_hashes_through(LogIndex(last.0));
                PeerStateHashes::encode(wire(partition), net::LogIndex(first.0), ours, HEAD, &mut out);
            }
        }
        self.send_to_node(&replication, from, &out);
        self.replication = Some(replication);
    }
}

fn wire(partition: PartitionId) -> net::PartitionId {
    net::PartitionId(partition.0)
}
