//! The event streams of revision 2024-11-05: whose they are, and what clients do wrong.

use super::wire::Listening;
use super::*;
use crate::inbound::session::probe::{call, initialize};

async fn greeted(world: &World, token: &str) -> Listening {
    let mut listening = Listening::open(world, token).await;
    let endpoint = listening.endpoint.clone();
    let hello = initialize("hello", "2024-11-05");
    assert_eq!(
        world.tell(&endpoint, token, &hello).await,
        StatusCode::ACCEPTED
    );
    let (kind, data) = listening.event().await.unwrap();
    assert_eq!(kind, "message");
    assert!(data.contains("2024-11-05"), "{data}");
    listening
}

#[tokio::test]
async fn a_message_is_accepted_and_answered_on_the_stream() {
    let world = World::open().await;
    let mut listening = greeted(&world, "ada").await;
    let endpoint = listening.endpoint.clone();
    assert_eq!(
        world.tell(&endpoint, "ada", &call(1, "typed")).await,
        StatusCode::ACCEPTED
    );
    let (_, data) = listening.event().await.unwrap();
    let answer: Value = serde_json::from_str(&data).unwrap();
    assert_eq!(answer["id"], 1);
    assert_eq!(
        world.tell(&endpoint, "ada", " ").await,
        StatusCode::BAD_REQUEST
    );
    let page = world.client.post(&endpoint).bearer_auth("ada");
    let page = page
        .header("content-type", "text/plain")
        .body(call(2, "typed"));
    assert_eq!(
        page.send().await.unwrap().status(),
        StatusCode::UNSUPPORTED_MEDIA_TYPE
    );
}

#[tokio::test]
async fn a_session_is_nobody_elses_and_gone_when_its_stream_is() {
    let world = World::open().await;
    let listening = greeted(&world, "ada").await;
    let endpoint = listening.endpoint.clone();
    let message = call(1, "typed");
    assert_eq!(
        world.tell(&endpoint, "eve", &message).await,
        StatusCode::NOT_FOUND
    );
    let (base, _) = endpoint.split_once('?').unwrap();
    let made_up = format!("{base}?session={}", uuid::Uuid::new_v4().simple());
    for address in [made_up.as_str(), base, &format!("{base}?session=x")] {
        assert_eq!(
            world.tell(address, "ada", &message).await,
            StatusCode::NOT_FOUND
        );
    }
    let nobody = world
        .client
        .post(&endpoint)
        .header("content-type", "application/json");
    let nobody = nobody.body(message.clone()).send().await.unwrap();
    assert_eq!(nobody.status(), StatusCode::UNAUTHORIZED);
    drop(listening);
    let gone = async {
        while world.tell(&endpoint, "ada", &message).await != StatusCode::NOT_FOUND {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
}

#[tokio::test]
async fn behind_a_folder_the_endpoint_is_in_it() {
    let world = World::of(Plan {
        folder: "/mesh/",
        ..Plan::default()
    })
    .await;
    let listening = Listening::open(&world, "ada").await;
    assert!(
        listening.endpoint.contains("/mesh/messages?session="),
        "{}",
        listening.endpoint
    );
}

#[tokio::test]
async fn a_stream_ends_with_its_token_and_with_the_server() {
    let world = World::of(Plan {
        ends_at: Some(Timestamp::from_millis(1_790_000_000_300)),
        ..Plan::default()
    })
    .await;
    let mut listening = Listening::open(&world, "ada").await;
    assert_eq!(listening.event().await, None);
    let world = World::open().await;
    let mut listening = greeted(&world, "ada").await;
    let endpoint = listening.endpoint.clone();
    world.tell(&endpoint, "ada", &call(1, "stubborn")).await;
    world.running(1).await;
    world.begin.cancel();
    world.gate.add_permits(1);
    assert!(listening.event().await.unwrap().1.contains("waited"));
    assert_eq!(listening.event().await, None);
    tokio::time::timeout(PATIENCE, world.serving)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn streams_that_are_abandoned_leave_nothing_behind() {
    let world = World::of(Plan {
        streams: 1000,
        ..Plan::default()
    })
    .await;
    for _ in 0..5 {
        let mut streams = Vec::new();
        for _ in 0..40 {
            streams.push(Listening::open(&world, "ada").await);
        }
        drop(streams);
    }
    let gone = async {
        while world.http.sessions.streams() > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
}
