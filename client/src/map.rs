//! What connections tell of the cluster and its map, beside answers: whose cluster it is, and whether the map that the client has is old.
//!
//! The map itself, with the nodes that it names, is the business of the [`Directory`](crate::directory::Directory).

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use corelode_net::handshake::Features;
use corelode_net::{ClusterId, MapEpoch};

/// What the connections and callers of one client share.
#[derive(Default)]
pub(crate) struct Map {
    /// The cluster that the client speaks with, from its first handshake on.
    cluster: OnceLock<ClusterId>,
    /// The newest epoch that an answer named since the map was fetched.
    newest_epoch: AtomicU32,
    /// Something was met that the map did not tell: another one is to be fetched, and this one serves until then.
    is_doubtful: AtomicBool,
    /// Whether there is more than one node, so that one that says nothing is better left alone.
    has_several_nodes: AtomicBool,
    /// Whether the server of the last handshake offers sessions, and the client wants them.
    has_sessions: AtomicBool,
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

    /// Takes note of a map that a server just sent.
    pub(crate) fn learn(&self, epoch: MapEpoch, has_several_nodes: bool) {
        // The server's word of now, also where it was reset to an earlier epoch than answers named before.
        self.newest_epoch.store(epoch.0, Ordering::Relaxed);
        self.is_doubtful.store(false, Ordering::Relaxed);
        self.has_several_nodes.store(has_several_nodes, Ordering::Relaxed);
    }

    /// Takes note of the epoch that an answer named.
    pub(crate) fn saw(&self, epoch: MapEpoch) {
        if epoch.0 > self.newest_epoch.load(Ordering::Relaxed) {
            self.newest_epoch.fetch_max(epoch.0, Ordering::Relaxed);
        }
    }

    /// Whether no answer has named a newer epoch.
    pub(crate) fn is_newest(&self, epoch: MapEpoch) -> bool {
        epoch.0 >= self.newest_epoch.load(Ordering::Relaxed)
    }

    /// The map may be old: a connection ended, or a node said so.
    pub(crate) fn doubt(&self) {
        self.is_doubtful.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_doubtful(&self) -> bool {
        self.is_doubtful.load(Ordering::Relaxed)
    }

    pub(crate) fn has_several_nodes(&self) -> bool {
        self.has_several_nodes.load(Ordering::Relaxed)
    }

    /// Takes note of what a handshake settled.
    pub(crate) fn negotiated(&self, features: Features) {
        self.has_sessions.store(features.contains(Features::SESSIONS), Ordering::Relaxed);
    }

    pub(crate) fn has_sessions(&self) -> bool {
        self.has_sessions.load(Ordering::Relaxed)
    }
}
