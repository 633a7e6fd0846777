//! Events under idempotency keys, sent to servers that are killed, and sent again.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::Client;
use crate::server::{Start, WAIT_MAX};

/// How often a server is killed.
const KILLS: usize = 12;

/// Keys that are under way when it is killed.
const KEYS: usize = 8;

fn order(key: &str) -> Value {
    json!({"detail_type": "Order.Placed", "detail": {"key": key}, "idempotency_key": key})
}

/// Ids of the events of all orders, by key.
fn orders(client: &mut Client) -> BTreeMap<String, BTreeSet<String>> {
    let mut orders: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut arguments = json!({"detail_type": "Order.Placed", "limit": 500});
    loop {
        let page = client.ask("events_query", arguments.clone());
        for event in page["events"].as_array().expect("events") {
            let text = |value: &Value| value.as_str().expect("a text").to_owned();
            let ids = orders.entry(text(&event["detail"]["key"])).or_default();
            ids.insert(text(&event["event_id"]));
        }
        match page.get("next_cursor") {
            Some(next) => arguments["cursor"] = next.clone(),
            None => return orders,
        }
    }
}

/// Keys, and the id that was answered where one was.
type Answered = BTreeMap<String, Option<String>>;

/// One life of a server: it is asked for much at once, and killed after so many answers.
fn live(start: &Start, life: usize, answered: &mut Answered) {
    let mut client = Client::open(start);
    let mut asked = Vec::new();
    for number in 0..KEYS {
        let key = format!("{life}/{number}");
        // Each is sent twice, as clients do that lose patience.
        for _ in 0..2 {
            let params = json!({"name": "events_send", "arguments": order(&key)});
            let id = client.try_post("tools/call", params).expect("it lives");
            asked.push((key.clone(), id));
        }
    }
    let begun = client.wait_for_answers(life % KEYS);
    assert!(begun, "it ended by itself: {}", client.log());
    thread::sleep(Duration::from_micros(life as u64 * 7919 % 2000));
    client.kill();
    for (key, id) in asked {
        let told = client.try_answer(id).map(|answer| {
            let id = &answer["result"]["structuredContent"]["event_id"];
            id.as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
        });
        let known = answered.entry(key).or_default();
        assert!(known.is_none() || told.is_none() || *known == told);
        *known = told.or(known.take());
    }
}

#[test]
fn an_order_that_is_repeated_after_a_kill_is_there_once_with_the_id_that_was_answered() {
    let folder = tempfile::tempdir().unwrap();
    let start = Start::on(folder.path()).generous();
    let mut answered = Answered::new();
    for life in 0..KILLS {
        live(&start, life, &mut answered);
    }
    let unanswered = answered.values().filter(|id| id.is_none()).count();
    assert!(
        unanswered > 0 && unanswered < answered.len(),
        "{unanswered} of {} were killed before their answer",
        answered.len()
    );

    let mut client = Client::open(&start);
    let repeat = |key: &String| (key.clone(), client.post_call("events_send", order(key)));
    let repeated: Vec<_> = answered.keys().map(repeat).collect();
    for (key, id) in repeated {
        let answer = client.answer(id)["result"].clone();
        assert_eq!(answer["isError"], false, "{key}: {answer}");
        let id = answer["structuredContent"]["event_id"]
            .as_str()
            .unwrap()
            .to_owned();
        let known = answered.insert(key.clone(), Some(id.clone())).flatten();
        assert!(
            known.is_none_or(|known| known == id),
            "{key} has another id now"
        );
    }
    let expected: BTreeMap<_, _> = answered
        .into_iter()
        .map(|(key, id)| (key, BTreeSet::from_iter(id)))
        .collect();
    let end = Instant::now() + WAIT_MAX;
    loop {
        let found = orders(&mut client);
        for (key, ids) in &found {
            assert_eq!(
                *ids, expected[key],
                "{key} was recorded under another id, too"
            );
        }
        if found == expected {
            break;
        }
        assert!(
            Instant::now() < end,
            "{} of {}",
            found.len(),
            expected.len()
        );
        thread::sleep(Duration::from_millis(200));
    }
    client.finish();
}
