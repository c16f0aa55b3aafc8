//! The engine equals a model: random operations, snapshots, restarts, crashes and faults against an ordered map of what was asked.

mod harness;

use std::collections::VecDeque;
use std::time::Duration;

use corelode_engine::env::Environment;
use corelode_engine::env::simulated::{
    CrashPolicy, Failure, InjectedError, PathClass, SimulatedEnvironment, SimulationOptions, StepKind,
};
use corelode_engine::ids::PartitionId;
use corelode_engine::partition::{Durability, SnapshotId, Write, WriteChange};
use corelode_engine::row::Keyspace;
use harness::crashes::{keep_freed_memory, open_and_check};
use harness::history::same_state;
use harness::workload::{PARTITION_COUNT, open_options, sentence};
use harness::{History, Jobs, Node, State, put, put_for};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

type Machine = SimulatedEnvironment;

#[derive(Clone, Debug)]
enum Operation {
    Put { partition: u16, key: u8, length: usize, ttl_ms: Option<u64>, durability: Durability },
    Delete { partition: u16, key: u8, durability: Durability },
    Turn,
    Advance { milliseconds: u64 },
    ClockBack { milliseconds: u64 },
    Flush,
    Settle,
    Compare,
    Hold { partition: u16 },
    ReadHeld { which: usize },
    Release { which: usize },
    Evict,
    Fail { kind: StepKind, class: PathClass, failure: Failure },
    Reopen { cores: u16 },
    Crash { policy: CrashPolicy, seed: u64, cores: u16 },
}

fn operation() -> impl Strategy<Value = Operation> {
    let partition = 0..PARTITION_COUNT;
    let durability = prop_oneof![3 => Just(Durability::Synced), 1 => Just(Durability::Memory)];
    let key = 0..14_u8;
    let ttl = prop::option::weighted(0.3, 0..60_u64);
    let fault = prop::sample::select(vec![
        (StepKind::Create, PathClass::Table),
        (StepKind::Write, PathClass::Table),
        (StepKind::SetLength, PathClass::Table),
        (StepKind::SyncData, PathClass::Table),
        (StepKind::Read, PathClass::Table),
        (StepKind::RemoveFile, PathClass::Table),
        (StepKind::Create, PathClass::Log),
        (StepKind::Write, PathClass::Log),
        (StepKind::LogWriteEnd, PathClass::Log),
        (StepKind::Create, PathClass::Manifest),
        (StepKind::SyncData, PathClass::Manifest),
        (StepKind::Rename, PathClass::Manifest),
        (StepKind::SyncDirectory, PathClass::Directory),
    ]);
    let failure = prop::sample::select(vec![Failure::InputOutput, Failure::NoSpace]);
    let policy = prop::sample::select(CrashPolicy::ALL.to_vec());
    let cores = prop::sample::select(vec![1, 2, 2, 3_u16]);
    prop_oneof![
        30 => (partition.clone(), key.clone(), 0..1500_usize, ttl, durability.clone()).prop_map(
            |(partition, key, length, ttl_ms, durability)| Operation::Put { partition, key, length, ttl_ms, durability }
        ),
        10 => (partition.clone(), key, durability)
            .prop_map(|(partition, key, durability)| Operation::Delete { partition, key, durability }),
        25 => Just(Operation::Turn),
        4 => (1..50_u64).prop_map(|milliseconds| Operation::Advance { milliseconds }),
        1 => (1..5000_u64).prop_map(|milliseconds| Operation::ClockBack { milliseconds }),
        4 => Just(Operation::Flush),
        4 => Just(Operation::Settle),
        3 => Just(Operation::Compare),
        3 => partition.prop_map(|partition| Operation::Hold { partition }),
        5 => any::<usize>().prop_map(|which| Operation::ReadHeld { which }),
        2 => any::<usize>().prop_map(|which| Operation::Release { which }),
        1 => Just(Operation::Evict),
        2 => (fault, failure).prop_map(|((kind, class), failure)| Operation::Fail { kind, class, failure }),
        1 => cores.clone().prop_map(|cores| Operation::Reopen { cores }),
        2 => (policy, any::<u64>(), cores)
            .prop_map(|(policy, seed, cores)| Operation::Crash { policy, seed, cores }),
    ]
}

/// A snapshot that a reader holds, and what it must show as long as it is held.
struct Held {
    partition: PartitionId,
    id: SnapshotId,
    state: State,
}

/// One process's life.
struct Life {
    node: Node<Machine>,
    history: History,
    held: Vec<Held>,
    values: u32,
    has_faults: bool,
}

/// How a life ended.
enum End {
    Finished,
    Crashed { policy: CrashPolicy, seed: u64, cores: u16 },
}

/// What stops a life that is not over: an error that a fault explains, or a difference from the model.
enum Stopped {
    ByError(String),
    ByDifference(String),
}

impl From<corelode_engine::Error> for Stopped {
    fn from(error: corelode_engine::Error) -> Self {
        Self::ByError(error.to_string())
    }
}

impl Life {
    async fn run(&mut self, operations: &mut VecDeque<Operation>) -> Result<End, String> {
        while let Some(operation) = operations.pop_front() {
            if let Operation::Crash { policy, seed, cores } = operation {
                return Ok(End::Crashed { policy, seed, cores });
            }
            match self.apply(&operation).await {
                Ok(()) => {}
                // The log or a manifest could not be written, or a block not be read: the process ends.
                Err(Stopped::ByError(_)) if self.has_faults => {
                    return Ok(End::Crashed { policy: CrashPolicy::Torn, seed: 7, cores: 2 });
                }
                Err(Stopped::ByError(message) | Stopped::ByDifference(message)) => {
                    return Err(format!("{operation:?}: {message}"));
                }
            }
            if let Operation::Reopen { cores } = operation {
                return Ok(End::Crashed { policy: CrashPolicy::KeepUnsynced, seed: 0, cores });
            }
        }
        if self.has_faults {
            return Ok(End::Crashed { policy: CrashPolicy::Reordered, seed: 3, cores: 2 });
        }
        self.node.settle().await.map_err(sentence)?;
        self.history.check(&mut self.node).await?;
        Ok(End::Finished)
    }

    async fn apply(&mut self, operation: &Operation) -> Result<(), Stopped> {
        let node = &mut self.node;
        match *operation {
            Operation::Put { partition, key, length, ttl_ms, durability } => {
                self.values += 1;
                let mut value = format!("value {} ", self.values).into_bytes();
                value.resize(value.len().max(length), b'.');
                let key = [b'k', key];
                let write = ttl_ms.map_or_else(|| put(&key, &value), |ttl_ms| put_for(&key, &value, ttl_ms));
                node.propose(PartitionId(partition), &write, durability).await?;
            }
            Operation::Delete { partition, key, durability } => {
                let write = Write { key: &[b'k', key], change: WriteChange::Delete, session: None };
                node.propose(PartitionId(partition), &write, durability).await?;
            }
            Operation::Turn => {
                node.write_logs().await?;
                node.tick().await?;
                node.run_jobs().await?;
            }
            Operation::Advance { milliseconds } => node.environment.advance(Duration::from_millis(milliseconds)),
            Operation::ClockBack { milliseconds } => {
                node.settle().await?;
                let now_ms = node.environment.wall_clock_ms();
                node.environment.set_wall_clock_ms(now_ms - milliseconds);
            }
            Operation::Flush => node.flush().await?,
            Operation::Settle => node.settle().await?,
            Operation::Reopen { .. } => node.mark_logs().await?,
            Operation::Compare if self.has_faults => {}
            Operation::Compare => self.history.compare(node).await.map_err(Stopped::ByDifference)?,
            Operation::Hold { partition } => self.hold(PartitionId(partition)),
            Operation::ReadHeld { which } => self.read_held(which).await?,
            Operation::Release { which } => {
                if !self.held.is_empty() {
                    let Held { partition, id, .. } = self.held.swap_remove(which % self.held.len());
                    node.store(partition).release_snapshot(partition, id);
                }
            }
            Operation::Evict => node.environment.evict_maps(),
            Operation::Fail { kind, class, failure } => {
                self.has_faults = true;
                node.environment.inject(InjectedError { kind, class: Some(class), after: 0, failure });
            }
            Operation::Crash { .. } => unreachable!("ends the life"),
        }
        Ok(())
    }

    fn hold(&mut self, partition: PartitionId) {
        let now_ms = self.node.environment.wall_clock_ms();
        let store = self.node.store(partition);
        let index = store.partition(partition).expect("owned").applied().index.0;
        let (id, point) = store.hold_snapshot(partition, now_ms);
        let state = self.history.state(partition, index, point.log_time);
        self.held.push(Held { partition, id, state });
    }

    async fn read_held(&mut self, which: usize) -> Result<(), Stopped> {
        let now_ms = self.node.environment.wall_clock_ms();
        if self.held.is_empty() {
            return Ok(());
        }
        let Held { partition, id, state } = &self.held[which % self.held.len()];
        if let Some(point) = self.node.store(*partition).use_snapshot(*partition, *id, now_ms) {
            let found = self.node.scan_at(*partition, Keyspace::Data, point).await?;
            same_state("a held snapshot", &found, state).map_err(Stopped::ByDifference)?;
        }
        Ok(())
    }
}

fn equals_the_model(seed: u64, jobs: Jobs, operations: Vec<Operation>) -> Result<(), String> {
    keep_freed_memory();
    let history = History::default();
    let mut operations = VecDeque::from(operations);
    let mut environment = Machine::new(SimulationOptions::new(seed));
    let (mut cores, mut values, mut life_count) = (2, 0, 0);
    loop {
        let ended = environment.run_until(async {
            let node = open_and_check(&environment, open_options(cores), &history).await?;
            let mut life = Life { node, history: history.clone(), held: Vec::new(), values, has_faults: false };
            life.node.jobs = jobs;
            life.node.pass_time = |machine| machine.advance(Duration::from_millis(20));
            let end = life.run(&mut operations).await?;
            values = life.values;
            Ok::<_, String>(end)
        });
        match ended.expect("crashes are operations")? {
            End::Finished => return Ok(()),
            End::Crashed { policy, seed: crash_seed, cores: cores_next } => {
                let image = environment.crash_image(policy, crash_seed);
                environment.crash();
                cores = cores_next;
                life_count += 1;
                // The clock of the machine goes on, or nearly so.
                let wall_clock_ms = environment.wall_clock_ms();
                let simulation =
                    SimulationOptions { wall_clock_ms, ..SimulationOptions::new(seed ^ (life_count << 20)) };
                environment = Machine::with_disk(simulation, &image);
            }
        }
    }
}

fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(40);
    let failure_persistence = Some(Box::new(FileFailurePersistence::Off) as Box<_>);
    ProptestConfig { cases, failure_persistence, max_shrink_iters: 4000, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_engine_equals_the_model(seed: u64, operations in prop::collection::vec(operation(), 1..300)) {
        equals_the_model(seed, Jobs::Inline, operations).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn the_engine_equals_the_model_while_jobs_run_beside(seed: u64, operations in prop::collection::vec(operation(), 1..300)) {
        equals_the_model(seed, Jobs::Beside, operations).map_err(TestCaseError::fail)?;
    }
}
