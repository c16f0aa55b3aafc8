//! Entries that are applied from memory, before they are committed, and what becomes of them.

use corelode_engine::command::{Change, Command};
use corelode_engine::ids::LogIndex;
use corelode_engine::partition::Answer;

use super::replica::{Machine, PARTITION, append_command, at, commit, machines, open, transfer};
use super::workload::sentence;

fn append(node: &mut Machine, index: u64, term: u64, value: &[u8]) {
    let change = Change::Put { value, value_crc: crc32fast::hash(value), deadline: None };
    append_command(node, PARTITION, at(index, term), &Command { key: b"key", change, session: None });
}

/// What a reader finds, and whether a crash could take it back.
async fn read(node: &mut Machine) -> Result<(Vec<u8>, bool), String> {
    // Afterwards its block is in memory.
    node.get(PARTITION, b"key").await.map_err(sentence)?;
    let mut value = Vec::new();
    let Answer { found, is_durable } =
        node.store(PARTITION).get(PARTITION, b"key", &mut value).map_err(|_| "a block is missing")?;
    assert!(found.is_some());
    Ok((value, is_durable))
}

fn apply_received(node: &mut Machine, through: u64) -> Vec<bool> {
    let mut outcomes = Vec::new();
    node.store(PARTITION).apply_received(PARTITION, LogIndex(through), &mut outcomes);
    outcomes.iter().map(|outcome| outcome.is_durable).collect()
}

/// Checks that it is told apart until it is committed, that no table holds it before, and that after a cut another replica's tables take its place, or the log's own entries
/// at the next start.
pub fn what_is_applied_from_memory_may_be_taken_back() -> Result<(), String> {
    let environments = machines();
    let run = async {
        let mut node = open(&environments[0], 1).await?;
        append(&mut node, 1, 1, b"committed");
        commit(&mut node, PARTITION, at(1, 1)).await?;
        assert_eq!(read(&mut node).await?, (b"committed".to_vec(), true));

        append(&mut node, 2, 1, b"ahead");
        assert_eq!(apply_received(&mut node, 2), [false]);
        assert_eq!(read(&mut node).await?, (b"ahead".to_vec(), false));
        let outcomes = commit(&mut node, PARTITION, at(2, 1)).await?;
        assert_eq!(
            outcomes.iter().map(|outcome| (outcome.index.0, outcome.is_durable)).collect::<Vec<_>>(),
            [(2, true)]
        );
        assert_eq!(read(&mut node).await?, (b"ahead".to_vec(), true));

        // What is not committed goes into no table, however durable the log is.
        append(&mut node, 3, 1, b"lost too");
        append(&mut node, 4, 1, b"lost");
        assert_eq!(apply_received(&mut node, 4), [false, false]);
        node.store(PARTITION).flush_all();
        node.settle().await.map_err(sentence)?;
        assert_eq!(node.store(PARTITION).lend(PARTITION, LogIndex(4)), None);
        assert!(!node.store(PARTITION).is_flushing(), "nobody who stops waits for a commit that may never come");

        // Another leader has other entries: of what was applied ahead nothing counts any more.
        assert!(!node.store(PARTITION).cut_applied(PARTITION, LogIndex(5)), "that is behind all that was applied");
        assert!(node.store(PARTITION).cut_applied(PARTITION, LogIndex(4)));
        append(&mut node, 4, 2, b"of the next leader");
        let owned = node.store(PARTITION).partition(PARTITION).expect("owned");
        assert_eq!((owned.settled(), owned.applied()), (at(2, 1), at(2, 1)), "entry 3 may be cut as well");
        node.store(PARTITION).set_stored(PARTITION, at(2, 1));
        node.store(PARTITION).flush_all();
        node.settle().await.map_err(sentence)?;
        assert_eq!(node.store(PARTITION).lend(PARTITION, LogIndex(3)), None, "rows that never were are in no table");

        // From the tables of one that has applied all that is committed by now.
        let mut other = open(&environments[1], 2).await?;
        let entries: [(u64, &[u8]); 4] =
            [(1, b"committed"), (1, b"ahead"), (1, b"lost too"), (2, b"of the next leader")];
        for (index, (term, value)) in (1..).zip(entries) {
            append(&mut other, index, term, value);
        }
        commit(&mut other, PARTITION, at(4, 2)).await?;
        other.flush().await.map_err(sentence)?;
        assert_eq!(transfer(&mut other, &mut node).await?, at(4, 2));
        node.store(PARTITION).repair(PARTITION);
        node.settle().await.map_err(sentence)?;
        node.store(PARTITION).finish_replacing(PARTITION);
        assert_eq!(read(&mut node).await?, (b"of the next leader".to_vec(), true));
        append(&mut node, 5, 2, b"and on");
        commit(&mut node, PARTITION, at(5, 2)).await?;
        node.flush().await.map_err(sentence)?;
        let hash = |node: &mut Machine| node.store(PARTITION).partition(PARTITION)?.state_hash_at(LogIndex(5));
        append(&mut other, 5, 2, b"and on");
        commit(&mut other, PARTITION, at(5, 2)).await?;
        assert_eq!(hash(&mut node), hash(&mut other));

        // From the log at the next start, if there was no time for that.
        append(&mut other, 6, 2, b"lost");
        assert_eq!(apply_received(&mut other, 6), [false]);
        assert!(other.store(PARTITION).cut_applied(PARTITION, LogIndex(6)));
        append(&mut other, 6, 3, b"kept");
        other.settle().await.map_err(sentence)?;
        drop(other);
        let mut other = open(&environments[1], 2).await?;
        commit(&mut other, PARTITION, at(6, 3)).await?;
        assert_eq!(read(&mut other).await?, (b"kept".to_vec(), true));
        Ok::<_, String>(())
    };
    environments[1].run_until(run).expect("no crash was planned")
}
