//! A thousand events under a rule and an alert while the server is killed again and again: each event is in
//! the history, has run the rule's workflow once and has told the alert.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Client, result_of};
use crate::server::Start;

/// How often the server is killed.
const KILLS: usize = 20;

/// Events that are accepted in all.
const ACCEPTED: usize = 1000;

/// Events of a batch.
const EVENTS: usize = 10;

/// Batches that a server is asked for before it is killed.
const BATCHES: usize = ACCEPTED / EVENTS / KILLS;

/// How long a server lives after the last answer that is waited for, at most: milliseconds.
const PAUSE_MS_MAX: u64 = 400;

/// How long nothing may change before what is missing counts as lost: twice as long as it takes until outboxes
/// of servers that are gone are looked for again.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long to wait at most before looking again what has come of the events.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(5);

/// Calls that are under way at once where there are many.
const CALLS_AT_ONCE: usize = 32;

const ADDRESS: &str = "ops@example.com";

/// Stores a value under the event's id, rests, so that whoever is killed meanwhile has runs under way, and
/// sends an event that says what was run.
const MACHINE: &str = r#"{"StartAt": "Store", "States": {
    "Store": {"Type": "Task", "Resource": "arn:aws:states:::agent-mesh:kv_set",
        "Parameters": {"key.$": "States.Format('run/{}', $.input.event_id)",
            "value.$": "$.input.detail.number"},
        "ResultPath": null, "Next": "Rest"},
    "Rest": {"Type": "Wait", "Seconds": 1, "Next": "Tell"},
    "Tell": {"Type": "Task", "Resource": "arn:aws:states:::agent-mesh:events_send",
        "Parameters": {"detail_type": "Storm.Done", "idempotency_key.$": "$$.Execution.Name",
            "detail": {"event_id.$": "$.input.event_id", "number.$": "$.input.detail.number"}},
        "ResultPath": null, "End": true}}}"#;

/// What servers were asked for, and what they answered.
#[derive(Default)]
struct Ledger {
    /// How many events were asked for; each has a number of its own.
    asked: usize,
    /// The ids of those that were accepted, with their numbers.
    accepted: BTreeMap<String, usize>,
    /// Batches without an answer.
    unanswered: usize,
}

fn set_up(start: &Start) {
    let machines = start.data().join("workflows");
    fs::create_dir_all(&machines).unwrap();
    fs::write(machines.join("refund.asl.json"), MACHINE).unwrap();
    let mut client = Client::open(start);
    let rule =
        json!({"name": "failed", "pattern": {"detail-type": ["Storm.Sent"]}, "workflow": "refund"});
    client.ask("events_create_rule", rule);
    let alert = json!({"name": "tell-ops", "rule": "failed", "method": "email", "email": ADDRESS});
    client.ask("events_create_alert", alert);
    client.finish();
}

/// One life: the server is started, asked for events, and killed after so many answers.
fn live(start: &Start, life: usize, ledger: &mut Ledger) {
    let mut client = Client::open(start);
    let mut asked = Vec::new();
    for _ in 0..BATCHES {
        asked.push(ledger.ask(&mut client));
    }
    let begun = client.wait_for_answers(life % (BATCHES + 1));
    assert!(begun, "it ended by itself: {}", client.log());
    thread::sleep(Duration::from_millis(life as u64 * 173 % PAUSE_MS_MAX));
    client.kill();
    for (id, numbers) in asked {
        match client.try_answer(id) {
            Some(answer) => ledger.accept(answer, numbers),
            None => ledger.unanswered += 1,
        }
    }
}

impl Ledger {
    /// Asks for a batch of events; the id of the call and the events' numbers.
    fn ask(&mut self, client: &mut Client) -> (u64, Range<usize>) {
        let numbers = self.asked..self.asked + EVENTS;
        self.asked = numbers.end;
        let event = |number| json!({"detail_type": "Storm.Sent", "detail": {"number": number}});
        let events: Vec<Value> = numbers.clone().map(event).collect();
        let id = client.post_call("events_send", json!({"events": events}));
        (id, numbers)
    }

    /// A batch was answered.
    fn accept(&mut self, answer: Value, numbers: Range<usize>) {
        let answer = result_of(answer);
        assert_eq!(answer["isError"], false, "{answer}");
        let events = answer["structuredContent"]["events"].as_array();
        let events = events.expect("events");
        assert_eq!(events.len(), EVENTS);
        for (event, number) in events.iter().zip(numbers) {
            let twice = self.accepted.insert(event_id(event), number);
            assert!(twice.is_none(), "two events have one id");
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

/// What is in `member` of all pages of a listing.
fn all(client: &mut Client, tool: &str, member: &str, mut arguments: Value) -> Vec<Value> {
    let mut found = Vec::new();
    loop {
        let page = client.ask(tool, arguments.clone());
        found.extend(page[member].as_array().expect("a list").iter().cloned());
        match page.get("next_cursor") {
            Some(next) => arguments["cursor"] = next.clone(),
            None => return found,
        }
    }
}

/// All events of a type by `key`, which no two of them may have in common.
fn events(
    client: &mut Client,
    detail_type: &str,
    key: impl Fn(&Value) -> String,
) -> BTreeMap<String, Value> {
    let arguments = json!({"detail_type": detail_type, "limit": 500});
    let mut events = BTreeMap::new();
    for event in all(client, "events_query", "events", arguments) {
        let key = key(&event);
        let twice = events.insert(key, event.clone());
        assert!(twice.is_none(), "{event} is there twice: {twice:?}");
    }
    events
}

fn event_id(event: &Value) -> String {
    text(&event["event_id"])
}

/// The event that an event speaks of.
fn subject(event: &Value) -> String {
    text(&event["detail"]["event_id"])
}

/// What has come of the events so far.
#[derive(PartialEq)]
struct Outcome {
    /// Those in the history, by their ids.
    sent: BTreeMap<String, Value>,
    /// The runs, by their ids.
    runs: BTreeMap<String, Value>,
    /// The ends of runs, by the runs' ids.
    ended: BTreeMap<String, Value>,
    /// What the runs have sent, by the ids of the events that started them.
    done: BTreeMap<String, Value>,
    /// The alerts that were raised, by the events' ids.
    raised: BTreeMap<String, Value>,
}

impl Outcome {
    fn now(client: &mut Client) -> Self {
        let listed = all(client, "workflow_list", "runs", json!({"limit": 200}));
        let mut runs = BTreeMap::new();
        for run in listed {
            let twice = runs.insert(text(&run["run_id"]), run);
            assert!(twice.is_none(), "a run is listed twice: {twice:?}");
        }
        let run_id = |event: &Value| text(&event["detail"]["run_id"]);
        Self {
            sent: events(client, "Storm.Sent", event_id),
            ended: events(client, "Workflow.Succeeded", run_id),
            done: events(client, "Storm.Done", subject),
            raised: events(client, "Mesh.AlertRaised", subject),
            runs,
        }
    }

    fn counts(&self) -> [usize; 5] {
        let Self {
            sent,
            runs,
            ended,
            done,
            raised,
        } = self;
        [sent, runs, ended, done, raised].map(BTreeMap::len)
    }

    fn is_settled(&self, ledger: &Ledger) -> bool {
        let counts = self.counts();
        let mut runs = self.runs.values();
        ledger.accepted.keys().all(|id| self.sent.contains_key(id))
            && counts.iter().all(|count| *count == counts[0])
            && runs.all(|run| !["starting", "running"].contains(&run["status"].as_str().unwrap()))
    }
}

/// What has come of the events once nothing more is to come.
fn settled(client: &mut Client, ledger: &Ledger) -> Outcome {
    let look = |client: &mut Client| {
        let begun = Instant::now();
        let outcome = Outcome::now(client);
        (outcome, begun.elapsed())
    };
    let (mut outcome, mut took) = look(client);
    let mut changed = Instant::now();
    while !outcome.is_settled(ledger) {
        // What is looked at is much, and what looks is not to be what is waited for.
        thread::sleep((took * 3).min(LOOK_EVERY_MAX));
        let next;
        (next, took) = look(client);
        if next != outcome {
            changed = Instant::now();
        }
        outcome = next;
        assert!(
            changed.elapsed() < PATIENCE,
            "of {} accepted events, [events, runs, ends, effects, alerts] stay at {:?}; {}; the log:\n{}",
            ledger.accepted.len(),
            outcome.counts(),
            client.ask("events_health_check", json!({"verbose": true})),
            client.log()
        );
    }
    outcome
}

/// The events that runs say that they were started by.
fn causes(client: &mut Client, runs: &BTreeMap<String, Value>) -> BTreeSet<String> {
    let mut causes = BTreeSet::new();
    let ids: Vec<&String> = runs.keys().collect();
    for some in ids.chunks(CALLS_AT_ONCE) {
        let ask = |run| client.post_call("workflow_status", json!({"run_id": run}));
        let asked: Vec<u64> = some.iter().map(ask).collect();
        for id in asked {
            let status = result_of(client.answer(id))["structuredContent"].clone();
            assert_eq!(status["status"], "succeeded", "{status}");
            assert_eq!(status["rule"], "failed", "{status}");
            let cause = text(&status["output"]["input"]["event_id"]);
            assert!(causes.insert(cause), "an event has two runs: {status}");
        }
    }
    causes
}

/// The events that mails name.
fn mailed(folder: &Path) -> BTreeSet<String> {
    let mut mailed = BTreeSet::new();
    for file in fs::read_dir(folder).expect("a folder of mails") {
        let path = file.expect("a file").path();
        if path.extension().is_some_and(|extension| extension == "eml") {
            let mail = fs::read_to_string(path).expect("a mail");
            assert!(mail.contains(ADDRESS), "{mail}");
            mailed.extend(
                mail.lines()
                    .filter_map(|line| line.strip_prefix("Id:"))
                    .map(|id| id.trim().to_owned()),
            );
        }
    }
    mailed
}

#[test]
fn a_thousand_events_run_their_workflow_once_and_tell_their_alert_however_often_the_server_is_killed()
 {
    let folder = tempfile::tempdir().unwrap();
    let start = Start::on(folder.path()).generous();
    set_up(&start);
    let mut ledger = Ledger::default();
    for life in 0..KILLS {
        live(&start, life, &mut ledger);
    }
    assert!(ledger.unanswered > 0, "no kill met a call at work");

    let mut client = Client::open(&start);
    let at_work = client.ask("workflow_list", json!({"status": "running", "limit": 1}));
    assert_ne!(at_work["runs"], json!([]), "no kill met a run under way");
    while ledger.accepted.len() < ACCEPTED {
        let (id, numbers) = ledger.ask(&mut client);
        ledger.accept(client.answer(id), numbers);
    }
    let outcome = settled(&mut client, &ledger);

    // An event that was not answered may be there or not; where it is, what is said of any holds for it.
    let sent: BTreeSet<String> = outcome.sent.keys().cloned().collect();
    let most = ledger.accepted.len() + ledger.unanswered * EVENTS;
    assert!(sent.len() <= most, "{} of {most}", sent.len());
    assert_eq!(sent.len() % EVENTS, 0, "a batch is there in part");
    for (id, number) in &ledger.accepted {
        assert_eq!(outcome.sent[id]["detail"]["number"], *number, "{id}");
    }
    for run in outcome.runs.values() {
        assert_eq!(run["status"], "succeeded", "{run}");
    }
    let keys = |map: &BTreeMap<String, Value>| map.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(keys(&outcome.ended), keys(&outcome.runs));
    assert_eq!(causes(&mut client, &outcome.runs), sent);
    assert_eq!(keys(&outcome.done), sent);
    assert_eq!(keys(&outcome.raised), sent);
    let values = all(
        &mut client,
        "kv_list",
        "items",
        json!({"prefix": "run/", "limit": 1000}),
    );
    assert_eq!(values.len(), sent.len());

    let mailed = mailed(&start.data().join("mail"));
    let untold: Vec<_> = sent.difference(&mailed).collect();
    assert!(untold.is_empty(), "no mail tells of {untold:?}");
    assert!(mailed.is_subset(&sent), "a mail tells of something else");
    for kind in [
        "Workflow.Failed",
        "Workflow.Aborted",
        "Workflow.TimedOut",
        "Mesh.AlertsLimited",
    ] {
        assert_eq!(events(&mut client, kind, event_id).len(), 0, "{kind}");
    }
    client.finish();
}
