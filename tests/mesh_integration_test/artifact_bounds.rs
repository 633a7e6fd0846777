//! How large artifacts may be, in all and in their parts, and what is refused.

use std::collections::BTreeMap;

use agent_mesh::outbound::embedded::{Fault, Service};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::artifacts::{bytes_of, contents, noise, sha256};
use crate::support::world::stopped_clock;
use crate::support::{Plan, World};

#[tokio::test]
async fn above_8_mib_parts_make_the_same_artifact() {
    let world = World::open().await;
    let caller = world.caller().await;
    for size in [8 << 20, (8 << 20) + 1] {
        let bytes = noise(size);
        let put = json!({"key": "big", "content_base64": STANDARD.encode(&bytes)});
        let put = caller.ok("artifacts_put", put).await;
        assert_eq!(
            (&put["size"], &put["sha256"]),
            (&json!(size), &json!(sha256(&bytes))),
            "{size}"
        );
        for range in [
            0..5,
            (8 << 20) - 3..size.min((8 << 20) + 3),
            size - 30_000..size,
        ] {
            let text = format!("{}-{}", range.start, range.end - 1);
            assert_eq!(
                bytes_of(&caller, "big", Some(&text)).await,
                bytes[range],
                "{size} {text}"
            );
        }
        let uri = put["uri"].as_str().unwrap();
        let middle = format!("{uri}?range=2000000-5999999");
        let read = caller.get("resources/read", json!({ "uri": middle })).await;
        assert!(contents(&read) == bytes[2_000_000..6_000_000], "{size}");
        let fault = caller
            .request("resources/read", json!({ "uri": uri }))
            .await
            .unwrap_err();
        assert_eq!(
            (fault.code, &fault.data["error"]["code"]),
            (-32602, &json!("TOO_LARGE"))
        );
        assert!(
            fault.data["error"]["fix"]
                .as_str()
                .unwrap()
                .contains("range"),
            "{fault:?}"
        );
    }
}

#[tokio::test]
async fn content_above_11_mib_is_pointed_to_the_other_way() {
    let world = World::open().await;
    let caller = world.caller().await;
    let limit = 11 << 20;
    let past = json!({"key": "big", "content_base64": STANDARD.encode(vec![7; limit + 1])});
    let failure = caller.fail("artifacts_put", past).await;
    assert_eq!(
        (failure.code(), &failure.detail("limit")),
        ("TOO_LARGE", &json!(limit))
    );
    assert!(failure.fix().unwrap().contains("upload"));
    let edge = json!({"key": "big", "content_base64": STANDARD.encode(vec![7; limit])});
    assert_eq!(caller.ok("artifacts_put", edge).await["size"], limit);
}

#[tokio::test]
async fn addresses_for_others_are_not_given_where_requests_never_leave_the_process() {
    let world = World::open().await;
    let caller = world.caller().await;
    caller
        .ok("artifacts_put", json!({"key": "a", "content": "x"}))
        .await;
    let upload = json!({"key": "b", "upload": "url", "size": 5, "sha256": "0".repeat(64)});
    for (tool, arguments) in [
        ("artifacts_get", json!({"key": "a", "as": "url"})),
        ("artifacts_put", upload),
    ] {
        let failure = caller.fail(tool, arguments).await;
        assert_eq!(failure.code(), "NOT_SUPPORTED", "{tool}");
        assert!(failure.fix().is_some(), "{tool}: {failure:?}");
    }
}

#[tokio::test]
async fn media_types_and_metadata_are_held_to_what_a_bucket_keeps() {
    let world = World::open().await;
    let caller = world.caller().await;
    let put = |name: &str, value: Value| {
        let mut arguments = json!({"key": "m", "content": "x"});
        arguments[name] = value;
        arguments
    };
    let full: BTreeMap<String, String> = [("k".repeat(48), "v".repeat(1952))].into();
    caller
        .ok("artifacts_put", put("metadata", json!(full)))
        .await;
    assert_eq!(
        caller.ok("artifacts_get", json!({"key": "m"})).await["metadata"],
        json!(full)
    );
    for metadata in [
        json!({"k": "v".repeat(2000)}),
        json!({"Upper": "v"}),
        json!({"": "v"}),
        json!({"a b": "v"}),
        json!({"k": "a\nb"}),
        json!({"k": 5}),
        json!(["k"]),
    ] {
        let failure = caller
            .fail("artifacts_put", put("metadata", metadata.clone()))
            .await;
        let told = (failure.code().to_owned(), failure.parameter());
        assert_eq!(
            told,
            ("INVALID_PARAMETER".to_owned(), "metadata".to_owned()),
            "{metadata}"
        );
    }
    for content_type in [
        "",
        "text",
        "a/b\n",
        "tëxt/plain",
        &format!("a/{}", "b".repeat(254)),
    ] {
        let failure = caller
            .fail("artifacts_put", put("content_type", json!(content_type)))
            .await;
        assert_eq!(failure.parameter(), "content_type", "{content_type}");
    }
    let spaced = json!({"k": " spaces around ", "l": "~=?utf-8?Q?x?="});
    caller
        .ok("artifacts_put", put("metadata", spaced.clone()))
        .await;
    assert_eq!(
        caller.ok("artifacts_get", json!({"key": "m"})).await["metadata"],
        spaced
    );
}

#[tokio::test]
async fn a_quota_is_given_back_by_deletions_replacements_and_failures() {
    let toml = "[defaults.limits]\nartifact_bytes = 100\nartifact_objects = 2\ns3_list = 1000\n";
    let clock = stopped_clock();
    let world = Plan::default().clock(&clock).tenants(toml).open().await;
    let caller = world.caller().await;
    let put = |key: &str, bytes: usize| json!({"key": key, "content": "x".repeat(bytes)});
    let full = async |arguments: Value, quota: &str| {
        let failure = caller.fail("artifacts_put", arguments).await;
        assert_eq!(
            (failure.code(), failure.detail("quota")),
            ("QUOTA_EXCEEDED", json!(quota))
        );
        assert!(failure.fix().unwrap().contains("artifacts_delete"));
    };
    caller.ok("artifacts_put", put("a", 60)).await;
    full(put("b", 41), "artifact_bytes").await;
    caller.ok("artifacts_put", put("b", 40)).await;
    full(put("c", 1), "artifact_bytes").await;
    caller.ok("artifacts_put", put("a", 50)).await;
    full(put("c", 1), "artifact_objects").await;
    full(put("a", 61), "artifact_bytes").await;
    caller.ok("artifacts_delete", json!({"key": "b"})).await;
    let conflict = json!({"key": "c", "content": "x".repeat(50), "if_etag": "x"});
    assert_eq!(
        caller.fail("artifacts_put", conflict).await.code(),
        "CONFLICT"
    );
    caller.ok("artifacts_put", put("c", 50)).await;
    caller.ok("artifacts_delete", json!({"key": "c"})).await;
    world
        .faults()
        .inject(Service::S3, "PutObject", Fault::ServerError, 3);
    assert_eq!(
        caller.fail("artifacts_put", put("d", 50)).await.code(),
        "AWS_UNAVAILABLE"
    );
    // What is given back twice would let in too much.
    caller.ok("artifacts_delete", json!({"key": "c"})).await;
    caller.ok("artifacts_put", put("d", 50)).await;
    full(put("a", 51), "artifact_bytes").await;
    let shared = json!({"key": "s", "content": "x", "scope": "tenant"});
    full(shared, "artifact_bytes").await;
}
