//! What a name leads to, and whether it can change on the way.

use std::net::Ipv4Addr;

use super::server::{CERTIFIED, Server};
use super::*;
use crate::mesh::SystemClock;

fn at(kind: RemoteKind, port: u16) -> ConnectionPlan {
    let scheme = match kind {
        RemoteKind::Websocket => "wss",
        _ => "https",
    };
    plan(kind, &format!("{scheme}://{CERTIFIED}:{port}/mcp"))
}

/// What becomes of one attempt to reach a server.
async fn attempt(links: &RemoteLinks, plan: &ConnectionPlan) -> Error {
    match Client::open(links, plan).await {
        Err(error) => error,
        Ok(mut client) => {
            client.send(request(1, "ping")).await;
            let (not_sent, error) = client.failed(1).await;
            assert!(not_sent);
            error
        }
    }
}

#[tokio::test]
async fn a_server_with_tls_is_reached_by_a_name_that_its_certificate_is_made_for() {
    let mut server = Server::start_at(Ipv4Addr::LOCALHOST.into(), 0, true).await;
    let port = server.address.port();
    let links = links(&["127.0.0.1"], &[&["127.0.0.1"]]);
    let mut client = Client::open(&links, &at(RemoteKind::Http, port))
        .await
        .unwrap();
    client.send(request(1, "ping")).await;
    let exchange = server.next().await;
    assert_eq!(
        exchange.header("host"),
        Some(format!("{CERTIFIED}:{port}").as_str())
    );
    exchange.json(&result(1)).await;
    assert_eq!(client.message().await, result(1));

    for (kind, scheme) in [
        (RemoteKind::Http, "https"),
        (RemoteKind::Sse, "https"),
        (RemoteKind::Websocket, "wss"),
    ] {
        let other = plan(kind, &format!("{scheme}://other.example.com:{port}/mcp"));
        let error = attempt(&links, &other).await;
        assert!(error.message().contains("certificate"), "{error:?}");
    }
    assert!(server.saw_nothing());
}

#[tokio::test]
async fn no_kind_of_link_follows_a_name_inside() {
    let mut server = Server::start().await;
    let port = server.address.port();
    for inside in [
        ["127.0.0.1"],
        ["169.254.169.254"],
        ["10.0.0.1"],
        ["::ffff:127.0.0.1"],
        ["::1"],
        ["0.0.0.0"],
    ] {
        let links = links(&["8.8.8.8"], &[&inside]);
        for kind in [RemoteKind::Http, RemoteKind::Sse, RemoteKind::Websocket] {
            links.check(&at(kind, port).target).unwrap();
            let error = attempt(&links, &at(kind, port)).await;
            assert_eq!(
                error.kind(),
                ErrorKind::NotSupported,
                "{inside:?} {error:?}"
            );
            assert!(
                error
                    .fix_text()
                    .unwrap()
                    .contains("AGENT_MESH_EGRESS_ALLOW")
            );
            assert!(
                !format!("{error:?}").contains(inside[0]),
                "it shows no address"
            );
        }
    }
    let nowhere = attempt(&links(&[], &[]), &at(RemoteKind::Http, port)).await;
    assert_eq!(nowhere.kind(), ErrorKind::UpstreamUnavailable);
    assert!(server.saw_nothing());
}

#[tokio::test]
async fn a_name_that_changes_its_mind_is_checked_each_time_it_is_followed() {
    let mut good = Server::start_at(Ipv4Addr::new(127, 0, 0, 2).into(), 0, true).await;
    let port = good.address.port();
    let mut inside = Server::start_at(Ipv4Addr::LOCALHOST.into(), port, true).await;
    for kind in [RemoteKind::Http, RemoteKind::Sse, RemoteKind::Websocket] {
        let links = links(&["127.0.0.2"], &[&["127.0.0.2"], &["127.0.0.1"]]);
        links.check(&at(kind, port).target).unwrap();
        let plan = at(kind, port);
        // The first connection is closed by the server, so that the next request needs another one.
        let first = async { drop(good.next().await) };
        let opened = async {
            match Client::open(&links, &plan).await {
                Err(_) => attempt(&links, &plan).await,
                Ok(mut client) => {
                    client.send(request(1, "ping")).await;
                    client.failed(1).await;
                    client.send(request(2, "ping")).await;
                    let (not_sent, error) = client.failed(2).await;
                    assert!(not_sent);
                    error
                }
            }
        };
        let ((), error) = tokio::join!(first, opened);
        assert_eq!(error.kind(), ErrorKind::NotSupported, "{kind:?} {error:?}");
    }
    assert!(inside.saw_nothing());
}

#[tokio::test]
async fn only_servers_at_an_address_are_opened() {
    let links = RemoteLinks::new(RemoteSettings::default(), Arc::new(SystemClock::new()));
    let command = ConnectionTarget::Command {
        command: "node".to_owned(),
        args: Vec::new(),
        env: BTreeMap::new(),
    };
    assert_eq!(
        links.check(&command).unwrap_err().kind(),
        ErrorKind::NotSupported
    );
    let url = format!("https://user:{CANARY}@mcp.example.com/");
    for (url, kind) in [
        (url.as_str(), ErrorKind::InvalidParameter),
        ("http://localhost:1/", ErrorKind::NotSupported),
        ("https://127.1/", ErrorKind::NotSupported),
    ] {
        let plan = plan(RemoteKind::Http, url);
        let error = links.check(&plan.target).unwrap_err();
        assert_eq!(error.kind(), kind);
        assert_hides_canary(&error);
        assert_eq!(
            Client::open(&links, &plan).await.err().unwrap().kind(),
            kind
        );
    }
    links
        .check(&plan(RemoteKind::Sse, "https://mcp.example.com/sse").target)
        .unwrap();
    assert!(links.tls().await.is_ok(), "the machine has certificates");
}
