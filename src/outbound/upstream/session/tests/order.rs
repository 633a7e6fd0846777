//! Whatever a server answers in whatever order, no call ever gets the answer to another.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{ask, open};
use crate::mesh::upstream::{Era, UpstreamCall, UpstreamFault};
use crate::outbound::upstream::trial::{Asked, PATIENCE, Wire, call, raw};

/// What the server does with one call.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Answer,
    AnswerTwice,
    AnswerAsText,
    Refuse,
    Garbage,
    Never,
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        4 => Just(Deed::Answer),
        1 => Just(Deed::AnswerTwice),
        1 => Just(Deed::AnswerAsText),
        1 => Just(Deed::Refuse),
        1 => Just(Deed::Garbage),
        1 => Just(Deed::Never),
    ]
}

/// Calls with deeds and the order in which they are done; some callers give up on the way.
fn rounds() -> impl Strategy<Value = Vec<Vec<(Deed, u32, bool)>>> {
    let one = (deed(), any::<u32>(), prop::bool::weighted(0.2));
    prop::collection::vec(prop::collection::vec(one, 1..=4), 1..6)
}

async fn serve(mut wire: Wire, script: Vec<Vec<(Deed, u32, bool)>>) {
    for round in script {
        let mut asked = Vec::new();
        while asked.len() < round.len() {
            let next = wire.ordinary(Era::Sessions).await;
            if next.method() == "tools/call" {
                let n = next.message["params"]["arguments"]["n"].as_u64().unwrap();
                let (deed, rank, _) = round[n as usize];
                asked.push((rank, deed, next));
            }
        }
        asked.sort_by_key(|(rank, ..)| *rank);
        for (rank, deed, call) in asked {
            respond(&wire, deed, rank, &call).await;
        }
    }
    std::future::pending().await
}

async fn respond(wire: &Wire, deed: Deed, rank: u32, call: &Asked) -> bool {
    let arguments = call.message["params"]["arguments"].clone();
    let id = call.id();
    match deed {
        Deed::Answer => wire.answer(call, arguments).await,
        Deed::AnswerTwice => {
            wire.answer(call, arguments).await;
            wire.answer(call, json!({"n": "second"})).await
        }
        Deed::AnswerAsText => {
            let answer = json!({"id": id.to_string(), "result": arguments});
            wire.say(answer.to_string()).await
        }
        Deed::Refuse => wire.refuse(call, i64::from(rank)).await,
        Deed::Garbage => wire.say(json!({"id": id, "result": [1]}).to_string()).await,
        Deed::Never => true,
    }
}

async fn play(rounds: Vec<Vec<(Deed, u32, bool)>>) {
    let script = rounds.clone();
    let open = open(move |wire| serve(wire, script.clone())).await;
    for (number, round) in rounds.iter().enumerate() {
        let calls = round
            .iter()
            .enumerate()
            .map(|(n, &(deed, rank, gives_up))| {
                let open = &open;
                async move {
                    let arguments = json!({"n": n, "round": number});
                    let text = raw(&arguments);
                    let brief = matches!(deed, Deed::Never) || gives_up;
                    let time = Duration::from_millis(if brief { 15 } else { 60_000 });
                    let call = UpstreamCall {
                        timeout: time,
                        ..call("echo", Some(&text))
                    };
                    match (ask(open, call).await, deed) {
                        (Ok(result), Deed::Answer | Deed::AnswerTwice | Deed::AnswerAsText) => {
                            let result: Value = serde_json::from_str(result.get()).unwrap();
                            assert_eq!(result, arguments);
                        }
                        (Err(UpstreamFault::Refused { code, .. }), Deed::Refuse) => {
                            assert_eq!(code, i64::from(rank));
                        }
                        (Err(UpstreamFault::Garbage(_)), Deed::Garbage) => {}
                        (Err(UpstreamFault::TimedOut), _) if brief => {}
                        (other, deed) => panic!("{other:?} for {deed:?}"),
                    }
                }
            });
        futures::future::join_all(calls).await;
    }
    assert_eq!(open.session.core().calls(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_call_gets_the_answer_to_another(rounds in rounds()) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async { timeout(PATIENCE, play(rounds)).await }).unwrap();
    }
}
