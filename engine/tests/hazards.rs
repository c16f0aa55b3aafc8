//! Hazards of the engine's inner workings, one test each: bounds that meet, retries, numbers that come back.

mod harness;

use std::time::Duration;

use corelode_engine::Result;
use corelode_engine::data_directory::OpenOptions;
use corelode_engine::env::simulated::{
    CrashPolicy, Failure, InjectedError, PathClass, Residency, SimulatedEnvironment, SimulationOptions, StepKind,
};
use corelode_engine::env::{Environment, OpenMode};
use corelode_engine::ids::PartitionId;
use corelode_engine::limits::{KEY_LENGTH_MAX, VALUE_LENGTH_MAX};
use corelode_engine::log::LogOptions;
use corelode_engine::options::Options;
use corelode_engine::partition::Durability;
use harness::crashes::{DIRECTORY, open_and_check, recover_and_check};
use harness::damage::files_of;
use harness::workload::{minute_options, open_options, sentence};
use harness::{History, Node, put, put_for};

type Machine = SimulatedEnvironment;

fn options(store: Options) -> OpenOptions {
    OpenOptions { store, ..open_options(1) }
}

/// Runs a scenario on a machine without faults of its own, and checks all that is there at its end.
fn run(options: OpenOptions, scenario: impl AsyncFnOnce(&Machine, &mut Node<Machine>) -> Result<()>) -> Machine {
    let environment = Machine::new(SimulationOptions::in_order());
    let history = History::default();
    let ran = environment.run_until(async {
        let mut node = open_and_check(&environment, options, &history).await?;
        scenario(&environment, &mut node).await.map_err(sentence)?;
        history.check(&mut node).await?;
        drop(node);
        open_and_check(&environment, options, &history).await.map(drop)
    });
    ran.expect("no crash was planned").expect("the scenario holds");
    environment
}

fn no_space(kind: StepKind, class: PathClass, after: u64) -> InjectedError {
    InjectedError { kind, class: Some(class), after, failure: Failure::NoSpace }
}

/// Longer than anything that failed waits.
async fn pass_time(environment: &Machine, node: &mut Node<Machine>) -> Result<()> {
    environment.advance(Duration::from_secs(20));
    node.tick().await?;
    node.settle().await
}

fn partition(number: u32) -> PartitionId {
    PartitionId(u16::try_from(number % 3).expect("small"))
}

/// Memtables with entries ahead of the log cannot be flushed before the log goes on, and a full log goes on only after a flush.
#[test]
fn a_full_log_whose_memtables_are_ahead_of_it_goes_on() {
    let log = LogOptions { segment_size_bytes: 16 * 1024, segments_max: 2 };
    let store = Options { log, memtable_memory_bytes: 1024 * 1024, ..minute_options() };
    run(options(store), async |_, node| {
        for round in 0..20_u32 {
            // The log fills while no flush runs; the last entries are applied and wait for a segment.
            for number in 0..12_u32 {
                let value = [1; 3000];
                let key = (round * 100 + number).to_be_bytes();
                let now_ms = 1_700_000_000_000;
                let written = put(&key, &value);
                let store = node.store(partition(number));
                if let Ok(proposal) = store.propose(partition(number), &written, Durability::Memory, now_ms) {
                    node.history.proposed(partition(number), proposal, &written, now_ms);
                }
                node.write_logs().await?;
            }
            node.settle().await?;
            assert!(node.stores[0].is_log_idle(), "round {round}: the log waits for ever: {:?}", node.counters());
        }
        Ok(())
    });
}

/// Of hundreds of partitions a core would otherwise go through each tree after each write of one.
#[test]
fn writes_do_not_go_through_the_trees_while_nothing_is_to_be_done() {
    let store = Options { memtable_memory_bytes: 1024 * 1024, log: LogOptions::default(), ..minute_options() };
    run(options(store), async |_, node| {
        node.settle().await?;
        let plans = node.counters()[0].tree_plans;
        for number in 0..50_u32 {
            node.put(partition(number), &number.to_be_bytes(), &[3; 100]).await?;
        }
        node.settle().await?;
        assert_eq!(node.counters()[0].tree_plans, plans, "nothing was frozen, and no job ended");
        // Memory that runs out is noticed all the same.
        for number in 0..400_u32 {
            node.put(partition(number), &number.to_be_bytes(), &[4; 3000]).await?;
        }
        node.settle().await?;
        let counters = node.counters()[0];
        assert!(counters.flushes > 0 && counters.tree_plans > plans, "{counters:?}");
        Ok(())
    });
}

/// PITFALL 25.
#[test]
fn a_silent_partition_does_not_pin_the_log_of_a_busy_one() {
    run(open_options(1), async |_, node| {
        node.put(PartitionId(0), b"silent", b"once").await?;
        for number in 0..400_u32 {
            node.put(PartitionId(1), &number.to_be_bytes(), &[2; 500]).await?;
            let segments = node.counters()[0].log_segments;
            assert!(segments <= 6, "{segments} segments are held");
        }
        Ok(())
    });
}

/// A process that is killed soon after each start, before any flush ends, must not leave one more segment each time.
#[test]
fn a_log_does_not_grow_with_each_start() {
    const STARTS: u32 = 40;
    let environment = Machine::new(SimulationOptions::in_order());
    let history = History::default();
    let ran = environment.run_until(async {
        for start in 0..STARTS {
            let mut node = open_and_check(&environment, open_options(1), &history).await?;
            let segments_max = minute_options().log.segments_max as u64;
            let before = node.counters()[0].log_segments;
            // What it proposes may have to wait for a flush; only a node that was slow to die gets to carry one out.
            let key = start.to_be_bytes();
            let write = put(&key, b"soon killed");
            let now_ms = 1_700_000_000_000;
            let proposal = node.store(PartitionId(0)).propose(PartitionId(0), &write, Durability::Synced, now_ms);
            history.proposed(PartitionId(0), proposal.expect("there is room"), &write, now_ms);
            while !node.stores[0].is_log_idle() {
                if !node.write_logs().await.map_err(sentence)? {
                    assert!(node.run_jobs().await.map_err(sentence)?, "start {start}: the log waits for ever");
                }
            }
            let segments = node.counters()[0].log_segments;
            assert!(segments <= segments_max.max(before), "start {start}: {segments} segments after {before}");
        }
        Ok::<_, String>(())
    });
    ran.expect("no crash was planned").expect("the scenario holds");
}

/// A write that is longer than a segment gets a longer one, which is not kept.
#[test]
fn the_largest_values_go_through_the_smallest_segments() {
    let store =
        Options { memtable_memory_bytes: 8 * 1024 * 1024, log_pending_bytes_max: 4 * 1024 * 1024, ..minute_options() };
    let environment = run(options(store), async |_, node| {
        for round in 0..6_u8 {
            let large = vec![round; VALUE_LENGTH_MAX];
            let long_key = vec![round; KEY_LENGTH_MAX];
            node.put(partition(u32::from(round)), &long_key, &large).await?;
            // Many small ones of one turn are one entry, which is longer than a segment too.
            for number in 0..200_u32 {
                let key = number.to_be_bytes();
                node.propose(partition(number), &put(&key, &[round; 600]), Durability::Synced).await?;
            }
            node.settle().await?;
            assert!(node.stores[0].is_log_idle(), "round {round}: {:?}", node.counters());
            node.put(PartitionId(1), b"small", &[round]).await?;
        }
        node.flush().await
    });
    let image = environment.crash_image(CrashPolicy::KeepUnsynced, 0);
    let logs: usize = files_of(&image, "log").iter().map(|path| image.read(path).expect("it is there").len()).sum();
    assert!(logs < 4 * 1024 * 1024, "{logs} bytes of log are kept");
}

/// Entries that only advance log time leave the revision as it is: two flushes then write the row of counters at one internal key.
#[test]
fn flushes_without_commands_between_them_keep_the_newer_counters() {
    run(open_options(1), async |environment, node| {
        node.write(PartitionId(0), &put_for(b"a", b"1", 50)).await?;
        node.write(PartitionId(0), &put_for(b"b", b"2", 100)).await?;
        for _ in 0..6 {
            node.flush().await?;
            environment.advance(Duration::from_millis(30));
            node.tick().await?;
        }
        let log_time = node.store(PartitionId(0)).partition(PartitionId(0)).expect("owned").read_point().log_time;
        node.flush().await?;
        assert!(log_time.0 > 1_700_000_000_100, "two deadlines have passed");
        Ok(())
    });
}

#[test]
fn a_flush_that_finds_the_disk_full_waits_leaves_nothing_behind_and_heals() {
    run(open_options(1), async |environment, node| {
        node.put(PartitionId(0), b"key", &[4; 2000]).await?;
        for kind in [StepKind::Create, StepKind::Write, StepKind::SetLength, StepKind::SyncData] {
            environment.inject(no_space(kind, PathClass::Table, 0));
        }
        node.flush().await?;
        assert_eq!(node.counters()[0].job_failures, 1, "it is not tried again at once");
        assert_eq!(node.counters()[0].flushes, 0);
        for failures in 2..=4 {
            pass_time(environment, node).await?;
            assert_eq!(node.counters()[0].job_failures, failures);
        }
        let files = environment.crash_image(CrashPolicy::KeepUnsynced, 0).files();
        let tables: Vec<_> = files.iter().filter(|path| path.extension().is_some_and(|end| end == "table")).collect();
        assert!(tables.is_empty(), "a full disk is not filled further: {tables:?}");
        pass_time(environment, node).await?;
        assert_eq!(node.counters()[0].flushes, 1);
        Ok(())
    });
}

/// PITFALL 35.
#[test]
fn a_compaction_that_finds_the_disk_full_keeps_its_inputs_and_removes_its_output() {
    run(open_options(1), async |environment, node| {
        node.put(PartitionId(0), b"key", &[5; 500]).await?;
        node.flush().await?;
        node.put(PartitionId(0), b"kez", &[6; 500]).await?;
        // The first write is that of the second flush.
        environment.inject(no_space(StepKind::Write, PathClass::Table, 1));
        node.flush().await?;
        assert_eq!((node.counters()[0].compactions, node.counters()[0].job_failures), (0, 1));
        let files = environment.crash_image(CrashPolicy::KeepUnsynced, 0).files();
        let tables = files.iter().filter(|path| path.extension().is_some_and(|end| end == "table")).count();
        assert_eq!(tables, 2, "the inputs, and nothing of the output");
        pass_time(environment, node).await?;
        assert_eq!(node.counters()[0].compactions, 1);
        Ok(())
    });
}

#[test]
fn a_manifest_that_finds_the_disk_full_is_written_later() {
    run(open_options(1), async |environment, node| {
        node.put(PartitionId(0), b"key", &[5; 500]).await?;
        for kind in [StepKind::Create, StepKind::Write, StepKind::SyncData] {
            environment.inject(no_space(kind, PathClass::Manifest, 0));
        }
        node.flush().await?;
        node.put(PartitionId(0), b"kez", &[6; 500]).await?;
        node.flush().await?;
        assert_eq!((node.counters()[0].manifests, node.counters()[0].job_failures), (0, 1), "not tried again at once");
        for failures in 2..=3 {
            pass_time(environment, node).await?;
            assert_eq!((node.counters()[0].manifests, node.counters()[0].job_failures), (0, failures));
        }
        pass_time(environment, node).await?;
        assert!(node.counters()[0].manifests > 0 && node.stores[0].is_maintenance_idle(), "{:?}", node.counters());
        Ok(())
    });
}

/// Behind the rename nobody can say which manifest a crash would leave: then the store must stop.
#[test]
fn a_manifest_whose_name_may_not_be_durable_stops_the_store() {
    let environment = Machine::new(SimulationOptions::in_order());
    let ran = environment.run_until(async {
        let mut node = Node::open(&environment, DIRECTORY.as_ref(), open_options(1)).await.map_err(sentence)?;
        node.put(PartitionId(0), b"key", &[5; 500]).await.map_err(sentence)?;
        // The first sync of the directory is the table's.
        environment.inject(InjectedError {
            kind: StepKind::SyncDirectory,
            class: None,
            after: 1,
            failure: Failure::InputOutput,
        });
        Ok::<_, String>(node.flush().await.is_err())
    });
    assert!(ran.expect("no crash was planned").expect("the scenario holds"), "the store went on");
}

#[test]
fn a_log_segment_that_cannot_be_made_is_tried_again_later_and_leaves_nothing_behind() {
    let store = Options { memtable_memory_bytes: 1024 * 1024, ..minute_options() };
    run(options(store), async |environment, node| {
        environment.inject(no_space(StepKind::Write, PathClass::Log, 0));
        for number in 0..16_u32 {
            node.propose(PartitionId(0), &put(&number.to_be_bytes(), &[9; 3000]), Durability::Synced).await?;
            node.settle().await?;
        }
        assert_eq!(node.counters()[0].job_failures, 1, "it is not tried again at once");
        assert!(!node.stores[0].is_log_idle(), "writes wait");
        let files = environment.crash_image(CrashPolicy::KeepUnsynced, 0).files();
        assert!(files.iter().all(|path| path.extension().is_none_or(|end| end != "tmp")), "{files:?}");
        pass_time(environment, node).await?;
        assert!(node.stores[0].is_log_idle(), "{:?}", node.counters());
        Ok(())
    });
}

#[test]
fn a_directory_of_somebody_else_is_refused() {
    let environment = Machine::new(SimulationOptions::in_order());
    let ran = environment.run_until(async {
        let directory = std::path::Path::new(DIRECTORY);
        environment.create_directory(directory).await.expect("it is new");
        environment.open(&directory.join("photos"), OpenMode::Create).await.expect("it is new");
        Node::open(&environment, directory, open_options(1)).await.map(drop).map_err(sentence)
    });
    let refusal = ran.expect("no crash was planned").expect_err("it is no data directory");
    assert!(refusal.contains("photos"), "{refusal}");
}

/// Without deadlines, too, something must let go of a reader that went away.
#[test]
fn an_idle_snapshot_asks_for_the_tick_that_ends_it() {
    run(open_options(1), async |environment, node| {
        node.put(PartitionId(0), b"key", b"value").await?;
        let now_ms = environment.wall_clock_ms();
        node.tick().await?;
        assert_eq!(node.stores[0].next_tick_ms(), None);
        node.stores[0].hold_snapshot(PartitionId(0), now_ms);
        let due_ms = node.stores[0].next_tick_ms().expect("the snapshot ends by itself");
        assert!(node.stores[0].tick(due_ms).is_ok());
        assert_eq!((node.stores[0].snapshot_count(), node.stores[0].next_tick_ms()), (0, None));
        Ok(())
    });
}

#[test]
fn a_block_larger_than_the_cache_is_read() {
    let simulation = SimulationOptions { residency: Residency::None, ..SimulationOptions::in_order() };
    let environment = Machine::new(simulation);
    let store = Options { block_cache_bytes: 16 * 1024, compress_tables: false, ..Options::tiny() };
    let ran = environment.run_until(async {
        let mut node = Node::open(&environment, DIRECTORY.as_ref(), options(store)).await.map_err(sentence)?;
        node.put(PartitionId(0), b"large", &[7; 20 * 1024]).await.map_err(sentence)?;
        node.put(PartitionId(0), b"small", b"value").await.map_err(sentence)?;
        node.flush().await.map_err(sentence)?;
        environment.evict_maps();
        let history = node.history.clone();
        history.check(&mut node).await
    });
    ran.expect("no crash was planned").expect("the value is read");
}

/// Tables written without compression may take many times what their inputs did.
#[test]
fn a_compaction_whose_output_outgrows_its_inputs_takes_no_number_of_another_table() {
    let history = History::default();
    let environment = Machine::new(SimulationOptions::in_order());
    let compressed = Options { memtable_memory_bytes: 1024 * 1024, ..Options::tiny() };
    let plain = Options { compress_tables: false, ..compressed };
    let ran = environment.run_until(async {
        let mut node = open_and_check(&environment, options(compressed), &history).await?;
        for number in 0..120_u32 {
            node.put(PartitionId(0), &number.to_be_bytes(), &[8; 6000]).await.map_err(sentence)?;
        }
        node.flush().await.map_err(sentence)?;
        drop(node);
        let mut node = open_and_check(&environment, options(plain), &history).await?;
        node.put(PartitionId(0), b"more", b"value").await.map_err(sentence)?;
        node.flush().await.map_err(sentence)?;
        node.put(PartitionId(0), b"still more", b"value").await.map_err(sentence)?;
        node.flush().await.map_err(sentence)?;
        assert!(node.counters()[0].compactions > 0);
        history.check(&mut node).await
    });
    ran.expect("no crash was planned").expect("all values are the writers'");
    let image = environment.crash_image(CrashPolicy::DropUnsynced, 0);
    recover_and_check(&image, options(plain), &history).expect("and after a restart");
}
