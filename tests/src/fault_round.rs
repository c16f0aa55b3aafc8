//! The rounds of a fault test: check all, write under load until the server is interrupted, and once more from the start.

use std::thread;

use crate::history::{History, KeyGroup};
use crate::load::{Load, Random, check_all, write_until_broken};
use crate::server::{Server, ServerOptions};

/// One writer for each core, and what all of them know over the rounds.
pub struct FaultRounds {
    load: Load,
    writers: Vec<Writer>,
}

struct Writer {
    groups: Vec<KeyGroup>,
    history: History,
}

impl FaultRounds {
    /// Writers for a server with these options; each core's writer has its share of the load's keys.
    #[must_use]
    pub fn new(options: &ServerOptions, load: Load) -> Self {
        let groups = (0..options.cores).map(|core| load.groups_of_core(core, options.cores, options.partitions));
        Self { load, writers: groups.map(|groups| Writer { groups, history: History::default() }).collect() }
    }

    /// Checks all that the rounds before have left, then writes to every core until `interrupt`, which ends the server, has broken the
    /// connections. Rounds with the same number write the same as far as their writers come.
    ///
    /// # Panics
    /// If a key shows what it may not, or the server refuses what it should not.
    pub fn run(&mut self, round: u64, server: Server, interrupt: impl FnOnce(Server)) {
        self.check(&server);
        let (address, load) = (server.address(), &self.load);
        thread::scope(|scope| {
            for (core, Writer { groups, history }) in (0..).zip(&mut self.writers) {
                let mut random = Random::new(round * 31 + u64::from(core));
                scope.spawn(move || write_until_broken(address, core, groups, load, history, &mut random));
            }
            interrupt(server);
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

    /// Writes that were acknowledged in all rounds, a batch counting as one.
    #[must_use]
    pub fn writes_acknowledged(&self) -> u64 {
        self.writers.iter().map(|writer| writer.history.writes_acknowledged()).sum()
    }

    /// Batches that were acknowledged in all rounds.
    #[must_use]
    pub fn batches_acknowledged(&self) -> u64 {
        self.writers.iter().map(|writer| writer.history.batches_acknowledged()).sum()
    }
}
