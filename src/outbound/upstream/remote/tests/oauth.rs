//! Tokens for client credentials.

use secrecy::ExposeSecret;

use super::super::oauth::FAILURE_KEPT;
use super::server::{Exchange, Server};
use super::*;
use crate::mesh::upstream::ClientCredentials;

fn credentials(tokens: &Server) -> ClientCredentials {
    ClientCredentials {
        token_url: format!("http://{}/token", tokens.address),
        client_id: "a client:1".into(),
        client_secret: CANARY.into(),
        scope: Some("mcp read".to_owned()),
    }
}

fn signed_plan(kind: RemoteKind, url: &str, credentials: ClientCredentials) -> ConnectionPlan {
    let mut plan = plan(kind, url);
    if let ConnectionTarget::Remote {
        headers, sign_in, ..
    } = &mut plan.target
    {
        headers.clear();
        *sign_in = SignIn::ClientCredentials(credentials);
    }
    plan
}

/// A server, the server that gives its tokens, and a client.
async fn start() -> (Server, Server, Client) {
    let (server, tokens, client, _) = start_at().await;
    (server, tokens, client)
}

async fn start_at() -> (Server, Server, Client, Arc<ManualClock>) {
    let (server, tokens) = (Server::start().await, Server::start().await);
    let plan = signed_plan(RemoteKind::Http, &server.url(), credentials(&tokens));
    let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_700_000_000)));
    let links = links_at(clock.clone(), &[], &[]);
    let client = Client::open(&links, &plan).await.unwrap();
    (server, tokens, client, clock)
}

async fn give(exchange: Exchange, token: &str, seconds: &str) {
    let body =
        format!(r#"{{"access_token":"{token}","token_type":"bearer","expires_in":{seconds}}}"#);
    exchange.json(&body).await;
}

#[tokio::test]
async fn one_token_is_fetched_for_all_who_wait_and_used_until_it_is_refused() {
    let (mut server, mut tokens, mut client) = start().await;
    for id in 0..8 {
        client.send(request(id, "ping")).await;
    }
    let exchange = tokens.next().await;
    assert_eq!(
        (exchange.method.as_str(), exchange.path.as_str()),
        ("POST", "/token")
    );
    let basic = exchange.header("authorization").unwrap();
    assert_eq!(basic, "Basic YStjbGllbnQlM0ExOmNhbmFyeS03ZjNh");
    assert_eq!(
        exchange.body,
        "grant_type=client_credentials&scope=mcp+read"
    );
    give(exchange, "t1", "3600").await;
    for _ in 0..8 {
        let exchange = server.next().await;
        assert_eq!(exchange.header("authorization"), Some("Bearer t1"));
        let id = exchange.id();
        exchange.json(&result(id)).await;
        client.message().await;
    }
    assert!(tokens.saw_nothing());

    // Two requests meet the end of the token, and one new token serves both.
    client.send(request(10, "ping")).await;
    client.send(request(11, "ping")).await;
    for exchange in [server.next().await, server.next().await] {
        exchange.status(401).await;
    }
    give(tokens.next().await, "t2", "\"3600\"").await;
    for _ in 0..2 {
        let exchange = server.next().await;
        assert_eq!(exchange.header("authorization"), Some("Bearer t2"));
        let id = exchange.id();
        exchange.json(&result(id)).await;
        client.message().await;
    }
    assert!(tokens.saw_nothing());

    // A new token that is refused too is an error, and no third try.
    client.send(request(12, "ping")).await;
    server.next().await.status(401).await;
    give(tokens.next().await, "t3", "3600").await;
    let exchange = server.next().await;
    assert_eq!(exchange.header("authorization"), Some("Bearer t3"));
    exchange.status(401).await;
    let (not_sent, error) = client.failed(12).await;
    assert_eq!((not_sent, error.kind()), (true, ErrorKind::UpstreamError));
    assert!(server.saw_nothing() && tokens.saw_nothing());
}

#[tokio::test]
async fn every_token_is_a_secret_of_the_connection_before_it_is_used() {
    let (mut server, mut tokens) = (Server::start().await, Server::start().await);
    let plan = signed_plan(RemoteKind::Http, &server.url(), credentials(&tokens));
    let mut client = Client::open(&local_links(), &plan).await.unwrap();
    let said = "it was canary-of-1 or canary-of-2";
    assert_eq!(plan.secrets.mask(said), said);
    for (id, known) in [
        (1, "it was [secret] or canary-of-2"),
        (2, "it was [secret] or [secret]"),
    ] {
        client.send(request(id, "ping")).await;
        give(tokens.next().await, &format!("canary-of-{id}"), "0").await;
        let exchange = server.next().await;
        assert_eq!(plan.secrets.mask(said), known);
        exchange.json(&result(id)).await;
        client.message().await;
    }
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends() {
    let (mut server, mut tokens, mut client, clock) = start_at().await;
    // A token is used until 30 s before its end, and at least for half of its time.
    for (id, seconds, used) in [
        (1, "3600", 3570),
        (2, "40", 20),
        (3, "0", 0),
        (4, "99999999", 86_370),
    ] {
        client.send(request(id, "ping")).await;
        give(tokens.next().await, "t", seconds).await;
        server.next().await.json(&result(id)).await;
        client.message().await;
        let last = Duration::from_secs(used).saturating_sub(Duration::from_millis(1));
        if used > 0 {
            clock.advance(last);
            client.send(request(id, "ping")).await;
            server.next().await.json(&result(id)).await;
            client.message().await;
            clock.advance(Duration::from_millis(1));
        }
        assert!(tokens.saw_nothing());
    }
}

#[tokio::test]
async fn a_server_that_wants_the_secret_in_the_form_gets_it_there() {
    for (status, body) in [(401, ""), (400, r#"{"error":"invalid_client"}"#)] {
        let (mut server, mut tokens, mut client) = start().await;
        client.send(request(1, "ping")).await;
        tokens.next().await.answer(status, &[], body).await;
        let exchange = tokens.next().await;
        assert_eq!(exchange.header("authorization"), None);
        let form = "grant_type=client_credentials&scope=mcp+read&client_id=a+client%3A1&client_secret=canary-7f3a";
        assert_eq!(exchange.body, form);
        give(exchange, "t1", "0").await;
        server.next().await.json(&result(1)).await;
        client.message().await;
        // It is remembered.
        client.send(request(2, "ping")).await;
        let exchange = tokens.next().await;
        assert_eq!(exchange.header("authorization"), None);
        give(exchange, "t2", "0").await;
        server.next().await.json(&result(2)).await;
        client.message().await;
    }
}

#[tokio::test]
async fn what_is_no_token_is_told_without_what_was_sent() {
    let echo = format!(r#"{{"error":"{CANARY}","error_description":"{CANARY}"}}"#);
    let mac = r#"{"access_token":"canary-7f3a","token_type":"mac"}"#;
    let split = r#"{"access_token":"canary-7f3a\r\nx: y","token_type":"bearer"}"#;
    let large = format!(r#"{{"access_token":"{}"}}"#, "x".repeat(64 << 10));
    for (status, body, kind) in [
        (200, "", ErrorKind::UpstreamError),
        (200, CANARY, ErrorKind::UpstreamError),
        (200, r#"{"access_token":""}"#, ErrorKind::UpstreamError),
        (200, mac, ErrorKind::UpstreamError),
        (200, split, ErrorKind::UpstreamError),
        (200, &large, ErrorKind::UpstreamError),
        (302, "", ErrorKind::UpstreamError),
        (400, &echo, ErrorKind::UpstreamError),
        (
            400,
            r#"{"error":"invalid_scope"}"#,
            ErrorKind::UpstreamError,
        ),
        (503, &echo, ErrorKind::UpstreamUnavailable),
    ] {
        let (mut server, mut tokens, mut client, clock) = start_at().await;
        client.send(request(1, "ping")).await;
        tokens
            .next()
            .await
            .answer(status, &[("location", "http://127.0.0.1/")], body)
            .await;
        let (not_sent, error) = client.failed(1).await;
        assert_eq!((not_sent, error.kind()), (true, kind), "{status} {body}");
        assert_eq!(
            error.message().contains("invalid_scope"),
            body.contains("invalid_scope")
        );
        // Who asks right after is not sent there again.
        clock.advance(FAILURE_KEPT - Duration::from_millis(1));
        client.send(request(2, "ping")).await;
        assert_eq!(client.failed(2).await.1.kind(), kind);
        assert!(server.saw_nothing() && tokens.saw_nothing());
        clock.advance(Duration::from_millis(1));
        client.send(request(3, "ping")).await;
        give(tokens.next().await, "t1", "60").await;
        server.next().await.json(&result(3)).await;
        client.message().await;
    }
}

#[tokio::test]
async fn tokens_come_from_where_links_may_lead_and_nobody_shares_them() {
    let (mut server, mut tokens) = (Server::start().await, Server::start().await);
    for url in [
        "http://mcp.example.com/token",
        "https://169.254.169.254/token",
        "https://u:canary-7f3a@a.example/",
    ] {
        let given = ClientCredentials {
            token_url: url.to_owned(),
            ..credentials(&tokens)
        };
        let plan = signed_plan(RemoteKind::Http, &server.url(), given);
        assert_hides_canary(&local_links().check(&plan.target).unwrap_err());
    }
    let inside = ClientCredentials {
        token_url: "https://tokens.example.com/token".to_owned(),
        ..credentials(&tokens)
    };
    let plan = signed_plan(RemoteKind::Http, &server.url(), inside);
    let mut client = Client::open(&links(&[], &[&["10.0.0.1"]]), &plan)
        .await
        .unwrap();
    client.send(request(1, "ping")).await;
    assert_eq!(client.failed(1).await.1.kind(), ErrorKind::NotSupported);

    let plan = signed_plan(RemoteKind::Http, &server.url(), credentials(&tokens));
    let links = local_links();
    for token in ["t1", "t2"] {
        let mut client = Client::open(&links, &plan).await.unwrap();
        client.send(request(1, "ping")).await;
        give(tokens.next().await, token, "3600").await;
        let exchange = server.next().await;
        assert_eq!(
            exchange.header("authorization"),
            Some(format!("Bearer {token}").as_str())
        );
        exchange.json(&result(1)).await;
        client.message().await;
    }
}

#[test]
fn credentials_show_nothing() {
    let shown = format!(
        "{:?}",
        ClientCredentials {
            token_url: String::new(),
            client_id: "x".into(),
            client_secret: CANARY.into(),
            scope: None,
        }
    );
    assert!(!shown.contains(CANARY));
    assert_eq!(SecretString::from(CANARY).expose_secret(), CANARY);
}
