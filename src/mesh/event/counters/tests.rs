//! Counters count each event once, however often it is read and whoever reads it.

use proptest::prelude::*;

use super::*;
use crate::mesh::ManualClock;
use crate::mesh::event::fakes::{FakeTable, event};

const HOUR: u64 = 3_600_000;
const START: u64 = 472_222 * HOUR;

fn counters(table: &Arc<FakeTable>, is_ours: bool) -> Counters {
    let now = Timestamp::from_millis(i64::try_from(START).unwrap());
    Counters::new(
        table.clone(),
        Arc::new(ManualClock::at(now)),
        Ulid(5),
        is_ours,
        Duration::from_secs(86_400),
    )
}

/// The counters of whoever goes on with a dead writer's log.
fn heir(table: &Arc<FakeTable>) -> Counters {
    counters(table, false)
}

async fn flush(counters: &mut Counters, table: &FakeTable) {
    while let Some(flush) = counters.due(Some(&|_| true)) {
        let failed = table.put_all(&flush.rows).await.unwrap().value;
        counters.written(flush.keys, &failed);
        if !failed.is_empty() {
            return;
        }
    }
}

/// Events by partition and sort key, as the rows tell.
fn stored(table: &FakeTable) -> BTreeMap<(String, String), u64> {
    let rows = table.rows.lock().unwrap();
    let events = |row: &Row| {
        let tally: Tally = serde_json::from_str(row.text(TALLY_ATTRIBUTE).unwrap()).unwrap();
        tally.events
    };
    rows.iter()
        .map(|(key, row)| (key.clone(), events(row)))
        .collect()
}

fn at(offset: u64) -> Position {
    Position { segment: 1, offset }
}

#[tokio::test]
async fn a_row_has_its_hour_and_writer_and_expires_after_the_retention() {
    let table = Arc::new(FakeTable::default());
    let mut counters = counters(&table, true);
    let event = event("acme", START + 5);
    assert!(counters.count(&event, 1, at(0)).await.unwrap().is_some());
    assert_eq!(
        counters.count(&event, 2, at(9)).await.unwrap(),
        None,
        "the same row"
    );
    assert_eq!(counters.low(), Some(at(0)));
    assert!(counters.due(None).is_none(), "it is young");
    flush(&mut counters, &table).await;
    assert_eq!((counters.low(), counters.is_clean()), (None, true));
    assert_eq!(
        table.gets.load(std::sync::atomic::Ordering::SeqCst),
        0,
        "nothing to read for a new writer"
    );
    let rows = table.rows.lock().unwrap();
    let ((partition, sort), row) = rows.first_key_value().unwrap();
    assert!(partition.starts_with("T#acme#AG#2023"), "{partition}");
    assert_eq!(*sort, format!("{:02}#{}", 472_222 % 24, Ulid(5)));
    assert_eq!(row.number(SEQ_ATTRIBUTE), Some(2));
    let expiry = i64::try_from((START + HOUR) / 1000 + 86_400).unwrap();
    assert_eq!(row.number(EXPIRY_ATTRIBUTE), Some(expiry));
}

#[tokio::test]
async fn what_arrives_while_a_row_is_written_is_written_next() {
    let table = Arc::new(FakeTable::default());
    let mut counters = counters(&table, true);
    counters
        .count(&event("acme", START), 1, at(0))
        .await
        .unwrap();
    let first = counters.due(Some(&|_| true)).unwrap();
    assert_eq!(
        counters
            .count(&event("acme", START), 2, at(50))
            .await
            .unwrap(),
        None
    );
    assert_eq!(counters.low(), Some(at(0)), "not in the table yet");
    assert!(
        counters.due(Some(&|_| true)).is_none(),
        "one write at a time"
    );
    assert_eq!(
        counters.written(first.keys.clone(), &[]),
        [(first.keys[0].clone(), Some(2))]
    );
    assert_eq!(counters.low(), Some(at(50)));
    let second = counters.due(Some(&|_| true)).unwrap();
    assert_eq!(counters.written(second.keys, &[0]), []);
    assert_eq!(counters.low(), Some(at(50)), "a failed write is repeated");
    let third = counters.due(Some(&|_| true)).unwrap();
    assert_eq!(
        counters.written(third.keys.clone(), &[]),
        [(third.keys[0].clone(), None)]
    );
    assert!(counters.is_clean());
}

#[tokio::test]
async fn rows_beyond_the_memory_are_dropped_and_read_again() {
    let table = Arc::new(FakeTable::default());
    let mut counters = counters(&table, true);
    counters.bytes_max = 4096;
    let mut seq = 0;
    for _ in 0..3 {
        for tenant in 0..30 {
            seq += 1;
            counters.evict_at = 0;
            counters
                .count(&event(&format!("t{tenant}"), START), seq, at(seq))
                .await
                .unwrap();
            flush(&mut counters, &table).await;
        }
    }
    assert!(counters.bytes <= 4096 + 1024, "{}", counters.bytes);
    let expected = counters.rows.values().map(|held| held.bytes).sum::<usize>();
    assert_eq!(counters.bytes, expected);
    assert!(stored(&table).values().all(|&events| events == 3));
    assert_eq!(stored(&table).len(), 30);
}

#[tokio::test]
async fn a_partition_that_cannot_be_read_counts_nothing() {
    let table = Arc::new(FakeTable::default());
    table
        .throttled
        .lock()
        .unwrap()
        .insert("T#acme#AG".to_owned());
    let mut heir = heir(&table);
    let event = event("acme", START);
    assert!(heir.count(&event, 1, at(0)).await.is_err());
    table.throttled.lock().unwrap().clear();
    heir.count(&event, 1, at(0)).await.unwrap();
    flush(&mut heir, &table).await;
    assert!(stored(&table).values().eq([&1]));
}

#[derive(Clone, Debug)]
enum Step {
    Count,
    Flush,
    /// The process dies; its heir reads again from an acknowledged place.
    Die,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn deaths_and_replays_change_nothing(
        events in prop::collection::vec((0_u8..3, 0_u64..3), 1..60),
        steps in prop::collection::vec(prop_oneof![
            8 => Just(Step::Count), 2 => Just(Step::Flush), 1 => Just(Step::Die)
        ], 0..120),
        extra in 0_usize..10,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let log: Vec<Event> = events
                .iter()
                .map(|&(tenant, hour)| event(&format!("t{tenant}"), START + hour * HOUR))
                .collect();
            let table = Arc::new(FakeTable::default());
            let mut counters = counters(&table, true);
            let mut next = 0;
            for step in steps.into_iter().chain(std::iter::repeat_n(Step::Count, log.len() * 2 + extra)) {
                match step {
                    Step::Count if next < log.len() => {
                        let seq = next as u64 + 1;
                        counters.count(&log[next], seq, at(seq)).await.unwrap();
                        next += 1;
                    }
                    Step::Count => {}
                    Step::Flush => flush(&mut counters, &table).await,
                    Step::Die => {
                        let low = counters.low().map_or(next, |low| low.offset as usize - 1);
                        // An acknowledgement may be older than it could be.
                        next = low.saturating_sub(extra);
                        counters = heir(&table);
                    }
                }
            }
            flush(&mut counters, &table).await;
            let mut model: BTreeMap<(String, u64), u64> = BTreeMap::new();
            for &(tenant, hour) in &events {
                *model.entry((format!("t{tenant}"), hour)).or_default() += 1;
            }
            let found: Vec<u64> = stored(&table).into_values().collect();
            let expected: Vec<u64> = model.into_values().collect();
            prop_assert_eq!(found, expected);
            Ok(())
        })?;
    }
}
