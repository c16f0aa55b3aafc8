//! What the client knows of its cluster and the cluster's map, and whether that is old.
//!
//! The map is fetched when it is first needed, by one call for all that wait, and again when an answer names a newer epoch, when a core
//! refuses as the wrong one, and when the server was away, since it may have come back with another number of cores.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, RwLock};

use corelode_net::table::Topology;
use corelode_net::{ClusterId, MapEpoch};
use tokio::sync::Mutex;

/// The map, as the connections and callers of one client share it.
#[derive(Default)]
pub(crate) struct Map {
    /// The cluster that the client speaks with, from its first handshake on.
    cluster: OnceLock<ClusterId>,
    topology: RwLock<Option<Arc<Topology>>>,
    /// The newest epoch that an answer named since the map was fetched.
    newest_epoch: AtomicU32,
    /// Held by whoever fetches the map.
    pub(crate) fetching: Mutex<()>,
}

impl Map {
    /// Whether a server belongs to the cluster that the client speaks with, which the first one settles: a key's value in another
    /// cluster is another value.
    ///
    /// # Errors
    /// It is another cluster; the text says so.
    pub(crate) fn check_cluster(&self, cluster: ClusterId) -> Result<(), String> {
        let known = *self.cluster.get_or_init(|| cluster);
        match known == cluster {
            true => Ok(()),
            false => Err(format!("this is cluster {cluster}, and the client has spoken with cluster {known}")),
        }
    }

    /// The map, unless it is known to be old.
    pub(crate) fn current(&self) -> Option<Arc<Topology>> {
        let topology = self.topology.read().expect("nobody panics while holding it");
        let newest = self.newest_epoch.load(Ordering::Relaxed);
        topology.as_ref().filter(|topology| topology.map_epoch.0 >= newest).cloned()
    }

    /// Takes in a map that the server just sent.
    pub(crate) fn learn(&self, topology: Arc<Topology>) {
        let mut known = self.topology.write().expect("nobody panics while holding it");
        // The server's word of now, also where it was reset to an earlier epoch than answers named before.
        self.newest_epoch.store(topology.map_epoch.0, Ordering::Relaxed);
        *known = Some(topology);
    }

    /// Takes note of the epoch that an answer named.
    pub(crate) fn saw(&self, epoch: MapEpoch) {
        if epoch.0 > self.newest_epoch.load(Ordering::Relaxed) {
            self.newest_epoch.fetch_max(epoch.0, Ordering::Relaxed);
        }
    }

    /// Sees to it that the map is fetched before it is used again.
    pub(crate) fn forget(&self) {
        *self.topology.write().expect("nobody panics while holding it") = None;
    }
}
