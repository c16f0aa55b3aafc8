//! A partition's tables go from one node to another, and a crash of the receiver at any step leaves it with its own tables or with all of those.

mod harness;

use std::cell::Cell;
use std::rc::Rc;

use corelode_engine::env::simulated::SimulatedEnvironment;
use corelode_engine::ids::{LogIndex, LogPosition, Term};
use corelode_engine::log::HardState;
use corelode_engine::transfer::PIECE_SIZE_BYTES;
use harness::crashes::{Extent, Work, crash_everywhere, machine_after_crash};
use harness::replica::{Machine, OTHER, PARTITION, append, at, commit, machines, open, replace, transfer};
use harness::workload::sentence;

/// A leader whose tables hold all through `through`, in two terms.
async fn leader(environment: &SimulatedEnvironment, through: u64) -> Result<Machine, String> {
    let mut node = open(environment, 1).await?;
    for index in 1..=through {
        append(&mut node, PARTITION, at(index, if index <= 3 { 1 } else { 2 }));
        if index % 10 == 0 {
            commit(&mut node, PARTITION, at(index, 2)).await?;
        }
    }
    commit(&mut node, PARTITION, at(through, 2)).await?;
    assert!(node.store(PARTITION).lend(PARTITION, LogIndex(through)).is_none(), "it is flushed first");
    node.settle().await.map_err(sentence)?;
    Ok(node)
}

/// A follower that has three entries in tables, and behind them some that its leader never committed.
async fn follower(environment: &SimulatedEnvironment, last: u64) -> Result<Machine, String> {
    let mut node = open(environment, 2).await?;
    (1..=3).for_each(|index| append(&mut node, PARTITION, at(index, 1)));
    node.store(PARTITION).set_hard_state(PARTITION, HardState { term: Term(1), vote: 1 });
    commit(&mut node, PARTITION, at(3, 1)).await?;
    node.flush().await.map_err(sentence)?;
    (4..=last).for_each(|index| append(&mut node, PARTITION, at(index, 1)));
    node.store(PARTITION).set_hard_state(PARTITION, HardState { term: Term(2), vote: 2 });
    node.settle().await.map_err(sentence)?;
    Ok(node)
}

/// What there is to know of a partition's log: where its tables end, and the terms behind.
async fn found(node: &mut Machine) -> Result<(LogPosition, Vec<LogPosition>), String> {
    let partition = node.store(PARTITION).partition(PARTITION).expect("owned");
    let applied = partition.applied();
    let behind = partition.entries().map(|(position, _)| position).filter(|position| position.index > applied.index);
    Ok((applied, behind.collect()))
}

#[test]
fn tables_take_the_place_of_what_a_follower_has() {
    let environments = machines();
    let run = async {
        let mut from = leader(&environments[0], 100).await?;
        // Its log is longer than what it gets, and was never committed.
        let mut to = follower(&environments[1], 130).await?;
        assert_eq!(transfer(&mut from, &mut to).await?, at(100, 2));
        replace(&mut to).await?;
        assert_eq!(found(&mut to).await?, (at(100, 2), vec![]));
        let rows = from.scan(PARTITION).await.map_err(sentence)?;
        assert_eq!(to.scan(PARTITION).await.map_err(sentence)?, rows);
        for node in [&mut from, &mut to] {
            append(node, PARTITION, at(101, 3));
            commit(node, PARTITION, at(101, 3)).await?;
        }
        // The tables from before are gone, and so are the segments with what was never committed.
        to.flush().await.map_err(sentence)?;
        let tables = to.counters()[0].tables;
        for index in 1..400 {
            append(&mut to, OTHER, at(index, 1));
            commit(&mut to, OTHER, at(index, 1)).await?;
        }
        assert!(to.counters()[0].log.segments_recycled > 2, "the log goes round: {:?}", to.counters()[0].log);
        drop(to);
        let mut to = open(&environments[1], 2).await?;
        assert_eq!(found(&mut to).await?.0, at(101, 3));
        assert!(to.report.orphans_removed == 0 && tables <= 8, "{tables} tables, {:?}", to.report);
        assert_eq!(to.scan(PARTITION).await.map_err(sentence)?, from.scan(PARTITION).await.map_err(sentence)?);
        Ok::<_, String>(())
    };
    environments[1].run_until(run).expect("no crash was planned").expect("all is well");
}

/// What a crash left is either what the follower had, or all of what was sent; behind that comes what was appended, and it can go on either way.
async fn check_left(environment: &SimulatedEnvironment, acknowledged: u64) -> Result<(), String> {
    for start in ["first", "second"] {
        let fail = |message: String| Err(format!("at the {start} start: {message}"));
        let mut node = open(environment, 2).await?;
        let (applied, entries) = found(&mut node).await?;
        let rows = node.scan(PARTITION).await.map_err(sentence)?.len();
        if applied == at(3, 1) && rows == 3 {
            let own: Vec<_> = (4..=130).map(|index| at(index, 1)).collect();
            if acknowledged > 0 || entries != own {
                return fail(format!("its own tables, {acknowledged} acknowledged, and behind them {entries:?}"));
            }
        } else if applied == at(100, 2) && rows == 40 {
            let behind: Vec<_> = (101..).take(entries.len()).map(|index| at(index, 3)).collect();
            if entries != behind || (entries.len() as u64) < acknowledged.saturating_sub(100) {
                return fail(format!("what was sent, {acknowledged} acknowledged, and behind it {entries:?}"));
            }
        } else {
            return fail(format!("{applied:?} applied, {rows} rows, entries {entries:?}"));
        }
        let hard_state = node.store(PARTITION).hard_state(PARTITION);
        if hard_state != (HardState { term: Term(2), vote: 2 }) {
            return fail(format!("{hard_state:?}"));
        }
        let last = node.store(OTHER).partition(OTHER).expect("owned").last();
        append(&mut node, OTHER, at(last.index.0 + 1, 1));
        node.mark_logs().await.map_err(sentence)?;
    }
    Ok(())
}

#[test]
fn a_crash_at_any_step_leaves_a_follower_whole() {
    let environments = machines();
    let acknowledged = Rc::new(Cell::new(0));
    let run = async {
        let mut from = leader(&environments[0], 100).await?;
        let mut to = follower(&environments[1], 130).await?;
        let extent = Extent { stride: 7, first: 4, seeds: 1 }.or_all();
        let known = Rc::clone(&acknowledged);
        let coverage = crash_everywhere(&environments[1], extent, move |image| {
            let acknowledged = known.get();
            let environment = machine_after_crash(image);
            // The start after the crash may be cut short as well.
            let inner = Extent { stride: 9, first: 0, seeds: 1 }.or_every(2);
            let again = crash_everywhere(&environment, inner, move |image| {
                let environment = machine_after_crash(image);
                environment.run_until(check_left(&environment, acknowledged)).expect("no crash was planned")
            });
            environment.run_until(check_left(&environment, acknowledged)).expect("no crash was planned")?;
            again.borrow().result()
        });
        transfer(&mut from, &mut to).await?;
        replace(&mut to).await?;
        // From here on it has told its leader.
        acknowledged.set(100);
        for index in 101..140 {
            append(&mut to, PARTITION, at(index, 3));
            append(&mut to, OTHER, at(index - 100, 1));
            to.settle().await.map_err(sentence)?;
            acknowledged.set(index);
        }
        let coverage = coverage.borrow();
        coverage.result()?;
        coverage.print("transfer");
        coverage.assert_covers(&[Work::TableWrite, Work::ManifestRename, Work::LogWrite, Work::TableRemoval]);
        Ok::<_, String>(())
    };
    environments[1].run_until(run).expect("no crash was planned").expect("every crash is survived");
}

#[test]
fn what_was_received_of_a_transfer_that_ends_early_is_removed() {
    let environments = machines();
    let run = async {
        let mut from = leader(&environments[0], 100).await?;
        let mut to = follower(&environments[1], 5).await?;
        transfer(&mut from, &mut to).await?;
        to.store(PARTITION).stop_receiving(PARTITION);
        to.settle().await.map_err(sentence)?;
        assert_eq!(to.store(PARTITION).receiving_state(PARTITION).map_err(ToString::to_string)?, None);
        assert_eq!(found(&mut to).await?, (at(3, 1), vec![at(4, 1), at(5, 1)]));
        drop(to);
        let mut to = open(&environments[1], 2).await?;
        assert_eq!(to.report.orphans_removed, 0, "all was removed when it was given up");
        // Its own work goes on, and another attempt succeeds.
        transfer(&mut from, &mut to).await?;
        replace(&mut to).await?;
        assert_eq!(to.scan(PARTITION).await.map_err(sentence)?, from.scan(PARTITION).await.map_err(sentence)?);
        Ok::<_, String>(())
    };
    environments[1].run_until(run).expect("no crash was planned").expect("all is well");
}

/// PITFALL 32.
#[test]
fn damage_does_not_travel() {
    let environments = machines();
    let run = async {
        let mut from = leader(&environments[0], 100).await?;
        let mut to = follower(&environments[1], 5).await?;
        let id = from.store(PARTITION).lend(PARTITION, LogIndex(1)).expect("all is flushed");
        let (position, tables) = from.store(PARTITION).lent_tables(id);
        let (level, meta) = tables[0].clone();
        to.store(PARTITION).receive(PARTITION, position, 1);
        to.store(PARTITION).receive_table(PARTITION, level, meta.clone())?;
        from.store(PARTITION).read_piece(id, 0, 0);
        from.settle().await.map_err(sentence)?;
        let mut piece = from.store(PARTITION).take_piece(id).expect("it was read").map_err(sentence)?.to_vec();
        assert!(piece.len() < PIECE_SIZE_BYTES, "a small table");
        piece[10] ^= 1;
        let refused = to.store(PARTITION).receive_piece(PARTITION, 1, piece.clone());
        assert!(refused.is_err(), "a gap");
        assert!(to.store(PARTITION).receive_end(PARTITION).is_err(), "it is not whole");
        to.store(PARTITION).receive_piece(PARTITION, 0, piece)?;
        to.store(PARTITION).receive_end(PARTITION)?;
        to.settle().await.map_err(sentence)?;
        let error = to.store(PARTITION).receiving_state(PARTITION).expect_err("a damaged block").to_string();
        assert!(error.contains("checksum"), "{error}");
        to.store(PARTITION).stop_receiving(PARTITION);
        to.settle().await.map_err(sentence)?;
        assert_eq!(found(&mut to).await?.0, at(3, 1));
        Ok::<_, String>(())
    };
    environments[1].run_until(run).expect("no crash was planned").expect("all is well");
}
