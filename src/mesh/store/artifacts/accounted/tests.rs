//! The quotas keep step with the bucket, whatever is done at once, uploaded late or never, and counted.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::FutureExt as _;
use futures::future::join_all;
use proptest::prelude::*;

use super::*;
use crate::mesh::limit::artifact_quota::UPLOAD_GRACE;
use crate::mesh::store::bucket::{ByteRange, GetOutcome, ObjectPage, ObjectSummary};
use crate::mesh::store::key::{Keyspace, ObjectPrefix, Partition, RowKey, Scope};
use crate::mesh::store::table::{
    Addition, Attribute, Condition, Page, Range, Replaced, Row, Table, WriteOutcome,
};
use crate::mesh::store::{Metered, Reply};
use crate::mesh::tenant::{Limits, TenantId, UserId};

const START: Timestamp = Timestamp::from_seconds(1_800_000_000);
const LIFETIME: Duration = Duration::from_secs(900);

/// A table and a bucket in memory, for one tenant. Each request lets others go first.
#[derive(Default)]
struct Cloud {
    rows: Mutex<BTreeMap<String, Row>>,
    objects: Mutex<BTreeMap<String, ObjectHead>>,
    writes: AtomicUsize,
    counts: AtomicUsize,
    /// What a write answers instead of what it did.
    breaks: AtomicBool,
    addresses: Mutex<Vec<(ObjectKey, UploadTerms)>>,
}

fn ready<'a, T: Send + 'a>(work: impl FnOnce() -> Result<T, Error> + Send + 'a) -> Reply<'a, T> {
    async move {
        tokio::task::yield_now().await;
        work()
    }
    .boxed()
}

fn metered<T>(value: T) -> Metered<T> {
    Metered { value, units: 1.0 }
}

impl Cloud {
    /// Writes an object as S3 does.
    fn write(
        &self,
        object: &ObjectKey,
        size: u64,
        condition: &ObjectCondition,
        upload: Option<&str>,
    ) -> PutOutcome {
        let mut objects = self.objects.lock().unwrap();
        let held = objects.get(object.key());
        let holds = match condition {
            ObjectCondition::Always => true,
            ObjectCondition::Absent => held.is_none(),
            ObjectCondition::Etag(etag) => held.is_some_and(|held| held.etag == *etag),
        };
        if !holds {
            return PutOutcome::ConditionFailed;
        }
        // As S3's, it is the same for the same content.
        let etag = format!("of {size}");
        let head = ObjectHead {
            size,
            etag: etag.clone(),
            last_modified: START,
            content_type: String::new(),
            metadata: BTreeMap::new(),
            upload: upload.map(str::to_owned),
        };
        objects.insert(object.key().to_owned(), head);
        PutOutcome::Done(etag)
    }

    /// Uses the `number`-th address that was handed out.
    fn upload(&self, number: usize) -> Option<PutOutcome> {
        let (object, terms) = self.addresses.lock().unwrap().get(number)?.clone();
        Some(self.write(&object, terms.size, &terms.condition, Some(&terms.id)))
    }

    fn used(&self) -> ArtifactUse {
        let rows = self.rows.lock().unwrap();
        let number = |name| rows.get("ARTIFACTS").and_then(|row| row.number(name));
        ArtifactUse {
            bytes: number("bytes").unwrap_or(0),
            objects: number("objects").unwrap_or(0),
        }
    }

    fn actual(&self) -> ArtifactUse {
        let objects = self.objects.lock().unwrap();
        objects.values().fold(ArtifactUse::default(), |sum, head| {
            sum.and(whole(head.size))
        })
    }
}

impl Table for Cloud {
    fn get<'a>(&'a self, key: &'a RowKey, _: bool) -> Reply<'a, Metered<Option<Row>>> {
        ready(move || Ok(metered(self.rows.lock().unwrap().get(key.sort()).cloned())))
    }

    fn put<'a>(
        &'a self,
        key: &'a RowKey,
        row: Row,
        condition: Condition,
    ) -> Reply<'a, Metered<WriteOutcome>> {
        ready(move || {
            let mut rows = self.rows.lock().unwrap();
            let held = rows.get(key.sort()).and_then(Row::version);
            let holds = match &condition {
                Condition::Always => true,
                Condition::Absent { .. } => held.is_none(),
                Condition::Version { version, .. } => held == Some(version),
            };
            if !holds {
                return Ok(metered(WriteOutcome::ConditionFailed { current: None }));
            }
            let replaced = Replaced::Known(rows.insert(key.sort().to_owned(), row));
            Ok(metered(WriteOutcome::Done { replaced }))
        })
    }

    fn delete<'a>(
        &'a self,
        key: &'a RowKey,
        condition: Condition,
    ) -> Reply<'a, Metered<WriteOutcome>> {
        ready(move || {
            let Condition::Version { version, .. } = condition else {
                panic!("{condition:?}");
            };
            let mut rows = self.rows.lock().unwrap();
            let held = rows.get(key.sort()).and_then(Row::version);
            if held != Some(&version) {
                return Ok(metered(WriteOutcome::ConditionFailed { current: None }));
            }
            let replaced = Replaced::Known(rows.remove(key.sort()));
            Ok(metered(WriteOutcome::Done { replaced }))
        })
    }

    fn query<'a>(&'a self, _: &'a Partition, range: &'a Range) -> Reply<'a, Metered<Page>> {
        ready(move || {
            let rows = self.rows.lock().unwrap();
            let after = |sort: &str| range.after.as_deref().is_none_or(|after| sort > after);
            let mut found: Vec<_> = rows
                .iter()
                .filter(|(sort, _)| sort.starts_with(&range.prefix) && after(sort))
                .map(|(sort, row)| (sort.clone(), row.clone()))
                .collect();
            let more = found.len() > range.limit as usize;
            found.truncate(range.limit as usize);
            let next = found.last().map(|(sort, _)| sort.clone()).filter(|_| more);
            Ok(metered(Page { rows: found, next }))
        })
    }

    fn add<'a>(&'a self, key: &'a RowKey, additions: &'a [Addition]) -> Reply<'a, Metered<bool>> {
        ready(move || {
            let mut rows = self.rows.lock().unwrap();
            let mut row = rows.get(key.sort()).cloned().unwrap_or_default();
            for addition in additions {
                let sum = row.number(addition.name).unwrap_or(0) + addition.delta;
                if addition.delta > 0 && sum > addition.ceiling {
                    return Ok(metered(false));
                }
                row = row.with(addition.name, Attribute::Number(sum));
            }
            rows.insert(key.sort().to_owned(), row);
            Ok(metered(true))
        })
    }

    fn put_all<'a>(&'a self, _: &'a [(RowKey, Row)]) -> Reply<'a, Metered<Vec<usize>>> {
        unreachable!("artifacts are not written so")
    }

    fn check(&self) -> Reply<'_, ()> {
        ready(move || Ok(()))
    }
}

impl Bucket for Cloud {
    fn get<'a>(&'a self, _: &'a ObjectKey, _: Option<ByteRange>, _: u64) -> Reply<'a, GetOutcome> {
        unreachable!("artifacts are not changed by reading them")
    }

    fn head<'a>(&'a self, key: &'a ObjectKey) -> Reply<'a, Option<ObjectHead>> {
        ready(move || Ok(self.objects.lock().unwrap().get(key.key()).cloned()))
    }

    fn put<'a>(
        &'a self,
        key: &'a ObjectKey,
        body: Bytes,
        _: &'a ObjectAttributes,
        condition: ObjectCondition,
    ) -> Reply<'a, PutOutcome> {
        ready(move || {
            self.writes.fetch_add(1, Ordering::SeqCst);
            let outcome = self.write(key, body.len() as u64, &condition, None);
            if self.breaks.swap(false, Ordering::SeqCst) {
                return Err(Error::new(ErrorKind::AwsUnavailable, "broken").maybe_done());
            }
            Ok(outcome)
        })
    }

    fn delete<'a>(&'a self, key: &'a ObjectKey, condition: ObjectCondition) -> Reply<'a, bool> {
        ready(move || {
            let mut objects = self.objects.lock().unwrap();
            let etag = objects.get(key.key()).map(|head| head.etag.clone());
            let holds = etag.map(ObjectCondition::Etag) == Some(condition);
            if holds {
                objects.remove(key.key());
            }
            Ok(holds)
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a ObjectPrefix,
        _: Option<&'a str>,
        _: u32,
        token: Option<&'a str>,
    ) -> Reply<'a, ObjectPage> {
        ready(move || {
            assert_eq!(token, None);
            self.counts.fetch_add(1, Ordering::SeqCst);
            let objects = self.objects.lock().unwrap();
            let summary = |(key, head): (&String, &ObjectHead)| {
                let summary = ObjectSummary {
                    size: head.size,
                    etag: head.etag.clone(),
                    last_modified: START,
                };
                (key.strip_prefix(prefix.root()).unwrap().to_owned(), summary)
            };
            Ok(ObjectPage {
                objects: objects.iter().map(summary).collect(),
                ..ObjectPage::default()
            })
        })
    }

    fn presign_get<'a>(&'a self, _: &'a ObjectKey, _: Duration) -> Reply<'a, Presigned> {
        unreachable!("artifacts are not changed by reading them")
    }

    fn presign_put<'a>(
        &'a self,
        key: &'a ObjectKey,
        terms: &'a UploadTerms,
        _: Duration,
    ) -> Reply<'a, Presigned> {
        ready(move || {
            let refusal = Error::new(ErrorKind::NotSupported, "no addresses here");
            if self.breaks.swap(false, Ordering::SeqCst) {
                return Err(refusal);
            }
            let mut addresses = self.addresses.lock().unwrap();
            addresses.push((key.clone(), terms.clone()));
            let url = addresses.len().to_string();
            let headers = Vec::new();
            Ok(Presigned { url, headers })
        })
    }

    fn check(&self) -> Reply<'_, ()> {
        ready(move || Ok(()))
    }
}

/// One tenant over its cloud.
#[derive(Clone)]
struct Tenant {
    cloud: Arc<Cloud>,
    bucket: Arc<dyn Bucket>,
    bytes_max: u64,
    now: Timestamp,
}

fn key(number: u8) -> ObjectKey {
    let (tenant, user): (TenantId, UserId) = ("acme".parse().unwrap(), "ada".parse().unwrap());
    Keyspace::of(&tenant).artifact(Scope::User, &user, &number.to_string())
}

impl Tenant {
    fn with(bytes_max: u64) -> Self {
        let cloud = Arc::new(Cloud::default());
        Self {
            bucket: Arc::<Cloud>::clone(&cloud),
            cloud,
            bytes_max,
            now: START,
        }
    }

    fn quota(&self) -> ArtifactQuota {
        let limits = Limits {
            artifact_bytes: self.bytes_max,
            artifact_objects: self.bytes_max,
            ..Limits::default()
        };
        ArtifactQuota::new(
            Arc::<Cloud>::clone(&self.cloud),
            Arc::clone(&self.bucket),
            Keyspace::of(&"acme".parse().unwrap()),
            Arc::new(limits),
        )
    }

    fn change(&self) -> Accounted<'_> {
        Accounted::new(&self.bucket, self.quota(), self.now)
    }

    async fn put(&self, number: u8, size: u64) -> Result<Stored, Error> {
        self.put_if(number, size, ObjectCondition::Always).await
    }

    async fn put_if(
        &self,
        number: u8,
        size: u64,
        wanted: ObjectCondition,
    ) -> Result<Stored, Error> {
        let body = Bytes::from(vec![0; usize::try_from(size).unwrap()]);
        let attributes = ObjectAttributes::default();
        self.change()
            .put(&key(number), body, &attributes, &wanted)
            .await
    }

    async fn delete(&self, number: u8) -> Option<bool> {
        let always = ObjectCondition::Always;
        self.change()
            .delete(&key(number), &always)
            .await
            .unwrap_or(None)
    }

    async fn address(&self, number: u8, size: u64) -> Result<Option<Presigned>, Error> {
        let terms = UploadTerms {
            size,
            sha256_base64: String::new(),
            attributes: ObjectAttributes::default(),
            condition: ObjectCondition::Always,
            id: String::new(),
        };
        self.change().presign(&key(number), terms, LIFETIME).await
    }

    async fn end_uploads(&self) {
        self.quota().end_uploads(self.now, &mut 0.0).await;
    }
}

fn of(bytes: i64, objects: i64) -> ArtifactUse {
    ArtifactUse { bytes, objects }
}

#[tokio::test]
async fn overwrites_and_deletions_at_once_leave_the_quotas_exact() {
    let tenant = Tenant::with(u64::MAX);
    for round in 0..50_u64 {
        tenant.put(0, 1000 + round).await.unwrap();
        let (two, three) = (tenant.put(0, 10), tenant.put(0, 20 + round));
        let (two, three, gone) = tokio::join!(two, three, tenant.delete(0));
        two.unwrap();
        three.unwrap();
        let _ = gone;
        assert_eq!(tenant.cloud.used(), tenant.cloud.actual(), "round {round}");
    }
}

#[tokio::test]
async fn an_artifact_that_changes_without_end_is_stored_all_the_same_and_counts_too_much() {
    let tenant = Tenant::with(u64::MAX);
    tenant.put(0, 100).await.unwrap();
    let calls = (1..40).map(|size| tenant.put(0, size));
    let stored = join_all(calls).await;
    assert!(
        stored
            .iter()
            .all(|stored| matches!(stored.as_ref().unwrap().outcome, PutOutcome::Done(_)))
    );
    let (used, actual) = (tenant.cloud.used(), tenant.cloud.actual());
    assert!(
        used.bytes >= actual.bytes && used.objects >= actual.objects,
        "{used:?} {actual:?}"
    );
    assert!(tenant.cloud.writes.load(Ordering::SeqCst) <= 40 * (ROUNDS_MAX + 1));
    tenant.quota().recount(START).await.unwrap();
    assert_eq!(tenant.cloud.used(), actual);
}

#[tokio::test]
async fn a_condition_that_does_not_hold_takes_nothing() {
    let tenant = Tenant::with(100);
    let failed = |stored: Result<Stored, Error>| {
        assert_eq!(stored.unwrap().outcome, PutOutcome::ConditionFailed);
    };
    let etag = |text: &str| ObjectCondition::Etag(text.to_owned());
    failed(tenant.put_if(0, 90, etag("of 5")).await);
    tenant.put_if(0, 60, ObjectCondition::Absent).await.unwrap();
    // More than the quota has room for, and not refused by it.
    failed(tenant.put_if(0, 1000, ObjectCondition::Absent).await);
    failed(tenant.put_if(0, 1000, etag("of 5")).await);
    assert_eq!(tenant.cloud.used(), of(60, 1));
    tenant.put_if(0, 100, etag("of 60")).await.unwrap();
    assert_eq!(tenant.cloud.used(), of(100, 1));
}

#[tokio::test]
async fn what_may_have_been_stored_counts() {
    let tenant = Tenant::with(100);
    tenant.cloud.breaks.store(true, Ordering::SeqCst);
    assert!(tenant.put(0, 40).await.unwrap_err().may_be_done());
    assert_eq!(tenant.cloud.used(), tenant.cloud.actual());
    tenant.quota().recount(START).await.unwrap().unwrap();
    tenant.cloud.breaks.store(true, Ordering::SeqCst);
    assert!(tenant.put(0, 30).await.unwrap_err().may_be_done());
    assert_eq!(tenant.cloud.used(), of(40, 1), "it may not be there");
    tenant.put(1, 70).await.unwrap();
    assert_eq!(
        tenant.cloud.used(),
        tenant.cloud.actual(),
        "it was counted, and so soon"
    );
}

#[tokio::test]
async fn an_upload_that_never_comes_stops_counting_when_its_place_ends() {
    let mut tenant = Tenant::with(100);
    tenant.quota().recount(START).await.unwrap();
    tenant.address(0, 100).await.unwrap().unwrap();
    assert_eq!(
        tenant.put(1, 1).await.unwrap_err().kind(),
        ErrorKind::QuotaExceeded
    );
    tenant.now = START
        .plus(LIFETIME + UPLOAD_GRACE)
        .minus(Duration::from_millis(1));
    assert_eq!(
        tenant.put(1, 1).await.unwrap_err().kind(),
        ErrorKind::QuotaExceeded
    );
    assert_eq!(tenant.cloud.used(), of(100, 1), "also where it was counted");
    let counts = tenant.cloud.counts.load(Ordering::SeqCst);
    tenant.now = START.plus(LIFETIME + UPLOAD_GRACE);
    tenant.put(1, 100).await.unwrap();
    assert_eq!(tenant.cloud.used(), of(100, 1));
    assert_eq!(
        tenant.cloud.counts.load(Ordering::SeqCst),
        counts,
        "it need not be counted"
    );
    assert_eq!(
        tenant.cloud.rows.lock().unwrap().len(),
        1,
        "nothing else is left of it"
    );
}

#[tokio::test]
async fn an_upload_that_comes_becomes_ordinary_use() {
    let mut tenant = Tenant::with(100);
    tenant.put(0, 30).await.unwrap();
    tenant.address(0, 80).await.unwrap().unwrap();
    assert_eq!(tenant.cloud.used(), of(80, 1));
    assert!(matches!(tenant.cloud.upload(0), Some(PutOutcome::Done(_))));
    tenant.quota().recount(tenant.now).await.unwrap();
    assert_eq!(
        tenant.cloud.used(),
        of(80, 1),
        "counted while its place is held"
    );
    tenant.now = START.plus(LIFETIME + UPLOAD_GRACE);
    tenant.end_uploads().await;
    assert_eq!(tenant.cloud.used(), of(80, 1));
    assert_eq!(tenant.delete(0).await, Some(true));
    assert_eq!(tenant.cloud.used(), of(0, 0));
}

#[tokio::test]
async fn an_address_that_is_used_again_after_a_deletion_is_still_paid_for() {
    let mut tenant = Tenant::with(100);
    tenant.address(0, 60).await.unwrap().unwrap();
    for _ in 0..2 {
        assert!(matches!(tenant.cloud.upload(0), Some(PutOutcome::Done(_))));
        assert_eq!(
            tenant.cloud.upload(0),
            Some(PutOutcome::ConditionFailed),
            "only once"
        );
        assert_eq!(tenant.delete(0).await, Some(true));
        assert_eq!(tenant.cloud.used(), of(60, 1), "the address is still good");
    }
    tenant.cloud.upload(0).unwrap();
    tenant.now = START.plus(LIFETIME + UPLOAD_GRACE);
    tenant.end_uploads().await;
    assert_eq!(tenant.cloud.used(), tenant.cloud.actual());
    assert_eq!(tenant.cloud.used(), of(60, 1));
}

#[tokio::test]
async fn a_place_ends_once_whoever_ends_it() {
    let mut tenant = Tenant::with(1000);
    for number in 0..5 {
        tenant.address(number, 100).await.unwrap().unwrap();
    }
    tenant.cloud.upload(2);
    tenant.now = START.plus(LIFETIME + UPLOAD_GRACE);
    let all = (0..4).map(|_| tenant.end_uploads());
    join_all(all).await;
    assert_eq!(tenant.cloud.used(), of(100, 1));
}

#[tokio::test]
async fn an_address_that_cannot_be_made_holds_no_place() {
    let tenant = Tenant::with(100);
    tenant.cloud.breaks.store(true, Ordering::SeqCst);
    tenant.address(0, 60).await.unwrap_err();
    assert_eq!(tenant.cloud.used(), of(0, 0));
    assert_eq!(tenant.cloud.rows.lock().unwrap().len(), 1);
    let error = tenant.address(0, 101).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
    tenant.put(0, 10).await.unwrap();
    let terms = UploadTerms {
        size: 5,
        sha256_base64: String::new(),
        attributes: ObjectAttributes::default(),
        condition: ObjectCondition::Absent,
        id: String::new(),
    };
    let address = tenant.change().presign(&key(0), terms, LIFETIME).await;
    assert_eq!(address.unwrap(), None, "its condition does not hold");
    assert_eq!(tenant.cloud.used(), of(10, 1));
}

/// Something that happens to a tenant's artifacts.
#[derive(Clone, Debug)]
enum Step {
    Put(u8, u64),
    Delete(u8),
    Address(u8, u64),
    Upload(usize),
    /// So many minutes pass.
    Wait(u64),
    EndUploads,
    Count,
    /// Two changes of one artifact at once.
    Both(u8, u64, Option<u64>),
}

fn step() -> impl Strategy<Value = Step> {
    let (number, size) = (0..2_u8, 0..5_u64);
    prop_oneof![
        (number.clone(), size.clone()).prop_map(|(number, size)| Step::Put(number, size)),
        number.clone().prop_map(Step::Delete),
        (number.clone(), size.clone()).prop_map(|(number, size)| Step::Address(number, size)),
        (0..6_usize).prop_map(Step::Upload),
        (0..30_u64).prop_map(Step::Wait),
        Just(Step::EndUploads),
        Just(Step::Count),
        (number, size.clone(), prop::option::of(size))
            .prop_map(|(number, one, other)| Step::Both(number, one, other)),
    ]
}

async fn follow(steps: &[Step]) {
    let mut tenant = Tenant::with(u64::MAX / 8);
    let mut ends = Vec::new();
    let never_too_empty = |tenant: &Tenant, step: &Step| {
        let (used, actual) = (tenant.cloud.used(), tenant.cloud.actual());
        assert!(
            used.bytes >= actual.bytes && used.objects >= actual.objects,
            "{used:?} of {actual:?} after {step:?} of {steps:?}"
        );
    };
    for step in steps {
        match *step {
            Step::Put(number, size) => drop(tenant.put(number, size).await.unwrap()),
            Step::Delete(number) => drop(tenant.delete(number).await),
            Step::Address(number, size) => {
                tenant.address(number, size).await.unwrap().unwrap();
                ends.push(tenant.now.plus(LIFETIME));
            }
            Step::Upload(number) if ends.get(number).is_some_and(|end| tenant.now < *end) => {
                tenant.cloud.upload(number);
            }
            Step::Upload(_) => {}
            Step::Wait(minutes) => tenant.now = tenant.now.plus(Duration::from_mins(minutes)),
            Step::EndUploads => tenant.end_uploads().await,
            Step::Count => drop(tenant.quota().recount(tenant.now).await.unwrap()),
            Step::Both(number, one, Some(other)) => {
                let (one, other) = tokio::join!(tenant.put(number, one), tenant.put(number, other));
                one.and(other).unwrap();
            }
            Step::Both(number, one, None) => {
                let (one, _) = tokio::join!(tenant.put(number, one), tenant.delete(number));
                one.unwrap();
            }
        }
        never_too_empty(&tenant, step);
    }
    // An hour later every place has ended, and a count finds the very use.
    tenant.now = tenant.now.plus(Duration::from_hours(1));
    tenant.end_uploads().await;
    never_too_empty(&tenant, &Step::EndUploads);
    if ends.is_empty() {
        assert_eq!(tenant.cloud.used(), tenant.cloud.actual(), "{steps:?}");
    }
    tenant.now = tenant.now.plus(Duration::from_hours(1));
    tenant.quota().recount(tenant.now).await.unwrap().unwrap();
    assert_eq!(tenant.cloud.used(), tenant.cloud.actual(), "{steps:?}");
}

proptest! {
    #[test]
    fn whatever_happens_the_quotas_are_never_too_empty_and_a_count_is_exact(
        steps in prop::collection::vec(step(), 0..24),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(follow(&steps));
    }
}
