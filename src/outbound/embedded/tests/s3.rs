//! The bucket: odd keys, conditions, ranges, listings, parts, owners.

use std::fs;
use std::time::Duration;

use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, Delete, EncodingType,
    ObjectIdentifier,
};

use super::*;
use crate::mesh::{ManualClock, Timestamp};

async fn put(client: &aws_sdk_s3::Client, key: &str, body: &[u8]) -> String {
    let put = client.put_object().bucket(BUCKET).key(key);
    let put = put.body(body.to_vec().into()).send().await.unwrap();
    put.e_tag().unwrap().to_owned()
}

async fn get(client: &aws_sdk_s3::Client, key: &str) -> Option<Vec<u8>> {
    match client.get_object().bucket(BUCKET).key(key).send().await {
        Ok(got) => Some(got.body.collect().await.unwrap().to_vec()),
        Err(error) => {
            assert_eq!(error.code(), Some("NoSuchKey"), "{error:?}");
            None
        }
    }
}

fn files(folder: &Path) -> usize {
    let shards = fs::read_dir(folder.join("objects")).unwrap();
    shards
        .map(|shard| fs::read_dir(shard.unwrap().path()).unwrap().count())
        .sum()
}

#[tokio::test]
async fn odd_keys_are_just_keys() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    let client = bucket(&cloud);
    let keys = [
        "n",
        "n/m",
        "a/../b",
        "../up",
        ".",
        "..",
        "/lead",
        "//",
        "a//b",
        "dir/",
        "sp ace",
        "plus+",
        "per%41cent",
        "ques?tion",
        "hash#",
        "quo\"te&<amp>'",
        "ümlaut/日本",
        "semi;colon",
        "star*",
        "back\\slash",
        "tilde~",
        "eq=ual",
        "col:on",
        "at@",
    ];
    for key in keys {
        put(&client, key, key.as_bytes()).await;
    }
    for key in keys {
        assert_eq!(
            get(&client, key).await.as_deref(),
            Some(key.as_bytes()),
            "{key}"
        );
        let head = client
            .head_object()
            .bucket(BUCKET)
            .key(key)
            .send()
            .await
            .unwrap();
        assert_eq!(head.content_length(), i64::try_from(key.len()).ok());
    }
    assert_eq!(get(&client, "b").await, None);
    let mut expected: Vec<_> = keys.to_vec();
    expected.sort_unstable();
    for encoding in [None, Some(EncodingType::Url)] {
        let page = client.list_objects_v2().bucket(BUCKET);
        let page = page
            .set_encoding_type(encoding.clone())
            .send()
            .await
            .unwrap();
        let listed: Vec<String> = page
            .contents()
            .iter()
            .map(|object| {
                let key = object.key().unwrap();
                match encoding {
                    None => key.to_owned(),
                    Some(_) => percent_encoding::percent_decode_str(key)
                        .decode_utf8()
                        .unwrap()
                        .into_owned(),
                }
            })
            .collect();
        assert_eq!(listed, expected);
    }
    for key in keys {
        client
            .delete_object()
            .bucket(BUCKET)
            .key(key)
            .send()
            .await
            .unwrap();
        assert_eq!(get(&client, key).await, None, "{key}");
    }
    assert_eq!(files(folder.path()), 0);
}

#[tokio::test]
async fn what_is_stored_with_an_object_comes_back_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    let client = bucket(&cloud);
    client
        .put_object()
        .bucket(BUCKET)
        .key("k")
        .body(b"{}".to_vec().into())
        .content_type("application/json")
        .metadata("name", "value")
        .checksum_algorithm(ChecksumAlgorithm::Sha256)
        .send()
        .await
        .unwrap();
    let got = client
        .get_object()
        .bucket(BUCKET)
        .key("k")
        .send()
        .await
        .unwrap();
    assert_eq!(got.content_type(), Some("application/json"));
    assert_eq!(got.metadata().unwrap()["name"], "value");
    // The MD5 of `{}`, and the SHA-256 that the SDK has computed.
    assert_eq!(got.e_tag(), Some("\"99914b932bd37a50b983c5e7c90ae93b\""));
    assert_eq!(
        got.checksum_sha256(),
        Some("RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=")
    );
    let head = client
        .head_object()
        .bucket(BUCKET)
        .key("k")
        .send()
        .await
        .unwrap();
    assert_eq!(head.content_type(), Some("application/json"));
    assert_eq!(head.metadata().unwrap()["name"], "value");
    let age = aws_sdk_s3::primitives::DateTime::from(std::time::SystemTime::now()).secs()
        - head.last_modified().unwrap().secs();
    assert!((0..60).contains(&age), "{age}");
}

#[tokio::test]
async fn a_wrong_checksum_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    let client = bucket(&cloud);
    let put = || client.put_object().bucket(BUCKET).key("k");
    let wrong = put()
        .body(b"bytes".to_vec().into())
        .checksum_sha256("RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=")
        .send()
        .await
        .unwrap_err();
    assert_eq!(wrong.code(), Some("BadDigest"));
    let wrong = put()
        .body(b"bytes".to_vec().into())
        .content_md5("mZFLkyvTelC5g8XnyQrpOw==")
        .send()
        .await
        .unwrap_err();
    assert_eq!(wrong.code(), Some("BadDigest"));
    assert_eq!(get(&client, "k").await, None);
    assert_eq!(files(folder.path()), 0);
}

#[tokio::test]
async fn a_streamed_body_arrives_whole() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    let client = bucket(&cloud);
    let bytes: Vec<u8> = (0..5_000_003_u32).map(|at| (at % 251) as u8).collect();
    let source = folder.path().join("source");
    fs::write(&source, &bytes).unwrap();
    let body = ByteStream::read_from().path(&source).build().await.unwrap();
    client
        .put_object()
        .bucket(BUCKET)
        .key("k")
        .body(body)
        .send()
        .await
        .unwrap();
    assert!(get(&client, "k").await.unwrap() == bytes);
}

#[tokio::test]
async fn conditions_hold_or_nothing_happens() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    let client = bucket(&cloud);
    let put = |body: &[u8]| {
        let put = client.put_object().bucket(BUCKET).key("k");
        put.body(body.to_vec().into())
    };
    let missing = put(b"0").if_match("\"x\"").send().await.unwrap_err();
    assert_eq!(missing.code(), Some("NoSuchKey"));
    let first = put(b"1").if_none_match("*").send().await.unwrap();
    let etag = first.e_tag().unwrap();
    let refused = put(b"2").if_none_match("*").send().await.unwrap_err();
    assert_eq!(refused.code(), Some("PreconditionFailed"));
    put(b"3").if_match(etag).send().await.unwrap();
    let refused = put(b"4").if_match(etag).send().await.unwrap_err();
    assert_eq!(refused.code(), Some("PreconditionFailed"));
    assert_eq!(get(&client, "k").await.unwrap(), b"3");
    let delete = || client.delete_object().bucket(BUCKET).key("k");
    let refused = delete().if_match(etag).send().await.unwrap_err();
    assert_eq!(refused.code(), Some("PreconditionFailed"));
    let read = client.get_object().bucket(BUCKET).key("k").if_match(etag);
    assert_eq!(
        read.send().await.unwrap_err().code(),
        Some("PreconditionFailed")
    );
    delete().send().await.unwrap();
    let gone = delete().if_match(etag).send().await.unwrap_err();
    assert_eq!(gone.code(), Some("NoSuchKey"));
    assert_eq!(files(folder.path()), 0);
}

#[tokio::test]
async fn ranges_are_cut_as_http_says() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    let client = bucket(&cloud);
    put(&client, "k", b"0123456789").await;
    put(&client, "empty", b"").await;
    for (range, expected, shown) in [
        ("bytes=0-0", "0", "bytes 0-0/10"),
        ("bytes=3-5", "345", "bytes 3-5/10"),
        ("bytes=8-", "89", "bytes 8-9/10"),
        ("bytes=8-99", "89", "bytes 8-9/10"),
        ("bytes=-3", "789", "bytes 7-9/10"),
        ("bytes=-99", "0123456789", "bytes 0-9/10"),
    ] {
        let got = client.get_object().bucket(BUCKET).key("k").range(range);
        let got = got.send().await.unwrap();
        assert_eq!(got.content_range(), Some(shown));
        assert_eq!(got.content_length(), i64::try_from(expected.len()).ok());
        let body = got.body.collect().await.unwrap().to_vec();
        assert_eq!(body, expected.as_bytes(), "{range}");
    }
    for (key, range) in [
        ("k", "bytes=10-"),
        ("k", "bytes=10-20"),
        ("empty", "bytes=0-"),
    ] {
        let error = client.get_object().bucket(BUCKET).key(key).range(range);
        let error = error.send().await.unwrap_err();
        assert_eq!(error.code(), Some("InvalidRange"));
        assert_eq!(error.raw_response().unwrap().status().as_u16(), 416);
    }
    assert_eq!(get(&client, "empty").await.unwrap(), b"");
}

#[tokio::test]
async fn a_listing_has_pages_prefixes_and_the_order_of_utf8() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    let client = bucket(&cloud);
    let mut keys: Vec<String> = [
        "a", "b/1", "b/2", "b/c/3", "b0", "c/", "z", "ä/1", "ä/2", "\u{fffd}", "𝄞",
    ]
    .map(str::to_owned)
    .to_vec();
    keys.extend((0..30).map(|at| format!("m/{at:02}/x")));
    for key in &keys {
        put(&client, key, b"x").await;
    }
    keys.sort_unstable();
    for most in [1, 2, 3, 7, 1000] {
        assert_eq!(
            listed(&client, "", None, most).await,
            (keys.clone(), vec![])
        );
        let (objects, prefixes) = listed(&client, "", Some("/"), most).await;
        assert_eq!(objects, ["a", "b0", "z", "\u{fffd}", "𝄞"]);
        assert_eq!(prefixes, ["b/", "c/", "m/", "ä/"]);
        let (objects, prefixes) = listed(&client, "b/", Some("/"), most).await;
        assert_eq!(objects, ["b/1", "b/2"]);
        assert_eq!(prefixes, ["b/c/"]);
        let (objects, prefixes) = listed(&client, "m/", Some("/"), most).await;
        assert_eq!((objects.len(), prefixes.len()), (0, 30));
        let (objects, prefixes) = listed(&client, "", Some("/x"), most).await;
        assert_eq!((objects.len(), prefixes.len()), (11, 30));
    }
    let after = |key: &str| {
        let list = client.list_objects_v2().bucket(BUCKET).start_after(key);
        list.max_keys(1).send()
    };
    assert_eq!(after("b/1").await.unwrap().contents()[0].key(), Some("b/2"));
    assert_eq!(after("b").await.unwrap().contents()[0].key(), Some("b/1"));
    let list = client.list_objects_v2().bucket(BUCKET);
    let wrong = list
        .continuation_token("nonsense")
        .send()
        .await
        .unwrap_err();
    assert_eq!(wrong.code(), Some("InvalidArgument"));
    let none = client
        .list_objects_v2()
        .bucket(BUCKET)
        .max_keys(0)
        .send()
        .await
        .unwrap();
    assert_eq!(
        (none.key_count(), none.is_truncated()),
        (Some(0), Some(false))
    );
}

async fn listed(
    client: &aws_sdk_s3::Client,
    prefix: &str,
    delimiter: Option<&str>,
    most: i32,
) -> (Vec<String>, Vec<String>) {
    let (mut objects, mut prefixes, mut token) = (Vec::new(), Vec::new(), None);
    loop {
        let page = client
            .list_objects_v2()
            .bucket(BUCKET)
            .prefix(prefix)
            .set_delimiter(delimiter.map(str::to_owned))
            .max_keys(most)
            .set_continuation_token(token)
            .send()
            .await
            .unwrap();
        assert!(page.key_count().unwrap() <= most);
        objects.extend(
            page.contents()
                .iter()
                .map(|object| object.key().unwrap().to_owned()),
        );
        prefixes.extend(
            page.common_prefixes()
                .iter()
                .map(|prefix| prefix.prefix().unwrap().to_owned()),
        );
        token = page.next_continuation_token().map(str::to_owned);
        assert_eq!(page.is_truncated(), Some(token.is_some()));
        if token.is_none() {
            return (objects, prefixes);
        }
    }
}

async fn part(client: &aws_sdk_s3::Client, upload: &str, number: i32, body: Vec<u8>) -> String {
    let part = client
        .upload_part()
        .bucket(BUCKET)
        .key("k")
        .upload_id(upload);
    let part = part
        .part_number(number)
        .body(body.into())
        .send()
        .await
        .unwrap();
    part.e_tag().unwrap().to_owned()
}

async fn begin(client: &aws_sdk_s3::Client) -> String {
    let begun = client.create_multipart_upload().bucket(BUCKET).key("k");
    let begun = begun.content_type("text/plain").send().await.unwrap();
    begun.upload_id().unwrap().to_owned()
}

fn named(parts: &[(i32, &str)]) -> CompletedMultipartUpload {
    let parts = parts.iter().map(|(number, etag)| {
        CompletedPart::builder()
            .part_number(*number)
            .e_tag(*etag)
            .build()
    });
    CompletedMultipartUpload::builder()
        .set_parts(Some(parts.collect()))
        .build()
}

#[tokio::test]
async fn an_upload_in_parts_becomes_one_object() {
    const MIB: usize = 1 << 20;
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    let client = bucket(&cloud);
    put(&client, "k", b"old").await;
    let upload = begin(&client).await;
    part(&client, &upload, 1, vec![b'!'; 10]).await;
    let first = part(&client, &upload, 1, vec![b'a'; 5 * MIB]).await;
    let unused = part(&client, &upload, 5, vec![b'u'; 10]).await;
    let last = part(&client, &upload, 7, vec![b'b'; 1000]).await;
    assert_eq!(get(&client, "k").await.unwrap(), b"old");
    let complete = |parts| {
        let complete = client.complete_multipart_upload().bucket(BUCKET).key("k");
        complete.upload_id(&upload).multipart_upload(parts).send()
    };
    for (parts, code) in [
        (named(&[(7, &last), (1, &first)]), "InvalidPartOrder"),
        (named(&[(1, &first), (2, &last)]), "InvalidPart"),
        (named(&[(1, &last), (7, &last)]), "InvalidPart"),
        (named(&[(5, &unused), (7, &last)]), "EntityTooSmall"),
    ] {
        assert_eq!(complete(parts).await.unwrap_err().code(), Some(code));
    }
    let done = complete(named(&[(1, &first), (7, &last)])).await.unwrap();
    let etag = done.e_tag().unwrap().to_owned();
    assert!(etag.ends_with("-2\""), "{etag}");
    // The SDK repeats it where the answer was lost.
    let again = complete(named(&[(1, &first), (7, &last)])).await.unwrap();
    assert_eq!(again.e_tag(), Some(etag.as_str()));
    let got = client
        .get_object()
        .bucket(BUCKET)
        .key("k")
        .send()
        .await
        .unwrap();
    assert_eq!(got.content_type(), Some("text/plain"));
    let whole = got.body.collect().await.unwrap().to_vec();
    assert_eq!(whole.len(), 5 * MIB + 1000);
    let got = client.get_object().bucket(BUCKET).key("k");
    let range = format!("bytes={}-{}", 5 * MIB - 2, 5 * MIB + 1);
    let got = got.range(range).send().await.unwrap();
    assert_eq!(got.body.collect().await.unwrap().to_vec(), b"aabb");
    assert_eq!(files(folder.path()), 2);
    client
        .delete_object()
        .bucket(BUCKET)
        .key("k")
        .send()
        .await
        .unwrap();
    assert_eq!(files(folder.path()), 0);

    let upload = begin(&client).await;
    part(&client, &upload, 1, vec![b'a'; 10]).await;
    let abort = || {
        client
            .abort_multipart_upload()
            .bucket(BUCKET)
            .key("k")
            .upload_id(&upload)
    };
    abort().send().await.unwrap();
    assert_eq!(
        abort().send().await.unwrap_err().code(),
        Some("NoSuchUpload")
    );
    assert_eq!(files(folder.path()), 0);
}

#[tokio::test]
async fn many_objects_are_deleted_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    let client = bucket(&cloud);
    let etag = put(&client, "a", b"1").await;
    put(&client, "b", b"2").await;
    let name = |key: &str| ObjectIdentifier::builder().key(key);
    let delete = Delete::builder()
        .objects(name("a").e_tag(&etag).build().unwrap())
        .objects(name("b").e_tag(&etag).build().unwrap())
        .objects(name("c").build().unwrap())
        .build()
        .unwrap();
    let answer = client.delete_objects().bucket(BUCKET).delete(delete);
    let answer = answer.send().await.unwrap();
    let deleted: Vec<_> = answer
        .deleted()
        .iter()
        .map(|object| object.key().unwrap())
        .collect();
    assert_eq!(deleted, ["a", "c"]);
    assert_eq!(answer.errors()[0].key(), Some("b"));
    assert_eq!(answer.errors()[0].code(), Some("PreconditionFailed"));
}

#[tokio::test]
async fn who_expects_another_owner_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    let client = bucket(&cloud);
    let put = |owner: &str| {
        let put = client.put_object().bucket(BUCKET).key("k");
        put.expected_bucket_owner(owner).body(vec![1].into()).send()
    };
    let refused = put("123456789012").await.unwrap_err();
    assert_eq!(refused.code(), Some("AccessDenied"));
    assert_eq!(refused.raw_response().unwrap().status().as_u16(), 403);
    put("000000000000").await.unwrap();
    let head = client.head_bucket().bucket(BUCKET);
    let refused = head
        .expected_bucket_owner("123456789012")
        .send()
        .await
        .unwrap_err();
    assert_eq!(refused.raw_response().unwrap().status().as_u16(), 403);
}

#[tokio::test]
async fn buckets_are_created_found_and_kept_apart() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    let client = bucket(&cloud);
    put(&client, "k", b"1").await;
    let error = client
        .head_bucket()
        .bucket("other")
        .send()
        .await
        .unwrap_err();
    assert!(error.into_service_error().is_not_found());
    let head = client.head_object().bucket(BUCKET).key("none");
    let error = head.send().await.unwrap_err();
    assert!(error.into_service_error().is_not_found());
    let error = client
        .put_object()
        .bucket("other")
        .key("k")
        .send()
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some("NoSuchBucket"));
    client.create_bucket().bucket("other").send().await.unwrap();
    let error = client
        .create_bucket()
        .bucket("other")
        .send()
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some("BucketAlreadyOwnedByYou"));
    let page = client
        .list_objects_v2()
        .bucket("other")
        .send()
        .await
        .unwrap();
    assert_eq!(page.key_count(), Some(0));
    let buckets = client.list_buckets().send().await.unwrap();
    let names: Vec<_> = buckets
        .buckets()
        .iter()
        .map(|bucket| bucket.name().unwrap())
        .collect();
    assert_eq!(names, [BUCKET, "other"]);
    let place = client
        .get_bucket_location()
        .bucket("other")
        .send()
        .await
        .unwrap();
    assert_eq!(place.location_constraint().unwrap().as_str(), "us-west-2");
    let error = client
        .get_bucket_versioning()
        .bucket(BUCKET)
        .send()
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some("NotImplemented"));
}

#[tokio::test]
async fn an_object_can_be_read_while_it_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (cloud(folder.path()), cloud(folder.path()));
    let (writer, reader) = (bucket(&one), bucket(&two));
    put(&writer, "k", &[0; 3000]).await;
    let writing = tokio::spawn(async move {
        for round in 1..=200_u8 {
            put(&writer, "k", &vec![round; 3000 + usize::from(round)]).await;
        }
    });
    while !writing.is_finished() {
        let body = get(&reader, "k").await.unwrap();
        assert!(body.iter().all(|byte| *byte == body[0]));
        assert_eq!(body.len(), 3000 + usize::from(body[0]));
    }
    writing.await.unwrap();
    assert_eq!(files(folder.path()), 1);
}

#[tokio::test]
async fn what_lies_about_unnamed_is_swept_when_it_is_old() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_800_000_000)));
    let settings = settings_at(folder.path(), Arc::clone(&clock) as Arc<dyn Clock>);
    let cloud = EmbeddedCloud::open(settings).unwrap();
    let client = bucket(&cloud);
    for at in 0..40 {
        put(&client, &format!("k{at}"), b"named").await;
    }
    let upload = begin(&client).await;
    part(&client, &upload, 1, b"part".to_vec()).await;
    // What a process leaves that dies between file and index.
    let orphan = ulid::Ulid::from_parts(1_800_000_000_000, 5).to_string();
    fs::create_dir_all(folder.path().join("objects/5")).unwrap();
    fs::write(folder.path().join("objects/5").join(orphan), b"torn").unwrap();
    let sweep = || (0..32).map(|_| cloud.sweep().unwrap().files).sum::<usize>();
    assert_eq!(files(folder.path()), 42);
    assert_eq!(sweep(), 0);
    clock.advance(Duration::from_secs(24 * 60 * 60 + 1));
    assert_eq!(sweep(), 1);
    assert_eq!(files(folder.path()), 41);
    clock.advance(Duration::from_secs(7 * 24 * 60 * 60));
    assert_eq!(cloud.sweep().unwrap().uploads, 1);
    assert_eq!(files(folder.path()), 40);
    assert_eq!(get(&client, "k39").await.unwrap(), b"named");
}

#[tokio::test]
async fn a_file_that_a_power_cut_shortened_is_not_served() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    let client = bucket(&cloud);
    put(&client, "k", b"bytes").await;
    for shard in fs::read_dir(folder.path().join("objects")).unwrap() {
        for file in fs::read_dir(shard.unwrap().path()).unwrap() {
            fs::write(file.unwrap().path(), b"").unwrap();
        }
    }
    let error = client
        .get_object()
        .bucket(BUCKET)
        .key("k")
        .send()
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some("InternalError"));
}
