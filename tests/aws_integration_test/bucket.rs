//! What the bucket does, on every backend.

use std::collections::BTreeMap;
use std::time::Duration;

use agent_mesh::mesh::ErrorKind;
use agent_mesh::mesh::store::Bucket;
use agent_mesh::mesh::store::bucket::{
    ByteRange, GetOutcome, Object, ObjectAttributes, ObjectCondition, PutOutcome, UploadTerms,
};
use agent_mesh::outbound::aws::bucket::PART_BYTES;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::backend::Stage;

crate::cases![
    what_is_stored_is_read,
    an_empty_object_is_one,
    metadata_comes_back_as_it_was,
    ranges_are_read,
    ranges_outside_are_told,
    reading_is_cut_at_its_limit,
    an_absent_object_is_absent,
    an_object_is_created_once,
    an_object_is_replaced_by_its_tag,
    deleting_takes_away,
    deleting_compares_tags,
    listing_is_relative_and_in_order,
    listing_goes_on_where_it_stopped,
    listing_stops_at_a_delimiter,
    listing_tells_strange_keys_as_they_are,
    a_large_object_goes_in_parts,
    parts_keep_their_condition,
    a_strangers_bucket_is_refused,
    addresses_are_handed_out,
    the_bucket_is_checked,
];

fn attributes() -> ObjectAttributes {
    ObjectAttributes {
        content_type: "text/plain".to_owned(),
        metadata: BTreeMap::new(),
    }
}

fn etag(outcome: PutOutcome) -> String {
    match outcome {
        PutOutcome::Done(etag) => {
            assert!(!etag.is_empty() && !etag.contains('"'), "{etag}");
            etag
        }
        PutOutcome::ConditionFailed => panic!("the condition did not hold"),
    }
}

impl Stage {
    pub(crate) async fn store(
        &self,
        name: &str,
        body: &[u8],
        condition: ObjectCondition,
    ) -> PutOutcome {
        let (key, body) = (self.object(name), Bytes::copy_from_slice(body));
        let stored = self.bucket.put(&key, body, &attributes(), condition).await;
        stored.unwrap()
    }

    async fn read(&self, name: &str, range: Option<ByteRange>, bytes_max: u64) -> GetOutcome {
        let key = self.object(name);
        self.bucket.get(&key, range, bytes_max).await.unwrap()
    }

    pub(crate) async fn content(&self, name: &str) -> Option<Bytes> {
        match self.read(name, None, 1 << 30).await {
            GetOutcome::Found(object) => Some(object.body),
            _ => None,
        }
    }

    async fn names(&self, prefix: &str) -> Vec<String> {
        let prefix = self.prefix(prefix);
        let page = self.bucket.list(&prefix, None, 1000, None).await.unwrap();
        page.objects.into_iter().map(|(name, _)| name).collect()
    }
}

fn found(outcome: GetOutcome) -> Object {
    match outcome {
        GetOutcome::Found(object) => object,
        other => panic!("{other:?}"),
    }
}

async fn what_is_stored_is_read(stage: Stage) {
    let tag = etag(
        stage
            .store("a.txt", b"hello", ObjectCondition::Always)
            .await,
    );
    let object = found(stage.read("a.txt", None, 1000).await);
    assert_eq!(object.body, "hello");
    assert_eq!(object.offset, 0);
    assert_eq!(object.head.size, 5);
    assert_eq!(object.head.etag, tag);
    assert_eq!(object.head.content_type, "text/plain");
    assert!(object.head.metadata.is_empty());
    let age = jiff::Timestamp::now().as_millisecond() - object.head.last_modified.as_millis();
    assert!((-5_000..60_000).contains(&age), "{age}");
    let head = stage.bucket.head(&stage.object("a.txt")).await.unwrap();
    assert_eq!(head, Some(object.head));
}

async fn an_empty_object_is_one(stage: Stage) {
    etag(stage.store("empty", b"", ObjectCondition::Always).await);
    let object = found(stage.read("empty", None, 1000).await);
    assert!(object.body.is_empty());
    assert_eq!(object.head.size, 0);
}

async fn metadata_comes_back_as_it_was(stage: Stage) {
    let metadata = BTreeMap::from(
        [
            ("plain", "text, with = and %41"),
            ("german", "grüße 🦀"),
            ("empty", ""),
            ("spaces", " a  b "),
            ("word", "=?UTF-8?B?4pyT?="),
            ("lines", "a\nb"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    let attributes = ObjectAttributes {
        content_type: "application/json; charset=utf-8".to_owned(),
        metadata: metadata.clone(),
    };
    let key = stage.object("m");
    for condition in [ObjectCondition::Always, ObjectCondition::Absent] {
        let key = stage.object(&format!("m-{condition:?}"));
        let body = Bytes::from_static(b"{}");
        etag(
            stage
                .bucket
                .put(&key, body, &attributes, condition)
                .await
                .unwrap(),
        );
        let head = stage.bucket.head(&key).await.unwrap().unwrap();
        assert_eq!(head.metadata, metadata);
        assert_eq!(head.content_type, "application/json; charset=utf-8");
    }
    let attributes = ObjectAttributes {
        metadata: BTreeMap::from([("agent-mesh-write".to_owned(), "x".to_owned())]),
        ..attributes
    };
    let body = Bytes::from_static(b"{}");
    let refused = stage
        .bucket
        .put(&key, body, &attributes, ObjectCondition::Always)
        .await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidParameter);
}

async fn ranges_are_read(stage: Stage) {
    stage
        .store("r", b"0123456789", ObjectCondition::Always)
        .await;
    let read = async |range, bytes_max| {
        let object = found(stage.read("r", Some(range), bytes_max).await);
        assert_eq!(object.head.size, 10);
        (
            object.offset,
            String::from_utf8(object.body.into()).unwrap(),
        )
    };
    assert_eq!(
        read(ByteRange::From(2, Some(4)), 100).await,
        (2, "234".to_owned())
    );
    assert_eq!(
        read(ByteRange::From(7, None), 100).await,
        (7, "789".to_owned())
    );
    assert_eq!(
        read(ByteRange::From(8, Some(99)), 100).await,
        (8, "89".to_owned())
    );
    assert_eq!(read(ByteRange::Suffix(3), 100).await, (7, "789".to_owned()));
    assert_eq!(
        read(ByteRange::Suffix(99), 100).await,
        (0, "0123456789".to_owned())
    );
    assert_eq!(
        read(ByteRange::From(2, Some(8)), 3).await,
        (2, "234".to_owned())
    );
    assert_eq!(read(ByteRange::From(2, None), 1).await, (2, "2".to_owned()));
    assert_eq!(read(ByteRange::Suffix(5), 2).await, (5, "56".to_owned()));
}

async fn ranges_outside_are_told(stage: Stage) {
    stage
        .store("r", b"0123456789", ObjectCondition::Always)
        .await;
    stage.store("empty", b"", ObjectCondition::Always).await;
    let beyond = stage.read("r", Some(ByteRange::From(10, None)), 100).await;
    assert_eq!(beyond, GetOutcome::OutOfRange(Some(10)));
    let none = stage.read("r", Some(ByteRange::Suffix(0)), 100).await;
    assert_eq!(none, GetOutcome::OutOfRange(Some(10)));
    let backwards = stage
        .read("r", Some(ByteRange::From(4, Some(3))), 100)
        .await;
    assert_eq!(backwards, GetOutcome::OutOfRange(None));
    let empty = stage
        .read("empty", Some(ByteRange::From(0, None)), 100)
        .await;
    assert_eq!(empty, GetOutcome::OutOfRange(Some(0)));
    let absent = stage.read("absent", Some(ByteRange::Suffix(1)), 100).await;
    assert_eq!(absent, GetOutcome::Absent);
}

async fn reading_is_cut_at_its_limit(stage: Stage) {
    stage
        .store("r", b"0123456789", ObjectCondition::Always)
        .await;
    for (bytes_max, body) in [
        (9, "012345678"),
        (10, "0123456789"),
        (11, "0123456789"),
        (0, ""),
    ] {
        let object = found(stage.read("r", None, bytes_max).await);
        assert_eq!(object.body, body);
        assert_eq!(object.head.size, 10);
    }
}

async fn an_absent_object_is_absent(stage: Stage) {
    assert_eq!(stage.read("absent", None, 100).await, GetOutcome::Absent);
    assert_eq!(stage.read("absent", None, 0).await, GetOutcome::Absent);
    let head = stage.bucket.head(&stage.object("absent")).await.unwrap();
    assert_eq!(head, None);
}

async fn an_object_is_created_once(stage: Stage) {
    etag(stage.store("a", b"1", ObjectCondition::Absent).await);
    let outcome = stage.store("a", b"2", ObjectCondition::Absent).await;
    assert_eq!(outcome, PutOutcome::ConditionFailed);
    assert_eq!(stage.content("a").await.unwrap(), "1");
}

async fn an_object_is_replaced_by_its_tag(stage: Stage) {
    let wrong = || ObjectCondition::Etag("0123456789abcdef0123456789abcdef".to_owned());
    let outcome = stage.store("a", b"1", wrong()).await;
    assert_eq!(outcome, PutOutcome::ConditionFailed);
    let tag = etag(stage.store("a", b"1", ObjectCondition::Always).await);
    let outcome = stage.store("a", b"2", wrong()).await;
    assert_eq!(outcome, PutOutcome::ConditionFailed);
    let second = etag(
        stage
            .store("a", b"2", ObjectCondition::Etag(tag.clone()))
            .await,
    );
    assert_ne!(tag, second);
    let outcome = stage.store("a", b"3", ObjectCondition::Etag(tag)).await;
    assert_eq!(outcome, PutOutcome::ConditionFailed);
    assert_eq!(stage.content("a").await.unwrap(), "2");
}

async fn deleting_takes_away(stage: Stage) {
    stage.store("a", b"1", ObjectCondition::Always).await;
    let key = stage.object("a");
    assert!(
        !stage
            .bucket
            .delete(&key, ObjectCondition::Absent)
            .await
            .unwrap()
    );
    assert!(
        stage
            .bucket
            .delete(&key, ObjectCondition::Always)
            .await
            .unwrap()
    );
    assert_eq!(stage.content("a").await, None);
    assert!(
        stage
            .bucket
            .delete(&key, ObjectCondition::Always)
            .await
            .unwrap()
    );
    assert!(
        stage
            .bucket
            .delete(&key, ObjectCondition::Absent)
            .await
            .unwrap()
    );
}

async fn deleting_compares_tags(stage: Stage) {
    let old = etag(stage.store("a", b"1", ObjectCondition::Always).await);
    let new = etag(stage.store("a", b"2", ObjectCondition::Always).await);
    let key = stage.object("a");
    let delete = async |tag: &str| {
        let condition = ObjectCondition::Etag(tag.to_owned());
        stage.bucket.delete(&key, condition).await.unwrap()
    };
    assert!(!delete(&old).await);
    assert_eq!(stage.content("a").await.unwrap(), "2");
    assert!(delete(&new).await);
    assert_eq!(stage.content("a").await, None);
    assert!(!delete(&new).await);
}

async fn listing_is_relative_and_in_order(stage: Stage) {
    for name in ["b", "a/1", "a/2", "a", "c/d/e"] {
        stage.store(name, b"12", ObjectCondition::Always).await;
    }
    assert_eq!(stage.names("").await, ["a", "a/1", "a/2", "b", "c/d/e"]);
    assert_eq!(stage.names("a/").await, ["a/1", "a/2"]);
    assert!(stage.names("x").await.is_empty());
    let prefix = stage.prefix("b");
    let page = stage.bucket.list(&prefix, None, 10, None).await.unwrap();
    let head = stage
        .bucket
        .head(&stage.object("b"))
        .await
        .unwrap()
        .unwrap();
    let (_, summary) = &page.objects[0];
    assert_eq!((summary.size, &summary.etag), (2, &head.etag));
    assert_eq!(summary.last_modified, head.last_modified);
}

async fn listing_goes_on_where_it_stopped(stage: Stage) {
    for number in 0..5 {
        stage
            .store(&format!("k{number}"), b"1", ObjectCondition::Always)
            .await;
    }
    let prefix = stage.prefix("k");
    let mut token = None;
    let mut names = Vec::new();
    for page in 0.. {
        assert!(page < 5, "a listing that never ends");
        let page = stage
            .bucket
            .list(&prefix, None, 2, token.as_deref())
            .await
            .unwrap();
        assert!(page.objects.len() <= 2);
        names.extend(page.objects.into_iter().map(|(name, _)| name));
        token = page.next;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(names, ["k0", "k1", "k2", "k3", "k4"]);
}

async fn listing_stops_at_a_delimiter(stage: Stage) {
    for name in ["a/1", "a/2", "b b/1", "c", "d/e/f"] {
        stage.store(name, b"1", ObjectCondition::Always).await;
    }
    let prefix = stage.prefix("");
    let mut token = None;
    let (mut names, mut common) = (Vec::new(), Vec::new());
    for page in 0.. {
        assert!(page < 9, "a listing that never ends");
        let page = stage
            .bucket
            .list(&prefix, Some("/"), 1, token.as_deref())
            .await
            .unwrap();
        names.extend(page.objects.into_iter().map(|(name, _)| name));
        common.extend(page.common_prefixes);
        token = page.next;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(names, ["c"]);
    assert_eq!(common, ["a/", "b b/", "d/"]);
}

async fn listing_tells_strange_keys_as_they_are(stage: Stage) {
    let mut strange = vec![
        "100%25 sure",
        "a+b",
        "a b",
        "a&b<c>\"d'",
        "grüße/🦀",
        "q?x=y#z",
        "back\\slash",
        "%2e%2e/x",
        "co:lon;semi,comma=@$!*()",
    ];
    for name in &strange {
        stage
            .store(name, name.as_bytes(), ObjectCondition::Always)
            .await;
    }
    strange.sort_unstable();
    assert_eq!(stage.names("").await, strange);
    for name in &strange {
        assert_eq!(
            stage.content(name).await.unwrap(),
            name.as_bytes(),
            "{name}"
        );
        assert_eq!(stage.names(name).await, [*name]);
    }
}

fn large(bytes: usize, seed: u8) -> Vec<u8> {
    (0..bytes).map(|index| (index % 251) as u8 ^ seed).collect()
}

async fn a_large_object_goes_in_parts(stage: Stage) {
    let body = large(PART_BYTES, 0);
    let before = stage.wire.carried();
    etag(stage.store("edge", &body, ObjectCondition::Always).await);
    // One to write it; another one before may have asked whose the credentials are.
    assert!(stage.wire.carried() - before <= 2);
    let body = large(2 * PART_BYTES + 1, 0);
    let before = stage.wire.carried();
    let tag = etag(stage.store("large", &body, ObjectCondition::Always).await);
    assert!(tag.ends_with("-3"), "{tag}");
    assert_eq!(stage.wire.carried() - before, 5);
    assert_eq!(stage.content("large").await.unwrap(), body);
    let head = stage
        .bucket
        .head(&stage.object("large"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(head.content_type, "text/plain");
    assert!(head.metadata.is_empty());
    let last = stage.read("large", Some(ByteRange::Suffix(1)), 10).await;
    assert_eq!(found(last).body[0], body[2 * PART_BYTES]);
}

async fn parts_keep_their_condition(stage: Stage) {
    let first = large(PART_BYTES + 1, 1);
    let second = large(PART_BYTES + 1, 2);
    let tag = etag(stage.store("large", &first, ObjectCondition::Absent).await);
    let outcome = stage.store("large", &second, ObjectCondition::Absent).await;
    assert_eq!(outcome, PutOutcome::ConditionFailed);
    assert_eq!(stage.content("large").await.unwrap(), first);
    etag(
        stage
            .store("large", &second, ObjectCondition::Etag(tag.clone()))
            .await,
    );
    let outcome = stage
        .store("large", &first, ObjectCondition::Etag(tag))
        .await;
    assert_eq!(outcome, PutOutcome::ConditionFailed);
    assert_eq!(stage.content("large").await.unwrap(), second);
}

async fn a_strangers_bucket_is_refused(stage: Stage) {
    stage.store("a", b"1", ObjectCondition::Always).await;
    let mut settings = stage.connection.settings().clone();
    settings.bucket_owner = Some("999999999999".to_owned());
    let clock = std::sync::Arc::new(agent_mesh::mesh::SystemClock::new());
    let connection = agent_mesh::outbound::aws::Connection::new(settings, clock);
    let bucket = agent_mesh::outbound::aws::AwsBucket::new(connection);
    let key = stage.object("a");
    let body = Bytes::from_static(b"2");
    let errors = [
        bucket.get(&key, None, 10).await.unwrap_err(),
        bucket
            .put(&key, body, &attributes(), ObjectCondition::Always)
            .await
            .unwrap_err(),
        bucket
            .delete(&key, ObjectCondition::Always)
            .await
            .unwrap_err(),
        bucket
            .list(&stage.prefix(""), None, 10, None)
            .await
            .unwrap_err(),
        bucket.check().await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::AwsCredentials, "{error:?}");
        assert!(!error.message().contains("999999999999"));
    }
    assert_eq!(stage.content("a").await.unwrap(), "1");
}

async fn addresses_are_handed_out(stage: Stage) {
    let (key, minute) = (stage.object("grüße + 1.txt"), Duration::from_secs(60));
    if !stage.connection.settings().can_presign {
        let error = stage.bucket.presign_get(&key, minute).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotSupported);
        assert!(error.fix_text().is_some());
        return;
    }
    let body = "presigned content";
    let terms = UploadTerms {
        size: body.len() as u64,
        sha256_base64: STANDARD.encode(Sha256::digest(body)),
        attributes: ObjectAttributes {
            content_type: "text/x-presigned".to_owned(),
            metadata: BTreeMap::from([("from".to_owned(), "grüße".to_owned())]),
        },
        condition: ObjectCondition::Absent,
        id: "01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned(),
    };
    let upload = stage
        .bucket
        .presign_put(&key, &terms, minute)
        .await
        .unwrap();
    let http = reqwest::Client::new();
    let signed = |name: &str| upload.headers.iter().any(|(held, _)| held == name);
    let query = upload.url.to_lowercase();
    for name in ["x-amz-checksum-sha256", "if-none-match", "x-amz-meta-from"] {
        assert!(signed(name) || query.contains(name), "{name}: {upload:?}");
    }
    assert!(
        signed("content-length") && signed("content-type"),
        "{upload:?}"
    );
    let mut request = http.put(&upload.url).body(body);
    for (name, value) in &upload.headers {
        request = request.header(name, value);
    }
    let answer = request.send().await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
    let head = stage.bucket.head(&key).await.unwrap().unwrap();
    assert_eq!(head.content_type, "text/x-presigned");
    assert_eq!(head.metadata["from"], "grüße");
    assert_eq!(head.metadata.len(), 1, "our own mark is no caller's");
    assert_eq!(head.upload, Some(terms.id));
    let download = stage.bucket.presign_get(&key, minute).await.unwrap();
    assert!(download.headers.is_empty(), "{download:?}");
    let answer = http.get(&download.url).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), body);
}

async fn the_bucket_is_checked(stage: Stage) {
    stage.bucket.check().await.unwrap();
}
