//! Replicas without consensus: a test says what is appended, stored and committed, and carries tables from one to the other.

use corelode_engine::command::{Change, Command, EntryBuilder};
use corelode_engine::data_directory::OpenOptions;
use corelode_engine::env::simulated::{DiskImage, SimulatedEnvironment, Simulation, SimulationOptions};
use corelode_engine::identity::Membership;
use corelode_engine::ids::{LogIndex, LogPosition, LogTime, PartitionId, Term};
use corelode_engine::options::Options;
use corelode_engine::partition::Outcome;
use corelode_engine::store::Receiving;

use super::crashes::DIRECTORY;
use super::workload::sentence;
use super::{History, Node};

pub const PARTITION: PartitionId = PartitionId(0);
/// Another one on the same core, whose entries make the log go on.
pub const OTHER: PartitionId = PartitionId(1);

pub fn options(node: u64) -> OpenOptions {
    OpenOptions {
        cores: 1,
        partition_count: Some(2),
        membership: Some(Membership { cluster: [7; 16], node }),
        store: Options::tiny(),
    }
}

/// Two machines in one time.
pub fn machines() -> [SimulatedEnvironment; 2] {
    let simulation = Simulation::in_order();
    [1, 2].map(|seed| {
        let options = SimulationOptions { seed, ..SimulationOptions::in_order() };
        SimulatedEnvironment::in_simulation(&simulation, options, &DiskImage::empty())
    })
}

pub fn at(index: u64, term: u64) -> LogPosition {
    LogPosition { term: Term(term), index: LogIndex(index) }
}

pub type Machine = Node<SimulatedEnvironment>;

pub async fn open(environment: &SimulatedEnvironment, node: u64) -> Result<Machine, String> {
    Node::open_with(environment, DIRECTORY.as_ref(), options(node), &History::default()).await.map_err(sentence)
}

/// An entry that gives the key of its number the value of its term.
pub fn append(node: &mut Machine, partition: PartitionId, position: LogPosition) {
    let key = format!("key-{:03}", position.index.0 % 40);
    let value = format!("{position:?}").repeat(4);
    let change = Change::Put { value: value.as_bytes(), value_crc: crc32fast::hash(value.as_bytes()), deadline: None };
    append_command(node, partition, position, &Command { key: key.as_bytes(), change, session: None });
}

/// An entry of one command, at a log time that is its index.
pub fn append_command(node: &mut Machine, partition: PartitionId, position: LogPosition, command: &Command<'_>) {
    let mut entry = EntryBuilder::new(LogTime(position.index.0), Vec::new());
    entry.push(command);
    node.store(partition).append_entry(partition, position, entry.finish()).expect("an entry");
}

/// Has entries stored and applied.
pub async fn commit(node: &mut Machine, partition: PartitionId, through: LogPosition) -> Result<Vec<Outcome>, String> {
    node.settle().await.map_err(sentence)?;
    let mut outcomes = Vec::new();
    node.store(partition).commit(partition, through.index, &mut outcomes);
    node.store(partition).set_stored(partition, through);
    node.settle().await.map_err(sentence)?;
    Ok(outcomes)
}

/// Carries the tables over, piece by piece.
pub async fn transfer(from: &mut Machine, to: &mut Machine) -> Result<LogPosition, String> {
    let id = from.store(PARTITION).lend(PARTITION, LogIndex(1)).expect("all is flushed");
    let (position, tables) = from.store(PARTITION).lent_tables(id);
    to.store(PARTITION).receive(PARTITION, position, u32::try_from(tables.len()).expect("few"));
    for (place, (level, meta)) in tables.iter().enumerate() {
        to.store(PARTITION).receive_table(PARTITION, *level, meta.clone())?;
        let mut offset = 0;
        while offset < meta.file_length {
            from.store(PARTITION).read_piece(id, place, offset);
            from.settle().await.map_err(sentence)?;
            let piece = from.store(PARTITION).take_piece(id).expect("it was read").map_err(sentence)?;
            to.store(PARTITION).receive_piece(PARTITION, offset, piece.to_vec())?;
            to.settle().await.map_err(sentence)?;
            offset += piece.len() as u64;
        }
    }
    from.store(PARTITION).end_lending(id);
    to.store(PARTITION).receive_end(PARTITION)?;
    to.settle().await.map_err(sentence)?;
    let state = to.store(PARTITION).receiving_state(PARTITION).map_err(ToString::to_string)?;
    assert_eq!(state, Some(Receiving::Checked));
    Ok(position)
}

pub async fn replace(node: &mut Machine) -> Result<(), String> {
    node.store(PARTITION).replace(PARTITION);
    node.settle().await.map_err(sentence)?;
    let state = node.store(PARTITION).receiving_state(PARTITION).map_err(ToString::to_string)?;
    assert_eq!(state, Some(Receiving::Replaced));
    node.store(PARTITION).finish_replacing(PARTITION);
    Ok(())
}
