//! Lines that are no messages: each is answered or skipped, and the session lives on.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::client::Client;
use crate::server::Start;

/// The longest line that the server takes, in bytes, its newline not counted.
const FRAME_BYTES_MAX: usize = 16 << 20;

/// The largest artifact that is passed inline, in bytes.
const INLINE_BYTES_MAX: usize = 11 << 20;

const PARSE_ERROR: i64 = -32700;
const INVALID_REQUEST: i64 = -32600;
const METHOD_NOT_FOUND: i64 = -32601;
const INVALID_PARAMS: i64 = -32602;

/// Lines that can be answered because an id can be read in them, and with which code they are.
const ANSWERED: &[(&str, i64)] = &[
    (r#"{"jsonrpc":"2.0","id":ID,"method":"ping""#, PARSE_ERROR),
    (r#"{"jsonrpc":"2.0","id":ID,"method":"ping",}"#, PARSE_ERROR),
    (
        r#"{"jsonrpc":"1.0","id":ID,"method":"ping"}"#,
        INVALID_REQUEST,
    ),
    (r#"{"id":ID,"method":"ping"}"#, INVALID_REQUEST),
    (r#"{"jsonrpc":"2.0","id":ID}"#, INVALID_REQUEST),
    (r#"{"jsonrpc":"2.0","id":ID,"method":7}"#, INVALID_REQUEST),
    (
        r#"{"jsonrpc":"2.0","id":ID,"method":"no/such/method"}"#,
        METHOD_NOT_FOUND,
    ),
    (
        r#"{"jsonrpc":"2.0","id":ID,"method":"tools/call"}"#,
        INVALID_PARAMS,
    ),
    (
        r#"{"jsonrpc":"2.0","id":ID,"method":"tools/call","params":[]}"#,
        INVALID_PARAMS,
    ),
    (
        r#"{"jsonrpc":"2.0","id":ID,"method":"tools/call","params":{"name":"nope"}}"#,
        INVALID_PARAMS,
    ),
    (
        r#"{"jsonrpc":"2.0","id":ID,"method":"tools/call","params":{"name":"kv_get","arguments":"key"}}"#,
        INVALID_PARAMS,
    ),
    (
        r#"{"jsonrpc":"2.0","id":ID,"method":"tools/call","params":{"name":"kv_get","arguments":{"key":"\ud800"}}}"#,
        INVALID_PARAMS,
    ),
];

/// Lines in which no id can be read.
const NOT_ANSWERED: &[&[u8]] = &[
    b"garbage",
    b"{",
    b"nul",
    b"\"text\"",
    b"12",
    b"\x00\x01\x02",
    b"\xff\xfe{}",
    b"{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"ping\"}",
    b"{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"ping\"}",
    b"[]",
    b"<html>",
];

/// Lines that need no answer.
const SKIPPED: &[&[u8]] = &[
    b"",
    b"   ",
    b"\r",
    b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/unheard-of\"}",
    b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{\"requestId\":4711}}",
    b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":7}",
    b"{\"jsonrpc\":\"2.0\",\"id\":4711,\"result\":{}}",
];

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn write_line(client: &mut Client, line: &[u8]) {
    client.write(&[line, b"\n"].concat()).unwrap();
}

#[test]
fn a_bad_line_with_an_id_is_answered_under_it() {
    let folder = folder();
    let mut client = Client::open(&Start::on(folder.path()));
    for (number, (line, code)) in (1000..).zip(ANSWERED) {
        let line = line.replace("ID", &number.to_string());
        write_line(&mut client, line.as_bytes());
        let answer = client.answer(number);
        assert_eq!(answer["error"]["code"], *code, "{line}: {answer}");
        assert!(!answer["error"]["message"].as_str().unwrap().is_empty());
    }
    client.ask("kv_get", json!({"key": "a"}));
    client.finish();
}

#[test]
fn a_bad_line_without_an_id_is_answered_only_to_those_who_can_read_that() {
    for (version, is_answered) in [("2025-06-18", false), ("2025-11-25", true)] {
        let folder = folder();
        let mut client = Client::of(Start::on(folder.path()).spawn());
        client.initialize(version);
        for line in NOT_ANSWERED {
            write_line(&mut client, line);
        }
        for line in SKIPPED {
            write_line(&mut client, line);
        }
        client.ask("kv_get", json!({"key": "a"}));
        let errors = client
            .others()
            .iter()
            .map(|message| &message["error"]["code"]);
        let expected = if is_answered { NOT_ANSWERED.len() } else { 0 };
        assert_eq!(
            errors.clone().count(),
            expected,
            "{version}: {:?}",
            client.others()
        );
        assert!(
            errors
                .clone()
                .all(|code| *code == PARSE_ERROR || *code == INVALID_REQUEST)
        );
        client.finish();
    }
}

#[test]
fn messages_before_the_handshake_are_survived() {
    let folder = folder();
    let mut client = Client::of(Start::on(folder.path()).spawn());
    for line in SKIPPED {
        write_line(&mut client, line);
    }
    let early = client.request("tools/list", json!({}));
    assert_eq!(early["error"]["code"], INVALID_REQUEST, "{early}");
    client.initialize("2025-06-18");
    assert!(client.request("tools/list", json!({}))["result"]["tools"].is_array());
    client.finish();
}

#[test]
fn a_line_over_the_limit_is_refused_and_one_at_the_limit_is_not() {
    let folder = folder();
    let mut client = Client::open(&Start::on(folder.path()));
    for (id, bytes) in [
        (500, FRAME_BYTES_MAX),
        (501, FRAME_BYTES_MAX + 1),
        (502, FRAME_BYTES_MAX + (3 << 20)),
    ] {
        let mut line = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"kv_set","arguments":{{"key":"a","value":""#).into_bytes();
        let end = br#""}}}"#;
        line.resize(bytes - end.len(), b'x');
        line.extend_from_slice(end);
        write_line(&mut client, &line);
        let answer = client.answer(id);
        if bytes <= FRAME_BYTES_MAX {
            // It arrives, and is more than a value may have.
            assert_eq!(
                answer["result"]["structuredContent"]["error"]["code"], "TOO_LARGE",
                "{answer}"
            );
        } else {
            assert_eq!(answer["error"]["code"], INVALID_REQUEST, "{answer}");
            assert!(
                answer["error"]["message"]
                    .as_str()
                    .unwrap()
                    .contains("16777216"),
                "{answer}"
            );
        }
    }
    client.ask("kv_get", json!({"key": "a"}));
    client.finish();
}

#[test]
fn the_largest_inline_artifact_fits_into_a_line() {
    let folder = folder();
    let mut client = Client::open(&Start::on(folder.path()));
    let content: Vec<u8> = (0_u32..)
        .map(|number| (number % 251) as u8)
        .take(INLINE_BYTES_MAX)
        .collect();
    let put = json!({"key": "large", "content_base64": STANDARD.encode(&content)});
    let stored = client.ask("artifacts_put", put);
    assert_eq!(stored["size"], INLINE_BYTES_MAX);
    let last = client.ask(
        "artifacts_get",
        json!({"key": "large", "range": "-1000", "as": "base64"}),
    );
    let last = STANDARD
        .decode(last["content_base64"].as_str().unwrap())
        .unwrap();
    assert_eq!(last, content[INLINE_BYTES_MAX - 1000..]);
    let one_more = STANDARD.encode(vec![0; INLINE_BYTES_MAX + 1]);
    let error = client.fail(
        "artifacts_put",
        json!({"key": "larger", "content_base64": one_more}),
    );
    assert_eq!(error["code"], "TOO_LARGE", "{error}");
    client.finish();
}

#[test]
fn an_id_in_flight_is_refused_a_second_time() {
    let folder = folder();
    let mut client = Client::open(&Start::on(folder.path()));
    let line = |key: &str| {
        let params = json!({"name": "kv_set", "arguments": {"key": key, "value": 1}});
        json!({"jsonrpc": "2.0", "id": "twice", "method": "tools/call", "params": params})
            .to_string()
    };
    let lines = format!("{}\n{}\n", line("a"), line("b"));
    client.write(lines.as_bytes()).unwrap();
    let answers = [client.message().unwrap(), client.message().unwrap()];
    assert!(
        answers.iter().all(|answer| answer["id"] == "twice"),
        "{answers:?}"
    );
    let refused = answers
        .iter()
        .filter(|answer| answer["error"]["code"] == INVALID_REQUEST)
        .count();
    let done = answers
        .iter()
        .filter(|answer| answer["result"]["isError"] == false)
        .count();
    assert_eq!((refused, done), (1, 1), "{answers:?}");
    assert_eq!(client.ask("kv_get", json!({"key": "a"}))["found"], true);
    assert_eq!(client.ask("kv_get", json!({"key": "b"}))["found"], false);
    client.finish();
}

#[test]
fn wrong_arguments_are_the_tools_errors_and_say_what_to_do() {
    let folder = folder();
    let mut client = Client::open(&Start::on(folder.path()));
    let cases: [(&str, Value, &str); 5] = [
        ("kv_get", json!({}), "key"),
        ("kv_get", json!({"key": 7}), "key"),
        ("kv_get", json!({"key": "a", "colour": "red"}), "colour"),
        (
            "kv_set",
            json!({"key": "a", "value": 1, "ttl_hours": -1}),
            "ttl_hours",
        ),
        (
            "kv_get",
            json!({"key": "a", "_context": {"userId": "b"}}),
            "_context",
        ),
    ];
    for (tool, arguments, parameter) in cases {
        let error = client.fail(tool, arguments);
        assert_eq!(error["code"], "INVALID_PARAMETER", "{error}");
        assert_eq!(error["details"]["parameter"], parameter, "{error}");
        assert!(
            error["request_id"].is_string() && error["message"].is_string(),
            "{error}"
        );
    }
    client.finish();
}
