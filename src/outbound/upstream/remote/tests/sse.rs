//! The older HTTP with server-sent events.

use super::server::{Exchange, Server};
use super::*;
use crate::outbound::upstream::remote::sends::SENDS_MAX;

async fn start() -> (Server, Client, Exchange) {
    let mut server = Server::start().await;
    let plan = plan(RemoteKind::Sse, &server.url());
    let links = local_links();
    let (client, stream) = tokio::join!(Client::open(&links, &plan), async {
        let mut stream = server.next().await;
        assert_eq!(
            (stream.method.as_str(), stream.header("x-api-key")),
            ("GET", Some(CANARY))
        );
        stream.stream().await;
        stream
            .chunk(": hello\r\n\r\nevent: endpoint\r\ndata: /messages?id=7\r\n\r\n")
            .await;
        stream
    });
    (server, client.unwrap(), stream)
}

/// What opening says of a server that answers the stream with `answer`.
async fn refused(answer: &str) -> Error {
    let mut server = Server::start().await;
    let plan = plan(RemoteKind::Sse, &server.url());
    let links = local_links();
    let (client, ()) = tokio::join!(Client::open(&links, &plan), async {
        let mut stream = server.next().await;
        stream.write(answer).await;
    });
    let error = client.err().unwrap();
    assert_hides_canary(&error);
    assert!(server.saw_nothing());
    error
}

#[tokio::test]
async fn messages_go_out_by_requests_and_come_in_by_the_stream() {
    let (mut server, mut client, mut stream) = start().await;
    client.send(request(1, "initialize")).await;
    let exchange = server.next().await;
    assert_eq!(
        (exchange.method.as_str(), exchange.path.as_str()),
        ("POST", "/messages?id=7")
    );
    assert_eq!(exchange.header("x-api-key"), Some(CANARY));
    assert_eq!(exchange.body, request(1, "initialize").text);
    exchange.answer(202, &[], "Accepted").await;
    for byte in format!("event: message\r\ndata: {}\r\n\r\n", result(1)).bytes() {
        stream.chunk([byte]).await;
    }
    assert_eq!(client.message().await, result(1));

    // What comes next does not overtake the end of the handshake.
    let initialized = notification("notifications/initialized");
    let (_, ()) = tokio::join!(client.send(initialized), async {
        let exchange = server.next().await;
        assert!(server.saw_nothing());
        exchange.status(202).await;
    });
    stream
        .chunk(
            "event: endpoint\ndata: http://evil.example/\n\nevent: other\ndata: x\n\ndata: {}\n\n",
        )
        .await;
    assert_eq!(client.message().await, "{}");
    client.send(request(2, "ping")).await;
    let exchange = server.next().await;
    assert_eq!(exchange.path, "/messages?id=7");
    exchange.status(500).await;
    let (not_sent, error) = client.failed(2).await;
    assert_eq!(
        (not_sent, error.kind()),
        (false, ErrorKind::UpstreamUnavailable)
    );
    client.send(request(3, "ping")).await;
    server.next().await.status(401).await;
    assert!(client.failed(3).await.0);

    within(client.link.close()).await;
    within(client.link.close()).await;
    stream.closed().await;
    client.link.send(request(4, "ping")).await.unwrap_err();
}

#[tokio::test]
async fn a_link_ends_with_its_stream() {
    let (mut server, mut client, stream) = start().await;
    client.send(request(1, "ping")).await;
    server.next().await.status(202).await;
    drop(stream);
    assert_eq!(client.closed().await.kind(), ErrorKind::UpstreamUnavailable);
    client.link.send(request(2, "ping")).await.unwrap_err();

    let (_server, client, stream) = start().await;
    drop(client);
    stream.closed().await;
}

#[tokio::test]
async fn messages_go_nowhere_else() {
    let stream = |endpoint: &str| {
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\nevent: endpoint\ndata: {endpoint}\n\n"
        )
    };
    let mut elsewhere = Server::start().await;
    for endpoint in [
        elsewhere.url(),
        "//127.0.0.1:1/".to_owned(),
        "https://mcp.example.com/".to_owned(),
    ] {
        let error = refused(&stream(&endpoint)).await;
        assert_eq!(error.kind(), ErrorKind::UpstreamError, "{endpoint}");
    }
    assert!(elsewhere.saw_nothing());
}

#[tokio::test]
async fn what_is_no_such_server_is_not_opened() {
    let unavailable = [
        "",
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: {}\n\nevent: endp",
        "HTTP/1.1 503 X\r\n\r\n",
    ];
    for answer in unavailable {
        assert_eq!(
            refused(answer).await.kind(),
            ErrorKind::UpstreamUnavailable,
            "{answer}"
        );
    }
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n<html>",
        "HTTP/1.1 302 X\r\nlocation: http://127.0.0.1/canary-7f3a\r\n\r\n",
        "HTTP/1.1 401 X\r\n\r\n",
        "HTTP/1.1 404 X\r\n\r\n",
    ] {
        assert_eq!(
            refused(answer).await.kind(),
            ErrorKind::UpstreamError,
            "{answer}"
        );
    }
}

#[tokio::test]
async fn so_many_messages_are_on_their_way_and_no_more() {
    let (mut server, client, _stream) = start().await;
    for id in 0..SENDS_MAX as i64 {
        client.send(request(id, "ping")).await;
    }
    let full = client.link.send(request(-1, "ping")).await.unwrap_err();
    assert_eq!(full.kind(), ErrorKind::Overloaded);
    server.next().await;
}
