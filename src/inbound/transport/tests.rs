//! What a client can send, and what comes back.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::parameters::DECODED_WEIGHT;
use super::*;
use crate::inbound::session::probe::{
    Client, STATELESS, call, cancel, code, initialize, request, text,
};
use crate::inbound::transport::http::tests::wire::{over_each_wire, over_one_connection};

over_each_wire! {
    a_broken_line_is_answered_by_the_id_that_stands_in_it,
    a_line_without_a_usable_id_is_answered_only_where_the_revision_knows_such_answers,
    numbers_that_are_no_integers_are_refused_by_name,
    a_lone_surrogate_is_answered_and_a_pair_is_not_touched,
    malformed_parameters_are_refused_with_the_reason,
    arguments_arrive_to_the_byte_and_exact_results_leave_so,
    a_batch_is_answered_as_one_where_the_revision_has_batches,
    a_batch_is_refused_request_by_request_where_the_revision_has_none,
    an_id_in_flight_is_refused_and_the_first_request_is_still_answered,
    a_cancelled_request_is_not_answered_and_its_id_is_not_reused,
    progress_and_requests_of_ours_reach_the_client_in_order,
    stateless_requests_can_be_cancelled,
    deep_nesting_is_an_answer_and_no_overflow,
}

over_one_connection! {
    a_flood_of_notifications_starts_no_handlers,
}

fn small(limits: Limits) -> Limits {
    Limits {
        frame_bytes: 1000,
        ..limits
    }
}

async fn greeted(limits: Limits, version: &str) -> Client {
    let mut client = Client::new(limits);
    client.greet(version).await;
    client
}

/// An answer's id and code; null where there is no id.
fn refusal(answer: &Value) -> (Value, i64) {
    (answer["id"].clone(), code(answer))
}

async fn a_broken_line_is_answered_by_the_id_that_stands_in_it() {
    let mut client = Client::greeted("2025-06-18").await;
    for (line, expected) in [
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping""#, -32700),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping",}"#, -32700),
        (
            r#"{"method":"tools/call","params":{"name":},"jsonrpc":"2.0","id":1}"#,
            -32700,
        ),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping"} x"#, -32700),
        (r#"{"jsonrpc":"2.0","id":1,"method":"pi\xng"}"#, -32700),
        (r#"{"jsonrpc":"2.0","id":1,"method":5}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"\ud800"}"#, -32600),
        (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, -32600),
        (r#"{"id":1,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1}"#, -32600),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#,
            -32600,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"ping"}"#,
            -32600,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#,
            -32602,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":5}"#,
            -32602,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"nobody/knows"}"#,
            -32601,
        ),
    ] {
        let answer = client.ask(line).await;
        assert_eq!(refusal(&answer), (json!(1), expected), "{line}: {answer}");
    }
    client.ping().await;
}

async fn a_line_without_a_usable_id_is_answered_only_where_the_revision_knows_such_answers() {
    let lines = [
        "nonsense",
        "{",
        "42",
        "null",
        "\"text\"",
        "{}",
        "[]",
        "[1",
        "[{\"x\":1}]",
        r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":{"a":1},"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":[1],"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":true,"method":"ping"}"#,
    ];
    for version in ["2024-11-05", "2025-03-26", "2025-06-18"] {
        let mut client = Client::greeted(version).await;
        for line in lines {
            client.send(line).await;
        }
        client.ping().await;
    }
    for version in [None, Some("2025-11-25")] {
        let mut client = Client::open().await;
        if let Some(version) = version {
            client.greet(version).await;
        }
        for line in lines {
            let answer = client.ask(line).await;
            let is_json = serde_json::from_str::<Value>(line).is_ok();
            let expected = if is_json { -32600 } else { -32700 };
            assert_eq!(refusal(&answer), (Value::Null, expected), "{line}");
            assert!(answer.get("id").is_none(), "{line}");
        }
        client.ping().await;
    }
}

async fn numbers_that_are_no_integers_are_refused_by_name() {
    let mut client = Client::greeted("2025-06-18").await;
    for id in ["1.5", "9223372036854775808", "1e2"] {
        client.send(&request(id, "ping", "{}")).await;
        let line = client.receive_line().await.unwrap();
        assert!(
            line.starts_with(&format!(r#"{{"jsonrpc":"2.0","id":{id},"error""#)),
            "{line}"
        );
    }
    for id in ["9223372036854775807", "-1", "0", r#""7""#, r#""ü \"x\"""#] {
        let answer = client.ask(&request(id, "ping", "{}")).await;
        let id: Value = serde_json::from_str(id).unwrap();
        assert_eq!(answer, json!({"jsonrpc": "2.0", "id": id, "result": {}}));
    }
    let long = format!("\"{}\"", "i".repeat(300));
    client.send(&request(&long, "ping", "{}")).await;
    client.ping().await;
}

#[tokio::test]
async fn what_is_not_utf_8_is_answered() {
    let mut client = Client::greeted("2025-06-18").await;
    client
        .send_bytes(
            b"{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"ping\",\"params\":{\"a\":\"\xff\"}}\n",
        )
        .await;
    assert_eq!(refusal(&client.receive().await), (json!(5), -32700));
    client.send_bytes(b"\xff\xfe\x00\n").await;
    client.ping().await;
}

async fn a_lone_surrogate_is_answered_and_a_pair_is_not_touched() {
    let mut client = Client::greeted("2025-06-18").await;
    let params = r#"{"name":"echo","arguments":{"value":"a\ud800b"}}"#;
    let answer = client.ask(&request("5", "tools/call", params)).await;
    assert_eq!(refusal(&answer), (json!(5), -32602));
    assert!(
        answer["error"]["message"]
            .as_str()
            .unwrap()
            .contains(r"\ud800")
    );
    let params = r#"{"name":"echo","arguments":{"value":"\ud83d\ude00"}}"#;
    let answer = client.ask(&request("6", "tools/call", params)).await;
    assert_eq!(answer["result"]["echo"]["value"], "😀");
}

#[tokio::test]
async fn a_frame_at_the_limit_passes_and_one_past_it_is_answered() {
    let mut client = greeted(small(Limits::default()), "2025-06-18").await;
    let frame = |bytes: usize| {
        let fill = "x".repeat(bytes - call("1", "echo").len() - 6);
        let frame = call("1", "echo").replace("{}", &format!(r#"{{"v":"{fill}"}}"#));
        assert_eq!(frame.len(), bytes);
        frame
    };
    assert_eq!(client.ask(&frame(1000)).await["id"], 1);
    let answer = client.ask(&frame(1001)).await;
    assert_eq!(refusal(&answer), (json!(1), -32600));
    // A JavaScript client writes the id last.
    let long = "y".repeat(5_000_000);
    let answer = client
        .ask(&format!(
            r#"{{"method":"x","params":{{"id":3,"v":"{long}"}},"jsonrpc":"2.0","id":9}}"#
        ))
        .await;
    assert_eq!(refusal(&answer), (json!(9), -32600));
    client.send(&long).await;
    client.ping().await;
}

async fn deep_nesting_is_an_answer_and_no_overflow() {
    let mut client = Client::greeted("2025-11-25").await;
    let deep = format!("{}{}", "[".repeat(2_000_000), "]".repeat(2_000_000));
    let answer = client
        .ask(&request(
            "1",
            "prompts/get",
            &format!(r#"{{"name":{deep}}}"#),
        ))
        .await;
    assert_eq!(refusal(&answer), (json!(1), -32602));
    let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
    for params in [
        format!(r#"{{"name":{deep}}}"#),
        format!(r#"{{"name":"x","_meta":{deep}}}"#),
    ] {
        let answer = client.ask(&request("2", "prompts/get", &params)).await;
        assert_eq!(refusal(&answer), (json!(2), -32602), "{answer}");
    }
    assert_eq!(code(&client.ask(&deep).await), -32600);
    assert_eq!(code(&client.ask(&"[".repeat(2_000_000)).await), -32700);
    // The arguments of a tool are the tool's to decode.
    let params = format!(r#"{{"name":"echo","arguments":{{"a":{deep}}}}}"#);
    client.send(&request("3", "tools/call", &params)).await;
    assert!(client.receive_line().await.unwrap().contains(&deep));
    client.ping().await;
}

async fn malformed_parameters_are_refused_with_the_reason() {
    let mut client = Client::greeted("2025-06-18").await;
    for (method, params, word) in [
        ("tools/call", "{}", "name"),
        ("tools/call", r#"{"name":5}"#, "integer"),
        ("tools/call", r#"{"name":"echo","arguments":[]}"#, "object"),
        (
            "tools/call",
            r#"{"name":"echo","arguments":"{}"}"#,
            "object",
        ),
        ("tools/call", r#"{"name":"echo","_meta":5}"#, "map"),
        ("prompts/get", "{}", "name"),
        ("resources/read", r#"{"uri":5}"#, "integer"),
        ("tools/list", r#"{"cursor":5}"#, "integer"),
        ("completion/complete", "{}", "missing"),
    ] {
        let answer = client.ask(&request("1", method, params)).await;
        assert_eq!(refusal(&answer), (json!(1), -32602), "{method} {params}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(
            message.contains(word) && message.contains(method),
            "{message}"
        );
    }
    let too_large = format!(r#"{{"name":"{}"}}"#, "x".repeat(1024 * 1024));
    let answer = client.ask(&request("2", "prompts/get", &too_large)).await;
    assert_eq!(refusal(&answer), (json!(2), -32602));
    // Some clients send null for what is not there.
    assert_eq!(
        client.ask(&request("3", "ping", "null")).await["result"],
        json!({})
    );
    let params = r#"{"name":"echo","arguments":null,"_meta":null}"#;
    assert_eq!(
        client.ask(&request("4", "tools/call", params)).await["result"]["echo"],
        Value::Null
    );
}

async fn arguments_arrive_to_the_byte_and_exact_results_leave_so() {
    let mut client = Client::greeted("2025-06-18").await;
    let arguments = r#"{ "n" : 123456789012345678901234567890.10, "b":1, "a":1e400 }"#;
    let params = format!(r#"{{"arguments": {arguments} ,"name":"echo"}}"#);
    client.send(&request("1", "tools/call", &params)).await;
    let expected =
        format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"content":[],"echo":{arguments}}}}}"#);
    assert_eq!(client.receive_line().await.unwrap(), expected);
    // Nothing was filled in: the handler's own result goes out.
    assert_eq!(text(&client.ask(&call(2, "typed")).await), "typed");
    // An error makes the text that was filled in void, and its null leaves nothing behind.
    let answer = client.ask(&call(3, "fail")).await;
    assert_eq!(answer["error"], json!({"code": -32010, "message": "no"}));
    // A long line is handed on without being copied.
    let long = format!(r#"{{"v":"{}"}}"#, "z".repeat(3_000_000));
    let params = format!(r#"{{"name":"echo","arguments":{long}}}"#);
    client
        .send(&format!("\n{}", request("4", "tools/call", &params)))
        .await;
    assert!(client.receive_line().await.unwrap().contains(&long));
}

#[tokio::test]
async fn an_identity_is_taken_out_of_the_message_and_handed_on_beside_it() {
    let mut client = Client::greeted("2025-06-18").await;
    let seen = async |client: &mut Client, line: String| {
        let answer = client.ask(&line).await;
        serde_json::from_str::<Value>(text(&answer)).unwrap()
    };
    let params =
        r#"{"name":"identity","_meta":{"a":1,"com.agent-mesh/identity":"t","progressToken":7}}"#;
    assert_eq!(
        seen(&mut client, request("1", "tools/call", params)).await,
        json!({"token": "t", "foreign": false, "meta": {"a": 1, "progressToken": 7}})
    );
    let params = r#"{"name":"identity"}"#;
    assert_eq!(
        seen(&mut client, request("2", "tools/call", params)).await,
        json!({"token": null, "foreign": false, "meta": {}})
    );
    for member in [r#""tenant_id":"x""#, r#""user_id":null"#] {
        let line =
            request("3", "tools/call", params).replace(r#""id":3"#, &format!(r#""id":3,{member}"#));
        assert_eq!(seen(&mut client, line).await["foreign"], true, "{member}");
    }
    let params = r#"{"name":"identity","_meta":{"com.agent-mesh/identity":{"x":1}}}"#;
    assert_eq!(
        seen(&mut client, request("4", "tools/call", params)).await,
        json!({"token": null, "foreign": true, "meta": {}})
    );
}

#[test]
fn every_method_loses_the_identity() {
    let params = [
        ("ping", "{}"),
        (
            "initialize",
            r#"{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"a","version":"1"}}"#,
        ),
        ("server/discover", "{}"),
        ("tools/list", "{}"),
        ("tools/call", r#"{"name":"x"}"#),
        ("prompts/list", "{}"),
        ("prompts/get", r#"{"name":"x"}"#),
        ("resources/list", "{}"),
        ("resources/templates/list", "{}"),
        ("resources/read", r#"{"uri":"a:b"}"#),
        ("resources/subscribe", r#"{"uri":"a:b"}"#),
        ("resources/unsubscribe", r#"{"uri":"a:b"}"#),
        ("subscriptions/listen", r#"{"notifications":{}}"#),
        (
            "completion/complete",
            r#"{"ref":{"type":"ref/prompt","name":"x"},"argument":{"name":"a","value":"b"}}"#,
        ),
        ("logging/setLevel", r#"{"level":"info"}"#),
        ("tasks/get", r#"{"taskId":"1"}"#),
        ("tasks/update", r#"{"taskId":"1","inputResponses":{}}"#),
        ("tasks/cancel", r#"{"taskId":"1"}"#),
        ("x/y", r#"{"a":1}"#),
    ];
    for (method, params) in params {
        let mut params: Value = serde_json::from_str(params).unwrap();
        params["_meta"] = json!({"com.agent-mesh/identity": "secret-token", "progressToken": 1});
        let line = request("1", method, &params.to_string());
        let message = message::decode(line.into_bytes(), 1).unwrap();
        let Message::Request(incoming) = message else {
            panic!("{method}: {message:?}");
        };
        let extensions = incoming.request.extensions();
        let identity = extensions.get::<PresentedIdentity>().unwrap();
        assert_eq!(identity.token.as_deref(), Some("secret-token"), "{method}");
        assert!(incoming.request.get_meta().get_progress_token().is_some());
        assert_eq!(incoming.request.method(), method);
        let shown = format!(
            "{incoming:?} {}",
            serde_json::to_string(&incoming.request).unwrap()
        );
        assert!(!shown.contains("secret-token"), "{method}: {shown}");
    }
}

#[tokio::test]
async fn empty_lines_carriage_returns_and_a_byte_order_mark_are_tolerated() {
    let mut client = Client::new(Limits::default());
    let hello = initialize("a", "2025-06-18");
    client
        .send_bytes(format!("\u{feff}{hello}\r\n\r\n  \n\n").as_bytes())
        .await;
    assert_eq!(client.receive().await["id"], "a");
    client.ping().await;
}

#[tokio::test]
async fn a_message_may_come_in_pieces_and_many_in_one() {
    let mut client = Client::greeted("2025-06-18").await;
    for byte in format!("{}\n", call(1, "typed")).as_bytes() {
        client.send_bytes(&[*byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(text(&client.receive().await), "typed");
    let lines: Vec<_> = (0..100).map(|id| call(id, "typed")).collect();
    client.send(&lines.join("\n")).await;
    for _ in 0..100 {
        assert_eq!(text(&client.receive().await), "typed");
    }
}

async fn a_batch_is_answered_as_one_where_the_revision_has_batches() {
    let mut client = Client::greeted("2025-03-26").await;
    let lines = [
        call(1, "typed"),
        r#"{"jsonrpc":"2.0","method":"notifications/whatever"}"#.to_owned(),
        call(2, "wait"),
        request("3", "nobody/knows", "{}"),
        r#"{"jsonrpc":"2.0","id":4}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#.to_owned(),
        r#"["tools/call"]"#.to_owned(),
        initialize("5", "2025-03-26"),
    ];
    client.send(&format!("[{}]", lines.join(","))).await;
    client.ping().await;
    client.gate.add_permits(1);
    let answers = client.receive().await;
    let mut answers: Vec<_> = answers.as_array().unwrap().iter().map(refusal).collect();
    answers.sort_by_key(|(id, _)| id.to_string());
    let expected = [
        (json!("5"), -32600),
        (json!(1), 0),
        (json!(2), 0),
        (json!(3), -32601),
        (json!(4), -32600),
    ];
    assert_eq!(answers, expected);
    // Nothing to answer, nothing answered.
    client
        .send(r#"[{"jsonrpc":"2.0","method":"notifications/whatever"}]"#)
        .await;
    // A cancelled member is missing in the answer.
    client
        .send(&format!("[{},{}]", call(6, "wait"), call(7, "typed")))
        .await;
    client
        .until(|seen| seen.running.load(Ordering::SeqCst) == 1)
        .await;
    client.send(&cancel(6)).await;
    let answers = client.receive().await;
    assert_eq!(answers.as_array().unwrap().len(), 1);
    assert_eq!(answers[0]["id"], 7);
}

#[tokio::test]
async fn a_batch_at_the_limit_passes_even_when_it_fills_the_house_and_one_past_it_does_not() {
    let limits = Limits {
        requests_in_flight: 4,
        ..Limits::default()
    };
    let mut client = greeted(limits, "2025-03-26").await;
    let batch = |count: u32| {
        let calls: Vec<_> = (0..count).map(|id| call(id, "typed")).collect();
        format!("[{}]", calls.join(","))
    };
    for _ in 0..3 {
        assert_eq!(client.ask(&batch(4)).await.as_array().unwrap().len(), 4);
    }
    client.send(&batch(5)).await;
    client.ping().await;
    let mut client = Client::greeted("2025-03-26").await;
    let most = u32::try_from(BATCH_MESSAGES_MAX).unwrap();
    assert_eq!(client.ask(&batch(most)).await.as_array().unwrap().len(), 64);
    client.send(&batch(most + 1)).await;
    client.send(&format!("[{}1]", "1,".repeat(1_000_000))).await;
    client.ping().await;
}

async fn a_batch_is_refused_request_by_request_where_the_revision_has_none() {
    let mut client = Client::greeted("2025-06-18").await;
    client
        .send(&format!("[{},{}]", call(1, "typed"), call(2, "typed")))
        .await;
    assert_eq!(refusal(&client.receive().await), (json!(1), -32600));
    assert_eq!(refusal(&client.receive().await), (json!(2), -32600));
    client.ping().await;
    assert_eq!(client.seen.started.load(Ordering::SeqCst), 0);
}

async fn an_id_in_flight_is_refused_and_the_first_request_is_still_answered() {
    let mut client = Client::greeted("2025-06-18").await;
    client.send(&call(1, "wait")).await;
    client
        .until(|seen| seen.running.load(Ordering::SeqCst) == 1)
        .await;
    assert_eq!(
        refusal(&client.ask(&call(1, "typed")).await),
        (json!(1), -32600)
    );
    // Not even a broken line can end the first one.
    client.send(r#"{"id":1,"method":"x","params":{"#).await;
    client
        .send(&format!(r#"{{"id":1,"x":"{}"#, "x".repeat(FRAME_BYTES_MAX)))
        .await;
    client.ping().await;
    client.gate.add_permits(1);
    assert_eq!(text(&client.receive().await), "waited");
    // "1" is another id than 1.
    assert_eq!(text(&client.ask(&call("\"1\"", "typed")).await), "typed");
    assert_eq!(text(&client.ask(&call(1, "typed")).await), "typed");
}

async fn a_cancelled_request_is_not_answered_and_its_id_is_not_reused() {
    let mut client = Client::greeted("2025-06-18").await;
    for tool in ["wait", "stubborn"] {
        client.send(&call(1, tool)).await;
        client
            .until(|seen| seen.running.load(Ordering::SeqCst) == 1)
            .await;
        client.send(&cancel(1)).await;
        client.send(&cancel(1)).await;
        client.ping().await;
        assert_eq!(code(&client.ask(&call(1, "typed")).await), -32600);
        client.gate.add_permits(usize::from(tool == "stubborn"));
        client
            .until(|seen| seen.running.load(Ordering::SeqCst) == 0)
            .await;
        assert_eq!(code(&client.ask(&call(1, "typed")).await), -32600);
        client.ping().await;
        client = Client::greeted("2025-06-18").await;
    }
}

#[tokio::test]
async fn handlers_stay_within_the_limit_however_many_requests_are_cancelled() {
    const REQUESTS: usize = 20_000;
    let limits = Limits {
        requests_in_flight: 8,
        ..Limits::default()
    };
    let mut client = greeted(limits, "2025-06-18").await;
    let mut lines = String::new();
    for id in 0..REQUESTS {
        let _ = writeln!(lines, "{}\n{}", call(id, "wait"), cancel(id));
    }
    client.send_bytes(lines.as_bytes()).await;
    client.ping().await;
    client
        .until(|seen| seen.running.load(Ordering::SeqCst) == 0)
        .await;
    assert!(client.seen.most_running.load(Ordering::SeqCst) <= 8);
    let (rest, ended) = client.finish().await;
    assert_eq!((rest.len(), ended.unfinished), (0, 0));
}

#[tokio::test]
async fn cancelled_handlers_that_go_on_keep_their_place() {
    let limits = Limits {
        requests_in_flight: 4,
        requests_parked: 2,
        ..Limits::default()
    };
    let mut client = greeted(limits, "2025-06-18").await;
    for id in 0..4 {
        client.send(&call(id, "stubborn")).await;
    }
    client
        .until(|seen| seen.running.load(Ordering::SeqCst) == 4)
        .await;
    for id in 0..4 {
        client.send(&cancel(id)).await;
    }
    // Behind a full house a request waits, and can still be cancelled.
    client.send(&call(4, "typed")).await;
    client.send(&call(5, "typed")).await;
    client.send(&cancel(4)).await;
    client.send(&call(6, "typed")).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(client.seen.started.load(Ordering::SeqCst), 4);
    client.gate.add_permits(4);
    let ids = [
        client.receive().await["id"].clone(),
        client.receive().await["id"].clone(),
    ];
    assert!(
        ids.contains(&json!(5)) && ids.contains(&json!(6)),
        "{ids:?}"
    );
    client.ping().await;
}

#[tokio::test]
async fn a_cancellation_passes_requests_that_wait_for_room() {
    let limits = Limits {
        requests_in_flight: 2,
        ..Limits::default()
    };
    let mut client = greeted(limits, "2025-06-18").await;
    for id in 0..2 {
        client.send(&call(id, "wait")).await;
    }
    for id in 2..10 {
        client.send(&call(id, "typed")).await;
    }
    client.send(&cancel(0)).await;
    for id in 2..10 {
        assert_eq!(client.receive().await["id"], id);
    }
}

/// A transport whose client never reads, fed with `line` until it takes no more; returns how many lines it
/// took and what it holds.
async fn flood(limits: Limits, line: &str) -> (usize, Client) {
    let mut client = greeted(limits, "2025-11-25").await;
    let line = format!("{line}\n");
    let mut count = 0;
    loop {
        let writer = client.writer.as_mut().unwrap();
        let line = line.replace("$", &count.to_string());
        let write = tokio::io::AsyncWriteExt::write_all(writer, line.as_bytes());
        if tokio::time::timeout(Duration::from_millis(300), write)
            .await
            .is_err()
        {
            return (count, client);
        }
        count += 1;
        assert!(count < 100_000, "the server reads without end");
    }
}

#[tokio::test]
async fn a_client_that_never_reads_is_no_longer_read_from() {
    let limits = Limits {
        requests_in_flight: 16,
        requests_parked: 4,
        bytes_unread: 100_000,
        ..Limits::default()
    };
    let (count, client) = flood(limits, &call("$", "large")).await;
    // 16 run, 4 wait, some fill the pipe and the buffer of the reading side, and each 50 kB that the
    // client's pipe took made room for one more.
    assert!(client.seen.started.load(Ordering::SeqCst) <= 16 + 4);
    assert!(count < 3_000, "{count}");
    for garbage in [
        "nonsense",
        r#"{"jsonrpc":"2.0","id":$,"method":"x"}"#,
        "{\"id\":$",
    ] {
        let (count, client) = flood(limits, garbage).await;
        assert!(count < 40_000, "{garbage}: {count}");
        let (answers, _) = client.finish_reading(10).await;
        assert_eq!(answers, 10);
    }
}

/// Room for two answers that may be large, and for nothing else.
fn room_for_two() -> Limits {
    let line = read("$").len() * DECODED_WEIGHT;
    Limits {
        bytes_in_flight: 2 * (RESOURCE_ANSWER_BYTES + line) + 1,
        ..Limits::default()
    }
}

fn read(id: impl std::fmt::Display) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"resources/read","params":{{"uri":"mesh://wait"}}}}"#
    )
}

#[tokio::test]
async fn what_answers_may_take_counts_before_they_are_there() {
    let mut client = greeted(room_for_two(), "2025-06-18").await;
    for id in 0..3 {
        client.send(&read(id)).await;
    }
    client
        .until(|seen| seen.running.load(Ordering::SeqCst) == 2)
        .await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(client.seen.started.load(Ordering::SeqCst), 2);
    client.send(&cancel(0)).await;
    client
        .until(|seen| seen.started.load(Ordering::SeqCst) == 3)
        .await;
}

#[tokio::test]
async fn a_batch_that_could_never_fit_in_flight_is_answered() {
    let mut client = greeted(room_for_two(), "2025-03-26").await;
    let batch: Vec<_> = (0..3).map(read).collect();
    client.send(&format!("[{}]", batch.join(","))).await;
    client
        .until(|seen| seen.running.load(Ordering::SeqCst) == 2)
        .await;
    client.gate.add_permits(2);
    let answers = client.receive().await;
    let answers = answers.as_array().unwrap();
    let refused: Vec<_> = answers
        .iter()
        .filter(|answer| answer.get("error").is_some())
        .map(|answer| (answer["id"].clone(), answer["error"]["code"].clone()))
        .collect();
    assert_eq!(answers.len(), 3);
    assert_eq!(refused, [(json!(2), json!(-32600))]);
}

#[tokio::test]
async fn once_such_a_client_reads_everything_is_answered() {
    let limits = Limits {
        requests_in_flight: 16,
        requests_parked: 4,
        bytes_unread: 100_000,
        ..Limits::default()
    };
    let mut client = greeted(limits, "2025-11-25").await;
    let mut writer = client.writer.take().unwrap();
    let writing = tokio::spawn(async move {
        for id in 0..500 {
            let line = format!("{}\n", call(id, "large"));
            tokio::io::AsyncWriteExt::write_all(&mut writer, line.as_bytes())
                .await
                .unwrap();
        }
        writer
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut ids = std::collections::HashSet::new();
    for _ in 0..500 {
        ids.insert(client.receive().await["id"].as_i64().unwrap());
    }
    assert_eq!(ids.len(), 500);
    client.writer = Some(writing.await.unwrap());
    client.ping().await;
    assert!(client.seen.most_running.load(Ordering::SeqCst) <= 16);
}

async fn a_flood_of_notifications_starts_no_handlers() {
    let mut client = Client::greeted("2025-11-25").await;
    let lines = [
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":99}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{}}"#,
        r#"{"jsonrpc":"2.0","method":"custom"}"#,
        r#"{"jsonrpc":"2.0","id":99,"result":{}}"#,
    ];
    client
        .send(&format!("{}\n", lines.join("\n")).repeat(5_000))
        .await;
    client.ping().await;
    assert_eq!(client.seen.initialized.load(Ordering::SeqCst), 1);
}

async fn progress_and_requests_of_ours_reach_the_client_in_order() {
    let mut client = Client::greeted("2025-06-18").await;
    let params = r#"{"name":"progress","_meta":{"progressToken":"p"}}"#;
    client.send(&request("1", "tools/call", params)).await;
    for step in 1..=3 {
        let notification = client.receive().await;
        assert_eq!(notification["method"], "notifications/progress");
        assert_eq!(
            notification["params"],
            json!({"progressToken": "p", "progress": f64::from(step)})
        );
    }
    assert_eq!(text(&client.receive().await), "progressed");

    for (answer, expected) in [
        (r#""result":{}"#, "true"),
        (r#""error":{"code":1,"message":"x"}"#, "false"),
        (r#""result":5,"error":5"#, "false"),
    ] {
        let ping = client.ask(&call(2, "ask")).await;
        assert_eq!(ping["method"], "ping");
        client
            .send(&format!(
                r#"{{"jsonrpc":"2.0","id":{},{answer}}}"#,
                ping["id"]
            ))
            .await;
        assert_eq!(text(&client.receive().await), expected);
    }
}

async fn stateless_requests_can_be_cancelled() {
    let mut client = Client::open().await;
    let params = format!(r#"{{"name":"wait","_meta":{STATELESS}}}"#);
    client.send(&request("1", "tools/call", &params)).await;
    client
        .until(|seen| seen.running.load(Ordering::SeqCst) == 1)
        .await;
    client.send(&cancel(1)).await;
    client
        .until(|seen| seen.running.load(Ordering::SeqCst) == 0)
        .await;
    client.ping().await;
}

/// Fragments that come closer to a message than random bytes do.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let fragment = prop_oneof![
        any::<Vec<u8>>(),
        "[\\x00-\\x7f]{0,20}".prop_map(String::into_bytes),
        prop::sample::select(vec![
            r#"{"jsonrpc":"2.0","#,
            r#""id":1,"#,
            r#""id":"#,
            r#""method":"tools/call""#,
            r#""params":{"#,
            r#""name":"typed""#,
            "}",
            "}}",
            "[",
            "]",
            ",",
            ":",
            "\"",
            "\\ud800",
            "\n",
            r#""result":{}"#,
            r#""method":"initialize""#,
            r#""method":"notifications/cancelled""#,
            "null",
            "1e999",
            "\u{feff}",
            "\r\n",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ];
    prop::collection::vec(fragment, 0..40).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn nothing_that_is_sent_ends_a_session(bytes in noise(), greeted in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut client = Client::new(small(Limits::default()));
            if greeted {
                client.greet("2025-11-25").await;
            }
            client.send_bytes(&bytes).await;
            client.send("").await;
            client.send(&request("\"alive\"", "ping", "{}")).await;
            loop {
                let line = client.receive_line().await.expect("the session lives");
                let answer: Value = serde_json::from_str(&line).unwrap();
                if answer["id"] == "alive" {
                    break;
                }
            }
        });
    }
}
