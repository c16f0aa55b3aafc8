//! What was written is there, over flushes, compactions and reopenings.

mod harness;

use std::collections::BTreeMap;
use std::path::Path;

use corelode_engine::data_directory::OpenOptions;
use corelode_engine::env::Environment;
use corelode_engine::env::simulated::{SimulatedEnvironment, SimulationOptions};
use corelode_engine::env::thread::ThreadEnvironment;
use corelode_engine::ids::PartitionId;
use corelode_engine::options::Options;
use harness::Node;

fn options(cores: u16) -> OpenOptions {
    OpenOptions { cores, partition_count: Some(4), membership: None, store: Options::tiny() }
}

async fn fill_and_reopen<E: Environment>(environment: &E, directory: &Path) {
    let mut model: BTreeMap<(u16, Vec<u8>), Vec<u8>> = BTreeMap::new();
    for round in 0..6_u32 {
        let mut node = Node::open(environment, directory, options(1 + u16::try_from(round).expect("small") % 3))
            .await
            .expect("opens");
        for step in 0..400_u32 {
            let partition = PartitionId(u16::try_from(step % 4).expect("small"));
            let key = format!("key-{:04}", (step * 7919 + round * 31) % 300).into_bytes();
            if step % 11 == 0 {
                node.delete(partition, &key).await.expect("deletes");
                model.remove(&(partition.0, key));
            } else {
                let value = format!("value-{round}-{step}-").repeat(8).into_bytes();
                node.put(partition, &key, &value).await.expect("puts");
                model.insert((partition.0, key), value);
            }
        }
        for number in 0..4 {
            let rows = node.scan(PartitionId(number)).await.expect("scans");
            let expected: BTreeMap<_, _> = model
                .iter()
                .filter(|((partition, _), _)| *partition == number)
                .map(|((_, key), value)| (key.clone(), value.clone()))
                .collect();
            assert_eq!(rows, expected);
            for key in expected.keys() {
                let found = node.get(PartitionId(number), key).await.expect("gets").map(|value| value.bytes);
                assert_eq!(found.as_ref(), expected.get(key));
            }
        }
        if round == 5 {
            let counters: Vec<_> = node.stores.iter().map(|store| store.counters()).collect();
            assert!(counters.iter().all(|counters| counters.flushes > 0));
        }
    }
}

#[test]
fn on_a_simulated_disk() {
    let environment = SimulatedEnvironment::new(SimulationOptions::in_order());
    environment.run_until(fill_and_reopen(&environment, Path::new("/data"))).expect("no crash was planned");
}

#[test]
fn on_a_real_disk() {
    let environment = ThreadEnvironment::new();
    let directory = tempfile::tempdir().expect("a directory for the test");
    environment.block_on(fill_and_reopen(&environment, directory.path()));
}
