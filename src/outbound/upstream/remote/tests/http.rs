//! Streamable HTTP.

use super::server::{Exchange, Server};
use super::*;
use crate::mesh::upstream::MESSAGE_BYTES_MAX;
use crate::outbound::upstream::remote::http::EXCHANGES_MAX;

async fn start() -> (Server, Client) {
    let server = Server::start().await;
    let plan = plan(RemoteKind::Http, &server.url());
    let client = Client::open(&local_links(), &plan).await.unwrap();
    (server, client)
}

/// A client whose session is `s1`, and the stream that it listens on.
async fn start_session() -> (Server, Client, Exchange) {
    let (mut server, mut client) = start().await;
    client.send(request(0, "initialize")).await;
    let exchange = server.next().await;
    let headers = [
        ("content-type", "application/json"),
        ("mcp-session-id", "s1"),
    ];
    exchange.answer(200, &headers, &result(0)).await;
    client.message().await;
    client.link.agreed("2025-06-18");
    let (_, exchange) = tokio::join!(
        client.send(notification("notifications/initialized")),
        async {
            let exchange = server.next().await;
            assert_eq!(exchange.header("mcp-session-id"), Some("s1"));
            exchange.status(202).await;
            server.next().await
        }
    );
    assert_eq!(exchange.method, "GET");
    assert_eq!(exchange.header("mcp-session-id"), Some("s1"));
    (server, client, exchange)
}

#[tokio::test]
async fn a_request_is_answered_by_json_or_by_a_stream_however_it_is_cut() {
    let (mut server, mut client) = start().await;
    client.send(request(1, "tools/list")).await;
    let exchange = server.next().await;
    assert_eq!(
        (exchange.method.as_str(), exchange.path.as_str()),
        ("POST", "/mcp")
    );
    assert_eq!(
        exchange.header("accept"),
        Some("application/json, text/event-stream")
    );
    assert_eq!(exchange.header("content-type"), Some("application/json"));
    assert_eq!(exchange.header("x-api-key"), Some(CANARY));
    assert_eq!(exchange.header("mcp-protocol-version"), None);
    assert_eq!(exchange.body, request(1, "tools/list").text);
    let odd = r#"{"jsonrpc":"2.0", "id":1 ,"result":{"unknown":1.50,"é":"\u00e9"}}"#;
    exchange.json(odd).await;
    assert_eq!(client.message().await, odd);

    client.send(request(2, "tools/call")).await;
    let mut exchange = server.next().await;
    exchange.stream().await;
    let text = format!(
        ": hello\r\n\r\nid: 1\r\ndata:\r\n\r\nevent: other\r\ndata: no\r\n\r\ndata: {{\"method\":\"é\"}}\r\n\r\nevent: message\ndata: {}\n\n",
        result(2)
    );
    for byte in text.bytes() {
        exchange.chunk([byte]).await;
    }
    let Incoming::Related {
        request_id: 2,
        text,
    } = client.next().await
    else {
        panic!("it is said to the request")
    };
    assert_eq!(text, r#"{"method":"é"}"#);
    assert_eq!(client.message().await, result(2));
}

#[tokio::test]
async fn the_revision_stands_in_the_headers_and_since_2026_what_the_message_is_about() {
    let (mut server, mut client) = start().await;
    client.link.agreed("2026-07-28");
    client.send(request(1, "server/discover")).await;
    let exchange = server.next().await;
    assert_eq!(exchange.header("mcp-protocol-version"), Some("2026-07-28"));
    assert_eq!(exchange.header("mcp-method"), Some("server/discover"));
    exchange.json(&result(1)).await;
    client.message().await;

    client.send(request(2, "tools/list")).await;
    let list = r#"{"id":2,"result":{"tools":[{"name":"find","inputSchema":{"properties":{
        "where":{"type":"string","x-mcp-header":"Where"}}}}]}}"#;
    server.next().await.json(list).await;
    client.message().await;
    let mut call = request(3, "tools/call");
    call.name = Some("find".to_owned());
    call.text = r#"{"id":3,"params":{"arguments":{"where":"zürich"}}}"#.to_owned();
    client.send(call).await;
    let exchange = server.next().await;
    assert_eq!(exchange.header("mcp-method"), Some("tools/call"));
    assert_eq!(exchange.header("mcp-name"), Some("find"));
    assert_eq!(
        exchange.header("mcp-param-where"),
        Some("=?base64?esO8cmljaA==?=")
    );

    // Without sessions the end of the request cancels it, and there is no message that says so.
    client.send(notification("notifications/cancelled")).await;
    client.link.abandon(3);
    exchange.closed().await;
    client.link.agreed("2025-11-25");
    client.send(request(4, "initialize")).await;
    let exchange = server.next().await;
    assert_eq!(exchange.header("mcp-protocol-version"), None);
    exchange.json(&result(4)).await;
    assert_eq!(client.message().await, result(4));
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_taken_up_where_it_was() {
    let (mut server, mut client) = start().await;
    client.send(request(1, "tools/call")).await;
    let mut exchange = server.next().await;
    exchange.stream().await;
    exchange
        .chunk("id: a1\nretry: 1\ndata: {\"method\":\"x\"}\n\nid: half")
        .await;
    drop(exchange);
    assert!(matches!(client.next().await, Incoming::Related { .. }));
    let exchange = server.next().await;
    assert_eq!(
        (exchange.method.as_str(), exchange.header("last-event-id")),
        ("GET", Some("a1"))
    );
    exchange.status(503).await;
    let mut exchange = server.next().await;
    assert_eq!(exchange.header("last-event-id"), Some("a1"));
    exchange.stream().await;
    exchange.chunk(format!("data: {}\n\n", result(1))).await;
    assert_eq!(client.message().await, result(1));
    exchange.closed().await;
}

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
async fn a_session_is_kept_listened_to_and_ended() {
    let (mut server, mut client, mut stream) = start_session().await;
    stream.stream().await;
    stream
        .chunk("id: e1\nretry: 1\ndata: {\"method\":\"notifications/tools/list_changed\"}\n\n")
        .await;
    assert!(client.message().await.contains("list_changed"));
    drop(stream);
    let mut again = server.next().await;
    assert_eq!(
        (again.method.as_str(), again.header("last-event-id")),
        ("GET", Some("e1"))
    );
    assert_eq!(again.header("mcp-protocol-version"), Some("2025-06-18"));
    again.stream().await;
    again
        .chunk("data: {\"id\":\"s\",\"method\":\"ping\"}\n\n")
        .await;
    assert!(client.message().await.contains("ping"));

    client.send(request(5, "tools/call")).await;
    let exchange = server.next().await;
    assert_eq!(exchange.header("mcp-session-id"), Some("s1"));
    assert_eq!(exchange.header("mcp-method"), None);
    // The older kind is told of a cancellation, and then the stream is let go.
    client.send(notification("notifications/cancelled")).await;
    server.next().await.status(202).await;
    client.link.abandon(5);
    exchange.closed().await;

    let link = Arc::clone(&client.link);
    let closing = tokio::spawn(async move { link.close().await });
    let farewell = server.next().await;
    assert_eq!(
        (farewell.method.as_str(), farewell.header("mcp-session-id")),
        ("DELETE", Some("s1"))
    );
    farewell.status(405).await;
    within(closing).await.unwrap();
    within(client.link.close()).await;
    again.closed().await;
    client.link.send(request(6, "ping")).await.unwrap_err();
    assert!(server.saw_nothing());
}

#[tokio::test]
async fn a_session_that_is_over_closes_the_link_and_the_request_was_not_carried_out() {
    let (mut server, mut client, stream) = start_session().await;
    stream.status(405).await;
    client.send(request(1, "tools/call")).await;
    server.next().await.status(404).await;
    assert!(client.failed(1).await.0);
    assert_eq!(client.closed().await.kind(), ErrorKind::UpstreamUnavailable);
    client.link.send(request(2, "ping")).await.unwrap_err();
    within(client.link.close()).await;
    assert!(server.saw_nothing(), "there is no session to end");

    let (_server, mut client, stream) = start_session().await;
    stream.status(404).await;
    client.closed().await;
}

#[tokio::test]
async fn a_server_without_a_stream_of_its_own_is_not_asked_again() {
    for status in [405, 200, 400] {
        let (mut server, mut client, stream) = start_session().await;
        stream.status(status).await;
        client.send(request(1, "tools/call")).await;
        let exchange = server.next().await;
        assert_eq!(exchange.method, "POST");
        exchange.json(&result(1)).await;
        assert_eq!(client.message().await, result(1));
    }
}

#[tokio::test]
async fn a_dropped_link_lets_go_of_everything() {
    let (mut server, client, mut stream) = start_session().await;
    stream.stream().await;
    client.send(request(1, "tools/call")).await;
    let exchange = server.next().await;
    drop(client);
    exchange.closed().await;
    stream.closed().await;
}

#[tokio::test]
async fn so_many_messages_are_on_their_way_and_no_more() {
    let (mut server, mut client) = start().await;
    for id in 0..EXCHANGES_MAX as i64 {
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

#[tokio::test]
async fn links_share_no_connection() {
    let mut server = Server::start().await;
    let plan = plan(RemoteKind::Http, &server.url());
    let links = local_links();
    let mut seen = Vec::new();
    for _ in 0..2 {
        let mut client = Client::open(&links, &plan).await.unwrap();
        for id in 0..3 {
            client.send(request(id, "ping")).await;
            let exchange = server.next().await;
            seen.push(exchange.connection);
            exchange.json(&result(id)).await;
            client.message().await;
        }
    }
    assert_eq!(seen.first(), Some(&0));
    let (first, second) = seen.split_at(3);
    assert!(
        first.iter().all(|connection| !second.contains(connection)),
        "{seen:?}"
    );
}
