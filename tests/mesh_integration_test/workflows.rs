//! Workflows in the embedded cloud: started once, watched to their end, stopped, listed, calling tools.

use std::time::Duration;

use agent_mesh::mesh::call::tool::Tool;
use futures::future::join_all;
use serde_json::{Value, json};

use crate::support::bus::Heard;
use crate::support::client::patiently;
use crate::support::{Caller, Plan};

/// Ends at once with what it was given.
const ECHO: &str = r#"{"StartAt": "Echo", "States": {"Echo": {"Type": "Pass", "End": true}}}"#;

/// Fails as its input says.
const FAIL: &str = r#"{"StartAt": "Fail", "States": {
    "Fail": {"Type": "Fail", "Error": "Out.OfStock", "Cause": "none left"}}}"#;

/// Stores a value as the user, and puts out what the tool answered.
const STORE: &str = r#"{"StartAt": "Store", "States": {"Store": {
    "Type": "Task", "Resource": "arn:aws:states:::agent-mesh:kv_set",
    "Parameters": {"key.$": "$.input.key", "value.$": "$.input", "scope": "tenant"}, "End": true}}}"#;

/// Starts itself.
const AGAIN: &str = r#"{"StartAt": "Again", "States": {"Again": {
    "Type": "Task", "Resource": "arn:aws:states:::agent-mesh:workflow_start",
    "Parameters": {"name": "again"}, "End": true}}}"#;

fn plan() -> Plan {
    Plan::default()
        .machine("echo", ECHO)
        .machine("fail", FAIL)
        .machine("store", STORE)
        .machine("again", AGAIN)
}

async fn start(caller: &Caller, arguments: Value) -> String {
    let started = caller.ok("workflow_start", arguments).await;
    started["run_id"].as_str().expect("an id").to_owned()
}

/// How the run is when it has ended.
async fn end_of(caller: &Caller, run: &str) -> Value {
    let wait = json!({"run_id": run, "wait_ms": 30_000});
    let status = caller.ok("workflow_status", wait).await;
    assert!(status.get("stopped_at").is_some(), "{status}");
    status
}

/// The events of runs' ends, once there are so many.
async fn ends(heard: &Heard, count: usize) -> Vec<(String, Value)> {
    let is_end = |detail: &Value| {
        detail["tool"] == "workflow_start"
            && detail["data"].get("name").is_some()
            && detail["request_id"] == detail["data"]["run_id"]
    };
    let events = heard.wait(count, is_end).await;
    let told = events
        .into_iter()
        .map(|(event, detail)| (event.detail_type, detail));
    told.collect()
}

#[tokio::test]
async fn a_run_is_started_and_waited_for_to_its_end() {
    let world = plan().open().await;
    let heard = Heard::at(&world);
    let caller = world.caller().await;
    let started = caller
        .ok(
            "workflow_start",
            json!({"name": "echo", "input": {"sum": 1.5}}),
        )
        .await;
    let members: Vec<_> = started.as_object().unwrap().keys().collect();
    assert_eq!(members, ["run_id", "name", "status", "started_at"]);
    assert_eq!(started["name"], "echo");
    let run = started["run_id"].as_str().unwrap();
    let status = end_of(&caller, run).await;
    assert_eq!(status["status"], "succeeded");
    assert_eq!(
        status["output"],
        json!({"tenant": {"tenant_id": "local", "user_id": "ada"}, "input": {"sum": 1.5}})
    );

    let failed = start(&caller, json!({"name": "fail"})).await;
    let status = end_of(&caller, &failed).await;
    assert_eq!(
        (&status["status"], &status["error"], &status["cause"]),
        (&json!("failed"), &json!("Out.OfStock"), &json!("none left"))
    );

    let ends = ends(&heard, 2).await;
    let of = |run: &str| {
        ends.iter()
            .find(|(_, detail)| detail["data"]["run_id"] == run)
    };
    let (kind, detail) = of(run).unwrap();
    assert_eq!(
        (kind.as_str(), &detail["outcome"]),
        ("Workflow.Succeeded", &json!("ok"))
    );
    assert_eq!(detail["data"], json!({"run_id": run, "name": "echo"}));
    let (kind, detail) = of(&failed).unwrap();
    assert_eq!(
        (kind.as_str(), &detail["outcome"]),
        ("Workflow.Failed", &json!("error"))
    );
    assert_eq!(
        detail["data"],
        json!({"run_id": failed, "name": "fail", "error": "Out.OfStock"})
    );
}

#[tokio::test]
async fn an_unknown_workflow_is_told_with_those_that_there_are() {
    let world = plan().open().await;
    let caller = world.caller().await;
    for name in ["ehco", "../echo", ""] {
        let failure = caller.fail("workflow_start", json!({ "name": name })).await;
        assert_eq!(failure.code(), "NOT_FOUND", "{name}");
        let fix = failure.fix().unwrap();
        assert_eq!(fix, "Use one of: again, echo, fail, sample, store.");
    }
    let list = caller.ok("workflow_list", json!({})).await;
    assert_eq!(list, json!({"runs": []}), "nothing is left of them");
}

#[tokio::test]
async fn an_idempotency_key_starts_one_run_also_at_once_and_from_another_process() {
    let world = plan().open().await;
    let beside = plan().beside(&world).open().await;
    let callers = [world.caller().await, beside.caller().await];
    let arguments = json!({"name": "sample", "input": {"a": 1, "b": 2}, "idempotency_key": "k"});
    let calls = (0..8).map(|each| start(&callers[each % 2], arguments.clone()));
    let runs = join_all(calls).await;
    assert!(runs.iter().all(|run| *run == runs[0]), "{runs:?}");
    let list = callers[0].ok("workflow_list", json!({})).await;
    assert_eq!(list["runs"].as_array().unwrap().len(), 1);

    let same = json!({"name": "sample", "input": {"b": 2, "a": 1}, "idempotency_key": "k"});
    assert_eq!(
        start(&callers[1], same).await,
        runs[0],
        "however it is laid out"
    );
    let other = json!({"name": "sample", "input": {"a": 2}, "idempotency_key": "k"});
    assert_eq!(
        callers[0].fail("workflow_start", other).await.code(),
        "CONFLICT"
    );

    callers[0]
        .ok("workflow_stop", json!({"run_id": runs[0]}))
        .await;
    let again = callers[1].ok("workflow_start", arguments).await;
    assert_eq!(
        (&again["run_id"], &again["status"]),
        (&json!(runs[0]), &json!("aborted"))
    );
}

#[tokio::test]
async fn a_run_is_stopped_once_and_stays_as_it_is() {
    let world = plan().open().await;
    let heard = Heard::at(&world);
    let caller = world.caller().await;
    let run = start(&caller, json!({"name": "sample"})).await;
    let status = caller
        .ok("workflow_status", json!({"run_id": run, "history": true}))
        .await;
    assert_eq!(status["status"], "running");
    let steps = status["history"].as_array().unwrap();
    assert!(
        steps.iter().any(|step| step["state"] == "Rest"),
        "{steps:?}"
    );
    for _ in 0..2 {
        let stop = json!({"run_id": run, "reason": "no longer wanted"});
        let stopped = caller.ok("workflow_stop", stop).await;
        assert_eq!(stopped["status"], "aborted");
        assert!(stopped.get("stopped_at").is_some());
    }
    let ended = start(&caller, json!({"name": "echo"})).await;
    end_of(&caller, &ended).await;
    let stopped = caller.ok("workflow_stop", json!({"run_id": ended})).await;
    assert_eq!(stopped["status"], "succeeded");
    let ends = ends(&heard, 2).await;
    assert_eq!(ends.len(), 2);
    assert!(ends.iter().any(|(kind, _)| kind == "Workflow.Aborted"));
}

#[tokio::test]
async fn runs_are_listed_page_by_page_the_newest_first() {
    let world = plan().open().await;
    let caller = world.caller().await;
    let mut runs = Vec::new();
    for each in 0..7 {
        let name = if each % 2 == 0 { "sample" } else { "echo" };
        runs.insert(0, start(&caller, json!({ "name": name })).await);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let (mut listed, mut arguments, mut pages) = (Vec::new(), json!({"limit": 3}), 0);
    loop {
        let page = caller.ok("workflow_list", arguments.clone()).await;
        let ids = page["runs"].as_array().unwrap().iter();
        listed.extend(ids.map(|run| run["run_id"].as_str().unwrap().to_owned()));
        pages += 1;
        match page.get("next_cursor") {
            Some(cursor) => arguments["cursor"] = cursor.clone(),
            None => break,
        }
    }
    assert_eq!((listed, pages), (runs, 3));
    let named = caller.ok("workflow_list", json!({"name": "echo"})).await;
    assert_eq!(named["runs"].as_array().unwrap().len(), 3);
    let running = caller
        .ok("workflow_list", json!({"status": "running"}))
        .await;
    assert!(running["runs"].as_array().unwrap().len() >= 4);
    let first = caller.ok("workflow_list", json!({"limit": 3})).await;
    let foreign = json!({"name": "echo", "cursor": first["next_cursor"]});
    assert_eq!(caller.fault("workflow_list", foreign).await.code, -32602);
}

#[tokio::test]
async fn a_tenant_runs_no_more_at_once_than_its_quota() {
    let toml = "[defaults.limits]\nworkflows_running = 3\n";
    let world = plan().tenants(toml).open().await;
    let caller = world.caller().await;
    let calls = (0..9).map(|_| caller.call("workflow_start", json!({"name": "sample"})));
    let answers = join_all(calls).await;
    let started: Vec<_> = answers
        .into_iter()
        .map(|answer| answer.unwrap())
        .filter(|answer| !answer.is_error)
        .collect();
    assert_eq!(started.len(), 3);
    let failure = caller
        .fail("workflow_start", json!({"name": "sample"}))
        .await;
    assert_eq!(failure.code(), "QUOTA_EXCEEDED");
    assert_eq!(failure.detail("quota"), "workflows_running");
    let run = started[0].value()["run_id"].clone();
    caller.ok("workflow_stop", json!({ "run_id": run })).await;
    start(&caller, json!({"name": "sample"})).await;
}

#[tokio::test]
async fn each_change_is_told_while_a_caller_waits() {
    const SLOW: &str = r#"{"StartAt": "First", "States": {
        "First": {"Type": "Wait", "Seconds": 1, "Next": "Second"},
        "Second": {"Type": "Wait", "Seconds": 1, "End": true}}}"#;
    let world = plan().machine("slow", SLOW).open().await;
    let caller = world.caller().await;
    let run = start(&caller, json!({"name": "slow"})).await;
    let waiting = caller.clone().with_meta("progressToken", "p");
    let status = end_of(&waiting, &run).await;
    assert_eq!(status["status"], "succeeded");
    let others = caller.client.others_so_far().await;
    let told: Vec<_> = others
        .iter()
        .filter(|other| other["method"] == "notifications/progress")
        .map(|other| &other["params"])
        .collect();
    let messages: Vec<_> = told
        .iter()
        .map(|params| params["message"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(messages.last().map(String::as_str), Some("succeeded"));
    for state in ["running: First", "running: Second"] {
        assert!(
            messages.iter().any(|message| message == state),
            "{messages:?}"
        );
    }
    let steps: Vec<_> = told
        .iter()
        .map(|params| params["progress"].as_f64().unwrap())
        .collect();
    assert!(steps.windows(2).all(|pair| pair[0] < pair[1]), "{steps:?}");
}

#[tokio::test]
async fn a_wait_ends_when_its_time_is_over() {
    let world = plan().open().await;
    let caller = world.caller().await;
    let run = start(&caller, json!({"name": "sample"})).await;
    let wait = json!({"run_id": run, "wait_ms": 50});
    let status = caller.ok("workflow_status", wait).await;
    assert_eq!(status["status"], "running");
}

#[tokio::test]
async fn a_workflow_calls_tools_as_the_user_who_started_it() {
    let world = plan().by_token().open().await;
    let heard = Heard::at(&world);
    let ada = world.user("acme", "ada", "user").await;
    let run = start(&ada, json!({"name": "store", "input": {"key": "from-run"}})).await;
    let status = end_of(&ada, &run).await;
    assert_eq!(status["status"], "succeeded", "{status}");
    assert_eq!(status["output"]["key"], "from-run");
    let found = ada
        .ok("kv_get", json!({"key": "from-run", "scope": "tenant"}))
        .await;
    assert_eq!(found["value"], json!({"key": "from-run"}));
    let is_set = |detail: &Value| detail["tool"] == "kv_set";
    let (_, detail) = &heard.wait(1, is_set).await[0];
    let who = (&detail["tenant_id"], &detail["user_id"], &detail["outcome"]);
    assert_eq!(who, (&json!("acme"), &json!("ada"), &json!("ok")));
    let stranger = world.user("globex", "ada", "admin").await;
    let found = stranger
        .ok("kv_get", json!({"key": "from-run", "scope": "tenant"}))
        .await;
    assert_eq!(found["found"], false);
}

#[tokio::test]
async fn a_workflow_may_do_no_more_than_its_starter_might() {
    let world = plan().by_token().open().await;
    let heard = Heard::at(&world);
    let mut claims = crate::support::token::claims("acme", "ada", "user", world.now());
    claims["scope"] = json!("workflow.run workflow.read kv.read");
    let narrow = world.bearer(&world.token(&claims)).await;
    let run = start(
        &narrow,
        json!({"name": "store", "input": {"key": "denied"}}),
    )
    .await;
    let status = end_of(&narrow, &run).await;
    assert_eq!(
        (&status["status"], &status["error"]),
        (&json!("failed"), &json!("PERMISSION_DENIED")),
        "{status}"
    );
    let is_set = |detail: &Value| detail["tool"] == "kv_set";
    let (_, detail) = &heard.wait(1, is_set).await[0];
    assert_eq!(detail["outcome"], "denied");
    let ada = world.user("acme", "ada", "user").await;
    let found = ada
        .ok("kv_get", json!({"key": "denied", "scope": "tenant"}))
        .await;
    assert_eq!(found["found"], false);
}

#[tokio::test]
async fn a_workflow_may_do_no_more_than_its_process_does() {
    for (variable, value) in [
        ("AGENT_MESH_TOOLSETS", "workflows"),
        ("AGENT_MESH_ROLE", "viewer"),
    ] {
        // A process that may start it, and one that takes it over and may less.
        let world = plan().set(variable, value).open().await;
        let caller = world.caller().await;
        let outcome = caller
            .call(
                "workflow_start",
                json!({"name": "store", "input": {"key": "a"}}),
            )
            .await
            .unwrap();
        if variable == "AGENT_MESH_ROLE" {
            assert!(outcome.is_error, "a viewer starts nothing");
            continue;
        }
        let run = outcome.value()["run_id"].as_str().unwrap().to_owned();
        let status = end_of(&caller, &run).await;
        assert_eq!(
            (&status["status"], &status["error"]),
            (&json!("failed"), &json!("NOT_FOUND")),
            "{status}"
        );
    }
}

#[tokio::test]
async fn workflows_that_start_one_another_end_at_the_deepest() {
    let world = plan().open().await;
    let heard = Heard::at(&world);
    let caller = world.caller().await;
    start(&caller, json!({"name": "again"})).await;
    let ends = ends(&heard, 9).await;
    let mut depths: Vec<_> = ends
        .iter()
        .map(|(_, detail)| detail["depth"].as_u64().unwrap())
        .collect();
    depths.sort_unstable();
    assert_eq!(depths, (0..=8).collect::<Vec<_>>());
    let deepest = |(_, detail): &&(String, Value)| detail["depth"] == 8;
    let (kind, detail) = ends.iter().find(deepest).unwrap();
    assert_eq!(
        (kind.as_str(), &detail["data"]["error"]),
        ("Workflow.Failed", &json!("CONFLICT"))
    );
    let list = caller.ok("workflow_list", json!({"name": "again"})).await;
    assert_eq!(list["runs"].as_array().unwrap().len(), 9);
}

#[tokio::test]
async fn the_end_of_a_run_is_recorded_once_whoever_is_gone_meanwhile() {
    const BRIEF: &str = r#"{"StartAt": "Rest", "States": {
        "Rest": {"Type": "Wait", "Seconds": 2, "End": true}}}"#;
    let world = plan().machine("brief", BRIEF).open().await;
    let caller = world.caller().await;
    let mut runs = Vec::new();
    for _ in 0..5 {
        runs.push(start(&caller, json!({"name": "brief"})).await);
    }
    drop(caller);
    let next = plan().machine("brief", BRIEF).beside(&world).open().await;
    world.app.close(Duration::from_secs(5)).await;
    let caller = next.caller().await;
    for run in &runs {
        assert_eq!(end_of(&caller, run).await["status"], "succeeded");
    }
    let found = patiently(async {
        loop {
            let query = json!({"detail_type": "Workflow.Succeeded", "limit": 100});
            let found = caller.ok("events_query", query).await;
            if found["events"].as_array().unwrap().len() >= runs.len() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let found = found.await;
    let mut recorded: Vec<_> = found["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["detail"]["run_id"].as_str().unwrap().to_owned())
        .collect();
    recorded.sort_unstable();
    runs.sort_unstable();
    assert_eq!(recorded, runs);
}

#[tokio::test]
async fn the_health_of_workflows_names_the_one_that_is_broken() {
    let world = plan().open().await;
    let caller = world.caller().await;
    let part = |health: Value| {
        let parts = health["parts"].as_array().unwrap().clone();
        parts
            .into_iter()
            .find(|part| part["name"] == "workflows")
            .unwrap()
    };
    let verbose = json!({"verbose": true});
    let health = caller
        .ok(Tool::EventsHealthCheck.name(), verbose.clone())
        .await;
    assert_eq!(part(health)["status"], "healthy");
    let broken = plan().machine("broken", "{}").open().await;
    let caller = broken.caller().await;
    let health = caller.ok(Tool::EventsHealthCheck.name(), verbose).await;
    let part = part(health);
    assert_eq!(part["status"], "degraded");
    let failure = caller
        .fail("workflow_start", json!({"name": "broken"}))
        .await;
    assert_eq!(failure.code(), "NOT_SUPPORTED");
    let list = caller.ok("workflow_list", json!({})).await;
    assert_eq!(list, json!({"runs": []}), "nothing is left of it");
    assert!(
        part["message"].as_str().unwrap().contains("`broken`"),
        "{part}"
    );
}
