//! Pages of a history, put together, are what a simple model says, over days, shards and users.

use std::sync::atomic::Ordering;

use proptest::prelude::*;

use super::*;
use crate::mesh::ManualClock;
use crate::mesh::event::fakes::{FakeBucket, FakeTable, event};
use crate::mesh::event::record::Event;
use crate::mesh::store::table::{EXPIRY_ATTRIBUTE, Row};
use crate::mesh::tenant::TenantId;

const DAY: i64 = DAY_MS;
const TODAY: i64 = 19_700 * DAY;

struct World {
    table: Arc<FakeTable>,
    bucket: Arc<FakeBucket>,
}

impl World {
    fn new() -> Self {
        Self {
            table: Arc::default(),
            bucket: Arc::default(),
        }
    }

    fn history(&self, tenant: &str, shards: u16) -> History {
        let clock = ManualClock::at(Timestamp::from_millis(TODAY + DAY / 2));
        History::new(
            self.table.clone(),
            self.bucket.clone(),
            Keyspace::of(&tenant.parse::<TenantId>().unwrap()),
            shards,
            Arc::new(clock),
        )
    }

    fn store(&self, event: &Event, shard: u16) {
        self.store_row(event, shard, Row::new(), true);
    }

    fn store_row(&self, event: &Event, shard: u16, row: Row, with_data: bool) {
        let mut detail = Detail::of(event, Ulid(1), 1);
        if !with_data {
            detail.data = None;
        }
        let row = row
            .with_text(TYPE_ATTRIBUTE, event.detail_type.clone())
            .with_text(DETAIL_ATTRIBUTE, detail.to_json().unwrap());
        let key =
            Keyspace::of(&event.tenant_id).event(event.time, shard, &event.event_id.to_string());
        self.put(&key, row);
    }

    fn put(&self, key: &crate::mesh::store::key::RowKey, row: Row) {
        let key = (key.partition().to_owned(), key.sort().to_owned());
        self.table.rows.lock().unwrap().insert(key, row);
    }

    fn mark(&self, tenant: &str, day_ms: i64, shards: u16) {
        let keyspace = Keyspace::of(&tenant.parse().unwrap());
        self.put(
            &keyspace.event_shards(Timestamp::from_millis(day_ms), shards),
            Row::new(),
        );
    }
}

fn at(millis: i64) -> Event {
    event("acme", millis.unsigned_abs())
}

fn query(start: i64, end: i64) -> Query {
    Query {
        start: Timestamp::from_millis(start),
        end: Timestamp::from_millis(end),
        filter: Filter::default(),
        order: Order::Desc,
        limit: 50,
        after: None,
        body_bytes_max: 48 << 10,
    }
}

/// All pages of a query, each of which must go on where the one before ended.
async fn all(history: &History, mut query: Query) -> (Vec<Ulid>, usize) {
    let (mut ids, mut pages) = (Vec::new(), 0);
    loop {
        let page = history.query(&query).await.unwrap().value;
        pages += 1;
        assert!(page.events.len() <= query.limit);
        ids.extend(page.events.iter().map(|event| event.event_id));
        assert_eq!(page.next.is_some(), page.searched_until.is_some());
        match page.next {
            Some(next) => {
                assert_ne!(query.after, Some(next), "no progress");
                query.after = Some(next);
            }
            None => return (ids, pages),
        }
        assert!(pages < 2000, "it never ends");
    }
}

#[tokio::test]
async fn an_event_is_told_as_the_contract_says() {
    let world = World::new();
    let mut sent = at(TODAY);
    sent.source = Some("till".to_owned());
    sent.tags = Some(BTreeMap::from([("a".to_owned(), "b".to_owned())]));
    world.store(&sent, 0);
    let page = world
        .history("acme", 1)
        .query(&query(TODAY, TODAY))
        .await
        .unwrap();
    assert!(page.units > 0.0);
    let told = serde_json::to_value(&page.value.events[0]).unwrap();
    let expected = serde_json::json!({
        "event_id": sent.event_id.to_string(), "time": Timestamp::from_millis(TODAY).to_string(),
        "detail_type": "KV.Set", "source": "till", "detail": {"key": "a/b"}, "tool": "kv_set",
        "outcome": "ok", "priority": "medium", "user_id": "ada", "tags": {"a": "b"},
        "request_id": sent.request_id.to_string(), "duration_ms": 1.5,
    });
    assert_eq!(told, expected);
    assert_eq!(page.value.next, None);
}

#[tokio::test]
async fn the_window_includes_its_ends_and_nothing_beyond() {
    let world = World::new();
    let events: Vec<Event> = (-1..=3).map(|offset| at(TODAY + offset)).collect();
    for event in &events {
        world.store(event, 0);
    }
    let history = world.history("acme", 1);
    let (ids, _) = all(&history, query(TODAY, TODAY + 2)).await;
    let expected: Vec<Ulid> = events[1..=3]
        .iter()
        .rev()
        .map(|event| event.event_id)
        .collect();
    assert_eq!(ids, expected);
    assert_eq!(
        all(&history, query(TODAY + 2, TODAY)).await.0,
        [],
        "the wrong way round"
    );
    assert_eq!(all(&history, query(i64::MIN, i64::MAX)).await.0.len(), 5);
}

#[tokio::test]
async fn shards_that_a_day_had_are_found_whatever_is_configured_now() {
    let world = World::new();
    let events: Vec<Event> = (0..6).map(|index| at(TODAY + index)).collect();
    for (shard, event) in (0..).zip(&events) {
        world.store(event, shard);
    }
    let history = world.history("acme", 2);
    assert_eq!(
        all(&history, query(TODAY, TODAY + 10)).await.0.len(),
        2,
        "as far as is known"
    );
    world.mark("acme", TODAY, 4);
    world.mark("acme", TODAY, 6);
    let (ids, _) = all(&history, query(TODAY, TODAY + 10)).await;
    let expected: Vec<Ulid> = events.iter().rev().map(|event| event.event_id).collect();
    assert_eq!(ids, expected);
    assert_eq!(
        all(&world.history("acme", 64), query(TODAY, TODAY + 10))
            .await
            .0,
        expected
    );
}

#[tokio::test]
async fn an_event_that_lies_in_several_shards_is_told_once() {
    let world = World::new();
    let events: Vec<Event> = (0..3).map(|index| at(TODAY + index)).collect();
    for event in &events {
        for shard in 0..4 {
            world.store(event, shard);
        }
    }
    let history = world.history("acme", 4);
    let expected: Vec<Ulid> = events.iter().map(|event| event.event_id).collect();
    for limit in [1, 2, 3, 50] {
        let query = Query {
            limit,
            order: Order::Asc,
            ..query(TODAY, TODAY + 10)
        };
        assert_eq!(all(&history, query).await.0, expected, "{limit} a page");
    }
}

#[tokio::test]
async fn another_tenants_position_opens_nothing_of_its_own() {
    let world = World::new();
    let mine = at(TODAY + 5);
    let mut theirs = event("beta", (TODAY + 7).unsigned_abs());
    theirs.user_id = "eve".parse().unwrap();
    world.store(&mine, 0);
    world.store(&theirs, 0);
    let position = HistoryPosition {
        after: theirs.event_id,
        order: Order::Desc,
    };
    let query = Query {
        after: Some(position),
        ..query(TODAY, TODAY + 100)
    };
    let page = world.history("acme", 1).query(&query).await.unwrap().value;
    assert_eq!(page.events.len(), 1);
    assert_eq!(page.events[0].event_id, mine.event_id);
    let text = serde_json::to_string(&position).unwrap();
    assert!(!text.contains("beta"));
    assert_eq!(
        serde_json::from_str::<HistoryPosition>(&text).unwrap(),
        position
    );
}

#[tokio::test]
async fn filters_hold_all_at_once() {
    let world = World::new();
    let mut wanted = at(TODAY);
    wanted.detail_type = "Order.Paid".into();
    wanted.source = Some("till".to_owned());
    wanted.outcome = Outcome::Error;
    wanted.priority = Priority::High;
    wanted.tool = "events_send".into();
    wanted.tags = Some(BTreeMap::from([
        ("a".to_owned(), "1".to_owned()),
        ("b".to_owned(), "2".to_owned()),
    ]));
    world.store(&wanted, 0);
    world.store(&at(TODAY + 1), 0);
    let history = world.history("acme", 1);
    let fits = Filter {
        detail_type: Some("Order.Paid".to_owned()),
        source: Some("till".to_owned()),
        outcome: Some(Outcome::Error),
        priority: Some(Priority::High),
        user_id: Some("ada".parse().unwrap()),
        tags: BTreeMap::from([("b".to_owned(), "2".to_owned())]),
        tool: Some("events_send".to_owned()),
    };
    let misses = [
        Filter {
            detail_type: Some("Order".to_owned()),
            ..fits.clone()
        },
        Filter {
            source: Some("Till".to_owned()),
            ..fits.clone()
        },
        Filter {
            outcome: Some(Outcome::Ok),
            ..fits.clone()
        },
        Filter {
            priority: Some(Priority::Low),
            ..fits.clone()
        },
        Filter {
            user_id: Some("eve".parse().unwrap()),
            ..fits.clone()
        },
        Filter {
            tags: BTreeMap::from([("b".to_owned(), "1".to_owned())]),
            ..fits.clone()
        },
        Filter {
            tags: BTreeMap::from([("c".to_owned(), "2".to_owned())]),
            ..fits.clone()
        },
        Filter {
            tool: Some("kv_set".to_owned()),
            ..fits.clone()
        },
    ];
    for (filter, count) in std::iter::once((fits, 1)).chain(misses.map(|filter| (filter, 0))) {
        let query = Query {
            filter: filter.clone(),
            ..query(TODAY, TODAY + 10)
        };
        assert_eq!(all(&history, query).await.0.len(), count, "{filter:?}");
    }
}

#[tokio::test]
async fn an_expired_row_is_absent_however_late_it_is_deleted() {
    let world = World::new();
    let now = (TODAY + DAY / 2) / 1000;
    for (expiry, offset) in [(now, 1), (now + 1, 2)] {
        world.store_row(
            &at(TODAY + offset),
            0,
            Row::new().with_number(EXPIRY_ATTRIBUTE, expiry),
            true,
        );
    }
    let (ids, _) = all(&world.history("acme", 1), query(TODAY, TODAY + 10)).await;
    assert_eq!(ids.len(), 1);
    assert_eq!(time_of(ids[0]).as_millis(), TODAY + 2);
}

#[tokio::test]
async fn bodies_in_the_bucket_come_as_far_as_the_budget_reaches() {
    let world = World::new();
    let sizes = [20_000, 30_000, 10_000];
    for (offset, size) in (0..).zip(sizes) {
        let event = at(TODAY + offset);
        let body = format!("\"{}\"", "x".repeat(size - 2));
        let key = Keyspace::of(&event.tenant_id).event_body(&event.event_id.to_string());
        world
            .bucket
            .objects
            .lock()
            .unwrap()
            .insert(key.key().to_owned(), body.into());
        let row = Row::new().with_number(BODY_BYTES_ATTRIBUTE, i64::try_from(size).unwrap());
        world.store_row(&event, 0, row, false);
    }
    let ascending = Query {
        order: Order::Asc,
        body_bytes_max: 30_000,
        ..query(TODAY, TODAY + 10)
    };
    let history = world.history("acme", 1);
    let page = history.query(&ascending).await.unwrap().value;
    let told: Vec<_> = page
        .events
        .iter()
        .map(|event| (event.detail.is_some(), event.truncated, event.detail_bytes))
        .collect();
    assert_eq!(
        told,
        [
            (true, false, None),
            (false, true, Some(30_000)),
            (true, false, None)
        ]
    );
    world.bucket.is_down.store(true, Ordering::SeqCst);
    let page = history.query(&ascending).await.unwrap().value;
    assert!(
        page.events.iter().all(|event| event.truncated),
        "the rest is still told"
    );
}

#[tokio::test]
async fn a_page_reads_at_most_its_bytes_and_goes_on_from_there() {
    let world = World::new();
    let mut events = Vec::new();
    for index in 0..1200_i64 {
        let mut event = at(TODAY + index);
        let data = format!("\"{}\"", "x".repeat(10_000));
        event.data = RawValue::from_string(data).unwrap();
        world.store(&event, u16::try_from(index % 3).unwrap());
        events.push(event.event_id);
    }
    let history = world.history("acme", 3);
    let none = Filter {
        tool: Some("none".to_owned()),
        ..Filter::default()
    };
    let mut query = Query {
        filter: none,
        ..query(TODAY, TODAY + 5000)
    };
    let (mut pages, mut until) = (0, i64::MAX);
    loop {
        world.table.bytes_read.store(0, Ordering::SeqCst);
        let page = history.query(&query).await.unwrap().value;
        assert!(page.events.is_empty());
        assert!(world.table.bytes_read.load(Ordering::SeqCst) <= READ_BYTES_MAX + (64 << 10));
        pages += 1;
        let Some(next) = page.next else { break };
        let searched = page.searched_until.unwrap().as_millis();
        assert!(searched < until);
        until = searched;
        query.after = Some(next);
    }
    assert!((3..=8).contains(&pages), "{pages} pages of 12 MB");
    query.filter = Filter::default();
    query.after = None;
    events.reverse();
    assert_eq!(all(&history, query).await.0, events);
}

#[tokio::test]
async fn a_window_of_empty_days_ends_in_few_pages_of_few_questions() {
    let world = World::new();
    let old = at(TODAY - 399 * DAY);
    world.store(&old, 0);
    let history = world.history("acme", 4);
    let (ids, pages) = all(&history, query(0, TODAY)).await;
    assert_eq!(ids, [old.event_id]);
    assert!((10..30).contains(&pages), "{pages}");
    world.table.queries.store(0, Ordering::SeqCst);
    history.query(&query(0, TODAY)).await.unwrap();
    assert!(world.table.queries.load(Ordering::SeqCst) <= QUERIES_MAX + 5);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn pages_put_together_are_what_the_model_says(
        events in prop::collection::vec((0_i64..4 * DAY, 0_u16..4, 0_u8..3, 0_u16..8), 0..120),
        window in (-DAY..5 * DAY, -DAY..5 * DAY),
        limit in 1_usize..20,
        is_ascending in any::<bool>(),
        tool in prop::option::of(0_u8..3),
        same_moment in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let begin = TODAY - 3 * DAY;
            let world = World::new();
            let mut model = Vec::new();
            for &(offset, shard, kind, again) in &events {
                // Many events of one moment, and events on the border between days.
                let offset = if same_moment { offset / DAY * DAY } else { offset };
                let mut event = at(begin + offset);
                event.tool = format!("tool{kind}").into();
                world.store(&event, shard);
                // Made again by another process, it lies in another shard, or in the same.
                if again < 4 {
                    world.store(&event, again);
                }
                model.push(event);
            }
            for day in 0..4 {
                world.mark("acme", begin + day * DAY, 4);
            }
            let (start, end) = (begin + window.0.min(window.1), begin + window.0.max(window.1));
            let tool = tool.map(|kind| format!("tool{kind}"));
            let order = if is_ascending { Order::Asc } else { Order::Desc };
            let filter = Filter { tool: tool.clone(), ..Filter::default() };
            let query = Query { limit, order, filter, ..query(start, end) };
            let latest = TODAY + DAY / 2 + DAY;
            let mut expected: Vec<Ulid> = model
                .iter()
                .filter(|event| {
                    let time = event.time.as_millis();
                    time >= start && time <= end.min(latest) && tool.as_ref().is_none_or(|tool| event.tool == *tool)
                })
                .map(|event| event.event_id)
                .collect();
            expected.sort_unstable();
            if !is_ascending {
                expected.reverse();
            }
            let (ids, _) = all(&world.history("acme", 1), query).await;
            prop_assert_eq!(ids, expected);
            Ok(())
        })?;
    }
}
