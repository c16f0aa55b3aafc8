//! The rounds of a fault test: check all, write under load until the server is interrupted, and once more from the start.

use std::thread;

use crate::history::History;
use crate::load::{Load, Random, check_all, keys_of_core, write_until_broken};
use crate::server::{Server, ServerOptions};

/// One writer for each core, and what all of them know over the rounds.
pub struct FaultRounds {
    load: Load,
    writers: Vec<Writer>,
    acknowledged: u64,
}

struct Writer {
    keys: Vec<Vec<u8>>,
    history: History,
}

impl FaultRounds {
    /// Writers for a server with these options; each core's writer has its share of the load's keys.
    #[must_use]
    pub fn new(options: &ServerOptions, load: Load) -> Self {
        let count = load.keys / u64::from(options.cores);
        let keys = (0..options.cores).map(|core| keys_of_core(core, options.cores, options.partitions, count));
        let writers = keys.map(|keys| Writer { keys, history: History::default() }).collect();
        Self { load, writers, acknowledged: 0 }
    }

    /// Checks all that the rounds before have left, then writes to every core until `interrupt`, which ends the server, has broken the
    /// connections. Rounds with the same number write the same as far as their writers come.
    ///
    /// # Panics
    /// If a key shows what it may not, or the server refuses what it should not.
    pub fn run(&mut self, round: u64, server: Server, interrupt: impl FnOnce(Server)) {
        self.check(&server);
        let (address, load) = (server.address(), &self.load);
        self.acknowledged += thread::scope(|scope| {
            let writing: Vec<_> = (0..)
                .zip(&mut self.writers)
                .map(|(core, Writer { keys, history })| {
                    let mut random = Random::new(round * 31 + u64::from(core));
                    scope.spawn(move || write_until_broken(address, core, keys, load, history, &mut random))
                })
                .collect();
            interrupt(server);
            writing.into_iter().map(|writer| writer.join().expect("a writer ends with its connection")).sum::<u64>()
        });
    }

    /// Checks all that the rounds have left.
    ///
    /// # Panics
    /// If a key shows what it may not.
    pub fn check(&mut self, server: &Server) {
        for (core, writer) in (0..).zip(&mut self.writers) {
            check_all(server.address(), core, &mut writer.history);
        }
    }

    /// Writes that were acknowledged in all rounds.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }
}
