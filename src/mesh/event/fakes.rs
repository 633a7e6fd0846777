//! Stand-ins for table, bucket and bus that keep what they are given and fail as they are told.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use serde_json::value::RawValue;
use ulid::Ulid;

use super::record::{Event, Outcome, Priority};
use crate::mesh::store::bucket::{
    Bucket, ByteRange, GetOutcome, Object, ObjectAttributes, ObjectCondition, ObjectHead,
    ObjectPage, ObjectSummary, Presigned, PutOutcome, UploadTerms,
};
use crate::mesh::store::bus::{Bus, BusEntry, EntryFault};
use crate::mesh::store::key::{ObjectKey, ObjectPrefix, Partition, RowKey};
use crate::mesh::store::table::{
    Addition, Attribute, Condition, Page, Range, Replaced, Row, Table, WriteOutcome,
};
use crate::mesh::store::{Metered, Reply};
use crate::mesh::tenant::record::TenantDirectory;
use crate::mesh::tenant::{TenantId, TenantRecord, TenantStatus};
use crate::mesh::{Clock, Error, ErrorKind, SystemClock, Timestamp};

/// An event of `tenant` that happened at `millis`.
pub(crate) fn event(tenant: &str, millis: u64) -> Event {
    Event {
        event_id: Ulid::from_parts(millis, Ulid::generate().random()),
        time: Timestamp::from_millis(i64::try_from(millis).unwrap()),
        detail_type: "KV.Set".into(),
        tenant_id: tenant.parse().unwrap(),
        user_id: "ada".parse().unwrap(),
        org_id: None,
        tool: "kv_set".into(),
        outcome: Outcome::Ok,
        error_code: None,
        count: None,
        request_id: Ulid::from_parts(millis, 1),
        trace_id: None,
        duration_ms: 1.5,
        bytes: None,
        source: None,
        priority: Priority::Medium,
        tags: None,
        cause: None,
        depth: 0,
        data: RawValue::from_string(r#"{"key":"a/b"}"#.to_owned()).unwrap(),
    }
}

/// A table in memory.
#[derive(Default)]
pub(crate) struct FakeTable {
    pub(crate) rows: Mutex<BTreeMap<(String, String), Row>>,
    /// Partitions that begin so are throttled.
    pub(crate) throttled: Mutex<BTreeSet<String>>,
    /// Every call fails.
    pub(crate) is_down: AtomicBool,
    /// Rows whose sort key is one of these are refused as wrong, and with them their whole batch.
    pub(crate) poison: Mutex<BTreeSet<String>>,
    /// Of every so many rows of a batch one is left over, as a table that is busy does.
    pub(crate) flaky: AtomicU64,
    pub(crate) seen: AtomicU64,
    /// Events that were there already when they were put.
    pub(crate) again: AtomicUsize,
    pub(crate) puts: AtomicUsize,
    pub(crate) gets: AtomicUsize,
    pub(crate) queries: AtomicUsize,
    /// How many bytes queries have read.
    pub(crate) bytes_read: AtomicUsize,
    /// How long each call takes.
    pub(crate) delay: Mutex<Duration>,
}

impl FakeTable {
    /// The texts of all rows' `detail` in partitions that begin so.
    pub(crate) fn details(&self, partition: &str) -> Vec<serde_json::Value> {
        let rows = self.rows.lock().unwrap();
        rows.iter()
            .filter(|((held, _), _)| held.starts_with(partition))
            .filter_map(|(_, row)| row.text("detail"))
            .map(|text| serde_json::from_str(text).unwrap())
            .collect()
    }

    fn is_throttled(&self, partition: &str) -> bool {
        let throttled = self.throttled.lock().unwrap();
        throttled.iter().any(|prefix| partition.starts_with(prefix))
    }

    fn leaves_over(&self) -> bool {
        let flaky = self.flaky.load(Ordering::SeqCst);
        flaky > 0
            && self
                .seen
                .fetch_add(1, Ordering::SeqCst)
                .is_multiple_of(flaky)
    }

    async fn begin(&self) -> Result<(), Error> {
        let delay = *self.delay.lock().unwrap();
        if delay > Duration::ZERO {
            tokio::time::sleep(delay).await;
        }
        if self.is_down.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::AwsUnavailable, "the table is down"));
        }
        Ok(())
    }

    fn page(&self, partition: &Partition, range: &Range) -> Page {
        const PAGE_BYTES: usize = 1 << 20;
        let rows = self.rows.lock().unwrap();
        let mut held: Vec<_> = rows
            .iter()
            .filter(|((name, sort), _)| {
                name == partition.key()
                    && sort.starts_with(&range.prefix)
                    && range.from.as_ref().is_none_or(|from| sort >= from)
                    && range.to.as_ref().is_none_or(|to| sort <= to)
            })
            .map(|((_, sort), row)| (sort.clone(), row.clone()))
            .collect();
        if range.descending {
            held.reverse();
        }
        if let Some(after) = &range.after {
            held.retain(|(sort, _)| {
                if range.descending {
                    sort < after
                } else {
                    sort > after
                }
            });
        }
        let mut page = Page::default();
        let mut bytes = 0;
        for (sort, row) in held {
            if page.rows.len() as u32 >= range.limit || bytes >= PAGE_BYTES {
                page.next = page.rows.last().map(|(sort, _)| sort.clone());
                break;
            }
            bytes += row_bytes(&row);
            page.rows.push((sort, row));
        }
        self.bytes_read.fetch_add(bytes, Ordering::SeqCst);
        page
    }
}

fn row_bytes(row: &Row) -> usize {
    row.clone()
        .into_attributes()
        .map(|(name, attribute)| {
            name.len()
                + match attribute {
                    Attribute::Text(text) => text.len(),
                    Attribute::Number(_) => 8,
                    Attribute::Bytes(bytes) => bytes.len(),
                }
        })
        .sum()
}

fn metered<T>(value: T) -> Metered<T> {
    Metered { value, units: 1.0 }
}

impl Table for FakeTable {
    fn get<'a>(&'a self, key: &'a RowKey, _consistent: bool) -> Reply<'a, Metered<Option<Row>>> {
        async move {
            self.begin().await?;
            self.gets.fetch_add(1, Ordering::SeqCst);
            if self.is_throttled(key.partition()) {
                return Err(Error::new(ErrorKind::AwsThrottled, "throttled"));
            }
            let rows = self.rows.lock().unwrap();
            let key = (key.partition().to_owned(), key.sort().to_owned());
            Ok(metered(rows.get(&key).cloned()))
        }
        .boxed()
    }

    fn put<'a>(
        &'a self,
        key: &'a RowKey,
        row: Row,
        condition: Condition,
    ) -> Reply<'a, Metered<WriteOutcome>> {
        async move {
            if let Condition::Absent { .. } = condition
                && let Some(current) = self.get(key, true).await?.value
            {
                let current = Some(current);
                return Ok(metered(WriteOutcome::ConditionFailed { current }));
            }
            let failed = self.put_all(&[(key.clone(), row)]).await?;
            assert!(failed.value.is_empty());
            let replaced = Replaced::Known(None);
            Ok(metered(WriteOutcome::Done { replaced }))
        }
        .boxed()
    }

    fn delete<'a>(
        &'a self,
        _key: &'a RowKey,
        _condition: Condition,
    ) -> Reply<'a, Metered<WriteOutcome>> {
        unreachable!("events are never deleted")
    }

    fn query<'a>(&'a self, partition: &'a Partition, range: &'a Range) -> Reply<'a, Metered<Page>> {
        async move {
            self.begin().await?;
            self.queries.fetch_add(1, Ordering::SeqCst);
            if self.is_throttled(partition.key()) {
                return Err(Error::new(ErrorKind::AwsThrottled, "throttled"));
            }
            Ok(metered(self.page(partition, range)))
        }
        .boxed()
    }

    fn add<'a>(&'a self, key: &'a RowKey, additions: &'a [Addition]) -> Reply<'a, Metered<bool>> {
        async move {
            self.begin().await?;
            if self.is_throttled(key.partition()) {
                return Err(Error::new(ErrorKind::AwsThrottled, "throttled"));
            }
            let mut rows = self.rows.lock().unwrap();
            let key = (key.partition().to_owned(), key.sort().to_owned());
            let mut row = rows.get(&key).cloned().unwrap_or_default();
            for &Addition {
                name,
                delta,
                ceiling,
            } in additions
            {
                let sum = row.number(name).unwrap_or(0) + delta;
                if delta > 0 && sum > ceiling {
                    return Ok(metered(false));
                }
                row = row.with_number(name, sum);
            }
            rows.insert(key, row);
            Ok(metered(true))
        }
        .boxed()
    }

    fn put_all<'a>(&'a self, rows: &'a [(RowKey, Row)]) -> Reply<'a, Metered<Vec<usize>>> {
        async move {
            self.begin().await?;
            self.puts.fetch_add(1, Ordering::SeqCst);
            {
                let poison = self.poison.lock().unwrap();
                if rows.iter().any(|(key, _)| poison.contains(key.sort())) {
                    return Err(Error::new(ErrorKind::InvalidParameter, "a row is wrong"));
                }
            }
            let mut failed = Vec::new();
            for (at, (key, row)) in rows.iter().enumerate() {
                if self.is_throttled(key.partition()) || (rows.len() > 1 && self.leaves_over()) {
                    failed.push(at);
                    continue;
                }
                let is_event = key.partition().contains("#EV#") && !key.sort().starts_with('#');
                let key = (key.partition().to_owned(), key.sort().to_owned());
                let before = self.rows.lock().unwrap().insert(key, row.clone());
                if is_event && before.is_some() {
                    self.again.fetch_add(1, Ordering::SeqCst);
                }
            }
            Ok(metered(failed))
        }
        .boxed()
    }

    fn check(&self) -> Reply<'_, ()> {
        self.begin().boxed()
    }
}

/// A bucket in memory.
#[derive(Default)]
pub(crate) struct FakeBucket {
    pub(crate) objects: Mutex<BTreeMap<String, Bytes>>,
    pub(crate) is_down: AtomicBool,
    /// Keys that begin so cannot be written.
    pub(crate) closed: Mutex<BTreeSet<String>>,
    /// When everything in it was written; nothing for this moment.
    pub(crate) modified: Mutex<Option<Timestamp>>,
    /// Writes never end.
    pub(crate) hangs: AtomicBool,
    pub(crate) lists: AtomicUsize,
    pub(crate) gets: AtomicUsize,
}

impl FakeBucket {
    fn begin(&self) -> Result<(), Error> {
        if self.is_down.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::AwsUnavailable, "the bucket is down"));
        }
        Ok(())
    }

    /// The keys that begin so.
    pub(crate) fn keys(&self, prefix: &str) -> Vec<String> {
        let objects = self.objects.lock().unwrap();
        let held = objects.keys().filter(|key| key.starts_with(prefix));
        held.cloned().collect()
    }
}

fn etag(body: &Bytes) -> String {
    format!("{:08x}", crc32fast::hash(body))
}

impl Bucket for FakeBucket {
    fn get<'a>(
        &'a self,
        key: &'a ObjectKey,
        _range: Option<ByteRange>,
        bytes_max: u64,
    ) -> Reply<'a, GetOutcome> {
        async move {
            self.begin()?;
            self.gets.fetch_add(1, Ordering::SeqCst);
            let modified = *self.modified.lock().unwrap();
            let objects = self.objects.lock().unwrap();
            let Some(body) = objects.get(key.key()) else {
                return Ok(GetOutcome::Absent);
            };
            let kept = body.len().min(usize::try_from(bytes_max).unwrap());
            Ok(GetOutcome::Found(Object {
                head: ObjectHead {
                    size: body.len() as u64,
                    etag: etag(body),
                    last_modified: modified.unwrap_or_else(|| SystemClock::new().now()),
                    content_type: "application/json".to_owned(),
                    metadata: BTreeMap::new(),
                    upload: None,
                },
                body: body.slice(..kept),
                offset: 0,
            }))
        }
        .boxed()
    }

    fn head<'a>(&'a self, _key: &'a ObjectKey) -> Reply<'a, Option<ObjectHead>> {
        unreachable!("bodies are not asked about")
    }

    fn put<'a>(
        &'a self,
        key: &'a ObjectKey,
        body: Bytes,
        _attributes: &'a ObjectAttributes,
        condition: ObjectCondition,
    ) -> Reply<'a, PutOutcome> {
        async move {
            tokio::task::yield_now().await;
            self.begin()?;
            if self.hangs.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            let is_closed = |prefix: &String| key.key().starts_with(prefix);
            if self.closed.lock().unwrap().iter().any(is_closed) {
                return Err(Error::new(ErrorKind::AwsUnavailable, "not there"));
            }
            let mut objects = self.objects.lock().unwrap();
            let held = objects.get(key.key());
            let holds = match condition {
                ObjectCondition::Always => true,
                ObjectCondition::Absent => held.is_none(),
                ObjectCondition::Etag(wanted) => held.is_some_and(|held| etag(held) == wanted),
            };
            if !holds {
                return Ok(PutOutcome::ConditionFailed);
            }
            let tag = etag(&body);
            objects.insert(key.key().to_owned(), body);
            Ok(PutOutcome::Done(tag))
        }
        .boxed()
    }

    fn delete<'a>(&'a self, key: &'a ObjectKey, condition: ObjectCondition) -> Reply<'a, bool> {
        async move {
            self.begin()?;
            assert_eq!(condition, ObjectCondition::Always);
            self.objects.lock().unwrap().remove(key.key());
            Ok(true)
        }
        .boxed()
    }

    fn list<'a>(
        &'a self,
        prefix: &'a ObjectPrefix,
        _delimiter: Option<&'a str>,
        limit: u32,
        token: Option<&'a str>,
    ) -> Reply<'a, ObjectPage> {
        async move {
            self.begin()?;
            self.lists.fetch_add(1, Ordering::SeqCst);
            let mut keys = self.keys(&prefix.full());
            keys.retain(|key| token.is_none_or(|token| key.as_str() > token));
            let has_more = keys.len() > limit as usize;
            keys.truncate(limit as usize);
            let objects = self.objects.lock().unwrap();
            let summary = |key: &String| ObjectSummary {
                size: objects[key].len() as u64,
                etag: etag(&objects[key]),
                last_modified: Timestamp::from_millis(0),
            };
            let relative = |key: &String| key[prefix.root().len()..].to_owned();
            Ok(ObjectPage {
                objects: keys
                    .iter()
                    .map(|key| (relative(key), summary(key)))
                    .collect(),
                common_prefixes: Vec::new(),
                next: keys.last().filter(|_| has_more).cloned(),
            })
        }
        .boxed()
    }

    fn presign_get<'a>(&'a self, _key: &'a ObjectKey, _lifetime: Duration) -> Reply<'a, Presigned> {
        unreachable!("bodies are never presigned")
    }

    fn presign_put<'a>(
        &'a self,
        _key: &'a ObjectKey,
        _terms: &'a UploadTerms,
        _lifetime: Duration,
    ) -> Reply<'a, Presigned> {
        unreachable!("bodies are never presigned")
    }

    fn check(&self) -> Reply<'_, ()> {
        async move { self.begin() }.boxed()
    }
}

/// A bus in memory.
#[derive(Default)]
pub(crate) struct FakeBus {
    pub(crate) entries: Mutex<Vec<BusEntry>>,
    pub(crate) is_down: AtomicBool,
    /// Entries of these detail types are refused with that kind.
    pub(crate) refused: Mutex<HashMap<String, ErrorKind>>,
    /// Entries of these sources are refused with that kind.
    pub(crate) sources: Mutex<HashMap<String, ErrorKind>>,
    /// Of every so many entries one is refused once, as a bus that is busy does.
    pub(crate) flaky: AtomicU64,
    pub(crate) seen: AtomicU64,
    /// Requests, those that came while it was down included.
    pub(crate) tries: AtomicUsize,
    pub(crate) puts: AtomicUsize,
    pub(crate) largest: AtomicUsize,
}

impl FakeBus {
    /// Every detail that was put, in order.
    pub(crate) fn details(&self) -> Vec<serde_json::Value> {
        let entries = self.entries.lock().unwrap();
        entries
            .iter()
            .map(|entry| serde_json::from_str(&entry.detail).unwrap())
            .collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.entries.lock().unwrap().len()
    }

    fn fault(&self, entry: &BusEntry) -> Option<ErrorKind> {
        let flaky = self.flaky.load(Ordering::SeqCst);
        let seen = self.seen.fetch_add(1, Ordering::SeqCst);
        if flaky > 0 && seen.is_multiple_of(flaky) {
            return Some(ErrorKind::AwsThrottled);
        }
        let by_type = self
            .refused
            .lock()
            .unwrap()
            .get(&entry.detail_type)
            .copied();
        by_type.or_else(|| self.sources.lock().unwrap().get(&entry.source).copied())
    }
}

impl Bus for FakeBus {
    fn put<'a>(&'a self, entries: &'a [BusEntry]) -> Reply<'a, Vec<Result<(), EntryFault>>> {
        async move {
            tokio::task::yield_now().await;
            self.tries.fetch_add(1, Ordering::SeqCst);
            if self.is_down.load(Ordering::SeqCst) {
                return Err(Error::new(ErrorKind::AwsUnavailable, "the bus is down"));
            }
            self.puts.fetch_add(1, Ordering::SeqCst);
            assert!((1..=10).contains(&entries.len()));
            let bytes: usize = entries.iter().map(BusEntry::size).sum();
            assert!(bytes <= 1 << 20);
            self.largest.fetch_max(entries.len(), Ordering::SeqCst);
            let mut answers = Vec::new();
            for entry in entries {
                answers.push(match self.fault(entry) {
                    Some(kind) => Err(EntryFault {
                        kind,
                        message: "no".to_owned(),
                    }),
                    None => {
                        self.entries.lock().unwrap().push(entry.clone());
                        Ok(())
                    }
                });
            }
            Ok(answers)
        }
        .boxed()
    }

    fn check(&self) -> Reply<'_, ()> {
        async move { Ok(()) }.boxed()
    }
}

/// Every tenant is known and spreads its events over so many shards.
pub(crate) struct FakeDirectory(pub(crate) u16);

impl TenantDirectory for FakeDirectory {
    fn find(&self, tenant: &TenantId) -> Option<Arc<TenantRecord>> {
        Some(Arc::new(TenantRecord {
            id: tenant.clone(),
            status: TenantStatus::Active,
            issuers: Vec::new(),
            event_shards: self.0,
            limits: Arc::default(),
            workflows: Default::default(),
            alert_topics: Default::default(),
        }))
    }
}
