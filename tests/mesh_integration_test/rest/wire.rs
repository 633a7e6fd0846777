//! What the façade makes of HTTP itself: methods, bodies, headers, requests behind one another, clients that go.

use std::time::Duration;

use agent_mesh::inbound::transport::FRAME_BYTES_MAX;
use agent_mesh::outbound::embedded::{Fault, Service};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::client::patiently;
use crate::support::served::{Person, Served, told};

#[tokio::test]
async fn each_address_says_which_methods_it_has() {
    let served = Served::open().await;
    let ada = served.person("ada");
    for (path, allowed) in [
        ("/tools", "GET,HEAD"),
        ("/tools/kv_get", "POST"),
        ("/resources", "GET,HEAD"),
        ("/resources/read", "GET,HEAD"),
        ("/info", "GET,HEAD"),
        ("/openapi.json", "GET,HEAD"),
    ] {
        for method in [
            "GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW",
        ] {
            if allowed.contains(method) {
                continue;
            }
            let other = told(ada.request(method.parse().unwrap(), path)).await;
            assert_eq!(
                other.status,
                StatusCode::METHOD_NOT_ALLOWED,
                "{method} {path}"
            );
            assert_eq!(other.header("allow"), Some(allowed), "{method} {path}");
            assert_eq!(other.code(), "METHOD_NOT_ALLOWED");
        }
    }
    for path in ["/tools", "/info", "/resources", "/openapi.json"] {
        let whole = ada.get(path).await;
        let head = told(ada.request(Method::HEAD, path)).await;
        assert_eq!(
            (head.status, head.text.as_str()),
            (StatusCode::OK, ""),
            "{path}"
        );
        assert_eq!(head.header("content-type"), whole.header("content-type"));
    }
    for path in ["/tools/", "/tools/a/b", "/Tools", "/resources/x"] {
        assert_eq!(ada.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn a_body_is_one_object_in_utf_8_and_bounded() {
    let served = Served::open().await;
    let ada = served.person("ada");
    let nested = format!("{{\"prefix\": {}", "[".repeat(100_000));
    for body in [
        "[]",
        "null",
        "1",
        "\"x\"",
        "{",
        "{}{}",
        "{\"prefix\": \"a\",}",
        "key=a",
        "{\"prefix\": 1, \"prefix\": 2}",
        "{\"prefix\": \"\\ud800\"}",
        &nested,
    ] {
        let told = ada.post("kv_list", body.to_owned()).await;
        assert_eq!(
            (told.status.as_u16(), told.code().as_str()),
            (400, "INVALID_PARAMETER"),
            "{body}"
        );
    }
    let told = ada.post("kv_list", &b"{\"prefix\": \"\xff\"}"[..]).await;
    assert_eq!(
        (told.status.as_u16(), told.code().as_str()),
        (400, "INVALID_PARAMETER")
    );

    // At the edge it is read, and one past it is not.
    let blanks = |length: usize| {
        let mut body = r#"{"limit": 1}"#.to_owned();
        body.push_str(&" ".repeat(length - body.len()));
        body
    };
    assert_eq!(
        ada.post("kv_list", blanks(FRAME_BYTES_MAX)).await.status,
        StatusCode::OK
    );
    let (head, body) = raw(&ada, FRAME_BYTES_MAX + 1, &blanks(FRAME_BYTES_MAX + 1)).await;
    assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
    assert_eq!(body["error"]["code"], "TOO_LARGE");
}

/// A call whose body is written as far as it is taken; the head of the answer, and its body.
async fn raw(person: &Person, length: usize, body: &str) -> (String, Value) {
    let mut stream = TcpStream::connect(person.address()).await.unwrap();
    let head = head("POST /tools/kv_list", person, length);
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut reading, mut writing) = stream.split();
    let mut answer = Vec::new();
    patiently(async {
        // It is answered before all of it has been read.
        let write = async { drop(writing.write_all(body.as_bytes()).await) };
        let read = async {
            while !ends(&answer) {
                let mut buffer = [0; 4096];
                match reading.read(&mut buffer).await {
                    Ok(0) | Err(_) => break,
                    Ok(count) => answer.extend_from_slice(&buffer[..count]),
                }
            }
        };
        tokio::join!(write, read);
    })
    .await;
    let text = String::from_utf8(answer).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), serde_json::from_str(body).unwrap())
}

/// Whether an answer is there as a whole.
fn ends(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.split("content-length: ").nth(1);
    let length = length.and_then(|rest| rest.split("\r\n").next()?.parse::<usize>().ok());
    length.is_some_and(|length| body.len() >= length)
}

fn head(line: &str, person: &Person, length: usize) -> String {
    let token = person.token();
    format!(
        "{line} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n"
    )
}

#[tokio::test]
async fn requests_behind_one_another_are_answered_in_their_order() {
    let served = Served::open().await;
    let ada = served.person("ada");
    let mut stream = TcpStream::connect(ada.address()).await.unwrap();
    let mut sent = String::new();
    for number in 0..5 {
        let body = format!("{{\"key\": \"k{number}\", \"value\": {number}}}");
        sent.push_str(&head("POST /tools/kv_set", &ada, body.len()));
        sent.push_str(&body);
    }
    sent.push_str(&head("GET /info", &ada, 0).replace("Content-Length: 0", "Connection: close"));
    stream.write_all(sent.as_bytes()).await.unwrap();
    let mut answers = String::new();
    patiently(stream.read_to_string(&mut answers))
        .await
        .unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 6, "{answers}");
    let mut at = 0;
    for number in 0..5 {
        let key = format!("\"key\":\"k{number}\"");
        at += answers[at..]
            .find(&key)
            .unwrap_or_else(|| panic!("{key} in its place: {answers}"));
    }
    assert!(answers[at..].contains("\"caller\""), "{answers}");
}

#[tokio::test]
async fn a_repeated_request_has_its_effect_once() {
    let served = Served::open().await;
    let ada = served.person("ada");
    let send = async |key: &str, body: Value| {
        let request = ada.request(Method::POST, "/tools/events_send");
        told(
            request
                .header("Idempotency-Key", key)
                .body(body.to_string()),
        )
        .await
    };
    let event = json!({"detail_type": "Order.Placed", "detail": {"order": 1}});
    let first = send("k1", event.clone()).await.json();
    assert_eq!(
        send("\"k1\"", event.clone()).await.json()["event_id"],
        first["event_id"]
    );
    assert_ne!(
        send("k2", event.clone()).await.json()["event_id"],
        first["event_id"]
    );
    // What the body says comes first, and one key is not for two requests.
    let mut own = event.clone();
    own["idempotency_key"] = json!("k1");
    assert_eq!(send("k3", own).await.json()["event_id"], first["event_id"]);
    let other = json!({"detail_type": "Order.Placed", "detail": {"order": 2}});
    let conflict = send("k1", other).await;
    assert_eq!(
        (conflict.status, conflict.code().as_str()),
        (StatusCode::CONFLICT, "CONFLICT")
    );
    // A tool that takes none is called all the same.
    let get = ada.request(Method::POST, "/tools/kv_get");
    let get = get.header("Idempotency-Key", "k1").body(r#"{"key": "a"}"#);
    assert_eq!(told(get).await.status, StatusCode::OK);
    let twice = ada.request(Method::POST, "/tools/kv_get");
    let twice = twice
        .header("Idempotency-Key", "a")
        .header("Idempotency-Key", "b");
    assert_eq!(
        told(twice.body(r#"{"key": "a"}"#)).await.status,
        StatusCode::BAD_REQUEST
    );
}

/// The events of a tool, when there are as many.
async fn events(person: &Person, tool: &str, count: usize) -> Vec<Value> {
    patiently(async {
        loop {
            let found = person.ok("events_query", json!({"tool": tool})).await;
            let events = found["events"].as_array().unwrap().clone();
            if events.len() >= count {
                return events;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

#[tokio::test]
async fn a_client_that_goes_cancels_its_call() {
    let served = Served::open().await;
    let ada = served.person("ada");
    for (tool, operation, body, outcome) in [
        (
            "kv_set",
            "PutItem",
            r#"{"key": "a", "value": 1}"#,
            "unknown",
        ),
        ("kv_get", "GetItem", r#"{"key": "a"}"#, "error"),
    ] {
        served
            .faults()
            .inject(Service::DynamoDb, operation, Fault::Hang, 1);
        let mut stream = TcpStream::connect(ada.address()).await.unwrap();
        let request = head(&format!("POST /tools/{tool}"), &ada, body.len()) + body;
        stream.write_all(request.as_bytes()).await.unwrap();
        patiently(async {
            while served.faults().waiting() > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        drop(stream);
        let event = &events(&ada, tool, 1).await[0];
        assert_eq!(event["outcome"], outcome, "{event}");
        assert_eq!(event["error_code"], "CANCELLED", "{event}");
    }
}

#[tokio::test]
async fn the_trace_of_a_request_goes_into_its_event() {
    let served = Served::open().await;
    let ada = served.person("ada");
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let call = ada.request(Method::POST, "/tools/kv_list");
    let call = call.header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"));
    assert_eq!(told(call).await.status, StatusCode::OK);
    let of_trace = |detail: &Value| detail["trace_id"] == trace;
    assert_eq!(served.heard.wait(1, of_trace).await[0].1["tool"], "kv_list");
}
