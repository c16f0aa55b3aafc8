//! A node as the client reaches it: one address, and a lane to each of its cores that was needed.

use std::sync::{Arc, RwLock};

use corelode_net::CoreIndex;

use crate::map::Map;
use crate::options::Options;
use crate::transport::Transport;

/// A node, by its address.
pub(crate) struct Node {
    address: Arc<str>,
    /// The one that any core may serve, and then one for each core; each made when it is first needed. Bounded by the node's number of cores.
    transports: RwLock<Vec<Option<Transport>>>,
}

impl Node {
    pub(crate) fn new(address: &str) -> Arc<Self> {
        Arc::new(Self { address: address.into(), transports: RwLock::default() })
    }

    /// `HOST:PORT`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The lane to a core, or to whichever the node chooses.
    pub(crate) fn transport(&self, core: Option<CoreIndex>, options: &Options, map: &Arc<Map>) -> Transport {
        const LOCK: &str = "nobody panics while holding it";
        let number = core.map_or(0, |core| usize::from(core.0) + 1);
        let known = self.transports.read().expect(LOCK).get(number).cloned().flatten();
        known.unwrap_or_else(|| {
            let mut transports = self.transports.write().expect(LOCK);
            if transports.len() <= number {
                transports.resize(number + 1, None);
            }
            let start = || Transport::start(options.clone(), Arc::clone(&self.address), core, Arc::clone(map));
            // Somebody else may have made it meanwhile.
            transports[number].get_or_insert_with(start).clone()
        })
    }

    /// Whether nothing comes of a lane now: its last connection failed a moment ago, or it is silent. One that does not exist is in no trouble.
    pub(crate) fn is_in_trouble(&self, core: Option<CoreIndex>) -> bool {
        let number = core.map_or(0, |core| usize::from(core.0) + 1);
        let transports = self.transports.read().expect("nobody panics while holding it");
        transports.get(number).and_then(Option::as_ref).is_some_and(Transport::is_in_trouble)
    }
}
