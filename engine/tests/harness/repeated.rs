//! A write in a session, sent again wherever it may arrive.

use corelode_engine::command::{Change, Command, SessionStamp};
use corelode_engine::ids::Revision;
use corelode_engine::partition::ExceptionKind;

use super::replica::{Machine, PARTITION, append_command, at, commit, machines, open, replace, transfer};
use super::workload::sentence;

/// Appends and applies one command as the entry of this index; answers why it was not applied, if it was not.
async fn apply(node: &mut Machine, index: u64, command: &Command<'_>) -> Result<Option<ExceptionKind>, String> {
    append_command(node, PARTITION, at(index, 1), command);
    let outcomes = commit(node, PARTITION, at(index, 1)).await?;
    assert_eq!(outcomes.len(), 1);
    Ok(outcomes[0].exceptions.first().map(|exception| exception.kind))
}

fn put<'a>(value: &'a [u8], session: Option<SessionStamp>) -> Command<'a> {
    let change = Change::Put { value, value_crc: crc32fast::hash(value), deadline: None };
    Command { key: b"key", change, session }
}

async fn value(node: &mut Machine) -> Result<Option<Vec<u8>>, String> {
    Ok(node.get(PARTITION, b"key").await.map_err(sentence)?.map(|found| found.bytes))
}

/// Checks that it is applied once and answered as the first time: after a flush, a restart, and on a replica that was sent tables.
pub fn repeated_writes_are_applied_once() -> Result<(), String> {
    let environments = machines();
    let run = async {
        let mut node = open(&environments[0], 1).await?;
        let opened = Command { key: b"", change: Change::OpenSession { ttl_ms: 1_000 }, session: None };
        assert_eq!(apply(&mut node, 1, &opened).await?, None);
        let stamp = |sequence| Some(SessionStamp { session: 1, sequence, oldest: 1 });
        assert_eq!(apply(&mut node, 2, &put(b"first", stamp(1))).await?, None);
        assert_eq!(apply(&mut node, 3, &put(b"second", stamp(2))).await?, None);
        let repeated = Some(ExceptionKind::Repeated { revision: Revision(2) });
        assert_eq!(apply(&mut node, 4, &put(b"first", stamp(1))).await?, repeated);
        let reused = Some(ExceptionKind::SequenceReused);
        assert_eq!(apply(&mut node, 5, &put(b"another", stamp(1))).await?, reused);
        assert_eq!(value(&mut node).await?, Some(b"second".to_vec()));

        // From the log alone.
        drop(node);
        let mut node = open(&environments[0], 1).await?;
        commit(&mut node, PARTITION, at(5, 1)).await?;
        assert_eq!(apply(&mut node, 6, &put(b"first", stamp(1))).await?, repeated);
        // From the tables, with what has happened since the last flush.
        node.flush().await.map_err(sentence)?;
        assert_eq!(apply(&mut node, 7, &put(b"third", stamp(3))).await?, None);
        node.flush().await.map_err(sentence)?;
        drop(node);
        let mut node = open(&environments[0], 1).await?;
        assert_eq!(node.counters()[0].sessions, 1);
        assert_eq!(apply(&mut node, 8, &put(b"first", stamp(1))).await?, repeated);
        node.flush().await.map_err(sentence)?;

        // On another replica.
        let mut other = open(&environments[1], 2).await?;
        assert_eq!(transfer(&mut node, &mut other).await?, at(8, 1));
        replace(&mut other).await?;
        for node in [&mut node, &mut other] {
            assert_eq!(apply(node, 9, &put(b"first", stamp(1))).await?, repeated);
            assert_eq!(value(node).await?, Some(b"third".to_vec()));
        }

        // A session that was closed, or not used for long, is refused rather than applied.
        let closed = Command { key: b"", change: Change::CloseSession { session: 1 }, session: None };
        assert_eq!(apply(&mut node, 10, &closed).await?, None);
        assert_eq!(apply(&mut node, 11, &put(b"late", stamp(4))).await?, Some(ExceptionKind::SessionExpired));
        node.flush().await.map_err(sentence)?;
        drop(node);
        let mut node = open(&environments[0], 1).await?;
        assert_eq!(node.counters()[0].sessions, 0, "what was closed is gone from the tables");
        assert_eq!(value(&mut node).await?, Some(b"third".to_vec()));
        Ok::<_, String>(())
    };
    environments[1].run_until(run).expect("no crash was planned")
}
