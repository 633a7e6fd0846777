//! Sessions from the client's side: revisions, panics, shutdown, end-of-file.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::probe::{Client, STATELESS, call, cancel, code, initialize, request, text};
use super::{DrainTimes, EndCause};
use crate::inbound::transport::Limits;
use crate::inbound::transport::http::tests::wire::{over_each_wire, over_one_connection};

over_each_wire! {
    each_revision_with_a_handshake_is_agreed_on_and_kept,
    an_unknown_revision_is_answered_with_the_newest_that_has_a_handshake,
    the_stateless_revision_needs_no_handshake,
    a_handshake_may_follow_discovery_and_stateless_requests_may_follow_a_handshake,
    a_subscription_is_acknowledged_and_ends_with_the_session_without_delay,
    strays_before_the_handshake_are_survived,
    what_is_sent_together_with_the_handshake_waits_for_it,
    a_second_handshake_counts_and_a_wrong_one_leaves_the_first,
    a_wrong_handshake_can_be_repeated,
    a_panic_is_answered_and_survived,
    a_client_that_is_gone_ends_the_session,
}

over_one_connection! {
    a_shutdown_finishes_what_runs_and_refuses_what_comes,
}

const SESSION_REVISIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

fn stateless(id: u32, method: &str, params: &str) -> String {
    let rest = params.trim_start_matches('{');
    let comma = if rest == "}" { "" } else { "," };
    request(
        &id.to_string(),
        method,
        &format!(r#"{{"_meta":{STATELESS}{comma}{rest}"#),
    )
}

async fn each_revision_with_a_handshake_is_agreed_on_and_kept() {
    for version in SESSION_REVISIONS {
        let mut client = Client::open().await;
        let answer = client.greet(version).await;
        assert_eq!(answer["result"]["protocolVersion"], version);
        client.ping().await;
        let answer = client.ask(&request("1", "tools/list", "{}")).await;
        assert_eq!(answer["result"], json!({"tools": []}), "{version}");
        assert_eq!(text(&client.ask(&call(2, "version")).await), version);
        client
            .until(|seen| seen.initialized.load(Ordering::SeqCst) == 1)
            .await;
        let (rest, ended) = client.finish().await;
        assert_eq!(rest, Vec::<Value>::new());
        assert_eq!(ended.cause, EndCause::ClientLeft);
    }
}

async fn an_unknown_revision_is_answered_with_the_newest_that_has_a_handshake() {
    for version in ["1999-01-01", "2099-01-01", "2026-07-28"] {
        let mut client = Client::open().await;
        let answer = client.greet(version).await;
        assert_eq!(answer["result"]["protocolVersion"], "2025-11-25");
        assert_eq!(text(&client.ask(&call(1, "version")).await), "2025-11-25");
    }
}

async fn the_stateless_revision_needs_no_handshake() {
    let mut client = Client::open().await;
    let answer = client.ask(&stateless(1, "server/discover", "{}")).await;
    let versions = answer["result"]["supportedVersions"].as_array().unwrap();
    assert!(versions.contains(&json!("2026-07-28")), "{answer}");
    let answer = client.ask(&stateless(2, "tools/list", "{}")).await;
    assert_eq!(answer["result"]["resultType"], "complete", "{answer}");
    let answer = client
        .ask(&stateless(3, "tools/call", r#"{"name":"version"}"#))
        .await;
    assert_eq!(text(&answer), "2026-07-28");
    // That revision has no ping, and its requests say themselves what a session would know.
    assert_eq!(code(&client.ask(&stateless(4, "ping", "{}")).await), -32601);
    assert_eq!(
        code(&client.ask(&request("5", "tools/list", "{}")).await),
        -32600
    );
    let only_version = r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}"#;
    assert_eq!(
        code(&client.ask(&request("6", "tools/list", only_version)).await),
        -32602
    );
}

async fn a_handshake_may_follow_discovery_and_stateless_requests_may_follow_a_handshake() {
    let mut client = Client::open().await;
    client.ask(&stateless(1, "server/discover", "{}")).await;
    client.greet("2025-06-18").await;
    let answer = client
        .ask(&stateless(2, "tools/call", r#"{"name":"version"}"#))
        .await;
    assert_eq!(text(&answer), "2026-07-28");
    assert_eq!(text(&client.ask(&call(3, "version")).await), "2025-06-18");
}

async fn a_subscription_is_acknowledged_and_ends_with_the_session_without_delay() {
    let mut client = Client::open().await;
    let listen = stateless(
        7,
        "subscriptions/listen",
        r#"{"notifications":{"toolsListChanged":true}}"#,
    );
    let answer = client.ask(&listen).await;
    assert_eq!(answer["method"], "notifications/subscriptions/acknowledged");
    let begin = Instant::now();
    client.shutdown.cancel();
    let answer = client.receive().await;
    assert_eq!(answer["id"], 7, "{answer}");
    assert!(answer.get("result").is_some(), "{answer}");
    let ended = client.session.await.unwrap();
    assert_eq!((ended.cause, ended.unfinished), (EndCause::Shutdown, 0));
    assert!(begin.elapsed() < Duration::from_secs(1));
}

async fn strays_before_the_handshake_are_survived() {
    let mut client = Client::open().await;
    client
        .send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#)
        .await;
    client.send(&cancel(1)).await;
    client.send(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#).await;
    client
        .send(r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x"}}"#)
        .await;
    client.ping().await;
    let refused = client.ask(&call(2, "typed")).await;
    assert_eq!((code(&refused), &refused["id"]), (-32600, &json!(2)));
    client.greet("2025-11-25").await;
    assert_eq!(text(&client.ask(&call(2, "typed")).await), "typed");
    assert_eq!(client.seen.started.load(Ordering::SeqCst), 1);
}

async fn what_is_sent_together_with_the_handshake_waits_for_it() {
    let mut client = Client::open().await;
    let lines = [
        initialize("a", "2025-06-18"),
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.to_owned(),
        call(1, "version"),
    ];
    client.send(&lines.join("\n")).await;
    assert_eq!(client.receive().await["id"], "a");
    assert_eq!(text(&client.receive().await), "2025-06-18");
}

async fn a_second_handshake_counts_and_a_wrong_one_leaves_the_first() {
    let mut client = Client::greeted("2024-11-05").await;
    assert_eq!(
        code(&client.ask(&request("1", "initialize", "{}")).await),
        -32602
    );
    assert_eq!(text(&client.ask(&call(2, "version")).await), "2024-11-05");
    client.send(&initialize("again", "2025-06-18")).await;
    assert_eq!(
        client.receive().await["result"]["protocolVersion"],
        "2025-06-18"
    );
    assert_eq!(text(&client.ask(&call(3, "version")).await), "2025-06-18");
}

async fn a_wrong_handshake_can_be_repeated() {
    let mut client = Client::open().await;
    assert_eq!(
        code(&client.ask(&request("1", "initialize", "{}")).await),
        -32602
    );
    client.greet("2025-11-25").await;
    client.ping().await;
}

async fn a_panic_is_answered_and_survived() {
    let mut client = Client::greeted("2025-11-25").await;
    for id in 1..=3 {
        let answer = client.ask(&call(id, "panic")).await;
        assert_eq!((code(&answer), &answer["id"]), (-32603, &json!(id)));
        assert_eq!(answer["error"]["message"], "internal error");
        let request_id = answer["error"]["data"]["request_id"].as_str().unwrap();
        assert_eq!(request_id.len(), 26);
    }
    client.ping().await;
    let (_, ended) = client.finish().await;
    assert_eq!((ended.cause, ended.unfinished), (EndCause::ClientLeft, 0));
}

#[tokio::test]
async fn everything_before_the_end_of_the_input_is_answered() {
    let mut client = Client::new(Limits {
        requests_in_flight: 3,
        ..Limits::default()
    });
    client.greet("2025-11-25").await;
    for id in 0..200 {
        client.send(&call(id, "typed")).await;
        // The pipe is smaller than the answers.
        if id % 100 == 99 {
            client.gate.add_permits(1);
        }
    }
    // The last line has no line break.
    client.send_bytes(call(200, "typed").as_bytes()).await;
    let (answers, ended) = client.finish().await;
    let mut ids: Vec<i64> = answers
        .iter()
        .filter_map(|answer| answer["id"].as_i64())
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..=200).collect::<Vec<_>>());
    assert_eq!(ended.unfinished, 0);
}

#[tokio::test]
async fn what_runs_at_the_end_of_the_input_is_waited_for() {
    let mut client = Client::greeted("2025-11-25").await;
    client.send(&call(1, "stubborn")).await;
    client
        .until(|seen| seen.running.load(Ordering::SeqCst) == 1)
        .await;
    let gate = client.gate.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        gate.add_permits(1);
    });
    let (answers, ended) = client.finish().await;
    assert_eq!(text(&answers[0]), "waited");
    assert_eq!((ended.cause, ended.unfinished), (EndCause::ClientLeft, 0));
}

async fn a_shutdown_finishes_what_runs_and_refuses_what_comes() {
    let mut client = Client::greeted("2025-11-25").await;
    client.send(&call(1, "stubborn")).await;
    client
        .until(|seen| seen.running.load(Ordering::SeqCst) == 1)
        .await;
    client.shutdown.cancel();
    // The session notices a moment later; pings count as requests too.
    let refused = loop {
        let answer = client.ask(&request("2", "ping", "{}")).await;
        if answer.get("error").is_some() {
            break answer;
        }
    };
    assert_eq!((code(&refused), &refused["id"]), (-32012, &json!(2)));
    client.gate.add_permits(1);
    assert_eq!(text(&client.receive().await), "waited");
    assert_eq!(client.receive_line().await, None);
    let ended = client.session.await.unwrap();
    assert_eq!((ended.cause, ended.unfinished), (EndCause::Shutdown, 0));
}

#[tokio::test]
async fn a_shutdown_cancels_in_time_and_answers_for_what_does_not_listen() {
    let times = DrainTimes {
        finish: Duration::from_millis(100),
        cancel: Duration::from_millis(50),
        flush: Duration::from_millis(50),
    };
    let mut client = Client::with_times(Limits::default(), times);
    client.greet("2025-11-25").await;
    client.send(&call(1, "wait")).await;
    client.send(&call(2, "stubborn")).await;
    client
        .until(|seen| seen.running.load(Ordering::SeqCst) == 2)
        .await;
    let begin = Instant::now();
    client.shutdown.cancel();
    let (first, second) = (client.receive().await, client.receive().await);
    assert_eq!((&first["id"], text(&first)), (&json!(1), "cancelled"));
    assert_eq!((&second["id"], code(&second)), (&json!(2), -32012));
    let ended = client.session.await.unwrap();
    assert_eq!((ended.cause, ended.unfinished), (EndCause::Shutdown, 1));
    assert!(begin.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_client_that_never_reads_does_not_keep_the_session_from_ending() {
    let mut client = Client::greeted("2025-11-25").await;
    for id in 0..20 {
        client.send(&call(id, "large")).await;
    }
    client
        .until(|seen| seen.started.load(Ordering::SeqCst) == 20)
        .await;
    let begin = Instant::now();
    client.shutdown.cancel();
    let ended = client.session.await.unwrap();
    assert_eq!(ended.cause, EndCause::Shutdown);
    assert!(begin.elapsed() < Duration::from_millis(2000));
}

async fn a_client_that_is_gone_ends_the_session() {
    let mut client = Client::greeted("2025-11-25").await;
    client.send(&call(1, "typed")).await;
    let Client {
        reader,
        writer,
        session,
        ..
    } = client;
    drop((reader, writer));
    let ended = tokio::time::timeout(Duration::from_secs(5), session).await;
    assert_eq!(ended.unwrap().unwrap().cause, EndCause::ClientLeft);
}

#[tokio::test]
async fn a_client_of_the_library_is_served() {
    use rmcp::ServiceExt;
    use rmcp::model::CallToolRequestParams;

    let (transport, client) = crate::inbound::transport::memory(Limits::default());
    let probe = super::probe::Probe {
        seen: Default::default(),
        gate: std::sync::Arc::new(tokio::sync::Semaphore::new(0)),
    };
    let shutdown = tokio_util::sync::CancellationToken::new();
    let session = tokio::spawn(super::serve(
        probe,
        transport,
        shutdown,
        DrainTimes::default(),
    ));
    let client = ().serve(client).await.unwrap();
    assert!(client.list_all_tools().await.unwrap().is_empty());
    let result = client
        .call_tool(CallToolRequestParams::new("typed"))
        .await
        .unwrap();
    assert_eq!(result.content.len(), 1);
    client.cancel().await.unwrap();
    assert_eq!(session.await.unwrap().cause, EndCause::ClientLeft);
}
