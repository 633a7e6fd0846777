//! Tests of the artifact quotas over a table and a bucket that do just what the quotas need.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use serde_json::json;

use super::*;
use crate::mesh::ErrorKind;
use crate::mesh::store::Reply;
use crate::mesh::store::bucket::{
    ByteRange, GetOutcome, ObjectAttributes, ObjectCondition, ObjectHead, ObjectPage,
    ObjectSummary, Presigned, PutOutcome, UploadTerms,
};
use crate::mesh::store::key::{ObjectKey, ObjectPrefix, Partition};
use crate::mesh::store::table::{Attribute, Condition, Page, Range, WriteOutcome};

const START: Timestamp = Timestamp::from_seconds(1_800_000_000);

/// Rows in memory; each request costs one unit.
#[derive(Default)]
struct Rows(Mutex<HashMap<RowKey, Row>>);

/// Objects in memory, under whole keys.
#[derive(Default)]
struct Objects {
    sizes: Mutex<BTreeMap<String, u64>>,
    pages: AtomicUsize,
    /// Done once, before the first page is answered.
    meanwhile: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    broken: bool,
    endless: bool,
}

fn unused<T: Send + 'static>() -> Reply<'static, T> {
    Box::pin(async { Err(Error::internal("the quotas do not use this")) })
}

fn ready<T: Send + 'static>(value: T) -> Reply<'static, T> {
    Box::pin(async { Ok(value) })
}

impl Table for Rows {
    fn get<'a>(&'a self, key: &'a RowKey, consistent: bool) -> Reply<'a, Metered<Option<Row>>> {
        assert!(consistent, "a stale row would refuse wrongly");
        ready(Metered {
            value: self.0.lock().unwrap().get(key).cloned(),
            units: 1.0,
        })
    }

    fn put<'a>(&'a self, _: &'a RowKey, _: Row, _: Condition) -> Reply<'a, Metered<WriteOutcome>> {
        unused()
    }

    fn delete<'a>(&'a self, _: &'a RowKey, _: Condition) -> Reply<'a, Metered<WriteOutcome>> {
        unused()
    }

    fn query<'a>(&'a self, _: &'a Partition, _: &'a Range) -> Reply<'a, Metered<Page>> {
        // Nothing is held for uploads here; `store/artifacts/accounted/tests.rs` has those.
        ready(Metered {
            value: Page::default(),
            units: 1.0,
        })
    }

    fn add<'a>(&'a self, key: &'a RowKey, additions: &'a [Addition]) -> Reply<'a, Metered<bool>> {
        let mut rows = self.0.lock().unwrap();
        let row = rows.get(key).cloned().unwrap_or_default();
        let sums: Vec<i64> = additions
            .iter()
            .map(|addition| row.number(addition.name).unwrap_or(0) + addition.delta)
            .collect();
        let fits = additions
            .iter()
            .zip(&sums)
            .all(|(addition, sum)| addition.delta <= 0 || *sum <= addition.ceiling);
        if fits {
            let row = additions
                .iter()
                .zip(&sums)
                .fold(row, |row, (addition, sum)| {
                    row.with(addition.name, Attribute::Number(*sum))
                });
            rows.insert(key.clone(), row);
        }
        ready(Metered {
            value: fits,
            units: 1.0,
        })
    }

    fn put_all<'a>(&'a self, _: &'a [(RowKey, Row)]) -> Reply<'a, Metered<Vec<usize>>> {
        unused()
    }

    fn check(&self) -> Reply<'_, ()> {
        unused()
    }
}

impl Bucket for Objects {
    fn list<'a>(
        &'a self,
        prefix: &'a ObjectPrefix,
        delimiter: Option<&'a str>,
        limit: u32,
        token: Option<&'a str>,
    ) -> Reply<'a, ObjectPage> {
        assert_eq!(delimiter, None);
        if let Some(meanwhile) = self.meanwhile.lock().unwrap().take() {
            meanwhile();
        }
        if self.broken {
            return Box::pin(async { Err(Error::new(ErrorKind::AwsUnavailable, "no bucket")) });
        }
        self.pages.fetch_add(1, Ordering::SeqCst);
        let sizes = self.sizes.lock().unwrap();
        let mut objects: Vec<(String, ObjectSummary)> = sizes
            .iter()
            .filter_map(|(key, size)| Some((key.strip_prefix(prefix.root())?.to_owned(), *size)))
            .filter(|(key, _)| self.endless || token.is_none_or(|token| key.as_str() > token))
            .take(limit as usize + 1)
            .map(|(key, size)| {
                let summary = ObjectSummary {
                    size,
                    etag: "e".into(),
                    last_modified: START,
                };
                (key, summary)
            })
            .collect();
        let more = objects.len() > limit as usize;
        objects.truncate(limit as usize);
        ready(ObjectPage {
            next: objects
                .last()
                .filter(|_| more || self.endless)
                .map(|(key, _)| key.clone()),
            objects,
            common_prefixes: Vec::new(),
        })
    }

    fn get<'a>(&'a self, _: &'a ObjectKey, _: Option<ByteRange>, _: u64) -> Reply<'a, GetOutcome> {
        unused()
    }

    fn head<'a>(&'a self, _: &'a ObjectKey) -> Reply<'a, Option<ObjectHead>> {
        unused()
    }

    fn put<'a>(
        &'a self,
        _: &'a ObjectKey,
        _: Bytes,
        _: &'a ObjectAttributes,
        _: ObjectCondition,
    ) -> Reply<'a, PutOutcome> {
        unused()
    }

    fn delete<'a>(&'a self, _: &'a ObjectKey, _: ObjectCondition) -> Reply<'a, bool> {
        unused()
    }

    fn presign_get<'a>(&'a self, _: &'a ObjectKey, _: Duration) -> Reply<'a, Presigned> {
        unused()
    }

    fn presign_put<'a>(
        &'a self,
        _: &'a ObjectKey,
        _: &'a UploadTerms,
        _: Duration,
    ) -> Reply<'a, Presigned> {
        unused()
    }

    fn check(&self) -> Reply<'_, ()> {
        unused()
    }
}

fn quota_of(rows: &Arc<Rows>, objects: &Arc<Objects>, bytes: u64, count: u64) -> ArtifactQuota {
    let limits = Limits {
        artifact_bytes: bytes,
        artifact_objects: count,
        ..Limits::default()
    };
    let acme = "acme".parse().unwrap();
    ArtifactQuota::new(
        Arc::<Rows>::clone(rows),
        Arc::<Objects>::clone(objects),
        Keyspace::of(&acme),
        Arc::new(limits),
    )
}

fn of(bytes: i64, objects: i64) -> ArtifactUse {
    ArtifactUse { bytes, objects }
}

fn store(objects: &Objects, key: &str, size: u64) {
    objects.sizes.lock().unwrap().insert(key.into(), size);
}

#[tokio::test]
async fn it_reserves_up_to_the_edge_and_not_one_byte_or_object_more() {
    let (rows, objects) = (Arc::new(Rows::default()), Arc::new(Objects::default()));
    let quota = quota_of(&rows, &objects, 100, 3);
    store(&objects, "t/acme/t/a", 60);
    store(&objects, "t/acme/t/b", 40);
    quota.reserve(of(60, 1), START).await.unwrap();
    assert_eq!(quota.reserve(of(40, 1), START).await.unwrap().units, 1.0);
    let error = quota.reserve(of(1, 1), START).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
    assert_eq!(
        serde_json::Value::from(error.details().clone()),
        json!({"quota": "artifact_bytes", "allowed": 100, "used": 100})
    );
    quota.reserve(of(0, 1), START).await.unwrap();
    let error = quota.reserve(of(0, 1), START).await.unwrap_err();
    assert_eq!(error.details()["quota"], "artifact_objects");
    assert_eq!(
        quota.used().await.unwrap(),
        of(100, 3),
        "refusals took nothing"
    );
}

#[tokio::test]
async fn what_is_given_back_can_be_reserved_again() {
    let (rows, objects) = (Arc::new(Rows::default()), Arc::new(Objects::default()));
    let quota = quota_of(&rows, &objects, 100, 3);
    quota.reserve(of(100, 1), START).await.unwrap();
    quota.give_back(of(100, 1)).await.unwrap();
    quota.reserve(of(100, 1), START).await.unwrap();
    // A smaller object in a larger one's place frees bytes, also where the quota is exceeded by now.
    let lowered = quota_of(&rows, &objects, 10, 0);
    lowered.reserve(of(-30, 0), START).await.unwrap();
    assert_eq!(quota.used().await.unwrap(), of(70, 1));
}

#[tokio::test]
async fn drift_after_a_crash_is_counted_away_before_a_tenant_is_refused() {
    let (rows, objects) = (Arc::new(Rows::default()), Arc::new(Objects::default()));
    let quota = quota_of(&rows, &objects, 100, 10);
    quota.reserve(of(90, 9), START).await.unwrap();
    // All of them crashed but one; another tenant's objects and event bodies are none of it.
    store(&objects, "t/acme/u/ada/x", 5);
    store(&objects, "t/acme/ev/01J", 70);
    store(&objects, "t/acme2/t/x", 1000);
    store(&objects, "t/acm/t/x", 1000);
    let reserved = quota.reserve(of(95, 1), START).await.unwrap();
    assert!(
        reserved.units >= 5.0,
        "every request was charged: {reserved:?}"
    );
    assert_eq!(quota.used().await.unwrap(), of(100, 2));
}

#[tokio::test]
async fn a_tenant_is_counted_once_in_ten_minutes_over_all_processes() {
    let (rows, objects) = (Arc::new(Rows::default()), Arc::new(Objects::default()));
    let (one, other) = (
        quota_of(&rows, &objects, 100, 10),
        quota_of(&rows, &objects, 100, 10),
    );
    let just_before = START.plus(RECOUNT_INTERVAL).minus(Duration::from_secs(1));
    assert_eq!(one.recount(START).await.unwrap(), Some(of(0, 0)));
    assert_eq!(one.recount(START).await.unwrap(), None);
    assert_eq!(other.recount(just_before).await.unwrap(), None);
    one.reserve(of(100, 1), START).await.unwrap();
    assert!(other.reserve(of(1, 1), just_before).await.is_err());
    assert_eq!(objects.pages.load(Ordering::SeqCst), 1);
    let due = START.plus(RECOUNT_INTERVAL);
    other.reserve(of(1, 1), due).await.unwrap();
    assert_eq!(objects.pages.load(Ordering::SeqCst), 2);
    assert_eq!(
        one.used().await.unwrap(),
        of(1, 1),
        "the reservation never became an object"
    );
}

#[tokio::test]
async fn one_of_two_that_read_the_same_row_counts() {
    let (rows, objects) = (Arc::new(Rows::default()), Arc::new(Objects::default()));
    let quota = quota_of(&rows, &objects, 100, 10);
    let row = quota.read(&mut 0.0).await.unwrap();
    assert!(quota.claim(&row, START, &mut 0.0).await.unwrap());
    assert!(!quota.claim(&row, START, &mut 0.0).await.unwrap());
}

#[tokio::test]
async fn a_clock_that_was_far_ahead_does_not_forbid_counting() {
    let (rows, objects) = (Arc::new(Rows::default()), Arc::new(Objects::default()));
    let quota = quota_of(&rows, &objects, 100, 10);
    let ahead = START.plus(Duration::from_secs(86_400 * 365));
    assert!(quota.recount(ahead).await.unwrap().is_some());
    assert!(quota.recount(START).await.unwrap().is_some());
    assert!(quota.recount(START).await.unwrap().is_none());
}

#[tokio::test]
async fn reservations_during_a_count_are_kept() {
    let (rows, objects) = (Arc::new(Rows::default()), Arc::new(Objects::default()));
    let quota = quota_of(&rows, &objects, 100, 10);
    store(&objects, "t/acme/t/a", 10);
    quota.reserve(of(30, 3), START).await.unwrap();
    let (others, key) = (Arc::clone(&rows), quota.row.clone());
    *objects.meanwhile.lock().unwrap() = Some(Box::new(move || {
        let mut rows = others.0.lock().unwrap();
        let row = rows.get(&key).cloned().unwrap();
        let bytes = row.number(BYTES).unwrap();
        rows.insert(key, row.with(BYTES, Attribute::Number(bytes + 7)));
    }));
    assert_eq!(quota.recount(START).await.unwrap(), Some(of(10, 1)));
    assert_eq!(quota.used().await.unwrap(), of(17, 1));
}

#[tokio::test]
async fn a_count_reads_every_page_and_gives_up_after_the_most() {
    let (rows, objects) = (Arc::new(Rows::default()), Arc::new(Objects::default()));
    let quota = quota_of(&rows, &objects, u64::MAX, u64::MAX);
    for number in 0..2500 {
        store(&objects, &format!("t/acme/t/{number:07}"), 2);
    }
    assert_eq!(quota.recount(START).await.unwrap(), Some(of(5000, 2500)));
    assert_eq!(objects.pages.load(Ordering::SeqCst), 3);
    assert_eq!(quota.used().await.unwrap(), of(5000, 2500));
}

#[tokio::test]
async fn a_count_that_never_ends_changes_nothing() {
    let rows = Arc::new(Rows::default());
    let objects = Arc::new(Objects {
        endless: true,
        ..Objects::default()
    });
    let quota = quota_of(&rows, &objects, 100, 10);
    store(&objects, "t/acme/t/a", 1);
    quota.reserve(of(100, 1), START).await.unwrap();
    let error = quota.reserve(of(1, 1), START).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
    assert_eq!(objects.pages.load(Ordering::SeqCst), RECOUNT_PAGES_MAX);
    assert_eq!(quota.used().await.unwrap(), of(100, 1));
}

#[tokio::test]
async fn where_counting_fails_the_row_is_believed_and_the_log_knows_why() {
    let rows = Arc::new(Rows::default());
    let objects = Arc::new(Objects {
        broken: true,
        ..Objects::default()
    });
    let quota = quota_of(&rows, &objects, 100, 10);
    quota.reserve(of(100, 1), START).await.unwrap();
    let error = quota.reserve(of(1, 1), START).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
    assert!(format!("{error:?}").contains("no bucket"));
    assert!(!error.message().contains("no bucket"));
}
