//! A session against servers in memory: what is asked, what comes back, and what a hostile one cannot do.

mod listing;
mod order;

use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::incoming::GARBAGE_MAX;
use crate::mesh::upstream::{ConnectionPlan, Era, UpstreamCall, UpstreamFault};
use crate::mesh::{Error, ErrorKind};
use crate::outbound::upstream::handshake::{Established, establish};
use crate::outbound::upstream::link::Incoming;
use crate::outbound::upstream::pool::settings::PoolSettings;
use crate::outbound::upstream::trial::{PATIENCE, Trial, Wire, call, plan, raw};

fn settings() -> PoolSettings {
    PoolSettings {
        calls_max: 4,
        discover_wait: Duration::from_millis(100),
        ..PoolSettings::default()
    }
}

async fn established(links: &Arc<Trial>, plan: &ConnectionPlan) -> Result<Established, Error> {
    let (settings, mut latest) = (settings(), None);
    let attempt = establish(&**links, plan, &settings, &mut latest);
    timeout(PATIENCE, attempt).await.unwrap()
}

async fn open<F: Future<Output = ()> + Send + 'static>(
    script: impl Fn(Wire) -> F + Send + Sync + 'static,
) -> Established {
    established(&Trial::new(script), &plan("ann", "1"))
        .await
        .unwrap()
}

async fn ask(open: &Established, call: UpstreamCall<'_>) -> Result<Box<RawValue>, UpstreamFault> {
    let core = open.session.core();
    timeout(PATIENCE, core.call(call)).await.unwrap()
}

fn is_lost(answer: &Result<Box<RawValue>, UpstreamFault>) -> bool {
    matches!(answer, Err(UpstreamFault::Lost(_)))
}

#[tokio::test]
async fn a_result_comes_back_as_it_was_written_and_a_call_goes_out_as_it_was_asked() {
    let written = r#"{"content": [ {"type":"new","n":1.10} ],"isError" : false}"#;
    let open = open(move |mut wire| async move {
        let asked = wire.ordinary(Era::Sessions).await;
        let params = &asked.message["params"];
        assert_eq!(params["arguments"], json!({"a": [1, "x\ny"]}));
        assert_eq!(params["requestState"], "s");
        assert_eq!(params["name"], "echo");
        assert_eq!(
            params["_meta"]["traceparent"],
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        );
        wire.say(format!(
            r#"{{"jsonrpc":"2.0","id":{},"result":{written}}}"#,
            asked.id()
        ))
        .await;
        std::future::pending().await
    })
    .await;
    let (arguments, continued) = (
        raw(&json!({"a": [1, "x\ny"]})),
        raw(&json!({"requestState": "s", "name": "other"})),
    );
    let answer = ask(
        &open,
        UpstreamCall {
            continued: Some(&continued),
            trace: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
                .parse()
                .ok(),
            ..call("echo", Some(&arguments))
        },
    );
    assert_eq!(answer.await.unwrap().get(), written);
}

#[tokio::test]
async fn a_server_of_either_era_is_found_out_and_remembered_rightly_or_wrongly() {
    for (serves, remembered) in [
        (Era::Sessions, None),
        (Era::Sessions, Some(Era::Sessions)),
        (Era::Sessions, Some(Era::Stateless)),
        (Era::Stateless, None),
        (Era::Stateless, Some(Era::Sessions)),
        (Era::Stateless, Some(Era::Stateless)),
    ] {
        let links = Trial::new(move |wire| wire.echo(serves));
        let plan = ConnectionPlan {
            era: remembered,
            ..plan("ann", "1")
        };
        let open = established(&links, &plan).await.unwrap();
        assert_eq!(open.identity.era, serves, "{remembered:?}");
        assert_eq!(open.identity.name, "trial");
        let arguments = raw(&json!({"x": 1}));
        let answer = ask(&open, call("echo", Some(&arguments))).await.unwrap();
        assert_eq!(answer.get(), arguments.get());
        open.session.core().ping().await.unwrap();
        assert_eq!(links.opened(), 1);
    }
}

#[tokio::test]
async fn an_old_server_that_is_silent_or_ends_when_it_is_discovered_is_greeted_as_it_wants() {
    for ends in [false, true] {
        let links = Trial::new(move |mut wire| async move {
            let first = wire.next().await;
            if first.method() == "server/discover" && ends {
                wire.tell(Incoming::Closed(Error::new(
                    ErrorKind::UpstreamUnavailable,
                    "gone",
                )))
                .await;
                return;
            }
            if first.method() == "initialize" {
                wire.answer(&first, crate::outbound::upstream::trial::initialized())
                    .await;
            }
            wire.echo(Era::Sessions).await;
        });
        let plan = ConnectionPlan {
            era: None,
            ..plan("ann", "1")
        };
        let open = established(&links, &plan).await.unwrap();
        assert_eq!(open.identity.protocol_version, "2025-06-18");
        assert_eq!(links.opened(), 1 + usize::from(ends));
        drop(open);
        links.left(0).await;
    }
}

#[tokio::test]
async fn a_new_server_that_starts_slowly_is_taken_for_what_it_is() {
    let links = Trial::new(|mut wire| async move {
        // It reads nothing until both handshakes lie before it.
        let discover = wire.next().await;
        let initialize = wire.next().await;
        let found = crate::outbound::upstream::trial::discovered();
        wire.answer(&discover, found).await;
        wire.refuse(&initialize, -32601).await;
        wire.echo(Era::Stateless).await;
    });
    let plan = ConnectionPlan {
        era: None,
        ..plan("ann", "1")
    };
    let open = established(&links, &plan).await.unwrap();
    assert_eq!(open.identity.era, Era::Stateless);
    assert_eq!(
        ask(&open, call("echo", Some(&raw(&json!({})))))
            .await
            .unwrap()
            .get(),
        "{}"
    );
}

#[tokio::test]
async fn a_revision_that_nobody_knows_is_refused_and_shown_escaped() {
    let links = Trial::new(|mut wire| async move {
        let asked = wire.next().await;
        let told = json!({"protocolVersion": "\u{202e}2099", "capabilities": {}});
        wire.answer(&asked, told).await;
        wire.echo(Era::Sessions).await;
    });
    let error = established(&links, &plan("ann", "1")).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::UpstreamError);
    assert!(error.message().contains("\\u{202e}2099"), "{error}");
    links.left(0).await;
}

#[tokio::test]
async fn what_is_no_answer_fails_the_call_it_is_for_and_no_other() {
    let open = open(|mut wire| async move {
        let first = wire.ordinary(Era::Sessions).await;
        let second = wire.ordinary(Era::Sessions).await;
        let third = wire.ordinary(Era::Sessions).await;
        wire.say("Listening on stdio").await;
        wire.say(format!(r#"{{"id":{}}}"#, first.id())).await;
        wire.say(r#"{"id":999999,"result":{}}"#).await;
        wire.refuse(&third, -32000).await;
        // Twice: the second answer is nobody's.
        for n in [1, 2] {
            wire.answer(&second, json!({"n": n})).await;
        }
        wire.echo(Era::Sessions).await;
    })
    .await;
    let (first, second, third) = tokio::join!(
        ask(&open, call("echo", None)),
        ask(&open, call("echo", None)),
        ask(&open, call("echo", None)),
    );
    assert!(matches!(first, Err(UpstreamFault::Garbage(_))), "{first:?}");
    assert_eq!(second.unwrap().get(), r#"{"n":1}"#);
    assert!(matches!(
        third,
        Err(UpstreamFault::Refused { code: -32000, .. })
    ));
    let again = ask(&open, call("echo", Some(&raw(&json!({"n": 3}))))).await;
    assert_eq!(again.unwrap().get(), r#"{"n":3}"#);
}

#[tokio::test]
async fn a_server_that_says_nothing_but_garbage_is_given_up_at_the_bound() {
    for (lines, is_given_up) in [(GARBAGE_MAX, false), (GARBAGE_MAX + 1, true)] {
        let open = open(move |mut wire| async move {
            let asked = wire.ordinary(Era::Sessions).await;
            for _ in 0..lines {
                wire.say("% not json").await;
            }
            wire.answer(&asked, json!({})).await;
            wire.echo(Era::Sessions).await;
        })
        .await;
        let answer = ask(&open, call("echo", None)).await;
        assert_eq!(is_lost(&answer), is_given_up, "{answer:?}");
        let next = ask(&open, call("echo", Some(&raw(&json!({}))))).await;
        assert_eq!(
            matches!(next, Err(UpstreamFault::NotSent(_))),
            is_given_up,
            "{next:?}"
        );
    }
}

#[tokio::test]
async fn a_call_whose_server_ends_is_lost_and_the_next_is_not_sent() {
    let open = open(|mut wire| async move {
        wire.ordinary(Era::Sessions).await;
    })
    .await;
    assert!(is_lost(&ask(&open, call("echo", None)).await));
    let next = ask(&open, call("echo", None)).await;
    assert!(matches!(next, Err(UpstreamFault::NotSent(_))), "{next:?}");
    let tools = open.session.core().current_tools().await.unwrap();
    assert_eq!(tools[0].name, "echo");
}

#[tokio::test]
async fn what_the_link_says_of_a_call_tells_what_became_of_it() {
    let open = open(|mut wire| async move {
        for (not_sent, kind) in [
            (true, ErrorKind::UpstreamUnavailable),
            (false, ErrorKind::UpstreamUnavailable),
            (false, ErrorKind::TooLarge),
        ] {
            let asked = wire.ordinary(Era::Sessions).await;
            let failed = Incoming::Failed {
                request_id: asked.id(),
                not_sent,
                error: Error::new(kind, "the link says so"),
            };
            wire.tell(failed).await;
        }
        std::future::pending().await
    })
    .await;
    let not_sent = ask(&open, call("echo", None)).await;
    assert!(
        matches!(not_sent, Err(UpstreamFault::NotSent(_))),
        "{not_sent:?}"
    );
    assert!(is_lost(&ask(&open, call("echo", None)).await));
    let too_large = ask(&open, call("echo", None)).await;
    assert!(
        matches!(too_large, Err(UpstreamFault::Garbage(_))),
        "{too_large:?}"
    );
}

#[tokio::test]
async fn a_call_that_is_given_up_is_cancelled_at_the_server_and_its_late_answer_is_nobodys() {
    let (seen, mut cancels) = mpsc::channel(8);
    let open = open(move |mut wire| {
        let seen = seen.clone();
        async move {
            let mut given_up = Vec::new();
            for _ in 0..3 {
                let asked = wire.ordinary(Era::Sessions).await;
                let told = wire.next_of("notifications/cancelled").await;
                let is_it = told.message["params"]["requestId"] == asked.message["id"];
                seen.send(is_it).await.unwrap();
                given_up.push(asked);
            }
            for asked in &given_up {
                wire.answer(asked, json!({"late": true})).await;
            }
            wire.echo(Era::Sessions).await;
        }
    })
    .await;
    let brief = UpstreamCall {
        timeout: Duration::from_millis(20),
        ..call("echo", None)
    };
    assert!(matches!(
        ask(&open, brief).await,
        Err(UpstreamFault::TimedOut)
    ));
    assert!(timeout(PATIENCE, cancels.recv()).await.unwrap().unwrap());

    let cancelled = call("echo", None);
    let token = cancelled.cancelled.clone();
    let (answer, ()) = tokio::join!(ask(&open, cancelled), async {
        tokio::task::yield_now().await;
        token.cancel();
    });
    assert!(
        matches!(answer, Err(UpstreamFault::Cancelled)),
        "{answer:?}"
    );
    assert!(timeout(PATIENCE, cancels.recv()).await.unwrap().unwrap());

    let core = open.session.core();
    // Dropped by its caller while it waits.
    let _ = timeout(Duration::from_millis(20), core.call(call("echo", None))).await;
    assert!(timeout(PATIENCE, cancels.recv()).await.unwrap().unwrap());
    assert_eq!(core.calls(), 0);
    let next = ask(&open, call("echo", Some(&raw(&json!({"n": 1}))))).await;
    assert_eq!(next.unwrap().get(), r#"{"n":1}"#);
}

#[tokio::test]
async fn one_call_more_than_may_be_in_flight_is_not_sent() {
    let open = open(|mut wire| async move {
        let mut asked = Vec::new();
        for _ in 0..4 {
            asked.push(wire.ordinary(Era::Sessions).await);
        }
        wire.ordinary(Era::Sessions).await;
        for asked in &asked {
            wire.answer(asked, json!({})).await;
        }
        std::future::pending().await
    })
    .await;
    let core = open.session.core();
    let four = futures::future::join_all((0..4).map(|_| ask(&open, call("echo", None))));
    let (answers, ()) = tokio::join!(four, async {
        let fifth = ask(&open, call("echo", None)).await;
        let Err(UpstreamFault::NotSent(error)) = fifth else {
            panic!("{fifth:?}");
        };
        assert_eq!(error.kind(), ErrorKind::Overloaded);
        core.run(super::Errand::tell("go/on", "{}"));
    });
    assert!(answers.iter().all(Result::is_ok));
}

#[tokio::test]
async fn progress_reaches_its_call_alone_and_a_flood_of_it_is_dropped() {
    let open = open(|mut wire| async move {
        let asked = wire.ordinary(Era::Sessions).await;
        let token = asked.message["params"]["_meta"]["progressToken"].clone();
        for n in 0..10_000 {
            let progress =
                json!({"progressToken": token, "progress": n, "total": 10_000, "message": "m"});
            wire.say(json!({"method": "notifications/progress", "params": progress}).to_string())
                .await;
        }
        let other = json!({"progressToken": 777, "progress": 1});
        wire.say(json!({"method": "notifications/progress", "params": other}).to_string())
            .await;
        wire.answer(&asked, json!({})).await;
        std::future::pending().await
    })
    .await;
    let (progress, mut told) = mpsc::channel(4);
    let wanted = UpstreamCall {
        progress: Some(progress),
        ..call("echo", None)
    };
    ask(&open, wanted).await.unwrap();
    let mut seen = Vec::new();
    while let Some(progress) = told.recv().await {
        assert_eq!(
            (progress.total, progress.message.as_str()),
            (Some(10_000.0), "m")
        );
        seen.push(progress.done);
    }
    assert_eq!(seen, [0.0, 1.0, 2.0, 3.0]);
}

#[tokio::test]
async fn a_request_for_input_reaches_the_caller_and_its_answer_the_server() {
    let (seen, mut replies) = mpsc::channel::<Value>(8);
    let open = open(move |mut wire| {
        let seen = seen.clone();
        async move {
            let asked = wire.ordinary(Era::Sessions).await;
            let ask = |id: &str, method: &str| {
                json!({"jsonrpc": "2.0", "id": id, "method": method, "params": {"k": 1}})
                    .to_string()
            };
            for (id, method) in [
                ("q1", "elicitation/create"),
                ("q2", "sampling/createMessage"),
                ("q3", "server/unknown"),
                ("q4", "ping"),
            ] {
                wire.say(ask(id, method)).await;
                seen.send(wire.next().await.message).await.unwrap();
            }
            wire.answer(&asked, json!({})).await;
            let asked = wire.ordinary(Era::Sessions).await;
            for method in ["elicitation/create", "sampling/createMessage", "roots/list"] {
                wire.say(ask("q5", method)).await;
                seen.send(wire.next().await.message).await.unwrap();
            }
            wire.answer(&asked, json!({})).await;
            std::future::pending().await
        }
    })
    .await;
    let (input, mut asked) = mpsc::channel(4);
    let can_take = UpstreamCall {
        input: Some(input),
        ..call("echo", None)
    };
    let (answer, ()) = tokio::join!(ask(&open, can_take), async {
        let first = asked.recv().await.unwrap();
        assert_eq!(
            (first.method.as_str(), first.params.unwrap().get()),
            ("elicitation/create", r#"{"k":1}"#)
        );
        first
            .answer
            .send(raw(&json!({"action": "accept"})))
            .unwrap();
        drop(asked.recv().await.unwrap());
    });
    answer.unwrap();
    let mut next = async || timeout(PATIENCE, replies.recv()).await.unwrap().unwrap();
    assert_eq!(
        next().await,
        json!({"jsonrpc": "2.0", "id": "q1", "result": {"action": "accept"}})
    );
    assert_eq!(next().await["error"]["code"], -1);
    assert_eq!(next().await["error"]["code"], -32601);
    assert_eq!(next().await["result"], json!({}));
    ask(&open, call("echo", None)).await.unwrap();
    assert_eq!(next().await["result"], json!({"action": "cancel"}));
    assert_eq!(next().await["error"]["code"], -32601);
    assert_eq!(next().await["result"], json!({"roots": []}));
}

#[tokio::test]
async fn a_flood_of_requests_for_input_is_refused_beyond_its_bound() {
    use super::errand::INPUTS_MAX;
    let (seen, mut replies) = mpsc::channel(64);
    let open = open(move |mut wire| {
        let seen = seen.clone();
        async move {
            wire.ordinary(Era::Sessions).await;
            for n in 0..=INPUTS_MAX {
                let ask = json!({"id": n, "method": "sampling/createMessage"});
                wire.say(ask.to_string()).await;
            }
            seen.send(wire.next().await.message).await.unwrap();
            // It takes one back, and then has room for one more.
            let cancelled =
                json!({"method": "notifications/cancelled", "params": {"requestId": 0}});
            wire.say(cancelled.to_string()).await;
            wire.say(json!({"id": "last", "method": "roots/list"}).to_string())
                .await;
            seen.send(wire.next().await.message).await.unwrap();
            std::future::pending().await
        }
    })
    .await;
    let (input, mut asked) = mpsc::channel(64);
    let can_take = UpstreamCall {
        input: Some(input),
        ..call("echo", None)
    };
    let core = open.session.core().clone();
    let calling = core.call(can_take);
    tokio::pin!(calling);
    let watching = async {
        let refused = timeout(PATIENCE, replies.recv()).await.unwrap().unwrap();
        assert_eq!(refused["id"], INPUTS_MAX);
        assert!(refused["error"].is_object());
        let mut held = Vec::new();
        while let Some(input) = asked.recv().await {
            if input.method == "roots/list" {
                input.answer.send(raw(&json!({"roots": [1]}))).unwrap();
                break;
            }
            held.push(input);
        }
        let answered = timeout(PATIENCE, replies.recv()).await.unwrap().unwrap();
        assert_eq!(answered["result"], json!({"roots": [1]}));
    };
    tokio::select! {
        answer = &mut calling => panic!("{answer:?}"),
        () = watching => {}
    }
}

#[tokio::test]
async fn a_huge_result_is_carried_whole() {
    let open = open(|mut wire| async move {
        let asked = wire.ordinary(Era::Sessions).await;
        wire.answer(&asked, json!({"x": "y".repeat(8 << 20)})).await;
        std::future::pending().await
    })
    .await;
    let answer = ask(&open, call("echo", None)).await.unwrap();
    assert_eq!(answer.get().len(), (8 << 20) + r#"{"x":""}"#.len());
}

#[tokio::test]
async fn a_request_for_input_on_the_stream_of_a_call_is_that_calls() {
    let open = open(|mut wire| async move {
        let first = wire.ordinary(Era::Sessions).await;
        let second = wire.ordinary(Era::Sessions).await;
        let ask = json!({"id": "q", "method": "roots/list"}).to_string();
        let related = Incoming::Related {
            request_id: first.id(),
            text: ask,
        };
        wire.tell(related).await;
        let reply = wire.next().await.message;
        wire.answer(&first, reply["result"].clone()).await;
        wire.answer(&second, json!({})).await;
        std::future::pending().await
    })
    .await;
    let asking = |input| UpstreamCall {
        input: Some(input),
        ..call("echo", None)
    };
    let ((first, mut of_first), (second, mut of_second)) = (mpsc::channel(1), mpsc::channel(1));
    let (result, _, ()) = tokio::join!(
        ask(&open, asking(first)),
        ask(&open, asking(second)),
        async {
            let asked = of_first.recv().await.unwrap();
            asked.answer.send(raw(&json!({"roots": [1]}))).unwrap();
        }
    );
    assert_eq!(result.unwrap().get(), r#"{"roots":[1]}"#);
    assert!(of_second.recv().await.is_none());
}

#[tokio::test]
async fn a_flood_of_notifications_keeps_no_call_from_its_answer() {
    let open = open(|mut wire| async move {
        let flood = json!({"method": "notifications/message", "params": {"x": "y".repeat(100)}});
        let flood = flood.to_string();
        loop {
            let asked = wire.ordinary(Era::Sessions).await;
            for _ in 0..20_000 {
                wire.say(flood.as_str()).await;
            }
            wire.answer(&asked, json!({})).await;
        }
    })
    .await;
    for _ in 0..2 {
        assert!(ask(&open, call("echo", None)).await.is_ok());
    }
}
