//! What the table does, on every backend.

use agent_mesh::mesh::ErrorKind;
use agent_mesh::mesh::Timestamp;
use agent_mesh::mesh::store::Table;
use agent_mesh::mesh::store::key;
use agent_mesh::mesh::store::table::{
    Addition, Attribute, Condition, EXPIRY_ATTRIBUTE, Range, Replaced, Row, WriteOutcome,
};
use bytes::Bytes;

use crate::backend::{Stage, tenant};

crate::cases![
    what_is_put_is_got,
    every_kind_of_attribute_comes_back,
    a_row_replaces_the_one_before,
    an_absent_row_is_put_once,
    an_expired_row_counts_as_absent,
    a_version_is_compared,
    an_expired_version_matches_nothing,
    deleting_tells_what_was_there,
    deleting_compares_versions,
    a_query_reads_a_prefix_in_order,
    a_query_goes_on_where_it_stopped,
    a_query_reads_between_two_keys,
    a_query_reads_only_what_is_wanted,
    a_query_of_strange_keys_is_exact,
    a_tenant_sees_its_own_rows_only,
    numbers_are_added_to_under_a_ceiling,
    several_numbers_are_added_to_or_none,
    additions_at_once_are_all_counted,
    many_rows_are_put_at_once,
    a_key_that_comes_twice_keeps_its_last_row,
    reads_and_writes_are_metered,
    a_row_that_is_too_large_is_named,
    the_table_is_checked,
];

const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);

fn value(text: &str, version: &str) -> Row {
    Row::new()
        .with_text("value", text)
        .with_text("version", version)
}

fn expiring(text: &str, version: &str, seconds: i64) -> Row {
    value(text, version).with_number(EXPIRY_ATTRIBUTE, NOW.as_seconds() + seconds)
}

fn absent() -> Condition {
    Condition::Absent { now: NOW }
}

fn version(version: &str) -> Condition {
    Condition::Version {
        version: version.to_owned(),
        now: NOW,
    }
}

impl Stage {
    pub(crate) async fn put_row(&self, sort: &str, row: Row, condition: Condition) -> WriteOutcome {
        let key = self.row(sort);
        self.table.put(&key, row, condition).await.unwrap().value
    }

    pub(crate) async fn delete_row(&self, sort: &str, condition: Condition) -> WriteOutcome {
        let key = self.row(sort);
        self.table.delete(&key, condition).await.unwrap().value
    }

    pub(crate) async fn get_row(&self, sort: &str) -> Option<Row> {
        let key = self.row(sort);
        self.table.get(&key, true).await.unwrap().value
    }

    async fn keys(&self, range: Range) -> (Vec<String>, Option<String>) {
        let page = self.table.query(&self.partition(), &range).await.unwrap();
        let keys = page.value.rows.into_iter().map(|(key, _)| key);
        (keys.collect(), page.value.next)
    }
}

fn is_done(outcome: &WriteOutcome, was: Option<&str>) -> bool {
    match outcome {
        WriteOutcome::Done {
            replaced: Replaced::Known(row),
        } => row.as_ref().and_then(|row| row.text("value")) == was,
        _ => false,
    }
}

fn is_refused(outcome: &WriteOutcome, is: Option<&str>) -> bool {
    match outcome {
        WriteOutcome::ConditionFailed { current } => {
            current.as_ref().and_then(|row| row.text("value")) == is
        }
        WriteOutcome::Done { .. } => false,
    }
}

async fn what_is_put_is_got(stage: Stage) {
    assert_eq!(stage.get_row("K#a").await, None);
    let outcome = stage
        .put_row("K#a", value("1", "v1"), Condition::Always)
        .await;
    assert!(is_done(&outcome, None), "{outcome:?}");
    let row = stage.get_row("K#a").await.unwrap();
    assert_eq!(row.text("value"), Some("1"));
    assert_eq!(row.version(), Some("v1"));
}

async fn every_kind_of_attribute_comes_back(stage: Stage) {
    let row = Row::new()
        .with_text("name", "grüße 🦀 \u{0} \" \\")
        .with_text("empty", "")
        .with_number("number", i64::MIN)
        .with_number("size", i64::MAX)
        .with("bytes", Attribute::Bytes(Bytes::from_static(&[0, 255, 1])));
    stage.put_row("K#all", row, Condition::Always).await;
    let got = stage.get_row("K#all").await.unwrap();
    assert_eq!(got.text("name"), Some("grüße 🦀 \u{0} \" \\"));
    assert_eq!(got.text("empty"), Some(""));
    assert_eq!(got.number("number"), Some(i64::MIN));
    assert_eq!(got.number("size"), Some(i64::MAX));
    let bytes = Attribute::Bytes(Bytes::from_static(&[0, 255, 1]));
    assert_eq!(got.get("bytes"), Some(&bytes));
    assert_eq!(got.get("PK"), None);
    assert_eq!(got.get("SK"), None);
}

async fn a_row_replaces_the_one_before(stage: Stage) {
    stage
        .put_row(
            "K#a",
            value("1", "v1").with_text("more", "x"),
            Condition::Always,
        )
        .await;
    let outcome = stage
        .put_row("K#a", value("2", "v2"), Condition::Always)
        .await;
    assert!(is_done(&outcome, Some("1")), "{outcome:?}");
    assert_eq!(stage.get_row("K#a").await.unwrap().get("more"), None);
}

async fn an_absent_row_is_put_once(stage: Stage) {
    let outcome = stage.put_row("K#a", value("1", "v1"), absent()).await;
    assert!(is_done(&outcome, None), "{outcome:?}");
    let outcome = stage.put_row("K#a", value("2", "v2"), absent()).await;
    assert!(is_refused(&outcome, Some("1")), "{outcome:?}");
    assert_eq!(stage.get_row("K#a").await.unwrap().version(), Some("v1"));
}

async fn an_expired_row_counts_as_absent(stage: Stage) {
    stage
        .put_row("K#now", expiring("1", "v1", 0), Condition::Always)
        .await;
    stage
        .put_row("K#soon", expiring("1", "v1", 1), Condition::Always)
        .await;
    let outcome = stage.put_row("K#now", value("2", "v2"), absent()).await;
    assert!(is_done(&outcome, Some("1")), "{outcome:?}");
    let outcome = stage.put_row("K#soon", value("2", "v2"), absent()).await;
    assert!(is_refused(&outcome, Some("1")), "{outcome:?}");
}

async fn a_version_is_compared(stage: Stage) {
    let outcome = stage.put_row("K#a", value("1", "v1"), version("v0")).await;
    assert!(is_refused(&outcome, None), "{outcome:?}");
    stage
        .put_row("K#a", expiring("1", "v1", 60), Condition::Always)
        .await;
    let outcome = stage.put_row("K#a", value("2", "v2"), version("v0")).await;
    assert!(is_refused(&outcome, Some("1")), "{outcome:?}");
    let outcome = stage.put_row("K#a", value("2", "v2"), version("v1")).await;
    assert!(is_done(&outcome, Some("1")), "{outcome:?}");
    let outcome = stage.put_row("K#a", value("3", "v3"), version("v2")).await;
    assert!(is_done(&outcome, Some("2")), "{outcome:?}");
}

async fn an_expired_version_matches_nothing(stage: Stage) {
    stage
        .put_row("K#a", expiring("1", "v1", 0), Condition::Always)
        .await;
    let outcome = stage.put_row("K#a", value("2", "v2"), version("v1")).await;
    assert!(is_refused(&outcome, Some("1")), "{outcome:?}");
    let outcome = stage.delete_row("K#a", version("v1")).await;
    assert!(is_refused(&outcome, Some("1")), "{outcome:?}");
}

async fn deleting_tells_what_was_there(stage: Stage) {
    stage
        .put_row("K#a", value("1", "v1"), Condition::Always)
        .await;
    let outcome = stage.delete_row("K#a", Condition::Always).await;
    assert!(is_done(&outcome, Some("1")), "{outcome:?}");
    let outcome = stage.delete_row("K#a", Condition::Always).await;
    assert!(is_done(&outcome, None), "{outcome:?}");
    assert_eq!(stage.get_row("K#a").await, None);
}

async fn deleting_compares_versions(stage: Stage) {
    stage
        .put_row("K#a", value("1", "v1"), Condition::Always)
        .await;
    let outcome = stage.delete_row("K#a", version("v0")).await;
    assert!(is_refused(&outcome, Some("1")), "{outcome:?}");
    let outcome = stage.delete_row("K#a", version("v1")).await;
    assert!(is_done(&outcome, Some("1")), "{outcome:?}");
    let outcome = stage.delete_row("K#a", version("v1")).await;
    assert!(is_refused(&outcome, None), "{outcome:?}");
}

async fn fill(stage: &Stage, sorts: &[&str]) {
    for sort in sorts {
        stage
            .put_row(sort, value(sort, "v"), Condition::Always)
            .await;
    }
}

async fn a_query_reads_a_prefix_in_order(stage: Stage) {
    fill(&stage, &["K#b", "K#a", "K#ab", "J#z", "L#a", "K#", "K$"]).await;
    let range = |prefix: &str, descending| Range {
        prefix: prefix.to_owned(),
        descending,
        limit: 100,
        ..Range::default()
    };
    let (keys, next) = stage.keys(range("K#", false)).await;
    assert_eq!(keys, ["K#", "K#a", "K#ab", "K#b"]);
    assert_eq!(next, None);
    // The page ends at a key that is looked at and does not begin so.
    let looked_at = Range {
        limit: 5,
        ..range("K#", false)
    };
    assert_eq!(stage.keys(looked_at).await.1, None);
    let (keys, _) = stage.keys(range("K#a", true)).await;
    assert_eq!(keys, ["K#ab", "K#a"]);
    let (keys, _) = stage.keys(range("", false)).await;
    assert_eq!(keys.len(), 7);
    let (keys, next) = stage.keys(range("nothing", false)).await;
    assert!(keys.is_empty() && next.is_none());
}

async fn a_query_goes_on_where_it_stopped(stage: Stage) {
    fill(&stage, &["K#1", "K#2", "K#3", "K#4", "K#5", "L#1"]).await;
    for descending in [false, true] {
        let mut range = Range {
            prefix: "K#".to_owned(),
            descending,
            limit: 2,
            ..Range::default()
        };
        let mut all = Vec::new();
        for page in 0.. {
            assert!(page < 5, "a listing that never ends");
            let (keys, next) = stage.keys(range.clone()).await;
            assert!(keys.len() <= 2);
            all.extend(keys);
            match next {
                Some(next) => range.after = Some(next),
                None => break,
            }
        }
        let mut expected = vec!["K#1", "K#2", "K#3", "K#4", "K#5"];
        if descending {
            expected.reverse();
        }
        assert_eq!(all, expected);
    }
    // A key to go on after need not be there any more.
    let range = Range {
        prefix: "K#".to_owned(),
        after: Some("K#2x".to_owned()),
        limit: 10,
        ..Range::default()
    };
    assert_eq!(stage.keys(range).await.0, ["K#3", "K#4", "K#5"]);
}

async fn a_query_reads_between_two_keys(stage: Stage) {
    fill(&stage, &["K#1", "K#2", "K#3", "K#4", "K#5"]).await;
    let range = |from: Option<&str>, to: Option<&str>| Range {
        prefix: "K#".to_owned(),
        from: from.map(str::to_owned),
        to: to.map(str::to_owned),
        limit: 10,
        ..Range::default()
    };
    assert_eq!(
        stage.keys(range(Some("K#2"), Some("K#4"))).await.0,
        ["K#2", "K#3", "K#4"]
    );
    assert_eq!(stage.keys(range(Some("K#4"), None)).await.0, ["K#4", "K#5"]);
    assert_eq!(stage.keys(range(None, Some("K#1"))).await.0, ["K#1"]);
    assert!(
        stage
            .keys(range(Some("K#4"), Some("K#2")))
            .await
            .0
            .is_empty()
    );
    let after = Range {
        after: Some("K#3".to_owned()),
        ..range(Some("K#2"), Some("K#4"))
    };
    assert_eq!(stage.keys(after.clone()).await.0, ["K#4"]);
    let after = Range {
        descending: true,
        ..after
    };
    assert_eq!(stage.keys(after).await.0, ["K#2"]);
}

async fn a_query_reads_only_what_is_wanted(stage: Stage) {
    let row = value("1", "v1")
        .with_number("size", 7)
        .with_text("status", "a reserved word");
    stage.put_row("K#a", row, Condition::Always).await;
    let range = Range {
        prefix: "K#".to_owned(),
        limit: 10,
        attributes: vec!["size", "status", "size", "absent"],
        ..Range::default()
    };
    let page = stage.table.query(&stage.partition(), &range).await.unwrap();
    let (sort, row) = &page.value.rows[0];
    assert_eq!(sort, "K#a");
    assert_eq!(row.number("size"), Some(7));
    assert_eq!(row.text("status"), Some("a reserved word"));
    assert_eq!(row.clone().into_attributes().count(), 2);
}

async fn a_query_of_strange_keys_is_exact(stage: Stage) {
    let keys = [
        "K#a\u{10FFFF}",
        "K#a\u{10FFFF}b",
        "K#b",
        "K#\u{D7FF}x",
        "K#\u{E000}",
        "K#💡",
    ];
    fill(&stage, &keys).await;
    let range = |prefix: &str| Range {
        prefix: prefix.to_owned(),
        limit: 10,
        ..Range::default()
    };
    assert_eq!(stage.keys(range("K#a\u{10FFFF}")).await.0, keys[..2]);
    assert_eq!(stage.keys(range("K#a")).await.0, keys[..2]);
    assert_eq!(stage.keys(range("K#\u{D7FF}")).await.0, ["K#\u{D7FF}x"]);
    assert_eq!(stage.keys(range("K#💡")).await.0, ["K#💡"]);
    // The order is that of bytes in UTF-8, not of UTF-16.
    let all = stage.keys(range("K#")).await.0;
    assert_eq!(all.last().unwrap(), "K#💡");
}

async fn a_tenant_sees_its_own_rows_only(stage: Stage) {
    let other = tenant();
    let others = key::trial::row(&other, "KV#T", "K#a");
    let row = value("theirs", "v");
    stage
        .table
        .put(&others, row, Condition::Always)
        .await
        .unwrap();
    assert_eq!(stage.get_row("K#a").await, None);
    let range = Range {
        limit: 10,
        ..Range::default()
    };
    assert!(stage.keys(range).await.0.is_empty());
}

fn addition(name: &'static str, delta: i64, ceiling: i64) -> Addition {
    Addition {
        name,
        delta,
        ceiling,
    }
}

async fn numbers_are_added_to_under_a_ceiling(stage: Stage) {
    let key = stage.row("ARTIFACTS");
    let add = async |delta, ceiling| {
        let additions = [addition("bytes", delta, ceiling)];
        stage.table.add(&key, &additions).await.unwrap().value
    };
    assert!(!add(11, 10).await);
    assert!(add(10, 10).await);
    assert!(!add(1, 10).await);
    assert!(add(-4, 0).await);
    assert!(add(4, 10).await);
    let row = stage.get_row("ARTIFACTS").await.unwrap();
    assert_eq!(row.number("bytes"), Some(10));
    assert_eq!(row.into_attributes().count(), 1);
    assert!(stage.table.add(&key, &[]).await.unwrap().value);
}

async fn several_numbers_are_added_to_or_none(stage: Stage) {
    let key = stage.row("ARTIFACTS");
    let both = |bytes, objects| {
        [
            addition("bytes", bytes, 100),
            addition("objects", objects, 2),
        ]
    };
    let add = async |bytes, objects| {
        let additions = both(bytes, objects);
        stage.table.add(&key, &additions).await.unwrap().value
    };
    assert!(add(10, 1).await);
    assert!(add(10, 1).await);
    assert!(!add(10, 1).await);
    assert!(!add(81, -1).await);
    assert!(add(80, -1).await);
    let row = stage.get_row("ARTIFACTS").await.unwrap();
    assert_eq!(row.number("bytes"), Some(100));
    assert_eq!(row.number("objects"), Some(1));
}

async fn additions_at_once_are_all_counted(stage: Stage) {
    let key = stage.row("ARTIFACTS");
    let additions = [addition("bytes", 1, 12)];
    let adds = (0..20).map(|_| stage.table.add(&key, &additions));
    let done = futures::future::try_join_all(adds).await.unwrap();
    assert_eq!(done.iter().filter(|done| done.value).count(), 12);
    let row = stage.get_row("ARTIFACTS").await.unwrap();
    assert_eq!(row.number("bytes"), Some(12));
}

async fn many_rows_are_put_at_once(stage: Stage) {
    let rows: Vec<_> = (0..60)
        .map(|number| {
            let sort = format!("K#{number:03}");
            (stage.row(&sort), value(&sort, "v"))
        })
        .collect();
    let left = stage.table.put_all(&rows).await.unwrap();
    assert_eq!(left.value, [0_usize; 0]);
    let range = Range {
        prefix: "K#".to_owned(),
        limit: 1000,
        ..Range::default()
    };
    assert_eq!(stage.keys(range).await.0.len(), 60);
    assert_eq!(
        stage.get_row("K#059").await.unwrap().text("value"),
        Some("K#059")
    );
    assert!(stage.table.put_all(&[]).await.unwrap().value.is_empty());
}

async fn a_key_that_comes_twice_keeps_its_last_row(stage: Stage) {
    let rows = [
        (stage.row("K#a"), value("1", "v1")),
        (stage.row("K#b"), value("1", "v1")),
        (stage.row("K#a"), value("2", "v2")),
    ];
    assert!(stage.table.put_all(&rows).await.unwrap().value.is_empty());
    assert_eq!(stage.get_row("K#a").await.unwrap().text("value"), Some("2"));
    assert_eq!(stage.get_row("K#b").await.unwrap().text("value"), Some("1"));
}

async fn reads_and_writes_are_metered(stage: Stage) {
    let key = stage.row("K#big");
    let row = value(&"x".repeat(9000), "v1");
    let written = stage.table.put(&key, row, Condition::Always).await.unwrap();
    assert!((9.0..=10.0).contains(&written.units), "{}", written.units);
    let read = stage.table.get(&key, true).await.unwrap();
    assert!((3.0..=3.0).contains(&read.units), "{}", read.units);
    let read = stage.table.get(&key, false).await.unwrap();
    assert!((1.5..=1.5).contains(&read.units), "{}", read.units);
    let rows: Vec<_> = (0..30)
        .map(|number| (stage.row(&format!("K#{number}")), value("1", "v")))
        .collect();
    let units = stage.table.put_all(&rows).await.unwrap().units;
    assert!((30.0..=30.0).contains(&units), "{units}");
}

async fn a_row_that_is_too_large_is_named(stage: Stage) {
    let key = stage.row("K#big");
    let row = value(&"x".repeat(420_000), "v1");
    let error = stage
        .table
        .put(&key, row, Condition::Always)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error:?}");
}

async fn the_table_is_checked(stage: Stage) {
    stage.table.check().await.unwrap();
}
