//! Figures are those of the hours they say they are of.

use super::*;
use crate::mesh::event::counters::histogram::Histogram;
use crate::mesh::event::fakes::{FakeTable, event};
use crate::mesh::tenant::TenantId;
use crate::mesh::{ErrorKind, ManualClock};

const DAY: i64 = 19_700;
const HOUR: i64 = HOUR_MS;

fn tenant() -> TenantId {
    "acme".parse().unwrap()
}

fn hour(day: i64, hour: i64) -> i64 {
    day * DAY_MS + hour * HOUR
}

fn tally(calls: u32) -> Tally {
    let mut tally = Tally::default();
    for index in 0..calls {
        let mut event = event("acme", 1);
        event.duration_ms = f64::from(index + 1);
        if index == 0 {
            event.outcome = Outcome::Error;
            event.error_code = Some("CONFLICT".into());
        }
        tally.add(&event);
    }
    tally
}

fn store(table: &FakeTable, time: i64, writer: &str, tally: &Tally) {
    let key = Keyspace::of(&tenant()).counter(Timestamp::from_millis(time), writer);
    let row = Row::new()
        .with_text(TALLY_ATTRIBUTE, serde_json::to_string(tally).unwrap())
        .with_number("exp", i64::MAX);
    let key = (key.partition().to_owned(), key.sort().to_owned());
    table.rows.lock().unwrap().insert(key, row);
}

async fn ask(table: &FakeTable, start: i64, end: i64, granularity: Granularity) -> Analytics {
    let query = AnalyticsQuery {
        start: Timestamp::from_millis(start),
        end: Timestamp::from_millis(end),
        metrics: Metric::ALL.to_vec(),
        granularity,
    };
    let clock = ManualClock::at(Timestamp::from_millis(hour(DAY, 12)));
    let keyspace = Keyspace::of(&tenant());
    summarize(table, &keyspace, &query, &clock)
        .await
        .unwrap()
        .value
}

#[tokio::test]
async fn windows_are_rounded_outward_to_hours_over_days_and_writers() {
    let table = FakeTable::default();
    for (time, writer, calls) in [
        (hour(DAY - 1, 21), "a", 100),
        (hour(DAY - 1, 22), "a", 1),
        (hour(DAY - 1, 23), "b", 2),
        (hour(DAY, 0), "a", 3),
        (hour(DAY, 0), "b", 4),
        (hour(DAY, 1), "a", 5),
        (hour(DAY, 2), "a", 100),
    ] {
        store(&table, time, writer, &tally(calls));
    }
    let figures = ask(
        &table,
        hour(DAY - 1, 22) + 7,
        hour(DAY, 1) + 1,
        Granularity::Hour,
    )
    .await;
    assert_eq!(figures.window.start_time.as_millis(), hour(DAY - 1, 22));
    assert_eq!(figures.window.end_time.as_millis(), hour(DAY, 2));
    let totals = Totals {
        events: 15,
        calls: 15,
        failed: 5,
    };
    assert_eq!(figures.totals, totals);
    let volume: Vec<_> = figures
        .volume
        .unwrap()
        .iter()
        .map(|point| (point.time.as_millis(), point.calls))
        .collect();
    let expected = [
        (hour(DAY - 1, 22), 1),
        (hour(DAY - 1, 23), 2),
        (hour(DAY, 0), 7),
        (hour(DAY, 1), 5),
    ];
    assert_eq!(volume, expected);
    let by_day = ask(&table, hour(DAY - 1, 22), hour(DAY, 2), Granularity::Day)
        .await
        .volume
        .unwrap();
    let by_day: Vec<_> = by_day
        .iter()
        .map(|point| (point.time.as_millis(), point.calls))
        .collect();
    assert_eq!(by_day, [(hour(DAY - 1, 0), 3), (hour(DAY, 0), 12)]);
    let whole = ask(&table, hour(DAY, 1), hour(DAY, 1), Granularity::Hour).await;
    assert_eq!(
        whole.window.end_time.as_millis(),
        hour(DAY, 2),
        "a moment is its hour"
    );
}

#[tokio::test]
async fn figures_are_told_as_the_contract_says() {
    let table = FakeTable::default();
    store(&table, hour(DAY, 3), "a", &tally(100));
    let mut other = Tally::default();
    let mut sent = event("acme", 1);
    sent.tool = "events_send".into();
    sent.detail_type = "Order.Paid".into();
    sent.priority = Priority::High;
    other.add(&sent);
    store(&table, hour(DAY, 3), "b", &other);
    let figures = ask(&table, hour(DAY, 3), hour(DAY, 4), Granularity::Hour).await;
    let names: Vec<_> = figures
        .top_types
        .as_ref()
        .unwrap()
        .iter()
        .map(|top| (top.name.as_str(), top.calls))
        .collect();
    assert_eq!(names, [("KV.Set", 100), ("Order.Paid", 1)]);
    let names: Vec<_> = figures
        .top_tools
        .as_ref()
        .unwrap()
        .iter()
        .map(|top| (top.name.as_str(), top.calls))
        .collect();
    assert_eq!(names, [("kv_set", 100), ("events_send", 1)]);
    let errors = figures.errors.as_ref().unwrap();
    assert_eq!(errors.rate, 0.009901);
    assert_eq!((errors.outcomes["error"], errors.outcomes["ok"]), (1, 100));
    assert_eq!(
        errors.codes,
        [NamedCount {
            name: "CONFLICT".to_owned(),
            calls: 1
        }]
    );
    let latency = &figures.latency.as_ref().unwrap()[0];
    for (told, exact) in [
        (latency.p50_ms, 50.0),
        (latency.p95_ms, 95.0),
        (latency.p99_ms, 99.0),
    ] {
        assert!((told / exact - 1.0_f64).abs() <= 0.1, "{told} for {exact}");
    }
    assert_eq!(figures.priority.as_ref().unwrap()["high"], 1);
    let json = serde_json::to_value(&figures).unwrap();
    assert!(json.get("truncated").is_none());
    assert_eq!(
        json["volume"][0]["time"],
        Timestamp::from_millis(hour(DAY, 3)).to_string()
    );
}

#[tokio::test]
async fn only_what_is_asked_for_is_told_and_nothing_is_nothing() {
    let table = FakeTable::default();
    let query = AnalyticsQuery {
        start: Timestamp::from_millis(hour(DAY, 0)),
        end: Timestamp::from_millis(hour(DAY, 2)),
        metrics: vec![Metric::Errors],
        granularity: Granularity::Hour,
    };
    let clock = ManualClock::at(Timestamp::from_millis(0));
    let keyspace = Keyspace::of(&tenant());
    let figures = summarize(&table, &keyspace, &query, &clock)
        .await
        .unwrap()
        .value;
    assert_eq!(figures.totals, Totals::default());
    assert_eq!(figures.errors.unwrap().rate, 0.0);
    assert!(figures.volume.is_none() && figures.latency.is_none());
}

#[tokio::test]
async fn a_window_is_refused_one_past_the_longest() {
    let table = FakeTable::default();
    let clock = ManualClock::at(Timestamp::from_millis(hour(DAY, 0)));
    let keyspace = Keyspace::of(&tenant());
    for (start, end, is_ok) in [
        (0, WINDOW_DAYS_MAX * DAY_MS, true),
        (0, WINDOW_DAYS_MAX * DAY_MS + 1, false),
        (1, 0, false),
    ] {
        let query = AnalyticsQuery {
            start: Timestamp::from_millis(start),
            end: Timestamp::from_millis(end),
            metrics: Vec::new(),
            granularity: Granularity::Day,
        };
        let result = summarize(&table, &keyspace, &query, &clock).await;
        assert_eq!(result.is_ok(), is_ok);
        if let Err(error) = result {
            assert_eq!(error.kind(), ErrorKind::InvalidParameter);
        }
    }
}

#[tokio::test]
async fn more_than_can_be_read_is_said_and_the_newest_is_told() {
    let table = FakeTable::default();
    let mut large = tally(1);
    large.tools[0].name = "x".repeat(1 << 20).into();
    for day in 0..40 {
        store(&table, hour(DAY - day, 5), "a", &large);
    }
    let figures = ask(&table, hour(DAY - 39, 0), hour(DAY, 23), Granularity::Day).await;
    assert!(figures.truncated);
    assert!(figures.window.start_time.as_millis() > hour(DAY - 39, 0));
    let days =
        (figures.window.end_time.as_millis() - figures.window.start_time.as_millis()) / DAY_MS;
    assert_eq!(figures.totals.calls, days.unsigned_abs() + 1);
    assert!((30..=34).contains(&days), "{days}");
}

#[tokio::test]
async fn an_expired_row_counts_no_more() {
    let table = FakeTable::default();
    store(&table, hour(DAY, 3), "a", &tally(1));
    let mut histogram = Histogram::default();
    histogram.add(1.0, 1);
    let key = Keyspace::of(&tenant()).counter(Timestamp::from_millis(hour(DAY, 3)), "b");
    let row = Row::new()
        .with_text(TALLY_ATTRIBUTE, serde_json::to_string(&tally(7)).unwrap())
        .with_number("exp", hour(DAY, 12) / 1000);
    let key = (key.partition().to_owned(), key.sort().to_owned());
    table.rows.lock().unwrap().insert(key, row);
    assert_eq!(
        ask(&table, hour(DAY, 0), hour(DAY, 5), Granularity::Hour)
            .await
            .totals
            .calls,
        1
    );
}
