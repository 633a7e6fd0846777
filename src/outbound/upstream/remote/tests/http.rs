//! Streamable HTTP.

mod faults;

use super::server::{Exchange, Server};
use super::*;

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

    // A server that has been started anew may say it in another way.
    let (mut server, mut client, stream) = start_session().await;
    stream.status(405).await;
    client.send(request(1, "tools/call")).await;
    let denial =
        r#"{"error":{"code":-32000,"message":"Bad Request: No valid session ID provided"}}"#;
    let json = [("content-type", "application/json")];
    server.next().await.answer(400, &json, denial).await;
    assert!(client.failed(1).await.0);
    client.closed().await;

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
