//! Values with a deadline: gone once it has passed and a commit has said so, and never back, whatever restarts or crashes.

mod harness;

use std::time::Duration;

use corelode_engine::env::simulated::{CrashPolicy, SimulatedEnvironment, SimulationOptions};
use corelode_engine::ids::PartitionId;
use corelode_engine::row::Keyspace;
use harness::crashes::{Extent, crash_everywhere, machine_after_crash, open_and_check, recover_and_check};
use harness::load::CORES;
use harness::workload::{open_options, sentence};
use harness::{History, Node, put, put_for};

type Machine = SimulatedEnvironment;

const PARTITION: PartitionId = PartitionId(0);

/// Puts a key that lives for 100 ms.
async fn put_short(node: &mut Node<Machine>, key: &[u8]) -> Result<(), String> {
    node.write(PARTITION, &put_for(key, b"short-lived", 100)).await.map_err(sentence)?;
    // The next deadline is known from here on.
    node.tick().await.map_err(sentence)
}

async fn is_there(node: &mut Node<Machine>, key: &[u8]) -> Result<bool, String> {
    let found = node.get(PARTITION, key).await.map_err(sentence)?.is_some();
    let scanned = node.scan(PARTITION).await.map_err(sentence)?.contains_key(key);
    assert_eq!(found, scanned, "a point read and a scan see the same");
    Ok(found)
}

#[test]
fn a_value_is_gone_after_its_deadline_one_tick_and_one_commit() {
    let environment = Machine::new(SimulationOptions::in_order());
    let history = History::default();
    let ran = environment.run_until(async {
        let mut node = open_and_check(&environment, open_options(CORES), &history).await?;
        put_short(&mut node, b"key").await?;
        let deadline_ms = node.stores[0].next_tick_ms().expect("something expires");
        environment.set_wall_clock_ms(deadline_ms - 1);
        node.tick().await.map_err(sentence)?;
        assert!(is_there(&mut node, b"key").await?, "before its deadline");
        assert!(node.stores[0].is_log_idle(), "nothing is proposed before it is due");
        environment.set_wall_clock_ms(deadline_ms);
        node.tick().await.map_err(sentence)?;
        assert!(is_there(&mut node, b"key").await?, "before the commit");
        node.write_logs().await.map_err(sentence)?;
        assert!(!is_there(&mut node, b"key").await?, "after the commit");
        assert_eq!(node.stores[0].next_tick_ms(), Some(0), "the next deadline is looked up");
        node.tick().await.map_err(sentence)?;
        assert_eq!(node.stores[0].next_tick_ms(), None, "nothing else expires");
        history.check(&mut node).await
    });
    ran.expect("no crash was planned").expect("the value is gone");
}

/// Log time alone decides, and it never goes back: neither a restart nor a clock that was set back brings a value again.
#[test]
fn what_expired_stays_gone_when_the_clock_steps_back_over_restarts() {
    let history = History::default();
    let mut environment = Machine::new(SimulationOptions::in_order());
    for round in 0..6_u64 {
        let ran = environment.run_until(async {
            let mut node =
                open_and_check(&environment, open_options(1 + u16::try_from(round % 3).expect("small")), &history)
                    .await?;
            assert!(!is_there(&mut node, b"key").await?, "round {round}: it came back");
            put_short(&mut node, b"key").await?;
            if round % 2 == 0 {
                node.flush().await.map_err(sentence)?;
            }
            let deadline_ms = node.stores[0].next_tick_ms().expect("something expires");
            environment.set_wall_clock_ms(deadline_ms);
            node.settle().await.map_err(sentence)?;
            assert!(!is_there(&mut node, b"key").await?, "round {round}: its deadline has passed");
            environment.set_wall_clock_ms(deadline_ms - 3_600_000);
            node.tick().await.map_err(sentence)?;
            node.put(PARTITION, b"other", b"written while the clock is wrong").await.map_err(sentence)?;
            assert!(!is_there(&mut node, b"key").await?, "round {round}: the clock was set back");
            history.check(&mut node).await
        });
        ran.expect("no crash was planned").expect("what expired stays gone");
        // The next machine's clock is an hour behind.
        environment = machine_after_crash(&environment.crash_image(CrashPolicy::DropUnsynced, round));
    }
}

#[test]
fn what_expired_stays_gone_over_a_crash_at_any_step() {
    let environment = Machine::new(SimulationOptions::in_order());
    let history = History::default();
    let extent = Extent { stride: 2, first: 4, seeds: 1 }.or_all();
    let coverage = {
        let history = history.clone();
        crash_everywhere(&environment, extent, move |image| recover_and_check(image, open_options(CORES), &history))
    };
    let ran = environment.run_until(async {
        let mut node = open_and_check(&environment, open_options(CORES), &history.fork()).await?;
        node.history = history.clone();
        for round in 0..12_u8 {
            put_short(&mut node, &[b'a', round % 3]).await?;
            node.put(PARTITION, &[b'b', round], b"for ever").await.map_err(sentence)?;
            environment.advance(Duration::from_millis(60));
            node.tick().await.map_err(sentence)?;
            node.write_logs().await.map_err(sentence)?;
            if round % 4 == 3 {
                node.flush().await.map_err(sentence)?;
            }
        }
        Ok::<_, String>(())
    });
    ran.expect("no crash was planned").expect("the scenario runs");
    let coverage = coverage.borrow();
    coverage.result().expect("every crash is survived");
    coverage.print("crash_expiry");
}

#[test]
fn compaction_removes_expired_rows_and_their_index() {
    let environment = Machine::new(SimulationOptions::in_order());
    let history = History::default();
    let ran = environment.run_until(async {
        let mut node = open_and_check(&environment, open_options(1), &history).await?;
        for number in 0..60_u8 {
            node.propose(PARTITION, &put_for(&[number], &[number; 100], 50), Default::default())
                .await
                .map_err(sentence)?;
        }
        node.propose(PARTITION, &put(&[30], b"kept"), Default::default()).await.map_err(sentence)?;
        node.flush().await.map_err(sentence)?;
        let before = node.counters()[0].table_bytes;
        environment.advance(Duration::from_millis(200));
        node.settle().await.map_err(sentence)?;
        for number in 0..6_u8 {
            // Overwrites at both ends, so that compactions take all tables in.
            for key in [[0], [30], [59]] {
                node.put(PARTITION, &key, &[number]).await.map_err(sentence)?;
            }
            node.flush().await.map_err(sentence)?;
        }
        let after = node.counters()[0].table_bytes;
        assert!(after * 4 < before, "{before} bytes became {after}");
        // Not even a reader from before the deadlines would find a row of the index.
        let mut point = node.store(PARTITION).partition(PARTITION).expect("owned").read_point();
        point.log_time.0 = 0;
        let index = node.scan_at(PARTITION, Keyspace::Deadline, point).await.map_err(sentence)?;
        assert!(index.is_empty(), "{} rows are left in the index", index.len());
        history.check(&mut node).await
    });
    ran.expect("no crash was planned").expect("expired rows are gone");
}
