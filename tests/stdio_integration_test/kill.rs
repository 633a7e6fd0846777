//! `kill -9` in the middle of writes, again and again on one folder: nothing acknowledged is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Client, result_of};
use crate::server::{Start, WAIT_MAX};

/// How often the server is killed.
const KILLS: usize = 50;

/// Calls of each kind that are under way when it is killed.
const CALLS: usize = 10;

/// How long a server lives after the last answer that is waited for, at most: microseconds.
const PAUSE_MICROS_MAX: u64 = 3000;

/// Kills that must have met unanswered calls, or the test would show nothing.
const KILLS_AT_WORK_MIN: usize = 25;

/// The artifact that every life of the server overwrites once.
const SHARED: &str = "shared/document.txt";

/// What a life of the server was asked to do, and what of it was acknowledged.
#[derive(Default)]
struct Ledger {
    /// Keys of values and artifacts that were asked for, and whether they were acknowledged.
    values: BTreeMap<String, bool>,
    artifacts: BTreeMap<String, bool>,
    /// Ids of the events that were accepted.
    events: BTreeSet<String>,
    /// The last life whose write to [`SHARED`] was acknowledged.
    shared: Option<usize>,
    /// Kills that met unanswered calls.
    kills_at_work: usize,
}

/// What a call is about.
enum Asked {
    Value(String),
    Artifact(String),
    Shared,
    Event,
}

/// The content of an artifact: its own name over and over, of a size that depends on the name, so that
/// any part that is missing or another's is seen.
fn content(name: &str) -> String {
    let copies = name.bytes().map(usize::from).sum::<usize>() * 7 % 2000 + 1;
    let mut content = format!("{copies} of ");
    for number in 0..copies {
        content.push_str(&format!("{name} {number}\n"));
    }
    content
}

fn shared_content(life: usize) -> String {
    content(&format!("life {life}"))
}

/// One life: the server is started, asked for much at once, and killed after so many answers.
fn live(start: &Start, life: usize, answers_before: usize, ledger: &mut Ledger) {
    let mut client = Client::open(start);
    let mut asked = Vec::new();
    let mut post = |tool: &str, arguments: Value, what: Asked| {
        let params = json!({"name": tool, "arguments": arguments});
        let id = client.try_post("tools/call", params).expect("it lives");
        asked.push((id, what));
    };
    let put = json!({"key": SHARED, "content": shared_content(life)});
    post("artifacts_put", put, Asked::Shared);
    for call in 0..CALLS {
        let key = format!("{life}/{call}");
        let set = json!({"key": key, "value": {"life": life, "call": call}, "ttl_hours": 0});
        post("kv_set", set, Asked::Value(key.clone()));
        let put = json!({"key": key, "content": content(&key)});
        post("artifacts_put", put, Asked::Artifact(key));
        let send = json!({"detail_type": "Kill.Sent", "detail": {"life": life, "call": call}});
        post("events_send", send, Asked::Event);
    }
    let begun = client.wait_for_answers(answers_before);
    assert!(begun, "it ended by itself: {}", client.log());
    thread::sleep(Duration::from_micros(
        (life as u64 * 7919) % PAUSE_MICROS_MAX,
    ));
    client.kill();

    // What is in the pipe has been acknowledged, whether we have read it or not.
    let mut unanswered = 0;
    for (id, what) in asked {
        let answer = client.try_answer(id);
        let done = answer
            .as_ref()
            .is_some_and(|answer| answer["result"]["isError"] == false);
        assert!(done || answer.is_none(), "{answer:?}");
        unanswered += usize::from(!done);
        match what {
            Asked::Value(key) => drop(ledger.values.insert(key, done)),
            Asked::Artifact(key) => drop(ledger.artifacts.insert(key, done)),
            Asked::Shared if done => ledger.shared = Some(life),
            Asked::Event if done => {
                let id =
                    answer.expect("it is done")["result"]["structuredContent"]["event_id"].clone();
                ledger.events.insert(id.as_str().expect("an id").to_owned());
            }
            Asked::Shared | Asked::Event => {}
        }
    }
    ledger.kills_at_work += usize::from(unanswered > 0);
}

/// Where an artifact is to be read as a resource.
fn address(key: &str) -> Value {
    json!({"uri": format!("mesh://artifacts/user/{key}")})
}

/// The text of a resource; `None` where there is none.
fn text_of(answer: &Value) -> Option<String> {
    let text = answer["result"]["contents"][0]["text"].as_str();
    assert!(text.is_some() || answer.get("error").is_some(), "{answer}");
    text.map(str::to_owned)
}

fn check_values(client: &mut Client, ledger: &Ledger) {
    let ask = |key: &String| {
        let get = json!({"key": key, "consistent": true});
        (key.clone(), client.post_call("kv_get", get))
    };
    let asked: Vec<(String, u64)> = ledger.values.keys().map(ask).collect();
    for (key, id) in asked {
        let found = result_of(client.answer(id))["structuredContent"].clone();
        if found["found"] == true {
            let value = &found["value"];
            assert_eq!(format!("{}/{}", value["life"], value["call"]), key);
        } else {
            assert!(
                !ledger.values[&key],
                "the value {key} was acknowledged and is lost"
            );
        }
    }
}

fn check_artifacts(client: &mut Client, ledger: &Ledger) {
    let ask = |key: &String| (key.clone(), client.post("resources/read", address(key)));
    let asked: Vec<(String, u64)> = ledger.artifacts.keys().map(ask).collect();
    let mut there = 0;
    for (key, id) in asked {
        match text_of(&client.answer(id)) {
            Some(found) => {
                assert_eq!(found, content(&key), "the artifact {key} is torn");
                there += 1;
            }
            None => {
                assert!(
                    !ledger.artifacts[&key],
                    "the artifact {key} was acknowledged and is lost"
                );
            }
        }
    }
    // What is listed is what is there.
    let (mut listed, mut cursor) = (0, json!({"limit": 1000}));
    loop {
        let page = client.ask("artifacts_list", cursor);
        let items = page["items"].as_array().expect("items");
        listed += items.iter().filter(|item| item["key"] != SHARED).count();
        let Some(next) = page.get("next_cursor") else {
            break;
        };
        cursor = json!({"limit": 1000, "cursor": next});
    }
    assert_eq!(listed, there, "listed and readable artifacts differ");
}

/// The shared document is whole, and not older than what was acknowledged last.
fn check_shared(client: &mut Client, ledger: &Ledger) {
    let oldest = ledger.shared.unwrap_or(0);
    let found = text_of(&client.request("resources/read", address(SHARED)));
    let life = (oldest..KILLS).find(|&life| found.as_deref() == Some(&shared_content(life)));
    assert!(
        life.is_some() || ledger.shared.is_none(),
        "the shared document is torn or old: {found:?}"
    );
}

#[test]
fn nothing_acknowledged_is_lost_when_the_server_is_killed_fifty_times() {
    let folder = tempfile::tempdir().unwrap();
    let start = Start::on(folder.path()).generous();
    let mut ledger = Ledger::default();
    for life in 0..KILLS {
        live(&start, life, life * 7 % (CALLS * 3), &mut ledger);
    }
    let acknowledged = ledger.values.values().filter(|done| **done).count();
    assert!(
        acknowledged >= KILLS,
        "only {acknowledged} values were acknowledged"
    );
    let at_work = ledger.kills_at_work;
    assert!(
        at_work >= KILLS_AT_WORK_MIN,
        "only {at_work} kills met the server at work"
    );

    let mut client = Client::open(&start);
    check_values(&mut client, &ledger);
    check_artifacts(&mut client, &ledger);
    check_shared(&mut client, &ledger);
    check_events(&mut client, &ledger);
    // It works on.
    client.ask("kv_set", json!({"key": "after", "value": 1}));
    client.finish();
}

/// Events that fit `filter`, from all pages.
fn query(client: &mut Client, filter: &Value) -> Vec<Value> {
    let mut events = Vec::new();
    let mut arguments = filter.clone();
    loop {
        let page = client.ask("events_query", arguments.clone());
        events.extend(page["events"].as_array().expect("events").iter().cloned());
        match page.get("next_cursor") {
            Some(next) => arguments["cursor"] = next.clone(),
            None => return events,
        }
    }
}

/// The outboxes of all the lives have been adopted and published: accepted events and acknowledged calls
/// have their events, and a call that was killed in between is there as one of unknown outcome.
fn check_events(client: &mut Client, ledger: &Ledger) {
    let end = Instant::now() + WAIT_MAX;
    loop {
        let sent = query(client, &json!({"detail_type": "Kill.Sent", "limit": 500}));
        let found: BTreeSet<String> = sent
            .iter()
            .map(|event| event["event_id"].as_str().expect("an id").to_owned())
            .collect();
        assert_eq!(found.len(), sent.len(), "an event is there twice");
        let missing = ledger.events.difference(&found).count();
        if missing == 0 {
            break;
        }
        assert!(
            Instant::now() < end,
            "{missing} of {} events are lost",
            ledger.events.len()
        );
        thread::sleep(Duration::from_millis(200));
    }
    for (tool, asked) in [
        ("kv_set", &ledger.values),
        ("artifacts_put", &ledger.artifacts),
    ] {
        let of = |outcome: &str, client: &mut Client| -> BTreeSet<String> {
            let events = query(
                client,
                &json!({"tool": tool, "outcome": outcome, "limit": 500}),
            );
            let key = |event: &Value| event["detail"]["key"].as_str().expect("a key").to_owned();
            events.iter().map(key).filter(|key| key != SHARED).collect()
        };
        let (done, unknown) = (of("ok", client), of("unknown", client));
        for (key, &acknowledged) in asked {
            assert!(
                done.contains(key) || !acknowledged,
                "the event of {tool} {key} is lost"
            );
            assert!(
                !(acknowledged && unknown.contains(key)),
                "{tool} {key} is known to be done"
            );
        }
        for key in done.union(&unknown) {
            assert!(asked.contains_key(key), "{tool} {key} was never asked for");
        }
        assert!(
            done.is_disjoint(&unknown),
            "an outcome is both known and unknown"
        );
        assert!(
            !unknown.is_empty(),
            "no {tool} was killed between its intent and its outcome"
        );
    }
}
