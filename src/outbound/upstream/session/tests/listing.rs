//! Lists of tools: in pages, within bounds, and listed anew when the server says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use secrecy::SecretString;
use serde_json::json;
use tokio::time::timeout;

use super::{established, open};
use crate::mesh::upstream::{ConnectionPlan, ConnectionSecrets, Era, TOOLS_MAX};
use crate::mesh::{Error, ErrorKind};
use crate::outbound::upstream::handshake::Established;
use crate::outbound::upstream::session::tools::PAGES_MAX;
use crate::outbound::upstream::trial::{
    PATIENCE, Trial, Wire, discovered, initialized, plan, tool,
};

async fn refusal<F: Future<Output = ()> + Send + 'static>(
    script: impl Fn(Wire) -> F + Send + Sync + 'static,
) -> Error {
    let links = Trial::new(script);
    let refused = established(&links, &plan("ann", "1")).await.err().unwrap();
    links.left(0).await;
    refused
}

async fn greeted(wire: &mut Wire) {
    let asked = wire.next_of("initialize").await;
    wire.answer(&asked, initialized()).await;
    wire.next_of("notifications/initialized").await;
}

async fn names(open: &Established) -> Vec<String> {
    let tools = open.session.core().current_tools();
    let tools = timeout(PATIENCE, tools).await.unwrap().unwrap();
    tools.iter().map(|tool| tool.name.clone()).collect()
}

#[tokio::test]
async fn all_pages_are_read_and_what_has_no_name_or_a_second_one_is_left_out() {
    let open = open(|mut wire| async move {
        greeted(&mut wire).await;
        let first = wire.next_of("tools/list").await;
        assert!(first.message["params"].get("cursor").is_none());
        let page = json!([tool("a"), {"x": 1}, tool("b"), 7, tool("a")]);
        wire.answer(&first, json!({"tools": page, "nextCursor": "n\"1"}))
            .await;
        let second = wire.next_of("tools/list").await;
        assert_eq!(second.message["params"]["cursor"], "n\"1");
        wire.answer(&second, json!({"tools": [tool("c")], "nextCursor": ""}))
            .await;
        wire.echo(Era::Sessions).await;
    })
    .await;
    assert_eq!(names(&open).await, ["a", "b", "c"]);
    let tools = open.session.core().current_tools().await.unwrap();
    assert_eq!(tools[2].definition.get(), tool("c").to_string());
    assert_eq!(open.session.core().tools.generation(), 1);
}

#[tokio::test]
async fn what_a_server_was_given_stands_in_no_definition_which_others_see_too() {
    let links = Trial::new(|mut wire| async move {
        greeted(&mut wire).await;
        let asked = wire.next_of("tools/list").await;
        let mut telling = tool("a");
        telling["description"] = json!("with a canary\"-7f3a");
        telling["n"] = json!(1.5);
        let named = tool("canary\"-7f3a");
        wire.answer(&asked, json!({"tools": [telling, named]}))
            .await;
        wire.echo(Era::Sessions).await;
    });
    let secret = SecretString::from("canary\"-7f3a");
    let plan = ConnectionPlan {
        secrets: ConnectionSecrets::new([&secret]),
        ..plan("ann", "1")
    };
    let open = established(&links, &plan).await.unwrap();
    assert_eq!(names(&open).await, ["a", "[secret]"]);
    let tools = open.session.core().current_tools().await.unwrap();
    let mut shown = tool("a");
    shown["description"] = json!("with a [secret]");
    shown["n"] = json!(1.5);
    assert_eq!(tools[0].definition.get(), shown.to_string());
}

#[tokio::test]
async fn a_server_without_tools_has_none_and_one_that_lists_something_else_is_refused() {
    let open = open(|mut wire| async move {
        greeted(&mut wire).await;
        let asked = wire.next_of("tools/list").await;
        wire.refuse(&asked, -32601).await;
        wire.echo(Era::Sessions).await;
    })
    .await;
    assert!(names(&open).await.is_empty());
    for wrong in [json!({}), json!({"tools": {}}), json!({"tools": null})] {
        let error = refusal(move |mut wire| {
            let wrong = wrong.clone();
            async move {
                greeted(&mut wire).await;
                let asked = wire.next_of("tools/list").await;
                wire.answer(&asked, wrong).await;
                std::future::pending().await
            }
        });
        assert_eq!(error.await.kind(), ErrorKind::UpstreamError);
    }
}

#[tokio::test]
async fn lists_that_do_not_end_are_given_up() {
    let pages = Arc::new(AtomicUsize::new(0));
    let counted = pages.clone();
    let endless = refusal(move |mut wire| {
        let counted = counted.clone();
        async move {
            greeted(&mut wire).await;
            loop {
                let asked = wire.next_of("tools/list").await;
                counted.fetch_add(1, Ordering::SeqCst);
                wire.answer(&asked, json!({"tools": [], "nextCursor": "same"}))
                    .await;
            }
        }
    });
    assert_eq!(endless.await.kind(), ErrorKind::UpstreamError);
    assert_eq!(pages.load(Ordering::SeqCst), PAGES_MAX);
}

#[tokio::test]
async fn as_many_tools_as_may_be_are_taken_and_one_more_is_not() {
    let with = |count: usize| {
        move |mut wire: Wire| async move {
            greeted(&mut wire).await;
            let asked = wire.next_of("tools/list").await;
            let tools: Vec<_> = (0..count).map(|n| tool(&format!("t{n}"))).collect();
            wire.answer(&asked, json!({"tools": tools})).await;
            wire.echo(Era::Sessions).await;
        }
    };
    assert_eq!(names(&open(with(TOOLS_MAX)).await).await.len(), TOOLS_MAX);
    assert_eq!(
        refusal(with(TOOLS_MAX + 1)).await.kind(),
        ErrorKind::UpstreamError
    );
}

/// A server whose list grows by one tool each time, and which says `storm` times that it changed.
async fn changing(mut wire: Wire, era: Era, storm: usize, lists: Arc<AtomicUsize>) {
    let changed = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
    loop {
        let asked = wire.next().await;
        match (asked.method(), era) {
            ("initialize", Era::Sessions) => wire.answer(&asked, initialized()).await,
            ("server/discover", Era::Stateless) => wire.answer(&asked, discovered()).await,
            ("tools/list", _) => {
                let count = lists.fetch_add(1, Ordering::SeqCst) + 1;
                let tools: Vec<_> = (0..count).map(|n| tool(&format!("t{n}"))).collect();
                let is_heard = wire
                    .answer(&asked, json!({"tools": tools, "ttlMs": 0}))
                    .await;
                if count == 1 && era == Era::Sessions {
                    for _ in 0..storm {
                        wire.say(changed).await;
                    }
                }
                is_heard
            }
            ("subscriptions/listen", Era::Stateless) => {
                assert_eq!(
                    asked.message["params"]["notifications"],
                    json!({"toolsListChanged": true})
                );
                assert!(asked.message["params"]["_meta"].is_object());
                wire.say(r#"{"method":"notifications/subscriptions/acknowledged"}"#)
                    .await;
                for _ in 0..storm {
                    wire.say(changed).await;
                }
                true
            }
            _ => true,
        };
    }
}

#[tokio::test]
async fn tools_that_changed_are_listed_anew_in_both_eras_and_a_storm_is_one_change() {
    for era in [Era::Sessions, Era::Stateless] {
        let lists = Arc::new(AtomicUsize::new(0));
        let counted = lists.clone();
        let links = Trial::new(move |wire| changing(wire, era, 2000, counted.clone()));
        let plan = ConnectionPlan {
            era: Some(era),
            ..plan("ann", "1")
        };
        let open = established(&links, &plan).await.unwrap();
        let core = open.session.core();
        let listed = async {
            while core.tools.generation() < 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, listed).await.unwrap();
        assert!(names(&open).await.len() >= 2, "{era:?}");
        // At most one listing a second, however long this machine took for the storm.
        assert!(lists.load(Ordering::SeqCst) < 100);
    }
}
