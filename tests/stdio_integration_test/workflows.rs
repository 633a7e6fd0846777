//! Workflows started under idempotency keys by servers that are killed, and watched to their ends by the next.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::client::Client;
use crate::server::{Start, WAIT_MAX, within};

/// How often a server is killed.
const KILLS: usize = 12;

/// Runs that are under way when it is killed.
const RUNS: usize = 4;

/// Stores a value, rests for a second and stores another one.
const MACHINE: &str = r#"{"StartAt": "Before", "States": {
    "Before": {"Type": "Task", "Resource": "arn:aws:states:::agent-mesh:kv_set",
        "Parameters": {"key.$": "States.Format('before/{}', $.input.key)", "value": 1},
        "ResultPath": null, "Next": "Rest"},
    "Rest": {"Type": "Wait", "Seconds": 1, "Next": "After"},
    "After": {"Type": "Task", "Resource": "arn:aws:states:::agent-mesh:kv_set",
        "Parameters": {"key.$": "States.Format('after/{}', $.input.key)", "value": 1},
        "ResultPath": null, "End": true}}}"#;

fn order(key: &str) -> Value {
    json!({"name": "order", "input": {"key": key}, "idempotency_key": key})
}

fn run_of(answer: &Value) -> String {
    let id = &answer["structuredContent"]["run_id"];
    id.as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

/// Keys, and the run that was answered where one was.
type Answered = BTreeMap<String, Option<String>>;

/// One life of a server: it is asked for runs, and killed after so many answers.
fn live(start: &Start, life: usize, answered: &mut Answered) {
    let mut client = Client::open(start);
    let mut asked = Vec::new();
    for number in 0..RUNS {
        let key = format!("{life}-{number}");
        // Each is sent twice, as clients do that lose patience.
        for _ in 0..2 {
            let params = json!({"name": "workflow_start", "arguments": order(&key)});
            let id = client.try_post("tools/call", params).expect("it lives");
            asked.push((key.clone(), id));
        }
    }
    let begun = client.wait_for_answers(life % RUNS);
    assert!(begun, "it ended by itself: {}", client.log());
    // Long enough that runs of earlier lives end while this one is killed.
    thread::sleep(Duration::from_millis(life as u64 * 79 % 700));
    client.kill();
    for (key, id) in asked {
        let told = client
            .try_answer(id)
            .map(|answer| run_of(&answer["result"]));
        let known = answered.entry(key).or_default();
        assert!(known.is_none() || told.is_none() || *known == told);
        *known = told.or(known.take());
    }
}

/// The runs whose ends are in the history, each with the ids of the events that say so.
fn ends(client: &mut Client) -> BTreeMap<String, Vec<String>> {
    let mut ends: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut arguments = json!({"detail_type": "Workflow.Succeeded", "limit": 500});
    loop {
        let page = client.ask("events_query", arguments.clone());
        for event in page["events"].as_array().expect("events") {
            let text = |value: &Value| value.as_str().expect("a text").to_owned();
            let ids = ends.entry(text(&event["detail"]["run_id"])).or_default();
            ids.push(text(&event["event_id"]));
        }
        match page.get("next_cursor") {
            Some(next) => arguments["cursor"] = next.clone(),
            None => return ends,
        }
    }
}

#[test]
fn a_run_is_started_once_and_its_end_recorded_once_however_often_the_server_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let start = Start::on(folder.path()).generous();
    let machines = start.data().join("workflows");
    fs::create_dir_all(&machines).unwrap();
    fs::write(machines.join("order.asl.json"), MACHINE).unwrap();
    let mut answered = Answered::new();
    for life in 0..KILLS {
        live(&start, life, &mut answered);
    }
    let unanswered = answered.values().filter(|run| run.is_none()).count();
    assert!(unanswered > 0, "no kill met a call at work");

    let mut client = Client::open(&start);
    let mut runs = BTreeSet::new();
    let repeat = |key: &String| (key.clone(), client.post_call("workflow_start", order(key)));
    let repeated: Vec<_> = answered.keys().map(repeat).collect();
    for (key, id) in repeated {
        let answer = client.answer(id)["result"].clone();
        assert_eq!(answer["isError"], false, "{key}: {answer}");
        let run = run_of(&answer);
        let known = answered.insert(key.clone(), Some(run.clone())).flatten();
        assert!(
            known.is_none_or(|known| known == run),
            "{key} is another run now"
        );
        assert!(runs.insert(run), "two keys are one run");
    }
    for run in &runs {
        let wait = json!({"run_id": run, "wait_ms": 50_000});
        let status = client.ask("workflow_status", wait);
        assert_eq!(status["status"], "succeeded", "{status}");
    }
    for key in answered.keys() {
        let after = client.ask("kv_get", json!({"key": format!("after/{key}")}));
        assert_eq!(after["found"], true, "{key} was not taken to its end");
    }
    let listed = client.ask("workflow_list", json!({"limit": 200}));
    assert_eq!(listed["runs"].as_array().map(Vec::len), Some(runs.len()));

    let deadline = Instant::now() + WAIT_MAX;
    loop {
        let found = ends(&mut client);
        for (run, ids) in &found {
            assert!(runs.contains(run));
            assert_eq!(ids.len(), 1, "{run} has ended more than once: {ids:?}");
        }
        if found.len() == runs.len() {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "{} of {} ends are recorded",
            found.len(),
            runs.len()
        );
        thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_run_whose_server_was_killed_waits_for_one_of_its_own_tenant() {
    let folder = tempfile::tempdir().unwrap();
    let start = Start::on(folder.path()).generous();
    let machines = start.data().join("workflows");
    fs::create_dir_all(&machines).unwrap();
    fs::write(machines.join("order.asl.json"), MACHINE).unwrap();
    // Longer than what a process keeps in hand: so it comes back by the look that finds what others left.
    let long = MACHINE.replace("\"Seconds\": 1", "\"Seconds\": 3");
    fs::write(machines.join("long.asl.json"), long).unwrap();
    let of = |tenant: &str| Client::open(&start.clone().set("AGENT_MESH_TENANT_ID", tenant));
    let end = |client: &mut Client, run: &Value| {
        let wait = json!({"run_id": run, "wait_ms": 50_000});
        client.ask("workflow_status", wait)["status"].clone()
    };

    let mut one = of("one");
    let theirs = one.ask("workflow_start", order("a"))["run_id"].clone();
    let is_under_way =
        |client: &mut Client| client.ask("kv_get", json!({"key": "before/a"}))["found"] == true;
    assert!(within(WAIT_MAX, || is_under_way(&mut one)));
    one.kill();

    let mut two = of("two");
    let long = json!({"name": "long", "input": {"key": "b"}});
    let ours = two.ask("workflow_start", long)["run_id"].clone();
    assert_eq!(end(&mut two, &ours), "succeeded");
    // All the while the other one has been due. Had it been taken here, its task would have been refused.
    let mut one = of("one");
    assert_eq!(end(&mut one, &theirs), "succeeded");
    let after = one.ask("kv_get", json!({"key": "after/a"}));
    assert_eq!(after["found"], true);
}

/// Puts an artifact where none is, and then a value where none is.
const ONCE: &str = r#"{"StartAt": "First", "States": {
    "First": {"Type": "Task", "Resource": "arn:aws:states:::agent-mesh:artifacts_put",
        "Parameters": {"key.$": "$.input.key", "content": "x", "if_absent": true},
        "ResultPath": null, "Next": "Second"},
    "Second": {"Type": "Task", "Resource": "arn:aws:states:::agent-mesh:kv_set",
        "Parameters": {"key.$": "$.input.key", "value": 1, "if_absent": true},
        "ResultPath": null, "End": true}}}"#;

/// How often it is tried to meet a step that has the time to end: on a busy machine it may have to be cut.
const ROUNDS_MAX: usize = 20;

/// What the log says of such a one.
const CUT: &str = "cut in the middle of a step";

/// Starts a run and tells the server to end while its first step is under way. The run, and whether that step
/// had the time to end.
fn end_in_a_step(start: &Start, key: &str) -> (Value, bool) {
    let mut client = Client::open(start);
    // What the step waits for, and this test holds.
    let objects = fs::File::open(start.data().join("objects.lock")).unwrap();
    objects.lock().unwrap();
    let once = json!({"name": "once", "input": {"key": key}});
    let run = client.ask("workflow_start", once)["run_id"].clone();
    let is_under_way = |client: &mut Client| {
        let status = json!({"run_id": run, "history": true});
        let status = client.ask("workflow_status", status);
        let history = status["history"].as_array().expect("a history");
        history.iter().any(|event| event["kind"] == "TaskStarted")
    };
    assert!(within(WAIT_MAX, || is_under_way(&mut client)));
    client.signal(Signal::TERM);
    assert!(within(WAIT_MAX, || client.log().contains("told to end")));
    objects.unlock().unwrap();
    let status = client.end();
    assert!(status.success(), "{status}; the log:\n{}", client.log());
    (run, !client.log().contains(CUT))
}

#[test]
fn a_step_under_way_when_the_server_is_told_to_end_is_taken_once() {
    let folder = tempfile::tempdir().unwrap();
    let start = Start::on(folder.path()).generous();
    let machines = start.data().join("workflows");
    fs::create_dir_all(&machines).unwrap();
    fs::write(machines.join("once.asl.json"), ONCE).unwrap();
    let round = |round: usize| {
        let key = format!("round-{round}");
        let (run, had_time) = end_in_a_step(&start, &key);
        had_time.then_some((key, run))
    };
    let (key, run) = (0..ROUNDS_MAX).find_map(round).expect("one had the time");

    let mut client = Client::open(&start);
    let wait = json!({"run_id": run, "wait_ms": 50_000});
    let status = client.ask("workflow_status", wait);
    assert_eq!(status["status"], "succeeded", "{status}");
    assert!(within(WAIT_MAX, || ends(&mut client)
        .contains_key(run.as_str().expect("an id"))));
    for detail_type in ["Artifacts.Put", "KV.Set"] {
        let query = json!({"detail_type": detail_type, "limit": 500});
        let page = client.ask("events_query", query);
        let all = page["events"].as_array().expect("events").iter();
        let of_run: Vec<&Value> = all.filter(|event| event["detail"]["key"] == *key).collect();
        assert_eq!(of_run.len(), 1, "{of_run:?}");
        assert_eq!(of_run[0]["outcome"], "ok");
    }
}
