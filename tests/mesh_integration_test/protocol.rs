//! The protocol through the whole server: every revision, faults, progress, cancellation, the end.

use agent_mesh::mesh::call::tool::Tool;
use std::time::Duration;

use agent_mesh::inbound::session::{EndCause, serve};
use agent_mesh::inbound::transport::{Limits, memory};
use agent_mesh::outbound::embedded::{Fault, Service};
use rmcp::ServiceExt as _;
use rmcp::model::{CallToolRequestParams, ReadResourceRequestParams};
use serde_json::{Value, json};

use crate::support::bus::Heard;
use crate::support::client::patiently;
use crate::support::{Plan, World};

#[tokio::test]
async fn every_revision_with_a_handshake_is_served() {
    let world = World::open().await;
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let client = world.connect();
        let server = client.initialize(version).await;
        assert_eq!(server["protocolVersion"], version);
        assert_eq!(server["serverInfo"]["name"], "agent-mesh");
        assert_eq!(server["capabilities"]["resources"]["subscribe"], true);
        assert!(
            server["instructions"]
                .as_str()
                .is_some_and(|text| text.contains("kv_*"))
        );
        let caller = world.over(client);
        let listed = Tool::ALL.into_iter().filter(|tool| tool.is_listed());
        assert_eq!(caller.tools().await.len(), listed.count(), "{version}");
        caller
            .ok("kv_set", json!({"key": "version", "value": version}))
            .await;
        assert_eq!(
            caller.ok("kv_get", json!({"key": "version"})).await["value"],
            version
        );
        caller.get("ping", json!({})).await;
        let prompts = caller.get("prompts/list", json!({})).await;
        assert_eq!(prompts["prompts"].as_array().unwrap().len(), 3);
        let params = json!({"name": "why-did-this-fail", "arguments": {"what": "kv_set"}});
        let prompt = caller.get("prompts/get", params).await;
        assert!(
            prompt["messages"][0]["content"]["text"]
                .as_str()
                .unwrap()
                .contains("\"kv_set\"")
        );
        let unknown = caller
            .request("prompts/get", json!({"name": "nope"}))
            .await
            .unwrap_err();
        assert_eq!(unknown.code, -32602);
    }
    let server = world.connect().initialize("1999-01-01").await;
    let chosen = server["protocolVersion"].as_str().unwrap();
    assert!(
        ["2025-06-18", "2025-11-25"].contains(&chosen),
        "one that it knows: {chosen}"
    );
}

#[tokio::test]
async fn the_revision_without_a_handshake_is_served() {
    let world = World::open().await;
    let caller = world.stateless();
    let found = caller.get("server/discover", json!({})).await;
    let versions = found["supportedVersions"].as_array().unwrap();
    for version in [
        "2024-11-05",
        "2025-03-26",
        "2025-06-18",
        "2025-11-25",
        "2026-07-28",
    ] {
        assert!(versions.contains(&json!(version)), "{versions:?}");
    }
    caller.ok("kv_set", json!({"key": "a", "value": 1})).await;
    let params = json!({"name": "kv_get", "arguments": {"key": "a"}});
    let called = caller.get("tools/call", params).await;
    assert_eq!(
        (&called["resultType"], &called["structuredContent"]["value"]),
        (&json!("complete"), &json!(1))
    );
    for (method, params) in [
        ("tools/list", json!({})),
        ("prompts/list", json!({})),
        ("resources/list", json!({})),
        ("resources/templates/list", json!({})),
    ] {
        let list = caller.get(method, params).await;
        assert_eq!(
            (&list["cacheScope"], &list["resultType"]),
            (&json!("private"), &json!("complete")),
            "{method}"
        );
        assert!(list["ttlMs"].is_u64(), "{method}: {list}");
    }
    let nobody = world.over(world.connect());
    let fault = nobody.request("tools/list", json!({})).await.unwrap_err();
    assert_eq!(
        fault.code, -32600,
        "neither a handshake nor a revision: {fault:?}"
    );
}

#[tokio::test]
async fn a_client_of_the_library_finds_its_way() {
    let world = World::open().await;
    let (transport, pipe) = memory(Limits::default());
    tokio::spawn(serve(
        world.app.server(),
        transport,
        Default::default(),
        Default::default(),
    ));
    let client = ().serve(tokio::io::split(pipe)).await.unwrap();
    let tools = client.list_all_tools().await.unwrap();
    let listed = Tool::ALL.into_iter().filter(|tool| tool.is_listed());
    assert_eq!(tools.len(), listed.count());
    let call = |name: &'static str, arguments: Value| {
        let mut params = CallToolRequestParams::new(name);
        params.arguments = arguments.as_object().cloned();
        client.call_tool(params)
    };
    let set = call("kv_set", json!({"key": "a", "value": {"n": 1}}))
        .await
        .unwrap();
    assert_eq!(set.is_error, Some(false));
    let got = call("kv_get", json!({"key": "a"})).await.unwrap();
    assert_eq!(got.structured_content.unwrap()["value"], json!({"n": 1}));
    let failed = call("kv_get", json!({})).await.unwrap();
    assert_eq!(failed.is_error, Some(true));
    call("artifacts_put", json!({"key": "f", "content": "x"}))
        .await
        .unwrap();
    let resources = client.list_all_resources().await.unwrap();
    let uris: Vec<_> = resources.iter().map(|one| one.uri.as_str()).collect();
    assert_eq!(uris, ["mesh://alerts", "mesh://artifacts/user/f"]);
    for uri in uris {
        let read = client
            .read_resource(ReadResourceRequestParams::new(uri))
            .await;
        assert_eq!(read.unwrap().contents.len(), 1, "{uri}");
    }
    assert!(call("nope", json!({})).await.is_err());
    client.cancel().await.unwrap();
}

#[tokio::test]
async fn faults_of_the_protocol_have_their_codes_and_the_session_lives_on() {
    let world = World::open().await;
    let caller = world.caller().await;
    let client = &caller.client;
    for (line, code) in [
        (r#"{"jsonrpc":"2.0","id":ID,"method":"tools/list""#, -32700),
        (
            r#"{"jsonrpc":"2.0","id":ID,"method":"kv_get","params":{}}"#,
            -32601,
        ),
        (r#"{"jsonrpc":"2.0","id":ID,"params":{}}"#, -32600),
        (r#"{"jsonrpc":"1.0","id":ID,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":ID,"method":"tools/call"}"#, -32602),
        (
            r#"{"jsonrpc":"2.0","id":ID,"method":"tools/call","params":{"name":5}}"#,
            -32602,
        ),
        (
            r#"{"jsonrpc":"2.0","id":ID,"method":"tools/call","params":{"name":"kv_get","arguments":"x"}}"#,
            -32602,
        ),
        (
            r#"{"jsonrpc":"2.0","id":ID,"method":"tools/call","params":{"name":"nope"}}"#,
            -32602,
        ),
        (
            r#"{"jsonrpc":"2.0","id":ID,"method":"resources/read","params":{}}"#,
            -32602,
        ),
        (
            r#"{"jsonrpc":"2.0","id":ID,"method":"tools/call","params":{"name":"kv_get","arguments":{"key":"\ud800"}}}"#,
            -32602,
        ),
    ] {
        let id = client.new_id();
        let line = line.replace("ID", &id.to_string());
        let answer = patiently(client.begin_line(id, &line).await).await.unwrap();
        assert_eq!(answer.unwrap_err().code, code, "{line}");
    }
    client.write(b"\xff\xfe").await;
    client.write(b"not JSON at all").await;
    client.write(b"").await;
    client
        .write(br#"{"jsonrpc":"2.0","method":"notifications/unheard-of"}"#)
        .await;
    client
        .write(br#"{"jsonrpc":"2.0","id":99,"result":{}}"#)
        .await;
    assert_eq!(
        caller.ok("kv_get", json!({"key": "a"})).await["found"],
        false
    );
}

#[tokio::test]
async fn a_put_tells_its_progress_to_whoever_asked() {
    let world = World::open().await;
    let caller = world.caller().await;
    caller
        .ok("artifacts_put", json!({"key": "a", "content": "quiet"}))
        .await;
    assert_eq!(caller.client.others_so_far().await, Vec::<Value>::new());
    let asking = caller.clone().with_meta("progressToken", "token-7");
    asking
        .ok(
            "artifacts_put",
            json!({"key": "a", "content": "x".repeat(1000)}),
        )
        .await;
    let told = caller.client.others_so_far().await;
    assert!(!told.is_empty(), "before the answer");
    for told in told {
        assert_eq!(told["method"], "notifications/progress");
        let params = &told["params"];
        assert_eq!(
            (&params["progressToken"], &params["total"]),
            (&json!("token-7"), &json!(1000.0))
        );
        assert!(
            params["progress"].is_number() && params["message"].is_string(),
            "{told}"
        );
    }
}

#[tokio::test]
async fn a_cancelled_call_is_not_answered_and_its_event_says_what_is_known() {
    let world = World::open().await;
    let heard = Heard::at(&world);
    let caller = world.caller().await;
    for (tool, operation, arguments, outcome) in [
        (
            "kv_set",
            "PutItem",
            json!({"key": "a", "value": 1}),
            "unknown",
        ),
        ("kv_get", "GetItem", json!({"key": "a"}), "error"),
    ] {
        world
            .faults()
            .inject(Service::DynamoDb, operation, Fault::Hang, 1);
        let (id, mut answer) = caller.begin(tool, arguments).await;
        patiently(async {
            while world.faults().waiting() > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        caller
            .client
            .notify(
                "notifications/cancelled",
                json!({"requestId": id, "reason": "enough"}),
            )
            .await;
        let events = heard
            .wait(1, |detail| {
                detail["tool"] == tool && detail["outcome"] != "ok"
            })
            .await;
        let told = (&events[0].1["outcome"], &events[0].1["error_code"]);
        assert_eq!(told, (&json!(outcome), &json!("CANCELLED")), "{tool}");
        caller.get("ping", json!({})).await;
        assert!(
            answer.try_recv().is_err(),
            "{tool} is not answered any more"
        );
    }
}

#[tokio::test]
async fn at_shutdown_what_runs_is_finished_and_what_comes_is_refused() {
    let world = World::open().await;
    let caller = world.caller().await;
    caller.ok("kv_set", json!({"key": "a", "value": 1})).await;
    world.faults().inject(
        Service::DynamoDb,
        "GetItem",
        Fault::Delay(Duration::from_millis(700)),
        1,
    );
    let (_, running) = caller.begin("kv_get", json!({"key": "a"})).await;
    patiently(async {
        while world.faults().waiting() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    caller.client.shutdown.cancel();
    tokio::task::yield_now().await;
    let late = loop {
        // The session notices within a few turns; until then it still answers.
        match caller.request("tools/list", json!({})).await {
            Ok(_) => tokio::task::yield_now().await,
            Err(fault) => break fault,
        }
    };
    assert_eq!(late.code, -32012);
    let answer = patiently(running)
        .await
        .unwrap()
        .expect("it was begun before");
    assert_eq!(caller.read("kv_get", &answer).value()["value"], 1);
    let ended = caller.client.ended().await;
    assert_eq!((ended.cause, ended.unfinished), (EndCause::Shutdown, 0));
}

#[tokio::test]
async fn what_one_process_stores_another_on_the_same_folder_reads() {
    let one = World::open().await;
    let two = Plan::default().beside(&one).open().await;
    let (first, second) = (one.caller().await, two.caller().await);
    let set = first.ok("kv_set", json!({"key": "a", "value": 1})).await;
    let got = second.ok("kv_get", json!({"key": "a"})).await;
    assert_eq!(
        (&got["value"], &got["version"]),
        (&json!(1), &set["version"])
    );
    second
        .ok("artifacts_put", json!({"key": "f", "content": "x"}))
        .await;
    assert_eq!(
        first.ok("artifacts_get", json!({"key": "f"})).await["content"],
        "x"
    );
    let conflict = json!({"key": "a", "value": 2, "if_version": "x"});
    assert_eq!(second.fail("kv_set", conflict).await.code(), "CONFLICT");
    let sent = json!({"events": [{"detail_type": "A.B", "detail": {}}], "wait": true});
    second.ok("events_send", sent).await;
    patiently(async {
        let query = json!({"detail_type": "A.B"});
        while first.ok("events_query", query.clone()).await["events"] == json!([]) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_trace_of_the_caller_is_in_the_event() {
    let world = World::open().await;
    let heard = Heard::at(&world);
    let caller = world.caller().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    for (parent, expected) in [
        (format!("00-{trace}-00f067aa0ba902b7-01"), Some(trace)),
        ("00-not-a-trace".to_owned(), None),
        (format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)), None),
    ] {
        let key = format!("traced {parent}");
        let traced = caller.clone().with_meta("traceparent", parent);
        traced.ok("kv_get", json!({ "key": key })).await;
        let events = heard
            .wait(1, |detail| detail["data"]["key"] == json!(key))
            .await;
        assert_eq!(
            events[0].1.get("trace_id").and_then(Value::as_str),
            expected,
            "{key}"
        );
    }
}
