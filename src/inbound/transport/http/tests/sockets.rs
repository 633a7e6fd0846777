//! WebSocket: who may open one, and what clients do wrong.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Bytes, Message as Text};

use super::wire::Socket;
use super::*;
use crate::inbound::session::probe::{call, initialize};
use crate::inbound::transport::FRAME_BYTES_MAX;

async fn next(socket: &mut Socket) -> Option<Text> {
    let next = tokio::time::timeout(PATIENCE, socket.next()).await;
    next.expect("something in time")?.ok()
}

async fn answer(socket: &mut Socket) -> Value {
    loop {
        match next(socket).await {
            Some(Text::Text(text)) => return serde_json::from_str(&text).unwrap(),
            Some(Text::Ping(_) | Text::Pong(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn greet(socket: &mut Socket) {
    let hello = initialize("hello", "2025-06-18");
    socket.send(Text::text(hello)).await.unwrap();
    assert_eq!(answer(socket).await["id"], "hello");
}

/// The code with which the server closes, after whatever it says before.
async fn closed(socket: &mut Socket) -> Option<CloseCode> {
    loop {
        if let Text::Close(frame) = next(socket).await? {
            return Some(frame?.code);
        }
    }
}

async fn places_are_free(world: &World) {
    let free = async {
        while world.http.sessions.streams() > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, free).await.unwrap();
}

#[tokio::test]
async fn a_socket_is_opened_by_whoever_signs_in_and_speaks_the_protocol() {
    let world = World::open().await;
    let token = ("authorization", "Bearer ada");
    assert_eq!(
        world.try_socket(&[]).await.err(),
        Some(StatusCode::UNAUTHORIZED)
    );
    for (offered, expected) in [
        ("mcp", None),
        ("other, mcp", None),
        ("other", Some(StatusCode::BAD_REQUEST)),
    ] {
        let tried = world
            .try_socket(&[token, ("sec-websocket-protocol", offered)])
            .await;
        assert_eq!(tried.err(), expected, "{offered}");
    }
    let foreign = world
        .try_socket(&[token, ("origin", "https://evil.example")])
        .await;
    assert_eq!(foreign.err(), Some(StatusCode::FORBIDDEN));
    // What a web page can send.
    let encoded = URL_SAFE_NO_PAD.encode("ada");
    let offered = format!("mcp, bearer.{encoded}");
    let mut socket = world
        .try_socket(&[("sec-websocket-protocol", &offered)])
        .await
        .unwrap();
    greet(&mut socket).await;
    let both = world
        .try_socket(&[token, ("sec-websocket-protocol", &offered)])
        .await;
    assert_eq!(both.err(), Some(StatusCode::BAD_REQUEST));
    let plain = world.client.get(format!("http://{}/ws", world.address));
    let plain = plain.bearer_auth("ada").send().await.unwrap();
    assert_eq!(plain.status(), StatusCode::UPGRADE_REQUIRED);
    assert_eq!(plain.headers()["sec-websocket-version"], "13");
}

#[tokio::test]
async fn what_is_no_text_and_what_is_too_large_ends_the_connection() {
    let world = World::open().await;
    let mut socket = world.socket("ada").await;
    greet(&mut socket).await;
    socket
        .send(Text::Binary(Bytes::from_static(b"{}")))
        .await
        .unwrap();
    assert_eq!(closed(&mut socket).await, Some(CloseCode::Unsupported));
    let mut socket = world.socket("ada").await;
    greet(&mut socket).await;
    let head = call(1, "echo")
        .replace("{}", r#"{"v":""#)
        .trim_end_matches('}')
        .to_owned();
    let fitting = format!(
        "{head}{}\"}}}}}}",
        "x".repeat(FRAME_BYTES_MAX - head.len() - 4)
    );
    assert_eq!(fitting.len(), FRAME_BYTES_MAX);
    socket.send(Text::text(fitting.clone())).await.unwrap();
    let echoed = answer(&mut socket).await;
    assert_eq!(echoed["id"], 1, "{}", echoed["error"]);
    // One byte more is answered as over pipes; what is far too long is not even read.
    let over = fitting + " ";
    socket.send(Text::text(over.clone())).await.unwrap();
    assert_eq!(answer(&mut socket).await["error"]["code"], -32600);
    let _ = socket.send(Text::text(over + &" ".repeat(4096))).await;
    let code = closed(&mut socket).await;
    assert!(matches!(code, Some(CloseCode::Size) | None), "{code:?}");
    drop(socket);
    places_are_free(&world).await;
}

#[tokio::test]
async fn a_line_break_within_a_message_is_white_space() {
    let world = World::open().await;
    let mut socket = world.socket("ada").await;
    greet(&mut socket).await;
    let spread = call(1, "typed").replace(',', ",\r\n");
    socket.send(Text::text(spread)).await.unwrap();
    assert_eq!(answer(&mut socket).await["id"], 1);
}

#[tokio::test]
async fn a_session_ends_with_its_token() {
    let world = World::of(Plan {
        ends_at: Some(Timestamp::from_millis(1_790_000_000_300)),
        ..Plan::default()
    })
    .await;
    let mut socket = world.socket("ada").await;
    assert_eq!(closed(&mut socket).await, Some(CloseCode::Policy));
    places_are_free(&world).await;
}

#[tokio::test]
async fn a_server_that_ends_finishes_what_runs_and_says_that_it_goes() {
    let world = World::open().await;
    let (mut busy, mut idle) = (world.socket("ada").await, world.socket("ada").await);
    greet(&mut busy).await;
    greet(&mut idle).await;
    busy.send(Text::text(call(1, "stubborn"))).await.unwrap();
    world.running(1).await;
    world.begin.cancel();
    assert_eq!(closed(&mut idle).await, Some(CloseCode::Away));
    world.gate.add_permits(1);
    assert_eq!(answer(&mut busy).await["id"], 1);
    assert_eq!(closed(&mut busy).await, Some(CloseCode::Away));
    drop((busy, idle));
    tokio::time::timeout(PATIENCE, world.serving)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_listener_without_time_left_cuts_sockets_off() {
    let world = World::of(Plan {
        drain: Duration::from_millis(50),
        ..Plan::default()
    })
    .await;
    let mut socket = world.socket("ada").await;
    greet(&mut socket).await;
    socket.send(Text::text(call(1, "stubborn"))).await.unwrap();
    world.running(1).await;
    world.begin.cancel();
    tokio::time::timeout(PATIENCE, world.serving)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(closed(&mut socket).await, None);
}

#[tokio::test]
async fn sockets_are_bounded_by_tenant_with_the_other_streams() {
    let world = World::of(Plan {
        streams: 8,
        ..Plan::default()
    })
    .await;
    let _one = world.socket("acme.ada").await;
    let stream = world.listen("acme.bob").await;
    let token = [("authorization", "Bearer acme.cy")];
    let third = world.try_socket(&token).await;
    assert_eq!(third.err(), Some(StatusCode::SERVICE_UNAVAILABLE));
    let _other = world.socket("other.dan").await;
    drop(stream);
    let again = async {
        while world.try_socket(&token).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.unwrap();
}

#[tokio::test]
async fn a_client_that_never_reads_is_no_longer_read_from_and_harms_nobody() {
    let world = World::open().await;
    let mut socket = world.socket("ada").await;
    greet(&mut socket).await;
    let flooding = async {
        for id in 0.. {
            socket.feed(Text::text(call(id, "large"))).await.unwrap();
            if id % 64 == 0 {
                socket.flush().await.unwrap();
            }
        }
    };
    // Writing stops where the server does not take in more; the answers are 50 kB each.
    let stuck = tokio::time::timeout(Duration::from_secs(2), flooding).await;
    assert!(stuck.is_err());
    let started = world.seen.started.load(std::sync::atomic::Ordering::SeqCst);
    assert!(started < 20_000, "{started}");
    let mut other = world.socket("eve").await;
    greet(&mut other).await;
    drop(socket);
    drop(other);
    places_are_free(&world).await;
}

#[tokio::test]
async fn what_is_half_said_takes_of_the_budget_and_others_are_told_to_come_again() {
    let world = World::of(Plan {
        streams: 100,
        ..Plan::default()
    })
    .await;
    let mut half = Vec::new();
    // Each says that a message of 16 MiB comes, and sends most of it: more than there is room for.
    let mut refused = 0;
    for number in 0..18 {
        let mut socket = world.socket(&format!("t{number}.ada")).await.into_inner();
        let mut head = vec![0x81, 0xff];
        head.extend((FRAME_BYTES_MAX as u64).to_be_bytes());
        head.extend([0; 4]);
        let part = vec![b' '; 15 << 20];
        let sent = async {
            socket.write_all(&head).await?;
            socket.write_all(&part).await
        };
        match tokio::time::timeout(PATIENCE, sent).await.unwrap() {
            Ok(()) => half.push(socket),
            Err(_) => refused += 1,
        }
    }
    let mut closed = 0;
    for socket in &mut half {
        let mut first = [0; 1];
        let read = tokio::time::timeout(Duration::from_millis(50), socket.read(&mut first)).await;
        closed += usize::from(read.is_ok());
    }
    assert!(refused + closed > 0);
    drop(half);
    places_are_free(&world).await;
    let mut fine = world.socket("ada").await;
    greet(&mut fine).await;
}

#[tokio::test]
async fn a_thousand_sockets_that_are_abandoned_leave_nothing_behind() {
    let world = World::of(Plan {
        connections: 1100,
        streams: 4000,
        ..Plan::default()
    })
    .await;
    let mut sockets = Vec::new();
    for _ in 0..1000 {
        let mut socket = world.socket("ada").await;
        greet(&mut socket).await;
        sockets.push(socket);
    }
    assert_eq!(world.http.sessions.streams(), 1000);
    drop(sockets);
    places_are_free(&world).await;
}
