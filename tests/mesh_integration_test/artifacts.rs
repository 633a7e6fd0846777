//! Artifacts: bytes come back as they were, under any key, whole or in part, and only under their conditions.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::kv::names_of;
use crate::support::{Caller, World};

/// Bytes that repeat only after a long while.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let step = |state: &mut u64| {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state as u8
    };
    (0..length).map(|_| step(&mut state)).collect()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Reads the bytes of an artifact through `artifacts_get` as base64.
pub(crate) async fn bytes_of(caller: &Caller, key: &str, range: Option<&str>) -> Vec<u8> {
    let mut arguments = json!({"key": key, "as": "base64"});
    if let Some(range) = range {
        arguments["range"] = json!(range);
    }
    let got = caller.ok("artifacts_get", arguments).await;
    assert_eq!(got.get("truncated"), None, "{key}");
    STANDARD
        .decode(got["content_base64"].as_str().expect("base64"))
        .expect("base64")
}

#[tokio::test]
async fn an_artifact_is_stored_read_listed_and_deleted() {
    let world = World::open().await;
    let caller = world.caller().await;
    let absent = caller
        .ok("artifacts_get", json!({"key": "notes/a.md"}))
        .await;
    assert_eq!(absent, json!({"key": "notes/a.md", "found": false}));

    let text = "# Grüße 🦀\n";
    let put = caller
        .ok(
            "artifacts_put",
            json!({
                "key": "notes/a.md", "content": text, "content_type": "text/markdown",
                "metadata": {"author": "ada", "x-1.y_z": "grüße"},
            }),
        )
        .await;
    let expected = json!({
        "key": "notes/a.md", "size": text.len(), "etag": put["etag"], "sha256": sha256(text.as_bytes()),
        "content_type": "text/markdown", "uri": "mesh://artifacts/user/notes/a.md",
    });
    assert_eq!(put, expected);

    let got = caller
        .ok("artifacts_get", json!({"key": "notes/a.md"}))
        .await;
    let expected = json!({
        "key": "notes/a.md", "found": true, "content": text, "content_type": "text/markdown",
        "size": text.len(), "etag": put["etag"], "last_modified": got["last_modified"],
        "metadata": {"author": "ada", "x-1.y_z": "grüße"}, "uri": put["uri"],
    });
    assert_eq!(got, expected);

    let listed = caller.ok("artifacts_list", json!({})).await;
    let item = json!({
        "key": "notes/a.md", "size": text.len(), "etag": put["etag"],
        "last_modified": got["last_modified"],
    });
    assert_eq!(listed, json!({ "items": [item] }));
    let deleted = caller
        .ok("artifacts_delete", json!({"key": "notes/a.md"}))
        .await;
    assert_eq!(deleted, json!({"key": "notes/a.md", "existed": true}));
    let again = caller
        .ok("artifacts_delete", json!({"key": "notes/a.md"}))
        .await;
    assert_eq!(again["existed"], false);
    assert_eq!(
        caller.ok("artifacts_list", json!({})).await,
        json!({"items": []})
    );
}

#[tokio::test]
async fn odd_keys_hold_their_own_content_and_impossible_ones_are_refused() {
    let world = World::open().await;
    let caller = world.caller().await;
    let edge = "é".repeat(400);
    let keys = [
        "n",
        "n/m",
        "n/m/o",
        " ",
        "a b",
        "a+b",
        "a%2Fb",
        "a%b",
        "...",
        "a/...",
        ".hidden",
        "é/🦀",
        "A",
        "a",
        "a&b=c?d#e",
        "\"\\",
        "~",
        "a\u{2028}b",
        "<&>'",
        "u",
        "t",
        "u/ada/x",
        &edge,
    ];
    for key in keys {
        let put = caller
            .ok(
                "artifacts_put",
                json!({"key": key, "content": format!("<{key}>")}),
            )
            .await;
        let uri = put["uri"].as_str().unwrap();
        assert!(uri.is_ascii() && !uri.contains(' '), "{uri}");
    }
    for key in keys {
        let got = caller.ok("artifacts_get", json!({"key": key})).await;
        assert_eq!(got["content"], format!("<{key}>"));
        let read = caller
            .get("resources/read", json!({"uri": got["uri"]}))
            .await;
        assert_eq!(read["contents"][0]["text"], format!("<{key}>"));
    }
    let mut sorted = keys;
    sorted.sort_unstable();
    let (items, _) = caller.list_all("artifacts_list", json!({"limit": 3})).await;
    assert_eq!(names_of(&items), sorted);
    let past = format!("{edge}a");
    for key in [
        "", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "./a", "a/.", "a\nb", "a\u{0}", &past,
    ] {
        for (tool, content) in [
            ("artifacts_get", None),
            ("artifacts_delete", None),
            ("artifacts_put", Some("x")),
        ] {
            let mut arguments = json!({ "key": key });
            if let Some(content) = content {
                arguments["content"] = json!(content);
            }
            let failure = caller.fail(tool, arguments).await;
            let told = (failure.code().to_owned(), failure.parameter());
            assert_eq!(
                told,
                ("INVALID_PARAMETER".to_owned(), "key".to_owned()),
                "{tool} {key}"
            );
        }
    }
}

#[tokio::test]
async fn text_comes_as_text_and_other_bytes_as_a_link_or_base64() {
    let world = World::open().await;
    let caller = world.caller().await;
    let binary = [0_u8, 159, 146, 150, 255];
    for bytes in [&b""[..], b"plain", &binary, &noise(30_000)] {
        let put = json!({"key": "b", "content_base64": STANDARD.encode(bytes)});
        let put = caller.ok("artifacts_put", put).await;
        assert_eq!(
            (&put["size"], &put["sha256"]),
            (&json!(bytes.len()), &json!(sha256(bytes)))
        );
        assert_eq!(put["content_type"], "application/octet-stream");
        assert_eq!(bytes_of(&caller, "b", None).await, bytes);
        let answer = caller
            .call("artifacts_get", json!({"key": "b"}))
            .await
            .unwrap();
        let got = answer.value();
        match std::str::from_utf8(bytes) {
            Ok(text) => assert_eq!(got["content"], text),
            Err(_) => {
                assert_eq!(
                    (&got["truncated"], got.get("content")),
                    (&json!(true), None)
                );
                let link = &answer.links[0];
                assert_eq!(
                    (&link["type"], &link["uri"]),
                    (&json!("resource_link"), &got["uri"])
                );
                assert_eq!(
                    (&link["size"], &link["name"]),
                    (&json!(bytes.len()), &json!("b"))
                );
                let failure = caller
                    .fail("artifacts_get", json!({"key": "b", "as": "text"}))
                    .await;
                assert_eq!(
                    (failure.code(), failure.parameter().as_str()),
                    ("INVALID_PARAMETER", "as")
                );
            }
        }
    }
    let failure = caller
        .fail(
            "artifacts_put",
            json!({"key": "b", "content_base64": "a*b"}),
        )
        .await;
    assert_eq!(failure.parameter(), "content_base64");
    for (arguments, parameter) in [
        (json!({"key": "b"}), "content"),
        (
            json!({"key": "b", "content": "a", "content_base64": "YQ=="}),
            "content",
        ),
        (json!({"key": "b", "content": "a", "size": 1}), "size"),
        (
            json!({"key": "b", "content": "a", "sha256": "00"}),
            "sha256",
        ),
        (
            json!({"key": "b", "upload": "url", "sha256": "0".repeat(64)}),
            "size",
        ),
        (
            json!({"key": "b", "upload": "url", "size": 5, "sha256": "xyz"}),
            "sha256",
        ),
    ] {
        assert_eq!(
            caller.fail("artifacts_put", arguments).await.parameter(),
            parameter
        );
    }
}

#[tokio::test]
async fn a_part_of_an_artifact_is_read_as_in_http() {
    let world = World::open().await;
    let caller = world.caller().await;
    let bytes = noise(1000);
    let put = json!({"key": "r", "content_base64": STANDARD.encode(&bytes)});
    caller.ok("artifacts_put", put).await;
    for (range, part) in [
        ("0-0", &bytes[..1]),
        ("0-999", &bytes[..]),
        ("bytes=10-19", &bytes[10..20]),
        ("990-", &bytes[990..]),
        ("990-5000", &bytes[990..]),
        ("-5", &bytes[995..]),
        ("-5000", &bytes[..]),
    ] {
        assert_eq!(bytes_of(&caller, "r", Some(range)).await, part, "{range}");
        let got = caller
            .ok(
                "artifacts_get",
                json!({"key": "r", "range": range, "as": "base64"}),
            )
            .await;
        assert_eq!(got["size"], 1000, "the size is that of the whole");
    }
    for range in [
        "1000-",
        "1000-2000",
        "5-2",
        "",
        "-",
        "-0",
        "a-b",
        "1",
        "0-1,3-4",
        "bytes 0-1",
    ] {
        let failure = caller
            .fail("artifacts_get", json!({"key": "r", "range": range}))
            .await;
        let told = (failure.code().to_owned(), failure.parameter());
        assert_eq!(
            told,
            ("INVALID_PARAMETER".to_owned(), "range".to_owned()),
            "{range}"
        );
        assert!(failure.fix().is_some());
    }
    let text = "a".repeat(10) + "é";
    caller
        .ok("artifacts_put", json!({"key": "t", "content": text}))
        .await;
    let cut = caller
        .ok("artifacts_get", json!({"key": "t", "range": "0-10"}))
        .await;
    let told = (&cut["content"], &cut["truncated"]);
    assert_eq!(
        told,
        (&json!("aaaaaaaaaa"), &json!(true)),
        "half a character is left out and told"
    );
    let absent = caller
        .ok("artifacts_get", json!({"key": "none", "range": "0-1"}))
        .await;
    assert_eq!(absent["found"], false);
}

#[tokio::test]
async fn what_is_too_long_for_an_answer_is_cut_and_read_on_as_a_resource() {
    let world = World::open().await;
    let caller = world.caller().await;
    let line = "\"quoted\" and é, line after line\n";
    let text = line.repeat(200_000 / line.len());
    caller
        .ok(
            "artifacts_put",
            json!({"key": "long/é.txt", "content": text}),
        )
        .await;
    let answer = caller
        .call("artifacts_get", json!({"key": "long/é.txt"}))
        .await
        .unwrap();
    let got = answer.value();
    assert_eq!(got["truncated"], true);
    let inline = got["content"].as_str().unwrap();
    assert!(
        text.starts_with(inline) && inline.len() > 30_000,
        "{} bytes",
        inline.len()
    );
    let link = &answer.links[0];
    assert_eq!(
        (&link["uri"], &link["size"]),
        (&got["uri"], &json!(text.len()))
    );
    assert_eq!(link["mimeType"], "text/plain; charset=utf-8");

    let uri = link["uri"].as_str().unwrap();
    let mut read = Vec::new();
    while read.len() < text.len() {
        let range = format!("{uri}?range={}-{}", read.len(), read.len() + 29_999);
        let part = caller.get("resources/read", json!({"uri": range})).await;
        read.extend(contents(&part));
    }
    assert_eq!(read, text.as_bytes());
    let rest = caller
        .ok(
            "artifacts_get",
            json!({"key": "long/é.txt", "range": format!("{}-", inline.len()), "as": "text"}),
        )
        .await;
    assert!(text[inline.len()..].starts_with(rest["content"].as_str().unwrap()));
    let whole = caller.get("resources/read", json!({"uri": uri})).await;
    assert_eq!(contents(&whole), text.as_bytes());
}

/// The bytes of the one content that `resources/read` answered.
pub(crate) fn contents(result: &Value) -> Vec<u8> {
    let contents = result["contents"].as_array().expect("contents");
    assert_eq!(contents.len(), 1, "{result}");
    match contents[0]["text"].as_str() {
        Some(text) => text.as_bytes().to_vec(),
        None => STANDARD
            .decode(contents[0]["blob"].as_str().expect("a blob"))
            .expect("base64"),
    }
}

#[tokio::test]
async fn a_condition_on_the_etag_guards_a_change() {
    let world = World::open().await;
    let caller = world.caller().await;
    let put = |content: &str, name: &str, value: Value| {
        let mut arguments = json!({"key": "c", "content": content});
        arguments[name] = value;
        arguments
    };
    let nowhere = put("x", "if_etag", json!("abc"));
    assert_eq!(
        caller.fail("artifacts_put", nowhere).await.code(),
        "CONFLICT"
    );
    let gone = caller
        .fail("artifacts_delete", json!({"key": "c", "if_etag": "abc"}))
        .await;
    assert_eq!(gone.code(), "CONFLICT");
    let first = caller
        .ok("artifacts_put", put("one", "if_absent", json!(true)))
        .await;
    let taken = caller
        .fail("artifacts_put", put("two", "if_absent", json!(true)))
        .await;
    assert_eq!(taken.code(), "CONFLICT");
    assert!(taken.fix().unwrap().contains("etag"));
    let second = caller
        .ok(
            "artifacts_put",
            put("two", "if_etag", first["etag"].clone()),
        )
        .await;
    let stale = caller
        .fail(
            "artifacts_put",
            put("three", "if_etag", first["etag"].clone()),
        )
        .await;
    assert_eq!(stale.code(), "CONFLICT");
    assert_eq!(
        caller.ok("artifacts_get", json!({"key": "c"})).await["content"],
        "two"
    );
    let stale = json!({"key": "c", "if_etag": first["etag"]});
    assert_eq!(
        caller.fail("artifacts_delete", stale).await.code(),
        "CONFLICT"
    );
    // Quotes around it, as HTTP has them, do no harm.
    let quoted = format!("\"{}\"", second["etag"].as_str().unwrap());
    let deleted = caller
        .ok("artifacts_delete", json!({"key": "c", "if_etag": quoted}))
        .await;
    assert_eq!(deleted["existed"], true);
    let both = json!({"key": "c", "content": "x", "if_absent": true, "if_etag": "x"});
    assert_eq!(
        caller.fail("artifacts_put", both).await.parameter(),
        "if_etag"
    );
}
