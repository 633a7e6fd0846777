//! One message and its answer.

use futures::StreamExt;

use super::*;

#[tokio::test]
async fn an_answer_alone_is_json_to_the_last_character() {
    let world = World::open().await;
    let session = world.session(json!({})).await;
    let text = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo","arguments":{"n":1.10e400,"t":"\u00e9"}}}"#;
    let posted = world
        .client
        .post(world.url())
        .bearer_auth("ada")
        .header("mcp-session-id", session);
    let response = posted
        .header("content-type", "application/json; charset=utf-8")
        .body(text)
        .send()
        .await
        .unwrap();
    let body = response.text().await.unwrap();
    assert_eq!(
        body,
        r#"{"jsonrpc":"2.0","id":7,"result":{"content":[],"echo":{"n":1.10e400,"t":"\u00e9"}}}"#
    );
}

#[tokio::test]
async fn what_is_said_before_the_answer_makes_it_a_stream_that_ends_with_it() {
    let world = World::open().await;
    let session = world.session(json!({})).await;
    let events = events_of(world.call(&session, 5, "progress").send().await.unwrap()).await;
    let methods: Vec<&Value> = events.iter().map(|event| &event["method"]).collect();
    assert_eq!(methods[..3], ["notifications/progress"; 3], "{events:?}");
    assert_eq!((events.len(), &events[3]["id"]), (4, &json!(5)));
}

#[tokio::test]
async fn a_client_that_takes_no_streams_gets_the_answer_alone_and_one_that_takes_only_streams_gets_one()
 {
    let world = World::open().await;
    let session = world.session(json!({})).await;
    let plain = |tool: &str, accept: &str| {
        let params = json!({"name": tool, "_meta": {"progressToken": "p"}});
        let posted = world
            .client
            .post(world.url())
            .bearer_auth("ada")
            .header("mcp-session-id", &session);
        posted
            .header("accept", accept)
            .message(&request(3, "tools/call", &params))
            .send()
    };
    let answer = json_of(plain("progress", "application/json").await.unwrap()).await;
    assert_eq!(answer["result"]["content"][0]["text"], "progressed");
    let events = events_of(plain("typed", "text/event-stream").await.unwrap()).await;
    assert_eq!(events[0]["result"]["content"][0]["text"], "typed");
    let refused = plain("typed", "text/html").await.unwrap();
    assert_eq!(refused.status(), StatusCode::NOT_ACCEPTABLE);
}

#[tokio::test]
async fn a_client_is_asked_on_the_stream_of_its_request_and_answers_by_another_one() {
    let world = World::open().await;
    let session = world.session(json!({"sampling": {}})).await;
    // Two at once, so that equal ids of ours would meet.
    for round in 0..3 {
        let mut streams = Vec::new();
        for id in 0..2 {
            let response = world.call(&session, id, "ask").send().await.unwrap();
            let mut stream = response.bytes_stream();
            let first = stream.next().await.unwrap().unwrap();
            let asked = events_in(std::str::from_utf8(&first).unwrap())[0].clone();
            assert_eq!(asked["method"], "ping", "round {round}");
            streams.push((asked["id"].clone(), stream));
        }
        assert_ne!(streams[0].0, streams[1].0);
        for (id, mut stream) in streams {
            let answer = json!({"jsonrpc": "2.0", "id": id, "result": {}});
            let taken = world
                .post(&answer)
                .header("mcp-session-id", &session)
                .send()
                .await
                .unwrap();
            assert_eq!(taken.status(), StatusCode::ACCEPTED);
            let last = stream.next().await.unwrap().unwrap();
            let last = &events_in(std::str::from_utf8(&last).unwrap())[0];
            assert_eq!(last["result"]["content"][0]["text"], "true", "{last}");
        }
    }
}

#[tokio::test]
async fn an_answer_of_another_caller_reaches_nobody() {
    let world = World::open().await;
    let session = world.session(json!({"sampling": {}})).await;
    let response = world.call(&session, 1, "ask").send().await.unwrap();
    let mut stream = response.bytes_stream();
    let first = stream.next().await.unwrap().unwrap();
    let asked = events_in(std::str::from_utf8(&first).unwrap())[0]["id"].clone();
    let answer = json!({"jsonrpc": "2.0", "id": asked, "result": {}});
    let stranger = world
        .client
        .post(world.url())
        .bearer_auth("eve")
        .header("mcp-session-id", &session);
    assert_eq!(
        stranger.message(&answer).send().await.unwrap().status(),
        StatusCode::NOT_FOUND
    );
    // Neither does one of the same caller's other session.
    let other = world.session(json!({"sampling": {}})).await;
    let taken = world
        .post(&answer)
        .header("mcp-session-id", &other)
        .send()
        .await
        .unwrap();
    assert_eq!(taken.status(), StatusCode::ACCEPTED);
    world.running(1).await;
    let taken = world
        .post(&answer)
        .header("mcp-session-id", &session)
        .send()
        .await
        .unwrap();
    assert_eq!(taken.status(), StatusCode::ACCEPTED);
    let last = stream.next().await.unwrap().unwrap();
    assert!(std::str::from_utf8(&last).unwrap().contains("true"));
}

#[tokio::test]
async fn a_request_is_cancelled_by_another_one_of_its_session() {
    let world = World::open().await;
    let session = world.session(json!({})).await;
    let waiting = tokio::spawn(world.call(&session, 9, "wait").send());
    world.running(1).await;
    let cancelled =
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 9}});
    let taken = world
        .post(&cancelled)
        .header("mcp-session-id", &session)
        .send()
        .await
        .unwrap();
    assert_eq!(taken.status(), StatusCode::ACCEPTED);
    world.running(0).await;
    let response = waiting.await.unwrap().unwrap();
    assert_eq!(response.status(), StatusCode::ACCEPTED);
}

#[tokio::test]
async fn a_client_that_leaves_cancels_in_the_revision_without_sessions_and_not_in_others() {
    let world = World::open().await;
    let posted = stateless(world.post(&stateless_call("wait")), "tools/call", "wait").send();
    let leaving = tokio::spawn(posted);
    world.running(1).await;
    leaving.abort();
    world.running(0).await;
    let session = world.session(json!({})).await;
    let leaving = tokio::spawn(world.call(&session, 2, "wait").send());
    world.running(1).await;
    leaving.abort();
    // The connection is closed by now; what was asked for goes on.
    assert!(
        world
            .call(&session, 3, "typed")
            .send()
            .await
            .unwrap()
            .status()
            .is_success()
    );
    world.running(1).await;
    world.gate.add_permits(1);
    world.running(0).await;
}

#[tokio::test]
async fn a_handler_that_panics_is_answered_for() {
    let world = World::open().await;
    let session = world.session(json!({})).await;
    let answer = json_of(world.call(&session, 4, "panic").send().await.unwrap()).await;
    assert_eq!(answer["error"]["code"], -32603, "{answer}");
}

#[tokio::test]
async fn what_is_no_message_is_refused_with_a_status_and_a_reason() {
    let world = World::open().await;
    let session = world.session(json!({})).await;
    let send = |body: &'static str| {
        let posted = world
            .client
            .post(world.url())
            .bearer_auth("ada")
            .header("mcp-session-id", &session);
        posted
            .header("content-type", "application/json")
            .body(body)
            .send()
    };
    for (body, code) in [
        ("", -32600),
        ("{", -32700),
        ("\u{0}", -32700),
        ("[]", -32600),
        ("7", -32600),
        (r#"{"jsonrpc":"2.0","id":1}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, -32600),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, -32600),
    ] {
        let response = send(body).await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{body}");
        assert_eq!(json_of(response).await["error"]["code"], code, "{body}");
    }
    let unknown = send(r#"{"jsonrpc":"2.0","id":1,"method":"no/such"}"#)
        .await
        .unwrap();
    assert_eq!(unknown.status(), StatusCode::OK);
    assert_eq!(json_of(unknown).await["error"]["code"], -32601);
}

#[tokio::test]
async fn headers_that_say_something_else_than_the_message_are_refused() {
    let world = World::open().await;
    let call = stateless_call("typed");
    let fine = stateless(world.post(&call), "tools/call", "typed")
        .send()
        .await
        .unwrap();
    assert_eq!(fine.status(), StatusCode::OK);
    let encoded = stateless(world.post(&call), "tools/call", "=?base64?dHlwZWQ=?=")
        .send()
        .await
        .unwrap();
    assert_eq!(encoded.status(), StatusCode::OK);
    let wrong = [
        stateless(world.post(&call), "tools/list", "typed"),
        stateless(world.post(&call), "tools/call", "other"),
        stateless(world.post(&call), "tools/call", "=?base64?!?="),
        stateless(world.post(&call), "tools/call", "typed").header("mcp-method", "tools/list"),
        world
            .post(&call)
            .header("mcp-protocol-version", "2026-07-28"),
        world.post(&call),
        world
            .post(&call)
            .header("mcp-protocol-version", "2025-06-18"),
    ];
    for builder in wrong {
        let response = builder.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert_eq!(json_of(response).await["error"]["code"], -32020);
    }
    let session = world.session(json!({})).await;
    for version in ["2025-11-25", "1999-01-01"] {
        let response = world
            .call(&session, 1, "typed")
            .header("mcp-protocol-version", version)
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{version}");
    }
}

#[tokio::test]
async fn arguments_that_are_repeated_in_headers_are_held_against_them() {
    let world = World::open().await;
    let call = |region: &str| {
        let mut call = stateless_call("typed");
        call["params"]["arguments"] = json!({"region": region});
        stateless(world.post(&call), "tools/call", "typed")
    };
    // What no tool has repeated is nobody's.
    let other = call("eu").header("mcp-param-other", "x");
    assert_eq!(other.send().await.unwrap().status(), StatusCode::OK);
    let mut mirrored = stateless_call("mirrored");
    mirrored["params"]["arguments"] = json!({"region": "eu"});
    let mirrored = || stateless(world.post(&mirrored), "tools/call", "mirrored");
    for (request, status) in [
        (mirrored().header("mcp-param-region", "eu"), StatusCode::OK),
        (
            mirrored().header("mcp-param-region", "us"),
            StatusCode::BAD_REQUEST,
        ),
        (mirrored(), StatusCode::BAD_REQUEST),
    ] {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status);
        let answer = json_of(response).await;
        assert_eq!(answer["error"]["code"] == -32020, status != StatusCode::OK);
    }
}

#[tokio::test]
async fn a_message_without_sessions_says_what_it_must_and_has_only_its_revisions_methods() {
    let world = World::open().await;
    let meta = |members: &Value| json!({"_meta": members});
    let version = "io.modelcontextprotocol/protocolVersion";
    let capabilities = "io.modelcontextprotocol/clientCapabilities";
    let whole = json!({version: "2026-07-28", capabilities: {}});
    for (method, params, status, code) in [
        ("tools/list", json!({}), 400, -32602),
        ("tools/list", meta(&json!({capabilities: {}})), 400, -32602),
        (
            "tools/list",
            meta(&json!({version: "2026-07-28"})),
            400,
            -32602,
        ),
        ("logging/setLevel", meta(&whole), 404, -32601),
        ("resources/subscribe", meta(&whole), 404, -32601),
        ("initialize", meta(&whole), 404, -32601),
    ] {
        let message = request(9, method, &params);
        let response = stateless(world.post(&message), method, "").send().await;
        let response = response.unwrap();
        assert_eq!(response.status().as_u16(), status, "{message}");
        let answer = json_of(response).await;
        assert_eq!(answer["error"]["code"], code, "{answer}");
        assert_eq!(answer["id"], 9, "{answer}");
    }
}

#[tokio::test]
async fn the_token_of_the_header_is_the_identity_whatever_the_message_says() {
    let world = World::open().await;
    let session = world.session(json!({})).await;
    let params = json!({"name": "identity", "_meta": {"com.agent-mesh/identity": "eve"}});
    let posted = world
        .post(&request(1, "tools/call", &params))
        .header("mcp-session-id", session);
    let answer = json_of(posted.send().await.unwrap()).await;
    let seen: Value =
        serde_json::from_str(answer["result"]["content"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!(seen, json!({"token": "ada", "foreign": false, "meta": {}}));
    let nobody = world
        .client
        .post(world.url())
        .message(&request(1, "ping", &json!({})))
        .send()
        .await
        .unwrap();
    assert_eq!(nobody.status(), StatusCode::UNAUTHORIZED);
    assert!(nobody.headers().contains_key("www-authenticate"));
}

#[tokio::test]
async fn batches_are_answered_as_one_where_the_revision_has_them() {
    let world = World::open().await;
    let params = json!({"protocolVersion": "2025-03-26", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    let response = world
        .post(&request(1, "initialize", &params))
        .send()
        .await
        .unwrap();
    let session = response.headers()["mcp-session-id"]
        .to_str()
        .unwrap()
        .to_owned();
    let call = |id| request(id, "tools/call", &json!({"name": "typed"}));
    let batch =
        json!([call(1), {"jsonrpc": "2.0", "method": "notifications/initialized"}, call(2)]);
    let answer = json_of(
        world
            .post(&batch)
            .header("mcp-session-id", session)
            .send()
            .await
            .unwrap(),
    )
    .await;
    let mut ids: Vec<i64> = answer
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["id"].as_i64().unwrap())
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, [1, 2]);
}
