//! Streamable HTTP with servers that break off, refuse, talk nonsense, flood or drip.

use super::*;
use crate::mesh::upstream::MESSAGE_BYTES_MAX;
use crate::outbound::upstream::remote::sends::SENDS_MAX;

#[tokio::test]
async fn a_stream_that_only_breaks_off_is_given_up() {
    let (mut server, mut client) = start().await;
    client.send(request(1, "tools/call")).await;
    let mut exchange = server.next().await;
    exchange.stream().await;
    exchange.chunk("id: a1\nretry: 0\ndata:\n\n").await;
    exchange.end().await;
    let gives = tokio::spawn(async move {
        let mut tries = 0;
        loop {
            let mut exchange = server.next().await;
            assert_eq!(exchange.method, "GET");
            exchange.stream().await;
            exchange.end().await;
            tries += 1;
            if tries == 5 {
                return server;
            }
        }
    });
    let (not_sent, error) = client.failed(1).await;
    assert_eq!(
        (not_sent, error.kind()),
        (false, ErrorKind::UpstreamUnavailable)
    );
    assert!(gives.await.unwrap().saw_nothing());
}

#[tokio::test]
async fn an_answer_that_ends_half_way_may_have_had_an_effect() {
    for head in [
        "content-type: application/json\r\ncontent-length: 100",
        "content-type: text/event-stream",
    ] {
        let (mut server, mut client) = start().await;
        client.send(request(1, "tools/call")).await;
        let mut exchange = server.next().await;
        exchange
            .write(format!(
                "HTTP/1.1 200 OK\r\n{head}\r\n\r\ndata: {{\"id\":1,\"res"
            ))
            .await;
        drop(exchange);
        let (not_sent, error) = client.failed(1).await;
        assert_eq!(
            (not_sent, error.kind()),
            (false, ErrorKind::UpstreamUnavailable),
            "{head}"
        );
    }
    let (mut server, mut client) = start().await;
    client.send(request(1, "tools/call")).await;
    drop(server.next().await);
    assert!(!client.failed(1).await.0);
}

#[tokio::test]
async fn what_cannot_be_connected_to_was_not_sent() {
    let (server, mut client) = {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let plan = plan(RemoteKind::Http, &format!("http://{port}/?key={CANARY}"));
        (port, Client::open(&local_links(), &plan).await.unwrap())
    };
    client.send(request(1, "tools/call")).await;
    let (not_sent, error) = client.failed(1).await;
    assert_eq!(
        (not_sent, error.kind()),
        (true, ErrorKind::UpstreamUnavailable)
    );
    assert!(!error.message().contains(&server.port().to_string()));
}

/// Statuses, whether they say that nothing was carried out, and what is told.
const STATUSES: [(u16, bool, ErrorKind, &str); 13] = [
    (
        301,
        false,
        ErrorKind::UpstreamError,
        "redirects are not followed",
    ),
    (
        302,
        false,
        ErrorKind::UpstreamError,
        "redirects are not followed",
    ),
    (
        307,
        true,
        ErrorKind::UpstreamError,
        "redirects are not followed",
    ),
    (
        308,
        true,
        ErrorKind::UpstreamError,
        "redirects are not followed",
    ),
    (
        400,
        true,
        ErrorKind::UpstreamError,
        "did not take the request",
    ),
    (
        401,
        true,
        ErrorKind::UpstreamError,
        "refused the credentials",
    ),
    (403, true, ErrorKind::UpstreamError, "does not allow this"),
    (404, true, ErrorKind::UpstreamError, "no MCP server"),
    (
        429,
        true,
        ErrorKind::UpstreamUnavailable,
        "takes no more requests",
    ),
    (
        500,
        false,
        ErrorKind::UpstreamUnavailable,
        "failed (status 500)",
    ),
    (
        503,
        false,
        ErrorKind::UpstreamUnavailable,
        "failed (status 503)",
    ),
    (204, false, ErrorKind::UpstreamError, "neither JSON nor"),
    (200, false, ErrorKind::UpstreamError, "neither JSON nor"),
];

#[tokio::test]
async fn a_status_is_told_in_the_callers_terms() {
    let (mut server, mut client) = start().await;
    let secret = [
        ("content-type", "text/plain"),
        ("location", "http://127.0.0.1/canary-7f3a"),
        ("retry-after", "7"),
    ];
    for (id, (status, not_sent, kind, says)) in STATUSES.into_iter().enumerate() {
        let id = id as i64;
        client.send(request(id, "tools/call")).await;
        let exchange = server.next().await;
        let body = if status == 204 { "" } else { CANARY };
        exchange.answer(status, &secret, body).await;
        let (was_not_sent, error) = client.failed(id).await;
        assert_eq!((was_not_sent, error.kind()), (not_sent, kind), "{status}");
        assert!(error.message().contains(says), "{status}: {error}");
        let waits = matches!(status, 429 | 500 | 503).then_some(Duration::from_secs(7));
        assert_eq!(error.wait(), waits, "{status}");
    }
}

#[tokio::test]
async fn an_error_of_the_protocol_is_an_answer_whatever_its_status_and_id() {
    let (mut server, mut client) = start().await;
    let json = [("content-type", "application/json; charset=utf-8")];
    for (id, status) in [(1, 400), (2, 404), (3, 500)] {
        client.send(request(id, "tools/call")).await;
        let exchange = server.next().await;
        let body =
            r#"{"jsonrpc":"2.0","id":"server-error","error":{"code":-32601,"message":"no"}}"#;
        exchange.answer(status, &json, body).await;
        let error = r#"{"code":-32601,"message":"no"}"#;
        let expected = format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#);
        assert_eq!(client.message().await, expected);
    }
    // What stands before an old server may refuse the handshake of the new ones in its own words.
    client.send(request(4, "server/discover")).await;
    server
        .next()
        .await
        .answer(404, &[("content-type", "text/html")], "<html>")
        .await;
    assert!(client.message().await.contains("-32600"));
}

#[tokio::test]
async fn what_is_no_answer_fails_the_request() {
    let (mut server, mut client) = start().await;
    let invalid = "{\"id\":1,\"result\":\"\u{fffd}\"}".replace('\u{fffd}', "\u{1}");
    for (id, body) in [
        "",
        "{}",
        "null",
        "<html>",
        "[",
        "{\"id\":99,\"result\":1}",
        &invalid,
    ]
    .into_iter()
    .enumerate()
    {
        client.send(request(id as i64, "tools/call")).await;
        server.next().await.json(body).await;
        match client.next().await {
            Incoming::Message(text) => {
                // It may answer another request; this one has no answer all the same.
                assert!(text.contains("99") || text == invalid, "{text}");
                if text == invalid {
                    continue;
                }
                client.failed(id as i64).await;
            }
            Incoming::Failed {
                not_sent, error, ..
            } => {
                assert_eq!(
                    (not_sent, error.kind()),
                    (false, ErrorKind::UpstreamError),
                    "{body}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
    client.send(request(70, "tools/call")).await;
    let mut exchange = server.next().await;
    exchange.stream().await;
    exchange.chunk(b"data: \xff\xfe\n\n").await;
    assert_eq!(client.failed(70).await.1.kind(), ErrorKind::UpstreamError);
}

#[tokio::test]
async fn a_body_has_a_bound_told_or_not() {
    let (mut server, mut client) = start().await;
    let mut text = result(1);
    text.insert_str(text.len() - 1, &" ".repeat(MESSAGE_BYTES_MAX - text.len()));
    client.send(request(1, "tools/call")).await;
    server.next().await.json(&text).await;
    assert_eq!(client.message().await.len(), MESSAGE_BYTES_MAX);

    client.send(request(1, "tools/call")).await;
    let mut exchange = server.next().await;
    let length = MESSAGE_BYTES_MAX + 1;
    exchange
        .write(format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        ))
        .await;
    assert!(!client.failed(1).await.0);

    for (head, line) in [
        ("application/json", "x"),
        ("text/event-stream", "data: x\r\n"),
    ] {
        client.send(request(1, "tools/call")).await;
        let mut exchange = server.next().await;
        exchange
            .write(format!("HTTP/1.1 200 OK\r\ncontent-type: {head}\r\n\r\n"))
            .await;
        let flood = tokio::spawn(async move {
            let chunk = line.repeat(1 << 14);
            while exchange.write(&chunk).await {}
        });
        let (not_sent, error) = client.failed(1).await;
        assert_eq!(
            (not_sent, error.kind()),
            (false, ErrorKind::UpstreamError),
            "{error}"
        );
        within(flood).await.unwrap();
    }
}

#[tokio::test]
async fn drops_that_never_end_end_with_the_time_of_the_request() {
    let (mut server, mut client) = start().await;
    for (id, head) in [(1, "application/json"), (2, "text/event-stream")] {
        let mut message = request(id, "tools/call");
        message.timeout = Duration::from_secs(2);
        client.send(message).await;
        let mut exchange = server.next().await;
        exchange
            .write(format!("HTTP/1.1 200 OK\r\ncontent-type: {head}\r\n\r\n"))
            .await;
        let drip = tokio::spawn(async move {
            while exchange.write(":\n\n").await {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        let (not_sent, error) = client.failed(id).await;
        assert_eq!((not_sent, error.kind()), (false, ErrorKind::Timeout));
        within(drip).await.unwrap();
    }
}

#[tokio::test]
async fn so_many_messages_are_on_their_way_and_no_more() {
    let (mut server, mut client) = start().await;
    for id in 0..SENDS_MAX as i64 {
        client.send(request(id, "tools/call")).await;
    }
    let full = client
        .link
        .send(request(-1, "tools/call"))
        .await
        .unwrap_err();
    assert_eq!(full.kind(), ErrorKind::Overloaded);
    let exchange = server.next().await;
    let id = exchange.id();
    exchange.json(&result(id)).await;
    client.message().await;
    client.send(request(-2, "tools/call")).await;
}
