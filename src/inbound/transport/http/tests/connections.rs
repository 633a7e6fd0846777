//! Connections that are slow, silent, endless or too many, and the end of the server.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

const HEAD: &str = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ada\r\nContent-Type: application/json\r\n";

/// What comes until the other end closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut text)).await;
    // A reset is an end as well.
    drop(read.expect("the connection stays open"));
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test]
async fn a_request_whose_headers_come_too_slowly_is_cut_off_and_others_are_served() {
    let world = World::of(Plan {
        silence: Duration::from_millis(400),
        ..Plan::default()
    })
    .await;
    let mut slow = TcpStream::connect(world.address).await.unwrap();
    let dripping = async {
        for byte in HEAD.as_bytes().iter().cycle() {
            if slow.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let session = world.session(json!({})).await;
    let (dripped, served) = tokio::join!(
        tokio::time::timeout(PATIENCE, dripping),
        world.call(&session, 1, "typed").send()
    );
    assert_eq!(served.unwrap().status(), StatusCode::OK);
    dripped.expect("the connection stays open");
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let world = World::of(Plan {
        silence: Duration::from_millis(200),
        ..Plan::default()
    })
    .await;
    let mut silent = TcpStream::connect(world.address).await.unwrap();
    assert_eq!(rest(&mut silent).await, "");
    // So is one that has asked once.
    let mut asked = TcpStream::connect(world.address).await.unwrap();
    asked
        .write_all(b"GET /none HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    assert!(rest(&mut asked).await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn idle_connections_give_way_to_those_that_ask() {
    let world = World::of(Plan {
        connections: 20,
        ..Plan::default()
    })
    .await;
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(TcpStream::connect(world.address).await.unwrap());
    }
    let session = world.session(json!({})).await;
    for id in 0..20 {
        let call = world
            .call(&session, id, "typed")
            .header("connection", "close");
        assert_eq!(call.send().await.unwrap().status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn requests_under_way_do_not_give_way() {
    let world = World::of(Plan {
        connections: 4,
        ..Plan::default()
    })
    .await;
    let session = world.session(json!({})).await;
    let calls: Vec<_> = (0..3)
        .map(|id| tokio::spawn(world.call(&session, id, "wait").send()))
        .collect();
    world.running(3).await;
    for _ in 0..20 {
        let _ = TcpStream::connect(world.address).await.unwrap();
    }
    world.gate.add_permits(3);
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn connections_are_counted_while_they_are_open_and_those_that_find_no_room() {
    let world = World::of(Plan {
        connections: 1,
        ..Plan::default()
    })
    .await;
    let refused = || {
        let all = world.figures.turned_away().into_iter();
        all.filter(|(reason, _)| *reason == TurnedAway::Connections)
            .map(|(_, times)| times)
            .sum::<u64>()
    };
    let call = stateless(world.post(&stateless_call("wait")), "tools/call", "wait");
    let call = tokio::spawn(call.header("connection", "close").send());
    world.running(1).await;
    assert_eq!((world.figures.connections(), refused()), (1, 0));
    for times in 1..=2 {
        let mut other = TcpStream::connect(world.address).await.unwrap();
        assert_eq!(rest(&mut other).await, "");
        assert_eq!((world.figures.connections(), refused()), (1, times));
    }
    world.gate.add_permits(1);
    assert_eq!(call.await.unwrap().unwrap().status(), StatusCode::OK);
    let closed = async {
        while world.figures.connections() > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, closed).await.unwrap();
}

#[tokio::test]
async fn a_body_without_end_is_refused_at_its_bound() {
    let world = World::open().await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream
        .write_all(format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let chunk = format!("{:x}\r\n{}\r\n", 1 << 20, " ".repeat(1 << 20));
    let (mut reader, mut writer) = stream.into_split();
    let writing = async {
        for _ in 0..64 {
            if writer.write_all(chunk.as_bytes()).await.is_err() {
                break;
            }
        }
        writer
    };
    let reading = async {
        let mut head = [0; 12];
        reader
            .read_exact(&mut head)
            .await
            .map(|_| String::from_utf8_lossy(&head).into_owned())
    };
    let (_writer, answer) = tokio::join!(
        tokio::time::timeout(PATIENCE, writing),
        tokio::time::timeout(PATIENCE, reading)
    );
    assert_eq!(answer.unwrap().unwrap(), "HTTP/1.1 413");
}

#[tokio::test]
async fn headers_without_end_are_refused() {
    let world = World::open().await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(HEAD.as_bytes()).await.unwrap();
    let line = format!("x-long: {}\r\n", "y".repeat(1000));
    for _ in 0..200 {
        if stream.write_all(line.as_bytes()).await.is_err() {
            break;
        }
    }
    let answer = rest(&mut stream).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_body_that_is_no_json_type_is_refused_before_it_is_read() {
    let world = World::open().await;
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "application/jsonx",
    ] {
        let posted = world
            .client
            .post(world.url())
            .bearer_auth("ada")
            .header("content-type", kind)
            .body("{}");
        assert_eq!(
            posted.send().await.unwrap().status(),
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "{kind}"
        );
    }
}

#[tokio::test]
async fn foreign_hosts_and_origins_are_refused_on_every_path() {
    let world = World::open().await;
    for path in ["/mcp", "/", "/none"] {
        for (name, value) in [
            ("host", "evil.example"),
            ("origin", "https://evil.example"),
            ("origin", "null"),
        ] {
            let url = format!("http://{}{path}", world.address);
            let sent = world
                .client
                .post(url)
                .bearer_auth("ada")
                .header(name, value)
                .message(&json!({}))
                .send();
            assert_eq!(
                sent.await.unwrap().status(),
                StatusCode::FORBIDDEN,
                "{path} {name}"
            );
        }
    }
}

#[tokio::test]
async fn the_end_waits_for_requests_and_ends_streams_and_idle_connections() {
    let world = World::open().await;
    let session = world.session(json!({})).await;
    let stream = world.stream(&session).send().await.unwrap();
    let mut idle = TcpStream::connect(world.address).await.unwrap();
    let call = tokio::spawn(world.call(&session, 1, "wait").send());
    world.running(1).await;
    world.begin.cancel();
    assert_eq!(stream.text().await.unwrap(), "");
    assert_eq!(rest(&mut idle).await, "");
    assert!(!world.serving.is_finished());
    world.gate.add_permits(1);
    assert_eq!(
        json_of(call.await.unwrap().unwrap()).await["result"]["content"][0]["text"],
        "waited"
    );
    tokio::time::timeout(PATIENCE, world.serving)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn the_end_cuts_off_what_takes_too_long() {
    let world = World::of(Plan {
        drain: Duration::from_millis(100),
        ..Plan::default()
    })
    .await;
    let session = world.session(json!({})).await;
    let call = tokio::spawn(world.call(&session, 1, "stubborn").send());
    world.running(1).await;
    world.begin.cancel();
    tokio::time::timeout(PATIENCE, world.serving)
        .await
        .unwrap()
        .unwrap();
    assert!(call.await.unwrap().is_err());
}
