//! Sessions, and the streams on which they are told what they have not asked for.

use futures::StreamExt;

use super::*;

#[tokio::test]
async fn a_session_is_nobody_elses() {
    let world = World::open().await;
    let session = world.session(json!({})).await;
    let fine = world.call(&session, 1, "typed").send().await.unwrap();
    assert_eq!(fine.status(), StatusCode::OK);
    let call = request(2, "tools/call", &json!({"name": "typed"}));
    let as_eve = || {
        world
            .client
            .post(world.url())
            .bearer_auth("eve")
            .header("mcp-session-id", &session)
    };
    let foreign = as_eve().message(&call).send().await.unwrap();
    let made_up = world
        .call("rs2.made.up.id", 2, "typed")
        .send()
        .await
        .unwrap();
    assert_eq!(foreign.status(), StatusCode::NOT_FOUND);
    assert_eq!(made_up.status(), StatusCode::NOT_FOUND);
    assert_eq!(
        foreign.bytes().await.unwrap(),
        made_up.bytes().await.unwrap()
    );
    let stream = world
        .client
        .get(world.url())
        .bearer_auth("eve")
        .header("mcp-session-id", &session);
    assert_eq!(stream.send().await.unwrap().status(), StatusCode::NOT_FOUND);
    let end = world
        .client
        .delete(world.url())
        .bearer_auth("eve")
        .header("mcp-session-id", &session);
    assert_eq!(end.send().await.unwrap().status(), StatusCode::NOT_FOUND);
    let twice = world
        .call(&session, 3, "typed")
        .header("mcp-session-id", &session)
        .send()
        .await
        .unwrap();
    assert_eq!(twice.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_session_keeps_nothing_between_requests() {
    let world = World::open().await;
    for _ in 0..50 {
        let session = world.session(json!({"sampling": {}})).await;
        assert!(
            world
                .call(&session, 1, "typed")
                .send()
                .await
                .unwrap()
                .status()
                .is_success()
        );
    }
    assert_eq!(world.http.sessions.known(), 0);
}

#[tokio::test]
async fn a_stream_lasts_until_its_session_ends_or_opens_another() {
    let world = World::open().await;
    let session = world.session(json!({})).await;
    let first = world.stream(&session).send().await.unwrap();
    assert_eq!(first.status(), StatusCode::OK);
    let second = world.stream(&session).send().await.unwrap();
    assert_eq!(first.text().await.unwrap(), "");
    assert_eq!(world.http.sessions.streams(), 1);
    let end = world
        .client
        .delete(world.url())
        .bearer_auth("ada")
        .header("mcp-session-id", &session);
    assert_eq!(end.send().await.unwrap().status(), StatusCode::NO_CONTENT);
    assert_eq!(second.text().await.unwrap(), "");
    let over = world.call(&session, 2, "typed").send().await.unwrap();
    assert_eq!(over.status(), StatusCode::NOT_FOUND);
    let over = world.stream(&session).send().await.unwrap();
    assert_eq!(over.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_client_that_leaves_its_stream_gives_its_place_back() {
    let world = World::open().await;
    for _ in 0..20 {
        let session = world.session(json!({})).await;
        drop(world.stream(&session).send().await.unwrap());
        let gone = async {
            while world.http.sessions.known() > 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, gone).await.unwrap();
    }
}

#[tokio::test]
async fn streams_are_bounded_by_tenant_and_who_is_turned_away_may_come_again() {
    let world = World::of(Plan {
        streams: 8,
        ..Plan::default()
    })
    .await;
    let mut open = Vec::new();
    for round in 0..3 {
        let session = world.session(json!({})).await;
        let response = world.stream(&session).send().await.unwrap();
        let expected = if round < 2 {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        assert_eq!(response.status(), expected);
        assert_eq!(response.headers().contains_key("retry-after"), round == 2);
        open.push(response);
    }
}

#[tokio::test]
async fn a_stream_ends_with_the_token_of_its_caller() {
    let now = Timestamp::from_millis(1_790_000_000_000);
    let ends_at = Some(now.plus(Duration::from_millis(300)));
    let world = World::of(Plan {
        ends_at,
        ..Plan::default()
    })
    .await;
    let session = world.session(json!({})).await;
    let mut stream = world.stream(&session).send().await.unwrap().bytes_stream();
    let end = tokio::time::timeout(PATIENCE, stream.next()).await.unwrap();
    assert!(end.is_none());
}

#[tokio::test]
async fn there_is_no_stream_without_a_session() {
    let world = World::open().await;
    let get = world
        .client
        .get(world.url())
        .bearer_auth("ada")
        .header("accept", "text/event-stream");
    assert_eq!(
        get.send().await.unwrap().status(),
        StatusCode::METHOD_NOT_ALLOWED
    );
    let delete = world.client.delete(world.url()).bearer_auth("ada");
    assert_eq!(
        delete.send().await.unwrap().status(),
        StatusCode::BAD_REQUEST
    );
    let put = world
        .client
        .put(world.url())
        .bearer_auth("ada")
        .send()
        .await
        .unwrap();
    assert_eq!(put.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert!(put.headers().contains_key("allow"));
}
