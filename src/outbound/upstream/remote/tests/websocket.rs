//! WebSocket, against the server's side of the same library.

use std::net::Ipv4Addr;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::handshake::server::{
    Callback, ErrorResponse, Request, Response,
};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

use super::super::websocket::{Socket, over};
use super::server::{CERTIFIED, Server, acceptor};
use super::*;
use crate::mesh::upstream::{ClientCredentials, Era, MESSAGE_BYTES_MAX};
use crate::outbound::upstream::PoolSettings;
use crate::outbound::upstream::handshake::establish;
use crate::outbound::upstream::trial::{call, initialized, raw, tool};

/// Takes the protocol within the protocol, and looks at what was sent along.
struct Accept {
    authorization: Option<&'static str>,
}

impl Callback for Accept {
    fn on_request(
        self,
        request: &Request,
        mut response: Response,
    ) -> Result<Response, ErrorResponse> {
        let header = |name: &str| {
            request
                .headers()
                .get(name)
                .map(|value| value.to_str().unwrap())
        };
        assert_eq!(header("sec-websocket-protocol"), Some("mcp"));
        assert_eq!(header("authorization"), self.authorization);
        if self.authorization.is_none() {
            assert_eq!(header("x-api-key"), Some(CANARY));
        }
        let protocol = request.headers()["sec-websocket-protocol"].clone();
        response
            .headers_mut()
            .insert("sec-websocket-protocol", protocol);
        Ok(response)
    }
}

async fn listen() -> (TcpListener, ConnectionPlan) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("ws://{}/mcp", listener.local_addr().unwrap());
    (listener, plan(RemoteKind::Websocket, &url))
}

async fn start() -> (WebSocketStream<TcpStream>, Client) {
    let (listener, plan) = listen().await;
    let links = local_links();
    let (client, server) = tokio::join!(Client::open(&links, &plan), async {
        let (tcp, _) = listener.accept().await.unwrap();
        accept_hdr_async(
            tcp,
            Accept {
                authorization: None,
            },
        )
        .await
        .unwrap()
    });
    (server, client.unwrap())
}

async fn next(server: &mut WebSocketStream<TcpStream>) -> Message {
    within(server.next()).await.unwrap().unwrap()
}

#[tokio::test]
async fn texts_go_both_ways_and_beats_of_the_heart_are_answered() {
    let (mut server, mut client) = start().await;
    for id in 0..100 {
        client.send(request(id, "ping")).await;
    }
    for id in 0..100 {
        assert_eq!(
            next(&mut server).await,
            Message::text(request(id, "ping").text)
        );
        server.send(Message::text(result(id))).await.unwrap();
    }
    for id in 0..100 {
        assert_eq!(client.message().await, result(id));
    }
    server
        .send(Message::Ping(Bytes::from_static(b"x")))
        .await
        .unwrap();
    assert_eq!(
        next(&mut server).await,
        Message::Pong(Bytes::from_static(b"x"))
    );

    let link = Arc::clone(&client.link);
    let closing = tokio::spawn(async move { link.close().await });
    assert!(next(&mut server).await.is_close());
    within(closing).await.unwrap();
    within(client.link.close()).await;
    client.link.send(request(1, "ping")).await.unwrap_err();
}

#[tokio::test]
async fn a_message_has_a_bound() {
    let (mut server, mut client) = start().await;
    let largest = "x".repeat(MESSAGE_BYTES_MAX);
    let sent = tokio::spawn(async move {
        server.send(Message::text(largest)).await.unwrap();
        server
    });
    assert_eq!(client.message().await.len(), MESSAGE_BYTES_MAX);
    let mut server = sent.await.unwrap();
    let flood = tokio::spawn(async move {
        let _ = server
            .send(Message::text("x".repeat(MESSAGE_BYTES_MAX + 1)))
            .await;
    });
    let error = client.closed().await;
    assert!(error.message().contains("32 MiB"), "{error}");
    within(flood).await.unwrap();
}

#[tokio::test]
async fn a_connection_that_ends_says_so() {
    let going = CloseFrame {
        code: CloseCode::Away,
        reason: CANARY.into(),
    };
    for last in [
        Message::Close(Some(going)),
        Message::Close(None),
        Message::Binary(Bytes::from_static(b"{}")),
    ] {
        let (mut server, mut client) = start().await;
        server.send(last).await.unwrap();
        assert_hides_canary(&client.closed().await);
        client.link.send(request(1, "ping")).await.unwrap_err();
    }
    let (server, mut client) = start().await;
    drop(server);
    assert_eq!(client.closed().await.kind(), ErrorKind::UpstreamUnavailable);

    let (mut server, mut client) = start().await;
    // A frame with a bit that nobody has agreed on, and one that promises more than there may be.
    server.get_mut().write_all(b"\xf1\x01x").await.unwrap();
    client.closed().await;
    let (mut server, mut client) = start().await;
    server
        .get_mut()
        .write_all(b"\x81\x7f\x7f\xff\xff\xff\xff\xff\xff\xff")
        .await
        .unwrap();
    assert!(client.closed().await.message().contains("32 MiB"));

    let (mut server, client) = start().await;
    drop(client);
    let mut rest = Vec::new();
    let _ = within(server.get_mut().read_to_end(&mut rest)).await;
}

#[tokio::test]
async fn what_opens_no_websocket_is_not_opened() {
    for (answer, kind) in [
        ("", ErrorKind::UpstreamError),
        ("canary-7f3a\r\n\r\n", ErrorKind::UpstreamError),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            ErrorKind::UpstreamError,
        ),
        (
            "HTTP/1.1 302 X\r\nlocation: ws://127.0.0.1/canary-7f3a\r\n\r\n",
            ErrorKind::UpstreamError,
        ),
        ("HTTP/1.1 401 X\r\n\r\n", ErrorKind::UpstreamError),
        ("HTTP/1.1 503 X\r\n\r\n", ErrorKind::UpstreamUnavailable),
        (
            "HTTP/1.1 101 X\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: x\r\n\r\n",
            ErrorKind::UpstreamError,
        ),
    ] {
        let (listener, plan) = listen().await;
        let links = local_links();
        let (client, ()) = tokio::join!(Client::open(&links, &plan), async {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let mut head = [0; 64];
            let _ = tcp.read(&mut head).await.unwrap();
            tcp.write_all(answer.as_bytes()).await.unwrap();
        });
        let error = client.err().unwrap();
        assert_eq!(error.kind(), kind, "{answer} {error:?}");
        assert_hides_canary(&error);
    }
}

#[tokio::test]
async fn a_refused_token_is_replaced_once() {
    let (listener, mut plan) = listen().await;
    let mut tokens = Server::start().await;
    if let ConnectionTarget::Remote {
        headers, sign_in, ..
    } = &mut plan.target
    {
        headers.clear();
        *sign_in = SignIn::ClientCredentials(ClientCredentials {
            token_url: tokens.url(),
            client_id: "id".into(),
            client_secret: CANARY.into(),
            scope: None,
        });
    }
    let links = local_links();
    let (client, _server) = tokio::join!(Client::open(&links, &plan), async {
        tokens.next().await.json(r#"{"access_token":"t1"}"#).await;
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut head = [0; 4096];
        let bytes = tcp.read(&mut head).await.unwrap();
        assert!(String::from_utf8_lossy(&head[..bytes]).contains("Bearer t1"));
        tcp.write_all(b"HTTP/1.1 401 X\r\n\r\n").await.unwrap();
        tokens.next().await.json(r#"{"access_token":"t2"}"#).await;
        let (tcp, _) = listener.accept().await.unwrap();
        accept_hdr_async(
            tcp,
            Accept {
                authorization: Some("Bearer t2"),
            },
        )
        .await
        .unwrap()
    });
    client.unwrap();
    assert!(tokens.saw_nothing());
}

#[tokio::test]
async fn with_tls_the_handshake_reaches_the_server() {
    let mut server = Server::start_at(Ipv4Addr::LOCALHOST.into(), 0, true).await;
    let url = format!("wss://{CERTIFIED}:{}/mcp?x=1", server.address.port());
    let links = links(&["127.0.0.1"], &[&["127.0.0.1"]]);
    let plan = plan(RemoteKind::Websocket, &url);
    let (client, ()) = tokio::join!(Client::open(&links, &plan), async {
        let exchange = server.next().await;
        assert_eq!(
            (exchange.method.as_str(), exchange.path.as_str()),
            ("GET", "/mcp?x=1")
        );
        assert_eq!(exchange.header("host"), Some(&url[6..url.len() - 8]));
        assert_eq!(exchange.header("x-api-key"), Some(CANARY));
        exchange.status(403).await;
    });
    assert!(client.err().unwrap().message().contains("does not allow"));
}

/// Serves one connection with TLS: the handshake of the protocol, a list of tools, and calls, which it answers
/// with the arguments.
async fn serve_tls(listener: TcpListener) {
    let (tcp, _) = listener.accept().await.unwrap();
    let encrypted = acceptor().accept(tcp).await.unwrap();
    let callback = Accept {
        authorization: None,
    };
    let mut server = accept_hdr_async(encrypted, callback).await.unwrap();
    while let Some(Ok(Message::Text(text))) = server.next().await {
        let asked: Value = serde_json::from_str(&text).unwrap();
        let result = match asked["method"].as_str().unwrap() {
            "initialize" => initialized(),
            "tools/list" => json!({"tools": [tool("echo")]}),
            "tools/call" => asked["params"]["arguments"].clone(),
            _ => continue,
        };
        let answer = json!({"jsonrpc": "2.0", "id": asked["id"], "result": result});
        let sent = server.send(Message::text(answer.to_string()));
        sent.await.unwrap();
    }
}

#[tokio::test]
async fn a_whole_session_goes_over_tls() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = tokio::spawn(serve_tls(listener));
    let plan = ConnectionPlan {
        era: Some(Era::Sessions),
        ..plan(
            RemoteKind::Websocket,
            &format!("wss://{CERTIFIED}:{port}/mcp"),
        )
    };
    let links = links(&["127.0.0.1"], &[&["127.0.0.1"]]);
    let (settings, mut latest) = (PoolSettings::default(), None);
    let opened = within(establish(&links, &plan, &settings, &mut latest)).await;
    let opened = opened.unwrap();
    let core = opened.session.core();
    assert_eq!(core.current_tools().await.unwrap()[0].name, "echo");
    // More than one record of TLS holds, and more than is read at once.
    let arguments = raw(&json!({"text": "\u{e4}".repeat(200_000)}));
    let answer = within(core.call(call("echo", Some(&arguments)))).await;
    assert_eq!(answer.unwrap().get(), arguments.get());
    within(latest.unwrap().close()).await;
    within(served).await.unwrap();
}

#[tokio::test]
async fn a_silent_server_is_asked_and_then_given_up() {
    let (near, far) = tokio::io::duplex(1 << 10);
    let near: Box<dyn Socket> = Box::new(near);
    let near = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
    let Opened { link, incoming } = over(near, Duration::from_millis(20));
    let mut client = Client { link, incoming };
    let mut far = WebSocketStream::from_raw_socket(far, Role::Server, None).await;
    assert!(
        client
            .closed()
            .await
            .message()
            .contains("no longer answers")
    );
    assert!(within(far.next()).await.unwrap().unwrap().is_ping());
}
